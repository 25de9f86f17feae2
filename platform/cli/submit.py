"""``frisket submit``: an experiment or a search as a job on a Ray cluster, once, however often it is asked for."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path
from typing import Annotated

import typer

from frisket.errors import ClusterError, SpecError
from frisket.platform.cli.run import Data, NoRegister, Overrides, Seeds, Spec


def submit(
    spec: Spec = None,
    overrides: Overrides = None,
    seeds: Seeds = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers the run wants; by default as many as are of use.")
    ] = None,
    data: Data = "auto",
    no_register: NoRegister = False,
    runs_dir: Annotated[
        Path | None, typer.Option(help="Where the cluster keeps runs; by default its own FRISKET_RUNS.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The head's dashboard; by default RAY_API_SERVER_ADDRESS or this machine's."),
    ] = None,
    working_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to send; by default the checkout frisket runs from.")
    ] = None,
    wheel: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Send frisket as this wheel instead of a checkout.")
    ] = None,
    installed: Annotated[
        bool, typer.Option("--installed", help="Send nothing: the cluster has frisket, as its image does.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the job and its run instead of the one made from SPEC.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Leave once it is started; do not follow it.")] = False,
) -> None:
    """Run SPEC as a job on a Ray cluster, and follow it to its end.

    The job's name is made from the specification. Submitted again it is not run twice but followed; stopped or failed
    it is started again and goes on from its checkpoints. Ctrl-C leaves the job running; `ray job stop NAME` stops it
    with a checkpoint. Exit code: the job's own.
    """
    if spec is None:
        raise SpecError("SPEC", None, "is required; `frisket list specs` shows the names")
    from frisket.platform.cluster.head import auth_token, head_address, require_same_ray
    from frisket.platform.cluster.submission import Job, JobServer, name_of_work
    from frisket.platform.specs.experiment import load_spec
    from frisket.platform.verbs.asked import require_seeds_once

    require_seeds_once(seeds, overrides or ())
    experiment = load_spec(spec, overrides or (), seeds=seeds)
    folder = _folder(working_dir, wheel, installed)
    url, token = head_address(address), auth_token()
    require_same_ray(url, token)
    there = _sent(spec, folder, [use.path for use in experiment.uses if use.is_file and use.path is not None])
    called = name or name_of_work(experiment, data=data, register=not no_register)
    arguments = ["run" if experiment.tune is None else "tune", there, *(overrides or ())]
    arguments += ["--data", data, "--run-id", called]
    for option, value in (("--seeds", seeds), ("--workers", workers), ("--runs-dir", runs_dir)):
        arguments += [] if value is None else [option, str(value)]
    arguments += ["--no-register"] if no_register else []

    server = JobServer(url, token)
    job = server.submit(Job(name=called, arguments=tuple(arguments), working_dir=folder, wheel=wheel))
    state = "started" if job.new else "was submitted before, and is not run twice"
    typer.echo(f"job {job.id} on {url}: {state}", err=True)
    if no_wait:
        return
    try:
        code = server.follow(job.id, lambda text: typer.echo(text, nl=False))
    except KeyboardInterrupt:
        typer.echo(
            f"frisket: job {job.id} goes on; the same command follows it, `ray job stop {job.id}` stops it", err=True
        )
        raise
    if code:
        raise typer.Exit(code)


def _folder(working_dir: Path | None, wheel: Path | None, installed: bool) -> Path | None:
    """The folder to send."""
    if installed and (wheel or working_dir):
        raise ClusterError("--installed", True, "sends nothing: leave --wheel and --working-dir out")
    if working_dir is not None:
        return working_dir.absolute()
    if wheel is not None or installed:
        return None
    from frisket.folders import checkout

    root = checkout()
    if root is None:
        fix = "frisket does not run from a checkout here: say --installed, --wheel FILE or --working-dir DIR"
        raise ClusterError("--working-dir", None, fix)
    return root


def _sent(spec: str, folder: Path | None, modules: Sequence[Path]) -> str:
    """SPEC as the job will find it; what is sent is measured, and the files ``modules`` that it uses are in it."""
    from frisket.platform.cluster.package import require_small

    files = set[str]() if folder is None else require_small(folder)
    for module in modules:
        _below(module, "uses", folder, files)
    path = Path(spec)
    return _below(path, "SPEC", folder, files) if path.suffix in (".yaml", ".yml") else spec


def _below(path: Path, field: str, folder: Path | None, files: Set[str]) -> str:
    """Where the job finds the file ``path``.

    Raises:
        ClusterError: it is not sent.
    """
    absolute = path.absolute()
    if folder is None or not absolute.is_relative_to(folder):
        raise ClusterError(field, str(path), "a file must lie in the folder that is sent: name it with --working-dir")
    there = absolute.relative_to(folder).as_posix()
    if there not in files:
        raise ClusterError(field, str(path), "is not sent: a .gitignore or .rayignore leaves it out")
    return there
