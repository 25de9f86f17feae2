"""A hundred kill -9 drawn from a seed, in one process and on a private Ray: nothing is lost, doubled or left behind."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from heads import PATIENCE
from processes import MARK, command, marked, wait_for
from stored import assert_all_there_once
from watching import measured

from frisket.algos.parts.tree import flatten
from frisket.platform.run.folder import RunFolder
from frisket.rng import derive
from frisket.types import State

pytestmark = [pytest.mark.process, pytest.mark.slow]

KILLS = {"local": 75, "ray": 25}
OPTIONS = {"local": ["--local"], "ray": ["--workers", "2"]}
PROCESSES = {
    "worker": "ray::RayTrainWorker",
    "controller": "ray::TrainController",
    "raylet": "raylet",
    "GCS": "gcs_server",
}
"""How the name of each process of Ray's begins that is killed beside the driver."""

FATAL = ("controller", "raylet", "GCS")
"""Whose death is the end of the driver as well, in order. A worker is replaced."""

_RAYS = re.compile(r"/tmp/frisket-ray-[^/\0]+")
_DYING_SECONDS = 150.0
"""Ray's agents take a minute to believe that their node is gone."""


class Session:
    """A process of the command line, and all that it starts. Attributes: driver: the process; said: its stderr;
    folders: the temporary ones of its private Ray, as far as they were seen."""

    def __init__(self, place: Path, name: str, environment: dict[str, str], number: int, *arguments: str) -> None:
        self.folders = set[str]()
        self.mark, self.said = f"kills-{os.getpid()}-{number}", place / f"{number}.err"
        store = {"MLFLOW_TRACKING_URI": f"sqlite:///{place}/{name}.db", "TMPDIR": str(place / "temporaries")}
        with self.said.open("w") as said:
            self.driver = subprocess.Popen(
                [sys.executable, "-m", "frisket", *arguments, "--runs-dir", str(place / "runs")],
                cwd=place, env=environment | store | {MARK: self.mark}, stdout=subprocess.DEVNULL, stderr=said,
            )  # fmt: skip

    @property
    def over(self) -> bool:
        """Whether the driver has ended."""
        return self.driver.poll() is not None

    def there(self) -> dict[str, int]:
        """Places and the oldest process at each, now."""
        found = {} if self.over else {"driver": self.driver.pid}
        for pid in sorted(marked(self.mark)):
            name = Path((words := command(pid)).partition("\0")[0]).name
            self.folders |= set(_RAYS.findall(words))
            for place, begins in PROCESSES.items():
                if name.startswith(begins):
                    found.setdefault(place, pid)
        return found


class Work:
    """Runs of one kind, each under a name and started by the same words until it is done."""

    def __init__(self, kind: str, place: Path, environment: dict[str, str], spec: str) -> None:
        self.kind, self.place, self.environment, self.spec = kind, place, environment, spec
        self.sessions: list[Session] = []
        (place / "temporaries").mkdir(parents=True)

    def begin(self, name: str) -> Session:
        """Start the run ``name``, or go on with it."""
        words = ["run", self.spec, "stream.steps=120", "--data", "embedded", "--run-id", name, *OPTIONS[self.kind]]
        return self._session(name, *words)

    def send(self, name: str) -> None:
        """Send the finished run ``name`` to MLflow, if that is not done."""
        if self.kind == "local":
            session = self._session(name, "sync", name)
            assert session.driver.wait(PATIENCE) == 0, session.said.read_text()

    def folder(self, name: str) -> RunFolder:
        return RunFolder.open(self.place / "runs" / name)

    def lives(self, name: str) -> dict[str, float]:
        """Do the run ``name`` undisturbed. Seconds that each place has lived."""
        session, first, last = self.begin(name), dict[str, float](), dict[str, float]()
        while not session.over:
            for one in session.there():
                last[one] = time.monotonic()
                first.setdefault(one, last[one])
            time.sleep(0.5)
        assert session.driver.returncode == 0, session.said.read_text()
        return {one: last[one] - first[one] for one in first}

    def _session(self, name: str, *arguments: str) -> Session:
        number = len(self.sessions)
        self.sessions.append(Session(self.place, name, self.environment, number, *arguments))
        return self.sessions[-1]


def blow(session: Session, place: str, share: float, lives: dict[str, float]) -> bool:
    """Kill whoever is at ``place`` when ``share`` of its life there is over; False if the driver ended before, which
    makes the life that is expected shorter."""
    wait_for(lambda: session.over or place in session.there(), PATIENCE, pause=0.1)
    if session.over:  # what is left of the run may need no Ray
        return False
    since = time.monotonic()
    while not session.over and time.monotonic() - since < share * lives[place]:
        time.sleep(0.02)
    pid = session.there().get(place)
    if pid is None:
        lives[place] = min(lives[place], time.monotonic() - since)
        return False
    os.kill(pid, signal.SIGKILL)
    return True


def require_hint(session: Session, name: str) -> None:
    """A driver that ends early by itself says in the end, in words, how to go on. The one exception is Ray's: where its
    raylet dies while the driver registers there, Ray ends the driver's process on the spot, after a line of its own,
    which is one of two by how far it came."""
    said = session.said.read_text()
    assert session.driver.returncode == 1, said
    hint = rf"go on with: frisket run --resume \S*{name}"
    rays = r"Failed to (register worker to Raylet|get the system config from raylet).*\n\Z"
    assert re.search(f"{hint}|{rays}", said), said
    assert "Traceback" not in said, said


def content(folder: RunFolder) -> dict[str, object]:
    """What must be equal of a run, to the bit: what it measured, and the final states, whose files have no fixed order
    of metadata."""
    return {"measured": measured(folder), **{files.key: digest(files.state) for files in folder.replicas()}}


def digest(state: State) -> str:
    """Of every tensor's name, type, shape and bytes."""
    found = hashlib.sha256()
    for name, value in sorted(flatten(state).items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def names(folder: RunFolder) -> set[str]:
    """The files of a run, apart from what Ray Train keeps for itself."""
    paths = (path.relative_to(folder.path) for path in folder.path.rglob("*") if path.is_file())
    return {str(path) for path in paths if path.parts[0] != "ray"}


def disturb(work: Work, kills: int, dice: random.Random, lives: dict[str, float]) -> tuple[list[str], Counter[str]]:
    """Do runs, killing ``kills`` processes. The runs' names, and how many died where."""
    died, done = Counter[str](), list[str]()
    while died.total() < kills:
        done.append(name := f"disturbed{len(done)}")
        session = work.begin(name)
        while True:
            if died.total() < kills:
                place = dice.choice(sorted(lives))
                share = dice.random()
                if not session.over and blow(session, place, share, lives):
                    died[place] += 1
                    print(f"{session.mark}: {name}, {place} at {share:.0%} of {lives[place]:.1f} s", flush=True)
                    if place == "worker":
                        continue
                    if place == "driver":
                        session.driver.wait(PATIENCE)
                        session = work.begin(name)
                        continue
            session.driver.wait(PATIENCE)
            if session.driver.returncode == 0:
                break
            require_hint(session, name)
            session = work.begin(name)
        work.send(name)
    return done, died


@pytest.mark.parametrize("kind", ["local", "ray"])
def test_a_hundred_kills(kind: str, tmp_path: Path, environment: dict[str, str], tiny_spec: str) -> None:
    """Places and moments are drawn, over as long as each place lives undisturbed; a run that meets no more kills comes
    to its end, and the next one begins."""
    work = Work(kind, tmp_path / kind, environment, tiny_spec)
    lives = work.lives("undisturbed")
    work.send("undisturbed")
    undisturbed = work.folder("undisturbed")
    expected = content(undisturbed)
    done, died = disturb(work, KILLS[kind], random.Random(derive(0, "kills", kind)), lives)
    print(dict(died), f"in {len(done)} runs and {len(work.sessions)} sessions", flush=True)
    assert died.total() == KILLS[kind]
    assert set(died) == set(lives)
    for name in done:
        folder = work.folder(name)
        assert content(folder) == expected
        assert names(folder) == names(undisturbed)
        assert_all_there_once(folder)
    mark = f"kills-{os.getpid()}"
    wait_for(lambda: not marked(mark), _DYING_SECONDS, pause=0.5)
    assert list((work.place / "temporaries").iterdir()) == []
    rays = {folder for session in work.sessions for folder in session.folders}
    assert bool(rays) == (kind == "ray")
    assert [folder for folder in rays if Path(folder).exists()] == []
