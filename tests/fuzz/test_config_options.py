"""`--cfg-options`: any text, any place, any value; set as asked, or one sentence why not."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from mmengine.config import Config

from tests.engine.tiny_run import write_config
from uda._options import ConfigOptions
from uda.engine import train
from uda.engine.config_file import read_config
from uda.engine.train import load_config

from .bounded import bounded

# Places whose keys are names of one's own, or are compared where they are used, with all known.
FREE = (
    "default_hooks",
    "env_cfg.dist_cfg",
    "model.network.test_cfg",
    "optim_wrapper.paramwise_cfg",
    "evaluation_sets",
)
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, True, -1, 0, 1, 7, 0.5, "", "x", "SelfTraining", (1, 2), (64, 64)]),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(-3, 300) | st.text(max_size=3), max_size=3),
    st.dictionaries(st.sampled_from(["type", "a", "interval"]), st.integers(), max_size=2),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A config without a fault."""
    return read_config(write_config(tmp_path_factory.mktemp("config")))


@pytest.fixture(autouse=True)
def read_once(whole: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is the same each time, and slow to read."""
    monkeypatch.setattr(train, "read_config", lambda _: copy.deepcopy(whole))


def places(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a config with its value, as options name it."""
    pairs: Any = ()
    if isinstance(node, Mapping):
        pairs = node.items()
    elif isinstance(node, (list, tuple)):
        pairs = enumerate(node)
    for key, value in pairs:
        yield f"{path}{key}", value
        yield from places(value, f"{path}{key}.")


def value_at(config: Config, place: str) -> Any:
    """What a config has at a place."""
    node: Any = config._cfg_dict
    for step in place.split("."):
        node = node[int(step)] if isinstance(node, (list, tuple)) else node[step]
    return node


def parsed(*texts: str) -> dict[str, Any]:
    """What a tool makes of its options."""
    parser = argparse.ArgumentParser(prog="tool")
    parser.add_argument("--cfg-options", nargs="+", action=ConfigOptions)
    found: dict[str, Any] = parser.parse_args(["--cfg-options", *texts]).cfg_options
    return found


@bounded(150)
@given(text=st.text(st.sampled_from("ab.=01-[]() ,'\"é\n"), max_size=12) | st.text(max_size=8))
@example(text="foo")
@example(text="a=[1],[2]")
@example(text="a=(")
def test_any_text_properties(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """An option, or exit status 2 with one sentence that repeats the text."""
    assume(not text.startswith("-"))
    try:
        found = parsed(text)
    except SystemExit as stop:
        assert stop.code == 2  # noqa: PT017
        told = capsys.readouterr().err
        assert "tool: error: argument --cfg-options: " in told
        assert repr(text) in told
    else:
        key, _, value = text.partition("=")
        assert list(found) == [key]
        assert all(key.split("."))
        if not set(value) & set("[](),") and isinstance(found[key], str):
            assert found[key] == value.strip("'\"")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo", "wanted KEY=VALUE, such as train_cfg.max_iters=100, got 'foo'"),
        ("=3", "wanted KEY=VALUE, such as train_cfg.max_iters=100, got '=3'"),
        ("a..b=3", "wanted KEY=VALUE, such as train_cfg.max_iters=100, got 'a..b=3'"),
        ("a=[1,2", "cannot read the brackets of 'a=[1,2'; write a list as 'KEY=[1,2]'"),
        ("a=[1],[2]", "cannot read the brackets of 'a=[1],[2]'; write a list as 'KEY=[1,2]'"),
    ],
)
def test_text_errors(capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    """What is no option is told with what was wanted."""
    with pytest.raises(SystemExit):
        parsed(text)
    assert message in capsys.readouterr().err


@bounded(150)
@given(
    value=st.one_of(
        st.booleans(),
        st.none(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(st.characters(categories=["L", "Zs"], include_characters="/.-_"), min_size=1),
        st.lists(st.integers() | st.booleans() | st.sampled_from(["a", "b.c"]), max_size=4),
    )
)
def test_values_round_trip_properties(value: Any) -> None:
    """Values written as one does come out as they are; of a text nothing is taken away."""
    if isinstance(value, str):
        assume(value.lower().strip() not in ("true", "false", "none", "nan", "inf", "infinity"))
        assume(not value.strip()[:1].isdigit())
    written = "[" + ",".join(map(str, value)) + "]" if isinstance(value, list) else str(value)
    assert parsed(f"a.b={written}", "c=1") == {"a.b": value, "c": 1}


@bounded(80)
@given(data=st.data())
def test_mistyped_keys_properties(whole: Config, data: st.DataObject) -> None:
    """One letter missing, doubled or exchanged anywhere: an error that proposes the right key."""
    known = [place for place, _ in places(whole._cfg_dict) if not place.startswith(FREE)]
    place = data.draw(st.sampled_from([p for p in known if len(p.rpartition(".")[2]) > 4]))
    node, dot, key = place.rpartition(".")
    at = data.draw(st.integers(1, len(key) - 2))
    way = data.draw(st.sampled_from(["missing", "doubled", "exchanged"]))
    typo = {
        "missing": key[:at] + key[at + 1 :],
        "doubled": key[:at] + key[at] + key[at:],
        "exchanged": key[:at] + key[at + 1] + key[at] + key[at + 2 :],
    }[way]
    assume(typo != key)
    with pytest.raises(ValueError, match=f"Did you mean '{key}'"):
        load_config(Path("config.py"), {f"{node}{dot}{typo}": value_at(whole, place)})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("default_hooks.chekpoint.interval", 5, r"no hook 'chekpoint' to change.*'checkpoint'"),
        ("env_cfg.cudnn_benchmrk", 1, r"env_cfg has no key 'cudnn_benchmrk'.*'cudnn_benchmark'"),
        ("custom_hooks", [{"interval": 5}], r"custom_hooks\[0\] has no type"),
        ("param_scheduler", [{"power": 1}], r"param_scheduler\[0\] has no type"),
        ("model.method.type", 3, r"model.method.type=3: wanted the name of a class"),
        ("model.network.decode_head", 3, r"model.network.decode_head=3: wanted a dict"),
        ("default_scope", "", r"default_scope='': wanted a text"),
        ("optim_wrapper.paramwise_cf", {}, r"'paramwise_cf'. Did you mean 'paramwise_cfg'"),
    ],
)
def test_places_without_a_type_errors(option: str, value: Any, message: str) -> None:
    """What no constructor would have told, or a traceback."""
    with pytest.raises(ValueError, match=message):
        load_config(Path("config.py"), {option: value})


@bounded(120)
@given(data=st.data())
def test_any_value_anywhere_properties(whole: Config, data: st.DataObject) -> None:
    """A value is in the config as it was given, or refused as documented; the rest stays."""
    place = data.draw(st.sampled_from([place for place, _ in places(whole._cfg_dict)]))
    value = data.draw(VALUES)
    given = copy.deepcopy(value)
    try:
        config = load_config(Path("config.py"), {place: value})
    except ValueError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
        return
    found = value_at(config, place)
    if isinstance(given, dict):  # merged into what is there
        assert given == {} or given.items() <= found.items()
        return
    assert found == given or (found != found and given != given)
    before, after = dict(places(whole._cfg_dict)), dict(places(config._cfg_dict))
    parents = [place[:i] for i, letter in enumerate(place) if letter == "."]
    for other in set(before) - {place, *parents}:
        if not other.startswith(f"{place}."):
            assert repr(after[other]) == repr(before[other])
