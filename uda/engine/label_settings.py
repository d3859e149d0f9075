"""How pseudo-labels of a whole set are made: the settings under `label_generation` of a config."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from mmengine.config import Config

Amp = Literal["off", "bf16", "fp16"]


@dataclass(frozen=True)
class LabelSettings:
    """How pseudo-labels are made.

    Attributes:
        selector: Config of a selector; `InstanceAdaptive` for IAST and HIAST.
        batch_size: Images that share one update of the thresholds; the released code takes 2.
            Images of a batch that differ in size are predicted, and update, one after the other.
        seed: Of the order in which images are visited, on which running thresholds depend.
        scale: Width and height of the box into which images are resized, keeping their ratio;
            None: as validation does it. Labels are stored at this size.
        scales: Test-time augmentation: mean probabilities over these factors on that size.
        flip: Test-time augmentation: and over the mirror image.
        target_statistics: Label with the batch normalisation of the target images
            (`adapt_statistics`), which a start that has seen the source alone lacks.
        amp: Precision of the labelling network; probabilities and thresholds stay in float32.
    """

    selector: Mapping[str, Any] = field(default_factory=lambda: {"type": "InstanceAdaptive"})
    batch_size: int = 2
    seed: int = 0
    scale: tuple[int, int] | None = None
    scales: Sequence[float] = (1.0,)
    flip: bool = False
    target_statistics: bool = False
    amp: Amp = "off"

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        if self.batch_size < 1 or self.seed < 0:
            raise ValueError(
                "label_generation: batch_size has to be at least 1 and seed at least 0, not "
                f"{self.batch_size} and {self.seed}."
            )
        if not self.scales or any(scale <= 0 for scale in self.scales):
            raise ValueError(
                f"label_generation: scales have to be factors above 0, not {list(self.scales)}."
            )
        if self.amp not in get_args(Amp):
            raise ValueError(
                f"label_generation: amp has to be one of {list(get_args(Amp))}, not {self.amp!r}."
            )

    def told(self) -> dict[str, Any]:
        """All settings, as the manifest has them."""
        return {
            "selector": json.loads(json.dumps(dict(self.selector))),
            "batch_size": self.batch_size,
            "seed": self.seed,
            "scale": None if self.scale is None else list(self.scale),
            "scales": list(self.scales),
            "flip": self.flip,
            "target_statistics": self.target_statistics,
            "amp": self.amp,
        }


def label_settings(config: Config, **changes: Any) -> LabelSettings:
    """The settings under `label_generation` of a config.

    Args:
        config: The run's config; without `label_generation` the defaults hold.
        **changes: Take precedence where they are not None.

    Raises:
        ValueError: A key is unknown or a number out of range.
    """
    given = {**config.get("label_generation", {})}
    given.update({key: value for key, value in changes.items() if value is not None})
    known = set(LabelSettings.__dataclass_fields__)
    if unknown := sorted(set(given) - known):
        raise ValueError(f"label_generation has no setting {unknown[0]!r}; it has {sorted(known)}.")
    if given.get("scale") is not None:
        given["scale"] = tuple(given["scale"])
    return LabelSettings(**given)
