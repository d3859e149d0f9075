"""Host memory that training frees is kept for the next tensors."""

from __future__ import annotations

import ctypes
import os
import platform

# Parameters of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
# With any of these the user has chosen already.
_SETTINGS = (
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
)


def keep_freed_memory() -> bool:
    """Have the C library keep memory that is freed, for the rest of the process.

    By default glibc returns large blocks to the system at once and asks for them again, page by
    page, with each tensor of more than 32 MB; on a CPU that takes longer than most operations on
    them. No number changes. The process holds its peak until it ends.

    Returns:
        Whether it was done: not without glibc (macOS, Windows, musl), and not where the environment
        chooses a way to allocate (`MALLOC_MMAP_MAX_`, `GLIBC_TUNABLES`, `LD_PRELOAD` and others).
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _SETTINGS):
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_MAX, 0)) and bool(library.mallopt(_TRIM_THRESHOLD, -1))
