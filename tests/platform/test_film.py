"""``--render``: strips of pictures once all is learned, and what is refused before anything is."""

from __future__ import annotations

import ctypes.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import frisket
from frisket.envs.robots import camera
from frisket.envs.robots.camera import SIDE
from frisket.envs.robots.meta_world import MetaWorld
from frisket.envs.robots.point_goal import PointGoal
from frisket.errors import SpecError
from frisket.platform.reports.film import PICTURES

SPEC: dict[str, Any] = {
    "name": "filmed",
    "stream": {"kind": "robots", "sequence": "pointgoal", "steps": 160, "environments": 4},
    "network": {"kind": "layer-norm-mlp", "hidden": [8]},
    "learner": {
        "kind": "sac",
        "batch": 8,
        "start_steps": 8,
        "update_after": 8,
        "update_every": 40,
        "memory_slots": 200,
    },
    "protocol": {"kind": "success", "points": 1, "episodes": 2, "tail": 1},
    "seeds": 1,
}


def test_every_task_has_its_strip(tmp_path: Path) -> None:
    done = frisket.run(SPEC, render=True, local=True, register=False, runs_dir=tmp_path)
    strips = sorted((done.path / "film").iterdir())
    assert [path.name for path in strips] == [f"0{i}-point-goal.png" for i in range(3)]
    for task, path in enumerate(strips):
        strip = np.asarray(Image.open(path))
        assert strip.shape == (SIDE, PICTURES * SIDE, 3)
        frames = np.split(strip, PICTURES, 1)
        assert any(not np.array_equal(frames[0], frame) for frame in frames)
        goal = PointGoal(0, task, 3).goal
        rows, columns = np.nonzero((frames[0] == (40, 160, 80)).all(-1))
        place = np.array([columns.mean(), SIDE - 1 - rows.mean()]) * 2 / (SIDE - 1) - 1
        assert np.abs(place - goal).max() < 0.02  # the right way up
    before = [path.stat().st_mtime_ns for path in strips]
    frisket.run(resume=done.path, render=True, local=True, runs_dir=tmp_path)
    assert [path.stat().st_mtime_ns for path in strips] == before


def test_without_it_there_are_none(tmp_path: Path) -> None:
    assert not (frisket.run(SPEC, local=True, register=False, runs_dir=tmp_path).path / "film").exists()


def test_other_runs_have_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="draws robot tasks, and demo has none"):
        frisket.run("demo", render=True, data="embedded", local=True, runs_dir=tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_machine_that_cannot_draw_is_told_so_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(camera, "_context", camera._context.__wrapped__)
    spec = {**SPEC, "stream": {**SPEC["stream"], "tasks": ["reach"], "steps": 800}}
    with pytest.raises(SpecError, match="apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"):
        frisket.run(spec, render=True, local=True, register=False, runs_dir=tmp_path)
    assert not any(tmp_path.iterdir())


def test_an_environment_that_cannot_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gymnasium.envs.classic_control.pendulum import PendulumEnv

    spec = {**SPEC, "stream": {**SPEC["stream"], "tasks": ["Pendulum-v1"], "steps": 800}}
    for found, said in ((None, "gives no pictures of Pendulum-v1"), ([], "cannot be drawn")):
        monkeypatch.setattr(PendulumEnv, "render", lambda self, found=found: found if found is None else found[0])
        with pytest.raises(SpecError, match=said):
            frisket.run(spec, render=True, local=True, register=False, runs_dir=tmp_path)


def test_meta_world_is_drawn_the_right_way_up() -> None:
    if not any(ctypes.util.find_library(name) for name in ("EGL", "OSMesa")):
        pytest.skip("no library to draw with")
    bodies = MetaWorld("hammer", "random", 0)
    bodies.reset([1])
    picture = bodies.picture().astype(float)
    assert picture[: SIDE // 8].std((0, 1)).max() < 3  # nothing but background above
    assert picture[-SIDE // 8 :].std((0, 1)).max() > 30  # table, robot and floor below
    red = (picture[..., 0] > 1.5 * picture[..., 1]) & (picture[..., 0] > 1.5 * picture[..., 2])
    assert np.nonzero(red)[1].mean() < 0.4 * SIDE  # the robot stands on the left
