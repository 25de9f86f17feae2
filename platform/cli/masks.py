"""``frisket masks``: look at masks, compare them, take them out of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frisket.platform.cli.groups import group, verb

if TYPE_CHECKING:
    from frisket.algos.masks.mask_set import MaskSet
    from frisket.algos.masks.store import MaskStore

MOST_OVERLAPS = 12  # tasks whose overlaps a terminal has room for

app = group("Show, compare and export the masks of models.")

_Source = Annotated[
    str,
    typer.Argument(
        metavar="MODEL_URI", help="models:/NAME/VERSION, runs:/RUN/model, a model or run folder, or a mask file."
    ),
]
_Seed = Annotated[int | None, typer.Option("--seed", help="Which seed; the first by default.")]
_Variant = Annotated[str | None, typer.Option("--variant", help="Which variant; the headline by default.")]
_Uses = Annotated[
    list[str] | None, typer.Option("--uses", help="A module of one's own that the model was made with: my_method.py.")
]
_Task = Annotated[
    str | None,
    typer.Option("--task", help="Where every task has masks: which task's, from 0; or free: what no task uses."),
]
_Domain = Annotated[
    str | None,
    typer.Option(
        "--domain", help="Where tasks decide what adapts: the masks that most tasks of this domain adapt with."
    ),
]


@verb(app)
def show(
    source: _Source,
    seed: _Seed = None,
    variant: _Variant = None,
    task: _Task = None,
    domain: _Domain = None,
    uses: _Uses = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw what tasks' masks take into a PNG.")] = None,
) -> None:
    """Every tensor with its shape, its open weights and its sparsity; where every task has masks, what they take."""
    from frisket.algos.masks.store import MaskStore
    from frisket.errors import MaskError
    from frisket.platform.verbs.masks import one_of, read_masks

    found = read_masks(source, seed, variant, uses or (), domain)
    if isinstance(found, MaskStore) and task is None:
        _show_tasks(found, source, picture)
        return
    if picture is not None:
        raise MaskError("--picture", str(picture), "is of all tasks' masks; `frisket masks export` draws one MaskSet")
    _show_tensors(one_of(found, source, task), source)


@verb(app)
def diff(
    first: _Source,
    second: Annotated[
        str | None, typer.Argument(metavar="[OTHER_URI]", help="What to compare with; the first itself if left out.")
    ] = None,
    seed: _Seed = None,
    variant: _Variant = None,
    task: _Task = None,
    domain: _Domain = None,
    other_seed: Annotated[
        int | None, typer.Option("--other-seed", help="Seed of the second; as --seed if unset.")
    ] = None,
    other_variant: Annotated[
        str | None, typer.Option("--other-variant", help="Variant of the second; --variant by default.")
    ] = None,
    other_task: Annotated[
        str | None, typer.Option("--other-task", help="Task of the second; as --task if unset.")
    ] = None,
    other_domain: Annotated[
        str | None, typer.Option("--other-domain", help="Domain of the second; as --domain if unset.")
    ] = None,
    uses: _Uses = None,
) -> None:
    """Two MaskSets against each other: what is open in both, in one of them, and how much they overlap."""
    from rich.console import Console
    from rich.table import Table

    from frisket.algos.masks.mask_set import MaskSet
    from frisket.errors import MaskError
    from frisket.platform.cli.tables import show_table

    if second is None and not any(one is not None for one in (other_seed, other_variant, other_task, other_domain)):
        fix = "name what to compare with: OTHER_URI, --other-task, --other-domain, --other-seed or --other-variant"
        raise MaskError("OTHER_URI", None, fix)
    other = second or first
    a = masks_of(first, seed, variant, task, uses, domain)
    chosen = (seed if other_seed is None else other_seed, other_variant or variant, other_task or task)
    b = masks_of(other, *chosen, uses, other_domain or domain)
    both, only_a, only_b = a & b, a - b, b - a
    table = Table("tensor")
    for column in ("open in both", "only in first", "only in second", "overlap"):
        table.add_column(column, justify="right")
    for name in a:
        counts = [str(int(part[name].sum())) for part in (both, only_a, only_b)]
        table.add_row(name, *counts, f"{MaskSet({name: a[name]}).overlap(MaskSet({name: b[name]})):.3f}")
    table.add_section()
    totals = [str(sum(int(m.sum()) for m in part.values())) for part in (both, only_a, only_b)]
    table.add_row("overall", *totals, f"{a.overlap(b):.3f}")
    console = Console()
    show_table(table, console)
    said = "; the masks are equal" if a == b else ""
    console.print(f"overlap = open in both / open in either{said}", soft_wrap=True)


@verb(app)
def export(
    source: _Source,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; made if missing.")],
    seed: _Seed = None,
    variant: _Variant = None,
    task: _Task = None,
    domain: _Domain = None,
    uses: _Uses = None,
    pictures: Annotated[bool, typer.Option(help="Draw a picture of every tensor.")] = True,
) -> None:
    """Write masks.safetensors and one picture per tensor; of all tasks store.safetensors and a folder of pictures."""
    from rich.console import Console

    from frisket.algos.masks.store import MaskStore
    from frisket.platform.verbs.masks import one_of, read_masks, require_apart

    found = read_masks(source, seed, variant, uses or (), domain)
    if isinstance(found, MaskStore) and task is None:
        kept, sets = found, [(folder / f"task-{t}", masks) for t, masks in enumerate(found)]
    else:
        kept = one_of(found, source, task)
        sets = [(folder, kept)]
    file = folder / ("store.safetensors" if isinstance(kept, MaskStore) else "masks.safetensors")
    require_apart(file, source)
    folder.mkdir(parents=True, exist_ok=True)
    kept.save(file)
    drawn = [path for target, masks in sets for path in masks.draw(target)] if pictures else []
    Console().print(f"{len(drawn)} pictures and {file.name} are in {folder}", soft_wrap=True)


def masks_of(
    source: str, seed: int | None = None, variant: str | None = None, task: str | None = None,
    uses: list[str] | None = None, domain: str | None = None,
) -> MaskSet:  # fmt: skip
    """The MaskSet ``source`` stands for; arguments and errors are those of `frisket.platform.verbs.masks`."""
    from frisket.platform.verbs.masks import one_of, read_masks

    return one_of(read_masks(source, seed, variant, uses or (), domain), source, task)


def _show_tensors(masks: MaskSet, source: str) -> None:
    from rich.table import Table

    from frisket.platform.cli.tables import show_table

    table = Table("tensor", "shape", title=source, title_justify="left")
    for column in ("weights", "open", "sparsity"):
        table.add_column(column, justify="right")
    for name, mask in masks.items():
        numbers = _numbers(mask.numel(), int(mask.sum()), masks.sparsity(name))
        table.add_row(name, " x ".join(map(str, mask.shape)), *numbers)
    table.add_section()
    table.add_row("overall", "", *_numbers(masks.size, sum(int(m.sum()) for m in masks.values()), masks.sparsity()))
    show_table(table)


def _show_tasks(store: MaskStore, source: str, picture: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from frisket.errors import MaskError
    from frisket.platform.cli.tables import show_table
    from frisket.platform.reports.capacity import CapacityReport, draw_capacity
    from frisket.platform.reports.figure import Heading, save

    if picture is not None and not (picture.suffix == ".png" and picture.absolute().parent.is_dir()):
        raise MaskError("--picture", str(picture), "must be a .png file in a folder that exists")
    report = CapacityReport.of(store)
    capacity, console = report.capacity, Console()
    table = Table("task", title=source, title_justify="left")
    for column in ("kept", *report.weights, "new weights", "reused", "free after"):
        table.add_column(column, justify="right", overflow="fold")
    for t in range(report.tasks):
        shares = (f"{report.kept[name][t] / max(size, 1):.1%}" for name, size in report.weights.items())
        new, reused = (str(n) for n in (report.used[t] - report.reused[t], report.reused[t]))
        table.add_row(str(t), f"{capacity.kept[t]:.1%}", *shares, new, reused, f"{capacity.free[t]:.1%}")
    show_table(table, console)
    console.print(f"{store.size} weights; kept = share of all weights, then of each tensor's", soft_wrap=True)
    if report.tasks <= MOST_OVERLAPS:
        overlaps = Table("overlap", *map(str, range(report.tasks)))
        for t, row in enumerate(capacity.overlap):
            overlaps.add_row(str(t), *(f"{value:.2f}" for value in row))
        show_table(overlaps, console)
    else:
        console.print(f"the overlaps of {report.tasks} tasks are in the picture: --picture FILE.png", soft_wrap=True)
    if picture is not None:
        save(draw_capacity({Path(source).name: [report]}, Heading(f"{report.tasks} tasks", source)), picture)
        console.print(f"drawn into {picture}", soft_wrap=True)


def _numbers(total: int, opened: int, sparsity: float) -> tuple[str, str, str]:
    return str(total), str(opened), f"{sparsity:.1%}"
