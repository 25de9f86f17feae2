"""What workers of a private cluster import as they start, some after others: Ray loads this module in each of them.

Side by side on few cores all of them would be ready late, and the first task waits for the first.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from frisket.files import lock

MODULES, FOLDER = "FRISKET_PRELOAD", "FRISKET_PRELOAD_TURNS"
"""Variables: the modules, apart by commas, and where the locks lie."""

AT_ONCE = max(1, (os.cpu_count() or 1) // 2)
"""How many workers import side by side."""

if os.environ.get(MODULES):
    with lock(Path(os.environ[FOLDER]) / f"turn-{os.getpid() % AT_ONCE}"):
        for name in os.environ[MODULES].split(","):
            importlib.import_module(name)
