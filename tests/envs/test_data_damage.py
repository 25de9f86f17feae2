"""Damage of every kind in the files that data are read from: one of frisket's own errors, or data; never more memory or
time than a good file needs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutations import COUNTS, Kind, require_safe
from PIL import Image
from test_data_photos import SOFT, cifar10_files, cifar100_files, tile_files, tiny_imagenet_files
from tiny_data import TINY_FILES, TINY_IMAGES, bare_machine, drawings, gz, idx, jpeg, source, tar_gz, zipped

from frisket.envs.data.check import check_file
from frisket.envs.data.containers import gunzip, tar_members, zip_members
from frisket.envs.data.decode import idx_arrays, omniglot_arrays, parse_idx
from frisket.envs.data.own_arrays import OwnArrays
from frisket.envs.data.own_pictures import read_picture
from frisket.envs.data.photos import (
    CIFAR10,
    CIFAR100,
    CifarLayout,
    cifar_arrays,
    decoded,
    tile_arrays,
    tiny_imagenet_arrays,
)
from frisket.envs.data.store import Store

MOST = 2**24
ARRAYS = {"x": np.arange(48, dtype=np.float32).reshape(12, 4), "y": np.arange(12) % 3}
TEXT = {"x": ARRAYS["x"], "y": np.array(list("abcabcabcabc")), "task": np.arange(12) // 6}
MODES = {"png": ("RGBA", "PNG"), "jpg": ("RGB", "JPEG"), "gif": ("P", "GIF"), "bmp": ("RGB", "BMP"),
         "tif": ("I;16", "TIFF"), "webp": ("RGB", "WEBP"), "ppm": ("RGB", "PPM"), "pgm": ("L", "PPM")}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return bare_machine(monkeypatch, tmp_path)


def holding(name: str, content: bytes) -> Callable[[Path], Path]:
    """A file of that name and content."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def kind(content: bytes, read: Callable[[bytes], Any], name: str = "file") -> Kind:
    """Of files that are read as bytes and carry no digest."""
    return Kind(holding(name, content), lambda path: read(path.read_bytes()), sealed=False)


def within(files: dict[str, bytes], name: str, read: Callable[[dict[str, bytes]], Any]) -> Kind:
    """Of archives whose container is whole, and a file in it is not."""
    return kind(files[name], lambda content: read({**files, name: content}))


def tar(files: dict[str, bytes]) -> bytes:
    return gunzip(tar_gz(files), MOST)


def deflated(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def own_arrays(path: Path) -> Any:
    train, test = OwnArrays(arrays=str(path)).load("own")
    return [(part.images, part.labels, part.classes, part.domains, part.provenance.as_dict()) for part in (train, test)]


def npz_of(content: bytes) -> Kind:
    """Of an archive whose ``x.npy`` is damaged."""

    def read(path: Path) -> Any:
        archive = path.with_name("own.npz")
        archive.write_bytes(zipped({"x.npy": path.read_bytes(), "y.npy": npy(ARRAYS["y"])}))
        return own_arrays(archive)

    return Kind(holding("x.npy", content), read, sealed=False)


def beside_y(path: Path) -> Any:
    path.with_name("y.npy").write_bytes(npy(ARRAYS["y"]))
    return own_arrays(path)


def picture(suffix: str) -> Kind:
    mode, form = MODES[suffix]
    values = np.arange(24 * 20 * 4, dtype=np.uint32).reshape(24, 20, 4).astype(np.uint8)
    image = Image.fromarray(values[..., 0].astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(values)
    out = io.BytesIO()
    (image if mode == "I;16" else image.convert(mode)).save(out, form)
    return Kind(holding(f"x.{suffix}", out.getvalue()), lambda path: read_picture(path, 16, "rgb"), sealed=False)


def published(path: Path) -> Any:
    """A published file, whose description has its digests."""
    described = source("tiny", TINY_FILES)
    report, content = check_file(described, described.files()[0], path, Store.open())
    if not report.usable:
        raise report.error()
    return gunzip(content, MOST)


def cifar(layout: CifarLayout) -> Callable[[dict[str, bytes]], Any]:
    return lambda files: [cifar_arrays(layout, tar_gz(files), split) for split in ("train", "test")]


def both(read: Callable[[bytes, str], Any]) -> Callable[[bytes], Any]:
    return lambda content: [read(content, split) for split in ("train", "test")]


DRAWINGS = drawings([f"images_background/A/c{c}/{i}.png" for c in range(2) for i in range(2)])
DRAWN = zip_members(DRAWINGS, MOST)
CIFAR10_FILES, TILES, TINY = cifar10_files(), tile_files(), tiny_imagenet_files()
CIFAR100_TAR = tar(cifar100_files())
NOTES = "tiny-imagenet-200/val/val_annotations.txt"

KINDS = {
    "IDX": kind(idx(TINY_IMAGES[:, :9, :9]), parse_idx),
    "IDX, packed": kind(TINY_FILES["images.gz"], lambda content: idx_arrays(content, TINY_FILES["labels.gz"])),
    "IDX, packed again": kind(
        idx(TINY_IMAGES[:, :9, :9]), lambda content: idx_arrays(gz(content, 1), TINY_FILES["labels.gz"])
    ),
    "published file": Kind(holding("images.gz", TINY_FILES["images.gz"]), published),
    "gzip": kind(gz(b"content" * 99), lambda content: gunzip(content, MOST)),
    "zip": kind(zipped({"a/b.txt": b"content", "c": b""}), lambda content: zip_members(content, MOST)),
    "zip, deflated": kind(deflated({"a/b": b"content" * 99, "c": b""}), lambda content: zip_members(content, MOST)),
    "tar": kind(tar({"a/b.txt": b"content", "c": b"d"}), lambda content: tar_members(gz(content, 1), MOST)),
    "Omniglot": kind(DRAWINGS, lambda content: omniglot_arrays([content], "bicubic")),
    "Omniglot's picture": within(
        DRAWN, next(iter(DRAWN)), lambda files: omniglot_arrays([zipped(files)], "nearest")
    ),
    "CIFAR-10": kind(tar_gz(CIFAR10_FILES), both(lambda content, split: cifar_arrays(CIFAR10, content, split))),
    "CIFAR-10's classes": within(CIFAR10_FILES, "cifar-10-batches-bin/batches.meta.txt", cifar(CIFAR10)),
    "CIFAR-10's records": within(CIFAR10_FILES, "cifar-10-batches-bin/test_batch.bin", cifar(CIFAR10)),
    "CIFAR-100, packed again": kind(
        CIFAR100_TAR, both(lambda content, split: cifar_arrays(CIFAR100, gz(content, 1), split))
    ),
    "TinyImageNet": kind(zipped(TINY), both(tiny_imagenet_arrays)),
    "TinyImageNet's notes": within(TINY, NOTES, lambda files: both(tiny_imagenet_arrays)(zipped(files))),
    "tiles": kind(zipped(TILES), both(tile_arrays)),
    "tiles' classes": within(TILES, "classes.csv", lambda files: both(tile_arrays)(zipped(files))),
    "photo": kind(jpeg(SOFT[0, 0]), lambda content: decoded("x.jpg", content)),
    **{f"picture .{suffix}": picture(suffix) for suffix in MODES},
    "arrays .npz": Kind(
        lambda folder: (np.savez(folder / "own.npz", **TEXT), folder / "own.npz")[1],  # pyright: ignore[reportArgumentType]
        own_arrays, sealed=False,
    ),
    "array in .npz": npz_of(npy(ARRAYS["x"])),
    "array .npy": Kind(holding("x.npy", npy(ARRAYS["x"])), beside_y, sealed=False),
}  # fmt: skip


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", KINDS)
def test_what_is_damaged_is_refused_or_is_data(name: str, count: int, tmp_path: Path) -> None:
    assert require_safe(KINDS[name], KINDS[name].make(tmp_path), count) > 0.05 * count
