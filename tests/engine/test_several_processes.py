"""Two gloo processes train every method that exists; the table is that of `test_resume.py`."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from .comparing import assert_same_log, assert_same_run, differences
from .several_processes import work
from .test_resume import METHODS
from .tiny_run import write_config

Results = list[dict[str, Any]]


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of all methods lie."""
    root = tmp_path_factory.mktemp("processes")
    for method in METHODS:
        (root / method).mkdir()
        write_config(root / method)
    torch.multiprocessing.spawn(work, args=(str(root), free_port()), nprocs=2)
    return root


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    """What the two processes ended with."""
    return [torch.load(folder / f"{rank}.pth", weights_only=False) for rank in range(2)]


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_method_ddp(results: Results, folder: Path, method: str) -> None:
    """Networks, buffers and scores are equal in both; one exchange of gradients a step."""
    first, second = (result[method]["straight"] for result in results)
    assert differences(first["state"], second["state"]) == []
    assert first["exchanges"] == second["exchanges"] == first["steps"] >= 6
    assert first["scores"] == second["scores"]
    assert first["images"] == second["images"] == 2


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_method_resume_ddp(results: Results, folder: Path, method: str) -> None:
    """A run of two processes resumed equals the straight one to the bit, in logs too."""
    for result in results:
        straight, resumed = result[method]["straight"]["state"], result[method]["resumed"]["state"]
        assert differences(straight, resumed) == []
    straight, resumed = folder / method / "straight", folder / method / "resumed"
    assert_same_run(straight / "iter_6.pth", resumed / "iter_6.pth")
    assert_same_log(straight, resumed)
