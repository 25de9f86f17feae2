"""examples/own_method, copied out of the checkout: its update is the paper's, and it runs, is searched, resumed, loaded
again, spread over workers and registered with equal numbers."""

from __future__ import annotations

import ast
import doctest
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import frisket
from frisket.algos.learner import Learner, Method
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.parts.tree import flatten, map_tensors
from frisket.algos.state_file import load_state
from frisket.errors import ModelError, SpecError, Stopped
from frisket.platform.cli.main import main
from frisket.platform.run.engine import run_replica
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.uses import file_of
from frisket.platform.verbs.finished import FinishedRun
from frisket.platform.verbs.run import prepare
from frisket.rng import numpy_generator, torch_generator
from frisket.types import Batch, Params, State

Call = Callable[..., CompletedProcess[str]]

ROOMS = ("algos.learner", "algos.parts", "algos.networks.network", "errors", "rng", "types")
"""What a method of one's own may build on, beside what ``import frisket`` offers."""
BEST = "alpha=0.5,beta=1.0"
"""The point of grid.yaml that is derpp.yaml."""
WAYS, SIDE, SLOTS, DRAWN = 3, 3, 5, 4


@pytest.fixture(scope="module")
def example(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example. Not to be changed."""
    folder = tmp_path_factory.mktemp("elsewhere") / "own_method"
    shutil.copytree(checkout / "examples" / "own_method", folder)
    return folder


@pytest.fixture(scope="module")
def plain(example: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """derpp.yaml, run in this process without interruption. Not to be changed."""
    runs = tmp_path_factory.mktemp("plain")
    return frisket.run(str(example / "derpp.yaml"), local=True, runs_dir=runs)


@pytest.fixture
def stopped(example: Path, tmp_path: Path) -> RunFolder:
    """derpp.yaml, stopped after 20 steps of its first seed; the folder it was started from is gone."""
    start = shutil.copytree(example, tmp_path / "own_method")
    folder = prepare(str(start / "derpp.yaml"), runs_dir=tmp_path / "runs", register=False)
    shutil.rmtree(start)
    asked = iter([False] * 19)
    with pytest.raises(Stopped, match="stopped at step 20 of"):
        run_replica(folder, folder.experiment.replicas()[0], stop=lambda: next(asked, True))
    return folder


def metrics(results: list[dict[str, Any]], variant: str | None = None) -> list[dict[str, float]]:
    """What every seed measured; of a search, that of the point ``variant``."""
    return [result["metrics"] for result in results if result.get("variant") == variant]


def weights(run: Path) -> list[dict[str, torch.Tensor]]:
    """Every seed's state at the end."""
    return [flatten(load_state(files.final)[0]) for files in RunFolder.open(run).replicas()]


def method(example: Path) -> Method:
    """The row that the file declares."""
    (row,) = file_of(example / "derpp.py").rows
    assert isinstance(row, Method)
    return row


def small(example: Path, own: int | None = None, ways: int = WAYS, **fields: Any) -> tuple[Learner, MLP, State]:
    """A learner on a small network, and its state in float64."""
    row, network = method(example), MLP(MLPConfig(hidden=(4,)), in_channels=1, size=SIDE, ways=ways, own=own)
    config = row.config(**{"lr": 0.3, "memory_slots": SLOTS, "replay_batch": DRAWN, **fields})
    learner = row.build(config, network)
    return learner, network, map_tensors(lambda t: t.double() if t.is_floating_point() else t, learner.init(7))


def noise(position: int, count: int = 3, ways: int = WAYS) -> Batch:
    x = torch.rand(count, 1, SIDE, SIDE, generator=torch_generator(0, "noise", position), dtype=torch.float64)
    return Batch(x, torch.arange(count) % ways, position)


def test_is_short_and_builds_on_public_rooms_alone(example: Path) -> None:
    text = (example / "derpp.py").read_text()
    assert len(text.splitlines()) < 100
    nodes = list(ast.walk(ast.parse(text)))
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    ours = [name for name in names if name.partition(".")[0] == "frisket" and name != "frisket"]
    assert ours
    assert [name for name in ours if not name.removeprefix("frisket.").startswith(ROOMS)] == []


def test_its_own_example_runs(example: Path) -> None:
    result = doctest.testmod(sys.modules[method(example).build.__module__])
    assert (result.attempted > 0, result.failed) == (True, 0)


def test_a_step_is_that_of_algorithm_2(example: Path) -> None:
    """CE on the new samples, 0.4 times the mean squared distance of one draw's logits to those it had when it was new,
    0.6 times CE on another draw."""
    learner, network, state = small(example, alpha=0.4, beta=0.6)
    first, second = noise(0, count=4), noise(1)
    then = network(state["theta"], first.x)
    before, _ = learner.observe(state, first)
    memory = before["memory"]
    assert torch.equal(memory["x"][:4], first.x)
    assert torch.equal(memory["z"][:4], then)

    draws = numpy_generator(7, "derpp", 1).integers(0, 4, size=(2, DRAWN))
    assert draws[0].tolist() != draws[1].tolist()
    theta: Params = {k: v.clone().requires_grad_() for k, v in before["theta"].items()}
    distance = (network(theta, first.x[draws[0]]) - then[draws[0]]).square().sum() / (DRAWN * WAYS)
    replayed = F.cross_entropy(network(theta, first.x[draws[1]]), first.y[draws[1]])
    new = F.cross_entropy(network(theta, second.x), second.y)
    loss = new + 0.4 * distance + 0.6 * replayed
    grads = torch.autograd.grad(loss, list(theta.values()))
    expected = {k: v.detach() - 0.3 * g for (k, v), g in zip(theta.items(), grads, strict=True)}

    after, said = learner.observe(before, second)
    for name, value in expected.items():
        assert torch.allclose(after["theta"][name], value, rtol=0, atol=1e-12)
    assert said == pytest.approx({"loss_before": new.item(), "outer_loss": loss.item()})


def test_among_their_own_labels_a_replayed_sample_competes_with_its_own_tasks(example: Path) -> None:
    """With alpha 0 the logits of a block that neither draw nor batch is of get no gradient."""
    learner, network, state = small(example, own=2, ways=6, alpha=0.0)
    state, _ = learner.observe(state, noise(0, count=4, ways=2))
    before = state["theta"][network.head[0]].clone()
    batch = noise(1, count=4, ways=2)
    state, _ = learner.observe(state, Batch(batch.x, batch.y + 2, 1))
    moved = (state["theta"][network.head[0]] != before).any(1)
    assert moved.tolist() == [True] * 4 + [False] * 2


def test_memory_is_a_reservoir(example: Path) -> None:
    """Of 30 samples 5 are kept, each with the logits of its own time; over 200 seeds all about equally often."""
    learner, network, start = small(example, lr=1e-9)
    shown = [noise(t) for t in range(10)]
    x = torch.cat([batch.x for batch in shown]).flatten(1)
    kept, state, memory = np.zeros(30), start, start["memory"]
    for seed in range(200):
        state = {**map_tensors(torch.clone, start), "seed": torch.tensor(seed)}
        for batch in shown:
            state, _ = learner.observe(state, batch)
        memory = state["memory"]
        at = (memory["x"].flatten(1)[:, None] == x).all(2).nonzero()[:, 1]
        assert len(set(at.tolist())) == SLOTS
        assert torch.equal(memory["y"], torch.cat([batch.y for batch in shown])[at])
        kept[at.numpy()] += 1
    assert int(state["memory"]["age"]) == 30
    assert torch.allclose(memory["z"], network(start["theta"], memory["x"]), atol=1e-6)
    assert abs(kept[:15].sum() / 200 - SLOTS / 2) < 0.3  # four standard deviations
    assert 33 - 25 < kept.min() <= kept.max() < 33 + 25  # nearly five


def test_holds_to_what_every_method_must(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(example / "derpp.py")]) == 0, capsys.readouterr().out


def test_runs_in_this_process_and_keeps_its_text(plain: FinishedRun, example: Path) -> None:
    assert plain.summary["summary"]["ra"]["mean"] > 0.75  # plain SGD: 0.19
    use = file_of(example / "derpp.py")
    manifest = json.loads((plain.path / "run.json").read_text())
    assert manifest["experiment"]["uses"] == [{"name": "derpp.py", "sha256": use.sha256}]
    assert (plain.path / "uses" / "derpp.py").read_text() == use.text


def test_its_point_of_a_search_has_the_same_numbers(plain: FinishedRun, example: Path, tmp_path: Path) -> None:
    search = frisket.tune(str(example / "grid.yaml"), local=True, runs_dir=tmp_path)
    points = {point["label"]: point["score"] for point in search.summary["points"]}
    assert points[BEST] == plain.summary["summary"]["ra"]["mean"]
    assert points["alpha=0.0,beta=0.0"] < 0.3 < min(v for k, v in points.items() if k != "alpha=0.0,beta=0.0")
    assert search.summary["best"] == BEST
    assert search.summary["summary"] == plain.summary["summary"]
    found = RunFolder.open(search.path).results()
    assert metrics(found, BEST) == metrics(plain.summary["results"])


def test_resumed_elsewhere_it_goes_on_with_the_text_it_began_with(
    plain: FinishedRun, stopped: RunFolder, frisket: Call
) -> None:
    """In another process, where the method's file is nowhere but in the run's folder."""
    done = frisket("run", "--resume", str(stopped.path), "--local", "--json", "o.json")
    assert done.returncode == 0, done.stderr
    assert metrics(stopped.results()) == metrics(plain.summary["results"])
    for ours, theirs in zip(weights(stopped.path), weights(plain.path), strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(v, theirs[k]) for k, v in ours.items())


def test_a_kept_text_that_was_changed_is_refused(stopped: RunFolder) -> None:
    kept = stopped.uses / "derpp.py"
    kept.write_text(kept.read_text().replace("beta: float = 1.0", "beta: float = 2.0"))
    with pytest.raises(SpecError, match=r"uses = '.*derpp\.py': has changed: sha256 \w{64}, noted is"):
        frisket.run(resume=str(stopped.path), local=True)


def test_loads_again_with_its_file_and_says_which_without(plain: FinishedRun, example: Path) -> None:
    with pytest.raises(ModelError, match=r"uses = 'derpp\.py': .* pass it: --uses derpp\.py"):
        frisket.load_model(plain.path)
    model = frisket.load_model(plain.path, uses=[example / "derpp.py"])
    x = torch.rand(5, 1, 28, 28, generator=torch_generator(0, "x"))
    learner = model.learner_of(None)
    for seed in (0, 1):
        logits = learner.predict(model.member(seed, None).state, x)
        assert logits is not None
        assert np.array_equal(model.predict(x, seed=seed), logits.softmax(-1).numpy())


@pytest.mark.process
def test_two_workers_and_a_registered_model(plain: FinishedRun, example: Path, workplace: Path, frisket: Call) -> None:
    from frisket.platform.verbs.load import load_model

    done = frisket("run", str(example / "derpp.yaml"), "--workers", "2", "--json", "o.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((workplace / "o.json").read_text())
    assert metrics(result["results"]) == metrics(plain.summary["results"])
    assert result["mlflow"]["version"] == "1"
    store = f"sqlite:///{workplace}/mlflow.db"
    with pytest.raises(ModelError, match=r"uses = 'derpp\.py': .* pass it"):
        load_model("models:/derpp/1", tracking_uri=store)
    model = load_model("models:/derpp/1", tracking_uri=store, uses=[example / "derpp.py"])
    here = load_model(plain.path, uses=[example / "derpp.py"])
    x = torch.rand(5, 1, 28, 28, generator=torch_generator(0, "x"))
    assert np.array_equal(model.predict(x), here.predict(x))


@pytest.mark.slow
@pytest.mark.process
def test_search_on_ray(plain: FinishedRun, example: Path, workplace: Path, frisket: Call) -> None:
    done = frisket("tune", str(example / "grid.yaml"), "--workers", "2", "--json", "o.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((workplace / "o.json").read_text())
    assert (result["best"], result["mlflow"]["version"]) == (BEST, "1")
    assert result["summary"] == plain.summary["summary"]
