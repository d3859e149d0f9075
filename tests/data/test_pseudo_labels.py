"""Pseudo-labels on disk: manifest, loading, copy-paste, and the training set made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS, TRANSFORMS
from numpy.typing import NDArray
from torch.utils.data import DataLoader

import uda.data.registration  # noqa: F401
from tests.data.folders import CLASSES, write_domain, write_image
from uda.data.copy_paste import PasteChoice
from uda.data.pseudo_labels import MANIFEST, SUFFIX, LabelledImage, Manifest, read_pseudo_label
from uda.data.sampler import DrawSampler

COUNT = 4


def write_labels(root: Path) -> Manifest:
    """Images of 24x32 and pseudo-labels of half the size; image 0 alone shows class 2."""
    write_domain(root, COUNT, labels=False)
    images = []
    for index in range(COUNT):
        label = np.full((12, 16), 255, np.uint8)
        label[:4] = 1
        label[-4:] = 0
        if index == 0:
            label[6:8] = 2
        write_image(root / "pseudo" / f"{index:03}{SUFFIX}", label)
        pixels = tuple(int((label == k).sum()) for k in range(3))
        names = (f"{index:03}.png", f"{index:03}{SUFFIX}")
        images.append(LabelledImage(*names, (12, 16), pixels, tuple(2 * n for n in pixels)))
    manifest = Manifest(CLASSES, images, [0.9, 0.8, 0.6], [[0.9, 0.8, 0.7]], {"seed": 0})
    manifest.write(root / "pseudo")
    return manifest


def target_config(root: Path, **changes: Any) -> dict[str, Any]:
    """Config of a `FolderDataset` on `write_labels`."""
    return {
        "type": "FolderDataset",
        "data_root": str(root),
        "image_dir": "images",
        "label_dir": "pseudo",
        "label_suffix": SUFFIX,
        "classes": CLASSES,
        "pipeline": [
            {"type": "LoadImage"},
            {"type": "LoadPseudoLabel"},
            {"type": "HardClassCopyPaste", "num_hard": 1, "drop": 0.0},
            {
                "type": "Albumentations",
                "transforms": [
                    {"type": "HorizontalFlip", "p": 0.5},
                    {
                        "type": "RandomSizedCrop",
                        "min_max_height": (12, 24),
                        "size": (16, 20),
                        "w2h_ratio": 1.25,
                    },
                ],
            },
            {"type": "PackSegInputs"},
        ],
        **changes,
    }


def build(root: Path, **changes: Any) -> Any:
    """The training set with a strong view of inverted colours."""
    strong = [{"type": "Albumentations", "transforms": [{"type": "InvertImg", "p": 1.0}]}]
    config = {"type": "PseudoLabelledTarget", "target": target_config(root), "strong": strong}
    return DATASETS.build({**config, **changes})


def test_manifest_values(tmp_path: Path) -> None:
    """Written and read it is the same; shares by hand.

    Each image has 192 pixels: 64 of class 1, 64 of class 0, and 32 of class 2 in the first.
    """
    manifest = write_labels(tmp_path)
    assert Manifest.read(tmp_path / "pseudo") == manifest
    assert manifest.pixels().tolist() == [[64] * 4, [64] * 4, [32, 0, 0, 0]]
    assert manifest.kept_share() == pytest.approx((8 * 64 + 32) / (4 * 192))
    content = json.loads((tmp_path / "pseudo" / MANIFEST).read_text())
    assert content["class_images"] == [4, 4, 1]
    assert content["class_share"][2] == pytest.approx(32 / 544)


def test_empty_manifest_values(tmp_path: Path) -> None:
    """Nothing kept at all divides nothing by 0."""
    Manifest(CLASSES, [], [0.0] * 3).write(tmp_path)
    assert Manifest.read(tmp_path).kept_share() == 0
    assert Manifest.read(tmp_path).pixels().shape == (3, 0)


@pytest.mark.parametrize(
    "content",
    [
        '{"version": 2}',
        "{",
        '{"version": 1}',
        '{"version": 1, "images": 3}',
        '{"version": 1, "classes": ["a"], "images": [], "class_mean": []}',
    ],
)
def test_manifest_errors(tmp_path: Path, content: str) -> None:
    """A missing, damaged or foreign manifest is named with what to do."""
    with pytest.raises(FileNotFoundError, match=r"no manifest.json in .* it is no finished"):
        Manifest.read(tmp_path)
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(ValueError, match=r"is not a manifest that this version reads"):
        Manifest.read(tmp_path)


def test_read_pseudo_label_values(tmp_path: Path) -> None:
    """Enlarged to the image's size; another id is an error that names the file."""
    write_labels(tmp_path)
    label = read_pseudo_label(tmp_path / "pseudo" / f"000{SUFFIX}", (24, 32), 3)
    assert label.shape == (24, 32)
    assert (label[:8] == 1).all()
    assert (label[12:16] == 2).all()
    with pytest.raises(ValueError, match=rf"000{SUFFIX} holds id 2"):
        read_pseudo_label(tmp_path / "pseudo" / f"000{SUFFIX}", (24, 32), 2)


def results_of(root: Path, index: int, **paste: Any) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """One image after copy-paste, and the image before."""
    pipeline = target_config(root)["pipeline"][:2]
    data = DATASETS.build(target_config(root, pipeline=pipeline))
    results = data[index]
    before = results["img"].copy()
    np.random.seed(0)
    arguments = {"type": "HardClassCopyPaste", "num_hard": 1, "drop": 0.0, **paste}
    return TRANSFORMS.build(arguments)(results), before


@pytest.mark.parametrize("until", ["one_image", "half_of_classes"])
def test_copy_paste_values(tmp_path: Path, until: str) -> None:
    """The hardest class, 2, stands in image 0 alone: its rows 12 to 16 come to image 3."""
    write_labels(tmp_path)
    results, before = results_of(tmp_path, 3, until=until)
    bank = cv2.imread(str(tmp_path / "images/000.png"))
    wanted = before.copy()
    wanted[12:16] = bank[12:16]
    np.testing.assert_array_equal(results["img"], wanted)
    assert (results["gt_seg_map"][12:16] == 2).all()
    assert (results["gt_seg_map"][8:12] == 255).all()


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_copy_paste_probability_values(tmp_path: Path, probability: float, share: float) -> None:
    """So many of 200 draws paste class 2 onto image 3, which has none of it."""
    write_labels(tmp_path)
    data = DATASETS.build(target_config(tmp_path, pipeline=target_config(tmp_path)["pipeline"][:2]))
    paste = TRANSFORMS.build(
        {"type": "HardClassCopyPaste", "num_hard": 1, "drop": 0.0, "probability": probability}
    )
    np.random.seed(0)
    results = {**data[3]}
    kept = results["gt_seg_map"].copy()
    pasted = [
        bool((paste({**results, "gt_seg_map": kept})["gt_seg_map"] == 2).any()) for _ in range(200)
    ]
    assert np.mean(pasted) == pytest.approx(share, abs=0.08)


def test_copy_paste_goes_on_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hard classes that no image has together: one image pastes one, "half" two."""
    manifest = write_labels(tmp_path)
    images = []
    for index, entry in enumerate(manifest.images[:3]):
        label = np.full((12, 16), index, np.uint8)
        label[:, : 4 * index] = 255
        write_image(tmp_path / "pseudo" / entry.label, label)
        pixels = tuple(int((label == k).sum()) for k in range(3))
        images.append(LabelledImage(entry.image, entry.label, (12, 16), pixels, pixels))
    names = [f"003{end}" for end in (".png", SUFFIX)]
    nothing = LabelledImage(*names, (12, 16), (0, 0, 0), (192, 0, 0))
    write_image(tmp_path / "pseudo" / nothing.label, np.full((12, 16), 255, np.uint8))
    Manifest(CLASSES, [*images, nothing], [0.5] * 3).write(tmp_path / "pseudo")
    counts = {}
    for until in ("one_image", "half_of_classes"):
        results, _ = results_of(tmp_path, 3, num_hard=3, until=until)
        counts[until] = len(set(np.unique(results["gt_seg_map"]).tolist()) - {255})
    assert counts["one_image"] == 1
    # A later image may cover an earlier one.
    assert counts["half_of_classes"] in (1, 2)
    drawn: list[int] = []
    draw = PasteChoice.draw
    monkeypatch.setattr(PasteChoice, "draw", lambda *a: drawn.append(1) or draw(*a))
    results_of(tmp_path, 3, num_hard=3)
    assert len(drawn) == 2


def test_copy_paste_without_images_values(tmp_path: Path) -> None:
    """The hardest class has no kept pixel: nothing is pasted and nothing fails."""
    manifest = write_labels(tmp_path)
    manifest.images = [
        LabelledImage(i.image, i.label, i.size, (*i.pixels[:2], 0), i.predicted)
        for i in manifest.images
    ]
    manifest.class_mean = [0.9, 0.8, 0.0]
    manifest.write(tmp_path / "pseudo")
    results, before = results_of(tmp_path, 3)
    np.testing.assert_array_equal(results["img"], before)


def test_training_set_values(tmp_path: Path) -> None:
    """Strong is the inverted weak view, both with the label that belongs to the weak one."""
    write_labels(tmp_path)
    data = build(tmp_path)
    data.full_init()
    assert len(data) == COUNT
    for draw in range(8):
        item = data[(3, draw)]
        weak, strong = (item[key]["inputs"] for key in ("target", "source"))
        assert torch.equal(strong, 255 - weak)
        labels = [item[key]["data_samples"].gt_sem_seg.data for key in ("source", "target")]
        assert torch.equal(*labels)
        assert labels[0].shape == (1, 16, 20)
    paths = [data[(3, draw)]["target"]["data_samples"].img_path for draw in range(8)]
    assert len(set(paths[:4])) == len(set(paths[4:])) == COUNT
    assert data.metainfo["classes"] == tuple(CLASSES)


def test_no_strong_view_values(tmp_path: Path) -> None:
    """Without `strong` both views are the same."""
    write_labels(tmp_path)
    item = build(tmp_path, strong=[])[(0, 0)]
    assert torch.equal(item["source"]["inputs"], item["target"]["inputs"])


def test_workers_properties(tmp_path: Path) -> None:
    """Copy-paste, crops and colours are equal with any number of loader processes."""
    write_labels(tmp_path)
    strong = [{"type": "Albumentations", "transforms": [{"type": "RandomGamma", "p": 0.7}]}]
    batches = []
    for workers in (0, 2):
        data = build(tmp_path, strong=strong)
        loader = DataLoader(
            data,
            batch_size=2,
            sampler=DrawSampler(data, seed=5),
            num_workers=workers,
            collate_fn=pseudo_collate,
        )
        iterator = iter(loader)
        batches.append([next(iterator) for _ in range(3)])
    for one, two in zip(*batches, strict=True):
        for key in ("source", "target"):
            for first, second in zip(one[key]["inputs"], two[key]["inputs"], strict=True):
                assert torch.equal(first, second)


def test_epochs_differ_values(tmp_path: Path) -> None:
    """The same image is cropped anew in each epoch."""
    write_labels(tmp_path)
    data = build(tmp_path)
    views: dict[str, list[torch.Tensor]] = {}
    for draw in range(3 * COUNT):
        item = data[(0, draw)]["target"]
        views.setdefault(item["data_samples"].img_path, []).append(item["inputs"])
    assert any(not torch.equal(v[0], v[1]) for v in views.values())


def test_training_set_errors(tmp_path: Path) -> None:
    """No labels, no packing, another sampler, a strong view of another geometry."""
    write_labels(tmp_path)
    with pytest.raises(ValueError, match=r"the target has no label_dir; make pseudo-labels with"):
        build(tmp_path, target=target_config(tmp_path, label_dir=None))
    with pytest.raises(ValueError, match="has to end with packing"):
        build(tmp_path, target=target_config(tmp_path, pipeline=[{"type": "LoadImage"}]))
    with pytest.raises(TypeError, match=r"PseudoLabelledTarget wants an index \(seed, draw\)"):
        build(tmp_path)[0]
    crop = {"type": "RandomCrop", "crop_size": (8, 8)}
    with pytest.raises(ValueError, match=r"from \(16, 20, 3\) to \(8, 8, 3\)"):
        build(tmp_path, strong=[crop])[(0, 0)]


def test_bank_image_errors(tmp_path: Path) -> None:
    """A bank image that is gone is an error that names it, not another image."""
    write_labels(tmp_path)
    data = build(tmp_path)
    data.full_init()
    (tmp_path / "images/000.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"image file not found: .*000.png"):
        [data[(0, draw)] for draw in range(COUNT)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"until": "all"}, r"until has to be one of .* not 'all'"),
        ({"num_hard": 0}, "num_hard and max_images have to be at least 1, not 0 and 3"),
        ({"max_images": 0}, "not 14 and 0"),
        ({"drop": 1.0}, r"drop is a share of images in \[0, 1\), not 1.0"),
        ({"probability": 1.5}, "probability is how often pasting is done, from 0 to 1, not 1.5"),
    ],
    ids=["until", "num_hard", "max_images", "drop", "probability"],
)
def test_copy_paste_errors(arguments: dict[str, Any], message: str) -> None:
    """Settings out of range."""
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build({"type": "HardClassCopyPaste", **arguments})


def test_transform_errors(tmp_path: Path) -> None:
    """Data sets without labels, labels without manifest, other classes."""
    manifest = write_labels(tmp_path)
    paste = TRANSFORMS.build({"type": "HardClassCopyPaste", "num_hard": 1})
    with pytest.raises(ValueError, match="LoadPseudoLabel: image a.png belongs to a data set"):
        TRANSFORMS.build({"type": "LoadPseudoLabel"})({"img_path": "a.png"})
    with pytest.raises(ValueError, match="needs pseudo-labels: put it behind LoadPseudoLabel"):
        paste({"label_dir": str(tmp_path)})
    with pytest.raises(ValueError, match="folder .* has LoadPseudoLabel; remove it"):
        DATASETS.build(target_config(tmp_path, label_dir=None))
    manifest.classes, manifest.images = [*CLASSES, "car"], []
    manifest.class_mean = [0.5] * 4
    manifest.write(tmp_path / "pseudo")
    with pytest.raises(ValueError, match=r"are of 4 classes, the data set has 3"):
        DATASETS.build(target_config(tmp_path))[0]
    (tmp_path / "pseudo" / MANIFEST).unlink()
    with pytest.raises(FileNotFoundError, match=r"no manifest.json"):
        DATASETS.build(target_config(tmp_path))[0]


def test_settings_are_told_values() -> None:
    """Configs are printed with what they set."""
    assert repr(TRANSFORMS.build({"type": "LoadPseudoLabel"})) == "LoadPseudoLabel()"
    told = repr(TRANSFORMS.build({"type": "HardClassCopyPaste", "excluded": [9]}))
    assert "excluded=(9,)" in told
