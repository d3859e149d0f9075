"""Freed memory is kept, unless the environment has a way of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from uda.engine.host_memory import keep_freed_memory

# Page faults of making and dropping a block of 64 MB ten times, and whether memory is kept.
PROGRAM = """
import resource, sys
import torch
from uda.engine.host_memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
for _ in range(3):
    torch.ones(16_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16_000_000)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> tuple[bool, int]:
    """What the program prints, in a process of its own: the choice is for good."""
    command = [sys.executable, "-c", PROGRAM, how]
    kept, number = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.split()
    return kept == "True", int(number)


def test_blocks_are_used_again_properties() -> None:
    """With it the same pages serve again; without it each block brings new ones."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the setting is one of glibc")
    (kept, few), (_, many) = faults("keep"), faults("leave")
    if not kept:
        pytest.skip("the environment chooses how memory is allocated")
    assert few < 100
    assert few * 20 < many


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "LD_PRELOAD", "GLIBC_TUNABLES"])
def test_the_environment_wins(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is changed where the user has chosen."""
    monkeypatch.setenv(name, "1")
    assert keep_freed_memory() is False


def test_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is changed where there is no such library."""
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False
