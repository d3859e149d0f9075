"""The training set of a round of self-training: target images with their pseudo-labels alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmseg.registry import DATASETS, TRANSFORMS

from uda.data.pairs import TARGET_STREAM, apply_transforms, check_index
from uda.data.seeding import epoch_index, seeded


@DATASETS.register_module()
class PseudoLabelledTarget:
    """Items ``{"source": strong view with label, "target": weak view}`` of one target image.

    The pipeline of `target` gives the weak view, which the teacher sees. `strong` changes its
    colours and nothing else, so that the strong view, from which the student learns, has the same
    geometry and label. Both are packed by the last step of the pipeline. The keys are those of
    `SourceTargetPairs`: ``source`` is what has labels.

    ``data[(seed, draw)]`` is a pure function, as with `SourceTargetPairs`: each image comes once an
    epoch, every draw with random numbers of its own. A file that cannot be read is an error; it is
    never replaced by another image. To be used with ``sampler=dict(type="DrawSampler")``.

    Args:
        target: `FolderDataset`, or its config, whose ``label_dir`` is a folder of pseudo-labels and
            whose pipeline ends with packing.
        strong: Transforms, as config dicts, that change the weak view to the strong one.

    Raises:
        ValueError: The data set has no labels, or its pipeline does not end with packing.
    """

    def __init__(
        self, *, target: Any, strong: Sequence[dict[str, Any] | Callable[..., Any]] = ()
    ) -> None:
        settings = target if isinstance(target, Mapping) else vars(target)
        if settings.get("label_dir") is None:
            raise ValueError(
                "PseudoLabelledTarget: the target has no label_dir; make pseudo-labels with "
                "tools/generate_labels.py and give their folder, or start all rounds with "
                "tools/train_rounds.py"
            )
        self.target = DATASETS.build(target) if isinstance(target, Mapping) else target
        self.strong = [TRANSFORMS.build(t) if isinstance(t, Mapping) else t for t in strong]
        steps = list(self.target.pipeline.transforms)
        if not steps or not type(steps[-1]).__name__.startswith("Pack"):
            raise ValueError(
                "PseudoLabelledTarget: the target's pipeline has to end with packing; put "
                "dict(type='PackSegInputs') last"
            )
        self.steps, self.pack = steps[:-1], steps[-1]

    def full_init(self) -> None:
        """Read the folders."""
        self.target.full_init()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Classes and palette."""
        return dict(self.target.metainfo)

    def __len__(self) -> int:
        """Number of images, one epoch; draws go on beyond it without end."""
        return len(self.target)

    def __getitem__(self, index: tuple[int, int]) -> dict[str, Any]:
        """Both views of one draw.

        Args:
            index: (seed, draw number), both >= 0.

        Raises:
            TypeError: The index is a plain number.
            ValueError: A transform changed the size in making the strong view.
        """
        seed, draw = check_index(index, type(self).__name__)
        self.full_init()
        position = epoch_index(seed, draw, len(self.target), TARGET_STREAM)
        with seeded(seed, draw, TARGET_STREAM):
            weak = apply_transforms(self.steps, self.target.get_data_info(position))
            strong = apply_transforms(self.strong, copy.deepcopy(weak))
            if strong["img"].shape != weak["img"].shape:
                raise ValueError(
                    "PseudoLabelledTarget: `strong` may change colours alone, but the image went "
                    f"from {weak['img'].shape} to {strong['img'].shape}; put changes of geometry "
                    "into the target's pipeline"
                )
            # Whatever `strong` does to a label, both views have one.
            strong["gt_seg_map"] = weak["gt_seg_map"]
            return {
                "source": apply_transforms([self.pack], strong),
                "target": apply_transforms([self.pack], weak),
            }
