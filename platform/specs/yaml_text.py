"""YAML as specifications are written in: text to plain values, and back.

Numbers are those of YAML 1.2. What would be taken silently for something else, or would end the process, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from frisket.errors import SpecError

_DEEPEST = 30
"""Levels of lists and mappings in each other."""
_MOST_VALUES = 1_000_000
_LONGEST_INTEGER = 20
"""Characters, as 64 bits take; nothing that is specified is as large."""

# libyaml's reader is ten times as fast; PyYAML may have been built without it.
_SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):
    """YAML whose numbers are those of YAML 1.2: 1e-3 is one, 010 is ten, 1:30 is text. A key said twice is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        there: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode):
                if key.value in there:
                    raise _mistake(f"key {key.value!r} is said twice, in lines {there[key.value]} and {line}")
                there[key.value] = line
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = node.value.replace("_", "")
        base = {"0x": 16, "0o": 8, "0b": 2}.get(text.lstrip("+-")[:2].lower(), 10)
        if len(text) > _LONGEST_INTEGER:
            raise _mistake(f"{text[:12]}... is too large a number")
        return int(text, base)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads: a text that looks like a number to it is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True  # a file for people says a list twice rather than pointing at it


def _mistake(text: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(problem=text)


_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_Loader.add_constructor(_INT, _Loader.construct_yaml_int)
for _side in (_Loader, _Dumper):
    _side.yaml_implicit_resolvers = {
        k: [(tag, rule) for tag, rule in v if tag not in (_INT, _FLOAT)]
        for k, v in _side.yaml_implicit_resolvers.items()
    }
    _side.add_implicit_resolver(
        _INT,
        re.compile(r"^[-+]?([0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+)$"),
        list("-+0123456789"),
    )
    _side.add_implicit_resolver(
        _FLOAT,
        re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
        list("-+.0123456789"),
    )


def parse(text: str, source: str, field: str = "SPEC") -> Any:
    """What the YAML ``text`` says; ``field`` and ``source`` name it in a `SpecError`."""
    try:
        _require_shallow(text)
        said = yaml.load(text, Loader=_Loader)
        values = _measured(said, _DEEPEST, {})
    except yaml.YAMLError as error:
        raise SpecError(field, source, f"is not valid YAML: {' '.join(str(error).split())}") from None
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:  # a date of month 13, !!int abc
        raise SpecError(field, source, f"has a value that is not what its form or tag says ({error})") from None
    except RecursionError:
        raise SpecError(field, source, "is nested too deeply to be a specification") from None
    if values > _MOST_VALUES:
        raise SpecError(field, source, f"is {values:.3g} values once its aliases are followed: too many")
    return said


def _require_shallow(text: str) -> None:
    """Raise `RecursionError` where lists and mappings lie too deeply in each other even for the reader itself, which is
    C and would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise RecursionError


def _measured(said: Any, depth: int, known: dict[int, int]) -> int:
    """How many values ``said`` is, those that aliases repeat counted again. Raises `RecursionError` below ``depth``."""
    if depth == 0:
        raise RecursionError
    inside = list(said.values()) if isinstance(said, dict) else said if isinstance(said, list) else []
    for one in inside:
        if id(one) not in known:
            known[id(one)] = _measured(one, depth - 1, known)
    return 1 + sum(known[id(one)] for one in inside)


def dump(value: Mapping[str, Any]) -> str:
    """``value`` as YAML that `parse` gives back: keys in their order, plain fields of a section in braces."""
    form: dict[str, Any] = {"sort_keys": False, "default_flow_style": None, "width": 110}
    return yaml.dump(dict(value), Dumper=_Dumper, **form)


def lines(text: str) -> dict[tuple[str, ...], int]:
    """The line, from 1, that every key of valid YAML ``text`` stands on, by its path of keys."""
    return dict(_lines(yaml.compose(text, Loader=_Loader), ()))


def _lines(node: yaml.Node | None, path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, str(key.value)), key.start_mark.line + 1
            yield from _lines(value, (*path, str(key.value)))
