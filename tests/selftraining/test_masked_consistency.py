"""Masked consistency alone: what is masked, by whose labels, how it is weighed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uda._token_masking import TokenMasking
from uda.selftraining import (
    BlockMask,
    ConfidenceShare,
    EMATeacher,
    MaskedConsistency,
    NoView,
    TeacherDivergence,
    TeacherPair,
)
from uda.selftraining.terms import Pass
from uda.structures import Batch, Labelled, NetworkOutput, PseudoLabel, Unlabelled


class Keep(nn.Module):
    """A mask that hides the left half."""

    def forward(self, image: Tensor) -> Tensor:
        """Hide it."""
        hidden = image.clone()
        hidden[..., : image.shape[-1] // 2] = 0
        return hidden


class Add(NoView):
    """A view that adds 1, so that the order of view and mask shows."""

    def forward(self, image: Tensor) -> Tensor:
        """Add it."""
        return image + 1


def batch(count: int = 2) -> Batch:
    """Source images of 1, 2, ... and target images of 10, 20, ..., of 2x2 pixels, two classes."""
    values = torch.arange(1.0, count + 1).view(-1, 1, 1, 1)
    label = torch.zeros(count, 2, 2, dtype=torch.int64)
    label[:, 0, 0] = 255
    image = values.expand(-1, 3, 2, 2)
    return Batch(Labelled(image, label), Unlabelled(10 * image))


def pseudo(count: int = 2) -> PseudoLabel:
    """Class 1 everywhere with weight 0.5."""
    label = torch.ones(count, 2, 2, dtype=torch.int64)
    weight = torch.full((count, 2, 2), 0.5)
    return PseudoLabel(label, weight, weight)


class Student:
    """Keeps what it was shown; its logits favour neither of two classes."""

    shown: Tensor

    def __call__(self, image: Tensor) -> NetworkOutput:
        self.shown = image
        logits = torch.zeros(len(image), 2, *image.shape[2:], requires_grad=True)
        return NetworkOutput(logits, auxiliary=((logits, 0.4),))


def supervised(output: NetworkOutput, label: Tensor, weight: Tensor | None) -> dict[str, Tensor]:
    """Mean over all pixels, and half of it for an auxiliary head."""
    loss = nn.functional.cross_entropy(output.logits, label, ignore_index=255, reduction="none")
    mean = (loss if weight is None else loss * weight).mean()
    return {"ce": mean, "auxiliary0": mean / 2}


def run(term: MaskedConsistency, seen: Batch, known: PseudoLabel) -> tuple[Pass, Tensor]:
    """The pass of a term, and what the student saw."""
    student = Student()
    term.use_supervision(supervised)
    (done,) = term.passes(student, seen, known)
    return done, student.shown


def make(**arguments: Any) -> MaskedConsistency:
    term = MaskedConsistency(**arguments)
    term.mask = Keep()
    return term


def test_target_values() -> None:
    """All target images, view before mask (else hidden pixels were 1), loss 0.5 log 2.

    The prediction is even: cross-entropy log 2 on each pixel, all of weight 0.5.
    """
    done, shown = run(make(view=Add()), batch(), pseudo())
    assert shown[:, 0].tolist() == [[[0, 11], [0, 11]], [[0, 21], [0, 21]]]
    assert done.name == "masked"
    assert done.losses["ce"].item() == pytest.approx(0.5 * math.log(2))
    assert done.metrics["weight"].item() == 0.5
    assert done.metrics["accuracy"].item() == 0  # ties go to class 0, labels are 1


def test_source_values() -> None:
    """All source images with their labels, unweighted: 3 of 4 pixels carry one."""
    done, shown = run(make(images="source"), Batch(batch().source), pseudo())
    assert shown[:, 0].tolist() == [[[0, 1], [0, 1]], [[0, 2], [0, 2]]]
    assert done.losses["ce"].item() == pytest.approx(0.75 * math.log(2))
    assert done.metrics["accuracy"].item() == 75
    assert "weight" not in done.metrics


def test_halves_values() -> None:
    """The first half of each domain: a batch of 4 shows source 1, 2 and target 10, 20.

    Source pixels weigh 1 and 3 of 4 are labelled, target pixels 0.5: (0.75 + 0.5) / 2 log 2.
    """
    done, shown = run(make(images="halves"), batch(4), pseudo(4))
    assert shown[:, 0, 0, 1].tolist() == [1, 2, 10, 20]
    assert done.losses["ce"].item() == pytest.approx(0.625 * math.log(2))
    assert done.metrics["weight"].item() == 0.75


def test_weight_values() -> None:
    """`scaled="all"` weighs every loss of the pass, `"main"` the cross-entropy alone."""
    plain, _ = run(make(), batch(), pseudo())
    everything, _ = run(make(weight=3.0), batch(), pseudo())
    main, _ = run(make(weight=3.0, scaled="main"), batch(), pseudo())
    for done, auxiliary in ((everything, 3), (main, 1)):
        assert done.losses["ce"].item() == pytest.approx(3 * plain.losses["ce"].item())
        wanted = auxiliary * plain.losses["auxiliary0"].item()
        assert done.losses["auxiliary0"].item() == pytest.approx(wanted)


class Net(nn.Module):
    """Logits of two classes that prefer the second by a trained bias; counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([0.0, 4.0]))

    def forward(self, image: Tensor) -> Tensor:
        """The bias at each pixel."""
        return self.bias.view(1, 2, 1, 1).expand(len(image), 2, *image.shape[2:])


def test_own_teacher_values() -> None:
    """An own teacher's labels replace the method's; it follows the student at each `begin`.

    Update 0 copies; at update 1 the ramp keeps half: bias (0, 4) and (8, 0) give (4, 2).
    """
    student = Net()
    term = make(teacher=EMATeacher(student, decay=0.9), selector=ConfidenceShare(threshold=0.5))
    assert not term.needs_teacher
    with torch.no_grad():
        student.bias.copy_(torch.tensor([0.0, 4.0]))
    term.bind(student)
    term.begin(student)
    seen = batch()
    lesson = term.lesson(seen, pseudo())
    assert lesson.label.unique().tolist() == [1]
    assert lesson.weight is not None
    assert lesson.weight.unique().tolist() == [1]
    with torch.no_grad():
        student.bias.copy_(torch.tensor([8.0, 0.0]))
    term.begin(student)
    assert term.teacher is not None
    assert dict(term.teacher.network.named_parameters())["bias"].tolist() == [4, 2]
    assert term.lesson(seen, pseudo()).label.unique().tolist() == [0]
    assert "teacher.iteration" in term.state_dict()


def test_own_teacher_settings_values() -> None:
    """Decay 0 is the student of the last iteration, threshold 0 weighs all trusted pixels 1."""
    student = Net()
    term = make(
        teacher=EMATeacher(student, decay=0.0),
        selector=ConfidenceShare(threshold=0.0, scope="batch"),
    )
    for step in range(3):
        with torch.no_grad():
            student.bias.copy_(torch.tensor([float(step), 1.5]))
        term.begin(student)
        assert term.teacher is not None
        assert torch.equal(term.teacher.network.bias, student.bias)  # type: ignore[arg-type]
    seen = batch()
    assert seen.target is not None
    seen.target.valid = torch.ones(2, 2, 2, dtype=torch.bool)
    seen.target.valid[0, 0] = False
    weight = term.lesson(seen, pseudo()).weight
    assert weight is not None
    assert torch.equal(weight.bool(), seen.target.valid)
    assert weight.max() == 1


def test_mask_settings_values() -> None:
    """The term makes its mask from its settings; published ones are the defaults."""
    mask = MaskedConsistency().mask
    assert isinstance(mask, BlockMask)
    assert (mask.block_size, mask.ratio) == (64, 0.7)
    mask = MaskedConsistency(block_size=32, ratio=0.5).mask
    assert isinstance(mask, BlockMask)
    assert (mask.block_size, mask.ratio) == (32, 0.5)


def test_needs_teacher_values() -> None:
    """Only labels of the target need a teacher, and an own one serves."""
    assert MaskedConsistency().needs_teacher
    assert MaskedConsistency(images="halves").needs_teacher
    assert not MaskedConsistency(images="source").needs_teacher


def test_masked_consistency_errors() -> None:
    own = {"teacher": EMATeacher(Net()), "selector": ConfidenceShare()}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"images": "both"}, r"images has to be one of \['target', 'halves', 'source'\], not 'bo"),
        ({"scaled": "ce"}, r"scaled has to be one of \['all', 'main'\], not 'ce'"),
        ({"hide": "image"}, r"hide has to be one of \['blocks', 'tokens'\], not 'image'"),
        ({"weight": -1.0}, "weight has to be at least 0, not -1"),
        ({"teacher": own["teacher"]}, "has a teacher of its own and no selector: give both"),
        ({"selector": own["selector"]}, "has a selector of its own and no teacher: give both"),
        ({"images": "source", **own}, "its teacher would label nothing"),
        ({**own, "selector": TeacherDivergence()}, "TeacherDivergence compares two teachers"),
        ({"block_size": 0}, "block_size is a number of pixels >= 1"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            MaskedConsistency(**arguments)
    MaskedConsistency(teacher=TeacherPair(Net()), selector=TeacherDivergence())


def test_masked_consistency_batch_errors() -> None:
    """Without target images, with an odd batch, without losses: what to do is said."""
    message = r'images="target"\) needs target images.*set images="source"'
    with pytest.raises(ValueError, match=message):
        run(make(), Batch(batch().source), pseudo())
    with pytest.raises(ValueError, match="a batch of 3 cannot be halved: set train_dataloader"):
        run(make(images="halves"), batch(3), pseudo(3))
    with pytest.raises(RuntimeError, match="does not know the losses.*use_supervision"):
        next(make().passes(Student(), batch(), pseudo()))
    term = make(hide="tokens")
    with pytest.raises(RuntimeError, match=r'hide="tokens"\) does not know the student yet'):
        run(term, batch(), pseudo())
    with pytest.raises(ValueError, match="Net has no token masking. Set token_masking=True"):
        term.bind(Net())


def test_hidden_tokens_values() -> None:
    """The student sees the whole image; its tokens are withheld in this pass, and there alone."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.masking = TokenMasking(2)
            self.ratios: list[float] = []

        def forward(self, image: Tensor) -> NetworkOutput:
            self.shown = image
            self.ratios.append(self.masking.ratio)
            tokens = self.masking(image[:, :2].movedim(1, -1)).movedim(-1, 1)
            return NetworkOutput(tokens)

    student = Tokens().train()
    term = make(hide="tokens", ratio=0.7)
    term.use_supervision(supervised)
    term.bind(student)
    assert not list(term.parameters())
    target = batch().target
    assert target is not None
    for masked in term.passes(student, batch(), pseudo()):
        assert torch.equal(student.shown, target.image)
        masked.losses["ce"].backward()
    assert student.ratios == [0.7]
    assert student.masking.ratio == 0
    assert student.masking.mask_token.grad is not None
