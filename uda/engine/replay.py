"""An iteration whose numbers went wrong, once more, from what `NonFinite` saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from uda.engine.checkpoint_files import read_checkpoint
from uda.engine.random_state import restore_states
from uda.methods.base import PlainOptimiser
from uda.structures import Batch, Labelled, Unlabelled


class Replay(NamedTuple):
    """What an iteration came to.

    Attributes:
        log: Losses and metrics by name.
        module: The first module of the networks whose output was not finite, or None.
        parameters: The trained ones whose gradient was not finite.
    """

    log: dict[str, float]
    module: str | None
    parameters: list[str]


def replay(config: Config, folder: str | Path) -> Replay:
    """Run a saved iteration again on the CPU, in full precision, and say where it broke.

    Nothing is moved by the optimisers. The teacher follows the student a second time, and what a
    selector keeps over iterations, and running statistics, have seen the batch once before. Virtual
    steps of a look-ahead stay where they begin.

    Args:
        config: Of the run, from `load_config`.
        folder: `non_finite/iter_N` in the run's folder; of a run of several processes the folder
            `process_R` in it.

    Raises:
        FileNotFoundError: There is no `state.pth`; folders of processes are named.
        ValueError: It is damaged, or does not fit the config's networks.
    """
    file = Path(folder) / "state.pth"
    processes = sorted(path.parent.name for path in Path(folder).glob("process_*/state.pth"))
    if processes and not file.is_file():
        raise FileNotFoundError(f"{folder} holds one folder a process: {', '.join(processes)}.")
    state = read_checkpoint(file)
    model: Any = MODELS.build(config.model)
    model.method.initialise()  # makes what terms keep of the student; no file is read
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise ValueError(
            f"{folder}/state.pth does not fit the networks of {config.filename}: {error}"
        ) from error
    model.train()
    restore_states(state["random_states"])
    method = model.method
    broken: list[str] = []
    handles = [_watch(module, name, broken) for name, module in method.named_modules()]
    opponents = {name: Still(network) for name, network in method.opponents().items()}
    batch, further = _batch(state["batch"]), [_batch(pair) for pair in state["further"]]
    log = method.training_step(batch, Still(method.trained(), opponents=opponents), further)
    for handle in handles:
        handle.remove()
    parameters = [
        name
        for name, parameter in method.trained().named_parameters()
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all())
    ]
    return Replay({k: v.item() for k, v in log.items()}, next(iter(broken), None), parameters)


class Still(PlainOptimiser):
    """Gathers gradients and moves nothing, so that a NaN stays where it began.

    Gradients of several steps of one iteration add up.
    """

    def __init__(self, network: nn.Module, *, opponents: dict[str, Any] | None = None) -> None:
        super().__init__(torch.optim.SGD(network.parameters(), lr=0.0), opponents=opponents)

    def zero_grad(self) -> None:
        """Keep them."""

    def step(self) -> None:
        """Stay."""


def _watch(module: nn.Module, name: str, broken: list[str]) -> RemovableHandle:
    """Note a module whose output is not finite; inner ones come first."""

    def look(_: nn.Module, inputs: Any, output: Any) -> None:
        if not all(bool(tensor.isfinite().all()) for tensor in _tensors(output)):
            broken.append(name)

    return module.register_forward_hook(look)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, (list, tuple)) else []


def _batch(parts: dict[str, Any]) -> Batch:
    targets = (parts[name] and Unlabelled(**parts[name]) for name in ("target", "second_target"))
    return Batch(Labelled(**parts["source"]), *targets)
