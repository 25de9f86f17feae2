"""A reproduction on disk: which cells of which published table, at which scale, and the run of every cell begun.

::

    REPRODUCTION/reproduction.json     what was asked and which run answers to which cell; replaced atomically
    REPRODUCTION/PAPER-NAME.md .json .png    the report, unless it goes elsewhere
    REPRODUCTION/sent.json             once it is in MLflow
    RUN ...                            the cells' runs, ordinary run folders, beside it
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import secrets
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import frisket
from frisket.errors import FileError, RunError
from frisket.files import lock, write_sealed
from frisket.platform.run.folder import RunFolder, git_revision
from frisket.platform.run.kept import Kept, choose, folders
from frisket.platform.tables.table import PlannedCell, Table, load_table


class Reproduction(Kept):
    """The reproduction under ``path``; see the module's text for its files.

    Attributes:
        manifest: kept up to date by `assign` and `judged`.
        cells: its experiments, in the table's order.

    Raises:
        RunError: there is none.
    """

    MANIFEST = "reproduction.json"

    def __init__(self, path: Path) -> None:
        super().__init__(path.absolute())
        try:
            _ = self.manifest
        except OSError as error:
            fix = f"not a reproduction's folder (it has no readable {self.MANIFEST})"
            raise RunError("reproduction", str(path), fix) from error
        except FileError as error:
            fix = f"its {self.MANIFEST} {error.fix}; restore it, or reproduce again: finished runs are taken again"
            raise RunError("reproduction", str(path), fix) from error
        cells = [row["cell"] for row in self.manifest["cells"]]
        self.cells = [
            PlannedCell(**{**cell, **{name: tuple(cell.get(name, ())) for name in ("overrides", "evaluate")}})
            for cell in cells
        ]

    @classmethod
    def create(
        cls, parent: Path, table: Table, cells: Sequence[PlannedCell], *, scale: str, data: str, register: bool,
        reuse: bool, out: Path | None, tracking: dict[str, str],
    ) -> Reproduction:  # fmt: skip
        """Make the folder of a new reproduction, with no cell begun.

        Args:
            parent: where runs are kept.
            table: what is reproduced.
            cells: from `frisket.platform.tables.table.plan`.
            scale: the scale they were planned at.
            data: ``real``, ``embedded`` or ``auto``, as asked.
            register: register a model version of every cell.
            reuse: take finished runs of the same work instead of running them again.
            out: where the report goes; None for this folder.
            tracking: where it is tracked, ``{"uri", "experiment"}``.
        """
        now = datetime.datetime.now(datetime.timezone.utc)
        name = table.title_name
        run_id = f"reproduce-{name.replace('/', '-')}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        path = parent.absolute() / run_id
        path.mkdir(parents=True)
        manifest = {
            "run_id": run_id,
            "table": name,
            "scale": scale,
            "data": data,
            "register": register,
            "reuse": reuse,
            "out": str(path if out is None else out.absolute()),
            "frisket": frisket.__version__,
            "git": git_revision(),
            "created": now.isoformat(timespec="seconds"),
            "tracking": tracking,
            "cells": [{"cell": dataclasses.asdict(cell), "run": None, "reused": False} for cell in cells],
        }
        write_sealed(path / cls.MANIFEST, manifest)
        return cls(path)

    @classmethod
    def find(cls, run: str, parent: Path) -> Reproduction:
        """A reproduction by path, by id or unique beginning of an id under ``parent``, or ``last``."""
        for path in (Path(run), parent / run):  # one that is asked for by its whole name is refused, not passed over
            if (path / cls.MANIFEST).is_file():
                return cls(path)
        return choose(run, cls.all(parent), f"there are no reproductions in {parent}")

    @classmethod
    def all(cls, parent: Path) -> list[Reproduction]:
        """All reproductions under ``parent`` that can be read, by id."""
        return [cls(path) for path in folders(parent, cls.MANIFEST)]

    @cached_property
    def table(self) -> Table:
        """The table that is reproduced."""
        return load_table(self.manifest["table"])

    @property
    def out(self) -> Path:
        """Where the report goes."""
        return Path(self.manifest["out"])

    def run_of(self, index: int) -> RunFolder | None:
        """The run of cell ``index``, None while it has not begun.

        Raises:
            RunError: the run's folder is gone.
        """
        name = self.manifest["cells"][index]["run"]
        return None if name is None else RunFolder.open(self.path.parent / name)

    def results_of(self, index: int) -> list[dict[str, Any]]:
        """The finished replicas of cell ``index``; empty while it has not begun. Where its models are judged on another
        stream their metrics are those found there, and they are here once that is done."""
        run, variant = self.run_of(index), self.cells[index].variant
        results = [] if run is None else run.results()
        results = [result for result in results if variant in (None, result["variant"])]
        if not self.cells[index].evaluate:
            return results
        found = self.evaluation(index)
        rows = [] if found is None else found["results"]
        metrics = {
            (row["seed"], row["variant"]): {"accuracy": row["accuracy"], "accuracy/interval": row["interval"]}
            for row in rows
        }
        keys = [(result["seed"], result["variant"]) for result in results]
        pairs = zip(keys, results, strict=True)
        return [{**result, "metrics": metrics[key]} for key, result in pairs if key in metrics]

    def evaluation(self, index: int) -> dict[str, Any] | None:
        """What `judged` has noted of cell ``index``; None where nothing is, or the run's own numbers are shown."""
        return self.manifest["cells"][index].get("evaluation") if self.cells[index].evaluate else None

    def judged(self, index: int, found: Mapping[str, Any]) -> None:
        """Note down, durably, what the models of cell ``index`` answered: ``results`` and ``data`` of
        `frisket.evaluate`."""
        self.manifest["cells"][index]["evaluation"] = {name: found[name] for name in ("results", "data")}
        write_sealed(self.path / self.MANIFEST, self.manifest)

    def finished(self, index: int) -> bool:
        """Whether cell ``index`` has its numbers."""
        run = self.run_of(index)
        judged = not self.cells[index].evaluate or self.evaluation(index) is not None
        return run is not None and run.done and judged

    def sets_of(self, index: int) -> dict[str, Any]:
        """Provenance of the data that the numbers of cell ``index`` are of, by data set; empty while it has not
        begun."""
        run, found = self.run_of(index), self.evaluation(index)
        trained = {} if run is None else run.manifest["data"]
        return trained if found is None else {**trained, **found["data"]["sets"]}

    def reused(self, index: int) -> bool:
        """Whether the run of cell ``index`` was there before."""
        return self.manifest["cells"][index]["reused"]

    def assign(self, index: int, run: RunFolder, *, reused: bool) -> None:
        """Note down, durably, that ``run`` is the run of cell ``index``."""
        self.manifest["cells"][index] |= {"run": run.path.name, "reused": reused}
        write_sealed(self.path / self.MANIFEST, self.manifest)

    @property
    def command(self) -> str:
        """The command line that asks for the same."""
        words = ["frisket", "reproduce", self.manifest["table"]]
        for option, asked, all_labels in (
            ("--rows", {cell.row for cell in self.cells}, list(self.table.rows)),
            ("--columns", {cell.column for cell in self.cells}, list(self.table.columns)),
        ):
            chosen = [label for label in all_labels if label in asked]
            if chosen != all_labels:
                labels = ",".join(chosen)
                words += [option, f'"{labels}"' if " " in labels else labels]
        words += ["--scale", self.manifest["scale"], "--data", self.manifest["data"]]
        seeds = sorted({cell.seeds for cell in self.cells})
        if len(seeds) == 1:
            words += ["--seeds", str(seeds[0])]
        return " ".join(words)

    @property
    def done(self) -> bool:
        """Whether every cell has its numbers."""
        return all(self.finished(index) for index in range(len(self.cells)))

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold the reproduction for this process.

        Raises:
            RunError: another live process works on it.
        """
        busy = RunError("reproduction", self.run_id, "is being worked on by another process; wait or end it")
        return lock(self.path / ".lock", busy=busy)
