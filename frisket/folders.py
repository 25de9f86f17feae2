"""Folders of this user's on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The environment's FRISKET_CACHE, or the place this system keeps caches in."""
    named = os.environ.get("FRISKET_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("frisket"))
