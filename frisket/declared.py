"""What modules declare: the kinds of a thing (methods, streams, ...) are the rows that modules say they have.

A module that brings some says so in a tuple of an agreed name, ``METHODS = (Method(name="er", ...),)``. frisket's own
are found by walking its folders, those of installed packages by their entry points (one for each module), so nothing
lists them a second time.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Protocol, TypeVar

from frisket.errors import SpecError


class Named(Protocol):
    """A row. Attributes: name: what specifications call it."""

    @property
    def name(self) -> str: ...


Row = TypeVar("Row", bound=Named)


def rows(module: ModuleType, attribute: str, kind: type[Row]) -> tuple[Row, ...]:
    """The rows that ``module`` declares under ``attribute``; none if it has no such name.

    Raises:
        SpecError: it is no tuple or list of ``kind``.
    """
    declared = getattr(module, attribute, ())
    file = getattr(module, "__file__", None)
    label = module.__name__ if file is None else Path(file).name
    if not isinstance(declared, (tuple, list)) or not all(isinstance(row, kind) for row in declared):
        raise SpecError(f"{label}.{attribute}", declared, f"must be a tuple of {kind.__name__}(...)")
    for row in declared:
        _require_whole(row, f"{label}.{attribute}")
    return tuple(declared)


def _require_whole(row: Named, field: str) -> None:
    """Raise `SpecError` unless ``row`` has a dataclass and something to call."""
    config: Any = getattr(row, "config", None)  # a row of data sets has none
    if hasattr(row, "config") and not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise SpecError(f"{field}.config", config, f"must be a dataclass: the configuration of {row.name}")
    for maker in ("build", "make"):
        if not callable(getattr(row, maker, len)):
            raise SpecError(f"{field}.{maker}", getattr(row, maker), f"must be called with {row.name}'s configuration")


def own(package: str, attribute: str, kind: type[Row]) -> Mapping[str, Row]:
    """The rows of all modules below the package ``package``, by name, in the order of folders and files."""
    return joined((row for module in _below(package) for row in rows(module, attribute, kind)), attribute)


def installed(group: str, attribute: str, kind: type[Row]) -> tuple[Row, ...]:
    """The rows of installed packages' modules, by the entry points of ``group``. A package that cannot be imported is
    passed over with a warning, because most specifications do not need it."""
    found: list[Row] = []
    for point in sorted(entry_points(group=group), key=lambda one: one.name):
        try:
            module = point.load()
        except Exception as error:
            owner = "an installed package" if point.dist is None else point.dist.name
            said = f"{group}: {point.value} of {owner} cannot be imported ({type(error).__name__}: {error})"
            warnings.warn(f"{said}; mend or uninstall it", stacklevel=2)
            continue
        found += rows(module, attribute, kind)
    return tuple(found)


def joined(found: Iterable[Row], attribute: str, known: Mapping[str, Row] = MappingProxyType({})) -> Mapping[str, Row]:
    """``known`` and the rows ``found``, by name.

    Raises:
        SpecError: a name is taken, or none that a specification can say.
    """
    named = dict(known)
    for row in found:
        if not (isinstance(row.name, str) and re.fullmatch(r"[a-z0-9]+([-.][a-z0-9]+)*", row.name)):
            fix = "must be a name of lower-case letters, digits and single hyphens"
            raise SpecError(f"{attribute}.name", row.name, fix)
        if row.name in named:
            raise SpecError(f"{attribute}.name", row.name, "is taken; give it another")
        named[row.name] = row
    return MappingProxyType(named)


def _below(package: str) -> Iterator[ModuleType]:
    root = importlib.import_module(package)
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        yield importlib.import_module(info.name)
