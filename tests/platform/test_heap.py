"""Freed memory: kept for the next step, given back after what is larger than any step."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from frisket.errors import SpecError
from frisket.heap import give_back_freed_memory, keep_freed_memory, within_memory

MB = 2**20


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the other C libraries have no such setting")
@pytest.mark.parametrize(("count", "megabytes"), [(16, 4), (1, 64)])
def test_freed_memory_is_kept_until_it_is_given_back(count: int, megabytes: int) -> None:
    """Blocks above 32 MiB too, which the C library maps by themselves else."""
    assert keep_freed_memory()
    give_back_freed_memory()
    blocks = [torch.ones(megabytes * MB // 4) for _ in range(count)]
    high = resident()
    del blocks
    assert resident() > high - 16 * MB, "kept"
    assert give_back_freed_memory()
    assert resident() < high - 48 * MB


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
