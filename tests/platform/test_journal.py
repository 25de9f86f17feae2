"""The journal and its reader."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from frisket.errors import FileError
from frisket.platform.run.journal import Journal, last_step, read_journal, read_steps, require_whole


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


@pytest.mark.parametrize("there", [None, 0, 10, 39])
def test_a_journal_is_never_made_longer_than_it_is(there: int | None, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, keep=0) as journal:
        journal.step(0, {"a": 1})
        keep = journal.commit()
    content = path.read_bytes()[:there]
    path.unlink()
    if there is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match=rf"is cut short: {there or 0} bytes of at least {keep}"):
        Journal(path, keep=keep)
    assert (path.read_bytes() if path.exists() else None) == (None if there is None else content)


def test_a_checkpoint_belongs_to_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, keep=0) as journal:
        journal.step(0, {"a": 1})
        keep = journal.commit()
    with pytest.raises(FileError, match="no line ends at byte"):
        require_whole(path, keep - 5)


@pytest.mark.parametrize("order", [(0, 0, 2), (0, 2, 1), (1, 2), (0, 1, 1, 2), (1, 0, 2)])
def test_lines_stand_where_they_were_written(order: tuple[int, ...], tmp_path: Path) -> None:
    """One that goes, comes again, or changes places with another of its length is seen, by all who read."""
    path = tmp_path / "journal.jsonl"
    with Journal(path, keep=0) as journal:
        for position in range(3):
            journal.step(position, {"a": position})
    lines = path.read_bytes().splitlines(keepends=True)
    assert len({len(line) for line in lines}) == 1
    path.write_bytes(b"".join(lines[i] for i in order))
    length = len(lines[0])
    for read in (lambda: list(read_steps(path)), lambda: require_whole(path, path.stat().st_size)):
        with pytest.raises(FileError, match="a line is not as it was written"):
            read()
    path.write_bytes(b"".join(lines[i] for i in (0, 2)))
    for read in (lambda: list(read_journal(path, start=length)), lambda: last_step(path)):
        with pytest.raises(FileError, match="a line is not as it was written"):
            read()


@pytest.mark.parametrize("times", [(1, 2), (2, 1)])
def test_lines_made_again_go_on_from_those_that_are_kept(times: tuple[int, int], tmp_path: Path) -> None:
    """Those of the same content, though their time, and with it their CRC, is another; then one that differs."""
    path = tmp_path / "journal.jsonl"
    with Journal(path, keep=0) as journal:
        journal.step(0, {"a": 0})
        keep = journal.commit()
        for position in times:
            journal.points(position, {"a": position})
        final = journal.commit()
    with Journal(path, keep=keep, final=final) as journal:
        journal.points(times[0], {"a": times[0]})
        journal.points(9, {"a": 9})
        length = journal.commit()
    require_whole(path, length)
    assert [line["t"] for line, _ in read_journal(path)] == [0, times[0], 9]


def test_a_line_that_was_changed_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, keep=0) as journal:
        journal.step(0, {"a": 1})
        journal.step(1, {"a": 2})
    path.write_bytes(path.read_bytes().replace(b'"a":2', b'"a":3'))
    lines = read_journal(path)
    assert next(lines)[0] == {"t": 0, "step": {"a": 1}}
    for read in (lambda: next(lines), lambda: last_step(path), lambda: list(read_steps(path))):
        with pytest.raises(FileError, match=r"journal\.jsonl.*a line is not as it was written"):
            read()


def test_final_lines_stay_as_they_are_when_they_are_made_again(tmp_path: Path) -> None:
    """Also their times, by which MLflow knows a point that it has; up to the first that comes out otherwise."""
    path = tmp_path / "journal.jsonl"

    def write(journal: Journal, **values: float) -> None:
        for position, value in values.items():
            journal.points(int(position[1:]), {"a": value})

    with Journal(path, keep=0) as journal:
        journal.step(0, {"a": 1})
        keep = journal.commit()
        write(journal, p1=1.5, p2=math.nan, p3=3.0)
        final = journal.commit()
    before = path.read_bytes()
    time.sleep(0.005)
    with Journal(path, keep=keep, final=final) as journal:
        write(journal, p1=1.5)
        assert journal.commit() == before.index(b"\n", keep) + 1
        assert journal.final == final
        write(journal, p2=math.nan)
    assert path.read_bytes() == before
    with Journal(path, keep=keep, final=final) as journal:
        write(journal, p1=1.5, p2=math.nan, p3=4.0, p4=5.0)
        assert journal.commit() == journal.final == len(path.read_bytes())
    assert path.read_bytes().splitlines()[:3] == before.splitlines()[:3]
    assert [line["points"]["a"] for line, _ in read_journal(path, start=keep)][1:] == pytest.approx(
        [math.nan, 4.0, 5.0], nan_ok=True
    )
