"""From files to a training item: folders, pairs, rare class sampling, transforms, statistics.

Names are imported when they are first used, so that preparing data does not have to load mmseg.
`import uda.data.registration` registers what configs name.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Albumentations": "albumentations_transform",
    "ClassStatistics": "statistics",
    "DrawSampler": "sampler",
    "FolderDataset": "folder",
    "HardClassCopyPaste": "pseudo_label_transforms",
    "LoadImage": "transforms",
    "LoadLabel": "transforms",
    "LoadPseudoLabel": "pseudo_label_transforms",
    "Manifest": "pseudo_labels",
    "PseudoLabelledTarget": "pseudo_label_set",
    "RareClassSampling": "rare_class_sampling",
    "SourceTargetPairs": "pairs",
    "class_frequencies": "rare_class_sampling",
    "class_probabilities": "rare_class_sampling",
    "seeded": "seeding",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """The public name, from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
