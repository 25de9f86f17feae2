"""Paired differences: computed as they say, and the pages hold what the committed results give."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from frisket.platform.specs.experiment import load_spec
from frisket.platform.tables.table import load_table


def paired(checkout: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "docs.paired", *arguments]
    return subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True, timeout=60).stdout


def written(path: Path, values: dict[int, float], variant: str | None = None) -> str:
    about = {} if variant is None else {"variant": variant}
    rows = [{"seed": seed, "config": about, "metrics": {"ra": value}} for seed, value in values.items()]
    path.write_text(json.dumps({"results": rows}))
    return str(path)


def test_differences_are_taken_at_equal_seeds(checkout: Path, tmp_path: Path) -> None:
    """0.01, 0.02, 0.03: s is 0.01, and t(0.975, 2) = 4.3027, so half of the interval is 0.0248."""
    a = written(tmp_path / "a.json", {2: 0.53, 0: 0.91, 1: 0.72, 7: 0.1})
    b = written(tmp_path / "b.json", {0: 0.90, 1: 0.70, 2: 0.50}, variant="other")
    assert paired(checkout, "ra", a, b) == "n = 3, +2.00 +- 2.48 points (95 %)\n"
    assert paired(checkout, "ra", f"{b}:other", a) == "n = 3, -2.00 +- 2.48 points (95 %)\n"


def test_pages_hold_the_tables(checkout: Path) -> None:
    out = paired(checkout).split("results/")[1:]
    assert len(out) == 3
    for block in out:
        page, _, table = block.partition("\n\n")
        rows = [
            line.strip() for line in (checkout / "docs" / "results" / page).read_text(encoding="utf-8").splitlines()
        ]
        assert [line for line in table.strip().splitlines() if line not in rows] == [], page


@pytest.mark.parametrize(("report", "count"), [("lamaml-table1", 4), ("sparse-table5", 6)])
def test_committed_reports_say_where_settings_were_searched(report: str, count: int, checkout: Path) -> None:
    table = load_table(report.replace("-", "/"))
    text = (checkout / "docs" / "results" / "replay-mnist" / f"{report}.md").read_text(encoding="utf-8")
    marked = 0
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 8 and cells[0] in table.rows:
            published = load_spec(table.cell(cells[0], cells[1]).spec).published
            assert published is not None
            assert cells[-1].endswith(" (searched settings)") == bool(published.searched), line
            marked += bool(published.searched)
    assert marked == count
    assert [note for note in table.notes if f"* {note}" not in text] == []
