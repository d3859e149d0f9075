"""Predictions from a model that does not change, while another thread adapts."""

from __future__ import annotations

import queue
import threading
from types import TracebackType

import torch
from torch import Tensor

from uda.tta.adapter import Adapter


class SnapshotServer:
    """Serves an adapter's predictions without waiting for its updates.

    A call predicts by the last published snapshot, a network of its own that nobody changes, and
    offers the batch to a thread that adapts. Where that is busy and its queue full, the batch is
    left out of the adaptation, and counted. A new snapshot appears whole: a call sees the old one
    or the new one. Calls may come from several threads.

    Leave the adapter alone while the server runs; after `close` it holds what was learnt.

    Args:
        adapter: Adapts in the thread.
        publish_every: Adapted batches between two snapshots; each copies the network.
        waiting: Batches that may wait for the thread.

    Raises:
        ValueError: A number is below 1.

    >>> from torch import nn
    >>> from uda.tta import adapt
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    >>> with SnapshotServer(adapt(network, "tent")) as server:
    ...     logits = server(torch.rand(2, 3, 8, 8))
    ...     server.wait()
    >>> logits.shape, server.adapted
    (torch.Size([2, 2, 6, 6]), 1)
    """

    def __init__(self, adapter: Adapter, *, publish_every: int = 1, waiting: int = 1) -> None:
        if publish_every < 1 or waiting < 1:
            raise ValueError(
                f"publish_every and waiting are at least 1, not {publish_every} and {waiting}."
            )
        self.adapter, self.publish_every = adapter, publish_every
        self.adapted = self.left_out = self.published = 0
        self._batches: queue.Queue[tuple[Tensor, Tensor | None] | None] = queue.Queue(waiting)
        self._error: BaseException | None = None
        self._closed = False
        self._snapshot = adapter.export() if adapter.dense is not None else None
        self._first = threading.Lock()
        self._thread = threading.Thread(target=self._adapt, name="uda.tta", daemon=True)
        self._thread.start()

    @torch.no_grad()
    def __call__(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """The snapshot's logits of a batch; the batch is offered to the adaptation.

        Args:
            image: (N, C, H, W).
            valid: As the adapter takes it.

        Raises:
            RuntimeError: The server is closed, or the adaptation failed; the cause is attached.
        """
        self._check()
        if self._snapshot is None:
            self._prepare(image)
        snapshot = self._snapshot
        if snapshot is None:
            raise RuntimeError("The server has no snapshot.")
        try:
            self._batches.put_nowait((image, valid))
        except queue.Full:
            self.left_out += 1
        logits: Tensor = snapshot(image)
        return logits

    def wait(self) -> None:
        """Until all batches that wait are adapted to."""
        self._batches.join()
        self._check()

    def close(self) -> None:
        """Finish what waits and end the thread; a second time does nothing."""
        if not self._closed:
            self._closed = True
            self._batches.put(None)
            self._thread.join()

    def __enter__(self) -> SnapshotServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _prepare(self, image: Tensor) -> None:
        """The first snapshot needs to know what kind of predictions the model makes."""
        with self._first:
            if self._snapshot is None:
                self.adapter.predict(image)
                self._snapshot = self.adapter.export()

    def _adapt(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                if self._error is None:
                    self.adapter(*batch)
                    self.adapted += 1
                    if self.adapted % self.publish_every == 0:
                        self._snapshot = self.adapter.export()
                        self.published += 1
            except BaseException as error:  # told to the caller, who could not see it otherwise
                self._error = error
            finally:
                self._batches.task_done()
        self._batches.task_done()

    def _check(self) -> None:
        if self._error is not None:
            raise RuntimeError("The adaptation stopped with an error.") from self._error
        if self._closed:
            raise RuntimeError("The server is closed; make a new one.")
