"""Measuring on the machine that this process is on: in a process of its own, and nothing is left of it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from frisket.errors import FrisketError, cut_short, rebuilt
from frisket.files import find_json, scratch
from frisket.folders import importable
from frisket.platform.planning.figures import Figures
from frisket.platform.planning.process import FIGURES, MISTAKE, ask
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.experiment import Experiment
from frisket.types import DataMode

SECONDS = 14.0
"""For the positions that are walked along, of all kinds of packs together; judging, ends of tasks and starts come to
it, so that most plans take half a minute."""
_LONGEST_WORD = 2000


def measured_here(
    experiment: Experiment, *, data: DataMode, data_dir: str | None, overrides: Sequence[str],
    seconds: float = SECONDS, processor: bool = False,
) -> Figures:  # fmt: skip
    """The figures of ``experiment`` on this machine.

    Args:
        data, data_dir: as `frisket.run` says.
        overrides: what was laid over the specification.
        seconds: as `SECONDS`.
        processor: measure processor time in place of time: on a busy machine, of what takes one thread.

    Raises:
        UserError: the data, the device, or a field that does not fit them.
        FrisketError: the process has failed.
    """
    with scratch("plan") as place:
        folder = RunFolder.create(
            place, experiment, data_mode=data, data={}, register=False, tracking={"uri": "", "experiment": ""},
            run_id="plan",
        )  # fmt: skip
        ask(folder, seconds=seconds, data_dir=data_dir, overrides=overrides, processor=processor)
        command = [sys.executable, "-m", "frisket.platform.planning.process", str(folder.path)]
        waits, held = os.pipe()  # the process ends when nobody holds the other end, however this one has ended
        with open(waits, "rb") as line, open(held, "wb"):
            done = subprocess.run(
                command, env={**os.environ, **importable()}, stdin=line, stderr=subprocess.PIPE, text=True,
                errors="replace",
            )  # fmt: skip
        said, mistake = find_json(folder.path / FIGURES), find_json(folder.path / MISTAKE)
        if mistake is not None:
            raise rebuilt(**mistake)
        if said is None:
            raise FrisketError(_failed(done.returncode, done.stderr))
        figures = Figures.from_dict(said)
        if processor:
            return figures
        ending = time.time() - (folder.path / FIGURES).stat().st_mtime  # a process that holds much takes a while to end
        return dataclasses.replace(figures, end=figures.end + max(0.0, ending))


def _failed(code: int, said: str) -> str:
    if code == -9:
        return "the plan's process was killed (signal 9): often it is too little memory for the first steps already"
    return f"the plan's process failed (exit code {code}): {cut_short(said[-_LONGEST_WORD:], _LONGEST_WORD)}"
