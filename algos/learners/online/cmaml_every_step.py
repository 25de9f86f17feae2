"""Continual-MAML without the prolonged adaptation phase: an outer step at every stream step (OSAKA20, "C-MAML" and
"C-MAML + UM"; osaka spec, section 5).

    l_before <- L(phi_{t-1}, D_t)                                      phi_{t-1} was adapted from theta on D_{t-1}
    phi_t    <- adapt(theta, D_t, K)                                   always from theta; the answer at t+1
    switch   <- l_before - L(phi_t, D_t) >= gamma
    theta, eta <- Adam_beta( grad [g(l_before) l_before] )             unless a switch: phi_{t-1} was another task's
    g(L)      = 1 - exp(-lambda L)                                     update modulation (UM), held constant

phi_{t-1} was adapted before the outer step of t-1, so its gradient belongs to a theta one step old and is applied to
the present one, as in the released code. First order needs phi and the sum of the inner gradients for that; second
order keeps the old theta and eta and D_{t-1} and rebuilds the graph.

Symbols and arguments: K ``inner_steps``, beta ``outer_lr``, lambda ``um_lambda``, gamma ``switch_threshold``, eta's
first value ``step_size``.

>>> import torch
>>> from frisket.algos.networks.conv4 import Conv4, Conv4Config
>>> from frisket.types import Batch
>>> network = Conv4(Conv4Config(channels=2), in_channels=1, size=16, ways=2)
>>> learner = CMAMLEveryStep(CMAMLEveryStepConfig(inner_steps=1), network)
>>> state = learner.init(seed=0)
>>> for t in range(2):
...     state, metrics = learner.observe(state, Batch(torch.rand(4, 1, 16, 16), torch.tensor([0, 0, 1, 1]), position=t))
>>> sorted(metrics)
['detected', 'loss_after', 'loss_before', 'outer_loss']
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from frisket.algos.inner.loop import (
    Adapted,
    MetaGradient,
    adapt_first_order,
    first_order_gradient,
    loss_on,
    second_order_gradient,
    unroll,
)
from frisket.algos.inner.modulation import LearnedStep
from frisket.algos.inner.start import meta_start
from frisket.algos.learner import Capabilities, Learner, Method
from frisket.algos.learners.online.cmaml import detects, update_weight
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.network import Network, split
from frisket.algos.parts import adam
from frisket.errors import require
from frisket.types import Batch, Data, Metrics, Params, State, Task


@dataclass(frozen=True, kw_only=True)
class CMAMLEveryStepConfig:
    """Attributes:
    inner_steps: K.
    outer_lr: beta, Adam rate of theta and eta.
    step_size: first value of every eta_k.
    um_lambda: lambda; 1000 gives weight 1 (UM off).
    switch_threshold: gamma, the loss drop that counts as a switch; 100 or more switches detection off.
    order: 1 or 2, order of the outer derivative.
    """

    inner_steps: int = 1
    outer_lr: float = 0.0001
    step_size: float = 0.1
    um_lambda: float = 1000.0
    switch_threshold: float = 1000.0
    order: Literal[1, 2] = 2

    def __post_init__(self) -> None:
        require(self.inner_steps >= 1, "inner_steps", self.inner_steps, "at least 1")
        require(self.outer_lr > 0, "outer_lr", self.outer_lr, "above 0")
        require(self.um_lambda > 0, "um_lambda", self.um_lambda, "above 0")
        require(self.switch_threshold >= 0, "switch_threshold", self.switch_threshold, "at least 0")


class CMAMLEveryStep(Learner):
    """C-MAML without PAP.

    State: ``seed, step, theta, m`` (m holds eta), ``phi``, ``adam/theta``, ``adam/m``; first order adds ``grad_sum``,
    second order ``past/theta``, ``past/m`` and ``support/x``, ``support/y``.
    """

    def __init__(self, config: CMAMLEveryStepConfig, network: Network) -> None:
        self.config, self.network = config, network
        self.capabilities = Capabilities(meta_learns=True, replay=config.order == 2)
        self.modulation = LearnedStep(config.step_size)
        self._gradient = {1: self._first_order, 2: self._second_order}[config.order]
        self._kept = {1: _grad_sum, 2: _past}[config.order]

    def init(self, seed: int, warm_start: State | None = None) -> State:
        start = meta_start(self.network, self.modulation, seed, warm_start)
        phi = split(self.network, start["theta"])[0]
        nothing = Adapted(phi, {k: torch.zeros_like(v) for k, v in phi.items()}, torch.zeros(()))
        return {
            "seed": torch.tensor(seed),
            "step": torch.zeros((), dtype=torch.int64),
            **start,
            "phi": phi,
            **self._kept(start["theta"], start["m"], Data(torch.zeros(0), torch.zeros(0, dtype=torch.int64)), nothing),
        }

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits under phi and the present batch norm; there is no answer before the first batch."""
        if int(state["step"]) == 0:
            return None
        with torch.no_grad():
            return self.network({**state["theta"], **state["phi"]}, x)

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        data = Data(batch.x, batch.y)
        adapted = adapt_first_order(
            self.network, self.modulation, state["theta"], state["m"], data, self.config.inner_steps
        )
        following = {
            **state,
            "step": state["step"] + 1,
            "phi": adapted.phi,
            **self._kept(state["theta"], state["m"], data, adapted),
        }
        if int(state["step"]) == 0:
            return following, {}
        outer = self._gradient(state, data)
        before = float(outer.loss)
        with torch.no_grad():
            after = float(loss_on(self.network, state["theta"], data)(adapted.phi))
        detected = detects(before, after, self.config.switch_threshold)
        metrics = {"loss_before": before, "loss_after": after, "detected": float(detected), "outer_loss": math.nan}
        if not detected:
            following.update(self._outer_step(state, outer))
            metrics["outer_loss"] = before
        return following, metrics

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})

    def _first_order(self, state: State, data: Data) -> MetaGradient:
        past = Adapted(state["phi"], state["grad_sum"], torch.zeros(()))
        return first_order_gradient(self.network, self.modulation, state["theta"], state["m"], past, data)

    def _second_order(self, state: State, data: Data) -> MetaGradient:
        past, support = state["past"], Data(state["support"]["x"], state["support"]["y"])
        unrolled = unroll(
            self.network, self.modulation, past["theta"], past["m"], support, steps=self.config.inner_steps
        )
        return second_order_gradient(self.network, unrolled, split(self.network, state["theta"])[1], data)

    def _outer_step(self, state: State, outer: MetaGradient) -> State:
        weight = update_weight(float(outer.loss), self.config.um_lambda)
        moved: State = {"adam": {}}
        for part, grads in (("theta", outer.theta), ("m", outer.m)):
            weighted = {k: weight * g for k, g in grads.items()}
            moved[part], moved["adam"][part] = adam.step(
                state[part], weighted, state["adam"][part], self.config.outer_lr
            )
        return moved


def _grad_sum(theta: Params, m: Params, support: Data, adapted: Adapted) -> State:
    return {"grad_sum": adapted.grad_sum}


def _past(theta: Params, m: Params, support: Data, adapted: Adapted) -> State:
    return {"past": {"theta": theta, "m": m}, "support": {"x": support.x, "y": support.y}}


METHODS = (
    Method(
        name="cmaml-no-pap",
        config=CMAMLEveryStepConfig,
        build=CMAMLEveryStep,
        summary="C-MAML with or without UM, an outer step at every stream step",
        page="cmaml-no-pap",
        logged={
            "loss_before": "l_before, the loss of the answers that are scored",
            "loss_after": "L(phi_t, D_t)",
            "detected": "1 if the step was taken for a task switch, else 0",
            "outer_loss": "l_before where an outer step was taken, else NaN",
        },
        quick={"inner_steps": 2, "outer_lr": 0.01},
        tried_on="conv4",
        answers_at_once=False,
        meta=("theta", "m"),
    ),
)
