"""SePiCo as a term: whose features, which labels, when it begins, what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uda.losses import bank_contrast, prototype_contrast, prototype_evenness
from uda.selftraining import ClassContrast, EMATeacher, NoView
from uda.selftraining.projection import flattened
from uda.structures import Batch, Labelled, Mixed, NetworkOutput, PseudoLabel, Unlabelled


class Pixels(nn.Module):
    """A network whose feature map is the image, twice as large as a weight says."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, image: Tensor) -> NetworkOutput:
        """Two classes."""
        features = self.weight * image
        return NetworkOutput(features[:, :2], (features,))


def term(**changes: Any) -> ClassContrast:
    """A term whose projection is the image, of length 1; statistics of the student."""
    settings: dict[str, Any] = {
        "num_classes": 2,
        "channels": (3,),
        "size": 3,
        "norm": False,
        "start": 0,
        "statistics": "student",
        "temperature": 1.0,
        "regulariser": "none",
    }
    made = ClassContrast(**{**settings, **changes})
    for layer in made.projection.layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return made


def source() -> Labelled:
    """Class 0 is red, class 1 is green, one blue pixel is ignored."""
    label = torch.tensor([[[0, 1, 255]]])
    image = torch.eye(3).view(1, 3, 1, 3)
    return Labelled(image, label)


def pseudo(label: Tensor, weight: Tensor | None = None) -> PseudoLabel:
    kept = torch.ones_like(label, dtype=torch.float32) if weight is None else weight
    return PseudoLabel(label, kept, kept)


def test_source_values() -> None:
    """Prototypes (1, 0, 0) and (0, 1, 0) of the batch itself: -log(e / (e + 1)) for each pixel."""
    found = term(kind="prototype", weight=2.0).source_loss(Pixels()(source().image), source())
    assert found is not None
    assert found.item() == pytest.approx(2 * math.log(1 + 1 / math.e))


@pytest.mark.parametrize("kind", ["distribution", "bank", "prototype"])
@pytest.mark.parametrize("regulariser", ["even", "leaning", "none"])
def test_kinds_parity(kind: Any, regulariser: Any) -> None:
    """Each variant is its loss on the statistics taken, with the regulariser's sign."""
    made = term(kind=kind, regulariser=regulariser, temperature=2.0, memory=3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        image = torch.rand(2, 3, 4, 4, generator=generator)
        label = torch.randint(2, (2, 4, 4), generator=generator)
        output = Pixels()(image)
        found = made.source_loss(output, Labelled(image, label))
    features, flat = flattened(made.projection(output)), label.flatten()
    known = made.statistics
    if made.bank is not None:
        wanted = bank_contrast(features, flat, made.bank.entries, made.bank.filled, temperature=2.0)
        assert made.bank.filled.sum() == 4
    else:
        variances = known.variances if kind == "distribution" else None
        wanted = prototype_contrast(features, flat, known.means, variances, temperature=2.0)
    sign = {"even": -1, "leaning": 1, "none": 0}[regulariser]
    wanted = wanted + sign * prototype_evenness(features, flat, known.means, temperature=2.0)
    assert found is not None
    torch.testing.assert_close(found, wanted)
    found.backward()
    assert all(p.grad is not None for p in made.projection.parameters())


def test_labels_of_positions_values() -> None:
    """A position takes the class that holds three quarters of its block."""
    made = term()
    label = torch.tensor([[[0, 0, 1, 255], [0, 1, 1, 255]]])
    features = torch.zeros(1, 3, 1, 2)
    assert made.positions(label, features).tolist() == [0, 255]


def test_start_values() -> None:
    """With start=2 the third iteration is the first with a loss; statistics are taken before.

    Virtual steps between do not count.
    """
    made = term(start=2)
    found = []
    for _ in range(3):
        made.begin(nn.Identity())
        for _ in range(2):
            found.append(made.source_loss(Pixels()(source().image), source()) is not None)
    assert found == [False] * 4 + [True] * 2
    assert made.statistics.amount.tolist() == [6, 6]


def test_target_values() -> None:
    """The target pass: its view, pixels of weight 0 and label 255 left out; a graph to the student.

    A red pixel of class 0 gives log(1 + 1/e), a green one of class 0 would give log(1 + e).
    """

    class Invert(NoView):
        def forward(self, image: Tensor) -> Tensor:
            return 1 - image

    made, student = term(kind="prototype", view=Invert()), Pixels()
    made.source_loss(student(source().image), source())
    image = 1 - source().image[..., [0, 1, 1]]
    batch = Batch(source(), Unlabelled(image))
    label, weight = torch.tensor([[[0, 0, 255]]]), torch.tensor([[[1.0, 0.0, 1.0]]])
    (done,) = made.passes(student, batch, pseudo(label, weight))
    assert done.name == "target"
    loss = done.losses["class_contrast"]
    assert loss.item() == pytest.approx(math.log(1 + 1 / math.e))
    loss.backward()
    assert student.weight.grad is not None
    assert all(p.grad is not None for p in made.projection.parameters())


def test_mixed_values() -> None:
    """With adapted="mixed" the mixed pass has the loss and the target none; "none" has neither."""
    student, batch = Pixels(), Batch(source(), Unlabelled(source().image))
    label = torch.tensor([[[0, 1, 1]]])
    weight = torch.tensor([[[1.0, 0.0, 0.0]]])
    mixed = Mixed(source().image, label, weight, (weight > 0).unsqueeze(1))
    for adapted, wanted in (("mixed", math.log(1 + 1 / math.e)), ("none", None), ("target", None)):
        made = term(kind="prototype", adapted=adapted)
        made.source_loss(student(source().image), source())
        found = made.mixed_loss(student(mixed.image), mixed)
        assert (None if found is None else found.item()) == (wanted and pytest.approx(wanted))
        assert len(list(made.passes(student, batch, pseudo(label)))) == (adapted == "target")


def test_teacher_features_values() -> None:
    """With statistics="teacher" they are of the teacher's features and its own projection."""
    made = term(statistics="teacher")
    teacher = EMATeacher(Pixels(), decay=0.5)
    made.join_teacher(teacher)
    assert made.heads()["class_contrast"] is made.projection
    with torch.no_grad():
        for parameter in made.projection.parameters():
            parameter.zero_()
    made.source_loss(Pixels()(source().image), source())
    # The teacher has not followed the projection to 0 yet.
    torch.testing.assert_close(made.statistics.means, torch.eye(3)[:2])
    teacher.update(Pixels())
    assert all((p == 0).all() for p in teacher.heads["class_contrast"].parameters())
    assert not any(p.requires_grad for p in teacher.heads.parameters())


def test_unseen_classes_values() -> None:
    """A class without a source pixel is left out, or has a prototype of zero."""
    label = torch.tensor([[[0, 255, 255]]])
    for kind in ("prototype", "bank"):
        for unseen, wanted in (("left_out", 0.0), ("zero", math.log(1 + 1 / math.e))):
            made = term(kind=kind, unseen=unseen, memory=1)
            found = made.source_loss(Pixels()(source().image), Labelled(source().image, label))
            assert found is not None
            assert found.item() == pytest.approx(wanted)


def test_class_contrast_errors() -> None:
    """Unknown settings; no teacher, no source pass, no target."""
    for key, value in (
        ("kind", "mean"),
        ("regulariser", "odd"),
        ("unseen", "one"),
        ("statistics", "both"),
        ("adapted", "source"),
    ):
        with pytest.raises(ValueError, match=rf"{key} has to be one of \[.*\], not '{value}'"):
            term(**{key: value})
    with pytest.raises(ValueError, match=r"temperature has to be above 0, min_share in \[0, 1\]"):
        term(temperature=0.0)
    output = Pixels()(source().image)
    with pytest.raises(RuntimeError, match="takes its statistics from a teacher and has none: use"):
        term(statistics="teacher").source_loss(output, source())
    label = torch.zeros(1, 1, 3, dtype=torch.int64)
    mixed = Mixed(source().image, label, label.float(), label.bool().unsqueeze(1))
    with pytest.raises(ValueError, match="needs a source pass before, for the statistics"):
        term().mixed_loss(output, mixed)
    with pytest.raises(ValueError, match="needs a source pass before, for the statistics"):
        list(term().passes(Pixels(), Batch(source()), pseudo(label)))
    made = term()
    made.source_loss(output, source())
    with pytest.raises(ValueError, match="needs target images; this batch has none"):
        list(made.passes(Pixels(), Batch(source()), pseudo(label)))
