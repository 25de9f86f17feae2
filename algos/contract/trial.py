"""A method as the contract tries it: quick, on a small network, on toys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

from torch import Tensor

from frisket.algos.contract.toys import DOMAINS, WAYS, line_batch, noise_batch, separable_batch, separable_episode
from frisket.algos.inner.pretrain import PretrainConfig, pretrain, warm_start
from frisket.algos.learner import Episodic, Learner, Method
from frisket.algos.networks.kind import NetworkKind
from frisket.algos.networks.network import Network
from frisket.findings import Broken, source_of
from frisket.types import Batch, Metrics, State


@dataclass(frozen=True)
class Trial:
    """Attributes:
    method: the row that is tried.
    on: the network's kind.
    """

    method: Method
    on: NetworkKind

    @cached_property
    def network(self) -> Network:
        """The small network, for the labels of the toys."""
        return self.small_network(WAYS)

    def small_network(self, ways: int) -> Network:
        """A new one for ``ways`` labels."""
        channels, size = self.on.tried_at
        return self.on.build(self.on.config(**self.on.quick), in_channels=channels, size=size, ways=ways)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one input."""
        channels, size = self.on.tried_at
        return channels, size, size

    @property
    def file(self) -> str | None:
        """Where the method's source is."""
        return source_of(self.method.build)

    def config(self, *, eager: bool = True, **changes: object) -> Any:
        """The configuration with its `Method.quick` fields, the `Method.eager` ones (if ``eager``) and ``changes``."""
        return self.method.config(**{**self.method.quick, **(self.method.eager if eager else {}), **changes})

    def learner(self, *, eager: bool = True, **changes: object) -> Learner:
        """A new one of that `config`."""
        return self.built(self.network, eager=eager, **changes)

    def built(self, network: Network, *, eager: bool = True, **changes: object) -> Learner:
        """As `learner`, over ``network``; one of episodes knows the toys' domains."""
        learner = self.method.build(self.config(eager=eager, **changes), network)
        return learner.over(DOMAINS) if isinstance(learner, Episodic) else learner

    @cached_property
    def start(self) -> State | None:
        """The warm start a method is meant to have; None for a fresh start."""
        adapt = self.method.pretrained
        return None if adapt is None else quick_pretraining(self.network, self.shape, adapt)

    @cached_property
    def acts(self) -> bool:
        """Whether the method learns by acting."""
        return self.learner().capabilities.acts

    def noise(self, position: int) -> Batch:
        """The batch of noise at ``position``; of a method that acts, a line to act on."""
        return line_batch(position, self.shape) if self.acts else noise_batch(position, shape=self.shape)

    def separable(self, position: int) -> Batch:
        """The batch of two easy classes at ``position``."""
        return separable_batch(position, self.shape)

    def led(
        self, learner: Learner, positions: Iterable[int], state: State | None = None
    ) -> tuple[State, list[Metrics]]:
        """The state after the batches of noise at ``positions``, and what each step reported.

        Args:
            state: before them; None for that of seed 0, without a warm start.
        """
        state, reports = learner.init(0) if state is None else state, []
        for position in positions:
            state, metrics = learner.observe(state, self.noise(position))
            reports.append(metrics)
        return state, reports


def quick_pretraining(network: Network, shape: tuple[int, int, int], adapt: Literal["all", "head"]) -> State:
    """A warm start from 2 epochs of 10 steps on toy episodes."""
    config = PretrainConfig(
        epochs=2, meta_batch=2, outer_lr=0.01, inner_steps=2, step_size=0.1, meta_batches_per_epoch=10,
        validation_episodes=4, adapt=adapt,
    )  # fmt: skip
    *_, state = pretrain(config, network, partial(separable_episode, shape=shape), seed=0)
    return warm_start(state)


def answer(learner: Learner, state: State, x: Tensor) -> Tensor:
    """What ``learner`` predicts. Raises `Broken` where it has no answer."""
    logits = learner.predict(state, x)
    if logits is None:
        raise Broken("predict gave None after the first batch")
    return logits
