"""What commands give out alike: ``--json FILE`` and ``--csv FILE`` of those that have results, numbers in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from frisket.errors import SpecError
from frisket.places import in_a_line

JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the results there as JSON.")]
CsvFile = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE", help="Write the results there as flat rows of CSV.")
]


def counted(count: int, what: str) -> str:
    """``1 replica``, ``2 replicas``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def require_folders(json_file: Path | None, csv_file: Path | None) -> None:
    """Raise `SpecError`, before anything is run, where a file that is asked for could not be written."""
    for option, file in (("--json", json_file), ("--csv", csv_file)):
        if file is not None and not file.absolute().parent.is_dir():
            raise SpecError(option, str(file), "its folder does not exist")
        if file is not None and file.is_dir():
            raise SpecError(option, str(file), "is a folder; name a file in it")
        if file is not None:
            _try(option, file)
    if json_file is not None and csv_file is not None and json_file.absolute() == csv_file.absolute():
        raise SpecError("--csv", str(csv_file), "is the file of --json too; give each its own")


def _try(option: str, file: Path) -> None:
    """Open ``file`` as it will be, and leave what is there, or is not there, as it is."""
    new = not file.exists()
    if not new and not file.is_file():
        return  # whoever reads a pipe would take the closing for the end
    try:
        file.open("a").close()
    except OSError as error:
        raise SpecError(option, str(file), in_a_line(error, file).fix) from None
    if new:
        file.unlink()


def write(
    json_file: Path | None, csv_file: Path | None, results: Any, rows: Callable[[], Sequence[Mapping[str, Any]]]
) -> None:
    """Write what is asked for: ``results`` as JSON, ``rows()`` as CSV."""
    if json_file is not None:
        _put("--json", json_file, json.dumps(results, indent=1) + "\n")
    if csv_file is not None:
        from frisket.platform.reports.rows import as_csv

        _put("--csv", csv_file, as_csv(rows()))


def _put(option: str, file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise SpecError(option, str(file), in_a_line(error, file).fix) from None
