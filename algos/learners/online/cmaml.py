"""Continual-MAML with update modulation and a prolonged adaptation phase, and its sparse forms.

OSAKA20 (C-MAML + UM + PAP) and SPARSE21, Algorithm 2. Equations as in the osaka spec, sections 4, 6 and 7:

    phi    <- phi - s o grad L(phi, D_t), K times                      fast weights; the answer at t+1
    switch <- L(phi_before, D_t) - L(phi_after, D_t) >= gamma          a large loss drop betrays a new task
    theta  <- theta - Adam_beta( grad [g(Lbar) Lbar] )                 outer step, when a segment ends
    m      <- m - Adam_gamma_m( grad [g(Lbar) Lbar] )                  where to learn
    g(L)    = 1 - exp(-lambda L)                                       update modulation (UM), held constant

with s the step size of a `Modulation`: four methods, one file. Symbols and arguments: K ``inner_steps``, beta
``outer_lr``, lambda ``um_lambda``, gamma ``switch_threshold``, alpha_0 ``alpha_0``, gamma_m ``gamma_m``, eta's first
value ``step_size``.

Two modes, `restart`:

* ``next_step`` (as released, section 6; the default): phi restarts from theta one step after the detection (D1); the
  batch that betrayed the switch is not stored (D2); the buffered batches are paired first half with second half (D4);
  more than 2N of them force an outer step (D5).
* ``same_step`` (Algorithm 2): phi = theta at the start; on detection the outer step is taken and phi restarts from the
  new theta on D_t within the step; support and query are two random batches of the buffer; no forced step.

`keep_detect_batch` stores the betraying batch as the first of the new segment in either mode (our variant).

>>> import torch
>>> from frisket.algos.networks.conv4 import Conv4, Conv4Config
>>> from frisket.types import Batch
>>> network = Conv4(Conv4Config(channels=2), in_channels=1, size=16, ways=2)
>>> learner = CMAML(SparseCMAMLConfig(inner_steps=1), network)
>>> state = learner.init(seed=0)
>>> batch = Batch(torch.rand(4, 1, 16, 16), torch.tensor([0, 0, 1, 1]), position=0)
>>> state, metrics = learner.observe(state, batch)
>>> learner.predict(state, batch.x).shape
torch.Size([4, 2])
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from frisket.algos.inner.first_m import Centred, Uniform
from frisket.algos.inner.loop import adapt, adapt_first_order, loss_on, total
from frisket.algos.inner.meta_gradient import meta_gradient
from frisket.algos.inner.modulation import BinaryMask, FixedStep, LearnedStep, Modulation, StraightRelu
from frisket.algos.inner.start import meta_start
from frisket.algos.learner import Capabilities, Learner, Method
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.network import Network, split
from frisket.algos.parts import adam
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Batch, Data, Metrics, Params, State, Task

DETECTION_OFF = 100.0  # a threshold of at least this switches detection off (as released)


@dataclass(frozen=True, kw_only=True)
class PapConfig(ABC):
    """Fields shared by the four methods; each adds its modulation.

    Attributes:
        inner_steps: K.
        outer_lr: beta, Adam rate of theta (and of eta).
        um_lambda: lambda; 1000 gives weight 1 (UM off).
        switch_threshold: gamma, the loss drop that counts as a switch; 100 or more switches detection off.
        order: 1 or 2, order of the outer derivative.
        restart: ``next_step`` (as released) or ``same_step`` (as printed).
        keep_detect_batch: store the batch that betrayed the switch.
        mask_outer: gate theta's step by the mask too (SM A; Algorithm 2 prints it unmasked).
    """

    inner_steps: int = 16
    outer_lr: float = 0.001
    um_lambda: float = 1.0
    switch_threshold: float = 1.5
    order: Literal[1, 2] = 1
    restart: Literal["next_step", "same_step"] = "next_step"
    keep_detect_batch: bool = False
    mask_outer: bool = False

    def __post_init__(self) -> None:
        require(self.inner_steps >= 1, "inner_steps", self.inner_steps, "at least 1")
        require(self.outer_lr > 0, "outer_lr", self.outer_lr, "above 0")
        require(self.um_lambda > 0, "um_lambda", self.um_lambda, "above 0")
        require(self.switch_threshold > 0, "switch_threshold", self.switch_threshold, "above 0")

    @abstractmethod
    def modulation(self) -> Modulation:
        """The step size s of the inner loop."""

    @property
    @abstractmethod
    def modulation_lr(self) -> float:
        """Adam rate of the modulation's meta-parameters."""


@dataclass(frozen=True, kw_only=True)
class CMAMLConfig(PapConfig):
    """C-MAML. Attributes: step_size: first value of every eta_k (learned at rate beta)."""

    step_size: float = 0.01

    def modulation(self) -> Modulation:
        return LearnedStep(self.step_size)

    @property
    def modulation_lr(self) -> float:
        return self.outer_lr


@dataclass(frozen=True, kw_only=True)
class CMAMLFixedConfig(PapConfig):
    """C-MAML-fixed. Attributes: alpha_0: the constant inner step size."""

    alpha_0: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha_0 > 0, "alpha_0", self.alpha_0, "above 0")

    def modulation(self) -> Modulation:
        return FixedStep(self.alpha_0)

    @property
    def modulation_lr(self) -> float:
        return 0.0  # nothing to learn


@dataclass(frozen=True, kw_only=True)
class SparseCMAMLConfig(PapConfig):
    """sparse-C-MAML.

    Attributes:
        alpha_0: inner step size where the mask is open.
        gamma_m: Adam rate of m.
        mask_shift: added to every first m; 0 starts half closed.
    """

    alpha_0: float = 0.3
    gamma_m: float = 0.003
    mask_shift: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha_0 > 0, "alpha_0", self.alpha_0, "above 0")
        require(self.gamma_m >= 0, "gamma_m", self.gamma_m, "at least 0")

    def modulation(self) -> Modulation:
        return BinaryMask(self.alpha_0, Centred(self.mask_shift))

    @property
    def modulation_lr(self) -> float:
        return self.gamma_m


@dataclass(frozen=True, kw_only=True)
class SparseReluCMAMLConfig(PapConfig):
    """sparse-ReLU-C-MAML. Attributes: gamma_m: Adam rate of m; rate_low, rate_high: bounds of m's first values."""

    gamma_m: float = 0.01
    rate_low: float = 0.005
    rate_high: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gamma_m >= 0, "gamma_m", self.gamma_m, "at least 0")
        require(self.rate_low <= self.rate_high, "rate_low", self.rate_low, f"at most rate_high = {self.rate_high}")

    def modulation(self) -> Modulation:
        return StraightRelu(Uniform(self.rate_low, self.rate_high))

    @property
    def modulation_lr(self) -> float:
        return self.gamma_m


class CMAML(Learner):
    """C-MAML + UM + PAP over any modulation.

    State: ``seed, step, theta, m, phi, adam/theta, adam/m, prev_detected`` and ``buffer/x`` [n, N, C, H, W],
    ``buffer/y`` [n, N], the n batches of the running segment.
    """

    def __init__(self, config: PapConfig, network: Network) -> None:
        self.config, self.network = config, network
        self.modulation = config.modulation()
        self.capabilities = Capabilities(replay=True, meta_learns=True, masks=self.modulation.switches_off)
        self._observe = {"next_step": self._released, "same_step": self._as_printed}[config.restart]

    def init(self, seed: int, warm_start: State | None = None) -> State:
        start = meta_start(self.network, self.modulation, seed, warm_start)
        return {
            "seed": torch.tensor(seed),
            "step": torch.zeros((), dtype=torch.int64),
            **start,
            "phi": split(self.network, start["theta"])[0],
            "buffer": {"x": torch.zeros(0), "y": torch.zeros(0, dtype=torch.int64)},
            "prev_detected": torch.zeros((), dtype=torch.bool),
        }

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits under phi; as released, there is no answer before the first batch."""
        if self.config.restart == "next_step" and int(state["step"]) == 0:
            return None
        with torch.no_grad():
            return self.network({**state["theta"], **state["phi"]}, x)

    def masks(self, state: State) -> MaskSet:
        return self.modulation.masks(state["m"])

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        data = Data(batch.x, batch.y)
        state, metrics = self._observe(state, data)
        return {**state, "step": state["step"] + 1}, metrics

    # -- as released (section 6) ---------------------------------------------------------------------------------------

    def _released(self, state: State, data: Data) -> tuple[State, Metrics]:
        if int(state["step"]) == 0:
            phi = self._adapt_from_theta(state, data)
            return {**state, "phi": phi, "buffer": _append(state["buffer"], data)}, {}
        if bool(state["prev_detected"]):
            before = self._loss(state, state["phi"], data)
            phi = self._adapt_from_theta(state, data)
        else:
            phi, before = self._adapt_on(state, data)
        after = self._loss(state, phi, data)
        detected = detects(before, after, self.config.switch_threshold)
        state = {**state, "phi": phi}

        stored = len(state["buffer"]["x"])
        metrics = {"loss_before": before, "loss_after": after, "detected": float(detected), "outer_loss": math.nan}
        if (detected and stored) or stored > 2 * len(data.y):
            state, metrics["outer_loss"] = self._outer_step(state, half_with_half(stored))
            state["buffer"] = self._next_buffer(state["buffer"], data, detected)
        else:
            state["buffer"] = _append(state["buffer"], data)
        state["prev_detected"] = torch.tensor(detected)
        return state, metrics

    # -- as printed (Algorithm 2) --------------------------------------------------------------------------------------

    def _as_printed(self, state: State, data: Data) -> tuple[State, Metrics]:
        phi, before = self._adapt_on(state, data)
        after = self._loss(state, phi, data)
        detected = detects(before, after, self.config.switch_threshold)
        metrics = {"loss_before": before, "loss_after": after, "detected": float(detected), "outer_loss": math.nan}
        if not detected:
            return {**state, "phi": phi, "buffer": _append(state["buffer"], data)}, metrics
        stored = len(state["buffer"]["x"])
        if stored:
            pair = _random_pair(stored, int(state["seed"]), int(state["step"]))
            state, metrics["outer_loss"] = self._outer_step(state, [pair])
        phi = self._adapt_from_theta(state, data)
        return {**state, "phi": phi, "buffer": self._next_buffer(state["buffer"], data, detected)}, metrics

    # -- the parts both modes share ------------------------------------------------------------------------------------

    def _adapt_from_theta(self, state: State, data: Data) -> Params:
        return adapt_first_order(
            self.network, self.modulation, state["theta"], state["m"], data, self.config.inner_steps
        ).phi

    def _adapt_on(self, state: State, data: Data) -> tuple[Params, float]:
        """K further steps from the present phi, and the loss before the first of them (free: it is computed anyway)."""
        _, rest = split(self.network, state["theta"])
        loss = loss_on(self.network, rest, data)
        adapted = adapt(loss, state["phi"], self.modulation, state["m"], self.config.inner_steps)
        return adapted.phi, float(adapted.first_loss)

    @torch.no_grad()
    def _loss(self, state: State, phi: Params, data: Data) -> float:
        return float(self.network.loss({**state["theta"], **phi}, data.x, data.y))

    def _next_buffer(self, buffer: State, data: Data, detected: bool) -> State:
        """The buffer after an outer step: empty, or with the betraying batch as its first."""
        empty = {k: v[:0] for k, v in buffer.items()}
        return _append(empty, data) if detected and self.config.keep_detect_batch else empty

    def _outer_step(self, state: State, pairs: list[tuple[int, int]]) -> tuple[State, float]:
        """One Adam step on ``g(Lbar) Lbar``, Lbar the mean over (support, query) ``pairs`` of buffered batches."""
        x, y = state["buffer"]["x"], state["buffer"]["y"]
        results = [
            meta_gradient(
                self.network, self.modulation, state["theta"], state["m"], Data(x[i], y[i]), Data(x[j], y[j]),
                steps=self.config.inner_steps, order=self.config.order,
            )
            for i, j in pairs
        ]  # fmt: skip
        mean_loss = float(torch.stack([r.loss for r in results]).mean())
        scale = update_weight(mean_loss, self.config.um_lambda) / len(results)
        theta_grads = {k: scale * g for k, g in total([r.theta for r in results]).items()}
        m_grads = {k: scale * g for k, g in total([r.m for r in results]).items()}

        theta_delta, theta_adam = adam.update(theta_grads, state["adam"]["theta"], self.config.outer_lr)
        m_delta, m_adam = adam.update(m_grads, state["adam"]["m"], self.config.modulation_lr)
        if self.config.mask_outer:
            masks = self.modulation.masks(state["m"])
            theta_delta = {k: d * masks[k].to(d.device) if k in masks else d for k, d in theta_delta.items()}
        return {
            **state,
            "theta": {k: v + theta_delta[k] for k, v in state["theta"].items()},
            "m": {k: v + m_delta[k] for k, v in state["m"].items()},
            "adam": {"theta": theta_adam, "m": m_adam},
        }, mean_loss


def detects(before: float, after: float, gamma: float) -> bool:
    """Whether a loss drop from ``before`` to ``after`` is at least ``gamma``; never for a gamma of 100 or more."""
    return gamma < DETECTION_OFF and after + gamma <= before


def update_weight(loss: float, um_lambda: float) -> float:
    """UM: ``g(L) = 1 - exp(-lambda L)``, 0 at L = 0 and below 1."""
    return -math.expm1(-um_lambda * loss)


def half_with_half(stored: int) -> list[tuple[int, int]]:
    """Pairs (i, h + i) with h = ceil(n/2): n = 5 gives (0, 3), (1, 4); a single batch is its own query (D4)."""
    if stored == 1:
        return [(0, 0)]
    half = math.ceil(stored / 2)
    return [(i, half + i) for i in range(stored // 2)]


def _random_pair(stored: int, seed: int, step: int) -> tuple[int, int]:
    if stored == 1:
        return 0, 0
    support, query = numpy_generator(seed, "pair", step).choice(stored, size=2, replace=False)
    return int(support), int(query)


def _append(buffer: State, data: Data) -> State:
    if not len(buffer["x"]):
        return {"x": data.x[None], "y": data.y[None]}
    return {"x": torch.cat([buffer["x"], data.x[None]]), "y": torch.cat([buffer["y"], data.y[None]])}


LOGGED: Mapping[str, str] = MappingProxyType(
    {
        "loss_before": "L(phi, D_t) before learning from D_t: the loss of the answers that are scored",
        "loss_after": "L(phi, D_t) after the K steps",
        "detected": "1 if the step was taken for a task switch, else 0",
        "outer_loss": "Lbar of the outer step; NaN at steps without one",
    }
)
"""What the four of them report."""

METHODS = (
    Method(
        name="cmaml",
        config=CMAMLConfig,
        build=CMAML,
        summary="C-MAML + UM + PAP, one learned step size per tensor",
        page="cmaml",
        logged={**LOGGED},
        quick={"inner_steps": 2, "step_size": 0.1, "outer_lr": 0.01},
        tried_on="conv4",
        answers_at_once=False,
        eager={"switch_threshold": 0.05},
        meta=("theta", "m"),
    ),
    Method(
        name="cmaml-fixed",
        config=CMAMLFixedConfig,
        build=CMAML,
        summary="C-MAML + UM + PAP, constant step size",
        page="cmaml",
        logged={**LOGGED},
        quick={"inner_steps": 2},
        tried_on="conv4",
        answers_at_once=False,
        eager={"switch_threshold": 0.05},
        meta=("theta", "m"),
    ),
    Method(
        name="sparse-cmaml",
        config=SparseCMAMLConfig,
        build=CMAML,
        summary="C-MAML + UM + PAP, learned binary mask",
        page="cmaml",
        logged={**LOGGED},
        quick={"inner_steps": 2},
        tried_on="conv4",
        answers_at_once=False,
        eager={"switch_threshold": 0.05},
        meta=("theta", "m"),
    ),
    Method(
        name="sparse-relu-cmaml",
        config=SparseReluCMAMLConfig,
        build=CMAML,
        summary="C-MAML + UM + PAP, learned rate per weight, closed at 0",
        page="cmaml",
        logged={**LOGGED},
        quick={"inner_steps": 2},
        tried_on="conv4",
        answers_at_once=False,
        eager={"switch_threshold": 0.05},
        meta=("theta", "m"),
    ),
)
