"""Fine-tuning of soft actor-critic, task after task (continual_world spec, section 5): what every method that keeps old
tasks is compared with.

What it does at a position, and between tasks, `frisket.algos.learners.robots.learner` says. Every task has an output
layer of its own, so what is forgotten is in the layers that all tasks share.

>>> from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
>>> learner = sac(SACConfig(memory_slots=100), LayerNormMLP(LayerNormMLPConfig(), inputs=39, ways=8))
>>> round(learner.target_entropy, 4)
-4.0007
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from frisket.algos.learner import Method
from frisket.algos.learners.robots.learner import LOGGED, QUICK, RobotLearner, RobotLearnerConfig
from frisket.algos.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class SACConfig(RobotLearnerConfig):
    """Soft actor-critic; the fields are those of `RobotLearnerConfig`."""

    packed: ClassVar[tuple[str, ...]] = ("log_eta",)


def sac(config: SACConfig, network: Network) -> RobotLearner:
    """The learner."""
    return RobotLearner(config, network)


METHODS = (
    Method(
        name="sac",
        config=SACConfig,
        build=sac,
        summary="soft actor-critic, one robot task after the other, no protection",
        page="continual-world",
        logged={**LOGGED},
        quick=QUICK,
        tried_on="layer-norm-mlp",
    ),
)
