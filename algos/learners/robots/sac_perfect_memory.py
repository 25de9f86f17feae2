"""Perfect memory (continual_world spec, section 5): soft actor-critic that never forgets a transition, and so learns
all tasks so far at once.

The memory is not emptied between tasks. Of more than ``memory_slots`` transitions it keeps any, each as likely as the
other. Batches are larger than those of other methods: 512.

>>> from frisket.algos.contract.toys import line_batch
>>> from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
>>> network = LayerNormMLP(LayerNormMLPConfig(hidden=(8,)), inputs=1, ways=2)
>>> learner = SACPerfectMemory(SACPerfectMemoryConfig(tasks=2, memory_slots=200), network)
>>> state = learner.init(seed=0)
>>> for position in range(4):  # the third ends a task
...     state, _ = learner.observe(state, line_batch(position, (1, 1, 1)))
>>> int(state["memory"]["pushed"]), sorted(set(state["memory"]["observations"][:96, 1].flatten().tolist()))
(96, [0.0, 1.0])
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from frisket.algos.learner import Method
from frisket.algos.learners.robots.learner import LOGGED, QUICK
from frisket.algos.learners.robots.many_heads import ManyHeadsConfig, ManyHeadsLearner
from frisket.algos.parts import transitions
from frisket.rng import numpy_generator
from frisket.types import State, Task


@dataclass(frozen=True, kw_only=True)
class SACPerfectMemoryConfig(ManyHeadsConfig):
    """Perfect memory; the fields are those of `ManyHeadsConfig`."""

    batch: int = 512
    memory_slots: int = 20_000_000


class SACPerfectMemory(ManyHeadsLearner):
    """Perfect memory. State: that of `ManyHeadsLearner`."""

    def remember(self, state: State, *rows: Tensor) -> None:
        memory = state["memory"]
        transitions.push_any(memory, numpy_generator(int(state["seed"]), "kept", int(memory["pushed"])), *rows)

    def _begin(self, state: State, task: Task) -> State:
        return self.fresh(self.told(state, task))


METHODS = (
    Method(
        name="sac-perfect-memory",
        config=SACPerfectMemoryConfig,
        build=SACPerfectMemory,
        summary="soft actor-critic that keeps the transitions of all tasks",
        page="sac-perfect-memory",
        logged={**LOGGED},
        quick=QUICK,
        tried_on="layer-norm-mlp",
    ),
)
