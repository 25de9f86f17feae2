"""What a plan counts is what a run does: positions, judgings, rows, bytes; and what it says where it cannot be made."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from planned import FAMILIES, asked_for, experiment, figures, new_run, rows_of
from processes import alive, descendants, wait_for

import frisket
from frisket.algos.kinds import LEARNERS
from frisket.algos.learner import KeepsTasks, repeated_field
from frisket.algos.masks.search import Room, Search, Shares
from frisket.errors import SpecError
from frisket.platform.cli.main import main
from frisket.platform.executors import local
from frisket.platform.executors.ray_probe import node_kinds
from frisket.platform.planning.estimate import on_kinds, plan_of, size
from frisket.platform.planning.figures import Figures
from frisket.platform.planning.meter import Meter
from frisket.platform.planning.process import MOST_KINDS, probed
from frisket.platform.planning.samples import Line, Sample, Walked
from frisket.platform.protocols.protocol import Scored
from frisket.platform.reports.figures import draw_figures
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.summary import write_summary
from frisket.platform.specs.build import Inputs, build_learner, build_stream, load_data
from frisket.platform.specs.experiment import Experiment
from frisket.rng import numpy_generator

JUDGED = ["replay", "needed", "pruning", "one-shot", "generative", "robots"]
"""Families of which it is certain before what they judge."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that runs of this file are tracked in: to make one takes longer than they do."""
    return tmp_path_factory.mktemp("store") / "mlflow.db"


def run(parent: Path, one: Experiment, store: Path | None = None) -> RunFolder:
    folder = new_run(parent, one, store)
    local.execute(folder, data_dir=None, stop=lambda: False)
    draw_figures(folder)
    write_summary(folder)
    return folder


# -- what is counted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", JUDGED)
def test_what_a_protocol_says_it_judges_is_what_the_stream_is_asked_for(family: str, tmp_path: Path) -> None:
    one = experiment(family)
    stream = build_stream(one, load_data(one, "embedded"), 0)
    learner = build_learner(one, Inputs.of(stream))
    said: Counter[int] = Counter()
    for position, pieces in one.protocol.row.build(one.protocol.config, stream).judgings(learner):
        said[position] += int(pieces)
    assert said
    assert said == asked_for(new_run(tmp_path, one))


@pytest.mark.parametrize("family", ["few-shot", "gems"])
def test_the_first_validation_is_always_tested_and_later_ones_less_and_less(family: str, tmp_path: Path) -> None:
    one = experiment(family)
    stream = build_stream(one, load_data(one, "embedded"), 0)
    protocol = one.protocol.row.build(one.protocol.config, stream)
    (first, most), *others = protocol.judgings(build_learner(one, Inputs.of(stream)))
    real = asked_for(new_run(tmp_path, one))
    assert first == {"few-shot": 7, "gems": 3}[family]
    assert real[first] == most
    assert {position for position, pieces in others if pieces} | {first} == set(real)


def test_a_protocol_that_judges_batches_alone_says_nothing(tmp_path: Path) -> None:
    one = experiment("osaka")
    stream = build_stream(one, load_data(one, "embedded"), 0)
    protocol = one.protocol.row.build(one.protocol.config, stream)
    assert list(protocol.judgings(build_learner(one, Inputs.of(stream)))) == []


@pytest.mark.parametrize("family", ["osaka", "pruning", "generative", "few-shot", "robots"])
def test_a_plan_that_took_every_position_knows_bytes_and_rows(family: str, store: Path, tmp_path: Path) -> None:
    one = experiment(family)
    found = figures(tmp_path, one)
    (pack,) = found.packs
    plan = plan_of(one, found, workers=1, local=True)
    folder = run(tmp_path / "runs", one, store)
    (files,) = folder.replicas()
    assert pack.whole
    assert pack.journal == pytest.approx(files.journal.stat().st_size, rel=0.02)
    written = sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())
    assert plan.disk == pytest.approx(written, rel=0.1)
    assert plan.rows == rows_of(folder)
    assert (plan.replicas, plan.packs, plan.points) == (1, 1, None)
    assert plan.data == (("embedded", plan.data[1]) if folder.experiment.stream.kind != "robots" else ("real", ""))


@pytest.mark.parametrize("family", ["replay", "pruning"])
def test_of_a_longer_sequence_rows_and_bytes_are_those_of_all_tasks(family: str, store: Path, tmp_path: Path) -> None:
    one = experiment(family, stream={**FAMILIES[family]["stream"], "tasks": 7}, log_every=3)
    found = figures(tmp_path, one)
    (pack,) = found.packs
    plan, folder = plan_of(one, found, workers=1, local=True), run(tmp_path / "runs", one, store)
    (files,) = folder.replicas()
    assert not pack.whole
    assert (pack.walked, pack.tasks) == (pack.steps * 3 // 7, 7)
    assert pack.journal == pytest.approx(files.journal.stat().st_size, rel=0.05)
    assert pack.final == pytest.approx(
        sum(p.stat().st_size for p in files.path.iterdir() if p != files.journal), rel=0.1
    )
    assert plan.rows == pytest.approx(rows_of(folder), rel=0.02)


def test_rows_of_variants_and_seeds_are_those_of_the_store(store: Path, tmp_path: Path) -> None:
    one = experiment("replay", seeds=2, variants={"er": {}, "online": {"learner": {"kind": "online-sgd"}}})
    plan = plan_of(one, figures(tmp_path, one), workers=2, local=False)
    assert (plan.replicas, plan.packs, plan.workers) == (4, 4, 2)
    assert plan.rows == rows_of(run(tmp_path / "runs", one, store))


@pytest.mark.parametrize("seeds", [1, 2])
def test_rows_of_a_search_are_those_of_the_store(seeds: int, store: Path, tmp_path: Path) -> None:
    one = experiment("replay", seeds=seeds, tune={"axes": {"learner.lr": [0.01, 0.1, 0.3]}})
    plan = plan_of(one, figures(tmp_path, one), workers=1, local=True)
    assert (plan.points, plan.replicas) == (3, 3 * seeds)
    assert plan.rows == rows_of(run(tmp_path / "runs", one, store))


def test_packs_are_probed_by_their_kind_and_of_many_kinds_some() -> None:
    few = experiment("replay", seeds=3, variants={"er": {}, "online": {"learner": {"kind": "online-sgd"}}})
    assert [pack[0].key for pack in probed(few)] == ["er-seed0", "online-seed0"]
    packed = experiment("look-ahead", seeds=5, pack=2)
    assert [len(pack) for pack in probed(packed)] == [2, 1]
    many = experiment("replay", tune={"axes": {"learner.lr": [i / 100 for i in range(1, 12)]}})
    assert len(probed(many)) == MOST_KINDS
    assert [pack[0].variant for pack in probed(many)][::3] == [one[0].variant for one in many.packs()][::10]


def test_a_pack_is_planned_as_one_program(store: Path, tmp_path: Path) -> None:
    one = experiment("look-ahead", seeds=4, pack=4)
    found = figures(tmp_path, one)
    assert [pack.replicas for pack in found.packs] == [4]
    plan = plan_of(one, found, workers=1, local=True)
    assert (plan.replicas, plan.packs) == (4, 1)
    assert plan.rows == rows_of(run(tmp_path / "runs", one, store))


def test_workers_share_the_packs_and_a_search_gives_the_next_to_who_is_free(tmp_path: Path) -> None:
    one = experiment("replay", seeds=4)
    found = figures(tmp_path, one)
    alone, pair = (plan_of(one, found, workers=n, local=False) for n in (1, 2))
    apart = alone.seconds - alone.start - alone.end
    assert pair.seconds - pair.start - pair.end == pytest.approx(apart / 2)
    assert pair.memory == alone.memory
    assert pair.memory_all > alone.memory_all


# -- from some positions to all ----------------------------------------------------------------------------------------


def samples(seconds: Sequence[float], *, task: int = 0, kept: Sequence[int] = (), repeats: int = 0) -> list[Sample]:
    """Of one task, the last one being its end."""
    count = len(seconds)
    sizes = kept or [100] * count
    return [
        Sample(task=task, index=i, seconds=s, kept=k, last=i == count - 1, repeats=repeats)
        for i, (s, k) in enumerate(zip(seconds, sizes, strict=True))
    ]


def walked(of: Sequence[Sample], *lengths: int, repeats: int = 0, after: int = 100) -> float:
    return Walked(samples=of, lengths=lengths, repeats=repeats, after=after).seconds()


def test_what_was_walked_whole_is_summed() -> None:
    assert walked(samples([3.0, 1.0, 2.0]), 3) == 6.0


def test_the_first_positions_count_once_and_the_others_go_on() -> None:
    assert walked(samples([9.0, 1.0, 1.0, 1.0, 2.0]), 101) == pytest.approx(9 + 99 * 1 + 2)


def test_first_positions_of_later_tasks_count_for_every_later_task() -> None:
    of = samples([9.0, 1.0, 1.0, 1.0, 2.0]) + samples([0.5, 1.0, 1.0, 1.0, 2.0], task=1)
    assert walked(of, 11, 11, 11) == pytest.approx(9 + 2 * 0.5 + 3 * 9 * 1 + 3 * 2)


def test_time_that_follows_what_is_kept_goes_on_along_the_line() -> None:
    """A method that learns from all it has seen: position p takes p, and keeps 10 p."""
    of = samples([float(p) for p in range(9)], kept=[10 * p for p in range(9)])
    assert walked(of, 101, after=90) == pytest.approx(sum(range(101)), rel=0.15)
    grows = Walked(samples=of, lengths=[101], repeats=0, after=90)
    assert grows.grown() == pytest.approx(1010 - 90, abs=20)


def test_a_line_that_wavers_is_drawn_out_as_far_as_it_can_be_believed() -> None:
    """Twice as dear after 30 positions, give or take a tenth: over 100 positions that is seen well enough, over 10,000
    only where 60 have been seen."""

    def planned(seen: int, length: int, key: int) -> float:
        noise = numpy_generator(key, "noise").normal(0, 0.1, seen)
        of = samples([1 + p / 30 + float(noise[p]) for p in range(seen)], kept=[10 * p for p in range(seen)])
        return walked(of, length, after=10 * seen) / (length + length**2 / 60)

    for key in range(20):
        assert planned(20, 100, key) == pytest.approx(1, rel=0.35)
        assert planned(60, 10_000, key) == pytest.approx(1, rel=0.2)
        assert planned(5, 10_000, key) < 1.3


@pytest.mark.parametrize("count", [7, 11, 15])
def test_noise_is_not_drawn_out_over_all_positions(count: int) -> None:
    """On a busy machine, of a method whose time has nothing to do with what it keeps."""
    for key in range(300):
        noise = numpy_generator(key, "noise", count).normal(1, 0.3, count).clip(0.3)
        of = samples(noise.tolist(), kept=[1_000_000 + 300 * p for p in range(count)])
        assert walked(of, 10_000, after=of[-1].kept) < 2 * 10_000


def test_time_that_only_wavers_stays_where_it_is() -> None:
    of = samples([1.0, 1.1, 0.9, 1.0, 1.1, 0.9, 1.0, 1.0], kept=range(0, 80, 10))
    assert walked(of, 1000) == pytest.approx(1000, rel=0.05)


def test_a_line_in_what_is_repeated_at_an_end() -> None:
    of = samples([1.0, 1.0, 1.0, 2.5], repeats=1) + samples([1.0, 1.0, 1.0, 7.0], task=1, repeats=10)
    assert walked(of, 4, 4, repeats=100) == pytest.approx(6 + 2 * (2 + 100 * 0.5))


def test_a_line_through_points() -> None:
    assert Line.through([(0, 1), (1, 3), (2, 5)]) == (1, 2)
    assert Line.through([(1, 2), (1, 4)]) == (3, 0)


# -- judging -----------------------------------------------------------------------------------------------------------


def judging(meter: Meter, stream: Any, clock: list[float], pieces: int, rate: float) -> int:
    """Judge test sets whose samples take ``rate`` seconds each, as many as are handed out; how many those were."""
    asked = 0

    def judge() -> list[Scored]:
        nonlocal asked
        for task in range(pieces):
            _, y = stream.test_set(task)
            asked += 1
            clock[0] += rate * len(y)
        return [Scored({}, {"judged": "whole"})]

    (found,) = meter.judged(judge, lambda: [Scored({}, {"judged": "in part"})])
    assert found.record["judged"] == ("whole" if asked == pieces else "in part")
    return asked


def test_judging_is_measured_by_its_first_pieces_each_in_part() -> None:
    clock = [0.0]
    stream = SimpleNamespace(test_set=lambda task: (torch.zeros(10_000, 1), torch.zeros(10_000)))
    meter = Meter(1, lambda: clock[0])
    meter.watch(stream)  # pyright: ignore[reportArgumentType]
    assert judging(meter, stream, clock, pieces=100, rate=1e-3) == 3
    assert meter.pieces == 3
    assert meter.seconds == pytest.approx(3 * 10)  # as if each had been judged whole
    assert meter.aside == pytest.approx(clock[0])
    assert clock[0] < 2


def test_cheap_judging_is_not_cut_short_and_dear_judging_ends_at_once() -> None:
    for rate, pieces in ((1e-7, 100), (0.1, 1)):
        clock = [0.0]
        stream = SimpleNamespace(test_set=lambda task: (torch.zeros(500, 1), torch.zeros(500)))
        meter = Meter(1, lambda now=clock: now[0])
        meter.watch(stream)  # pyright: ignore[reportArgumentType]
        assert judging(meter, stream, clock, pieces=100, rate=rate) == pieces
        assert meter.seconds / meter.pieces == pytest.approx(500 * rate)


def test_what_is_repeated_at_an_end_is_a_field_of_its_configuration() -> None:
    named = {name: repeated_field(method.config()) for name, method in LEARNERS.items()}
    assert named["efficient-packnet"] == named["sac-epn"] == "retrain_steps"
    assert named["er"] is None
    for name, field in named.items():
        if field is not None:
            value = getattr(LEARNERS[name].config(), field)
            assert value is None or isinstance(value, int)


# -- capacity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "sizes", "tasks"),
    [(Shares(tasks=4), [100, 12], 4), (Shares(prune=(0.5,)), [8], 4), (Shares(prune=(0.0,)), [8, 8], 1)],
)
def test_shares_last_until_a_task_would_get_no_weight(shares: Shares, sizes: list[int], tasks: int) -> None:
    assert shares.room(sizes) == Room(tasks, tasks)


def test_a_search_has_room_by_its_largest_and_its_smallest_mask() -> None:
    assert Search(grid=(0.02, 0.1, 0.4)).room() == Room(3, 50)
    assert Search(search="binary", evaluations=3).room() == Room(1, 8)


def test_packnet_is_full_after_as_many_tasks_as_it_says(tmp_path: Path) -> None:
    one = experiment("pruning", learner={"kind": "packnet", "lr": 0.01, "tasks": 3, "refill": "redraw"})
    plan = plan_of(one, figures(tmp_path, one), workers=1, local=True)
    assert (plan.fewest, plan.most, plan.tasks) == (3, 3, 3)
    folder = run(tmp_path / "runs", one)
    learner, (files,) = build_learner(one, Inputs.from_dict(folder.results()[0]["input"])), folder.replicas()
    assert isinstance(learner, KeepsTasks)
    assert not any(bool(mask.any()) for mask in files.state["free"].values())
    assert learner.room(files.state) == Room(3, 3)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, with a cache and temporaries of its own."""
    for name in ("cache", "temporary"):
        (workplace / name).mkdir()
    monkeypatch.setenv("FRISKET_CACHE", str(workplace / "cache"))
    monkeypatch.setenv("TMPDIR", str(workplace / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return workplace


@pytest.mark.process
def test_what_measures_does_not_outlive_who_asked(place: Path, tiny_spec: str) -> None:
    asked = [sys.executable, "-m", "frisket", "plan", tiny_spec, "stream.steps=100000", "--data", "embedded", "--local"]
    process = subprocess.Popen(asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: bool(descendants(process.pid)))
        measuring = descendants(process.pid)
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not any(map(alive, measuring)), seconds=60)


@pytest.mark.process
def test_a_plan_leaves_its_figures_and_a_run_shows_them_on_its_first_line(
    place: Path, tiny_spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [tiny_spec, "stream.steps=30", "--data", "embedded", "--local"]
    assert main(["run", *asked, "--run-id", "before"]) == 0
    assert "not planned here yet (frisket plan" in capsys.readouterr().err.splitlines()[0]
    assert main(["plan", *asked, "--json", str(place / "plan.json")]) == 0
    out, err = capsys.readouterr()
    said = json.loads((place / "plan.json").read_text())
    assert err == ""
    assert [line.split()[0] for line in out.splitlines()] == [
        "plan", "time", "memory", "disk", "mlflow", "capacity", "measured"
    ]  # fmt: skip
    assert "2 replicas in 2 packs in one process, embedded data" in out
    assert "capacity  -" in out
    assert f"{said['rows']:,} rows" in out
    assert said["data"][0] == "embedded"
    assert 0 < said["start"] < said["seconds"]
    assert 2**27 < said["memory"] < 2**31
    assert not list((place / "temporary").iterdir())
    assert [path.name for path in (place / "frisket_runs").iterdir()] == ["before"]
    assert main(["run", *asked]) == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert size(said["memory"]) in first
    assert "about" in first
    assert main(["run", tiny_spec, "stream.steps=31", *asked[2:]]) == 0  # other work
    assert "not planned here yet" in capsys.readouterr().err.splitlines()[0]


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["TINY", "stream.p=2"], "stream.p = 2.0: must be a probability in [0, 1]"),
        (["TINY", "stream.ways=40"], "stream.ways = 40: must be at most 10"),
        (["TINY", "--data-dir", "nowhere", "--data", "real"], "nowhere"),
        (["nothing/like-it"], "did you mean"),
        (["TINY", "--runs-dir", "/dev/null"], "is a file; name a folder"),
        (["TINY", "--json", "no/such/x.json"], "--json"),
        (["TINY", "--workers", "2", "--local"], "workers"),
        (["pruning/imagenet-dense", "--data", "real"], "imagenet"),
    ],
)
def test_a_specification_that_cannot_be_planned_says_why(
    arguments: list[str], said: str, place: Path, tiny_spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *(tiny_spec if word == "TINY" else word for word in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    assert not (place / "frisket_runs").exists()
    assert not list((place / "temporary").iterdir())


def test_a_class_that_is_in_no_file_reaches_no_other_process(place: Path) -> None:
    row: Any = LEARNERS["er"]
    with pytest.raises(SpecError, match="is in no file"):
        frisket.plan("demo", uses=[type(row)(**{**vars(row), "name": "mine"})])


def test_figures_survive_being_kept(tmp_path: Path) -> None:
    found = figures(tmp_path, experiment("one-shot"))
    assert Figures.from_dict(json.loads(json.dumps(found.as_dict()))) == found


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (999, "999 B"), (1536, "1.5 KiB"), (2**30, "1 GiB"), (2**41, "2,048 GiB")]
)
def test_bytes_in_words(count: int, said: str) -> None:
    assert size(count) == said


# -- a cluster ---------------------------------------------------------------------------------------------------------


def node(name: str, *, alive: Any = True, **resources: Any) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": {"memory": 8.0 * 2**30, **resources}}


def test_nodes_that_are_alike_are_one_kind() -> None:
    gpu = node("c", CPU=8.0, GPU=1.0, **{"accelerator_type:H200": 1.0})
    lost = node("d", alive=False, CPU=64.0)
    found = node_kinds([node("a", CPU=4.0), node("b", CPU=4.0), gpu, lost, node("head")])
    assert [(kind.name, kind.nodes) for kind in found] == [
        ("4 CPUs, 8 GiB", ("a", "b")), ("8 CPUs, 1 GPUs (H200), 8 GiB", ("c",))
    ]  # fmt: skip


@pytest.mark.process
def test_on_a_cluster_a_node_of_every_kind_is_measured(ray_cluster: None, place: Path, tiny_spec: str) -> None:
    plan = frisket.plan(tiny_spec, ["stream.steps=20", "seeds=3"], data="embedded")
    (kind,) = plan.kinds
    assert (kind.nodes, kind.name.split(",")[0]) == (1, "2 CPUs")
    assert (plan.replicas, plan.workers, plan.local) == (3, 2, False)
    assert plan.seconds == kind.seconds > kind.slowest > 0
    assert not (place / "frisket_runs").exists()
    with pytest.raises(SpecError, match="at most 10"):
        frisket.plan(tiny_spec, ["stream.ways=40"], data="embedded")


def test_the_plan_of_a_cluster_is_that_of_its_slowest_kind(tmp_path: Path) -> None:
    one = experiment("replay")
    found = figures(tmp_path, one)
    slow = Figures.from_dict({**found.as_dict(), "start": found.start + 100})
    plans = {("4 CPUs", 2): plan_of(one, found, workers=2, local=False),
             ("1 CPU", 1): plan_of(one, slow, workers=2, local=False)}  # fmt: skip
    plan = on_kinds(plans)
    assert plan.seconds == plans["1 CPU", 1].seconds
    assert [(kind.name, kind.nodes) for kind in plan.kinds] == [("4 CPUs", 2), ("1 CPU", 1)]
