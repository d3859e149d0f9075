"""Memory by computation: against sums by hand, against tensors that are really there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.hrda_networks import hrda_network, images
from uda.commands.benchmark import run as main
from uda.engine.memory import MIB, LiveBytes, MemoryCount, count_memory
from uda.engine.train import load_config

from .tiny_run import hrda_network_config, model_config, write_config


def test_live_bytes_values() -> None:
    """a = x + 1 and b = a * 2 are 400 bytes each, both there at once; views are none. Then a goes,
    and c takes its place: the most stays 800."""
    x = torch.zeros(100)
    with LiveBytes() as live:
        a = x + 1
        assert live.now == 400
        b = a * 2
        view = a[10:].view(2, 45)
        assert (live.now, live.peak) == (800, 800)
        del a, view
        assert live.now == 400
        c = b * 2
        b.mul_(3)
        assert (live.now, live.peak) == (800, 800)
        del b, c
    assert (live.now, live.peak) == (0, 800)


def test_live_bytes_of_a_graph_values() -> None:
    """Of exp of 1000 numbers the graph keeps the result, of relu's input and output one; the sum
    is one number of 4 bytes. Backward makes the gradient of each."""
    weight = nn.Parameter(torch.zeros(1000))
    with LiveBytes() as live:
        loss = weight.exp().sum()
        assert live.now == 4000 + 4
        loss.backward()
    assert live.now == 4000 + 4  # the gradient in place of what was kept
    assert 8000 <= live.peak <= 12100


def kept(network: nn.Module, image: Tensor) -> int:
    """Bytes that torch says it keeps for the backward pass, without weights and the image."""
    own = {t.untyped_storage().data_ptr() for t in [*network.parameters(), *network.buffers()]}
    own.add(image.untyped_storage().data_ptr())
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = network(image)
        del output
    return sum(found.values())


def test_live_bytes_are_what_the_graph_keeps_properties() -> None:
    """On real tensors: what lives after a pass is what torch keeps, and the pass's logits."""
    network, image = hrda_network().train(), images()
    torch.manual_seed(0)
    with LiveBytes() as live:
        output = network(image)
        results = [output.logits, *(region.logits for region in output.regions)]
        held = live.now - sum(4 * logits.numel() for logits in results)
        del output, results
    torch.manual_seed(0)
    assert kept(network, image) == held


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


def counted(folder: Path, options: dict[str, Any] | None = None, **more: Any) -> MemoryCount:
    model = model_config(network=hrda_network_config())
    return count_memory(load_config(write_config(folder, model=model), options or {}), **more)


def test_count_memory_values(folder: Path) -> None:
    """Weights are those of student, teacher and frozen encoder; AdamW keeps two numbers of each."""
    config = load_config(write_config(folder, model=model_config(network=hrda_network_config())))
    from uda.models import SegmentationNetwork

    network = SegmentationNetwork.from_config(config.model.network)
    whole, encoder = (
        sum(p.numel() for p in part.parameters()) for part in (network, network.encoder())
    )
    found = counted(folder)
    assert found.gradients == pytest.approx(4 * whole / MIB)
    assert found.optimiser == pytest.approx(2 * found.gradients)
    assert found.weights == pytest.approx(4 * (2 * whole + encoder) / MIB, rel=0.05)
    fixed = found.weights + found.gradients + found.optimiser
    assert found.total == pytest.approx(fixed + max(found.student, found.teacher))
    assert 0 < found.activations < found.student
    assert found.teacher > 0


def test_count_memory_grows_with_the_batch_properties(folder: Path) -> None:
    """Activations are proportional to the images; micro-batches keep less; bf16 keeps less."""
    one, two = (counted(folder, batch_size=count, crop=(64, 64)) for count in (2, 4))
    assert two.activations == pytest.approx(2 * one.activations, rel=0.02)
    cut = counted(folder, {"model.micro_batches": 2}, batch_size=4, crop=(64, 64))
    assert cut.activations < two.activations / 2
    assert cut.student < two.student
    half = counted(folder, batch_size=4, crop=(64, 64), bfloat16=True)
    assert half.activations < two.activations


def test_count_memory_errors(folder: Path) -> None:
    with pytest.raises(ValueError, match="has backward='joint', which holds all of them"):
        counted(folder, {"model.method.backward": "joint"})


def test_tool(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON and as lines."""
    file = str(write_config(folder))
    capsys.readouterr()
    main(["memory", file, "--json", "--crop", "64", "64"])
    found = json.loads(capsys.readouterr().out)
    assert found["config"] == file
    assert found["total"] > found["activations"] > 0
    main(["memory", file])
    assert "activations" in capsys.readouterr().out
