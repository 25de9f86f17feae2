"""What surrounds MAML's outer step: making its episodes, and sharing its tasks out over two processes.

    python -m benchmarks.fewshot_run            (make bench)

Episodes: processor time of drawing a meta-batch of 5-way 5-shot episodes and turning its bytes to numbers, over that of
an outer step, first order, the least there is to share it with (target: at most 5 %).

Tasks: an outer step as `parallel: tasks` takes it, by the drive that the engine leads, in one process and in two that
share the four tasks and add up what they found over gloo (target: at least 1.7 times as fast on two cores, by the
clock). The clock means nothing where others want the cores; the quotient of processor time beside it, one process over
the slower of two, is what the clock would say if nobody waited. Two processes that share nothing, each with the whole
step, show what the machine has to give: its cores share caches and the way to memory.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from benchmarks.clock import seconds
from benchmarks.fewshot_step import QUERIES, SHOTS, SIZES, TASKS, WAYS, K
from frisket.algos.learners.fewshot.learner import EpisodicLearner
from frisket.algos.learners.fewshot.maml import FOMAMLConfig
from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.envs.data.imageset import ImageSet, Provenance
from frisket.envs.streams.episodes import Episodes as Stream
from frisket.envs.streams.episodes import EpisodesConfig
from frisket.heap import keep_freed_memory
from frisket.platform.protocols.few_shot_accuracy import FewShotAccuracy, FewShotAccuracyConfig
from frisket.platform.run.drive import Episodes, seen
from frisket.platform.run.together import Together
from frisket.rng import numpy_generator
from frisket.types import State

EPISODES_LIMIT, TOGETHER_TARGET = 0.05, 1.7
CPU = torch.device("cpu")
CLASSES, PICTURES = 64, 40


def drive(size: int, filters: int, together: Together | None = None) -> tuple[Episodes, State]:
    """FOMAML on noise, and the state it begins with."""
    keep_freed_memory()  # as the engine does
    shape = (CLASSES * PICTURES, SIZES[size], size, size)
    pixels = numpy_generator(0, "pictures").integers(0, 256, shape, dtype=np.uint8)
    labels = np.repeat(np.arange(CLASSES), PICTURES)
    provenance = Provenance("noise", "own", "", "", "", {})
    images = ImageSet("noise", pixels, labels, tuple(map(str, range(CLASSES))), provenance)
    config = EpisodesConfig(dataset="noise", classes="order", ways=WAYS, shots=SHOTS, queries=QUERIES)
    stream = Stream(config, {"noise": images}, 0)
    network = Conv4(Conv4Config(channels=filters, adapt_norm=True), in_channels=SIZES[size], size=size, ways=WAYS)
    learner = EpisodicLearner(FOMAMLConfig(inner_steps=K, meta_batch=TASKS, alpha=0.01), network)
    never = FewShotAccuracyConfig(every=10**6, validation_episodes=1, test_episodes=1)
    protocol = FewShotAccuracy(never, stream)
    made = Episodes(learner=learner, protocol=protocol, stream=stream, device=CPU, together=together)
    return made, learner.init(0)


def share_of_episodes(size: int, filters: int, rounds: int) -> float:
    """Making a meta-batch over an outer step, medians of processor time in turn."""
    made, state = drive(size, filters)

    def batches() -> list[Any]:
        return [seen(made.stream, batch, CPU) for batch in made.stream.batches(0, TASKS)]

    ready = batches()
    works: dict[str, Callable[[], object]] = {
        "episodes": batches,
        "step": lambda: made.learner.apply(state, made.learner.gradients(state, ready)),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work, 1))
    return statistics.median(times["episodes"]) / statistics.median(times["step"])


def _process(rank: int, size: int, place: str, cell: tuple[int, int], steps: int) -> None:
    """Take part in ``steps`` outer steps and write the seconds they took, by the clock and of the processor."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=rank, world_size=size)
    made, state = drive(*cell, Together(CPU))
    if rank:
        start = time.process_time()
        made.accompany()
        taken = [time.process_time() - start]
    else:
        made.begin(state, 0)
        scores = [made.protocol.init()]
        state = made.step(0, state, scores).state  # the first takes memory
        start, clock = time.process_time(), time.perf_counter()
        for position in range(1, steps + 1):
            state = made.step(position, state, scores).state
        taken = [time.process_time() - start, time.perf_counter() - clock]
        made.end()
    (Path(place) / f"{rank}").write_text(" ".join(map(str, taken)))
    dist.destroy_process_group()


def outer_steps(size: int, cell: tuple[int, int], steps: int) -> tuple[float, float]:
    """Seconds of ``steps`` outer steps in ``size`` processes, by the clock and of the busiest one's processor."""
    with tempfile.TemporaryDirectory() as place:
        multiprocessing.spawn(_process, (size, place, cell, steps), nprocs=size)  # pyright: ignore
        taken = [[float(value) for value in (Path(place) / f"{rank}").read_text().split()] for rank in range(size)]
    others = [one[0] * steps / (steps + 1) for one in taken[1:]]  # they count the first one, too
    return taken[0][1], max(taken[0][0], *others, 0.0)


def shared(cell: tuple[int, int], steps: int) -> tuple[float, float, float]:
    """How many times as fast two processes are as one: by the clock, by processor time, and sharing nothing."""
    one, busy = outer_steps(1, cell, steps)
    two, busier = outer_steps(2, cell, steps)
    with ThreadPoolExecutor(2) as side_by_side:
        slower = max(taken for taken, _ in side_by_side.map(lambda _: outer_steps(1, cell, steps), range(2)))
    return one / two, busy / busier, 2 * one / slower


def main() -> int:
    """Print both parts; 1 where a target is missed that others on the machine do not move."""
    torch.set_num_threads(1)
    print("| side | filters | making episodes, share of an outer step |\n|---|---|---|")
    worst = 0.0
    for size, filters, rounds in ((28, 64, 7), (28, 16, 15), (84, 16, 7)):
        share = share_of_episodes(size, filters, rounds)
        worst = max(worst, share)
        print(f"| {size} | {filters} | {100 * share:.1f} % |", flush=True)
    print(f"most: {100 * worst:.1f} % (target: at most {100 * EPISODES_LIMIT:.0f} %)\n")
    print("| side | filters | two over one, by the clock | by processor time | two that share nothing |")
    print("|---|---|---|---|---|")
    for cell in ((28, 32), (28, 64)):
        found = [shared(cell, 40) for _ in range(5)]
        columns = [
            f"{statistics.median(one):.2f} ({min(one):.2f} to {max(one):.2f})" for one in zip(*found, strict=True)
        ]
        print(f"| {cell[0]} | {cell[1]} | {' | '.join(columns)} |", flush=True)
    print(f"target of the first: at least {TOGETHER_TARGET}")
    return int(worst > EPISODES_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
