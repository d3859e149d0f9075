"""One crop for source and target: the same place, drawn from the seed and the draw alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from tests.engine.tiny_run import data_config, write_data
from uda.data.pairs import SourceTargetPairs
from uda.data.shared_crop import crop_alike


def item(height: int = 6, width: int = 9) -> dict[str, Any]:
    """An image whose pixels and label are their number."""
    numbers = torch.arange(height * width).view(1, height, width)
    sample = SegDataSample(gt_sem_seg=PixelData(data=numbers.clone()))
    sample.set_metainfo({"img_shape": (height, width), "img_path": "a.png"})
    return {"inputs": numbers.expand(3, -1, -1).clone(), "data_samples": sample}


def test_crop_alike_properties() -> None:
    """Image and label show the same place in all items, every place comes, nothing else moves."""
    np.random.seed(0)
    places = set()
    for _ in range(200):
        pair = {"source": item(), "target": item()}
        cut = crop_alike(pair, (4, 8))
        for one in cut.values():
            assert one["inputs"].shape == (3, 4, 8)
            assert torch.equal(one["data_samples"].gt_sem_seg.data[0], one["inputs"][0])
            assert one["data_samples"].metainfo == {"img_shape": (4, 8), "img_path": "a.png"}
        first = [int(one["inputs"][0, 0, 0]) for one in cut.values()]
        assert first[0] == first[1]
        places.add(first[0])
        assert pair["source"]["data_samples"].gt_sem_seg.data.shape == (1, 6, 9)
    assert places == {row * 9 + column for row in range(3) for column in range(2)}


def test_crop_alike_errors() -> None:
    with pytest.raises(ValueError, match=r"shared_crop=\(7, 8\) is larger than.*\(6, 9\)"):
        crop_alike({"source": item(), "target": item()}, (7, 8))
    with pytest.raises(ValueError, match=r"of one size, got.*'target': \(8, 9\)"):
        crop_alike({"source": item(), "target": item(8)}, (4, 4))


def pairs(root: Path, **changes: Any) -> SourceTargetPairs:
    settings = data_config(root, 0)["train_dataloader"]["dataset"]
    settings.pop("type")
    return SourceTargetPairs(**{**settings, **changes})


def test_shared_crop_values(tmp_path: Path) -> None:
    """A part of what the pair is without it, the same in any order of draws."""
    root = write_data(tmp_path)
    whole, cut = pairs(root), pairs(root, shared_crop=(16, 24), second_target=True)
    kept = cut[(0, 3)]
    assert set(kept) == {"source", "target", "second_target"}
    cut[(0, 4)]
    again = cut[(0, 3)]
    for name in kept:
        assert kept[name]["inputs"].shape == (3, 16, 24)
        assert torch.equal(kept[name]["inputs"], again[name]["inputs"])
    windows = whole[(0, 3)]["source"]["inputs"].unfold(1, 16, 1).unfold(2, 24, 1)
    same = (windows == kept["source"]["inputs"][:, None, None]).flatten(3).all(3).all(0)
    assert same.any()


def test_shared_crop_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shared_crop cuts source and target alike"):
        pairs(write_data(tmp_path), target=None, shared_crop=(16, 16))
