"""Labels by several processes and by shards: what one process writes, stops, other sizes."""

from __future__ import annotations

import dataclasses
import shutil
import socket
from pathlib import Path

import pytest
import torch
from torch.multiprocessing import ProcessExitedException, spawn  # type: ignore[attr-defined]

from uda.commands.generate_labels import run as main
from uda.commands.join_labels import run as join
from uda.data.label_shards import Shard
from uda.data.pseudo_labels import MANIFEST, Manifest
from uda.engine.label_pass import PROGRESS

from .labelling import SETTINGS, files, generate, trained, work


def start(size: int, run: Path, out: Path, *, batch: int = 1, dies: int = 0) -> None:
    """Run `work` in `size` processes."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    spawn(work, (size, str(run), str(out), port, batch, dies), nprocs=size)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `trained`."""
    return trained(tmp_path_factory.mktemp("labels"))


@pytest.fixture(scope="module")
def alone(run: Path) -> Path:
    """The labels that one process writes."""
    generate(run, run / "alone")
    return run / "alone"


@pytest.mark.ddp
@pytest.mark.slow
def test_labels_ddp(run: Path, alone: Path) -> None:
    """Three processes write the files of one, also after two have stopped; all know the manifest.

    The two die after four images of seven, when three of them are noted; so that the three go on
    at the fourth. Then the last process comes with another seed.
    """
    together = run / "together"
    with pytest.raises(ProcessExitedException):
        start(2, run, together, dies=4)
    assert torch.load(together / PROGRESS)["images"]
    assert not (together / MANIFEST).exists()
    start(3, run, together)
    assert files(together) == files(alone)
    assert Manifest.read(together) == Manifest.read(alone)
    assert not (together / PROGRESS).exists()
    said = [torch.load(together / f"rank_{rank}.pth") for rank in range(3)]
    assert all(one["same"] for one in said)
    assert said[2]["told"].startswith("process 2 sees other images, another checkpoint or other")


@pytest.mark.ddp
@pytest.mark.slow
def test_fewer_batches_than_processes_ddp(run: Path) -> None:
    """Three batches, of three, three and one image, for four processes."""
    generate(run, run / "by_three", settings=dataclasses.replace(SETTINGS, batch_size=3))
    start(4, run, run / "by_four", batch=3)
    assert files(run / "by_four") == files(run / "by_three")
    assert Manifest.read(run / "by_four") == Manifest.read(run / "by_three")


def test_shards_values(run: Path, alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each shard is a pass of its own over its images; the last one joins them."""
    out = run / "shards"
    parts = [generate(run, out, shard=Shard(number, 3)) for number in (2, 3)]
    assert [part.settings["shard"] for part in parts] == [[2, 3], [3, 3]]
    assert not (out / MANIFEST).exists()
    copied = run / "copied"
    shutil.copytree(out, copied)
    joined = generate(run, out, shard=Shard(1, 3))
    assert joined == Manifest.read(out)
    order = [image.image for image in Manifest.read(alone).images]
    assert [image.image for image in joined.images] == order
    assert [image.image for image in parts[0].images] == order[1::3]
    assert joined.thresholds[1::3] == parts[0].thresholds
    assert len(files(out)) == 7
    # A shard that is done is left alone, and so is what was joined.
    assert generate(run, out, shard=Shard(1, 3), progress=fail) == joined
    # Elsewhere: the first shard alone, whose files are then brought to the others.
    elsewhere = run / "elsewhere"
    generate(run, elsewhere, shard=Shard(1, 3))
    shutil.copytree(elsewhere, copied, dirs_exist_ok=True)
    join([str(copied)])
    assert f"7 labels in {copied}" in capsys.readouterr().out
    assert (copied / MANIFEST).read_bytes() == (out / MANIFEST).read_bytes()
    assert files(copied) == files(out)


def fail(*_: int) -> None:
    """Nothing is to be labelled."""
    raise AssertionError


def test_shard_resume(run: Path) -> None:
    """A shard that was stopped goes on, by notes of its own beside those of others."""

    def interrupt(done: int, total: int) -> None:
        assert total == 4
        if done == 3:
            raise KeyboardInterrupt

    out, straight = run / "stopped_shards", run / "straight_shards"
    for number in (1, 2):
        generate(run, straight, shard=Shard(number, 2))
    with pytest.raises(KeyboardInterrupt):
        generate(run, out, shard=Shard(1, 2), progress=interrupt)
    assert (out / "progress_1_of_2.pth").is_file()
    generate(run, out, shard=Shard(2, 2))
    seen: list[int] = []
    generate(run, out, shard=Shard(1, 2), progress=lambda done, _: seen.append(done))
    assert seen == [4]
    assert files(out) == files(straight)
    assert (out / MANIFEST).read_bytes() == (straight / MANIFEST).read_bytes()
    assert not list(out.glob("progress*"))


def test_shards_of_another_pass_errors(run: Path, alone: Path) -> None:
    """Other numbers of shards would write over these labels, and so would the whole."""
    out = run / "mixed"
    generate(run, out, shard=Shard(2, 3))
    for shard in (Shard(1, 2), Shard()):
        with pytest.raises(ValueError, match="holds pseudo-labels of another network, other set"):
            generate(run, out, shard=shard)
    with pytest.raises(ValueError, match="holds pseudo-labels of another network, other settings"):
        generate(run, alone, shard=Shard(1, 2))


def test_command_line(
    run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The tool labels one shard after the other, and says what is missing."""
    out = run / "command"
    command = [str(run / "config.py"), str(run / "run" / "iter_2.pth"), "--workers", "0"]
    main([*command, "--out", str(out), "--shard", "2/2"])
    assert "shard 2 of 2: not joined yet, as others are missing there" in capsys.readouterr().out
    main([*command, "--out", str(out), "--shard", "1/2"])
    assert "7 labels by the student" in capsys.readouterr().out
    with pytest.raises(ValueError, match='a shard is given as number/count, such as "2/4"'):
        main([*command, "--out", str(out), "--shard", "3/2"])
    with pytest.raises(ValueError, match=r"torchrun --nproc_per_node 2 tools/generate_labels.py"):
        main([*command, "--out", str(out), "--launcher", "pytorch"])
