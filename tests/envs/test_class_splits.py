"""Which classes are of which split: the published divisions, disjoint and complete; and lists of a user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from frisket.envs.data import load
from frisket.envs.data.divisions import SPLITS, published, published_names, read_division
from frisket.envs.data.imageset import ImageSet, Provenance
from frisket.envs.episodes.class_splits import class_split, require_disjoint
from frisket.errors import DataError, SpecError

PUBLISHED = {
    ("miniimagenet", "standard"): (64, 16, 20),
    ("tieredimagenet", "standard"): (351, 97, 160),
    ("cifar_fs", "standard"): (64, 16, 20),
    ("fc100", "standard"): (60, 20, 20),
    ("cub", "standard"): (100, 50, 50),
    ("cub", "meta-dataset"): (140, 30, 30),
    ("cars", "standard"): (98, 49, 49),
    ("flowers102", "standard"): (71, 15, 16),
    ("flowers102", "meta-dataset"): (71, 15, 16),
    ("aircraft", "standard"): (70, 15, 15),
    ("aircraft", "meta-dataset"): (70, 15, 15),
    ("fungi", "standard"): (994, 200, 200),
    ("fungi", "meta-dataset"): (994, 200, 200),
}
"""Data set and division to the numbers of classes in the papers."""


def named(name: str, classes: list[str], kind: str = "real") -> ImageSet:
    """An image set of those classes, one picture each."""
    provenance = Provenance(name, kind, "", "", "", {})  # pyright: ignore[reportArgumentType]
    images = np.zeros((len(classes), 1, 8, 8), np.uint8)
    return ImageSet(name, images, np.arange(len(classes)), tuple(classes), provenance)


@pytest.mark.parametrize(("dataset", "which"), PUBLISHED)
def test_every_published_division_is_disjoint_complete_and_of_the_papers_numbers(dataset: str, which: str) -> None:
    division = published(dataset, which)
    assert division is not None
    every = [name for split in SPLITS for name in division.lists[split]]
    assert tuple(len(division.lists[split]) for split in SPLITS) == PUBLISHED[dataset, which]
    assert len(set(every)) == len(every) == sum(PUBLISHED[dataset, which])
    assert division.source
    if dataset != "flowers102":
        splits = class_split(named(dataset, sorted(every)), which)
        assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(len(every)))


def test_every_file_of_lists_is_looked_at_above() -> None:
    """Omniglot's names alphabets, and is looked at with the data."""
    sets = {name for name, _ in PUBLISHED}
    assert {(name, which) for name in sets for which in published_names(name)} == set(PUBLISHED)
    assert published_names("omniglot") == ("vinyals",)


@pytest.mark.parametrize("name", ["standard", "order"])
@pytest.mark.parametrize(("dataset", "numbers"), [("digits", (6, 2, 2)), ("glyphs", (192, 48, 60))])
def test_embedded_sets_are_divided_in_file_order(dataset: str, numbers: tuple[int, ...], name: str) -> None:
    splits = class_split(load(dataset), name)
    assert tuple(map(len, splits.values())) == numbers
    assert np.concatenate(list(splits.values())).tolist() == list(range(sum(numbers)))


@pytest.mark.parametrize("which", ["meta-dataset", "vinyals"])
def test_what_stands_in_is_divided_in_file_order_where_a_published_division_is_asked_for(which: str) -> None:
    glyphs = load("glyphs")
    found, wanted = class_split(glyphs, which), class_split(glyphs, "order")
    assert all(np.array_equal(found[split], wanted[split]) for split in SPLITS)
    with pytest.raises(SpecError, match="must be one of standard, order"):
        class_split(glyphs, "meta-data")


@pytest.mark.parametrize("dataset", ["flowers102", "aircraft", "fungi"])
def test_one_papers_divisions_go_by_one_name(dataset: str) -> None:
    lists = [published(dataset, which) for which in ("standard", "meta-dataset")]
    assert lists[0] is not None
    assert lists[1] is not None
    assert lists[0].lists == lists[1].lists
    assert lists[1].value == "meta-dataset"


def test_omniglots_standard_division_is_a_permutation_that_is_the_same_for_all() -> None:
    splits = class_split(named("omniglot", [f"a/{i}" for i in range(1623)]))
    assert tuple(map(len, splits.values())) == (1100, 100, 423)
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(1623))
    assert splits["validation"][:6].tolist() == [9, 10, 58, 59, 66, 80]
    with pytest.raises(DataError, match="holds 10 classes"):
        class_split(named("omniglot", [str(i) for i in range(10)]))


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "notmnist", "cifar10"])
def test_ten_classes_of_which_no_paper_says_so_are_divided_in_an_order_of_their_own(dataset: str) -> None:
    classes = [str(i) for i in range(10)]
    splits = class_split(named(dataset, classes))
    assert tuple(map(len, splits.values())) == (4, 2, 4)
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(10))
    assert tuple(map(len, class_split(named(dataset, classes), "order").values())) == (6, 2, 2)


def test_names_are_found_without_punctuation_numbers_by_what_they_begin_with() -> None:
    division = published("aircraft")
    assert division is not None
    folders = [name.replace("/", "-") for split in SPLITS for name in division.lists[split]]
    splits = class_split(named("aircraft", folders))
    assert tuple(map(len, splits.values())) == (70, 15, 15)
    flowers = [f"{i:03d}.flower" for i in range(1, 103)]
    splits = class_split(named("flowers102", flowers))
    assert tuple(map(len, splits.values())) == (71, 15, 16)
    assert {5, 9, 15} <= set((splits["test"] + 1).tolist())
    assert class_split(named("flowers102", [str(i) for i in range(1, 103)]))["test"].tolist() == splits["test"].tolist()


def test_a_users_data_are_not_divided_by_the_lists_of_a_published_set_of_that_name() -> None:
    assert class_split(named("cub", [str(i) for i in range(10)], "own"))["train"].tolist() == list(range(6))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: [a]\nval: [b]\ntest: [a]", "has the class 'a' in train and in test"),
        ("train: [a, a]\nval: [b]\ntest: [c]", "has the class 'a' in train twice"),
        ("train: [a]\nval: [b]", "has no classes in test"),
        ("train: [a]\nval: []\ntest: [c]", "has no classes in validation"),
        ("train: [a]\nval: [b]\nvalidation: [d]\ntest: [c]", "has two lists for validation"),
        ("train: [a]\nval: b\ntest: [c]", "has 'val', which is no list of a split"),
        ("train: [a]\nval: [[b]]\ntest: [c]", "has 'val', which is no list of a split"),
        ("train: [a]\nval: [b]\ntest: [c]\nother: [d]", "has 'other', which is no list of a split"),
        ("- a\n- b", "holds no lists by name"),
        ("train: [a", "is no YAML or JSON"),
        ("", "holds no lists by name"),
        ("{" * 5000, "is no YAML or JSON"),
        ("\0", "is no YAML or JSON"),
        ("train: [a]\nval: [b]\ntest: [z]", "names 'z' in test, which is no class of mine"),
        ("train: [a*]\nval: [b]\ntest: [ab]", "has the class 'ab' in train and in test"),
        ("train: [A]\nval: [b]\ntest: [a]", "has the class 'a' in train and in test"),
    ],
)
def test_lists_that_do_not_fit_are_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "splits.yaml"
    file.write_text(text)
    with pytest.raises(DataError) as refused:
        read_division("data.mine.classes", file).places(["a", "ab", "b", "c"], "mine")
    assert (refused.value.field, refused.value.value) == ("data.mine.classes", str(file))
    assert says in refused.value.fix


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_of_lists_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "splits.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        read_division("data.mine.classes", file)


def test_lists_are_names_whatever_yaml_makes_of_them_and_json_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "splits.json"
    file.write_text('{"train": [no, "1e3"], "valid": ["007"], "test": ["x*"]}')
    places = read_division("f", file).places(["007", "1e3", "no", "x1", "x2", "y"], "mine")
    assert {split: found.tolist() for split, found in places.items()} == {
        "train": [1, 2], "validation": [0], "test": [3, 4]
    }  # fmt: skip


def test_an_unknown_division_is_refused_with_those_there_are() -> None:
    with pytest.raises(SpecError, match="must be one of standard, order, meta-dataset"):
        class_split(named("cub", ["a"]), "mine")


def test_overlapping_splits_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="'b' is in train and in test"):
        require_disjoint(
            {"train": np.array([0, 1]), "validation": np.array([2]), "test": np.array([1])}, ["a", "b", "c"], "mine"
        )
