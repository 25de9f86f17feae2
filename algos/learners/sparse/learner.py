"""Networks trained sparse: what iterative magnitude pruning, Top-KAST, RigL and a static mask share (powerprop sheet,
section 5).

    forward with theta o A;  phi moves where O is open;  now and then A and O are chosen anew

A are the weights in use, O those that move, both by tensor over the linear and convolution weights; the rest of the
network learns as always. One step is taken per batch, by virtual target under Powerpropagation
(`frisket.algos.parts.virtual_target.step`), and what is not in O keeps its bits.

A network that keeps running statistics (`frisket.algos.networks.normalised`) learns by the batch's own and answers by
the running ones, which are part of the state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from frisket.algos.inner.start import weights_start
from frisket.algos.learner import Capabilities, Dense, Prunable
from frisket.algos.learners.sparse import supervised
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.protection import held
from frisket.algos.masks.ranking import Ranking, Scope, require_kept
from frisket.algos.networks.network import Network
from frisket.algos.networks.powerprop import as_powerprop, masked
from frisket.algos.parts import virtual_target
from frisket.algos.parts.optimiser import build_optimiser
from frisket.algos.parts.schedule import ScheduledConfig
from frisket.errors import require
from frisket.types import Batch, Metrics, Params, State, Task

LOGGED: Mapping[str, str] = MappingProxyType(
    {
        "loss_before": "mean cross-entropy of the batch before learning from it, with the sparse network, without "
        "smoothing; by the batch's own statistics where there is batch norm",
    }
)
"""What these learners report."""


@dataclass(frozen=True, kw_only=True)
class SparseConfig(ScheduledConfig):
    """Attributes:
    kept: fraction of the weights in use, in the end.
    scope: how it is divided among the tensors (`frisket.algos.masks.ranking`).
    every: steps from one choice of the masks to the next.
    label_smoothing: share of every label that is spread evenly over all labels.
    micro_batches: parts a batch is taken in, for memory: one step, the mean of the parts' gradients. Batch norm goes
        by a part's statistics, so for a network that has it this is not the same as the whole batch at once.
    """

    kept: float = 0.1
    scope: Scope = "layer"
    every: int = 100
    label_smoothing: float = 0.0
    micro_batches: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_kept(self.kept)
        require(self.every >= 1, "every", self.every, "at least 1")
        require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "in [0, 1)")
        require(self.micro_batches >= 1, "micro_batches", self.micro_batches, "at least 1")


class Sets(NamedTuple):
    """Attributes: active: A; open_: O; boolean by tensor."""

    active: Params
    open_: Params


class SparseLearner(Prunable, ABC):
    """Sparse training; subclasses choose the sets. State: ``seed, step, theta`` (phi), ``optimiser, active, open``, and
    ``statistics``, empty for a network that keeps none.

    Raises:
        SpecError: labels are to be smoothed over all labels, where tasks are learned among their own.
    """

    capabilities = Capabilities(masks=True)

    def __init__(self, config: SparseConfig, network: Network) -> None:
        whole = network.own is None or not config.label_smoothing
        require(whole, "label_smoothing", config.label_smoothing, "0 where tasks are learned among their own labels")
        self.config, self.network = config, as_powerprop(network)
        self.optimiser = build_optimiser(config)

    @abstractmethod
    def first_sets(self, phi: Params, seed: int) -> Sets:
        """A and O before the first step; ``phi``: the weights masks cover."""

    @abstractmethod
    def renewed(self, state: State, grads: Params, step: int) -> State:
        """``state``, in which ``step`` steps have been taken, with A and O chosen anew; ``grads``: the last step's
        gradient by theta, of weights out of use too. Asked every ``every`` steps."""

    def regularised(self, grads: Params, theta: Params, state: State) -> Params:
        """``grads`` with what a method adds to the loss."""
        return grads

    def ranking(self, params: Params) -> Ranking:
        """The weights that masks cover, ranked by magnitude."""
        return Ranking({k: params[k] for k in self.network.kernels}, self.config.scope, self.network.head)

    def init(self, seed: int, warm_start: State | None = None) -> State:
        start = weights_start(self.network, seed, warm_start)
        active, open_ = self.first_sets({k: start["theta"][k] for k in self.network.kernels}, seed)
        return {
            **start, "optimiser": self.optimiser.init(start["theta"]), "active": active, "open": open_,
            "statistics": supervised.first_statistics(self.network.network),
        }  # fmt: skip

    @torch.no_grad()
    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits of the sparse network."""
        used = masked(self.network.effective(state["theta"]).theta, state["active"])
        return supervised.answer(self.network.network, used, state["statistics"], x)

    @torch.no_grad()
    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        phi, config = state["theta"], self.config
        effective = self.network.effective(phi)
        used = masked(effective.theta, state["active"])
        loss, grads, statistics = supervised.loss_and_gradients(
            self.network.network, used, state["statistics"], batch.x, batch.y,
            smoothing=config.label_smoothing, parts=config.micro_batches,
        )  # fmt: skip
        moved, optimiser = virtual_target.step(
            self.optimiser, phi, self.regularised(grads, effective.theta, state), effective, state["optimiser"],
            lr=config.rate(int(state["step"])),
        )  # fmt: skip
        theta = held(phi, moved, state["open"])
        step = int(state["step"]) + 1
        state = {
            **state, "step": state["step"] + 1, "theta": theta, "optimiser": optimiser, "statistics": statistics
        }  # fmt: skip
        if step % config.every == 0:
            state = self.renewed(state, grads, step)
        return state, {"loss_before": float(loss)}

    def dense(self, state: State) -> Dense | None:
        """All parameters where all weights are in use, ``kept = 1``, in a network without statistics."""
        whole = self.config.kept == 1 and not state["statistics"]
        return Dense(self.network, state["theta"]) if whole else None

    def masks(self, state: State) -> MaskSet:
        """A: the weights in use."""
        return MaskSet(state["active"])
