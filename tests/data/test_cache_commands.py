"""The commands that write a cache and look through one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg.registry import DATASETS

from tests.data.folders import write_image
from tests.engine.tiny_run import CLASSES, make_runner, write_config
from uda.commands import check_data, prepare_data
from uda.data.cache.use import LoadCached
from uda.engine.data_cache import cache_folder, training_sets
from uda.engine.train import load_config


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config whose caches lie in a folder of this test, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path)


def write(config: Path, *options: str) -> int:
    """Run the command in this process."""
    return prepare_data.main(["--cache", str(config), "--workers", "1", *options])


def cached(tmp_path: Path, domain: str) -> list[Path]:
    """Cached files of a domain, whose images lie in `data/DOMAIN/images`, in their order."""
    folders = [path.parent for path in (tmp_path / "data/cache").glob("*/settings.json")]
    of_domain = [f for f in folders if f"/{domain}/" in (f / "settings.json").read_text()]
    return sorted(path for folder in of_domain for path in folder.rglob("*.cached"))


def test_cache_of_a_config(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bytes are told before; training reads the cache by itself; a second call keeps all."""
    assert write(config) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["source", "target", "cached"]
    assert "4 images, 0 of them cached; " in lines[0]
    assert "bytes are free there" in lines[0]
    assert [len(cached(tmp_path, domain)) for domain in ("source", "target")] == [4, 4]
    before = {path: path.stat().st_mtime_ns for path in cached(tmp_path, "source")}
    assert write(config) == 0
    assert "4 images, 4 of them cached; 0 bytes to write" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in cached(tmp_path, "source")}
    dataset = dict(load_config(str(config)).train_dataloader.dataset)
    pairs, plain = (DATASETS.build({**dataset, "cache": c}) for c in ("data/cache", None))
    for draw in range(3):
        for domain in ("source", "target"):
            found, wanted = (one[(0, draw)][domain]["inputs"] for one in (pairs, plain))
            assert torch.equal(found, wanted)
    assert isinstance(pairs.target.pipeline.transforms[0], LoadCached)


def test_a_run_is_the_same_with_a_cache(config: Path, tmp_path: Path) -> None:
    """Six iterations give the same weights to the bit."""
    weights = []
    for name in ("files", "cache"):
        runner = make_runner(config, tmp_path / name)
        runner.train()
        weights.append(runner.model.state_dict())
        assert write(config) == 0
    assert isinstance(runner.train_dataloader.dataset.source.pipeline.transforms[0], LoadCached)
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_labels_and_cache_in_one_command(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a folder of labels, images below it alone are cached."""
    root = tmp_path / "data" / "source"
    command = ["folder", str(root), "--cache", str(config), "--cache-dir", str(tmp_path / "c")]
    assert prepare_data.main([*command, "--workers", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("target:")] == []
    assert any(line.startswith("source: 4 images") for line in lines)
    assert lines[-1].endswith(f"train_dataloader.dataset.cache={tmp_path / 'c'}")


def test_errors(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Arguments that do not go together, and configs without anything to cache."""
    for arguments, message in (
        (["gta5"], "LAYOUT and ROOT go together"),
        ([], "give LAYOUT and ROOT, to convert labels, or --cache CONFIG, or both"),
        (["gta5", ".", "--cache-dir", "x"], "--cache-dir and --cfg-options go with --cache"),
    ):
        with pytest.raises(SystemExit):
            prepare_data.main(arguments)
        assert message in capsys.readouterr().err
    options = ["--cfg-options", "train_dataloader.dataset.cache=None"]
    assert write(config, *options) == 1
    assert "training would not read a cache" in capsys.readouterr().err
    loaded = load_config(str(config))
    with pytest.raises(ValueError, match="trains on no images below .*/nowhere that can be cach"):
        training_sets(loaded, tmp_path / "nowhere")
    loaded.train_dataloader.dataset = {"type": "FolderDataset", "classes": CLASSES}
    with pytest.raises(ValueError, match="no train_dataloader.dataset of type SourceTargetPairs"):
        training_sets(loaded)
    assert cache_folder(load_config(str(config))) == Path("data/cache")


def check(config: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the check of the data prints, on one line."""
    assert check_data.main([str(config), "--workers", "1"]) == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_check_knows_the_cache(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is said of a right cache; damaged, stale and missing files are told."""
    assert write(config) == 0
    capsys.readouterr()
    assert "0 errors, 0 warnings" in check(config, capsys)
    source, target = cached(tmp_path, "source"), cached(tmp_path, "target")
    content = bytearray(source[1].read_bytes())
    content[-3] ^= 1
    source[1].write_bytes(content)
    source[3].unlink()
    target[2].write_bytes(target[2].read_bytes()[:-1])
    image = tmp_path / "data/target/images/0.png"
    write_image(image, np.full((64, 64, 3), 9, np.uint8))
    printed = check(config, capsys)
    assert "damaged files in the cache: 1 of 4" in printed
    assert "cached files whose images or labels have changed since" in printed
    assert "images that the cache lacks, which are read from their files: 1 of 4" in printed
    assert "0 errors, 4 warnings" in printed
    assert write(config) == 0
    capsys.readouterr()
    assert "0 errors, 0 warnings" in check(config, capsys)
