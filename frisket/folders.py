"""Folders on this machine: frisket's own, and this user's."""

from __future__ import annotations

import os
from pathlib import Path


def checkout() -> Path | None:
    """The root of the checkout that frisket is imported from, None where it is installed."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() else None


def importable() -> dict[str, str]:
    """The variables under which another process, in whatever working folder, imports this frisket: from a checkout it
    is importable only beside its root."""
    root = checkout()
    if root is None:
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))}


def cache_folder() -> Path:
    """The environment's FRISKET_CACHE, or the place this system keeps caches in."""
    named = os.environ.get("FRISKET_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("frisket"))
