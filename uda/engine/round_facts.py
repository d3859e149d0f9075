"""What a round was made from, noted in its folder, so that no other call takes it for its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from uda.engine.checkpoint_files import checkpoints
from uda.engine.restart_warnings import changes_training
from uda.engine.round_settings import Origin
from uda.files import write_atomically
from uda.runs.digests import file_digest
from uda.runs.values import plain, unequal

FACTS = "round.json"


def round_facts(
    config: Config,
    *,
    start: Origin,
    labeller: Origin,
    seed: int | None,
    amp: str,
    deterministic: bool,
) -> dict[str, Any]:
    """All that decides what a round becomes, as plain values.

    Args:
        config: Of the round, with its own changes.
        start: What the student starts from.
        labeller: Which network labels.
        seed: Of the command line; None: the config's.
        amp: Precision of training.
        deterministic: See `build_runner`.
    """
    chosen = (config.get("randomness") or {}).get("seed") if seed is None else seed
    return {
        "settings": plain(config.to_dict()),
        "start": _origin(start),
        "labels": _origin(labeller),
        "seed": chosen,
        "amp": amp,
        "deterministic": deterministic,
    }


def claim_round(folder: Path, facts: Mapping[str, Any]) -> None:
    """Note in a new folder what its round is made from; compare with the note of one that is there.

    Settings that training and labels do not depend on, such as those of validation and log, may
    differ.

    Args:
        folder: Of the round.
        facts: From `round_facts`.

    Raises:
        ValueError: The round in the folder was made from something else, or nothing says from what.
    """
    file = folder / FACTS
    advice = "Give another --work-dir, or remove the folder to make the round anew."
    if not file.is_file():
        if checkpoints(folder):
            raise ValueError(
                f"{folder} holds a run, but no {FACTS} that says what it was made from. {advice}"
            )
        write_atomically(file, (json.dumps(facts, indent=1) + "\n").encode())
        return
    noted = json.loads(file.read_text(encoding="utf-8"))
    for name, before, now in unequal(noted, dict(facts)):
        if _matters(name):
            raise ValueError(
                f"the round in {folder} was made with {name.removeprefix('settings.')} = {before}, "
                f"now it is {now}. {advice}"
            )


def _origin(origin: Origin) -> dict[str, Any]:
    return {"sha256": file_digest(Path(origin.checkpoint)), "network": origin.network}


def _matters(name: str) -> bool:
    kind, _, setting = name.partition(".")
    if kind != "settings":
        return True
    return changes_training(setting) or setting.startswith("label_generation")
