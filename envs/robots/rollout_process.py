"""What a process does that steps environments for another: `serve`. It ends when the other is gone, or says so.

It holds environments for some rows of a table that both see, a row for each environment; with everything that is asked
of it, it is told which. What is acted and what comes of it stand in the table; the line between the two only says that
they do.
"""

from __future__ import annotations

import mmap
import pickle
import struct
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from frisket.envs.robots import gym
from frisket.envs.robots.bodies import Bodies
from frisket.envs.robots.factory import bodies_of
from frisket.envs.robots.meta_world import Goals
from frisket.errors import SpecError, UserError

ASKED = struct.Struct("<?III")
"""What is asked of a process: whether episodes are to begin, and not a step to be taken; number of the task; the first
row that is its own, and the one after its last."""
DONE = b""
"""What is answered; of what could not be done the pickled `UserError`, or `Failed`."""
_HALF = 2**64


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a process is told at first.

    Attributes:
        tasks, goals, seed: as `bodies_of` takes them.
        entries: of the tasks that gymnasium knows, what it knows (`frisket.envs.robots.gym.entry`).
        environments: E, rows of the table.
        size, actions: D and A, numbers of an observation and of an action.
    """

    tasks: tuple[str, ...]
    goals: Goals | None
    seed: int
    entries: tuple[bytes, ...]
    environments: int
    size: int
    actions: int

    @property
    def row(self) -> np.dtype:
        """What stands in a row of the table; a seed as two halves."""
        wide = [("actions", np.float64, (self.actions,)), ("seed", np.uint64, (2,))]
        narrow = [("observations", np.float32, (self.size,)), ("rewards", np.float32)]
        flags = [(name, np.bool_) for name in ("terminated", "success", "live")]
        return np.dtype([*wide, *narrow, *flags], align=True)

    def table(self, memory: mmap.mmap) -> np.ndarray:
        """The table that lies in ``memory``, [E] of `row`."""
        return np.ndarray(self.environments, self.row, memory)


class Failed(NamedTuple):
    """An error that is not the user's. Attributes: text: it in a line; trace: where it was raised."""

    text: str
    trace: str


def halves(seeds: Sequence[int]) -> list[tuple[int, int]]:
    """``seeds``, of 128 bits, as the table has them."""
    return [divmod(seed, _HALF) for seed in seeds]


def serve(line: int, memory: int) -> None:
    """Do what is asked until nobody asks any more.

    Args:
        line: descriptor of the end of a line on which `Orders` come and then `ASKED`.
        memory: descriptor of what the table lies in.
    """
    with Connection(line) as connection:
        try:
            orders: Orders = connection.recv()
            table, bodies = orders.table(mmap.mmap(memory, 0)), dict[int, Bodies]()
            while True:
                connection.send_bytes(_done(orders, table, bodies, *ASKED.unpack(connection.recv_bytes())))
        except (EOFError, ConnectionError):  # the other has gone
            return


def _done(
    orders: Orders, table: np.ndarray, bodies: dict[int, Bodies], begins: bool, task: int, first: int, last: int
) -> bytes:
    try:
        if task not in bodies:
            bodies[task] = _made(orders, task)
        rows, steps = table[first:last], bodies[task]
        if begins:
            rows["observations"] = steps.reset([high * _HALF + low for high, low in rows["seed"].tolist()])
        else:
            moved = steps.step(rows["actions"].copy(), rows["live"].copy())
            for name, found in zip(moved._fields, moved, strict=True):
                rows[name] = found
    except UserError as error:
        return pickle.dumps(error)
    except Exception as error:  # whatever the environment's own code raises
        return pickle.dumps(Failed(f"{type(error).__name__}: {error}", traceback.format_exc()))
    return DONE


def _made(orders: Orders, task: int) -> Bodies:
    try:
        for entry in orders.entries:
            gym.enter(entry)
        return bodies_of(orders.tasks, task, orders.goals, orders.seed)
    except Exception as error:  # whoever asks could make it
        fix = f"must be 0: {orders.tasks[task]} cannot be made by another process ({type(error).__name__}: {error})"
        raise SpecError("stream.rollout_workers", "above 0", fix) from error
