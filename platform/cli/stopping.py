"""How a long command ends early: by Ctrl-C, SIGTERM or a failure, each time saying how to go on."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

import typer

from frisket.errors import FrisketError


class Stop:
    """Remembers the first SIGINT or SIGTERM; a second one ends the process in the usual way."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None

    def take(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        typer.echo("frisket: stopping after a checkpoint; once more to stop without one", err=True)


@contextlib.contextmanager
def stopping() -> Iterator[Stop]:
    """SIGINT and SIGTERM lead to the `Stop` while the block lasts."""
    stop = Stop()
    before = {number: signal.signal(number, stop.take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def resumable(command: str, stop: Stop) -> Iterator[None]:
    """Say that ``command`` goes on, if the block is stopped (exit code 130 or 1) or fails."""
    from frisket.errors import Stopped

    try:
        yield
    except (Stopped, KeyboardInterrupt):
        typer.echo(f"frisket: stopped; go on with: {command}", err=True)
        raise typer.Exit(_code(stop)) from None
    except Exception as error:
        if stop() and not isinstance(error, FrisketError):
            # Ctrl-C reaches child processes too, such as a compiler at work, and what waits for them then fails. The
            # checkpoints on disk are whole either way.
            typer.echo(f"frisket: stopped at once ({type(error).__name__}); go on with: {command}", err=True)
            raise typer.Exit(_code(stop)) from None
        typer.echo(f"frisket: not finished; once what follows is mended, go on with: {command}", err=True)
        raise


def _code(stop: Stop) -> int:
    return 128 + signal.SIGINT if stop.signal in (None, signal.SIGINT) else 1
