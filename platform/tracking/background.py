"""Sends a run while it is going on, from a thread."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from types import TracebackType

from frisket.errors import Stopped
from frisket.platform.run.folder import RunFolder
from frisket.platform.tracking.uploader import Uploader, UploadStatus, unreachable_message

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0


class BackgroundUploader:
    """Context manager around the work on a run: pushes every few seconds, and a last time at the end.

    MLflow being away costs the run one warning and nothing else; tries grow rarer while it stays away.

    Args:
        folder: the run.
        warn: takes the warning; stderr by default.
        pause: seconds between pushes.
        patience: seconds the end waits for the last push.

    Attributes:
        status: of the latest push.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        warn: Callable[[str], None] | None = None,
        pause: float = FIRST_PAUSE,
        patience: float = 120.0,
    ) -> None:
        self.status = UploadStatus(reachable=True)
        self._folder, self._warn, self._pause, self._patience = folder, warn or _to_stderr, pause, patience
        self._uploader = Uploader(folder, live=True)
        self._ending = threading.Event()
        self._ended_as = "KILLED"
        self._warned = False
        self._thread = threading.Thread(target=self._work, name="frisket-uploader", daemon=True)
        self._held = contextlib.ExitStack()

    def __enter__(self) -> BackgroundUploader:
        self._held.enter_context(self._uploader.lock())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asked = kind is None or issubclass(kind, (Stopped, KeyboardInterrupt, SystemExit))
        self._ended_as = "KILLED" if asked else "FAILED"
        self._ending.set()
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._take(UploadStatus(reachable=False, reason=f"has not taken everything within {self._patience:.0f} s"))
        else:
            self._held.close()

    def _work(self) -> None:
        pause = self._pause
        while not self._ending.wait(pause):
            if not self._uploader.begun():
                continue  # MLflow's client costs seconds to import, which the workers need to start
            self._take(self._uploader.push())
            pause = self._pause if self.status.reachable else min(2 * pause, max(LONGEST_PAUSE, self._pause))
        self._take(self._uploader.close(self._ended_as))

    def _take(self, status: UploadStatus) -> None:
        self.status = status
        if not status.reachable and not self._warned:
            self._warned = True
            self._warn(unreachable_message(self._folder, status))


def _to_stderr(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
