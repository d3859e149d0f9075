"""Complete DAFormer iterations against arrays of the released code (`uda_iter_*.npz`)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.parity.daformer_network import network_from_arrays
from tests.parity.daformer_optimisation import (
    FOLLOWED,
    group_of,
    make_optimiser,
    make_scheduler,
)
from tests.parity.daformer_parts import feature_distance_term
from tests.parity.rows import Arrays, Row, compare, differing, network_input
from uda.methods import PlainOptimiser, SelfTraining
from uda.models import SegmentationNetwork
from uda.selftraining import ConfidenceShare, EMATeacher, NoView, View
from uda.selftraining.mixers import paste
from uda.selftraining.terms import Pass
from uda.selftraining.terms.feature_distance import CITYSCAPES_THINGS
from uda.structures import Batch, Labelled, Mixed, NetworkOutput, PseudoLabel, Unlabelled

# The names of the released code's log, and ours. "loss" repeats the last of the others.
DISTANCE_NAME = "src.loss_imnet_feat_dist"
LOG_NAMES = {
    "decode.loss_seg": "source/ce",
    "decode.acc_seg": "source/accuracy",
    DISTANCE_NAME: "source/feature_distance",
    "mix.decode.loss_seg": "mixed/ce",
    "mix.decode.acc_seg": "mixed/accuracy",
    "masked.decode.loss_seg": "masked/ce",
    "masked.decode.acc_seg": "masked/accuracy",
}
REPEATED = "loss"
TIED_PIXELS = 5
LOSSES = {"absolute": 1e-4}
DISTANCES = {"absolute": 1e-6, "relative": 2e-3}  # small numbers: 1e-4 would see nothing
ACCURACIES = {"absolute": 0.1}  # percent: a few tied pixels
NORMS = {"absolute": 5e-3, "relative": 1e-3}
TEACHER_NORMS = {"absolute": 1e-3, "relative": 1e-4}
LOGITS = {"absolute": 5e-3, "relative": 1e-3}
STATISTICS = {"absolute": 1e-3, "relative": 1e-3}
# AdamW turns gradients near 0 into steps of the size of the learning rate.
MOST_WEIGHTS, ALL_WEIGHTS, SHARE_BEYOND = 1e-3, 2e-2, 0.01


class RecordedMixer(nn.Module):
    """Pastes with a recorded mask, and keeps what it was given and what it made."""

    mask: Tensor
    pseudo: PseudoLabel
    mixed: Mixed

    def forward(self, source: Labelled, target: Unlabelled, pseudo: PseudoLabel) -> Mixed:
        self.pseudo = pseudo
        self.mixed = paste(self.mask, source, target, pseudo)
        return self.mixed


class RecordedView(View):
    """Returns a recorded image where the file has one, else what it gets."""

    image: Tensor | None = None

    def forward(self, image: Tensor) -> Tensor:
        return NoView()(image) if self.image is None else self.image


class ObservedTraining(SelfTraining):
    """Self-training that keeps the gradient of the source cross-entropy alone."""

    source_gradients: tuple[Tensor | None, ...]

    def passes(self, batch: Batch) -> Iterator[Pass]:
        for done in super().passes(batch):
            if done.name == "source":
                parameters = list(self.student.parameters())
                self.source_gradients = torch.autograd.grad(
                    done.losses["ce"], parameters, retain_graph=True, allow_unused=True
                )
            yield done


class ObservedOptimiser(PlainOptimiser):
    """Keeps the norms of the accumulated gradients after each backward pass."""

    def __init__(self, optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
        super().__init__(optimiser)
        self.parameters = parameters
        self.norms: list[list[float]] = []

    def backward(self, loss: Tensor) -> None:
        super().backward(loss)
        self.norms.append(norms(p.grad for p in self.parameters))


class Experiment:
    """The networks, method, optimiser and schedule of one file.

    Args:
        arrays: The file.
    """

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self.student = network_from_arrays(arrays)
        self.mixer, self.view = RecordedMixer(), RecordedView()
        rows = (int(arrays.number("cfg_ignore_top", 0)), int(arrays.number("cfg_ignore_bottom", 0)))
        self.method = ObservedTraining(
            student=self.student,
            teacher=EMATeacher(
                self.student, decay=arrays.number("cfg_alpha", 0.999), mode="train", buffers="own"
            ),
            selector=ConfidenceShare(
                threshold=arrays.number("cfg_threshold"), scope="batch", ignore_rows=rows
            ),
            mixer=self.mixer,  # type: ignore[arg-type]
            view=self.view,
            terms=_terms(arrays, self.student),
        )
        self.method.initialise()
        self.method.train()
        self.parameters = parameters_of(self.student, self.names)
        optimiser = make_optimiser(self.student, lr=arrays.number("cfg_lr"))
        self.groups = group_of(self.student.segmentor, optimiser)
        self.optimiser = ObservedOptimiser(optimiser, self.parameters)
        self.scheduler = None
        if "cfg_max_iters" in arrays:
            self.scheduler = make_scheduler(
                optimiser,
                end=int(arrays.number("cfg_max_iters")),
                warmup=int(arrays.number("cfg_warmup_iters", 0)),
                ratio=arrays.number("cfg_warmup_ratio", 1e-6),
            )
        self.seen: dict[str, Any] = {}
        self.method.teacher.network.register_forward_hook(self._watch_teacher)

    @property
    def names(self) -> list[str]:
        """The parameters in the file's order, without its prefix."""
        return [str(name).removeprefix("model.") for name in self.arrays["param_names"]]

    def iterate(self, iteration: int) -> list[Row]:
        """Run one iteration on its recorded input; rows of all that it recorded."""
        arrays, at = self.arrays, f"it{iteration}/"
        images = [
            network_input(arrays.tensor(f"{at}{name}_u8").permute(0, 3, 1, 2))
            for name in ("img_src", "img_trg")
        ]
        valid = None
        if arrays.filled(f"{at}valid_pseudo_mask"):
            valid = arrays.label(f"{at}valid_pseudo_mask").bool()
        source = Labelled(images[0], arrays.label(f"{at}label_src"))
        batch = Batch(source, Unlabelled(images[1], valid))
        self.mixer.mask = arrays.tensor(f"{at}mix_mask").bool()
        self.view.image = (
            arrays.tensor(f"{at}mixed_img") if arrays.filled(f"{at}mixed_img") else None
        )
        self.optimiser.norms.clear()
        rates = [self.groups[name]["lr"] for name in FOLLOWED]
        log = self.method.training_step(batch, self.optimiser)
        if self.scheduler is not None:
            self.scheduler.step()
        rows = self._target_rows(at, batch.source) + self._log_rows(iteration, log)
        rows += self._norm_rows(iteration)
        if "lr_backbone_head" in arrays:
            wanted = arrays["lr_backbone_head"][iteration]
            rows.append(compare("lr_backbone_head", rates, wanted, relative=1e-6, absolute=1e-15))
        return [(f"it{iteration} {what}", error, limit) for what, error, limit in rows]

    def _watch_teacher(self, network: nn.Module, inputs: Any, output: NetworkOutput) -> None:
        self.seen["logits"] = output.logits.detach().clone()
        self.seen["norms"] = norms(parameters_of(network, self.names))

    def _target_rows(self, at: str, source: Labelled) -> list[Row]:
        """What the teacher made of the target, and what was mixed of it."""
        pseudo, mixed = self.mixer.pseudo, self.mixer.mixed
        # one pixel across the threshold moves the share by this much
        quality = 1e-6 + TIED_PIXELS / pseudo.label.numel()
        coarse = self.seen["logits"][..., ::8, ::8]
        rows = {
            "teacher_logits_s8": lambda wanted: compare("teacher logits", coarse, wanted, **LOGITS),
            "pseudo_label": lambda wanted: differing(
                "pseudo-label", pseudo.label, wanted, allowed=TIED_PIXELS
            ),
            "quality": lambda wanted: compare(
                "quality", pseudo.weight.max(), wanted, absolute=quality
            ),
            "mixed_label": lambda wanted: differing(
                "mixed label", mixed.label, wanted.reshape(mixed.label.shape), allowed=TIED_PIXELS
            ),
            "mixed_weight": lambda wanted: compare(
                "mixed weight", mixed.weight, wanted, absolute=quality
            ),
            "fd_mask": lambda wanted: differing(
                "feature distance mask", self._distance_mask(source.label, wanted), wanted
            ),
        }
        arrays = self.arrays
        return [row(arrays[at + name]) for name, row in rows.items() if arrays.filled(at + name)]

    def _distance_mask(self, label: Tensor, wanted: np.ndarray) -> Tensor:
        size = torch.zeros(len(label), *wanted.shape[-2:])
        return self.method.terms[0].mask(label, size).reshape(wanted.shape)

    def _log_rows(self, iteration: int, log: dict[str, Tensor]) -> list[Row]:
        names = [str(name) for name in self.arrays["log_names"]]
        unknown = sorted(set(names) - set(LOG_NAMES) - {REPEATED})
        if unknown:
            raise ValueError(f"log_names holds {unknown}; known: {sorted(LOG_NAMES)}")
        rows = []
        for name, wanted in zip(names, self.arrays["logs"][iteration], strict=True):
            if name == REPEATED:
                continue
            limits = ACCURACIES if name.endswith("acc_seg") else LOSSES
            if name == DISTANCE_NAME:
                # an empty mask is logged as NaN, with gradient 0; ours has to be 0
                wanted, limits = np.nan_to_num(wanted), DISTANCES
            rows.append(compare(name, log[LOG_NAMES[name]], wanted, **limits))
        return rows

    def _norm_rows(self, iteration: int) -> list[Row]:
        """Norms of gradients, student and teacher, in the order of `param_names`."""
        by_parameter = dict(
            zip(self.student.parameters(), self.method.source_gradients, strict=True)
        )
        ours = {
            "grad_norm_src": norms(by_parameter[p] for p in self.parameters),
            "grad_norm_src_fd": self.optimiser.norms[0],
            "grad_norm_total": self.optimiser.norms[-1],
            "param_norm_after_step": norms(self.parameters),
            "teacher_param_norm_used": self.seen["norms"],
        }
        return [
            compare(
                name,
                values,
                self.arrays[name][iteration],
                **(TEACHER_NORMS if name.startswith("teacher") else NORMS),
            )
            for name, values in ours.items()
            if self.arrays.filled(name)
        ]

    def final_rows(self) -> list[Row]:
        """Rows of the student's last weights and of the teacher's running statistics."""
        rows: list[Row] = []
        student = self.student.segmentor.state_dict()
        wanted = self.arrays.below("final/")
        if wanted:
            errors = torch.cat([_errors(student, name, value) for name, value in wanted.items()])
            beyond = float((errors > MOST_WEIGHTS).double().mean())
            rows.append((f"final weights beyond {MOST_WEIGHTS:.0e}", beyond, SHARE_BEYOND))
            rows.append(("final weights", float(errors.max()), ALL_WEIGHTS))
        teacher = self.method.teacher.network.segmentor.state_dict()
        rows += [
            compare(f"ema {name}", teacher[name], value, **STATISTICS)
            for name, value in self.arrays.below("ema/").items()
        ]
        return rows


def check_uda_iter(path: Path) -> list[Row]:
    """Teacher, pseudo-label, mix, losses, gradients and weights of some training iterations."""
    arrays = Arrays.read(path)
    experiment = Experiment(arrays)
    rows = [row for i in range(len(arrays["logs"])) for row in experiment.iterate(i)]
    return rows + experiment.final_rows()


def parameters_of(network: nn.Module, names: list[str]) -> list[nn.Parameter]:
    """Parameters of a network by the names they have in its segmentor."""
    return [network.get_submodule("segmentor").get_parameter(name) for name in names]


def norms(tensors: Any) -> list[float]:
    """L2 norms; 0 where there is no gradient."""
    return [0.0 if t is None else float(t.detach().double().norm()) for t in tensors]


def _terms(arrays: Arrays, student: SegmentationNetwork) -> list[nn.Module]:
    """The feature distance with the file's encoder and settings, if it has them."""
    state = arrays.below("imnet/")
    if not state:
        return []
    encoder = copy.deepcopy(student.encoder())
    encoder.backbone.load_state_dict(state, strict=True)
    min_share = arrays.number("cfg_fd_min_ratio", 0.75)
    # as in fd_*: no limit goes with all positions
    classes = arrays.get("cfg_fd_classes", CITYSCAPES_THINGS if min_share >= 0 else [-1])
    return [
        feature_distance_term(
            encoder,
            classes=np.asarray(classes),
            weight=arrays.number("cfg_fd_lambda", 0.005),
            min_share=min_share,
        )
    ]


def _errors(state: dict[str, Tensor], name: str, wanted: Tensor) -> Tensor:
    if name not in state or state[name].shape != wanted.shape:
        raise ValueError(f"the network has no {name} of shape {tuple(wanted.shape)}")
    error = (state[name].double() - wanted.double()).abs().flatten()
    return error.nan_to_num(nan=float("inf"))
