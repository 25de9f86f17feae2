"""Whether the Ray that this process is connected to still lives. Import it late: it imports Ray.

A driver whose raylet is gone is ended by Ray itself some seconds later, one whose GCS is gone after a minute: from
within, by a way on which no line of ours is run. So whoever waits for Ray looks for himself, and is first.
"""

from __future__ import annotations

import contextlib
import socket
import time
from types import TracebackType
from typing import Any

from ray._private import worker

_OWN_SECONDS, _OTHER_SECONDS = 2.0, 20.0
"""How long a GCS may not answer: one of ours, which nobody starts again, and one of a cluster, where somebody may."""

_ASK_SECONDS = 1.0


class Watch:
    """Context manager: inside the block `lost` tells what of Ray is gone."""

    def __init__(self) -> None:
        node: Any = worker._global_node  # None for a client, which has neither here
        self._gcs: tuple[str, int] | None = None
        self._raylet: socket.socket | None = None
        self._asked = self._answered = time.monotonic()
        if node is None:
            return
        host, _, port = node.gcs_address.rpartition(":")
        self._gcs, self._patience = (host.strip("[]"), int(port)), _OWN_SECONDS if node.head else _OTHER_SECONDS
        self._raylet = socket.socket(socket.AF_UNIX)
        self._raylet.setblocking(False)
        with contextlib.suppress(OSError):  # which `lost` will meet as well
            self._raylet.connect(node.raylet_socket_name)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._raylet is not None:
            self._raylet.close()

    def lost(self) -> str | None:
        """What of Ray is gone, in words; None while nothing is."""
        if self._raylet is not None and _ended(self._raylet):
            return "its raylet on this machine died"
        if self._gcs is not None and not self._gcs_answers(self._gcs):
            return f"its GCS does not answer any more at {self._gcs[0]}:{self._gcs[1]}"
        return None

    def _gcs_answers(self, gcs: tuple[str, int]) -> bool:
        """Whether the GCS has answered within the patience there is; asked once a second."""
        now = time.monotonic()
        if now - self._asked >= _ASK_SECONDS:
            self._asked = now
            with contextlib.suppress(OSError):
                socket.create_connection(gcs, timeout=_ASK_SECONDS).close()
                self._answered = time.monotonic()
        return self._asked - self._answered < self._patience


def _ended(connection: socket.socket) -> bool:
    """Whether the other end, which says nothing as long as it is asked nothing, is gone."""
    try:
        return not connection.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True
