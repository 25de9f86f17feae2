"""Episodes of several data sets: whose turn it is, what one holds, and what is refused (gems spec, fact 9)."""

from __future__ import annotations

import dataclasses
import logging
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_data import bare_machine

from frisket.envs.data.imageset import ImageSet, Provenance
from frisket.envs.episode_stream import SPLITS
from frisket.envs.episodes.stand_ins import asked_for
from frisket.envs.episodes.turns import Turns
from frisket.envs.streams.episodes import Episodes, EpisodesConfig
from frisket.envs.streams.mixed_episodes import MixedEpisodes, MixedEpisodesConfig
from frisket.errors import SpecError

UNEQUAL = [0.55, 0.3, 0.15]


def pictures(name: str, classes: int = 30, each: int = 8, channels: int = 1, side: int = 16) -> ImageSet:
    """Pixel (0, 0) is the class, (0, 1) the number, (0, 2) the length of the name."""
    images = np.zeros((classes * each, channels, side, side), np.uint8)
    images[:, :, 0, 0] = np.repeat(np.arange(classes), each)[:, None]
    images[:, :, 0, 1] = np.tile(np.arange(each), classes)[:, None]
    images[:, :, 0, 2] = len(name)
    names = tuple(f"c{i}" for i in range(classes))
    labels = np.repeat(np.arange(classes), each)
    return ImageSet(name, images, labels, names, Provenance(name, "own", "", "", "", {}))


A, BB, CCC = pictures("a"), pictures("bb", classes=20), pictures("ccc", channels=3)


def stream(*sets: ImageSet, seed: int = 0, **fields: Any) -> MixedEpisodes:
    given = {"domains": {one.name: None for one in sets}, "ways": 3, "shots": 2, "queries": 4, "steps": 60, **fields}
    return MixedEpisodes(MixedEpisodesConfig(**given), {one.name: one for one in sets}, seed)


# -- whose turn it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_equal_shares_are_a_rotation_of_the_domains_in_every_block(count: int) -> None:
    turns, firsts = Turns([1 / count] * count, seed=0), set()
    assert turns.block == count
    for block in range(200):
        found = [turns.at(block * count + i) for i in range(count)]
        start = found[0][0]
        assert found == [((start + i) % count, block) for i in range(count)]
        firsts.add(start)
    assert firsts == set(range(count))


@pytest.mark.parametrize(
    ("shares", "meta_batch"),
    [([1 / 3] * 3, 6), ([1 / 3] * 3, 4), ([0.333333, 0.333333, 0.333334], 6), (UNEQUAL, 4), ([0.99, 0.01], 4)],
)
def test_over_10_000_meta_batches_each_share_is_right_within_a_point(shares: list[float], meta_batch: int) -> None:
    turns, count = Turns(shares, seed=3), 10_000 * meta_batch
    found = Counter(turns.at(position)[0] for position in range(count))
    for domain, share in enumerate(shares):
        assert abs(found[domain] / count - share) < 0.01


@pytest.mark.parametrize("shares", [[0.5, 0.5], UNEQUAL, [0.9, 0.1], [0.37, 0.21, 0.42], [0.6, 0.2, 0.2]])
def test_a_domain_counts_its_own_turns_and_is_never_far_from_its_share(shares: list[float]) -> None:
    turns, had = Turns(shares, seed=1), [0] * len(shares)
    for position in range(2000):
        domain, own = turns.at(position)
        assert own == had[domain]
        had[domain] += 1
        if (position + 1) % turns.block == 0:
            assert all(abs(n - (position + 1) * share) < 1 for n, share in zip(had, shares, strict=True))


def test_a_turn_is_a_function_of_seed_and_position() -> None:
    order = random.Random(0).sample(range(500), 500)
    forward, shuffled = Turns(UNEQUAL, 0), Turns(UNEQUAL, 0)
    mixed = {position: shuffled.at(position) for position in order}
    assert [forward.at(position) for position in range(500)] == [mixed[position] for position in range(500)]
    other = Turns(UNEQUAL, 1)
    assert [other.at(position) for position in range(500)] != [mixed[position] for position in range(500)]


# -- what an episode holds ---------------------------------------------------------------------------------------------


def test_an_episode_is_of_one_domain_and_splits_share_no_class_of_it() -> None:
    made, shown = stream(A, BB, CCC), {}
    assert made.domains == ("a", "bb", "ccc")
    for split in SPLITS:
        for number in range(60):
            episode = made.episode(split, number)
            task = episode.task
            assert task is not None
            assert (task.start, episode.position) == (number, number)
            assert set(episode.x[:, 0, 0, 2].tolist()) == {len(task.domain)}
            told = episode.x[:, 0, 0, 0].tolist()
            assert told == [task.classes[label] for label in episode.y.tolist()]
            shown.setdefault((task.domain, split), set()).update(task.classes)
    for domain in made.domains:
        train, validation, test = (shown[domain, split] for split in SPLITS)
        assert not train & validation
        assert not train & test
        assert not validation & test


@pytest.mark.parametrize("split", ["validation", "test"])
def test_what_is_judged_takes_the_domains_in_turn(split: Any) -> None:
    made = stream(A, BB, domains={"a": 0.9, "bb": 0.1})
    assert [getattr(made.episode(split, i).task, "domain", "") for i in range(6)] == ["a", "bb"] * 3


@pytest.mark.parametrize("domains", [{"a": None, "bb": None}, {"a": 0.8, "bb": 0.2}])
def test_a_domains_own_episodes_are_those_of_the_stream_of_it_alone(domains: dict[str, float | None]) -> None:
    made = stream(A, BB, domains=domains, seed=5)
    for images in (A, BB):
        fields = {"ways": 3, "shots": 2, "queries": 4}
        alone = Episodes(EpisodesConfig(dataset=images.name, **fields), {images.name: images}, 5)  # pyright: ignore
        for split in SPLITS:
            found = [made.episode(split, number) for number in range(40)]
            own = [one for one in found if one.task is not None and one.task.domain == images.name]
            assert len(own) >= 6
            for number, one in enumerate(own):
                other = alone.episode(split, number)
                assert torch.equal(one.x, other.x)
                assert getattr(one.task, "classes", 0) == getattr(other.task, "classes", 1)


def test_grey_pictures_become_three_equal_channels_where_one_domain_has_three() -> None:
    assert stream(A, BB).shape == (1, 16, 16)
    made = stream(A, CCC)
    assert made.shape == (3, 16, 16)
    for number in range(4):
        x = made.episode("test", number).x
        assert x.shape[1:] == (3, 16, 16)
        assert all(torch.equal(x[:, 0], x[:, c]) for c in (1, 2))
    white = torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    assert float(made.numbers(white).max()) == 1
    seen = stream(A, CCC, normalise="imagenet").numbers(white)
    assert seen[0, :, 0, 0].tolist() == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])


def test_pictures_come_in_one_size_the_largest_where_none_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare_machine(monkeypatch, tmp_path)
    large = pictures("large", side=20)
    assert stream(A, large).shape == (1, 20, 20)
    made = stream(A, large, size=12)
    assert {tuple(made.batch(i).x.shape[1:]) for i in range(4)} == {(1, 12, 12)}


def test_the_classes_of_some_are_turned_as_in_the_stream_of_them_alone() -> None:
    made = stream(A, BB, rotations=("bb",), seed=2)
    fields = {"ways": 3, "shots": 2, "queries": 4, "rotations": True}
    alone = Episodes(EpisodesConfig(dataset="bb", **fields), {"bb": BB}, 2)  # pyright: ignore
    for split in SPLITS:
        mixed = [made.episode(split, number) for number in range(20)]
        own = [one for one in mixed if one.task is not None and one.task.domain == "bb"]
        assert all(torch.equal(one.x, alone.episode(split, n).x) for n, one in enumerate(own))
        assert any(max(one.task.classes) >= 20 for one in own if one.task is not None)
        others = [one.task.classes for one in mixed if one.task is not None and one.task.domain == "a"]
        assert max(max(classes) for classes in others) < 30


def test_ten_classes_are_enough_for_eight_ways_when_they_are_turned() -> None:
    ten = pictures("ten", classes=10, each=12)
    assert stream(A, ten, ways=4, rotations=("ten",)).batch(1).x.shape[0] == 4 * 6
    with pytest.raises(SpecError, match="at most 8, the validation classes of ten"):
        stream(A, pictures("ten", classes=10, each=12), ways=9, domains={"ten": None, "a": None}, rotations=("ten",))


# -- what is refused ---------------------------------------------------------------------------------------------------

FLOATS = dataclasses.replace(pictures("floats"), images=np.zeros((240, 1, 16, 16), np.float32))


@pytest.mark.parametrize(
    ("sets", "fields", "field", "says"),
    [
        ((A, BB), {"domains": {"a": 0.5, "bb": 0.6}}, "domains", "sum to 1, not 1.1"),
        ((A, BB), {"domains": {"a": 1.0, "bb": 0.0}}, "domains.bb", "a share from 0.001 to 1"),
        ((A, BB), {"domains": {"a": 1.5, "bb": -0.5}}, "domains.a", "a share from 0.001 to 1"),
        ((A, BB), {"domains": {"a": 1.0, "bb": None}}, "domains", "null of all: bb have none"),
        ((A,), {"domains": {}}, "domains", "at least one data set"),
        ((A, pictures("few", classes=9)), {}, "ways", "at most 1, the validation classes of few"),
        ((A, pictures("thin", each=5)), {}, "queries", "at most 3 with shots = 2: 'c0' has 5 pictures"),
        ((A, pictures("two", channels=2)), {}, "domains.a", "pictures of 2 channels, as two has"),
        ((A, FLOATS), {}, "domains.floats", "type uint8, as a has"),
        ((A, BB), {"normalise": "imagenet"}, "normalise", "none: pictures have 1 colours"),
        ((A, BB), {"normalise": "published"}, "normalise", "one of none, imagenet"),
        ((A, BB), {"domains": {"cifar_fs": 0.5, "fc100": 0.5}}, "domains", "they share pictures"),
        ((A, BB), {"size": 4}, "size", "8 to 4,096"),
        ((A, BB), {"rotations": ("ccc",)}, "rotations", "of the domains, each once: a, bb"),
        ((A, BB), {"rotations": ("bb", "bb")}, "rotations", "each once"),
        ((A, BB), {"ways": 1}, "ways", "at least 2"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_its_field(sets: Any, fields: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(SpecError) as refused:
        stream(*sets, **fields)
    assert refused.value.field == field
    assert says in refused.value.fix


@pytest.mark.parametrize(("each", "skipped"), [(5, 1), (3, 2)])
def test_classes_of_too_few_pictures_are_passed_over_where_a_field_says_so(
    each: int, skipped: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Class 0, of training, and class 29, of test, have ``each`` pictures, class 1 one more than that."""
    whole = pictures("uneven")
    few = {0: each, 1: each + 1, 29: each}
    kept = np.concatenate([np.flatnonzero(whole.labels == c)[: few.get(c, 8)] for c in range(30)])
    uneven = dataclasses.replace(whole, images=whole.images[kept], labels=whole.labels[kept])
    with pytest.raises(SpecError, match="small_classes: skip"):
        stream(A, uneven)
    with caplog.at_level(logging.WARNING):
        made = stream(A, uneven, small_classes="skip")
    note = f"classes of fewer than 6 pictures are passed over: {skipped} of train, 0 of validation, 1 of test"
    assert f"data uneven: {note}" in caplog.text
    assert [note in told["notes"] for told in made.provenance().values()] == [False, True]
    shown = {split: set[int]() for split in SPLITS}
    for split in SPLITS:
        for number in range(300):
            task = made.episode(split, number).task
            assert task is not None
            shown[split].update(task.classes if task.domain == "uneven" else ())
    assert shown["train"] == set(range(skipped, 19))
    assert shown["test"] == set(range(24, 29))
    with pytest.raises(SpecError, match="at most 0, the train classes of thin"):
        stream(A, pictures("thin", each=5), small_classes="skip")


def stand_in(channels: int = 1) -> ImageSet:
    return dataclasses.replace(
        pictures("glyphs", classes=63, channels=channels), provenance=Provenance("glyphs", "embedded", "", "", "", {})
    )


def test_a_stand_in_for_several_data_sets_is_shared_out_by_class() -> None:
    asked, glyphs = ("omniglot", "cub", "fungi"), stand_in()
    config = MixedEpisodesConfig(domains=dict.fromkeys(asked), classes="meta-dataset", ways=3, shots=2, queries=4)
    made = MixedEpisodes(config, dict.fromkeys(asked, glyphs), 0)
    assert made.domains == ("glyphs-for-omniglot", "glyphs-for-cub", "glyphs-for-fungi")
    assert [asked_for(domain) for domain in made.domains] == list(asked)
    assert asked_for("cub") == "cub"
    shown: dict[str, set[int]] = {}
    for split in SPLITS:
        for number in range(90):
            episode = made.episode(split, number)
            assert episode.task is not None
            shown.setdefault(episode.task.domain, set()).update(episode.x[:, 0, 0, 0].tolist())
    assert [shown[domain] for domain in made.domains] == [set(range(i, i + 21)) for i in (0, 21, 42)]
    told = made.provenance()
    assert tuple(told) == made.domains
    assert "21 of its classes, from number 21 on, in the place of cub" in told["glyphs-for-cub"]["notes"]
    assert (told["glyphs-for-cub"]["name"], told["glyphs-for-cub"]["kind"]) == ("glyphs-for-cub", "embedded")


def test_what_stands_in_for_one_data_set_is_whole_under_its_own_name() -> None:
    sets = {"omniglot": stand_in(), "a": A}
    made = MixedEpisodes(MixedEpisodesConfig(domains=dict.fromkeys(sets), ways=3, queries=4), sets, 0)
    assert made.domains == ("glyphs", "a")
    whole = {"omniglot": stand_in(), "glyphs": stand_in()}
    with pytest.raises(SpecError, match="different data sets; there are glyphs for omniglot, glyphs for glyphs"):
        MixedEpisodes(MixedEpisodesConfig(domains=dict.fromkeys(whole), ways=3, queries=4), whole, 0)


@pytest.mark.parametrize(("channels", "most"), [(1, 1.0), (3, (1 - 0.406) / 0.225)])
def test_grey_stand_ins_are_not_normalised(channels: int, most: float) -> None:
    config = MixedEpisodesConfig(domains=dict.fromkeys(("cub", "fungi")), ways=3, queries=4, normalise="imagenet")
    made = MixedEpisodes(config, dict.fromkeys(("cub", "fungi"), stand_in(channels)), 0)
    white = torch.full((1, channels, 16, 16), 255, dtype=torch.uint8)
    assert float(made.numbers(white)[0, -1].max()) == pytest.approx(most)


def test_one_data_set_does_not_stand_in_for_two() -> None:
    config = MixedEpisodesConfig(domains={"omniglot": None, "cub": None}, ways=2, queries=2)
    with pytest.raises(SpecError, match="different data sets; there are a for omniglot, a for cub"):
        MixedEpisodes(config, {"omniglot": A, "cub": A}, 0)
