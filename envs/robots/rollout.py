"""Environments shared out over processes that step them side by side, in lock step: `Rollout`.

Every process has a part of the environments and makes its own (`frisket.envs.robots.factory`); all act on one batch of
actions, and what comes of it stands in the order of the environments, whichever process has it first. An episode is its
seed's, so the numbers are the same bits whatever the number of processes.

Processes are started, not forked: torch's threads do not survive that, and a script need not guard its main module.
Actions, observations and rewards stand in memory that both sides see and that has no name: nobody has to remove it. A
process ends when the line to it does, so none outlives whoever started it, killed or not. Ctrl-C and SIGTERM are for
the one that leads.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import NamedTuple

import numpy as np

from frisket.envs.robots import gym
from frisket.envs.robots.bodies import Bodies, Moved, Steps
from frisket.envs.robots.config import RobotsConfig
from frisket.envs.robots.rollout_process import ASKED, DONE, Orders, halves
from frisket.errors import FrisketError, UserError

_PATIENCE = 10.0
"""Seconds a process may take to end by itself."""
_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; from frisket.envs.robots.rollout_process import serve; serve({line}, {memory})"
)
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}


class RolloutLost(FrisketError):
    """A process that steps environments has ended, or an environment failed in it."""


class _Worker(NamedTuple):
    process: subprocess.Popen[bytes]
    line: Connection


def orders_of(config: RobotsConfig, seed: int, bodies: Bodies) -> Orders:
    """What processes that are to step the tasks of ``config`` are told; ``bodies`` are of one of them.

    Raises:
        SpecError: another process cannot know one of the tasks.
    """
    registered = [name for name in dict.fromkeys(config.names) if gym.registered(name)]
    return Orders(
        tasks=config.names, goals=config.goals, seed=seed, environments=config.environments, size=bodies.size,
        actions=bodies.actions, entries=tuple(gym.entry(name) for name in registered if ":" not in name),
    )  # fmt: skip


class Rollout:
    """Processes that step the environments of a stream while the block lasts.

    Args:
        orders: what they are told.
        workers: how many.
    """

    def __init__(self, orders: Orders, workers: int) -> None:
        self._actions, self._workers = orders.actions, list[_Worker]()
        with self._whole(), tempfile.TemporaryFile() as file:
            file.write(bytes(orders.row.itemsize * orders.environments))
            file.flush()
            self._table = orders.table(mmap.mmap(file.fileno(), 0))
            for _ in range(workers):
                self._workers.append(_started(file.fileno()))
            for worker in self._workers:
                with contextlib.suppress(ConnectionError):  # said when something is asked of it
                    worker.line.send(orders)

    def __enter__(self) -> Rollout:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def steps(self, task: int) -> Steps:
        """What steps the environments of ``task``, of at most E episodes at a time."""
        return _SharedOut(self, task, self._actions)

    def reset(self, task: int, seeds: Sequence[int]) -> np.ndarray:
        """As `Steps.reset`."""
        self._table["seed"][: len(seeds)] = halves(seeds)
        self._ask(True, task, len(seeds))
        return self._table["observations"][: len(seeds)].copy()

    def step(self, task: int, actions: np.ndarray, live: np.ndarray) -> Moved:
        """As `Steps.step`."""
        rows = self._table[: len(actions)]
        rows["actions"], rows["live"] = actions, live
        self._ask(False, task, len(actions))
        return Moved(*(rows[name].copy() for name in Moved._fields))

    def _ask(self, begins: bool, task: int, count: int) -> None:
        """Have rows 0 .. count - 1 done, an even share of them by each process."""
        if not self._workers:
            raise RolloutLost("the processes that step environments have ended")
        with self._whole():
            self._shared(begins, task, count)

    def _shared(self, begins: bool, task: int, count: int) -> None:
        share = [count * i // len(self._workers) for i in range(len(self._workers) + 1)]
        asked = []
        for worker, first, last in zip(self._workers, share, share[1:], strict=False):
            if first < last:
                with _heard(worker):
                    worker.line.send_bytes(ASKED.pack(begins, task, first, last))
                asked.append(worker)
        for worker in asked:
            with _heard(worker):
                answer = worker.line.recv_bytes()
            if answer != DONE:
                found = pickle.loads(answer)
                if isinstance(found, UserError):
                    raise found
                raise RolloutLost(f"an environment failed: {found.text}\n{found.trace}")

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """End all processes where the block is left by an error: what the others answer would be taken for answers to
        what is asked next."""
        try:
            yield
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        for worker in self._workers:
            worker.line.close()
        for worker in self._workers:
            _ended(worker.process)
        self._workers.clear()


class _SharedOut(Steps):
    def __init__(self, rollout: Rollout, task: int, actions: int) -> None:
        self._rollout, self._task, self.actions = rollout, task, actions

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        return self._rollout.reset(self._task, seeds)

    def step(self, actions: np.ndarray, live: np.ndarray) -> Moved:
        return self._rollout.step(self._task, actions, live)


def _started(memory: int) -> _Worker:
    ours, theirs = Pipe()
    with theirs, _unheard():
        program = _PROGRAM.format(path=[*map(str, sys.path)], line=theirs.fileno(), memory=memory)
        process = subprocess.Popen(
            [sys.executable, "-c", program], env=os.environ | _ONE_THREAD, stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), memory),
        )  # fmt: skip
    return _Worker(process, ours)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Processes that are started inside the block never hear Ctrl-C or SIGTERM, not even while they import."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _heard(worker: _Worker) -> Iterator[None]:
    """Say of a ``worker`` that is gone what became of it."""
    try:
        yield
    except (EOFError, OSError) as error:
        code = _ended(worker.process)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise RolloutLost(
            f"process {worker.process.pid}, which steps environments, {how}. Often it is too little memory: fewer "
            "stream.rollout_workers need less. Nothing is lost, the run can be resumed."
        ) from error


def _ended(process: subprocess.Popen[bytes]) -> int:
    """The exit code of ``process``, whose line has been closed."""
    try:
        return process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
