"""A teacher whose probabilities are corrected by the distance to class prototypes (ProDA)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.processes import summed
from uda.selftraining.teacher import Buffers, EMATeacher, Mode
from uda.structures import NetworkOutput


class PrototypeTeacher(EMATeacher):
    """An `EMATeacher` that trusts a class less where the features are far from its prototype.

    `w = softmax_k(-(d_k - min_j d_j) / temperature)` with `d_k = || f - eta_k ||_2`, and the
    probabilities are `w_k p_k`, normalised (Zhang et al., ProDA, CVPR 2021). Prototypes follow the
    teacher's own features: `eta_k <- (1 - m) eta_k + m mean f` over the pixels predicted as k in a
    batch with at least `min_pixels` of them; the first such batch sets them. Until then a class is
    as near as the nearest one.

    ProDA corrects the fixed predictions of a warm-up model over the whole target set; here p are
    the teacher's present ones, as training sees new crops each time (this toolkit's choice).

    Args:
        student: See `EMATeacher`. It has to return features.
        num_classes: K.
        channels: Width of the feature map that is compared.
        level: Which of the student's feature maps, counted from fine to coarse; -1 is the coarsest.
        temperature: Higher corrects less; above 0.
        momentum: m, share of the new mean; 1e-4 in ProDA.
        min_pixels: Pixels of a class in a batch from which its prototype moves.
        decay: See `EMATeacher`.
        warmup: See `EMATeacher`.
        buffers: See `EMATeacher`.
        mode: See `EMATeacher`.

    Raises:
        ValueError: An argument is outside its range.
    """

    prototypes: Tensor
    seen: Tensor

    def __init__(
        self,
        student: nn.Module,
        *,
        num_classes: int,
        channels: int,
        level: int = -1,
        temperature: float = 1.0,
        momentum: float = 1e-4,
        min_pixels: int = 10,
        decay: float = 0.999,
        warmup: bool = True,
        buffers: Buffers = "own",
        mode: Mode = "train",
    ) -> None:
        super().__init__(student, decay=decay, warmup=warmup, buffers=buffers, mode=mode)
        if not temperature > 0:
            raise ValueError(f"temperature has to be above 0, not {temperature}.")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum has to lie in [0, 1], not {momentum}.")
        self.num_classes, self.channels, self.level = num_classes, channels, level
        self.temperature, self.momentum, self.min_pixels = temperature, momentum, min_pixels
        self.register_buffer("prototypes", torch.zeros(num_classes, channels))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))

    @torch.no_grad()
    def predict(self, image: Tensor) -> Tensor:
        """The corrected probabilities (N, K, H, W); moves the prototypes.

        Raises:
            TypeError: The network returns no features.
            ValueError: They have another number of channels.
        """
        output = self.network(image)
        features = self._features(output)
        probs: Tensor = output.logits.float().softmax(1)
        coarse = F.interpolate(probs, features.shape[-2:], mode="bilinear", align_corners=False)
        self._follow_features(features, coarse.argmax(1))
        weight = F.interpolate(
            self.nearness(features), probs.shape[-2:], mode="bilinear", align_corners=False
        )
        corrected = weight * probs
        tiny = torch.finfo(corrected.dtype).tiny
        return corrected / corrected.sum(1, keepdim=True).clamp(min=tiny)

    def nearness(self, features: Tensor) -> Tensor:
        """W for each position and class: (N, K, h, w) for features (N, C, h, w)."""
        flat = features.movedim(1, -1)
        distance = torch.cdist(flat.flatten(0, 2), self.prototypes.to(flat.dtype))
        known = torch.where(self.seen, distance, torch.inf)
        nearest = known.min(1, keepdim=True).values
        distance = torch.where(self.seen, distance - nearest, 0.0)
        weight = (-distance / self.temperature).softmax(1)
        return weight.view(*flat.shape[:3], -1).movedim(-1, 1)

    def _features(self, output: object) -> Tensor:
        if not isinstance(output, NetworkOutput) or not output.features:
            raise TypeError(
                "PrototypeTeacher needs a network that returns its features (a "
                "uda.structures.NetworkOutput), such as uda.models.SegmentationNetwork."
            )
        features = output.features[self.level].float()
        if features.shape[1] != self.channels:
            raise ValueError(
                f"PrototypeTeacher: feature map {self.level} has {features.shape[1]} channels, not "
                f"{self.channels}; set channels={features.shape[1]}."
            )
        return features

    def _follow_features(self, features: Tensor, label: Tensor) -> None:
        flat = features.movedim(1, -1).flatten(0, 2)
        class_ids = torch.arange(self.num_classes, device=label.device)
        member = (label.flatten().unsqueeze(1) == class_ids).to(flat.dtype)
        count = summed(member.sum(0))
        mean = (summed(member.T @ flat) / count.clamp(min=1).unsqueeze(1)).to(self.prototypes.dtype)
        enough = count >= self.min_pixels
        moved = self.prototypes.lerp(mean, self.momentum)
        new = torch.where(self.seen.unsqueeze(1), moved, mean)
        self.prototypes.copy_(torch.where(enough.unsqueeze(1), new, self.prototypes))
        self.seen |= enough
