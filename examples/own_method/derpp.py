"""DER++ (Buzzega et al., Dark Experience for General Continual Learning, NeurIPS 2020, Algorithm 2).

    theta <- theta - lr grad [ CE(h(x), y) + alpha MSE(h(x'), z') + beta CE(h(x''), y'') ]

(x', z') and (x'', y'') are two draws of ``replay_batch``, with replacement, from a reservoir of ``memory_slots``
samples (x, y, z); z are the logits h(x) when x was new. MSE is a mean over logits too, the paper's norm a sum.

>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> network = MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2)
>>> learner = DERpp(DERppConfig(memory_slots=6, replay_batch=4), network)
>>> state, y = learner.init(seed=0), torch.tensor([0, 0, 1, 1])
>>> for t in range(2):
...     state, metrics = learner.observe(state, Batch(torch.rand(4, 1, 4, 4), y, position=t))
>>> state["memory"]["z"].shape, int(state["memory"]["age"])
(torch.Size([6, 2]), 8)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from frisket import MaskSet
from frisket.algos.learner import Capabilities, Learner, Method
from frisket.algos.networks.network import Network, own_logits
from frisket.algos.parts.gradients import gradients, leaves
from frisket.algos.parts.reservoir import require_memory
from frisket.algos.parts.tree import descend
from frisket.rng import numpy_generator, torch_generator
from frisket.types import Batch, Metrics, State, Task


@dataclass(frozen=True, kw_only=True)
class DERppConfig:
    """Attributes: lr: of SGD; alpha, beta: of the replay terms; memory_slots, replay_batch: samples kept and drawn."""

    lr: float = 0.05
    alpha: float = 0.5
    beta: float = 1.0
    memory_slots: int = 200
    replay_batch: int = 10

    def __post_init__(self) -> None:
        require_memory(self.memory_slots, self.replay_batch)


class DERpp(Learner):
    """DER++. State: ``seed, step, theta``; ``memory``: x [S, ...], y [S], z [S, ways], age, samples ever pushed."""

    capabilities = Capabilities(replay=True)

    def __init__(self, config: DERppConfig, network: Network) -> None:
        self.config, self.network = config, network

    def init(self, seed: int, warm_start: State | None = None) -> State:
        theta = self.network.init(torch_generator(seed, "theta")) if warm_start is None else warm_start["theta"]
        memory = {"x": torch.zeros(0), "y": torch.zeros(0).long(), "z": torch.zeros(0), "age": torch.tensor(0)}
        return {"seed": torch.tensor(seed), "step": torch.tensor(0), "theta": theta, "memory": memory}

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        config, memory, theta = self.config, state["memory"], leaves(state["theta"])
        random = numpy_generator(int(state["seed"]), "derpp", int(state["step"]))
        z = self.network(theta, batch.x)
        loss = new = F.cross_entropy(own_logits(z, batch.y, self.network.own), batch.y)
        held = min(int(memory["age"]), config.memory_slots)
        if count := min(config.replay_batch, held):
            first, second = torch.from_numpy(random.integers(0, held, size=(2, count))).to(batch.y.device)
            loss = loss + config.alpha * F.mse_loss(self.network(theta, memory["x"][first]), memory["z"][first])
            loss = loss + config.beta * self.network.loss(theta, memory["x"][second], memory["y"][second])
        theta = descend(state["theta"], config.lr, gradients(loss, theta))
        memory = self._pushed(memory, {"x": batch.x, "y": batch.y, "z": z.detach()}, random.random(len(batch.y)))
        after = {**state, "step": state["step"] + 1, "theta": theta, "memory": memory}
        return after, {"loss_before": new.item(), "outer_loss": loss.item()}

    def _pushed(self, memory: State, new: State, uniform: np.ndarray) -> State:
        """Reservoir sampling: while slots are free one of them, then one of as many as there were samples, if it is."""
        slots, age = self.config.memory_slots, int(memory["age"])
        if not age:
            memory = {k: v.new_zeros(slots, *v.shape[1:]) for k, v in new.items()}
        for i, u in enumerate(uniform, age):
            slot = i if i < slots else int(u * (i + 1))
            if slot < slots:
                for k, v in new.items():
                    memory[k][slot] = v[i - age]
        return {**memory, "age": torch.tensor(age + len(uniform))}

    def predict(self, state: State, x: torch.Tensor, task: Task | None = None) -> torch.Tensor | None:
        with torch.no_grad():
            return self.network(state["theta"], x)

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})


LOGGED = {"outer_loss": "the whole loss, before the step"}
METHODS = (Method(name="derpp", config=DERppConfig, build=DERpp, summary="DER++", quick={"lr": 0.02}, logged=LOGGED),)
