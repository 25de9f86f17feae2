"""The model flavour: data only, loaded by us and by mlflow.pyfunc alike, and refused when damaged."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
import yaml
from mlflow import MlflowClient
from mlflow.models import get_model_info
from runs import MakeRun

import frisket
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.parts.tree import flatten
from frisket.errors import ModelError
from frisket.files import read_sealed, write_json, write_sealed
from frisket.platform.model.index import write_index
from frisket.platform.model.model import FrisketModel
from frisket.platform.run.folder import RunFolder
from frisket.platform.tracking.flavor import save_model
from frisket.platform.tracking.uploader import Uploader
from frisket.types import Batch

X = np.random.default_rng(0).random((20, 1, 28, 28), dtype=np.float32)


@pytest.fixture(scope="session")
def model_folder(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model. Not to be changed."""
    path = tmp_path_factory.mktemp("model") / "model"
    save_model(path, finished)
    return path


@pytest.fixture
def broken(model_folder: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(model_folder, tmp_path / "broken"))


def test_folder_holds_data_only(model_folder: Path, finished: RunFolder) -> None:
    files = {p.relative_to(model_folder).as_posix() for p in model_folder.rglob("*") if p.is_file()}
    replicas = {f"data/replicas/{r.key}/state.safetensors" for r in finished.experiment.replicas()}
    masks = {f"data/replicas/sparse-seed{i}/masks.safetensors" for i in (0, 1)}
    described = {"MLmodel", "requirements.txt", "python_env.yaml"}
    assert files == described | replicas | masks | {f"data/{n}.json" for n in ("spec", "provenance", "model")}
    flavors = yaml.safe_load((model_folder / "MLmodel").read_text())["flavors"]
    assert flavors["python_function"]["loader_module"] == "frisket.platform.tracking.flavor"
    assert "code" not in flavors["python_function"]
    assert "python_model" not in flavors["python_function"]


def test_loading_imports_nothing_from_the_folder(model_folder: Path, tmp_path: Path) -> None:
    """Planted code would run if anything put the folder on the path or unpickled from it."""
    path = Path(shutil.copytree(model_folder, tmp_path / "model"))
    for name in ("yaml", "frisket", "sitecustomize", "conftest", "spec"):
        (path / "data" / f"{name}.py").write_text("raise SystemExit('planted code ran')")
    (path / "data" / "model.pkl").write_bytes(b"cos\nsystem\n(S'exit 7'\ntR.")
    code = (
        "import sys, frisket\n"
        "model = frisket.load_model(sys.argv[1])\n"
        "assert not any(str(getattr(m, '__file__', '')).startswith(sys.argv[1]) for m in list(sys.modules.values()))\n"
        "assert sys.argv[1] not in sys.path\n"
        "assert 'mlflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pyfunc_and_frisket_agree_bit_for_bit(model_folder: Path, finished: RunFolder) -> None:
    ours, theirs = frisket.load_model(model_folder), mlflow.pyfunc.load_model(str(model_folder))
    default = ours.predict(X)
    assert default.shape == (20, 10)
    assert default.dtype == np.float32
    assert default.sum(1) == pytest.approx(np.ones(20), abs=1e-5)
    assert np.array_equal(theirs.predict(X), default)
    other = ours.predict(X, seed=1, variant="fixed")
    assert np.array_equal(theirs.predict(X, params={"seed": 1, "variant": "fixed"}), other)
    assert not np.array_equal(other, default)
    assert np.array_equal(frisket.load_model(finished.path).predict(X), default)


def test_signature(model_folder: Path) -> None:
    signature = get_model_info(str(model_folder)).signature
    assert signature is not None
    assert signature.inputs.inputs[0].shape == (-1, 1, 28, 28)
    assert signature.outputs.inputs[0].shape == (-1, 10)
    assert {p.name: p.default for p in signature.params.params} == {"seed": 0, "variant": "sparse"}


def test_state_is_the_runs_and_learning_can_go_on(model_folder: Path, finished: RunFolder) -> None:
    model, direct = FrisketModel.load(model_folder / "data"), FrisketModel.of_run(finished)
    for variant in model.variants:
        for seed in model.seeds:
            ours, theirs = flatten(model.state(seed, variant)), flatten(direct.state(seed, variant))
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    batch = Batch(torch.from_numpy(X[:10]), torch.arange(10), position=30)
    before = model.predict(X)
    state, _ = model.learner.observe(model.state(), batch)
    assert int(state["step"]) == 31
    assert np.array_equal(model.predict(X), before)  # the model itself is not touched


def test_masks_are_those_of_the_run(model_folder: Path, finished: RunFolder) -> None:
    model = frisket.load_model(model_folder)
    assert model.masks(seed=1) == MaskSet.load(finished.replica("sparse-seed1").masks)
    assert model.masks(seed=1) == MaskSet.load(model_folder / "data/replicas/sparse-seed1/masks.safetensors")
    assert not model.masks(variant="fixed")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"x": X[0]}, r"x = \(1, 28, 28\): must have shape \(N, 1, 28, 28\)"),
        ({"x": "a file"}, r"x = 'str': must have shape \(N, 1, 28, 28\), of numbers"),
        ({"x": [[1.0], [2.0, 3.0]]}, r"x = 'list': must have shape \(N, 1, 28, 28\), of numbers"),
        ({"x": X, "seed": 2}, "seed = 2: one of: 0, 1"),
        ({"x": X, "variant": "spare"}, "variant = 'spare': one of: sparse, fixed"),
    ],
)
def test_wrong_use_is_told(model_folder: Path, call: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        frisket.load_model(model_folder).predict(**call)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_damage_is_found(broken: Path) -> None:
    _flip(broken / "data/replicas/fixed-seed1/state.safetensors")
    with pytest.raises(ModelError, match=r"replicas/fixed-seed1/state.safetensors is damaged"):
        frisket.load_model(broken)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index.update(files={}), "model.json has no digest of spec.json"),
        (
            lambda index: index["files"].pop("replicas/fixed-seed1/state.safetensors"),
            "no digest of replicas/fixed",
        ),
        (lambda index: index["files"].update({"../../../../../../dev/zero": "0"}), "a file outside the folder: '../"),
        (lambda index: index["files"].update({"/dev/zero": "0"}), "a file outside the folder: '/dev/zero'"),
        (lambda index: index["files"].update({"link": "0"}), "a file outside the folder: 'link'"),
        (lambda index: index["files"].update({"pipe": "0"}), "pipe is missing, or no regular file"),
        (lambda index: index["files"].update({"replicas": "0"}), "replicas is missing, or no regular file"),
        (lambda index: index["files"].update({"a\0b": "0"}), "damaged"),
        (lambda index: index.update(replicas={}), "damaged"),
        (lambda index: index["replicas"]["fixed-seed1"].update(ways=-5), "cannot be of a replica's inputs"),
        (lambda index: index["replicas"]["fixed-seed1"].update(ways=True), "cannot be of a replica's inputs"),
        (lambda index: index["replicas"]["fixed-seed1"].update(ways=10**12), "cannot be of a replica's inputs"),
        (lambda index: index["replicas"]["fixed-seed1"].update(own=0), "cannot be of a replica's inputs"),
        (lambda index: index["replicas"]["fixed-seed1"].update(shape=[1, 28]), "cannot be of a replica's inputs"),
        (lambda index: index["replicas"]["fixed-seed1"].update(shape=[2**13] * 3), "cannot be of a replica's inputs"),
        (lambda index: index["replicas"]["fixed-seed1"].update(names=[1]), "cannot be of a replica's inputs"),
        (lambda index: index.update(format="frisket-model/1"), "has format 'frisket-model/1'"),
    ],
)
def test_an_index_that_makes_no_sense_is_refused_unread(
    broken: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    """Although its digest is right: whoever makes such a folder can make a digest too."""
    index = read_sealed(broken / "data/model.json")
    (broken / "data/link").symlink_to("/dev/zero")
    os.mkfifo(broken / "data/pipe")
    change(index)
    write_sealed(broken / "data/model.json", index)
    with pytest.raises(ModelError, match=re.escape(message)):
        frisket.load_model(broken)


def test_an_index_that_is_no_file_is_refused(broken: Path) -> None:
    (broken / "data/model.json").unlink()
    (broken / "data/model.json").symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="is no regular file"):
        frisket.load_model(broken)


def test_an_index_without_a_digest_is_refused(broken: Path) -> None:
    write_json(broken / "data/model.json", read_sealed(broken / "data/model.json"))
    with pytest.raises(ModelError, match=r"model.json carries no digest of its content.*earlier frisket"):
        frisket.load_model(broken)


def test_missing_file_is_found(broken: Path) -> None:
    (broken / "data/replicas/fixed-seed1/state.safetensors").unlink()
    with pytest.raises(ModelError, match=r"state.safetensors is missing"):
        frisket.load_model(broken)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "frisket-model/9"}'])
def test_foreign_index_is_refused(broken: Path, text: str) -> None:
    (broken / "data/model.json").write_text(text)
    with pytest.raises(ModelError):
        frisket.load_model(broken)


def test_spec_of_another_version_is_refused(broken: Path) -> None:
    spec = broken / "data/spec.json"
    spec.write_text(spec.read_text().replace("sparse-cmaml", "method-of-tomorrow"))
    write_index(broken / "data", read_sealed(broken / "data/model.json")["replicas"])
    with pytest.raises(ModelError, match=r"does not fit this frisket: .*method-of-tomorrow"):
        frisket.load_model(broken)


def test_other_flavours_and_non_models_are_refused(broken: Path, tmp_path: Path) -> None:
    (broken / "MLmodel").write_text("flavors: {sklearn: {}}")
    with pytest.raises(ModelError, match="its flavours are sklearn"):
        frisket.load_model(broken)
    with pytest.raises(ModelError, match="no readable MLmodel"):
        frisket.load_model(tmp_path)
    with pytest.raises(ModelError, match="no such folder"):
        frisket.load_model(tmp_path / "nowhere")


def test_unfinished_run_is_no_model(finished_run: MakeRun) -> None:
    folder = finished_run("sqlite:///none.db")
    (folder.replica("fixed-seed0").path / "result.json").unlink()
    with pytest.raises(ModelError, match="--resume"):
        frisket.load_model(folder.path)
    with pytest.raises(ModelError, match="is not finished"):
        save_model(folder.path / "model", folder)


def test_every_kind_of_uri(tmp_path: Path, finished_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another working folder than the store's, with the store named and by the environment."""
    uri = f"sqlite:///{tmp_path}/store/mlflow.db"
    (tmp_path / "store").mkdir()
    folder = finished_run(uri)
    assert Uploader(folder).push().complete
    parent = read_sealed(folder.path / "upload.json")["parent"]
    MlflowClient(uri, registry_uri=uri).set_registered_model_alias("tiny-pair", "best", "1")
    expected = FrisketModel.of_run(folder).predict(X)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for name in ("models:/tiny-pair/1", "models:/tiny-pair/latest", "models:/tiny-pair@best", f"runs:/{parent}/model"):
        assert np.array_equal(frisket.load_model(name).predict(X), expected), name
        assert np.array_equal(mlflow.pyfunc.load_model(name).predict(X), expected), name
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert np.array_equal(frisket.load_model("models:/tiny-pair/1", tracking_uri=uri).predict(X), expected)
    there = "there are versions 1, aliases best"
    for wrong, said in {
        "models:/tiny-pair/7": there,
        "models:/tiny-pair@worst": there,
        "models:/tiny-pai/1": "no model has that name; did you mean 'tiny-pair'",
        "models:/nobody/latest": "no model has that name; known: tiny-pair",
        "models:/m-0123": "m-0123",
        "runs:/0123/model": "0123",
        f"runs:/{parent}/other": "the run has no model 'other', only ['model']",
    }.items():
        with pytest.raises(ModelError, match=re.escape(said)) as caught:
            frisket.load_model(wrong, tracking_uri=uri)
        assert caught.value.fix.startswith(f"is not in MLflow at {uri}: ")
    assert os.listdir() == []


def test_a_run_without_its_final_state_is_no_model(finished_run: MakeRun) -> None:
    folder = finished_run("sqlite:///none.db")
    folder.replicas()[0].final.unlink()
    with pytest.raises(ModelError, match=r"final\.safetensors"):
        FrisketModel.of_run(RunFolder.open(folder.path))
