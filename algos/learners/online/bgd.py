"""Bayesian gradient descent: a diagonal Gaussian over the weights, learned online (OSAKA20's baseline "BGD"; osaka
spec, section 8).

With S samples w_s = mu + sigma o eps_s, N images in a batch, g_s = N grad L(w_s, D_t) and E[.] the mean over samples:

    mu    <- mu - eta_mu sigma^2 E[g]
    sigma <- sigma sqrt(1 + (sigma E[g eps] / 2)^2) - sigma^2 E[g eps] / 2

The answer at t is that of S weight samples. The noise eps(t, s) is a pure function of (seed, t, s), so the weights that
answer at t are those that learn at t, and there is no generator to save.

Symbols and arguments: eta_mu ``mean_lr``, first sigma ``sigma_0``, S ``samples``. What MetaBGD and MetaCOG
share with it is in `frisket.algos.parts.posterior`.

>>> import torch
>>> from frisket.algos.networks.conv4 import Conv4, Conv4Config
>>> from frisket.types import Batch
>>> learner = BGD(PosteriorConfig(), Conv4(Conv4Config(channels=2), in_channels=1, size=16, ways=2))
>>> batch = Batch(torch.rand(4, 1, 16, 16), torch.tensor([0, 0, 1, 1]), position=0)
>>> state, _ = learner.observe(learner.init(seed=0), batch)
>>> learner.predict(state, batch.x).shape
torch.Size([5, 4, 2])
"""

from __future__ import annotations

import torch
from torch import Tensor

from frisket.algos.inner.loop import loss_on
from frisket.algos.learner import Capabilities, Learner, Method
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.network import Network
from frisket.algos.parts.gradients import gradients, leaves
from frisket.algos.parts.posterior import PosteriorConfig, init_posterior, posterior_step, weight_samples
from frisket.types import Batch, Data, Metrics, Params, State, Task


class BGD(Learner):
    """BGD on the network's own weights. State: ``seed, step, mu, sigma``."""

    def __init__(self, config: PosteriorConfig, network: Network) -> None:
        self.config, self.network = config, network
        self.capabilities = Capabilities(samples=config.samples)

    def init(self, seed: int, warm_start: State | None = None) -> State:
        return init_posterior(self.config, self.network, seed, warm_start)

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits of every weight sample, ``[S, N, ways]``; as released, there is no answer before the first batch."""
        if int(state["step"]) == 0:
            return None
        with torch.no_grad():
            return torch.stack([self.network(w, x) for w in weight_samples(state, self.config.samples)])

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        metrics = {}
        if int(state["step"]):
            objective = loss_on(self.network, {}, Data(batch.x, batch.y))

            def gradient(s: int, weights: Params) -> tuple[Tensor, Params]:
                weights = leaves(weights)
                loss = objective(weights)
                return loss.detach(), gradients(loss, weights)

            state, metrics["loss_before"] = posterior_step(self.config, state, len(batch.y), gradient)
        return {**state, "step": state["step"] + 1}, metrics

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})


METHODS = (
    Method(
        name="bgd",
        config=PosteriorConfig,
        build=BGD,
        summary="Bayesian gradient descent, a Gaussian over the weights",
        page="bgd",
        logged={
            "loss_before": "mean over the samples of L(w_s, D_t), the loss of the answers that are scored; "
            "not at t = 0",
        },
        quick={"mean_lr": 30.0, "sigma_0": 0.02},
        tried_on="conv4",
        answers_at_once=False,
    ),
)
