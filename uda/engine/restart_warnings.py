"""What a restart says when it will not go on as its run would have: settings that have changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# What training computes depends on these facts of a record.
_COUNTING = ("precision", "world_size", "config.settings.", "data.")
# Of the settings, what training does not depend on. `load_from` and `model.start` are over when a
# run goes on; a moved `data_root` shows in the digests if the data is another.
_NO_MATTER = re.compile(
    r"(val_|test_|log_|visualizer|evaluation_sets|label_generation|rounds|load_from|launcher|"
    r"model_wrapper_cfg|model\.start|model\.evaluate|train_cfg\.val_|custom_imports|"
    r"default_hooks\.(logger|checkpoint|timer|visualization|statistics|deploy)\b|"
    r"env_cfg\.(dist_cfg|mp_cfg|resource_limit)\b|"
    r"train_dataloader\.(num_workers|persistent_workers|pin_memory|prefetch_factor|timeout)\b|"
    r"train_dataloader\..*\bdata_root$)"
)
_LONGEST = 60  # characters of a value
_MOST = 10


def restart_warnings(changes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each setting of a restart that changes what training computes.

    Args:
        changes: Of a session, as `uda.runs.record.continued` notes them: name of the fact, and its
            value at the first start and now.

    >>> changes = [
    ...     {"name": "precision", "before": "off", "after": "bf16"},
    ...     {"name": "config.settings.log_level", "before": "INFO", "after": "ERROR"},
    ... ]
    >>> for told in restart_warnings(changes):
    ...     print(told)
    --amp is bf16, and was off at the first start of this run: it goes on, but not as it would have.
    """
    found = {change["name"]: change for change in changes if _counts(change["name"])}
    if "precision" in found:  # which chooses the class
        found.pop("config.settings.optim_wrapper.type", None)
    for name, change in list(found.items())[:_MOST]:
        yield (
            f"{_setting(name)} is {_short(change['after'])}, and was {_short(change['before'])} at "
            "the first start of this run: it goes on, but not as it would have."
        )
    if len(found) > _MOST:
        yield f"{len(found) - _MOST} more settings have changed; run.json in the folder has all."


def nothing_left(done: int, wanted: int) -> str | None:
    """The sentence for a restart whose checkpoint has more iterations than the run is to have.

    Args:
        done: Iterations of the checkpoint.
        wanted: `train_cfg.max_iters`.
    """
    if done <= wanted:
        return None
    return (
        f"train_cfg.max_iters is {wanted}, and the checkpoint has {done} iterations: nothing is "
        "trained. Give a larger max_iters, or start another run in another --work-dir."
    )


def changes_training(setting: str) -> bool:
    """Whether what training computes depends on a setting.

    Args:
        setting: Dotted name, as for `--cfg-options`.

    >>> changes_training("optim_wrapper.optimizer.lr"), changes_training("log_level")
    (True, False)
    """
    return _NO_MATTER.match(setting) is None


def _counts(name: str) -> bool:
    if not name.startswith(_COUNTING) or name.startswith("data.validation"):
        return False
    return changes_training(name.removeprefix("config.settings."))


def _setting(name: str) -> str:
    names = {"precision": "--amp", "world_size": "The number of processes"}
    return names.get(name, name.removeprefix("config.settings."))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
