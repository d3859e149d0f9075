"""Pseudo-labels of a whole set: what is written, stops, order, test-time augmentation, errors."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from uda.commands.generate_labels import run as main
from uda.data.pseudo_labels import MANIFEST, SUFFIX, LabelledImage, Manifest
from uda.engine import label_generation
from uda.engine.evaluate import LoadedNetwork, adapt_statistics, load_network
from uda.engine.inference import mean_probs
from uda.engine.label_generation import generate_labels
from uda.engine.label_images import target_set
from uda.engine.label_pass import PROGRESS, Pass
from uda.engine.label_settings import LabelSettings, label_settings
from uda.engine.train import load_config

from .labelling import IMAGES, files, trained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `trained`."""
    return trained(tmp_path_factory.mktemp("labels"))


@pytest.fixture
def config(run: Path) -> Config:
    """The config of the run."""
    return load_config(run / "config.py")


def generate(run: Path, out: Path, **changes: Any) -> Manifest:
    """Labels of the run's teacher."""
    config = load_config(run / "config.py")
    checkpoint = run / "run" / "iter_2.pth"
    arguments: dict[str, Any] = {
        "checkpoint": checkpoint,
        "out": out,
        "settings": LabelSettings(selector={"type": "InstanceAdaptive", "initial": 0.3}),
    }
    network = load_network(config, checkpoint, "teacher")
    return generate_labels(network, config, **{**arguments, **changes})


def test_written_values(run: Path, tmp_path: Path) -> None:
    """Labels hold kept classes and 255; the manifest's counts, means and thresholds are theirs."""
    manifest = generate(run, tmp_path)
    assert manifest == Manifest.read(tmp_path)
    assert sorted(image.image for image in manifest.images) == [f"{i}.png" for i in range(IMAGES)]
    assert not (tmp_path / PROGRESS).exists()
    for image in manifest.images:
        assert image.label == image.image.replace(".png", SUFFIX)
        label = cv2.imread(str(tmp_path / image.label), cv2.IMREAD_UNCHANGED)
        assert label.dtype == np.uint8
        assert label.shape == image.size == (64, 64)
        assert tuple(int((label == k).sum()) for k in range(3)) == image.pixels
        assert sum(image.predicted) == label.size
        assert all(kept <= all_ for kept, all_ in zip(image.pixels, image.predicted, strict=True))
        assert set(np.unique(label)) <= {0, 1, 2, 255}
    assert 0 < manifest.kept_share() < 1
    assert len(manifest.thresholds) == 4  # batches of 2, 2, 2, 1
    assert manifest.checkpoint["network"] == "teacher"
    assert len(manifest.checkpoint["sha256"]) == 64
    assert manifest.settings["selector"] == {"type": "InstanceAdaptive", "initial": 0.3}


def test_labels_are_the_selectors_values(run: Path, tmp_path: Path) -> None:
    """Image by image in the manifest's order, network and selector by hand give the same."""
    from uda.selftraining import InstanceAdaptive

    manifest = generate(run, tmp_path)
    config = load_config(run / "config.py")
    network = load_network(config, run / "run" / "iter_2.pth", "teacher")
    segmentor: Any = network.segmentor
    selector = InstanceAdaptive(num_classes=3, initial=0.3)
    for first in range(0, IMAGES, 2):
        entries = manifest.images[first : first + 2]
        pixels = [
            cv2.imread(str(run / "data/target/images" / e.image))[..., ::-1].copy() for e in entries
        ]
        image = (torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() - 127.5) / 60
        probs = segmentor.encode_decode(
            image, [{"img_shape": (64, 64), "ori_shape": (64, 64)} for _ in entries]
        ).softmax(1)
        for entry, label in zip(entries, selector(probs).label, strict=True):
            written = cv2.imread(str(tmp_path / entry.label), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(written, label.numpy())


def test_class_counts_values() -> None:
    """Each image's pixels are counted by their most probable class."""
    labels = torch.tensor([[[0, 1], [1, 2]], [[2, 2], [2, 0]]])
    probs = torch.nn.functional.one_hot(labels, 4).movedim(-1, 1).float()
    assert label_generation.class_counts(probs).tolist() == [[1, 2, 1, 0], [1, 0, 3, 0]]


def test_kept_shares_values() -> None:
    """Kept pixels of a class over the predicted ones of it, over all images."""
    images = [
        LabelledImage("a.png", "a_l.png", (2, 2), (1, 0, 0), (2, 2, 0)),
        LabelledImage("b.png", "b_l.png", (2, 2), (1, 1, 0), (2, 2, 0)),
    ]
    manifest = Manifest(["road", "car", "bus"], images, [0.9, 0.8, 0.0])
    assert manifest.kept_shares().tolist() == [0.5, 0.25, 0.0]


def test_target_statistics(run: Path, tmp_path: Path) -> None:
    """Labels come from the network with the batch normalisation of the target images."""
    settings = LabelSettings(
        selector={"type": "ConfidenceThreshold", "threshold": 0.0}, target_statistics=True
    )
    manifest = generate(run, tmp_path / "target", settings=settings)
    plain = generate(run, tmp_path / "plain", settings=replace(settings, target_statistics=False))
    assert manifest.settings["target_statistics"]
    assert not plain.settings["target_statistics"]
    config = load_config(run / "config.py")
    network = load_network(config, run / "run" / "iter_2.pth", "teacher")
    adapt_statistics(network, config)
    dataset = target_set(config)
    item = dataset[0]
    image = network.segmentor.data_preprocessor(
        {"inputs": [item["inputs"]], "data_samples": [item["data_samples"]]}, False
    )["inputs"]
    wanted = mean_probs(network.segmentor, image).argmax(1)[0]
    written = cv2.imread(str(tmp_path / "target" / f"0{SUFFIX}"), cv2.IMREAD_UNCHANGED)
    assert (written == wanted.numpy()).mean() > 0.999
    assert files(tmp_path / "target") != files(tmp_path / "plain")


def test_precision_values(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With bf16 the network computes in bfloat16; its probabilities come in float32."""
    inside: list[bool] = []
    mean = label_generation.mean_probs

    def watched(*given: Any, **named: Any) -> torch.Tensor:
        inside.append(torch.is_autocast_enabled("cpu"))
        probs = mean(*given, **named)
        assert probs.dtype == torch.float32
        return probs

    monkeypatch.setattr(label_generation, "mean_probs", watched)
    for amp in ("off", "bf16"):
        manifest = generate(run, tmp_path / amp, settings=LabelSettings(amp=amp))
        assert manifest.settings["amp"] == amp
    half = len(inside) // 2
    assert inside == [False] * half + [True] * half


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_resume(run: Path, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after any batch, with the progress noted every second one, it ends with the same."""
    monkeypatch.setattr(label_generation, "_NOTED", 2)
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    wanted = generate(run, straight)

    def interrupt(done: int, total: int) -> None:
        if done >= 2 * stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(run, stopped, progress=interrupt)
    assert not (stopped / MANIFEST).exists()
    assert (stopped / PROGRESS).exists() == (stop >= 2)
    seen: list[int] = []
    assert generate(run, stopped, progress=lambda done, _: seen.append(done)) == wanted
    assert seen[0] == (2 if stop < 2 else 6)
    assert files(straight) == files(stopped)


def test_finished_folder_values(run: Path, tmp_path: Path) -> None:
    """A second call labels nothing."""
    wanted = generate(run, tmp_path)
    seen: list[int] = []
    assert generate(run, tmp_path, progress=lambda done, _: seen.append(done)) == wanted
    assert seen == []


def test_workers_properties(run: Path, tmp_path: Path) -> None:
    """The number of processes that read images changes no byte."""
    first = generate(run, tmp_path / "none", workers=0)
    second = generate(run, tmp_path / "two", workers=2)
    assert first == second
    assert files(tmp_path / "none") == files(tmp_path / "two")


def test_order_values(run: Path, tmp_path: Path) -> None:
    """Another seed visits the images in another order, and with running thresholds keeps others."""
    orders, thresholds = [], []
    for seed in (0, 1):
        settings = LabelSettings(
            selector={"type": "InstanceAdaptive", "initial": 0.3, "beta": 0.5}, seed=seed
        )
        manifest = generate(run, tmp_path / str(seed), settings=settings)
        orders.append([image.image for image in manifest.images])
        thresholds.append(manifest.thresholds[-1])
    assert orders[0] != orders[1]
    assert thresholds[0] != thresholds[1]


def test_other_selectors_values(run: Path, tmp_path: Path) -> None:
    """A selector without thresholds of its own: no thresholds in the manifest."""
    settings = LabelSettings(selector={"type": "ConfidenceThreshold", "threshold": 0.0})
    manifest = generate(run, tmp_path, settings=settings)
    assert manifest.kept_share() == 1
    assert manifest.thresholds == []


def test_scale_values(run: Path, tmp_path: Path) -> None:
    """Labels are stored at the size the network saw."""
    settings = LabelSettings(scale=(32, 32), selector={"type": "InstanceAdaptive", "initial": 0.3})
    manifest = generate(run, tmp_path, settings=settings)
    assert {image.size for image in manifest.images} == {(32, 32)}


def test_sizes_values(run: Path, tmp_path: Path) -> None:
    """Images of several sizes in one batch are labelled at their own; thresholds are noted once."""
    config = load_config(run / "config.py")
    small = tmp_path / "images"
    small.mkdir()
    for index, size in enumerate((64, 32, 32, 64, 64)):
        image = cv2.imread(str(run / f"data/target/images/{index}.png"))[:size]
        assert cv2.imwrite(str(small / f"{index}.png"), image)
    config.train_dataloader.dataset.target.data_root = str(tmp_path)
    checkpoint = run / "run" / "iter_2.pth"
    manifest = generate_labels(
        load_network(config, checkpoint, "teacher"),
        config,
        checkpoint=checkpoint,
        out=tmp_path / "labels",
        settings=LabelSettings(batch_size=5),
        workers=0,
    )
    sizes = {int(image.image[0]): image.size for image in manifest.images}
    assert sizes == {0: (64, 64), 1: (32, 64), 2: (32, 64), 3: (64, 64), 4: (64, 64)}
    assert len(manifest.thresholds) == 1


class Spy:
    """A segmentor whose logits are the image's channels, and which notes the sizes it sees."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def inference(self, image: torch.Tensor, metas: list[dict[str, Any]]) -> torch.Tensor:
        """The image."""
        self.sizes.append(tuple(image.shape[2:]))
        assert metas[0]["img_shape"] == tuple(image.shape[2:])
        return image


def test_mean_probs_values() -> None:
    """Views are turned and resized back: of a constant image all give the same probabilities."""
    spy = Spy()
    image = torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1).expand(2, 3, 4, 8)
    probs = mean_probs(spy, image, (1.0, 0.5), flip=True)
    torch.testing.assert_close(probs, image.softmax(1))
    assert spy.sizes == [(4, 8), (4, 8), (2, 4), (2, 4)]
    ramp = torch.arange(48.0).view(1, 3, 2, 8)
    torch.testing.assert_close(mean_probs(spy, ramp, flip=True), ramp.softmax(1))


def test_settings_values(config: Config) -> None:
    """What the config says, unless it is changed."""
    config.label_generation = {"seed": 3, "scale": [64, 32], "flip": True}
    settings = label_settings(config, seed=4, scales=None)
    assert (settings.seed, settings.scale, settings.flip, settings.batch_size) == (
        4,
        (64, 32),
        True,
        2,
    )


def test_errors(run: Path, config: Config, tmp_path: Path) -> None:
    """Unknown settings, other labels in the folder, no target, numbers out of range."""
    generate(run, tmp_path)
    with pytest.raises(ValueError, match="holds pseudo-labels of another network, other settings"):
        generate(run, tmp_path, settings=LabelSettings(seed=9))
    (tmp_path / MANIFEST).unlink()
    other = Pass.start({"type": "ConfidenceThreshold"}, 3, torch.device("cpu"))
    (tmp_path / PROGRESS).write_bytes(other.note("another"))
    with pytest.raises(ValueError, match="give another folder, or remove this one"):
        generate(run, tmp_path)
    config.label_generation = {"sead": 3}
    with pytest.raises(ValueError, match="label_generation has no setting 'sead'"):
        label_settings(config)
    with pytest.raises(ValueError, match="batch_size has to be at least 1 .* not 0 and 0"):
        LabelSettings(batch_size=0)
    with pytest.raises(ValueError, match=r"amp has to be one of .*, not 'half'"):
        LabelSettings(amp="half")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"scales have to be factors above 0, not \[0\]"):
        LabelSettings(scales=[0])
    config.train_dataloader.dataset.target = None
    with pytest.raises(ValueError, match=r"but this config has none \(target=None\)"):
        target_set(config)


def test_command_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tool prints a table and the number of labels."""
    command = [str(run / "config.py"), str(run / "run" / "iter_2.pth"), "--network", "teacher"]
    main([*command, "--out", str(tmp_path / "labels"), "--seed", "5", "--workers", "0"])
    told = capsys.readouterr().out
    assert "of all pixels have a label" in told
    assert f"{IMAGES} labels by the teacher in" in told
    assert Manifest.read(tmp_path / "labels").settings["seed"] == 5


def test_loaded_network_type(run: Path, config: Config) -> None:
    """The network is in evaluation mode, so that labelling changes no running statistic."""
    network = load_network(config, run / "run" / "iter_2.pth", "student")
    assert isinstance(network, LoadedNetwork)
    before = copy.deepcopy(network.segmentor.state_dict())
    generate_labels(
        network,
        config,
        checkpoint=run / "run" / "iter_2.pth",
        out=run / "student_labels",
        settings=LabelSettings(),
    )
    after = network.segmentor.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_images_are_not_turned_values(config: Config) -> None:
    """Labels have to fit images as training reads them, which is as they are stored."""
    names = [type(step).__name__ for step in target_set(config).pipeline.transforms]
    assert names == ["LoadImage", "PackSegInputs"]
    names = [type(step).__name__ for step in target_set(config, (32, 32)).pipeline.transforms]
    assert names == ["LoadImage", "Resize", "PackSegInputs"]
