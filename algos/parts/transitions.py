"""A memory of transitions, in tensors allocated once: the newest S of them, or any S (continual_world spec, sections 4
and 5).

A memory is a `State`: ``observations, after`` [S, C, H, W], ``actions`` [S, A], ``rewards, terminated`` [S, 1], all
float32; ``pushed``, how many it has been given since it was emptied. It is written in place. ``terminated`` is 1 where
no reward can follow; an episode that is cut at its horizon goes on in what is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from frisket.algos.parts import reservoir
from frisket.errors import SpecError
from frisket.heap import machine_memory
from frisket.rng import torch_generator
from frisket.types import State

_PARTS = ("observations", "after", "actions", "rewards", "terminated")


class Transitions(NamedTuple):
    """N transitions under the names that stable-baselines3 has for them."""

    observations: Tensor
    actions: Tensor
    next_observations: Tensor
    dones: Tensor
    rewards: Tensor


def empty(slots: int, shape: Sequence[int], actions: int) -> State:
    """A memory of ``slots`` transitions between observations of ``shape``, nothing in it."""
    sizes = (tuple(shape), tuple(shape), (actions,), (1,), (1,))
    memory: State = {name: torch.zeros(slots, *size) for name, size in zip(_PARTS, sizes, strict=True)}
    return {**memory, "pushed": torch.zeros((), dtype=torch.int64)}


def emptied(memory: State) -> State:
    """``memory`` with nothing in it."""
    return {**memory, "pushed": torch.zeros_like(memory["pushed"])}


def push(memory: State, *rows: Tensor) -> None:
    """Put transitions into ``memory``: its parts, [n, ...] each, in the order of its names."""
    slots, first, count = len(memory["actions"]), int(memory["pushed"]), len(rows[0])
    places = torch.arange(first, first + count, device=rows[0].device) % slots
    _write(memory, places, rows)
    memory["pushed"] += count


def push_any(memory: State, generator: np.random.Generator, *rows: Tensor) -> None:
    """As `push`, into a memory that keeps any of all it was ever given, each as likely as the other."""
    age, count = int(memory["pushed"]), len(rows[0])
    last = reservoir.taken(age, count, len(memory["actions"]), "textbook", generator)
    to, of = (torch.tensor(list(one), dtype=torch.int64, device=rows[0].device) for one in (last.keys(), last.values()))
    _write(memory, to, [row[of] for row in rows])
    memory["pushed"] += count


def parts(batch: Transitions) -> tuple[Tensor, ...]:
    """``batch`` as `push` takes it."""
    return batch.observations, batch.next_observations, batch.actions, batch.rewards, batch.dones


def stored(memory: State) -> int:
    """Transitions in ``memory``."""
    return min(int(memory["pushed"]), len(memory["actions"]))


def draw(memory: State, count: int, generator: torch.Generator) -> Transitions:
    """``count`` transitions, independent and with replacement."""
    device = memory["actions"].device
    places = torch.randint(stored(memory), (count,), generator=generator).to(device)
    seen, after, actions, rewards, terminated = (memory[name].index_select(0, places) for name in _PARTS)
    return Transitions(seen, actions, after, terminated, rewards)


def draw_with_noise(
    memory: State, count: int, seed: int, *key: str | int
) -> tuple[Transitions, Tensor]:  # fmt: skip
    """``count`` transitions by (``seed``, ``key``), and standard normal noise for the actions at their beginnings and
    their ends, [2, N, A]."""
    generator = torch_generator(seed, *key)
    batch = draw(memory, count, generator)
    return batch, torch.randn(2, *batch.actions.shape, generator=generator).to(batch.actions.device)


def _write(memory: State, places: Tensor, rows: Sequence[Tensor]) -> None:
    for name, row in zip(_PARTS, rows, strict=True):
        memory[name][places] = row.to(memory[name])


def require_room(
    slots: int, observations: int, actions: int, field: str = "memory_slots", replicas: int = 1
) -> None:  # fmt: skip
    """Raise `SpecError` where ``slots`` transitions, so many by ``field``, of each of the ``replicas`` have no room in
    this machine's memory."""
    wanted, there = 4 * slots * (2 * observations + actions + 2) * replicas, machine_memory()
    if wanted > there:
        takes, has = f"take {wanted / 2**30:.3g} GiB", f"and this machine has {there / 2**30:.3g} GiB; ask for fewer"
        fix = f"{takes} for the {replicas} replicas of a pack, {has}, or a smaller pack"
        fix = fix if replicas > 1 else f"{takes}, {has}"
        raise SpecError(f"learner.{field}", slots, fix)
