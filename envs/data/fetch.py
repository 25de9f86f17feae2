"""Downloading: every file from its mirrors in turn, checked before it takes its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from frisket.envs.data.check import FileReport, candidates, check_file, mending
from frisket.envs.data.sources import SOURCES, UNPACKED, Source, SourceFile
from frisket.envs.data.store import Store
from frisket.errors import DataError, cut_short, nearest
from frisket.files import scratch, sweep, write_bytes

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_TIMEOUT = 10.0  # seconds without a byte; an offline machine should know soon


def fetch(
    names: Sequence[str] = (),
    data_dir: str | Path | None = None,
    progress: bool = True,
    *,
    sources: Mapping[str, Source] = SOURCES,
) -> list[FileReport]:
    """Get every file of the named published data sets that is not there and good already.

    Files go to ``data_dir`` if it is given (made if need be), else to the cache folder. A file is downloaded beside its
    place, checked, and then renamed, so an interrupted or wrong download leaves nothing behind, and a second call goes
    on with the files that are missing.

    Args:
        names: published data sets; empty for all of them that have mirrors.
        progress: draw a bar on stderr.

    Returns:
        One usable report a file.

    Raises:
        DataError: an unknown name, a folder that cannot be written, or a file that no mirror gave.
    """
    chosen = [source for source in select(names, sources) if names or source.mirrors]
    if data_dir is not None:
        _make_folder(Path(data_dir).expanduser())
    store = Store.open(data_dir)
    target = store.cache if data_dir is None else store.roots[0]
    with ExitStack() as stack:
        bars = stack.enter_context(_progress()) if progress else None
        return [row for source in chosen for row in fetch_source(source, store, target, bars)]


def fetch_source(source: Source, store: Store, target: Path, bars: Progress | None = None) -> list[FileReport]:
    """The same for one source: what ``store`` lacks goes to the data folder ``target``."""
    return [_fetch_file(source, file, store, target, bars) for file in source.files()]


def select(names: Sequence[str], sources: Mapping[str, Source]) -> list[Source]:
    """The named sources, all of them if no name is given.

    Raises:
        DataError: an unknown name.
    """
    for name in names:
        if name not in sources:
            raise DataError("data set", name, f"is not one that is downloaded; {nearest(name, sources)}")
    return [sources[name] for name in names or sources]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError("data_dir", str(folder), f"cannot be made ({error.strerror}); name another folder") from None


def _fetch_file(source: Source, file: SourceFile, store: Store, target: Path, bars: Progress | None) -> FileReport:
    present = candidates(source, file, store)[-1]
    if present.usable:
        return present
    if not source.mirrors:
        raise present.error()
    folder = target / source.folder
    place = folder / file.name
    reasons = []
    for mirror in source.mirrors:
        try:
            with scratch("fetch") as aside:
                part = aside / file.name
                _download(mirror + file.name, part, UNPACKED[source.layout], bars)
                report, data = check_file(source, file, part, store)
        except OSError as error:  # requests' errors are all of this type
            reasons.append(f"{mirror}: {_short(error)}")
            continue
        if not report.usable:
            reasons.append(f"{mirror}: sha256 {report.found}, {report.detail or 'not the published file'}")
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sweep(place)
            write_bytes(place, data)
        except OSError as error:
            raise DataError(
                "data folder", str(folder), f"cannot be written ({error.strerror}); name another with --data-dir"
            ) from None
        return replace(report, path=place)
    raise DataError(
        f"data set {source.name}, file {file.name}",
        str(place),
        f"cannot be fetched (expected sha256 {file.containers[0]}): {'; '.join(reasons)}. Is there a network? "
        f"{mending(source.name, file.name)}",
    )


def _download(url: str, part: Path, most: int, bars: Progress | None) -> None:
    """Bring ``url`` to ``part``. Raises OSError where it cannot be had, or has more than ``most`` bytes."""
    import pooch

    bar = _Bar(bars, bars.add_task(url, total=None)) if bars is not None else False
    with part.open("wb") as file:
        fetch = pooch.HTTPDownloader(progressbar=bar, timeout=_TIMEOUT)  # pyright: ignore[reportArgumentType]
        fetch(url, _Bounded(file, most), None)  # pyright: ignore[reportArgumentType]


def _short(error: OSError) -> str:
    """A network error in one short line; requests wraps urllib3's, whose ``reason`` says what happened."""
    inner = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    return cut_short(str(getattr(inner, "reason", inner)), 160) or type(error).__name__


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=Console(stderr=True))


@dataclass
class _Bounded:
    """A file that takes no more than ``left`` bytes: a mirror may send without end."""

    file: BinaryIO
    left: int

    def write(self, piece: bytes) -> None:
        self.left -= len(piece)
        if self.left < 0:
            raise OSError("it sends more bytes than such a file may have")
        self.file.write(piece)

    def flush(self) -> None:
        self.file.flush()


@dataclass
class _Bar:
    """A rich bar behind the interface pooch wants of a progress bar."""

    bars: Progress
    task: TaskID
    total: int = 0

    def update(self, count: int) -> None:
        self.bars.update(self.task, advance=count, total=self.total)

    def reset(self) -> None:
        self.bars.reset(self.task, total=self.total)

    def close(self) -> None:
        self.bars.stop_task(self.task)
