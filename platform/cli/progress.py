"""A run's progress on a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from frisket.platform.run.divergence import losses, sentence
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.progress import Snapshot, take

_LIVE_SECONDS, _PLAIN_SECONDS = 0.5, 10.0
_LEAST_REST = 10
"""How many times as long as it looks the live line rests."""


class ProgressLine:
    """Shows a run's progress while the block lasts: a live line on a terminal, else a plain line now and then; and
    says once of every replica that is lost that it is.

    Args:
        folder: the run.
        workers: how many work on it.
        console: where to; by default standard error, so that standard output stays for results.
        wording: what a line says.
    """

    def __init__(
        self,
        folder: RunFolder,
        workers: int,
        console: Console | None = None,
        wording: Callable[[Snapshot], str] = Snapshot.text,
    ) -> None:
        self._folder, self._workers, self._wording = folder, workers, wording
        self._console = console or Console(stderr=True)
        self._end = threading.Event()
        self._told: set[str] = set()
        self._thread = threading.Thread(target=self._show, name="frisket-progress", daemon=True)

    def __enter__(self) -> ProgressLine:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._tell()

    def _show(self) -> None:
        if self._console.is_terminal:
            self._live()
        else:
            self._plain()

    def _tell(self) -> None:
        """Say of whom it was not said yet that it is lost."""
        for key, found in losses(self._folder).items():
            if key not in self._told:
                self._told.add(key)
                self._print(f"warning: {sentence(key, found)}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _live(self) -> None:
        said = TextColumn("{task.description}", table_column=Column(no_wrap=False))  # whole on a narrow terminal, too
        columns = (BarColumn(bar_width=24), said)
        with Progress(*columns, console=self._console, transient=True) as bar:
            row, pause = bar.add_task("starting", total=None), _LIVE_SECONDS
            while not self._end.wait(pause):
                begun = time.monotonic()
                now = take(self._folder, self._workers)
                bar.update(row, total=now.steps or None, completed=now.cursor, description=self._wording(now))
                self._tell()
                # To look at a thousand replicas takes a while, in which the work itself has one core less.
                pause = max(_LIVE_SECONDS, _LEAST_REST * (time.monotonic() - begun))

    def _plain(self) -> None:
        last, said = None, time.monotonic() - _PLAIN_SECONDS
        while not self._end.wait(_LIVE_SECONDS):
            if time.monotonic() - said < _PLAIN_SECONDS:
                continue
            now = take(self._folder, self._workers)
            if now != last:
                self._print(self._wording(now))
                last, said = now, time.monotonic()
            self._tell()
