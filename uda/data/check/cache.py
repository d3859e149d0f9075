"""What is said of the cache of a data set: which of its files training would not use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from uda.data.cache.format import CachedFile, CacheFileError
from uda.data.cache.steps import CachePlan, cache_plan, source_of
from uda.data.check.findings import Finding, of_set
from uda.data.parallel import parallel_map

State = Literal["cache incomplete", "cache stale", "cache damaged"]


def judge_cache(
    name: str, dataset: Any, folder: Path | None, infos: Sequence[Mapping[str, Any]], workers: int
) -> list[Finding]:
    """A finding for each reason why cached files of a set would not be used; none without a cache.

    Every cached file is read and compared with its digest, and so are the files it was made of:
    training itself trusts sizes and times of these, and looks at the rows it cuts out alone.

    Args:
        name: Of the set.
        dataset: The data set, or None if it could not be built.
        folder: Of all caches; None: training uses none.
        infos: Of the images to check.
        workers: Processes (see `uda.data.parallel.parallel_map`).
    """
    plan = cache_plan(dataset) if folder is not None and folder.is_dir() else None
    if plan is None or folder is None or not (folder / plan.name).is_dir():
        return []
    states = list(parallel_map(partial(_state, plan, folder), infos, workers=workers))
    findings = []
    for state in ("cache damaged", "cache stale", "cache incomplete"):
        files = [
            str(plan.file(folder, info))
            for info, found in zip(infos, states, strict=True)
            if found == state
        ]
        if files:
            findings.append(of_set(name, state, f"{len(files)} of {len(infos)}", files))
    return findings


def _state(plan: CachePlan, folder: Path, info: Mapping[str, Any]) -> State | None:
    try:
        cached = CachedFile.open(plan.file(folder, info))
        whole = cached.whole()
    except FileNotFoundError:
        return "cache incomplete"
    except (CacheFileError, OSError):
        return "cache damaged"
    if not whole:
        return "cache damaged"
    if cached.key != plan.key:
        return "cache stale"
    try:
        now = [source_of(name, path) for name, path in plan.paths(info)]
    except OSError:
        return None  # told elsewhere
    made_of = [(s.path, s.size, s.digest) for s in cached.sources]
    return None if [(s.path, s.size, s.digest) for s in now] == made_of else "cache stale"
