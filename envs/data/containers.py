"""Reading gzip, zip and tar from bytes in memory: nothing is unpacked to disk, and any damage is one exception."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

from frisket.errors import FrisketError


class Damaged(FrisketError):
    """The bytes are not what their name says."""


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn every way in which a container or a picture in it can be broken into `Damaged`, saying it is no ``what``."""
    try:
        yield
    except Damaged:
        raise
    except (NotImplementedError, RuntimeError) as error:  # an unknown compression method, an encrypted member
        raise Damaged(f"a {what.split()[0]} that cannot be read: {error}") from None
    except (
        zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, EOFError, SyntaxError, ValueError
    ) as error:  # fmt: skip
        raise Damaged(f"not a whole {what}: {error}") from None


def gunzip(data: bytes) -> bytes:
    """Decompress.

    Raises:
        Damaged: not gzip, cut short, or failing its own checksum.
    """
    if not data:  # which gzip takes for a whole file of no members
        raise Damaged("not a whole gzip file: it is empty")
    with reading("gzip file"):
        return gzip.decompress(data)


def zip_members(data: bytes) -> dict[str, bytes]:
    """Every file of a zip by name, sorted by name.

    Raises:
        Damaged: not a zip, or a member that cannot be read.
    """
    with reading("zip file"), zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in sorted(zip_names(archive))}


def zip_names(archive: zipfile.ZipFile) -> list[str]:
    """Names of the files of a zip. One packed on a Mac holds a shadow tree of resource forks too, left out here."""
    return [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]


def tar_members(data: bytes) -> dict[str, bytes]:
    """Every regular file of a gzipped tar by name, sorted by name; links and devices are passed over.

    Raises:
        Damaged: not a gzipped tar, or one that is cut short.
    """
    with reading("tar.gz file"), tarfile.open(fileobj=io.BytesIO(gunzip(data)), mode="r:") as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        return {name: files[name].read() for name in sorted(files)}  # pyright: ignore[reportOptionalMemberAccess]
