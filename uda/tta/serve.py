"""Predictions from a model that does not change, while another thread adapts."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from types import TracebackType

import torch
from torch import Tensor, nn

from uda.tta.adapter import Adapter
from uda.tta.guard import warn_rarely
from uda.tta.streams import Handover, own_stream

logger = logging.getLogger("uda.tta")


class SnapshotServer:
    """Serves an adapter's predictions without waiting for its updates.

    A call predicts by the last published snapshot, a network of its own that nobody changes, and
    offers the batch to a thread that adapts. Where that is busy and its queue full, the batch is
    left out of the adaptation, and counted. A new snapshot appears whole: a call sees the old one
    or the new one. Calls may come from several threads, and from any CUDA stream.

    A batch whose adaptation fails is left out: the adapter goes back to what was last published,
    the log says why, and calls are answered as before. `wait` and `close` raise the last such
    error, once. What the network itself refuses is raised by the call, and nothing is learnt from
    it.

    Leave the adapter alone while the server runs; after `close` it holds what was learnt.

    Args:
        adapter: Adapts in the thread.
        publish_every: Adapted batches between two snapshots; each copies the network.
        waiting: Batches that may wait for the thread.

    Attributes:
        offered: Batches that were given to the adaptation: those adapted, failed, left out, and
            waiting.
        adapted: Batches that were adapted to.
        failed: Batches whose adaptation failed.
        left_out: Batches that found the queue full.
        published: Snapshots after the first.

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
        self.offered = self.adapted = self.failed = self.left_out = self.published = 0
        self._batches: queue.Queue[_Batch | None] = queue.Queue(waiting)
        self._error: BaseException | None = None
        self._closed = False
        # Held for moments only: counters, the closing, and what has to be seen together.
        self._lock, self._first = threading.Lock(), threading.Lock()
        self._good = adapter.capture()
        self._snapshot = _Snapshot(adapter.export()) if adapter.dense is not None else None
        self._thread = threading.Thread(target=self._adapt, name="uda.tta", daemon=True)
        self._thread.start()

    @torch.no_grad()
    def __call__(self, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """The snapshot's logits of a batch; the batch is offered to the adaptation.

        Args:
            image: (N, C, H, W); leave it as it is afterwards, since it may wait.
            valid: As the adapter takes it.

        Raises:
            RuntimeError: The server is closed.
        """
        if self._closed:
            raise RuntimeError("The server is closed; make a new one.")
        snapshot = self._snapshot or self._prepare(image)
        logits = snapshot(image)
        self._offer(_Batch(image, valid))
        return logits

    def wait(self) -> None:
        """Until all batches that wait are adapted to.

        Raises:
            RuntimeError: An adaptation failed since this was last asked; the cause is attached.
        """
        self._batches.join()
        self._tell()

    def close(self) -> None:
        """Finish what waits and end the thread; a second time does nothing.

        Raises:
            RuntimeError: An adaptation failed and nobody was told; the cause is attached.
        """
        with self._lock:
            first, self._closed = not self._closed, True
        if first:
            self._batches.put(None)  # nothing can come after it
        self._thread.join()
        self._tell()

    def __enter__(self) -> SnapshotServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except RuntimeError as failed:  # the block's own error is the one to see
            logger.warning("%s", failed, exc_info=failed)

    def _prepare(self, image: Tensor) -> _Snapshot:
        """The first snapshot needs to know what kind of predictions the model makes."""
        with self._first:
            if self._snapshot is None:
                self.adapter.predict(image)
                self._good = self.adapter.capture()
                snapshot = _Snapshot(self.adapter.export())
                snapshot.handover.finish()  # the thread was not told of this stream
                self._snapshot = snapshot
            return self._snapshot

    def _offer(self, batch: _Batch) -> None:
        with self._lock:
            if self._closed:  # since the call began: nobody would read it
                return
            self.offered += 1
            try:
                self._batches.put_nowait(batch)
            except queue.Full:
                self.left_out += 1

    def _adapt(self) -> None:
        with own_stream(self.adapter.learner.device):
            while (batch := self._batches.get()) is not None:
                try:
                    self._learn(batch)
                except BaseException as error:  # told by `wait` and `close`: no one else sees it
                    self._fail(error)
                finally:
                    self._batches.task_done()
        self._batches.task_done()

    def _learn(self, batch: _Batch) -> None:
        batch.handover.accept()
        self.adapter(batch.image, batch.valid)
        adapted = self.adapted + 1
        if adapted % self.publish_every == 0:
            good, snapshot = self.adapter.capture(), _Snapshot(self.adapter.export())
            self._good, self._snapshot = good, snapshot
            with self._lock:
                self.published += 1
        with self._lock:
            self.adapted = adapted

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._error = error
            self.failed += 1
        reason = f"{type(error).__name__}: {error}"
        warn_rarely(self.failed, "adaptation to a batch failed (%s)", reason)
        try:
            self.adapter.restore(self._good)
        except BaseException as again:
            self._error = again
            logger.warning("the adapter could not go back: %s", again)

    def _tell(self) -> None:
        with self._lock:
            error, self._error = self._error, None
        if error is not None:
            raise RuntimeError(
                f"The adaptation to a batch failed ({self.failed} so far); predictions were served "
                "by the last snapshot."
            ) from error


class _Batch:
    """Images for the thread, and when they are there."""

    def __init__(self, image: Tensor, valid: Tensor | None) -> None:
        self.image, self.valid = image, valid
        self.handover = Handover([image] if valid is None else [image, valid])


class _Snapshot:
    """A network that nobody changes, and when it is there."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.handover = Handover(itertools.chain(network.parameters(), network.buffers()))

    def __call__(self, image: Tensor) -> Tensor:
        self.handover.accept()
        logits: Tensor = self.network(image)
        return logits
