"""What Ray Tune runs in its workers: a pack to its end (`PackTrial`), or a point in a race, rung by rung (`RungTrial`).

Class trainables whose actors are used again: the next trial starts in a tenth of a second, a fresh actor in two. Their
configuration is ``{"run", "data_dir", "service", "pack": index of `RunFolder.packs`}``, for a race also ``rungs``: the
steps at which points are compared. Nothing is kept in a trial: the run folder says how far its replicas are.
"""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from ray.tune import Stopper, Trainable

from frisket.platform.executors import Stop
from frisket.platform.executors.supervision import StopFile, attempt
from frisket.platform.run.folder import ReplicaFolder, RunFolder
from frisket.platform.run.journal import read_journal
from frisket.platform.specs.experiment import Pack

STEP, SCORE = "step", "score"
_GRACE_SECONDS = 15.0
"""How long running trials may take to checkpoint before those that wait are given up, and they with them."""


class PackTrial(Trainable):
    """A pack, from where it is to its end."""

    def setup(self, config: dict[str, Any]) -> None:
        self.folder = _opened(Path(config["run"]))
        self.pack: Pack = self.folder.packs[config["pack"]]
        self.data_dir: str | None = config["data_dir"]
        self.service: str | None = config["service"]
        self.stop_file = StopFile(self.folder)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        self._attempt(self.stop_file)
        return {"done": True}

    def _attempt(self, stop: Stop) -> bool:
        return attempt(self.folder, self.pack, self.data_dir, stop, self.service)


@lru_cache(maxsize=1)
def _opened(path: Path) -> RunFolder:
    """The run in ``path``, read once for all trials that an actor is used for: a search is as large as its points."""
    return RunFolder.open(path)


class RungTrial(PackTrial):
    """A pack of one, reporting its score at every rung; whoever listens may decide that it goes no further."""

    def setup(self, config: dict[str, Any]) -> None:
        super().setup(config)
        (replica,) = self.pack
        self.files = self.folder.replica(replica)
        self.rungs: list[int] = list(config["rungs"])

    def step(self) -> dict[str, Any]:
        metric = self.folder.experiment.metric
        while self.rungs:
            rung = self.rungs.pop(0)
            while self.files.result is None and reached(self.files) < rung:
                if not self._advance(rung - reached(self.files)):
                    return {"done": True}
            score = score_at(self.files, rung, metric)
            if score is not None:
                return {STEP: rung, SCORE: score, "done": False}
        if self.files.result is None:
            self._attempt(self.stop_file)
        return {"done": True}

    def _advance(self, steps: int) -> bool:
        """Go on for at most ``steps``; False if everybody was asked to stop, or it failed."""
        asked = 0

        def enough() -> bool:
            nonlocal asked
            asked += 1
            return asked >= steps or self.stop_file()

        return self._attempt(enough) or not self.stop_file.now()


class StopWaiting(Stopper):
    """Ends the experiment some time after everybody was asked to stop: trials that were running have returned by then,
    and those that were not need not be started."""

    def __init__(self, folder: RunFolder) -> None:
        self._asked, self._since = StopFile(folder), None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self._since is None and self._asked():
            self._since = time.monotonic()
        return self._since is not None and time.monotonic() - self._since > _GRACE_SECONDS


def reached(files: ReplicaFolder) -> int:
    """Steps that are in the replica's checkpoint."""
    return 0 if files.committed is None else int(files.committed["cursor"])


def score_at(files: ReplicaFolder, step: int, metric: str) -> float | None:
    """The last value of ``metric`` journalled in the first ``step`` steps; None if there is none yet."""
    score = None
    for line, _ in read_journal(files.journal):
        if line["t"] < step:
            score = line.get("points", {}).get(metric, score)
    return score
