"""Freed memory: kept for the next step, given back after what is larger than any step."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest
import torch

from frisket.heap import give_back_freed_memory, keep_freed_memory

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
