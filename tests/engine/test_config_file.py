"""Reading config files: the file and line of a fault, also where it lies in a base."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from uda.engine.config_file import merge_options, read_config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nb = (\n", r"config {base}, line 2 cannot be read: SyntaxError: '\(' was never"),
        ("a = 1\n\nb = c\n", "config {base}, line 3 cannot be read: NameError: name 'c' is not"),
    ],
)
def test_fault_in_a_base_errors(tmp_path: Path, text: str, message: str) -> None:
    """The sentence names the base, not the config that asks for it."""
    base, config = tmp_path / "base.py", tmp_path / "config.py"
    base.write_text(text)
    config.write_text("_base_ = ['base.py']\n")
    with pytest.raises(ValueError, match=message.format(base=base)):
        read_config(config)


@pytest.mark.parametrize(("value", "was"), [("None", "None"), ("[1]", "no dict but of type list")])
def test_dict_over_none_errors(tmp_path: Path, value: str, was: str) -> None:
    """A dict over something else says how to write it; so written, it takes its place."""
    (tmp_path / "base.py").write_text(f"loader = {value}\n")
    config = tmp_path / "config.py"
    config.write_text("_base_ = ['base.py']\nloader = dict(size=1, more=dict(a='of type'))\n")
    told = (
        f"config {config} gives loader as a dict, which in its base is {was}, so that there is "
        "nothing to change: write loader=dict(_delete_=True, ...) to put it in place of that."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        read_config(config)
    config.write_text("_base_ = ['base.py']\nloader = dict(_delete_=True, size=1)\n")
    assert read_config(config).loader == {"size": 1}


def test_other_files_errors(tmp_path: Path) -> None:
    """A format that is none of a config, and bytes that are no text."""
    (tmp_path / "config.txt").write_text("a = 1")
    with pytest.raises(ValueError, match=r"config\.txt cannot be read: OSError: Only py/yml/yaml"):
        read_config(tmp_path / "config.txt")
    (tmp_path / "config.py").write_bytes(b"a = '\xff'\n")
    with pytest.raises(ValueError, match=r"config\.py cannot be read: UnicodeDecodeError: 'utf-8'"):
        read_config(tmp_path / "config.py")


def test_merge_options_values(tmp_path: Path) -> None:
    """Options reach nested places and positions of lists."""
    (tmp_path / "config.py").write_text("a = dict(b=1)\nc = [dict(d=1)]\n")
    config = read_config(tmp_path / "config.py")
    merge_options(config, {"a.b": 2, "c.0.d": 3})
    assert (config.a.b, config.c[0].d) == (2, 3)
