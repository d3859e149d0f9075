"""The settings under `rounds` of a config: how often, who labels, and who starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mmengine.config import Config

Network = Literal["student", "teacher"]
Which = Literal["last", "best"] | int
_NETWORKS = ("student", "teacher")


class Origin(NamedTuple):
    """A network of a checkpoint.

    Attributes:
        checkpoint: The file.
        network: Which network of it; None: see `load_network`.
    """

    checkpoint: str
    network: str | None = None


@dataclass(frozen=True)
class RoundSettings:
    """How rounds of labelling and training follow each other.

    Attributes:
        start: `dict(checkpoint=..., network="student")` that the student of round 1 starts from: a
            run that has learnt on the source, such as `AdversarialWarmUp`.
        labels: The network that labels in round 1; None: the one of `start`.
        count: Number of rounds; 3 in IAST and HIAST.
        starts_from: `"student"` or `"teacher"` of a round, from which the next student starts.
        labelled_by: `"student"` or `"teacher"` of a round, which labels for the next one (HIAST:
            the teacher).
        start_checkpoint: Which checkpoint of the round that is: `"last"`; `"best"` by validation,
            which looks at target labels; or an iteration.
        label_checkpoint: The same for the network that labels. IAST takes the middle of the round.
        changes: Options of the config for each round, such as
            `[{"optim_wrapper.optimizer.lr": 3e-6}, ...]`; none for rounds that have no entry, and
            entries beyond `count` wait for a larger one.
    """

    start: Mapping[str, str]
    labels: Mapping[str, str] | None = None
    count: int = 3
    starts_from: Network = "student"
    labelled_by: Network = "teacher"
    start_checkpoint: Which = "last"
    label_checkpoint: Which = "last"
    changes: Sequence[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.count < 1:
            raise ValueError(f"rounds: count has to be at least 1, not {self.count}.")
        for key in ("starts_from", "labelled_by"):
            if getattr(self, key) not in _NETWORKS:
                raise ValueError(
                    f'rounds: {key} has to be "student" or "teacher", not {getattr(self, key)!r}.'
                )
        for key in ("start_checkpoint", "label_checkpoint"):
            value = getattr(self, key)
            whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
            if value not in ("last", "best") and not whole:
                raise ValueError(
                    f'rounds: {key} has to be "last", "best" (which looks at target labels) or an '
                    f"iteration, not {value!r}."
                )

    def first(self) -> tuple[Origin, Origin]:
        """From what the student of round 1 starts, and who labels for it."""
        start = Origin(**self.start)
        return start, start if self.labels is None else Origin(**self.labels)

    def next(self, folder: Path, iterations: int) -> tuple[Origin, Origin]:
        """The same for the round after the one in `folder`.

        Args:
            folder: Of the round that was trained.
            iterations: How many it had.

        Raises:
            FileNotFoundError: A checkpoint is not there.
        """
        start = chosen_checkpoint(folder, self.start_checkpoint, iterations)
        labels = chosen_checkpoint(folder, self.label_checkpoint, iterations)
        return Origin(str(start), self.starts_from), Origin(str(labels), self.labelled_by)

    def change(self, number: int) -> dict[str, Any]:
        """Options of the config for round `number`, counted from 1."""
        return dict(self.changes[number - 1]) if number <= len(self.changes) else {}


def round_settings(config: Config, **changes: Any) -> RoundSettings:
    """The settings under `rounds` of a config.

    Args:
        config: From `load_config`.
        **changes: Take precedence where they are not None.

    Raises:
        ValueError: The config has no rounds, a key is unknown, or a value cannot be meant.
    """
    if config.get("rounds") is None:
        raise ValueError(
            f"{config.filename} has no rounds: it is trained by tools/train.py. The configs in "
            "configs/hiast have some."
        )
    given = {**config.rounds}
    given.update({key: value for key, value in changes.items() if value is not None})
    known = set(RoundSettings.__dataclass_fields__)
    if unknown := sorted(set(given) - known):
        raise ValueError(f"rounds has no setting {unknown[0]!r}; it has {sorted(known)}.")
    for key in ("start", "labels"):
        origin = given.get(key)
        if origin is not None and ("checkpoint" not in origin or set(origin) - set(Origin._fields)):
            raise ValueError(
                f"rounds.{key} takes a checkpoint and a network, such as dict(checkpoint="
                f"'work_dirs/warm_up/iter_N.pth', network='student'); not {sorted(origin)}."
            )
    if given.get("start") is None:
        raise ValueError(
            "rounds has no start: give the checkpoint of a run that has learnt on the source, by "
            "--start FILE or rounds=dict(start=dict(checkpoint=FILE, network='student'))."
        )
    return RoundSettings(**given)


def chosen_checkpoint(folder: Path, which: Which, iterations: int) -> Path:
    """A checkpoint of a trained round.

    Args:
        folder: Of the round.
        which: See `RoundSettings`.
        iterations: How many the round had.

    Raises:
        FileNotFoundError: It is not there.
    """
    if which == "best":
        # mmengine removes the former best, but a kill may have left it.
        found = sorted(folder.glob("best_*.pth"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise FileNotFoundError(
                f"There is no best checkpoint in {folder}: set default_hooks=dict(checkpoint=dict("
                "save_best='teacher/mIoU')), or take the \"last\" one."
            )
        return found[-1]
    path = folder / f"iter_{iterations if which == 'last' else which}.pth"
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}: have the Checkpoint hook save at that iteration (interval) and "
            "keep it (max_keep_ckpts=-1)."
        )
    return path
