"""Processes that share the tasks of meta-batches take the steps that one alone takes."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from frisket.algos.learner import Episodic
from frisket.algos.parts.tree import flatten, map_tensors
from frisket.algos.state_file import load_state, save_state
from frisket.envs.episode_stream import EpisodeStream
from frisket.errors import SpecError
from frisket.platform.protocols.few_shot_accuracy import FewShotAccuracy, FewShotAccuracyConfig
from frisket.platform.run.drive import Episodes
from frisket.platform.run.engine import run_pack
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import last_step
from frisket.platform.run.together import PeerLost, Together
from frisket.platform.specs.build import Inputs, build_learner, build_stream, load_data
from frisket.platform.specs.experiment import load_spec
from frisket.platform.verbs.run import prepare
from frisket.types import State

pytestmark = pytest.mark.process

SPEC: dict[str, Any] = {
    "name": "shared", "seeds": 1, "parallel": "tasks",
    "stream": {"kind": "episodes", "dataset": "glyphs", "ways": 3, "shots": 1, "queries": 2, "steps": 80},
    "network": {"kind": "conv4", "channels": 2},
    "learner": {"kind": "sparse-maml", "inner_steps": 2, "meta_batch": 4, "alpha": 0.3},
    "protocol": {"kind": "few-shot-accuracy", "every": 10, "validation_episodes": 3, "test_episodes": 3},
}  # fmt: skip
MIXED: dict[str, Any] = {
    **SPEC,
    "stream": {"kind": "mixed-episodes", "domains": {"glyphs": None, "digits": None, "patches": None}, "ways": 2,
               "queries": 2, "steps": 60},
    "learner": {"kind": "multi-maml", "inner_steps": 1, "meta_batch": 3, "alpha": 0.3},
}  # fmt: skip
"""Neither of two processes has tasks of all domains in a meta-batch."""
CPU = torch.device("cpu")


def _process(rank: int, size: int, place: str, work: Callable[[Together, Path], None]) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=rank, world_size=size)
    work(Together(CPU), Path(place))
    dist.destroy_process_group()


def together(size: int, place: Path, work: Callable[[Together, Path], None]) -> None:
    """``work`` in ``size`` processes that know of each other."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "meeting").unlink(missing_ok=True)
    multiprocessing.spawn(_process, (size, str(place), work), nprocs=size)  # pyright: ignore[reportPrivateImportUsage]


def made(group: Together | None, spec: dict[str, Any]) -> tuple[Episodes, State]:
    """The drive in float64, and the state it begins with."""
    experiment = load_spec(spec)
    stream = build_stream(experiment, load_data(experiment, "embedded"), 0)
    assert isinstance(stream, EpisodeStream)
    numbers = stream.numbers
    stream.numbers = lambda x: numbers(x).double()
    learner = build_learner(experiment, Inputs.of(stream))
    assert isinstance(learner, Episodic)
    state = map_tensors(lambda t: t.double() if t.is_floating_point() else t, learner.init(0))
    protocol = FewShotAccuracy(FewShotAccuracyConfig(every=100, validation_episodes=1, test_episodes=1), stream)
    return Episodes(learner=learner, protocol=protocol, stream=stream, device=CPU, together=group), state


def twenty_steps(group: Together | None, place: Path, spec: dict[str, Any]) -> None:
    drive, state = made(group, spec)
    if group is not None and group.rank:
        drive.accompany()
        return
    drive.begin(state, 0)
    scores = [drive.protocol.init()]
    for position in range(20):
        outcome = drive.step(position, state, scores)
        state, scores = outcome.state, [outcome.scored[0].scores]
    drive.end()
    save_state(place / "end.safetensors", state, {})


@pytest.mark.parametrize("spec", [SPEC, MIXED], ids=["one domain", "a member for each of three"])
def test_two_take_the_steps_of_one_in_float64(spec: dict[str, Any], tmp_path: Path) -> None:
    """To 1e-6 relative after 20 outer steps; and two always to the same bits."""
    ends = []
    for name in ("once", "again"):
        together(2, tmp_path / name, functools.partial(twenty_steps, spec=spec))
        ends.append(flatten(load_state(tmp_path / name / "end.safetensors")[0]))
    (tmp_path / "alone").mkdir()
    twenty_steps(None, tmp_path / "alone", spec)
    alone = flatten(load_state(tmp_path / "alone" / "end.safetensors")[0])
    for name, value in alone.items():
        assert torch.equal(ends[0][name], ends[1][name])
        torch.testing.assert_close(ends[0][name], value, rtol=1e-6, atol=1e-12)


def whole_run(group: Together, place: Path) -> None:
    folder = RunFolder.open(next((place / "runs").iterdir()))
    run_pack(folder, folder.packs[0], together=group)


def test_a_run_that_is_shared_is_written_by_one(tmp_path: Path) -> None:
    prepare({**SPEC, "stream": {**SPEC["stream"], "steps": 8}}, data="embedded", runs_dir=tmp_path / "runs")
    together(2, tmp_path, whole_run)
    folder = RunFolder.open(next((tmp_path / "runs").iterdir()))
    assert folder.done
    (result,) = folder.results()
    assert result["metrics"]["validation/step"] == 2
    assert last_step(folder.replicas()[0].journal)["validation"] == result["metrics"]["validation/accuracy"]


def lost(group: Together, place: Path) -> None:
    if group.rank:
        os._exit(0)
    try:
        while True:
            group.added({"a": torch.ones(3)})
    except PeerLost as error:
        (place / "seen").write_text(str(error))


def test_who_is_left_is_told(tmp_path: Path) -> None:
    together(2, tmp_path / "lost", lost)
    assert "another worker is gone" in (tmp_path / "lost" / "seen").read_text()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"learner": {"kind": "er"}, "stream": {"kind": "rotations"}, "protocol": {"kind": "retained-accuracy"},
          "network": {"kind": "mlp"}}, "er has no meta-batches of tasks"),
        ({"tune": {"axes": {"learner.alpha": [0.1, 0.3]}}}, "a search shares out its points"),
    ],
)  # fmt: skip
def test_what_has_no_tasks_to_share_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        load_spec({**SPEC, **changes})
