"""What a few-shot learner decides for tasks of each domain: gathered, compared, kept, shown; and that a mask which is
the same for all domains is said to be (gems spec, section 8, fact 11)."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from runs import gone_on
from scipy.stats import f_oneway
from servers import Server
from torch import Tensor
from typer.testing import CliRunner

import frisket
from frisket.algos.learner import Decided, Deciding
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.store import MaskStore
from frisket.algos.parts.tree import equal_states
from frisket.envs.episode_stream import EpisodeStream
from frisket.errors import MaskError, ModelError, RunError
from frisket.platform.cli.main import main
from frisket.platform.cli.masks import app, masks_of
from frisket.platform.model.model import FrisketModel, write_model
from frisket.platform.protocols.decisions import (
    APART,
    CHANCE,
    COUNT,
    DIFFERING,
    LAYERS,
    OVERLAP,
    WITHIN,
    Decisions,
    chances,
    gather,
    overlaps,
    read_decisions,
)
from frisket.platform.reports.card import note
from frisket.platform.reports.decisions import DECISIONS, draw_decisions
from frisket.platform.reports.figure import SHADES, Heading
from frisket.platform.reports.figures import draw_figures
from frisket.platform.run.collapse import collapsed, collapses, sentence
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import last_step, read_journal
from frisket.platform.run.summary import summarise
from frisket.platform.specs.build import Inputs, build_learner, build_stream, load_data
from frisket.platform.specs.experiment import load_spec
from frisket.platform.tracking.uploader import Uploader
from frisket.platform.verbs.run import execute
from frisket.rng import numpy_generator
from frisket.types import Batch, State

DOMAINS = ("glyphs", "patches")
TINY: dict[str, Any] = {
    "name": "decided", "seeds": 1, "log_every": 2, "checkpoint_seconds": 1000.0,
    "stream": {"kind": "mixed-episodes", "domains": dict.fromkeys(DOMAINS), "ways": 2, "queries": 2, "steps": 16},
    "network": {"kind": "conv4", "channels": 2, "adapt_norm": True},
    "learner": {"kind": "bmp", "inner_steps": 2, "meta_batch": 4, "alpha": 0.3},
    "protocol": {"kind": "few-shot-accuracy", "every": 2, "validation_episodes": 4, "test_episodes": 6},
}  # fmt: skip
STILL = {**TINY["learner"], "gamma_m": 0.0}
"""An adapter that learns nothing."""


def run(parent: Path, stop_after: int = 0, **changes: Any) -> RunFolder:
    return gone_on({**TINY, **changes}, parent, stop_after)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run whose adapter is as it began. Not to be changed."""
    return run(tmp_path_factory.mktemp("still"), learner=STILL)


def warnings_of(folder: RunFolder) -> list[str]:
    lines = (line for line, _ in read_journal(folder.replicas()[0].journal))
    return [line["warning"] for line in lines if "warning" in line]


# -- the test ----------------------------------------------------------------------------------------------------------


def tasks(n: int, means: Sequence[float], key: int = 0, spread: float = 1.0) -> Tensor:
    """One decision of ``n`` tasks of each domain, normal about its mean: [n domains, 1], the domains in turn."""
    noise = numpy_generator(3, "tasks", key).standard_normal((n, len(means)))
    return torch.tensor(np.array(means) + spread * noise).reshape(-1, 1)


def test_chance_is_that_of_an_analysis_of_variance() -> None:
    """Of one decision, normally distributed: the F test's own, as nearly as 999 deals say it."""
    for key, means in enumerate([(0.0, 0.0), (0.0, 0.5), (0.0, 0.3, 0.6), (0.2, 0.0, 0.0, 0.0)]):
        values = tasks(20, means, key)
        wanted = f_oneway(*(values[i :: len(means), 0].numpy() for i in range(len(means)))).pvalue
        assert float(chances(values, len(means), seed=0)) == pytest.approx(wanted, abs=0.05)


def test_chance_holds_for_all_decisions_together() -> None:
    """Of 20 decisions of noise alone one is below 0.05 in about a twentieth of the cases, not in 1 - 0.95^20 = 64 %."""
    found = [
        float(chances(torch.cat([tasks(8, (0.0, 0.0, 0.0), 20 * i + j) for j in range(20)], 1), 3, seed=i).min())
        for i in range(40)
    ]
    assert sum(p <= 0.05 for p in found) <= 6
    assert max(found) > 0.5


def test_a_decision_that_differs_is_found_among_others_and_a_constant_one_is_not() -> None:
    noise = [tasks(10, (0.0, 0.0), key) for key in range(3)]
    told = [*noise, tasks(10, (0.0, 1.0), 9, spread=0.1), torch.full((20, 1), 0.1)]
    bits = torch.tensor([0.0, 1.0] * 10, dtype=torch.float64)[:, None]
    found = chances(torch.cat([*told, bits], 1), 2, seed=5)
    assert found[3] == found[5] == 0.001
    assert bool((found[:3] > 0.05).all())
    assert found[4] == 1
    assert torch.equal(found, chances(torch.cat([*told, bits], 1), 2, seed=5))
    assert found.dtype == torch.float64


@pytest.mark.parametrize(("n", "domains", "told"), [(4, 2, False), (5, 2, True), (2, 3, False), (3, 3, True)])
def test_of_too_few_tasks_nothing_is_said(n: int, domains: int, told: bool) -> None:
    """Two times 4 tasks can be dealt out in 35 ways, two times 5 in 126: more than 100 are needed."""
    found = chances(tasks(n, range(domains), spread=0.01), domains, seed=0)
    assert bool(found.isnan().all()) is not told
    assert not told or float(found) <= 0.02
    assert bool(chances(tasks(50, (0.0,)), 1, seed=0).isnan().all())


def made(**changes: Any) -> Decisions:
    """Of two domains, 2 steps and 2 layers: one decision far apart, one hardly, one alike, the rates apart by 20 %."""
    opened = np.array([[[0.9, 0.5], [0.505, 0.3]], [[0.1, 0.5], [0.5, 0.4]]])
    rate = np.array([[0.09, 0.1], [0.11, 0.1]])
    chance = np.array([[0.001, 1.0, 0.001], [0.001, 0.2, 0.9]])
    overlap = np.array([[0.9, 0.4], [0.4, 0.8]])
    values = {
        "domains": ("a", "b"), "layers": ("conv", "head"), "tasks": 10, "open": opened, "open_spread": 0 * opened,
        "rate": rate, "rate_spread": 0.1 * rate, "chance": chance, "overlap": overlap,
    }  # fmt: skip
    return Decisions(**{**values, **changes})


def test_a_difference_is_one_by_chance_and_by_size() -> None:
    found = made()
    np.testing.assert_allclose(found.apart, [[0.8, 0, 0.2], [0.005, 0.1, 0]], atol=1e-12)
    assert found.differing.tolist() == [[True, False, True], [False, False, False]]
    wanted = {COUNT: 6, DIFFERING: 2, LAYERS: 1, APART: 0.8, CHANCE: 0.001, OVERLAP: 0.4, WITHIN: 0.85}
    assert found.metrics() == pytest.approx(wanted)
    assert collapsed(found.metrics()) is None

    assert made(rate=0 * found.rate).apart[:, -1].tolist() == [0, 0]  # so small that nothing is left of it

    nan = np.full((2, 3), np.nan)
    assert made(chance=nan).metrics().keys() == {OVERLAP, WITHIN}
    assert collapsed(made(chance=nan).metrics()) is None
    none = np.zeros((2, 0))
    given = made(rate=none, rate_spread=none, chance=found.chance[:, :2])
    assert given.differing.tolist() == [[True, False], [False, False]]
    alone = made(domains=("a",), open=found.open[:1], rate=found.rate[:1], overlap=found.overlap[:1, :1])
    assert alone.metrics() == {}


def test_where_none_differs_the_number_behind_it_is_said() -> None:
    metrics = made(chance=np.full((2, 3), 0.03)).metrics()
    found = collapsed(metrics)
    assert found is not None
    assert (found.decisions, found.apart, found.chance) == (6, pytest.approx(0.8), 0.03)
    assert sentence("seed0", found) == (
        "seed0: mask collapsed: none of 6 decisions differs between domains (two domains' means lie at most 0.8 apart; "
        "least p = 0.03; what differs is 0.01 apart at p <= 0.01). It adapts to all domains alike."
    )


def test_decisions_go_through_json() -> None:
    for one in (made(), made(chance=np.full((2, 3), np.nan), rate=np.zeros((2, 0)), rate_spread=np.zeros((2, 0)))):
        again = Decisions.from_dict(json.loads(json.dumps(one.as_dict(), allow_nan=False)))
        for field in dataclasses.fields(Decisions):
            np.testing.assert_array_equal(getattr(again, field.name), getattr(one, field.name))


def test_overlap_is_that_of_even_and_odd_tasks() -> None:
    """By hand; of bits it is that of MaskSets."""
    counts = [[[2, 1, 0, 0], [1, 1, 0, 0]], [[0, 2, 2, 0], [0, 1, 0, 0]]]  # of 2 even tasks and an odd one
    adapted = [[{"w": torch.tensor(one)} for one in domain] for domain in counts]
    even, odd = ([np.array(domain[i]) / (2, 1)[i] for domain in counts] for i in (0, 1))
    ways = np.array([[np.minimum(a, b).sum() / np.maximum(a, b).sum() for b in odd] for a in even])
    np.testing.assert_allclose(overlaps(adapted, 3), (ways + ways.T) / 2)
    assert overlaps(adapted, 3)[0, 0] == 1.5 / 2

    masks = [MaskSet({"w": torch.tensor(one, dtype=torch.bool)}) for one in ([1, 1, 0, 0], [0, 1, 1, 0])]
    same = [[{"w": 3 * one["w"].int()}] * 2 for one in masks]
    np.testing.assert_allclose(overlaps(same, 6), [[1, masks[0].overlap(masks[1])], [1 / 3, 1]])
    assert np.isnan(overlaps(same, 1)).all()
    shut = [[{"w": torch.zeros(3)}] * 2] * 2
    assert (overlaps(shut, 2) == 1).all()


# -- runs --------------------------------------------------------------------------------------------------------------


def by_hand(folder: RunFolder, count: int = 6) -> dict[str, list[Any]]:
    """What the model of ``folder`` decides for the first test tasks of every domain."""
    experiment = folder.experiment
    stream = build_stream(experiment, load_data(experiment, "embedded"), 0)
    learner = build_learner(experiment, Inputs.of(stream))
    assert isinstance(stream, EpisodeStream)
    assert isinstance(learner, Deciding)
    found: dict[str, list[Any]] = {domain: [] for domain in DOMAINS}
    for number in range(2 * count):
        episode = stream.episode("test", number)
        assert episode.task is not None
        support, _ = episode.sides()
        one = learner.decided(folder.replicas()[0].state, Batch(stream.numbers(support.x), support.y, number))
        found[episode.task.domain].append(one)
    return found


def test_a_domains_mask_is_what_most_of_its_tasks_had_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4 tasks of each domain: a weight that all had open, 3, 2 and 1; half is not most."""
    experiment = load_spec(TINY)
    stream = build_stream(experiment, load_data(experiment, "embedded"), 0)
    learner = build_learner(experiment, Inputs.of(stream))
    assert isinstance(stream, EpisodeStream)
    assert isinstance(learner, Deciding)

    def decided(state: State, support: Batch) -> Decided:
        number, domain = divmod(support.position, 2)
        opened = torch.tensor([number < count for count in (4, 3, 2, 1)])
        masks = MaskSet({"w": opened if domain == 0 else opened.flip(0)})
        return Decided(("w",), torch.full((1, 1), float(number)), None, masks)

    monkeypatch.setattr(learner, "decided", decided)
    found = gather(learner, learner.init(0), stream, 4)
    assert found is not None
    assert found.masks["w"].tolist() == [[True, True, False, False], [False, False, True, True]]
    assert found.decisions.open.tolist() == [[[1.5]], [[1.5]]]
    np.testing.assert_allclose(found.decisions.open_spread, 1.25**0.5)
    np.testing.assert_allclose(found.decisions.overlap.diagonal(), (1 + 0.5 + 0.5 + 0) / (1 + 1 + 0.5 + 0.5))


@pytest.mark.parametrize("kind", ["bmp", "mmsup"])
def test_a_run_keeps_what_its_best_point_decides(kind: str, tmp_path: Path) -> None:
    """In its record, its metrics and its masks; to the bit wherever it was stopped, also after its last step."""
    learner = {**TINY["learner"], "kind": kind}
    folder, stopped = run(tmp_path / "a", learner=learner), run(tmp_path / "b", stop_after=2, learner=learner)
    (files,), (other,) = folder.replicas(), stopped.replicas()
    found = read_decisions(last_step(files.journal))
    assert found is not None
    assert (found.domains, found.tasks) == (DOMAINS, 6)
    store = files.domain_masks
    assert store is not None
    for i, (domain, each) in enumerate(by_hand(folder).items()):
        opened = torch.stack([one.open for one in each])
        np.testing.assert_allclose(found.open[i], opened.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.open_spread[i], opened.std(0, correction=0), rtol=1e-9, atol=1e-12)
        if kind == "bmp":
            np.testing.assert_allclose(found.rate[i], torch.stack([one.rate for one in each]).mean(0), rtol=1e-12)
        for name in store[i]:
            most = torch.stack([one.masks[name] for one in each]).sum(0) > 3
            assert torch.equal(store[i][name], most), (domain, name)
    assert found.open.shape == ((2, 2, 5) if kind == "bmp" else (2, 1, 5))
    assert found.rate.shape == ((2, 2) if kind == "bmp" else (2, 0))
    (result,) = folder.results()
    assert {k: v for k, v in result["metrics"].items() if k.startswith("decisions/")} == found.metrics()
    assert found.metrics()[COUNT] == (12 if kind == "bmp" else 5)

    assert last_step(other.journal) == last_step(files.journal)
    assert other.domain_masks is not None
    assert torch.equal(other.domain_masks.bits, store.bits)
    assert equal_states(other.state, files.state)
    assert stopped.results()[0]["metrics"] == result["metrics"]
    assert warnings_of(stopped) == warnings_of(folder)


@pytest.mark.parametrize(
    "learner",
    [
        {"kind": "bmp", "gamma_m": 0.01},
        {"kind": "mmsup", "gamma_m": 0.01, "statistics": "abs", "rms_momentum": 0.9},
    ],
    ids=["bmp", "mmsup"],
)
def test_11_domains_that_were_learned_are_adapted_to_differently(learner: dict[str, Any], tmp_path: Path) -> None:
    """After 80 outer steps on two domains whose pictures have other statistics. With 30 tasks of each, MMSUP's
    decisions differ by more than chance under some roundings only; with 60, under all seven that were tried."""
    stream = {**TINY["stream"], "shots": 3, "steps": 320}
    protocol = {**TINY["protocol"], "every": 1000, "validation_episodes": 2, "test_episodes": 60}
    folder = run(
        tmp_path, stream=stream, protocol=protocol, learner={**TINY["learner"], **learner, "order": 1},
        network={**TINY["network"], "channels": 8},
    )  # fmt: skip
    found = read_decisions(last_step(folder.replicas()[0].journal))
    assert found is not None
    assert found.differing.any()
    assert found.apart[found.differing].min() >= 0.01
    assert collapses(folder.results()) == {}
    assert warnings_of(folder) == []
    assert "collapsed" not in summarise(folder)
    assert "collapsed" not in note(folder, "5", "abc")


def test_an_adapter_that_decides_alike_has_collapsed_and_the_run_says_so(
    still: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    (found,) = collapses(still.results()).values()
    said = sentence("seed0", found)
    assert warnings_of(still) == [said]
    assert f"at most {found.apart:.3g} apart" in said
    assert 0 < found.apart < 0.01  # a fresh adapter's rates are not the same for all
    assert summarise(still)["collapsed"] == {"seed0": dataclasses.asdict(found)}
    text = note(still, "5", "abc")
    assert f"**Mask collapsed in 1 of 1 replicas**: all domains are adapted to alike. seed0: {found.text()}." in text
    assert "![what adapts to tasks of each domain](get-artifact?path=figures%2Fdecisions.png" in text
    with caplog.at_level(logging.WARNING, "frisket"):
        execute(still, local=True)
    assert [one.getMessage() for one in caplog.records] == [said]


def test_methods_that_decide_nothing_are_not_asked_for_it(tmp_path: Path) -> None:
    folder = run(tmp_path, learner={"kind": "maml", "inner_steps": 1, "meta_batch": 4})
    (files,), (result,) = folder.replicas(), folder.results()
    assert files.domain_masks is None
    assert not files.domains.exists()
    assert not any(name.startswith("decisions/") for name in result["metrics"])
    assert read_decisions(last_step(files.journal)) is None
    assert collapses(folder.results()) == {}
    assert "decisions.png" not in {path.name for path in draw_figures(folder)}
    with pytest.raises(ModelError, match="has no masks of domains"):
        FrisketModel.of_run(folder).masks(domain="glyphs")


def test_one_domain_has_its_picture_and_mask_and_is_compared_with_nothing(tmp_path: Path) -> None:
    stream = {"kind": "episodes", "dataset": "glyphs", "ways": 2, "queries": 2, "steps": 8}
    folder = run(tmp_path, stream=stream)
    (files,), (result,) = folder.replicas(), folder.results()
    assert not any(name.startswith("decisions/") for name in result["metrics"])
    assert files.domain_masks is not None
    assert len(files.domain_masks) == 1
    assert warnings_of(folder) == []
    assert {"decisions.png", "decisions.json"} <= {path.name for path in draw_figures(folder)}


# -- masks -------------------------------------------------------------------------------------------------------------


def test_a_model_has_a_mask_of_each_domain_beside_its_own(still: RunFolder, tmp_path: Path) -> None:
    write_model(still, tmp_path / "model")
    store = still.replicas()[0].domain_masks
    assert store is not None
    for model in (FrisketModel.load(tmp_path / "model"), frisket.load_model(still.path)):
        assert [model.masks(domain=domain) for domain in DOMAINS] == list(store)
        assert model.masks() == still.replicas()[0].mask_set
        with pytest.raises(ModelError, match="must be one of: glyphs, patches"):
            model.masks(domain="digits")
        with pytest.raises(ModelError, match="leave it out where a domain's masks are asked for"):
            model.masks(domain="glyphs", task=0)
    file = tmp_path / "model/replicas/seed0/domains.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with pytest.raises(ModelError, match="damaged"):
        FrisketModel.load(tmp_path / "model")


def test_masks_of_domains_that_are_anothers_are_refused(still: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(still.path, tmp_path / still.run_id)
    folder = RunFolder.open(tmp_path / still.run_id)
    (files,) = folder.replicas()
    store = files.domain_masks
    assert store is not None
    MaskStore(store.shapes, store.bits ^ 1).save(files.domains)
    with pytest.raises(RunError, match=r"is not the file that its result.json was written with"):
        folder.require_whole()


def test_masks_of_domains_that_have_gone_are_missed(still: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder.open(shutil.copytree(still.path, tmp_path / still.run_id))
    (files,) = folder.replicas()
    files.domains.unlink()
    with pytest.raises(ModelError, match=r"domains.safetensors.*no such file; remove it and the result.json"):
        masks_of(str(folder.path), None, None, None, None, "digits")


def test_masks_of_domains_on_the_command_line(still: RunFolder, tmp_path: Path) -> None:
    def told(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"}, catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    source, out = str(still.path), tmp_path / "out"
    assert "conv1.weight" in told("show", source, "--domain", "glyphs")
    assert "overlap" in told("diff", source, "--domain", "glyphs", "--other-domain", "patches")
    told("export", source, str(out), "--domain", "patches", "--no-pictures")
    assert MaskSet.load(out / "masks.safetensors") == masks_of(source, domain="patches")
    with pytest.raises(MaskError, match="names no domains"):
        masks_of(str(out / "masks.safetensors"), domain="patches")
    assert main(["masks", "show", source, "--domain", "digits"]) == 2


# -- the picture -------------------------------------------------------------------------------------------------------

HEADING = Heading("tiny/decided", "embedded data: glyphs, patches  |  1 seed")


def drawn(found: dict[str, list[Decisions]]) -> tuple[Any, list[Any]]:
    """The figure and its panels, without the scale."""
    figure: Any = draw_decisions(found, HEADING)
    return figure, [ax for ax in figure.axes if ax.axison and ax.get_label() != "<colorbar>"]


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_layers_are_down_and_inner_steps_across_and_a_star_says_what_differs() -> None:
    figure, axes = drawn({"bmp": [made(), made(open=made().open + 0.02)]})
    assert [ax.get_title() for ax in axes] == ["a", "b", "step size", "overlap of masks"]
    (cells,) = axes[0].images
    np.testing.assert_allclose(cells.get_array(), 100 * made().open[0].T + 1)
    assert (cells.get_clim(), cells.get_cmap().name) == ((0, 100), SHADES)
    assert texts(axes[0]) == ["91*", "52", "51", "31"]
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == ["conv", "head"]
    assert [tick.get_text() for tick in axes[0].get_xticklabels()] == ["1", "2"]
    for line, rate in zip([one.lines[0] for one in axes[2].containers], made().rate, strict=True):
        assert list(line.get_xdata()) == [1, 2]
        np.testing.assert_allclose(line.get_ydata(), rate)
    assert [tick.get_text() for tick in axes[2].get_xticklabels()] == ["1*", "2"]
    np.testing.assert_allclose(axes[3].images[0].get_array(), 100 * made().overlap)
    assert texts(axes[3]) == ["90.0", "40.0", "40.0", "80.0"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    scale = figure.axes[-1].get_xlabel()
    assert scale == "percent of tasks in which a layer adapts, and of overlap\n* differs between domains (p ≤ 0.01)"


def test_what_is_decided_once_has_domains_across() -> None:
    none = np.zeros((2, 0))
    once = made(open=made().open[:, :1], rate=none, rate_spread=none, chance=np.array([[0.5, 0.5]]))
    figure, axes = drawn({"mmsup": [once]})
    assert [ax.get_title() for ax in axes] == ["weights that adapt", "overlap of masks"]
    np.testing.assert_allclose(axes[0].images[0].get_array(), 100 * once.open[:, 0].T)
    assert [tick.get_text() for tick in axes[0].get_xticklabels()] == ["a", "b"]
    assert figure.axes[-1].get_xlabel() == "percent of weights that adapt, and of overlap"
    assert not figure.legends

    _, axes = drawn({"bmp": [made()], "mmsup": [once]})
    assert [ax.get_title() for ax in axes[-2:]] == ["mmsup\nweights that adapt", "mmsup\noverlap of masks"]


def test_one_domain_has_no_overlap() -> None:
    first = made()
    one = made(
        domains=("a",), open=first.open[:1], rate=first.rate[:1], rate_spread=first.rate[:1],
        overlap=first.overlap[:1, :1], chance=np.full((2, 3), np.nan),
    )  # fmt: skip
    figure, axes = drawn({"bmp": [one]})
    assert [ax.get_title() for ax in axes] == ["a", "step size"]
    assert figure.axes[-1].get_xlabel() == "percent of tasks in which a layer adapts"
    assert not figure.legends


def test_beside_the_picture_are_its_numbers(still: RunFolder, tmp_path: Path) -> None:
    assert DECISIONS.applies(still)
    DECISIONS.make(still, tmp_path)
    assert (tmp_path / "decisions.png").stat().st_size > 5000
    (said,) = json.loads((tmp_path / "decisions.json").read_text())["bmp"]
    assert said == last_step(still.replicas()[0].journal)["decisions"]


# -- MLflow ------------------------------------------------------------------------------------------------------------


def test_mlflow_has_the_picture_the_masks_and_the_warning(
    mlflow_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    folder = run(tmp_path, name="decided-still", learner=STILL)
    assert Uploader(folder).push().version == "1"
    client = MlflowClient(mlflow_server.uri)
    version = client.get_model_version("decided-still", "1")
    assert version.tags["frisket.mask_collapsed"] == "1 of 1 replicas"
    assert "**Mask collapsed in 1 of 1 replicas**" in str(version.description)
    parent = client.get_run(str(version.run_id))
    assert {"figures/decisions.png", "figures/decisions.json"} <= {
        one.path for one in client.list_artifacts(parent.info.run_id, "figures")
    }
    (child,) = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    (found,) = collapses(folder.results()).values()
    assert child.data.tags["frisket.mask_collapsed"] == found.text()
    assert child.data.metrics[APART] == parent.data.metrics[APART] == found.apart
    model = frisket.load_model("models:/decided-still/1")
    assert model.masks(domain="patches") == FrisketModel.of_run(folder).masks(domain="patches")
