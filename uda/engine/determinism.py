"""The same bits from the same seed: what is switched in torch for it, and back."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from mmengine.config import Config

CUBLAS_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
# The two values with which cuBLAS adds up in one order; the first is the faster one (24 MiB).
CUBLAS_VALUES = (":4096:8", ":16:8")


@dataclass(frozen=True)
class Determinism:
    """The switches of this process that decide whether operations are repeatable.

    Attributes:
        algorithms: torch takes deterministic algorithms, and refuses operations without one.
        warn_only: It only warns of those; attention on CUDA is then not deterministic.
        cudnn_deterministic: cuDNN takes deterministic convolutions.
        cudnn_benchmark: cuDNN tries which convolution is fastest, and may choose another each time.
        cublas_workspace: CUBLAS_WORKSPACE_CONFIG of the environment, None if not set.
    """

    algorithms: bool
    warn_only: bool
    cudnn_deterministic: bool
    cudnn_benchmark: bool
    cublas_workspace: str | None


def current_determinism() -> Determinism:
    """The switches as they stand."""
    return Determinism(
        algorithms=torch.are_deterministic_algorithms_enabled(),
        warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn_deterministic=torch.backends.cudnn.deterministic,
        cudnn_benchmark=torch.backends.cudnn.benchmark,
        cublas_workspace=os.environ.get(CUBLAS_VARIABLE),
    )


def restore_determinism(state: Determinism) -> None:
    """Set all switches to `state`, from `current_determinism`.

    >>> before = current_determinism()
    >>> torch.use_deterministic_algorithms(True)
    >>> restore_determinism(before)
    >>> current_determinism() == before
    True
    """
    torch.use_deterministic_algorithms(state.algorithms, warn_only=state.warn_only)
    torch.backends.cudnn.deterministic = state.cudnn_deterministic
    torch.backends.cudnn.benchmark = state.cudnn_benchmark
    if state.cublas_workspace is None:
        os.environ.pop(CUBLAS_VARIABLE, None)
    else:
        os.environ[CUBLAS_VARIABLE] = state.cublas_workspace


def choose_determinism(config: Config, deterministic: bool) -> None:
    """Prepare a run whose operations are repeatable, or one whose are not.

    mmengine does most of it when the Runner is built with `randomness=dict(deterministic=True)`: it
    switches torch's algorithms and cuDNN. What it leaves out is done here: the environment variable
    that cuBLAS asks for, `cudnn_benchmark`, which the config would switch on first, and the way
    back, so that a run in the same process does not take over the switches of the one before.

    Has to be called before the process uses CUDA: torch reads the variable once, and what it chose
    then holds for the process. For that reason the variable alone is not set back.

    Args:
        config: Changed: `randomness.deterministic` and `env_cfg.cudnn_benchmark`.
        deterministic: Asked for; a config's own `randomness.deterministic=True` asks as well.

    Raises:
        ValueError: The environment has another value of the variable.
    """
    randomness = dict(config.get("randomness") or {})
    if not (deterministic or randomness.get("deterministic")):
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
        return
    found = os.environ.setdefault(CUBLAS_VARIABLE, CUBLAS_VALUES[0])
    if found not in CUBLAS_VALUES:
        raise ValueError(
            f"A deterministic run needs the environment variable {CUBLAS_VARIABLE} to be "
            f"{' or '.join(CUBLAS_VALUES)}, but it is {found!r}; unset it, or set one of these."
        )
    config.randomness = {**randomness, "deterministic": True}
    config.env_cfg = {**(config.get("env_cfg") or {}), "cudnn_benchmark": False}
