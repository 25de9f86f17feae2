"""What the streaming-task service costs and gives. One run, ratios.

    python -m benchmarks.stream_service [--rounds 5] [--data embedded|real]

One Ray on this machine, two sources. Served and in-process are measured in turns, so that a busy machine slows both;
every ratio is the median over the rounds.

* served over in-process: batches of 10 x 784 per second that one consumer gets, which does nothing else, over what
  it would make itself; on permutations and on OSAKA;
* through chunks: batches of 10 x 784 per second from a feed whose batches are ready, so that packing, transport and
  unpacking are all there is; and the processor time of each side for one batch;
* buffered next: how long a read takes for a consumer that spends 2 ms on every batch, so that the next chunk is there;
* fairness: 8 consumers on the two sources for a while, the slowest over the fastest.

Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import collections
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from frisket.envs.data import resolve
from frisket.heap import keep_freed_memory
from frisket.platform.cluster.session import ray_session
from frisket.platform.streaming.chunk import Item, Unpacked, pack
from frisket.platform.streaming.consumer import Service
from frisket.platform.streaming.feed import Feed
from frisket.platform.streaming.reader import Reader
from frisket.platform.streaming.streams import StreamFeed, StreamRecipe, open_stream
from frisket.platform.streaming.transport import RayTransport
from frisket.rng import torch_generator

T = TypeVar("T")
Data = Literal["real", "embedded"]
OVER_IN_PROCESS, THROUGH_CHUNKS, NEXT_MS, FAIRNESS = 0.9, 15_000, 2.0, 0.5
CONSUMERS, SOURCES = 8, 2


class ReadyFeed(Feed):
    """100 batches of 10 images of 28 x 28, made beforehand, over and over."""

    def __init__(self) -> None:
        draw = torch.randint(0, 256, (100, 10, 1, 28, 28), generator=torch_generator(0, "ready"), dtype=torch.uint8)
        self._items = [{"x": x, "y": torch.arange(10), "epoch": 0} for x in draw.float() / 255]

    def item(self, position: int) -> Item:
        return self._items[position % len(self._items)]


@dataclass(frozen=True)
class ReadyRecipe:
    """`ReadyFeed`."""

    key: str = "ready"

    def open(self, seed: int) -> Feed:
        return ReadyFeed()


def recipe(kind: str, data: Data) -> StreamRecipe:
    """A long stream of batches of 10 images of 28 x 28."""
    fields: dict[str, dict[str, Any]] = {
        "permutations": {"dataset": "mnist", "tasks": 140, "samples": 1000, "batch": 10},
        "osaka": {"domains": {"mnist": 1.0}, "p": 0.98, "ways": 10, "shots": 1, "steps": 14_000},
    }
    return StreamRecipe(stream={"kind": kind, **fields[kind]}, data=data)


def rate(read: Callable[[int], object], first: int, count: int) -> float:
    """Reads per second over positions ``first`` .. ``first + count - 1``."""
    start = time.perf_counter()
    for position in range(first, first + count):
        read(position)
    return count / (time.perf_counter() - start)


def over_in_process(service: RayTransport, kind: str, data: Data, rounds: int) -> list[tuple[float, float]]:
    """``(in-process, served)`` batches per second, round by round."""
    what = recipe(kind, data)
    section = what.section
    plain = section.row.build(section.config, resolve(section.row.datasets(section.config), data), 0)
    served = open_stream(Service(service, f"one {kind}"), what, 0)
    count = 2000
    rate(served.batch, 0, count)  # until chunks have their size
    found = []
    for number in range(1, rounds + 1):
        again = rate(plain.batch, number * count, count)
        found.append((again, rate(served.batch, number * count, count)))
    return found


def through_chunks(service: RayTransport, rounds: int) -> list[float]:
    """Batches per second of ready batches, round by round."""
    reader = Reader(Service(service, "ready"), ReadyRecipe(), 0)
    count = 5000
    rate(reader.read, 0, count)
    return [rate(reader.read, number * count, count) for number in range(1, rounds + 1)]


def processor_microseconds(data: Data) -> dict[str, float]:
    """Of one batch of permutations, what each part costs without Ray; best of 20 chunks."""
    what, count = recipe("permutations", data), 256
    feed = what.open(0)
    assert isinstance(feed, StreamFeed)
    best: dict[str, float] = {}

    def timed(part: str, work: Callable[[], T]) -> T:
        start = time.thread_time()
        done = work()
        best[part] = min(best.get(part, math.inf), (time.thread_time() - start) / count * 1e6)
        return done

    for number in range(20):
        positions = range(number * count, (number + 1) * count)
        timed("make one by one", lambda p=positions: collections.deque(map(feed.item, p), maxlen=0))
        items = timed("make many at once", lambda p=positions: list(feed.items(p.start, count)))
        chunk = timed("pack", lambda i=items, p=positions: pack(i, p.start))
        unpacked = timed("check the digest", lambda c=chunk: Unpacked(c))
        timed("unpack", lambda u=unpacked, p=positions: collections.deque(map(u.item, p), maxlen=0))
    return best


def buffered_next(service: RayTransport, data: Data, count: int) -> np.ndarray:
    """Seconds of ``count`` reads of a consumer that spends 2 ms on every batch."""
    served = open_stream(Service(service, "paced"), recipe("permutations", data), 1)
    served.batch(0)
    found = []
    for position in range(1, count + 1):
        time.sleep(0.002)
        start = time.perf_counter()
        served.batch(position)
        found.append(time.perf_counter() - start)
    return np.array(found)


class Consumer:
    """A consumer in a process of its own."""

    def __init__(self, name: str) -> None:
        torch.set_num_threads(1)
        self._reader = Reader(Service(RayTransport.connect("benchmark"), name), ReadyRecipe(), 0)
        self._reader.read(0)

    def ready(self) -> bool:
        """Once it is there."""
        return True

    def read_until(self, end: float) -> int:
        """How many batches it gets before the time ``end``."""
        position = 0
        while time.time() < end:
            position += 1
            self._reader.read(position)
        return position


def fairness(seconds: float) -> list[int]:
    """Batches of each of `CONSUMERS` consumers that read for ``seconds`` at the same time."""
    import ray

    remote: Any = ray.remote(Consumer)
    actors = [remote.options(num_cpus=0).remote(f"consumer {i}") for i in range(CONSUMERS)]
    ray.get([actor.ready.remote() for actor in actors])
    end = time.time() + 1 + seconds
    counts = ray.get([actor.read_until.remote(end) for actor in actors])
    for actor in actors:
        ray.kill(actor)
    return counts


def main() -> int:
    """Print the table; 1 when a target is missed."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--data", choices=("embedded", "real"), default="embedded")
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the engine does
    met = []

    def show(what: str, found: str, target: str, ok: bool) -> None:
        print(f"{what:<44} {found:>30}   target {target:<14} {'met' if ok else 'MISSED'}", flush=True)
        met.append(ok)

    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} processors, {load:.1f} processes wanted them in the last minute; data: {chosen.data}")
    with ray_session(cpus=2):
        service = RayTransport.start("benchmark", sources=SOURCES)
        for kind in ("permutations", "osaka"):
            rounds = over_in_process(service, kind, chosen.data, chosen.rounds)
            plain, served = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratio = statistics.median(b / a for a, b in rounds)
            text = f"{served:,.0f} / {plain:,.0f} = {ratio:.2f}"
            show(f"served over in-process, {kind}", text, f">= {OVER_IN_PROCESS}", ratio >= OVER_IN_PROCESS)
        chunks = statistics.median(through_chunks(service, chosen.rounds))
        show("through chunks, batches per second", f"{chunks:,.0f}", f">= {THROUGH_CHUNKS:,}", chunks >= THROUGH_CHUNKS)
        times = buffered_next(service, chosen.data, 400 * chosen.rounds)
        p50, p99, p999 = 1e3 * np.quantile(times, (0.5, 0.99, 0.999))
        text = f"{p50:.3f} / {p99:.3f} / {p999:.3f} ms"
        show("buffered next, p50 / p99 / p99.9", text, f"p99 < {NEXT_MS:g} ms", p99 < NEXT_MS)
        counts = fairness(2.0 * chosen.rounds)
        share = min(counts) / max(counts)
        text = f"{min(counts):,} / {max(counts):,} = {share:.2f}"
        show(f"{CONSUMERS} consumers, slowest over fastest", text, f">= {FAIRNESS}", share >= FAIRNESS)
        service.stop()
    parts = ", ".join(f"{part} {time:.1f}" for part, time in processor_microseconds(chosen.data).items())
    print(f"processor time of one batch of permutations without Ray, in microseconds: {parts}")
    return int(not all(met))


if __name__ == "__main__":
    from benchmarks import stream_service  # so that sources find what is defined here by its name

    sys.exit(stream_service.main())
