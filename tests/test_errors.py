"""What errors say."""

from __future__ import annotations

import ast
import pickle

import pytest
from packages import modules

from frisket import errors
from frisket.errors import DataError, FrisketError, SpecError, UserError, nearest, require


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
