"""What every method is: `Learner`; what it declares about itself: `Capabilities`; and what some can do beside learning
and answering: `Episodic`, `Deciding`, `TaskWeights`, `KeepsTasks`, `Prunable`. Whoever measures, pictures or prunes
asks for these, never for a method's class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.search import Room
from frisket.algos.networks.network import Network
from frisket.algos.parts.kept_tasks import KeptTasks
from frisket.algos.parts.tree import lifted, picked, stacked
from frisket.errors import SpecError, require
from frisket.types import Batch, Metrics, Params, State, Task


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a method needs and offers. The contract tests hold every learner to it; the tables in the docs print it.

    Attributes:
        needs_task: must be shown the hidden task (otherwise it never is).
        replay: keeps past samples in its state.
        meta_learns: changes meta-parameters (initialisation, rates, masks) during the stream.
        masks: `Learner.masks` returns a mask per adapted weight.
        samples: Monte-Carlo weight samples per prediction; 1 for a method with one answer.
        ends_tasks: acts when a task ends (`frisket.types.Batch.end`), so it needs a stream that is a sequence of tasks.
        validates: judges itself on samples the stream keeps back for it.
        generates: learns networks with latent variables too, through `frisket.algos.networks.network.Network.target`.
        statistics: moves the running statistics of a network that has any (`frisket.algos.networks.norm_policy`).
        acts: learns by acting (`frisket.types.Batch.world`); its answers are what actions are drawn from
            (`frisket.algos.parts.acting`).
    """

    needs_task: bool = False
    replay: bool = False
    meta_learns: bool = False
    masks: bool = False
    samples: int = 1
    ends_tasks: bool = False
    validates: bool = False
    generates: bool = False
    statistics: bool = False
    acts: bool = False


L = TypeVar("L")


class Pack(ABC, Generic[L]):
    """P replicas.

    Attributes:
        learners: the method of each replica; what it says of a replica's own state (`replica`) holds here too.
    """

    learners: Sequence[L]

    def join(self, states: Sequence[State]) -> State:
        """The pack's state made of its replicas' own."""
        return lifted(states[0]) if len(states) == 1 else stacked(states)

    def replica(self, state: State, index: int) -> State:
        """The state of one replica, for its learner to predict with or to go on alone; shares storage."""
        return picked(state, index)

    @abstractmethod
    def observe(self, state: State, batches: Sequence[Batch]) -> tuple[State, list[Metrics]]:
        """Learn from one labelled batch each. As with `Learner.observe`, go on with the state that is returned."""


class Alone(Pack["Learner"]):
    """The pack every method has: a pack of one, whose state is the learner's."""

    def __init__(self, learner: Learner) -> None:
        self.learners = (learner,)

    def join(self, states: Sequence[State]) -> State:
        (state,) = states
        return state

    def replica(self, state: State, index: int) -> State:
        return state

    def observe(self, state: State, batches: Sequence[Batch]) -> tuple[State, list[Metrics]]:
        (batch,) = batches
        learned: object = self.learners[0].observe(state, batch)
        if not isinstance(learned, tuple) or len(learned) != 2:  # a method of a user's own
            raise TypeError(f"observe returns a {type(learned).__name__}; it is to return the state and the metrics")
        state, metrics = learned
        return state, [metrics]


class Learner(ABC):
    """A method as pure functions over a `State`.

    The object holds configuration only; everything that is learned is in the state. `observe` may reuse the storage of
    the state it is given, so the caller must go on with the state it returns and forget the old one.

    Attributes:
        capabilities: what it declares about itself.
        task_steps: batches that each task of its stream must have; None for any number.
        most_tasks: robot tasks that it has room for; None for any number.
    """

    capabilities: Capabilities
    task_steps: int | None = None
    most_tasks: int | None = None

    def pack(self, others: Sequence[Learner], *, steps: int = 0, may_compile: bool = False) -> Pack[Any]:
        """This learner and ``others`` as a pack.

        Args:
            others: of the same method on the same network; they differ in the configuration's `packed` fields only.
            steps: stream positions ahead.
            may_compile: a method that can be compiled decides by ``steps`` whether it is.

        Raises:
            SpecError: there are others, and the method has no packs; or it is to be compiled, and cannot be.
        """
        require(not others, "pack", 1 + len(others), f"1: {type(self).__name__} has no packs")
        return Alone(self)

    @abstractmethod
    def init(self, seed: int, warm_start: State | None = None) -> State:
        """The state before the stream, on the CPU.

        Args:
            seed: everything random derives from it.
            warm_start: result of `frisket.algos.inner.pretrain.pretrain`: ``{"theta", "m", "adam"}``; None for a fresh
            start.
        """

    @abstractmethod
    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """Learn from one labelled batch."""

    @abstractmethod
    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits ``[N, ways]``, or ``[S, N, ways]`` for S Monte-Carlo weight samples; None while there is no answer.

        Args:
            x: inputs ``[N, C, H, W]``, judged together (batch statistics).
            task: only for learners with ``needs_task``.
        """

    @abstractmethod
    def masks(self, state: State) -> MaskSet:
        """Where the method now allows learning; an empty `MaskSet` for a method that has no masks."""


def repeated_field(config: object) -> str | None:
    """Name of the field of a method's ``config`` that says how often something is done when a task ends, so that the
    time which the end takes grows with it in a straight line; None there stands for a pass over the task's batches. A
    configuration names it as ``repeated``; None for one that has none."""
    return getattr(type(config), "repeated", None)


LOSS_BEFORE = "mean cross-entropy of the batch before learning from it: the loss of the answers that are scored"
"""What the metric ``loss_before`` means to most methods."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a module declares of a method: a row of its ``METHODS``.

    Attributes:
        name: what specifications call it.
        config: the configuration dataclass.
        build: ``(config, network) -> Learner``.
        summary: one line.
        page: its page in docs/methods, without ``.md``; empty where it has none.
        logged: what `Learner.observe` reports, name to meaning, each a line of Markdown; whatever it can report is
            here, but ``loss_before`` need not be where it means `LOSS_BEFORE`.
        quick: fields under which it learns a toy task within tens of batches; the contract tries it with these.
        eager: further fields under which it also does within a few batches of noise what it does only at times (the
            outer step of a method that detects switches).
        meta: entries of its state that are meta-parameters: what inner loops restart from, and rates and masks; they
            change during a stream exactly where it `Capabilities.meta_learns`.
        tried_on: the network the contract tries it on, by name.
        answers_at_once: it answers before it has learned from a batch.
        pretrained: the pre-training it is meant to start from, of all weights or of the output layer; None for none.
    """

    name: str
    config: type[Any]
    build: Callable[[Any, Network], Learner]
    summary: str
    page: str = ""
    logged: Mapping[str, str] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    eager: Mapping[str, Any] = field(default_factory=dict)
    meta: tuple[str, ...] = ()
    tried_on: str = "mlp"
    answers_at_once: bool = True
    pretrained: Literal["all", "head"] | None = None


def require_task(learner: Learner, batch: Batch) -> Task:
    """The task of ``batch``.

    Raises:
        SpecError: it is hidden.
    """
    if batch.task is None:
        raise SpecError(
            "learner.kind", type(learner).__name__, "needs to be told the task: use a stream with task labels"
        )
    return batch.task


class Episodic(Learner, ABC):
    """A learner of episodes: it adapts to a task's support, and learns from how its queries are then answered.

    An outer step is `gradients` of a meta-batch and then `apply`; whoever shares the tasks of a meta-batch out adds the
    gradients up in between. `observe` is an outer step on one episode.

    Attributes:
        meta_batch: episodes in an outer step.
    """

    meta_batch: int

    def over(self, domains: Sequence[str]) -> Episodic:
        """This method for episodes of ``domains`` (`frisket.types.Task.domain`): itself, unless it keeps something for
        each of them."""
        return self

    @abstractmethod
    def gradients(self, state: State, episodes: Sequence[Batch]) -> State:
        """Sums over ``episodes`` of what `apply` needs, tensors by name; two meta-batches' may be added entry by
        entry."""

    @abstractmethod
    def apply(self, state: State, gradients: State) -> tuple[State, Metrics]:
        """The state after the outer step that `gradients` of its whole meta-batch ask for."""

    @abstractmethod
    def adapted(self, state: State, support: Batch) -> State:
        """The state whose `predict` answers the task of ``support``, a batch of its samples. Nothing that is
        meta-learned moves."""

    @abstractmethod
    def start(self, state: State) -> State:
        """Those entries of ``state`` that are meta-learned: all that another task needs to be adapted to."""

    @abstractmethod
    def loss(self, state: State, batch: Batch) -> float:
        """The mean loss of what `predict` answers to ``batch``."""

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        before = self.loss(state, batch)
        state, metrics = self.apply(state, self.gradients(state, [batch]))
        return self.adapted(state, batch), {"loss_before": before, **metrics}


class Decided(NamedTuple):
    """What was decided as a task was adapted to; tensors are on the CPU.

    Attributes:
        layers: names of the L layers that can adapt.
        open: [T, L] float64, the share of each one's weights that adapted, at each of T inner steps, or T = 1 where it
            was decided once. A layer that adapts as a whole or not at all has 1 or 0.
        rate: [T] float64, the step size of what adapted; None where it is given.
        masks: the weights that adapted at any step.
    """

    layers: tuple[str, ...]
    open: Tensor
    rate: Tensor | None
    masks: MaskSet


class Deciding(Episodic, ABC):
    """A learner of episodes that can decide for every task anew which of its weights adapt, layer by layer."""

    @abstractmethod
    def decided(self, state: State, support: Batch) -> Decided | None:
        """What is decided as `Episodic.adapted` adapts to the task of ``support``; None where a setting of the method
        leaves nothing to decide."""


class TaskWeights(Learner, ABC):
    """A learner over one network, whose answer to a task are the outputs under that task's weights."""

    @property
    @abstractmethod
    def computes(self) -> Network:
        """What computes with the weights of `weights_for`."""

    @abstractmethod
    def weights_for(self, state: State, task: Task | None = None) -> Params:
        """The weights that ``task`` is answered with, without a graph."""

    @abstractmethod
    def starts(self, state: State) -> list[int]:
        """Where the tasks that have ended began (`frisket.types.Task.start`), in order; of those something is kept
        for."""

    @torch.no_grad()
    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """The network's outputs under `weights_for` ``task``."""
        return self.computes(self.weights_for(state, task), x)


class KeepsTasks(TaskWeights, ABC):
    """A learner that keeps a mask for each task that has ended: they can be pictured and counted, answered with, and
    told apart without a label (`frisket.algos.parts.inference`)."""

    @abstractmethod
    def tasks(self, state: State) -> KeptTasks:
        """What the tasks of `starts` answer with; `weights_for` an ended task are its `KeptTasks.weights`.

        Raises:
            MaskError: the masks are of another network's shape.
        """

    def room(self, state: State) -> Room | None:
        """How many tasks it can keep in all, by its configuration and the sizes of what is in ``state``; None where
        nothing can be said."""
        return None


class Dense(NamedTuple):
    """Attributes: network: what answers; parameters: all of its parameters, as they are learned."""

    network: Network
    parameters: Params


class Prunable(Learner, ABC):
    """A learner that can be pruned: its answers are one network's under parameters that are all in use."""

    @abstractmethod
    def dense(self, state: State) -> Dense | None:
        """What `predict` answers with; None where a setting of the method leaves weights out of use, or answers from
        more than the parameters."""
