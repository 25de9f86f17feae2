"""The rooms of the house and the directions between them: what may import what, lazy imports included.

A file may import from its own room and from the rooms before it in `ROOMS`; families of methods know nothing of each
other. Heavy libraries stay in the rooms that are there for them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from packages import modules

ROOMS = (
    "frisket",
    "algos.program", "algos.native", "algos.masks", "algos.networks", "algos.parts", "algos.inner", "algos.sac",
    "algos.pack", "algos.state_file", "algos.learner", "algos.learners.*", "algos.kinds", "algos.contract",
    "envs.data", "envs.stream", "envs.task_stream", "envs.episode_stream", "envs.episodes", "envs.robots",
    "envs.streams", "envs.kinds", "envs.contract",
    "platform.protocols", "platform.specs", "platform.run", "platform.model", "platform.tables", "platform.cluster",
    "platform.reports", "platform.planning", "platform.streaming", "platform.tracking", "platform.executors",
    "platform.verbs",
    "platform.doctor", "platform.api", "platform.cli",
)  # fmt: skip
APART = {"algos": ("envs", "platform"), "envs": ("algos", "platform"), "platform": ("algos.learners",)}
"""Top folder to the rooms it imports nothing from: a method is asked what it can do, never which it is."""
ONLY = {
    "ray": {"platform.executors", "platform.streaming", "platform.cluster"},
    "mlflow": {"platform.tracking"},
    "typer": {"platform.cli"},
    "rich": {"platform.cli", "envs.data"},
    "matplotlib": {"platform.reports", "algos.masks", "envs.data"},
    "gymnasium": {"algos.sac", "envs.robots"},
    "metaworld": {"envs.robots"},
    "stable_baselines3": {"algos.sac"},
}
"""Library to the rooms that may import it."""
DOORS = ("frisket", "frisket.__main__")
"""What hands the whole house out, and so may name any room."""

MODULES = modules()


def room_of(module: str) -> str:
    """``frisket.platform.cli.run`` to ``platform.cli``; a family of learners is a room of its own, and what lies in a
    top folder a room by itself."""
    parts = module.split(".")[1:]
    if parts[:1] not in (["algos"], ["envs"], ["platform"]):
        return "frisket"
    return ".".join(parts[: 3 if parts[:2] == ["algos", "learners"] else 2])


def floor(room: str) -> int:
    """Where ``room`` stands in `ROOMS`. Raises ValueError for a room that has no place there yet."""
    return ROOMS.index("algos.learners.*" if room.startswith("algos.learners.") else room)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every module that ``path`` imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}:{node.lineno}: a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from ((node.lineno, name) for name in names & set(MODULES))
            if not names <= set(MODULES):
                yield node.lineno, node.module


def faults(module: str) -> Iterator[str]:
    """What ``module`` imports against the order of rooms, or of libraries that are not its room's."""
    room, path = room_of(module), MODULES[module]
    for line, name in imports(path):
        top = name.partition(".")[0]
        if room not in ONLY.get(top, {room}):
            yield f"{path}:{line}: {top} is for {', '.join(sorted(ONLY[top]))}"
        if top != "frisket" or name in ("frisket", "frisket.algos", "frisket.envs"):
            continue
        used = room_of(name)
        apart = any(f"{used}.".startswith(f"{one}.") for one in APART.get(room.partition(".")[0], ()))
        if apart or (used != room and floor(used) >= floor(room)):
            yield f"{path}:{line}: {room} comes before {used} ({name}), or apart from it"


@pytest.mark.parametrize("module", sorted(set(MODULES) - set(DOORS)))
def test_a_file_uses_its_own_room_and_those_before_it(module: str) -> None:
    if len(module.split(".")) == 2 and MODULES[module].name == "__init__.py":
        assert not list(imports(MODULES[module]))  # a top folder itself brings nothing in
        return
    assert not list(faults(module))


def test_a_fault_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bad.py"
    file.write_text(
        "def f():\n    import ray\n    from frisket.platform.cli import main\n"
        "from frisket.algos.learners.replay.er import ER\n",
        encoding="utf-8",
    )
    for module in ("frisket.algos.parts.bad", "frisket.platform.verbs.bad"):
        monkeypatch.setitem(MODULES, module, file)
        assert sorted(fault.split(": ")[0].rpartition(":")[2] for fault in faults(module)) == ["2", "3", "4"]
