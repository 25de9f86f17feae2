"""One byte changed, anywhere in what frisket writes and reads again: what is read is what was written, or it is refused
by an error of frisket's own."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from made import made_run
from runs import new_run
from torch import Tensor

import frisket
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.store import MaskStore
from frisket.algos.parts.tree import flatten
from frisket.algos.state_file import load_state, save_state
from frisket.envs.data.store import cached_arrays
from frisket.errors import FileError, FrisketError
from frisket.files import find_sealed, write_sealed
from frisket.platform.model.model import FrisketModel, write_model
from frisket.platform.run.engine import run_replica
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import Journal, last_step, read_journal, require_whole
from frisket.platform.run.replicas import PackFolder, ReplicaFolder
from frisket.platform.streaming.chunk import Chunk, Unpacked, pack
from frisket.platform.tables.reproduction import Reproduction
from frisket.platform.tables.table import load_table, plan
from frisket.platform.tracking.record import Child, Record
from frisket.rng import torch_generator

COUNTS = [100, pytest.param(1000, marks=pytest.mark.slow)]
STATE = {
    "theta": {"w": torch.rand(7, 5, generator=torch_generator(0, "w")), "b": torch.tensor([True, False])},
    "half": torch.rand(3, generator=torch_generator(0, "h")).bfloat16(), "step": torch.tensor(5), "none": {},
}  # fmt: skip
MASKS = {"fc1.weight": torch.arange(35).view(5, 7) % 3 == 0, "fc1.bias": torch.arange(5) < 2}
ARRAYS = {"images": np.arange(60, dtype=np.uint8).reshape(5, 1, 3, 4), "names": np.array(["a", "bc"])}


class Kind(NamedTuple):
    """Attributes: make: one of a kind of files, in an empty folder, and say which; read: it."""

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]


def plain(value: Any) -> Any:
    """``value`` so that equal means equal to the bit, types and order included."""
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), value.reshape(-1).view(torch.uint8).tolist()
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return [(k, plain(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return type(value).__name__, repr(value)


def found(value: Any) -> Any:
    """``value``; that there is none says that damage was seen."""
    if value is None:
        raise FileError("file", "", "was taken for none")
    return value


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
    "run.json": Kind(manifest, lambda path: RunFolder.open(path.parent).manifest),
    "result.json": Kind(result, lambda path: found(ReplicaFolder(path.parent).result)),
    "summary.json": Kind(summary, read_summary),
    "committed.json": Kind(committed, lambda path: found(ReplicaFolder(path.parent).committed)),
    "progress.json": Kind(progress, lambda path: found(ReplicaFolder(path.parent).progress())),
    "upload.json": Kind(upload, read_upload),
    "sent.json": Kind(sent, lambda path: found(find_sealed(path))),
    "reproduction.json": Kind(reproduction, lambda path: Reproduction(path.parent).manifest),
    "arrays in the cache": Kind(cache, read_cache),
    "masks": Kind(set_of_masks, MaskSet.load),
    "masks of tasks": Kind(store_of_masks, lambda path: (MaskStore.load(path).bits, MaskStore.load(path).shapes)),
}


def changed(content: bytes, dice: random.Random) -> bytes:
    """``content`` with one byte that is another."""
    place = dice.randrange(len(content))
    return content[:place] + bytes([content[place] ^ dice.randrange(1, 256)]) + content[place + 1 :]


def refused(read: Callable[[], Any], whole: Any) -> bool:
    """Whether what was damaged is refused; else it must be what it was."""
    try:
        same = plain(read()) == whole
    except FrisketError as error:
        assert "\n" not in str(error)  # noqa: PT017 - it need not come
        return True
    assert same, "damage was taken for good"
    return False


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", KINDS)
def test_a_changed_byte_changes_nothing_that_is_read(name: str, count: int, tmp_path: Path) -> None:
    make, read = KINDS[name]
    path, dice = make(tmp_path), random.Random(name)
    content, whole = path.read_bytes(), plain(read(path))
    seen = 0
    for _ in range(count):
        path.write_bytes(changed(content, dice))
        seen += refused(lambda: read(path), whole)
    assert seen > 0.6 * count, "most bytes have a meaning, even in a zip"
    path.write_bytes(content)
    assert plain(read(path)) == whole


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("cut", [0.0, 0.3, 0.999])
def test_a_file_that_is_cut_short_is_refused(name: str, cut: float, tmp_path: Path) -> None:
    make, read = KINDS[name]
    path = make(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content))])
    with pytest.raises(FrisketError):
        read(path)


@pytest.mark.parametrize("name", [name for name in KINDS if name.endswith(".json")])
@pytest.mark.parametrize("text", ["{", "{}", "[]", "null", '{"run_id": "x"}', '{"sha256": 5}'])
def test_what_was_never_sealed_is_refused(name: str, text: str, tmp_path: Path) -> None:
    make, read = KINDS[name]
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
    folder, dice = Path(shutil.copytree(model, tmp_path / "model")), random.Random(name)

    def read() -> Any:
        loaded = FrisketModel.load(folder)
        return flatten(loaded.state()), loaded.member().inputs.as_dict(), loaded.experiment.as_dict(), loaded.provenance

    content, whole = (folder / name).read_bytes(), plain(read())
    for _ in range(count):
        (folder / name).write_bytes(changed(content, dice))
        refused(read, whole)


@pytest.mark.parametrize("count", COUNTS)
def test_a_changed_chunk_is_seen(count: int) -> None:
    """Its content, and where it says it is."""
    dice = random.Random("chunk")
    chunk = pack([{"x": torch.arange(9.0) * 0.37, "n": i, "to": {"y": torch.arange(4)}} for i in range(5)], cursor=40)

    def read(given: Chunk) -> Any:
        unpacked = Unpacked(given)
        return [unpacked.item(unpacked.cursor + i) for i in range(len(unpacked))], unpacked.cursor

    whole, parts = plain(read(chunk)), ("cursor", "length", "structure", "columns", "digest")
    for _ in range(count):
        part = dice.choice(parts)
        value: Any = getattr(chunk, part)
        if part == "columns":
            column = dice.randrange(len(value))
            coded = value[column].coded
            data = np.frombuffer(changed(coded.data.tobytes(), dice), np.uint8)
            columns = list(value)
            columns[column] = value[column]._replace(coded=coded._replace(data=data))
            value = tuple(columns)
        elif isinstance(value, str):
            value = changed(value.encode(), dice).decode("latin-1")
        else:
            value ^= 1 << dice.randrange(20)
        assert refused(lambda value=value, part=part: read(chunk._replace(**{part: value})), whole), part
