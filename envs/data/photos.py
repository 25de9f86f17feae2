"""Colour pictures from their archives: CIFAR-10, CIFAR-100, TinyImageNet, and tiled copies of the first two and of
miniImageNet.

The CIFAR archives read here are their authors' "binary version", plain records of label bytes and 3,072 pixel bytes.
The other version is made of Python pickles, which run code when they are read; frisket never reads those.

Tiled copies hold, for each split and class, one JPEG whose 32 x 32 tiles in row-major order are the class's pictures,
and ``classes.csv`` (columns id and name, and more). JPEG loses a little, so these are not the published pixels. Of
miniImageNet there is one archive a split, ``SPLIT/CLASS.webp`` of 84 x 84 tiles and ``classes.csv`` (column wnid).
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from frisket.envs.data.containers import Damaged, reading, tar_members, zip_members
from frisket.envs.data.mapped import Block
from frisket.envs.data.pictures import MOST_PIXELS, opened, upper_eight_bits
from frisket.envs.data.sources import UNPACKED

CIFAR_SIDE, TINY_SIDE, MINI_SIDE = 32, 64, 84
_MOST_DIGITS = 18  # of a picture's number; Python reads no more than some thousands

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class CifarLayout:
    """Attributes:
    labels: label bytes before the pixels of a record; the last one is the class.
    splits: names of the files of each split, in order.
    names: the file of class names, one a line.
    """

    labels: int
    splits: Mapping[str, tuple[str, ...]]
    names: str


CIFAR10 = CifarLayout(
    1,
    {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
    "batches.meta.txt",
)
CIFAR100 = CifarLayout(2, {"train": ("train.bin",), "test": ("test.bin",)}, "fine_label_names.txt")


def cifar_arrays(layout: CifarLayout, data: bytes, split: str) -> Arrays:
    """One split of a CIFAR binary archive, in file order; ``all`` is its training part and then its test part.

    Returns:
        ``images`` [n, 3, 32, 32] uint8, ``labels`` [n] int64, ``classes`` [k] str.

    Raises:
        Damaged: not such an archive.
    """
    files = {name.rpartition("/")[2]: content for name, content in tar_members(data, UNPACKED["cifar10"]).items()}
    classes = _member(files, layout.names).decode("utf-8", "replace").split()
    length = layout.labels + 3 * CIFAR_SIDE**2
    parts = []
    for name in [n for part in _parts(split) for n in layout.splits[part]]:
        content = _member(files, name)
        if len(content) % length:
            raise Damaged(f"{name} has {len(content)} bytes, which is no multiple of the {length} of a record")
        parts.append(np.frombuffer(content, np.uint8).reshape(-1, length))
    records = np.concatenate(parts)
    labels = records[:, layout.labels - 1].astype(np.int64)
    if len(labels) and labels.max() >= len(classes):
        raise Damaged(f"label {labels.max()} of {len(classes)} classes")
    images = np.ascontiguousarray(records[:, layout.labels :]).reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE)
    return _arrays(images, labels, classes)


def tiny_imagenet_arrays(data: bytes, split: str) -> Arrays:
    """One split of ``tiny-imagenet-200.zip``; ``test`` is its official validation set, whose labels are published.

    Returns:
        ``images`` [n, 3, 64, 64] uint8 (train: by class and number; test: by number), ``labels`` [n] int64,
        ``classes`` [k] str (WordNet ids, sorted).

    Raises:
        Damaged: not such an archive.
    """
    members = zip_members(data, UNPACKED["tiny-imagenet"])
    files = {name.partition("/")[2]: content for name, content in members.items()}
    train = [name.split("/") for name in files if name.startswith("train/") and name.endswith(".JPEG")]
    classes = sorted({parts[1] for parts in train})
    label_of = {wnid: label for label, wnid in enumerate(classes)}
    if split == "train":
        chosen = [("/".join(parts), parts[1]) for parts in sorted(train, key=lambda p: (p[1], _number(p[-1])))]
    else:
        lines = _member(files, "val/val_annotations.txt").decode("utf-8", "replace").splitlines()
        rows = [line.split("\t") for line in lines]
        if any(len(row) < 2 or row[1] not in label_of for row in rows):
            raise Damaged("val_annotations.txt names a class that has no training pictures")
        chosen = [(f"val/images/{row[0]}", row[1]) for row in sorted(rows, key=lambda row: _number(row[0]))]
    images = np.empty((len(chosen), 3, TINY_SIDE, TINY_SIDE), np.uint8)
    for place, (name, _) in zip(images, chosen, strict=True):
        pixels = decoded(name, _member(files, name), most=TINY_SIDE**2)
        if pixels.shape != place.shape:
            raise Damaged(f"{name} is {pixels.shape[2]} x {pixels.shape[1]} pixels, not {TINY_SIDE} x {TINY_SIDE}")
        place[:] = pixels
    return _arrays(images, np.array([label_of[wnid] for _, wnid in chosen], np.int64), classes)


def tile_arrays(data: bytes, split: str) -> Arrays:
    """One split of a tiled copy, by class and tile; ``all`` is of every class its training and then its test part.

    Returns:
        ``images`` [n, 3, 32, 32] uint8, ``labels`` [n] int64, ``classes`` [k] str.

    Raises:
        Damaged: not such an archive.
    """
    files = zip_members(data, UNPACKED["tiles"])
    with reading("classes.csv"):
        rows = list(csv.DictReader(io.StringIO(_member(files, "classes.csv").decode("utf-8", "replace"))))
    numbered = {row.get("id"): row.get("name") for row in rows}
    classes = [numbered.get(str(i)) for i in range(len(numbered))]
    if not classes or None in classes:
        raise Damaged("classes.csv does not number its classes 0, 1, 2, ...")
    names = [[f"{part}/{c}.jpg" for part in _parts(split)] for c in classes]
    images = [np.concatenate([_tiles(name, _member(files, name)) for name in own]) for own in names]
    labels = np.repeat(np.arange(len(classes)), [len(part) for part in images])
    return _arrays(np.concatenate(images), labels, [str(c) for c in classes])


def class_tile_names(archives: Sequence[bytes]) -> list[str]:
    """The classes of miniImageNet's tiled archives, by archive and name.

    Raises:
        Damaged: not such an archive, or one class in two of them.
    """
    names: list[str] = []
    for data in archives:
        names += sorted(_wnids(zip_members(data, UNPACKED["class-tiles"])))
    if len(set(names)) != len(names):
        raise Damaged("it has a class that another split has too")
    return names


def class_tile_blocks(archives: Sequence[bytes]) -> Iterator[Block]:
    """The pictures of every class of `class_tile_names`, one class at a time, ``[n, 3, 84, 84]`` uint8.

    Raises:
        Damaged: not such an archive.
    """
    for data in archives:
        members = zip_members(data, UNPACKED["class-tiles"])
        files = {name.rpartition("/")[2]: content for name, content in members.items()}
        for wnid in sorted(_wnids(members)):
            name = f"{wnid}.webp"
            yield Block(_tiles(name, _member(files, name), MINI_SIDE, "WEBP"), {})


PHOTOS: Mapping[str, Callable[[bytes, str], Arrays]] = MappingProxyType(
    {
        "cifar10": functools.partial(cifar_arrays, CIFAR10),
        "cifar100": functools.partial(cifar_arrays, CIFAR100),
        "tiny-imagenet": tiny_imagenet_arrays,
        "tiles": tile_arrays,
    }
)
"""``(archive, split) -> arrays`` of every layout that is one archive of colour pictures."""


def _arrays(images: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Arrays:
    return {"images": images, "labels": labels.astype(np.int64), "classes": np.array(classes, np.str_)}


def _parts(split: str) -> tuple[str, ...]:
    """The published splits that make up ``split``."""
    return ("train", "test") if split == "all" else (split,)


def _wnids(files: Mapping[str, bytes]) -> list[str]:
    with reading("classes.csv"):
        rows = csv.DictReader(io.StringIO(_member(files, "classes.csv").decode("utf-8", "replace")))
        wnids = [row.get("wnid") or "" for row in rows]
    if not all(wnids) or not wnids or len(set(wnids)) != len(wnids):
        raise Damaged("classes.csv does not name each of its classes once")
    return wnids


def _member(files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise Damaged(f"it holds no {name}")
    return files[name]


def _number(name: str) -> int:
    """The number at the end of a picture's name, ``val_17.JPEG``."""
    digits = name.rpartition(".")[0].rpartition("_")[2]
    if not digits.isdecimal() or len(digits) > _MOST_DIGITS:
        raise Damaged(f"a picture named {name!r} where a number is expected")
    return int(digits)


def decoded(name: str, data: bytes, formats: tuple[str, ...] = ("JPEG",), most: int = MOST_PIXELS) -> np.ndarray:
    """A picture's file as ``[3, H, W]`` uint8; some of ImageNet's are grey, or of four inks.

    Args:
        name: what to call it where it is damaged.
        data: the file.
        formats: Pillow's names of the formats it may have.
        most: pixels that it may have.

    Raises:
        Damaged: no such file, one that is cut short, or has more pixels.
    """
    with reading(f"{formats[0]} file, {name}"), opened(data, formats, most) as picture:
        return np.asarray(upper_eight_bits(picture).convert("RGB")).transpose(2, 0, 1)


def _tiles(name: str, data: bytes, side: int = CIFAR_SIDE, kind: str = "JPEG") -> np.ndarray:
    """``[n, 3, side, side]``: the tiles of one picture."""
    pixels = decoded(name, data, (kind,))
    _, height, width = pixels.shape
    if height % side or width % side:
        raise Damaged(f"{name} of {width} x {height} pixels is not made of tiles of {side} x {side}")
    tiles = pixels.reshape(3, height // side, side, width // side, side)
    return tiles.transpose(1, 3, 0, 2, 4).reshape(-1, 3, side, side)
