"""Cumulative training: at every batch of the stream the network is trained on all data seen so far.

    seen_t = seen_{t-1} ++ batch_t
    theta <- theta - lr clip_c( grad L(theta; chunk) )          over seen_t, cut into chunks in a random order, E times

Nothing is left out and nothing need be forgotten: what a method with a bounded memory is compared with from above.
It is replay without a bound, so it is no method for an endless stream: the state holds every sample as it was shown
(float32; 20,000 images of 28 x 28 are 63 MB, in every checkpoint and in the model), and the work of n samples is of
order n^2. Later passes of a stream over a task show nothing new and add nothing.

Symbols and arguments: E ``passes``, samples of a chunk ``samples_per_step``, c ``clip_norm``. Source: the baseline of
that name in continual learning; it has no paper of its own.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch
>>> learner = Cumulative(CumulativeConfig(), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> state = learner.init(seed=0)
>>> for t in range(3):
...     state, _ = learner.observe(state, Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=t))
>>> state["seen"]["x"].shape
torch.Size([12, 1, 4, 4])
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frisket.algos.learner import Capabilities, Method
from frisket.algos.learners.replay.learner import LOGGED, PlainConfig, PlainLearner
from frisket.algos.networks.network import Network
from frisket.algos.parts.clip import clip_by_global_norm
from frisket.algos.parts.tree import descend
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Batch, Data, Metrics, State


@dataclass(frozen=True, kw_only=True)
class CumulativeConfig(PlainConfig):
    """Cumulative training; defaults not tuned.

    Attributes:
        lr: plain SGD rate.
        samples_per_step: samples of all seen that a step is taken on.
        passes: passes over all seen at every batch of the stream.
    """

    lr: float = 0.1
    samples_per_step: int = 100
    passes: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.passes >= 1, "passes", self.passes, "at least 1")


class Cumulative(PlainLearner):
    """Cumulative training. State: ``seed, step, theta``; ``seen/x, seen/y``, every sample in the order they came."""

    config: CumulativeConfig
    capabilities = Capabilities(replay=True)

    def __init__(self, config: CumulativeConfig, network: Network) -> None:
        super().__init__(config, network)

    def extra(self) -> State:
        return {"seen": {"x": torch.zeros(0), "y": torch.zeros(0, dtype=torch.int64)}}

    @torch.no_grad()
    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        before, config, theta = self.loss_of_answer(state, batch), self.config, state["theta"]
        seen, losses = self._joined(state["seen"], batch), list[Tensor]()
        for number in range(config.passes):
            generator = numpy_generator(int(state["seed"]), "cumulative", int(state["step"]), number)
            order = torch.from_numpy(generator.permutation(len(seen.y))).to(seen.y.device)
            for chunk in order.split(config.samples_per_step):
                loss, grads = self.network.loss_and_gradients(theta, seen.x[chunk], seen.y[chunk])
                theta = descend(theta, config.lr, clip_by_global_norm(grads, config.clip_norm))
                losses.append(loss)
        metrics = {"loss_before": float(before), "outer_loss": float(torch.stack(losses).mean())}
        return {**state, "step": state["step"] + 1, "theta": theta, "seen": seen._asdict()}, metrics

    def _joined(self, seen: State, batch: Batch) -> Data:
        """All samples, those of ``batch`` too if no earlier pass has shown them."""
        if not len(seen["y"]):
            return Data(batch.x, batch.y)
        if batch.epoch:
            return Data(seen["x"], seen["y"])
        return Data(torch.cat([seen["x"], batch.x]), torch.cat([seen["y"], batch.y]))


METHODS = (
    Method(
        name="cumulative",
        config=CumulativeConfig,
        build=Cumulative,
        summary="trains on all data seen so far at every batch, without a bound on memory",
        page="cumulative",
        logged={**LOGGED},
        quick={"lr": 0.02, "samples_per_step": 10},
    ),
)
