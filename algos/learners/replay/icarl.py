"""iCaRL in the form of the GEM and La-MAML code: own-task logits, distilled exemplars, nearest class mean (lamaml spec,
section 5).

A sample's feature f(x) is the vector of all its logits; l(x) are those of its own block of labels. Learning, `glances`
times a piece, with one random exemplar x_c of every class c learned before and the logits q_c stored with it:

    loss = CE(l(x), y) + strength / own * sum_c KL( softmax(q_c) || softmax(l(x_c)) )

(own labels in a block: the code's `5 * KL-mean` of a task's five exemplars, summed over the tasks). When a task has
given `task_steps` batches, m = floor(memories / classes seen) exemplars are chosen for each of its classes by herding,

    x_{e+1} = argmin over the candidates left of | mean l - (l(x) + sum_{i<=e} l(x_i)) / (e + 1) |,

older classes keep their first m, and all logits are stored afresh. The answer is the nearest class mean: minus the
distance of f(x) to the mean feature of a class's exemplars, and a large negative number for a class without any.

Symbols and arguments: exemplars in all ``memories``. Candidates are the samples of the task's first epoch; without its
last piece in the released code (``skip_last_piece``).

>>> import torch
>>> from frisket.algos.networks.mlp import MLP, MLPConfig
>>> from frisket.types import Batch, Task
>>> learner = ICaRL(ICaRLConfig(memories=4, task_steps=2), MLP(MLPConfig(hidden=(8,)), in_channels=1, size=4, ways=2))
>>> state = learner.init(seed=0)
>>> for t in range(2):
...     batch = Batch(torch.rand(6, 1, 4, 4), torch.tensor([0, 0, 0, 1, 1, 1]), t, Task("one", (0, 1), start=0))
...     state, _ = learner.observe(state, batch)
>>> state["exemplars"]["y"]
tensor([0, 0, 1, 1])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.learner import Capabilities, Method
from frisket.algos.learners.replay.learner import Measured, PieceLearner, PlainConfig
from frisket.algos.networks.network import Network
from frisket.algos.parts.clip import clip_by_global_norm
from frisket.algos.parts.gradients import gradients, leaves
from frisket.algos.parts.tree import descend
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Batch, Data, Metrics, Params, State, Task

NO_EXEMPLAR = -1e9
_NO_TASK = -1


@dataclass(frozen=True, kw_only=True)
class ICaRLConfig(PlainConfig):
    """iCaRL.

    Attributes:
        memories: exemplars of all classes together.
        strength: weight of the distillation.
        glances: steps per piece of a batch.
        task_steps: batches of a task, all its epochs, after which its exemplars are chosen; it must be the stream's.
        skip_last_piece: a task's last piece is no candidate, as in the released code.
    """

    samples_per_step: int = 10
    memories: int = 200
    strength: float = 1.0
    glances: int = 1
    task_steps: int = 225
    skip_last_piece: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("memories", "glances", "task_steps"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.strength >= 0, "strength", self.strength, "at least 0")


class ICaRL(PieceLearner):
    """iCaRL.

    State: ``seed, step, theta``; of the running task ``task`` (its start), ``given`` (batches), ``pool/x, pool/y,
    pool/count, pool/last`` (candidates so far, room for more; size of the last piece); ``exemplars/x, exemplars/y,
    exemplars/logits``, class by class in the order they were chosen, logits [n, own].
    """

    config: ICaRLConfig
    capabilities = Capabilities(needs_task=True, replay=True)

    def __init__(self, config: ICaRLConfig, network: Network) -> None:
        super().__init__(config, network)
        self.task_steps = config.task_steps

    def init(self, seed: int, warm_start: State | None = None) -> State:
        state = super().init(seed, warm_start)
        ways = len(state["theta"][self.network.head[0]])
        require(self.config.memories >= ways, "memories", self.config.memories, f"one for each of {ways} labels")
        return state

    def extra(self) -> State:
        nothing, labels = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
        return {
            "task": torch.tensor(_NO_TASK),
            "given": torch.zeros((), dtype=torch.int64),
            "pool": _empty_pool(),
            "exemplars": {"x": nothing, "y": labels, "logits": nothing},
        }

    def dense(self, state: State) -> None:
        """None: exemplars answer, not the network alone."""

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Minus the distances to the class means, [N, ways]."""
        with torch.no_grad():
            features = self.network(state["theta"], x)
            held = state["exemplars"]
            answer = torch.full_like(features, NO_EXEMPLAR)
            if len(held["y"]):
                classes, at = held["y"].unique(return_inverse=True)
                of_exemplars = self.network(state["theta"], held["x"])
                sums = features.new_zeros(len(classes), features.shape[1]).index_add(0, at, of_exemplars)
                means = sums / at.bincount()[:, None]
                answer[:, classes] = -torch.linalg.vector_norm(features[:, None] - means, dim=-1)
            return answer

    def observe(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        state, metrics = super().observe(state, batch)
        if batch.epoch == 0:
            for data in self.pieces(batch):
                state = {**state, "pool": _pushed(state["pool"], data)}
        state = {**state, "given": state["given"] + 1}
        return (self._chosen(state) if int(state["given"]) == self.config.task_steps else state), metrics

    def learn(self, state: State, data: Data, piece: int, task: Task | None) -> tuple[State, Measured]:
        assert task is not None
        if int(state["task"]) != task.start:  # a task that ended before its time leaves its exemplars now
            state = {**(self._chosen(state) if int(state["given"]) else state), "task": torch.tensor(task.start)}
        theta, losses = state["theta"], []
        generator = numpy_generator(int(state["seed"]), "exemplars", int(state["step"]), piece)
        for _ in range(self.config.glances):
            loss, grads = self._gradient(theta, data, state["exemplars"], generator)
            theta = descend(theta, self.config.lr, clip_by_global_norm(grads, self.config.clip_norm))
            losses.append(loss)
        return {**state, "theta": theta}, {"outer_loss": torch.stack(losses).mean()}

    @torch.enable_grad()
    def _gradient(
        self, theta: Params, data: Data, exemplars: State, generator: np.random.Generator
    ) -> tuple[Tensor, Params]:
        theta = leaves(theta)
        loss = self.network.loss(theta, data.x, data.y)
        if len(exemplars["y"]):
            _, first, counts = np.unique(exemplars["y"].cpu().numpy(), return_index=True, return_counts=True)
            at = torch.from_numpy(first + generator.integers(0, counts)).to(data.y.device)
            now = self._own(self.network(theta, exemplars["x"][at]), exemplars["y"][at])
            then = exemplars["logits"][at]
            divergence = F.kl_div(now.log_softmax(-1), then.log_softmax(-1), reduction="sum", log_target=True)
            loss = loss + self.config.strength / now.shape[1] * divergence
        return loss.detach(), gradients(loss, theta)

    @torch.no_grad()
    def _chosen(self, state: State) -> State:
        """The state with exemplars of the running task's classes, and its pool empty."""
        theta, held, candidates = state["theta"], state["exemplars"], self._candidates(state["pool"])
        new = candidates.y.unique()
        old = held["y"].unique()
        room = self.config.memories // len(torch.cat([new, old]).unique())
        parts = []
        for label in torch.cat([new, old]).unique():
            if bool((new == label).any()):
                x = candidates.x[candidates.y == label]
                features = self._own(self.network(theta, x), label.expand(len(x)))
                parts.append(Data(x[herd(features, room)], label.expand(min(room, len(x)))))
            else:
                mine = held["y"] == label
                parts.append(Data(held["x"][mine][:room], held["y"][mine][:room]))
        x, y = (torch.cat(side) for side in zip(*parts, strict=True))
        exemplars = {"x": x, "y": y, "logits": self._own(self.network(theta, x), y)}
        return {**state, "given": torch.zeros_like(state["given"]), "pool": _empty_pool(), "exemplars": exemplars}

    def _candidates(self, pool: State) -> Data:
        count, last = int(pool["count"]), int(pool["last"])
        kept = count - last if self.config.skip_last_piece and count > last else count
        return Data(pool["x"][:kept], pool["y"][:kept])

    def _own(self, logits: Tensor, y: Tensor) -> Tensor:
        """The logits of each sample's own block, [N, own]."""
        own = self.network.own or logits.shape[1]
        return logits.unflatten(1, (-1, own))[torch.arange(len(y), device=y.device), y // own]


def herd(features: Tensor, count: int) -> Tensor:
    """Indices [min(count, N)] of the rows of ``features`` [N, D] whose mean stays nearest to that of all."""
    mean, total, chosen = features.mean(0), torch.zeros_like(features[0]), []
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    for e in range(min(count, len(features))):
        cost = torch.linalg.vector_norm(mean - (features + total) / (e + 1), dim=1)
        winner = torch.where(free, cost, torch.inf).argmin()
        free[winner] = False
        total = total + features[winner]
        chosen.append(winner)
    return torch.stack(chosen)


def _empty_pool() -> State:
    zero = torch.zeros((), dtype=torch.int64)
    return {"x": torch.zeros(0), "y": torch.zeros(0, dtype=torch.int64), "count": zero, "last": zero}


def _pushed(pool: State, data: Data) -> State:
    """``pool`` with the samples of ``data``; its room doubles when it is full, so that a push rarely copies it."""
    count, new = int(pool["count"]), len(data.y)
    x, y = pool["x"], pool["y"]
    if count + new > len(y):
        more = max(2 * len(y), count + new) - count
        room = Data(data.x.new_zeros(more, *data.x.shape[1:]), data.y.new_zeros(more))
        x, y = (torch.cat([x[:count], room.x]), torch.cat([y[:count], room.y])) if count else room
    x[count : count + new], y[count : count + new] = data.x, data.y
    return {"x": x, "y": y, "count": torch.tensor(count + new), "last": torch.tensor(new)}


METHODS = (
    Method(
        name="icarl",
        config=ICaRLConfig,
        build=ICaRL,
        summary="nearest class mean of chosen exemplars, old logits distilled",
        page="icarl",
        logged={
            "loss_before": "mean cross-entropy of the answers, minus distances taken as logits, before learning "
            "from the batch",
            "outer_loss": "mean loss of the steps taken, distillation included, before each",
        },
        quick={"lr": 0.02, "memories": 8, "task_steps": 3},
    ),
)
