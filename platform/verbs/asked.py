"""What a Python call asks for, looked at before anything is read or made: the command line looks by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from frisket.errors import RunError, SpecError, nearest
from frisket.places import require_place
from frisket.types import DataMode


def require_count(field: str, value: Any) -> None:
    """Raise `RunError` unless ``value`` is a whole number of at least 1, or None."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise RunError(field, value, "must be a whole number of at least 1, or None")


def require_seeds_once(seeds: Any, overrides: Any) -> None:
    """Raise `SpecError` where a number of ``seeds`` is asked for and ``overrides`` ask for one, too."""
    if seeds is None or isinstance(overrides, str):
        return
    for change in overrides:
        name, _, value = str(change).partition("=")
        if name.strip() == "seeds":
            raise SpecError("seeds", value, f"is asked for twice, here and as --seeds {seeds}; leave one out")


def require_switch(field: str, value: Any) -> None:
    """Raise `RunError` unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise RunError(field, value, "must be True or False")


def require_workers(workers: Any, *, local: Any) -> None:
    """Raise `RunError` unless ``workers`` is how many, or None, and ``local`` True or False; here there is one."""
    require_count("workers", workers)
    require_switch("local", local)
    if local and workers not in (None, 1):
        raise RunError("workers", workers, "local is one process, this one; leave workers or local out")


def require_runs_dir(value: Any) -> Path | None:
    """``value`` as a place where runs can be kept. Raises `RunError` for a file."""
    place = require_place("runs_dir", value)
    if place is not None and place.exists() and not place.is_dir():
        raise RunError("runs_dir", str(place), "is a file; name a folder")
    return place


def require_mode(value: Any) -> None:
    """Raise `RunError` unless ``value`` says which data."""
    if not isinstance(value, str) or value not in get_args(DataMode):
        raise RunError("data", value, nearest(str(value), get_args(DataMode)))
