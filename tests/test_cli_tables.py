"""Tables: whole at any width, one plain line per row in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from frisket.platform.cli.main import main
from frisket.platform.cli.tables import show_table
from frisket.platform.specs.experiment import load_spec
from frisket.platform.specs.kinds import known
from frisket.platform.specs.outline import known_kinds, outlines
from frisket.platform.specs.text import spec_names

NAME = "pruning/a-specification-whose-name-is-longer-than-any-window"


def shown(width: int, terminal: bool) -> str:
    table = Table("spec", "learner", "capacity/\nfree", title="what there is")
    table.add_row(NAME, "some words that may be folded anywhere, [64, 64]", "1")
    table.add_row("demo", "[green]two[/]\nitems", "12")
    text = io.StringIO()
    show_table(table, Console(file=text, width=width, force_terminal=terminal, color_system=None))
    return text.getvalue()


@pytest.mark.parametrize("width", [10, 40, 80, 100, 200])
@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_cut(width: int, terminal: bool) -> None:
    text = shown(width, terminal)
    assert NAME in text
    assert "…" not in text
    for word in ("some", "words", "folded", "anywhere,", "[64,", "two", "items", "12"):
        assert word in text


def test_in_a_pipe_a_row_is_a_plain_line() -> None:
    title, head, first, second = shown(40, terminal=False).splitlines()
    assert title == "what there is"
    assert head.split("  ")[0] == "spec"
    assert head.endswith("capacity/free")
    assert first.startswith(f"{NAME}  some words that may be folded anywhere, [64, 64]  1")
    assert second.split() == ["demo", "two;", "items", "12"]


def test_on_a_narrow_terminal_a_row_is_a_paragraph_and_on_a_wide_one_a_row() -> None:
    assert shown(40, terminal=True).splitlines()[1:4] == [
        NAME, "  learner: some words that may be folded anywhere, [64, 64]", "  capacity/free: 1"
    ]  # fmt: skip
    wide = shown(110, terminal=True).splitlines()
    assert max(map(len, wide)) <= 110
    assert any(NAME in line and "some words" in line for line in wide)


HEADS = ["accuracy/\nfashion_mnist", "capacity_free", "learner.\nsamples_per_step", "answers to", "overlap"]


@pytest.mark.parametrize("no_wrap", [True, False])
def test_a_head_is_broken_between_words_only(no_wrap: bool) -> None:
    """On a terminal of any width: after a slash or dot that was made for it, or at a space."""
    rules = 0
    for width in range(20, 160):
        table = Table("")
        for head in HEADS:
            table.add_column(head, justify="right", no_wrap=no_wrap)
        table.add_row("cmaml-fixed", *["0.660 ± 0.066"] * len(HEADS))
        text = io.StringIO()
        show_table(table, Console(file=text, width=width, force_terminal=True, color_system=None))
        rules += "┏" in text.getvalue()
        for piece in " ".join(HEADS).split():
            assert piece in text.getvalue(), (width, piece)
    assert 0 < rules < 140  # both kinds of table were seen


@pytest.mark.parametrize("what", ["specs", "streams", "learners", "tables", "data"])
def test_lists_have_names_whole_in_pipes(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what]) == 0
    out = capsys.readouterr().out
    assert "…" not in out
    names = [line.split()[0] for line in out.splitlines()]
    if what == "specs":
        assert names[1:] == list(spec_names())


def test_outlines_say_what_the_specifications_are() -> None:
    """Of every family some: reading all of them takes seconds."""
    for outline in list(outlines())[::9]:
        experiment = load_spec(outline.name)
        assert outline.seeds == experiment.seeds
        assert list(outline.axes) == list(experiment.tune.axes if experiment.tune else ())
        for section in ("stream", "network", "learner", "protocol"):
            kinds = [getattr(plan, section).kind for plan in experiment.plans.values()]
            assert outline.kinds(section) == (kinds[:1] if experiment.tune else kinds)
        assert outline.answers_to == (experiment.published.source if experiment.published else "")
        if experiment.tune:
            assert outline.points == len(experiment.variants)


@pytest.mark.parametrize("section", ["stream", "network", "learner", "protocol"])
def test_every_kind_is_named_by_a_specification(section: str) -> None:
    """Completion knows them from there."""
    assert set(known_kinds(section)) <= set(known().sections[section])
    assert set(known().sections[section]) - set(known_kinds(section)) == set()
