"""Shares are those of all processes, also across a stop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from uda.engine.live.health import PseudoLabelSums
from uda.structures import PseudoLabel

NAMES = ["road", "sky", "car"]


def add(sums: PseudoLabelSums, rows: slice) -> None:
    """Some of four images with soft labels, of which the halves keep different shares."""
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(4, 3, 8, 8, generator=generator).softmax(1)
    label = torch.randint(3, (4, 8, 8), generator=generator)
    weight = (
        torch.rand(4, 8, 8, generator=generator) * torch.tensor([0, 0.2, 0.9, 1])[:, None, None]
    )
    sums.add_labels("", PseudoLabel(label[rows], weight[rows], weight[rows]), probs[rows])


def work(rank: int, folder: str) -> None:
    """One of two processes: adds its half, stops, and adds it again after a resume."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    half = slice(2 * rank, 2 * rank + 2)
    first, second = (PseudoLabelSums(num_classes=3, stride=1) for _ in range(2))
    add(first, half)
    first.average()
    if rank == 0:  # as a checkpoint is saved
        torch.save(first.state_dict(), f"{folder}/saved.pth")
    torch.distributed.barrier()
    second.load_state_dict(torch.load(f"{folder}/saved.pth"))
    add(second, half)
    second.average()
    torch.save(second.pop(NAMES), f"{folder}/{rank}.pth")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.ddp
def test_shared_sums_ddp(tmp_path: Path) -> None:
    """Two processes with half of the images each find what one finds with all of them."""
    torch.multiprocessing.spawn(work, args=(str(tmp_path),), nprocs=2)
    alone = PseudoLabelSums(num_classes=3, stride=1)
    add(alone, slice(0, 4))
    wanted = alone.pop(NAMES)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pth") == pytest.approx(wanted, rel=1e-6)
