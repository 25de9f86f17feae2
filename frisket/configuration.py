"""What a configuration says of its fields in its docstring, and what every one must be.

The meaning of a field is in the ``Attributes:`` block of the class's docstring, or of the nearest base that has it::

    Attributes:                                 Two forms. A block, where a meaning may go on in deeper lines:
        low, high: the ends of something.
        every: steps from one
            to the next.

    Attributes: low, high: the ends; every: steps.      And a line, parted by semicolons.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

from frisket.findings import need

_NAMES = r"[A-Za-z_]\w*(?:, [A-Za-z_]\w*)*"


def attributes(docstring: str) -> dict[str, str]:
    """Name to meaning of an ``Attributes:`` block, each one line of Markdown; empty for a text without one."""
    _, found, after = inspect.cleandoc(docstring).partition("Attributes:")
    if not found:
        return {}
    said = _on_a_line(after) if after.partition("\n")[0].strip() else _in_a_block(after)
    return {name: _markdown(meaning) for names, meaning in said for name in names.split(", ")}


def meaning(config: type[Any], name: str) -> str:
    """What ``config`` says of its field ``name``, one line of Markdown; empty where it says nothing."""
    for one in config.__mro__:
        said = attributes(one.__dict__.get("__doc__") or "")
        if name in said:
            return said[name]
    return ""


def require_configuration(config: type[Any], quick: Iterable[str]) -> None:
    """Raise `Broken` unless ``config`` is what every configuration is, and has all the fields ``quick``."""
    name = config.__name__
    need(dataclasses.is_dataclass(config), f"{name} is no dataclass")
    fields = {field.name: field for field in dataclasses.fields(config)}
    frozen = config.__dataclass_params__.frozen  # type: ignore[attr-defined]
    need(frozen, f"{name} is not frozen: @dataclass(frozen=True, kw_only=True)")
    loose = [one for one, field in fields.items() if field.init and not field.kw_only]
    need(not loose, f"{', '.join(loose)} of {name}: not keyword-only; @dataclass(frozen=True, kw_only=True)")
    silent = [one for one in fields if not meaning(config, one)]
    need(not silent, f"{', '.join(silent)}: not in an 'Attributes:' block of {name}'s docstring")
    unknown = [one for one in quick if one not in fields]
    need(not unknown, f"the row names {', '.join(unknown)}, which {name} does not have")


def _on_a_line(text: str) -> Iterator[tuple[str, str]]:
    line = " ".join(text.partition("\n\n")[0].split())
    for part in re.split(rf"; (?={_NAMES}: )", line):
        names, _, said = part.partition(": ")
        yield names, said


def _in_a_block(text: str) -> Iterator[tuple[str, str]]:
    """Entries stand as far right as the first one; what stands further right goes on with a meaning."""
    lines = text.strip("\n").partition("\n\n")[0].split("\n")
    margin = len(lines[0]) - len(lines[0].lstrip())
    entries: list[str] = []
    for line in lines:
        if len(line) - len(line.lstrip()) > margin:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line.strip())
    for entry in entries:
        names, colon, said = entry.partition(": ")
        if colon and re.fullmatch(_NAMES, names):
            yield names, said


def _markdown(text: str) -> str:
    return text.replace("``", "`").strip()
