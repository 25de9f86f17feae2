"""L2, EWC and MAS on an actor (continual_world spec, section 5): old policies are held by a penalty.

    actor's loss + strength sum_i A_i (w_i - w*_i)^2

over all of the actor's weights that tasks share, w* being what the last task ended with. When a task ends, what its
memory says of the importance of each weight is added to A:

============  =======================================================================================================
method        importance of a weight, mean over ``importance_batches`` x 256 observations of the task
============  =======================================================================================================
``sac-l2``    1
``sac-ewc``   sum over the numbers of an action of ((dm)^2 + 2 (ds)^2) / (s^2 + 1e-6), at least 1e-5 for an observation
``sac-mas``   abs d(sum m^2 + sum l^2)
============  =======================================================================================================

m is the action at the mean, after the tanh; s and l are standard deviation and its logarithm. That is online Laplace's
penalty (`frisket.algos.parts.importance.LaplacePenalty`) of twice the strength: CW21 has no 1/2, and one anchor. The
critics and the output layers are not held.

>>> from frisket.algos.contract.toys import line_batch
>>> from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
>>> network = LayerNormMLP(LayerNormMLPConfig(hidden=(8,)), inputs=1, ways=2)
>>> learner = sac_l2(SACL2Config(memory_slots=100), network)
>>> state = learner.init(seed=0)
>>> for position in range(3):  # the third ends a task
...     state, _ = learner.observe(state, line_batch(position, (1, 1, 1)))
>>> float(state["penalty"]["precision"]["fc1.bias"].sum())
8.0
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from frisket.algos.learner import Method
from frisket.algos.learners.robots.learner import LOGGED, QUICK, RobotLearner, RobotLearnerConfig
from frisket.algos.networks.network import Network
from frisket.algos.networks.powerprop import by_phi, by_theta
from frisket.algos.parts import acting, transitions
from frisket.algos.parts.importance import LaplacePenalty
from frisket.errors import require
from frisket.rng import torch_generator
from frisket.types import Metrics, Params, State, Task, TaskEnd

_OBSERVATIONS, _AT_ONCE = 256, 16
"""In a batch, and differentiated together."""
_LEAST, _DAMPING = 1e-5, 1e-6

Importance = Callable[["PenalisedRobotLearner", Params, Tensor], Params]
"""Of a learner, its actor's phi and observations [n, ...]: the importance for each, [n, ...] by name."""


@dataclass(frozen=True, kw_only=True)
class PenaltyRobotConfig(RobotLearnerConfig):
    """Attributes:
    strength: factor of the penalty; 0 learns without.
    importance_batches: batches of 256 observations that importances are the mean over.
    """

    packed: ClassVar[tuple[str, ...]] = ("log_eta", "strength")
    repeated: ClassVar[str] = "importance_batches"

    strength: float = 1e4
    importance_batches: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.strength >= 0, "strength", self.strength, "at least 0")
        require(self.importance_batches >= 1, "importance_batches", self.importance_batches, "at least 1")


class PenalisedRobotLearner(RobotLearner):
    """State: that of `RobotLearner` and ``penalty``, as `LaplacePenalty` has it.

    Args:
        config: the method's numbers.
        network: the actor.
        importance: of a weight for observations.
    """

    def __init__(self, config: PenaltyRobotConfig, network: Network, importance: Importance) -> None:
        super().__init__(config, network)
        self.config, self.importance = config, importance
        self.penalty = LaplacePenalty(2 * config.strength)

    def init(self, seed: int, warm_start: State | None = None) -> State:
        state = super().init(seed, warm_start)
        return {**state, "penalty": self.penalty.init(_copied(self.network.shared(state["theta"])))}

    def end(self, state: State, task: Task, end: TaskEnd) -> tuple[State, Metrics]:
        held = _copied(self.network.shared(state["theta"]))
        penalty = self.penalty.task_end(state["penalty"], held, lambda: self._importances(state))
        return super().end({**state, "penalty": penalty}, task, end)

    def pull(self, state: State) -> Callable[[Params], Params] | None:
        if not len(state["starts"]):
            return None
        penalty = state["penalty"]

        def pull(phi: Params) -> Params:
            return by_theta(self.penalty.gradient(phi, penalty), self.network.effective(phi).slopes)

        return pull

    def jacobian(self, phi: Params, function: Callable[[Tensor], Tensor], seen: Tensor) -> Params:
        """Derivatives by phi of ``function``, numbers [K] of the actor's outputs for one observation, for each of
        ``seen`` [n, ...]: [n, K, ...] by name, of the weights that tasks share."""
        theta, slopes = self.network.effective(phi)
        shared, own = self.network.shared(theta), {k: theta[k] for k in self.network.private}

        def one(weights: Params, observation: Tensor) -> Tensor:
            return function(self.plain({**weights, **own}, observation[None])[0])

        found = torch.func.vmap(torch.func.jacrev(one), (None, 0))(shared, seen)
        return by_phi(found, slopes)

    def _importances(self, state: State) -> Params:
        phi, memory = state["theta"], state["memory"]
        generator = torch_generator(int(state["seed"]), "importance", len(state["starts"]))
        count = self.config.importance_batches * _OBSERVATIONS
        if not transitions.stored(memory):
            return {k: torch.zeros_like(v) for k, v in self.network.shared(phi).items()}
        seen = transitions.draw(memory, count, generator).observations
        total = {k: torch.zeros_like(v) for k, v in self.network.shared(phi).items()}
        for some in seen.split(_AT_ONCE):
            found = self.importance(self, phi, some)
            total = {k: v + found[k].sum(0) for k, v in total.items()}
        return {k: v / count for k, v in total.items()}


def everywhere(learner: PenalisedRobotLearner, phi: Params, seen: Tensor) -> Params:
    """1."""
    return {k: torch.ones(len(seen), *v.shape).to(v) for k, v in learner.network.shared(phi).items()}


def fisher(learner: PenalisedRobotLearner, phi: Params, seen: Tensor) -> Params:
    """The Fisher information of the Gaussian actions are drawn from."""

    def numbers(outputs: Tensor) -> Tensor:
        mean, log_std = acting.parts(outputs)
        return torch.cat([mean.tanh(), log_std.exp()])

    theta = learner.network.effective(phi).theta
    deviations = acting.parts(learner.plain(theta, seen))[1].exp()
    weights = 1 / (deviations.square() + _DAMPING)  # [n, A]
    weights = torch.cat([weights, 2 * weights], 1)
    found = learner.jacobian(phi, numbers, seen)
    return {k: torch.einsum("nk,nk...->n...", weights, v.square()).clamp_min(_LEAST) for k, v in found.items()}


def sensitivity(learner: PenalisedRobotLearner, phi: Params, seen: Tensor) -> Params:
    """How much the squared length of the answer changes."""

    def length(outputs: Tensor) -> Tensor:
        mean, log_std = acting.parts(outputs)
        return (mean.tanh().square().sum() + log_std.square().sum())[None]

    return {k: v[:, 0].abs() for k, v in learner.jacobian(phi, length, seen).items()}


def _copied(weights: Params) -> Params:
    """``weights``, which go on moving where they are."""
    return {k: v.clone() for k, v in weights.items()}


@dataclass(frozen=True, kw_only=True)
class SACL2Config(PenaltyRobotConfig):
    """L2 on an actor; the fields are those of `PenaltyRobotConfig`."""

    strength: float = 1e5


@dataclass(frozen=True, kw_only=True)
class SACEWCConfig(PenaltyRobotConfig):
    """EWC on an actor; the fields are those of `PenaltyRobotConfig`."""


@dataclass(frozen=True, kw_only=True)
class SACMASConfig(PenaltyRobotConfig):
    """MAS on an actor; the fields are those of `PenaltyRobotConfig`."""


def sac_l2(config: SACL2Config, network: Network) -> PenalisedRobotLearner:
    """The learner of `sac-l2`."""
    return PenalisedRobotLearner(config, network, everywhere)


def sac_ewc(config: SACEWCConfig, network: Network) -> PenalisedRobotLearner:
    """The learner of `sac-ewc`."""
    return PenalisedRobotLearner(config, network, fisher)


def sac_mas(config: SACMASConfig, network: Network) -> PenalisedRobotLearner:
    """The learner of `sac-mas`."""
    return PenalisedRobotLearner(config, network, sensitivity)


METHODS = tuple(
    Method(
        name=name,
        config=config,
        build=build,
        summary=f"soft actor-critic whose actor is held near earlier tasks' ends, {by}",
        page="continual-world",
        logged={**LOGGED},
        quick={**QUICK, "importance_batches": 1},
        tried_on="layer-norm-mlp",
    )
    for name, config, build, by in (
        ("sac-l2", SACL2Config, sac_l2, "every weight alike"),
        ("sac-ewc", SACEWCConfig, sac_ewc, "by the Fisher information of its actions"),
        ("sac-mas", SACMASConfig, sac_mas, "by how much its answers' length changes"),
    )
)
