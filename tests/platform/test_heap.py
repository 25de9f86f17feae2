"""Freed memory: kept for the next step, given back after what is larger than any step."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from frisket.errors import SpecError
from frisket.heap import within_memory

KEPT = """
import resource, sys
from pathlib import Path
import torch
from frisket.heap import give_back_freed_memory, keep_freed_memory

MB = 2**20


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


count, megabytes = map(int, sys.argv[1:])
assert keep_freed_memory()
give_back_freed_memory()
blocks = [torch.ones(megabytes * MB // 4) for _ in range(count)]
high = resident()
del blocks
assert resident() > high - 16 * MB, "kept"
assert give_back_freed_memory()
assert resident() < high - 48 * MB, "given back"
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the other C libraries have no such setting")
@pytest.mark.parametrize(("count", "megabytes"), [(16, 4), (1, 64)])
def test_freed_memory_is_kept_until_it_is_given_back(count: int, megabytes: int) -> None:
    """Blocks above 32 MiB too, which the C library maps by themselves else. In a process of its own: after a request
    that could not be met the library takes such blocks from elsewhere."""
    done = subprocess.run([sys.executable, "-c", KEPT, str(count), str(megabytes)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("take", "asked"),
    [
        (lambda: torch.empty(2**50, dtype=torch.uint8), "1125899906842624 bytes"),
        (lambda: np.empty(2**50, np.uint8), r"1\.00 PiB"),
        (lambda: np.empty((2**40, 2**40)), "what it takes"),
    ],
)
def test_what_finds_no_memory_is_said_in_a_line(take: Callable[[], object], asked: str) -> None:
    said = rf"^memory = '?{asked}'?: is more than this machine has left of its [\d.]+ GiB; ask for smaller"
    with pytest.raises(SpecError, match=said), within_memory():
        take()


@pytest.mark.parametrize("error", [ValueError("another"), SpecError("pad", 1, "cannot allocate memory")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, within_memory():
        raise error
    assert raised.value is error
