"""GEM and A-GEM: gradients that may not raise the loss on what is remembered of earlier tasks (lamaml spec, section 5).

Every task has a ring of its last n samples. With g the gradient on the new samples and G_t that of task t's whole ring,
each clipped to `clip_norm` where there is one:

* GEM: if g . G_t < 0 for an earlier task, g is replaced by `frisket.algos.parts.projection.gem_projection`;
* A-GEM: one reference gradient r stands for all earlier tasks (`agem_projection`). ``reference: textbook`` takes r on
  `reference_batch` samples drawn from all earlier rings; ``code`` averages the G_t of the earlier tasks except the
  first, which the released code never registers.

    theta <- theta - lr g'                                `glances` times for the same new samples

Symbols and arguments: n ``memories``, lower bound of the programme's unknowns ``margin``, its ridge ``ridge``.

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch, Task
>>> learner = GEM(GEMConfig(memories=3), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> state = learner.init(seed=0)
>>> batch = Batch(torch.rand(4, 1, 4, 4), torch.tensor([0, 0, 1, 1]), position=0, task=Task("first", (0, 1), start=0))
>>> state, metrics = learner.observe(state, batch)
>>> state["rings"]["y"]
tensor([[1, 0, 1]])
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from frisket.algos.learner import Capabilities, Method
from frisket.algos.learners.replay.learner import LOGGED, Measured, PlainConfig
from frisket.algos.learners.replay.pack import PackedLearner, gradients_each, pieces
from frisket.algos.learners.replay.row_walk import Products, RowWalk
from frisket.algos.networks.mlp import MLP
from frisket.algos.networks.network import Network
from frisket.algos.parts.clip import clip_replicas, scale_to
from frisket.algos.parts.projection import agem_projection, agree, gem_projection, gem_weights
from frisket.algos.parts.tree import descend_each
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Data, Params, State


@dataclass(frozen=True, kw_only=True)
class RingsConfig(PlainConfig):
    """Attributes: memories: n, samples kept per task; glances: steps per piece of a batch."""

    memories: int = 10
    glances: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.memories >= 1, "memories", self.memories, "at least 1")
        require(self.glances >= 1, "glances", self.glances, "at least 1")


@dataclass(frozen=True, kw_only=True)
class GEMConfig(RingsConfig):
    """GEM.

    Attributes:
        margin: lower bound of the dual unknowns; above 0 pushes the gradient further than needed.
        ridge: added to the diagonal of G G^T: 0 in the MER authors' code, 1e-3 in the La-MAML authors'.
    """

    packed: ClassVar[tuple[str, ...]] = ("lr", "margin", "ridge")

    margin: float = 0.0
    ridge: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.margin >= 0, "margin", self.margin, "at least 0")
        require(self.ridge >= 0, "ridge", self.ridge, "at least 0")


@dataclass(frozen=True, kw_only=True)
class AGEMConfig(RingsConfig):
    """A-GEM.

    Attributes:
        reference: ``textbook`` or ``code``, see the module.
        reference_batch: samples the textbook's reference gradient is taken on.
    """

    packed: ClassVar[tuple[str, ...]] = ("lr",)

    reference: Literal["textbook", "code"] = "textbook"
    reference_batch: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.reference_batch >= 1, "reference_batch", self.reference_batch, "at least 1")


class Rings(PackedLearner):
    """A ring of samples per task, and a gradient projected against them.

    State: ``seed, step, theta``, ``task`` (start of the running one), ``rings/x`` [T, n, C, H, W], ``rings/y`` [T, n],
    ``rings/pushed`` [T], samples ever pushed, T the tasks met so far.
    """

    capabilities = Capabilities(needs_task=True, replay=True)

    def __init__(self, config: RingsConfig, network: Network) -> None:
        super().__init__(config, network)
        self.memories, self.glances = config.memories, config.glances

    @abstractmethod
    def project(self, state: State, grads: Params, hyper: Params, *at: int) -> Params:
        """``grads`` [P, ...] as they may be used, given the rings of at least one earlier task; ``at`` tells one step
        within the batch from another."""

    def extra(self) -> State:
        nothing = torch.zeros(0, dtype=torch.int64)
        return {"task": torch.tensor(-1), "rings": {"x": torch.zeros(0), "y": nothing, "pushed": nothing}}

    def begin(self, state: State, data: Data) -> State:
        """A ring more."""
        replicas, rings = len(data.y), state["rings"]
        new = {
            "x": data.x.new_zeros((replicas, 1, self.memories, *data.x.shape[2:])),
            "y": data.y.new_zeros((replicas, 1, self.memories)),
            "pushed": torch.zeros(replicas, 1, dtype=torch.int64),
        }
        met = rings["pushed"].shape[1]
        return {**state, "rings": {k: torch.cat([rings[k], v], 1) if met else v for k, v in new.items()}}

    def learn(self, state: State, data: Data, hyper: Params) -> tuple[State, Measured]:
        self._push(state["rings"], data)
        return self.learn_formed(state, data, hyper)

    def learn_formed(self, state: State, data: Data, hyper: Params) -> tuple[State, Measured]:
        """`learn` once the samples are in their ring, for any network: every gradient is formed."""
        losses = []
        for piece, new in enumerate(pieces(data, self.config.samples_per_step)):
            for glance in range(self.glances):
                loss, grads = self.gradient_on(state["theta"], new)
                if state["rings"]["pushed"].shape[1] > 1:
                    grads = self.project(state, grads, hyper, piece, glance)
                state = {**state, "theta": descend_each(state["theta"], hyper["lr"], grads)}
                losses.append(loss)
        return state, {"outer_loss": torch.stack(losses).mean(0)}

    def _push(self, rings: State, data: Data) -> None:
        """The last n samples of ``data`` into the running ring, in place."""
        n, count = self.memories, data.y.shape[1]
        pushed = int(rings["pushed"][0, -1]) + count
        at = torch.arange(max(pushed - n, pushed - count), pushed) % n
        rings["x"][:, -1, at], rings["y"][:, -1, at] = data.x[:, -n:], data.y[:, -n:]
        rings["pushed"][:, -1] += count

    def held(self, rings: State) -> Tensor:
        """Samples in each ring, [T], the same in all replicas."""
        return rings["pushed"][0].clamp(max=self.memories)

    def earlier(self, state: State) -> list[Data]:
        """What is held of each earlier task, [P, held, ...]."""
        rings = state["rings"]
        held = self.held(rings)[:-1].tolist()
        return [Data(rings["x"][:, t, :count], rings["y"][:, t, :count]) for t, count in enumerate(held)]

    def gradient_on(self, theta: Params, data: Data) -> tuple[Tensor, Params]:
        """The loss on ``data`` at the weights ``theta``, [P], and its gradient, clipped."""
        loss, grads = gradients_each(self.network, theta, data)
        return loss, clip_replicas(grads, self.config.clip_norm)


class GEM(Rings):
    """GEM. State: as `Rings`. On the fully connected network the G_t are never formed."""

    config: GEMConfig

    def learn(self, state: State, data: Data, hyper: Params) -> tuple[State, Measured]:
        if not isinstance(self.network, MLP):
            return super().learn(state, data, hyper)
        self._push(state["rings"], data)
        rings, size, count = state["rings"], self.config.samples_per_step, data.y.shape[1]
        sets = Data(rings["x"][:, :-1], rings["y"][:, :-1])
        walk = RowWalk(self.network, state["theta"], sets, self.held(rings)[:-1].to(data.y.device), data)
        mix = functools.partial(self._mix, hyper)
        starts = [start for start in range(0, count, size) for _ in range(self.glances)]
        losses = [walk.step(start, min(start + size, count), hyper["lr"], mix) for start in starts]
        return {**state, "theta": walk.end()}, {"outer_loss": torch.stack(losses).mean(0)}

    def project(self, state: State, grads: Params, hyper: Params, *at: int) -> Params:
        past = torch.stack([flatten(self.gradient_on(state["theta"], ring)[1]) for ring in self.earlier(state)], 1)
        each = zip(flatten(grads), past, self._programmes(hyper), strict=True)
        return unflatten(torch.stack([gem_projection(g, theirs, *programme) for g, theirs, programme in each]), grads)

    def _mix(self, hyper: Params, products: Products) -> tuple[Tensor, Tensor | None]:
        """The new gradient's weight and those of the sets', all clipped."""
        bound, new = self.config.clip_norm, products.new
        scale = new.new_ones(len(new)) if bound is None else scale_to(products.square().clamp_min(0).sqrt(), bound)
        turned = [i for i, row in enumerate(new) if not agree(row)]  # clipping would not change their signs
        if not turned:
            return scale, None
        gram, v, programmes = products.past(), torch.zeros_like(new), self._programmes(hyper)
        norms = gram.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()
        past = torch.ones_like(new) if bound is None else scale_to(norms, bound)
        for i in turned:
            clipped = gram[i] * past[i][:, None] * past[i]
            v[i] = gem_weights(new[i] * scale[i] * past[i], clipped, *programmes[i]) * past[i]
        return scale, v

    def _programmes(self, hyper: Params) -> list[tuple[float, float]]:
        """Margin and ridge of every replica."""
        return list(zip(hyper["margin"].tolist(), hyper["ridge"].tolist(), strict=True))


class AGEM(Rings):
    """A-GEM. State: as `Rings`."""

    config: AGEMConfig

    def project(self, state: State, grads: Params, hyper: Params, *at: int) -> Params:
        reference = self._reference(state, *at)
        return grads if reference is None else unflatten(agem_projection(flatten(grads), reference), grads)

    def _reference(self, state: State, *at: int) -> Tensor | None:
        """r, [P, Q]; None where the released code has none yet."""
        earlier, theta = self.earlier(state), state["theta"]
        if self.config.reference == "textbook":
            memory = Data(*(torch.cat(parts, 1) for parts in zip(*earlier, strict=True)))
            held, position = memory.y.shape[1], int(state["step"][0])
            generators = [numpy_generator(seed, "reference", position, *at) for seed in state["seed"].tolist()]
            count = min(self.config.reference_batch, held)
            drawn = [torch.from_numpy(one.choice(held, count, replace=False)) for one in generators]
            rows, at_random = torch.arange(len(drawn))[:, None], torch.stack(drawn)
            return flatten(self.gradient_on(theta, Data(memory.x[rows, at_random], memory.y[rows, at_random]))[1])
        past = [flatten(self.gradient_on(theta, ring)[1]) for ring in earlier[1:]]
        return torch.stack(past).mean(0) if past else None


def flatten(params: Params) -> Tensor:
    """All entries of ``params`` [P, ...], by name, in one vector a replica, [P, Q]; the same vector in whatever order
    they are named."""
    return torch.cat([params[k].flatten(1) for k in sorted(params)], 1)


def unflatten(vectors: Tensor, like: Params) -> Params:
    """The inverse of `flatten`, with the names and shapes of ``like``."""
    names = sorted(like)
    parts = vectors.split([like[k][0].numel() for k in names], 1)
    return {k: part.view_as(like[k]) for k, part in zip(names, parts, strict=True)}


METHODS = (
    Method(
        name="gem",
        config=GEMConfig,
        build=GEM,
        summary="gradients projected to hurt no earlier task's memory",
        page="gem",
        logged={**LOGGED},
        quick={"lr": 0.02, "memories": 3},
    ),
    Method(
        name="a-gem",
        config=AGEMConfig,
        build=AGEM,
        summary="as gem, against one gradient for all earlier tasks",
        page="gem",
        logged={**LOGGED},
        quick={"lr": 0.02, "memories": 3},
    ),
)
