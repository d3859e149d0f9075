"""Block masks, and whole iterations with masked consistency (`mic_mask_*`, `mic_iter_*`)."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.parity.daformer_iterations import TIED_PIXELS, Experiment, RecordedView
from tests.parity.rows import Arrays, Row, compare, differing
from uda.selftraining import BlockMask, MaskedConsistency
from uda.structures import NetworkOutput

# The released modes, without and with the strong view, and what we call them.
IMAGES: dict[str, Any] = {"separatetrg": "target", "separate": "halves", "separatesrc": "source"}
AUGMENTED = "aug"


def check_mic_mask(path: Path) -> list[Row]:
    """The mask of recorded draws, and the draws of the recorded seed, case by case."""
    arrays, rows = Arrays.read(path), []
    for number in itertools.count():
        at = f"c{number}/"
        if f"{at}B_H_W_block" not in arrays:
            break
        count, height, width, block = (int(v) for v in arrays[f"{at}B_H_W_block"])
        mask = BlockMask(block_size=block, ratio=arrays.number(f"{at}ratio"))
        size = (height, width)
        if f"{at}rand" in arrays:
            ours = mask.enlarged(arrays.tensor(f"{at}rand"), size)
            rows.append(differing(f"{at}mask", ours, arrays[f"{at}mask"]))
        if f"{at}torch_seed" in arrays:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(arrays.number(f"{at}torch_seed")))
                drawn = mask.draw(count, size)
            rows.append(differing(f"{at}mask of the seed", drawn, arrays[f"{at}mask"]))
    if not rows:
        raise KeyError(f"{path.name} has no case c0/B_H_W_block, c0/rand or c0/torch_seed")
    return rows


def check_mic_iter(path: Path) -> list[Row]:
    """Teacher, pseudo-label, mix, what is masked, losses, gradients and last weights."""
    arrays = Arrays.read(path)
    experiment = MaskedExperiment(arrays)
    rows = [row for i in range(len(arrays["logs"])) for row in experiment.iterate(i)]
    return rows + experiment.final_rows()


class RecordedMask(nn.Module):
    """Hides what a recorded mask hides."""

    mask: Tensor

    def forward(self, image: Tensor) -> Tensor:
        return image * self.mask


class MaskedExperiment(Experiment):
    """The networks and the method of one file, with masked consistency as the last term.

    Args:
        arrays: The file.
    """

    def __init__(self, arrays: Arrays) -> None:
        super().__init__(arrays)
        mode = str(arrays["cfg_mode"])
        self.masked_view = RecordedView()
        self.term = MaskedConsistency(
            images=IMAGES[mode.removesuffix(AUGMENTED)],
            view=self.masked_view,
            block_size=int(arrays.number("cfg_block")),
            ratio=arrays.number("cfg_ratio"),
            weight=arrays.number("cfg_mask_lambda"),
            scaled="main",
        )
        self.term.mask = RecordedMask()
        self.term.use_supervision(self._supervised)
        self.method.terms.append(self.term)

    def iterate(self, iteration: int) -> list[Row]:
        """Run one iteration; rows of all that it recorded, the masked pass among it."""
        arrays, at = self.arrays, f"it{iteration}/"
        self.term.mask.mask = arrays.tensor(f"{at}mic_block_mask").bool()
        if arrays.filled(f"{at}masked_img"):
            self.masked_view.image = arrays.tensor(f"{at}masked_img")
        rows = super().iterate(iteration)
        label, weight = self.seen["masked"]
        if arrays.filled(f"{at}masked_label"):
            wanted = arrays.label(f"{at}masked_label")
            rows.append(differing(f"{at}masked_label", label, wanted, allowed=TIED_PIXELS))
        if arrays.filled(f"{at}masked_weight") and weight is not None:
            limit = 1e-6 + TIED_PIXELS / label.numel()
            rows.append(
                compare(f"{at}masked_weight", weight, arrays[f"{at}masked_weight"], absolute=limit)
            )
        return rows

    def _supervised(
        self, output: NetworkOutput, label: Tensor, weight: Tensor | None
    ) -> dict[str, Tensor]:
        self.seen["masked"] = (label, weight)
        return self.method.supervised(output, label, weight)
