"""``frisket doctor``: is this machine fit, and what to do if not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the rows there as JSON.")
    ] = None,
) -> None:
    """Check Python, packages, Ray, MLflow, data, GPU and disk, and say what to do. Exit code 1 if something
    must be mended."""
    import dataclasses

    from rich.console import Console
    from rich.markup import escape

    from frisket.platform.doctor import examine

    console, rows = Console(), []
    for row in examine():
        rows.append(row)
        fix = f"\n     -> {escape(row.fix)}" if row.fix else ""
        colour = _COLOURS[row.status]
        console.print(
            f"[{colour}]{row.status:4}[/] {escape(row.what)}: {escape(row.found)}{fix}", highlight=False, soft_wrap=True
        )
    if json_file is not None:
        json_file.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    failed = [row.what for row in rows if row.status == "fail"]
    console.print(f"to be mended: {', '.join(failed)}" if failed else "fit to run experiments", highlight=False)
    if failed:
        raise typer.Exit(1)
