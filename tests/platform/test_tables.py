"""Published tables: every file says what it may, its experiments exist, and mistakes name the fix."""

from __future__ import annotations

import copy
import functools
import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from frisket.errors import SpecError
from frisket.platform.specs.experiment import Experiment, load_spec
from frisket.platform.specs.text import config_names, spec_names
from frisket.platform.tables.comparison import _Measured
from frisket.platform.tables.table import Cell, Scale, Table, load_table, plan, table_names

# Written with the streams they need; held to the rules below from the day they are here.
TO_COME = ("replay/cifar100-", "replay/tinyimagenet-", "replay/split-cifar10-", "pruning/generative-")
ROW_BY_ROW = ("pruning/generative-",)  # these may come one method after the other
EXPECTED = (
    "continual_world/cw20", "continual_world/table4",
    "gems/table1", "gems/table2", "gems/table3", "gems/table4", "gems/table5", "lamaml/table1", "lamaml/table2",
    "lamaml/table3", "powerprop/fig1", "powerprop/fig4", "powerprop/table3",
    "sparse/table1", "sparse/table2", "sparse/table3", "sparse/table4", "sparse/table5", "sparse/table6",
    "sparse/tableS1", "sparse/tableS3", "sparse/tableS4", "sparse/tableS5", "sparse/tableS7", "sparse/tableS8",
    "sparse/tableS9",
)  # fmt: skip


load = functools.cache(load_spec)


def cells(table: Table) -> list[tuple[str, str, Cell]]:
    return [(row, column, table.cell(row, column)) for row, columns in table.rows.items() for column in columns]


def number_at(experiment: Experiment, path: str) -> int:
    found: Any = experiment.as_dict()
    for key in path.split("."):
        found = found[key]
    return found


def here(table: Table) -> list[tuple[str, str, Cell]]:
    return [entry for entry in cells(table) if entry[2].spec in spec_names()]


def test_tables_are_no_specifications() -> None:
    assert set(EXPECTED) <= set(table_names())
    assert not [name for name in spec_names() if "table" in name]
    assert set(config_names()) == {*spec_names(), *(f"tables/{name}" for name in table_names())}


@pytest.mark.parametrize("name", table_names())
def test_every_cell_names_an_experiment(name: str) -> None:
    missing = [cell.spec for _, _, cell in cells(load_table(name)) if cell.spec not in spec_names()]
    assert [spec for spec in missing if not spec.startswith(TO_COME)] == []
    families = {spec.partition("-")[0] for spec in missing if not spec.startswith(ROW_BY_ROW)}
    begun = {spec.partition("-")[0] for spec in spec_names()} & families
    assert not begun, f"of {begun} some experiments are here and some are not: {missing}"


@pytest.mark.parametrize("name", table_names())
def test_every_number_has_one_home(name: str) -> None:
    """A table gives no number that its experiment's ``published`` block has, unless the cell is another experiment or
    judged elsewhere, and every row has some number, or is named in a claim."""
    table = load_table(name)
    numbers: dict[str, set[str]] = {row: set() for row, _, _ in here(table)}
    for row, column, cell in here(table):
        published = load(cell.spec).published
        given = set(published.metrics) if published and not table.apart(row, column) else set()
        assert not given & set(cell.published)
        assert set(cell.published) <= set(table.metrics)
        numbers[row] |= (given | set(cell.published)) & set(table.metrics)
    for claim in table.claims:
        for row in (*claim.rows, claim.bound):
            if row in numbers:
                numbers[str(row)] |= set(claim.metrics)
    assert [row for row, found in numbers.items() if not found] == []
    for metric in table.metrics:
        assert not numbers or any(metric in found for found in numbers.values()), metric


def test_searched_settings_are_settings() -> None:
    named = {name: load(name).published for name in spec_names()}
    found = {name: published.searched for name, published in named.items() if published and published.searched}
    assert "replay/permutations-sync-la-maml" in found
    for name, settings in found.items():
        tree = load(name).as_dict()
        assert [path for path in settings if path.split(".")[1] not in tree[path.split(".")[0]]] == [], name


def test_a_cell_that_sets_them_itself_is_not_searched() -> None:
    spec = load("replay/permutations-sync-la-maml")
    printed = Cell(spec=spec.name, overrides=("learner.alpha_init=0.15", "learner.alpha_lr=0.1"))
    measured = [_Measured(cell=cell, spec=spec, numbers={}, obstacle="") for cell in (Cell(spec=spec.name), printed)]
    assert [one.searched for one in measured] == [("learner.alpha_init", "learner.alpha_lr"), ()]


@pytest.mark.parametrize("name", table_names())
@pytest.mark.parametrize("scale", ["smoke", "short"])
def test_smaller_scales_are_smaller_and_name_fields_that_exist(name: str, scale: Any) -> None:
    table = load_table(name)
    smaller: Scale = getattr(table.scales, scale)
    used: set[str] = set()
    for row, column, cell in here(table):
        (planned,) = plan(table, rows=[row], columns=[column], scale=scale)
        used |= set(planned.overrides) - set(cell.overrides)
        own = load(cell.spec, cell.overrides)
        parts = {f"{name}={number_at(own, name) // by}" for name, by in smaller.divided.items()}
        assert parts <= used
        used -= parts
        assert planned.seeds == smaller.seeds < load(cell.spec).seeds
        assert any(text.startswith("stream.") for text in planned.overrides)
    if len(here(table)) == len(cells(table)):
        assert used == set(smaller.overrides)


def test_every_specification_with_a_published_number_stands_in_a_table() -> None:
    tables = [load_table(name) for name in table_names()]
    named = {cell.spec for table in tables for _, _, cell in cells(table)}
    answering = {name for name in spec_names() if (given := load(name).published) is not None and given.metrics}
    assert answering
    assert answering - named == set()


def test_numbers_of_the_tables_own() -> None:
    """La-MAML's Table 2, as printed."""
    table = load_table("lamaml/table2")
    found = {(row, column): (cell.published["seconds"], cell.n) for row, column, cell in cells(table)}
    assert found == {
        ("La-MAML", "rotations"): ({"mean": 45.95, "std": 0.38}, None),
        ("La-MAML", "permutations"): ({"mean": 46.13, "std": 0.42}, None),
        ("MER", "rotations"): ({"mean": 218.03, "std": 6.44}, None),
        ("MER", "permutations"): ({"mean": 227.11, "std": 12.12}, None),
    }


@pytest.mark.parametrize("name", table_names())
def test_labels_can_be_asked_for(name: str) -> None:
    """`--rows` and `--columns` part them by commas, in any case."""
    table = load_table(name)
    for labels in (table.rows, table.columns):
        assert [label for label in labels if "," in label or label != label.strip()] == []
        assert len({label.casefold() for label in labels}) == len(labels)


def test_plan_is_the_table_row_by_row_and_paper_is_the_specification_itself() -> None:
    table = load_table("lamaml/table1")
    planned = plan(table)
    assert [(c.row, c.column) for c in planned] == [(row, column) for row, column, _ in cells(table)]
    assert len(planned) == 21
    assert {(c.overrides, c.seeds) for c in planned} == {((), 5)}
    chosen = plan(table, rows=["la-maml", "ONLINE"], columns=["many"], seeds=2, scale="smoke")
    assert [(c.row, c.spec, c.seeds) for c in chosen] == [
        ("Online", "replay/many-permutations-online", 2), ("La-MAML", "replay/many-permutations-la-maml", 2)
    ]  # fmt: skip
    assert "stream.tasks=2" in chosen[0].overrides


def test_overrides_apply_only_where_the_field_is() -> None:
    adam, maml = plan(load_table("sparse/table6"), rows=["Online Adam", "MAML"], columns=["p90"], scale="smoke")
    assert not [text for text in adam.overrides if text.startswith(("learner.", "pretrain."))]
    assert {"learner.inner_steps=2", "pretrain.epochs=1"} <= set(maml.overrides)


def test_numbers_that_are_divided_keep_their_proportions() -> None:
    scales = {"smoke": {"seeds": 1, "overrides": ["stream.tasks=2"], "divided": {"stream.samples": 100}},
              "short": {"seeds": 1, "overrides": [], "divided": {"stream.samples": 7}}}  # fmt: skip
    cell = {"spec": "replay/rotations-er", "overrides": ["stream.samples=2000"]}
    table = made(rows={"one": {"a": "replay/rotations-er"}, "two": {"a": cell}}, scales=scales)
    found = [planned.overrides for planned in plan(table, scale="smoke")]
    assert found == [
        ("stream.samples=10", "stream.tasks=2"),
        (*cell["overrides"], "stream.samples=20", "stream.tasks=2"),
    ]
    with pytest.raises(SpecError, match="a divisor of 1000 in replay/rotations-er"):
        plan(table, scale="short")


def test_which_cells_are_apart_from_their_specification() -> None:
    other = {"spec": "replay/rotations-er", "overrides": ["stream.tasks=3"]}
    cells = {"plain": "replay/rotations-er", "changed": other, "named": other | {"apart": True},
             "numbered": other | {"published": {"ra": {"mean": 0.5}}}}  # fmt: skip
    table = made(rows={row: {"a": cell} for row, cell in cells.items()})
    assert [row for row in table.rows if table.apart(row, "a")] == ["named", "numbered"]


@pytest.mark.parametrize(
    ("asked", "field", "says"),
    [
        ({"rows": ["La-MAM"]}, "rows", "did you mean 'La-MAML'"),
        ({"columns": ["rotation"]}, "columns", "did you mean 'rotations'"),
        ({"rows": []}, "rows", "at least one label"),
        ({"seeds": 0}, "seeds", "at least 1"),
        ({"scale": "large"}, "scale", "one of smoke, short, paper"),
    ],
)
def test_mistakes_name_the_fix(asked: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan(load_table("lamaml/table1"), **asked)
    assert caught.value.field == field
    assert says in caught.value.fix


def test_unknown_table_suggests_the_nearest() -> None:
    with pytest.raises(SpecError, match="did you mean 'lamaml/table1'"):
        load_table("lamaml/tabel1")


def made(**changes: Any) -> Table:
    """A small valid table with ``changes``, read as strictly as a file is."""
    raw: dict[str, Any] = {
        "name": "tables/paper/one",
        "title": "T",
        "source": "S",
        "metrics": {"ra": {"label": "RA"}},
        "columns": ["a", "b"],
        "rows": {"one": {"a": "replay/rotations-er"}, "two": {"a": "replay/nowhere", "b": "replay/rotations-er"}},
        "scales": {"smoke": {"seeds": 1, "overrides": []}, "short": {"seeds": 1, "overrides": []}},
    }
    return TypeAdapter(Table).validate_json(json.dumps(copy.deepcopy(raw) | changes), strict=True)


def test_a_row_whose_specification_is_not_here() -> None:
    with pytest.raises(SpecError, match=r"'two': its specification replay/nowhere \(a\) is not here.*--rows: one"):
        plan(made())
    assert [c.row for c in plan(made(), rows=["one"])] == ["one"]


def test_a_variant_there_is_not() -> None:
    cell = {"spec": "pruning/mnist-one-shot", "variant": "alpha-9"}
    with pytest.raises(SpecError, match=r"variant = 'alpha-9': must be one of alpha-2, alpha-1"):
        plan(made(rows={"one": {"a": cell}}))


def test_nothing_is_printed_there() -> None:
    with pytest.raises(SpecError, match="prints nothing there: one has a"):
        plan(made(), rows=["one"], columns=["b"])


CLAIM: dict[str, Any] = {"metrics": ["ra"], "rows": ["one"], "origin": "text"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"metrics": {"ra": {"label": "RA", "beter": "higher"}}}, "beter"),
        ({"metrics": {"ra": {"label": "RA", "better": "up"}}}, "better"),
        ({"rows": {"one": {"c": "replay/rotations-er"}}}, "one of a, b"),
        ({"rows": {"one": {"a": {"spec": "replay/rotations-er", "m": 3}}}}, "rows"),
        ({"tolerances": [{"rows": ["three"], "points": 1.0}]}, "one of one, two"),
        ({"evaluate": [{"columns": ["c"], "overrides": ["stream.dataset=cub"]}]}, "one of a, b"),
        ({"evaluate": [{"rows": ["one"], "overrides": []}]}, "at least one: stream.dataset=cub"),
        ({"evaluate": [{"rows": ["one"]}]}, "overrides"),
        (
            {
                "scales": {
                    name: {"seeds": 1, "overrides": [], "divided": {"stream.steps": 0}} for name in ("smoke", "short")
                }
            },
            "at least 1",
        ),
        ({"ratios": [{"metric": "ra", "of": "one", "to": "three"}]}, "one of one, two"),
        ({"claims": [CLAIM | {"above": "three"}]}, "one of one, two"),
        ({"claims": [CLAIM | {"above": 0.5, "metrics": ["bti"]}]}, "one of ra"),
        ({"claims": [CLAIM | {"above": 0.5, "columns": ["c"]}]}, "one of a, b"),
        ({"claims": [CLAIM | {"above": 0.5, "below": 0.7}]}, "just one of above and below"),
        ({"claims": [CLAIM]}, "just one of above and below"),
        ({"claims": [CLAIM | {"above": "one"}]}, "another row than those"),
        ({"claims": [CLAIM | {"above": 0.5, "origin": "rumour"}]}, "origin"),
    ],
)
def test_files_are_read_strictly(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        made(**changes)


def test_every_evaluation_that_covers_a_cell_is_laid_over_it_in_order() -> None:
    rows = {row: dict.fromkeys(("a", "b"), "fewshot/glyphs-5w1s-sparse-maml") for row in ("one", "two")}
    first, second = "stream.dataset=digits", "learner.inner_steps_test=3"
    evaluate = [{"columns": ["a"], "overrides": [first]}, {"rows": ["two"], "overrides": [second]}]
    table = made(rows=rows, evaluate=evaluate)
    assert [cell.evaluate for cell in plan(table)] == [(first,), (), (first, second), (second,)]


@pytest.mark.parametrize(
    ("spec", "change", "says"),
    [
        ("replay/rotations-er", "stream.tasks=3", "must be of episodes"),
        ("fewshot/glyphs-5w1s-sparse-maml", "stream.datset=digits", "did you mean 'dataset'"),
    ],
)
def test_models_that_cannot_be_judged_so_are_refused_before_anything_is_run(spec: str, change: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        plan(made(rows={"one": {"a": spec}}, evaluate=[{"overrides": [change]}]))


def test_last_tolerance_that_covers_a_number_decides() -> None:
    table = made(tolerances=[{"points": 0.1}, {"rows": ["one"], "columns": ["a"], "points": 0.2, "sigmas": 2.0}])
    first, second = table.tolerance("one", "a", "ra"), table.tolerance("two", "a", "ra")
    assert first is not None
    assert second is not None
    assert (first.width(None), first.width(0.3), second.width(0.3)) == (0.2, 0.6, 0.1)
    assert made().tolerance("one", "a", "ra") is None
