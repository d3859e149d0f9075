"""PiPa's contrast of the same place in two windows of a target image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.losses import patch_contrast
from uda.processes import gathered, number
from uda.selftraining.counter import Counter
from uda.selftraining.projection import ProjectionHead, flattened
from uda.selftraining.teacher import EMATeacher
from uda.selftraining.terms.base import Pass, Term
from uda.selftraining.views import NoView, View
from uda.selftraining.views.base import without_autocast
from uda.selftraining.windows import Windows
from uda.structures import IGNORE_INDEX, Batch, NetworkOutput, PseudoLabel, Unlabelled


class Places(NamedTuple):
    """What a window shows of the places that both windows show.

    Attributes:
        features: (P, C), projected.
        label: (P, 1) int64, 255 in padding.
        confidence: (P, 1), of the label.
        inside: (P, 1) bool, False in padding.
    """

    features: Tensor
    label: Tensor
    confidence: Tensor
    inside: Tensor


class PatchContrast(Term):
    """A target place looks the same in two contexts, and unlike places of another class.

    Two overlapping windows of each target image, each flipped or not and with colours of its own,
    make one pass. `weight * (patch_contrast(z1, z2) + patch_contrast(z2, z1))` over the places that
    both windows show; a place counts where the other window is the surer of the two, with more than
    `threshold`. Negatives are `samples` random places of each window, of this iteration and of the
    last `memory` ones, with another label than the place has in its window (Chen et al., PiPa, MM
    2023, arXiv 2211.07609; released code: `dacs.py`).

    This differs from the released code in three ways. There the windows are cut from further
    images of a data set of their own, here from the batch. There the features are the decoder's,
    here those of the encoder. There labels and confidences are those of a further classifier that
    gets no gradient and stays as drawn, here those of the network whose features are contrasted.

    Args:
        channels: Width of each feature map that is read: (64, 128, 320, 512) for MiT-B5.
        levels: Which maps those are, see `ProjectionHead`.
        hidden: See `ProjectionHead`.
        size: Length of the projected features.
        norm: See `ProjectionHead`.
        pool: See `ProjectionHead`; 2 (reference) makes stride 8 of stride 4.
        gradient: `"student"` (clean): features of the student, which learns from the contrast.
            `"projection"` (reference): features of the teacher, without gradient, so that the
            projection alone learns.
        weight: Weight of the loss; 0.1 in the released code for DAFormer, 0.01 for HRDA.
        temperature: See `patch_contrast`.
        threshold: Smallest confidence of the other window, in [0, 1].
        samples: Places of each window that become negatives, of all processes together.
        memory: Earlier iterations whose negatives are kept; they are saved.
        window: Side of a window as a share of the image's, above 0.5 so that they overlap.
        stride: Pixels to whose multiples windows are aligned; a multiple of the features' stride.
        flip: Whether windows are flipped, each with probability 1/2.
        view: Changes the colours of each window; None leaves them.
        start: Iterations before the loss begins.

    Raises:
        ValueError: A setting is unknown or outside its range.
    """

    name = "patch_contrast"
    bank: Tensor
    bank_label: Tensor

    def __init__(
        self,
        *,
        channels: Sequence[int],
        levels: Sequence[int] = (0, 1, 2, 3),
        hidden: int | None = 256,
        size: int = 128,
        norm: bool = False,
        pool: int = 2,
        gradient: Literal["student", "projection"] = "student",
        weight: float = 0.1,
        temperature: float = 0.1,
        threshold: float = 0.9,
        samples: int = 1600,
        memory: int = 2,
        window: float = 0.75,
        stride: int = 32,
        flip: bool = True,
        view: View | None = None,
        start: int = 10000,
    ) -> None:
        super().__init__()
        if gradient not in ("student", "projection"):
            raise ValueError(f'gradient has to be "student" or "projection", not {gradient!r}.')
        if not temperature > 0 or not 0 <= threshold <= 1:
            raise ValueError(
                "temperature has to be above 0 and threshold in [0, 1], not "
                f"{temperature} and {threshold}."
            )
        if samples < 1 or memory < 0 or start < 0:
            raise ValueError(
                "samples has to be at least 1, memory and start at least 0, not "
                f"{samples}, {memory} and {start}."
            )
        self.weight, self.temperature, self.threshold = weight, temperature, threshold
        self.samples, self.start = samples, start
        self.needs_teacher = gradient == "projection"
        self.windows = Windows(share=window, stride=stride, flip=flip)
        self.view = view if view is not None else NoView()
        self.projection = ProjectionHead(
            channels=channels, levels=levels, hidden=hidden, size=size, norm=norm, pool=pool
        )
        self.register_buffer("bank", torch.zeros(memory + 1, 2 * samples, size))
        self.register_buffer(
            "bank_label", torch.full((memory + 1, 2 * samples), IGNORE_INDEX, dtype=torch.int64)
        )
        self.counter = Counter()
        # In a tuple, so that it is not registered: the method holds the teacher.
        self._teacher: tuple[EMATeacher] | None = None

    def heads(self) -> dict[str, nn.Module]:
        """The projection."""
        return {self.name: self.projection}

    def join_teacher(self, teacher: EMATeacher) -> None:
        """Take the teacher, whose features are projected if the student is not to learn."""
        self._teacher = (teacher,)

    def begin(self, student: nn.Module) -> None:
        """Count an iteration."""
        self.counter.count()

    def passes(
        self,
        student: Callable[[Tensor], NetworkOutput],
        batch: Batch,
        pseudo: PseudoLabel,
    ) -> Iterator[Pass]:
        """A pass over two windows of each target image; none before `start`."""
        if max(self.counter.value - 1, 0) < self.start:
            return
        if batch.target is None:
            raise ValueError("PatchContrast needs target images; this batch has none.")
        yield Pass("windows", *self._contrast(student, batch.target))

    def _contrast(
        self, student: Callable[[Tensor], NetworkOutput], target: Unlabelled
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The loss, and the share of places that count."""
        pair = self.windows.draw(target.image.shape[2], target.image.shape[3])
        valid = target.valid
        if valid is None:
            valid = torch.ones_like(target.image[:, 0], dtype=torch.bool)
        image = torch.cat([self.view(view) for view in pair.cut(target.image)])
        output = student(image) if not self.needs_teacher else self._teachers(image)
        features = self.projection(output)
        size = features.shape[2:]
        inside = F.adaptive_avg_pool2d(torch.cat(pair.cut(valid)).float().unsqueeze(1), size) == 1
        probs = F.adaptive_avg_pool2d(output.logits.detach().float().softmax(1), size)
        confidence, label = probs.max(1, keepdim=True)
        label = torch.where(inside, label, IGNORE_INDEX)
        self._remember(features.detach(), label)
        first, second = (
            Places(*(flattened(shared) for shared in sides))
            for sides in zip(*map(pair.shared, (features, label, confidence, inside)), strict=True)
        )
        one, counted_one = self._side(first, second)
        two, counted_two = self._side(second, first)
        share = torch.cat([counted_one, counted_two]).float().mean() * 100
        return {self.name: self.weight * (one + two)}, {"places": share}

    def _side(self, own: Places, other: Places) -> tuple[Tensor, Tensor]:
        """The contrast of the places of one window, and which of them count."""
        surer = (other.confidence > self.threshold) & (own.confidence < other.confidence)
        counted = (own.inside & surer).squeeze(1)
        with without_autocast(counted.device.type):
            loss = patch_contrast(
                own.features,
                other.features,
                own.label.squeeze(1),
                self.bank.to(own.features.dtype).flatten(0, 1),
                self.bank_label.flatten(),
                counted,
                temperature=self.temperature,
            )
        return loss, counted

    @torch.no_grad()
    def _remember(self, features: Tensor, label: Tensor) -> None:
        """Put random places of each window (2N, C, h, w) of all processes into the memory."""
        chosen = []
        share = max(self.samples // number(), 1)
        for z, y in zip(features.chunk(2), label.chunk(2), strict=True):
            flat, ids = flattened(z), flattened(y).squeeze(1)
            order = torch.rand(ids.shape, device=ids.device).argsort()[:share]
            missing = share - len(order)
            chosen.append((F.pad(flat[order], (0, 0, 0, missing)), _padded(ids[order], missing)))
        new = gathered(torch.cat([z for z, _ in chosen]))[: 2 * self.samples]
        new_label = gathered(torch.cat([y for _, y in chosen]))[: 2 * self.samples]
        missing = 2 * self.samples - len(new)
        new = F.pad(new, (0, 0, 0, missing)).to(self.bank.dtype).unsqueeze(0)
        self.bank.copy_(torch.cat([new, self.bank[:-1]]))
        new_label = _padded(new_label, missing).unsqueeze(0)
        self.bank_label.copy_(torch.cat([new_label, self.bank_label[:-1]]))

    def _teachers(self, image: Tensor) -> NetworkOutput:
        if self._teacher is None:
            raise RuntimeError(
                'PatchContrast(gradient="projection") projects the features of a teacher and has '
                'none: use it with SelfTraining, or set gradient="student".'
            )
        return self._teacher[0].output(image)


def _padded(label: Tensor, missing: int) -> Tensor:
    return F.pad(label, (0, missing), value=IGNORE_INDEX)
