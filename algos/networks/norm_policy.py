"""Batch norm by a policy that has a name, which every result tells (maml_family sheet, sections 6 and 8).

=============  =======================================================================================================
transductive   every pass goes by the statistics of the batch it is given. The papers': queries are told by one another.
inductive      the support passes of an inner loop go by their batch and move running statistics a tenth of the way
               towards it; answers go by those, and one does not depend on the others asked for with it.
per_step       as inductive, and each of the first ``norm_steps`` inner steps has gains, shifts and running statistics
               of its own (Antoniou, Edwards and Storkey 2019). Later steps share the last set, and answers go by it.
=============  =======================================================================================================

Running statistics are among the network's parameters, ``NAME.mean`` and ``NAME.variance`` (``NAME.STEP.mean`` where
each step has its own), so that they are kept and answered with as all others are. No gradient is taken for them, nor
through them: `Network.support_loss` returns what a support pass has made of them, and its caller goes on with that.

Under ``per_step`` a first-order meta-gradient reaches the last set's gains and shifts alone, since the others are seen
by the inner gradients only.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.network import Network, NetworkConfig, own_logits
from frisket.algos.networks.normalised import Norm, fresh_statistics
from frisket.errors import require
from frisket.types import Params

Policy: TypeAlias = Literal["transductive", "inductive", "per_step"]

RATE = 0.1
"""Share of a batch in the running statistics after it."""


@dataclass(frozen=True, kw_only=True)
class PolicyConfig(NetworkConfig):
    """Attributes:
    norm: what batch norm goes by: ``transductive``, the batch in every pass; ``inductive``, running statistics of
        the support passes in every answer; ``per_step``, these and gains and shifts for each inner step.
    norm_steps: inner steps that have their own under ``per_step``; a method must take at least as many.
    """

    norm: Policy = "transductive"
    norm_steps: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.norm_steps >= 1, "norm_steps", self.norm_steps, "at least 1")


class PolicyNetwork(Network):
    """A `Network` with batch norm by a policy.

    Args:
        config: says which.
        norms: channels of every norm, by its name.
    """

    def __init__(self, config: PolicyConfig, norms: dict[str, int]) -> None:
        self.norm, self.norms = config.norm, norms
        self.least_steps = config.norm_steps if config.norm == "per_step" else 0
        self.running = tuple(self.first_statistics())

    @abstractmethod
    def blocks(self, params: Params, normalise: Norm, x: Tensor) -> Tensor:
        """What comes out of the last block, [N, F, H', W'], for ``x`` [N, C, H, W], every norm by ``normalise``."""

    @abstractmethod
    def read_out(self, params: Params, x: Tensor) -> Tensor:
        """Logits [N, ways] of what comes out of the last block."""

    def first_norm(self, name: str) -> Params:
        """Gains 1 and shifts 0 of a norm, one set or one for each step."""
        first: Params = {}
        for one in self._sets(name):
            first[f"{one}.weight"], first[f"{one}.bias"] = torch.ones(self.norms[name]), torch.zeros(self.norms[name])
        return first

    def first_statistics(self) -> Params:
        """Means 0 and variances 1 of all norms; none under a policy without them."""
        if self.norm == "transductive":
            return {}
        sets = {one: size for name, size in self.norms.items() for one in self._sets(name)}
        return fresh_statistics({one: torch.ones(size) for one, size in sets.items()})

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        last = self.least_steps - 1
        normalise = self._normalise(params, self._running(params), last, moving=False)
        return self.read_out(params, self.blocks(params, normalise, x))

    def support_loss(self, params: Params, x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Params]:
        return self._support_pass(params, x, y, step)[:2]

    def support_loss_and_features(
        self, params: Params, x: Tensor, y: Tensor, step: int
    ) -> tuple[Tensor, Params, Tensor]:
        loss, moved, out = self._support_pass(params, x, y, step)
        return loss, moved, out.detach().mean((0, 2, 3))

    def _support_pass(self, params: Params, x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Params, Tensor]:
        """As `support_loss`, and what came out of the last block."""
        moved = self._running(params)
        out = self.blocks(params, self._normalise(params, moved, step, moving=True), x)
        loss = F.cross_entropy(own_logits(self.read_out(params, out), y, self.own), y)
        return loss, moved, out

    def _running(self, params: Params) -> Params:
        """The running statistics, a dict of its own."""
        return {name: params[name].detach() for name in self.running}

    def _normalise(self, params: Params, statistics: Params, step: int, *, moving: bool) -> Norm:
        """How a pass at inner step ``step`` normalises; `moving`, it replaces the ``statistics`` it moves."""
        if self.norm == "transductive":
            return Norm(params, None, moving=True, rate=RATE)
        return Norm(params, statistics, moving=moving, rate=RATE, named=lambda name: self._set(name, step))

    def _set(self, name: str, step: int) -> str:
        """The set of a norm that inner step ``step`` goes by."""
        return f"{name}.{min(step, self.least_steps - 1)}" if self.norm == "per_step" else name

    def _sets(self, name: str) -> list[str]:
        """All of them."""
        return [self._set(name, step) for step in range(max(1, self.least_steps))]
