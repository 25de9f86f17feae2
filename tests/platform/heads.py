"""Real Ray heads and further nodes on this machine, with a token of their own, started and ended by process id."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import alive, command, descendants, wait_for

PATIENCE = 400.0
"""Seconds that Ray's processes may take on a machine that others use as well."""

_STARTS = 5

RAY = str(Path(sys.executable).parent / "ray")


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """A node of a Ray cluster: ``ray start --block`` in a session of its own."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path, there: Callable[[], bool]) -> None:
        """Start it and wait until it is ``there``.

        Its raylet gives the node's own agent 15 seconds to start, which no setting changes, and aborts when a busy
        machine takes longer; so it is tried again.
        """
        self.log = log
        for _ in range(_STARTS):
            with log.open("ab") as file:
                self._process = subprocess.Popen(
                    [RAY, "start", "--block", "--dashboard-agent-listen-port=0", *arguments],
                    stdout=file, stderr=file, env=environment, cwd=log.parent, start_new_session=True,
                )  # fmt: skip
            self._seen_raylet = False
            try:
                wait_for(lambda: there() or self._lost(), seconds=PATIENCE, pause=0.2)
                if there():
                    return
            except BaseException:
                self.kill()
                raise
            self.kill()
        raise AssertionError(f"no node in {_STARTS} tries: {log.read_text()[-2000:]}")

    def family(self) -> set[int]:
        """All of its processes."""
        return {self._process.pid} | descendants(self._process.pid)

    def _lost(self) -> bool:
        """Whether it can no more come up: it has given up, or its raylet was there and is gone."""
        raylets = any(command(pid).split("\0")[0].endswith("/raylet") for pid in self.family())
        lost = self._process.poll() is not None or (self._seen_raylet and not raylets)
        self._seen_raylet |= raylets
        return lost

    def kill(self) -> None:
        """SIGKILL to all of its processes, workers included, as a machine that loses its power."""
        family = self.family()
        while any(alive(pid) for pid in family):
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            family |= self.family()
            time.sleep(0.05)
        self._process.wait()


class Head(Node):
    """A head with a dashboard and a job server. Attributes: url: of the dashboard; address: for RAY_ADDRESS; token;
    environment: for whoever talks to it; folder: with ``runs`` and MLflow's store."""

    def __init__(self, folder: Path, environment: dict[str, str], cpus: int = 2) -> None:
        folder.mkdir()
        self.folder = folder
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        self.environment = environment | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # else they starve beside whatever else the machine does
            "RAY_raylet_start_wait_time_s": f"{PATIENCE:.0f}",
            "FRISKET_RUNS": str(folder / "runs"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        }
        self.environment.pop("RAY_AUTH_TOKEN", None)
        port, dashboard = free_port(), free_port()
        self.url, self.address = f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}"
        self.token = token.read_text()
        self._cpus = cpus
        super().__init__(
            [
                "--head", f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
                f"--ray-client-server-port={free_port()}", *self._options(cpus, "head"),
            ],
            self.environment, folder / "head.log", self._answers,
        )  # fmt: skip

    def node(self, name: str, cpus: int, gpus: int = 0) -> Node:
        """A further node, once it is there; its GPUs are Ray's logical resources only."""
        arguments, all_of_them = [f"--address={self.address}", *self._options(cpus, name)], self.cpus() + cpus
        arguments += [f"--num-gpus={gpus}"]
        log = self.folder / f"{name}.log"
        return Node(arguments, self.environment, log, there=lambda: self.cpus() == all_of_them)

    def _options(self, cpus: int, name: str) -> list[str]:
        # Ray's sockets lie in its folder, and their paths may not be longer than 107 bytes.
        return [f"--num-cpus={cpus}", f"--temp-dir={self.folder}/{name[0]}", f"--object-store-memory={100 * 2**20}"]

    def cpus(self) -> int:
        """Slots of all living nodes."""
        raylets = [node.get("raylet", {}) for node in self._ask("/nodes?view=summary")["data"]["summary"]]
        return sum(int(r.get("resourcesTotal", {}).get("CPU", 0)) for r in raylets if r.get("state") == "ALIVE")

    def _answers(self) -> bool:
        try:
            return self._ask("/api/jobs/") == [] and self.cpus() == self._cpus
        except OSError:
            return False

    def _ask(self, path: str) -> Any:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
