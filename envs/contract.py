"""What every stream must hold to, for frisket's own as for anybody's: `check`.

A stream is tried on made-up image sets (`made_up`) under every name its configuration asks for, so that nothing is
fetched; a kind's `quick` fields make it short enough. The checks are functions of a `StreamTrial`
(`frisket.findings` says of which form).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frisket.configuration import require_configuration
from frisket.envs.data.imageset import ImageSet, Provenance
from frisket.envs.episode_stream import SPLITS, EpisodeStream
from frisket.envs.stream import Stream
from frisket.envs.streams.kind import StreamKind
from frisket.envs.task_stream import TaskStream
from frisket.findings import Check, Finding, NotAsked, findings, need, no_global_randomness, source_of
from frisket.rng import numpy_generator
from frisket.types import Batch, Task

MOST = 60
"""Positions that are looked at."""
CLASSES, DOMAINS, SIDE = 12, 3, 16
_PER_CLASS = {False: 30, True: 9}
"""Samples of each class that are made up to learn from, and to be judged on."""


def made_up(name: str) -> ImageSet:
    """Noise in the place of the data set ``name``: 12 classes in 3 domains, 1 x 16 x 16 bytes; fewer samples in that of
    a test split (``NAME:test``). Its own name says that it is made up."""
    labels = np.tile(np.arange(CLASSES), _PER_CLASS[name.endswith(":test")])
    generator = numpy_generator(0, "made up", name)
    images = generator.integers(0, 256, size=(len(labels), 1, SIDE, SIDE)).astype(np.uint8)
    domains = generator.permutation(np.arange(len(labels)) % DOMAINS)
    own = f"made-up-{name}"
    provenance = Provenance(own, "embedded", "noise", "none", "none", {})
    classes, named = (tuple(f"{word} {i}" for i in range(n)) for word, n in (("class", CLASSES), ("domain", DOMAINS)))
    return ImageSet(own, images, labels, classes, provenance, domains, named)


@dataclass(frozen=True)
class StreamTrial:
    """A stream as the contract tries it.

    Attributes:
        kind: the row that is tried.
        data: image sets by name; None for made-up ones.
    """

    kind: StreamKind
    data: Mapping[str, Any] | None = None

    @property
    def file(self) -> str | None:
        """Where its source is."""
        return source_of(self.kind.build)

    @cached_property
    def sets(self) -> Mapping[str, Any]:
        """The data it is made of."""
        if self.data is not None:
            return self.data
        return {name: made_up(name) for name in self.kind.datasets(self.kind.config(**self.kind.quick))}

    def stream(self, seed: int = 0) -> Stream:
        """A new one."""
        return self.kind.build(self.kind.config(**self.kind.quick), self.sets, seed)

    @cached_property
    def positions(self) -> range:
        """From the first on, as many as are looked at."""
        return range(min(MOST, self.stream().steps))


def check(
    kind: StreamKind, *, data: Mapping[str, Any] | None = None, checks: Sequence[Check[StreamTrial]] | None = None
) -> list[Finding]:
    """What holds of the stream ``kind``, and what does not.

    Args:
        data: image sets by the names its configuration asks for; None for made-up ones.
        checks: of `STREAM_CHECKS`; None for all.
    """
    trial = StreamTrial(kind, data)
    return list(findings(STREAM_CHECKS if checks is None else checks, trial, trial.file))


def configuration_is_complete(trial: StreamTrial) -> None:
    """The configuration is a frozen, keyword-only dataclass that says what each field means; `quick` has no other."""
    require_configuration(trial.kind.config, trial.kind.quick)


def any_order_gives_the_same_bits(trial: StreamTrial) -> None:
    """A batch is a function of seed and position: forwards, backwards and once more, in two streams of one seed."""
    forward, backward = trial.stream(), trial.stream()
    first = [forward.batch(p) for p in trial.positions]
    for position in reversed(trial.positions):
        _need_same(first[position], backward.batch(position), f"position {position}, backwards")
        _need_same(first[position], forward.batch(position), f"position {position}, once more")


def no_global_generator_is_used(trial: StreamTrial) -> None:
    """Nothing is drawn from a global generator, and none is seeded."""
    with no_global_randomness():
        stream = trial.stream()
        for position in trial.positions:
            stream.batch(position)


def batches_are_those_one_by_one(trial: StreamTrial) -> None:
    """`batches` gives what `batch` gives, from any first position on."""
    stream, end = trial.stream(), len(trial.positions)
    for first in sorted({0, end // 3}):
        together = list(trial.stream().batches(first, end - first))
        need(len(together) == end - first, f"{len(together)} batches from {first} on, not {end - first}")
        for position, batch in enumerate(together, first):
            _need_same(stream.batch(position), batch, f"position {position}")


def reseeded_is_built_anew(trial: StreamTrial) -> None:
    """`reseeded` gives the stream that would be built with that seed, and leaves its own as it was."""
    stream, fresh = trial.stream(), trial.stream(5)
    before = [stream.batch(p) for p in trial.positions]
    other = stream.reseeded(5)
    if other is None:
        raise NotAsked
    for position in trial.positions:
        _need_same(fresh.batch(position), other.batch(position), f"position {position} of seed 5")
        _need_same(before[position], stream.batch(position), f"position {position} of seed 0")


def batches_are_as_declared(trial: StreamTrial) -> None:
    """A batch has inputs [N, *shape], float32 or bytes of episodes, and labels [N] int64 below `ways`, on the CPU, and
    says its position."""
    stream = trial.stream()
    need(len(stream.names) in (0, stream.ways), f"{len(stream.names)} names for {stream.ways} labels")
    need(stream.steps >= 1, f"{stream.steps} steps")
    for position, batch in _batches(trial, stream):
        _need_labelled(batch.x, batch.y, stream, range(stream.ways), f"position {position}")
        need(len(batch.y) > 0, f"position {position} is empty")
        need(batch.position == position, f"position {position} says {batch.position}")


def tasks_hold_between_switches(trial: StreamTrial) -> None:
    """Every batch has its hidden task, which is the last one's or began here; a task's end is marked where it ends, and
    gives its batches again."""
    stream, before = trial.stream(), None
    for position, batch in _batches(trial, stream):
        task = batch.task
        need(isinstance(task, Task), f"position {position} has no hidden task")
        assert task is not None
        need(task == before or task.start == position, f"at {position} the task is one that began at {task.start}")
        need(task.domain in stream.domains, f"at {position} the domain {task.domain!r}; {stream.domains}")
        before = task
        if batch.end is None:
            continue
        first = position + 1 - batch.end.steps
        for i in range(batch.end.steps):
            _need_same(batch.end.batch(i), stream.batch(first + i), f"batch {i} of the task that ends at {position}")
        x, y = batch.end.validation()
        _need_labelled(x, y, stream, range(stream.ways), f"validation of the task that ends at {position}")


def tasks_in_sequence_have_edges(trial: StreamTrial) -> None:
    """Tasks in sequence begin at 0, end with the stream, know their positions, and mark their last batch; batches and
    test sets have the task's labels."""
    stream = trial.stream()
    if not isinstance(stream, TaskStream):
        raise NotAsked
    starts = [stream.start(t) for t in range(stream.tasks + 1)]
    need(starts[0] == 0 and starts[-1] == stream.steps, f"edges {starts} of {stream.steps} steps")
    need(all(a < b for a, b in itertools.pairwise(starts)), f"edges {starts}")
    for t, (first, after) in enumerate(itertools.pairwise(starts)):
        found = {stream.task_index(p) for p in (first, after - 1)}
        need(found == {t}, f"positions {first} and {after - 1} are of the tasks {sorted(found)}, not of {t}")
    for position, batch in _batches(trial, stream):
        ends = position + 1 in starts
        need((batch.end is not None) == ends, f"position {position} {'ends' if ends else 'does not end'} its task")


def what_is_judged_on_is_the_same_every_time(trial: StreamTrial) -> None:
    """A task's test set is there, the same to the bit every time, whole or in pieces, with labels of the task."""
    stream, again = trial.stream(), trial.stream()
    if not isinstance(stream, TaskStream) or not isinstance(again, TaskStream):
        raise NotAsked
    for t in range(stream.tasks):
        x, y = stream.test_set(t)
        need(len(y) > 0, f"task {t} has an empty test set")
        _need_labelled(x, y, stream, stream.labels(t), f"test set {t}")
        pieces = list(again.test_batches(t))
        whole = torch.cat([piece[0] for piece in pieces]), torch.cat([piece[1] for piece in pieces])
        need(torch.equal(whole[0], x) and torch.equal(whole[1], y), f"test set {t} differs the second time")


def seeds_are_judged_on_the_same_unless_declared(trial: StreamTrial) -> None:
    """Test sets are the same for every seed, or the kind says (`own_tests`) that they are not: else a pack of replicas
    is judged on those of one."""
    one, other = trial.stream(0), trial.stream(1)
    if not isinstance(one, TaskStream) or not isinstance(other, TaskStream):
        raise NotAsked
    if trial.kind.own_tests(trial.kind.config(**trial.kind.quick)):
        raise NotAsked
    for task in range(one.tasks):
        for name, a, b in zip("xy", one.test_set(task), other.test_set(task), strict=True):
            need(torch.equal(a, b), f"{name} of task {task}'s test set differs by seed, and the kind has no own_tests")


def episodes_are_tasks_of_their_own(trial: StreamTrial) -> None:
    """An episode has `shots` and `queries` samples of each of its distinct classes, no sample twice, under labels 0 ..
    ways - 1; no class of a domain is in two splits, and those that are judged on take the domains in turn; any episode
    is the same every time, and `numbers` are finite floats."""
    stream, again = trial.stream(), trial.stream()
    if not isinstance(stream, EpisodeStream) or not isinstance(again, EpisodeStream):
        raise NotAsked
    shown: dict[str, set[tuple[str, int]]] = {}
    for split, number in itertools.product(SPLITS, range(20)):
        episode, where = stream.episode(split, number), f"episode {number} of {split}"
        _need_same(again.episode(split, number), episode, where)
        task = episode.task
        assert task is not None
        need(len(set(task.classes)) == len(task.classes) == stream.ways, f"{where} has the classes {task.classes}")
        shown.setdefault(split, set()).update((task.domain, one) for one in task.classes)
        due = stream.domains[number % len(stream.domains)]
        need(split == "train" or task.domain == due, f"{where} is of {task.domain}, and {due} is due")
        for (x, y), count in zip(episode.sides(), (stream.shots, stream.queries), strict=True):
            found = np.bincount(y.numpy(), minlength=stream.ways).tolist()
            need(found == [count] * stream.ways and len(x) == len(y), f"{where}: {found}, not {count} of each class")
        pictures = {bytes(one) for one in episode.x.numpy()}
        need(len(pictures) == len(episode.x), f"{where} shows a sample twice")
        numbers = stream.numbers(episode.x)
        need(numbers.dtype == torch.float32 and bool(numbers.isfinite().all()), f"{where}: numbers {numbers.dtype}")
    for a, b in itertools.combinations(SPLITS, 2):
        need(not shown[a] & shown[b], f"classes {sorted(shown[a] & shown[b])} are both {a} and {b}")


def provenance_can_be_written(trial: StreamTrial) -> None:
    """The provenance is JSON, one entry for each data set."""
    told = trial.stream().provenance()
    try:
        same = json.loads(json.dumps(told)) == told
    except TypeError as error:
        need(False, str(error))
    else:
        need(same and all(isinstance(one, dict) for one in told.values()), f"{told!r}")


STREAM_CHECKS: tuple[Check[StreamTrial], ...] = (
    configuration_is_complete, any_order_gives_the_same_bits, no_global_generator_is_used,
    batches_are_those_one_by_one, reseeded_is_built_anew, batches_are_as_declared, tasks_hold_between_switches,
    tasks_in_sequence_have_edges, what_is_judged_on_is_the_same_every_time,
    seeds_are_judged_on_the_same_unless_declared, episodes_are_tasks_of_their_own, provenance_can_be_written,
)  # fmt: skip
"""All checks of a stream."""


def _batches(trial: StreamTrial, stream: Stream) -> Iterator[tuple[int, Batch]]:
    return ((position, stream.batch(position)) for position in trial.positions)


def _need_same(a: Batch, b: Batch, where: str) -> None:
    for name in ("x", "y"):
        left, right = getattr(a, name), getattr(b, name)
        need(left.dtype == right.dtype and torch.equal(left, right), f"{name} differs at {where}")
    for name in ("position", "task", "epoch", "support"):
        left, right = getattr(a, name), getattr(b, name)
        need(left == right, f"{name} differs at {where}: {left} and {right}")


def _need_labelled(x: Tensor, y: Tensor, stream: Stream, labels: range, where: str) -> None:
    wanted = torch.uint8 if isinstance(stream, EpisodeStream) else torch.float32
    need(x.dtype == wanted and y.dtype == torch.int64, f"{where}: {x.dtype} and {y.dtype}")
    need(x.device.type == y.device.type == "cpu", f"{where}: on {x.device} and {y.device}")
    expected = (len(y), *stream.shape)
    need(tuple(x.shape) == expected, f"{where}: inputs of shape {tuple(x.shape)}, not {expected}")
    need(y.dim() == 1 and set(y.tolist()) <= set(labels), f"{where}: labels {sorted(set(y.tolist()))} of {labels}")
