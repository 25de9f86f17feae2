"""What errors say."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Callable

import pytest
from packages import modules

from frisket import errors
from frisket.errors import (
    LONGEST_VALUE,
    DataError,
    FrisketError,
    SpecError,
    UserError,
    cut_short,
    nearest,
    require,
    shortened,
    shown,
)


def test_a_users_mistake_names_field_value_and_fix() -> None:
    with pytest.raises(SpecError, match=r"^p = 1\.5: must be a probability in \[0, 1\]$"):
        require(False, "p", 1.5, "a probability in [0, 1]")
    require(True, "p", 0.5, "a probability in [0, 1]")


@pytest.mark.parametrize(
    ("field", "said"),
    [("a\nb", "a\\nb"), ("a\x1b[2J", "a\\x1b[2J"), ("a\u2028b", "a\\u2028b"), ("a\udcff", "a\\udcff"), ("ä", "ä")],
)
def test_a_mistake_is_said_in_a_line_that_can_be_printed(field: str, said: str) -> None:
    error = SpecError(field, 1, "is wrong")
    assert str(error) == f"{said} = 1: is wrong"
    assert str(error).encode()
    assert error.field == field


def test_mistakes_survive_the_trip_from_a_worker() -> None:
    error = pickle.loads(pickle.dumps(DataError("file", "a.gz", "fetch it again")))
    assert type(error) is DataError
    assert (error.field, error.value, error.fix) == ("file", "a.gz", "fetch it again")
    assert isinstance(error, UserError)
    assert isinstance(error, FrisketError)


def test_nearest_lists_few_names_whole_and_many_in_part() -> None:
    assert nearest("bete", ["alpha", "beta"]) == "did you mean 'beta'? known: alpha, beta"
    assert nearest("?", ["alpha", "beta"]) == "known: alpha, beta"
    many = [f"name{i:02d}" for i in range(50)]
    assert nearest("name07", many).startswith("did you mean 'name07'? known: name07, ")
    assert nearest("?", many).endswith("name04 and 45 more")


def test_the_tree_that_is_drawn_is_the_whole_tree() -> None:
    ours = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    known = {"Exception", "ValueError", "RuntimeError", "OSError", *ours}
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and {b.id for b in node.bases if isinstance(b, ast.Name)} & known:
                ours.add(node.name)
    drawn = (errors.__doc__ or "").partition("::")[2]
    assert {"Stopped", "SourceLost", "DamagedChunk", "Damaged"} <= ours
    assert sorted(name for name in ours if f" {name} " not in drawn) == []


def test_long_values_are_shortened_in_the_middle() -> None:
    name = "".join(chr(ord("a") + i % 26) for i in range(300))
    said = str(SpecError(name, name, "must be shorter"))
    assert len(said) < 2 * LONGEST_VALUE + 40
    assert said.startswith(name[:100])
    assert said.endswith(f"{name[-50:]}': must be shorter")
    assert SpecError(name, name, "").value == name
    assert [len(shortened("x" * n)) for n in (0, LONGEST_VALUE, LONGEST_VALUE + 1, 10**6)] == [0, *[LONGEST_VALUE] * 3]
    assert shortened("abcdefghij", 9) == "abcd...ij"
    assert str(SpecError("stream.steps", 10**5000, "must be less")) == (
        "stream.steps = a int that cannot be written out: must be less"
    )
    assert shown([10**5000]) == "a list that cannot be written out"
    assert shown("ab") == "'ab'"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("short enough, of twenty", "short enough, of twenty"),
        ("two\nlines  here", "two lines here"),
        ("One sentence here. Another one follows it", "One sentence here. ..."),
        ("Oh. One long sentence that goes on and on", "Oh. One long sentence that ..."),
        ("exactly at the end of a word and more words", "exactly at the end of a ..."),
        ("x" * 40, f"{'x' * 26} ..."),
        ("", ""),
    ],
)
def test_what_others_say_ends_with_a_sentence_or_a_word(text: str, said: str) -> None:
    assert cut_short(text, 30) == said
    assert len(said) <= 30


@pytest.mark.parametrize("cut", [shortened, cut_short])
def test_no_half_of_a_secret_is_left_by_a_cut(cut: Callable[[str, int], str]) -> None:
    for before in range(80, 110):
        said = cut(f"{'x' * before} http://u:{'Qz7' * 10}@h/{'y' * 200}", 150)
        assert "Qz7" not in said
        assert len(said) <= 150


def test_what_somebody_else_says_steers_no_terminal() -> None:
    assert cut_short("\x1b[31m you sent", 100) == "\\x1b[31m you sent"
