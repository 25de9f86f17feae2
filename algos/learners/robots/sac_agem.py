"""A-GEM on actor and critics (continual_world spec, section 5): gradients that may not hurt what is remembered of
earlier tasks.

As the next task begins, ``task_memory`` transitions are drawn from the memory of the last one, with replacement, and
kept. With g the gradient of actor and both critics on a batch, as one vector, and r that on ``reference_batch``
transitions of those kept:

    g <- g - (g . r / r . r) r      where g . r < 0

The projection is that of the supervised method (`frisket.algos.parts.projection.agem_projection`).

>>> from frisket.algos.contract.toys import line_batch
>>> from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
>>> network = LayerNormMLP(LayerNormMLPConfig(hidden=(8,)), inputs=1, ways=2)
>>> learner = SACAGEM(SACAGEMConfig(tasks=2, memory_slots=100, task_memory=30), network)
>>> state = learner.init(seed=0)
>>> for position in range(4):  # the third ends a task
...     state, _ = learner.observe(state, line_batch(position, (1, 1, 1)))
>>> int(state["kept"]["pushed"]), int(state["memory"]["pushed"])
(30, 24)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from frisket.algos.learner import Method
from frisket.algos.learners.robots.learner import LOGGED, QUICK
from frisket.algos.learners.robots.many_heads import ManyHeadsConfig, ManyHeadsLearner
from frisket.algos.parts import transitions
from frisket.errors import require
from frisket.rng import torch_generator
from frisket.types import State, Task


@dataclass(frozen=True, kw_only=True)
class SACAGEMConfig(ManyHeadsConfig):
    """A-GEM on actor and critics; further fields are those of `ManyHeadsConfig`.

    Attributes:
        task_memory: transitions kept of every task that has ended.
        reference_batch: of those that an update looks at.
    """

    task_memory: int = 10_000
    reference_batch: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.task_memory >= 1, "task_memory", self.task_memory, "at least 1")
        require(self.reference_batch >= 1, "reference_batch", self.reference_batch, "at least 1")


class SACAGEM(ManyHeadsLearner):
    """A-GEM on actor and critics. State: that of `ManyHeadsLearner`, and ``kept``, a memory too."""

    config: SACAGEMConfig

    @property
    def slots(self) -> int:
        """What is kept of all tasks but the last."""
        return max(self.config.tasks - 1, 1) * self.config.task_memory

    def require_room(self) -> None:
        super().require_room()
        transitions.require_room(self.config.memory_slots + self.slots, self.seen, self.actions)

    def init(self, seed: int, warm_start: State | None = None) -> State:
        state = super().init(seed, warm_start)
        return {**state, "kept": transitions.empty(self.slots, (self.seen, 1, 1), self.actions)}

    def _begin(self, state: State, task: Task) -> State:
        if transitions.stored(state["memory"]):
            generator = torch_generator(int(state["seed"]), "kept", len(state["starts"]))
            drawn = transitions.draw(state["memory"], self.config.task_memory, generator)
            transitions.push(state["kept"], *transitions.parts(drawn))
        return self.fresh({**self.told(state, task), "memory": transitions.emptied(state["memory"])})

    def _bound(self, state: State, **protection: Any) -> Any:
        made: Any = super()._bound(state, **protection)
        made.kept = state["kept"] if transitions.stored(state["kept"]) else None
        made.reference_batch = self.config.reference_batch
        return made


METHODS = (
    Method(
        name="sac-agem",
        config=SACAGEMConfig,
        build=SACAGEM,
        summary="soft actor-critic whose gradients hurt no kept transitions of earlier tasks",
        page="sac-agem",
        logged={**LOGGED},
        quick={**QUICK, "task_memory": 20, "reference_batch": 8},
        tried_on="layer-norm-mlp",
    ),
)
