"""Workers that a private cluster holds ready, for Tune's trials. Import it late: it imports Ray."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ray.tune.execution import class_cache

from frisket.platform.cluster.session import worker_environment


@contextlib.contextmanager
def workers_at_hand() -> Iterator[None]:
    """Trials that Tune starts inside the block take workers that are there already.

    Tune gives its trials variables of their own, and for those Ray starts fresh processes. In a private cluster, whose
    workers have the driver's environment, there is nothing to give. On another cluster all is as Tune has it.
    """
    if worker_environment():
        yield
        return
    given = class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = {}, set()
    try:
        yield
    finally:
        class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = given
