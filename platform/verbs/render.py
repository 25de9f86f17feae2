"""A run of robot tasks whose tasks are drawn in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from frisket.places import require_place
from frisket.platform.reports.film import draw_film, require_film
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.kept import default_runs_folder
from frisket.platform.specs.experiment import load_spec
from frisket.platform.specs.uses import Given, taken
from frisket.platform.verbs.asked import require_switch
from frisket.platform.verbs.finished import FinishedRun
from frisket.platform.verbs.run import carry_out


def runner(render: Any) -> Callable[..., FinishedRun]:
    """What carries a run out, drawn in the end or not."""
    require_switch("render", render)
    return run_and_draw if render else carry_out


def run_and_draw(
    *, spec: str | Mapping[str, Any] | None, overrides: Sequence[str] = (), seeds: int | None = None,
    resume: str | Path | None = None, runs_dir: str | Path | None = None, uses: Sequence[Given] = (), **others: Any,
) -> FinishedRun:  # fmt: skip
    """As `carry_out`, which takes the same, and a strip of pictures of every task in ``film`` of the run's folder.

    Raises:
        UserError: as `carry_out`; or there is nothing to draw, or this machine cannot, said before anything is run.
    """
    runs = require_place("runs_dir", runs_dir)
    if resume is not None and require_place("resume", resume) is not None:
        require_film(RunFolder.find(str(resume), default_runs_folder() if runs is None else runs).experiment)
    elif spec is not None:
        require_film(load_spec(spec, overrides, seeds=seeds, uses=uses))
    done = carry_out(
        spec=spec, overrides=overrides, seeds=seeds, resume=resume, runs_dir=runs_dir, uses=uses, **others
    )  # fmt: skip
    folder = RunFolder.open(done.path)
    folder.pass_uses([use for use in taken(uses) if use.given])
    draw_film(folder)
    return done
