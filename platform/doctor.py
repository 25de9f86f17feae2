"""Is this machine fit to run experiments? One check per row, each with what to do about it."""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from frisket.algos import program
from frisket.errors import TrackingError
from frisket.folders import checkout
from frisket.platform.cluster.session import worker_environment
from frisket.platform.run.kept import default_runs_folder
from frisket.platform.tracking.settings import SERVERS, authorization, sqlite_file, tracking_uri
from frisket.platform.tracking.store import require_schema
from frisket.redaction import censored, redacted
from frisket.web import answer

RAY_SECONDS = 120
_MLFLOW_SECONDS = 5
_LITTLE_DISK, _NO_DISK = 5 * 2**30, 2**29
_RAY_PROBE = """
from frisket.platform.cluster.session import ray_session
with ray_session(cpus=1):
    import ray
    print(ray.get(ray.remote(lambda: 42).remote()))
"""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One row. Attributes: what: was looked at; status; found: in words; fix: what to do, empty for ``ok``."""

    what: str
    status: Literal["ok", "warn", "fail"]
    found: str
    fix: str = ""


def _guarded(check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """A check that itself fails is a row too: a broken installation is what the doctor is for."""
    name = check.__name__
    try:
        yield from check()
    except Exception as error:
        text = f"{type(error).__name__}: {censored(str(error))}"
        yield Check(what=name, status="fail", found=text, fix="install frisket again against constraints.txt")


def python() -> Iterator[Check]:
    """The interpreter is one that is supported."""
    version = ".".join(map(str, sys.version_info[:3]))
    good = (3, 10) <= sys.version_info[:2] <= (3, 13)
    yield Check(
        what="python", status="ok" if good else "fail", found=version, fix="" if good else "use Python 3.10 to 3.13"
    )


def packages(tested: Mapping[str, str] | None = None) -> Iterator[Check]:
    """Direct dependencies against what they must be, and against the versions ``tested`` (`pins`)."""
    tested = pins() if tested is None else tested
    for requirement in _requirements():
        name = requirement.name
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(what=name, status="fail", found="not installed", fix=f"pip install '{requirement}'")
            continue
        pin = tested.get(_canonical(name))
        if not requirement.specifier.contains(found, prereleases=True):
            yield Check(
                what=name, status="fail", found=found, fix=f"needs {requirement.specifier}: pip install '{requirement}'"
            )
        elif pin is not None and found.split("+")[0] != pin.split("+")[0]:
            yield Check(
                what=name, status="warn", found=found, fix=f"tested with {pin}: pip install -c constraints.txt {name}"
            )
        else:
            yield Check(what=name, status="ok", found=found)


def compiler() -> Iterator[Check]:
    """There is a C++ compiler for methods that run as compiled programs, and for loops that are faster than torch's."""
    found = program.compiler()
    if found:
        made = len(list(program.program_folder().glob("*.pt2")))
        yield Check(
            what="compiler", status="ok", found=f"{found}; {made} compiled programs in {program.program_folder()}"
        )
    else:
        fix = "methods run uncompiled, at a third of the speed; e.g. apt-get install g++"
        yield Check(what="compiler", status="warn", found="none", fix=fix)


def gpu() -> Iterator[Check]:
    """What torch can compute on."""
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield Check(what="gpu", status="ok", found=names)
    elif Path("/dev/nvidia0").exists():
        fix = "torch cannot use the GPU that is there: install a CUDA build of torch that fits its driver"
        yield Check(what="gpu", status="warn", found=f"unused by torch {torch.__version__}", fix=fix)
    else:
        yield Check(what="gpu", status="ok", found="none; runs use the CPU")


def disk() -> Iterator[Check]:
    """There is room for runs, and for what Ray writes."""
    for what, folder in (
        ("disk for runs", default_runs_folder().absolute()),
        ("disk for Ray", Path(tempfile.gettempdir())),
    ):
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        found = f"{free / 2**30:.1f} GiB free in {folder}"
        if not os.access(folder, os.W_OK):
            yield Check(what=what, status="fail", found=f"{folder} cannot be written", fix="set FRISKET_RUNS or TMPDIR")
        elif free < _LITTLE_DISK:
            fix = "make room, or set FRISKET_RUNS or TMPDIR to another disk"
            yield Check(what=what, status="fail" if free < _NO_DISK else "warn", found=found, fix=fix)
        else:
            yield Check(what=what, status="ok", found=found)


def data() -> Iterator[Check]:
    """Which published data sets are here."""
    from frisket.envs.data import SOURCES, verify

    for name in SOURCES:
        rows = verify([name])
        good = {row.file for row in rows if row.usable}
        wrong = sorted({f"{row.file} {row.status}" for row in rows if row.file not in good})
        if wrong:
            fix = f"frisket data fetch {name}, or set FRISKET_DATA; --data embedded needs none"
            yield Check(what=f"data {name}", status="warn", found=", ".join(wrong), fix=fix)
        else:
            forms = ", ".join(sorted({row.form for row in rows}))
            yield Check(what=f"data {name}", status="ok", found=f"{len(good)} files, hashes good; {forms}")


def mlflow() -> Iterator[Check]:
    """The store that runs would be sent to answers. Nothing is made or changed there."""
    try:
        uri = tracking_uri()
    except TrackingError as error:
        yield Check(what="mlflow", status="fail", found=f"{error.field} {error.value}", fix=error.fix)
        return
    shown, path = redacted(uri), sqlite_file(uri)
    if path is None and not uri.startswith(SERVERS):
        yield Check(what="mlflow", status="warn", found=shown, fix="not a kind of store the doctor can look into")
        return
    try:
        state = _ask_server(uri) if path is None else _open_store(uri, path)
    except TrackingError as error:
        yield Check(what="mlflow", status="warn", found=f"{error.field} {error.value}", fix=error.fix)
    except (OSError, http.client.HTTPException, ValueError, sqlite3.Error) as error:
        fix = "start it, or correct MLFLOW_TRACKING_URI; runs go on without it, and `frisket sync` sends them later"
        yield Check(what="mlflow", status="warn", found=f"{shown}: {censored(str(error))}", fix=fix)
    else:
        yield Check(what="mlflow", status="ok", found=f"{shown}: {state}")


def _ask_server(uri: str) -> str:
    bare, headers = authorization(uri)
    with answer(f"{bare.rstrip('/')}/version", headers, _MLFLOW_SECONDS) as said:
        return f"server {said.read(40).decode(errors='replace')}"


def _open_store(uri: str, path: Path) -> str:
    if not path.exists():
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(f"{path.parent} cannot be written")
        return "will be made by the first run"
    with contextlib.closing(sqlite3.connect(path.as_uri() + "?mode=ro", uri=True, timeout=_MLFLOW_SECONDS)) as store:
        runs = store.execute("select count(*) from runs").fetchone()[0]
    require_schema(uri)
    return f"{runs} runs"


def ray() -> Iterator[Check]:
    """Start Ray and run one task, in a process of its own, so that nothing it does can hang or outlive the doctor."""
    address = os.environ.get("RAY_ADDRESS")
    what = f"ray at {address}" if address else "ray"
    probe = subprocess.Popen(
        [sys.executable, "-c", _RAY_PROBE],
        env=os.environ | worker_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, complaints = probe.communicate(timeout=RAY_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(probe.pid, signal.SIGKILL)
        probe.communicate()
        fix = "see whether another program takes all memory or CPU; `frisket run --local` does without Ray"
        yield Check(what=what, status="fail", found=f"no start in {RAY_SECONDS} s", fix=fix)
        return
    if probe.returncode == 0 and said.strip().endswith("42"):
        yield Check(what=what, status="ok", found="started, ran a task, stopped")
    else:
        last = (complaints.strip().splitlines() or ["no message"])[-1]
        fix = "check RAY_ADDRESS and its token" if address else "`frisket run --local` does without Ray"
        yield Check(what=what, status="fail", found=censored(last), fix=fix)


def _requirements() -> list[Requirement]:
    """Direct dependencies: from the checkout's pyproject.toml when it can be read, else from the installed metadata."""
    try:
        texts = importlib.metadata.requires("frisket") or []
    except importlib.metadata.PackageNotFoundError:
        root = checkout()
        texts = [] if root is None else _declared(root / "pyproject.toml")
    found = [Requirement(text) for text in texts]
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]


def _declared(pyproject: Path) -> list[str]:
    """``project.dependencies``; read by eye, because Python 3.10 has no TOML reader."""
    block = re.search(r"^dependencies = \[(.*?)^\]", pyproject.read_text(encoding="utf-8"), re.M | re.S)
    return re.findall(r'"([^"]+)"', block[1]) if block else []


def pins() -> dict[str, str]:
    """Package to the version the project is tested with; empty for an installation without constraints.txt."""
    root = checkout()
    path = None if root is None else root / "constraints.txt"
    if path is None or not path.is_file():
        return {}
    lines = (line.split(";")[0].split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {_canonical(name): version for name, _, version in (line.partition("==") for line in lines) if version}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (python, packages, compiler, gpu, disk, data, mlflow, ray)


def examine(checks: Sequence[Callable[[], Iterator[Check]]] = CHECKS) -> Iterator[Check]:
    """Every row, as it is found; Ray's takes the longest, about ten seconds."""
    for check in checks:
        yield from _guarded(check)
