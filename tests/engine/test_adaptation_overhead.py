"""What adapting costs: figures that fit each other, with and without a known peak of memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from uda.commands.benchmark import run as main
from uda.engine import adaptation_overhead
from uda.engine.adaptation_overhead import TolerantGuard, Variant, Workload, overhead, variants
from uda.tta import adapt

SMALL = Workload("test_resnet", batch_size=2, size=(32, 32))  # timm's smallest


def test_variants() -> None:
    """Inference first, then each method three times; `every` is timed over whole periods."""
    found = variants(["tent", "rpl"], {"lr": 0.1})
    assert [v.name for v in found] == [
        "inference", "tent", "tent, guard", "tent, every=4", "rpl", "rpl, guard", "rpl, every=4",
    ]  # fmt: skip
    assert found[3].settings == {"lr": 0.1, "every": 4}
    assert found[3].every == 4


def test_overhead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first variant 1; a step costs more than inference; unknown memory is None."""
    monkeypatch.setattr(adaptation_overhead, "STATUS", Path("absent"))
    costs = overhead(SMALL, variants(["tent"])[:2], iterations=3, warm_up=1)
    assert costs[0].time_ratio == 1
    assert costs[1].wall_s > 0
    if not torch.cuda.is_available():
        assert costs[1].time_ratio == costs[1].cpu_s / costs[0].cpu_s
        assert costs[1].memory_mib is costs[1].memory_ratio is costs[1].images_ratio is None


@pytest.mark.slow
@pytest.mark.skipif(not adaptation_overhead.STATUS.exists(), reason="needs Linux's /proc")
def test_memory() -> None:
    """A process for each variant; adapting takes more with the images than inference."""
    workload = Workload("test_resnet", batch_size=8, size=(224, 224), threads=1)
    plain, adapted = overhead(
        workload, [Variant("inference"), Variant("tent", "tent")], iterations=1, warm_up=1
    )
    assert plain.memory_ratio == plain.images_ratio == 1
    assert 0 < plain.images_mib < plain.memory_mib < adapted.memory_mib
    assert adapted.images_ratio > 1


def test_tolerant_guard_works_each_call() -> None:
    """Even adapted to nonsense, no call rests."""
    network, images = SMALL.build()
    model = adapt(network, "tent", lr=10.0, guard=TolerantGuard())
    for _ in range(5):
        model(images)
    report = model.report()
    assert (report["updates"], report["guard"]["rollbacks"]) == (5, 0)


def test_tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each variant, or one JSON object."""
    monkeypatch.setattr(adaptation_overhead, "STATUS", Path("absent"))
    command = ["adapt", "test_resnet", "--size", "32", "32", "--iterations", "1", "--warm-up", "1"]
    main([*command, "--methods", "rpl", "--statistics", "batch"])
    lines = capsys.readouterr().out.splitlines()
    assert [line[:12].strip() for line in lines[1:]] == [
        "inference", "rpl", "rpl, guard", "rpl, every=4",
    ]  # fmt: skip
    main([*command, "--methods", "bn", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["network"] == "test_resnet"
    assert [cost["name"] for cost in found["costs"]][:2] == ["inference", "bn"]


def test_errors() -> None:
    with pytest.raises(ValueError, match="iterations and warm_up are at least 1"):
        overhead(SMALL, variants(["tent"]), iterations=0)
    with pytest.raises(ValueError, match="has no network 'test_resne'"):
        Workload("test_resne", weights="absent.pth").build()
