"""Passes over pictures of any size: pieces, middles, orders, and that only what is asked for is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_files import made_folders
from tiny_data import bare_machine

from frisket.envs.data import Pictures, Provenance, load, load_folder
from frisket.envs.streams.picture_stream import PicturesConfig, PictureStream, middle_box, random_box, resized
from frisket.errors import SpecError
from frisket.rng import numpy_generator

SMALL: dict[str, Any] = {"batch": 4, "steps": 10, "size": 12, "resize": 14, "test_batch": 3, "readers": 2}


class Numbered(Pictures):
    """Pictures 1 x 9 x (5 + label) whose every pixel is the picture's number; notes which are read."""

    provenance = Provenance("numbered", "real", "", "", "", {})

    def __init__(self, name: str, count: int, classes: tuple[str, ...] = ("a", "b")) -> None:
        self.name, self.classes, self.read = name, classes, list[int]()
        self.labels = np.arange(count) % len(classes)

    @property
    def channels(self) -> int:
        return 1

    def picture(self, index: int) -> np.ndarray:
        self.read.append(index)
        return np.full((1, 9, 5 + int(self.labels[index])), index, np.uint8)


def numbered(train: int = 10, test: int = 7) -> dict[str, Numbered]:
    return {"imagenet": Numbered("imagenet-like", train), "imagenet:test": Numbered("imagenet-like:test", test)}


def stream(data: Mapping[str, Pictures] | None = None, seed: int = 0, **fields: Any) -> PictureStream:
    return PictureStream(PicturesConfig(**{**SMALL, **fields}), numbered() if data is None else data, seed)


def shown(x: torch.Tensor) -> list[int]:
    """The numbers of `Numbered` pictures."""
    assert float((x - x[:, :1, :1, :1]).abs().max()) < 1e-6
    return (x[:, 0, 0, 0] * 255).round().int().tolist()


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Pictures]:
    bare_machine(monkeypatch, tmp_path)
    parent = made_folders(tmp_path / "data")
    return {name: load_folder(name, parent) for name in ("imagenet", "imagenet:test")}


def test_a_pass_shows_every_picture_once_in_an_order_of_its_own() -> None:
    pictures = stream(batch=5, steps=6)
    passes = [[*shown(pictures.batch(2 * e).x), *shown(pictures.batch(2 * e + 1).x)] for e in range(3)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert passes[0] != passes[1] != passes[2]
    assert [pictures.batch(p).epoch for p in range(6)] == [0, 0, 1, 1, 2, 2]
    assert [p for p in range(6) if pictures.batch(p).end is not None] == [5]


def test_what_is_left_of_a_pass_is_not_shown_in_it() -> None:
    pictures = stream()
    assert pictures.batches_per_pass == 2
    assert len({*shown(pictures.batch(0).x), *shown(pictures.batch(1).x)}) == 8
    assert pictures.batch(2).epoch == 1


def test_only_the_batch_is_read() -> None:
    data = numbered(200)
    pictures = stream(data)
    assert data["imagenet"].read == data["imagenet:test"].read == []
    batch = pictures.batch(17)
    assert sorted(data["imagenet"].read) == sorted(pictures.samples(17).tolist())
    assert batch.y.tolist() == data["imagenet"].labels[pictures.samples(17)].tolist()
    next(iter(pictures.test_batches(0)))
    assert sorted(data["imagenet:test"].read) == [0, 1, 2]


def test_any_order_and_any_number_of_readers_give_the_same_bits(folders: Mapping[str, Pictures]) -> None:
    one, other = stream(folders, readers=1), stream(folders, readers=5)
    first = [one.batch(p) for p in range(6)]
    for p in (5, 0, 3, 1, 4, 2):
        assert torch.equal(other.batch(p).x, first[p].x)
        assert torch.equal(other.batch(p).y, first[p].y)
    assert not torch.equal(stream(folders, seed=1).batch(0).x, first[0].x)


def test_pieces_of_a_picture_differ_and_carry_its_label(folders: Mapping[str, Pictures]) -> None:
    """Red is label 0 and blue label 1; a picture looks different in another pass."""
    pictures = stream(folders, batch=16)
    first, second = pictures.batch(0), pictures.batch(1)
    for batch in (first, second):
        assert batch.x.shape == (16, 3, 12, 12)
        bluer = (batch.x[:, 2] - batch.x[:, 0]).mean((1, 2)) > 0
        assert bluer.long().tolist() == batch.y.tolist()
    where = [pictures.samples(p).tolist() for p in (0, 1)]
    assert not any(torch.equal(first.x[where[0].index(i)], second.x[where[1].index(i)]) for i in range(16))


def test_test_pictures_are_the_same_in_pieces_and_at_once(folders: Mapping[str, Pictures]) -> None:
    pictures = stream(folders)
    pieces = list(pictures.test_batches(0))
    assert [len(y) for _, y in pieces] == [3, 3, 2]
    x, y = pictures.test_set(0)
    assert torch.equal(torch.cat([piece for piece, _ in pieces]), x)
    assert y.tolist() == [0] * 4 + [1] * 4
    few = stream(folders, test_samples=4).test_set(0)
    assert torch.equal(few[0], x[::2])
    assert few[1].tolist() == [0, 0, 1, 1]


def test_pieces_keep_to_their_picture_and_their_bounds() -> None:
    areas, shapes = [], []
    for i in range(400):
        left, upper, right, lower = random_box(60, 40, 0.25, numpy_generator(0, i))
        assert 0 <= left < right <= 40
        assert 0 <= upper < lower <= 60
        areas.append((right - left) * (lower - upper) / 2400)
        shapes.append((right - left) / (lower - upper))
    assert 0.24 < min(areas) < 0.3
    assert 0.7 < min(shapes) < 0.8
    assert 1.2 < max(shapes) < 1.4
    assert float(np.mean(areas)) == pytest.approx(0.5, abs=0.1)  # large ones often do not fit
    assert float(np.mean(np.log(shapes))) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [(100, 10, (0, 43, 10, 56)), (10, 100, (43, 0, 56, 10)), (1, 1, (0, 0, 1, 1))],
)
def test_where_no_piece_fits_it_is_the_largest_allowed_in_the_middle(
    height: int, width: int, box: tuple[int, ...]
) -> None:
    assert random_box(height, width, 1.0, numpy_generator(0, "any")) == box


def test_the_middle_by_hand() -> None:
    """Of 256 x 384 pixels 7/8 of the shorter side: a square of 224 in the middle."""
    assert middle_box(256, 384, 224 / 256) == (80, 16, 304, 240)
    pixels = np.zeros((3, 256, 384), np.uint8)
    pixels[:, 16:240, 80:304] = 9
    assert (resized(pixels, middle_box(256, 384, 224 / 256), 224) == 9).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_averages(channels: int) -> None:
    pixels = np.tile(np.array([[0, 200], [200, 0]], np.uint8), (channels, 8, 8))
    small = resized(pixels, (0, 0, 16, 16), 2)
    assert small.shape == (channels, 2, 2)
    assert int(np.abs(small.astype(int) - 100).max()) <= 4


def test_the_embedded_stand_in_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grey patches of 28 pixels; a third of them is set apart for judging."""
    bare_machine(monkeypatch, tmp_path)
    patches = load("patches")
    pictures = stream({"imagenet": patches, "imagenet:test": patches}, test_samples=30)
    assert pictures.shape == (1, 12, 12)
    assert pictures.ways == 10
    assert len(pictures.test_set(0)[1]) == 30
    assert 0 <= float(pictures.batch(0).x.min()) <= float(pictures.batch(0).x.max()) <= 1
    learned = {int(i) for p in range(pictures.batches_per_pass) for i in pictures.samples(p)}
    assert len(learned) == math.floor(len(learned) / 4) * 4 < len(patches.labels)


def test_data_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SpecError, match=r"batch.*at most 10"):
        stream(batch=11)
    with pytest.raises(SpecError, match="same classes"):
        stream({**numbered(), "imagenet:test": Numbered("imagenet-like:test", 6, ("a", "b", "c"))})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"batch": 0}, "batch"),
        ({"steps": 0}, "steps"),
        ({"readers": 0}, "readers"),
        ({"resize": 11}, "resize"),
        ({"smallest": 0.0}, "smallest"),
        ({"test_samples": 0}, "test_samples"),
    ],
)
def test_numbers_that_cannot_be_are_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        PicturesConfig(**{**SMALL, **fields})
    assert caught.value.field == field
