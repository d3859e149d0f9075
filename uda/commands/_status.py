"""From an exception to what a shell sees: one sentence on standard error, and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence


def exit_status(
    run: Callable[[Sequence[str] | None], int | None],
    argv: Sequence[str] | None,
    *,
    failed: int = 1,
) -> int:
    """What `run(argv)` returns (None: 0), or `failed` where its user can mend what went wrong.

    Args:
        run: Does a command's work and raises what goes wrong.
        argv: Arguments (None: those of the process).
        failed: Exit status of a fault that is told in one sentence.

    Raises:
        Exception: Any other fault, which is one of the program and needs its traceback.

    >>> exit_status(lambda argv: print(*argv), ["a", "b"])
    a b
    0
    """
    try:
        return run(argv) or 0
    except Exception as error:
        told = _sentence(error)
        if told is None:
            raise
        print(told, file=sys.stderr)
        return failed


def _sentence(error: Exception) -> str | None:
    # Without torch there are no errors of torch, and importing it to find out takes seconds.
    if "torch" not in sys.modules and isinstance(error, OSError | ValueError):
        return f"error: {error}"
    from uda.engine.failures import explained

    return explained(error)
