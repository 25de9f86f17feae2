"""What the look-ahead learners share: glances, replay, the look-ahead gradient (lamaml spec, sections 2.2 and 3).

For every batch, `glances` times: shuffle it, draw b_m = replay ++ batch, walk K inner steps at rates s(m) over its
chunks, clip the two gradients of the meta-loss separately, take the method's outer step. What the outer step is makes
the method; each has its own file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from frisket.algos.inner.modulation import EntrywiseModulation
from frisket.algos.inner.start import weights_start
from frisket.algos.learner import LOSS_BEFORE, Capabilities, Learner, Pack
from frisket.algos.learners.look_ahead.gradient import LookAhead, MetaLoss
from frisket.algos.learners.look_ahead.pack import LookAheadPack
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.network import Network
from frisket.algos.pack import packed_fields
from frisket.algos.parts import reservoir
from frisket.algos.parts.alignment import ALIGNMENT
from frisket.algos.parts.clip import spread
from frisket.algos.parts.reservoir import ReservoirRule, require_memory
from frisket.algos.parts.tree import lifted, picked
from frisket.errors import require
from frisket.moves import ROUNDING
from frisket.rng import torch_generator
from frisket.types import Batch, Metrics, Params, State, Task

LOGGED: Mapping[str, str] = MappingProxyType(
    {
        "loss_before": LOSS_BEFORE,
        "outer_loss": "mean over the glances of the meta-loss before the outer step",
        "alignment": ALIGNMENT,
    }
)
"""What these learners report."""


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
        reservoir: ``official`` or ``textbook`` acceptance (`frisket.algos.parts.reservoir`).
        second_order: differentiate through the inner gradients (the code on CIFAR-100 and TinyImageNet).
        alignment: also report the metric ``alignment`` (`frisket.algos.parts.alignment`).
        compile: run compiled programs (`frisket.algos.program`): ``true``, ``false``, or ``auto``: where there is a
            compiler and the run is long enough to repay it. Numbers differ from plain ones by float32 rounding.
    """

    packed: ClassVar[tuple[str, ...]] = ()
    """Fields in which replicas of one pack may differ."""

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
    compile: bool | Literal["auto"] = field(default="auto", metadata=ROUNDING)

    def __post_init__(self) -> None:
        require(self.inner_steps >= 1, "inner_steps", self.inner_steps, "at least 1")
        require(self.glances >= 1, "glances", self.glances, "at least 1")
        require_memory(self.memory_slots, self.replay_batch)
        for name in ("clip_norm", "inner_clamp"):
            value = getattr(self, name)
            require(value is None or value > 0, name, value, "above 0, or null for none")

    @abstractmethod
    def modulation(self, hyper: Params) -> EntrywiseModulation:
        """The rates of the inner loop, from the fields `packed`: one number each, or one per replica [P]."""


class LookAheadLearner(Learner):
    """A method of the family; subclasses say how theta and m move. All that is computed is computed by the pack of one
    (`frisket.algos.learners.look_ahead.pack`), so a replica alone and a replica in a pack are the same method.

    A batch enters the memory after its first glance and in its first epoch; with ``push_after_first_glance`` False
    after its last glance, in every epoch (lamaml spec, sections 2.2 and 4).

    State: ``seed, step, theta, m, memory/x, memory/y, memory/age``.
    """

    capabilities = Capabilities(replay=True, meta_learns=True, masks=True)
    push_after_first_glance = True

    def __init__(self, config: LookAheadConfig, network: Network) -> None:
        self.config, self.network = config, network

    @cached_property
    def modulation(self) -> EntrywiseModulation:
        """The rates of the inner loop, for this replica."""
        fields = packed_fields(self.config)
        return self.config.modulation({k: torch.tensor(getattr(self.config, k), dtype=torch.float64) for k in fields})

    @abstractmethod
    def outer(self, theta: Params, m: Params, ahead: LookAhead, along: Params, hyper: Params) -> tuple[Params, Params]:
        """``(theta, m)`` after the outer step. Pure; all tensors have a leading replica dimension P.

        Args:
            theta, m: before.
            ahead: the gradients of the meta-loss for theta and of the loss at theta, clipped.
            along: the gradient of the meta-loss for m, clipped.
            hyper: the fields `packed` of the configuration, [P] each.
        """

    def pack(self, others: Sequence[Learner], *, steps: int = 0, may_compile: bool = False) -> Pack[Any]:
        all_ = [self, *(one for one in others if isinstance(one, LookAheadLearner))]
        return LookAheadPack(all_, steps=steps, may_compile=may_compile)

    def init(self, seed: int, warm_start: State | None = None) -> State:
        state = weights_start(self.network, seed, warm_start)
        m = self.modulation.init(state["theta"], torch_generator(seed, "modulation"))
        return {**state, "m": m, "memory": reservoir.empty()}

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        packed, (metrics,) = self._alone.observe(lifted(state), [batch])
        return picked(packed, 0), metrics

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits under theta."""
        with torch.no_grad():
            return self.network(state["theta"], x)

    def masks(self, state: State) -> MaskSet:
        return self.modulation.masks(state["m"])

    @cached_property
    def _alone(self) -> LookAheadPack:
        return LookAheadPack([self])


def step_down(params: Params, rates: Params, grads: Params) -> Params:
    """``params - rates o grads``."""
    return {k: torch.addcmul(v, rates[k], grads[k], value=-1) for k, v in params.items()}


def descend_replicas(params: Params, lr: Tensor, grads: Params) -> Params:
    """``params - lr grads`` with one rate per replica, [P]."""
    return {k: v - spread(lr, v) * grads[k] for k, v in params.items()}
