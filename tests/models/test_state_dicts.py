"""Reading weight files: containers, prefixes, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from torch import nn

from uda.models.state_dicts import load_exactly, read_entry, read_state_dict


class Harmful:
    """A class that a weights-only load must not rebuild."""


@pytest.mark.parametrize("container", [None, "state_dict", "model", "state_dict_ema"])
def test_read_state_dict_containers(container: str | None, tmp_path: Path) -> None:
    """The tensors come out whatever holds them, without `module.`."""
    state = {"module.a": torch.arange(3.0), "b": torch.ones(2)}
    file = tmp_path / "file.pth"
    torch.save({container: state, "epoch": 3} if container else state, file)
    found = read_state_dict(file)
    assert list(found) == ["a", "b"]
    assert torch.equal(found["a"], torch.arange(3.0))


def test_read_state_dict_safetensors(tmp_path: Path) -> None:
    """The format that timm publishes."""
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, str(tmp_path / "file.safetensors"))
    assert read_state_dict(tmp_path / "file.safetensors")["a"].sum() == 2


def test_read_entry(tmp_path: Path) -> None:
    """What stands under `meta`, and nothing where nothing does; code is refused here too."""
    file = tmp_path / "file.pth"
    for meta, found in (({"network": "teacher"}, {"network": "teacher"}), (3, {})):
        torch.save({"state_dict": {"a": torch.ones(1)}, "meta": meta}, file)
        assert read_entry(file, "meta") == found
    torch.save({"a": torch.ones(1)}, file)
    assert read_entry(file, "meta") == {}
    torch.save({"a": torch.ones(1), "meta": Harmful()}, file)
    with pytest.raises(ValueError, match="Wanted a file of tensors"):
        read_entry(file, "meta")


def test_read_state_dict_errors(tmp_path: Path) -> None:
    """Missing, code inside, cut off, and without tensors."""
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "no.pth")):
        read_state_dict(tmp_path / "no.pth")
    torch.save({"state_dict": Harmful()}, tmp_path / "code.pth")
    with pytest.raises(
        ValueError, match=r"but .*code\.pth cannot be read as one \(Unsupported global: .*Harmful"
    ):
        read_state_dict(tmp_path / "code.pth")
    torch.save({"a": torch.ones(1000)}, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:500])
    with pytest.raises(ValueError, match=r"cut\.pth cannot be read.*fetch it again"):
        read_state_dict(tmp_path / "cut.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match=r"in .*empty\.pth, found dict without tensors"):
        read_state_dict(tmp_path / "empty.pth")


class Reaching:
    """Pickles as an attribute of a class that log histories need."""

    def __reduce__(self) -> tuple[Any, ...]:
        """A call of `getattr`."""
        return getattr, (HistoryBuffer, "__init__")


def test_read_state_dict_refuses_attributes(tmp_path: Path) -> None:
    """Log histories may be in the file, other attributes of their class may not."""
    torch.save({"state_dict": Reaching()}, tmp_path / "file.pth")
    with pytest.raises(ValueError, match="'__init__' of .* is not a log statistic"):
        read_state_dict(tmp_path / "file.pth")


def test_load_exactly_without_counters() -> None:
    """Files older than PyTorch 0.4.1 have no `num_batches_tracked`; all else must be there."""
    norm = nn.BatchNorm2d(2)
    state = {name: torch.full((2,), 3.0) for name in norm.state_dict() if "num_" not in name}
    load_exactly(norm, state, origin="x.pth")
    assert norm.running_var.tolist() == [3.0, 3.0]
    assert norm.num_batches_tracked is not None
    assert norm.num_batches_tracked.item() == 0
    del state["running_var"]
    with pytest.raises(ValueError, match=r"do not fit BatchNorm2d: running_var is not in the file"):
        load_exactly(norm, state, origin="x.pth")


def test_load_exactly_errors() -> None:
    """Shapes come first, then missing, then unknown names; the module stays as it was."""
    layer = nn.Linear(2, 2)
    before = layer.weight.clone()
    state = {"weight": torch.zeros(3, 2), "gain": torch.zeros(1)}
    message = (
        r"of x\.pth do not fit Linear: weight is \(2, 2\) here and \(3, 2\) in the file; "
        r"bias is not in the file; gain is only in the file\. Choose"
    )
    with pytest.raises(ValueError, match=message):
        load_exactly(layer, state, origin="x.pth")
    assert torch.equal(layer.weight, before)
