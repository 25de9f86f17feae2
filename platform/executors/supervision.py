"""What the Ray executors share: how the driver waits, how workers are told to stop, how an error finds its way back.

Driver and workers share nothing but the run folder. A file in it asks everybody to stop. A pack that *fails* would fail
again wherever it was tried, so its error is kept in the folder, everybody stops with a checkpoint, and the driver
raises it; a worker that *dies* is Ray's business.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

from frisket.errors import FrisketError, Stopped, UserError, as_data, rebuilt
from frisket.files import find_json, write_json
from frisket.places import in_a_line
from frisket.platform.executors import Stop, wait_until_free
from frisket.platform.executors.stream_source import opener
from frisket.platform.run.engine import run_pack
from frisket.platform.run.folder import ReplicaFolder, RunFolder
from frisket.platform.run.together import PeerLost, Together
from frisket.platform.specs.experiment import Pack

MAX_DEATHS = 3
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 60.0
"""How long workers may take to checkpoint before they are stopped without one."""


def supervise(folder: RunFolder, fit: Callable[[], None], stop: Stop) -> bool:
    """See ``fit``, Ray's own loop, to its end.

    Args:
        folder: the run.
        fit: the loop.
        stop: asked often; True asks the workers to stop.

    Returns:
        Whether ``stop`` ended it.

    Raises:
        Stopped: ``stop`` ended it, and the workers did not answer.
        UserError: a replica met a mistake of the user's.
        FrisketError: a replica failed, or Ray gave up.
    """
    tidy(folder)
    stopped = _in_a_thread(folder, fit, stop)
    conclude(folder)
    return stopped


def _in_a_thread(folder: RunFolder, fit: Callable[[], None], stop: Stop) -> bool:
    """Wait for ``fit`` in a thread of its own: in the main thread it would take over Ctrl-C."""
    outcome = Future[None]()

    def run() -> None:
        try:
            outcome.set_result(fit())
        except BaseException as error:
            outcome.set_exception(error)

    # A daemon, because a Ray that never answers must not keep the process from ending.
    threading.Thread(target=run, name="frisket-ray", daemon=True).start()
    from frisket.platform.cluster.watch import Watch

    try:
        with Watch() as watch:
            return _wait(outcome, folder, stop, watch.lost)
    finally:
        ask_to_stop(folder)  # whatever ended the wait, nobody works on


def attempt(
    folder: RunFolder, pack: Pack, data_dir: str | None, stop: Stop, service: str | None = None,
    together: Together | None = None,
) -> bool:  # fmt: skip
    """Run ``pack`` in a worker; its error is kept for the driver, and everybody asked to stop.

    Args:
        folder, pack, data_dir, stop, together: as for `run_pack`.
        service: the streaming service that makes its streams; None: they are made here.

    Returns:
        Whether it came to its end.

    Raises:
        PeerLost: another worker on the pack is gone.
    """
    files = folder.pack(pack)
    try:
        if together is None or not together.rank:
            wait_until_free(files)
        open_stream = opener(folder, service, data_dir)
        run_pack(folder, pack, data_dir=data_dir, stop=stop, open_stream=open_stream, together=together)
    except PeerLost:
        raise
    except Stopped:
        return False
    except Exception as error:  # a failure is not a death: Ray would try it again and again
        _keep(folder, files.members[0], in_a_line(error, folder.path) if isinstance(error, OSError) else error)
        ask_to_stop(folder)
        return False
    return True


def conclude(folder: RunFolder) -> None:
    """Tidy up, and raise the error that a worker kept."""
    _stop_file(folder).unlink(missing_ok=True)
    kept = find_json(_error_file(folder))
    if kept is None:
        return
    if "mistake" in kept:
        raise rebuilt(**kept["mistake"])
    raise FrisketError(f"replica {kept['replica']} failed: {kept['kind']}: {kept['text']}\n{kept['trace']}")


def tidy(folder: RunFolder) -> None:
    """Remove what drivers and workers tell each other by: of a driver that was killed it is still there."""
    for path in (_error_file(folder), _stop_file(folder)):
        path.unlink(missing_ok=True)


class StopFile:
    """How the driver tells workers to stop: a file in the run folder, looked for now and then."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = _stop_file(folder)
        self._next = 0.0
        self._seen = False

    def __call__(self) -> bool:
        return self._seen or (time.monotonic() >= self._next and self.now())

    def now(self) -> bool:
        """Look this very moment."""
        self._seen, self._next = self._path.exists(), time.monotonic() + _LOOK_SECONDS
        return self._seen


def ask_to_stop(folder: RunFolder) -> None:
    """Ask all workers on ``folder`` to checkpoint and stop."""
    _stop_file(folder).touch()


def _wait(outcome: Future[None], folder: RunFolder, stop: Stop, lost: Callable[[], str | None]) -> bool:
    deadline, since = None, time.time()
    while not wait([outcome], timeout=_LOOK_SECONDS / 2).done:
        if (gone := lost()) is not None:
            raise FrisketError(f"Ray ended under the run: {gone}. Nothing is lost, the run can be resumed.")
        if deadline is None and stop():
            ask_to_stop(folder)
            deadline = time.monotonic() + _STOP_SECONDS
        if deadline is not None and not any(files.begun(since) for files in folder.replicas()):
            raise Stopped(f"run {folder.run_id} stopped")  # there is nothing to wait for
        if deadline is not None and time.monotonic() > deadline:
            raise Stopped(f"run {folder.run_id} stopped; its workers did not answer in {_STOP_SECONDS:.0f} s")
    error = outcome.exception()
    if error is None:
        return deadline is not None
    if deadline is not None:  # what asked us to stop may have ended Ray as well: a signal to the whole process group
        raise Stopped(f"run {folder.run_id} stopped, and Ray with it") from error
    raise FrisketError(
        f"Ray gave the run up: {_last_line(error)}\n"
        "If its workers died again and again it is often too little memory: fewer --workers need less. "
        "Nothing is lost, the run can be resumed."
    ) from error


def _stop_file(folder: RunFolder) -> Path:
    return folder.path / "stop"


def _error_file(folder: RunFolder) -> Path:
    return folder.path / "error.json"


def _keep(folder: RunFolder, files: ReplicaFolder, error: Exception) -> None:
    """Keep the ``error`` of ``files`` for the driver: of several the first, after which nobody works on."""
    if _error_file(folder).exists():
        return
    kept: dict[str, Any] = {
        "replica": files.key,
        "kind": type(error).__name__,
        "text": str(error),
        "trace": traceback.format_exc(),
    }
    if isinstance(error, UserError):
        kept["mistake"] = as_data(error)
    with contextlib.suppress(OSError):  # a full disk may well be the error
        write_json(_error_file(folder), kept)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
