"""What lies in folders of pictures beside the pictures: nothing is taken for a class, or dropped, without a word.

Names that are not UTF-8, links to nothing and what only looks like a picture's file are refused by name. Folders
that file systems and archives make (`MADE_BY_MACHINES`) and hidden ones are passed over; `passed_over` says so.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from frisket.errors import DataError

MADE_BY_MACHINES = ("$RECYCLE.BIN", "@eaDir", "__MACOSX", "#recycle", "lost+found", "System Volume Information")
"""Names of folders that nobody made for their pictures."""


def is_ours(name: str) -> bool:
    """Whether a file or folder of that name may be part of the data."""
    return not name.startswith(".") and name not in MADE_BY_MACHINES


def require_readable(path: Path, suffixes: Collection[str]) -> None:
    """Raise `DataError` for an entry that would be lost, or end a run, further on.

    Args:
        path: a file or folder that `is_ours`.
        suffixes: how a picture's name ends.
    """
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise DataError("name of a file", str(path), "is not UTF-8; rename it (convmv renames whole folders)") from None
    plain = path.suffix == "" or path.name.lower().endswith(tuple(suffixes))
    if plain and path.is_symlink() and not path.exists():
        raise DataError("link", str(path), f"leads to {os.readlink(path)!r}, which is not there; mend or remove it")
    if path.name.lower().endswith(tuple(suffixes)) and not path.is_file() and not path.is_dir():
        raise DataError("picture", str(path), "is no regular file; put a picture there, or take it away")


def pictures_below(root: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Every file below ``root``, hidden or not, whose name ends like a picture's; links are followed, once each.

    Raises:
        DataError: as `require_readable`; a folder that cannot be read.
    """
    seen, waiting = set[str](), [(root, True)]
    while waiting:
        folder, ours = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(folder.iterdir(), key=lambda path: path.name)
        except OSError as error:
            raise DataError("folder of pictures", str(folder), f"cannot be read ({error.strerror})") from None
        for path in entries:
            here = ours and is_ours(path.name)
            if here:
                require_readable(path, suffixes)
            if path.is_dir():
                waiting.append((path, here))
            elif path.name.lower().endswith(tuple(suffixes)):
                yield path


def passed_over(root: Path, taken: Collection[str], suffixes: Collection[str]) -> list[str]:
    """What to say of pictures below ``root`` that are not among ``taken`` (paths below it), and of folders without any.

    Raises:
        DataError: one lies deeper than class folders do; as `pictures_below`.
    """
    depth = {path.count("/") for path in taken}
    folders = {path.rpartition("/")[0] for path in taken}
    kept, counts, others = set(taken), Counter[str](), list[str]()
    for path in pictures_below(root, suffixes):
        below = path.relative_to(root).as_posix()
        if below in kept:
            continue
        others.append(below)
        parts = below.split("/")
        other = next((i for i, name in enumerate(parts) if not is_ours(name)), None)
        if other == len(parts) - 1:
            counts["hidden files"] += 1
        elif other is not None:
            counts[f"folders {parts[other]}"] += 1
        elif any(below.startswith(f"{folder}/") for folder in folders) or len(parts) - 1 > max(depth, default=0):
            fix = "lies deeper than the pictures of the other classes; move it up, or take it away"
            raise DataError("picture", str(path), fix)
        else:
            counts["no class folder" if len(parts) == 1 else f"{parts[0]}, which is no part of the data"] += 1
    full = {path.partition("/")[0] for path in (*taken, *others)}
    empty = [path.name for path in sorted(root.iterdir()) if path.is_dir() and is_ours(path.name)]
    said = [f"passed over: {count:,} pictures in {where}" for where, count in sorted(counts.items())]
    return said + [f"passed over: folder {name}, which holds no pictures" for name in empty if name not in full]
