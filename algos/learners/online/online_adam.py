"""Online Adam and Fine-tuning: one network, one Adam step per batch (OSAKA20's baselines; osaka spec, section 8).

    theta <- theta - Adam_beta( grad L(theta, D_t) ),  t = 1, 2, ...

Fine-tuning is the same method started from MAML pre-training (with one inner step, as released: D8), whose Adam moments
are carried over. As all released methods, neither answers nor learns at t = 0, so t steps have been taken after
position t.

Symbols and arguments: beta ``outer_lr``.

>>> import torch
>>> from frisket.algos.networks.conv4 import Conv4, Conv4Config
>>> from frisket.types import Batch
>>> learner = OnlineAdam(OnlineAdamConfig(), Conv4(Conv4Config(channels=2), in_channels=1, size=16, ways=2))
>>> state = learner.init(seed=0)
>>> for t in range(3):
...     state, _ = learner.observe(state, Batch(torch.rand(4, 1, 16, 16), torch.tensor([0, 0, 1, 1]), position=t))
>>> int(state["adam"]["t"])
2
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frisket.algos.inner.loop import loss_on
from frisket.algos.learner import Capabilities, Learner, Method
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.network import Network
from frisket.algos.parts import adam
from frisket.algos.parts.gradients import gradients, leaves
from frisket.errors import require
from frisket.rng import torch_generator
from frisket.types import Batch, Data, Metrics, State, Task


@dataclass(frozen=True, kw_only=True)
class OnlineAdamConfig:
    """Attributes: outer_lr: beta, Adam rate of theta."""

    outer_lr: float = 0.001

    def __post_init__(self) -> None:
        require(self.outer_lr > 0, "outer_lr", self.outer_lr, "above 0")


class OnlineAdam(Learner):
    """Online Adam; from a warm start, Fine-tuning. State: ``seed, step, theta, adam``."""

    capabilities = Capabilities()

    def __init__(self, config: OnlineAdamConfig, network: Network) -> None:
        self.config, self.network = config, network

    def init(self, seed: int, warm_start: State | None = None) -> State:
        theta = self.network.init(torch_generator(seed, "theta"))
        adam_state = adam.init(theta)
        if warm_start is not None:
            theta, adam_state = warm_start["theta"], warm_start["adam"]["theta"]
        return {
            "seed": torch.tensor(seed),
            "step": torch.zeros((), dtype=torch.int64),
            "theta": theta,
            "adam": adam_state,
        }

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits under theta; as released, there is no answer before the first batch."""
        if int(state["step"]) == 0:
            return None
        with torch.no_grad():
            return self.network(state["theta"], x)

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        following = {**state, "step": state["step"] + 1}
        if int(state["step"]) == 0:
            return following, {}
        theta = leaves(state["theta"])
        loss = loss_on(self.network, {}, Data(batch.x, batch.y))(theta)
        grads = gradients(loss, theta)
        moved, moments = adam.step(state["theta"], grads, state["adam"], self.config.outer_lr)
        return {**following, "theta": moved, "adam": moments}, {"loss_before": float(loss.detach())}

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})


METHODS = (
    Method(
        name="online-adam",
        config=OnlineAdamConfig,
        build=OnlineAdam,
        summary="one Adam step per batch",
        page="online-adam",
        logged={
            "loss_before": "L(theta, D_t), the loss of the answers that are scored; not at t = 0",
        },
        quick={"outer_lr": 0.01},
        tried_on="conv4",
        answers_at_once=False,
    ),
)
