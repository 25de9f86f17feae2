"""``frisket masks``: look at masks, compare them, take them out of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from frisket.algos.masks import MaskSet

app = typer.Typer(no_args_is_help=True, help="Show, compare and export the masks of models.")

_Source = Annotated[
    str,
    typer.Argument(
        metavar="MODEL_URI", help="models:/NAME/VERSION, runs:/RUN/model, a model or run folder, or a mask file."
    ),
]
_Seed = Annotated[int | None, typer.Option("--seed", help="Which seed; the first by default.")]
_Variant = Annotated[str | None, typer.Option("--variant", help="Which variant; the headline by default.")]


@app.command()
def show(source: _Source, seed: _Seed = None, variant: _Variant = None) -> None:
    """Every tensor with its shape, its open weights and its sparsity."""
    from rich.console import Console
    from rich.table import Table

    masks = masks_of(source, seed, variant)
    table = Table("tensor", "shape", title=source, title_justify="left")
    for column in ("weights", "open", "sparsity"):
        table.add_column(column, justify="right")
    for name, mask in masks.items():
        numbers = _numbers(mask.numel(), int(mask.sum()), masks.sparsity(name))
        table.add_row(name, " x ".join(map(str, mask.shape)), *numbers)
    table.add_section()
    table.add_row("overall", "", *_numbers(masks.size, sum(int(m.sum()) for m in masks.values()), masks.sparsity()))
    Console().print(table)


@app.command()
def diff(
    first: _Source,
    second: Annotated[str, typer.Argument(metavar="OTHER_URI", help="What to compare with; the same kinds of names.")],
    seed: _Seed = None,
    variant: _Variant = None,
    other_seed: Annotated[
        int | None, typer.Option("--other-seed", help="Seed of the second; as --seed if unset.")
    ] = None,
    other_variant: Annotated[
        str | None, typer.Option("--other-variant", help="Variant of the second; --variant by default.")
    ] = None,
) -> None:
    """Two MaskSets against each other: what is open in both, in one of them, and how much they overlap."""
    from rich.console import Console
    from rich.table import Table

    from frisket.algos.masks import MaskSet

    a = masks_of(first, seed, variant)
    b = masks_of(second, seed if other_seed is None else other_seed, other_variant or variant)
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
    console.print(table)
    console.print("overlap = open in both / open in either" + ("; the masks are equal" if a == b else ""))


@app.command()
def export(
    source: _Source,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; made if missing.")],
    seed: _Seed = None,
    variant: _Variant = None,
) -> None:
    """Write masks.safetensors and one picture per tensor."""
    from rich.console import Console

    masks = masks_of(source, seed, variant)
    pictures = masks.draw(folder)
    masks.save(folder / "masks.safetensors")
    Console().print(f"{len(pictures)} pictures and masks.safetensors are in {folder}", soft_wrap=True)


def masks_of(source: str, seed: int | None = None, variant: str | None = None) -> MaskSet:
    """The MaskSet ``source`` stands for.

    Raises:
        MaskError: a damaged mask file, or a model whose method has no masks.
        ModelError: no such model, seed or variant.
    """
    from frisket.algos.masks import MaskSet
    from frisket.errors import MaskError
    from frisket.platform.api import load_model

    if source.endswith(".safetensors"):
        return MaskSet.load(source)
    masks = load_model(source).masks(seed, variant)
    if not masks:
        raise MaskError("masks", source, "this method has none; name another model or --variant")
    return masks


def _numbers(total: int, opened: int, sparsity: float) -> tuple[str, str, str]:
    return str(total), str(opened), f"{sparsity:.1%}"
