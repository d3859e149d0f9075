"""Mixers: paste part of one image, with its label, onto another."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from uda.structures import IGNORE_INDEX, Labelled, Mixed, PseudoLabel, Unlabelled


def paste(
    mask: Tensor,
    source: Labelled,
    target: Unlabelled,
    pseudo: PseudoLabel,
    *,
    unlabelled_weight: float = 1.0,
) -> Mixed:
    """Image, label and weight of the source where `mask` is True, of the target elsewhere.

    Each pixel takes image, label and weight from the same side; labelled source pixels weigh 1.

    Args:
        mask: (N, 1, H, W) bool.
        source: Images and labels, (N, 3, H, W) and (N, H, W).
        target: Images of the same shape.
        pseudo: The target's pseudo-labels.
        unlabelled_weight: Weight of pasted source pixels without a label.
    """
    flat = mask.squeeze(1)
    pasted = torch.ones_like(pseudo.weight)
    pasted.masked_fill_(source.label == IGNORE_INDEX, unlabelled_weight)
    return Mixed(
        image=torch.where(mask, source.image, target.image),
        label=torch.where(flat, source.label, pseudo.label),
        weight=torch.where(flat, pasted, pseudo.weight),
        mask=mask,
        valid=None if target.valid is None else target.valid | flat,
    )


class ClassMix(nn.Module):
    """Pastes the pixels of half of the source classes onto the target (Olsson et al., 2021).

    Of the n candidate classes `ceil(n / 2)` are drawn for each image, and every pixel of the
    drawn classes is pasted. Nothing waits for the device.

    Args:
        num_classes: K.
        candidates: `"batch"` (reference: DAFormer's `dacs.py`): the classes present in any source
            label of the batch, the ignored id counted as one of them; a drawn class may be
            absent from the image, and if the ignored id is drawn the unlabelled regions are
            pasted too. `"image"` (clean, as in the papers): the classes present in the image
            itself, without the ignored id.
        unlabelled_weight: Weight of pasted pixels without a label: 1 in DAFormer, 0 in VFM-UDA++.
            Their cross-entropy is 0 either way; it matters to terms that read the weight.

    Raises:
        ValueError: `candidates` is unknown, or the weight is outside [0, 1].
    """

    def __init__(
        self,
        *,
        num_classes: int,
        candidates: Literal["batch", "image"] = "image",
        unlabelled_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 <= unlabelled_weight <= 1:
            raise ValueError(f"unlabelled_weight has to lie in [0, 1], not {unlabelled_weight}.")
        if candidates not in ("batch", "image"):
            raise ValueError(f'candidates has to be "batch" or "image", not {candidates!r}.')
        self.num_classes, self.candidates = num_classes, candidates
        self.unlabelled_weight = unlabelled_weight

    def forward(self, source: Labelled, target: Unlabelled, pseudo: PseudoLabel) -> Mixed:
        """The mixed images of the batch."""
        mask = self.mask(source.label, self.choose(source.label))
        return paste(mask, source, target, pseudo, unlabelled_weight=self.unlabelled_weight)

    def present(self, label: Tensor) -> Tensor:
        """Which classes may be drawn: (N, K + 1) bool; the last column is the ignored id.

        Args:
            label: (N, H, W) int64.
        """
        flat = self._columns(label).flatten(1)
        found = torch.zeros(len(label), self.num_classes + 1, dtype=torch.bool, device=label.device)
        found.scatter_(1, flat, torch.ones_like(flat, dtype=torch.bool))
        if self.candidates == "batch":
            return found.any(0, keepdim=True).expand_as(found)
        found[:, -1] = False
        return found

    def choose(self, label: Tensor) -> Tensor:
        """The drawn classes (N, K + 1) bool: `ceil(n / 2)` of the n candidates of each image."""
        present = self.present(label)
        wanted = (present.sum(1, keepdim=True) + 1) // 2
        # Random keys; classes that may not be drawn get the lowest place.
        keys = torch.rand(present.shape, device=label.device).masked_fill(~present, -1.0)
        rank = keys.argsort(1, descending=True).argsort(1)
        return rank < wanted

    def mask(self, label: Tensor, chosen: Tensor) -> Tensor:
        """Where the label is one of the chosen classes: (N, 1, H, W) bool."""
        flat = self._columns(label).flatten(1)
        return chosen.gather(1, flat).view_as(label).unsqueeze(1)

    def _columns(self, label: Tensor) -> Tensor:
        return torch.where(label == IGNORE_INDEX, self.num_classes, label)


class CutMix(nn.Module):
    """Pastes one rectangle of each source image onto the target (Yun et al., ICCV 2019).

    Args:
        share: Smallest and largest area of the rectangle as a share of the image.
        aspect: Smallest and largest ratio of width to height.

    Raises:
        ValueError: A range is empty or outside (0, 1] for the area, (0, inf) for the aspect.
    """

    def __init__(
        self,
        *,
        share: tuple[float, float] = (0.02, 0.4),
        aspect: tuple[float, float] = (0.3, 1 / 0.3),
    ) -> None:
        super().__init__()
        if not 0 < share[0] <= share[1] <= 1:
            raise ValueError(f"share has to be (low, high) with 0 < low <= high <= 1, not {share}.")
        if not 0 < aspect[0] <= aspect[1]:
            raise ValueError(f"aspect has to be (low, high) with 0 < low <= high, not {aspect}.")
        self.share, self.aspect = share, aspect

    def forward(self, source: Labelled, target: Unlabelled, pseudo: PseudoLabel) -> Mixed:
        """The mixed images of the batch."""
        return paste(self.mask(source.label), source, target, pseudo)

    def mask(self, label: Tensor) -> Tensor:
        """A rectangle for each image: (N, 1, H, W) bool, True inside."""
        count, height, width = label.shape
        draw = torch.rand(4, count, 1, 1, 1, device=label.device)
        area = self.share[0] + draw[0] * (self.share[1] - self.share[0])
        low, high = torch.tensor(self.aspect).log().tolist()
        aspect = (low + draw[1] * (high - low)).exp()  # width / height
        box_height = ((area * height * width / aspect).sqrt()).clamp(max=height)
        box_width = ((area * height * width * aspect).sqrt()).clamp(max=width)
        top, left = draw[2] * (height - box_height), draw[3] * (width - box_width)
        row = torch.arange(height, device=label.device).view(1, 1, -1, 1) + 0.5
        column = torch.arange(width, device=label.device).view(1, 1, 1, -1) + 0.5
        inside_rows = (row >= top) & (row < top + box_height)
        return inside_rows & (column >= left) & (column < left + box_width)


class TargetMix(nn.Module):
    """Mixes target images into other target images, with the pseudo-labels of both.

    No source pixel is left: image, label and weight come from one of the two target images. As the
    `mixer` of a method it mixes each image of the batch with the next one; `DualTeacherStudent`
    uses it to raise the share of target pixels.

    Args:
        num_classes: K.
        mask: What is pasted: `"class"`, the pixels of half of the classes that the pseudo-label of
            the first image has, as `ClassMix` does; `"cutmix"`, a rectangle, as `CutMix` does.

    Raises:
        ValueError: `mask` is unknown.
    """

    def __init__(self, *, num_classes: int, mask: Literal["class", "cutmix"] = "class") -> None:
        super().__init__()
        if mask not in ("class", "cutmix"):
            raise ValueError(f'mask has to be "class" or "cutmix", not {mask!r}.')
        self.kind = mask
        self.class_mix, self.cut_mix = ClassMix(num_classes=num_classes), CutMix()

    def forward(self, source: Labelled, target: Unlabelled, pseudo: PseudoLabel) -> Mixed:
        """Each target image mixed with the next one of the batch; the source is not used.

        Raises:
            ValueError: There is a single image.
        """
        other = PseudoLabel(
            *(value.roll(1, 0) for value in (pseudo.label, pseudo.weight, pseudo.confidence))
        )
        return self.mix(target, pseudo, rolled(target), other)

    def mix(
        self,
        first: Unlabelled,
        first_label: PseudoLabel,
        second: Unlabelled,
        second_label: PseudoLabel,
    ) -> Mixed:
        """Part of the first images pasted on the second ones.

        Returns:
            The mixed images; their mask is False everywhere, as no pixel is of the source.
        """
        mask = self.mask(first_label.label)
        flat = mask.squeeze(1)
        return Mixed(
            image=torch.where(mask, first.image, second.image),
            label=torch.where(flat, first_label.label, second_label.label),
            weight=torch.where(flat, first_label.weight, second_label.weight),
            mask=torch.zeros_like(mask),
        )

    def mask(self, label: Tensor) -> Tensor:
        """What is pasted of images with these labels (N, H, W): (N, 1, H, W) bool."""
        if self.kind == "cutmix":
            return self.cut_mix.mask(label)
        return self.class_mix.mask(label, self.class_mix.choose(label))


def rolled(target: Unlabelled) -> Unlabelled:
    """The images of a batch in an order in which each has another one's place.

    Raises:
        ValueError: There is a single image.
    """
    if len(target.image) < 2:
        raise ValueError(
            "Mixing target into target needs two target images, and the batch has one: set "
            "train_dataloader.batch_size to at least 2, or "
            "train_dataloader.dataset.second_target=True with DualTeacherStudent."
        )
    valid = None if target.valid is None else target.valid.roll(1, 0)
    return Unlabelled(target.image.roll(1, 0), valid)
