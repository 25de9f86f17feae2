"""What experiments and their variants can be called: folders, pages of MLflow and registered models bear the name."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from frisket.errors import require

_LONGEST_NAME, _LONGEST_LABEL = 200, 120
"""Bytes: a folder's name has room for 255, and what and when is added to it."""
_REFUSED = frozenset("\\:*?\"'<>|%#")
_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Of Unicode: control characters, halves of characters, ends of lines and paragraphs."""


def require_name(name: Any) -> None:
    """Raise `SpecError` unless ``name`` is one for an experiment."""
    ok = (
        isinstance(name, str)
        and not any(c in _REFUSED or unicodedata.category(c) in _CATEGORIES for c in name)
        and all(part == part.strip() and part.strip(".") for part in name.split("/"))
        and len(name.encode()) <= _LONGEST_NAME
    )
    require(
        ok, "name", name, f"text of 1 to {_LONGEST_NAME} bytes, without any of {' '.join(sorted(_REFUSED))}, and "
        "between its slashes neither empty, nor dots alone, nor with a space at an end. It is the file's name if the "
        "specification says no other",
    )  # fmt: skip


def require_label(label: Any) -> None:
    """Raise `SpecError` unless ``label`` is one for a variant."""
    ok = (
        isinstance(label, str)
        and re.fullmatch(r"[\w.-]+", label) is not None
        and label.strip(".") != ""
        and len(label.encode()) <= _LONGEST_LABEL
    )
    require(
        ok, "variants", label, f"labels of 1 to {_LONGEST_LABEL} bytes: letters, digits, '.', '_', '-', not dots alone "
        "(quote yes, no and numbers)",
    )  # fmt: skip
