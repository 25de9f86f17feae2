"""What every method, network and stream that a module declares must hold to, and whether it does. Plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from frisket.algos.contract import check as check_method
from frisket.algos.contract import check_network
from frisket.algos.kinds import NETWORKS
from frisket.algos.learner import Method
from frisket.algos.networks.kind import NetworkKind
from frisket.envs.contract import check as check_stream
from frisket.envs.streams.kind import StreamKind
from frisket.errors import SpecError
from frisket.findings import Finding
from frisket.platform.specs.kinds import ATTRIBUTES, known
from frisket.platform.specs.uses import Given, taken

Tried = Method | NetworkKind | StreamKind
"""A row that has a contract."""

_SECTIONS: Mapping[type[Any], str] = MappingProxyType({Method: "learner", NetworkKind: "network", StreamKind: "stream"})
"""Kind of row to the section of a specification that names it."""


def check(module: Given, names: Iterable[str] = ()) -> dict[str, Any]:
    """What holds of the rows that ``module`` declares, JSON-able.

    ``module``: its name. ``ok``: whether all holds. ``rows``: a list of ``{section, name, ok, findings}``, and each
    finding ``{name, asserts, ok, seen}``. Protocols and data sets have no contract and are not tried.

    Args:
        module: as `frisket.run` takes one under ``uses``: a file, a module's name, a module, a class or a row.
        names: of the rows to be tried; none for all.

    Raises:
        SpecError: no such module or row, one that cannot be imported, or none in it that has a contract.
    """
    (use,) = taken([module])
    rows = [row for row in use.rows if isinstance(row, Tried)]
    if not rows:
        raise SpecError("module", use.name, "declares no METHODS, STREAMS or NETWORKS: there is nothing to check")
    wanted = list(names)
    unknown = [name for name in wanted if name not in {row.name for row in rows}]
    if unknown:
        raise SpecError("name", unknown[0], f"is none of {', '.join(row.name for row in rows)}")
    networks = {**NETWORKS, **{row.name: row for row in rows if isinstance(row, NetworkKind)}}
    told = []
    for row in rows:
        if wanted and row.name not in wanted:
            continue
        found = [_name_is_free(row), *_found(row, networks)]
        ok = all(one.ok for one in found)
        findings = [dataclasses.asdict(one) for one in found]
        told.append({"section": _SECTIONS[type(row)], "name": row.name, "ok": ok, "findings": findings})
    return {"module": use.name, "ok": all(row["ok"] for row in told), "rows": told}


def _found(row: Tried, networks: Mapping[str, NetworkKind]) -> list[Finding]:
    if isinstance(row, NetworkKind):
        return check_network(row)
    if isinstance(row, StreamKind):
        return check_stream(row)
    return check_method(row, networks=networks)


def _name_is_free(row: Tried) -> Finding:
    """Of frisket's own rows and those of installed packages a name is their own."""
    section = _SECTIONS[type(row)]
    other = known().sections[section].get(row.name)
    owner = None if other is None else other.config.__module__
    free = owner in (None, row.config.__module__)
    seen = "" if free else f"{section} {row.name!r} is one of {ATTRIBUTES[type(row)]} of {owner}"
    return Finding(name="name is free", asserts="No other row of its kind has its name.", ok=free, seen=seen)
