"""Two coupled teacher-student groups, one of which sees more of the target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from uda import watching
from uda.methods.base import Method, Optimiser, accumulate
from uda.methods.label_routes import NAMES, Group, Labels, Route, Routing, targets_of
from uda.methods.self_training import SelfTraining
from uda.selftraining.mixers import TargetMix
from uda.selftraining.snapshots import RandomSnapshot
from uda.selftraining.terms import Pass
from uda.structures import Batch, Labelled, Mixed, PseudoLabel


class DualTeacherStudent(Method):
    """Two groups of teacher and student that label the target for each other.

    After the idea of "Focus on Your Target" (DTS, Huo et al., ICCV 2023, arXiv 2303.09083): the
    primary group trains as it would alone, the secondary one gets a larger share of target pixels,
    and the two are coupled in both directions. **What follows is this toolkit's own definition.**
    Only the abstract and the introduction of the paper could be read and there is no released code,
    so that nothing here is claimed to be the authors' method or to reach their numbers.

    One iteration, with x the target images and x' a second draw of them:

    1. each teacher follows its own student;
    2. both teachers label x and x'; routes choose whose labels a group gets: its `"own"` teacher's,
       those of the other one (`"cross"`), or of the mean of both probabilities (`"mean"`); the
       group's selector weighs them;
    3. primary: source pass, pass over source mixed into target, passes of its terms, one step;
    4. secondary: the same images with its own labels, then x mixed into x' (`target_mix`), one
       step.

    The groups run one after another and each pass lets go of its graph, so that activations need
    what one network needs; weights, moments and teachers are there twice. In passes an iteration
    costs 5 of a student and 4 of a teacher, where `SelfTraining` costs 2 and 1. Both groups draw
    the same random numbers, so that they mix the same images (a group with more virtual steps than
    the other draws anew in those beyond). With both routes `"own"` and without
    `target_mix` they are two separate runs, to the bit.

    The log has "primary/..." and "secondary/..."; `target_share` is the share of target pixels
    among all that the student saw, `effective_target_share` the same with pixels weighed as in the
    loss.

    Args:
        primary: The first group; its `passes` are not called, its parts are.
        secondary: The second group, around another student, of the same architecture or not.
        primary_route: Whose labels the primary group learns from.
        secondary_route: Whose labels the secondary group learns from.
        target_route: Whose labels are used where target is mixed into target; None: as
            `secondary_route`.
        target_mix: Mixes target into target for the secondary group; None leaves that pass out.
        target_weight: Weight of that pass.
        secondary_source: Whether the secondary group has a source pass.
        start_exchange: Iterations before the routes apply; until then each is `"own"`. A teacher
            that has learnt little labels the other's images at random.
        seeds: What is added to the run's seed when a group's weights are drawn.
        deploy: The group whose networks are `"student"` and `"teacher"` of the run.

    Raises:
        TypeError: A group is not plain `SelfTraining`, or `target_mix` another mixer.
        ValueError: The groups could not differ, or an argument is outside its range.
    """

    def __init__(
        self,
        *,
        primary: SelfTraining,
        secondary: SelfTraining,
        primary_route: Route = "cross",
        secondary_route: Route = "cross",
        target_route: Route | None = None,
        target_mix: TargetMix | None = None,
        target_weight: float = 1.0,
        secondary_source: bool = True,
        start_exchange: int = 0,
        seeds: tuple[int, int] = (0, 1),
        deploy: Group = "secondary",
    ) -> None:
        groups = (primary, secondary)
        _check_groups(groups, seeds)
        if target_weight < 0 or start_exchange < 0:
            raise ValueError(
                "target_weight and start_exchange have to be at least 0, not "
                f"{target_weight} and {start_exchange}."
            )
        if target_mix is not None and not isinstance(target_mix, TargetMix):
            raise TypeError(
                "DualTeacherStudent: target_mix has to be TargetMix, which mixes target into "
                f"target, not {type(target_mix).__name__}."
            )
        if deploy not in NAMES:
            raise ValueError(f"deploy has to be one of {', '.join(NAMES)}, not {deploy!r}.")
        deployed = groups[NAMES.index(deploy)]
        super().__init__(student=deployed.student)
        # The groups hold the networks; under a second name they would be saved twice.
        del self._modules["student"]
        self.__dict__["student"] = deployed.student
        self.primary, self.secondary = primary, secondary
        self.target_mix, self.target_weight = target_mix, target_weight
        self.secondary_source = secondary_source
        self.seeds, self.deploy = (int(seeds[0]), int(seeds[1])), deploy
        self.routing = Routing(
            groups,
            routes=(primary_route, secondary_route),
            target_route=target_route or secondary_route,
            start=start_exchange,
            second=target_mix is not None,
        )

    @property
    def groups(self) -> tuple[SelfTraining, SelfTraining]:
        """Primary and secondary."""
        return self.primary, self.secondary

    def begin(self) -> None:
        """Tell the terms of both groups that an iteration starts."""
        for group in self.groups:
            group.begin()

    @property
    def further_batches(self) -> int:
        """As many as the group that looks ahead most widely wants; both get the same."""
        return max(group.further_batches for group in self.groups)

    def use_look_ahead(self, look_ahead: Any) -> None:
        """Refuse: a group looks ahead, not the pair.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "DualTeacherStudent has two teachers, each with a student of its own: give look_ahead "
            "to primary, to secondary, or to both."
        )

    def training_step(
        self, batch: Batch, optimiser: Optimiser, further: Iterable[Batch] = ()
    ) -> dict[str, Tensor]:
        """One iteration of both groups; see `Method.training_step`.

        Where a group looks ahead, its labels are made anew for each of its steps.
        """
        self.begin()
        for group in self.groups:
            if group.look_ahead is None:
                group.update_teacher()
        ahead = [group.look_ahead is not None for group in self.groups]
        labels: tuple[Labels | None, Labels | None] = (None, None)
        if not any(ahead):
            with optimiser.autocast():
                labels = self.routing.both(batch)
        later = list(further) if all(g.further_batches for g in self.groups) else further
        mixing: list[RandomSnapshot] = []
        start = RandomSnapshot(batch.source.image.device)
        log: dict[str, Tensor] = {}
        for number, name in enumerate(NAMES):
            if number == 1:
                start.put_back()
            found = self._run(number, batch, optimiser, later, labels[number], mixing)
            log.update({f"{name}/{key}": value for key, value in found.items()})
        self.routing.count()
        log["loss"] = torch.stack([log[f"{name}/loss"] for name in NAMES]).sum()
        return log

    def _run(
        self,
        number: int,
        batch: Batch,
        optimiser: Optimiser,
        further: Iterable[Batch],
        labels: Labels | None,
        mixing: list[RandomSnapshot],
    ) -> dict[str, Tensor]:
        """One group's part of an iteration, with its look-ahead if it has one."""
        group = self.groups[number]
        # Where the primary group's draws for its mixed images began, step by step.
        drawn = iter(list(mixing)) if number else None

        def step(seen: Batch) -> dict[str, Tensor]:
            with optimiser.autocast():
                known = labels or self.routing.of_group(number, seen)

            def mix() -> tuple[Mixed, Mixed | None]:
                if drawn is None:
                    mixing.append(RandomSnapshot(seen.source.image.device))
                else:
                    state = next(drawn, None)
                    if state is not None:
                        state.put_back()
                return self._mix(number, seen, known)

            with watching.phase("optimiser"):
                optimiser.zero_grad()
            passes = self._passes(number, seen, known, mix)
            with watching.group(NAMES[number]):
                log = accumulate(passes, optimiser, backward=group.backward)
            with watching.phase("optimiser"):
                optimiser.step()
            return log

        if group.look_ahead is None:
            return step(batch)
        return cast(
            "dict[str, Tensor]",
            group.look_ahead(
                step,
                batch,
                student=group.student,
                teacher=group.teacher,
                optimiser=optimiser.optimiser,
                owner=self,
                trained=group.trained(),
                further=further,
            ),
        )

    def _mix(self, number: int, batch: Batch, labels: Labels) -> tuple[Mixed, Mixed | None]:
        """Mixed images of a group, and those of target in target if it has such a pass."""
        group = self.groups[number]
        target, second = targets_of(batch, second=number == 1 and self.target_mix is not None)
        mixed = group.mix(self._styled(number, batch), target, labels.target)
        if second is None or self.target_mix is None:
            return mixed, None
        first_label, second_label = cast("tuple[PseudoLabel, PseudoLabel]", labels.pair)
        again = self.target_mix.mix(target, first_label, second, second_label)
        again.image = group.view(again.image)
        return mixed, again

    def _styled(self, number: int, batch: Batch) -> Labelled:
        target, _ = targets_of(batch, second=False)
        return self.groups[number].styled(batch.source, target)

    def _passes(
        self,
        number: int,
        batch: Batch,
        labels: Labels,
        mix: Callable[[], tuple[Mixed, Mixed | None]],
    ) -> Iterator[Pass]:
        """The passes of one group: source, mixed, terms, and target in target."""
        group = self.groups[number]
        source = number == 0 or self.secondary_source
        if source:
            yield group.source_pass(self._styled(number, batch))
        mixed, again = mix()
        done = group.mixed_pass(mixed, labels.target)
        shares = target_shares(mixed, again, source=source, weight=self.target_weight)
        yield done._replace(metrics={**done.metrics, **shares})
        del done
        for term in group.terms:
            yield from term.passes(group.student_pass, batch, labels.target)
        if again is not None:
            losses = group.supervised(group.student_pass(again.image), again.label, again.weight)
            yield Pass(
                "target_mix",
                {name: self.target_weight * loss for name, loss in losses.items()},
                {"pseudo_weight": again.weight.mean()},
            )
        if NAMES[number] == self.deploy:
            self._show(batch, labels, mixed)

    def _show(self, batch: Batch, labels: Labels, mixed: Mixed) -> None:
        target, _ = targets_of(batch, second=False)
        self.show(
            source_image=batch.source.image,
            source_label=batch.source.label,
            target_image=target.image,
            pseudo_label=labels.target.label,
            pseudo_weight=labels.target.weight,
            mixed_image=mixed.image,
            mixed_label=mixed.label,
            mixed_weight=mixed.weight,
        )

    def trained(self) -> nn.Module:
        """Both students, each with the heads of its terms."""
        return nn.ModuleDict({n: g.trained() for n, g in zip(NAMES, self.groups, strict=True)})

    def init_weights(self) -> None:
        """Draw each student's weights from a seed of its own, then `initialise`."""
        for group, seed in zip(self.groups, self.seeds, strict=True):
            with torch.random.fork_rng(devices=_devices(group.student)):
                torch.manual_seed(torch.initial_seed() + seed)
                cast(Any, group.student).init_weights()
        self.initialise()

    def initialise(self) -> None:
        """Start teachers and terms from their students.

        Raises:
            ValueError: Both students have the same weights.
        """
        first, second = (list(group.student.parameters()) for group in self.groups)
        if len(first) == len(second) and all(map(torch.equal, first, second)):
            raise ValueError(
                "DualTeacherStudent: both students have the same weights and see the same data in "
                "the same order, so that their teachers would agree and the exchange be empty. "
                "Draw at least one head from another seed."
            )
        for group in self.groups:
            group.initialise()

    def networks(self) -> dict[str, nn.Module]:
        """Student and teacher of the deployed group, then the other's by group and name."""
        found: dict[str, nn.Module] = {}
        for name, group in sorted(
            zip(NAMES, self.groups, strict=True), key=lambda item: item[0] != self.deploy
        ):
            prefix = "" if name == self.deploy else f"{name}_"
            found |= {f"{prefix}{key}": network for key, network in group.networks().items()}
        return found


def target_shares(
    mixed: Mixed, again: Mixed | None, *, source: bool, weight: float
) -> dict[str, Tensor]:
    """How much of what a student learns from in an iteration is target.

    `target_share`: target pixels over all pixels, `(p + t) / (s + 1 + t)` with p the target's share
    of mixed images, s and t the number (0 or 1) of source images and of target-in-target images
    beside each. `effective_target_share`: the same with pixels weighed as in the loss.

    Args:
        mixed: Source mixed into target.
        again: Target mixed into target, if there is such a pass.
        source: Whether there is a source pass.
        weight: Weight of the target-in-target pass.
    """
    inside = (~mixed.mask.squeeze(1)).to(mixed.weight.dtype)
    seen, everything = inside.mean(), float(source) + 1 + (again is not None)
    weighed = (inside * mixed.weight).mean()
    total = mixed.weight.mean() + float(source)
    if again is not None:
        seen = seen + 1
        weighed = weighed + weight * again.weight.mean()
        total = total + weight * again.weight.mean()
    return {
        "target_share": seen / everything,
        "effective_target_share": weighed / total.clamp(min=torch.finfo(total.dtype).tiny),
    }


def _devices(network: nn.Module) -> list[torch.device]:
    devices = {parameter.device for parameter in network.parameters()}
    return [device for device in devices if device.type == "cuda"]


def _check_groups(groups: tuple[SelfTraining, SelfTraining], seeds: tuple[int, int]) -> None:
    for name, group in zip(NAMES, groups, strict=True):
        if not isinstance(group, SelfTraining) or type(group).passes is not SelfTraining.passes:
            raise TypeError(
                f"DualTeacherStudent: {name} has to be SelfTraining with any parts, whose passes "
                f"it takes apart; got {type(group).__name__}."
            )
        if group.opponents():
            raise ValueError(
                f"DualTeacherStudent: {name} has the opponent {sorted(group.opponents())}; a term "
                "that learns against a student needs a method of its own, such as "
                "AdversarialWarmUp."
            )
    if groups[0].student is groups[1].student:
        raise ValueError(
            "DualTeacherStudent: both groups hold the same student; give each its own."
        )
    if seeds[0] == seeds[1]:
        raise ValueError(
            f"DualTeacherStudent: seeds={tuple(seeds)} draw the same weights for both groups, "
            "which see the same data in the same order: they would stay equal, and their exchange "
            "be empty. Give two different seeds."
        )
