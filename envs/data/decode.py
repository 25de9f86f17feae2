"""From bytes to grey pictures: gzipped IDX files, zips of Omniglot PNGs; and the digest of what is inside any file.

Digests, sha256 in hex: of an IDX file, its decompressed bytes; of an Omniglot zip, for every PNG in order
``NAME NUL WIDTHxHEIGHT NUL`` and its pixels as one grey byte each, row by row, so that no compression counts; of every
other archive, for every file sorted by name ``NAME NUL LENGTH NUL`` and its bytes.
"""

from __future__ import annotations

import hashlib
import io
import math
import struct
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from frisket.envs.data.containers import Damaged, gunzip, reading, tar_members, zip_members, zip_names
from frisket.envs.data.pictures import opened
from frisket.envs.data.sources import UNPACKED, Layout
from frisket.files import sha256

if TYPE_CHECKING:
    from PIL.Image import Image

Resample = Literal["bicubic", "nearest"]
"""Filters for Omniglot's 105 -> 28 pixels: the default of Pillow since 7.0, and before it (osaka spec, section 2)."""

SIDE = 28
"""Pixels along an edge of every picture here."""

_PAPER = 255
_DRAWING = 2**16  # pixels of one of Omniglot's, which has 105 x 105, at most
_UBYTE = 8


def parse_idx(data: bytes) -> np.ndarray:
    """The array in an IDX file of unsigned bytes: magic ``00 00 08 ndim``, ndim big-endian uint32 sizes, the values.

    Returns:
        uint8 array of the stated shape (a read-only view of ``data``).

    Raises:
        Damaged: another magic number, or a length that does not fit the stated shape.
    """
    if len(data) < 4 or data[:3] != bytes((0, 0, _UBYTE)) or data[3] == 0:
        raise Damaged(f"not an IDX file of unsigned bytes: it starts with {data[:4].hex(' ') or 'nothing'}")
    ndim = data[3]
    head = 4 + 4 * ndim
    if len(data) < head:
        raise Damaged(f"IDX header of {head} bytes expected, the file has {len(data)}")
    shape = struct.unpack(f">{ndim}I", data[4:head])
    if len(data) - head != math.prod(shape):
        raise Damaged(f"IDX shape {shape} needs {math.prod(shape)} bytes, the file has {len(data) - head}")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def omniglot_pictures(data: bytes) -> Iterator[tuple[str, Image]]:
    """The names ``SET/ALPHABET/CHARACTER/DRAWING.png`` and grey pictures of an Omniglot zip, sorted by those parts.

    Raises:
        Damaged: not a zip, or a member that cannot be read.
    """
    with reading("zip of PNG files"), zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [n for n in zip_names(archive, UNPACKED["omniglot"]) if n.endswith(".png")]
        for name in sorted(names, key=lambda n: n.split("/")):
            with opened(archive.read(name), ("PNG",), _DRAWING) as picture:
                yield name, picture.convert("L")


def content_digest(layout: Layout, data: bytes) -> str:
    """The digest of what a file holds (see the module's docstring).

    Raises:
        Damaged: the file cannot be read to its end.
    """
    most = UNPACKED[layout]
    if layout == "idx":
        return sha256(gunzip(data, most))
    digest = hashlib.sha256()
    if layout == "omniglot":
        for name, picture in omniglot_pictures(data):
            digest.update(f"{name}\0{picture.width}x{picture.height}\0".encode())
            digest.update(picture.tobytes())
        return digest.hexdigest()
    files = (zip_members if layout in ("tiles", "class-tiles", "tiny-imagenet") else tar_members)(data, most)
    for name, content in files.items():
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def idx_arrays(images: bytes, labels: bytes) -> dict[str, np.ndarray]:
    """``images`` ``[n, 1, H, W]`` uint8 and ``labels`` ``[n]`` int64 from two gzipped IDX files.

    Raises:
        Damaged: unreadable, or the two do not fit together.
    """
    pictures, classes = (parse_idx(gunzip(data, UNPACKED["idx"])) for data in (images, labels))
    if pictures.ndim != 3 or classes.shape != pictures.shape[:1]:
        raise Damaged(f"images of shape {pictures.shape} do not fit labels of shape {classes.shape}")
    return {"images": pictures[:, None], "labels": classes.astype(np.int64)}


def omniglot_arrays(archives: list[bytes], resample: Resample) -> dict[str, np.ndarray]:
    """The drawings of all zips, one class a character, classes in the order (zip, alphabet, character).

    Returns:
        ``images`` ``[n, 1, 28, 28]`` uint8 (paper 255, ink 0), ``labels`` ``[n]`` int64, ``classes`` ``[k]`` str
        (``ALPHABET/CHARACTER``).

    Raises:
        Damaged: a zip that cannot be read.
    """
    from PIL.Image import Resampling

    classes: dict[str, int] = {}
    images, labels = [], []
    for data in archives:
        for name, picture in omniglot_pictures(data):
            character = "/".join(name.split("/")[-3:-1])
            labels.append(classes.setdefault(character, len(classes)))
            images.append(np.asarray(picture.resize((SIDE, SIDE), Resampling[resample.upper()])))
    return {
        "images": np.stack(images)[:, None] if images else np.full((0, 1, SIDE, SIDE), _PAPER, np.uint8),
        "labels": np.array(labels, np.int64),
        "classes": np.array(list(classes), np.str_),
    }
