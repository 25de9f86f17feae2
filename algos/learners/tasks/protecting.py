"""Prune and protect: the outer rule of PackNet and EfficientPackNet (powerprop sheet, sections 6 and 7).

Training by labels, around the mechanism that keeps finished tasks as they are (`frisket.algos.masks.protection`). B are
the weights no task uses yet (1 = free to change), F_t those task t answers with. For every task t:

    reset the optimiser; train on the task with all weights in use, every step multiplied by B
    F_t = the masks a method chooses (`ProtectingLearner.choose`)
    retrain, if asked for, with the weights F_t alone, every step multiplied by F_t and B
    B <- B and not F_t; the weights still free start afresh

A protected weight keeps its bits, and task t answers with ``psi(phi) o F_t`` for ever after.

What is no linear or convolution weight (biases, batch norm) is not masked. ``biases`` says what becomes of it; the
output layer of a network with one head for each task (``head: per_task``) is kept for each task too, and so is what a
network says is a task's own (`Network.private`).

Training goes by the virtual target (`frisket.algos.parts.virtual_target.step`), so both methods run on any network
with or without Powerpropagation.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from frisket.algos.learner import Capabilities, KeepsTasks, require_task
from frisket.algos.learners.tasks.weights import TaskWeightsLearner
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.protection import Protection, Refill, copy_of, held
from frisket.algos.masks.search import Chosen
from frisket.algos.masks.store import MaskStore
from frisket.algos.networks.network import Network
from frisket.algos.networks.powerprop import as_powerprop, masked
from frisket.algos.parts import virtual_target
from frisket.algos.parts.kept_tasks import KeptTasks, answering
from frisket.algos.parts.optimiser import OptimiserConfig, build_optimiser
from frisket.errors import SpecError, require
from frisket.rng import torch_generator
from frisket.types import Batch, Data, Metrics, Params, State, Task, TaskEnd

_NO_TASK = -1


@dataclass(frozen=True, kw_only=True)
class ProtectingConfig(OptimiserConfig):
    """Attributes:
    naive: the optimiser works on phi instead of theta (an ablation of Powerpropagation; no difference at alpha = 1).
    biases: ``freeze_after_first`` trains them in the first task and freezes them before its masks are chosen;
        ``per_task`` keeps a copy for each task; ``none`` holds biases at 0 and batch norm at its start.
    head: ``masked`` treats the output layer's weights as any others; ``per_task`` keeps them out of the masks and a
        copy for each task, drawn anew when a task has ended.
    refill: what free weights start a task with: ``redraw`` their initial distribution, or ``zero``.
    retrain_steps: steps of retraining after a task's masks are chosen, on its batches from the first one on.
    retrain_lr: rate of retraining; null for lr.
    private_lr: rate of what the network keeps for each task (`Network.private`), in training and retraining; null for
        that of the others. Powerpropagation slows the weights it reparametrises, and only those.
    """

    repeated: ClassVar[str] = "retrain_steps"

    naive: bool = False
    biases: Literal["freeze_after_first", "per_task", "none"] = "freeze_after_first"
    head: Literal["masked", "per_task"] = "masked"
    refill: Refill = "redraw"
    retrain_steps: int = 0
    retrain_lr: float | None = None
    private_lr: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.retrain_steps >= 0, "retrain_steps", self.retrain_steps, "at least 0")
        require(self.retrain_lr is None or self.retrain_lr > 0, "retrain_lr", self.retrain_lr, "above 0, or null")
        require(self.private_lr is None or self.private_lr > 0, "private_lr", self.private_lr, "above 0, or null")


class ProtectingLearner(TaskWeightsLearner, KeepsTasks, ABC):
    """What prune-and-protect methods share; subclasses choose the masks.

    State: ``seed, step``; ``theta``, the network's parameters (phi under Powerpropagation); ``optimiser``, of the
    running task; ``running``, where that task began, -1 between tasks; ``starts`` [T], where the tasks that have ended
    began; and ``free, store, own`` of the `Protection`.

    Args:
        config: the method's numbers.
        network: what learns.

    Raises:
        SpecError: free weights are to start from 0 in a network in which a weight at 0 never moves.
    """

    capabilities = Capabilities(needs_task=True, masks=True, ends_tasks=True, generates=True)

    def __init__(self, config: ProtectingConfig, network: Network) -> None:
        self.config, self.network = config, as_powerprop(network)
        movable = self.network.alpha == 1 or config.refill == "redraw"
        require(movable, "refill", config.refill, "redraw: with powerprop_alpha above 1 a weight at 0 never moves")
        self.optimiser = build_optimiser(config)

    @abstractmethod
    def choose(self, state: State, end: TaskEnd) -> Chosen:
        """F_t of the task that has just been trained on."""

    @cached_property
    def maskable(self) -> tuple[str, ...]:
        """Names of the weights that masks cover, in the network's order."""
        kept_apart = self.network.head if self.config.head == "per_task" else ()
        return tuple(k for k in self.network.kernels if k not in kept_apart)

    @cached_property
    def protection(self) -> Protection:
        """What keeps the weights of finished tasks."""
        return Protection(self.maskable, refill=self.config.refill, afresh=self._own_layers)

    def store(self, state: State) -> MaskStore:
        """The masks of the tasks that have ended."""
        return self.protection.store(state)

    def tasks(self, state: State) -> KeptTasks:
        effective, own = self.network.effective, state["own"]
        return KeptTasks(
            network=self.network.network,
            theta=effective(state["theta"]).theta,
            store=self.store(state),
            own=lambda index: effective(copy_of(own, index)).theta,
        )

    def init(self, seed: int, warm_start: State | None = None) -> State:
        theta = self.network.init(torch_generator(seed, "theta")) if warm_start is None else warm_start["theta"]
        if self.config.biases == "none":
            theta = {k: torch.zeros_like(v) if k.endswith(".bias") else v for k, v in theta.items()}
        return {
            "seed": torch.tensor(seed),
            "step": torch.zeros((), dtype=torch.int64),
            "theta": theta,
            "optimiser": {},
            "running": torch.tensor(_NO_TASK),
            "starts": torch.zeros(0, dtype=torch.int64),
            **self.protection.init(theta, self._own(theta)),
        }

    @torch.no_grad()
    def weights_for(self, state: State, task: Task | None = None) -> Params:
        """Those of the task's own sub-network once it has ended, and of the whole network while it runs. A task that
        has not begun, or no task, is answered by the newest one."""
        index = answering(self.starts(state), task, running=int(state["running"]) != _NO_TASK)
        return self.network.effective(state["theta"]).theta if index is None else self.tasks(state).weights(index)

    @torch.no_grad()
    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        task, data = require_task(self, batch), self.data(state, batch)
        begins = int(state["running"]) != task.start
        before = self.network.network.loss(self.weights_for(state), *data) if begins else None
        if begins:
            state = self._begin(state, task)
        moving = self._moving(state, shared=not len(state["starts"]))
        state, loss = self._step(state, data, moving, open_=self.protection.open(state), lr=self.config.lr)
        metrics = {"loss_before": float(loss if before is None else before)}
        if batch.end is not None:
            state, found = self._end(state, task, batch.end)
            metrics |= found
        return {**state, "step": state["step"] + 1}, metrics

    def masks(self, state: State) -> MaskSet:
        """B: open where no task uses the weight."""
        return MaskSet(state["free"])

    def _begin(self, state: State, task: Task) -> State:
        kind = type(self).__name__
        if int(state["running"]) != _NO_TASK:
            raise SpecError("learner.kind", kind, "needs to be told when a task ends: use rotations or permutations")
        if task.start in self.starts(state):
            raise SpecError("learner.kind", kind, "cannot go on with a task that has ended: its weights are protected")
        self.protection.require_free(state)
        return self._reset({**state, "running": torch.tensor(task.start)}, shared=not len(state["starts"]))

    def _end(self, state: State, task: Task, end: TaskEnd) -> tuple[State, Metrics]:
        chosen, metrics = self.choose(state, end)
        index = len(state["starts"])
        if self.config.retrain_steps:
            state = self._retrain(state, chosen, end)
        drawn = self.network.init(torch_generator(int(state["seed"]), "refill", index))
        closed = self.protection.close(state, state["theta"], chosen, drawn)
        state = {
            **state,
            "theta": closed.weights,
            "optimiser": {},
            "running": torch.tensor(_NO_TASK),
            "starts": torch.cat([state["starts"], state["starts"].new_tensor([task.start])]),
            **closed.kept,
        }
        return state, {**metrics, **closed.shares}

    def _retrain(self, state: State, masks: Params, end: TaskEnd) -> State:
        open_ = self.protection.open(state, within=masks)
        state = self._reset(state, shared=False)
        device = state["step"].device
        for i in range(self.config.retrain_steps):
            batch = end.batch(i % end.steps)
            batch = dataclasses.replace(batch, x=batch.x.to(device), y=batch.y.to(device))
            data, lr = self.data(state, batch, i), self.config.retrain_lr or self.config.lr
            state, _ = self._step(state, data, self._moving(state, shared=False), open_=open_, lr=lr, active=masks)
        return state

    def _step(
        self, state: State, data: Data, moving: tuple[str, ...], *, open_: Params, lr: float,
        active: Params | None = None,
    ) -> tuple[State, Tensor]:  # fmt: skip
        """``(state, loss before)`` after one step of the parameters ``moving``, of those in ``open_`` only where it is
        True; ``active`` weights compute, by default all."""
        phi = state["theta"]
        effective = self.network.effective(phi)
        loss, grads = self.network.network.loss_and_gradients(masked(effective.theta, active or {}), data.x, data.y)
        rates = dict.fromkeys(moving, lr) | dict.fromkeys(self.network.private, self.config.private_lr or lr)
        moved, optimiser = virtual_target.step(
            self.optimiser, phi, {k: grads[k] for k in moving}, effective, state["optimiser"], lr=rates,
            naive=self.config.naive,
        )  # fmt: skip
        return {**state, "theta": {**phi, **held(phi, moved, open_)}, "optimiser": optimiser}, loss

    def _reset(self, state: State, *, shared: bool) -> State:
        """``state`` with a fresh optimiser."""
        moving = {k: state["theta"][k] for k in self._moving(state, shared=shared)}
        return {**state, "optimiser": self.optimiser.init(moving)}

    def _moving(self, state: State, *, shared: bool) -> tuple[str, ...]:
        """Parameters that move: the masked, those kept for each task, with ``shared`` those that all tasks share."""
        own = set(self._own(state["theta"]))
        shared = shared and self.config.biases == "freeze_after_first"
        return tuple(k for k in state["theta"] if k in own or k in self.maskable or shared)

    @cached_property
    def _own_layers(self) -> tuple[str, ...]:
        """Layers that are kept for each task and drawn anew for the next: the network's private ones, its head."""
        names = self.network.private + (self.network.head if self.config.head == "per_task" else ())
        return tuple(k for k in names if self.config.biases != "none" or not k.endswith(".bias"))

    def _own(self, theta: Params) -> list[str]:
        """Names of what is kept for each task."""
        per_task = self.config.biases == "per_task"
        return [k for k in theta if k in self._own_layers or (per_task and k not in self.maskable)]
