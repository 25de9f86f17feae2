"""Folders that are kept: how one is found, named and held. Imports nothing heavy, so that looking is quick."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from frisket.errors import FileError, RunError, nearest
from frisket.files import read_sealed

_log = logging.getLogger("frisket.run")


class Kept:
    """A folder among others of its kind, with a manifest that is its first file.

    Attributes:
        MANIFEST: the manifest's file name.
        path: the folder.
    """

    MANIFEST: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the file `MANIFEST` says. Raises `FileError` where it is damaged, or was changed since."""
        return read_sealed(self.path / self.MANIFEST)

    @property
    def run_id(self) -> str:
        """Its name, unique."""
        return self.manifest["run_id"]

    @property
    def created(self) -> str:
        """When it was begun, in a form that sorts."""
        return self.manifest["created"]


K = TypeVar("K", bound=Kept)


def folders(parent: Path, manifest: str) -> list[Path]:
    """The folders under ``parent`` whose ``manifest`` can be read, by name; that others are passed over is logged, and
    `frisket.runs` tells of each."""
    found, skipped = [], []
    for file in sorted(parent.glob(f"*/{manifest}")):
        try:
            read_sealed(file)
            found.append(file.parent)
        except (OSError, FileError) as error:
            skipped.append(f"{file.absolute()} {error.fix if isinstance(error, FileError) else 'cannot be read'}")
    if skipped:
        _warn_once(f"skipped: {skipped[0]}" + (f"; so are {len(skipped) - 1} more" if len(skipped) > 1 else ""))
    return found


@cache
def _warn_once(text: str) -> None:
    _log.warning("%s", text)  # a reproduction looks through the folders once for every cell


def choose(wanted: str, kept: Sequence[K], none: str) -> K:
    """The one of ``kept`` whose id is ``wanted`` or alone begins with it; ``last``: the newest.

    Raises:
        RunError: there is none (``none`` says so), or not one.
    """
    if not kept:
        raise RunError("run", wanted, none)
    if wanted == "last":
        return max(kept, key=lambda f: (f.created, f.path.stat().st_mtime))
    found = [f for f in kept if f.path.name == wanted] or [f for f in kept if f.run_id == wanted]
    found = found or [f for f in kept if f.run_id.startswith(wanted)]
    if len({f.run_id for f in found}) == 1 and len(found) > 1:
        raise RunError(
            "run", wanted, f"is there more than once; give the path: {', '.join(str(f.path) for f in found)}"
        )
    if len(found) > 1:
        raise RunError("run", wanted, f"is the beginning of {len(found)}: {', '.join(sorted(f.run_id for f in found))}")
    if len(found) != 1:
        raise RunError("run", wanted, nearest(wanted, [f.run_id for f in kept]))
    return found[0]


def default_runs_folder() -> Path:
    """Where runs are kept: ``FRISKET_RUNS``, or ``frisket_runs`` in the working folder."""
    return Path(os.environ.get("FRISKET_RUNS", "frisket_runs"))


def name_of(kept: Kept) -> str:
    """What ``--resume`` will find it by: its id, or its path if it is not where runs are kept."""
    return kept.run_id if kept.path.parent == default_runs_folder().absolute() else str(kept.path)


def content_hashes(provenance: dict[str, Any] | None) -> dict[str, str]:
    """Hashes of a data set's content, from its provenance; a container may be packed anew without a change of
    content."""
    hashes = (provenance or {}).get("sha256", {})
    return {k: v for k, v in hashes.items() if k.endswith(" content")} or hashes
