"""MetaBGD: a Gaussian over the start of an inner loop, learned by BGD (OSAKA20's baseline; osaka spec, section 8).

    phi <- adapt(start, D_{t-1}, K)                                     fast weights; the answer at t
    g_s <- N d L(phi, D_t) / d w_s,  s = 1 .. S                         first or second order
    mu, sigma <- BGD step on E[g], E[g eps]                             see `frisket.algos.learners.online.bgd`

Two forms (D6), which differ in what an adaptation starts from:

* ``as_released`` (the default, the one behind Table 6): all S samples share one adapted network, started from the last
  sample drawn at t-1, before that step's BGD update. The S gradients differ only through the sampled batch-norm
  tensors.
* intended: every sample w_s has its own adaptation, phi_s = adapt(w_s, D_{t-1}, K), w_s drawn from the updated
  posterior.

The first batch only initialises. Symbols and arguments: K ``inner_steps``, inner step size ``step_size``, eta_mu
``mean_lr``, S ``samples``.

>>> import torch
>>> from frisket.algos.networks.conv4 import Conv4, Conv4Config
>>> from frisket.types import Batch
>>> learner = metabgd(MetaBGDConfig(inner_steps=1), Conv4(Conv4Config(channels=2), in_channels=1, size=16, ways=2))
>>> batch = Batch(torch.rand(4, 1, 16, 16), torch.tensor([0, 0, 1, 1]), position=0)
>>> state, _ = learner.observe(learner.init(seed=0), batch)
>>> learner.predict(state, batch.x).shape
torch.Size([5, 4, 2])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from frisket.algos.inner.loop import (
    Adapted,
    Loss,
    adapt_first_order,
    first_order_gradient,
    second_order_gradient,
    unroll,
)
from frisket.algos.inner.modulation import FixedStep
from frisket.algos.learner import Capabilities, Learner, Method
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.network import Network, split
from frisket.algos.parts.posterior import (
    PosteriorConfig,
    SampleGradient,
    displaced,
    init_posterior,
    noise,
    posterior_step,
    weight_samples,
)
from frisket.errors import require
from frisket.types import Batch, Data, Metrics, Params, State, Task

Starts = Callable[[State, State, int], "list[Params]"]
"""``(state before the BGD step, state after it, S)`` to what adaptations start from: one for all samples, or S."""


@dataclass(frozen=True, kw_only=True)
class MetaBGDConfig(PosteriorConfig):
    """Those of BGD, and:

    Attributes:
        inner_steps: K.
        step_size: constant inner step size.
        order: 1 or 2, order of the outer derivative.
        as_released: the released code's form instead of the intended one (D6).
    """

    inner_steps: int = 16
    step_size: float = 0.01
    order: Literal[1, 2] = 1
    as_released: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.inner_steps >= 1, "inner_steps", self.inner_steps, "at least 1")
        require(self.step_size > 0, "step_size", self.step_size, "above 0")


def last_sample(before: State, after: State, samples: int) -> list[Params]:
    """As released: the last sample of the step that ends, drawn before its BGD update."""
    return [displaced(before, noise(before, samples - 1))]


def own_samples(before: State, after: State, samples: int) -> list[Params]:
    """As intended: the samples of the step to come, from the updated posterior."""
    return weight_samples({**after, "step": before["step"] + 1}, samples)


class MetaBGD(Learner):
    """BGD through an inner loop.

    State: ``seed, step, mu, sigma`` and ``phi``, fast weights with a first axis of J adaptations (J = 1 shared, or S);
    sample s answers with row s mod J. Second order adds what the graph is rebuilt from: ``start`` (weights, same first
    axis) and ``support/x``, ``support/y``, the last batch.

    Args:
        starts: which weights adaptations start from.
        complete: adds to a weight sample whatever else ``network`` reads.
        penalty: added to the inner loss, as a function of phi.
    """

    def __init__(
        self, config: MetaBGDConfig, network: Network, *, starts: Starts,
        complete: Callable[[Params], Params] = dict, penalty: Loss | None = None
    ) -> None:  # fmt: skip
        self.config, self.network = config, network
        self.capabilities = Capabilities(samples=config.samples, meta_learns=True, replay=config.order == 2)
        self.modulation = FixedStep(config.step_size)
        self._starts, self._complete, self._penalty = starts, complete, penalty
        self._gradient = {1: self._first_order, 2: self._second_order}[config.order]
        self._kept = {1: _nothing, 2: _start_and_support}[config.order]

    def init(self, seed: int, warm_start: State | None = None) -> State:
        state = init_posterior(self.config, self.network, seed, warm_start)
        start = self._complete(state["mu"])
        return {
            **state,
            "phi": _stacked([split(self.network, start)[0]]),
            **self._kept([start], Data(torch.zeros(0), torch.zeros(0, dtype=torch.int64))),
        }

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits of every sample, ``[S, N, ways]``; there is no answer before the first batch."""
        if int(state["step"]) == 0:
            return None
        samples = weight_samples(state, self.config.samples)
        with torch.no_grad():
            return torch.stack(
                [self.network({**self._complete(w), **_row(state["phi"], s)}, x) for s, w in enumerate(samples)]
            )

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        data = Data(batch.x, batch.y)
        metrics, after = {}, state
        if int(state["step"]):
            gradient = self._gradient(state, data)
            after, metrics["loss_before"] = posterior_step(self.config, state, len(batch.y), gradient)
        starts = [self._complete(w) for w in self._starts(state, after, self.config.samples)]
        phi = _stacked([self._adapt(start, data) for start in starts])
        return {**after, "phi": phi, **self._kept(starts, data), "step": state["step"] + 1}, metrics

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})

    def _adapt(self, start: Params, data: Data) -> Params:
        steps = self.config.inner_steps
        return adapt_first_order(self.network, self.modulation, start, {}, data, steps, self._penalty).phi

    def _first_order(self, state: State, data: Data) -> SampleGradient:
        def gradient(s: int, weights: Params) -> tuple[Tensor, Params]:
            adapted = Adapted(_row(state["phi"], s), {}, torch.zeros(()))
            result = first_order_gradient(self.network, self.modulation, self._complete(weights), {}, adapted, data)
            return result.loss, {k: result.theta[k] for k in weights}

        return gradient

    def _second_order(self, state: State, data: Data) -> SampleGradient:
        support = Data(state["support"]["x"], state["support"]["y"])
        rows = len(next(iter(state["phi"].values())))
        unrolled = None

        def gradient(s: int, weights: Params) -> tuple[Tensor, Params]:
            nonlocal unrolled
            if unrolled is None or rows > 1:  # one graph serves all samples that share the adaptation
                start = _row(state["start"], s)
                unrolled = unroll(
                    self.network, self.modulation, start, {}, support,
                    steps=self.config.inner_steps, penalty=self._penalty,
                )  # fmt: skip
            _, rest = split(self.network, self._complete(weights))
            result = second_order_gradient(self.network, unrolled, rest, data)
            return result.loss, {k: result.theta[k] for k in weights}

        return gradient


def metabgd(config: MetaBGDConfig, network: Network) -> MetaBGD:
    """MetaBGD in the form ``config`` asks for."""
    return MetaBGD(config, network, starts=last_sample if config.as_released else own_samples)


def _stacked(params: Sequence[Params]) -> Params:
    return {k: torch.stack([p[k] for p in params]) for k in params[0]}


def _row(stacked: Params, sample: int) -> Params:
    return {k: v[sample % len(v)] for k, v in stacked.items()}


def _nothing(starts: Sequence[Params], support: Data) -> State:
    return {}


def _start_and_support(starts: Sequence[Params], support: Data) -> State:
    return {"start": _stacked(starts), "support": {"x": support.x, "y": support.y}}


METHODS = (
    Method(
        name="metabgd",
        config=MetaBGDConfig,
        build=metabgd,
        summary="BGD over the start of an inner loop",
        page="metabgd",
        logged={
            "loss_before": "mean over the samples of L(phi, D_t), the loss of the answers that are scored; "
            "not at t = 0",
        },
        quick={"inner_steps": 2, "mean_lr": 30.0, "sigma_0": 0.02},
        tried_on="conv4",
        answers_at_once=False,
        meta=("mu",),
    ),
)
