"""Rotated and permuted images (lamaml spec, section 6) on embedded digits."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from frisket.envs.data import ImageSet, resolve
from frisket.envs.pixel_tasks import (
    BLANK,
    PermutationsConfig,
    PixelTasksConfig,
    PixelTaskStream,
    RotationsConfig,
    rotation_map,
)
from frisket.errors import SpecError

SMALL: dict[str, Any] = {"tasks": 3, "samples": 40}


@functools.cache
def digits() -> Mapping[str, ImageSet]:
    return resolve(("mnist", "mnist:test"), "embedded")


def stream(config: PixelTasksConfig | None = None, seed: int = 0) -> PixelTaskStream:
    return PixelTaskStream(config or RotationsConfig(**SMALL), digits(), seed)


@pytest.mark.parametrize("config", [RotationsConfig(**SMALL), PermutationsConfig(**SMALL)])
def test_any_position_any_order_same_bits(config: PixelTasksConfig) -> None:
    forward, backward = stream(config), stream(config)
    batches = {p: forward.batch(p) for p in range(forward.steps)}
    assert forward.steps == 12
    for p in reversed(range(12)):
        again = backward.batch(p)
        assert torch.equal(again.x, batches[p].x)
        assert torch.equal(again.y, batches[p].y)
        assert (again.x.shape, again.x.dtype, again.y.dtype) == ((10, 1, 28, 28), torch.float32, torch.int64)
    assert all(float(b.x.min()) >= 0 and float(b.x.max()) <= 1 for b in batches.values())
    assert max(float(b.x.max()) for b in batches.values()) == 1.0


def test_tasks_are_in_sequence_and_their_edges_are_known() -> None:
    tasks = stream()
    assert [tasks.task_index(p) for p in range(12)] == [0] * 4 + [1] * 4 + [2] * 4
    assert [p for p in range(12) if tasks.ends_task(p)] == [3, 7, 11]
    starts = [task.start for p in range(12) if (task := tasks.batch(p).task)]
    assert starts == [0] * 4 + [4] * 4 + [8] * 4


def test_seeds_share_the_tasks_and_differ_in_the_samples() -> None:
    one, other = stream(seed=0), stream(seed=1)
    assert np.array_equal(one.maps, other.maps)
    assert not np.array_equal(one.samples(0), other.samples(0))
    assert torch.equal(one.test_set(1)[0], other.test_set(1)[0])
    elsewhere = stream(RotationsConfig(**SMALL, task_seed=1))
    assert not np.array_equal(one.maps, elsewhere.maps)


def test_a_task_shows_no_image_twice_and_another_task_may() -> None:
    tasks = stream(RotationsConfig(tasks=2, samples=1000))
    first, second = tasks.samples(0), tasks.samples(1)
    assert len(set(first)) == len(set(second)) == 1000
    assert set(first) & set(second)


def test_nobody_is_judged_on_what_it_was_trained_on() -> None:
    """The embedded digits have no test split: every class is cut in two, and the parts share no image."""
    tasks = stream()
    data = digits()["mnist"]
    assert len(tasks._pool) + len(tasks._held_out) == len(data.labels)
    assert not set(tasks._pool) & set(tasks._held_out)
    shares = np.bincount(data.labels[tasks._held_out]) / np.bincount(data.labels)
    assert shares == pytest.approx(1 / 3, abs=0.01)
    assert set(tasks.samples(0)) <= set(tasks._pool)


def test_published_test_split_is_the_test_set() -> None:
    train = digits()["mnist"]
    held = ImageSet("mnist:test", train.images[:50], train.labels[:50], train.classes, train.provenance)
    data = {"mnist": ImageSet("mnist", *(getattr(train, f) for f in ("images", "labels", "classes", "provenance")))}
    tasks = PixelTaskStream(PermutationsConfig(tasks=2, samples=1790), {**data, "mnist:test": held}, 0)
    x, y = tasks.test_set(0)
    assert torch.equal(y, torch.from_numpy(train.labels[:50]))
    original = torch.from_numpy(train.images[:50].reshape(50, -1)[:, tasks.maps[0]]).float() / 255
    assert torch.equal(x.reshape(50, -1), original)
    assert set(tasks.provenance()) == {"mnist", "mnist:test"}


def test_test_samples_bounds_the_test_set() -> None:
    x, y = stream(RotationsConfig(**SMALL, test_samples=25)).test_set(2)
    assert (len(x), len(y), x.shape[1:]) == (25, 25, (1, 28, 28))


@pytest.mark.parametrize("angle", [0.0, 13.7, 45.2, 90.0, 133.3, 180.0])
def test_rotation_is_pillows_nearest_neighbour(angle: float) -> None:
    pixels = digits()["mnist"].images[7, 0]
    table = rotation_map(angle, 28, 28)
    ours = np.where(table == BLANK, 0, pixels.reshape(-1)[table]).reshape(28, 28)
    theirs = np.asarray(Image.fromarray(pixels).rotate(angle, Image.Resampling.NEAREST))
    assert (ours == theirs).mean() > 0.99  # a source on the edge of a pixel may fall to either side


def test_angles_come_in_order_one_in_each_twentieth_of_the_span() -> None:
    angles = RotationsConfig().angles()
    assert [int(a // 9) for a in angles] == list(range(20))
    assert len(set(np.round(angles % 9, 6))) == 20


def test_permutations_lose_no_pixel_and_differ() -> None:
    maps = PermutationsConfig(**SMALL).maps(28, 28)
    assert all(np.array_equal(np.sort(row), np.arange(784)) for row in maps)
    assert not np.array_equal(maps[0], np.arange(784))
    assert not np.array_equal(maps[0], maps[1])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tasks": 0}, "tasks"),
        ({"samples": 15}, "batch"),
        ({"samples": 2000}, "samples"),
        ({"test_samples": 0}, "test"),
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError, match=field):
        stream(PermutationsConfig(**fields))
