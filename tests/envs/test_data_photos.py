"""CIFAR and TinyImageNet archives in both forms, made small; every way they can be wrong; which form is used."""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_data import bare_machine, jpeg, put, tar_gz, zipped

from frisket.envs.data import SOURCES, Source, SourceFile, load, resolve, verify
from frisket.envs.data.containers import Damaged
from frisket.envs.data.decode import content_digest
from frisket.envs.data.photos import (
    CIFAR10,
    CIFAR100,
    cifar_arrays,
    class_tile_blocks,
    class_tile_names,
    tile_arrays,
    tiny_imagenet_arrays,
)
from frisket.envs.data.sources import CANONICAL, TILED, Layout
from frisket.errors import DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (18, 3, 32, 32)).astype(np.uint8)
NAMES10 = ("airplane", "automobile", "bird")
LABELS = np.arange(18) % 3


def records(images: np.ndarray, labels: np.ndarray, coarse: bool) -> bytes:
    """CIFAR's binary records."""
    heads = [labels[:, None]] + [np.full((len(labels), 1), 7)] * coarse
    return np.concatenate([*reversed(heads), images.reshape(len(images), -1)], 1).astype(np.uint8).tobytes()


def cifar10_files() -> dict[str, bytes]:
    folder = "cifar-10-batches-bin"
    files = {
        f"{folder}/data_batch_{i + 1}.bin": records(PIXELS[3 * i : 3 * i + 3], LABELS[3 * i : 3 * i + 3], False)
        for i in reversed(range(5))
    }
    files[f"{folder}/test_batch.bin"] = records(PIXELS[15:], LABELS[15:], False)
    return files | {f"{folder}/batches.meta.txt": "\n".join([*NAMES10, ""]).encode(), f"{folder}/readme.html": b"<p>"}


def cifar100_files() -> dict[str, bytes]:
    folder = "cifar-100-binary"
    return {
        f"{folder}/train.bin": records(PIXELS[:15], LABELS[:15], True),
        f"{folder}/test.bin": records(PIXELS[15:], LABELS[15:], True),
        f"{folder}/fine_label_names.txt": b"apple\naquarium_fish\nbaby\n",
        f"{folder}/coarse_label_names.txt": b"aquatic_mammals\nfish\n",
    }


# made of large pixels, so that JPEG changes them little
TILES = RNG.integers(0, 256, (2, 6, 8, 8, 3)).repeat(4, 2).repeat(4, 3).astype(np.uint8)


def tile_files(header: str = "id,name,coarse_id") -> dict[str, bytes]:
    """Two classes; train pictures of 2 x 2 tiles, test of 1 x 2."""
    files = {"classes.csv": f"{header}\n1,zebra,0\n0,ant,3\n".encode()}
    for c, name in enumerate(("ant", "zebra")):
        rows = [np.concatenate(list(pair), 1) for pair in (TILES[c, :2], TILES[c, 2:4], TILES[c, 4:])]
        files[f"train/{name}.jpg"] = jpeg(np.concatenate(rows[:2]))
        files[f"test/{name}.jpg"] = jpeg(rows[2])
    return files


SOFT = RNG.integers(0, 256, (2, 12, 8, 8, 3)).repeat(8, 2).repeat(8, 3).astype(np.uint8)


def tiny_imagenet_files() -> dict[str, bytes]:
    """Two classes with pictures 0, 2 and 10 of each; one of them is grey."""
    root, files = "tiny-imagenet-200", {"tiny-imagenet-200/": b"", "tiny-imagenet-200/words.txt": b"n02\tant\n"}
    for c, wnid in enumerate(("n02", "n01")):
        files[f"{root}/train/{wnid}/{wnid}_boxes.txt"] = b""
        for i in (10, 0, 2):
            files[f"{root}/train/{wnid}/images/{wnid}_{i}.JPEG"] = jpeg(SOFT[c, i])
    files[f"{root}/train/n01/images/n01_2.JPEG"] = jpeg(SOFT[1, 2, :, :, 0])
    files[f"{root}/val/val_annotations.txt"] = b"val_10.JPEG\tn02\t0\t0\t9\t9\nval_9.JPEG\tn01\t0\t0\t9\t9\n"
    files[f"{root}/val/images/val_9.JPEG"], files[f"{root}/val/images/val_10.JPEG"] = jpeg(SOFT[1, 9]), jpeg(SOFT[0, 9])
    return files | {f"{root}/test/images/test_0.JPEG": b"never opened"}


def near(images: np.ndarray, wanted: np.ndarray) -> bool:
    """Equal but for what JPEG loses; ``wanted`` [n, H, W, 3]."""
    return float(np.abs(images.astype(float) - wanted.transpose(0, 3, 1, 2)).mean()) < 4


@pytest.mark.parametrize(("layout", "files"), [(CIFAR10, cifar10_files()), (CIFAR100, cifar100_files())])
def test_cifar_records(layout: object, files: Mapping[str, bytes]) -> None:
    """Batches in order whatever their order in the archive; of two label bytes the second, fine one."""
    for split, rows in (("train", slice(0, 15)), ("test", slice(15, 18))):
        arrays = cifar_arrays(layout, tar_gz(files), split)  # pyright: ignore[reportArgumentType]
        assert np.array_equal(arrays["images"], PIXELS[rows])
        assert arrays["images"].dtype == np.uint8
        assert arrays["labels"].tolist() == LABELS[rows].tolist()
        assert arrays["labels"].dtype == np.int64
        assert len(arrays["classes"]) == 3


def test_tiles() -> None:
    train, test = (tile_arrays(zipped(tile_files()), split) for split in ("train", "test"))
    assert train["classes"].tolist() == ["ant", "zebra"]  # by id, not by place in the file
    assert train["labels"].tolist() == [0] * 4 + [1] * 4
    assert test["labels"].tolist() == [0, 0, 1, 1]
    assert near(train["images"], TILES[:, :4].reshape(8, 32, 32, 3))
    assert near(test["images"], TILES[:, 4:].reshape(4, 32, 32, 3))


def test_tiny_imagenet() -> None:
    train, test = (tiny_imagenet_arrays(zipped(tiny_imagenet_files()), split) for split in ("train", "test"))
    assert train["classes"].tolist() == ["n01", "n02"]
    assert train["labels"].tolist() == [0, 0, 0, 1, 1, 1]
    assert near(train["images"][[0, 2, 3, 4, 5]], np.stack([*SOFT[1, [0, 10]], *SOFT[0, [0, 2, 10]]]))
    grey = train["images"][1]
    assert np.array_equal(grey[0], grey[1])
    assert test["labels"].tolist() == [0, 1]  # val_9 before val_10
    assert near(test["images"], np.stack([SOFT[1, 9], SOFT[0, 9]]))


def without(files: Mapping[str, bytes], end: str) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if not name.endswith(end)}


def changed(files: Mapping[str, bytes], end: str, content: bytes) -> dict[str, bytes]:
    return {name: content if name.endswith(end) else kept for name, kept in files.items()}


def ten(data: bytes) -> object:
    return cifar_arrays(CIFAR10, data, "train")


def tiles(data: bytes) -> object:
    return tile_arrays(data, "train")


def tiny(data: bytes) -> object:
    return tiny_imagenet_arrays(data, "train"), tiny_imagenet_arrays(data, "test")


@pytest.mark.parametrize(
    ("read", "data", "says"),
    [
        (ten, b"", "it is empty"),
        (ten, b"plain", "not a whole gzip file"),
        (ten, tar_gz(cifar10_files())[:-9], "not a whole gzip file"),
        (ten, zipped({}), "not a whole gzip file"),
        (ten, tar_gz(without(cifar10_files(), "data_batch_3.bin")), "holds no data_batch_3.bin"),
        (ten, tar_gz(without(cifar10_files(), "meta.txt")), "holds no batches.meta.txt"),
        (ten, tar_gz(changed(cifar10_files(), "batch_2.bin", b"\0" * 3074)), "no multiple of the 3073 of a record"),
        (ten, tar_gz(changed(cifar10_files(), "batch_2.bin", b"\3" + b"\0" * 3072)), "label 3 of 3 classes"),
        (tiles, b"plain", "not a whole zip file"),
        (tiles, zipped(tile_files())[:-30], "not a whole zip file"),
        (tiles, zipped(without(tile_files(), "train/zebra.jpg")), "holds no train/zebra.jpg"),
        (tiles, zipped(without(tile_files(), "classes.csv")), "holds no classes.csv"),
        (tiles, zipped(tile_files("number,name,coarse")), "does not number its classes"),
        (tiles, zipped(changed(tile_files(), "train/ant.jpg", jpeg(SOFT[0, 0, :40]))), "not made of tiles of 32 x 32"),
        (tiles, zipped(changed(tile_files(), "train/ant.jpg", b"\xff\xd8 and nonsense")), "train/ant.jpg"),
        (tiles, zipped(changed(tile_files(), "train/ant.jpg", tile_files()["train/ant.jpg"][:-400])), "train/ant.jpg"),
        (tiny, zipped({}), "holds no val/val_annotations.txt"),
        (tiny, zipped(changed(tiny_imagenet_files(), "n02_2.JPEG", jpeg(SOFT[0, 0, :32]))), "is 64 x 32 pixels"),
        (tiny, zipped(without(tiny_imagenet_files(), "val_9.JPEG")), "holds no val/images/val_9.JPEG"),
        (tiny, zipped(changed(tiny_imagenet_files(), "tions.txt", b"val_9.JPEG\tn03\n")), "no training pictures"),
        (tiny, zipped(changed(tiny_imagenet_files(), "tions.txt", b"\xff\n")), "no training pictures"),
        (tiny, zipped(changed(tiny_imagenet_files(), "tions.txt", b"val_x.JPEG\tn01\n")), "where a number is expected"),
    ],
)
def test_damage_is_told(read: Callable[[bytes], object], data: bytes, says: str) -> None:
    with pytest.raises(Damaged, match=says):
        read(data)


class _Trap:
    """Unpickling one of these would stop the test."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return (pytest.fail, ("a pickle was read",))


def test_the_archive_of_pickles_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_machine(monkeypatch, tmp_path)
    pickles = tar_gz({f"cifar-10-batches-py/data_batch_{i}": pickle.dumps(_Trap()) for i in range(1, 6)})
    folder = put(tmp_path / "data", "cifar10", {"cifar-10-binary.tar.gz": pickles, "cifar-10-python.tar.gz": pickles})
    with pytest.raises(DataError, match="is damaged: it is not the published file"):
        load("cifar10", folder)
    with pytest.raises(Damaged):
        cifar_arrays(CIFAR10, pickles, "train")


def form(name: str, layout: Layout, file: str, data: bytes, **fields: object) -> Source:
    """One archive holding both splits, described as a published data set."""
    described = SourceFile(file, (hashlib.sha256(data).hexdigest(),), content_digest(layout, data))
    base = SOURCES["cifar10"]
    splits = dict.fromkeys(("train", "test"), (described,))
    return replace(base, name=name, layout=layout, splits=splits, mirrors=(), others=(), **fields)  # pyright: ignore[reportArgumentType]


ARCHIVE, COPY = tar_gz(cifar10_files()), zipped(tile_files())
TILE_FORM = form("photos", "tiles", "photos.zip", COPY, form=TILED, notes=("a note",))
SET = {"photos": replace(form("photos", "cifar10", "photos.tar.gz", ARCHIVE), others=(TILE_FORM,))}


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return bare_machine(monkeypatch, tmp_path)


def test_the_canonical_form_comes_first(cache: Path, tmp_path: Path) -> None:
    folder = put(tmp_path / "data", "photos", {"photos.zip": COPY, "photos.tar.gz": ARCHIVE})
    images = load("photos", folder, split="test", sources=SET)
    assert np.array_equal(images.images, PIXELS[15:])
    assert images.classes == NAMES10
    assert images.provenance.as_dict()["form"] == CANONICAL
    assert images.provenance.sha256["photos.tar.gz"] == hashlib.sha256(ARCHIVE).hexdigest()
    assert [(row.file, row.status, row.form) for row in verify(data_dir=folder, sources=SET)] == [
        ("photos.tar.gz", "ok", CANONICAL)
    ]


def test_another_form_is_used_and_says_so(cache: Path, tmp_path: Path) -> None:
    folder = put(tmp_path / "data", "photos", {"photos.zip": COPY})
    data = resolve(["photos", "photos:test"], "real", folder, sources=SET)
    assert {name: len(images.labels) for name, images in data.items()} == {"photos": 8, "photos:test": 4}
    provenance = data["photos"].provenance.as_dict()
    assert provenance["form"] == "tiled pictures, lossy"
    assert "a note" in provenance["notes"]
    assert any("Pillow" in note for note in provenance["notes"])
    assert [(row.file, row.status, row.form) for row in verify(data_dir=folder, sources=SET)] == [
        ("photos.zip", "ok", TILED)
    ]
    kept = sorted(path.name for path in (cache / "arrays").iterdir())
    assert len(kept) == 2  # one a split, decoded once
    stamps = [(cache / "arrays" / name).stat().st_mtime_ns for name in kept]
    assert np.array_equal(load("photos", folder, sources=SET).images, data["photos"].images)
    assert [(cache / "arrays" / name).stat().st_mtime_ns for name in kept] == stamps


def test_a_damaged_canonical_file_is_told_and_passed_over(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = put(tmp_path / "data", "photos", {"photos.zip": COPY, "photos.tar.gz": ARCHIVE[:-5]})
    with caplog.at_level(logging.WARNING, "frisket.data"):
        assert load("photos", folder, sources=SET).provenance.form == TILED
    assert "photos.tar.gz is damaged" in caplog.text
    assert [(row.file, row.status) for row in verify(data_dir=folder, sources=SET)] == [
        ("photos.tar.gz", "damaged"),
        ("photos.zip", "ok"),
    ]


def test_no_form_is_an_error_about_the_published_files_or_about_the_damaged_one(cache: Path, tmp_path: Path) -> None:
    folder = put(tmp_path / "data", "photos", {})
    with pytest.raises(DataError, match=r"photos\.tar\.gz.*is missing"):
        load("photos", folder, sources=SET)
    assert [(row.file, row.status) for row in verify(data_dir=folder, sources=SET)] == [("photos.tar.gz", "missing")]
    put(folder, "photos", {"photos.zip": b"half a copy"})
    with pytest.raises(DataError, match=r"photos\.zip.*is damaged"):
        load("photos", folder, sources=SET)
    assert [(row.file, row.status) for row in verify(data_dir=folder, sources=SET)] == [
        ("photos.tar.gz", "missing"),
        ("photos.zip", "damaged"),
    ]


def test_a_repacked_copy_is_accepted_by_content(cache: Path, tmp_path: Path) -> None:
    repacked = zipped(dict(reversed(tile_files().items())))
    assert repacked != COPY
    folder = put(tmp_path / "data", "photos", {"photos.zip": repacked})
    assert [row.status for row in verify(data_dir=folder, sources=SET)] == ["repacked"]
    other = zipped(changed(tile_files(), "classes.csv", b"id,name\n0,ant\n1,zebra\n"))
    put(folder, "photos", {"photos.zip": other})
    assert [row.status for row in verify(data_dir=folder, sources=SET)] == ["missing", "damaged"]


def test_published_archives_are_known_by_their_container_alone() -> None:
    for name in ("cifar10", "cifar100", "tinyimagenet"):
        (file,) = SOURCES[name].files()
        assert file.content is None
        assert len(file.containers[0]) == 64
    assert [f.form for f in SOURCES["cifar100"].forms()] == [CANONICAL, TILED]


def class_tile_files(*wnids: str) -> dict[str, bytes]:
    """One archive of miniImageNet's: a picture of 1 x 2 tiles of each class."""
    files = {"classes.csv": ("wnid,words\n" + "".join(f'{wnid},"a, b"\n' for wnid in wnids)).encode()}
    for wnid in wnids:
        out = io.BytesIO()
        tiles = np.repeat(np.array([[int(wnid), 255 - int(wnid)]], np.uint8), 84, axis=0).repeat(84, axis=1)
        Image.fromarray(np.stack([tiles] * 3, -1)).save(out, "WEBP", lossless=True)
        files[f"train/{wnid}.webp"] = out.getvalue()
    return files


def test_miniimagenets_tiled_archives_are_read_class_by_class() -> None:
    archives = [zipped(class_tile_files("20", "10")), zipped(class_tile_files("05"))]
    assert class_tile_names(archives) == ["10", "20", "05"]
    blocks = [block.images for block in class_tile_blocks(archives)]
    assert [block.shape for block in blocks] == [(2, 3, 84, 84)] * 3
    assert [block.mean((1, 2, 3)).tolist() for block in blocks] == [[10, 245], [20, 235], [5, 250]]


@pytest.mark.parametrize(
    ("archives", "says"),
    [
        ([class_tile_files("10"), class_tile_files("10")], "another split has too"),
        ([class_tile_files("10") | {"classes.csv": b"id\n1\n"}], "does not name each of its classes once"),
        ([class_tile_files("10") | {"classes.csv": b"wnid\n10\n11\n"}], "it holds no 11.webp"),
        ([class_tile_files("10") | {"train/10.webp": jpeg(SOFT[0, 0])}], "its content is no WEBP"),
        ([{"x": b""}], "it holds no classes.csv"),
    ],
)
def test_a_tiled_archive_of_miniimagenets_that_is_damaged_says_how(archives: list[dict[str, bytes]], says: str) -> None:
    packed = [zipped(files) for files in archives]
    with pytest.raises(Damaged, match=says):
        assert class_tile_names(packed) == [block.images.shape for block in class_tile_blocks(packed)]


def test_both_parts_of_a_cifar_set_together() -> None:
    """What CIFAR-FS and FC100 are made of."""
    whole = cifar_arrays(CIFAR100, tar_gz(cifar100_files()), "all")
    assert np.array_equal(whole["images"], PIXELS)
    tiled = tile_arrays(zipped(tile_files()), "all")
    assert tiled["labels"].tolist() == [0] * 6 + [1] * 6
    assert near(tiled["images"], TILES.reshape(-1, 32, 32, 3))
    for name in ("cifar_fs", "fc100"):
        assert [form.splits["all"] for form in SOURCES[name].forms()] == [
            form.splits["train"] for form in SOURCES["cifar100"].forms()
        ]
        assert SOURCES[name].folder == "cifar100"
        assert not any("split" in note for form in SOURCES[name].forms() for note in form.notes)
