"""Memory: how much the machine has, a line where that is not enough, and keeping what is freed in the process.

A training step frees and takes the same buffers of some ten megabytes over and over. By default the C library gives
such blocks back to the kernel at once and then pays for every page again; a Conv4 step spends about a seventh of its
time on that, and half of it where a block is above 32 MiB, as those of 84x84 pictures are (docs/performance.md). No
block is left to be mapped by itself: those never are reused.

Kept memory serves the next block of its size. What reading data sets or judging a test set has left serves no training
step, and `give_back_freed_memory` returns it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterator

from frisket.errors import FrisketError, SpecError

# <malloc.h> of the GNU C library
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_AT_ONCE = 32 * 2**20  # asked of the kernel at a time; also the most the library takes for M_MMAP_THRESHOLD
_KEPT = 2**30

_TOO_MUCH = ("allocate memory", "out of memory", "array is too big", "Unable to allocate")
"""What torch and numpy say, in exceptions of no type of their own."""
_ASKED = re.compile(r"allocate ([\d.]+ \w+)")


def machine_memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@contextlib.contextmanager
def within_memory() -> Iterator[None]:
    """Say of what finds no memory inside the block that it was too much, and how much.

    Raises:
        SpecError: in place of Python's, numpy's or torch's own error.
    """
    try:
        yield
    except FrisketError:
        raise
    except (MemoryError, RuntimeError, ValueError) as error:
        if not isinstance(error, MemoryError) and not any(said in str(error) for said in _TOO_MUCH):
            raise
        asked = _ASKED.search(str(error))
        there = f"{machine_memory() / 2**30:.3g} GiB"
        fix = f"is more than this machine has left of its {there}; ask for smaller buffers, pictures or networks"
        raise SpecError("memory", "what it takes" if asked is None else asked[1], fix) from error


def keep_freed_memory() -> bool:
    """Ask the C library to reuse freed blocks; True where it does (GNU/Linux). Asking again changes nothing."""
    mallopt = _of_the_library("mallopt")
    if mallopt is None:
        return False
    # a list: every option is asked for, whatever came of the one before
    wanted = (
        (_M_MMAP_THRESHOLD, _AT_ONCE), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEPT), (_M_TOP_PAD, _AT_ONCE),
    )  # fmt: skip
    return [mallopt(option, value) for option, value in wanted] == [1] * len(wanted)


def give_back_freed_memory() -> bool:
    """Return all freed pages to the kernel, which takes milliseconds; True where there were any (GNU/Linux)."""
    trim = _of_the_library("malloc_trim")
    return trim is not None and trim(0) == 1


def _of_the_library(name: str) -> Callable[..., int] | None:
    """A function of the GNU C library, None elsewhere."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
