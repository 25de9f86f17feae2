"""``frisket ui``: MLflow's page on the default store."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from typing import Annotated

import typer


def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Serve MLflow's page on mlflow.db in this folder (or show where MLFLOW_TRACKING_URI leads) until Ctrl-C."""
    from rich.console import Console

    from frisket.errors import UserError
    from frisket.platform.tracking.settings import SERVERS, tracking_uri
    from frisket.platform.tracking.store import make_store, require_schema
    from frisket.redaction import censored, redacted

    console, uri = Console(soft_wrap=True, highlight=False), tracking_uri()
    if uri.startswith(SERVERS):
        console.print(f"MLflow already runs at {redacted(uri)} (MLFLOW_TRACKING_URI)")
        return
    if _taken(port):
        raise UserError("--port", port, "is in use; choose another")
    try:
        make_store(uri)  # by the server, it could be left half made
        require_schema(uri)
    except (OSError, sqlite3.Error) as error:
        fix = f"cannot be made or read there ({censored(str(error))})"
        raise UserError("MLFLOW_TRACKING_URI", redacted(uri), fix) from None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server must not outlive us
    server = subprocess.Popen(server_command(uri, port), env=server_environment(uri), start_new_session=True)
    console.print(f"MLflow: http://127.0.0.1:{port}  (store: {redacted(uri)}; Ctrl-C ends it)")
    try:
        code = server.wait()
    except KeyboardInterrupt:
        code = 0
    finally:
        _end(server)
    if code:
        raise typer.Exit(1)


def server_command(uri: str, port: int) -> list[str]:
    """The command that serves a store on this machine only. It does not say which, as a password in the store's ``uri``
    would stand in every list of processes: that is in `server_environment`."""
    from frisket.platform.tracking.settings import sqlite_file

    database = sqlite_file(uri)
    place = None if database is None else database.absolute().parent / "mlartifacts"
    artifacts = [] if place is None else ["--artifacts-destination", place.as_uri()]
    return [
        sys.executable, "-m", "mlflow", "server", *artifacts, "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1",
    ]  # fmt: skip


def server_environment(uri: str) -> dict[str, str]:
    """The environment of `server_command`, for the store ``uri``."""
    import os

    # Job execution starts further processes, for features this page does not use.
    unused = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {**unused, **os.environ, "MLFLOW_BACKEND_STORE_URI": uri}


def _taken(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _end(server: subprocess.Popen[bytes], patience: float = 10.0) -> None:
    """End the server and its workers, which share a session of their own."""
    import os

    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, sign)
            server.wait(patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
