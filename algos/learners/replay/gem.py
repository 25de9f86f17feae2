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

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from frisket.algos.learner import Capabilities, Method
from frisket.algos.learners.replay.learner import LOGGED, Measured, PieceLearner, PlainConfig
from frisket.algos.learners.replay.row_gradients import RowGradients
from frisket.algos.networks.mlp import MLP
from frisket.algos.networks.network import Network
from frisket.algos.parts.clip import clip_by_global_norm, scale_to
from frisket.algos.parts.projection import agem_projection, agree, gem_projection, gem_weights
from frisket.algos.parts.tree import descend
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Data, Params, State, Task


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

    reference: Literal["textbook", "code"] = "textbook"
    reference_batch: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.reference_batch >= 1, "reference_batch", self.reference_batch, "at least 1")


class Rings(PieceLearner):
    """A ring of samples per task, and a gradient projected against them.

    State: ``seed, step, theta``, ``task`` (start of the running one), ``rings/x`` [T, n, C, H, W], ``rings/y`` [T, n],
    ``rings/pushed`` [T], samples ever pushed, T the tasks met so far.
    """

    capabilities = Capabilities(needs_task=True, replay=True)

    def __init__(self, config: RingsConfig, network: Network) -> None:
        super().__init__(config, network)
        self.memories, self.glances = config.memories, config.glances

    @abstractmethod
    def project(self, state: State, grads: Params, *at: int) -> Params:
        """``grads`` as they may be used, given the rings of at least one earlier task; ``at`` tells one step within the
        batch from another."""

    def extra(self) -> State:
        nothing = torch.zeros(0, dtype=torch.int64)
        return {"task": torch.tensor(-1), "rings": {"x": torch.zeros(0), "y": nothing, "pushed": nothing}}

    def learn(self, state: State, data: Data, piece: int, task: Task | None) -> tuple[State, Measured]:
        assert task is not None
        if int(state["task"]) != task.start:
            state = {**state, "task": torch.tensor(task.start), "rings": self._with_ring(state["rings"], data)}
        rings, n = state["rings"], self.memories
        pushed = int(rings["pushed"][-1])
        at = torch.arange(pushed, pushed + len(data.y)) % n
        for i, slot in enumerate(at.tolist()):
            rings["x"][-1, slot], rings["y"][-1, slot] = data.x[i], data.y[i]
        rings["pushed"][-1] += len(data.y)

        losses = []
        for glance in range(self.glances):
            loss, grads = self.gradient_on(state, data)
            if len(rings["pushed"]) > 1:
                grads = self.project(state, grads, piece, glance)
            state = {**state, "theta": descend(state["theta"], self.config.lr, grads)}
            losses.append(loss)
        return state, {"outer_loss": torch.stack(losses).mean()}

    def ring(self, state: State, task: int) -> Data:
        """What is held of the ``task``-th task met."""
        rings = state["rings"]
        held = min(int(rings["pushed"][task]), self.memories)
        return Data(rings["x"][task, :held], rings["y"][task, :held])

    def gradient_on(self, state: State, data: Data) -> tuple[Tensor, Params]:
        """The loss on ``data`` at the present weights, and its gradient, clipped."""
        loss, grads = self.network.loss_and_gradients(state["theta"], data.x, data.y)
        return loss, clip_by_global_norm(grads, self.config.clip_norm)

    def past_gradient(self, state: State, data: Data) -> Tensor:
        """The clipped gradient on ``data``, [P]."""
        return flatten(self.gradient_on(state, data)[1])

    def _with_ring(self, rings: State, data: Data) -> State:
        x = torch.zeros((1, self.memories, *data.x.shape[1:]), dtype=data.x.dtype, device=data.x.device)
        y = torch.zeros((1, self.memories), dtype=data.y.dtype, device=data.y.device)
        pushed = torch.zeros(1, dtype=torch.int64)
        new = {"x": x, "y": y, "pushed": pushed}
        return {k: torch.cat([rings[k], v]) if len(rings["pushed"]) else v for k, v in new.items()}


class GEM(Rings):
    """GEM. State: as `Rings`. On the fully connected network the G_t are never formed."""

    config: GEMConfig

    def project(self, state: State, grads: Params, *at: int) -> Params:
        if isinstance(self.network, MLP):
            return self._project_by_rows(self.network, state, grads)
        return self.project_formed(state, grads)

    def project_formed(self, state: State, grads: Params) -> Params:
        """`project` for any network."""
        tasks = len(state["rings"]["pushed"]) - 1
        past = torch.stack([self.past_gradient(state, self.ring(state, t)) for t in range(tasks)])
        return unflatten(gem_projection(flatten(grads), past, self.config.margin, self.config.ridge), grads)

    def _project_by_rows(self, network: MLP, state: State, grads: Params) -> Params:
        config, earlier = self.config, {k: v[:-1] for k, v in state["rings"].items()}
        held = earlier["pushed"].clamp(max=self.memories)
        past = RowGradients(network, state["theta"], earlier["x"], earlier["y"], held)
        products = past.products(grads)
        if agree(products):  # clipping would not change their signs
            return grads
        gram = past.gram()
        if config.clip_norm is None:
            v = gem_weights(products, gram, config.margin, config.ridge)
        else:
            scale = scale_to(gram.diagonal().clamp_min(0).sqrt(), config.clip_norm)
            clipped = gram * scale[:, None] * scale
            v = gem_weights(products * scale, clipped, config.margin, config.ridge) * scale
        moves = past.mixture(v)
        return {k: g + moves[k] for k, g in grads.items()}


class AGEM(Rings):
    """A-GEM. State: as `Rings`."""

    config: AGEMConfig

    def project(self, state: State, grads: Params, *at: int) -> Params:
        reference = self._reference(state, *at)
        return grads if reference is None else unflatten(agem_projection(flatten(grads), reference), grads)

    def _reference(self, state: State, *at: int) -> Tensor | None:
        """r [P]; None where the released code has none yet."""
        earlier = [self.ring(state, t) for t in range(len(state["rings"]["pushed"]) - 1)]
        if self.config.reference == "textbook":
            memory = Data(torch.cat([r.x for r in earlier]), torch.cat([r.y for r in earlier]))
            generator = numpy_generator(int(state["seed"]), "reference", int(state["step"]), *at)
            count = min(self.config.reference_batch, len(memory.y))
            drawn = torch.from_numpy(generator.choice(len(memory.y), count, replace=False)).to(memory.y.device)
            return self.past_gradient(state, Data(memory.x[drawn], memory.y[drawn]))
        past = [self.past_gradient(state, ring) for ring in earlier[1:]]
        return torch.stack(past).mean(0) if past else None


def flatten(params: Params) -> Tensor:
    """All entries of ``params``, by name, in one vector [P]; the same vector in whatever order they are named."""
    return torch.cat([params[k].flatten() for k in sorted(params)])


def unflatten(vector: Tensor, like: Params) -> Params:
    """The inverse of `flatten`, with the names and shapes of ``like``."""
    names = sorted(like)
    parts = vector.split([like[k].numel() for k in names])
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
