"""The order of calls to CUDA where threads hand tensors over, with a device that only notes."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.tta.tiny import images
from uda.tta import streams
from uda.tta.streams import Handover, own_stream


class Device:
    """Stands in for `torch.cuda`; notes who waits for what."""

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []
        self.now = self.stream_of("default")

    def stream_of(self, name: str) -> Any:
        notes = self.notes
        return SimpleNamespace(
            cuda_stream=name,
            wait_event=lambda event: notes.append((name, "waits for", event.of)),
            wait_stream=lambda other: notes.append((name, "waits for", other.cuda_stream)),
        )

    def current_stream(self, device: torch.device) -> Any:
        return self.now

    def Stream(self, device: torch.device) -> Any:  # noqa: N802, as torch has it
        return self.stream_of("own")

    def Event(self) -> Any:  # noqa: N802
        event = SimpleNamespace(of=None)
        event.record = lambda stream: setattr(event, "of", stream.cuda_stream)
        event.synchronize = lambda: self.notes.append(("host", "waits for", event.of))
        return event

    def stream(self, stream: Any) -> Any:
        return _Inside(self, stream)


class _Inside:
    def __init__(self, device: Device, stream: Any) -> None:
        self.device, self.own, self.before = device, stream, device.now

    def __enter__(self) -> None:
        self.device.now = self.own

    def __exit__(self, *_: object) -> None:
        self.device.now = self.before


def tensor_on(device: Device, name: str) -> Any:
    return SimpleNamespace(
        device=torch.device("cuda"),
        record_stream=lambda stream: device.notes.append((name, "is read by", stream.cuda_stream)),
    )


def test_handover(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader waits for the maker, and keeps the memory: noted once a stream, waited each time."""
    device = Device()
    monkeypatch.setattr(streams, "cuda", device)
    handover = Handover([tensor_on(device, "weight"), torch.zeros(1)])
    with own_stream(torch.device("cuda")):
        handover.accept()
        handover.accept()
    assert device.notes == [
        ("own", "waits for", "default"),
        ("own", "waits for", "default"),
        ("weight", "is read by", "own"),
        ("own", "waits for", "default"),
        ("default", "waits for", "own"),
    ]
    handover.finish()
    assert device.notes[-1] == ("host", "waits for", "default")


def test_handover_by_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many threads of one stream note a tensor once."""
    device = Device()
    monkeypatch.setattr(streams, "cuda", device)
    handover = Handover([tensor_on(device, "weight")])
    threads = [threading.Thread(target=handover.accept) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert device.notes.count(("weight", "is read by", "default")) == 1


def test_cpu_needs_nothing() -> None:
    """Tensors of a CPU are there when they are made."""
    handover = Handover([images()])
    with own_stream(torch.device("cpu")):
        handover.accept()
        handover.finish()
