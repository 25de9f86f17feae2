"""MAML and ANIL pre-training: a start for a learner, before its stream (osaka spec, section 8, "Pretraining").

    phi_i     <- adapt(theta, support_i, K)                            i = 1 .. meta_batch
    theta, eta <- Adam_beta( grad mean_i L(phi_i, query_i) )           first or second order

An epoch is 100 such steps and a validation; training stops when more than ``patience`` epochs in a row have brought no
better validation accuracy, and the best epoch's weights, rates and Adam moments are the result. With
``learn_step_sizes`` the inner step size is one learned scalar per tensor, eta, as in C-MAML; otherwise it is the
constant ``step_size``. The step itself is every few-shot method's, `frisket.algos.inner.outer`.

Every epoch ends in a `State`; going on from it is bit for bit what going on without a stop would have been::

    for state in pretrain(config, network, source, seed=0):            # save the state, log state["accuracy"]
        ...
    learner.init(seed=0, warm_start=warm_start(state))

The validation episodes are the same in every epoch, so that epochs are compared on equal terms. [our default]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from frisket.algos.inner.modulation import FixedStep, LearnedStep, Modulation
from frisket.algos.inner.outer import Learned, OuterStep
from frisket.algos.inner.start import meta_start
from frisket.algos.networks.network import Adapting, Network
from frisket.algos.parts import optimiser
from frisket.errors import require
from frisket.types import Batch, Split, State

EpisodeAt = Callable[[Split, int], Batch]
"""``(split, number)`` to an episode as a network sees it; a pure function, see
`frisket.envs.episode_stream.EpisodeSource`."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Attributes:
    epochs: most epochs; 0 for no pre-training.
    patience: epochs in a row without a better validation accuracy that are borne.
    meta_batch: episodes per outer step.
    outer_lr: beta, Adam rate of theta (and eta).
    inner_steps: K.
    step_size: inner step size, or eta's first value.
    order: 1 or 2, order of the outer derivative.
    adapt: ``all`` of theta_A (MAML) or the ``head`` alone (ANIL).
    learn_step_sizes: learn one step size per tensor (C-MAML).
    meta_batches_per_epoch: outer steps per epoch.
    validation_episodes: episodes judged after each epoch.
    queries: query images per class of an episode.
    domain: domain of the stream whose classes are pre-trained on; None for the first one.
    """

    epochs: int = 1000
    patience: int = 10
    meta_batch: int = 4
    outer_lr: float = 0.001
    inner_steps: int = 16
    step_size: float = 0.1
    order: Literal[1, 2] = 1
    adapt: Literal["all", "head"] = "all"
    learn_step_sizes: bool = False
    meta_batches_per_epoch: int = 100
    validation_episodes: int = 100
    queries: int = 15
    domain: str | None = None

    def __post_init__(self) -> None:
        require(self.epochs >= 0, "epochs", self.epochs, "at least 0")
        require(self.patience >= 0, "patience", self.patience, "at least 0")
        for name in ("meta_batch", "inner_steps", "meta_batches_per_epoch", "validation_episodes", "queries"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.outer_lr > 0, "outer_lr", self.outer_lr, "above 0")
        require(self.step_size > 0, "step_size", self.step_size, "above 0")

    def modulation(self) -> Modulation:
        """The step size of the inner loop."""
        return LearnedStep(self.step_size) if self.learn_step_sizes else FixedStep(self.step_size)

    def network(self, network: Network) -> Network:
        """``network`` with the weights this pre-training adapts."""
        return Adapting(network, network.head) if self.adapt == "head" else network

    def outer(self, network: Network) -> OuterStep:
        """Its outer step on ``network``."""
        return OuterStep(
            network=self.network(network), modulation=self.modulation(), optimiser=optimiser.Adam(),
            inner_steps=self.inner_steps, order=self.order, lr=self.outer_lr, modulation_lr=self.outer_lr,
            reduction="mean",
        )  # fmt: skip


def init(config: PretrainConfig, network: Network, seed: int) -> State:
    """The state before the first epoch, on the CPU; theta as a learner of the same seed would draw it.

    ``theta, m, adam`` as they train; ``best/theta``, ``best/m``, ``best/adam`` of the best epoch so far; ``epoch``,
    epochs done; ``stale``, epochs since the best; ``accuracy``, ``best_accuracy`` (validation); ``outer_loss`` (mean of
    the epoch).
    """
    start = meta_start(config.network(network), config.modulation(), seed)
    zero, none = torch.zeros((), dtype=torch.int64), torch.full((), float("nan"), dtype=torch.float64)
    return {
        **start,
        "best": start,
        "epoch": zero,
        "stale": zero,
        "accuracy": none,
        "best_accuracy": torch.full((), -1.0, dtype=torch.float64),
        "outer_loss": none,
    }


def finished(config: PretrainConfig, state: State) -> bool:
    """Whether all epochs are done or patience has run out."""
    return int(state["epoch"]) >= config.epochs or int(state["stale"]) > config.patience


def warm_start(state: State) -> State:
    """What `Learner.init` takes: ``{"theta", "m", "adam"}`` of the best epoch."""
    return state["best"]


def pretrain(
    config: PretrainConfig, network: Network, source: EpisodeAt, seed: int, state: State | None = None
) -> Iterator[State]:
    """Epoch after epoch until `finished`; yields the state after each.

    Args:
        source: episodes, on the device of the state.
        seed: everything random derives from it.
        state: an earlier epoch's state to go on from, or `init`'s on another device.
    """
    state = init(config, network, seed) if state is None else state
    while not finished(config, state):
        state = _epoch(config, network, source, seed, state)
        yield state


def _epoch(config: PretrainConfig, network: Network, source: EpisodeAt, seed: int, state: State) -> State:
    outer = config.outer(network)
    learned, epoch, losses = Learned(state["theta"], state["m"], state["adam"]), int(state["epoch"]), []
    for i in range(config.meta_batches_per_epoch):
        first = (epoch * config.meta_batches_per_epoch + i) * config.meta_batch
        episodes = [source("train", first + j) for j in range(config.meta_batch)]
        gradients = outer.gradients(learned.theta, learned.m, seed, episodes)
        learned = outer.apply(learned, gradients)
        losses.append(gradients["loss"] / gradients["tasks"])
    trained: State = {"theta": learned.theta, "m": learned.m, "adam": learned.moments}
    accuracy = _validate(config, outer, source, seed, learned)
    better = accuracy > float(state["best_accuracy"])
    return {
        **trained,
        "best": trained if better else state["best"],
        "epoch": state["epoch"] + 1,
        "stale": torch.zeros_like(state["stale"]) if better else state["stale"] + 1,
        "accuracy": torch.tensor(accuracy, dtype=torch.float64),
        "best_accuracy": torch.tensor(max(accuracy, float(state["best_accuracy"])), dtype=torch.float64),
        "outer_loss": torch.stack(losses).mean().double().cpu(),
    }


def _validate(config: PretrainConfig, outer: OuterStep, source: EpisodeAt, seed: int, learned: Learned) -> float:
    """Mean query accuracy after K steps on the support, over the validation episodes."""
    correct = 0.0
    for i in range(config.validation_episodes):
        episode = source("validation", i)
        _, query = episode.sides()
        adapted = outer.adapted(learned.theta, learned.m, seed, episode)
        with torch.no_grad():
            answers = outer.network(adapted.weights(learned.theta), query.x).argmax(-1)
        correct += float((answers == query.y).double().mean())
    return correct / config.validation_episodes
