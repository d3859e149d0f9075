"""Pastes confident target objects of earlier iterations onto the source before mixing (ECAP)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.processes import gathered
from uda.selftraining.mixers import ClassMix, TargetMix
from uda.selftraining.views.base import IMAGENET_MEAN, IMAGENET_STD, without_autocast
from uda.structures import IGNORE_INDEX, Labelled, Mixed, PseudoLabel, Unlabelled

EMPTY = -1.0  # confidence of a place in the memory that holds nothing


class MemoryMix(nn.Module):
    """A mixer whose source images carry target objects of earlier iterations, where they are sure.

    For each class a memory keeps the `memory` target images in which the teacher was surest of it,
    each with the pixels labelled so and their mean confidence q. On each source image each class is
    pasted with probability `min(1, rate / K sigmoid((E - turn) / slope))`, E being the mean over
    classes of the mean q in the memory (0 for an empty one). One of the class's images, chosen
    uniformly, is shrunk to a side of `min_scale` to 1, mirrored or not, and moved to a random place
    inside the image; the pixels of the class replace image and label there, classes in random
    order. What comes out is mixed by `mixer`, with weight 1 like any source pixel. Then the target
    images of this iteration are put into the memory (Brorsson et al., ECAP, 2024, arXiv 2403.03854;
    released code: `ecap.py`).

    Labels and weights are those of the method's selector: pixels without a label or of weight 0 are
    not kept, which includes ignored rows. The memory is one for all processes. It consists of
    buffers of 4 K `memory` h w bytes, which every checkpoint holds and processes exchange.

    Released code: images are kept whole in files, an image once in each class; here their
    `size` is fixed, and two crops of one image are two images. Rotation is left out.

    Args:
        num_classes: K.
        mixer: What mixes the source images into the target; None: `ClassMix`.
        size: Height and width in which the memory keeps images, in pixels.
        memory: Images kept for each class; 30 for DAFormer, 50 by default in the released code.
        rate: Expected number of pasted classes once the memory is sure; 20 for DAFormer.
        turn: E at which half of that is reached; 0.93 for DAFormer.
        slope: How sharply, above 0.
        min_scale: Smallest side of a pasted image as a share of the whole, in (0, 1].
        min_pixels: Pixels of a class in a target image from which it is kept, at that image's size.
        mean: Mean that was subtracted from each of the channels R, G, B, in 0..255.
        std: Standard deviation each channel was divided by, in 0..255.

    Raises:
        ValueError: A setting is outside its range.
        TypeError: `mixer` does not use source images.
    """

    images: Tensor
    masks: Tensor
    confidence: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        mixer: nn.Module | None = None,
        size: tuple[int, int] = (256, 256),
        memory: int = 30,
        rate: float = 20.0,
        turn: float = 0.93,
        slope: float = 0.005,
        min_scale: float = 0.1,
        min_pixels: int = 1,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        if memory < 1 or min_pixels < 1 or min(size) < 1:
            raise ValueError(
                "memory, min_pixels and both sides of size have to be at least 1, not "
                f"{memory}, {min_pixels} and {tuple(size)}."
            )
        if rate < 0 or not slope > 0 or not 0 < min_scale <= 1:
            raise ValueError(
                "rate has to be at least 0, slope above 0 and min_scale in (0, 1], not "
                f"{rate}, {slope} and {min_scale}."
            )
        if isinstance(mixer, (TargetMix, MemoryMix)):
            raise TypeError(
                "MemoryMix changes source images before they are mixed, which "
                f"{type(mixer).__name__} does not need: give it ClassMix or CutMix as its mixer."
            )
        self.num_classes, self.rate, self.turn, self.slope = num_classes, rate, turn, slope
        self.min_scale, self.min_pixels = min_scale, min_pixels
        self.mixer = mixer if mixer is not None else ClassMix(num_classes=num_classes)
        # Class by class in one dimension: torch gives no module with five a channels-last layout.
        places = num_classes * memory
        self.register_buffer("images", torch.zeros(places, 3, *size, dtype=torch.uint8))
        self.register_buffer("masks", torch.zeros(places, *size, dtype=torch.bool))
        self.register_buffer("confidence", torch.full((num_classes, memory), EMPTY))
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, source: Labelled, target: Unlabelled, pseudo: PseudoLabel) -> Mixed:
        """The mixed images; puts the target images into the memory."""
        # Places and colours are computed in full precision also where the networks are not.
        with without_autocast(source.image.device.type):
            enriched = self.enriched(source)
            mixed: Mixed = self.mixer(enriched, target, pseudo)
            self.remember(target, pseudo)
        return mixed

    def probability(self) -> Tensor:
        """The chance of each class to be pasted on an image, a scalar."""
        filled = self.confidence > EMPTY
        of_class = torch.where(filled, self.confidence, 0.0).sum(1) / filled.sum(1).clamp(min=1)
        sure = ((of_class.mean() - self.turn) / self.slope).sigmoid()
        return (self.rate / self.num_classes * sure).clamp(max=1)

    @torch.no_grad()
    def enriched(self, source: Labelled) -> Labelled:
        """Source images with objects of the memory on them."""
        count, (classes, memory) = len(source.image), self.confidence.shape
        draws = torch.rand(6, count, classes, device=source.image.device)
        keys = torch.rand(count, classes, memory, device=source.image.device)
        filled = self.confidence > EMPTY
        taken = (draws[0] < self.probability()) & filled.any(1)
        slots = keys.masked_fill(~filled, EMPTY).argmax(2)
        scale = self.min_scale + (1 - self.min_scale) * draws[1]
        # With x in [-1, 1] from edge to edge, an image of side 2s inside has its centre in
        # [s - 1, 1 - s].
        centres = (2 * draws[2:4] - 1) * (1 - scale)
        mirrored = torch.where(draws[4] < 0.5, -1.0, 1.0)
        images, labels = [], []
        # One image at a time, since it needs as many full-size images as there are classes.
        for i in range(count):
            pasted, masks = self._placed(
                slots[i], scale[i], centres[:, i], mirrored[i], source.image.shape[2:]
            )
            masks = masks & taken[i].view(-1, 1, 1)
            # What is pasted later covers what was pasted before.
            order = torch.where(masks, draws[5, i].view(-1, 1, 1), EMPTY)
            covered, top = order.max(0)
            on = covered > EMPTY
            chosen = pasted.gather(0, top.expand(1, 3, -1, -1)).squeeze(0)
            chosen = chosen.to(source.image.dtype)
            images.append(torch.where(on, chosen, source.image[i]))
            labels.append(torch.where(on, top, source.label[i]))
        return Labelled(torch.stack(images), torch.stack(labels))

    def _placed(
        self, slots: Tensor, scale: Tensor, centres: Tensor, mirrored: Tensor, size: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """One image of each class at its place, (K, 3, H, W) normalised, and the class's pixels."""
        places = self._places(slots)
        image = (self.images[places].to(self.mean.dtype) - self.mean) / self.std
        mask = self.masks[places].unsqueeze(1).to(image.dtype)
        nothing = torch.zeros_like(scale)
        rows = (
            torch.stack([mirrored / scale, nothing, -mirrored * centres[1] / scale], 1),
            torch.stack([nothing, 1 / scale, -centres[0] / scale], 1),
        )
        theta = torch.stack(rows, 1).to(image.dtype)
        grid = F.affine_grid(theta, [self.num_classes, 3, *size], align_corners=False)
        placed = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
        inside = F.grid_sample(mask, grid, mode="nearest", align_corners=False)
        return placed, inside.squeeze(1) > 0.5

    @torch.no_grad()
    def remember(self, target: Unlabelled, pseudo: PseudoLabel) -> None:
        """Keep the target images, for the classes of which they are among the surest."""
        usable = (pseudo.label != IGNORE_INDEX) & (pseudo.weight > 0)
        if target.valid is not None:
            usable = usable & target.valid
        label = torch.where(usable, pseudo.label, self.num_classes)
        class_ids = torch.arange(self.num_classes, device=label.device)
        member = label.flatten(1).unsqueeze(2) == class_ids
        counts = member.sum(1)
        sums = (member * pseudo.confidence.float().flatten(1).unsqueeze(2)).sum(1)
        sure = torch.where(counts >= self.min_pixels, sums / counts.clamp(min=1), EMPTY)
        size = self.images.shape[2:]
        image = target.image.to(self.mean.dtype) * self.std + self.mean
        image = F.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
        small = F.interpolate(label.unsqueeze(1).float(), size, mode="nearest").squeeze(1)
        everything = (
            gathered(image.round().clamp(0, 255).to(torch.uint8)),
            gathered(small.to(torch.uint8)),
            gathered(sure),
        )
        for values in zip(*everything, strict=True):
            self._keep(*values)

    def _keep(self, image: Tensor, label: Tensor, confidence: Tensor) -> None:
        """Put one image into the places of the least sure ones that are less sure than it."""
        each = torch.arange(self.num_classes, device=label.device)
        confidence = confidence.to(self.confidence.dtype)
        least, slots = self.confidence.min(1)
        places, better = self._places(slots), confidence > least
        mask = label == each.view(-1, 1, 1)
        self.images[places] = torch.where(better.view(-1, 1, 1, 1), image, self.images[places])
        self.masks[places] = torch.where(better.view(-1, 1, 1), mask, self.masks[places])
        self.confidence[each, slots] = torch.where(better, confidence, least)

    def _places(self, slots: Tensor) -> Tensor:
        """Where images of each class lie: (K,) of a slot of each."""
        classes, memory = self.confidence.shape
        return torch.arange(classes, device=slots.device) * memory + slots
