"""Tiny data sets in the formats of the published ones, and a machine with nothing on it to put them on."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frisket.envs.data import Source, SourceFile
from frisket.envs.data.decode import content_digest


def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Point the cache at an empty folder and name no data folder; gives the cache folder."""
    monkeypatch.delenv("FRISKET_DATA", raising=False)
    monkeypatch.setenv("FRISKET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def idx(values: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def gz(data: bytes, level: int = 9) -> bytes:
    """A gzip container without a date, so that it is the same every time."""
    return gzip.compress(data, level, mtime=0)


def drawings(names: list[str], seed: int = 0) -> bytes:
    """A zip of one-bit 105x105 PNGs of those names, white with a black box somewhere."""
    out = io.BytesIO()
    generator = np.random.default_rng(seed)
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            pixels = np.full((105, 105), 255, np.uint8)
            top, left = generator.integers(0, 80, size=2)
            pixels[top : top + 20, left : left + 20] = 0
            png = io.BytesIO()
            Image.fromarray(pixels).convert("1").save(png, "PNG")
            archive.writestr(zipfile.ZipInfo(name), png.getvalue())
    return out.getvalue()


def tar_gz(files: Mapping[str, bytes]) -> bytes:
    """A gzipped tar of those files, the same every time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gz(out.getvalue())


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip of those files, stored."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def jpeg(pixels: np.ndarray) -> bytes:
    """``[H, W, 3]`` or ``[H, W]`` uint8 as a JPEG of high quality."""
    out = io.BytesIO()
    colour = {"subsampling": 0} if pixels.ndim == 3 else {}
    Image.fromarray(pixels).save(out, "JPEG", quality=95, **colour)
    return out.getvalue()


TINY_IMAGES = np.arange(6 * 28 * 28, dtype=np.uint32).reshape(6, 28, 28).astype(np.uint8)
TINY_LABELS = np.array([1, 0, 1, 2, 0, 1], np.uint8)
TINY_FILES = {"images.gz": gz(idx(TINY_IMAGES)), "labels.gz": gz(idx(TINY_LABELS))}


def source(name: str, files: dict[str, bytes], layout: str = "idx", mirrors: tuple[str, ...] = ()) -> Source:
    """The description of ``files`` as a published data set with classes a, b, c."""
    described = tuple(
        SourceFile(file, (hashlib.sha256(data).hexdigest(),), content_digest(layout, data))  # pyright: ignore[reportArgumentType]
        for file, data in files.items()
    )
    return Source(
        name=name,
        title=f"tiny {name}",
        layout=layout,  # pyright: ignore[reportArgumentType]
        splits={"train": described},
        mirrors=mirrors,
        classes=("a", "b", "c"),
        licence="none",
        citation="nobody",
        stand_in="digits",
    )


def put(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """Write ``files`` where a data folder keeps data set ``name``; gives the data folder."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (folder / name / file).write_bytes(data)
    return folder
