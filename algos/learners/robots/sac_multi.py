"""Multi-task reference (continual_world spec, section 5): soft actor-critic on all tasks at once.

Of a stream whose tasks come in turn (`frisket.envs.robots.config.RobotsConfig.together`), nothing begins or ends with a
task: one memory, one set of optimisers, one count of steps. A task is known by its label, so that one which comes again
is the same. What is learned so is what a sequence is compared with.

>>> from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
>>> network = LayerNormMLP(LayerNormMLPConfig(), inputs=39, ways=8)
>>> learner = SACMulti(SACMultiConfig(tasks=10, memory_slots=100), network)
>>> learner.init(seed=0)["theta"]["head.weight"].shape
torch.Size([80, 256])
"""

from __future__ import annotations

from dataclasses import dataclass

from frisket.algos.learner import Capabilities, Method
from frisket.algos.learners.robots.learner import LOGGED, QUICK
from frisket.algos.learners.robots.many_heads import ManyHeadsConfig, ManyHeadsLearner
from frisket.types import Metrics, State, Task, TaskEnd


@dataclass(frozen=True, kw_only=True)
class SACMultiConfig(ManyHeadsConfig):
    """Multi-task soft actor-critic; the fields are those of `ManyHeadsConfig`."""

    lr: float = 0.0001


class SACMulti(ManyHeadsLearner):
    """Multi-task soft actor-critic. State: that of `ManyHeadsLearner`."""

    capabilities = Capabilities(needs_task=True, replay=True, acts=True)

    def mark(self, task: Task) -> int:
        return task.classes[0]

    def _begin(self, state: State, task: Task) -> State:
        return self.told(state, task)

    def end(self, state: State, task: Task, end: TaskEnd) -> tuple[State, Metrics]:
        return state, {}


METHODS = (
    Method(
        name="sac-multi",
        config=SACMultiConfig,
        build=SACMulti,
        summary="soft actor-critic on robot tasks in turn, all at once",
        page="sac-references",
        logged={**LOGGED},
        quick=QUICK,
        tried_on="layer-norm-mlp",
    ),
)
