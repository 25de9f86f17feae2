"""``frisket doctor``: is this machine fit, and what to do if not."""

from __future__ import annotations

import typer

from frisket.platform.cli.output import JsonFile, require_folders, write

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(json_file: JsonFile = None) -> None:
    """Check Python, packages, Ray, MLflow, data, GPU and disk, and say what to do. Exit code 1 if something
    must be mended."""
    import dataclasses

    from rich.console import Console
    from rich.markup import escape

    from frisket.platform.doctor import examine

    require_folders(json_file, None)
    console, rows = Console(), []
    for row in examine():
        rows.append(row)
        fix = f"\n     -> {escape(row.fix)}" if row.fix else ""
        colour = _COLOURS[row.status]
        console.print(
            f"[{colour}]{row.status:4}[/] {escape(row.what)}: {escape(row.found)}{fix}", highlight=False, soft_wrap=True
        )
    write(json_file, None, [dataclasses.asdict(row) for row in rows], list)
    failed = [row.what for row in rows if row.status == "fail"]
    console.print(f"to be mended: {', '.join(failed)}" if failed else "fit to run experiments", highlight=False)
    if failed:
        raise typer.Exit(1)
