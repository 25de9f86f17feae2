"""Class groups as tasks (lamaml spec, section 6) on embedded data, and on pictures made to be told apart."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from frisket.envs.data import ImageSet, Provenance, resolve
from frisket.envs.kinds import STREAMS
from frisket.envs.streams.augment import BRIGHTNESS, PADDING, augment
from frisket.envs.streams.scaling import NORMALISATION
from frisket.envs.streams.split_classes import SplitClassesConfig, SplitClassesStream
from frisket.errors import SpecError
from frisket.rng import numpy_generator

NOWHERE = Provenance("made", "embedded", "made here", "none", "nobody", {})


def made(name: str, per_class: int, classes: int = 12, side: int = 6) -> ImageSet:
    """Three-channel pictures: channel 0 holds the class, channel 1 the number of the picture within its class."""
    labels = np.tile(np.arange(classes), per_class)
    images = np.zeros((len(labels), 3, side, side), np.uint8)
    images[:, 0] = labels[:, None, None]
    images[:, 1] = (np.arange(len(labels)) // classes)[:, None, None]
    return ImageSet(name, images, labels, tuple(f"c{i}" for i in range(classes)), NOWHERE)


DATA = {"cifar100": made("plain", 40), "cifar100:test": made("plain:test", 7)}
SMALL: dict[str, Any] = {"tasks": 4, "classes_per_task": 3, "validation": 0.1, "batch": 9}


def stream(seed: int = 0, data: Mapping[str, ImageSet] | None = None, **fields: Any) -> SplitClassesStream:
    return SplitClassesStream(SplitClassesConfig(**{**SMALL, **fields}), data or DATA, seed)


def shown(x: Tensor) -> list[tuple[int, int]]:
    """``(class, number)`` of pictures of `made` that are neither augmented nor normalised."""
    return [(round(float(p[0, 2, 2]) * 255), round(float(p[1, 2, 2]) * 255)) for p in x]


def task_pictures(tasks: SplitClassesStream, task: int, epoch: int = 0) -> list[tuple[int, int]]:
    per_epoch = tasks.steps_per_task // tasks.config.epochs
    first = task * tasks.steps_per_task + epoch * per_epoch
    return [one for p in range(first, first + per_epoch) for one in shown(tasks.batch(p).x)]


def test_tasks_have_contiguous_labels_of_their_own_classes() -> None:
    tasks = stream()
    assert (tasks.ways, tasks.own, tasks.tasks, tasks.shape) == (12, 3, 4, (3, 6, 6))
    assert tasks.steps == 4 * 12  # 3 classes x 40 less 4 for validation: 108 samples, 12 batches of 9
    for p in range(tasks.steps):
        batch = tasks.batch(p)
        t = tasks.task_index(p)
        assert batch.task is not None
        assert batch.task.start == t * 12
        assert set(batch.y.tolist()) <= set(tasks.labels(t)) == {3 * t, 3 * t + 1, 3 * t + 2}
        assert [c for c, _ in shown(batch.x)] == [batch.task.classes[j] for j in batch.y]
    assert sorted(tasks.classes) == list(range(12))


def test_a_pass_shows_every_sample_once_and_the_next_one_in_another_order() -> None:
    tasks = stream(epochs=3)
    passes = [task_pictures(tasks, 2, epoch) for epoch in range(3)]
    assert len(set(passes[0])) == len(passes[0]) == 108
    assert all(set(other) == set(passes[0]) for other in passes)
    assert len({tuple(one) for one in passes}) == 3
    assert [tasks.batch(p).epoch for p in range(72, 108, 12)] == [0, 1, 2]
    assert {tasks.batch(p).task.start for p in range(72, 108)} == {72}  # pyright: ignore[reportOptionalMemberAccess]
    assert [p for p in range(tasks.steps) if tasks.ends_task(p)] == [35, 71, 107, 143]


def test_learned_validated_and_judged_pictures_are_disjoint_and_complete() -> None:
    tasks = stream()
    for t in range(4):
        learned, kept = set(task_pictures(tasks, t)), shown(tasks.validation_set(t)[0])
        assert len(kept) == 12
        assert not learned & set(kept)
        assert learned | set(kept) == {(c, i) for c in tasks.classes[3 * t : 3 * t + 3] for i in range(40)}
        assert np.bincount(tasks.validation_set(t)[1], minlength=12).tolist() == [4 * (j // 3 == t) for j in range(12)]
        x, y = tasks.test_set(t)
        assert len(x) == 21
        assert set(y.tolist()) == set(tasks.labels(t))
        assert [c for c, _ in shown(x)] == [tasks.classes[j] for j in y]


def test_class_order_and_validation_differ_by_seed_and_natural_order_does_not() -> None:
    one, other = stream(seed=0), stream(seed=1)
    assert one.classes != other.classes
    natural = [stream(seed=s, class_order="natural") for s in (0, 1)]
    assert all(n.classes == tuple(range(12)) for n in natural)
    assert torch.equal(natural[0].test_set(1)[0], natural[1].test_set(1)[0])
    assert not torch.equal(natural[0].validation_set(1)[0], natural[1].validation_set(1)[0])
    assert not torch.equal(natural[0].batch(0).x, natural[1].batch(0).x)


def test_class_incremental_has_one_head() -> None:
    tasks = stream(own_classes=False)
    assert tasks.own is None
    assert tasks.labels(2) == range(12)
    assert set(tasks.batch(30).y.tolist()) <= {6, 7, 8}  # labels stay contiguous


def test_samples_bounds_a_task_and_stays_the_same_in_every_epoch() -> None:
    tasks = stream(samples=18, epochs=2)
    assert tasks.steps_per_task == 4
    first, second = task_pictures(tasks, 1, 0), task_pictures(tasks, 1, 1)
    assert len(set(first)) == 18
    assert set(first) == set(second)
    assert set(first) != set(task_pictures(stream(samples=18, seed=1), 1))


def test_all_samples_are_as_many_whole_batches_as_the_smallest_task_fills() -> None:
    assert stream(batch=10).steps_per_task == 10
    assert stream(batch=10, validation=0.0).steps_per_task == 12


MIXED: dict[str, Any] = {"order": "mixed", "batch": 8, "mixed_tasks": 2, "mixed_batches": 40, "epochs": 2}


def test_mixture_has_equal_parts_of_different_tasks_and_no_sample_twice_in_a_batch() -> None:
    tasks = stream(**MIXED)
    assert tasks.steps == 80
    seen = np.zeros(4, int)
    for p in range(tasks.steps):
        batch = tasks.batch(p)
        counts = np.bincount(batch.y // 3, minlength=4)
        assert sorted(counts.tolist()) == [0, 0, 4, 4]
        assert len(set(shown(batch.x))) == 8
        assert (batch.task and batch.task.start, batch.epoch) == (0, p // 40)
        seen += counts > 0
    assert seen.min() > 25  # 40 expected
    assert [p for p in range(80) if tasks.ends_task(p)] == [19, 39, 59, 79]
    kept = {one for t in range(4) for one in shown(tasks.validation_set(t)[0])}
    assert not kept & {one for p in range(80) for one in shown(tasks.batch(p).x)}


def test_mixture_of_few_samples() -> None:
    tasks = stream(**MIXED, samples=5)
    assert len({one for p in range(80) for one in shown(tasks.batch(p).x)}) == 20


def test_pictures_are_normalised_by_the_data_that_serve() -> None:
    for name, (mean, deviation) in NORMALISATION.items():
        tasks = stream(data={"cifar100": made(name, 40), "cifar100:test": made(f"{name}:test", 7)})
        x, y = tasks.test_set(0)
        raw = torch.tensor([tasks.classes[j] for j in y]) / 255
        assert torch.allclose(x[:, 0, 0, 0], (raw - mean[0]) / deviation[0], atol=1e-6)
        assert torch.allclose(x[:, 2], torch.tensor(-mean[2] / deviation[2]), atol=1e-6)
        black = (tasks.batch(0).x[:, 2] * deviation[2] + mean[2]).abs().max()
        assert float(black) < 1e-6
    assert stream().test_set(0)[0].max() <= 1  # a data set without published constants


def test_crop_flip_by_hand() -> None:
    """Every result is one of the 9 x 9 cuts of the framed picture or its mirror image, both halves drawn."""
    pictures = np.random.default_rng(0).integers(1, 256, (64, 3, 5, 7)).astype(np.uint8)
    changed = augment(pictures, "crop-flip", numpy_generator(0, "test"))
    framed = np.pad(pictures, ((0, 0), (0, 0), (PADDING, PADDING), (PADDING, PADDING)))
    draws = set()
    for frame, got in zip(framed, changed, strict=True):
        found = [
            (top, left, flip)
            for top in range(9)
            for left in range(9)
            for flip in (1, -1)
            if np.array_equal(frame[:, top : top + 5, left : left + 7][:, :, ::flip], got)
        ]
        assert found
        draws.add(found[0])
    assert {flip for *_, flip in draws} == {1, -1}
    assert {top for top, *_ in draws} == {left for _, left, _ in draws} == set(range(9))


def test_brightness_is_one_factor_a_picture_within_bounds() -> None:
    pictures = np.full((200, 3, 9, 9), 200, np.uint8)
    pictures[:, 1] = 100
    plain = augment(pictures, "crop-flip", numpy_generator(0, "test"))
    changed = augment(pictures, "crop-flip-brightness", numpy_generator(0, "test"))
    inside = plain[:, 1] > 0  # not the black frame
    factors = [(c[1][i] / 100) for c, i in zip(changed, inside, strict=True)]
    assert all(np.ptp(f) < 1e-6 for f in factors)
    values = np.array([f.flat[0] for f in factors])
    assert 1 - BRIGHTNESS <= values.min() < 0.8
    assert 1.2 < values.max() <= 1 + BRIGHTNESS
    assert changed.max() <= 255  # 200 x 1.247 would be less, so look at what is clipped too
    assert augment(np.full((50, 1, 9, 9), 250, np.uint8), "crop-flip-brightness", numpy_generator(1)).max() == 255
    assert not (changed[plain == 0]).any()


def test_augmentation_differs_by_epoch_and_leaves_tests_alone() -> None:
    plain, moved = stream(epochs=2), stream(epochs=2, augment="crop-flip")
    assert torch.equal(plain.batch(0).y, moved.batch(0).y)
    assert not torch.equal(plain.batch(0).x, moved.batch(0).x)
    assert torch.equal(plain.test_set(0)[0], moved.test_set(0)[0])
    assert torch.equal(plain.validation_set(0)[0], moved.validation_set(0)[0])


@functools.cache
def embedded(name: str) -> Mapping[str, ImageSet]:
    return resolve((name, f"{name}:test"), "embedded")


@pytest.mark.parametrize(
    ("name", "stand_in", "fields", "steps_per_task", "tested"),
    [
        ("cifar10", "digits", {"tasks": 5, "classes_per_task": 2, "own_classes": False, "validation": 0.0}, 23, 116),
        ("cifar100", "glyphs", {"tasks": 20, "classes_per_task": 5}, 6, 30),
        ("tinyimagenet", "glyphs", {"tasks": 40, "classes_per_task": 5}, 6, 30),
    ],
)
def test_every_paper_stream_runs_on_embedded_data(
    name: str, stand_in: str, fields: dict[str, Any], steps_per_task: int, tested: int
) -> None:
    entry = STREAMS["split-classes"]
    config = entry.config(dataset=name, augment="crop-flip-brightness", **{"validation": 0.1, **fields})
    tasks = entry.build(config, embedded(name), 0)
    assert isinstance(tasks, SplitClassesStream)
    assert tasks.domains == (stand_in,)
    assert tasks.steps_per_task == pytest.approx(steps_per_task, abs=1)
    assert len(tasks.test_set(0)[1]) == pytest.approx(tested, abs=8)
    batch = tasks.batch(tasks.steps - 1)
    assert batch.x.shape == (10, 1, 28, 28)
    assert float(batch.x.min()) >= 0
    assert float(batch.x.max()) <= 1
    assert set(tasks.provenance()) == {stand_in}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tasks": 0}, "tasks"),
        ({"tasks": 5}, "tasks"),  # 15 classes of 12
        ({"classes_per_task": 1}, "classes_per_task"),
        ({"tasks": 1, "classes_per_task": 1, "own_classes": False}, "classes_per_task"),
        ({"validation": 1.0}, "validation"),
        ({"validation": -0.1}, "validation"),
        ({"samples": 0}, "samples"),
        ({"samples": 20}, "batch"),  # not whole batches
        ({"samples": 117}, "samples"),  # 108 there
        ({"batch": 109}, "batch"),
        ({"epochs": 0}, "epochs"),
        ({**MIXED, "mixed_tasks": 5, "batch": 10}, "mixed_tasks"),
        ({**MIXED, "batch": 9}, "batch"),
        ({**MIXED, "mixed_batches": 7, "epochs": 1}, "epochs"),
        ({**MIXED, "samples": 3}, "samples"),  # fewer than a batch takes of a task
        ({**MIXED, "samples": 109}, "samples"),
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        stream(**fields)
    assert caught.value.field == field


def test_splits_must_have_the_same_classes() -> None:
    with pytest.raises(SpecError, match="same classes"):
        stream(data={"cifar100": made("a", 40), "cifar100:test": made("b", 7, classes=13)})
