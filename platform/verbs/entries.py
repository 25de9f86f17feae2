"""What is known of one kind of stream, network, learner or protocol. Plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from frisket.algos.learner import Capabilities
from frisket.algos.pack import packed_fields
from frisket.errors import SpecError, nearest
from frisket.folders import checkout
from frisket.platform.specs.arguments import arguments
from frisket.platform.specs.kinds import known
from frisket.platform.specs.outline import outlines

SectionName = Literal["stream", "network", "learner", "protocol"]


def entry(section: SectionName, name: str) -> dict[str, Any]:
    """One kind, JSON-able.

    ``section``, ``name``, ``summary``; ``config``: the class of its configuration; ``arguments``: the fields of
    `frisket.platform.specs.arguments.Argument`, one each; ``facts``: what else it declares, by name, each as ``{value,
    meaning}``; ``logged``: metric to meaning, as it declares; ``page``: its file in a checkout,
    elsewhere its name in docs/methods, None where there is none; ``specs``: names of the specifications that use it, in
    a variant or in all.

    Raises:
        SpecError: there is no such kind.
    """
    kinds = known().sections[section]
    if name not in kinds:
        raise SpecError(f"{section}.kind", name, nearest(name, kinds))
    config = kinds[name].config
    page = _page(getattr(kinds[name], "page", ""))
    return {
        "section": section,
        "name": name,
        "summary": kinds[name].summary,
        "config": f"{config.__module__}.{config.__name__}",
        "arguments": [dataclasses.asdict(argument) for argument in arguments(config)],
        "facts": facts(section, name),
        "logged": dict(getattr(kinds[name], "logged", {})),
        "page": page,
        "specs": [outline.name for outline in outlines() if name in outline.kinds(section)],
    }


def facts(section: SectionName, name: str) -> dict[str, dict[str, Any]]:
    """What the kind ``name``, which there is, declares beside its arguments: name to ``{value, meaning}``."""
    told = {"stream": _stream, "network": _network, "learner": _learner, "protocol": _protocol}[section](name)
    return {key: {"value": value, "meaning": meaning} for key, value, meaning in told}


def _stream(name: str) -> Iterator[tuple[str, Any, str]]:
    kind = known().streams[name]
    yield "data", list(kind.datasets(kind.config())), "data sets it needs by default"
    yield "episodes", kind.episodes is not None, "offers pre-training before it starts"


def _network(name: str) -> Iterator[tuple[str, Any, str]]:
    yield from ()


def _learner(name: str) -> Iterator[tuple[str, Any, str]]:
    kind = known().learners[name]
    on = known().networks[kind.tried_on]
    channels, size = on.tried_at
    network = on.build(on.config(**on.quick), in_channels=channels, size=size, ways=2)
    can = kind.build(kind.config(), network).capabilities
    for ability in arguments(Capabilities):
        yield ability.name, getattr(can, ability.name), ability.meaning
    yield (
        "packed",
        list(packed_fields(kind.config())),
        "fields in which replicas of one program may differ",
    )


def _protocol(name: str) -> Iterator[tuple[str, Any, str]]:
    kind = known().protocols[name]
    for fact in arguments(type(kind)):
        if fact.name in ("headline", "journalled", "final"):
            value = getattr(kind, fact.name)
            yield fact.name, value if isinstance(value, str) else list(value), fact.meaning


def _page(name: str) -> str | None:
    root = checkout()
    file = None if root is None or not name else root / "docs" / "methods" / f"{name}.md"
    return str(file) if file is not None and file.is_file() else name or None
