"""Small files that would fill memory or disk, and files that never end: refused within bounds, by name, in one line."""

from __future__ import annotations

import io
import os
import struct
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_data import TINY_FILES, bare_machine, gz, put, source, tar_gz, zipped

from frisket.envs.data import fetch
from frisket.envs.data.check import check_file
from frisket.envs.data.containers import Damaged, gunzip, tar_members, zip_members
from frisket.envs.data.decode import content_digest
from frisket.envs.data.folders import PictureFolder
from frisket.envs.data.imageset import Provenance
from frisket.envs.data.own_arrays import OwnArrays
from frisket.envs.data.own_folder import OwnFolder
from frisket.envs.data.own_pictures import read_picture
from frisket.envs.data.photos import decoded
from frisket.envs.data.store import Store, cached_arrays
from frisket.errors import DataError

MEMORY = 256 * 2**20
MOST = 10_000


@pytest.fixture(scope="module")
def gzip_bomb() -> bytes:
    """6.5 MB that unpack to 6.7 GB."""
    return gz(bytes(2**24)) * 400


def peak(action: Callable[[], object]) -> int:
    """The most bytes that ``action`` holds at a time."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def png(width: int, height: int) -> bytes:
    """A PNG whose header names that size, and which has next to nothing of it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def sparse_tar(size: int) -> bytes:
    """A gzipped tar of one file that is said to have ``size`` bytes, and is one hole."""
    member = tarfile.TarInfo("data_batch_1.bin")
    member.type = tarfile.GNUTYPE_SPARSE
    head = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    head[386:410] = b"0" * 11 + b"\0" + b"0" * 11 + b"\0"
    head[483:495] = f"{size:011o}".encode() + b"\0"
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}".encode() + b"\0 "
    return gz(bytes(head) + bytes(1024))


def packed(method: int, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("a", content)
    return out.getvalue()


def test_gzip_bomb_is_hashed_and_refused_in_little_memory(
    gzip_bomb: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_machine(monkeypatch, tmp_path)
    described = source("tiny", TINY_FILES)
    place = put(tmp_path, "tiny", {"images.gz": gzip_bomb}) / "tiny" / "images.gz"
    file = described.files()[0]
    reports = []
    assert peak(lambda: reports.append(check_file(described, file, place, Store.open()))) < MEMORY
    ((report, content),) = reports
    assert (report.status, content) == ("damaged", b"")
    assert len(report.found) == 64
    assert "unpacks to more than the 67,108,864 bytes" in report.detail


@pytest.mark.parametrize(
    ("unpack", "data", "said"),
    [
        (gunzip, gz(bytes(MOST + 1)), "unpacks to more"),
        (tar_members, tar_gz({"a": bytes(MOST)}), "unpacks to more"),
        (tar_members, sparse_tar(2**32), "unpacks to more"),
        (zip_members, packed(zipfile.ZIP_DEFLATED, bytes(MOST + 1)), "unpacks to more"),
        (zip_members, zipped({"a": bytes(MOST // 2), "b": bytes(MOST // 2 + 1)}), "unpacks to more"),
        (zip_members, packed(zipfile.ZIP_BZIP2, bytes(10**6)), "method other than deflate"),
        (zip_members, packed(zipfile.ZIP_LZMA, bytes(10**6)), "method other than deflate"),
    ],
)
def test_containers_unpack_to_what_is_allowed(unpack: Callable[[bytes, int], object], data: bytes, said: str) -> None:
    with pytest.raises(Damaged, match=said):
        unpack(data, MOST)


@pytest.mark.parametrize("pack", [lambda c: packed(zipfile.ZIP_DEFLATED, c), lambda c: zipped({"a": c})])
def test_what_is_allowed_is_read_to_the_last_byte(pack: Callable[[bytes], bytes]) -> None:
    content = bytes(range(250)) * (MOST // 250)
    assert gunzip(gz(content), MOST) == content
    assert zip_members(pack(content), MOST) == {"a": content}
    assert tar_members(tar_gz({"a": content[:5000]}), 3 * MOST) == {"a": content[:5000]}


@pytest.mark.parametrize("kind", ["fifo", "zero", "folder"])
def test_what_is_no_regular_file_is_not_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_machine(monkeypatch, tmp_path)
    described = source("tiny", TINY_FILES)
    (tmp_path / "class").mkdir()
    places = [put(tmp_path, "tiny", {}) / "tiny" / "images.gz", tmp_path / "class" / "x.png"]
    for place in places:
        if kind == "fifo":
            os.mkfifo(place)
        elif kind == "zero":
            place.symlink_to("/dev/zero")
        else:
            place.mkdir()
    report, content = check_file(described, described.files()[0], places[0], Store.open())
    assert (report.status, content) == ("damaged", b"")
    assert "no regular file" in report.detail
    with pytest.raises(DataError, match=r"x\.png.*no regular file"):
        read_picture(places[1], 8, "rgb")
    provenance = Provenance("imagenet", "real", "", "", "", {}, (), "")
    pictures = PictureFolder("imagenet", tmp_path, ("class/x.png",), np.zeros(1, np.int64), ("class",), provenance)
    with pytest.raises(DataError, match=r"x\.png.*no regular file"):
        pictures.picture(0)


@pytest.mark.parametrize(("width", "height"), [(14_000, 14_000), (10_000, 10_000), (9_000, 9_000), (2**31 - 1, 1)])
def test_a_pictures_header_is_believed_and_the_picture_named(
    width: int, height: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow itself warns from 89 million pixels on, and refuses 179 million."""
    bare_machine(monkeypatch, tmp_path)
    for kind in ("a", "b"):
        (tmp_path / "own" / kind).mkdir(parents=True)
        for name in ("x.png", "y.png"):
            (tmp_path / "own" / kind / name).write_bytes(png(width, height))
    with pytest.raises(DataError, match=r"[xy]\.png.*header names.*67,108,864") as caught:
        OwnFolder(folder=str(tmp_path / "own"), size=8).load("own")
    assert "\n" not in str(caught.value)
    with pytest.raises(Damaged, match="header names"):
        decoded("x.png", png(width, height), ("PNG",))
    with pytest.raises(Damaged, match="header names"):
        content_digest("omniglot", zipped({"images/A/a/1.png": png(width, height)}))


def test_a_length_in_a_picture_takes_no_memory_for_what_is_not_there(tmp_path: Path) -> None:
    """Pillow asks the file for as much as a chunk says it has, and a file takes the memory before it looks."""
    content = png(4, 4)
    place = content.index(b"IDAT") - 4
    (tmp_path / "x.png").write_bytes(content[:place] + b"\x7f\xff\xff\xff" + content[place + 4 :])
    assert peak(lambda: read_picture(tmp_path / "x.png", 8, "rgb")) < 2**24


def header(*shape: int) -> bytes:
    """Of an array of that shape, which has no values."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return head.getvalue()


@pytest.mark.parametrize("count", [10**6, 10**9, 10**15, 10**30])
def test_a_header_takes_no_memory_for_what_is_not_there(count: int, tmp_path: Path) -> None:
    arrays = {"x.npy": header(count, 2), "y.npy": header(count)}
    (tmp_path / "large.npz").write_bytes(zipped(arrays))
    (tmp_path / "arrays").mkdir()
    (tmp_path / "arrays" / "key.npz").write_bytes(zipped(arrays))
    (tmp_path / "x.npy").write_bytes(arrays["x.npy"])

    def refused() -> None:
        for name in ("large.npz", "x.npy"):
            with pytest.raises(DataError, match=rf"{name.replace('.', '[.]')}.*declares {16 * count:,} bytes.* are 0"):
                OwnArrays(arrays=str(tmp_path / name)).load("own")
        assert cached_arrays(tmp_path, "key", dict) == {}

    assert peak(refused) < 2**22


@pytest.mark.parametrize(
    ("places", "says"), [((24,), "is declared larger than it can be"), ((20, 24), "declared larger than all of it")]
)
@pytest.mark.parametrize("pack", [lambda c: packed(zipfile.ZIP_DEFLATED, c), lambda c: zipped({"a": c})])
def test_a_zip_declares_no_more_than_its_bytes_can_give(
    pack: Callable[[bytes], bytes], places: tuple[int, ...], says: str
) -> None:
    """The sizes in its directory are what memory would be taken for."""
    data = bytearray(pack(bytes(range(200))))
    for place in places:
        struct.pack_into("<I", data, data.index(b"PK\x01\x02") + place, 2**30)
    with pytest.raises(Damaged, match=says):
        zip_members(bytes(data), 2**31)


def test_arrays_packed_by_other_methods_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.npz").write_bytes(packed(zipfile.ZIP_BZIP2, bytes(10**6)))
    with pytest.raises(DataError, match=r"other\.npz.*method other than deflate"):
        OwnArrays(arrays=str(tmp_path / "other.npz")).load("own")


def test_a_mirror_that_sends_too_much_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_data_fetch import serving

    bare_machine(monkeypatch, tmp_path)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    put(tmp_path / "web", "endless", {"images.gz": bytes(10**6)})
    monkeypatch.setattr(sys.modules[fetch.__module__], "UNPACKED", {"idx": 100_000})
    with serving(tmp_path / "web") as server:
        described = source("tiny", {"images.gz": TINY_FILES["images.gz"]}, mirrors=(server.mirror("endless"),))
        with pytest.raises(DataError, match="sends more bytes than such a file may have"):
            fetch(progress=False, sources={"tiny": described})
