"""The ground a run stands on: versions, operating system, hardware, environment variables."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from uda import __version__

# By import name, with the distributions that provide it, the likeliest first.
PACKAGES = {
    "torchvision": ("torchvision",),
    "numpy": ("numpy",),
    "mmengine": ("onedl-mmengine", "mmengine"),
    "mmcv": ("onedl-mmcv", "mmcv", "mmcv-lite"),
    "mmseg": ("onedl-mmsegmentation", "mmsegmentation"),
    "timm": ("timm",),
    "albumentations": ("albumentations",),
    "cv2": ("opencv-python", "opencv-python-headless"),
}
# Variables that can change what a run computes.
VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)


def versions() -> dict[str, str | None]:
    """Versions of Python, of the packages that compute, and of what torch was built with."""
    cudnn = torch.backends.cudnn.version()
    return {
        "uda": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_commit": torch.version.git_version,
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else str(cudnn),
        **{name: _version(name, *PACKAGES[name]) for name in PACKAGES},
    }


def system() -> dict[str, str]:
    """The operating system; no name of machine or user."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip(),
    }


def hardware() -> dict[str, Any]:
    """Processor, number of cores and threads, memory, and GPUs.

    `cores_usable` are those this process may run on, `threads` those torch uses for one operation;
    another number of them can round sums differently, as can other vector `instructions`.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    return {
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "cores_usable": usable,
        "threads": torch.get_num_threads(),
        "memory_gib": memory_gib(),
        "gpus": [torch.cuda.get_device_name(number) for number in gpus],
    }


def variables() -> dict[str, str]:
    """The environment variables of `VARIABLES` that are set."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def cpu_model(info: str | Path = "/proc/cpuinfo") -> str:
    """Name of the processor, as far as the system tells it.

    Args:
        info: Where Linux tells it.
    """
    try:
        lines = Path(info).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def memory_gib() -> float | None:
    """Main memory in GiB; None where the system does not tell it (Windows)."""
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return round(pages / 2**30, 1)


def _version(module: str, *distributions: str) -> str | None:
    # The module itself knows best, but none is imported for this: some are slow to import.
    known = getattr(sys.modules.get(module), "__version__", None)
    if known is not None:
        return str(known)
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
