"""Sends a run folder to MLflow. Needs no MLflow to be imported, and no failure of MLflow's leaves it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frisket.errors import RunError, TrackingError, UserError
from frisket.files import lock
from frisket.places import in_a_line
from frisket.platform.run.folder import RunFolder
from frisket.platform.tracking.failure import said_of
from frisket.platform.tracking.record import Record
from frisket.redaction import redacted

if TYPE_CHECKING:
    from frisket.platform.tracking.session import Session

_log = logging.getLogger("frisket.tracking")


@dataclass(frozen=True, kw_only=True)
class UploadStatus:
    """What one pass achieved.

    Attributes:
        reachable: MLflow took everything it was given; not only where it gave no answer this is False.
        points: metrics sent in this pass.
        complete: the run is done and all of it is in MLflow.
        model, version: the registered model, once there is one.
        reason: what MLflow does in place of taking it, in words (`said_of`); or what is the matter with the run's own
            files, if ``damaged``.
    """

    reachable: bool
    points: int = 0
    complete: bool = False
    model: str | None = None
    version: str | None = None
    reason: str = ""
    damaged: bool = False


class Uploader:
    """Sends ``folder``, as often as it is told to, each thing once.

    Args:
        folder: the run.
        live: someone works on the run while this sends. Otherwise an unfinished run is marked as killed in MLflow, so
            that none stays RUNNING for ever; resuming the run opens it again.

    Use it under `lock`: two that send the same run at once could create the same thing twice.
    """

    def __init__(self, folder: RunFolder, *, live: bool = False) -> None:
        self.folder, self.live = folder, live
        self.record = Record.of(folder)
        self._session: Session | None = None
        self._points = 0

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run's sending for this process; the kernel lets go when the process dies.

        Raises:
            RunError: another process is sending the run.
        """
        busy = RunError("run", self.folder.run_id, "is being sent by another process, which will finish it")
        with lock(self.folder.path / ".upload.lock", busy=busy):
            yield

    def begun(self) -> bool:
        """Whether the run has begun, so that there is something to send."""
        return any(files.journal.exists() for files in self.folder.replicas())

    def push(self) -> UploadStatus:
        """One pass: send what is final and not sent; close the run once it is done.

        Raises:
            UserError: the run's own files are damaged. Never while it is live, and never for MLflow's sake.
        """
        return self._guarded(self._push)

    def close(self, status: str) -> UploadStatus:
        """Send what is left of a run that ended early, and mark it ``FAILED`` or ``KILLED`` there. Raises as `push`."""

        def closing() -> None:
            self._push()
            if not self.record.done:
                self._connect().close(status)

        return self._guarded(closing)

    def _push(self) -> None:
        if self.record.done:
            return
        if not self.live:
            for files in self.folder.replicas():
                files.require_whole()
        session = self._connect()
        ended = self.folder.done  # asked before the sending, which otherwise would not have seen the last points
        self._points += session.send_points()
        if ended:
            session.finish()
        elif not self.live and not self.folder.done and not _worked_on(self.folder):
            session.close("KILLED")

    def _connect(self) -> Session:
        if self._session is None:
            from frisket.platform.tracking.session import Session

            self._session = Session(self.folder, self.record, self.live)
        return self._session

    def _of_the_run(self, error: Exception) -> UserError | None:
        """What ``error`` says of the run's own files; None where it is of something else."""
        if isinstance(error, UserError):
            return error
        named = getattr(error, "filename", None)
        own = isinstance(named, str) and Path(named).is_relative_to(self.folder.path)
        return in_a_line(error) if own and isinstance(error, OSError) else None

    def _guarded(self, action: Callable[[], None]) -> UploadStatus:
        self._points, reason, damaged = 0, "", False
        try:
            action()
        except TrackingError as error:  # of where MLflow is, not of the run
            self._session = None
            reason = said_of(error)
        except (UserError, OSError) as error:
            own = self._of_the_run(error)
            if own is not None and not self.live:
                raise own from error
            reason, damaged = (said_of(error), False) if own is None else (str(own), True)
            if own is None:
                self._session = None
        except Exception as error:  # a client has many ways to fail, and none of them may end the run
            _log.debug("sending %s failed", self.folder.run_id, exc_info=True)
            self._session = None
            reason = said_of(error)
        return UploadStatus(
            reachable=not reason,
            points=self._points,
            complete=self.record.done,
            model=self.record.model,
            version=self.record.version,
            reason=reason,
            damaged=damaged,
        )


def not_sent(uri: str, status: UploadStatus) -> str:
    """What keeps MLflow at ``uri`` from having everything, after a pass that achieved ``status``."""
    return f"MLflow at {redacted(uri)} {status.reason}"


def unreachable_message(folder: RunFolder, status: UploadStatus) -> str:
    """The one warning a run gives when it cannot be sent."""
    if status.damaged:
        return f"nothing more is sent of {folder.path}: {status.reason}"
    away = not_sent(folder.manifest["tracking"]["uri"], status)
    return f"{away}; the run goes on and its results are in {folder.path}; send them later with `frisket sync`"


def unsent(folder: RunFolder) -> bool:
    """Whether something of the run is not in MLflow, or still counts as running there; also where damage hides what
    there is, which sending it will tell."""
    record = Record.of(folder)
    if record.done:
        return False
    try:
        behind = any(
            files.committed_bytes() > (record.children[files.key].sent if files.key in record.children else 0)
            for files in folder.replicas()
        )
        return behind or folder.done or record.open
    except UserError:
        return True


def _worked_on(folder: RunFolder) -> bool:
    """Whether a living process holds one of the run's unfinished replicas."""
    return any(files.result is None and files.held for files in folder.replicas())
