"""Snapshot serving: predictions never see half an update, batches are left out, errors are told."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from tests.tta.tiny import images, network
from uda.tta import Adapter, adapt
from uda.tta.serve import SnapshotServer


def model(**settings: object) -> Adapter:
    return adapt(network("classifier"), "tent", lr=0.1, guard=False, **settings)


def test_serves_snapshots() -> None:
    """A call sees the state after a whole number of updates; the updates equal those of calls."""
    plain = model()
    states = [plain.predict(images())]
    with SnapshotServer(model()) as server:
        for seed in range(4):
            torch.testing.assert_close(server(images(4, seed)), plain.predict(images(4, seed)))
            server.wait()
            plain(images(4, seed))
            states.append(plain.predict(images()))
    assert (server.adapted, server.published, server.left_out) == (4, 4, 0)
    assert torch.equal(server.adapter.predict(images()), states[-1])


def test_prediction_does_not_wait() -> None:
    """While an update hangs, calls are answered by the old snapshot and batches left out."""
    adapter = model()
    before = adapter.predict(images())
    started, go = threading.Event(), threading.Event()
    step = adapter.method.step

    def slow(*arguments: object) -> Tensor:
        started.set()
        go.wait(10)
        return step(*arguments)

    adapter.method.step = slow  # type: ignore[method-assign]
    server = SnapshotServer(adapter)
    server(images())
    assert started.wait(10)
    for _ in range(3):
        torch.testing.assert_close(server(images()), before)
    assert (server.adapted, server.left_out) == (0, 2)
    go.set()
    server.wait()
    assert server.adapted == 2
    assert not torch.equal(server(images()), before)
    server.close()
    server.close()


def test_publish_every() -> None:
    """Between snapshots predictions stay."""
    with SnapshotServer(model(), publish_every=2) as server:
        first = server(images())
        server.wait()
        torch.testing.assert_close(server(images()), first)
        server.wait()
        assert not torch.equal(server(images()), first)
    assert server.published == 1


def test_several_threads() -> None:
    """Batches of both sides of "auto", asked from two threads: each gets its own answer."""
    adapter = model(every=10**6)  # the first batch alone adapts
    adapter(images())
    wanted = {count: adapter.predict(images(count)) for count in (4, 20)}
    wrong: list[int] = []

    def ask(count: int) -> None:
        for _ in range(30):
            if not torch.allclose(server(images(count)), wanted[count], atol=1e-5):
                wrong.append(count)

    with SnapshotServer(adapter) as server:
        threads = [threading.Thread(target=ask, args=(count,)) for count in wanted]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_errors() -> None:
    """What fails in the thread is told at the next call; a closed server says so."""
    server = SnapshotServer(model())
    server(images())
    server.wait()
    server._batches.put((torch.zeros(1, 7, 8, 8), None))
    with pytest.raises(RuntimeError, match="stopped with an error") as caught:
        server.wait()
    assert "channels" in str(caught.value.__cause__)
    server.close()
    closed = SnapshotServer(model())
    closed.close()
    with pytest.raises(RuntimeError, match="server is closed"):
        closed(images())
    with pytest.raises(ValueError, match="publish_every and waiting are at least 1"):
        SnapshotServer(model(), waiting=0)
