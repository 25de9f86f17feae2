"""A replay memory by reservoir sampling, in tensors allocated once (lamaml spec, section 2.2).

A memory is a `State`: ``x`` [S, C, H, W], ``y`` [S], ``age``, the samples ever pushed. The first S pushes fill the
slots; afterwards a push draws r uniformly and replaces slot r if r < S:

* ``official``: r in {0, ..., age} inclusive, age counted with the new sample: accepted with probability S / (age + 1);
* ``textbook``: r in {0, ..., age - 1}: accepted with probability S / age, every sample kept with the same one.

Draws come from a generator made by the caller, so nothing random is kept here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from frisket.algos.parts.tree import lifted, picked
from frisket.errors import require
from frisket.types import Data, State

ReservoirRule = Literal["official", "textbook"]


def empty() -> State:
    """A memory which has seen nothing; it is allocated when the first sample tells what a sample is."""
    return {"x": torch.zeros(0), "y": torch.zeros(0, dtype=torch.int64), "age": torch.zeros((), dtype=torch.int64)}


def stored(memory: State) -> int:
    """Samples in ``memory``, at most S."""
    return min(int(memory["age"]), len(memory["y"]))


def taken(age: int, count: int, slots: int, rule: ReservoirRule, generator: np.random.Generator) -> dict[int, int]:
    """Slot to the one of ``count`` new samples that lies in it, once they are pushed one by one into ``slots`` slots
    after ``age`` others."""
    ages = np.arange(age + 1, age + 1 + count)  # with the new sample
    draws = generator.integers(0, ages + (rule == "official"))
    targets = np.where(ages <= slots, ages - 1, draws)
    return {int(targets[i]): i for i in np.flatnonzero(targets < slots).tolist()}  # the last of several


def push(memory: State, data: Data, slots: int, rule: ReservoirRule, generator: np.random.Generator) -> State:
    """``memory`` after pushing the samples of ``data`` one by one; its tensors are written in place."""
    x, y, age = memory["x"], memory["y"], int(memory["age"])
    if not len(y):
        x = torch.zeros((slots, *data.x.shape[1:]), dtype=data.x.dtype, device=data.x.device)
        y = torch.zeros(slots, dtype=data.y.dtype, device=data.y.device)
    last = taken(age, len(data.y), slots, rule, generator)
    if last:
        to, of = (torch.tensor(list(indices), device=data.y.device) for indices in (last.keys(), last.values()))
        x[to], y[to] = data.x[of], data.y[of]
    return {"x": x, "y": y, "age": torch.tensor(age + len(data.y))}


def push_each(
    memory: State, data: Data, slots: int, rule: ReservoirRule, generators: Sequence[np.random.Generator]
) -> State:
    """`push` for the memories of a pack: ``data`` is x [P, n, ...], y [P, n], ``memory`` has a leading dimension P."""
    if not memory["y"].shape[1]:
        shape = (len(generators), slots)
        x = torch.zeros((*shape, *data.x.shape[2:]), dtype=data.x.dtype, device=data.x.device)
        memory = {**memory, "x": x, "y": torch.zeros(shape, dtype=data.y.dtype, device=data.y.device)}
    ends = [
        push({k: v[i] for k, v in memory.items()}, Data(data.x[i], data.y[i]), slots, rule, generator)
        for i, generator in enumerate(generators)
    ]
    return {**memory, "age": torch.stack([end["age"] for end in ends])}


def draw(memory: State, count: int, generator: np.random.Generator) -> Data | None:
    """``min(count, stored)`` samples, independent and with replacement; None from an empty memory."""
    drawn = draw_each(lifted(memory), count, [generator])
    return None if drawn is None else Data(drawn.x[0], drawn.y[0])


def draw_with(memory: State, count: int, new: Data, generator: np.random.Generator) -> Data:
    """The meta-batch b_m: draws first, then the ``new`` samples."""
    old = draw(memory, count, generator)
    return new if old is None else Data(torch.cat([old.x, new.x]), torch.cat([old.y, new.y]))


def draw_each(memory: State, count: int, generators: Sequence[np.random.Generator]) -> Data | None:
    """`draw` for the memories of a pack, which are all of one age: x [P, n, ...], y [P, n]."""
    y, held = memory["y"], stored(picked(memory, 0))
    if not held or not count:
        return None
    draws = np.stack([generator.integers(0, held, size=min(count, held)) for generator in generators])
    at = torch.from_numpy(draws + y.shape[1] * np.arange(len(y))[:, None]).to(y.device)
    x, y = (v.flatten(0, 1).index_select(0, at.flatten()).unflatten(0, at.shape) for v in (memory["x"], y))
    return Data(x, y)


def draw_with_each(memory: State, count: int, new: Data, generators: Sequence[np.random.Generator]) -> Data:
    """`draw_with` for the memories of a pack: x [P, N, ...], y [P, N]."""
    old = draw_each(memory, count, generators)
    return new if old is None else Data(torch.cat([old.x, new.x], 1), torch.cat([old.y, new.y], 1))


def require_memory(slots: int, replay_batch: int) -> None:
    """Raise `SpecError` unless a memory of ``slots`` can serve draws of ``replay_batch``."""
    require(replay_batch >= 0, "replay_batch", replay_batch, "at least 0")
    require(
        slots >= max(replay_batch, 1), "memory_slots", slots, f"at least 1 and at least replay_batch = {replay_batch}"
    )
