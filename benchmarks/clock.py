"""What the benchmarks share: processor time, and the rate of a plain matrix product, which is the floor's yardstick."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def seconds(work: Callable[[], object], times: int) -> float:
    """Processor seconds of this thread per call over ``times`` calls; other processes hardly change them."""
    start = time.thread_time()
    for _ in range(times):
        work()
    return (time.thread_time() - start) / times


def matrix_rate(n: int = 1024) -> float:
    """Floating-point operations per second of a plain float32 matrix product on this core."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    return 2 * n**3 / min(seconds(lambda: a @ b, 3) for _ in range(5))
