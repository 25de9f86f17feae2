"""VCL on an actor (VCL18; continual_world spec, section 5): a Gaussian over the weights that tasks share, each task's
posterior the next one's prior.

    actor's loss at w ~ q  +  strength KL(q || p),       q = N(mu, sigma^2), diagonal

over kernels and biases; the divergence is summed over all of them. p is the q that the last task ended with; in the
first there is none, and no divergence. q goes on from task to task. LayerNorm is learned in the first task and frozen
after it. Actions are drawn from the actor at a sample while it learns; what is answered comes from mu. The arithmetic
is that of the supervised method (`frisket.algos.parts.mean_field`).

Where we differ from the released code: one sample serves a whole update, where that code draws one for every pass; an
output layer is a point, where that code has a Gaussian that nothing holds.

>>> from frisket.algos.contract.toys import line_batch
>>> from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
>>> network = LayerNormMLP(LayerNormMLPConfig(hidden=(8,)), inputs=1, ways=2)
>>> learner = SACVCL(SACVCLConfig(memory_slots=100), network)
>>> state = learner.init(seed=0)
>>> for position in range(3):  # the third ends a task
...     state, _ = learner.observe(state, line_batch(position, (1, 1, 1)))
>>> bool((state["prior"]["mean"]["fc1.weight"] == state["theta"]["fc1.weight"]).all())
True
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frisket.algos.learner import Method
from frisket.algos.learners.robots.learner import LOGGED, QUICK, RobotLearner, RobotLearnerConfig
from frisket.algos.parts import mean_field
from frisket.algos.parts.mean_field import Gaussian
from frisket.algos.parts.tree import map_tensors
from frisket.errors import require
from frisket.types import Metrics, Params, State, Task, TaskEnd

if TYPE_CHECKING:
    from frisket.algos.sac.gaussian import GaussianTarget


@dataclass(frozen=True, kw_only=True)
class SACVCLConfig(RobotLearnerConfig):
    """VCL on an actor; further fields are those of `RobotLearnerConfig`.

    Attributes:
        strength: factor of the divergence.
        log_sigma: log of the standard deviations the first task starts with.
    """

    strength: float = 1.0
    log_sigma: float = -3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.strength >= 0, "strength", self.strength, "at least 0")
        require(abs(self.log_sigma) <= 40, "log_sigma", self.log_sigma, "in [-40, 40], whose squares float32 can hold")


class SACVCL(RobotLearner):
    """VCL on an actor. State: that of `RobotLearner`, its ``theta`` being mu; ``log_sigma``; ``prior/mean,
    prior/log_sigma``, p; all three of the weights that have a Gaussian. ``optimiser/actor`` has a part for each of
    ``mean`` and ``log_sigma``."""

    config: SACVCLConfig

    def init(self, seed: int, warm_start: State | None = None) -> State:
        return self._with_gaussian(super().init(seed, warm_start))

    def random(self, theta: Params) -> Params:
        """Those of ``theta`` that have a Gaussian."""
        return {k: v for k, v in self.network.shared(theta).items() if k not in self.plain.normalising}

    def moving(self, state: State) -> list[str]:
        later = len(state["starts"]) > 0
        return [k for k in super().moving(state) if not (later and k in self.plain.normalising)]

    def end(self, state: State, task: Task, end: TaskEnd) -> tuple[State, Metrics]:
        posterior = {"mean": self.random(state["theta"]), "log_sigma": state["log_sigma"]}
        prior = map_tensors(lambda one: one.clone(), posterior)  # which go on moving where they are
        return super().end({**state, "prior": prior}, task, end)

    def actor_steps(self, state: State, weights: Any, **protection: Any) -> GaussianTarget:
        from frisket.algos.sac.gaussian import GaussianTarget

        return GaussianTarget(
            self.optimiser, self.network, weights, state["theta"], state["optimiser"]["actor"], lr=self.config.lr,
            clip=self.config.clip, log_sigma=state["log_sigma"], strength=self.config.strength,
            prior=Gaussian(**state["prior"]) if len(state["starts"]) else None, key=int(state["seed"]),
            number=int(state["updates"]), **protection,
        )  # fmt: skip

    def _with_gaussian(self, state: State) -> State:
        q = mean_field.constant(self.random(state["theta"]), 0.0, self.config.log_sigma)
        state = {**state, "log_sigma": q.log_sigma, "prior": map_tensors(lambda one: one.clone(), q._asdict())}
        return {**state, "optimiser": self._fresh_optimisers(state)}

    def _fresh_optimisers(self, state: State) -> State:
        fresh = super()._fresh_optimisers(state)
        sigma = self.optimiser.init(state.get("log_sigma", {}))
        return {**fresh, "actor": {"mean": fresh["actor"], "log_sigma": sigma}}


METHODS = (
    Method(
        name="sac-vcl",
        config=SACVCLConfig,
        build=SACVCL,
        summary="a Gaussian over the actor's weights, each task's posterior the next one's prior",
        page="sac-vcl",
        logged={**LOGGED},
        quick=QUICK,
        tried_on="layer-norm-mlp",
    ),
)
