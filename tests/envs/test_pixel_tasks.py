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
from frisket.envs.streams.pixel_tasks import (
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
def test_pixels_are_in_0_to_1(config: PixelTasksConfig) -> None:
    made = stream(config)
    assert made.steps == 12
    x = torch.cat([made.batch(p).x for p in range(12)])
    assert x.shape[1:] == (1, 28, 28)
    assert (float(x.min()), float(x.max())) == (0, 1)


@pytest.mark.parametrize("kind", [RotationsConfig, PermutationsConfig])
@pytest.mark.parametrize("more", [{}, {"batch": 1}, {"batch": 400, "epochs": 2}, {"pad": 2, "mean": 0.1, "std": 0.3}])
def test_many_batches_at_once_are_those_one_by_one(kind: type[PixelTasksConfig], more: dict[str, Any]) -> None:
    """To the bit and in their layout, over the edges of passes and tasks and of what is made at a time."""
    made = stream(kind(tasks=2, samples=800, **more))
    first, count = made.steps // 3, made.steps // 2
    many = list(made.batches(first, count))
    assert [b.position for b in many] == list(range(first, first + count))
    for b in many:
        one = made.batch(b.position)
        assert torch.equal(b.x, one.x)
        assert torch.equal(b.y, one.y)
        assert b.x.stride() == one.x.stride()
        assert (b.task, b.epoch, b.end is None) == (one.task, one.epoch, one.end is None)


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


@pytest.mark.parametrize("config", [RotationsConfig(**SMALL, validation=20), PermutationsConfig(**SMALL, epochs=2)])
def test_a_reseeded_stream_is_one_built_anew_and_shares_the_tasks(config: PixelTasksConfig) -> None:
    first, anew = stream(config, seed=3), stream(config, seed=5)
    first.batch(0)
    other = first.reseeded(5)
    assert other.maps is first.maps
    assert (other.steps, other.shape, other.ways) == (anew.steps, anew.shape, anew.ways)
    for p in range(anew.steps):
        assert torch.equal(other.batch(p).x, anew.batch(p).x)
        assert torch.equal(other.batch(p).y, anew.batch(p).y)
    assert torch.equal(other.test_set(2)[0], anew.test_set(2)[0])
    assert torch.equal(other.validation_set(1)[0], anew.validation_set(1)[0])
    assert torch.equal(first.batch(1).x, stream(config, seed=3).batch(1).x), "the first is left as it was"
    assert not torch.equal(first.batch(1).x, other.batch(1).x)


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


def test_epochs_show_the_same_samples_in_other_orders() -> None:
    tasks = stream(PermutationsConfig(tasks=2, samples=40, epochs=3))
    assert (tasks.steps, tasks.steps_per_task) == (24, 12)
    assert [tasks.batch(p).epoch for p in range(12)] == [0] * 4 + [1] * 4 + [2] * 4
    orders = [tasks.samples(1, epoch).tolist() for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 3
    assert len({tuple(sorted(order)) for order in orders}) == 1
    once = stream(PermutationsConfig(tasks=2, samples=40))
    assert torch.equal(tasks.batch(14).x, once.batch(6).x)  # the first pass is the one of a stream of one pass


def test_validation_samples_are_neither_trained_on_nor_judged_on() -> None:
    tasks = stream(PermutationsConfig(tasks=2, samples=200, validation=50))
    x, y = tasks.validation_set(1)
    assert (tuple(x.shape), tuple(y.shape)) == ((50, 1, 28, 28), (50,))
    kept = set(tasks._kept_out)
    assert len(kept) == 50
    assert not kept & set(tasks._pool)
    assert not kept & set(tasks._held_out)
    first = tasks._train.images[tasks._kept_out[0]].reshape(-1)
    assert torch.equal(x[0].flatten(), torch.from_numpy(first[tasks.maps[1]]).float() / 255)
    assert len(stream(PermutationsConfig(**SMALL)).validation_set(0)[1]) == 0
    with pytest.raises(SpecError, match="below"):
        stream(PermutationsConfig(tasks=2, samples=10, validation=100_000))


def test_the_last_batch_of_a_task_carries_its_end() -> None:
    tasks = stream(PermutationsConfig(tasks=2, samples=40, epochs=2, validation=20))
    ends = [(p, end) for p in range(tasks.steps) if (end := tasks.batch(p).end) is not None]
    assert [p for p, _ in ends] == [7, 15]
    end = ends[1][1]
    assert end.steps == 8
    assert all(torch.equal(end.batch(i).x, tasks.batch(8 + i).x) for i in range(8))
    assert torch.equal(end.validation()[0], tasks.validation_set(1)[0])
    assert tasks.batch(7).hide_task().end is None


def test_padding_and_normalisation_of_the_categorised_scenarios() -> None:
    """HSU18: 28 x 28 in 32 x 32, (x - 0.1) / 0.2752, task 0 unpermuted, all 1024 pixels permuted after that."""
    config = PermutationsConfig(tasks=2, samples=40, pad=2, mean=0.1, std=0.2752, identity_first=True)
    tasks, plain = stream(config), stream(PermutationsConfig(tasks=2, samples=40, identity_first=True))
    assert tasks.shape == (1, 32, 32)
    shown, original = tasks.batch(0).x, plain.batch(0).x
    assert torch.equal(shown[..., 2:-2, 2:-2], (original - 0.1) / 0.2752)
    border = torch.ones(32, 32, dtype=torch.bool)
    border[2:-2, 2:-2] = False
    assert torch.equal(shown[:, 0, border], torch.full((10, 240), -0.1) / 0.2752)
    index = tasks.samples(1)[0]
    image = np.pad(tasks._train.images[index, 0], 2).reshape(-1)
    order = config.maps(32, 32)[1]
    assert torch.equal(tasks.batch(4).x[0].flatten(), (torch.from_numpy(image[order]).float() / 255 - 0.1) / 0.2752)
    test, flat = tasks.test_set(0)[0], plain.test_set(0)[0]
    assert torch.allclose(test[..., 2:-2, 2:-2], (flat - 0.1) / 0.2752)
    assert torch.allclose(test[:, 0, border], torch.tensor(-0.1 / 0.2752))


@pytest.mark.parametrize("field", ["epochs", "validation", "pad", "std"])
def test_numbers_that_cannot_be(field: str) -> None:
    fields: dict[str, Any] = {field: -1}
    with pytest.raises(SpecError) as caught:
        PermutationsConfig(**fields)
    assert caught.value.field == field
