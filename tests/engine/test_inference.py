"""Sliding windows and test-time augmentation, each against plain prediction."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from uda.engine.evaluate import (
    Evaluation,
    LoadedNetwork,
    evaluate,
    evaluation_dataset,
    load_network,
)
from uda.engine.inference import augmented_pipeline, augmented_probs, slide
from uda.engine.train import load_config
from uda.evaluation import SegmentationMetric

from .scoring import write_checkpoints
from .tiny_run import SIZE

STEPS = [{"type": "LoadImage"}, {"type": "LoadLabel"}, {"type": "PackSegInputs"}]
Loaded = tuple[Config, LoadedNetwork]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A config and an untrained student."""
    files = write_checkpoints(tmp_path_factory.mktemp("checkpoints"))
    config = load_config(files.config)
    return config, load_network(config, files.full)


def scored(loaded: Loaded, **settings: Any) -> Evaluation:
    """The score on the validation set."""
    config, network = loaded
    return evaluate(
        network, evaluation_dataset(config), metric=SegmentationMetric(), workers=0, **settings
    )


def test_slide_with_one_window_is_whole(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window as large as the image, or larger, predicts what the whole image does."""
    segmentor: Any = loaded[1].segmentor
    whole = scored(loaded)
    monkeypatch.setattr(segmentor, "test_cfg", segmentor.test_cfg)
    for window in ((SIZE, SIZE), (2 * SIZE, SIZE)):
        slide(segmentor, window)
        assert segmentor.test_cfg.mode == "slide"
        assert torch.equal(scored(loaded).matrix, whole.matrix)
    slide(segmentor, (SIZE // 2, SIZE // 2), (SIZE // 4, SIZE // 2))
    assert not torch.equal(scored(loaded).matrix, whole.matrix)


def test_slide_settings() -> None:
    """Two thirds of the window by default; gaps and empty windows are refused."""
    segmentor = SimpleNamespace()
    slide(segmentor, (512, 1))
    assert segmentor.test_cfg == {"mode": "slide", "crop_size": (512, 1), "stride": (341, 1)}
    for window, stride in (((8, 8), (9, 8)), ((8, 8), (8, 0)), ((0, 8), None)):
        with pytest.raises(ValueError, match=rf"1 <= stride <= window .* of \({window[0]}, 8\)"):
            slide(segmentor, window, stride)


def test_one_plain_view_is_no_augmentation(loaded: Loaded) -> None:
    """The scale 1 alone, without mirror, predicts the same; further views do not."""
    plain = scored(loaded)
    assert torch.equal(scored(loaded, scales=(1.0,)).matrix, plain.matrix)
    assert not torch.equal(scored(loaded, scales=(0.5, 1.0)).matrix, plain.matrix)
    assert not torch.equal(scored(loaded, flip=True).matrix, plain.matrix)


def test_augmentation_warns_of_nothing(loaded: Loaded) -> None:
    """No message about shapes from mmengine's structures."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        scored(loaded, scales=(0.5, 1.0), flip=True)


def test_augmented_views(loaded: Loaded) -> None:
    """A view for each scale, twice as many with mirroring; labels are neither scaled nor turned."""
    config, _ = loaded
    from mmseg.registry import DATASETS

    settings = evaluation_dataset(config)
    whole = DATASETS.build(settings)[0]["data_samples"].gt_sem_seg.data
    for flip, count in ((False, 2), (True, 4)):
        pipeline = augmented_pipeline(settings["pipeline"], (0.5, 1.0), flip)
        item = DATASETS.build({**settings, "pipeline": pipeline})[0]
        assert len(item["inputs"]) == len(item["data_samples"]) == count
        sizes = sorted(image.shape[1] for image in item["inputs"])
        assert sizes == sorted([SIZE // 2, SIZE] * (count // 2))
        assert sum(bool(sample.flip) for sample in item["data_samples"]) == (count // 2) * flip
        assert all(torch.equal(s.gt_sem_seg.data, whole) for s in item["data_samples"])


def test_augmented_pipeline_without_labels() -> None:
    """Steps that a set without labels lacks leave no empty choice behind."""
    (load, augmentation) = augmented_pipeline([STEPS[0], STEPS[2]], (1.0,), flip=False)
    assert load == STEPS[0]
    assert [len(choice) for choice in augmentation["transforms"]] == [1, 1, 1]


def test_augmented_pipeline_error() -> None:
    """A scale that leaves no image."""
    with pytest.raises(ValueError, match=r"have to be above 0, got \[1.0, 0.0\]"):
        augmented_pipeline(STEPS, (1.0, 0.0), flip=False)


class Recorded:
    """A segmentor that answers with the logits it is given."""

    def test_step(self, view: Mapping[str, Any]) -> list[Any]:
        """One data sample an image."""
        return [SimpleNamespace(seg_logits=SimpleNamespace(data=x)) for x in view["inputs"]]


def test_augmented_probs_values() -> None:
    """One pixel, two classes: odds 3:1 and 1:1 are probabilities 3/4 and 1/2, in the mean 5/8.

    The mean of the logits would give odds of sqrt(3):1, a probability of 0.634.
    """

    def odds(value: float) -> Tensor:
        return torch.tensor([value, 1.0]).log().view(2, 1, 1)

    (probs,) = augmented_probs(Recorded(), [{"inputs": [odds(3.0)]}, {"inputs": [odds(1.0)]}])
    assert torch.allclose(probs.flatten(), torch.tensor([5 / 8, 3 / 8]))
