"""Pictures of generative models of a sequence of tasks: every task's log-likelihood, and samples of every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from frisket.algos.learner import TaskWeights
from frisket.algos.networks.latent import LatentNetwork
from frisket.platform.protocols.log_likelihood import LogLikelihood
from frisket.platform.reports.figure import (
    ASIDE,
    PALETTE,
    Heading,
    Picture,
    each,
    journalled,
    legend_below,
    lined,
    panels,
    planned,
    published,
)
from frisket.platform.run.folder import RunFolder
from frisket.platform.run.journal import read_steps
from frisket.platform.run.replicas import ReplicaFolder
from frisket.platform.specs.build import Inputs, build_learner
from frisket.platform.specs.experiment import Experiment
from frisket.rng import torch_generator
from frisket.types import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SAMPLES = 8  # of every task


class Likelihoods(NamedTuple):
    """Of one replica, [T] each. Attributes: learned: after the task's own training; last: after the last task's."""

    learned: np.ndarray
    last: np.ndarray


class Judged(NamedTuple):
    """Attributes: found: by variant what its replicas' tasks scored; published: their mean, where it was printed."""

    found: Mapping[str, Sequence[Likelihoods]]
    published: float | None


def read_likelihoods(files: ReplicaFolder) -> Likelihoods | None:
    """What a finished replica's journal says; None where its protocol measures no likelihood."""
    matrix = LogLikelihood.read(read_steps(files.journal))
    return None if matrix is None else Likelihoods(matrix.diagonal().copy(), matrix[-1])


def read_judged(folder: RunFolder) -> Judged:
    """What the tasks of every replica scored."""
    return Judged(each(read_likelihoods)(folder), published(folder, LogLikelihood.headline))


def draw_likelihoods(judged: Judged, heading: Heading) -> Figure:
    """One panel per method, the mean over its replicas."""
    figure, axes = _columns(heading, "log-likelihood of every task's test images", len(judged.found))
    for (label, seeds), ax in zip(judged.found.items(), axes, strict=True):
        learned, last = (np.mean([getattr(one, name) for one in seeds], axis=0) for name in Likelihoods._fields)
        tasks = np.arange(len(last))
        ax.bar(tasks - 0.2, learned, 0.4, color=PALETTE[5], label="after its own training")
        ax.bar(tasks + 0.2, last, 0.4, color=PALETTE[1], label="after the last task")
        if judged.published is not None:
            ax.axhline(judged.published, color=ASIDE, ls=":", lw=1.2, label="published mean, full scale")
        ax.set(title=f"{label}: mean {last.mean():.1f}", xlabel="task", xticks=tasks)
    lined(*axes, axis="y")
    axes[0].set_ylabel("nats per image")
    legend_below(figure, axes[0])
    return figure


def sample_images(plain: Experiment, files: ReplicaFolder) -> np.ndarray:
    """What the finished replica ``files`` of a plain experiment makes for every task of the same few draws of the
    prior, [T, n, H, W] in [0, 1]."""
    result = files.result
    assert result is not None
    learner, state = build_learner(plain, Inputs.from_dict(result["input"])), files.state
    assert isinstance(learner, TaskWeights)
    network = learner.computes
    assert isinstance(network, LatentNetwork)
    z = torch.randn(_SAMPLES, network.latent, generator=torch_generator(result["seed"], "samples"))
    tasks = [Task("", (), start) for start in learner.starts(state)]
    with torch.no_grad():
        images = [network.images(learner.weights_for(state, task), z)[:, 0] for task in tasks]
    return torch.stack(images).numpy()


def draw_samples(images: Mapping[str, np.ndarray], heading: Heading) -> Figure:
    """One panel per method: a column for each task, [T, n, H, W]."""
    figure, axes = _columns(heading, "samples of every task, after the last (first seed)", len(images))
    for (label, grid), ax in zip(images.items(), axes, strict=True):
        tasks, samples, height, width = grid.shape
        sheet = grid.transpose(1, 2, 0, 3).reshape(samples * height, tasks * width)
        ax.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set(title=label, xlabel="task", yticks=[])
        ax.set_xticks((np.arange(tasks) + 0.5) * width, list(map(str, range(tasks))))
    return figure


def _columns(heading: Heading, title: str, count: int) -> tuple[Figure, list[Axes]]:
    return panels(heading, title, count, height=3.9, sharey=False)


LIKELIHOODS = Picture(
    name="likelihood.png",
    shows="log-likelihood of every task",
    applies=journalled(lambda step: LogLikelihood.read([step])),
    read=read_judged,
    draw=draw_likelihoods,
)
SAMPLES = Picture(
    name="samples.png",
    shows="samples of every task",
    applies=LIKELIHOODS.applies,
    read=lambda folder: {label: sample_images(plan, files[0]) for label, plan, files in planned(folder)},
    draw=draw_samples,
)
