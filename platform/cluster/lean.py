"""The head of a private Ray cluster, without the processes and the waiting that it has no use for. Import it late: it
imports Ray.

`ray.init` waits for a dashboard that it was told to leave out, and its raylet until two agents, each of which imports
for seconds, have written down which ports they chose: on a machine with few cores most of the time that Ray takes to
start. What is left out also wakes up all the time, and costs the packs beside it.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ray import _raylet as compiled
from ray._private import node, services, utils
from ray._private.parameter import RayParams

from frisket.platform.cluster import in_turn, stand_in

_raylet: Any = compiled  # which says nothing of its types

_PORTS = range(20_000, 32_000)
"""Below those that an operating system hands out by itself, so that none is taken until an agent listens to it."""
_NOBODY = -1
"""What an agent writes down for a port on which it will not listen."""
_UNUSED = (
    _raylet.METRICS_AGENT_PORT_NAME,
    _raylet.METRICS_EXPORT_PORT_NAME,
    _raylet.DASHBOARD_AGENT_LISTEN_PORT_NAME,
)


class LeanNode(node.Node):
    """A head without dashboard, autoscaler's monitor and log monitor."""

    def __init__(self, ray_params: RayParams, **others: Any) -> None:
        switches: Any = ray_params  # one of them is annotated as text
        switches.no_monitor, switches.include_log_monitor = True, False
        super().__init__(ray_params, **others)

    def start_api_server(self, **_: Any) -> None:
        self._webui_url = ""  # as Ray has it of a dashboard that serves no pages


class SilentNode(LeanNode):
    """A `LeanNode` that exports no metrics, so that nobody need wait for what its agents would listen to, and one of
    them, which would import for two seconds of a core, need not be there."""

    def __init__(self, ray_params: RayParams, **others: Any) -> None:
        self._known: dict[str, int] = dict.fromkeys(_UNUSED, _NOBODY)
        self._known[_raylet.RUNTIME_ENV_AGENT_PORT_NAME] = ray_params.runtime_env_agent_port = _free_port()
        super().__init__(ray_params, **others)

    def start_raylet(self, *arguments: Any, **others: Any) -> None:
        for name, port in self._known.items():
            _raylet.persist_port(self._session_dir, self._node_id, name, port)
        started = services.start_ray_process
        services.start_ray_process = lambda command, *rest, **named: started(_modest(command), *rest, **named)
        try:
            super().start_raylet(*arguments, **others)
        finally:
            services.start_ray_process = started


def _modest(command: Sequence[str]) -> list[str]:
    """Ray's ``command`` for a raylet with a `stand_in` for the dashboard's agent; where workers import in turns, they
    start in turns too, so that the first has its core to itself."""
    instead = {"--dashboard_agent_command": subprocess.list2cmdline([sys.executable, "-I", "-S", stand_in.__file__])}
    if os.environ.get(in_turn.MODULES):
        instead["--maximum_startup_concurrency"] = str(in_turn.AT_ONCE)
    options = [option.partition("=") for option in command]
    return [f"{name}={instead[name]}" if name in instead else f"{name}{sign}{value}" for name, sign, value in options]


@contextlib.contextmanager
def lean_head(*, metrics: bool = False) -> Iterator[None]:
    """A cluster that `ray.init` starts inside the block has a `LeanNode` for its head; unless it is to export
    ``metrics`` a `SilentNode`, whose agent is that of a Ray without dashboard."""
    plain, missing = node.Node, utils.get_dashboard_dependency_error
    node.Node = LeanNode if metrics else SilentNode
    if not metrics:
        utils.get_dashboard_dependency_error = lambda: ImportError("left out")
    try:
        yield
    finally:
        node.Node, utils.get_dashboard_dependency_error = plain, missing


def _free_port() -> int:
    """A port on which nobody listens now. Which one has nothing to do with a run's numbers."""
    for port in random.Random().sample(_PORTS, len(_PORTS)):
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind(("", port))
            return port
    raise OSError(f"no port from {_PORTS[0]} to {_PORTS[-1]} is free")
