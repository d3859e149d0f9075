"""Coupled groups: two separate runs if uncoupled, routes, shares, memory, restarts, refusals."""

from __future__ import annotations

import contextlib
import copy
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uda.methods import DualTeacherStudent, Method, SelfTraining
from uda.methods.base import PlainOptimiser
from uda.methods.dual_teacher_student import target_shares
from uda.selftraining import ClassBalancedThreshold, CutMix, LookAhead, TargetMix
from uda.structures import Batch, Mixed, Unlabelled

from .test_look_ahead import assert_equal, run
from .tiny import CLASSES, make_batch, make_self_training, make_source_only, make_student


def build(seeds: tuple[int, int] = (0, 1), groups: Any = (), **changes: Any) -> DualTeacherStudent:
    """Two groups of DAFormer's parts, by default labelling for each other."""
    primary, secondary = groups or [make_self_training(make_student(seed)) for seed in seeds]
    arguments = {"target_mix": TargetMix(num_classes=CLASSES), **changes}
    method = DualTeacherStudent(primary=primary, secondary=secondary, **arguments)
    method.initialise()
    return method


def adam(method: Method) -> torch.optim.AdamW:
    """AdamW over all that is trained."""
    return torch.optim.AdamW(method.trained().parameters(), lr=1e-2)


def test_uncoupled_parity() -> None:
    """Routes "own" and no target mix: each group is a separate run to the bit, dropout included."""
    alone = [make_self_training(make_student(seed)) for seed in (0, 1)]
    logs = [run(method, adam(method), range(4)) for method in alone]
    dual = build(primary_route="own", secondary_route="own", target_mix=None)
    found = run(dual, adam(dual), range(4))
    for one, group, name, log in zip(
        alone, dual.groups, ("primary", "secondary"), logs, strict=True
    ):
        assert_equal(one, group)
        for wanted, both in zip(log, found, strict=True):
            for key, value in wanted.items():
                assert torch.equal(both[f"{name}/{key}"], value), key


@pytest.mark.parametrize("steps", [0, 2])
def test_uncoupled_look_ahead_parity(steps: int) -> None:
    """The same where both groups look ahead."""

    def make(seed: int) -> SelfTraining:
        group = make_self_training(make_student(seed))
        group.use_look_ahead(LookAhead(mode="wide", steps=steps, preset="reference"))
        return group

    alone = [make(seed) for seed in (0, 1)]
    for method in alone:
        run(method, adam(method), range(3))
    dual = build(
        groups=[make(0), make(1)], primary_route="own", secondary_route="own", target_mix=None
    )
    assert dual.further_batches == steps
    run(dual, adam(dual), range(3))
    for one, group in zip(alone, dual.groups, strict=True):
        assert_equal(one, group)


def test_same_mixed_images_values() -> None:
    """Both groups see one source-in-target image, also where only one has a source pass."""
    method = build(secondary_source=False)
    seen: list[Mixed] = []
    for group in method.groups:
        group.mixer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    run(method, adam(method), range(1))
    assert torch.equal(seen[0].mask, seen[1].mask)
    assert torch.equal(seen[0].image, seen[1].image)  # after the view, which is random as well
    assert not torch.equal(seen[0].label, seen[1].label)


class Constant(nn.Module):
    """Stands for a teacher: all pixels are of one class, with a probability."""

    def __init__(self, class_id: int, probability: float) -> None:
        super().__init__()
        self.class_id, self.probability = class_id, probability

    def predict(self, image: Tensor) -> Tensor:
        """Probabilities (N, K, H, W)."""
        rest = (1 - self.probability) / (CLASSES - 1)
        probs = torch.full((len(image), CLASSES, *image.shape[2:]), rest)
        probs[:, self.class_id] = self.probability
        return probs


@pytest.mark.parametrize(
    ("routes", "wanted"),
    [
        (("own", "own", None), [(1, 0.7), (2, 0.6), (2, 0.6)]),
        (("cross", "cross", None), [(2, 0.6), (1, 0.7), (1, 0.7)]),
        (("cross", "own", "cross"), [(2, 0.6), (2, 0.6), (1, 0.7)]),
        (("mean", "own", "mean"), [(1, 0.4), (2, 0.6), (1, 0.4)]),
    ],
    ids=["own", "cross", "by term", "mean"],
)
def test_routes_values(routes: tuple[Any, Any, Any], wanted: list[tuple[int, float]]) -> None:
    """Teacher 1 says class 1 with 0.7 (others 0.1), teacher 2 class 2 with 0.6 (others 0.4 / 3).

    The mean of class 1: (0.7 + 0.4 / 3) / 2 = 0.41667; of class 2: (0.1 + 0.6) / 2 = 0.35.
    """
    method = build(primary_route=routes[0], secondary_route=routes[1], target_route=routes[2])
    for group, teacher in zip(method.groups, (Constant(1, 0.7), Constant(2, 0.6)), strict=True):
        group.teacher = teacher  # type: ignore[assignment]
    one, two = method.routing.both(make_batch())
    assert one.pair is None
    assert two.pair is not None
    for pseudo, (label, confidence) in zip(
        (one.target, two.target, two.pair[1]), wanted, strict=True
    ):
        assert pseudo.label.unique().tolist() == [label]
        assert pseudo.confidence.max().item() == pytest.approx(confidence, abs=0.02)
    assert two.pair[0].label.unique().tolist() == [wanted[2][0]]


def test_start_exchange_values() -> None:
    """The routes apply from the given iteration on, also after a restart."""
    method = build(start_exchange=2)
    seen = []
    for seed in range(4):
        seen.append(method.routing._now("cross"))
        run(method, adam(method), range(seed, seed + 1))
    assert seen == ["own", "own", "cross", "cross"]
    again = build((5, 6), start_exchange=2)
    again.load_state_dict(method.state_dict())
    assert again.routing.iterations == 4


def test_second_target_values() -> None:
    """x' is the second draw if the batch has one, else the batch in another order."""
    method = build(target_mix=TargetMix(num_classes=CLASSES, mask="cutmix"))
    seen: list[Unlabelled] = []
    mix = method.target_mix.mix  # type: ignore[union-attr]

    def watched(first: Any, first_label: Any, second: Any, second_label: Any) -> Mixed:
        seen.append(second)
        return mix(first, first_label, second, second_label)

    method.target_mix.mix = watched  # type: ignore[union-attr, method-assign]
    batch, other = make_batch(), make_batch(1).target
    optimiser = PlainOptimiser(adam(method))
    method.training_step(batch, optimiser)
    method.training_step(Batch(batch.source, batch.target, other), optimiser)
    assert batch.target is not None
    assert torch.equal(seen[0].image, batch.target.image.flip(0))  # two images: the other one
    assert seen[1] is other


def test_target_shares_values() -> None:
    """A quarter of the mixed image is source; pseudo-labels weigh 0.5, in target-in-target 0.2.

    Pixels: 0.75 / 2 with a source pass, (0.75 + 1) / 3 with target in target as well. Weighed:
    0.375 of 1 + 0.625; with target in target at weight 2: (0.375 + 0.4) / (1 + 0.625 + 0.4).
    """
    mask = torch.tensor([[True, False], [False, False]]).view(1, 1, 2, 2)
    weight = torch.where(mask.squeeze(1), 1.0, 0.5)
    image, label = torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2).long()
    mixed = Mixed(image, label, weight, mask)
    again = Mixed(image, label, torch.full((1, 2, 2), 0.2), torch.zeros_like(mask))
    one = target_shares(mixed, None, source=True, weight=1.0)
    assert one["target_share"].item() == pytest.approx(0.375)
    assert one["effective_target_share"].item() == pytest.approx(0.375 / 1.625)
    two = target_shares(mixed, again, source=True, weight=2.0)
    assert two["target_share"].item() == pytest.approx(1.75 / 3)
    assert two["effective_target_share"].item() == pytest.approx(0.775 / 2.025)
    three = target_shares(mixed, again, source=False, weight=2.0)
    assert three["target_share"].item() == pytest.approx(0.875)
    weightless = Mixed(image, label, torch.zeros(1, 2, 2), torch.zeros_like(mask))
    none = target_shares(weightless, None, source=False, weight=1.0)
    assert none["effective_target_share"].item() == 0


def test_log_values() -> None:
    """The loss is the sum of both groups'; the secondary one sees more of the target."""
    method = build(target_weight=0.5)
    (log,) = run(method, adam(method), range(1))
    torch.testing.assert_close(log["loss"], log["primary/loss"] + log["secondary/loss"])
    assert {"primary/mixed/target_share", "secondary/mixed/effective_target_share"} <= set(log)
    assert log["secondary/mixed/target_share"] > log["primary/mixed/target_share"]
    assert "primary/target_mix/ce" not in log


def test_activations_of_one_network_properties() -> None:
    """When a network runs forward, no map of any other pass of a student is alive."""
    method = build()
    maps: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def watch(module: nn.Module, inputs: Any, output: Any) -> None:
        alive.append(sum(ref() is not None for ref in maps))
        maps.append(weakref.ref(output[0]))

    for group in method.groups:
        for term in group.terms:
            assert term.name in ("feature_distance", "entropy")
        group.student.body.register_forward_hook(watch)  # type: ignore[union-attr, operator]
    run(method, adam(method), range(2))
    assert len(alive) == 2 * (3 + 4)  # source, mixed, entropy; secondary: target in target
    assert max(alive) == 0


@pytest.mark.parametrize("ahead", [False, True], ids=["plain", "ahead"])
def test_autocast_values(ahead: bool) -> None:
    """Every forward pass, the teachers' too, runs inside the optimiser's context, no step does."""
    inside: list[bool] = []
    active = False

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        nonlocal active
        active = True
        yield
        active = False

    class Watched(PlainOptimiser):
        def step(self) -> None:
            assert not active
            super().step()

    method = build()
    if ahead:
        method.secondary.use_look_ahead(LookAhead(steps=1))
    for group in method.groups:
        for network in (group.student, group.teacher.network):
            network.register_forward_hook(lambda *_: inside.append(active))
    optimiser = Watched(adam(method), autocast=context)
    for seed in range(2):
        method.training_step(make_batch(seed), optimiser)
    assert len(inside) > 20
    assert all(inside)


def test_state_values() -> None:
    """Each tensor is saved once, under its group; both students are trained; names of networks."""
    method = build(deploy="primary")
    names = list(method.state_dict())
    assert all(
        name.split(".")[0] in ("primary", "secondary", "routing", "target_mix") for name in names
    )
    assert method.student is method.primary.student
    trained = list(method.trained().parameters())
    assert len(trained) == 2 * len(list(method.primary.student.parameters()))
    networks = method.networks()
    assert list(networks) == ["student", "teacher", "secondary_student", "secondary_teacher"]
    assert networks["teacher"] is method.primary.teacher.network
    assert build().networks()["student"] is not build().primary.student


def test_dual_teacher_student_resume() -> None:
    """Saved after two of four iterations and loaded into a fresh method: equal to the bit."""

    def make(seeds: tuple[int, int]) -> DualTeacherStudent:
        groups = [
            make_self_training(
                make_student(seed),
                selector=ClassBalancedThreshold(num_classes=CLASSES, momentum=0.5, ramp=3),
                mixer=CutMix(),
            )
            for seed in seeds
        ]
        groups[1].use_look_ahead(LookAhead(steps=1))
        return build(groups=groups, start_exchange=1, secondary_route="mean")

    straight, first, second = make((0, 1)), make((0, 1)), make((8, 9))
    run(straight, adam(straight), range(4))
    optimiser, resumed = adam(first), adam(second)
    run(first, optimiser, range(2))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    run(second, resumed, range(2, 4))
    assert_equal(straight, second)


class Redrawn(nn.Conv2d):
    """A network whose weights are drawn by `init_weights`."""

    def init_weights(self) -> None:
        """Draw them."""
        nn.init.normal_(self.weight)


def test_init_weights_values() -> None:
    """Weights follow the run's seed and the group's; the generator goes on as if nothing was."""

    def make(seeds: tuple[int, int]) -> list[Tensor]:
        groups = [make_self_training(Redrawn(3, CLASSES, 1), terms=[]) for _ in range(2)]
        method = DualTeacherStudent(primary=groups[0], secondary=groups[1], seeds=seeds)
        torch.manual_seed(7)
        method.init_weights()
        assert torch.rand(1).item() == torch.rand(1, generator=torch.manual_seed(7)).item()
        assert torch.equal(groups[1].teacher.network.weight, groups[1].student.weight)  # type: ignore[arg-type]
        return [group.student.weight.detach().clone() for group in groups]  # type: ignore[union-attr, operator]

    one, two = make((0, 3)), make((3, 0))
    assert torch.equal(one[0], two[1])
    assert torch.equal(one[1], two[0])
    assert not torch.equal(one[0], one[1])


def test_training_step_reads_nothing_properties() -> None:
    """No iteration reads a value from the device: it runs on one that has none."""
    method = build().to("meta")
    batch = make_batch(size=32)
    assert batch.target is not None
    batch.source.image, batch.source.label = (
        batch.source.image.to("meta"),
        batch.source.label.to("meta"),
    )
    batch.target.image = batch.target.image.to("meta")
    for _ in range(2):
        log = method.training_step(batch, PlainOptimiser(adam(method)))
    assert all(value.is_meta for value in log.values())


def test_equal_groups_errors() -> None:
    """Equal seeds, equal weights, and one student twice are refused with the reason."""
    one, two = (make_self_training(make_student(seed)) for seed in (0, 1))
    with pytest.raises(ValueError, match=r"seeds=\(2, 2\) draw the same weights for both groups,"):
        DualTeacherStudent(primary=one, secondary=two, seeds=(2, 2))
    with pytest.raises(ValueError, match="both students have the same weights and see the same"):
        build((0, 0))
    group = make_self_training(make_student())
    with pytest.raises(ValueError, match="both groups hold the same student; give each its own"):
        build(groups=[group, make_self_training(group.student)])


def test_dual_teacher_student_errors() -> None:
    """Other methods as groups, unknown names, numbers out of range, one image, no target."""
    with pytest.raises(TypeError, match="primary has to be SelfTraining .* got SourceOnly"):
        build(groups=[make_source_only(make_student()), make_self_training(make_student(1))])
    with pytest.raises(ValueError, match="A label route is one of own, cross, mean, not 'both'"):
        build(primary_route="both")
    with pytest.raises(ValueError, match="deploy has to be one of primary, secondary, not 'mean'"):
        build(deploy="mean")
    with pytest.raises(ValueError, match="have to be at least 0, not -1.0 and 0"):
        build(target_weight=-1.0)
    with pytest.raises(ValueError, match="give look_ahead to primary, to secondary, or to both"):
        build().use_look_ahead(LookAhead())
    method, batch = build(), make_batch()
    assert batch.target is not None
    batch.target.image = batch.target.image[:1]
    with pytest.raises(ValueError, match="needs two target images, and the batch has one: set"):
        method.routing.both(batch)
    batch.target = None
    with pytest.raises(ValueError, match="DualTeacherStudent needs target images"):
        method.routing.both(batch)
