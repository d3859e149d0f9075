"""Snapshot serving: predictions never see half an update, batches are left out, errors are told."""

from __future__ import annotations

import contextlib
import logging
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


class Failing:
    """A step that fails when told to, after it has spoilt the weights."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter, self.step, self.fails = adapter, adapter.method.step, False
        adapter.method.step = self  # type: ignore[method-assign]

    def __call__(self, *arguments: object) -> Tensor:
        if self.fails:
            for parameter in self.adapter.learner.parameters.values():
                parameter.data.fill_(float("nan"))
            raise ArithmeticError("the step went wrong")
        return self.step(*arguments)


def test_serves_on_after_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """A failed batch is left out: answers are the last snapshot's, later batches are learnt."""
    adapter, plain = model(), model()
    failing = Failing(adapter)
    # The level is set here, since other tests of this process may have set another.
    with caplog.at_level(logging.WARNING, logger="uda.tta"), SnapshotServer(adapter) as server:
        server(images())
        server.wait()
        plain(images())
        failing.fails = True
        for _ in range(3):
            torch.testing.assert_close(server(images(4, 1)), plain.predict(images(4, 1)))
            with pytest.raises(RuntimeError, match="adaptation to a batch failed") as caught:
                server.wait()
            assert "went wrong" in str(caught.value.__cause__)
        server.wait()  # told once
        failing.fails = False
        server(images(4, 2))
        server.wait()
        plain(images(4, 2))
        torch.testing.assert_close(server(images(4, 3)), plain.predict(images(4, 3)))
    assert (server.failed, server.adapted, server.offered) == (3, 3, 6)
    assert "adaptation to a batch failed (ArithmeticError: the step went wrong)" in caplog.text


def test_last_error_is_told() -> None:
    """An error of the very last batch is raised by `close`, once; not over one of the block."""
    server = SnapshotServer(model())
    failing = Failing(server.adapter)
    failing.fails = True
    server(images())
    with pytest.raises(RuntimeError, match="adaptation to a batch failed"):
        server.close()
    server.close()
    with pytest.raises(KeyError, match="of the block"):
        _fail_inside(SnapshotServer(model()))


def _fail_inside(server: SnapshotServer) -> None:
    with server:
        Failing(server.adapter).fails = True
        server(images())
        raise KeyError("of the block")


def test_refused_images() -> None:
    """What the network refuses is the caller's error, and never reaches the adaptation."""
    with SnapshotServer(model()) as server:
        server(images())
        with pytest.raises(RuntimeError, match="channels"):
            server(torch.zeros(1, 7, 8, 8))
        server.wait()
    assert (server.offered, server.adapted, server.failed) == (1, 1, 0)


def test_errors() -> None:
    """A closed server says so; numbers are at least 1."""
    closed = SnapshotServer(model())
    closed.close()
    with pytest.raises(RuntimeError, match="server is closed"):
        closed(images())
    with pytest.raises(ValueError, match="publish_every and waiting are at least 1"):
        SnapshotServer(model(), waiting=0)


def stressed(server: SnapshotServer, callers: int, calls: int, *, until: int) -> list[str]:
    """Ask from many threads; close once so many were answered. What went wrong, in words."""
    wrong: list[str] = []
    answered = threading.Semaphore(0)

    def ask(seed: int) -> None:
        try:
            for _ in range(calls):
                finite = torch.isfinite(server(images(2, seed))).all()
                wrong.extend([] if finite else ["a prediction is not finite"])
                answered.release()
        except RuntimeError as error:
            wrong.extend([] if "closed" in str(error) else [repr(error)])

    threads = [threading.Thread(target=ask, args=(seed,), daemon=True) for seed in range(callers)]
    for thread in threads:
        thread.start()
    for _ in range(until):
        answered.acquire()

    def close() -> None:
        with contextlib.suppress(RuntimeError):  # an adaptation may have failed
            server.close()

    closers = [threading.Thread(target=close, daemon=True) for _ in range(2)]
    for thread in closers:
        thread.start()
    for thread in [*threads, *closers]:
        thread.join(30)
        if thread.is_alive():
            wrong.append("a thread hangs")
    return wrong


@pytest.mark.parametrize("waiting", [1, 3])
@pytest.mark.parametrize("until", [0, 7, 40])
def test_stress_of_call_and_close(waiting: int, until: int) -> None:
    """Closed while many threads call: nothing hangs, every batch offered is accounted for."""
    server = SnapshotServer(model(), waiting=waiting, publish_every=2)
    assert stressed(server, callers=6, calls=10, until=until) == []
    assert server.offered == server.adapted + server.left_out + server.failed
    assert server.offered >= until
    server.wait()  # nothing is left in the queue
    assert server.published == server.adapted // 2


def test_stress_of_failures() -> None:
    """Every second update fails: calls are answered with finite predictions all the while."""
    adapter = model()
    failing = Failing(adapter)
    step, count = failing.__call__, iter(range(10**6))

    def sometimes(*arguments: object) -> Tensor:
        failing.fails = next(count) % 2 == 1
        return step(*arguments)

    adapter.method.step = sometimes  # type: ignore[method-assign]
    server = SnapshotServer(adapter, waiting=4)
    assert stressed(server, callers=4, calls=12, until=30) == []
    assert server.failed > 0
    assert server.offered == server.adapted + server.left_out + server.failed
    assert all(torch.isfinite(p).all() for p in adapter.learner.parameters.values())
