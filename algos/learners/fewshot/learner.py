"""What every method of the family is: MAML, with any step size in its inner loop (`frisket.algos.inner.outer`).

A method is a `Modulation` s (`frisket.algos.inner.modulation`) and the weights it adapts; its file has no more of it
than its name (maml_family spec, section 2). The gradients of theta are not gated by s.

Symbols and arguments: K ``inner_steps``, gamma_theta ``outer_lr``, gamma_m ``gamma_m``.

>>> import torch
>>> from frisket.algos.learners.fewshot.sparse_maml import SparseMAMLConfig
>>> from frisket.algos.networks.conv4 import Conv4, Conv4Config
>>> from frisket.types import Batch
>>> network = Conv4(Conv4Config(channels=2), in_channels=1, size=16, ways=2)
>>> learner = EpisodicLearner(SparseMAMLConfig(inner_steps=1), network)
>>> episode = Batch(torch.rand(6, 1, 16, 16), torch.tensor([0, 1, 0, 0, 1, 1]), position=0, support=2)
>>> state = learner.init(seed=0)
>>> state, metrics = learner.apply(state, learner.gradients(state, [episode, episode]))
>>> learner.predict(learner.adapted(state, episode), torch.rand(3, 1, 16, 16)).shape
torch.Size([3, 2])
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from frisket.algos.inner.adapter import layers_of
from frisket.algos.inner.loop import Adapted, loss_on
from frisket.algos.inner.modulation import Modulation
from frisket.algos.inner.outer import Learned, OuterStep
from frisket.algos.learner import LOSS_BEFORE, Capabilities, Decided, Deciding
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.network import Network, split
from frisket.algos.parts import optimiser
from frisket.errors import require
from frisket.rng import torch_generator
from frisket.types import Batch, Data, Metrics, Params, State, Task


@dataclass(frozen=True, kw_only=True)
class EpisodicConfig(ABC):
    """Fields every method of the family has; each adds those of its step size.

    Attributes:
        inner_steps: K, in training.
        inner_steps_test: K where a task is answered and not learned from; null for that of training.
        meta_batch: tasks in an outer step.
        order: 1 or 2, order of the outer derivative.
        outer_lr: gamma_theta, rate of theta.
        optimiser: of theta and of m: ``adam``, or ``nesterov``, SGD with momentum 0.9 of that form.
        reduction: whether the losses of a meta-batch's tasks are added, as released, or averaged. Adam does not care.
        clamp: bound of every entry of theta's gradient (10 in the released ResNet runs); null for none.
        inner_checkpoint: of order 2, fast weights are kept at every this many inner steps, and the steps between are
            taken again for the derivative: about a third slower, and least memory near the root of K; null keeps all.
        learn_start: False holds theta: the second of two phases, which learns where to learn alone.
    """

    inner_steps: int = 5
    inner_steps_test: int | None = None
    meta_batch: int = 4
    order: Literal[1, 2] = 1
    outer_lr: float = 0.001
    optimiser: Literal["adam", "nesterov"] = "adam"
    reduction: Literal["sum", "mean"] = "sum"
    clamp: float | None = None
    learn_start: bool = True
    inner_checkpoint: int | None = None

    def __post_init__(self) -> None:
        for name in ("inner_steps", "meta_batch"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        steps = self.inner_steps_test
        require(steps is None or steps >= 1, "inner_steps_test", steps, "at least 1, or null")
        every = self.inner_checkpoint
        require(every is None or every >= 1, "inner_checkpoint", every, "at least 1, or null")
        fix = "null with order: 1, which keeps no inner steps"
        require(every is None or self.order == 2, "inner_checkpoint", every, fix)
        require(self.outer_lr > 0, "outer_lr", self.outer_lr, "above 0")
        require(self.clamp is None or self.clamp > 0, "clamp", self.clamp, "above 0, or null")

    @abstractmethod
    def modulation(self, network: Network) -> Modulation:
        """The step size s of the inner loop on ``network``."""

    def outer_step(self, network: Network) -> OuterStep:
        """The outer step on ``network``."""
        return OuterStep(
            network=network, modulation=self.modulation(network),
            optimiser=optimiser.Nesterov(0.9) if self.optimiser == "nesterov" else optimiser.Adam(),
            inner_steps=self.inner_steps, order=self.order, lr=self.outer_lr, modulation_lr=self.modulation_lr,
            reduction=self.reduction, clamp=self.clamp, learn_start=self.learn_start,
            inner_checkpoint=self.inner_checkpoint,
        )  # fmt: skip

    @property
    def modulation_lr(self) -> float:
        """gamma_m; 0 where there is nothing to learn."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class LearnedRatesConfig(EpisodicConfig, ABC):
    """Of the methods that learn m too. Attributes: gamma_m: rate of m."""

    gamma_m: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma_m >= 0, "gamma_m", self.gamma_m, "at least 0")

    @property
    def modulation_lr(self) -> float:
        return self.gamma_m


LOGGED: Mapping[str, str] = MappingProxyType(
    {
        "query_loss": "mean loss of the queries of a meta-batch's tasks, adapted to each, before the outer step",
        "loss_before": f"{LOSS_BEFORE}; only on a stream of plain batches",
    }
)
"""What every method of the family reports."""


class EpisodicLearner(Deciding):
    """MAML over any modulation and any set of adaptable weights.

    State: ``seed``, ``step`` (outer steps), ``theta``, ``m``, ``outer/theta``, ``outer/m`` (the optimiser's), and
    ``phi``, the adaptable weights that answer, and the running statistics of batch norm where there are any: theta's
    own until a task is adapted to. theta's statistics are the mean of what the adaptations of the last meta-batch made
    of them. [our default] Where tasks decide what they leave open, ``opened`` says it, a bit for every weight.
    """

    def __init__(self, config: EpisodicConfig, network: Network) -> None:
        self.config, self.network, self.meta_batch = config, network, config.meta_batch
        self._outer = config.outer_step(network)
        self.modulation = self._outer.modulation
        self.capabilities = Capabilities(meta_learns=True, masks=self.modulation.switches_off, statistics=True)

    def init(self, seed: int, warm_start: State | None = None) -> State:
        theta = self.network.init(torch_generator(seed, "theta")) if warm_start is None else warm_start["theta"]
        m = self.modulation.init(split(self.network, theta)[0], torch_generator(seed, "modulation"))
        return {
            "seed": torch.tensor(seed),
            "step": torch.zeros((), dtype=torch.int64),
            "theta": theta,
            "m": m,
            "outer": self._outer.first_moments(theta, m),
            "phi": self._answering(theta),
            **self._opened(theta, {k: torch.ones(()) for k in self.network.adaptable}),
        }

    def _answering(self, theta: Params) -> Params:
        """What an adaptation changes, as it is in ``theta``."""
        return {k: theta[k] for k in (*self.network.adaptable, *self.network.running)}

    def _opened(self, theta: Params, opened: Params) -> State:
        """``opened`` as the state has it, where tasks decide what they leave open: boolean, a bit for every weight."""
        if not self.modulation.by_task:
            return {}
        return {"opened": {k: (v > 0).to(theta[k].device).expand_as(theta[k]).clone() for k, v in opened.items()}}

    def gradients(self, state: State, episodes: Sequence[Batch]) -> State:
        return self._outer.gradients(state["theta"], state["m"], int(state["seed"]), episodes)

    def apply(self, state: State, gradients: State) -> tuple[State, Metrics]:
        theta, m, outer = self._outer.apply(Learned(state["theta"], state["m"], state["outer"]), gradients)
        learned = {"theta": theta, "m": m, "outer": outer, "phi": self._answering(theta), "step": state["step"] + 1}
        learned |= self._opened(theta, gradients["opened"])
        loss = float(gradients["loss"] / gradients["tasks"])
        return {**state, **learned}, {"query_loss": loss, **self._outer.metrics(gradients)}

    def adapted(self, state: State, support: Batch) -> State:
        return self._with(state, self._adapted(state, support))

    def _adapted(self, state: State, support: Batch) -> Adapted:
        steps = self.config.inner_steps_test
        return self._outer.adapted(state["theta"], state["m"], int(state["seed"]), support, steps)

    def _with(self, state: State, adapted: Adapted) -> State:
        """``state`` that answers as ``adapted``."""
        phi = {**adapted.phi, **adapted.statistics}
        return {**state, "phi": phi, **self._opened(state["theta"], adapted.noted.opened)}

    def decided(self, state: State, support: Batch) -> Decided | None:
        if not self.modulation.by_task:
            return None
        adapted = self._adapted(state, support)
        with torch.no_grad():
            each = [self.modulation.decided(state["m"], seen) for seen, _ in adapted.trail]
        known = [one for one in each if one is not None]
        if not known:
            return None
        opened, rates = torch.stack([one for one, _ in known]), [rate for _, rate in known if rate is not None]
        rate = torch.stack(rates).double().cpu() if rates else None
        masks = self.masks(self._with(state, adapted))
        return Decided(tuple(layers_of(self.network)), opened.double().cpu(), rate, masks)

    def start(self, state: State) -> State:
        opened = {"opened": state["opened"]} if self.modulation.by_task else {}
        return {"theta": state["theta"], "m": state["m"], "phi": self._answering(state["theta"]), **opened}

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits under phi."""
        with torch.no_grad():
            return self.network({**state["theta"], **state["phi"]}, x)

    @torch.no_grad()
    def loss(self, state: State, batch: Batch) -> float:
        return float(loss_on(self.network, state["theta"], Data(batch.x, batch.y))(state["phi"]))

    def masks(self, state: State) -> MaskSet:
        """Where m lets adaptations go; of a method whose tasks decide that, what the task last adapted to left open in
        any of its steps, or after an outer step what any task of its meta-batch did (all, before the first)."""
        masks = MaskSet(state["opened"]) if self.modulation.by_task else self.modulation.masks(state["m"])
        return MaskSet({k: masks[k] for k in self.network.adaptable if k in masks})
