"""Where replicas run: in this process (`local`) or on Ray (`ray_train`, and `ray_tune` for searches).

All lead the same packs through `frisket.platform.run.engine.run_pack`, so where and by how many workers a run is
executed moves no number.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from frisket.errors import RunError
from frisket.platform.run.folder import PackFolder

Stop = Callable[[], bool]
"""Asked often; True means: checkpoint and stop."""

_DYING_SECONDS = 20.0
"""How long a killed process may take to let go of its replicas; Ray starts new workers while the old ones still die."""


class Shares(NamedTuple):
    """Attributes: workers: how many work at once; resources: what each of them takes of the cluster."""

    workers: int
    resources: dict[str, float]


def wait_until_free(files: PackFolder, patience: float = _DYING_SECONDS) -> None:
    """Wait up to ``patience`` seconds for a dying process to let go of a pack.

    Raises:
        RunError: it is still being worked on.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            with files.lock():
                return
        except RunError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
