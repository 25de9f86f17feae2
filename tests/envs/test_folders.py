"""ImageNet from its folders: what counts as a picture, what a result says of it, and mistakes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from picture_files import CLASSES, made_folders, picture
from PIL import Image
from tiny_data import bare_machine, jpeg

from frisket.envs.data import PictureFolder, Pictures, load_folder, resolve
from frisket.errors import DataError


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    bare_machine(monkeypatch, tmp_path)
    return made_folders(tmp_path / "data")


def test_labels_are_the_places_of_the_sorted_folders(folder: Path) -> None:
    for name, split, count in (("imagenet", "train", 8), ("imagenet:test", "val", 4)):
        found = load_folder(name, folder)
        assert found.name == name
        assert found.classes == CLASSES
        assert found.labels.tolist() == [0] * count + [1] * count
        assert found.files[count] == f"{CLASSES[1]}/{CLASSES[1]}_0.JPEG"
        assert [indices.tolist() for indices in found.class_indices()] == [
            list(range(count)), list(range(count, 2 * count))
        ]  # fmt: skip
        pixels = found.picture(count + 2)
        drawn = picture(split, 2, 1).transpose(2, 0, 1)
        assert pixels.shape == drawn.shape
        assert float(np.abs(pixels.astype(int) - drawn).mean()) < 4  # JPEG


def test_what_is_no_picture_is_passed_over(folder: Path) -> None:
    before = load_folder("imagenet", folder)
    train = folder / "imagenet" / "train"
    (train / CLASSES[0] / "notes.txt").write_text("x")
    (train / CLASSES[0] / "._n01440764_0.JPEG").write_bytes(b"x")
    (train / ".cache").mkdir()
    (train / "n00000000").mkdir()
    (train / "synsets.txt").write_text("x")
    after = load_folder("imagenet", folder)
    assert (after.files, after.classes, after.provenance) == (before.files, before.classes, before.provenance)


def test_grey_four_ink_and_png_files_are_read_as_colour(folder: Path) -> None:
    place = folder / "imagenet" / "train" / CLASSES[0]
    grey = np.full((20, 30), 77, np.uint8)
    (place / "a.jpg").write_bytes(jpeg(grey))
    Image.fromarray(grey).convert("CMYK").save(place / "b.jpeg", "JPEG")
    png = io.BytesIO()
    Image.fromarray(grey).save(png, "PNG")
    (place / "c.JPEG").write_bytes(png.getvalue())  # ImageNet has such a file
    found = load_folder("imagenet", folder)
    for name in ("a.jpg", "b.jpeg", "c.JPEG"):
        pixels = found.picture(found.files.index(f"{CLASSES[0]}/{name}"))
        assert pixels.shape == (3, 20, 30)
        assert int(np.abs(pixels.astype(int) - 77).max()) <= 2


def test_provenance_says_what_was_found(folder: Path) -> None:
    found = load_folder("imagenet:test", folder).provenance
    assert found.kind == "real"
    assert "8 pictures in 2 classes" in found.source
    assert "not the published set, which has 50,000 pictures in 1,000 classes" in found.notes
    (digest,) = found.sha256.values()
    (folder / "imagenet" / "val" / CLASSES[0] / "more.JPEG").write_bytes(jpeg(picture("val", 9, 0)))
    assert load_folder("imagenet:test", folder).provenance.sha256 != found.sha256
    (folder / "imagenet" / "val" / CLASSES[0] / "more.JPEG").unlink()
    assert list(load_folder("imagenet:test", folder).provenance.sha256.values()) == [digest]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda train: train.rename(train.parent / "elsewhere"), "is not there"),
        (lambda train: [file.unlink() for file in train.rglob("*.JPEG")], "has no pictures"),
    ],
)
def test_a_missing_folder_is_told_with_its_layout(folder: Path, damage: object, says: str) -> None:
    damage(folder / "imagenet" / "train")  # pyright: ignore[reportCallIssue]
    with pytest.raises(DataError, match=says) as caught:
        load_folder("imagenet", folder)
    assert "imagenet/train/CLASS/*.JPEG and imagenet/val/CLASS/*.JPEG" in caught.value.fix
    assert "FRISKET_DATA" in caught.value.fix


def test_a_damaged_picture_is_named(folder: Path) -> None:
    place = folder / "imagenet" / "train" / CLASSES[0] / f"{CLASSES[0]}_1.JPEG"
    found = load_folder("imagenet", folder)
    place.write_bytes(place.read_bytes()[:200])
    with pytest.raises(DataError, match=r"n01440764_1\.JPEG"):
        found.picture(1)
    place.unlink()
    with pytest.raises(DataError, match="No such file"):
        found.picture(1)


def test_names_that_are_wrong(folder: Path) -> None:
    with pytest.raises(DataError, match="must be one of train, test"):
        load_folder("imagenet:val", folder)
    with pytest.raises(DataError, match="did you mean 'imagenet'"):
        load_folder("imagnet", folder)


def test_resolve_gives_the_folders_or_the_stand_in_of_both(folder: Path) -> None:
    names = ("imagenet", "imagenet:test")
    real = resolve(names, "auto", folder, kind=Pictures)
    assert [type(one) for one in real.values()] == [PictureFolder] * 2
    assert [one.name for one in real.values()] == list(names)
    assert [one.name for one in resolve(names, "embedded", folder, kind=Pictures).values()] == ["patches"] * 2
    (folder / "imagenet" / "val").rename(folder / "imagenet" / "elsewhere")
    assert [one.name for one in resolve(names, "auto", folder, kind=Pictures).values()] == ["patches"] * 2
    with pytest.raises(DataError, match="split test"):
        resolve(names, "real", folder, kind=Pictures)
    with pytest.raises(DataError, match="kind=Pictures"):
        resolve(names, "real", folder)
