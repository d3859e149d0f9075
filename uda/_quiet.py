"""Importing mmseg without its noise.

Two mmseg modules look for a vendor's package and report its absence through `print_log` without
a logger, which prints whatever the level; one mmcv module warns that a compiled operator is
missing. Both happen once, while `mmseg.datasets` and `mmseg.models` are imported, so that is
where they are silenced. Only debug messages that name no logger are dropped.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

_imported = False


@contextlib.contextmanager
def _without_import_messages() -> Iterator[None]:
    """Drop debug messages that have no logger, and one warning, inside the block."""
    import mmengine.logging

    original = mmengine.logging.print_log

    def print_log(msg: Any, logger: Any = None, level: int = logging.INFO) -> None:
        if logger is not None or level > logging.DEBUG:
            original(msg, logger, level)

    mmengine.logging.print_log = print_log
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*MultiScaleDeformableAttention.*")
            yield
    finally:
        mmengine.logging.print_log = original


def quiet_mmseg_import() -> None:
    """Import `mmseg.datasets` and `mmseg.models` once, silently; free when done before."""
    global _imported  # noqa: PLW0603 - an import happens once a process
    if _imported:
        return
    with _without_import_messages():
        import mmseg.datasets
        import mmseg.models  # noqa: F401
    _imported = True
