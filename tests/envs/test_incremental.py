"""New classes, classes of a task's own, new domains: what each task brings; and own data in every other stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from frisket.envs.data import ImageSet, Provenance
from frisket.envs.kinds import STREAMS
from frisket.envs.stream import Stream
from frisket.envs.streams.incremental import IncrementalConfig, IncrementalStream
from frisket.envs.task_stream import TaskStream
from frisket.errors import SpecError

MADE = Provenance("own", "own", "made here", "none", "nobody", {})
SIZES = (23, 8, 14, 11, 9)  # samples of classes a .. e: none like another
DOMAINS = ("rain", "snow", "sun")


def own(name: str, sizes: tuple[int, ...], shape: tuple[int, int, int], dtype: str) -> ImageSet:
    """Samples whose every value is ``10 class + domain`` (of bytes), or a tenth of it (of fractions)."""
    labels = np.concatenate([np.full(size, label) for label, size in enumerate(sizes)])
    domains = np.arange(len(labels)) % len(DOMAINS)
    values = 10 * labels + domains
    images = np.broadcast_to(values[:, None, None, None], (len(labels), *shape))
    images = images.astype(np.uint8) if dtype == "uint8" else (images / 10).astype(np.float32)
    return ImageSet(name, images, labels, tuple("abcde"[: len(sizes)]), MADE, domains, DOMAINS)


def data(shape: tuple[int, int, int] = (3, 4, 4), dtype: str = "uint8") -> dict[str, ImageSet]:
    return {"own": own("own", SIZES, shape, dtype), "own:test": own("own:test", (3,) * 5, shape, dtype)}


def stream(seed: int = 0, sets: Mapping[str, ImageSet] | None = None, **fields: Any) -> IncrementalStream:
    return IncrementalStream(IncrementalConfig(**{"batch": 4, **fields}), sets or data(), seed)


def seen(tasks: IncrementalStream, task: int) -> list[tuple[int, int, int]]:
    """``(class, domain, label)`` of what ``task`` shows, in order."""
    batches = [tasks.batch(p) for p in range(tasks.start(task), tasks.start(task + 1))]
    rows = [(round(float(x[0, 0, 0]) * 255), int(y)) for b in batches for x, y in zip(b.x, b.y, strict=True)]
    return [(*divmod(value, 10), label) for value, label in rows]


def test_classes_come_a_few_at_a_time_under_one_head() -> None:
    tasks = stream()
    assert (tasks.tasks, tasks.ways, tasks.own, tasks.names) == (3, 5, None, tuple("abcde"))
    assert [{c for c, _, _ in seen(tasks, t)} for t in range(3)] == [{0, 1}, {2, 3}, {4}]
    assert all(c == label for t in range(3) for c, _, label in seen(tasks, t))
    lengths = [tasks.start(t + 1) - tasks.start(t) for t in range(3)]
    assert lengths == [31 // 4, 25 // 4, 9 // 4]  # as long as their data
    assert tasks.steps == sum(lengths)
    for t, classes in enumerate(({0, 1}, {2, 3}, {4})):
        assert set(tasks.test_set(t)[1].tolist()) == classes


def test_told_the_task_classes_are_in_blocks() -> None:
    six = {name: own(name, (6,) * 6, (3, 4, 4), "uint8") for name in ("own", "own:test")}
    six = {name: ImageSet(name, one.images, one.labels, tuple("abcdef"), MADE) for name, one in six.items()}
    tasks = stream(sets=six, scenario="task", classes_per_task=3)
    assert (tasks.tasks, tasks.own, tasks.ways) == (2, 3, 6)
    assert [set(tasks.labels(t)) for t in range(2)] == [{0, 1, 2}, {3, 4, 5}]
    assert [{label for _, _, label in seen(tasks, t)} for t in range(2)] == [{0, 1, 2}, {3, 4, 5}]
    with pytest.raises(SpecError, match=r"classes_per_task = 2: must be a divisor of 5, the classes of own"):
        stream(scenario="task")


def test_domains_bring_all_their_classes() -> None:
    tasks = stream(scenario="domain")
    assert (tasks.tasks, tasks.ways, tasks.own) == (3, 5, None)
    for t in range(3):
        assert {domain for _, domain, _ in seen(tasks, t)} == {t}
        assert {c for c, _, _ in seen(tasks, t)} == set(range(5))
        assert set(tasks.test_set(t)[1].tolist()) == set(range(5))
    bare = {name: ImageSet(name, one.images, one.labels, one.classes, MADE) for name, one in data().items()}
    with pytest.raises(SpecError, match=r"scenario = 'domain': must be class or task: own has no domains"):
        stream(sets=bare, scenario="domain")


@pytest.mark.parametrize("scenario", ["class", "domain"])
def test_an_order_that_is_drawn_is_that_of_all_runs(scenario: str) -> None:
    first, second = (stream(seed, scenario=scenario, order_seed=3) for seed in (0, 1))
    assert (first.names, first.steps) == (second.names, second.steps)
    sorted_one = stream(scenario=scenario)
    if scenario == "class":
        assert sorted(first.names) == list("abcde") != list(first.names)
        assert all(first.names[label] == "abcde"[c] for t in range(3) for c, _, label in seen(first, t))
    else:
        order = [seen(first, t)[0][1] for t in range(3)]
        assert sorted(order) == [0, 1, 2]
        assert first.names == sorted_one.names


def test_passes_show_every_sample_but_for_what_fills_no_batch() -> None:
    tasks = stream(epochs=3, classes_per_task=5, batch=5)
    per_epoch = sum(SIZES) // 5
    orders = [[tuple(tasks.samples(e * per_epoch + p)) for p in range(per_epoch)] for e in range(3)]
    for order in orders:
        shown = [i for batch in order for i in batch]
        assert len(set(shown)) == len(shown) == sum(SIZES)
    assert orders[0] != orders[1] != orders[2]
    assert [tasks.batch(p).epoch for p in (0, per_epoch, 2 * per_epoch)] == [0, 1, 2]
    assert stream(1, epochs=3, classes_per_task=5, batch=5).samples(0).tolist() != list(orders[0][0])


def test_any_position_any_order_same_bits_and_task_ends() -> None:
    forward, backward = (stream(augment="crop-flip", epochs=2, validation=0.2) for _ in range(2))
    batches = [forward.batch(p) for p in range(forward.steps)]
    for p in reversed(range(forward.steps)):
        again = backward.batch(p)
        assert torch.equal(again.x, batches[p].x)
        assert torch.equal(again.y, batches[p].y)
    ends = [p for p, batch in enumerate(batches) if batch.end is not None]
    assert [forward.start(t + 1) - 1 for t in range(3)] == ends
    kept = [forward.validation_set(t)[1] for t in range(3)]
    assert [len(y) for y in kept] == [6, 5, 2]  # a fifth of 31, 25 and 9, rounded


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SpecError, match=r"batch = 10: must be at most 9, the samples of e"):
        stream(batch=10)
    with pytest.raises(SpecError, match=r"augment = 'crop-flip': must be none: own are no pictures"):
        stream(sets=data((7, 1, 1), "float32"), augment="crop-flip")
    few = data()
    few["own:test"] = own("own:test", (3, 3), (3, 4, 4), "uint8")
    few["own:test"] = ImageSet("own:test", few["own:test"].images, few["own:test"].labels, tuple("abcde"), MADE)
    with pytest.raises(SpecError, match=r"test samples of every task; c and d has none"):
        stream(sets=few)
    with pytest.raises(SpecError, match=r"classes_per_task = 1: must be at least 2"):
        IncrementalConfig(scenario="task", classes_per_task=1)


def build(kind: str, sets: Mapping[str, ImageSet], **fields: Any) -> Stream:
    entry = STREAMS[kind]
    config = entry.config(**fields)
    return entry.build(config, {name: sets[name] for name in entry.datasets(config)}, 0)


OTHERS: dict[str, dict[str, Any]] = {
    "osaka": {"domains": {"own": 1.0}, "ways": 3, "shots": 2, "steps": 20},
    "permutations": {"dataset": "own", "tasks": 2, "samples": 20},
    "split-classes": {"dataset": "own", "tasks": 2, "classes_per_task": 2, "class_order": "natural"},
    "character-tasks": {"dataset": "own", "tasks": 2, "epochs": 1, "batch": 4},
    "rotations": {"dataset": "own", "tasks": 2, "samples": 20},
    "pictures": {"dataset": "own", "batch": 4, "steps": 5, "size": 4, "resize": 4, "smallest": 1.0},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_every_stream_takes_own_pictures(kind: str) -> None:
    made = build(kind, data(), **OTHERS[kind])
    assert made.shape == (3, 4, 4)
    for position in (0, made.steps - 1):
        batch = made.batch(position)
        values = batch.x.amax((1, 2, 3)) * 255  # a rotation blanks corners
        if kind != "osaka":  # whose labels are places among the task's classes
            assert ((values / 10 + 0.01).floor().long() == batch.y).all()
    assert set(made.provenance()) <= {"own", "own:test"}


@pytest.mark.parametrize("kind", ["osaka", "permutations", "split-classes", "character-tasks", "incremental"])
def test_streams_show_features_as_they_are(kind: str) -> None:
    fields = OTHERS.get(kind, {"batch": 4})
    made = build(kind, data((7, 1, 1), "float32"), **fields)
    assert made.shape == (7, 1, 1)
    batch = made.batch(0)
    assert batch.x.dtype == torch.float32
    assert (batch.x == batch.x[:, :1]).all()
    if kind != "osaka":
        assert (batch.x[:, 0, 0, 0].floor().long() == batch.y).all()
    if isinstance(made, TaskStream):
        x, y = made.test_set(1)
        assert (x[:, 0, 0, 0].floor().long() == y).all()


@pytest.mark.parametrize(("shape", "dtype"), [((3, 4, 4), "uint8"), ((16, 1, 1), "float32")])
def test_permutations_move_all_channels_alike_and_features_one_by_one(shape: Any, dtype: str) -> None:
    sets = data(shape, dtype)
    ramp = np.arange(np.prod(shape)).reshape(shape)
    for name, one in sets.items():
        images = np.broadcast_to(ramp, (len(one.labels), *shape)).astype(dtype)
        sets[name] = ImageSet(name, images, one.labels, one.classes, MADE)
    made = build("permutations", sets, dataset="own", tasks=3, samples=20, identity_first=True)
    assert isinstance(made, TaskStream)
    places = [
        (made.test_set(t)[0][0] * (255 if dtype == "uint8" else 1)).round().long().reshape(-1, 16) for t in range(3)
    ]
    assert torch.equal(places[0], torch.from_numpy(ramp).reshape(-1, 16))
    for t in (1, 2):
        assert sorted(places[t][0].tolist()) == list(range(16))
        assert places[t][0].tolist() != list(range(16))
        assert all(torch.equal(channel, places[t][0] + 16 * c) for c, channel in enumerate(places[t]))
    first = made.batch(made.start(1)).x[0] * (255 if dtype == "uint8" else 1)
    assert torch.equal(first.round().long().reshape(-1, 16), places[1])


def test_features_have_no_angles_and_no_pixels() -> None:
    features = data((7, 1, 1), "float32")
    for kind, says in (("rotations", "features cannot be turned"), ("pictures", "pictures of one byte a channel")):
        with pytest.raises(SpecError, match=says):
            build(kind, features, **OTHERS[kind])
    with pytest.raises(SpecError, match=r"pad = 2: must be 0"):
        build("permutations", features, **OTHERS["permutations"], pad=2)
