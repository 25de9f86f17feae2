"""What the methods' files say of them: the index, and a page's arguments, capabilities and logged metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from docs.tables.markdown import code, mark, table
from frisket.algos.inner.pretrain import PretrainConfig
from frisket.algos.kinds import LEARNERS
from frisket.algos.learner import Capabilities, Method
from frisket.platform.cli.show import MOVES, written
from frisket.platform.specs.arguments import Argument, arguments
from frisket.platform.verbs.entries import facts

_SHORT: Mapping[str, str] = MappingProxyType(
    {"needs_task": "needs the task", "meta_learns": "meta-learns", "ends_tasks": "ends tasks"}
)
_APART: Mapping[str, type[Any]] = MappingProxyType({"pretrain": PretrainConfig})
"""Configurations that are no method's."""
_INDEXED = ("needs_task", "replay", "meta_learns", "masks", "samples")


def on_page(page: Path) -> dict[str, Method]:
    """The methods whose page it is, by name."""
    return {name: row for name, row in LEARNERS.items() if row.page == page.stem}


def index(page: Path, words: Sequence[str]) -> str:
    """Every method with its page, summary and the capabilities that tell methods apart."""
    paged = {name: row for name, row in LEARNERS.items() if row.page}
    rows = ((f"[`{name}`]({row.page}.md)", row.summary, *_said(name, _INDEXED)) for name, row in paged.items())
    return table(("method", "what it is", *map(_heading, _INDEXED)), rows)


def capabilities_table(page: Path, words: Sequence[str]) -> str:
    """What the methods of ``page`` declare, at their default configurations."""
    names = [ability.name for ability in arguments(Capabilities)]
    rows = ((f"`{name}`", *_said(name, names), code(_declared(name)["packed"]) or "-") for name in on_page(page))
    return table(("method", *map(_heading, names), "may differ in a pack"), rows)


def arguments_table(page: Path, words: Sequence[str]) -> str:
    """The arguments of the methods of ``page``; of ``pretrain`` those of pre-training."""
    methods: dict[str, type[Any]] = {name: row.config for name, row in on_page(page).items()}
    configs = {word: _APART[word] for word in words} or methods
    found: dict[str, dict[str, Argument]] = {}
    for kind, config in configs.items():
        for one in arguments(config):
            found.setdefault(one.name, {})[kind] = one
    head = ("argument", "type", "default", "meaning")
    return table(head, (_argument(name, kinds, len(configs)) for name, kinds in found.items()))


def logged_table(page: Path, words: Sequence[str]) -> str:
    """What the methods of ``page`` report; a metric that not all of them have names those that do."""
    own = on_page(page)
    said: dict[tuple[str, str], list[str]] = {}
    for name, row in own.items():
        for metric, meaning in row.logged.items():
            said.setdefault((metric, meaning), []).append(name)
    rows = ((f"`{m}`", meaning if len(k) == len(own) else f"{code(k)}: {meaning}") for (m, meaning), k in said.items())
    return table(("metric", "meaning"), rows)


def _argument(name: str, kinds: Mapping[str, Argument], total: int) -> tuple[str, str, str, str]:
    """A row: what differs between methods is said of each; a method that is not named does not have it."""
    return (
        f"`{name}`",
        _each({kind: one.type for kind, one in kinds.items()}, len(kinds)),
        _each({kind: _default(one) for kind, one in kinds.items()}, total),
        _each({kind: _meaning(one) for kind, one in kinds.items()}, len(kinds)),
    )


def _each(said: Mapping[str, str], total: int) -> str:
    """One saying for all ``total`` methods, or every saying with the methods it is true of."""
    by: dict[str, list[str]] = {}
    for kind, text in said.items():
        by.setdefault(text, []).append(kind)
    if len(by) == 1 and len(said) == total:
        return next(iter(by))
    return "; ".join(f"{text} ({code(kinds)})" for text, kinds in by.items())


def _default(one: Argument) -> str:
    return "required" if one.required else f"`{written(one.default)}`"


def _meaning(one: Argument) -> str:
    said = (one.meaning.rstrip("."), one.allowed and f"must be {one.allowed}", MOVES[one.moves])
    return "; ".join(filter(None, said))


def _heading(ability: str) -> str:
    return _SHORT.get(ability, ability)


@cache
def _declared(name: str) -> Mapping[str, Any]:
    return {key: fact["value"] for key, fact in facts("learner", name).items()}


def _said(name: str, abilities: Sequence[str]) -> Iterator[str]:
    for ability in abilities:
        value = _declared(name)[ability]
        yield mark(value) if isinstance(value, bool) else str(value)
