"""The section ``data`` of a specification: the user's own data sets, by the names its stream calls them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from frisket.envs.data import OwnArrays, OwnData, OwnFolder
from frisket.errors import SpecError
from frisket.platform.specs.typed import typed

FORMS: Mapping[str, type[OwnData]] = MappingProxyType({"folder": OwnFolder, "arrays": OwnArrays})
"""The field that says what a data set is read from, to its configuration."""


def read_data(raw: Any) -> dict[str, OwnData]:
    """The data sets that the section ``raw`` names.

    Raises:
        SpecError: no mapping of names, or a data set without exactly one of the keys of `FORMS`, or with a wrong field.
    """
    if not isinstance(raw, dict):
        raise SpecError("data", raw, f"must map names to data sets: NAME: {{{' or '.join(FORMS)}: PATH}}")
    return {str(name): _one(f"data.{name}", fields) for name, fields in raw.items()}


def _one(field: str, raw: Any) -> OwnData:
    forms = [form for form in FORMS if isinstance(raw, dict) and form in raw]
    if len(forms) != 1:
        raise SpecError(field, raw, f"must have exactly one of {', '.join(FORMS)}: where the data are")
    return typed(FORMS[forms[0]], raw, field)
