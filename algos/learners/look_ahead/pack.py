"""Replicas of a look-ahead method as one program (`frisket.algos.learners.look_ahead.learner` says what the method is).

With the fully connected network all replicas go through the same matrix products. Other networks, and inner gradients
that are clamped, have no low rank to make use of; their replicas take the general form one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frisket.algos.inner.modulation import Seen
from frisket.algos.learner import Pack
from frisket.algos.learners.look_ahead.gradient import LookAhead, chunk_sizes, chunks, look_ahead, shuffle
from frisket.algos.learners.look_ahead.mlp import MLPMetaUpdate
from frisket.algos.learners.look_ahead.second_order import look_ahead_second
from frisket.algos.networks.mlp import MLP
from frisket.algos.pack import in_parts, packed_numbers
from frisket.algos.parts import reservoir
from frisket.algos.parts.alignment import alignments
from frisket.algos.parts.clip import clip_replicas
from frisket.algos.parts.tree import lifted, picked
from frisket.algos.program import compiler
from frisket.errors import require
from frisket.rng import numpy_generator
from frisket.types import Batch, Data, Metrics, Params, State

if TYPE_CHECKING:
    from frisket.algos.learners.look_ahead.learner import LookAheadLearner

TOGETHER = 5
"""Replicas that learn from a batch at a time on a CPU. More fill no core better, and the working memory, some four
times the weights, is then that of five replicas however many there are."""

_REPAYING = 5_000
"""Meta-updates of a replica that repay compiling: it costs a minute or so once per machine and saves milliseconds each,
and a run has several seeds."""

MetaUpdate = Callable[[Params, Params, Params, Sequence[int], Data], tuple[Params, Params, Tensor, Tensor]]
"""``(theta, m, hyper, chunk sizes, b_m) -> (theta, m, meta-loss [P], loss of the new samples before [P])``."""


class LookAheadPack(Pack["LookAheadLearner"]):
    """A pack. State: that of its learners, with a leading replica dimension.

    Args:
        learners: P learners which differ in `packed_fields` only.
        steps: stream positions ahead.
        may_compile: where the configuration leaves it open, compile if that many steps repay it.

    Raises:
        SpecError: the configuration asks for compiled programs, and there is no compiler or no form of the method that
            compiles.
    """

    def __init__(self, learners: Sequence[LookAheadLearner], *, steps: int = 0, may_compile: bool = False) -> None:
        self.learners, self._method = learners, learners[0]
        config = self._method.config
        self._hyper = packed_numbers(learners)
        network, wish = self._method.network, config.compile
        self._gradient = look_ahead_second if config.second_order else look_ahead
        if isinstance(network, MLP) and config.inner_clamp is None and not config.second_order:
            found = wish is not True or compiler() is not None
            require(found, "compile", wish, "false on a machine without a C++ compiler")
            repaid = may_compile and steps * config.glances >= _REPAYING
            name = type(self._method).__qualname__ if wish is True or (wish == "auto" and repaid) else None
            self._update: MetaUpdate = MLPMetaUpdate(network, self, config.meta_loss, name, config.replay_batch)
        else:
            require(
                wish is not True,
                "compile",
                wish,
                "false: programs are for the mlp network, first order, without inner_clamp",
            )
            self._update = self._one_after_the_other

    @torch.no_grad()
    def observe(self, state: State, batches: Sequence[Batch]) -> tuple[State, list[Metrics]]:
        together = TOGETHER if batches[0].y.device.type == "cpu" else None
        return in_parts(state, batches, self._learn, together)

    def _learn(self, state: State, batches: Sequence[Batch], part: slice) -> tuple[State, list[Metrics]]:
        """`observe` of the replicas ``part`` alone."""
        config, seeds, position = self._method.config, state["seed"].tolist(), int(state["step"][0])
        data = [Data(batch.x, batch.y) for batch in batches]
        theta, m, memory = state["theta"], state["m"], state["memory"]
        before, losses, aligned = None, [], []
        for glance in range(config.glances):
            generators = [numpy_generator(seed, "glance", position, glance) for seed in seeds]
            shuffled = [shuffle(one, generator) for one, generator in zip(data, generators, strict=True)]
            new = Data(torch.stack([one.x for one in shuffled]), torch.stack([one.y for one in shuffled]))
            meta = reservoir.draw_with_each(memory, config.replay_batch, new, generators)
            count = new.y.shape[1]
            if config.alignment and (cosines := alignments(self._method.network, theta, meta, count)) is not None:
                aligned.append(cosines)
            theta, m, loss, first = self.meta_update(theta, m, meta, count, part)
            before = first if before is None else before
            losses.append(loss)
            early = self._method.push_after_first_glance
            if batches[0].epoch == glance == 0 if early else glance == config.glances - 1:
                generators = [numpy_generator(seed, "push", position) for seed in seeds]
                memory = reservoir.push_each(memory, new, config.memory_slots, config.reservoir, generators)
        assert before is not None
        measured = {"loss_before": before, "outer_loss": torch.stack(losses).mean(0)}
        if aligned:
            measured["alignment"] = torch.stack(aligned).mean(0)
        columns = {k: v.tolist() for k, v in measured.items()}
        metrics = [{k: v[i] for k, v in columns.items()} for i in range(len(batches))]
        return {**state, "step": state["step"] + 1, "theta": theta, "m": m, "memory": memory}, metrics

    def meta_update(
        self, theta: Params, m: Params, meta: Data, new: int, part: slice
    ) -> tuple[Params, Params, Tensor, Tensor]:
        """One outer step of the replicas ``part``; the last ``new`` rows of ``meta`` are the inner loop's. Returns as
        `MetaUpdate`."""
        like = next(iter(theta.values()))
        hyper = {k: v[part].to(like) for k, v in self._hyper.items()}
        return self._update(theta, m, hyper, chunk_sizes(new, self._method.config.inner_steps), meta)

    def rates(self, m: Params, hyper: Params) -> Params:
        """Rates of the inner loop, s(m)."""
        return self._method.config.modulation(hyper).rates(m, Seen(m))

    def outer_step(self, theta: Params, m: Params, ahead: LookAhead, hyper: Params) -> tuple[Params, Params]:
        """``(theta, m)`` after the method's outer step with both gradients clipped."""
        modulation, bound = self._method.config.modulation(hyper), self._method.config.clip_norm
        along = clip_replicas(modulation.pull_back(m, Seen(theta), ahead.rates), bound)
        clipped = ahead._replace(
            theta=clip_replicas(ahead.theta, bound), plain=lambda: clip_replicas(ahead.plain(), bound)
        )
        return self._method.outer(theta, m, clipped, along, hyper)

    def _one_after_the_other(
        self, theta: Params, m: Params, hyper: Params, sizes: Sequence[int], meta: Data
    ) -> tuple[Params, Params, Tensor, Tensor]:
        """A `MetaUpdate` by the general form."""
        network, config, ends = self._method.network, self._method.config, []
        for i in range(len(meta.y)):
            one, x, y = picked(theta, i), meta.x[i], meta.y[i]
            numbers = {k: v[i : i + 1] for k, v in hyper.items()}
            at = len(y) - sum(sizes)
            inner = chunks(Data(x[at:], y[at:]), config.inner_steps)
            slow = picked(m, i)
            rates = {k: v[0] for k, v in self.rates(lifted(slow), numbers).items()}
            ahead = self._gradient(network, config.inner_clamp, one, rates, inner, Data(x, y), config.meta_loss)
            before = network.loss(one, x[at:], y[at:])
            packed = ahead._replace(
                theta=lifted(ahead.theta), rates=lifted(ahead.rates), plain=lambda ahead=ahead: lifted(ahead.plain())
            )
            ends.append((*self.outer_step(lifted(one), lifted(slow), packed, numbers), ahead.loss, before))
        thetas, ms, losses, befores = zip(*ends, strict=True)
        joined = [{k: torch.cat([part[k] for part in parts]) for k in parts[0]} for parts in (thetas, ms)]
        return joined[0], joined[1], torch.stack(losses), torch.stack(befores)
