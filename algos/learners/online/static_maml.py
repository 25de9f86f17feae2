"""MAML and ANIL on a stream: a pre-trained initialisation that never changes again (OSAKA20's baselines; osaka spec,
section 8).

    phi <- theta;  phi <- phi - alpha grad L(phi, D_t), K times        fast weights; the answer at t+1

MAML adapts theta_A, ANIL the output layer alone; everything of theta stays as pre-training left it.

Symbols and arguments: K ``inner_steps``, alpha ``step_size``.

>>> import torch
>>> from frisket.algos.networks.conv4 import Conv4, Conv4Config
>>> from frisket.types import Batch
>>> learner = anil(MAMLConfig(inner_steps=1), Conv4(Conv4Config(channels=2), in_channels=1, size=16, ways=2))
>>> batch = Batch(torch.rand(4, 1, 16, 16), torch.tensor([0, 0, 1, 1]), position=0)
>>> state, _ = learner.observe(learner.init(seed=0), batch)
>>> sorted(state["phi"])
['classifier.bias', 'classifier.weight']
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from frisket.algos.inner.loop import adapt_first_order, loss_on
from frisket.algos.inner.modulation import FixedStep
from frisket.algos.inner.start import weights_start
from frisket.algos.learner import Capabilities, Learner, Method
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.network import Adapting, Network, split
from frisket.errors import require
from frisket.types import Batch, Data, Metrics, State, Task


@dataclass(frozen=True, kw_only=True)
class MAMLConfig:
    """Attributes:
    inner_steps: K.
    step_size: alpha, the constant inner step size; the one of the pre-training.
    """

    inner_steps: int = 16
    step_size: float = 0.1

    def __post_init__(self) -> None:
        require(self.inner_steps >= 1, "inner_steps", self.inner_steps, "at least 1")
        require(self.step_size > 0, "step_size", self.step_size, "above 0")


class StaticMAML(Learner):
    """Adaptation from a theta that stays; ``network.adaptable`` says what adapts. State: ``seed, step, theta, phi``."""

    capabilities = Capabilities()

    def __init__(self, config: MAMLConfig, network: Network) -> None:
        self.config, self.network = config, network
        self.modulation = FixedStep(config.step_size)

    def init(self, seed: int, warm_start: State | None = None) -> State:
        state = weights_start(self.network, seed, warm_start)
        return {**state, "phi": split(self.network, state["theta"])[0]}

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits under phi; as released, there is no answer before the first batch."""
        if int(state["step"]) == 0:
            return None
        with torch.no_grad():
            return self.network({**state["theta"], **state["phi"]}, x)

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        data = Data(batch.x, batch.y)
        metrics = {}
        if int(state["step"]):
            with torch.no_grad():
                metrics["loss_before"] = float(loss_on(self.network, state["theta"], data)(state["phi"]))
        adapted = adapt_first_order(self.network, self.modulation, state["theta"], {}, data, self.config.inner_steps)
        return {**state, "phi": adapted.phi, "step": state["step"] + 1}, metrics

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})


def anil(config: MAMLConfig, network: Network) -> StaticMAML:
    """ANIL: `StaticMAML` that adapts the output layer alone."""
    return StaticMAML(config, Adapting(network, network.head))


_LOGGED: Mapping[str, str] = MappingProxyType(
    {"loss_before": "L(phi, D_t), the loss of the answers that are scored; not at t = 0"}
)

METHODS = (
    Method(
        name="static-maml",
        config=MAMLConfig,
        build=StaticMAML,
        summary="adapts a pre-trained start that stays",
        page="static-maml",
        logged={**_LOGGED},
        quick={"inner_steps": 4, "step_size": 0.3},
        tried_on="conv4",
        answers_at_once=False,
        pretrained="all",
        meta=("theta",),
    ),
    Method(
        name="static-anil",
        config=MAMLConfig,
        build=anil,
        summary="as static-maml, adapting the output layer alone",
        page="static-maml",
        logged={**_LOGGED},
        quick={"inner_steps": 4, "step_size": 0.3},
        tried_on="conv4",
        answers_at_once=False,
        pretrained="head",
        meta=("theta",),
    ),
)
