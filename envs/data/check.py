"""Is a file what it should be? Its container's hash is compared first, which is fast, and then its content."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from frisket.envs.data.containers import Damaged, require_regular
from frisket.envs.data.decode import content_digest
from frisket.envs.data.sources import CANONICAL, SOURCES, UNPACKED, Source, SourceFile
from frisket.envs.data.store import Store
from frisket.errors import DataError
from frisket.files import sha256_of, write_bytes

_log = logging.getLogger("frisket.data")

Status = Literal["ok", "repacked", "damaged", "missing"]
"""``ok``: a published container. ``repacked``: another container, the same content. The other two cannot be used."""


def mending(dataset: str, file: str) -> str:
    """What a user can do about a file that cannot be used."""
    source = SOURCES.get(dataset)
    fetched = source is None or source.mirrors
    get = f"Run `frisket data fetch {dataset}` to get a good copy, or set" if fetched else "It is not downloaded: set"
    folder = dataset if source is None else source.folder
    return f"{get} FRISKET_DATA (or --data-dir) to a folder that holds {folder}/{file}"


@dataclass(frozen=True, slots=True)
class FileReport:
    """What was found of one file of a data set.

    Attributes:
        dataset: name of the data set.
        file: canonical file name.
        path: where it lies, or the first place it was looked for.
        status: see `Status`.
        expected: the published container's sha256.
        found: sha256 of the file that is there, empty if none is.
        detail: what is wrong, empty if nothing.
        form: the form of the data set the file belongs to.
    """

    dataset: str
    file: str
    path: Path
    status: Status
    expected: str
    found: str
    detail: str = ""
    form: str = CANONICAL

    @property
    def usable(self) -> bool:
        """Whether the content is the canonical one."""
        return self.status in ("ok", "repacked")

    def error(self) -> DataError:
        """The error to raise for a file that cannot be used."""
        if self.status == "missing":
            what = f"is missing (expected sha256 {self.expected}, found no file)"
        else:
            what = f"is damaged: {self.detail} (expected sha256 {self.expected}, found {self.found})"
        return DataError(
            f"data set {self.dataset}, file {self.file}",
            str(self.path),
            f"{what}. {mending(self.dataset, self.file)}",
        )


def check_file(source: Source, file: SourceFile, path: Path, store: Store) -> tuple[FileReport, bytes]:
    """Compare the file at ``path`` with what ``source`` says of it.

    Nothing is unpacked, or in memory as a whole, before the container's hash is known. The content of an unknown
    container is then read in full once, within the bounds of its layout; a good result is remembered in the cache by
    the hash of the container.

    Returns:
        The report and the file's bytes (empty if it cannot be used).
    """

    def report(status: Status, found: str = "", detail: str = "") -> FileReport:
        return FileReport(source.name, file.name, path, status, file.containers[0], found, detail, source.form)

    try:
        require_regular(path, UNPACKED[source.layout])
        found = sha256_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return report("missing"), b""
    except OSError as error:
        return report("damaged", "nothing readable", f"cannot be read ({error.strerror})"), b""
    except Damaged as error:
        return report("damaged", "nothing readable", str(error)), b""
    if found in file.containers:
        return report("ok", found), path.read_bytes()
    if file.content is None:
        return report("damaged", found, "it is not the published file, and nothing else is accepted for it"), b""
    remembered, data = store.cache / "verified" / f"{found}-{file.content}", path.read_bytes()
    if remembered.exists():
        return report("repacked", found), data
    try:
        content = content_digest(source.layout, data)
    except Damaged as error:
        return report("damaged", found, str(error)), b""
    if content != file.content:
        return report("damaged", found, f"its content has digest {content}, not {file.content}"), b""
    try:
        remembered.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(remembered, b"", durable=False)
    except OSError as error:
        _log.debug("cannot remember that %s is good: %s", path, error)
    return report("repacked", found), data


def candidates(source: Source, file: SourceFile, store: Store) -> list[FileReport]:
    """Reports on the file in each data folder up to the first usable one; one ``missing`` if it is in none.

    Bytes are dropped: this is for showing, `find_file` for reading.
    """
    return [report for report, _ in _search(source, file, store)]


def source_reports(source: Source, store: Store) -> list[FileReport]:
    """Reports on the files of the first form of ``source`` that is whole, after those on damaged files of the forms
    before it; if none is whole, on its canonical files and on whatever is there of the other forms."""
    passed: list[FileReport] = []
    for form in source.forms():
        rows = [row for file in form.files() for row in candidates(form, file, store)]
        good = {row.file for row in rows if row.usable}
        if all(file.name in good for file in form.files()):
            return [row for row in passed if row.status == "damaged"] + rows
        passed += rows
    return [row for row in passed if row.form == source.form or row.status != "missing"]


def find_files(source: Source, split: str, store: Store) -> tuple[Source, list[tuple[FileReport, bytes]]]:
    """The first form of ``source`` of which every file of ``split`` has a usable copy, and those copies with their
    bytes. Damaged copies before them are passed over with a warning.

    Raises:
        DataError: there is none; it tells of the first damaged file, else of the first missing one.
    """
    passed: list[FileReport] = []
    for form in source.forms():
        searches = [_search(form, file, store) for file in form.splits[split]]
        found = [search[-1] for search in searches]
        whole = all(report.usable for report, _ in found)
        passed += [report for search in searches for report, _ in search if not report.usable]
        if whole:
            for report in passed:
                if report.status == "damaged":
                    _log.warning("%s is damaged (%s); using %s instead", report.path, report.detail, found[0][0].path)
            return form, found
    raise next((report for report in passed if report.status == "damaged"), passed[0]).error()


def _search(source: Source, file: SourceFile, store: Store) -> list[tuple[FileReport, bytes]]:
    found = []
    for root in store.roots:
        found.append(check_file(source, file, root / source.folder / file.name, store))
        if found[-1][0].usable:
            break
    return [one for one in found if one[0].status != "missing"] or found[:1]
