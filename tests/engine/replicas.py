"""Models and steps that `test_distributed.py` runs in one process and in two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.methods.tiny import CLASSES, make_batch, make_self_training, make_student
from uda.engine.distributed import Replicated
from uda.methods import (
    AdversarialWarmUp,
    DualTeacherStudent,
    Method,
    SelfTraining,
    SourceOnly,
)
from uda.methods.base import PlainOptimiser
from uda.selftraining import (
    AdaptiveThreshold,
    AdversarialOutput,
    ClassBalancedThreshold,
    ClassContrast,
    ConfidenceShare,
    EMATeacher,
    EntropyMinimisation,
    EntropyPercentile,
    EntropyWeight,
    FeatureDistance,
    InstanceAdaptive,
    LookAhead,
    MaskedConsistency,
    MemoryMix,
    NoView,
    OptimalTransport,
    PatchContrast,
    PixelContrast,
    ProgressiveSelfDistillation,
    PrototypeTeacher,
    RegionConsistency,
    RegionRegularisation,
    TargetMix,
    TeacherDivergence,
    TeacherPair,
    Term,
)
from uda.structures import (
    Batch,
    Box,
    Labelled,
    Mixed,
    NetworkOutput,
    PseudoLabel,
    Region,
    Unlabelled,
)


class Model(nn.Module):
    """As much of the Runner's model as `Replicated` uses, around source-only training."""

    average_gradients: Any = None

    def __init__(self, seed: int, method: str = "source_only") -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.method = METHODS[method]()
        self.method.initialise()

    def train_step(self, data: Batch, optim_wrapper: PlainOptimiser) -> dict[str, Tensor]:
        """One step, with the exchange before it."""
        optim_wrapper.before_step = self.average_gradients  # type: ignore[attr-defined]
        return self.method.training_step(data, optim_wrapper)


class Network(nn.Module):
    """Logits and one map of features."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)

    def encoder(self) -> nn.Module:
        """What `FeatureDistance` keeps."""
        return nn.Sequential(self.features, AsTuple())

    def forward(self, image: Tensor) -> NetworkOutput:
        """Run it."""
        features = self.features(image)
        return NetworkOutput(self.head(features), (features,))


class Detailed(Network):
    """The same with logits of a part of the images, whose label the loss cuts out."""

    def forward(self, image: Tensor) -> NetworkOutput:
        """Run it."""
        output, box = super().forward(image), Box(2, 6, 1, 5)
        detail = Region("detail", 2 * box.cut(output.logits), box, 0.3)
        return output._replace(regions=(detail,), share=0.7)


class AsTuple(nn.Module):
    """A map as a tuple of one."""

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Wrap it."""
        return (features,)


class LeftHalf(nn.Module):
    """Pastes the left half of the source; nothing is drawn, so that all processes do the same."""

    def forward(self, source: Labelled, target: Unlabelled, pseudo: PseudoLabel) -> Mixed:
        """Mix."""
        mask = torch.zeros_like(source.label, dtype=torch.bool)
        mask[:, :, :3] = True
        return Mixed(
            torch.where(mask[:, None], source.image, target.image),
            torch.where(mask, source.label, pseudo.label),
            torch.where(mask, 1.0, pseudo.weight),
            mask[:, None],
        )


def self_training(
    selector: nn.Module, *, prototypes: bool = False, network: type[nn.Module] = Network
) -> Method:
    """Self-training with losses over the labelled pixels and a feature distance on class 1."""
    student = network()
    teacher = EMATeacher(student, decay=0.5)
    if prototypes:
        teacher = PrototypeTeacher(student, decay=0.5, num_classes=2, channels=4, min_pixels=1)
    return SelfTraining(
        student=student,
        teacher=teacher,
        selector=selector,  # type: ignore[arg-type]
        mixer=LeftHalf(),  # type: ignore[arg-type]
        terms=[FeatureDistance(num_classes=2, classes=[1], weight=0.5)],
        average="valid",
    )


def regions() -> Method:
    """Losses on the kept and on the rejected pixels, of which the halves have different numbers."""
    student = Network()
    return SelfTraining(
        student=student,
        teacher=EMATeacher(student, decay=0.5),
        selector=ClassBalancedThreshold(num_classes=2, momentum=0.5),
        mixer=LeftHalf(),
        terms=[
            RegionRegularisation(confident_weight=1.0),
            RegionConsistency(weight=1.0),
        ],
    )


def two_teachers() -> Method:
    """Two teachers whose divergence weighs pixels, and terms that average over all pixels."""
    student = Network()
    return SelfTraining(
        student=student,
        teacher=TeacherPair(student, decays=(0.9, 0.5)),
        selector=TeacherDivergence(),
        mixer=LeftHalf(),
        terms=[
            EntropyMinimisation(weight=1.0),
            ProgressiveSelfDistillation(final=0.8, iterations=3),
        ],
    )


def masked() -> Method:
    """Own teachers whose labels weigh by a share; no block is hidden, as draws would differ."""
    student = Network()
    terms = [
        MaskedConsistency(
            block_size=3,
            ratio=0.0,
            weight=0.5,
            teacher=EMATeacher(student, decay=0.8),
            selector=ConfidenceShare(threshold=0.7, scope="batch"),
        )
    ]
    return SourceOnly(student=student, terms=terms, average="valid")


def foundation_distance() -> Method:
    """A cosine distance on source and target, in passes of their own, with a projection."""
    student = Network()
    return SelfTraining(
        student=student,
        teacher=EMATeacher(student, decay=0.5, flip_average=True),
        selector=ConfidenceShare(threshold=0.8, scope="batch"),
        mixer=LeftHalf(),  # type: ignore[arg-type]
        terms=[
            FeatureDistance(
                num_classes=2,
                classes=None,
                measure="smooth_cosine",
                domains=("source", "target"),
                view=NoView(),
                projection=(4, 4),
                weight=0.5,
            )
        ],
        average="valid",
    )


def contrast(kind: Any) -> Method:
    """Statistics of classes and the mean of all pixels, of which the halves have different ones.

    The memory takes the images of both; nothing is pasted, as processes draw for themselves.
    """
    student = Network()
    term = ClassContrast(
        num_classes=2,
        channels=(4,),
        kind=kind,
        size=3,
        norm=False,
        temperature=0.5,
        memory=2,
        start=0,
        unseen="zero",
    )
    return SelfTraining(
        student=student,
        teacher=EMATeacher(student, decay=0.5),
        selector=ConfidenceShare(threshold=0.6, scope="batch"),
        mixer=MemoryMix(num_classes=2, mixer=LeftHalf(), size=(3, 3), memory=3, rate=0.0),
        terms=[term],
    )


# Whatever is computed over a batch, a new selector above all, joins here; `test_tables.py` tells
# what is missing.
METHODS: dict[str, Callable[[], Method]] = {
    "source_only": lambda: SourceOnly(student=nn.Conv2d(3, 2, 3, padding=1)),
    "confidence_share": lambda: self_training(ConfidenceShare(threshold=0.8, scope="batch")),
    "class_balanced": lambda: self_training(
        ClassBalancedThreshold(num_classes=2, momentum=0.5, ramp=3)
    ),
    "instance_adaptive": lambda: self_training(InstanceAdaptive(num_classes=2, initial=0.7)),
    "freematch": lambda: self_training(AdaptiveThreshold(num_classes=2, momentum=0.5)),
    "flexmatch": lambda: self_training(
        AdaptiveThreshold(num_classes=2, rule="flexmatch", threshold=0.7, momentum=0.5)
    ),
    "entropy_percentile": lambda: self_training(EntropyPercentile(percentile=60, rescale=True)),
    "entropy_weight": lambda: self_training(EntropyWeight()),
    "optimal_transport": lambda: self_training(
        OptimalTransport(num_classes=2, patience=1, threshold=0.6)
    ),
    "regions": regions,
    "foundation_distance": foundation_distance,
    "two_teachers": two_teachers,
    "masked": masked,
    "class_distributions": lambda: contrast("distribution"),
    "class_bank": lambda: contrast("bank"),
    "class_prototypes": lambda: contrast("prototype"),
    "prototypes": lambda: self_training(
        ConfidenceShare(threshold=0.8, scope="batch"), prototypes=True
    ),
    "regions_of_images": lambda: self_training(EntropyWeight(), network=Detailed),
}


class Exchanging(PlainOptimiser):
    """An optimiser that averages gradients before its step."""

    before_step: Any = None

    def step(self) -> None:
        """Average, then move."""
        if self.before_step is not None:
            self.before_step()
        super().step()


def batch(rows: slice) -> Batch:
    """Some of four labelled and four unlabelled images; ever fewer pixels carry a label."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(4, 3, 6, 6, generator=generator)
    label = torch.randint(2, (4, 6, 6), generator=generator)
    for number in range(4):
        label[number, : 2 * number] = 255
    # The third and fourth image are far easier, so that half a batch has another share.
    target = torch.randn(4, 3, 6, 6, generator=generator) * torch.tensor([1, 1, 9, 9]).view(
        4, 1, 1, 1
    )
    return Batch(Labelled(image[rows], label[rows]), Unlabelled(target[rows]))


def train(model: Model, step: Any, rows: slice) -> dict[str, Tensor]:
    """Student, teacher and selector after three steps."""
    adam = torch.optim.AdamW(model.method.trained().parameters(), lr=0.01)
    for _ in range(3):
        step(batch(rows), Exchanging(adam))
    return {name: value.clone() for name, value in model.method.state_dict().items()}


class Adapting(Model):
    """The same around two groups of self-training, of which the second looks ahead."""

    def __init__(self, seed: int) -> None:
        nn.Module.__init__(self)
        groups = [
            make_self_training(make_student(2 * seed + k), terms=drawn_terms() if k else [])
            for k in range(2)
        ]
        groups[1].use_look_ahead(LookAhead(steps=2))
        self.method = DualTeacherStudent(  # type: ignore[assignment]
            primary=groups[0],
            secondary=groups[1],
            target_mix=TargetMix(num_classes=CLASSES),
        )
        self.method.initialise()


def drawn_terms() -> list[Term]:
    """Terms with heads that draw which places they contrast, each process for itself."""
    maps: dict[str, Any] = {"channels": (6, 8), "levels": (0, 1)}
    return [
        PixelContrast(num_classes=CLASSES, min_pixels=3, **maps),
        PatchContrast(stride=4, samples=7, start=0, threshold=0.0, **maps),
    ]


def adapted(rank: int) -> dict[str, Tensor]:
    """All weights after three iterations on images of this process's own."""
    model = Adapting(seed=rank)
    replicated = Replicated(model)
    adam = torch.optim.AdamW(model.method.trained().parameters(), lr=0.01)
    torch.manual_seed(rank)
    for iteration in range(3):
        replicated.train_step(make_batch(10 * rank + iteration), Exchanging(adam))  # type: ignore[arg-type]
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def adversarial(seed: int) -> Model:
    """The same model with a discriminator."""
    model = Model(seed)
    term = AdversarialOutput(num_classes=2, channels=2, weight=0.5)
    model.method = AdversarialWarmUp(student=model.method.student, terms=[term])  # type: ignore[assignment]
    return model


def train_both(model: Model, step: Any, rows: slice) -> list[Tensor]:
    """The weights of student and discriminator after three steps of each."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 4, 3, 32, 32, generator=generator)
    label = torch.randint(2, (4, 32, 32), generator=generator)
    pairs = Batch(Labelled(image[0, rows], label[rows]), Unlabelled(image[1, rows] + 1))
    networks = (model.method.student, *model.method.opponents().values())
    student, discriminator = (torch.optim.SGD(n.parameters(), lr=0.1) for n in networks)
    opponents = {"discriminator": PlainOptimiser(discriminator)}
    for _ in range(3):
        step(pairs, Exchanging(student, opponents=opponents))
    return [p.detach().clone() for network in networks for p in network.parameters()]
