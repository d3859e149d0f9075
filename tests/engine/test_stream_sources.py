"""Domains of a stream: the protocol of Cityscapes -> ACDC on a drawn tree of its layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from uda.engine.stream_sources import config_domains
from uda.engine.train import load_config

PROJECT = Path(__file__).parents[2]
CONFIG = PROJECT / "configs/test_time_adaptation/cityscapes2acdc_continual_mitb5.py"
WEATHER = ["fog", "night", "rain", "snow"]


def write_acdc(root: Path) -> Path:
    """Two training and one validation image of each weather, and their labels."""
    for number, weather in enumerate(WEATHER):
        for split, names in (("train", "ab"), ("val", "c")):
            for kind, ending, shape in (
                ("rgb_anon", "_rgb_anon.png", (54, 96, 3)),
                ("gt", "_gt_labelTrainIds.png", (54, 96)),
            ):
                folder = root / kind / weather / split / "GOPR1"
                folder.mkdir(parents=True)
                for name in names:
                    pixels = np.full(shape, number, np.uint8)
                    cv2.imwrite(str(folder / f"{name}{ending}"), pixels)
    return root


def test_acdc_protocol(tmp_path: Path) -> None:
    """Ten rounds of the four weathers, training images alone, each with its own label."""
    config = load_config(CONFIG, {"val_dataloader.dataset.data_root": str(write_acdc(tmp_path))})
    domains, rounds = config_domains(config, ["unused"])
    assert rounds == 10
    assert [domain.name for domain in domains] == WEATHER
    for number, domain in enumerate(domains):
        assert len(domain.classes) == 19
        assert domain.labelled
        batches = list(domain.batches(1, 0))
        paths = [data["data_samples"][0].img_path for data in batches]
        assert [Path(path).name[0] for path in paths] == ["a", "b"]
        assert all(f"/{domain.name}/train/" in path for path in paths)
        for data in batches:
            assert data["inputs"][0].shape == (3, 540, 960)
            assert data["data_samples"][0].gt_sem_seg.data.unique().tolist() == [number]
