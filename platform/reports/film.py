"""A strip of pictures of every robot task, drawn once a run is over: how the model of its first seed acts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from frisket.algos.learner import Learner
from frisket.algos.parts import acting
from frisket.envs.robots.config import RobotsConfig
from frisket.envs.robots.stream import RobotStream
from frisket.errors import SpecError
from frisket.files import making_folder
from frisket.platform.model.model import FrisketModel
from frisket.platform.run.folder import RunFolder
from frisket.platform.specs.build import build_stream
from frisket.platform.specs.experiment import Experiment
from frisket.rng import torch_generator
from frisket.types import State, World

PICTURES = 8
"""In a strip, evenly over the episode."""


def require_film(experiment: Experiment) -> None:
    """Raise `SpecError` unless the tasks of ``experiment`` can be drawn on this machine."""
    stream = _stream(experiment)
    names = stream.config.names
    for name in dict.fromkeys(names):
        world, picture = stream.film(names.index(name))
        world.reset()
        picture()


def draw_film(folder: RunFolder) -> list[Path]:
    """The strips of the finished run ``folder``, one of every task, in ``folder/film``; drawn once, then found."""
    target = folder.path / "film"
    if not target.is_dir():
        model, stream = FrisketModel.of_run(folder), _stream(folder.experiment)
        with making_folder(target) as drawn:
            for index, name in enumerate(stream.config.names):
                strip = _strip(model.learner, model.state(), stream, index)
                Image.fromarray(strip).save(drawn / f"{index:02d}-{name.partition('?')[0].replace('/', '-')}.png")
    return sorted(target.iterdir())


def _stream(experiment: Experiment) -> RobotStream:
    """That of the first seed."""
    experiment = experiment.variant(next(iter(experiment.variants), None))
    made = build_stream(experiment, {}, 0) if isinstance(experiment.stream.config, RobotsConfig) else None
    if not isinstance(made, RobotStream):
        raise SpecError("render", True, f"draws robot tasks, and {experiment.name} has none; leave it out")
    return made


@torch.no_grad()
def _strip(learner: Learner, state: State, stream: RobotStream, index: int) -> np.ndarray:
    """An episode of task ``index``, as it is acted in after all: [S, PICTURES S, 3]."""
    world, picture = stream.film(index)
    task = stream.told(index)
    noise = torch.randn(world.horizon, 1, world.actions, generator=torch_generator(stream.seed, "film", index))
    wanted = np.linspace(0, world.horizon, PICTURES).round().astype(int).tolist()
    return np.concatenate(_seen(world, picture, lambda seen: learner.predict(state, seen, task), noise, wanted), 1)


def _seen(
    world: World, picture: Callable[[], np.ndarray], answer: Callable[[torch.Tensor], torch.Tensor | None],
    noise: torch.Tensor, wanted: list[int],
) -> list[np.ndarray]:  # fmt: skip
    """Pictures after so many steps as are ``wanted``."""
    seen, found = world.reset(), list[np.ndarray]()
    for step in range(world.horizon + 1):
        found += [picture()] * wanted.count(step)
        if step < world.horizon:
            outputs = answer(seen)
            assert outputs is not None
            seen = world.step(acting.action(outputs, noise[step])).observations
    return found
