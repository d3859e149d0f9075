"""Memory of the host, where the system tells."""

from __future__ import annotations

import os
import sys

import pytest
import torch

from uda.engine.live.used_memory import resident, used_memory


def test_resident_values() -> None:
    """Nobody has process 0 to look at."""
    assert resident(0) is None


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells what is resident")
def test_used_memory_values() -> None:
    """200 MiB that are written to show; a CPU has no device memory."""
    before = resident(os.getpid())
    held = torch.ones(50 * 2**20)
    found = used_memory(torch.device("cpu"))
    assert before is not None
    # Roughly: the test process itself gives and takes memory meanwhile.
    assert 100 < found["host"] - before < 300
    assert held[0] == 1
    assert "device" not in found
