"""The networks that a checkpoint holds: which there are, and the weights of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from torch import Tensor, nn

from uda.models.state_dicts import load_exactly, read_entry, read_state_dict

PREFIXES = {
    "student": "method.student.segmentor.",
    "teacher": "method.teacher.network.segmentor.",
}


def is_full(state: Mapping[str, Tensor]) -> bool:
    """Whether weights are those of a whole run, with all its networks."""
    return any(key.startswith("method.") for key in state)


def chosen_network(asked: str | None, held: str | None, *, origin: str | Path) -> str:
    """The network to score.

    Args:
        asked: By the user; None leaves the choice.
        held: The only network of a deploy checkpoint, by its own word; None if it does not say.
        origin: The checkpoint, for the error message.

    Raises:
        ValueError: There is no network of that name, or the checkpoint holds the other one.

    >>> chosen_network(None, "teacher", origin="deploy/teacher.pth")
    'teacher'
    """
    if asked is not None and asked not in PREFIXES:
        raise ValueError(f"network has to be one of {sorted(PREFIXES)}, not {asked!r}.")
    if asked and held and asked != held:
        raise ValueError(
            f"{origin} is a deploy checkpoint and holds the {held} only, not the {asked}; give the "
            f"{asked}'s file or a full checkpoint (iter_N.pth), or leave out --network."
        )
    return asked or held or "student"


def deployed_group(config: Config) -> str | None:
    """The group whose networks are student and teacher of a run; None for methods without."""
    method = config.model.get("method") or {}
    return method.get("deploy", "secondary") if "secondary" in method else None


def network_state(
    state: Mapping[str, Tensor], network: str, *, origin: str | Path, group: str | None = None
) -> dict[str, Tensor]:
    """The weights of one network of a checkpoint, named as in the segmentor.

    Args:
        state: All weights of the checkpoint.
        network: "student" or "teacher".
        origin: The checkpoint, for the error message.
        group: Of a method with two groups, the one whose networks are meant.

    Raises:
        ValueError: The checkpoint has no such network.
    """
    if not is_full(state):
        return dict(state)  # a deploy checkpoint
    prefix = _prefixes(group)[network]
    own = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    if not own:
        held = held_networks(state, group)
        raise ValueError(f"{origin} holds no {network}; it holds: {', '.join(held) or 'nothing'}.")
    return own


def held_networks(state: Mapping[str, Tensor], group: str | None = None) -> list[str]:
    """The networks of a full checkpoint's weights, the student first.

    Args:
        state: All weights of the checkpoint.
        group: Of a method with two groups, the one whose networks are meant.

    >>> held_networks({"method.student.segmentor.head.weight": Tensor()})
    ['student']
    """
    prefixes = _prefixes(group)
    return [name for name, p in prefixes.items() if any(key.startswith(p) for key in state)]


def _prefixes(group: str | None) -> dict[str, str]:
    if group is None:
        return PREFIXES
    return {name: p.replace("method.", f"method.{group}.", 1) for name, p in PREFIXES.items()}


def load_start(segmentor: nn.Module, checkpoint: str | Path, network: str | None = None) -> None:
    """Give a segmentor the weights of one network of another run, all of them and no others.

    Args:
        segmentor: mmseg's.
        checkpoint: A full checkpoint of a run, or a deploy checkpoint.
        network: `"student"` or `"teacher"`; None takes the student of a full checkpoint, and the
            only network of a deploy checkpoint.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The checkpoint has no such network, or another architecture.
    """
    tensors = read_state_dict(checkpoint)
    held = None if is_full(tensors) else read_entry(checkpoint, "meta").get("network")
    name = chosen_network(network, held, origin=checkpoint)
    load_exactly(segmentor, network_state(tensors, name, origin=checkpoint), origin=str(checkpoint))
