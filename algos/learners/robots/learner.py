"""Soft actor-critic over one robot task after the other (continual_world spec, sections 4 and 5): what its methods
share.

At a position of a stream of robot tasks the learner acts in an episode of every environment and updates along the way;
when a task ends, a method protects what it wants to keep, and the next one begins with an empty memory and fresh
optimisers:

    begin   memory emptied, optimisers afresh, log eta at its start
    act     uniformly at random for the first ``start_steps`` steps of a task, then by the actor
    update  every ``update_every`` steps ``updates`` times, from step ``update_after`` of the task on
    end     what the method does; then the output layers are put away for the task, and drawn anew

Task t is answered by the actor with the output layer that was put away for it. The critics' are not kept: nobody asks
them for an old task. There is so one output layer and one entropy coefficient for each task, and a task is told by its
`frisket.types.Task`, which is not part of what the networks see.

The actor's step goes by virtual target (`frisket.algos.parts.virtual_target`), so every method runs with
Powerpropagation; the critics are as they are. All that is learned is in the state, and `observe` writes into it;
stable-baselines3's objects (`frisket.algos.sac`) are bound to it while it does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from frisket.algos.learner import Capabilities, Learner, Pack, TaskWeights, require_task
from frisket.algos.learners.robots.practice import Updates, practised
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.protection import copy_of, no_copies, with_copy
from frisket.algos.networks.layer_norm_mlp import LayerNormMLP
from frisket.algos.networks.network import Network
from frisket.algos.networks.powerprop import as_powerprop
from frisket.algos.pack import packed_fields
from frisket.algos.parts import transitions
from frisket.algos.parts.optimiser import FusedAdam
from frisket.errors import SpecError, require
from frisket.rng import torch_generator
from frisket.types import Batch, Metrics, Params, State, Task, TaskEnd, World

if TYPE_CHECKING:
    from frisket.algos.sac.agent import SAC
    from frisket.algos.sac.steppers import VirtualTarget

S = TypeVar("S", bound="SAC")
_NO_TASK = -1
_EPSILON = 1e-7
"""Of Adam: the released code's framework has this one."""
LOGGED = {
    "loss_before": "mean loss of the critics, each before its update; not there where there was none",
    "actor_loss": "mean loss of the actor, each before its update",
    "entropy_coefficient": "eta, mean over the updates",
    "acted": "environment steps taken to learn from; not there where there was none",
    "updates": "updates made, those of retraining among them",
    "return": "mean over the episodes of the sum of their rewards, acting while learning",
    "practised_success": "share of the episodes in which the task was solved, acting while learning",
}
"""What these learners report."""
QUICK = {"batch": 16, "start_steps": 8, "update_after": 8, "update_every": 8, "updates": 2, "memory_slots": 200}
"""Fields under which they learn from a few steps."""


@dataclass(frozen=True, kw_only=True)
class RobotLearnerConfig:
    """Attributes:
    lr: rate of actor, critics and entropy coefficient.
    batch: transitions of an update.
    discount: gamma of the return.
    averaging: what the targets keep of themselves in an update.
    start_steps: steps of every task that are taken at random.
    update_after: steps of a task before the first update.
    update_every: steps from updates to updates.
    updates: how many there are then.
    memory_slots: S, transitions that are kept.
    log_eta: what the logarithm of the entropy coefficient starts every task at.
    target_std: standard deviation of every number of an action that the entropy is held at.
    clip: bound of the gradients' norm, of those of the actor's that may move and of the critics', each as one vector;
        null for none.
    """

    lr: float = 0.001
    batch: int = 128
    discount: float = 0.99
    averaging: float = 0.995
    start_steps: int = 10_000
    update_after: int = 1000
    update_every: int = 50
    updates: int = 50
    memory_slots: int = 1_000_000
    log_eta: float = 1.0
    target_std: float = 0.089
    clip: float | None = None

    def __post_init__(self) -> None:
        for name in ("lr", "target_std"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in ("discount", "averaging"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        for name in ("batch", "update_every", "updates", "memory_slots"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("start_steps", "update_after"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        require(self.clip is None or self.clip > 0, "clip", self.clip, "above 0, or null")


class RobotLearner(TaskWeights):
    """Fine-tuning: soft actor-critic, and nothing against forgetting.

    Attributes:
        seen: numbers of an observation, as networks and memory take it.
        entropies: entropy coefficients that are learned side by side.

    State: ``seed, step``; ``theta``, the actor's parameters (phi under Powerpropagation); ``critics, targets``, those
    of both critics, [2, ...]; ``log_eta`` [1]; ``optimiser``, by ``actor``, ``critics`` and ``eta``;
    ``memory`` (`frisket.algos.parts.transitions`); ``acted``, steps in the running task; ``updates``, of all; and
    ``running``, where the running task began, -1 between tasks; ``starts`` [T], where those that have ended began;
    ``own``, what is kept for each of them [T, ...].

    Args:
        config: the method's numbers.
        network: the actor, which answers with mean and log standard deviation of every number of an action.

    Raises:
        SpecError: a network of another kind, or a memory with no room.
    """

    capabilities = Capabilities(needs_task=True, ends_tasks=True, replay=True, acts=True)
    entropies: int = 1

    def __init__(self, config: RobotLearnerConfig, network: Network) -> None:
        self.network = as_powerprop(network)
        plain = self.network.network
        if not isinstance(plain, LayerNormMLP):
            raise SpecError(
                "network.kind", type(plain).__name__, "must be layer-norm-mlp, of which critics can be made"
            )
        require(plain.ways % 2 == 0, "network", plain.ways, "mean and deviation of every number of an action")
        self.config, self.actions, self.seen = config, plain.ways // 2, plain.inputs
        self.plain, self.critic = plain, plain.sized(plain.inputs + self.actions, 1)
        self.require_room()
        self.optimiser = FusedAdam(_EPSILON)

    def require_room(self) -> None:
        """Raise `SpecError` where what is kept of the past has no room in this machine's memory."""
        transitions.require_room(self.config.memory_slots, self.seen, self.actions)
        transitions.require_room(self.config.batch, self.seen, self.actions, "batch")

    @property
    def computes(self) -> Network:
        return self.plain

    @property
    def own(self) -> tuple[str, ...]:
        """Names of the actor's parameters that are kept for each task and that the next one draws anew."""
        return self.network.private

    @property
    def target_entropy(self) -> float:
        """H: that of A independent numbers of standard deviation `target_std`."""
        return self.actions * math.log(self.config.target_std * math.sqrt(2 * math.pi * math.e))

    def init(self, seed: int, warm_start: State | None = None) -> State:
        theta = self.network.init(torch_generator(seed, "theta")) if warm_start is None else warm_start["theta"]
        critics = self._drawn_critics(seed, "critics")
        state = {
            "seed": torch.tensor(seed),
            "step": torch.zeros((), dtype=torch.int64),
            "theta": theta,
            "critics": critics,
            "targets": {k: v.clone() for k, v in critics.items()},
            "log_eta": torch.full((self.entropies,), self.config.log_eta),
            "memory": transitions.empty(self.config.memory_slots, (self.seen, 1, 1), self.actions),
            "acted": torch.zeros((), dtype=torch.int64),
            "updates": torch.zeros((), dtype=torch.int64),
            "running": torch.tensor(_NO_TASK),
            "starts": torch.zeros(0, dtype=torch.int64),
            "own": no_copies(theta, self.own),
        }
        return {**state, "optimiser": self._fresh_optimisers(state)}

    @torch.no_grad()
    def weights_for(self, state: State, task: Task | None = None) -> Params:
        """Those of the actor, with the output layer of ``task`` once it has ended."""
        phi, starts = state["theta"], self.starts(state)
        if task is not None and task.start in starts:
            phi = {**phi, **copy_of(state["own"], starts.index(task.start))}
        return self.network.effective(phi).theta

    def starts(self, state: State) -> list[int]:
        return state["starts"].tolist()

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})

    def pack(self, others: Sequence[Learner], *, steps: int = 0, may_compile: bool = False) -> Pack[Any]:
        alike = [one for one in others if isinstance(one, RobotLearner)]
        if not alike or not packed_fields(self.config):
            return super().pack(others, steps=steps, may_compile=may_compile)
        from frisket.algos.learners.robots.pack import RobotPack

        return RobotPack([self, *alike])

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        before = int(state["updates"])
        state, metrics = self.begun(state, require_task(self, batch)), dict[str, float]()
        if batch.world is not None:
            state, metrics = self._practised(state, batch.world)
        state, found = self.finished(state, batch)
        counted = {"updates": float(int(state["updates"]) - before)}
        return {**state, "step": state["step"] + 1}, {**metrics, **found, **counted}

    def begun(self, state: State, task: Task) -> State:
        """``state`` with ``task`` as the running one."""
        return state if int(state["running"]) == task.start else self._begin(state, task)

    def finished(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """The state once what ``batch`` ends has ended, and what that measured."""
        return (state, {}) if batch.end is None else self.end(state, require_task(self, batch), batch.end)

    def end(self, state: State, task: Task, end: TaskEnd) -> tuple[State, Metrics]:
        """The state once ``task`` has ended, and what that measured."""
        drawn = self.redrawn(state)
        kept = {
            "theta": {k: drawn[k].to(v) if k in self.own else v for k, v in state["theta"].items()},
            "own": with_copy(state["own"], state["theta"]),
        }
        return self.ended(state, task, kept), {}

    def ended(self, state: State, task: Task, kept: State) -> State:
        """The state after ``task``: with what is ``kept``, and the critics' output layers drawn anew."""
        seed, index = int(state["seed"]), len(state["starts"])
        drawn = self._drawn_critics(seed, "critics", index)
        fresh = {k: v for k, v in drawn.items() if k in self.own}
        return {
            **state,
            **kept,
            "critics": {k: fresh[k].to(v) if k in fresh else v for k, v in state["critics"].items()},
            "targets": {k: fresh[k].to(v, copy=True) if k in fresh else v for k, v in state["targets"].items()},
            "running": torch.full_like(state["running"], _NO_TASK),
            "starts": torch.cat([state["starts"], state["starts"].new_tensor([task.start])]),
        }

    def noted(self, state: State, seen: Tensor) -> Tensor:
        """What the running task has ``seen`` [E, C, 1, 1], as networks and memory take it."""
        return seen

    def remember(self, state: State, *rows: Tensor) -> None:
        """Put transitions, in the parts `transitions.push` takes, into the memory."""
        transitions.push(state["memory"], *rows)

    def redrawn(self, state: State) -> Params:
        """What the next task draws anew of the actor."""
        return self.network.init(torch_generator(int(state["seed"]), "refill", len(state["starts"])))

    def moving(self, state: State) -> list[str]:
        """Names of the actor's parameters that move."""
        return list(state["theta"])

    def open(self, state: State) -> Params:
        """Where the actor's weights may change; empty for everywhere."""
        return {}

    def pull(self, state: State) -> Callable[[Params], Params] | None:
        """What gives the gradient by theta, at phi, of what is added to the actor's loss; None for nothing."""
        return None

    def _begin(self, state: State, task: Task) -> State:
        fresh = {
            **state,
            "running": torch.full_like(state["running"], task.start),
            "acted": torch.zeros_like(state["acted"]),
            "memory": transitions.emptied(state["memory"]),
            "log_eta": torch.full_like(state["log_eta"], self.config.log_eta),
        }
        return {**fresh, "optimiser": self._fresh_optimisers(fresh)}

    def _fresh_optimisers(self, state: State) -> State:
        parts = {"actor": state["theta"], "critics": state["critics"], "eta": {"log_eta": state["log_eta"]}}
        return {name: self.optimiser.init(weights) for name, weights in parts.items()}

    def _practised(self, state: State, world: World) -> tuple[State, Metrics]:
        """The state after an episode in every environment of ``world``, and what came of it."""
        agent = self._bound(state)
        ((acted, metrics),) = practised([self], [state], [world], _Alone(agent, self.config.batch))
        return {**self._released(state, agent), "acted": state["acted"].new_tensor(acted)}, metrics

    @property
    def agent(self) -> type[SAC]:
        """The class of stable-baselines3's object."""
        from frisket.algos.sac.agent import SAC

        return SAC

    @cached_property
    def _agents(self) -> dict[str, SAC]:
        return {}

    def _bound(
        self, state: State, *, open_: Params | None = None, active: Params | None = None,
        moving: list[str] | None = None,
    ) -> SAC:  # fmt: skip
        """stable-baselines3's objects over the tensors of ``state``; the rest as `VirtualTarget` has it, by default
        what `open` and `moving` say, and all weights active."""
        made = self.agent_over(
            state, self._agents, self.agent, moving=moving or self.moving(state),
            open_=self.open(state) if open_ is None else open_, active=active or {}, pull=self.pull(state),
        )  # fmt: skip
        made.key, made._n_updates, made.memory = int(state["seed"]), int(state["updates"]), state["memory"]
        return made

    def agent_over(self, state: State, made: dict[str, S], kind: type[S], **protection: Any) -> S:
        """An agent of ``kind`` over the tensors of ``state``, without memory and key.

        Args:
            state: of the learner, or of several in step.
            made: those there are, by device.
            kind: its class.
            protection: what `VirtualTarget` takes.
        """
        from frisket.algos.sac.agent import agent
        from frisket.algos.sac.steppers import Stepper

        config, device = self.config, state["log_eta"].device
        if str(device) not in made:
            made[str(device)] = agent(
                self.plain, self.critic, observations=self.seen, actions=self.actions, device=device, kind=kind,
                gamma=config.discount, tau=1 - config.averaging, target_entropy=self.target_entropy,
            )  # fmt: skip
        one: Any = made[str(device)]
        for module, weights in ((one.critic, state["critics"]), (one.critic_target, state["targets"])):
            module.both.bind(weights)
        one.log_ent_coef, one._n_updates = state["log_eta"].detach().requires_grad_(), 0
        kept = state["optimiser"]
        one.critic.optimizer = Stepper(self.optimiser, one.critic.both.by_name, kept["critics"], config.lr)
        one.ent_coef_optimizer = Stepper(self.optimiser, {"log_eta": one.log_ent_coef}, kept["eta"], config.lr)
        one.actor.optimizer = self.actor_steps(state, one.actor.weights, clipped=one.clipped, **protection)
        one.clip = config.clip
        return one

    def actor_steps(self, state: State, weights: Any, **protection: Any) -> VirtualTarget:
        """What steps the actor, whose ``weights`` these are; with the ``protection`` that `VirtualTarget` takes."""
        from frisket.algos.sac.steppers import VirtualTarget

        return VirtualTarget(
            self.optimiser, self.network, weights, state["theta"], state["optimiser"]["actor"], lr=self.config.lr,
            clip=self.config.clip, **protection,
        )  # fmt: skip

    def _released(self, state: State, agent: Any) -> State:
        """``state`` as the updates of ``agent``, bound to it, have left it."""
        optimisers = {
            "actor": agent.actor.optimizer,
            "critics": agent.critic.optimizer,
            "eta": agent.ent_coef_optimizer,
        }
        return {
            **state,
            "updates": state["updates"].new_tensor(agent._n_updates),
            "optimiser": {name: one.state for name, one in optimisers.items()},
        }

    def _drawn_critics(self, seed: int, *key: str | int) -> Params:
        both = [self.critic.init(torch_generator(seed, *key, i)) for i in (1, 2)]
        return {k: torch.stack([one[k] for one in both]) for k in self.critic.adaptable}


class _Alone(Updates):
    """Those of the replica that ``agent`` is bound to."""

    def __init__(self, agent: SAC, batch: int) -> None:
        self._agent, self._batch = agent, batch

    @property
    def actors(self) -> Sequence[Params]:
        actor: Any = self._agent.actor
        return [actor.weights.by_name]

    def learn(self, counts: Sequence[int]) -> Sequence[Metrics]:
        return self._agent.losses(counts[0], self._batch)
