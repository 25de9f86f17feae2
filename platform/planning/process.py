"""The process a plan is measured in: what `frisket run --local` does, but along a part of the way.

    python -m frisket.platform.planning.process FOLDER

A process of its own holds what that of a run does, and nothing else, so what it held at most is what a run will. FOLDER
is a run folder that carries the specification, with what is asked (`ask`) beside it; the figures, or the user's
mistake, are left in it as JSON.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from frisket.errors import UserError, as_data
from frisket.files import read_json, write_json
from frisket.heap import within_memory
from frisket.platform.planning.figures import Figures, Kind, kind_of
from frisket.platform.planning.probe import Probe
from frisket.platform.reports.figures import draw_figures
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.summary import write_summary
from frisket.platform.specs.build import choose_device, load_data, mode_of, provenance_of, rehearse
from frisket.platform.specs.experiment import Experiment, Pack
from frisket.platform.specs.uses import blamed

ASKED, FIGURES, MISTAKE = "asked.json", "figures.json", "mistake.json"
"""What the process is told, and what it leaves, one or the other, in its folder."""
MOST_KINDS = 4
"""Kinds of packs that are probed of one experiment, spread evenly over all."""


def probed(experiment: Experiment) -> list[Pack]:
    """A pack of every kind there is; of many kinds some."""
    kinds: dict[Kind, Pack] = {}
    for pack in experiment.packs():
        kinds.setdefault(kind_of(pack), pack)
    packs, count = list(kinds.values()), min(MOST_KINDS, len(kinds))
    return [packs[i * (len(packs) - 1) // max(1, count - 1)] for i in range(count)]


def ask(folder: RunFolder, *, seconds: float, data_dir: str | None, overrides: Sequence[str], processor: bool) -> None:
    """Tell the process that is begun next what to do with ``folder``; the arguments are those of `measure`."""
    asked = {"seconds": seconds, "data_dir": data_dir, "overrides": list(overrides), "processor": processor}
    write_json(folder.path / ASKED, {"begun": time.time(), **asked})


def measure(
    folder: RunFolder, *, begun: float, seconds: float, data_dir: str | None, overrides: Sequence[str], processor: bool
) -> Figures:
    """The figures of the experiment of ``folder``.

    Args:
        folder: carries it, and which data are asked for; what is tried lies under it.
        begun: when this process was begun, in seconds of the clock.
        seconds: for all that is walked along.
        data_dir: first place to look for data.
        overrides: what was laid over the specification.
        processor: measure processor time, not time.

    Raises:
        UserError: the data, the device, or a field that does not fit them.
    """
    clock = time.process_time if processor else time.perf_counter
    whole = folder.experiment
    with within_memory(), blamed(whole.uses, "cannot be built"):
        device = choose_device(whole.device)
        images = load_data(whole, folder.manifest["data_mode"], data_dir)
        mode, provenance = mode_of(images), provenance_of(images)
        rehearse(whole, images, overrides)
        del images
    packs = probed(whole)
    labels = dict.fromkeys(replica.variant for pack in packs for replica in pack)
    small = dataclasses.replace(
        whole, seeds=1 + max(replica.seed for pack in packs for replica in pack),
        variants={label: whole.variants[label] for label in labels if label is not None},
    )  # fmt: skip
    run = RunFolder.create(
        folder.path / "runs", small, data_mode=mode, data=provenance, register=False,
        tracking={"uri": "", "experiment": ""},
    )  # fmt: skip
    started = clock() if processor else time.time() - begun
    found = []
    with within_memory(), blamed(whole.uses, "failed in its plan"):
        for pack in packs:
            found.append(Probe(run, pack, data_dir, seconds / len(packs), clock).measured())
    walked = _most_held()
    ended, pictures = clock(), 0
    if run.done:
        drawn = draw_figures(run)
        write_summary(run)
        pictures = sum(path.stat().st_size for path in (*drawn, run.path / "summary.json", run.path / "run.json"))
    named = ", ".join(dict.fromkeys(one.get("name", domain) for domain, one in provenance.items()))
    return Figures(
        packs=tuple(found), start=started, end=clock() - ended, memory=(walked, _most_held()),
        pictures=pictures, data=(mode, named), device=str(device),
    )  # fmt: skip


def _most_held() -> int:
    """Bytes of memory that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _end_with_the_other() -> None:
    """End once standard input closes: whoever asked is gone."""
    sys.stdin.buffer.read()
    os._exit(1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and leave the figures; 0 also for a mistake of the user's, which is left."""
    (place,) = sys.argv[1:] if arguments is None else arguments
    folder = RunFolder.open(Path(place))
    threading.Thread(target=_end_with_the_other, daemon=True).start()
    try:
        left, said = FIGURES, measure(folder, **read_json(folder.path / ASKED)).as_dict()
    except UserError as error:
        left, said = MISTAKE, as_data(error)
    write_json(folder.path / left, said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
