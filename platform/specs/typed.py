"""What is written, as typed values: dicts to dataclasses.

Whatever is wrong is a `SpecError` which names the field, its value and what is allowed; nothing unknown passes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, get_args, get_type_hints

from frisket.errors import SpecError, nearest
from frisket.platform.specs.text import parse, text_of

_LARGEST = 2**53
"""Of whole numbers: beyond it a float has none of its own, and there is nothing that one could have so many of."""


def read_config(cls: type[Any], name: str) -> Any:
    """The file ``name`` of tune_configs as the dataclass ``cls``, whose field ``name`` is set; as strict as a spec.

    Raises:
        SpecError: a field that is wrong.
    """
    return config_of(cls, name, text_of(name))


def config_of(cls: type[Any], name: str, text: str) -> Any:
    """The YAML ``text`` as the dataclass ``cls``, whose field ``name`` is set. Raises as `read_config` does."""
    said = parse(text, name)
    return typed(cls, {"name": name, **said} if isinstance(said, dict) else said, name)


def typed(cls: type[Any], raw: Any, prefix: str) -> Any:
    """``raw`` as the dataclass ``cls``: strict types (an int passes for a float), unknown keys refused."""
    from pydantic import ValidationError

    dot = f"{prefix}." if prefix else ""
    if not isinstance(raw, dict):
        raise SpecError(prefix, raw, f"must be a mapping of {', '.join(f.name for f in dataclasses.fields(cls))}")
    refuse_unknown(raw, [f.name for f in dataclasses.fields(cls)], dot)
    for key, value in raw.items():
        if isinstance(value, int) and abs(value) > _LARGEST:
            shown = value if abs(value) < _LARGEST**2 else "a number of more than 31 digits"
            raise SpecError(f"{dot}{key}", shown, f"must be at most {_LARGEST:,}")
    try:
        # JSON is the one form pydantic reads strictly into dataclasses and tuples.
        return _reader(cls).validate_json(json.dumps(raw, allow_nan=False), strict=True)
    except (TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            key = next((key for key, value in raw.items() if not _plain(value)), "")
            field = f"{dot}{key}" if key else prefix
            raise SpecError(field, raw.get(key), "must be a plain YAML value, and numbers finite") from error
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, SpecError):
            raise SpecError(dot + cause.field, cause.value, cause.fix) from None
        place, value, fix = _wrong(raw, error.errors())
        if len(place) == 1 and _nullable(cls, place[0]) and "null" not in fix:
            fix = f"{fix}, or null"
        raise SpecError((dot + ".".join(map(str, place))).rstrip("."), value, fix) from None


def _wrong(raw: Any, errors: Sequence[Any]) -> tuple[Sequence[Any], Any, str]:
    """Where in ``raw`` the first of pydantic's ``errors`` lies, what is there, and what should be. Where several forms
    are allowed pydantic has an error for each, below a name of its own for the form."""
    first, value = errors[0], raw
    if first["type"] == "missing":
        return first["loc"], None, _allowed(first)
    for depth, part in enumerate(first["loc"]):
        if (isinstance(value, dict) and part in value) or (isinstance(value, list) and part in range(len(value))):
            value = value[part]
            continue
        place = first["loc"][:depth]
        below = [(one["loc"][depth + 1 :], _allowed(one)) for one in errors if one["loc"][:depth] == place]
        forms = dict.fromkeys(f"a list, each {said.removeprefix('must be ')}" if at else said for at, said in below)
        first, *others = forms
        return place, value, ", or ".join([first, *(other.removeprefix("must be ") for other in others)])
    return first["loc"], first["input"], _allowed(first)


def _nullable(cls: type[Any], name: object) -> bool:
    """Whether the field ``name`` of ``cls`` may be null, of which pydantic says nothing."""
    return type(None) in get_args(get_type_hints(cls).get(str(name)))


_FORMS = {
    "dict_type": "a mapping, {NAME: VALUE, ...}", "dataclass_type": "a mapping, {NAME: VALUE, ...}",
    "tuple_type": "a list, [VALUE, ...]", "list_type": "a list, [VALUE, ...]",
    "int_type": "a whole number without point or exponent",
    "float_type": "a number", "bool_type": "true or false", "string_type": "text", "none_required": "null",
}  # fmt: skip
"""Pydantic's name of a mistake to what is allowed there."""


def _allowed(error: Any) -> str:
    """What should be in the place of one of pydantic's errors, as `SpecError` says it."""
    if error["type"] == "literal_error":
        return f"must be {error['ctx']['expected']}"
    form = _FORMS.get(error["type"])
    return error["msg"].lower() if form is None else f"must be {form}"


@cache
def _reader(cls: type[Any]) -> Any:
    """Pydantic's reader of ``cls``, made once: a grid reads thousands of sections."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def refuse_unknown(raw: Mapping[str, Any], known: Iterable[str], prefix: str) -> None:
    """Raise `SpecError` for the first key of ``raw`` that is not ``known``; ``prefix`` says where ``raw`` lies."""
    known = list(known)
    for key in raw:
        if key not in known:
            raise SpecError(f"{prefix}{key}", raw[key], f"unknown key; {nearest(str(key), known)}")


def _plain(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
