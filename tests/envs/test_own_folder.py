"""A user's own folder of pictures: what is found in it, how it is read, what it is divided into, and every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_files import CLASSES, flower, made_pictures
from PIL import Image
from tiny_data import bare_machine

from frisket.envs.data import ImageSet, OwnFolder, read_pictures, resolve
from frisket.errors import DataError, SpecError


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return bare_machine(monkeypatch, tmp_path)


def parts(folder: Path, **fields: Any) -> tuple[ImageSet, ImageSet]:
    own = {"own": OwnFolder(folder=".", **{"size": 8, **fields})}
    data = resolve(["own", "own:test"], "real", folder, own=own)
    return data["own"], data["own:test"]


def save(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def test_classes_are_the_sorted_folders_and_a_share_of_each_is_for_judging(tmp_path: Path) -> None:
    train, test = parts(made_pictures(tmp_path / "own", per_class=10))
    assert train.classes == test.classes == CLASSES
    assert (train.name, test.name) == ("own", "own:test")
    assert np.bincount(train.labels).tolist() == [8] * 4
    assert np.bincount(test.labels).tolist() == [2] * 4
    assert (train.images.shape, train.images.dtype) == ((32, 3, 8, 8), np.uint8)
    brightest = train.images.mean((2, 3)).argmax(1)  # red, green and blue; tulips are blue and red
    assert all(brightest[train.labels == label].tolist() == [label] * 8 for label in range(3))
    together = {image.tobytes() for part in (train, test) for image in part.images}
    assert len(together) == 40  # every picture in one of the two, none in both


def test_division_is_the_same_every_time_and_of_one_class_whatever_the_others_are(tmp_path: Path) -> None:
    folder = made_pictures(tmp_path / "own", per_class=10)
    before = parts(folder)[1]
    again = parts(folder)[1]
    assert np.array_equal(before.images, again.images)
    made_pictures(folder.parent / "own", per_class=2, classes=("rose",), first=90)
    roses = CLASSES.index("rose")
    after = parts(folder)[1]
    assert np.array_equal(before.images[before.labels != roses], after.images[after.labels != roses])


def test_train_and_test_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    made_pictures(tmp_path / "own" / "train", per_class=3)
    made_pictures(tmp_path / "own" / "test", per_class=2, classes=CLASSES[1:3], first=50)
    train, test = parts(tmp_path / "own")
    assert np.bincount(train.labels).tolist() == [3, 3, 3, 3]
    assert test.labels.tolist() == [1, 1, 2, 2]
    assert "test: 4 pictures in the folder test" in test.provenance.notes


def test_top_folders_of_class_folders_are_domains(tmp_path: Path) -> None:
    made_pictures(tmp_path / "own" / "sun", per_class=5)
    made_pictures(tmp_path / "own" / "rain", per_class=5, classes=CLASSES[:2], first=50)
    train, test = parts(tmp_path / "own")
    assert train.domain_names == ("rain", "sun")
    assert train.classes == CLASSES
    for part, each in ((train, 4), (test, 1)):
        assert part.domains is not None
        rain = part.labels[part.domains == 0]
        assert np.bincount(rain, minlength=4).tolist() == [each, each, 0, 0]


def test_hidden_files_and_files_that_are_no_pictures_are_passed_over(tmp_path: Path) -> None:
    folder = made_pictures(tmp_path / "own", per_class=5)
    digest = parts(folder)[0].provenance.sha256
    (folder / ".thumbnails").mkdir()
    (folder / "empty").mkdir()
    (folder / "rose" / "._000.png").write_bytes(b"not a picture")
    (folder / "rose" / "notes.txt").write_text("nice ones", encoding="utf-8")
    assert parts(folder)[0].provenance.sha256 == digest
    assert parts(folder)[0].classes == CLASSES


def test_provenance_knows_the_content_and_not_the_place(tmp_path: Path) -> None:
    folder, copy = made_pictures(tmp_path / "own"), made_pictures(tmp_path / "elsewhere" / "own")
    here, there = parts(folder)[0].provenance, parts(copy)[0].provenance
    assert here.kind == "own"
    assert here.as_dict() == there.as_dict()
    assert here.source == "folder own: 96 pictures in 4 classes"
    save(folder / "rose" / "000.png", flower(1, 7))
    assert parts(folder)[0].provenance.sha256 != there.sha256


def test_pixels_are_kept_in_the_cache_under_their_content(tmp_path: Path, cache: Path) -> None:
    folder = made_pictures(tmp_path / "own", per_class=4)
    first = parts(folder)[0].images
    assert len(list((cache / "arrays").glob("own-*"))) == 1
    assert np.array_equal(parts(folder)[0].images, first)
    assert parts(folder, size=6)[0].images.shape[2:] == (6, 6)
    save(folder / "rose" / "000.png", np.full((9, 9, 3), 255, np.uint8))
    changed = np.concatenate([part.images for part in parts(folder)])
    assert (changed == 255).all((1, 2, 3)).sum() == 1
    assert len(list((cache / "arrays").glob("own-*"))) == 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I"])
@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_pictures_of_every_mode_keep_their_brightness(mode: str, colour: str, tmp_path: Path) -> None:
    """The left half is black, the right half white; of 16 bits a pixel, white is 65,535."""
    pixels = np.zeros((30, 30), np.uint8)
    pixels[:, 15:] = 255
    picture = Image.fromarray(pixels)
    if mode.startswith("I"):
        picture = Image.fromarray(pixels.astype(np.uint16) * 257 if mode == "I;16" else pixels.astype(np.int32) * 257)
    path = tmp_path / ("one.tif" if mode in ("CMYK", "I") else "one.png")
    (picture if mode.startswith("I") else picture.convert(mode)).save(path)
    (image,) = read_pictures([path], 6, "rgb" if colour == "rgb" else "grey")
    assert image.shape == (3 if colour == "rgb" else 1, 6, 6)
    assert image[:, :, :2].max() <= 2
    assert image[:, :, 4:].min() >= 253


def test_middle_square_is_seen_upright_on_white(tmp_path: Path) -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert read_pictures([save(tmp_path / "wide.png", wide)], 10).min() >= 180  # the dark sides are cut off
    lying = np.zeros((20, 20, 3), np.uint8)
    lying[:10] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # its top is its right side
    turned = read_pictures([save(tmp_path / "turned.jpg", lying, exif=exif, quality=95)], 4)[0]
    assert turned[:, :, 3].min() > 240 > 15 > turned[:, :, 0].max()
    clear = np.zeros((8, 8, 4), np.uint8)
    assert read_pictures([save(tmp_path / "clear.png", clear)], 4).min() == 255


@pytest.mark.parametrize("form", ["EPS", "ICNS", "PCX", "PDF", "SGI", "TGA"])
def test_a_picture_is_of_a_format_that_a_name_can_say(form: str, tmp_path: Path) -> None:
    """Pillow looks at the content alone, and would have Ghostscript run what EPS says."""
    picture = Image.fromarray(np.full((16, 16, 3), 200, np.uint8))
    picture.save(tmp_path / "one.png", form)
    with pytest.raises(DataError, match=r"one\.png.*its content is no BMP or GIF"):
        read_pictures([tmp_path / "one.png"], 8)
    picture.save(tmp_path / "one.png", "JPEG")
    assert read_pictures([tmp_path / "one.png"], 8).shape == (1, 3, 8, 8)


def test_damaged_picture_is_named(tmp_path: Path) -> None:
    folder = made_pictures(tmp_path / "own", per_class=3)
    whole = (folder / "poppy" / "001.png").read_bytes()
    for damaged in (b"", b"GIF89a", whole[: len(whole) // 2]):
        (folder / "poppy" / "001.png").write_bytes(damaged)
        with pytest.raises(DataError, match=r"poppy/001\.png.*put a good copy there, or take it away"):
            parts(folder)


def test_folder_that_is_not_there_names_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"own": OwnFolder(folder="flowers")}
    for mode in ("real", "auto"):  # and no stand-in is taken unasked
        with pytest.raises(DataError, match=r"data\.own\.folder = 'flowers'.*--data-dir DIR \(or FRISKET_DATA\)"):
            resolve(["own"], mode, own=own)
    with pytest.raises(DataError, match=r"is not in .*; name its folder with --data-dir, or give an absolute path"):
        resolve(["own"], "real", tmp_path, own=own)
    made_pictures(tmp_path / "flowers", per_class=2)
    assert resolve(["own"], "real", tmp_path, own=own)["own"].classes == CLASSES
    monkeypatch.setenv("FRISKET_DATA", str(tmp_path))
    assert resolve(["own"], "real", own=own)["own"].classes == CLASSES
    absolute = {"own": OwnFolder(folder=str(tmp_path / "flowers"))}
    assert resolve(["own"], "real", own=absolute)["own"].classes == CLASSES
    assert resolve(["own", "own:test"], "embedded", own=own)["own:test"].name == "digits"


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ((), r"has no pictures in class folders; needs DIR/CLASS"),
        (("0.png", "1.png"), r"has no pictures in class folders, 2 pictures in no class folder"),
        (("rose/0.png", "rose/1.png"), r"'rose': is the only class"),
        (("rose/0.png", "tulip/0.png", "tulip/1.png"), r"class 'rose' of own = 1: needs at least 2"),
        (("rose/0.png", "sun/tulip/0.png"), r"sun.*holds folders of pictures, while others hold pictures"),
        (("train/rose/0.png", "train/tulip/0.png"), r"holds a folder train and none called test"),
        (("test/rose/0.png", "test/tulip/0.png"), r"holds a folder test and none called train"),
        (("train/a/0.png", "train/b/0.png", "test/c/0.png"), r"test/c/0\.png.*'c' is not in train"),
        (("train/a/0.png", "train/b/0.png", "test/x/a/0.png"), r"test/x/a/0\.png.*'x' is not in train"),
        (("train/a/0.png", "train/b/0.png", "test/c/no.txt"), r"has no pictures in class folders"),
    ],
)  # fmt: skip
def test_folder_of_another_form_is_refused(made: tuple[str, ...], says: str, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for i, name in enumerate(made):
        if name.endswith(".txt"):
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text("", encoding="utf-8")
        else:
            save(folder / name, flower(0, i))
    with pytest.raises(DataError, match=says):
        parts(folder)


def test_class_that_is_called_train_is_a_class(tmp_path: Path) -> None:
    for i in range(3):
        for name in ("car", "train"):
            save(tmp_path / "own" / name / f"{i}.png", flower(0, i))
    assert parts(tmp_path / "own")[0].classes == ("car", "train")


def test_wrong_settings_and_names_are_refused(tmp_path: Path) -> None:
    folder = made_pictures(tmp_path / "own", per_class=2)
    with pytest.raises(SpecError, match=r"size = 0: must be 1 to 4,096"):
        OwnFolder(folder=".", size=0)
    with pytest.raises(SpecError, match=r"test_share = 1\.0: must be above 0 and below 1"):
        OwnFolder(folder=".", test_share=1.0)
    for name, says in (("mnist", "is the name of a data set that frisket knows"), ("my data", "must be a name")):
        with pytest.raises(DataError, match=says):
            resolve([name], "real", folder, own={name: OwnFolder(folder=".")})
    with pytest.raises(DataError, match=r"split of own = 'val': must be test, or left out"):
        resolve(["own:val"], "real", folder, own={"own": OwnFolder(folder=".")})
    with pytest.raises(DataError, match=r"is unknown; did you mean 'own'"):
        resolve(["owm"], "real", folder, own={"own": OwnFolder(folder=".")})
