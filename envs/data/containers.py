"""Reading gzip, zip and tar from bytes in memory: nothing is unpacked to disk, and any damage is one exception.

A small file can unpack to more than any memory holds. So whoever unpacks says how much there may be, and what a
container declares, or gives, beyond that is damage like any other.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from frisket.errors import FrisketError

_DEFLATED = 1032
"""Bytes that one byte may become: a match of 258 takes two bits at least."""


class Damaged(FrisketError):
    """The bytes are not what their name says."""


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn every way in which a container or a picture in it can be broken into `Damaged`, saying it is no ``what``."""
    try:
        yield
    except (Damaged, MemoryError):
        raise
    except (NotImplementedError, RuntimeError) as error:  # an unknown compression method, an encrypted member
        raise Damaged(f"a {what.split()[0]} that cannot be read: {_in_a_line(error)}") from None
    except Exception as error:  # the readers' own types, and for some damage those of what they stumble over
        raise Damaged(f"not a whole {what}: {_in_a_line(error)}") from None


def require_regular(path: Path, most: int) -> None:
    """Raise `Damaged` unless ``path`` is a regular file, or a link to one, of at most ``most`` bytes: a device has no
    end, and what is in a FIFO may never come. Raises OSError where there is none."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise Damaged("it is no regular file, but a folder, device, FIFO or socket, or a link to one")
    if found.st_size > most:
        raise Damaged(f"it has {found.st_size:,} bytes, more than the {most:,} that are read")


def gunzip(data: bytes, most: int) -> bytes:
    """Decompress to at most ``most`` bytes.

    Raises:
        Damaged: not gzip, cut short, failing its own checksum, or unpacking to more.
    """
    if not data:  # which gzip takes for a whole file of no members
        raise Damaged("not a whole gzip file: it is empty")
    with reading("gzip file"), gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise Damaged(_too_much(most))
    return content


def zip_members(data: bytes, most: int) -> dict[str, bytes]:
    """Every file of a zip by name, sorted by name; at most ``most`` bytes together.

    Raises:
        Damaged: not a zip, a member that cannot be read, or more bytes.
    """
    with reading("zip file"), zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in sorted(zip_names(archive, most))}


def zip_names(archive: zipfile.ZipFile, most: int) -> list[str]:
    """Names of the files of a zip, which will unpack to at most ``most`` bytes together. One packed on a Mac holds a
    shadow tree of resource forks too, left out here.

    Raises:
        Damaged: it declares more bytes, or is packed by a method that could give more than it declares.
    """
    require_bounded(archive, most)
    return [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]


def require_bounded(archive: zipfile.ZipFile, most: int) -> None:
    """Raise `Damaged` unless reading everything in a zip gives at most ``most`` bytes, and what it declares can come of
    the bytes it has, so that whoever takes memory for what is declared takes it for what is there."""
    for file in archive.infolist():
        # Python's reader stops at the size that is declared, but hands the others all they have packed at once.
        if file.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Damaged(f"{file.filename} is packed by a method other than deflate")
        if file.file_size > file.compress_size * (1 if file.compress_type == zipfile.ZIP_STORED else _DEFLATED):
            raise Damaged(f"{file.filename} is declared larger than it can be")
    if sum(file.compress_size for file in archive.infolist()) > archive.start_dir:
        raise Damaged("its files are declared larger than all of it")
    if sum(file.file_size for file in archive.infolist()) > most:
        raise Damaged(_too_much(most))


def tar_members(data: bytes, most: int) -> dict[str, bytes]:
    """Every regular file of a gzipped tar by name, sorted by name; links and devices are passed over.

    Args:
        data: the tar.
        most: bytes that it, and its files together, may have unpacked.

    Raises:
        Damaged: not a gzipped tar, one that is cut short, or more bytes.
    """
    with reading("tar.gz file"), tarfile.open(fileobj=io.BytesIO(gunzip(data, most)), mode="r:") as archive:
        members = [member for member in archive if member.isfile()]
        if sum(member.size for member in members) > most:  # a sparse file is as large as it says, not as what it has
            raise Damaged(_too_much(most))
        files = {member.name: archive.extractfile(member) for member in members}
        return {name: files[name].read() for name in sorted(files)}  # pyright: ignore[reportOptionalMemberAccess]


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _too_much(most: int) -> str:
    return f"it unpacks to more than the {most:,} bytes that such a file may have"
