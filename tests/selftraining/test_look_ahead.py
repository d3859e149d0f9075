"""Look-ahead on a network of one weight, by hand; what it restores, its memory, its errors."""

from __future__ import annotations

import copy
import gc
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from uda.selftraining import EMATeacher, LookAhead
from uda.selftraining.snapshots import OptimiserSnapshot, RandomSnapshot, Snapshot


class World:
    """One weight w that descends (w - target)^2 / 2, a teacher, and what was seen on the way.

    Args:
        rate: Learning rate of plain gradient descent.
        decay: Of the teacher, without ramp.
    """

    def __init__(
        self, rate: float = 0.5, decay: float = 0.5, momentum: float = 0.0, warmup: bool = False
    ) -> None:
        self.student = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.student.weight, 2.0)
        self.teacher = EMATeacher(self.student, decay=decay, warmup=warmup)
        self.optimiser = torch.optim.SGD(self.student.parameters(), lr=rate, momentum=momentum)
        self.seen: list[tuple[float, float]] = []

    def step(self, target: float) -> dict[str, Tensor]:
        """One step; `seen` gets student and teacher as they were before it."""
        self.seen.append((self.student.weight.item(), self.teacher.network.weight.item()))
        self.optimiser.zero_grad()
        loss = (self.student.weight - target).square().sum() / 2
        loss.backward()
        self.optimiser.step()
        return {"loss": loss.detach()}

    def iterate(
        self, look_ahead: LookAhead, target: float = 0.0, further: Any = ()
    ) -> dict[str, Tensor]:
        """One iteration."""
        log: dict[str, Tensor] = look_ahead(
            self.step,
            target,
            student=self.student,
            teacher=self.teacher,
            optimiser=self.optimiser,
            further=further,
        )
        return log

    @property
    def weights(self) -> tuple[float, float]:
        """Student and teacher now."""
        return self.student.weight.item(), self.teacher.network.weight.item()


def test_deep_clean_values() -> None:
    """Rate 1/2, target 0: each step halves w. Decay 1/2: the teacher goes half of the way.

    Iteration 0: teacher 2, student 2 -> 1, teacher copies 1 (its count is still 0). Iteration 1:
    virtual 0.5, teacher 0.75; virtual 0.25, teacher 0.5; real 1 -> 0.5 with the teacher at 0.5.
    Losses of the virtual steps: 1/2 and 1/8, mean 5/16; of the real step 1/2.
    """
    world, look_ahead = World(), LookAhead(steps=2)
    world.iterate(look_ahead)
    assert world.weights == (1, 1)
    log = world.iterate(look_ahead)
    assert world.seen == [(2, 2), (1, 1), (0.5, 0.75), (1, 0.5)]
    assert world.weights == (0.5, 0.5)
    assert {name: value.item() for name, value in log.items()} == {
        "loss": 0.5,
        "virtual/loss": 0.3125,
    }


def test_deep_reference_values() -> None:
    """As above, but the real student goes into the teacher first, and each pass counts.

    Iteration 0: 2 -> 1, then the teacher (count 1) goes half of the way from 2 to 1: 1.5. Iteration
    1: real student 1, teacher 1.25; virtual 0.5, teacher 0.875; virtual 0.25, teacher 0.5625.
    """
    world, look_ahead = World(), LookAhead(steps=2, preset="reference")
    world.iterate(look_ahead)
    assert world.weights == (1, 1.5)
    world.iterate(look_ahead)
    assert world.seen[1:] == [(1, 1.25), (0.5, 0.875), (1, 0.5625)]
    assert world.weights == (0.5, 0.5625)
    assert world.teacher.updates == 4  # passes: 1 + 3


def test_wide_values() -> None:
    """Targets 2 and 4 from w = 1: virtual students 1.5 and 2.5, mean 2; the teacher was 1.

    Clean: the teacher goes to 1.5 before the real step and stays. Reference: it was 1.5, goes to
    1.75, and after the real step (w = 0.5) to 1.125.
    """
    world, look_ahead = World(), LookAhead(mode="wide", steps=2)
    world.iterate(look_ahead, further=(2.0, 4.0))
    world.iterate(look_ahead, further=(2.0, 4.0))
    assert world.seen[1:] == [(1, 1), (1, 1), (1, 1.5)]
    assert world.weights == (0.5, 1.5)
    world, look_ahead = World(), LookAhead(mode="wide", steps=2, preset="reference")
    for _ in range(2):
        world.iterate(look_ahead, further=(2.0, 4.0))
    assert world.seen[1:] == [(1, 1.5), (1, 1.5), (1, 1.75)]
    assert world.weights == (0.5, 1.125)


def test_semi_supervised_values() -> None:
    """The real student goes in before the virtual steps and once more at the end.

    Iteration 1 from (1, 1): teacher 1, virtual 0.5: 0.75, real step to 0.5: 0.625.
    """
    world, look_ahead = World(), LookAhead(steps=1, preset="semi_supervised")
    for _ in range(2):
        world.iterate(look_ahead)
    assert world.seen[1:] == [(1, 1), (1, 0.75)]
    assert world.weights == (0.5, 0.625)


def test_momentum_values() -> None:
    """Rate 0.5, momentum 1, target 0, w = 1 after a first gradient of 2 (momentum 2).

    The virtual step adds its gradient 1: momentum 3. Kept, the real step's is 3 + 1 = 4 and w
    falls by 2; restored, it is 2 + 1 = 3 and w falls by 1.5.
    """
    for state, wanted in (("keep", -1.0), ("restore", -0.5)):
        world = World(momentum=1.0)
        look_ahead = LookAhead(steps=1, optimiser_state=state)  # type: ignore[arg-type]
        world.iterate(look_ahead)
        world.iterate(look_ahead)
        assert world.weights[0] == wanted


def test_learning_rate_values() -> None:
    """At twice the rate (1) the virtual student is at its target 0; the real rate is untouched."""
    world, look_ahead = World(), LookAhead(steps=1, learning_rate=2.0)
    for _ in range(2):
        world.iterate(look_ahead)
    assert world.weights == (0.5, 0.5)  # (1 + 0) / 2
    assert world.optimiser.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("ramp", ["iteration", "pass"])
def test_ramp_values(ramp: Any) -> None:
    """Three iterations of K = 2: the count is 3, or the 1 + 3 + 3 passes."""
    world, look_ahead = World(warmup=True), LookAhead(steps=2, ramp=ramp)
    for _ in range(3):
        world.iterate(look_ahead)
    assert world.teacher.updates == {"iteration": 3, "pass": 7}[ramp]
    assert int(world.teacher.iteration) == world.teacher.updates


@settings(deadline=None, max_examples=25)
@given(
    mode=st.sampled_from(["deep", "wide"]),
    preset=st.sampled_from(["clean", "reference", "semi_supervised"]),
    steps=st.integers(1, 4),
    target=st.floats(-3, 3, width=32),
)
def test_return_properties(mode: Any, preset: Any, steps: int, target: float) -> None:
    """Whatever the options, the real step starts where the student was, to the bit."""
    world, look_ahead = World(rate=0.3), LookAhead(mode=mode, preset=preset, steps=steps)
    before = world.weights[0]
    for _ in range(3):
        world.iterate(look_ahead, target, [target + j for j in range(steps)])
        assert world.seen[-1][0] == before
        before = world.weights[0]


def test_return_after_error_values() -> None:
    """An error in a virtual step leaves the student, its optimiser and the rates as they were."""
    world, look_ahead = World(momentum=0.9), LookAhead(steps=2, learning_rate=0.5)
    world.iterate(look_ahead)
    state = copy.deepcopy(world.optimiser.state_dict())
    calls: list[float] = []

    def failing(target: float) -> dict[str, Tensor]:
        calls.append(target)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return world.step(target)

    with pytest.raises(RuntimeError, match="out of memory"):
        look_ahead(
            failing,
            0.0,
            student=world.student,
            teacher=world.teacher,
            optimiser=world.optimiser,
        )
    assert world.weights[0] == 1
    after = world.optimiser.state_dict()
    assert after["param_groups"] == state["param_groups"]
    assert torch.equal(after["state"][0]["momentum_buffer"], state["state"][0]["momentum_buffer"])


def living(shape: tuple[int, ...]) -> int:
    """How many pieces of memory tensors of a shape have, however many names."""
    tensors = [o for o in gc.get_objects() if isinstance(o, Tensor) and o.shape == shape]
    return len({tensor.untyped_storage().data_ptr() for tensor in tensors})


@pytest.mark.parametrize(
    ("mode", "preset", "copies"),
    [("deep", "reference", 1), ("wide", "reference", 2), ("deep", "clean", 3)],
)
def test_memory_values(mode: Any, preset: Any, copies: int) -> None:
    """Copies of the weights beyond student and teacher: 1 deep, 2 wide; clean adds Adam's moments.

    Counted in the last virtual step, against the first step of all, which has no moments yet.
    """
    shape = (7, 11)
    student = nn.Linear(11, 7, bias=False)
    teacher = EMATeacher(student)
    adam = torch.optim.Adam(student.parameters())
    look_ahead = LookAhead(mode=mode, preset=preset, steps=2)
    counts: list[int] = []

    def step(batch: int) -> dict[str, Tensor]:
        counts.append(living(shape))
        adam.zero_grad()
        loss = student(torch.ones(1, 11)).square().sum()
        loss.backward()
        adam.step()
        return {"loss": loss.detach()}

    for _ in range(2):
        look_ahead(step, 0, student=student, teacher=teacher, optimiser=adam, further=(1, 2))
    moments, gradient = 2, 1
    first, last = counts[0], counts[2]
    assert last - first - moments - gradient == copies


def test_snapshots_values() -> None:
    """Tensors of several types return in place; states that came up since are forgotten."""
    tensors = [torch.ones(2), torch.tensor(3), torch.ones(2, dtype=torch.float64)]
    kept = Snapshot(tensors)
    for tensor in tensors:
        tensor.zero_()
    kept.put_back()
    assert [t.tolist() for t in tensors] == [[1, 1], 3, [1, 1]]
    Snapshot([]).put_back()
    weights = [nn.Parameter(torch.ones(1)) for _ in range(2)]
    adam = torch.optim.Adam(weights)
    weights[0].grad = torch.ones(1)
    adam.step()
    state = OptimiserSnapshot(adam, weights)
    weights[1].grad = torch.ones(1)
    adam.step()
    state.put_back()
    assert list(adam.state) == [weights[0]]
    assert adam.state[weights[0]]["step"].item() == 1
    assert adam.state[weights[0]]["exp_avg"].item() == pytest.approx(0.1)


def test_random_snapshot_values() -> None:
    """The draw after putting back is the draw before."""
    state = RandomSnapshot(torch.device("cpu"))
    first = torch.rand(3)
    state.put_back()
    assert torch.equal(torch.rand(3), first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "long"}, "mode has to be one of deep, wide, not 'long'"),
        ({"preset": "paper"}, "preset has to be one of clean, reference, semi_supervised, not"),
        ({"steps": -1}, "steps is a number of virtual steps >= 0, not -1"),
        ({"learning_rate": 0.0}, "learning_rate is a factor above 0, not 0.0"),
        ({"buffers": "drop"}, "buffers has to be one of restore, keep, not 'drop'"),
        ({"random_state": "x"}, "random_state has to be one of restore, keep, not 'x'"),
        ({"optimiser_state": "x"}, "optimiser_state has to be one of restore, keep, not 'x'"),
        ({"real_student": "x"}, "real_student has to be one of none, first, last, both, not"),
        ({"ramp": "epoch"}, "ramp has to be one of iteration, pass, not 'epoch'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_look_ahead_errors(arguments: dict[str, Any], message: str) -> None:
    """Each wrong argument is named with what was wanted."""
    with pytest.raises(ValueError, match=message):
        LookAhead(**arguments)


def test_too_few_further_batches_errors() -> None:
    """Two further batches for three virtual steps."""
    world, look_ahead = World(), LookAhead(mode="wide", steps=3)
    world.iterate(look_ahead)
    with pytest.raises(ValueError, match="needs 3 further batches an iteration and got 2: set"):
        world.iterate(look_ahead, further=(1.0, 2.0))
