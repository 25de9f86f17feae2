"""Folders of divided classes, and a user's own: every form made tiny, sizes, episodes from them, and every mistake."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from class_files import DIVIDED, EACH, fill, in_lists, in_split_folders, in_tables, picture, save
from tiny_data import bare_machine

from frisket.envs.data import CLASS_FOLDERS, OwnFolder, Pictures, load_class_folders, resolve
from frisket.envs.data.divisions import SPLITS, published
from frisket.envs.data.imageset import ImageSet
from frisket.envs.data.reading import Reading, in_memory
from frisket.envs.episodes.class_splits import class_split
from frisket.envs.streams.episodes import Episodes, EpisodesConfig
from frisket.errors import DataError, SpecError

FORMS: dict[str, Callable[[Path], Path]] = {"folders": in_split_folders, "tables": in_tables, "lists": in_lists}
EPISODE = {"ways": 2, "shots": 1, "queries": 2, "steps": 3}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return bare_machine(monkeypatch, tmp_path)


def stream(data: Path, name: str = "cub", **fields: Any) -> Episodes:
    config = EpisodesConfig(dataset=name, **{**EPISODE, **fields})
    return Episodes(config, resolve([name], "real", data, kind=Pictures), 0)


def near(image: np.ndarray, kind: str, number: int) -> bool:
    """Whether ``image`` [3, H, W] is the picture of that class and number, but for what JPEG loses."""
    return bool(np.abs(image.mean((1, 2)) - picture(kind, number)[0, 0]).max() < 3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CLASS_FOLDERS)
def test_every_set_is_read_in_every_form(tmp_path: Path, name: str, form: str) -> None:
    FORMS[form](tmp_path / "data" / name)
    found = load_class_folders(name, tmp_path / "data")
    assert set(found.classes) == {kind for kinds in DIVIDED.values() for kind in kinds}
    assert np.bincount(found.labels).tolist() == [EACH] * 7
    splits = class_split(found)
    for split, folder in zip(SPLITS, DIVIDED, strict=True):
        assert [found.classes[place] for place in splits[split]] == list(DIVIDED[folder])
    images = in_memory(found, Reading(size=12))
    assert (images.images.shape, images.images.dtype) == ((35, 3, 12, 12), np.uint8)
    for place, label in enumerate(images.labels):
        assert near(images.images[place], images.classes[label], place % EACH)
    assert any("not the published division" in note for note in found.provenance.notes)


def test_folders_without_lists_are_divided_as_published(tmp_path: Path) -> None:
    division = published("cars")
    assert division is not None
    names = [name.replace("/", "-") for split in SPLITS for name in division.lists[split]]
    fill(tmp_path / "cars" / "images", names, each=1)
    found = load_class_folders("cars", tmp_path)
    assert [len(places) for places in class_split(found).values()] == [98, 49, 49]
    assert found.provenance.notes[0].startswith("classes: as published: H.-Y. Tseng")
    (tmp_path / "cars" / "images" / names[0] / f"{names[0]}_0.jpg").unlink()
    with pytest.raises(DataError, match=r"does not fit the published division: names .* in train, which is no class"):
        load_class_folders("cars", tmp_path)


def test_an_episode_holds_pictures_of_its_own_classes_in_the_right_split(tmp_path: Path) -> None:
    in_split_folders(tmp_path / "cub")
    made = stream(tmp_path, size=10)
    assert made.shape == (3, 10, 10)
    for split, folder in zip(SPLITS, DIVIDED, strict=True):
        batch = made.episode(split, 4)
        assert (tuple(batch.x.shape), str(batch.x.dtype)) == ((6, 3, 10, 10), "torch.uint8")
        assert batch.task is not None
        images = batch.x.numpy()
        for place, label in enumerate(batch.y.tolist()):
            kind = sorted(kind for kinds in DIVIDED.values() for kind in kinds)[batch.task.classes[label]]
            assert kind in DIVIDED[folder]
            assert sum(near(images[place], kind, number) for number in range(EACH)) == 1


def test_pixels_are_kept_shared_and_made_again_where_files_or_they_have_changed(tmp_path: Path, cache: Path) -> None:
    in_split_folders(tmp_path / "cub")
    first = in_memory(load_class_folders("cub", tmp_path), Reading())
    assert first.images.shape[1:] == (3, 84, 84)
    assert not first.images.flags.writeable
    (kept,) = (cache / "pixels").iterdir()
    wrong = bytearray(kept.read_bytes())
    wrong[100] ^= 1
    for damage in (bytes(wrong), b"", bytes(wrong)[:-3], b"\xff" * 40):
        kept.unlink()  # what is mapped stays as it is
        kept.write_bytes(damage)
        again = in_memory(load_class_folders("cub", tmp_path), Reading())
        assert np.array_equal(again.images, first.images)
        assert again.provenance == first.provenance
    save(tmp_path / "cub" / "train" / "ant" / "ant_0.jpg", np.full((30, 30, 3), 9, np.uint8))
    changed = in_memory(load_class_folders("cub", tmp_path), Reading())
    assert near(first.images[0], "ant", 0)
    assert not near(changed.images[0], "ant", 0)
    assert changed.provenance.sha256 != first.provenance.sha256


def test_a_file_in_the_caches_place_costs_memory_alone(tmp_path: Path, cache: Path) -> None:
    in_split_folders(tmp_path / "cub")
    cache.write_bytes(b"")
    made = in_memory(load_class_folders("cub", tmp_path), Reading(size=8))
    cache.unlink()
    assert np.array_equal(made.images, in_memory(load_class_folders("cub", tmp_path), Reading(size=8)).images)


def spoil(root: Path) -> None:
    """One picture that is cut short, one that is grey."""
    whole = (root / "train" / "ant" / "ant_1.jpg").read_bytes()
    (root / "train" / "ant" / "ant_1.jpg").write_bytes(whole[: len(whole) // 2])
    save(root / "train" / "bee" / "bee_2.jpg", np.full((20, 20), 40, np.uint8))


@pytest.mark.parametrize(
    ("fields", "counts", "said"),
    [
        ({"unreadable": "skip"}, [4, 5, 5], ["1 pictures of other than three colours", "1 pictures were passed over"]),
        ({"unreadable": "skip", "not_rgb": "skip"}, [4, 4, 5], ["2 pictures were passed over"]),
    ],
)
def test_pictures_that_are_passed_over_are_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fields: dict[str, Any], counts: list[int], said: list[str]
) -> None:
    spoil(in_split_folders(tmp_path / "cub"))
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            images = in_memory(load_class_folders("cub", tmp_path), Reading(size=8, **fields))
        assert np.bincount(images.labels).tolist()[:3] == counts
        assert len(images.images) == len(images.labels)
        assert near(images.images[-1], "gnu", EACH - 1)
        assert "train/ant/ant_1.jpg, cannot be read" in caplog.text
        notes = "; ".join(images.provenance.notes)
        assert all(one in notes for one in said)


@pytest.mark.parametrize(
    ("fields", "file", "says"),
    [
        ({}, "ant_1.jpg", "cannot be read (not a whole picture"),
        ({"unreadable": "skip", "not_rgb": "error"}, "bee_2.jpg", "is not of three colours, but of mode L"),
    ],
)
def test_pictures_that_are_refused_are_named(tmp_path: Path, fields: dict[str, Any], file: str, says: str) -> None:
    spoil(in_split_folders(tmp_path / "cub"))
    with pytest.raises(DataError) as refused:
        stream(tmp_path, size=8, **fields)
    assert str(refused.value.value).endswith(file)
    assert says in refused.value.fix


def remove(*names: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        for name in names:
            (root / name).unlink()

    return act


def write(name: str, text: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        (root / name).write_text(text)

    return act


MISTAKES: list[tuple[str, Callable[[Path], object], str]] = [
    ("folders", lambda root: fill(root / "test", ["ant"]), "has the class 'ant' in train and in test"),
    ("folders", lambda root: (root / "val").rename(root / "other"), "has no folder for validation"),
    ("folders", lambda root: fill(root / "valid", ["owl"]), "has more than one folder for validation"),
    ("tables", remove("val.csv"), "has no table for validation"),
    ("tables", remove("images/ant_1.jpg"), "is named in a table and cannot be read"),
    ("tables", write("val.csv", "name,kind\na.jpg,b\n"), "it needs the columns filename and label"),
    ("tables", write("val.csv", "filename,label\n"), "has no rows"),
    ("tables", write("val.csv", "filename,label\nant_1.jpg,ant\n"), "has the class 'ant' in train and in validation"),
    ("tables", write("val.csv", "filename,label\n../ant_1.jpg,owl\n"), "no name of a picture and its class"),
    ("lists", write("splits.yaml", "train: [ant]\nval: [ant]\ntest: [bee]"), "has the class 'ant' in train and in"),
    ("lists", write("splits.yaml", "train: [ant]\nval: [owl]\ntest: [bee]"), "names 'owl' in validation, which is no"),
    ("lists", remove("splits.yaml"), "does not fit the published division"),
]


@pytest.mark.parametrize(("form", "spoiled", "says"), MISTAKES)
def test_what_is_wrong_with_a_folder_is_named(
    tmp_path: Path, form: str, spoiled: Callable[[Path], object], says: str
) -> None:
    spoiled(FORMS[form](tmp_path / "cub"))
    with pytest.raises(DataError) as refused:
        load_class_folders("cub", tmp_path)
    assert says in refused.value.fix


@pytest.mark.parametrize("name", CLASS_FOLDERS)
def test_what_is_not_there_is_said_with_its_forms_and_has_a_stand_in(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name}/train, {name}/val and {name}/test"):
        resolve([name], "real", tmp_path, kind=Pictures)
    assert resolve([name], "auto", tmp_path, kind=Pictures)[name].name == "glyphs"
    (tmp_path / name / "empty").mkdir(parents=True)
    with pytest.raises(DataError, match="has no pictures in class folders"):
        resolve([name], "real", tmp_path, kind=Pictures)


def test_a_part_of_such_a_set_is_refused_and_so_is_a_stream_that_wants_it_in_memory(tmp_path: Path) -> None:
    in_lists(tmp_path / "cub")
    with pytest.raises(DataError, match="leave it out"):
        resolve(["cub:test"], "real", tmp_path, kind=Pictures)
    with pytest.raises(DataError, match="is read picture by picture"):
        resolve(["cub"], "real", tmp_path)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"ways": 3}, "ways"),
        ({"queries": 5}, "queries"),
        ({"size": 2}, "size"),
        ({"unreadable": "x"}, "unreadable"),
        ({"not_rgb": "x"}, "not_rgb"),
    ],
)
def test_episodes_that_the_data_do_not_have_are_refused_by_field(
    tmp_path: Path, fields: dict[str, Any], field: str
) -> None:
    in_split_folders(tmp_path / "cub")
    with pytest.raises(SpecError) as refused:
        stream(tmp_path, **{"size": 8, **fields})
    assert refused.value.field == field


# -- a user's own ------------------------------------------------------------------------------------------------------


def own(folder: Path, **fields: Any) -> ImageSet:
    data = OwnFolder(folder=str(folder), **{"size": 8, **fields})
    return resolve(["mine"], "real", own={"mine": data})["mine"]


@pytest.mark.parametrize(
    ("form", "classes"), [("folders", "folders"), ("lists", "splits.yaml"), ("lists", "order")]
)  # fmt: skip
def test_a_folder_of_the_users_divided_by_class_is_one_part(tmp_path: Path, form: str, classes: str) -> None:
    found = own(FORMS[form](tmp_path / "mine"), classes=classes)
    assert len(found.images) == 35
    splits = class_split(found)
    counts = [4, 2, 1] if classes == "order" else [3, 2, 2]
    assert [len(places) for places in splits.values()] == counts
    if classes != "order":
        assert [found.classes[place] for place in splits["validation"]] == list(DIVIDED["val"])
    for place, label in enumerate(found.labels):
        assert near(found.images[place], found.classes[label], place % EACH)
    data = OwnFolder(folder=str(tmp_path / "mine"), classes=classes)
    with pytest.raises(DataError, match="its classes are divided"):
        resolve(["mine:test", "mine"], "real", own={"mine": data})


def test_another_division_of_the_same_pictures_is_other_data(tmp_path: Path) -> None:
    swapped = "train: [ant, bee, dog]\nval: [cat, eel]\ntest: [fox, gnu]"
    for root in (in_lists(tmp_path / "mine"), in_lists(tmp_path / "cub")):
        (root / "other.yaml").write_text(swapped)
    a, b = (own(tmp_path / "mine", classes=name).provenance.sha256 for name in ("splits.yaml", "other.yaml"))
    assert a["pictures content"] == b["pictures content"]
    assert a["classes content"] != b["classes content"]
    before = load_class_folders("cub", tmp_path).provenance.sha256
    (tmp_path / "cub" / "other.yaml").rename(tmp_path / "cub" / "splits.yaml")
    after = load_class_folders("cub", tmp_path).provenance.sha256
    assert before["names and sizes"] == after["names and sizes"]
    assert before["classes"] != after["classes"]


def test_lists_may_lie_in_the_data_folder_or_anywhere(tmp_path: Path) -> None:
    in_lists(tmp_path / "mine")
    moved = (tmp_path / "mine" / "splits.yaml").rename(tmp_path / "lists.yaml")
    for classes in ("lists.yaml", str(moved)):
        data = OwnFolder(folder="mine", classes=classes, size=8)
        found = resolve(["mine"], "real", tmp_path, own={"mine": data})["mine"]
        assert [len(places) for places in class_split(found).values()] == [3, 2, 2]


def test_mistakes_in_a_users_division_are_named(tmp_path: Path) -> None:
    root = in_split_folders(tmp_path / "mine")
    fill(root / "test", ["ant"])
    with pytest.raises(DataError, match="has the class 'ant' in train and in test"):
        own(root, classes="folders")
    (root / "val").rename(root / "other")
    with pytest.raises(DataError, match="has no folder for validation"):
        own(root, classes="folders")
    with pytest.raises(DataError, match="no-such-file"):
        own(in_lists(tmp_path / "lists"), classes="no-such-file")


@pytest.mark.parametrize(
    ("fields", "count"), [({"unreadable": "skip"}, 34), ({"unreadable": "skip", "not_rgb": "skip"}, 33)]
)
def test_pictures_of_the_users_are_passed_over_where_a_field_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fields: dict[str, Any], count: int
) -> None:
    root = in_split_folders(tmp_path / "mine")
    spoil(root)
    for _ in range(2):
        caplog.clear()
        found = own(root, classes="folders", **fields)
        assert len(found.images) == len(found.labels) == count
        assert near(found.images[-1], "gnu", EACH - 1)
        assert f"{35 - count} pictures are passed over, the first of them train/ant/ant_1.jpg" in caplog.text
    for refused, says in (({}, "ant_1.jpg"), ({"unreadable": "skip", "not_rgb": "error"}, "is of the mode L")):
        with pytest.raises(DataError, match=says):
            own(root, classes="folders", **refused)
