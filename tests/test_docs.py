"""Docs: the generated tables are those of today, and the index leads to every page."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from docs.tables.__main__ import main


@pytest.fixture
def copied(checkout: Path, tmp_path: Path) -> Path:
    """A folder with README.md and docs alone."""
    shutil.copytree(checkout / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.png", "__pycache__"))
    shutil.copy(checkout / "README.md", tmp_path)
    return tmp_path


def test_generated_tables_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert (main(["--check"]), capsys.readouterr().out) == (0, "")


def test_a_table_changed_by_hand_is_found_and_made_anew(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = copied / "docs" / "methods" / "er.md"
    text = page.read_text(encoding="utf-8")
    old = text.replace("53.38 ± 1.53", "53.99 ± 1.53")
    assert old != text
    page.write_text(old, encoding="utf-8")
    assert main(["--check"], copied) == 1
    assert capsys.readouterr().out == "docs/methods/er.md: old; run python -m docs.tables\n"
    assert page.read_text(encoding="utf-8") == old
    assert main([], copied) == 0
    assert capsys.readouterr().out == "docs/methods/er.md: written\n"
    assert page.read_text(encoding="utf-8") == text


def test_an_unknown_block_is_named(copied: Path) -> None:
    page = copied / "docs" / "tune.md"
    page.write_text("<!-- made by python -m docs.tables: nothing -->\n<!-- end -->\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"tune\.md: no block nothing; there are arguments, "):
        main(["--check"], copied)


def test_index_leads_to_every_page(checkout: Path) -> None:
    text = (checkout / "docs" / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#]+)\)", text)
    assert [target for target in linked if not (checkout / "docs" / target).exists()] == []
    pages = {path.name for path in (checkout / "docs").glob("*.md")} | {"methods/README.md", "results/README.md"}
    assert pages - {"README.md"} - set(linked) == set()
    assert len(linked) == len(set(linked))
