"""Versions and hardware, as far as a test can know them."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import platform
import socket
from pathlib import Path

import pytest
import torch

import uda
from uda.runs import environment
from uda.runs.environment import cpu_model, hardware, memory_gib, system, variables, versions


def test_versions_values() -> None:
    """Every version is there and is that of the installed package."""
    found = versions()
    assert found["uda"] == uda.__version__
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__
    assert found["mmengine"] == importlib.metadata.version("onedl-mmengine")
    assert found["timm"] == importlib.metadata.version("timm")
    assert all(found[name] for name in environment.PACKAGES)


def test_versions_of_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package under its other distribution's name, and one that is not installed."""
    other = {"first": ("no-such-distribution", "numpy"), "second": ("no-such-distribution",)}
    monkeypatch.setattr(environment, "PACKAGES", other)
    found = versions()
    assert found["first"] == importlib.metadata.version("numpy")
    assert found["second"] is None


def test_hardware_values() -> None:
    """Numbers that make sense, threads as torch has them."""
    found = hardware()
    assert found["threads"] == torch.get_num_threads()
    assert 1 <= found["cores_usable"] <= found["cores"]
    assert len(found["gpus"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
    assert found["cpu"]
    assert found["memory_gib"] is None or found["memory_gib"] > 0.1


def test_cpu_model_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first model name that Linux tells; elsewhere what Python tells."""
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Quick CPU: 3 GHz\nmodel name\t: other\n")
    assert cpu_model(info) == "Quick CPU: 3 GHz"
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert cpu_model(tmp_path / "none") == "arm"
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert cpu_model(tmp_path / "none") == "arm64"


def test_memory_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under Windows, which has no such function."""
    monkeypatch.delattr(os, "sysconf")
    assert memory_gib() is None


def test_variables_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the list that are set, and no others."""
    for name in environment.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SECRET", "x")
    assert variables() == {"OMP_NUM_THREADS": "3"}


def test_no_name_of_user_or_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded can be passed on: nobody is asked for such names."""

    def refuse() -> str:
        raise AssertionError("asked for a name")

    for module, name in ((platform, "node"), (socket, "gethostname"), (getpass, "getuser")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(os, "getlogin", refuse)
    assert all((versions(), system(), hardware()))
