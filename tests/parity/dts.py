"""Two coupled groups against recordings of this toolkit's own definition of DTS."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from tests.parity.rows import Arrays, Row, compare, differing
from tests.parity.tiny_iterations import (
    EXACT,
    DoubleTeacher,
    QueuedMixer,
    TinyNetwork,
    network_state,
    optimiser_of,
    selector_of,
    state_rows,
)
from uda.methods import DualTeacherStudent, PlainOptimiser, SelfTraining
from uda.selftraining import TargetMix
from uda.structures import Batch, Labelled, Mixed, PseudoLabel, Unlabelled


class RecordedTeacher(DoubleTeacher):
    """Keeps the probabilities of each call."""

    def __init__(self, student: Any, **arguments: Any) -> None:
        super().__init__(student, **arguments)
        self.probs: list[Tensor] = []

    def predict(self, image: Tensor) -> Tensor:
        """The class probabilities, kept."""
        self.probs.append(super().predict(image))
        return self.probs[-1]


class RecordedTargetMix(TargetMix):
    """Mixes with a recorded mask and keeps what it was given and made."""

    recorded: Tensor
    labels: tuple[PseudoLabel, PseudoLabel]
    mixed: Mixed

    def mask(self, label: Tensor) -> Tensor:
        """The recorded mask."""
        return self.recorded

    def mix(self, first: Any, first_label: Any, second: Any, second_label: Any) -> Mixed:
        """Mixed images, kept."""
        self.labels = (first_label, second_label)
        self.mixed = super().mix(first, first_label, second, second_label)
        return self.mixed


class WatchedOptimiser(PlainOptimiser):
    """Keeps the gradients of each step."""

    def __init__(self, optimiser: torch.optim.Optimizer, method: DualTeacherStudent) -> None:
        super().__init__(optimiser)
        self.method = method
        self.gradients: list[dict[str, Tensor]] = []

    def step(self) -> None:
        """Keep what has a gradient, then move."""
        named = self.method.trained().named_parameters()
        found = {n.partition(".")[2]: p.grad.clone() for n, p in named if p.grad is not None}
        self.gradients.append(found)
        super().step()


class Experiment:
    """Both groups and the optimiser of one file."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self.groups = [self._group(g) for g in (1, 2)]
        self.target_mix = RecordedTargetMix(num_classes=int(arrays.number("num_classes")))
        route: Any = str(arrays["route"])
        self.method = DualTeacherStudent(
            primary=self.groups[0],
            secondary=self.groups[1],
            primary_route=route,
            secondary_route=route,
            target_mix=self.target_mix,
            target_weight=arrays.number("lambda_tt"),
            secondary_source=bool(arrays.number("group2_uses_source_loss")),
        )
        self.method.train()
        optimiser = optimiser_of(arrays, self.method.trained())
        self.optimiser = WatchedOptimiser(optimiser, self.method)

    def _group(self, number: int) -> SelfTraining:
        student = TinyNetwork(self.arrays, f"init.student{number}.")
        return SelfTraining(
            student=student,
            teacher=RecordedTeacher(student, decay=self.arrays.number("alpha")),
            selector=selector_of(self.arrays),
            mixer=QueuedMixer(),
        )

    def iterate(self, t: int) -> list[Row]:
        """One iteration with its recorded input, and rows of all that it recorded."""
        arrays, at = self.arrays, f"t{t}."
        mask = arrays.tensor(f"{at}mask_st").bool().unsqueeze(1)
        for group in self.groups:
            mixer = cast(QueuedMixer, group.mixer)
            mixer.masks, mixer.pseudo, mixer.mixed = [mask], [], []
            cast(RecordedTeacher, group.teacher).probs = []
        self.target_mix.recorded = arrays.tensor(f"{at}g2.mask_tt").bool().unsqueeze(1)
        self.optimiser.gradients = []
        for settings in self.optimiser.optimiser.param_groups:
            settings["lr"] = float(arrays["lrs"][t])
        batch = Batch(
            Labelled(arrays.tensor(f"{at}src_img"), arrays.label(f"{at}src_lbl")),
            Unlabelled(arrays.tensor(f"{at}tgt_a")),
            Unlabelled(arrays.tensor(f"{at}tgt_b")),
        )
        log = self.method.training_step(batch, self.optimiser)
        rows = [row for g in (1, 2) for row in self._group_rows(t, g, log)]
        return rows + self._target_rows(f"{at}g2.", log)

    def _group_rows(self, t: int, number: int, log: dict[str, Tensor]) -> list[Row]:
        arrays, at = self.arrays, f"t{t}.g{number}."
        group, name = self.groups[number - 1], ("primary", "secondary")[number - 1]
        teacher = cast(RecordedTeacher, group.teacher)
        mixer = cast(QueuedMixer, group.mixer)
        (pseudo,), (mixed,) = mixer.pseudo, mixer.mixed
        ours: dict[str, Any] = {
            f"{at}label_a": pseudo.label,
            f"{at}q_a": pseudo.weight.max(),
            f"{at}st_img": mixed.image,
            f"{at}st_label": mixed.label,
            f"{at}st_weight": mixed.weight,
            f"{at}target_share": log[f"{name}/mixed/target_share"],
            f"{at}loss_src": log.get(f"{name}/source/ce"),
            f"{at}loss_st": log[f"{name}/mixed/ce"],
            f"t{t}.teacher{number}.prob_a": teacher.probs[0],
            f"t{t}.teacher{number}.prob_b": teacher.probs[1],
        }
        rows = [
            compare(key, value, arrays[key], **EXACT)
            for key, value in ours.items()
            if arrays.filled(key) and value is not None
        ]
        if f"t{t}.alpha" in arrays:
            share = teacher.decay_at(t)
            rows.append(compare(f"t{t}.alpha", share, arrays[f"t{t}.alpha"], **EXACT))
        states = {
            "student": network_state(group.student),
            "teacher": network_state(teacher.network),
            "grad": self.optimiser.gradients[number - 1],
        }
        for place, state in (
            (f"{at}grad.", "grad"),
            (f"{at}student.", "student"),
            (f"{at}student_buf.", "student"),
            (f"{at}teacher_buf.", "teacher"),
            (f"t{t}.teacher{number}.", "teacher"),
        ):
            wanted = {k: v for k, v in arrays.below(place).items() if not k.startswith("prob_")}
            rows += state_rows(place.rstrip("."), states[state], wanted)
        return rows

    def _target_rows(self, at: str, log: dict[str, Tensor]) -> list[Row]:
        arrays, mixed = self.arrays, self.target_mix.mixed
        second, loss = self.target_mix.labels[1], log["secondary/target_mix/ce"]
        return [
            differing(f"{at}label_b", second.label, arrays[f"{at}label_b"]),
            compare(f"{at}q_b", second.weight.max(), arrays[f"{at}q_b"], **EXACT),
            compare(f"{at}tt_img", mixed.image, arrays[f"{at}tt_img"], **EXACT),
            differing(f"{at}tt_label", mixed.label, arrays[f"{at}tt_label"]),
            compare(f"{at}tt_weight", mixed.weight, arrays[f"{at}tt_weight"], **EXACT),
            compare(f"{at}loss_tt", loss, arrays[f"{at}loss_tt"], **EXACT),
        ]


def check_dual(path: Path) -> list[Row]:
    """Iterations of both groups: labels, mixed images, losses, gradients, students, teachers."""
    arrays = Arrays.read(path)
    experiment = Experiment(arrays)
    return [row for t in range(len(arrays["lrs"])) for row in experiment.iterate(t)]
