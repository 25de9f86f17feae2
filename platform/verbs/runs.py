"""``frisket runs`` and `frisket.runs`: what lies in the runs folder. Read from its files alone, which is quick."""

from __future__ import annotations

import datetime
import fnmatch
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from frisket.errors import RunError, SpecError
from frisket.files import held, read_sealed
from frisket.platform.run.kept import default_runs_folder
from frisket.platform.run.result import read_result
from frisket.platform.verbs.finished import STATES, StateName

_MANIFEST = "run.json"
_UNITS = {"min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_KNOWN = ("spec", "data", "kind", "finished", "replicas", "seeds", "metric", "mean", "std", "n", "seconds", "created")
"""What is said of a run beside its name, path and state; None where it is not known."""


def runs(
    *,
    spec: str | None = None,
    state: StateName | None = None,
    data: Literal["real", "embedded"] | None = None,
    since: str | None = None,
    runs_dir: str | Path | None = None,
) -> list[dict[str, Any]]:
    """The runs in a folder, newest first, those that cannot be read last; `frisket.platform.api.runs` says more.

    Raises:
        UserError: no such folder or state, or ``since`` says no time.
    """
    parent = default_runs_folder() if runs_dir is None else Path(runs_dir)
    if runs_dir is not None and not parent.is_dir():
        raise RunError("runs_dir", str(parent), "no such folder")
    if state not in (None, *STATES):
        raise SpecError("state", state, f"must be one of {', '.join(STATES)}")
    earliest = None if since is None else _time(since)
    found = [_look(path) for path in sorted(parent.glob("*")) if _is_run(path)]
    wanted = [
        run
        for run in found
        if (state is None or run["state"] == state)
        and (spec is None or fnmatch.fnmatchcase(run["spec"] or "", spec))
        and (data is None or run["data"] == data)
        and (earliest is None or (run["created"] is not None and _moment(run["created"]) >= earliest))
    ]
    return sorted(wanted, key=lambda run: run["created"] or "", reverse=True)


def run_names(runs_dir: Path | None = None) -> list[str]:
    """Names of the folders of runs, newest first."""
    parent = default_runs_folder() if runs_dir is None else runs_dir
    files = sorted(parent.glob(f"*/{_MANIFEST}"), key=lambda file: file.stat().st_mtime, reverse=True)
    return [file.parent.name for file in files]


def _is_run(path: Path) -> bool:
    """Whether ``path`` is the folder of a run, though it be a damaged one."""
    return (path / _MANIFEST).exists() or (path / "replicas").is_dir()


def _look(path: Path) -> dict[str, Any]:
    try:
        return _read(path)
    except FileNotFoundError as error:
        problem = f"{Path(error.filename or path).name} is missing"
    except (OSError, RunError, ValueError) as error:
        problem = f"{error}"
    except (KeyError, TypeError, AttributeError) as error:
        problem = f"a file in it does not say what it should ({type(error).__name__}: {error})"
    about: dict[str, Any] = {"run": path.name, "path": str(path.absolute()), "state": "damaged", "problem": problem}
    return about | dict.fromkeys(_KNOWN)


def _read(path: Path) -> dict[str, Any]:
    """What the files of the run in ``path`` say. Raises whatever a damaged one provokes."""
    manifest = read_sealed(path / _MANIFEST)
    experiment, search = manifest["experiment"], manifest["experiment"].get("tune")
    _moment(manifest["created"])
    folders = sorted((path / "replicas").iterdir())  # made, one per replica, before the manifest is
    found = {folder: read_result(folder, manifest["run_id"]) for folder in folders}
    results = [result for result in found.values() if result is not None]
    count = max(manifest.get("replicas", 0), len(folders))  # some may be lost; runs before it was noted down say none
    if len(results) == count:
        state = "done"
    else:
        state = "running" if any(held(folder / ".lock") for folder, one in found.items() if one is None) else "stopped"
    return {
        "run": manifest["run_id"],
        "path": str(path.absolute()),
        "state": state,
        "problem": None,
        "spec": manifest["spec"],
        "data": manifest["data_mode"],
        "kind": "run" if search is None else "search",
        "finished": len(results),
        "replicas": count,
        "seeds": experiment["seeds"],
        **_headline(path, manifest, done=state == "done"),
        "seconds": sum(result["seconds"] for result in results),
        "created": manifest["created"],
    }


def _headline(path: Path, manifest: Mapping[str, Any], *, done: bool) -> dict[str, Any]:
    """What the run is judged by: of a search its best point's. Without numbers until the run is summed up."""
    metric = manifest.get("headline")  # runs before it was noted down have it first
    file = path / "summary.json"
    said = read_sealed(file) if done and file.exists() else {"run": manifest["run_id"]}
    if said.get("run") != manifest["run_id"]:
        raise RunError("summary", str(file), f"is of run {said.get('run')}; remove it and resume the run")
    metrics = said.get("summary", {})
    metric = next(iter(metrics), None) if metric is None else metric
    number = metrics.get(metric) or {}
    return {"metric": metric, **{part: number.get(part) for part in ("mean", "std", "n")}}


def _moment(text: str) -> datetime.datetime:
    """A manifest's time."""
    moment = datetime.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.astimezone()


def _time(since: str) -> datetime.datetime:
    """``2026-01-31``, ``2026-01-31T12:00`` (this machine's time), or so long ago: ``30min``, ``12h``, ``7d``."""
    ago = re.fullmatch(r"(\d+(?:\.\d+)?) *(min|h|d|w)", since.strip())
    try:
        if ago is None:
            return _moment(since.strip())
        seconds = float(ago[1]) * _UNITS[ago[2]]
        return datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        raise SpecError("since", since, "must be a date (2026-01-31), or how long ago: 30min, 12h, 7d, 2w") from None
