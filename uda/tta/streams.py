"""The order of work between threads that use one CUDA device; nothing to do on a CPU."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

# Taken by name, so that the order of calls can be looked at without a device.
cuda = torch.cuda


class Handover:
    """Tensors that one stream has made and others read.

    What is given to a stream starts there only after it is complete, and the memory of these
    tensors is not used for others before the stream is done with them.

    Args:
        tensors: What is handed over, made on the current stream of the thread that calls.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = [tensor for tensor in tensors if tensor.device.type == "cuda"]
        self._ready = None
        self._lock = threading.Lock()
        self._known: set[int] = set()
        if self.tensors:
            self._ready = cuda.Event()
            self._ready.record(cuda.current_stream(self.tensors[0].device))

    def accept(self) -> None:
        """Make the current stream of this thread wait until all is there."""
        if self._ready is None:
            return
        stream = cuda.current_stream(self.tensors[0].device)
        stream.wait_event(self._ready)
        with self._lock:
            if stream.cuda_stream in self._known:
                return
            self._known.add(stream.cuda_stream)
        for tensor in self.tensors:
            tensor.record_stream(stream)

    def finish(self) -> None:
        """Wait here until all is there, whatever stream is to read it."""
        if self._ready is not None:
            self._ready.synchronize()


@contextlib.contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Run a block on a stream of its own, beside what other threads run on the device."""
    if device.type != "cuda":
        yield
        return
    stream = cuda.Stream(device)
    stream.wait_stream(cuda.current_stream(device))
    with cuda.stream(stream):
        yield
    cuda.current_stream(device).wait_stream(stream)
