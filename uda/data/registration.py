"""Importing this module registers our data sets, transforms and sampler, and mmseg's."""

from uda._quiet import quiet_mmseg_import

quiet_mmseg_import()

from uda.data import (  # noqa: E402, F401
    albumentations_transform,
    folder,
    margins,
    pairs,
    pseudo_label_set,
    pseudo_label_transforms,
    sampler,
    transforms,
)
