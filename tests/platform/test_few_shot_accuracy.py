"""Few-shot runs from their specification: validated, judged at the best point alone, kept and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from servers import Server

import frisket
from frisket.algos.learner import Episodic
from frisket.algos.parts.tree import equal_states, flatten
from frisket.envs.kinds import STREAMS
from frisket.errors import ModelError, SpecError, Stopped, UserError
from frisket.platform.executors import local
from frisket.platform.protocols.few_shot_accuracy import FewShotAccuracy, accuracies, interval
from frisket.platform.protocols.protocol import Answers, Scored
from frisket.platform.reports.few_shot import FEW_SHOT, read_points
from frisket.platform.reports.figures import draw_figures
from frisket.platform.reports.masks import read_sparsity
from frisket.platform.run.engine import run_pack
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.build import Inputs, build_learner, build_stream, load_data
from frisket.platform.specs.experiment import load_spec
from frisket.platform.specs.text import parted
from frisket.platform.tracking.uploader import Uploader
from frisket.platform.verbs.run import prepare
from frisket.types import Batch, State

TINY: dict[str, Any] = {
    "name": "few", "seeds": 1, "log_every": 2, "checkpoint_seconds": 1000.0,
    "stream": {"kind": "episodes", "dataset": "glyphs", "ways": 3, "shots": 1, "queries": 2, "steps": 16},
    "network": {"kind": "conv4", "channels": 2},
    "learner": {"kind": "sparse-maml", "inner_steps": 1, "meta_batch": 2, "alpha": 0.3},
    "protocol": {"kind": "few-shot-accuracy", "every": 2, "validation_episodes": 3, "test_episodes": 4, "snapshots": 2},
}  # fmt: skip


def run(parent: Path, stops: tuple[int, ...] = (), **changes: Any) -> RunFolder:
    folder = prepare({**TINY, **changes}, data="embedded", runs_dir=parent)
    for after in stops:
        asked = iter([False] * (after - 1))
        with pytest.raises(Stopped):
            run_pack(folder, folder.packs[0], stop=lambda asked=asked: next(asked, True))
    local.execute(folder, data_dir=None, stop=lambda: False)
    return RunFolder.open(folder.path)


def records(folder: RunFolder, kind: str = "step") -> list[dict[str, Any]]:
    import json

    lines = folder.replicas()[0].journal.read_text().splitlines()
    return [line[kind] for line in map(json.loads, lines) if kind in line]


def test_a_run_is_the_same_wherever_it_was_stopped(tmp_path: Path) -> None:
    whole, stopped = run(tmp_path / "a"), run(tmp_path / "b", stops=(3, 2))
    states = [flatten(folder.replicas()[0].state) for folder in (whole, stopped)]
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())
    assert records(whole) == records(stopped)
    results = [folder.results()[0]["metrics"] for folder in (whole, stopped)]
    assert results[0] == results[1]
    assert {"accuracy", "accuracy/interval", "validation/accuracy", "validation/step", "sparsity"} <= results[0].keys()


def test_the_test_is_judged_at_the_best_validation_point_alone_and_the_model_is_its(tmp_path: Path) -> None:
    folder = run(tmp_path)
    said = records(folder)
    judged = [(i + 1, one["validation"], one.get("test")) for i, one in enumerate(said) if "validation" in one]
    assert [step for step, *_ in judged] == [2, 4, 6, 8]
    best = -1.0
    for _, validation, test in judged:
        assert (test is not None) == (validation > best)
        best = max(best, validation)
    step, validation, test = next(one for one in judged if one[1] == best)
    (result,) = folder.results()
    metrics = result["metrics"]
    assert (metrics["validation/step"], metrics["validation/accuracy"], metrics["accuracy"]) == (step, validation, test)

    points = read_points(folder.replicas()[0])
    assert points is not None
    assert points.steps.tolist() == [2, 4, 6, 8]
    assert points.validation.tolist() == [one[1] for one in judged]
    assert [None if np.isnan(one) else one for one in points.test.tolist()] == [one[2] for one in judged]
    FEW_SHOT.make(folder, tmp_path)
    assert (tmp_path / "accuracy.png").stat().st_size > 1000

    experiment = load_spec(TINY)
    stream = build_stream(experiment, load_data(experiment, "embedded"), 0)
    learner = build_learner(experiment, Inputs.of(stream))
    assert isinstance(learner, Episodic)
    kept, correct = folder.replicas()[0].state, []
    for number in range(4):
        support, query = stream.episode("test", number).sides()  # pyright: ignore
        adapted = learner.adapted(kept, Batch(stream.numbers(support.x), support.y, 0))  # pyright: ignore
        logits = learner.predict(adapted, stream.numbers(query.x))  # pyright: ignore
        assert logits is not None
        correct.append(float((logits.argmax(-1) == query.y).double().mean()))
    assert sum(correct) / 4 == pytest.approx(metrics["accuracy"])


def test_two_phases_a_start_and_then_where_to_learn_from_it(tmp_path: Path) -> None:
    """Pre-trained on episodes of the same classes; after it theta stands still and the mask alone is learned. Stopped
    in either phase it is the same."""
    pretrain = {"epochs": 2, "meta_batch": 2, "inner_steps": 1, "queries": 2, "meta_batches_per_epoch": 2,
                "validation_episodes": 2, "outer_lr": 0.01}  # fmt: skip
    changes = {"pretrain": pretrain, "learner": {**TINY["learner"], "learn_start": False, "gamma_m": 0.1}}
    folder, stopped = run(tmp_path / "a", **changes), run(tmp_path / "b", stops=(1, 4), **changes)
    states = [one.replicas()[0].state for one in (folder, stopped)]
    assert equal_states(*states)
    accuracies = [one["pretrain/accuracy"] for one in records(folder, "points") if "pretrain/accuracy" in one]
    assert len(accuracies) == 2

    experiment = load_spec({**TINY, **changes})
    stream = build_stream(experiment, load_data(experiment, "embedded"), 0)
    fresh = build_learner(experiment, Inputs.of(stream)).init(0)
    assert not torch.equal(states[0]["theta"]["conv1.weight"], fresh["theta"]["conv1.weight"])
    assert not torch.equal(states[0]["m"]["conv1.weight"], fresh["m"]["conv1.weight"])
    assert int(states[0]["outer"]["theta"]["t"]) == 0
    source = STREAMS["episodes"].episodes
    assert source is not None
    config = experiment.stream.config
    given = source(config, load_data(experiment, "embedded"), domain=None, queries=2, seed=0)
    assert not torch.equal(given.episode("train", 0).x, stream.batch(0).x)
    with pytest.raises(SpecError, match=r"pretrain.domain = 'digits': must be left out, or glyphs"):
        source(config, load_data(experiment, "embedded"), domain="digits", queries=2, seed=0)

    positions, closed = read_sparsity(folder.replicas()[0].journal)
    assert positions.tolist() == [1, 3, 5, 7]
    assert closed["overall"].shape == (4,)
    assert {"sparsity.png", "accuracy.png", "depth.png"} <= {one.name for one in draw_figures(folder)}


class Told(FewShotAccuracy):
    """Accuracies that are told instead of measured: of validation in turn, of test 0.5."""

    told: list[float]

    def _judged(self, answers: Answers, split: str, count: int, starts: Any) -> Any:
        self.asked.append((split, len(starts)))
        value = self.told.pop(0) if split == "validation" else 0.5
        return torch.full((count,), value, dtype=torch.float64)

    asked: list[tuple[str, int]]


def told(validations: list[float]) -> tuple[State, list[tuple[str, int]]]:
    experiment = load_spec(TINY)
    stream: Any = build_stream(experiment, load_data(experiment, "embedded"), 0)
    learner = build_learner(experiment, Inputs.of(stream))
    protocol = Told(experiment.protocol.config, stream)
    protocol.told, protocol.asked = list(validations), []
    scores, state = protocol.init(), learner.init(0)
    for step in range(1, 9):
        state = {**state, "step": torch.tensor(step)}
        batch = Batch(torch.zeros(1), torch.zeros(1), 2 * step - 1)
        (scored,) = protocol.after([Answers(learner, state, 3, True)], [Scored(scores, {})], [batch])
        scores = scored.scores
    return scores, protocol.asked


def test_the_best_points_are_kept_in_order_and_answer_together_at_the_end() -> None:
    scores, asked = told([0.4, 0.6, 0.5, 0.55])
    kept = scores["kept"]
    assert [(int(kept[str(i)]["step"]), float(kept[str(i)]["validation"])) for i in range(2)] == [(4, 0.6), (8, 0.55)]
    validation, test = ("validation", 1), ("test", 1)
    assert asked == [validation, test, validation, test, validation, validation, ("test", 2)]


def test_equal_validation_keeps_the_earlier_point() -> None:
    scores, _ = told([0.6, 0.6, 0.6, 0.6])
    assert [int(scores["kept"][str(i)]["step"]) for i in range(2)] == [2, 4]


def test_an_interval_is_that_of_the_normal() -> None:
    assert interval(torch.tensor([0.0, 1.0] * 50, dtype=torch.float64)) == pytest.approx(1.96 * 0.50252 / 10, rel=1e-4)
    assert interval(torch.tensor([0.3])) == 0


def test_a_model_is_evaluated_on_episodes_of_another_stream(tmp_path: Path) -> None:
    folder = run(tmp_path)
    same = frisket.evaluate(folder.path, TINY, episodes=4, data="embedded")
    (result,) = folder.results()
    assert same["summary"] == [
        {"variant": None, "accuracy": result["metrics"]["accuracy"], "std": 0.0, "n": 1,
         "interval": result["metrics"]["accuracy/interval"]}
    ]  # fmt: skip
    other = frisket.evaluate(folder.path, TINY, ["stream.shots=3"], episodes=4, split="validation", data="embedded")
    assert (other["shots"], other["split"], other["episodes"]) == (3, "validation", 4)
    assert other["norm"] == "transductive"
    for change, said in (
        ({"stream": {"kind": "rotations"}}, "must give episodes"),
        ({"stream": {**TINY["stream"], "ways": 4}}, "takes inputs of shape (1, 28, 28) in 3 ways"),
    ):
        with pytest.raises(UserError) as refused:
            frisket.evaluate(folder.path, {**TINY, **change}, episodes=4, data="embedded")
        assert said in refused.value.fix
    with pytest.raises(SpecError, match="validation"):
        frisket.evaluate(folder.path, TINY, split="validate", data="embedded")  # pyright: ignore[reportArgumentType]


def test_the_evaluation_of_a_registered_model_is_a_run_of_its_own(
    mlflow_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linked to the model, and one however often it is made."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    folder = prepare({**TINY, "name": "judged"}, data="embedded", runs_dir=tmp_path)
    local.execute(folder, data_dir=None, stop=lambda: False)
    assert Uploader(folder).push().version == "1"
    asked: dict[str, Any] = {"overrides": ["stream.shots=3"], "episodes": 4, "data": "embedded"}
    found = [frisket.evaluate(f"models:/judged/{version}", **asked) for version in ("1", "latest")]
    logged = found[0].pop("mlflow")
    assert found[1].pop("mlflow") == logged
    assert (logged["tracking_uri"], logged["reason"]) == (mlflow_server.uri, None)

    client = MlflowClient(mlflow_server.uri)
    made, version = client.get_run(logged["run_id"]), client.get_model_version("judged", "1")
    maker = client.get_run(str(version.run_id))
    assert maker.outputs is not None
    assert made.inputs is not None
    (model,) = [one.model_id for one in maker.outputs.model_outputs]
    assert made.info.experiment_id == maker.info.experiment_id
    assert made.data.metrics["accuracy"] == found[0]["summary"][0]["accuracy"]
    assert (made.data.params["shots"], made.data.tags["frisket.model"]) == ("3", "models:/judged/1")
    assert [one.model_id for one in made.inputs.model_inputs] == [model]
    shown = {one.key: one.value for one in client.get_logged_model(model).metrics or []}
    assert shown["accuracy"] == made.data.metrics["accuracy"]
    assert {one.path for one in client.list_artifacts(logged["run_id"])} == {"evaluation.json", "depth.png"}

    client.update_run(logged["run_id"], status="RUNNING")  # as if it had been broken off
    assert frisket.evaluate("models:/judged/1", **asked)["mlflow"] == logged
    assert client.get_run(logged["run_id"]).info.status == "FINISHED"
    assert frisket.evaluate("models:/judged/1", **asked, log=False)["mlflow"] is None
    assert frisket.evaluate(folder.path, episodes=2, data="embedded")["mlflow"] is None


def test_a_model_is_judged_on_its_own_stream_changed_and_with_other_steps(tmp_path: Path) -> None:
    folder = run(tmp_path)
    same = frisket.evaluate(folder.path, episodes=4, data="embedded")
    assert same["summary"][0]["accuracy"] == folder.results()[0]["metrics"]["accuracy"]
    shots = frisket.evaluate(folder.path, overrides=["stream.shots=3"], episodes=4, data="embedded")
    assert (shots["shots"], shots["overrides"]) == (3, ["stream.shots=3"])
    steps = ["learner.inner_steps_test=7"]
    more = frisket.evaluate(folder.path, TINY, steps, episodes=4, data="embedded")
    other = {**TINY, "learner": {**TINY["learner"], "inner_steps_test": 7}}
    experiment = load_spec(other)
    stream = build_stream(experiment, load_data(experiment, "embedded"), 0)
    learner = build_learner(experiment, Inputs.of(stream))
    found, _ = accuracies(learner, [folder.replicas()[0].state], stream, "test", 4)  # pyright: ignore
    assert more["summary"][0]["accuracy"] == float(found.mean())
    assert more["summary"] == frisket.evaluate(folder.path, overrides=steps, episodes=4, data="embedded")["summary"]


def test_overrides_of_the_method_are_told_from_others() -> None:
    method = ["learner.inner_steps_test=3", " learner ={kind: anil}"]
    others = ["stream.shots=3", "learners.x=1", "seeds=2"]
    assert parted([others[0], method[0], *others[1:], method[1]], "learner") == (method, others)
    with pytest.raises(SpecError, match="must be a list of texts"):
        parted("learner.x=1", "learner")


@pytest.mark.parametrize("change", ["learner.kind=fomaml", "learner={kind: fomaml, meta_batch: 2}"])
def test_what_a_model_has_learned_is_its_methods(change: str, tmp_path: Path) -> None:
    folder = run(tmp_path)
    with pytest.raises(SpecError, match="must leave what the model has learned as it is"):
        frisket.evaluate(folder.path, overrides=[change], episodes=1, data="embedded")


def test_what_a_judgement_cannot_heed_or_hold_is_refused(tmp_path: Path) -> None:
    folder = run(tmp_path)
    for change in ("network.channels=8", "protocol.test_episodes=3", "seeds=2"):
        with pytest.raises(SpecError, match="fields of stream, data and learner alone") as found:
            frisket.evaluate(folder.path, overrides=[change], episodes=1, data="embedded")
        assert found.value.field == change.partition("=")[0]
    with pytest.raises(SpecError, match="is more than this machine has left"):
        frisket.evaluate(folder.path, episodes=10**14, data="embedded")


def test_a_model_that_does_not_adapt_to_episodes_is_refused(tmp_path: Path) -> None:
    stream = {"kind": "osaka", "domains": {"glyphs": 1.0}, "ways": 3, "shots": 1, "steps": 2}
    other = {"stream": stream, "learner": {"kind": "online-adam"}, "protocol": {"kind": "online-accuracy"}}
    folder = run(tmp_path, **other)
    with pytest.raises(ModelError, match="must adapt to episodes, and online-adam does not"):
        frisket.evaluate(folder.path, TINY, episodes=4, data="embedded")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stream": {"kind": "rotations"}}, "needs a stream of episodes"),
        ({"protocol": {"kind": "online-accuracy"}}, "few-shot-accuracy"),
        ({"learner": {"kind": "er"}}, "learns from episodes"),
        ({"learner": {"kind": "fomaml", "meta_batch": 3}}, "a multiple of meta_batch = 3"),
    ],
)
def test_what_does_not_suit_is_refused_before_the_run(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=says):
        prepare({**TINY, **changes}, data="embedded", runs_dir=tmp_path)
    assert not list(tmp_path.iterdir())
