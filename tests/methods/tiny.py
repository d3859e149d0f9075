"""A network, batches and methods small enough to train in a test."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from uda.methods import AdversarialWarmUp, HardAwareSelfTraining, Method, SelfTraining, SourceOnly
from uda.methods.base import PlainOptimiser
from uda.selftraining import (
    AdversarialOutput,
    ClassMix,
    ColorJitterBlur,
    ConfidenceShare,
    EMATeacher,
    EntropyMinimisation,
    FeatureDistance,
    MaskedConsistency,
    RegionConsistency,
    RegionRegularisation,
)
from uda.structures import Batch, Labelled, NetworkOutput, Unlabelled

CLASSES = 4


class TinyEncoder(nn.Module):
    """Maps at stride 2 and 4."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.coarse = nn.Conv2d(6, 8, 3, stride=2, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Feature maps, fine to coarse."""
        fine = self.norm(self.fine(image)).relu()
        return fine, self.coarse(fine).relu()


class TinyNetwork(nn.Module):
    """Encoder, Dropout and a classifier; optionally an auxiliary head of weight 0.4."""

    def __init__(self, *, auxiliary: bool = False, dropout: float = 0.1) -> None:
        super().__init__()
        self.body = TinyEncoder()
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(8, CLASSES, 1)
        self.auxiliary = nn.Conv2d(6, CLASSES, 1) if auxiliary else None

    def encoder(self) -> nn.Module:
        """The encoder itself."""
        return self.body

    def forward(self, image: Tensor) -> NetworkOutput:
        """Logits at the size of the image."""
        fine, coarse = self.body(image)
        size = image.shape[2:]
        logits = nn.functional.interpolate(self.head(self.dropout(coarse)), size, mode="bilinear")
        if self.auxiliary is None:
            return NetworkOutput(logits, (fine, coarse))
        further = nn.functional.interpolate(self.auxiliary(fine), size, mode="bilinear")
        return NetworkOutput(logits, (fine, coarse), ((further, 0.4),))


def make_student(seed: int = 0, **arguments: Any) -> TinyNetwork:
    """A tiny network with weights drawn from `seed`."""
    torch.manual_seed(seed)
    return TinyNetwork(**arguments)


def make_batch(seed: int = 0, size: int = 16, dtype: torch.dtype = torch.float32) -> Batch:
    """Two source and two target images whose colours tell the class, in blocks of a quarter."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(CLASSES, (4, 4, 4), generator=generator)
    label = blocks.repeat_interleave(size // 4, 1).repeat_interleave(size // 4, 2)
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    image = colours[label].movedim(-1, 1)
    image = (image + 0.3 * torch.randn(image.shape, generator=generator)).to(dtype)
    known = label[:2].clone()
    known[:, 0] = 255
    return Batch(Labelled(image[:2], known), Unlabelled(0.7 * image[2:] + 0.2))


def make_self_training(student: nn.Module, **changes: Any) -> SelfTraining:
    """DAFormer's parts around a student, and entropy minimisation."""
    arguments: dict[str, Any] = {
        "teacher": EMATeacher(student, decay=0.9),
        "selector": ConfidenceShare(threshold=0.3),
        "mixer": ClassMix(num_classes=CLASSES),
        "view": ColorJitterBlur(),
        "terms": [
            FeatureDistance(num_classes=CLASSES, classes=(1, 2), weight=0.1),
            EntropyMinimisation(weight=0.1),
        ],
    }
    method = SelfTraining(student=student, **{**arguments, **changes})
    method.initialise()
    return method


def make_masked(student: nn.Module) -> SelfTraining:
    """Self-training with masked consistency, by the labels of an own teacher."""
    term = MaskedConsistency(
        view=ColorJitterBlur(),
        block_size=4,
        teacher=EMATeacher(student, decay=0.8),
        selector=ConfidenceShare(threshold=0.4),
    )
    return make_self_training(student, terms=[term])


def make_source_only(student: nn.Module) -> SourceOnly:
    """Source-only training with a feature distance."""
    term = FeatureDistance(num_classes=CLASSES, classes=None, weight=0.1)
    method = SourceOnly(student=student, terms=[term])
    method.initialise()
    return method


def sgd(method: Method, lr: float = 0.05) -> torch.optim.SGD:
    """Plain gradient descent over the student."""
    return torch.optim.SGD(method.student.parameters(), lr=lr)


def make_adversarial(student: nn.Module) -> AdversarialWarmUp:
    """Adversarial warm-up with a small discriminator; needs images of 32 pixels."""
    term = AdversarialOutput(num_classes=CLASSES, weight=0.1, channels=4)
    term.to(next(student.parameters()).dtype)
    method = AdversarialWarmUp(student=student, terms=[term])
    method.initialise()
    return method


def make_hard_aware(student: nn.Module, **changes: Any) -> HardAwareSelfTraining:
    """A round of HIAST; labelled source images stand for the strong view."""
    arguments: dict[str, Any] = {
        "teacher": EMATeacher(student, decay=0.9, warmup=False, buffers="copy", mode="eval"),
        "terms": [RegionRegularisation(ignored_weight=1.0), RegionConsistency()],
    }
    method = HardAwareSelfTraining(student=student, **{**arguments, **changes})
    method.initialise()
    return method


def optimisers(method: Method, lr: float = 0.05) -> PlainOptimiser:
    """Plain gradient descent over the student and over each opponent."""
    opponents = {
        name: PlainOptimiser(torch.optim.SGD(network.parameters(), lr=lr))
        for name, network in method.opponents().items()
    }
    return PlainOptimiser(sgd(method, lr), opponents=opponents)
