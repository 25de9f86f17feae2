"""One byte changed, anywhere in what frisket writes and reads again: what is read is what was written, or it is refused
by an error of frisket's own."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import strategies as st
from made import made_run
from mutations import COUNTS, JSON, VALUES, YAML, Kind, damaged, drawn, found, plain, refused, require_safe
from runs import new_run

import frisket
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.store import MaskStore
from frisket.algos.parts.tree import flatten
from frisket.algos.state_file import load_state, save_state
from frisket.envs.data.store import cached_arrays
from frisket.errors import FileError, FrisketError
from frisket.files import find_sealed, write_sealed
from frisket.platform.cluster.submission import _unpacked
from frisket.platform.model.model import FrisketModel, write_model
from frisket.platform.run.engine import run_replica
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import Journal, last_step, read_journal, require_whole
from frisket.platform.run.replicas import PackFolder, ReplicaFolder
from frisket.platform.specs.experiment import from_dict, load_spec
from frisket.platform.specs.typed import config_of
from frisket.platform.streaming.chunk import Chunk, Unpacked, pack
from frisket.platform.tables.reproduction import Reproduction
from frisket.platform.tables.table import Table, load_table, plan
from frisket.platform.tracking.record import Child, Record
from frisket.platform.verbs.load import _data_folder
from frisket.rng import torch_generator

STATE = {
    "theta": {"w": torch.rand(7, 5, generator=torch_generator(0, "w")), "b": torch.tensor([True, False])},
    "half": torch.rand(3, generator=torch_generator(0, "h")).bfloat16(), "step": torch.tensor(5), "none": {},
}  # fmt: skip
MASKS = {"fc1.weight": torch.arange(35).view(5, 7) % 3 == 0, "fc1.bias": torch.arange(5) < 2}
ARRAYS = {"images": np.arange(60, dtype=np.uint8).reshape(5, 1, 3, 4), "names": np.array(["a", "bc"])}


def state_file(folder: Path) -> Path:
    save_state(folder / "s.safetensors", STATE, {"cursor": "5", "about": "it"})
    return folder / "s.safetensors"


def read_state(path: Path) -> Any:
    state, metadata = load_state(path)
    return state, dict(sorted(metadata.items()))  # the file gives them back in any order


def checkpoint(folder: Path) -> Path:
    files = PackFolder(folder, [ReplicaFolder(folder / "replicas" / "seed0")])
    files.checkpoint.parent.mkdir()
    files.save({"learner": STATE, "scores": {"0": {}}}, {"cursor": 5, "journal_bytes": [0], "seconds": 1.5})
    return files.checkpoint


def read_checkpoint(path: Path) -> Any:
    state, metadata = found(PackFolder(path.parent.parent, [ReplicaFolder(path.parent / "seed0")]).load())
    return state, dict(sorted(metadata.items()))


def journal(folder: Path) -> Path:
    with Journal(folder / "journal.jsonl", keep=0) as written:
        for position in range(5):
            written.step(position, {"accuracy": position / 7, "domain": "ü"})
            written.points(position, {"accuracy": 0.5, "loss": float("inf")})
        written.warning(4, "told")
        PackFolder(folder, [ReplicaFolder(folder)]).commit([written.commit()], 5, 1.0)
    return folder / "journal.jsonl"


def read_lines(path: Path) -> Any:
    """As one who resumes, and one who sends: all that is known to be written."""
    length = ReplicaFolder(path.parent).committed_bytes()
    require_whole(path, length)
    return list(read_journal(path, stop=length)), last_step(path)


def manifest(folder: Path) -> Path:
    return made_run(folder, "run", {"accuracy": {0: 0.5, 1: None}}).path / "run.json"


def result(folder: Path) -> Path:
    return manifest(folder).parent / "replicas" / "seed0" / "result.json"


def summary(folder: Path) -> Path:
    return made_run(folder, "run", {"accuracy": {0: 0.5}}).path / "summary.json"


def read_summary(path: Path) -> Any:
    (row,) = frisket.runs(runs_dir=path.parent.parent)
    return found(row if row["problem"] is None else None)


def committed(folder: Path) -> Path:
    files = PackFolder(folder, [ReplicaFolder(folder)])
    files.commit([1234], 56, 7.5)
    return folder / "committed.json"


def progress(folder: Path) -> Path:
    write_sealed(folder / "progress.json", {"cursor": 3, "steps": 9, "seconds": 0.25, "diverged": 2}, durable=False)
    return folder / "progress.json"


def upload(folder: Path) -> Path:
    record = Record.of(RunFolder(folder))
    record.parent, record.children, record.version, record.open = "ab12", {"seed0": Child("cd34", 812)}, "1", True
    record.save()
    return record.path


def read_upload(path: Path) -> Any:
    record = Record.of(RunFolder(path.parent))
    found(record.parent)  # an empty one: all of it is looked for, and sent again
    return repr(record)


def sent(folder: Path) -> Path:
    write_sealed(folder / "sent.json", {"run_id": "ab12"})
    return folder / "sent.json"


def reproduction(folder: Path) -> Path:
    table = load_table("lamaml/table1")
    cells = plan(table, rows=["Online"], columns=["rotations"], scale="smoke")
    made = Reproduction.create(
        folder, table, cells, scale="smoke", data="embedded", register=False, reuse=False, out=None, tracking={}
    )  # fmt: skip
    return made.path / "reproduction.json"


def cache(folder: Path) -> Path:
    cached_arrays(folder, "key", lambda: ARRAYS)
    return folder / "arrays" / "key.npz"


def read_cache(path: Path) -> Any:
    content = path.read_bytes()
    arrays = cached_arrays(path.parent.parent, "key", dict)
    path.write_bytes(content)
    return found(arrays or None)  # made again


def set_of_masks(folder: Path) -> Path:
    return MaskSet(MASKS).save(folder / "masks.safetensors")


def store_of_masks(folder: Path) -> Path:
    store = MaskStore({k: tuple(v.shape) for k, v in MASKS.items()})
    return store.appended(MASKS).appended(MASKS).save(folder / "store.safetensors")


KINDS = {
    "state file": Kind(state_file, read_state),
    "checkpoint": Kind(checkpoint, read_checkpoint),
    "journal": Kind(journal, read_lines),
    "run.json": Kind(manifest, lambda path: RunFolder.open(path.parent).manifest, form=JSON),
    "result.json": Kind(result, lambda path: found(ReplicaFolder(path.parent, "run").result), form=JSON),
    "summary.json": Kind(summary, read_summary, form=JSON),
    "committed.json": Kind(committed, lambda path: found(ReplicaFolder(path.parent).committed), form=JSON),
    "progress.json": Kind(progress, lambda path: found(ReplicaFolder(path.parent).progress()), form=JSON),
    "upload.json": Kind(upload, read_upload, form=JSON),
    "sent.json": Kind(sent, lambda path: found(find_sealed(path)), form=JSON),
    "reproduction.json": Kind(reproduction, lambda path: Reproduction(path.parent).manifest, form=JSON),
    "arrays in the cache": Kind(cache, read_cache),
    "masks": Kind(set_of_masks, MaskSet.load),
    "masks of tasks": Kind(store_of_masks, lambda path: (MaskStore.load(path).bits, MaskStore.load(path).shapes)),
}


SPEC = """\
name: tiny/text
stream: {kind: osaka, p: 0.9, steps: 20, domains: {digits: 1.0}}
network: {kind: conv4, channels: 8}
learner: {kind: sparse-cmaml, inner_steps: 2, alpha_0: 0.1}
published: {source: a paper, n: 3, metrics: {accuracy: {mean: 0.5, std: 0.1}}}
variants: {short: {}, fixed: {learner: {kind: cmaml-fixed}, stream: {steps: 4}}}
data: {mine: {folder: flowers, size: 16}}
seeds: 2
"""
SEARCH = """\
stream: {kind: permutations}
network: {kind: mlp}
learner: {kind: la-maml, glances: 2}
protocol: {kind: retained-accuracy}
seeds: 3
tune:
  axes: {learner.alpha_init: [0.1, 0.3], learner.alpha_lr: {low: 0.01, high: 0.5, scale: log}}
  search: random
  samples: 4
"""
TABLE = """\
title: A table
source: a paper
metrics: {ra: {label: RA, better: higher}, seconds: {label: time, unit: seconds, judged: false}}
columns: [rotations, permutations]
rows:
  Online: {rotations: replay/rotations-online}
  ER: {rotations: {spec: replay/rotations-er, overrides: [learner.glances=1], published: {ra: {mean: 0.5, std: 0.1}}}}
scales:
  smoke: {seeds: 1, overrides: [stream.tasks=2]}
  short: {seeds: 2, overrides: []}
tolerances: [{rows: [ER], metrics: [ra], points: 0.015, sigmas: 2}]
ratios: [{metric: seconds, of: ER, to: Online}]
claims: [{metrics: [ra], rows: [ER], above: Online, origin: text}]
"""


def text(name: str, content: str) -> Callable[[Path], Path]:
    """A file of that name and content."""

    def make(folder: Path) -> Path:
        (folder / name).write_text(content, encoding="utf-8")
        return folder / name

    return make


def read_spec(path: Path) -> Any:
    experiment = load_spec(str(path))
    experiment.work(exact=True)
    return from_dict(experiment.as_dict()).packs() and experiment.as_dict()


def read_dict(path: Path) -> Any:
    """As a program hands it over, with whatever objects YAML makes."""
    try:
        raw = yaml.safe_load(path.read_bytes())
    except Exception as error:  # what YAML's own reader says of it is not ours
        raise FileError("file", "", "is no YAML") from error
    return load_spec(raw).as_dict()


def read_override(path: Path) -> Any:
    return load_spec("demo", [path.read_text(encoding="utf-8", errors="surrogateescape")]).as_dict()


def read_table(path: Path) -> Any:
    table = config_of(Table, "tables/a/b", path.read_text(encoding="utf-8", errors="surrogateescape"))
    return plan(table, scale="smoke") and repr(table)


def mlmodel(folder: Path) -> Path:
    (folder / "data").mkdir()
    said = {"artifact_path": "model", "flavors": {"frisket": {"data": "data"}, "python_function": {"env": {}}}}
    (folder / "MLmodel").write_text(YAML.dumps({**said, "model_size_bytes": 12, "utc_time_created": "2026-01-31 1:2"}))
    return folder / "MLmodel"


def wheel(folder: Path) -> Path:
    path = folder / "frisket-0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("__init__", "__main__", "errors"):
            archive.writestr(f"frisket/{name}.py", f"name = {name!r}\n" * 9)
    return path


def read_wheel(path: Path) -> Any:
    with _unpacked(path) as package:
        return sorted(file.name for file in package.iterdir())


TEXTS = {
    "MLmodel": Kind(mlmodel, lambda path: _data_folder(path.parent), sealed=False, form=YAML),
    "wheel": Kind(wheel, read_wheel, sealed=False),
    "specification": Kind(text("spec.yaml", SPEC), read_spec, sealed=False, form=YAML),
    "search": Kind(text("grid.yaml", SEARCH), read_spec, sealed=False, form=YAML),
    "specification, shown": Kind(
        text("spec.yaml", SPEC), lambda path: frisket.show(str(path)), sealed=False, form=YAML
    ),
    "specification as a dict": Kind(text("spec.yaml", SPEC), read_dict, sealed=False, form=YAML),
    "override": Kind(text("override", "stream.domains={digits: 1.0, mnist: 0.0}"), read_override, sealed=False),
    "table": Kind(text("table.yaml", TABLE), read_table, sealed=False, form=YAML),
    "moment": Kind(
        text("since", "2026-01-31T12:00"),
        lambda path: frisket.runs(since=path.read_text(errors="surrogateescape")),
        sealed=False,
    ),
}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", KINDS)
def test_what_is_damaged_is_refused_or_changes_nothing(name: str, count: int, tmp_path: Path) -> None:
    kind = KINDS[name]
    seen = require_safe(kind, kind.make(tmp_path), count)
    assert seen > 0.6 * count, "most bytes have a meaning, even in a zip"


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", TEXTS)
def test_whatever_is_written_is_read_or_refused(name: str, count: int, tmp_path: Path) -> None:
    kind = TEXTS[name]
    assert require_safe(kind, kind.make(tmp_path), count) > 0.05 * count


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("cut", [0.0, 0.3, 0.999])
def test_a_file_that_is_cut_short_is_refused(name: str, cut: float, tmp_path: Path) -> None:
    make, read, *_ = KINDS[name]
    path = make(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content))])
    with pytest.raises(FrisketError):
        read(path)


@pytest.mark.parametrize("name", [name for name in KINDS if name.endswith(".json")])
@pytest.mark.parametrize("text", ["{", "{}", "[]", "null", '{"run_id": "x"}', '{"sha256": 5}'])
def test_what_was_never_sealed_is_refused(name: str, text: str, tmp_path: Path) -> None:
    make, read, *_ = KINDS[name]
    path = make(tmp_path)
    path.write_text(text)
    with pytest.raises(FrisketError):
        read(path)


MODEL = ("model.json", "spec.json", "provenance.json", "replicas/seed0/state.safetensors")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of one replica."""
    place = tmp_path_factory.mktemp("model")
    folder = new_run(place, "", seeds=1, variants={}, stream={"p": 0.8, "steps": 3, "shots": 1})
    run_replica(folder, *folder.experiment.replicas())
    write_model(folder, place / "model")
    return place / "model"


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", [*MODEL, "replicas/seed0/masks.safetensors"])
def test_a_changed_byte_of_a_model_is_seen(name: str, count: int, model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))

    def read() -> Any:
        loaded = FrisketModel.load(folder)
        return flatten(loaded.state()), loaded.member().inputs.as_dict(), loaded.experiment.as_dict(), loaded.provenance

    form = JSON if name.endswith(".json") else None
    require_safe(Kind(lambda folder: folder, lambda _: read(), form=form), folder / name, count)


def changed(value: Any) -> st.SearchStrategy[Any]:
    """``value``, a part of a chunk, with something else in it or in its place."""
    if isinstance(value, np.ndarray):
        data = damaged(value.tobytes()).map(lambda made: np.frombuffer(made, np.uint8))
        return data | st.sampled_from([value.view(np.int8), value[None], value.reshape(-1).repeat(2)[::2]]) | VALUES
    if isinstance(value, str):
        return damaged(value.encode()).map(lambda made: made.decode("latin-1")) | VALUES
    if isinstance(value, tuple) and value:
        return VALUES | st.integers(0, len(value) - 1).flatmap(
            lambda at: changed(value[at]).map(lambda made: with_part(value, at, made))
        )
    return VALUES | st.integers()


def with_part(value: Any, at: int, made: Any) -> Any:
    """The tuple ``value`` with ``made`` at a place."""
    parts = (*value[:at], made, *value[at + 1 :])
    return type(value)(*parts) if hasattr(value, "_fields") else parts


@pytest.mark.parametrize("count", COUNTS)
def test_a_changed_chunk_is_seen(count: int) -> None:
    """Its content, and where it says it is."""
    levels = (torch.arange(256.0) / 255 - 0.1) / 0.2752
    chunk = pack(
        [{"x": torch.arange(9.0) * 0.37, "n": i, "to": {"y": torch.arange(4)}, "z": levels[i:]} for i in range(5)],
        cursor=40,
    )

    def read(given: Chunk) -> Any:
        unpacked = Unpacked(given)
        return [unpacked.item(unpacked.cursor + i) for i in range(len(unpacked))], unpacked.cursor

    whole, seen = plain(read(chunk)), 0

    def check(part: int, value: Any) -> None:
        nonlocal seen
        seen += refused(lambda: read(with_part(chunk, part, value)), whole)

    places = st.integers(0, len(chunk) - 1).flatmap(lambda at: st.tuples(st.just(at), changed(chunk[at])))
    drawn(lambda change: check(*change), places, count)
    assert seen > 0.9 * count
