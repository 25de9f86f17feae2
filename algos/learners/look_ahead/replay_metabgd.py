"""Meta-BGD of the La-MAML paper: replay C-MAML under Bayesian gradient descent (lamaml spec, section 5).

Every weight is N(mu, sigma^2). For every batch, `glances` times, with S weight samples w_s = mu + sigma o eps_s:

    b_m = draws ++ batch, the batch shuffled anew                                   for every s
    G_s = N clip_c( grad_w mean_k L(phi_{k+1}; b_m) )     phi_0 = w_s, N images     second order, see `LookAheadConfig`
    mu    <- mu - eta sigma^2 E[G]
    sigma <- sigma sqrt(1 + (sigma E[G eps] / 2)^2) - sigma^2 E[G eps] / 2

The inner rate is a constant (paper). ``alpha_bayes`` is the released code, whose optimiser also got hold of the inner
rates: one per weight, drawn from a Gaussian of the same sigma_0 and moved by the same update, their gradient times N
but not clipped.

The answer is that of mu. A batch enters the memory after the first sample of its first glance in its first epoch.
OSAKA's MetaBGD (`frisket.algos.learners.online.metabgd`) has no memory and answers by its samples.

Symbols and arguments: eta ``mean_lr``, first sigma ``sigma_0``, S ``samples``, inner rate ``alpha_init``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch
>>> learner = ReplayMetaBGD(ReplayMetaBGDConfig(), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> state = learner.init(seed=0)
>>> batch = Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=0)
>>> state, metrics = learner.observe(state, batch)
>>> learner.predict(state, batch.x).shape
torch.Size([4, 2])
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frisket.algos.inner.first_m import Constant
from frisket.algos.inner.modulation import EntrywiseModulation, Raw
from frisket.algos.learner import Capabilities, Learner, Method
from frisket.algos.learners.look_ahead.gradient import chunks, look_ahead, shuffle
from frisket.algos.learners.look_ahead.learner import LookAheadConfig
from frisket.algos.learners.look_ahead.second_order import look_ahead_second
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.network import Network
from frisket.algos.parts import reservoir
from frisket.algos.parts.alignment import ALIGNMENT, alignment
from frisket.algos.parts.clip import clip_by_global_norm
from frisket.algos.parts.posterior import PosteriorConfig, init_posterior, posterior_step
from frisket.errors import require
from frisket.rng import numpy_generator, torch_generator
from frisket.types import Batch, Data, Metrics, Params, State, Task

_RATE = "rate."  # "rate.fc1.weight" names the inner rates of fc1.weight among the Gaussian variables


@dataclass(frozen=True, kw_only=True)
class ReplayMetaBGDConfig(LookAheadConfig):
    """Replay Meta-BGD; the defaults are those of the released code's CIFAR-100 script.

    Attributes:
        alpha_init: the inner rate, or with ``alpha_bayes`` the first mean of every one.
        alpha_bayes: the inner rates are Gaussian variables too, as in the released code.
        mean_lr, sigma_0, samples: eta, first sigma, S, as in `frisket.algos.parts.posterior.PosteriorConfig`.
    """

    inner_steps: int = 3
    glances: int = 3
    inner_clamp: float | None = 2.0
    second_order: bool = True
    alpha_init: float = 0.1
    alpha_bayes: bool = False
    mean_lr: float = 50.0
    sigma_0: float = 0.02
    samples: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.compile is not True, "compile", True, "false or auto: this method has no programs")
        require(self.alpha_init >= 0, "alpha_init", self.alpha_init, "at least 0")
        self.posterior()

    def modulation(self, hyper: Params) -> EntrywiseModulation:
        return Raw(Constant(self.alpha_init))

    def posterior(self) -> PosteriorConfig:
        """What the Bayesian update needs. Raises `SpecError` as `PosteriorConfig` does."""
        return PosteriorConfig(mean_lr=self.mean_lr, sigma_0=self.sigma_0, samples=self.samples)


class ReplayMetaBGD(Learner):
    """Replay Meta-BGD. State: ``seed, step, mu, sigma, memory/x, memory/y, memory/age``; with ``alpha_bayes`` mu and
    sigma also hold the inner rates, under ``rate.NAME``."""

    capabilities = Capabilities(replay=True, meta_learns=True)

    def __init__(self, config: ReplayMetaBGDConfig, network: Network) -> None:
        self.config, self.network = config, network
        self._posterior, self._rates = config.posterior(), config.modulation({})
        self._look_ahead = look_ahead_second if config.second_order else look_ahead

    def init(self, seed: int, warm_start: State | None = None) -> State:
        state = init_posterior(self._posterior, self.network, seed, warm_start)
        if self.config.alpha_bayes:
            rates = self._rates.init(state["mu"], torch_generator(seed, "modulation"))
            spread = {k: torch.full_like(v, self.config.sigma_0) for k, v in rates.items()}
            state["mu"] = {**state["mu"], **_named(rates)}
            state["sigma"] = {**state["sigma"], **_named(spread)}
        return {**state, "memory": reservoir.empty()}

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits under mu."""
        with torch.no_grad():
            return self.network(_weights(state["mu"]), x)

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})

    @torch.no_grad()
    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        before = self.network.loss(_weights(state["mu"]), batch.x, batch.y)
        losses, aligned = [], []
        for glance in range(self.config.glances):
            state, loss = self._glance(state, batch, glance, aligned)
            losses.append(loss)
        metrics = {"loss_before": float(before), "outer_loss": sum(losses) / len(losses)}
        if aligned:
            metrics["alignment"] = float(torch.stack(aligned).mean())
        return {**state, "step": state["step"] + 1}, metrics

    def _glance(self, state: State, batch: Batch, glance: int, aligned: list[Tensor]) -> tuple[State, float]:
        """The state after one Bayesian update, and the samples' mean meta-loss; cosines are added to ``aligned``."""
        config, seed, memory = self.config, int(state["seed"]), state["memory"]
        update = int(state["step"]) * config.glances + glance

        def gradient(s: int, variables: Params) -> tuple[Tensor, Params]:
            nonlocal memory
            generator = numpy_generator(seed, "sample", update, s)
            new = shuffle(Data(batch.x, batch.y), generator)
            meta = reservoir.draw_with(memory, config.replay_batch, new, generator)
            theta = _weights(variables)
            rates = _rates(variables) or self._rates.init(theta, torch_generator(seed, "modulation"))
            if config.alignment and (cosine := alignment(self.network, theta, meta, len(new.y))) is not None:
                aligned.append(cosine)
            inner = chunks(new, config.inner_steps)
            ahead = self._look_ahead(self.network, config.inner_clamp, theta, rates, inner, meta, config.meta_loss)
            if s == glance == batch.epoch == 0:
                memory = reservoir.push(memory, new, config.memory_slots, config.reservoir, generator)
            grads = clip_by_global_norm(ahead.theta, config.clip_norm)
            return ahead.loss, {**grads, **_named(ahead.rates)} if config.alpha_bayes else grads

        # The noise is keyed by the step: here every update has its own.
        at = {**state, "step": torch.tensor(update)}
        moved, loss = posterior_step(self._posterior, at, len(batch.y), gradient)
        return {**moved, "step": state["step"], "memory": memory}, loss


def _named(rates: Params) -> Params:
    return {_RATE + k: v for k, v in rates.items()}


def _weights(variables: Params) -> Params:
    return {k: v for k, v in variables.items() if not k.startswith(_RATE)}


def _rates(variables: Params) -> Params:
    return {k.removeprefix(_RATE): v for k, v in variables.items() if k.startswith(_RATE)}


METHODS = (
    Method(
        name="replay-metabgd",
        config=ReplayMetaBGDConfig,
        build=ReplayMetaBGD,
        summary="replay-cmaml with a Gaussian over the weights, moved by BGD",
        page="replay-metabgd",
        logged={
            "loss_before": "mean cross-entropy of the batch under mu, before learning from it",
            "outer_loss": "mean over glances and weight samples of the meta-loss before the update",
            "alignment": ALIGNMENT,
        },
        quick={"alpha_init": 0.02, "mean_lr": 2.0},
        meta=("mu",),
    ),
)
