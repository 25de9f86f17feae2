"""Few-shot episodes: what one holds, what is refused, and that making them is cheap."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_data import bare_machine

from frisket.envs.contract import made_up
from frisket.envs.data.imageset import ImageSet, Provenance
from frisket.envs.episode_stream import SPLITS
from frisket.envs.streams.episodes import Episodes, EpisodesConfig
from frisket.errors import SpecError


def pictures(classes: int, each: int) -> ImageSet:
    """Every picture says its class and its number: pixel (0, 0) and pixel (0, 1)."""
    images = np.zeros((classes * each, 1, 16, 16), np.uint8)
    images[:, 0, 0, 0] = np.repeat(np.arange(classes), each)
    images[:, 0, 0, 1] = np.tile(np.arange(each), classes)
    names = tuple(f"c{i}" for i in range(classes))
    return ImageSet(
        "said", images, images[:, 0, 0, 0].astype(np.int64), names, Provenance("said", "own", "", "", "", {})
    )


def stream(seed: int = 0, classes: int = 50, each: int = 8, **fields: Any) -> Episodes:
    config = EpisodesConfig(dataset="said", **{"ways": 3, "shots": 2, "queries": 4, "steps": 30, **fields})
    return Episodes(config, {"said": pictures(classes, each)}, seed)


def test_an_episode_has_its_classes_in_order_and_no_picture_twice() -> None:
    made = stream()
    for number in range(30):
        episode = made.episode("train", number)
        assert episode.task is not None
        support, query = episode.sides()
        assert support.y.tolist() == [0, 0, 1, 1, 2, 2]
        assert query.y.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        told = episode.x[:, 0, 0, 0].tolist()
        assert told == [episode.task.classes[label] for label in episode.y.tolist()]
        assert len({(c, n) for c, n in episode.x[:, 0, 0, :2].tolist()}) == 18
        assert len(set(episode.task.classes)) == 3


def test_the_splits_share_no_class_and_all_classes_are_in_one() -> None:
    made, seen = stream(), {}
    for split in SPLITS:
        episodes = [made.episode(split, i) for i in range(200)]
        seen[split] = {c for episode in episodes for c in episode.task.classes}  # pyright: ignore
    assert [len(seen[split]) for split in SPLITS] == [32, 8, 10]
    assert seen["train"] | seen["validation"] | seen["test"] == set(range(50))


def test_another_seed_gives_other_episodes_and_a_split_its_own() -> None:
    a, b = stream(0), stream(1)
    assert any(not torch.equal(a.batch(i).x, b.batch(i).x) for i in range(3))
    assert torch.equal(a.episode("train", 4).x, a.batch(4).x)
    assert a.episode("validation", 0).task != a.episode("test", 0).task


def test_a_turned_class_is_a_class_of_its_own_in_the_split_of_the_one_it_is_turned_from() -> None:
    plain, turned, seen = stream(), stream(rotations=True), {}
    for split in SPLITS:
        own = {c for i in range(60) for c in getattr(plain.episode(split, i).task, "classes", ())}
        seen[split] = {c for i in range(200) for c in getattr(turned.episode(split, i).task, "classes", ())}
        assert {c % 50 for c in seen[split]} <= own
        assert {c // 50 for c in seen[split]} == {0, 1, 2, 3}
    assert not seen["train"] & seen["validation"] | seen["train"] & seen["test"] | seen["validation"] & seen["test"]
    corners = {0: (0, 0), 1: (15, 0), 2: (15, 15), 3: (0, 15)}  # where the first pixel goes
    for number in range(20):
        episode = turned.episode("train", number)
        assert episode.task is not None
        for x, label in zip(episode.x[:, 0], episode.y.tolist(), strict=True):
            turns, kind = divmod(episode.task.classes[label], 50)
            assert x[corners[turns]] == kind


def test_grey_pictures_are_shown_in_as_many_channels_as_are_asked_for() -> None:
    grey, coloured = (stream(channels=n).episode("test", 3) for n in (None, 3))
    assert coloured.x.shape == (18, 3, 16, 16)
    assert torch.equal(coloured.x, grey.x.expand(-1, 3, -1, -1))
    assert [len(stream(channels=3, normalise=by).shift) for by in ("imagenet", "none", "published")] == [3, 3, 3]
    sets = {"said": dataclasses.replace(pictures(50, 8), images=np.zeros((400, 3, 16, 16), np.uint8))}
    with pytest.raises(SpecError, match="channels = 1: must be 3 or null: said has 3, and only grey"):
        Episodes(EpisodesConfig(dataset="said", ways=3, shots=2, queries=4, channels=1), sets, 0)


def test_pictures_of_another_size_are_asked_for_by_a_field(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = bare_machine(monkeypatch, tmp_path)
    small = stream(size=8)
    assert small.shape == (1, 8, 8)
    said = pictures(50, 8).images
    means = small.episode("test", 0).x.float().mean((1, 2, 3))
    assert means.max() <= said.max() / 64 + 1
    assert stream(size=16).batch(0).x.shape[-1] == 16  # what they have
    assert len(list((cache / "pixels").iterdir())) == 1
    assert torch.equal(stream(size=8).batch(0).x, small.batch(0).x)


@pytest.mark.parametrize(
    ("name", "normalise", "white"),
    [
        ("cub", "published", 1.0),
        ("miniimagenet", "published", (1 - 0.485) / 0.229),
        ("miniimagenet", "none", 1.0),
        ("cub", "imagenet", (1 - 0.485) / 0.229),
    ],
)
def test_pictures_are_normalised_as_asked(name: str, normalise: Any, white: float) -> None:
    """What a network sees of red at its brightest."""
    told = pictures(50, 4)
    colours = dataclasses.replace(told, name=name, images=told.images.repeat(3, axis=1))
    config = EpisodesConfig(dataset=name, ways=3, shots=1, queries=1, normalise=normalise)
    made = Episodes(config, {name: colours}, seed=0)
    assert float(made.numbers(torch.full((1, 3, 16, 16), 255, dtype=torch.uint8))[0, 0, 0, 0]) == pytest.approx(white)


def test_imagenets_constants_are_of_three_colours() -> None:
    with pytest.raises(SpecError, match="published or none: pictures of said have 1 colours") as refused:
        stream(normalise="imagenet")
    assert refused.value.field == "normalise"


def test_pictures_are_bytes_until_they_are_asked_for_as_numbers() -> None:
    made = stream()
    x = made.batch(0).x
    assert x.dtype == torch.uint8
    assert torch.allclose(made.numbers(x), x.float() / 255)


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"ways": 9}, "ways", "at most 8, the validation classes of said"),
        ({"queries": 7}, "queries", "at most 6 with shots = 2: 'c0' has 8 pictures"),
        ({"shots": 9, "queries": 1}, "shots", "at most 7: 'c0' has 8 pictures"),
        ({"ways": 1}, "ways", "at least 2"),
        ({"shots": 0}, "shots", "at least 1"),
        ({"queries": 0}, "queries", "at least 1"),
        ({"normalise": "cub"}, "normalise", "one of published, none, imagenet"),
    ],
)
def test_what_the_data_do_not_have_is_refused_by_its_field(fields: dict[str, int], field: str, says: str) -> None:
    with pytest.raises(SpecError) as refused:
        stream(**fields)
    assert refused.value.field == field
    assert says in refused.value.fix


def test_a_division_that_is_not_known_is_refused() -> None:
    with pytest.raises(SpecError, match="standard"):
        Episodes(EpisodesConfig(dataset="x", classes="mine"), {"x": made_up("x")}, 0)
