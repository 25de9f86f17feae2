"""Tasks in sequence that a small network tells apart: the striped toy images with their pixels in another order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from toys import small_mlp

from frisket.algos.contract.toys import SIZE, WAYS, stripes
from frisket.algos.kinds import LEARNERS
from frisket.algos.learners.tasks.protecting import ProtectingLearner
from frisket.algos.networks.network import Network
from frisket.algos.networks.powerprop import Powerprop
from frisket.rng import torch_generator
from frisket.types import Batch, Data, Metrics, State, Task, TaskEnd

STEPS = 6


def striped(task: int, key: object, count: int = 32) -> Data:
    """``count`` images of ``task``: the same stripes, pixels in the task's order (task 0: as they are)."""
    generator = torch_generator(0, "striped", task, str(key))
    y = torch.arange(count) % WAYS
    order = torch.randperm(SIZE * SIZE, generator=torch_generator(0, "order", task))
    x = stripes(generator, y).flatten(1)
    return Data((x[:, order] if task else x).view(count, 1, SIZE, SIZE), y)


def task_of(index: int, steps: int = STEPS) -> Task:
    """The task's label."""
    return Task("stripes", tuple(range(WAYS)), index * steps)


def batches(index: int, steps: int = STEPS) -> Iterator[Batch]:
    """The batches of one task, the last with its end."""

    def one(i: int) -> Batch:
        data = striped(index, i)
        return Batch(data.x, data.y, index * steps + i, task_of(index, steps))

    for i in range(steps - 1):
        yield one(i)
    last = one(steps - 1)
    end = TaskEnd(steps, one, lambda: striped(index, "validation", 200))
    yield Batch(last.x, last.y, last.position, last.task, end=end)


def network(alpha: float = 1.0, width: int = 2) -> Network:
    """256-16-16-2."""
    plain = small_mlp(width)
    return plain if alpha == 1 else Powerprop(plain, alpha)


def learner_of(kind: str, alpha: float = 1.0, *, width: int = 2, **fields: Any) -> ProtectingLearner:
    """A protecting method of the registry, quick."""
    entry = LEARNERS[kind]
    refill = {"refill": "redraw"} if alpha > 1 else {}
    built = entry.build(entry.config(**{"lr": 0.01, **refill, **fields}), network(alpha, width))
    assert isinstance(built, ProtectingLearner)
    return built


def learn(
    learner: ProtectingLearner, state: State, index: int, steps: int = STEPS,
    watch: Callable[[State], None] = lambda state: None,
) -> tuple[State, Metrics]:  # fmt: skip
    """The state after one whole task, and what its last batch measured."""
    metrics: Metrics = {}
    for batch in batches(index, steps):
        state, metrics = learner.observe(state, batch)
        watch(state)
    return state, metrics
