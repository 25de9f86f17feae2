"""Single-task reference (continual_world spec, sections 5 and 8): every task is learned by itself, from nothing.

Actor and critics are drawn anew when a task ends, and the actor that was learned is kept for it whole. So nothing is
forgotten and nothing is of use to a later task: forward transfer is measured against this
(`frisket.platform.protocols.success`).

>>> from frisket.algos.contract.toys import line_batch
>>> from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
>>> network = LayerNormMLP(LayerNormMLPConfig(hidden=(8,)), inputs=1, ways=2)
>>> learner = SACSingle(SACSingleConfig(memory_slots=100), network)
>>> state = learner.init(seed=0)
>>> for position in range(3):  # the third ends a task
...     state, _ = learner.observe(state, line_batch(position, (1, 1, 1)))
>>> sorted(state["own"])
['fc1.bias', 'fc1.weight', 'head.bias', 'head.weight', 'norm1.bias', 'norm1.weight']
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from frisket.algos.learner import Method
from frisket.algos.learners.robots.learner import LOGGED, QUICK, RobotLearner, RobotLearnerConfig


@dataclass(frozen=True, kw_only=True)
class SACSingleConfig(RobotLearnerConfig):
    """Single-task soft actor-critic; the fields are those of `RobotLearnerConfig`."""

    packed: ClassVar[tuple[str, ...]] = ("log_eta",)


class SACSingle(RobotLearner):
    """Single-task soft actor-critic. State: that of `RobotLearner`, ``own`` being whole actors."""

    @property
    def own(self) -> tuple[str, ...]:
        return self.plain.adaptable


METHODS = (
    Method(
        name="sac-single",
        config=SACSingleConfig,
        build=SACSingle,
        summary="soft actor-critic with a network of its own for every robot task",
        page="sac-references",
        logged={**LOGGED},
        quick=QUICK,
        tried_on="layer-norm-mlp",
    ),
)
