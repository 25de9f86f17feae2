"""Counter-based randomness: every draw is a pure function of (seed, labels).

Nothing here has a position to save. A stream's batch at position t, a learner's noise at step t and a network's first
weights are each drawn from a generator keyed by what they are for, so resuming needs no generator state, and neither
the worker count nor the order of the work can move a number.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *labels: str | int) -> int:
    """A 128-bit key for ``labels`` under ``seed`` (blake2b); equal arguments, equal key, on every machine."""
    text = "/".join([str(seed), *(f"{type(label).__name__}:{label}" for label in labels)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def numpy_generator(seed: int, *labels: str | int) -> np.random.Generator:
    """A Philox generator keyed by ``derive(seed, *labels)``."""
    return np.random.Generator(np.random.Philox(key=derive(seed, *labels)))


def torch_generator(seed: int, *labels: str | int) -> torch.Generator:
    """A CPU `torch.Generator` seeded by ``derive(seed, *labels)``; draw on the CPU, then move, so that a GPU and a CPU
    start from the same numbers."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *labels) & (2**63 - 1))
