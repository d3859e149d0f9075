"""The tool that adapts a segmentor: equal to the scoring tool unadapted, whole and by windows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.engine.scoring import Checkpoints, write_checkpoints
from uda.commands.adapt import parsed, settings_of
from uda.commands.adapt import run as main
from uda.commands.test import run as score
from uda.engine.evaluate import load_network
from uda.engine.segmentor_stream import SegmentorForward, run_stream
from uda.engine.stream_participant import Run
from uda.engine.stream_sources import FolderDomain, config_domains, stream_dataset, video_domain
from uda.engine.train import load_config
from uda.tta import adapt, dense_settings


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Checkpoints of a tiny run, with images and labels beside them."""
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


def folders(files: Checkpoints) -> tuple[Path, Path]:
    """Images and labels of the validation set."""
    dataset = load_config(files.config).val_dataloader.dataset
    root = Path(dataset.get("data_root", ""))
    return root / dataset.image_dir, root / dataset.label_dir


@pytest.mark.parametrize("window", [(), ("--slide", "32", "32")], ids=["whole", "slide"])
def test_unadapted_equals_scoring(
    files: Checkpoints, tmp_path: Path, window: tuple[str, ...]
) -> None:
    """Without adaptation the mIoU is that of tools/test.py, which reads the same images."""
    images, labels = folders(files)
    common = [str(files.config), str(files.full), "--workers", "0", *window]
    score([*common, "--out", str(tmp_path / "scored.json")])
    main(
        [*common, "--stream", str(images), "--labels", str(labels), "--method", "tent",
         "--lr", "0.01", "--no-guard", "--out", str(tmp_path / "adapted.json")]
    )  # fmt: skip
    scored = json.loads((tmp_path / "scored.json").read_text(encoding="utf-8"))
    adapted = json.loads((tmp_path / "adapted.json").read_text(encoding="utf-8"))
    results = adapted["results"]
    assert list(results) == ["unadapted", "tent", "with resets"]
    assert results["unadapted"]["mIoU"] == scored["metrics"]["student/mIoU"]
    assert results["unadapted"]["images"] == scored["context"]["images"]
    assert results["tent"]["report"]["updates"] == results["tent"]["images"]
    assert results["tent"]["latency_p50_ms"] <= results["tent"]["latency_p95_ms"]
    assert results["unadapted"]["IoU"] == {
        name: scored["metrics"][f"student/IoU.{name}"] for name in results["unadapted"]["IoU"]
    }


def test_several_methods_and_settings(files: Checkpoints, tmp_path: Path) -> None:
    """One pass serves several methods; their settings are for pixels, or the published ones."""
    images, labels = folders(files)
    common = [str(files.config), str(files.full), "--workers", "0", "--no-guard"]
    stream = ["--stream", str(images), "--labels", str(labels)]
    for settings in ("dense", "published"):
        out = tmp_path / f"{settings}.json"
        main([*common, *stream, "--method", "bn", "rpl", "--settings", settings, "--out", str(out)])
        results = json.loads(out.read_text(encoding="utf-8"))["results"]
        assert list(results) == ["unadapted", "bn", "rpl", "with resets"]
    options = parsed(["c", "k", "--stream", "s", "--lr", "0.5"])
    assert settings_of(options, "rpl") | dense_settings("rpl") == {
        **settings_of(options, "rpl"), "lr": 3e-4
    }  # fmt: skip
    assert settings_of(options, "rpl")["lr"] == 0.5
    options = parsed(["c", "k", "--stream", "s", "--settings", "published"])
    assert not {"statistics", "lr", "class_balance"} & set(settings_of(options, "rpl"))


def test_eata_reads_the_source(
    files: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its images may be any folder, here one of them; how far the stream is, is told."""
    images, labels = folders(files)
    out = tmp_path / "out.json"
    main(
        [str(files.config), str(files.full), "--workers", "0", "--stream", str(images), "--labels",
         str(labels), "--method", "eata", "--source", str(images), "--source-images", "1",
         "--no-guard", "--out", str(out)]
    )  # fmt: skip
    results = json.loads(out.read_text(encoding="utf-8"))["results"]
    assert list(results) == ["unadapted", "eata", "with resets"]
    assert results["eata"]["report"]["backward"] >= 1  # the Fisher information
    assert capsys.readouterr().out.count("mIoU") == 3


def test_without_labels(
    files: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No score, but times; episodic runs need no baseline with resets."""
    images, _ = folders(files)
    out = tmp_path / "out.json"
    main(
        [str(files.config), str(files.deploy / "student.pth"), "--workers", "0", "--stream",
         str(images), "--protocol", "episodic", "--out", str(out)]
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert "mIoU" not in printed
    assert "rpl" in printed
    results = json.loads(out.read_text(encoding="utf-8"))["results"]
    assert list(results) == ["unadapted", "rpl"]


def domain_of(files: Checkpoints, name: str = "val", **changes: Any) -> FolderDomain:
    """The validation images as a domain of a stream."""
    config = load_config(files.config)
    dataset = stream_dataset(config, *folders(files))
    dataset["classes"] = config.val_dataloader.dataset.classes
    return FolderDomain(name, dataset, **changes)


def segmentor_of(files: Checkpoints) -> Any:
    return load_network(load_config(files.config), files.full).segmentor


SETTINGS = {"guard": False, "lr": 0.1}


def test_resets_start_again(files: Checkpoints) -> None:
    """Reset before each image, a continual run scores as an episodic one; the network stays."""
    segmentor = segmentor_of(files)
    before = {name: value.clone() for name, value in segmentor.state_dict().items()}
    runs = {
        "unadapted": Run(None),
        "reset": Run("tent", 1, SETTINGS),
        "single": Run("tent", settings={**SETTINGS, "protocol": "episodic"}),
    }
    found = run_stream(segmentor, [domain_of(files)], runs).runs
    assert found["reset"]["IoU"] == found["single"]["IoU"]
    assert all(torch.equal(value, before[name]) for name, value in segmentor.state_dict().items())


def test_side_by_side_equals_alone(files: Checkpoints) -> None:
    """Participants do not influence each other."""
    domains, segmentor = [domain_of(files)], segmentor_of(files)
    one, two = Run("tent", settings=SETTINGS), Run("cotta", settings={"guard": False})
    both = run_stream(segmentor, domains, {"one": one, "two": two}).runs
    for name, run in (("one", one), ("two", two)):
        alone = run_stream(segmentor, domains, {name: run}).runs[name]
        assert alone["IoU"] == both[name]["IoU"]


def test_rounds_and_domains(files: Checkpoints) -> None:
    """Visits add up; online starts each visit anew, continual does not; the curve has each call."""
    domains = [domain_of(files), domain_of(files, "again", limit=1)]
    runs = {
        "unadapted": Run(None),
        "online": Run("tent", settings={**SETTINGS, "protocol": "online"}),
        "continual": Run("tent", settings=SETTINGS),
    }
    found = run_stream(segmentor_of(files), domains, runs, rounds=2, panels=2)
    for run in found.runs.values():
        assert [v["images"] for v in run["visits"]] == [2, 1, 2, 1]
        assert [(v["round"], v["domain"]) for v in run["visits"]] == [
            (1, "val"), (1, "again"), (2, "val"), (2, "again"),
        ]  # fmt: skip
        assert run["images"] == 6
        assert [point["image"] for point in run["curve"]] == [1, 2, 3, 4, 5, 6]
    scores = {name: [v["IoU"] for v in run["visits"]] for name, run in found.runs.items()}
    assert scores["online"][:2] == scores["online"][2:]
    assert scores["continual"][:2] != scores["continual"][2:]
    assert scores["unadapted"][:2] == scores["unadapted"][2:]
    assert all(point["agreement"] == 100 for point in found.runs["unadapted"]["curve"])
    assert [panel.image for panel in found.panels] == [1, 3, 5]
    panel = found.panels[0]
    image = cv2.imread(str(folders(files)[0] / "0.png"))[..., ::-1]
    assert np.array_equal(panel.pixels, image)
    assert list(panel.predictions) == list(runs)


def test_batches(files: Checkpoints) -> None:
    """Both images in one call: the same unadapted scores, one update."""
    domains, segmentor = [domain_of(files)], segmentor_of(files)
    runs = {"unadapted": Run(None), "tent": Run("tent", settings=SETTINGS)}
    single = run_stream(segmentor, domains, runs).runs
    double = run_stream(segmentor, domains, runs, batch_size=2).runs
    assert single["unadapted"]["IoU"] == double["unadapted"]["IoU"]
    assert (single["tent"]["report"]["updates"], double["tent"]["report"]["updates"]) == (2, 1)
    assert double["tent"]["images"] == 2


def test_offline(files: Checkpoints) -> None:
    """Adapted to all images first, both epochs, then only predicted."""
    settings = {**SETTINGS, "protocol": "offline"}
    runs = {"offline": Run("tent", settings=settings, epochs=2)}
    found = run_stream(segmentor_of(files), [domain_of(files)], runs).runs["offline"]
    assert (found["report"]["updates"], found["report"]["calls"]) == (4, 2)


def write_video(path: Path, images: list[np.ndarray]) -> Path:
    """Frames as a video of small loss."""
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (width, height))
    for image in images:
        writer.write(image)
    writer.release()
    return path


def test_video(files: Checkpoints, tmp_path: Path) -> None:
    """Each frame is read once, in order, in the colours it has; a page is written."""
    names = sorted(folders(files)[0].glob("*.png"))
    images = [cv2.imread(str(name)) for name in names]
    video = write_video(tmp_path / "drive.avi", [*images, *images])
    config = load_config(files.config)
    domain = video_domain(config, video, config.val_dataloader.dataset.classes, limit=3)
    batches = list(domain.batches(2, 0))
    assert [len(data["inputs"]) for data in batches] == [2, 1]
    shown = batches[0]["inputs"][1].permute(1, 2, 0).numpy().astype(float)
    assert np.abs(shown - images[1]).mean() < 12  # of 255: the loss of the compression
    assert np.abs(shown[..., ::-1] - images[1]).mean() > 20
    report, out = tmp_path / "page.html", tmp_path / "out.json"
    main(
        [str(files.config), str(files.full), "--workers", "0", "--stream", str(video),
         "--report", str(report), "--out", str(out), "--panels", "2"]
    )  # fmt: skip
    assert json.loads(out.read_text(encoding="utf-8"))["results"]["rpl"]["images"] == 4
    assert "input of image 1, drive" in report.read_text(encoding="utf-8")


def test_report(files: Checkpoints, tmp_path: Path) -> None:
    """One file without links to elsewhere, with all parts and the numbers of the results."""
    images, labels = folders(files)
    report, out = tmp_path / "deep" / "page.html", tmp_path / "out.json"
    main(
        [str(files.config), str(files.full), "--workers", "0", "--stream", str(images), "--labels",
         str(labels), "--method", "tent", "--rounds", "3", "--report", str(report), "--out",
         str(out)]
    )  # fmt: skip
    text = report.read_text(encoding="utf-8")
    for title in ("Result", "Domains and rounds", "Over the stream", "Classes", "Side by side",
                  "What the guard did", "Settings"):  # fmt: skip
        assert f">{title}</h2>" in text
    assert "http" not in re.sub(r'"data:[^"]*"', "", text)
    assert re.findall(r"(?:src|href)=\"(?!data:|#)", text) == []
    score = json.loads(out.read_text(encoding="utf-8"))["results"]["unadapted"]["mIoU"]
    assert f"<td>{score:.2f}</td>" in text
    assert ">truth, " not in text
    assert "% of pixels right" in text


def test_config_stream(files: Checkpoints, tmp_path: Path) -> None:
    """Without --stream the domains of the config come, in its order, so many rounds."""
    file = tmp_path / "config.py"
    stream = {"rounds": 2, "domains": [{"name": "b", "include": "1.*"}, {"name": "a"}]}
    text = files.config.read_text(encoding="utf-8")
    file.write_text(f"{text}\nstream = {stream!r}\n", encoding="utf-8")
    out = tmp_path / "out.json"
    main([str(file), str(files.full), "--workers", "0", "--method", "bn", "--out", str(out)])
    visits = json.loads(out.read_text(encoding="utf-8"))["results"]["bn"]["visits"]
    assert [(v["round"], v["domain"], v["images"]) for v in visits] == [
        (1, "b", 1), (1, "a", 2), (2, "b", 1), (2, "a", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ({"rounds": 0, "domains": []}, "stream.rounds=0: wanted a whole number"),
        ({"round": 2}, "stream has no key 'round'. Did you mean 'rounds'"),
        ({"domains": {}}, "stream.domains=.*: wanted a list of dicts"),
        ({"domains": [{"include": "a"}]}, r"stream.domains\[0\] needs a name"),
        ({"domains": [{"name": "a", "includes": "a"}]}, "has no key 'includes'. Did you mean"),
        ({}, "lists no stream of domains: give --stream"),
    ],
    ids=["rounds", "key", "domains", "name", "domain-key", "none"],
)
def test_config_stream_errors(
    files: Checkpoints, tmp_path: Path, stream: dict[str, Any], message: str
) -> None:
    file = tmp_path / "config.py"
    text = files.config.read_text(encoding="utf-8")
    file.write_text(f"{text}\nstream = {stream!r}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        config_domains(load_config(file), ["a"])


def test_stream_errors(files: Checkpoints, tmp_path: Path) -> None:
    """What is no video, labels of a video, images of two sizes."""
    config = load_config(files.config)
    image = folders(files)[0] / "0.png"
    with pytest.raises(ValueError, match="is an image: a stream is a folder"):
        video_domain(config, image, ["a"])
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read as a video; convert it"):
        video_domain(config, broken, ["a"])
    command = [str(files.config), str(files.full), "--stream", str(image), "--labels", "x"]
    with pytest.raises(ValueError, match="A video has no labels"):
        main(command)
    for name, size in (("a", 32), ("b", 64)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((size, size, 3), np.uint8))
    dataset = {**domain_of(files).dataset, "image_dir": str(tmp_path), "label_dir": None}
    dataset["pipeline"] = [{"type": "LoadImage"}, {"type": "PackSegInputs"}]
    with pytest.raises(ValueError, match="Images of a batch differ in size"):
        run_stream(segmentor_of(files), [FolderDomain("x", dataset)], {"a": Run(None)},
                   batch_size=2)  # fmt: skip
    with pytest.raises(ValueError, match="at least one domain"):
        run_stream(segmentor_of(files), [], {"a": Run(None)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "x"], "give both"),
        (["--stride", "2", "2"], "give their size by --slide"),
        (["--rounds", "0"], "--rounds is at least 1"),
        (["--method", "eata"], "images of the source domain: give --source FOLDER"),
        (["--source-images", "0"], "--source-images is at least 1"),
    ],
    ids=["labels", "stride", "rounds", "eata", "source-images"],
)
def test_option_errors(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(["config", "checkpoint", *options])
    assert message in capsys.readouterr().err


def test_segmentor_forward_grad(files: Checkpoints) -> None:
    """Gradients reach the norm layers, also through sliding windows."""
    segmentor = load_network(load_config(files.config), files.full).segmentor
    model = adapt(SegmentorForward(segmentor), "tent", guard=False, lr=0.1)
    image = torch.rand(1, 3, 32, 64)
    before = model.predict(image)
    torch.testing.assert_close(model(image), before)
    assert not torch.equal(model.predict(image), before)


def test_labels_without_pipeline(files: Checkpoints) -> None:
    """A config that reads no labels cannot score."""
    config = load_config(files.config)
    config.val_dataloader.dataset.pipeline = [dict(type="LoadImage"), dict(type="PackSegInputs")]
    with pytest.raises(ValueError, match="reads no labels at validation"):
        stream_dataset(config, "images", "labels")
