"""What Ray would send of a folder, measured before it is sent.

Ray leaves out what the .gitignore and .rayignore files in the folder name, and a few folders by itself. Its own reading
of those files is used, so that what is measured is what would be sent.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from frisket.errors import ClusterError

_log = logging.getLogger(__name__)


def sent_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Files under ``folder`` that Ray sends with it as a working directory, as ``(path below it, bytes)``."""
    from ray._private import ray_constants
    from ray._private.thirdparty.pathspec.pathspec import PathSpec

    by_default = PathSpec.from_lines("gitwildmatch", ray_constants.get_runtime_env_default_excludes())
    git = os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
    folder = folder.absolute()
    for path in _walk(folder, [lambda p: by_default.match_file(str(p.relative_to(folder)))], git):
        yield path.relative_to(folder), path.stat().st_size


def limit() -> int:
    """Bytes of the largest package that Ray takes."""
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

    return GCS_STORAGE_MAX_SIZE


def require_small(folder: Path) -> set[str]:
    """The files of ``folder`` that would be sent, by their path below it.

    Raises:
        ClusterError: there is no such folder, or together they are too large for Ray. Their own size is counted, not
            that of the package, in which they are compressed.
    """
    if not folder.is_dir():
        raise ClusterError("--working-dir", str(folder), "is not a folder")
    files = dict(sent_files(folder))
    total, most = sum(files.values()), limit()
    if total >= most:
        tops = Counter[str]()
        for path, size in files.items():
            tops[path.parts[0]] += size
        largest = ", ".join(f"{name} ({_mib(size)})" for name, size in tops.most_common(3))
        fix = f"{_mib(total)} are more than Ray takes ({_mib(most)}); name what is not code in {folder / '.rayignore'}"
        raise ClusterError("--working-dir", str(folder), f"{fix}; the largest: {largest}")
    return {path.as_posix() for path in files}


def _walk(path: Path, excludes: Sequence[Callable[[Path], bool]], git: bool) -> Iterator[Path]:
    from ray._private.runtime_env.packaging import get_excludes_from_ignore_files

    excludes = [*excludes, *get_excludes_from_ignore_files(path, include_gitignore=git, logger=_log)]
    if any(excluded(path) for excluded in excludes):
        return
    if path.is_dir():
        for below in sorted(path.iterdir()):
            yield from _walk(below, excludes, git)
    elif path.is_file():
        yield path


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
