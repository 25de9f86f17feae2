"""What errors say."""

from __future__ import annotations

import pickle

import pytest

from frisket.errors import DataError, FrisketError, SpecError, UserError, nearest, require


def test_a_users_mistake_names_field_value_and_fix() -> None:
    with pytest.raises(SpecError, match=r"^p = 1\.5: must be a probability in \[0, 1\]$"):
        require(False, "p", 1.5, "a probability in [0, 1]")
    require(True, "p", 0.5, "a probability in [0, 1]")


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
