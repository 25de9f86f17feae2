"""``frisket``: mounts the verbs, and turns what happens into messages and exit codes.

Exit codes: 0 done; 2 the user's mistake (one message on stderr, no traceback); 130 stopped by Ctrl-C; 141 whoever read
what it prints has gone; 1 anything else.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, TextIO

import typer

import frisket
from frisket.errors import FrisketError, UserError
from frisket.places import in_a_line
from frisket.platform.cli import data, listing, masks
from frisket.platform.cli.check import check
from frisket.platform.cli.compare import compare
from frisket.platform.cli.doctor import doctor
from frisket.platform.cli.evaluate import evaluate
from frisket.platform.cli.groups import group, verb
from frisket.platform.cli.plan import plan
from frisket.platform.cli.reproduce import reproduce
from frisket.platform.cli.run import run
from frisket.platform.cli.runs import runs
from frisket.platform.cli.show import schema, show
from frisket.platform.cli.streams import say_what_can_be_said
from frisket.platform.cli.submit import submit
from frisket.platform.cli.sync import sync
from frisket.platform.cli.tune import tune
from frisket.platform.cli.ui import ui
from frisket.redaction import censored

app = group(
    "Learning where to learn: meta- and continual-learning experiments on Ray, tracked in MLflow.",
    name="frisket",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_OPTIONS = ("local", "resume", "run_id")
"""What a verb calls an argument which on the command line is an option; no specification has a field of that name."""

for function in (run, tune, reproduce, plan, submit, runs, compare, evaluate, check, show):
    verb(app)(function)
verb(app, "list")(listing.show)
verb(app)(schema)
app.add_typer(data.app, name="data")
app.add_typer(masks.app, name="masks")
for function in (sync, ui, doctor):
    verb(app)(function)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(frisket.__version__)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. ``arguments``: None for the process's own."""
    _show_warnings()
    say_what_can_be_said()
    try:
        code = _carried_out(arguments)
        for stream in _streams():
            stream.flush()
    except BrokenPipeError:
        return _unread()
    return code


def _carried_out(arguments: Sequence[str] | None) -> int:
    try:
        app(args=None if arguments is None else list(arguments), prog_name="frisket")
    except SystemExit as end:  # how typer returns, its own usage errors included (2)
        if isinstance(end.__context__, BrokenPipeError):  # which typer and rich take for a failure
            raise end.__context__ from None
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except UserError as error:
        said = str(error)
        if error.field in _OPTIONS:
            said = f"--{error.field.replace('_', '-')}{said.removeprefix(error.field)}"
        return _complain(said, 2)
    except FrisketError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        raise
    except OSError as error:
        return _complain(str(in_a_line(error)), 2)
    except Exception:  # a fault of ours; as Python says it, but for secrets in it
        return _complain(f"this should not have happened\n{traceback.format_exc()}", 1)
    return 0


def _unread() -> int:
    """The exit code where whoever read has had enough (``frisket runs | head``); what is still to be said goes nowhere,
    so that the interpreter does not complain of it either."""
    for stream in _streams():
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 128 + signal.SIGPIPE


def _streams() -> list[TextIO]:
    """Those of standard output and error that are open."""
    return [stream for stream in (sys.stdout, sys.stderr) if stream is not None]


def _complain(message: str, code: int) -> int:
    typer.echo(f"frisket: {censored(message)}", err=True)
    return code


class _Stderr(logging.Handler):
    """Frisket's own warnings, to whatever standard error is at the moment (a progress line may have wrapped it)."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"{record.levelname.lower()}: {censored(self.format(record))}", file=sys.stderr)


def _show_warnings() -> None:
    log = logging.getLogger("frisket")
    if not any(isinstance(handler, _Stderr) for handler in log.handlers):
        log.addHandler(_Stderr(logging.WARNING))
