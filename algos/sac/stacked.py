"""`StackedSAC`: R replicas of soft actor-critic that learn in step, as one agent.

Every weight has one more dimension, the replica, and every update is one of all of them, each on a batch from its own
memory. What it is for is a GPU, where a small update is bound by the number of calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frisket.algos.parts import transitions
from frisket.algos.parts.clip import clip_replicas
from frisket.algos.parts.transitions import Transitions
from frisket.algos.sac.agent import SAC
from frisket.types import Params, State


class StackedSAC(SAC):
    """Attributes: keys, memories: as `SAC` has one of; begun: updates of each before these; all of them [R]."""

    keys: Sequence[int] = ()
    begun: Sequence[int] = ()
    memories: Sequence[State] = ()

    @property
    def replicas(self) -> int:
        return len(self.keys)

    def drawn(self, batch_size: int) -> tuple[Any, Tensor]:
        each = [
            transitions.draw_with_noise(memory, batch_size, key, "update", begun + self._n_updates)
            for memory, key, begun in zip(self.memories, self.keys, self.begun, strict=True)
        ]
        batches, noises = zip(*each, strict=True)
        return Transitions(*map(torch.stack, zip(*batches, strict=True))), torch.stack(noises)

    def _wide(self, weights: Mapping[str, Tensor], networks: int) -> Params:
        return {k: v.flatten(0, 1) for k, v in weights.items()} if networks > 1 else dict(weights)

    def clipped(self, grads: Params, bound: float | None) -> Params:
        return clip_replicas(grads, bound)
