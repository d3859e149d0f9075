"""Look-ahead against recordings of the released FST code and of its published equations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
from uda.losses import entropy_map, weighted_cross_entropy
from uda.methods import PlainOptimiser, SelfTraining
from uda.methods.base import Optimiser
from uda.selftraining import EntropyPercentile, LookAhead
from uda.selftraining.selectors.entropy_percentile import quantile_where
from uda.structures import IGNORE_INDEX, Batch, Labelled, PseudoLabel, Unlabelled

# The files' `kind`, and what it is here.
KINDS: dict[str, dict[str, Any]] = {
    "FST-D": {"mode": "deep", "preset": "reference"},
    "FST-W": {"mode": "wide", "preset": "reference"},
    "derived-base": {"mode": "deep", "preset": "clean"},
    "derived-deep": {"mode": "deep", "preset": "clean"},
    "derived-wide": {"mode": "wide", "preset": "clean"},
    "derived-ssl": {"mode": "deep", "preset": "semi_supervised"},
}


class WatchedTeacher(DoubleTeacher):
    """Keeps the state after each update, and the share that the update kept."""

    def __init__(self, student: Any, **arguments: Any) -> None:
        super().__init__(student, **arguments)
        self.history: list[tuple[int, dict[str, Tensor]]] = []

    def follow(self, student: Any) -> None:
        """Move, and keep the result."""
        super().follow(student)
        self.history.append((self.updates, network_state(self.network)))


class WatchedTraining(SelfTraining):
    """Keeps losses, gradients and student after each step, virtual or real."""

    steps: list[dict[str, Any]]

    def step(self, batch: Batch, optimiser: Optimiser) -> dict[str, Tensor]:
        """One step, recorded."""
        log = super().step(batch, optimiser)
        gradients = {n: p.grad.clone() for n, p in self.student.named_parameters()}
        self.steps.append(
            {
                "log": log,
                "grad": gradients,
                "student": network_state(self.student),
                "logits": self.teacher.logits,
            }
        )
        return log


class Experiment:
    """Method, look-ahead and optimiser of one file."""

    def __init__(self, arrays: Arrays) -> None:
        kind = str(arrays["kind"])
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; known: {', '.join(KINDS)}")
        self.arrays, self.reference = arrays, kind.startswith("FST")
        self.student = TinyNetwork(arrays, "init.student.")
        self.student.load_state_dict(arrays.below("init.student_buf."), strict=False)
        self.teacher = WatchedTeacher(self.student, decay=arrays.number("alpha"))
        self.teacher.network.load_state_dict(arrays.below("init.teacher_buf."), strict=False)
        self.mixer = QueuedMixer()
        self.method = WatchedTraining(
            student=self.student,
            teacher=self.teacher,
            selector=selector_of(arrays),
            mixer=self.mixer,  # type: ignore[arg-type]
        )
        self.look_ahead = LookAhead(steps=int(arrays.number("K")), **KINDS[kind])
        self.method.use_look_ahead(self.look_ahead)
        self.method.train()
        self.optimiser = optimiser_of(arrays, self.student)

    def iterate(self, t: int) -> list[Row]:
        """One iteration with its recorded input, and rows of all that it recorded."""
        arrays, at = self.arrays, f"t{t}."
        tags = [f"{at}v{k}." for k in range(self.look_ahead.steps)] if t else []
        tags.append(f"{at}r.")
        self.mixer.masks = [arrays.tensor(f"{tag}mix_mask").bool() for tag in tags]
        self.mixer.pseudo, self.mixer.mixed = [], []
        self.teacher.history, self.method.steps = [], []
        for group in self.optimiser.param_groups:
            group["lr"] = float(arrays["lrs"][t])
        further = self.look_ahead.further_batches if t else 0
        before = self.teacher.updates
        self.method.training_step(
            batch_of(arrays, f"{at}batch."),
            PlainOptimiser(self.optimiser),
            [batch_of(arrays, f"{at}future{j}.") for j in range(further)],
        )
        rows = [row for number, tag in enumerate(tags) for row in self._step_rows(number, tag)]
        if self.reference:
            for name, count in (("before", before), ("after", self.teacher.updates)):
                rows.append(differing(f"{at}counter", count, arrays[f"{at}local_iter_{name}"]))
        return rows + self._teacher_rows(at) + self._end_rows(at)

    def _step_rows(self, number: int, tag: str) -> list[Row]:
        arrays, done = self.arrays, self.method.steps[number]
        pseudo, mixed = self.mixer.pseudo[number], self.mixer.mixed[number]
        log, network = done["log"], done["student"]
        ours = {
            "teacher_logits": done["logits"],
            "pseudo_label": pseudo.label,
            "pseudo_q": share_of(pseudo),
            "mixed_lbl": mixed.label.unsqueeze(1),
            "mix_weight": mixed.weight,
            "loss_src": log["source/ce"],
            "loss_mix": log["mixed/ce"],
        }
        rows = [
            compare(tag + name, value, arrays[tag + name], **EXACT)
            for name, value in ours.items()
            if arrays.filled(tag + name)
        ]
        rows += state_rows(f"{tag}grad", done["grad"], arrays.below(f"{tag}grad."))
        for part in ("student", "student_buf"):
            rows += state_rows(tag + part, network, arrays.below(f"{tag}{part}."))
        return rows

    def _teacher_rows(self, at: str) -> list[Row]:
        """Each update: counter, share and result. The copy that opens t = 0 is not recorded."""
        arrays = self.arrays
        history = self.teacher.history[1:] if at == "t0." else self.teacher.history
        rows = [differing(f"{at}n_ema_updates", len(history), arrays[f"{at}n_ema_updates"])]
        for number, (counter, state) in enumerate(history):
            tag = f"{at}ema{number}."
            if f"{tag}alpha" not in arrays:
                continue
            share = self.teacher.decay_at(counter)
            rows.append(compare(f"{tag}alpha", share, arrays[f"{tag}alpha"], **EXACT))
            if f"{tag}iter" in arrays:
                rows.append(differing(f"{tag}iter", counter, arrays[f"{tag}iter"]))
            rows += state_rows(f"{tag}teacher", state, arrays.below(f"{tag}teacher."))
        return rows

    def _end_rows(self, at: str) -> list[Row]:
        arrays, end = self.arrays, f"{at}end."
        student, teacher = network_state(self.student), network_state(self.teacher.network)
        rows = state_rows(f"{end}student", student, arrays.below(f"{end}student."))
        rows += state_rows(f"{end}student", student, arrays.below(f"{end}student_buf."))
        rows += state_rows(f"{end}teacher", teacher, arrays.below(f"{end}teacher."))
        rows += state_rows(f"{end}teacher", teacher, arrays.below(f"{end}teacher_buf."))
        moments: dict[str, Tensor] = {}
        for name, parameter in self.student.named_parameters():
            for key, value in self.optimiser.state[parameter].items():
                moments[f"{key}.{name}"] = value
        rows += state_rows(f"{end}opt", moments, arrays.below(f"{end}opt."))
        counts = [value for name, value in moments.items() if name.startswith("step.")]
        for value in counts[:1]:
            if f"{at}opt_steps_counted" in arrays:
                rows.append(differing(f"{at}steps", value, arrays[f"{at}opt_steps_counted"]))
        return rows


def check_unsupervised_loss(path: Path) -> list[Row]:
    """Selection by entropy, and the loss of the semi-supervised release with its gradient."""
    arrays = Arrays.read(path)
    selector = EntropyPercentile(
        percentile=arrays.number("drop_percent"), boundary="drop", rescale=True
    )
    valid = arrays.tensor("label_in") != IGNORE_INDEX
    probs = arrays.tensor("teacher_logits").softmax(1)
    pseudo = selector(probs, valid)
    entropy = entropy_map(arrays.tensor("teacher_logits"))
    threshold = quantile_where(
        -(probs * (probs + 1e-10).log()).sum(1), valid, arrays.number("drop_percent") / 100
    )
    logits = arrays.tensor("predict_logits").requires_grad_()
    loss = weighted_cross_entropy(logits, pseudo.label, pseudo.weight, average="valid")
    loss.backward()
    return [
        # The release has 1e-10 inside the logarithm, which shows where a probability is small.
        compare("entropy", entropy, arrays["entropy"], absolute=1e-8),
        compare("threshold", threshold, arrays["threshold"], **EXACT),
        differing("label_out", pseudo.label, arrays["label_out"]),
        differing("valid", (pseudo.label != IGNORE_INDEX).sum(), arrays["valid"]),
        compare("weight", pseudo.weight.max(), arrays["weight"], **EXACT),
        compare("loss", loss, arrays["loss"], **EXACT),
        compare("grad_predict", logits.grad, arrays["grad_predict"], **EXACT),
    ]


def batch_of(arrays: Arrays, at: str) -> Batch:
    """Recorded source images with labels, and target images."""
    source = Labelled(arrays.tensor(f"{at}src_img"), arrays.label(f"{at}src_lbl"))
    return Batch(source, Unlabelled(arrays.tensor(f"{at}tgt_img")))


def share_of(pseudo: PseudoLabel) -> Tensor:
    """The one weight of all pixels that are not in ignored rows."""
    return pseudo.weight.max()


def check_look_ahead(path: Path) -> list[Row]:
    """Three iterations: all virtual and real steps, teacher updates, and the optimiser's state."""
    arrays = Arrays.read(path)
    experiment = Experiment(arrays)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [row for t in range(len(arrays["lrs"])) for row in experiment.iterate(t)]
    finally:
        torch.set_num_threads(threads)
