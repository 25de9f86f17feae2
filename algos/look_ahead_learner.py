"""What the look-ahead learners share: glances, replay, the look-ahead gradient (lamaml spec, sections 2.2 and 3).

For every batch, `glances` times: shuffle it, draw b_m = replay ++ batch, walk K inner steps at rates s(m) over its
chunks, clip the two gradients of the meta-loss separately, take the method's outer step. What the outer step is makes
the method; each has its own file.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos import reservoir
from frisket.algos.alignment import alignment
from frisket.algos.clip import clip_by_global_norm
from frisket.algos.entrywise import EntrywiseModulation
from frisket.algos.inner import Data
from frisket.algos.learner import Capabilities, Learner
from frisket.algos.look_ahead import LookAhead, MetaLoss, build_inner_step, look_ahead
from frisket.algos.look_ahead_mlp import build_mlp_inner_step, look_ahead_mlp
from frisket.algos.look_ahead_second import look_ahead_second
from frisket.algos.masks import MaskSet
from frisket.algos.networks.mlp import MLP
from frisket.algos.networks.network import Network
from frisket.algos.plain_learner import require_memory
from frisket.algos.reservoir import ReservoirRule
from frisket.algos.start import weights_start
from frisket.errors import require
from frisket.rng import numpy_generator, torch_generator
from frisket.types import Batch, Metrics, Params, State, Task


@dataclass(frozen=True, kw_only=True)
class LookAheadConfig(ABC):
    """Fields shared by the look-ahead methods. The defaults are those of the released code on MNIST.

    Attributes:
        inner_steps: K; a chunk has ceil(batch / K) samples.
        glances: outer steps per batch.
        memory_slots: S.
        replay_batch: B_r, samples drawn for a meta-batch.
        clip_norm: c, bound of the norm of each outer gradient; null for none.
        inner_clamp: inner gradients are clamped to [-inner_clamp, inner_clamp], element by element; null for not.
        meta_loss: ``mean`` over the losses after every inner step (code), their ``sum`` (paper), or the ``last`` one
            (paper's equation for alpha).
        reservoir: ``official`` or ``textbook`` acceptance (`frisket.algos.reservoir`).
        second_order: differentiate through the inner gradients (the code on CIFAR-100 and TinyImageNet).
        alignment: also report the metric ``alignment`` (`frisket.algos.alignment`).
        compile: compile the inner step. Needs a C++ compiler; the first run on a machine waits for it, and numbers
            differ from plain ones by float32 rounding.
    """

    inner_steps: int = 10
    glances: int = 5
    memory_slots: int = 200
    replay_batch: int = 10
    clip_norm: float | None = 2.0
    inner_clamp: float | None = None
    meta_loss: MetaLoss = "mean"
    reservoir: ReservoirRule = "official"
    second_order: bool = False
    alignment: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        require(self.inner_steps >= 1, "inner_steps", self.inner_steps, "at least 1")
        require(self.glances >= 1, "glances", self.glances, "at least 1")
        require_memory(self.memory_slots, self.replay_batch)
        for name in ("clip_norm", "inner_clamp"):
            value = getattr(self, name)
            require(value is None or value > 0, name, value, "above 0, or null for none")
        require(not (self.compile and self.second_order), "compile", self.compile, "false with second_order")

    @abstractmethod
    def modulation(self) -> EntrywiseModulation:
        """The rates of the inner loop."""


class Gradients(NamedTuple):
    """Clipped gradients of the meta-loss. Attributes: theta; m."""

    theta: Params
    m: Params


class LookAheadLearner(Learner):
    """A method of the family; subclasses say how theta and m move.

    A batch enters the memory after its first glance and in its first epoch; with ``push_after_first_glance`` False
    after its last glance, in every epoch (lamaml spec, sections 2.2 and 4).

    State: ``seed, step, theta, m, memory/x, memory/y, memory/age``.
    """

    capabilities = Capabilities(replay=True, meta_learns=True, masks=True)
    push_after_first_glance = True

    def __init__(self, config: LookAheadConfig, network: Network) -> None:
        self.config, self.network = config, network
        self.modulation = config.modulation()
        self._look_ahead = build_look_ahead(
            network, config.inner_clamp, compiled=config.compile, second_order=config.second_order
        )

    @abstractmethod
    def outer(self, theta: Params, m: Params, gradients: Gradients, meta: Data) -> tuple[Params, Params]:
        """``(theta, m)`` after the outer step; ``meta`` is the meta-batch the gradients come from."""

    def init(self, seed: int, warm_start: State | None = None) -> State:
        state = weights_start(self.network, seed, warm_start)
        m = self.modulation.init(state["theta"], torch_generator(seed, "modulation"))
        return {**state, "m": m, "memory": reservoir.empty()}

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits under theta."""
        with torch.no_grad():
            return self.network(state["theta"], x)

    def masks(self, state: State) -> MaskSet:
        return self.modulation.masks(state["m"])

    @torch.no_grad()
    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        seed, position, config = int(state["seed"]), int(state["step"]), self.config
        data = Data(batch.x, batch.y)
        before = F.cross_entropy(self.network(state["theta"], batch.x), batch.y)
        theta, m, memory = state["theta"], state["m"], state["memory"]
        losses, aligned = [], []
        for glance in range(config.glances):
            generator = numpy_generator(seed, "glance", position, glance)
            shuffled = shuffle(data, generator)
            meta = reservoir.draw_with(memory, config.replay_batch, shuffled, generator)
            if config.alignment and (cosine := alignment(self.network, theta, meta, len(shuffled.y))) is not None:
                aligned.append(cosine)
            theta, m, loss = self.meta_update(theta, m, chunks(shuffled, config.inner_steps), meta)
            losses.append(loss)
            pushes = batch.epoch == glance == 0 if self.push_after_first_glance else glance == config.glances - 1
            if pushes:
                generator = numpy_generator(seed, "push", position)
                memory = reservoir.push(memory, shuffled, config.memory_slots, config.reservoir, generator)
        following = {**state, "step": state["step"] + 1, "theta": theta, "m": m, "memory": memory}
        metrics = {"loss_before": float(before), "outer_loss": float(torch.stack(losses).mean())}
        if aligned:
            metrics["alignment"] = float(torch.stack(aligned).mean())
        return following, metrics

    @torch.no_grad()
    def meta_update(self, theta: Params, m: Params, inner: list[Data], meta: Data) -> tuple[Params, Params, Tensor]:
        """``(theta, m, meta-loss)`` after one outer step with ``inner`` chunks and meta-batch ``meta``."""
        rates = self.modulation.rates(m, theta)
        ahead = self._look_ahead(theta, rates, inner, meta, self.config.meta_loss)
        slopes = self.modulation.slopes(m)
        m_grads = {k: g * slopes[k] for k, g in ahead.rates.items()}
        c = self.config.clip_norm
        gradients = Gradients(clip_by_global_norm(ahead.theta, c), clip_by_global_norm(m_grads, c))
        theta, m = self.outer(theta, m, gradients, meta)
        return theta, m, ahead.loss


def build_look_ahead(
    network: Network, clamp: float | None, *, compiled: bool, second_order: bool = False
) -> Callable[[Params, Params, Sequence[Data], Data, MetaLoss], LookAhead]:
    """The look-ahead gradient of ``network`` as a function of theta, rates, chunks, meta-batch and how it is judged.

    It is the fast form where there is one; clamped gradients have no low rank to make use of.
    """
    if second_order:
        return functools.partial(look_ahead_second, network, clamp)
    if isinstance(network, MLP) and clamp is None:
        return functools.partial(look_ahead_mlp, network, build_mlp_inner_step(network, compiled=compiled))
    return functools.partial(look_ahead, build_inner_step(network, clamp, compiled=compiled))


def shuffle(data: Data, generator: np.random.Generator) -> Data:
    """``data`` in random order."""
    order = torch.from_numpy(generator.permutation(len(data.y))).to(data.y.device)
    return Data(data.x[order], data.y[order])


def chunks(data: Data, count: int) -> list[Data]:
    """At most ``count`` chunks of ceil(N / count) samples; a batch that does not fill them gives fewer."""
    size = -(-len(data.y) // count)
    return [Data(x, y) for x, y in zip(data.x.split(size), data.y.split(size), strict=True)]


def step_down(params: Params, rates: Params, grads: Params) -> Params:
    """``params - rates o grads``."""
    return {k: torch.addcmul(v, rates[k], grads[k], value=-1) for k, v in params.items()}
