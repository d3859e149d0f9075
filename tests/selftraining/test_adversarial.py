"""Discriminator and adversarial term: sizes, who gets which gradient, what is compared."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uda.losses import domain_loss, self_information
from uda.selftraining import AdversarialOutput, EntropyMinimisation, OutputDiscriminator
from uda.selftraining.terms import Pass
from uda.structures import Batch, Labelled, NetworkOutput, PseudoLabel, Unlabelled

SIZE = 32


def logits_of(seed: int) -> Tensor:
    """Logits (2, 3, 32, 64) with gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, SIZE, 2 * SIZE, generator=generator).requires_grad_()


def term_of(**changes: Any) -> AdversarialOutput:
    """A term with few channels, always the same weights."""
    torch.manual_seed(0)
    return AdversarialOutput(**{"num_classes": 3, "channels": 4, **changes})


def passes_of(
    term: AdversarialOutput, source: Tensor, target: Tensor, *, adapting: bool = True
) -> list[Pass]:
    """Both passes of a term for a student that gives `source`, then `target`."""
    image, label = torch.zeros(2, 3, SIZE, 2 * SIZE), torch.zeros(2, SIZE, 2 * SIZE)
    labelled = Labelled(image, label.long())
    assert term.source_loss(NetworkOutput(source), labelled) is None
    batch = Batch(labelled, Unlabelled(image) if adapting else None)
    pseudo = PseudoLabel(label.long(), label, label)
    return list(term.passes(lambda _: NetworkOutput(target), batch, pseudo))


def test_discriminator_shapes() -> None:
    """1/32 of the size, rounded down; the weights that the papers have."""
    network = OutputDiscriminator(num_classes=3, channels=2)
    assert network(torch.zeros(2, 3, 64, 100)).shape == (2, 1, 2, 3)
    weights = sum(p.numel() for p in OutputDiscriminator(num_classes=19).parameters())
    assert weights == 2_781_121
    # IAST's: 19 * 64 kernels of 9 weights in place of 16
    smaller = OutputDiscriminator(num_classes=19, first_kernel=3)
    assert sum(p.numel() for p in smaller.parameters()) == 2_781_121 - 19 * 64 * 7
    smaller = OutputDiscriminator(num_classes=3, channels=2, first_kernel=3)
    assert smaller(torch.zeros(2, 3, 64, 96)).shape == (2, 1, 2, 3)


def test_discriminator_errors() -> None:
    """Crops below 32 pixels would leave nothing."""
    with pytest.raises(ValueError, match=r"at least 32x32 pixels, not \(31, 64\)"):
        OutputDiscriminator(num_classes=3, channels=2)(torch.zeros(1, 3, 31, 64))
    with pytest.raises(ValueError, match=r"first_kernel has to be 4 .* or 3 \(IAST\), not 5"):
        term_of(first_kernel=5)


def test_judge_grad() -> None:
    """The same scores; the predictions get the usual gradient, the weights none."""
    network = OutputDiscriminator(num_classes=3, channels=2)
    predictions = logits_of(0)
    free, held = network(predictions), network.judge(predictions)
    assert torch.equal(free, held)
    wanted = torch.autograd.grad(free.sum(), predictions)[0]
    held.sum().backward()
    assert predictions.grad is not None
    assert torch.equal(predictions.grad, wanted)
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("inputs", ["probabilities", "self_information"])
@pytest.mark.parametrize("loss", ["squares", "cross_entropy"])
def test_passes_values(loss: Any, inputs: Any) -> None:
    """Both losses written out, and nobody else's gradient."""
    term = term_of(loss=loss, inputs=inputs, weight=0.5)
    source, target = logits_of(1), logits_of(2)
    student, discriminator = passes_of(term, source, target)
    seen = [self_information(x) if inputs[0] == "s" else x.softmax(1) for x in (source, target)]
    scores = [term.discriminator(x) for x in seen]
    wanted = 0.5 * domain_loss(scores[1], 0, kind=loss)
    torch.testing.assert_close(student.losses, {"adversarial": wanted})
    wanted = (domain_loss(scores[0], 0, kind=loss) + domain_loss(scores[1], 1, kind=loss)) / 2
    torch.testing.assert_close(discriminator.losses, {loss: wanted})
    assert (student.name, student.opponent) == ("target", None)
    assert (discriminator.name, discriminator.opponent) == ("discriminator", "discriminator")

    student.losses["adversarial"].backward()
    assert target.grad is not None
    assert target.grad.abs().max() > 0
    assert source.grad is None
    assert all(p.grad is None for p in term.parameters())
    before = target.grad.clone()
    discriminator.losses[loss].backward()
    assert torch.equal(target.grad, before)
    assert source.grad is None
    assert all(p.grad is not None for p in term.parameters())


def test_entropy_values() -> None:
    """The entropy is that of `EntropyMinimisation`, of the same pass."""
    source, target = logits_of(1), logits_of(2)
    losses = passes_of(term_of(entropy_weight=3.0), source, target)[0].losses
    image, label = torch.zeros(2, 3, SIZE, SIZE), torch.zeros(2, SIZE, SIZE)
    batch = Batch(Labelled(image, label.long()), Unlabelled(image))
    (other,) = EntropyMinimisation(weight=3.0).passes(
        lambda _: NetworkOutput(target), batch, PseudoLabel(label.long(), label, label)
    )
    torch.testing.assert_close(losses["entropy"], other.losses["entropy"])
    assert "entropy" not in passes_of(term_of(), source, target)[0].losses


@pytest.mark.parametrize(("loss", "border"), [("squares", 0.5), ("cross_entropy", 0.0)])
def test_accuracy_values(loss: Any, border: float) -> None:
    """A discriminator of constant score just above the border takes everything for target."""
    term = term_of(loss=loss)
    last = term.discriminator.layers[-1]
    assert isinstance(last, nn.Conv2d)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, border + 0.1)  # type: ignore[arg-type]
    assert passes_of(term, logits_of(1), logits_of(2))[1].metrics["accuracy"] == 50


def test_term_is_empty_between_iterations_values() -> None:
    """The source's predictions are let go of, so that none of an old batch is compared."""
    term = term_of()
    passes_of(term, logits_of(1), logits_of(2))
    label = torch.zeros(2, SIZE, SIZE)
    image = torch.zeros(2, 3, SIZE, SIZE)
    batch = Batch(Labelled(image, label.long()), Unlabelled(image))
    pseudo = PseudoLabel(label.long(), label, label)
    with pytest.raises(ValueError, match="and a source pass before its own"):
        list(term.passes(lambda _: NetworkOutput(logits_of(2)), batch, pseudo))


def test_adversarial_errors() -> None:
    """Unknown settings, and a batch without target."""
    with pytest.raises(ValueError, match=r"loss has to be one of .* not 'hinge'"):
        term_of(loss="hinge")
    with pytest.raises(ValueError, match=r"inputs has to be one of .* not 'logits'"):
        term_of(inputs="logits")
    with pytest.raises(ValueError, match="AdversarialOutput needs target images"):
        passes_of(term_of(), logits_of(1), logits_of(2), adapting=False)
