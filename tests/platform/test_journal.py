"""The journal and its reader."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from frisket.platform.run.journal import Journal, last_step, read_journal, read_steps


def test_lines_come_back_with_their_offsets(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, keep=0) as journal:
        journal.step(0, {"accuracy": 0.5, "outer_loss": math.nan})
        first = journal.commit()
        journal.points(0, {"accuracy": 0.5})
        whole = journal.commit()
    lines = list(read_journal(path))
    assert lines[0] == ({"t": 0, "step": {"accuracy": 0.5}}, first)
    assert lines[1][0]["points"] == {"accuracy": 0.5}
    assert lines[1][1] == whole == path.stat().st_size


def test_torn_last_line_is_left_out_and_uncommitted_bytes_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, keep=0) as journal:
        journal.step(0, {"a": 1})
        committed = journal.commit()
        journal.step(1, {"a": 2})
    with path.open("ab") as file:
        file.write(b'{"t": 2, "st')
    assert [line["t"] for line, _ in read_journal(path)] == [0, 1]
    assert [line["t"] for line, _ in read_journal(path, stop=committed)] == [0]
    assert [line["t"] for line, _ in read_journal(path, start=committed)] == [1]


def test_reopening_cuts_what_the_checkpoint_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, keep=0) as journal:
        journal.step(0, {"a": 1})
        keep = journal.commit()
        journal.step(1, {"a": "from before the kill"})
    with Journal(path, keep=keep) as journal:
        journal.step(1, {"a": "again"})
    assert [line["step"]["a"] for line, _ in read_journal(path)] == [1, "again"]


@pytest.mark.parametrize("length", [1, 2**16 - 40, 2**16, 2**18, 2**20])
def test_the_last_record_is_found_from_the_end(length: int, tmp_path: Path) -> None:
    """Whatever its length, and whatever follows it that is no record."""
    path = tmp_path / "journal.jsonl"
    with Journal(path, keep=0) as journal:
        for position in range(3):
            journal.step(position, {"row": position, "text": "x" * length})
        journal.warning(2, "told")
        journal.points(2, {"ra": 0.5})
    assert last_step(path)["row"] == 2
    assert last_step(path) == list(read_steps(path))[-1]


def test_a_journal_without_records_has_no_last_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, keep=0) as journal:
        assert last_step(path) == {}
        journal.points(0, {"pretrain/accuracy": 0.5})
        journal.commit()
        assert last_step(path) == {}
