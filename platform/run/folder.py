"""A run on disk: the manifest, and for every replica its journal, checkpoint and result. The source of truth.

::

    RUN/run.json                              written once, sealed: specification, data, versions
    RUN/uses/NAME.py                          once: the user's own modules, as text
    RUN/replicas/KEY/journal.jsonl            `frisket.platform.run.journal`
    RUN/replicas/KEY/committed.json           how far the last checkpoint is: cursor, journal bytes, seconds
    RUN/replicas/KEY/final.safetensors        the learner's State once the replica is done
    RUN/packs/KEY.safetensors                 State and scores of the pack that begins with KEY, replaced atomically
    RUN/packs/KEY.before.safetensors          the checkpoint before that one, taken where the newest is damaged
    RUN/packs/KEY.blocks/                     large tensors of both, such as a replay memory (`frisket.blocks`)
    RUN/replicas/KEY/progress.json            about once a second, for the progress line
    RUN/replicas/KEY/result.json              once, when the replica is done, or was stopped early for good
    RUN/replicas/KEY/masks.safetensors        final masks, where the method has masks
    RUN/replicas/KEY/domains.safetensors      a mask for each domain, where the method decides what adapts to a task
    RUN/figures/  RUN/film/  RUN/summary.json  RUN/upload.json

Everything of it that is read again carries its digest (`frisket.files`, `frisket.algos.state_file`).
"""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import frisket
from frisket.algos.program import compiler
from frisket.errors import FileError, RunError
from frisket.files import write_sealed, write_text
from frisket.folders import checkout
from frisket.platform.run.kept import Kept, choose, folders
from frisket.platform.run.replicas import PackFolder, ReplicaFolder
from frisket.platform.specs.experiment import Experiment, Pack, Replica, from_dict
from frisket.platform.specs.uses import Use


class RunFolder(Kept):
    """One run under ``path``; see the module's text for its files."""

    MANIFEST = "run.json"

    @classmethod
    def create(
        cls, parent: Path, experiment: Experiment, *, data_mode: str, data: dict[str, Any], register: bool,
        tracking: dict[str, str], run_id: str | None = None,
    ) -> RunFolder:  # fmt: skip
        """Make the folder of a new run.

        Args:
            parent: where runs are kept.
            experiment: what is run.
            data_mode: ``real`` or ``embedded``, already resolved.
            data: provenance of every domain's data set.
            register: register a model version at the end.
            tracking: ``{"uri", "experiment"}`` of MLflow.
            run_id: the run's name; None for one that is new and says what and when.
        """
        now = datetime.datetime.now(datetime.timezone.utc)
        new = f"{experiment.name.replace('/', '-')}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        run_id = new if run_id is None else run_id
        folder = cls(parent.absolute() / run_id)
        folder.experiment = experiment  # which is what the manifest will say: read once, not again
        manifest = {
            "run_id": run_id,
            "spec": experiment.name,
            "experiment": experiment.as_dict(),
            "headline": experiment.metric,
            "replicas": len(experiment.replicas()),
            "data_mode": data_mode,
            "data": data,
            "frisket": frisket.__version__,
            "git": git_revision(),
            "compiler": compiler() is not None,
            "created": now.isoformat(timespec="seconds"),
            "register": register,
            "tracking": tracking,
        }
        try:
            for replica in experiment.replicas():
                # A given name may be that of a run whose beginning was cut short: its manifest, written last, is not
                # there.
                (folder.path / "replicas" / replica.key).mkdir(parents=True, exist_ok=run_id != new)
            for use in experiment.uses:
                if use.text is not None:
                    folder.uses.mkdir(exist_ok=True)
                    write_text(folder.uses / use.name, use.text)
            write_sealed(folder.path / cls.MANIFEST, manifest)
        except OSError:
            shutil.rmtree(folder.path, ignore_errors=True)  # nothing of a run is in it
            raise
        vars(folder)["experiment"] = experiment  # with what was handed over as objects, which no file can give back
        return folder

    @property
    def learned_from(self) -> str:
        """What it learns from, in words: ``real data``, ``embedded data``, or ``no data sets``, as robots do."""
        return f"{self.manifest['data_mode']} data" if self.manifest["data"] else "no data sets"

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run in ``path``. Raises `RunError` where there is none, or its manifest is not as it was written."""
        folder = cls(path.absolute())
        if os.path.lexists(path / cls.MANIFEST) and not (path / cls.MANIFEST).is_file():
            raise RunError("run", str(path), "its run.json is no file")
        try:
            _ = folder.manifest
        except OSError as error:
            raise RunError("run", str(path), "not a run folder (it has no readable run.json)") from error
        except FileError as error:
            way = "restore it as it was; a run with other settings is a run of its own: start one"
            raise RunError("run", str(path), f"its run.json {error.fix}; {way}") from error
        return folder

    @classmethod
    def find(cls, run: str, parent: Path) -> RunFolder:
        """A run by path, by id or unique beginning of an id under ``parent``, or ``last``."""
        for path in (Path(run), parent / run):  # one that is asked for by its whole name is refused, not passed over
            if os.path.lexists(path / cls.MANIFEST):
                return cls.open(path)
        return choose(run, cls.all(parent), f"there are no runs in {parent}")

    @classmethod
    def all(cls, parent: Path) -> list[RunFolder]:
        """All runs under ``parent`` that can be read, by id."""
        return [cls(path.absolute()) for path in folders(parent, cls.MANIFEST)]

    @cached_property
    def experiment(self) -> Experiment:
        """The run's specification, with the modules it uses as they were when the run began.

        Raises:
            SpecError: one of them has changed.
        """
        return from_dict(self.manifest["experiment"], folder=self.uses)

    def pass_uses(self, passed: Sequence[Use]) -> None:
        """Read the specification with ``passed``, which no file of the run can give back; nothing to do without any."""
        if passed:
            vars(self)["experiment"] = from_dict(self.manifest["experiment"], folder=self.uses, passed=passed)

    @property
    def uses(self) -> Path:
        """Where the texts of the files lie that the specification uses."""
        return self.path / "uses"

    @cached_property
    def packs(self) -> list[Pack]:
        """The experiment's packs."""
        return self.experiment.packs()

    def replica(self, replica: Replica | str) -> ReplicaFolder:
        """The files of one replica."""
        key = replica if isinstance(replica, str) else replica.key
        return ReplicaFolder(self.path / "replicas" / key, self.run_id)

    def by_variant(self) -> dict[str, list[ReplicaFolder]]:
        """The replicas of every variant; a plain experiment's only variant goes by its method's name."""
        groups: dict[str, list[ReplicaFolder]] = {}
        for replica in self.experiment.replicas():
            groups.setdefault(replica.variant or self.experiment.learner.kind, []).append(self.replica(replica))
        return groups

    def pack(self, pack: Pack) -> PackFolder:
        """The files of one of the experiment's packs."""
        return PackFolder(self.path, [self.replica(r) for r in pack])

    def replicas(self) -> list[ReplicaFolder]:
        """The files of all replicas, in the experiment's order."""
        return [self.replica(r) for r in self.experiment.replicas()]

    def results(self) -> list[dict[str, Any]]:
        """Results of the replicas that have run to their end, in the experiment's order."""
        return [result for r in self.replicas() if (result := r.result) is not None and "stopped" not in result]

    def require_whole(self) -> None:
        """Raise `RunError` unless the run can go on from where it is, and all of what is done is as it was written. A
        pack that somebody works on is left to them."""
        for one in self.packs:
            pack = self.pack(one)
            if pack.done:
                for files in pack.members:
                    files.require_whole()
                pack.clear()
                continue
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(pack.lock())
                except RunError:
                    continue
                pack.load()

    @property
    def verb(self) -> str:
        """The command that made the run, and goes on with it."""
        return "run" if self.experiment.tune is None else "tune"

    @property
    def done(self) -> bool:
        """Whether nothing of the run is left to do."""
        return all(r.result is not None for r in self.replicas())


def git_revision() -> str | None:
    """The checkout's commit, with ``+`` when it has uncommitted changes; None outside a checkout."""
    root = checkout()
    if root is None:
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
