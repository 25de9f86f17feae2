"""Real MLflow servers on the loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from frisket.platform.cli.ui import server_command, server_environment
from frisket.platform.tracking.settings import sqlite_uri


class Server:
    """An MLflow server on the loopback, on a port of its own, with its store in ``folder``."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._store = sqlite_uri(folder / "mlflow.db")
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                server_command(self._store, self.port),
                stdout=log,
                stderr=log,
                env=server_environment(self._store),
                start_new_session=True,
            )
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
            if self._process.poll() is not None:
                break
        if self._process.poll() is None:  # a slow one would be left running
            self.kill()
        raise RuntimeError(f"the MLflow server did not start: {self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL to the server and its workers (its own session; nothing else is in it)."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
