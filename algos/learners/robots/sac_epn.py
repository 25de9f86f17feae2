"""EfficientPackNet on an actor, with or without Powerpropagation: every task keeps the fewest weights that still do its
work, older ones among them (PP21, Algorithm 1; continual_world spec, section 7).

Protection and retraining are those of `frisket.algos.learners.robots.protecting`, the search that of
`frisket.algos.masks.search`. A mask's score is the share of episodes that the actor solves with the weights it keeps,
acting as it does when it learns, in episodes which the stream keeps back for this (`frisket.types.TaskEnd.trials`).
They and the noise of the actions are the same for all masks. Where the whole actor solves none, every mask passes, and
the task keeps the fewest weights there are.

>>> from frisket.algos.contract.toys import line_batch
>>> from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
>>> network = LayerNormMLP(LayerNormMLPConfig(hidden=(8,)), inputs=1, ways=2)
>>> learner = SACEPN(SACEPNConfig(gamma=0.0, grid=(0.25, 0.5), memory_slots=100, retrain_steps=0), network)
>>> state = learner.init(seed=0)
>>> for position in range(3):  # the third ends a task
...     state, metrics = learner.observe(state, line_batch(position, (1, 1, 1)))
>>> metrics["kept"], metrics["capacity_free"]
(0.25, 0.75)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from frisket.algos.learner import Capabilities, Method
from frisket.algos.learners.robots.learner import QUICK
from frisket.algos.learners.robots.protecting import LOGGED, ProtectingRobotConfig, ProtectingRobotLearner
from frisket.algos.masks.ranking import Ranking
from frisket.algos.masks.search import Chosen, Room, Search
from frisket.algos.networks.powerprop import masked
from frisket.algos.parts.acting import played
from frisket.errors import SpecError
from frisket.types import Params, State, Task, TaskEnd


@dataclass(frozen=True, kw_only=True)
class SACEPNConfig(Search, ProtectingRobotConfig):
    """EfficientPackNet on an actor; the fields are those of `Search` and `ProtectingRobotConfig`."""

    packed: ClassVar[tuple[str, ...]] = ("log_eta", "gamma")

    gamma: float = 0.95
    grid: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
    scope: Literal["global", "layer"] = "layer"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_searchable()


class SACEPN(ProtectingRobotLearner):
    """EfficientPackNet on an actor. State: that of `ProtectingRobotLearner`."""

    config: SACEPNConfig
    capabilities = Capabilities(
        needs_task=True, masks=True, ends_tasks=True, validates=True, replay=True, acts=True
    )  # fmt: skip

    def choose(self, state: State, task: Task, end: TaskEnd) -> Chosen:
        theta = self.network.effective(state["theta"]).theta
        device, seed, index = state["log_eta"].device, int(state["seed"]), len(state["starts"])
        steps = 0

        def score(weights: Params) -> float:
            nonlocal steps
            found = played(end.trials(), lambda seen: self.plain(weights, seen.to(device)), seed, "score", index)
            steps += found.steps
            return found.success

        if not any(True for _ in end.trials()):
            raise SpecError("stream.trials", 0, "must keep episodes back: masks are judged in them")
        dense = score(theta)
        ranking = Ranking({k: state["theta"][k] for k in self.network.kernels}, self.config.scope)
        kept, tried = self.config.fewest(ranking, dense, lambda masks: score(masked(theta, masks)))
        return Chosen(
            kept.masks,
            {
                "dense_score": dense, "sparse_score": kept.score, "evaluations": float(tried),
                "violated": float(not kept.passes), "search_steps": float(steps),
            },
        )  # fmt: skip

    def room(self, state: State) -> Room:
        return self.config.room()


METHODS = (
    Method(
        name="sac-epn",
        config=SACEPNConfig,
        build=SACEPN,
        summary="soft actor-critic whose tasks keep the fewest of the actor's weights that do their work",
        page="continual-world",
        logged={
            **LOGGED,
            "dense_score": "at a task's end: share of the episodes kept back that the whole actor solves",
            "sparse_score": "at a task's end: the same of the mask that was kept, before it is retrained",
            "evaluations": "at a task's end: masks that were scored",
            "violated": "at a task's end: 1 where the mask that was kept does not pass, because none did",
            "search_steps": "at a task's end: environment steps that the search took, beside those of learning",
        },
        quick={**QUICK, "retrain_steps": 4},
        tried_on="layer-norm-mlp",
    ),
)
