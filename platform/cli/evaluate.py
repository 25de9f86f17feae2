"""``frisket evaluate``: what a few-shot model answers to episodes of another stream."""

from __future__ import annotations

from typing import Annotated

import typer

from frisket.platform.cli import complete
from frisket.platform.cli.output import CsvFile, JsonFile, require_folders, write
from frisket.platform.cli.run import Data, DataDir, Overrides
from frisket.types import Split


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="models:/NAME/VERSION, a model's folder or that of a finished run.")
    ],
    overrides: Overrides = None,
    stream: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Whose stream of episodes is taken; by default that the model was trained on.",
            autocompletion=complete.specs,
        ),
    ] = None,
    episodes: Annotated[
        int, typer.Option(help="How many are judged, the same for every replica; of several domains, of each.")
    ] = 600,
    split: Annotated[Split, typer.Option(help="Whose classes they are of.")] = "test",
    data: Data = "auto",
    data_dir: DataDir = None,
    uses: Annotated[
        list[str] | None, typer.Option(metavar="MODULE", help="A module of one's own that the model was made with.")
    ] = None,
    log: Annotated[
        bool, typer.Option("--log/--no-log", help="Of a registered model: a run in MLflow, linked to it.")
    ] = True,
    json_file: JsonFile = None,
    csv_file: CsvFile = None,
) -> None:
    """Let a few-shot model adapt to episodes of another stream and answer their queries.

    Overrides of `learner.` are of the model's own method (`learner.inner_steps_test=35`), others of the stream.
    """
    from rich.table import Table

    from frisket.platform.cli.tables import show_table
    from frisket.platform.run.aggregate import spread_text
    from frisket.platform.verbs import evaluate as verb

    require_folders(json_file, csv_file)
    found = verb.evaluate(
        model, stream, overrides or (), episodes=episodes, split=split, data=data, data_dir=data_dir, uses=uses or (),
        log=log,
        watch=lambda done, of: typer.echo(f"replicas {done}/{of}", err=True),
    )  # fmt: skip
    title = (
        f"{found['of']} on {found['domain']}, {found['ways']}-way {found['shots']}-shot, {episodes} {split} episodes"
        + (f", {found['norm']} batch norm" if found["norm"] else "")
    )
    table = Table("variant", "accuracy", "95 % over episodes", "n", title=title)
    for row in found["summary"]:
        spread = spread_text(row["accuracy"], row["std"], row["n"])
        table.add_row(row["variant"] or found["of"], spread, f"± {row['interval']:.3f}", str(row["n"]))
        for domain in found["domains"] if len(found["domains"]) > 1 else ():
            of = f"accuracy/{domain}"
            table.add_row(f"  {domain}", f"{row[of]:.3f}", f"± {row[f'{of}/interval']:.3f}", str(row["n"]))
    show_table(table)
    if logged := found["mlflow"]:
        there = f"run {logged['run_id']} at {logged['tracking_uri']}"
        typer.echo(f"mlflow    {there if logged['run_id'] else 'not logged: ' + logged['reason']}")
    write(json_file, csv_file, found, lambda: found["results"])
