"""What a configuration says of its own fields: type, default, values, meaning, and whether they move a number.

The meaning is what the class's docstring says (`frisket.configuration`). What is allowed beyond the type is what the
class itself answers when it is given a wrong value.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from frisket.configuration import meaning
from frisket.errors import SpecError
from frisket.moves import idle

Moves = Literal["numbers", "rounding", "nothing"]
"""What changes with a field: results, results by rounding alone, or nothing at all."""

_PLAIN: Mapping[Any, str] = types.MappingProxyType(
    {int: "int", float: "float", bool: "bool", str: "str", type(None): "null", Any: "any"}
)


@dataclass(frozen=True, kw_only=True)
class Argument:
    """A field of a configuration.

    Attributes:
        name: as a specification has it.
        type: its type in words.
        default: what it is when left out, JSON-able; None for one that is required.
        required: whether it must be given.
        choices: the values it can have, where they are listed; else none.
        allowed: what it must be beyond its type, in words; None where any value of the type will do, or where it
            depends on other fields.
        meaning: its docstring, one line of Markdown.
        home: the class that gives its default.
        moves: what changes with it.
    """

    name: str
    type: str
    default: Any
    required: bool
    choices: tuple[Any, ...]
    allowed: str | None
    meaning: str
    home: str
    moves: Moves


@cache
def arguments(config: type[Any]) -> tuple[Argument, ...]:
    """The fields of the dataclass ``config``, in their order."""
    hints = get_type_hints(config)
    return tuple(_argument(config, field, hints[field.name]) for field in dataclasses.fields(config))


def _argument(config: type[Any], field: dataclasses.Field[Any], hint: Any) -> Argument:
    factory = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    required = default is dataclasses.MISSING
    return Argument(
        name=field.name,
        type=_words(hint),
        default=None if required else json.loads(json.dumps(default)),
        required=required,
        choices=_choices(hint),
        allowed=_refusal(config, field.name, hint),
        meaning=meaning(config, field.name),
        home=next(c.__name__ for c in config.__mro__ if field.name in inspect.get_annotations(c)),
        moves=_moves(config, field.name),
    )


def _moves(config: type[Any], name: str) -> Moves:
    if name in idle(config, rounding=False):
        return "nothing"
    return "rounding" if name in idle(config, rounding=True) else "numbers"


def _choices(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(value for part in get_args(hint) for value in _choices(part))
    return ()


def _words(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_words, parts))
    if origin is tuple:
        return f"list of {_words(parts[0])}"
    if origin is dict:
        return f"mapping to {_words(parts[1])}"
    return getattr(hint, "__name__", str(hint))


def _refusal(config: type[Any], name: str, hint: Any) -> str | None:
    """What ``config`` answers to a value that is hardly ever allowed, if that is all it finds wrong."""
    if any(f.default is f.default_factory is dataclasses.MISSING for f in dataclasses.fields(config) if f.init):
        return None
    wrong: dict[Any, Any] = {int: -1, float: -1.0, str: "", tuple: (), dict: {}}
    kinds = [get_origin(part) or part for part in (hint, *get_args(hint))]
    probe = next((wrong[kind] for kind in kinds if kind in wrong), None)
    if probe is None or get_origin(hint) is Literal:
        return None
    try:
        config(**{name: probe})
    except SpecError as error:
        return error.fix.removeprefix("must be ") if error.field == name else None
    return None
