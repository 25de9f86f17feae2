"""What configurations say of their fields, and that they say it of every field and of no other."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from frisket.algos.inner.pretrain import PretrainConfig
from frisket.algos.learner import Capabilities
from frisket.configuration import attributes
from frisket.errors import require
from frisket.moves import NOTHING
from frisket.platform.specs.arguments import arguments
from frisket.platform.specs.experiment import Experiment, Published
from frisket.platform.specs.kinds import known
from frisket.platform.specs.search import Search
from frisket.platform.specs.section import StreamSection

CONFIGS = list(
    dict.fromkeys(
        [entry.config for kinds in known().sections.values() for entry in kinds.values()]
        + [PretrainConfig, Capabilities, Experiment, StreamSection, Published, Search]
    )
)


@dataclass(frozen=True, kw_only=True)
class _Base:
    """What all have.

    Attributes:
        rate: how far
            a step goes.
        low, high: ends of ``something``.
    """

    rate: float
    low: int = 0
    high: int = 3


@dataclass(frozen=True, kw_only=True)
class _Config(_Base):
    """Its own. Attributes: rate: eta; until: a number, or ``never``: as long
    as it goes; form: which one.

    Attributes are said once.
    """

    rate: float = 0.5
    until: int | None = None
    form: Literal["a", "b"] = "b"
    sizes: tuple[int, ...] = field(default=(1, 2), metadata=NOTHING)

    def __post_init__(self) -> None:
        require(self.rate > 0, "rate", self.rate, "above 0")
        require(self.until is None or self.until >= 1, "until", self.until, "at least 1")


def test_a_block_and_a_line_are_read() -> None:
    assert attributes(_Base.__doc__ or "") == {
        "rate": "how far a step goes.",
        "low": "ends of `something`.",
        "high": "ends of `something`.",
    }
    assert attributes(_Config.__doc__ or "") == {
        "rate": "eta",
        "until": "a number, or `never`: as long as it goes",
        "form": "which one.",
    }
    assert attributes("Nothing to choose.") == {}


def test_a_field_says_what_it_is() -> None:
    said = {argument.name: argument for argument in arguments(_Config)}
    assert list(said) == ["rate", "low", "high", "until", "form", "sizes"]
    rate = said["rate"]
    assert (rate.type, rate.default, rate.allowed, rate.meaning, rate.home) == (
        "float",
        0.5,
        "above 0",
        "eta",
        "_Config",
    )
    assert (said["low"].home, said["low"].meaning) == ("_Base", "ends of `something`.")
    assert (said["until"].type, said["until"].default, said["until"].allowed) == ("int or null", None, "at least 1")
    assert (said["form"].type, said["form"].choices, said["form"].allowed) == ("a or b", ("a", "b"), None)
    assert (said["sizes"].type, said["sizes"].default, said["sizes"].moves) == ("list of int", [1, 2], "nothing")
    assert rate.moves == "numbers"
    assert arguments(_Base)[0].required
    assert not rate.required


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_field_has_a_meaning(config: type[Any]) -> None:
    assert [argument.name for argument in arguments(config) if not argument.meaning] == []


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_no_docstring_tells_of_a_field_that_is_not_there(config: type[Any]) -> None:
    known = {one.name for one in dataclasses.fields(config)}
    for one in config.__mro__:
        if dataclasses.is_dataclass(one):
            assert set(attributes(one.__doc__ or "")) <= known
