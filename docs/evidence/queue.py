"""The queue's file, docs/results/queue.yaml: what is to be run, the most important first; and how far each entry is.

An entry is a run of its own, of a name that follows from what it does and from the version of frisket. So nothing is to
be kept about it but the runs themselves: what is there is found again by what it is, whoever has stopped it and how.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import frisket
from frisket.errors import FrisketError, SpecError, require
from frisket.files import find_json, held, sha256, write_json
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.progress import Snapshot, take
from frisket.platform.specs.experiment import Experiment, load_spec
from frisket.platform.specs.text import parse
from frisket.platform.specs.typed import typed
from frisket.platform.tables.table import evaluate_command, run_command
from frisket.platform.verbs.reference import measured_against
from frisket.platform.verbs.run import runs_of

ROOT = Path(__file__).resolve().parents[2]
QUEUE = ROOT / "docs" / "results" / "queue.yaml"
PUBLISHED = ROOT / "docs" / "results" / "evidence"
KEPT = PUBLISHED / "runs"
"""Finished runs that are committed: of each its manifest and results, which is enough to know and to report it."""

COMMITS = "commits.json"
"""In a run's folder: the commits that have worked on it, in their order."""
EVALUATIONS = "evaluations"
"""In a run's folder: what its models have answered elsewhere, a file for each `Entry.evaluate`."""

State = Literal["done", "running", "stopped", "skipped", "waiting"]
"""``running``: a process holds it; ``stopped``: it has begun, and goes on; ``skipped``: it failed when it was last
tried, and is tried again when the queue is next started."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the queue.

    Attributes:
        spec: name in tune_configs, or a YAML file.
        seeds: seeds 0 .. seeds - 1. Those that a run of the same work has finished are taken from it.
        overrides: ``key.path=value``.
        data: what it must run on.
        hours: on one core, for all its seeds; an estimate, or measured. None: not known.
        page: title of the page it is reported on, with others; None for its specification's own. What a published table
            has is on that table's page in any case.
        row, column: where it stands there; by default its specification and its overrides.
        evaluate: overrides of the stream on which the finished models are judged, as `frisket evaluate` has them; the
            run is that of the entry without them. Empty: the run's own numbers are shown.
        episodes: how many they are judged on.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    spec: str
    seeds: int
    overrides: tuple[str, ...] = ()
    data: Literal["real", "embedded"] = "real"
    hours: float | None = None
    page: str | None = None
    row: str | None = None
    column: str | None = None
    evaluate: tuple[str, ...] = ()
    episodes: int = 600

    def __post_init__(self) -> None:
        require(self.episodes >= 1, "episodes", self.episodes, "at least 1")
        require(self.seeds >= 1, "seeds", self.seeds, "at least 1")
        require(self.hours is None or self.hours > 0, "hours", self.hours, "above 0")

    @property
    def command(self) -> str:
        """What runs the same without the queue. It names the entry, too."""
        run = run_command(self.spec, self.overrides, self.seeds, self.data)
        return f"{run}; {evaluate_command('RUN', self.evaluate, self.episodes, self.data)}" if self.evaluate else run

    @property
    def judged(self) -> Path:
        """Where in its run's folder it lies how the models are judged."""
        named = json.dumps([self.evaluate, self.episodes])
        return Path(EVALUATIONS) / f"{sha256(named.encode())[:10]}.json"

    @property
    def settings(self) -> list[str]:
        """The overrides it is run with: one core is one thread."""
        return [*self.overrides, "threads=1"]

    def experiment(self) -> Experiment:
        """What is run. Raises `SpecError` where the specification is not here, or does not fit."""
        return load_spec(self.spec, self.settings, seeds=self.seeds)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far an entry is.

    Attributes:
        state: as `State` says.
        run: what does its work, the furthest there is; None before it has begun.
        shown: how far ``run`` is, None before it has begun, or once it is done.
        seconds: of work so far.
        left: seconds still to go, None where nothing is known of it.
        reason: why it was skipped, else empty.
    """

    state: State
    run: RunFolder | None = None
    shown: Snapshot | None = None
    seconds: float = 0.0
    left: float | None = None
    reason: str = ""


def read_queue(path: Path = QUEUE) -> list[Entry]:
    """The entries in ``path``, in their order. Whether a specification can be run is not asked here.

    Raises:
        SpecError: there is no such file, or a line of it is no entry, or two are the same.
    """
    if not path.is_file():
        raise SpecError("queue", str(path), "no such file")
    try:
        said = parse(path.read_text(encoding="utf-8"), str(path), "queue")
    except UnicodeDecodeError as error:
        raise SpecError("queue", str(path), f"is not UTF-8 text (byte {error.start})") from None
    if not isinstance(said, list) or not said:
        raise SpecError("queue", str(path), "must be a list of entries: - {spec: NAME, seeds: N}")
    entries: dict[str, Entry] = {}
    for number, raw in enumerate(said, 1):
        entry: Entry = typed(Entry, raw, f"queue entry {number}")
        if entry.command in entries:
            raise SpecError(f"queue entry {number}", entry.command, "is in the queue already; leave one of them out")
        entries[entry.command] = entry
    return list(entries.values())


def run_name(entry: Entry) -> str:
    """The name of the entry's run: it changes with whatever decides the numbers, and with the version of frisket."""
    experiment = entry.experiment()
    what = [experiment.work(exact=True), entry.data, frisket.__version__]
    return f"{experiment.name.replace('/', '-')}-{sha256(json.dumps(what, sort_keys=True).encode())[:10]}"


def standing(entry: Entry, runs: Path, *, kept: Path = KEPT) -> Standing:
    """How far ``entry`` is, by the runs in ``runs`` and the finished ones in ``kept``. Reads no data."""
    reason = skipped(runs).get(entry.command, "")
    try:
        experiment = entry.experiment()
    except FrisketError as error:
        return Standing(state="skipped" if reason else "waiting", reason=reason or str(error))
    experiment = measured_against(experiment, runs, kept)
    alike = _alike(entry, experiment, (runs, kept))
    same = [run for run in alike if run.experiment.seeds == entry.seeds]
    if finished := [run for run in same if run.done and (not entry.evaluate or (run.path / entry.judged).is_file())]:
        run = max(finished, key=lambda one: one.created)
        return Standing(state="done", run=run, seconds=sum(one["seconds"] for one in run.results()), left=0.0)
    found = [run for run in same if run.run_id == run_name(entry)]
    if not found:
        state: State = "skipped" if reason else "waiting"
        return Standing(state=state, left=_foreseen(entry, experiment, alike), reason=reason)
    run, shown = found[0], take(found[0], 1)
    seconds = sum((one.result or one.progress() or {}).get("seconds", 0.0) for one in run.replicas())
    left = _foreseen(entry, experiment, alike) if shown.seconds_left is None else shown.seconds_left
    state = "running" if is_held(run) else "skipped" if reason else "stopped"
    return Standing(state=state, run=run, shown=shown, seconds=seconds, left=left, reason=reason)


def is_held(run: RunFolder) -> bool:
    """Whether a live process works on ``run``."""
    return any(held(files.path / ".lock") for files in run.replicas())


def skipped(runs: Path) -> dict[str, str]:
    """Why entries failed when they were last tried, by their command."""
    return find_json(runs / "skipped.json") or {}


def note(runs: Path, entry: Entry, reason: str | None) -> None:
    """Keep why ``entry`` has failed; None: it has not."""
    reasons = {command: why for command, why in skipped(runs).items() if command != entry.command}
    if reason is not None:
        reasons[entry.command] = reason
    if reasons != skipped(runs):
        write_json(runs / "skipped.json", reasons)


def _alike(entry: Entry, experiment: Experiment, folders: Iterable[Path]) -> list[RunFolder]:
    """The runs of the entry's work on its kind of data, or on none, with however many seeds."""
    found = (run for folder in folders for run in runs_of(experiment, folder))
    return [run for run in found if run.manifest["data_mode"] == entry.data or not run.manifest["data"]]


def _foreseen(entry: Entry, experiment: Experiment, alike: Sequence[RunFolder]) -> float | None:
    """Seconds that what no run has finished yet will take: as long as what is finished took, else as it is said."""
    finished = {one.key: result for run in alike for one in run.replicas() if (result := one.result) is not None}
    replicas = {replica.key for replica in experiment.replicas()}
    missing = len(replicas - finished.keys())
    if finished:
        return missing * sum(result["seconds"] for result in finished.values()) / len(finished)
    return None if entry.hours is None else 3600 * entry.hours
