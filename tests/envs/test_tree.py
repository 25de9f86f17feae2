"""What lies beside the pictures of a folder: refused by name, or passed over with a word; and 16 bits a pixel."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from own_files import made_pictures
from PIL import Image

from frisket.envs.data.folders import load_folder
from frisket.envs.data.imageset import ImageSet
from frisket.envs.data.own_folder import OwnFolder
from frisket.envs.data.own_pictures import read_pictures
from frisket.envs.data.photos import decoded
from frisket.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FRISKET_DATA", raising=False)


def train(folder: Path) -> ImageSet:
    return OwnFolder(folder=str(folder), size=4).load("own")[0]


def copied(folder: Path, place: str) -> None:
    """A picture of ``folder`` again at ``place`` in it."""
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).write_bytes((folder / "rose" / "000.png").read_bytes())


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("__MACOSX/rose/x.png", "passed over: 1 pictures in folders __MACOSX"),
        ("rose/@eaDir/x.png", "passed over: 1 pictures in folders @eaDir"),
        ("rose/@eaDir/y/z/x.png", "passed over: 1 pictures in folders @eaDir"),
        (".thumbs/x.png", "passed over: 1 pictures in folders .thumbs"),
        ("rose/._000.png", "passed over: 1 pictures in hidden files"),
        ("loose.png", "passed over: 1 pictures in no class folder"),
    ],
)
def test_passed_over_with_a_word(place: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = made_pictures(tmp_path / "own", per_class=3)
    plain = train(folder)
    copied(folder, place)
    with caplog.at_level(logging.WARNING, "frisket.data"):
        found = train(folder)
    assert found.classes == plain.classes
    assert np.array_equal(found.images, plain.images)
    assert [note for note in found.provenance.notes if note not in plain.provenance.notes] == [said]
    assert said in caplog.text


def test_folder_without_pictures_is_said(tmp_path: Path) -> None:
    folder = made_pictures(tmp_path / "own", per_class=3)
    (folder / "violet").mkdir()
    assert "passed over: folder violet, which holds no pictures" in train(folder).provenance.notes


def test_what_lies_beside_train_and_test_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    for part in ("train", "test", "val"):
        made_pictures(folder / part, per_class=2)
    notes = train(folder).provenance.notes
    assert "passed over: 8 pictures in val, which is no part of the data" in notes


@pytest.mark.parametrize("place", ["rose/more/x.png", "rose/a/b/x.png", "violet/a/b/x.png"])
def test_pictures_that_lie_deeper_are_refused_by_name(place: str, tmp_path: Path) -> None:
    folder = made_pictures(tmp_path / "own", per_class=3)
    copied(folder, place)
    with pytest.raises(DataError, match="lies deeper than the pictures of the other classes") as caught:
        train(folder)
    assert caught.value.value == str(folder / place)


def latin(folder: Path) -> None:
    os.rename(os.fsencode(folder / "001.png"), os.fsencode(folder) + b"/caf\xe9.png")


def latin_folder(folder: Path) -> None:
    os.rename(os.fsencode(folder), os.fsencode(folder) + b"\xe9")


def dangling(folder: Path) -> None:
    (folder / "002.png").symlink_to("gone.png")


def dangling_folder(folder: Path) -> None:
    (folder.parent / "violet").symlink_to("gone")


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "002.png")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (latin, r"caf\\udce9\.png.*is not UTF-8; rename it"),
        (latin_folder, r"rose\\udce9.*is not UTF-8; rename it"),
        (dangling, r"rose/002\.png'.*leads to 'gone\.png', which is not there; mend or remove it"),
        (dangling_folder, r"violet'.*leads to 'gone', which is not there"),
        (fifo, r"rose/002\.png'.*is no regular file"),
    ],
)
def test_what_cannot_be_read_is_named(harm: object, says: str, tmp_path: Path) -> None:
    folder = made_pictures(tmp_path / "own", per_class=2)
    assert callable(harm)
    harm(folder / "rose")
    with pytest.raises(DataError, match=says) as caught:
        train(folder)
    str(caught.value).encode()  # can be printed


@pytest.mark.parametrize(("harm", "says"), [(latin, "is not UTF-8"), (dangling, "leads to 'gone.png'")])
def test_so_it_is_in_a_folder_of_a_known_name(harm: object, says: str, tmp_path: Path) -> None:
    folder = made_pictures(tmp_path / "imagenet" / "train", per_class=2)
    made_pictures(tmp_path / "imagenet" / "train" / "__MACOSX", per_class=1)
    assert load_folder("imagenet", tmp_path).classes == ("daisy", "poppy", "rose", "tulip")
    assert callable(harm)
    harm(folder / "rose")
    with pytest.raises(DataError, match=says):
        load_folder("imagenet", tmp_path)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_a_pixel_keep_their_upper_eight(suffix: str, tmp_path: Path) -> None:
    ramp = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    file = tmp_path / f"ramp.{suffix}"
    Image.fromarray(ramp).save(file)
    for colour in ("rgb", "grey"):
        (pixels,) = read_pictures([file], 256, colour)
        assert all(np.array_equal(channel, ramp >> 8) for channel in pixels)
    if suffix == "png":  # read picture by picture, as ImageNet is
        assert np.array_equal(decoded("ramp", file.read_bytes(), ("PNG",))[0], ramp >> 8)
        assert decoded("ramp", file.read_bytes(), ("PNG",)).mean() == 127.5
