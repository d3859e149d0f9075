"""Output-space alignment: a discriminator cannot tell target predictions from the source's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from uda.losses import domain_loss, self_information
from uda.losses.adversarial import Adversary
from uda.selftraining.discriminator import OutputDiscriminator
from uda.selftraining.terms.base import Pass, Term
from uda.structures import Batch, Labelled, NetworkOutput, PseudoLabel

Inputs = Literal["probabilities", "self_information"]
SOURCE, TARGET = 0, 1


class AdversarialOutput(Term):
    """A target pass whose predictions are to pass for those of the source.

    With a discriminator D, its loss l and x the student's predictions:

    - student: `weight * l(D(x_target), 0)`, with D held fixed, and
      `entropy_weight * mean(H(p)) / log K` of the same predictions;
    - discriminator: `(l(D(x_source), 0) + l(D(x_target), 1)) / 2`, with x held fixed. It has an
      optimiser of its own (`opponents`).

    Both are of the same weights of D, as in the released code of IAST and HIAST, which steps the
    student first and then clears D's gradients; here D gets none from the student's loss.

    Sources: Tsai et al., AdaptSegNet, CVPR 2018; Vu et al., AdvEnt, CVPR 2019; IAST, ECCV 2020.

    Args:
        num_classes: K.
        weight: Weight of the student's adversarial loss. IAST 0.05 for GTA5, 0.001 for SYNTHIA;
            AdaptSegNet 0.001 with cross-entropy, 0.01 with squares.
        loss: `"squares"` (IAST, HIAST) or `"cross_entropy"` (AdaptSegNet, AdvEnt).
        inputs: What D sees: `"probabilities"` (AdaptSegNet) or `"self_information"` (AdvEnt).
        entropy_weight: Weight of the student's normalised entropy on the target; the released
            HIAST takes 3.0 here unless told otherwise.
        channels: Of the discriminator's first convolution.
        first_kernel: Side of that convolution's kernel: 4 (AdaptSegNet, HIAST) or 3 (IAST).

    Raises:
        ValueError: A setting is unknown.
    """

    name = "adversarial"

    def __init__(
        self,
        *,
        num_classes: int,
        weight: float = 0.05,
        loss: Adversary = "squares",
        inputs: Inputs = "probabilities",
        entropy_weight: float = 0.0,
        channels: int = 64,
        first_kernel: int = 4,
    ) -> None:
        super().__init__()
        for key, value, known in (
            ("loss", loss, get_args(Adversary)),
            ("inputs", inputs, get_args(Inputs)),
        ):
            if value not in known:
                raise ValueError(f"{key} has to be one of {list(known)}, not {value!r}.")
        self.weight, self.entropy_weight = weight, entropy_weight
        self.loss, self.inputs = loss, inputs
        self.discriminator = OutputDiscriminator(
            num_classes=num_classes, channels=channels, first_kernel=first_kernel
        )
        self._source: Tensor | None = None

    def opponents(self) -> dict[str, nn.Module]:
        """The discriminator."""
        return {"discriminator": self.discriminator}

    def source_loss(self, output: NetworkOutput, source: Labelled) -> None:
        """Keep the source predictions for the discriminator; they cost the student nothing."""
        self._source = self.shown(output.logits.detach())

    def passes(
        self,
        student: Callable[[Tensor], NetworkOutput],
        batch: Batch,
        pseudo: PseudoLabel,
    ) -> Iterator[Pass]:
        """The student's target pass, and the discriminator's loss."""
        source, self._source = self._source, None
        if batch.target is None or source is None:
            raise ValueError(
                "AdversarialOutput needs target images, and a source pass before its own."
            )
        logits = student(batch.target.image).logits
        target = self.shown(logits)
        scores = self.discriminator.judge(target).float()
        losses = {self.name: self.weight * domain_loss(scores, SOURCE, kind=self.loss)}
        if self.entropy_weight:
            # Summed over classes, self-information is the entropy divided by log K.
            entropy = self_information(logits.float()).sum(1).mean()
            losses["entropy"] = self.entropy_weight * entropy
        target = target.detach()
        del logits, scores
        yield Pass("target", losses)
        del losses
        yield self.discriminator_pass(source, target)

    def discriminator_pass(self, source: Tensor, target: Tensor) -> Pass:
        """What the discriminator minimises, and the share of scores on the right side.

        Args:
            source: (N, K, H, W), what it sees of the source, without gradient.
            target: (N, K, H, W), of the target, without gradient.
        """
        scores = {
            domain: self.discriminator(seen.detach()).float()
            for domain, seen in ((SOURCE, source), (TARGET, target))
        }
        halves = [domain_loss(score, domain, kind=self.loss) for domain, score in scores.items()]
        border = 0.5 if self.loss == "squares" else 0.0
        right = torch.cat([scores[SOURCE] < border, scores[TARGET] >= border])
        return Pass(
            "discriminator",
            {self.loss: (halves[0] + halves[1]) / 2},
            {"accuracy": right.float().mean() * 100},
            opponent="discriminator",
        )

    def shown(self, logits: Tensor) -> Tensor:
        """What the discriminator sees of logits (N, K, H, W), in the precision of its weights."""
        logits = logits.to(next(self.discriminator.parameters()).dtype)
        return self_information(logits) if self.inputs == "self_information" else logits.softmax(1)
