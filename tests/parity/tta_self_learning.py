"""ENT, hard and soft pseudo-labels and RPL against recorded steps."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from tests.parity.rows import Arrays, Row, compare
from tests.parity.tta_networks import LIMIT, adapter, meta_of, stream_rows
from uda.selftraining.norm_statistics import norm_layers

NAMES = {"ent": "ent", "hard": "hard_pl", "soft": "soft_pl", "rpl": "rpl"}


def check_self_learning(path: Path) -> list[Row]:
    """Logits, losses, parameters and running statistics of one `sl_*.npz`."""
    arrays = Arrays.read(path)
    meta = meta_of(arrays)
    settings: dict[str, Any] = {"statistics": "running" if meta["mode"] == "batch" else "source"}
    if meta["loss"] == "rpl":
        settings["q"] = meta["q"]
    if meta["loss"] == "soft":
        settings["temperature"] = meta["temperature"]
    if meta["loss"] in ("soft", "hard"):
        settings["teacher"] = "self" if meta["teacher"] is None else "source"
    with warnings.catch_warnings():
        # without temperature and other teacher nothing moves, as the file has it
        warnings.simplefilter("ignore", UserWarning)
        model = adapter(arrays, NAMES[meta["loss"]], **settings)
    losses: list[float] = []
    minimise = model.learner.minimise
    model.learner.minimise = lambda loss: losses.append(loss.item()) or minimise(loss)
    rows = stream_rows(model, arrays)
    rows.append(compare("loss", losses, arrays["loss"], absolute=LIMIT))
    layers = norm_layers(model.network)
    for name, value in arrays.below("final_stats/").items():
        layer, _, buffer = name.rpartition(".")
        ours = getattr(layers[layer], buffer)
        rows.append(compare(f"final_stats/{name}", ours, value, absolute=LIMIT))
    return rows
