"""Models of sequences: every task answers under its mask, bit for bit, through frisket and through MLflow."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.models import get_model_info
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.scoring_server import predictions_to_json
from runs import tracked_copy
from servers import Server

import frisket
from frisket.algos.learners.tasks.protecting import ProtectingLearner
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.parts.inference import Form, infer_task
from frisket.algos.state_file import load_state, save_state
from frisket.envs.data import resolve
from frisket.envs.task_stream import TaskStream
from frisket.errors import MaskError, ModelError
from frisket.files import read_sealed
from frisket.platform.model.model import FrisketModel
from frisket.platform.reports.card import card
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_journal
from frisket.platform.specs.build import build_stream, datasets
from frisket.platform.tracking.flavor import save_model
from frisket.platform.tracking.uploader import Uploader
from frisket.types import Task

X = np.random.default_rng(0).random((20, 1, 28, 28), dtype=np.float32)
FORMS: tuple[Form, ...] = ("one_shot", "binary", "exhaustive")
kept = pytest.mark.parametrize("variant", ["epn", "packnet"])


@pytest.fixture(scope="session")
def model(sequence: RunFolder) -> FrisketModel:
    return frisket.load_model(sequence.path)


@pytest.fixture(scope="session")
def saved(sequence: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as an MLflow model. Not to be changed."""
    path = tmp_path_factory.mktemp("model") / "model"
    save_model(path, sequence)
    return path


@pytest.fixture(scope="session")
def pyfunc(saved: Path) -> PyFuncModel:
    return mlflow.pyfunc.load_model(str(saved))


def learned(folder: RunFolder, variant: str) -> tuple[ProtectingLearner, dict[str, Any]]:
    """The learner and its state as the run left them."""
    learner = FrisketModel.of_run(folder).learner_of(variant)
    assert isinstance(learner, ProtectingLearner)
    return learner, load_state(folder.replica(f"{variant}-seed0").final)[0]


def own_answer(folder: RunFolder, variant: str, x: np.ndarray, task: int) -> np.ndarray:
    """What the learner itself answers when it is shown the task's label."""
    learner, state = learned(folder, variant)
    label = Task("digits", tuple(range(10)), int(state["starts"][task]))
    logits = learner.predict(state, torch.from_numpy(x), label)
    assert logits is not None
    return logits.softmax(-1).numpy()


@kept
def test_every_task_answers_as_the_learner_does_bit_for_bit(
    variant: str, sequence: RunFolder, model: FrisketModel, pyfunc: PyFuncModel
) -> None:
    answers = [own_answer(sequence, variant, X, task) for task in range(3)]
    for task, answer in enumerate(answers):
        assert np.array_equal(model.predict(X, variant=variant, task=task), answer)
        assert np.array_equal(pyfunc.predict(X, params={"task": task, "variant": variant}), answer)
        assert np.array_equal(pyfunc.predict(X, params={"task": str(task), "variant": variant}), answer)
    assert not np.array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[1], answers[2])


@kept
def test_answers_are_those_the_run_was_judged_by(variant: str, sequence: RunFolder, model: FrisketModel) -> None:
    """Accuracy on every task's test set is the last row of the journal's matrix."""
    experiment = sequence.experiment.variant(variant)
    stream = build_stream(experiment, resolve(datasets(experiment), "embedded"), 0)
    assert isinstance(stream, TaskStream)
    journal = read_journal(sequence.replica(f"{variant}-seed0").journal)
    row = [line["step"]["row"] for line, _ in journal if "row" in line.get("step", {})][-1]
    for task in range(3):
        x, y = stream.test_set(task)
        answers = model.predict(x, variant=variant, task=task).argmax(-1)
        assert float((answers == y.numpy()).mean()) == pytest.approx(row[task], abs=1e-12)


@kept
@pytest.mark.parametrize("form", FORMS)
def test_inferred_task_is_told_and_answered(
    variant: str, form: Form, sequence: RunFolder, model: FrisketModel, pyfunc: PyFuncModel
) -> None:
    learner, state = learned(sequence, variant)
    wanted = infer_task(learner.tasks(state), torch.from_numpy(X), form)
    answer = own_answer(sequence, variant, X, wanted)
    assert model.task(X, variant=variant, form=form) == wanted
    assert np.array_equal(model.predict(X, variant=variant, task="infer", form=form), answer)
    params = {"task": "infer", "form": form, "variant": variant}
    assert np.array_equal(pyfunc.predict(X, params=params), answer)
    told = pyfunc.predict(X, params={**params, "return_task": True})
    assert told.keys() == {"probabilities", "task"}
    assert told["task"] == wanted
    assert np.array_equal(told["probabilities"], answer)


def test_what_is_told_can_be_served_as_json(pyfunc: PyFuncModel) -> None:
    text = io.StringIO()
    told = pyfunc.predict(X, params={"task": 1, "return_task": True})
    predictions_to_json(told, text)
    served = json.loads(text.getvalue())["predictions"]
    assert served["task"] == 1
    assert np.array_equal(np.array(served["probabilities"], np.float32), told["probabilities"])


def test_signature_declares_the_choice_of_a_task(saved: Path) -> None:
    signature = get_model_info(str(saved)).signature
    assert signature is not None
    assert {p.name: p.default for p in signature.params.params} == {
        "seed": 0, "variant": "epn", "task": None, "form": "exhaustive", "return_task": False,
    }  # fmt: skip


def test_model_holds_one_bit_per_weight_and_task(saved: Path, sequence: RunFolder) -> None:
    """The masks lie in the state, whose other tensors do not grow with the tasks but for what is kept for each."""
    state, _ = load_state(saved / "data/replicas/epn-seed0/state.safetensors")
    weights = 784 * 30 + 30 * 20 + 20 * 10
    assert state["store"].shape == (3, weights // 8)
    assert state["store"].dtype == torch.uint8
    assert {k: tuple(v.shape) for k, v in state["own"].items()} == {
        "fc1.bias": (3, 30), "fc2.bias": (3, 20), "fc3.bias": (3, 10),
    }  # fmt: skip
    assert not state["optimiser"]


def test_masks_of_a_task(model: FrisketModel, sequence: RunFolder) -> None:
    store = model.store()
    assert store is not None
    assert [model.masks(task=t) for t in range(3)] == list(store)
    learner, state = learned(sequence, "epn")
    assert model.masks(task=1) == MaskSet(learner.store(state).masks(1))
    assert model.masks() == ~MaskSet(store.union())
    assert model.store(variant="online") is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({}, "task = None: must be a task from 0 to 2, or 'infer'"),
        ({"task": 3}, "task = 3: must be a task from 0 to 2, or 'infer'"),
        ({"task": -1}, "task = -1: must be"),
        ({"task": True}, "task = True: must be"),
        ({"task": 1.0}, "task = 1.0: must be"),
        ({"task": "second"}, "task = 'second': must be"),
        ({"task": "²"}, "must be a task from 0 to 2"),
        ({"task": Task("digits", (0, 1), start=7)}, "must be a task from 0 to 2"),
        ({"task": "infer", "form": "two_shot"}, "form = 'two_shot': one of: one_shot, binary, exhaustive"),
        ({"task": "infer", "x": X[:0]}, r"x = \(0, 1, 28, 28\): must hold an input"),
        ({"task": 0, "variant": "online"}, "task = 0: tiny/sequence keeps no mask for each task; leave it out"),
        ({"task": "infer", "variant": "online"}, "keeps no mask for each task"),
    ],
)
def test_wrong_tasks_are_told(model: FrisketModel, call: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        model.predict(**{"x": X, **call})


def test_wrong_tasks_are_told_through_mlflow(pyfunc: PyFuncModel) -> None:
    for params, message in (
        ({}, "task = None"),
        ({"task": 3}, "task = '3'"),
        ({"task": "second"}, "task = 'second'"),
        ({"task": 0, "variant": "online"}, "keeps no mask"),
        ({"variant": "online", "return_task": True}, "keeps no mask"),
    ):
        with pytest.raises(ModelError, match=message):
            pyfunc.predict(X, params=params)


def test_no_task_needs_no_task(model: FrisketModel, pyfunc: PyFuncModel) -> None:
    """A variant without tasks answers as ever, and so does a model of a single task."""
    assert np.array_equal(pyfunc.predict(X, params={"variant": "online"}), model.predict(X, variant="online"))
    with pytest.raises(ModelError, match="keeps no mask for each task"):
        model.masks(variant="online", task=0)
    with pytest.raises(ModelError, match="keeps no mask for each task"):
        model.task(X, variant="online")


def end_again(folder: RunFolder, key: str) -> None:
    """Let the result of a replica speak of the files as they are now."""
    files = folder.replica(key)
    assert files.result is not None
    files.finish(files.result, files.result["journal_bytes"])


def test_the_only_task_need_not_be_named(sequence: RunFolder, tmp_path: Path) -> None:
    folder = tracked_copy(sequence, tmp_path, "sqlite:///none.db", "tiny/one")
    file = folder.replica("epn-seed0").final
    state, _ = load_state(file)
    first = {
        "starts": state["starts"][:1],
        "store": state["store"][:1],
        "own": {k: v[:1] for k, v in state["own"].items()},
    }
    save_state(file, {**state, **first}, {})
    end_again(folder, "epn-seed0")
    one = frisket.load_model(folder.path)
    assert np.array_equal(one.predict(X), own_answer(sequence, "epn", X, 0))
    assert one.task(X, None) == one.task(X) == 0
    with pytest.raises(ModelError, match="task = 1: must be 0, the only task, or 'infer'"):
        one.predict(X, task=1)


def test_masks_of_another_network_are_refused(sequence: RunFolder, tmp_path: Path) -> None:
    """And what is on disk stays as it is."""
    folder = tracked_copy(sequence, tmp_path, "sqlite:///none.db", "tiny/other")
    file = folder.replica("epn-seed0").final
    state, _ = load_state(file)
    save_state(file, {**state, "store": state["store"][:, 1:].clone()}, {})
    end_again(folder, "epn-seed0")
    before = file.read_bytes()
    other = frisket.load_model(folder.path)
    with pytest.raises(MaskError, match=r"must be uint8 of shape \(tasks, 3040\) for a network of 24320 weights"):
        other.predict(X, task=0)
    with pytest.raises(MaskError, match="3040"):
        other.store()
    assert file.read_bytes() == before


def test_card_says_how_to_name_a_task(sequence: RunFolder, tmp_path: Path) -> None:
    folder = tracked_copy(sequence, tmp_path, "sqlite:///none.db", "tiny/card")
    text = card(folder, "5", "abc", "tiny-card", "3")
    assert 'params={"seed": 0, "task": 0}' in text
    assert "return_task" in text
    assert "![what the tasks' masks take](get-artifact?path=figures%2Fcapacity.png&run_uuid=abc)" in text


@pytest.mark.process
def test_sequence_is_one_registered_version_with_its_capacity_report(
    sequence: RunFolder, tmp_path: Path, mlflow_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the run's folder through a real server to answers of ``mlflow.pyfunc``."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    folder = tracked_copy(sequence, tmp_path / "runs", mlflow_server.uri, "tiny/sequence-served")
    assert Uploader(folder).push().complete
    client = MlflowClient(mlflow_server.uri, registry_uri=mlflow_server.uri)
    (version,) = client.search_model_versions("name = 'tiny-sequence-served'")
    assert '"task": 0' in (version.description or "")
    loaded = mlflow.pyfunc.load_model("models:/tiny-sequence-served/1")
    ours = frisket.load_model("models:/tiny-sequence-served/1")
    for task in range(3):
        answer = own_answer(sequence, "epn", X, task)
        assert np.array_equal(loaded.predict(X, params={"task": task}), answer)
        assert np.array_equal(ours.predict(X, task=task), answer)
    told = loaded.predict(X, params={"task": "infer", "return_task": True})
    assert np.array_equal(told["probabilities"], own_answer(sequence, "epn", X, told["task"]))
    parent = read_sealed(folder.path / "upload.json")["parent"]
    names = {item.path for item in client.list_artifacts(parent, "figures")}
    assert {"figures/capacity.png", "figures/capacity.json"} <= names
    report = json.loads(Path(download_artifacts(f"runs:/{parent}/figures/capacity.json")).read_text())
    assert report.keys() == {"epn", "packnet"}
    store = ours.store()
    assert store is not None
    (seed,) = report["epn"]
    capacity = store.capacity()
    assert seed["free"] == capacity.free.tolist()
    assert np.array(seed["overlap"]) == pytest.approx(capacity.overlap, abs=1e-6)
    sizes = [{k: int(m.sum()) for k, m in masks.items()} for masks in store]
    for t, sizes_of in enumerate(sizes):
        assert seed["new"][t] + seed["reused"][t] == sum(sizes_of.values())
        for name, total in seed["weights"].items():
            assert seed["kept_of"][name][t] == pytest.approx(sizes_of[name] / total)
