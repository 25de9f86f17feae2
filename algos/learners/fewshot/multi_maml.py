"""Multi-MAML: a MAML for each domain, which learns from that domain's tasks alone (gems spec, section 4).

    theta_d <- theta_d - Opt( grad  sum over tasks of d in the meta-batch  of L(phi_d, query) )      d = 1 .. domains

It is told each task's domain. A member is `maml` itself, from the same seed: after its k-th meta-batch it is, to the
bit, what it would be had there been no other domains. Members without a task in a meta-batch stay as they are. A task
of a known domain is answered by that domain's member; of another one by the mean of all members' probabilities, each
adapted by itself. [our default]

Symbols and arguments: those of `maml`; ``meta_batch`` counts the tasks of all domains together.

>>> import torch
>>> from frisket.algos.networks.conv4 import Conv4, Conv4Config
>>> from frisket.types import Batch, Task
>>> network = Conv4(Conv4Config(channels=2), in_channels=1, size=16, ways=2)
>>> learner = MultiMAML(MultiMAMLConfig(inner_steps=1), network).over(["drawings", "photos"])
>>> x, y, task = torch.rand(6, 1, 16, 16), torch.tensor([0, 1, 0, 0, 1, 1]), Task("photos", (3, 5), 0)
>>> episode = Batch(x, y, position=0, task=task, support=2)
>>> before = learner.init(seed=0)
>>> state, metrics = learner.apply(before, learner.gradients(before, [episode]))
>>> [torch.equal(state["theta"][i]["classifier.weight"], before["theta"][i]["classifier.weight"]) for i in ("0", "1")]
[True, False]
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.learner import Episodic, Method, require_task
from frisket.algos.learners.fewshot.learner import LOGGED, EpisodicLearner
from frisket.algos.learners.fewshot.maml import MAMLConfig
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.networks.network import Network
from frisket.algos.parts.tree import map_tensors
from frisket.errors import SpecError, nearest, require
from frisket.types import Batch, Metrics, State, Task

Unknown = Literal["mean", "error"]
"""Who answers a task of a domain that nothing was learned from."""

_COMMON = ("seed", "step")
_ALL = -1
"""In ``answers``, in place of a member's number."""


@dataclass(frozen=True, kw_only=True)
class MultiMAMLConfig(MAMLConfig):
    """Attributes:
    unknown: what a task of a domain that nothing was learned from is answered with: ``mean``, the mean of all members'
        probabilities, or ``error``, nothing: it is refused.
    """

    unknown: Unknown = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        known = get_args(Unknown)
        require(self.unknown in known, "unknown", self.unknown, f"one of {', '.join(known)}")


class MultiMAML(Episodic):
    """Multi-MAML. `over` says of which domains.

    State: ``seed``, ``step`` (outer steps), the other entries of `EpisodicLearner`'s state, each by the number of the
    member, and ``answers``, the member that answers, or -1 for all of them: so until a task is adapted to.
    """

    def __init__(self, config: MultiMAMLConfig, network: Network, domains: Sequence[str] = ()) -> None:
        self.config, self.network, self.meta_batch = config, network, config.meta_batch
        self.domains = tuple(domains)
        self._member = EpisodicLearner(config, network)
        self.capabilities = dataclasses.replace(self._member.capabilities, needs_task=True)

    def over(self, domains: Sequence[str]) -> MultiMAML:
        if not domains:
            fix = "must be given episodes, whose domains it is to know: stream.kind = mixed-episodes"
            raise SpecError("learner.kind", "multi-maml", fix)
        return MultiMAML(self.config, self.network, domains)

    def init(self, seed: int, warm_start: State | None = None) -> State:
        return self._whole([self._member.init(seed, warm_start) for _ in self.domains])

    def _whole(self, members: Sequence[State], answers: int = _ALL) -> State:
        """The state whose members' are ``members``."""
        by_member = {k: {str(i): one[k] for i, one in enumerate(members)} for k in members[0] if k not in _COMMON}
        common = {k: members[0][k] for k in _COMMON}
        return {**common, **by_member, "answers": torch.tensor(answers, device=common["step"].device)}

    def _members(self, state: State) -> list[State]:
        """Of each member its own state; all count the steps of the whole."""
        own = [k for k in state if k not in (*_COMMON, "answers")]
        return [
            {**{k: state[k] for k in _COMMON}, **{k: state[k][str(i)] for k in own}} for i in range(len(self.domains))
        ]

    def gradients(self, state: State, episodes: Sequence[Batch]) -> State:
        tasks = [require_task(self, episode).domain for episode in episodes]
        for domain in tasks:
            require(domain in self.domains, "stream.domains", domain, nearest(domain, self.domains))
        found: dict[str, State] = {}
        for i, (domain, member) in enumerate(zip(self.domains, self._members(state), strict=True)):
            own = [episode for episode, of in zip(episodes, tasks, strict=True) if of == domain]
            if own:
                found[str(i)] = self._member.gradients(member, own)
        nothing = map_tensors(torch.zeros_like, next(iter(found.values())))
        return {str(i): found.get(str(i), nothing) for i in range(len(self.domains))}

    def apply(self, state: State, gradients: State) -> tuple[State, Metrics]:
        members = self._members(state)
        there = [i for i in range(len(members)) if float(gradients[str(i)]["tasks"]) > 0]
        for i in there:
            members[i], _ = self._member.apply(members[i], gradients[str(i)])
        loss, tasks = (sum(float(gradients[str(i)][name]) for i in there) for name in ("loss", "tasks"))
        step = {"step": state["step"] + 1}
        return self._whole([{**one, **step} for one in members]), {"query_loss": loss / tasks}

    def adapted(self, state: State, support: Batch) -> State:
        domain, members = None if support.task is None else support.task.domain, self._members(state)
        if domain in self.domains:
            i = self.domains.index(domain)
            members[i] = self._member.adapted(members[i], support)
            return self._whole(members, i)
        if self.config.unknown == "error":
            fix = f"must be one that was learned from, {', '.join(self.domains)}; or say learner.unknown=mean"
            raise SpecError("stream.domains", domain, fix)
        return self._whole([self._member.adapted(one, support) for one in members])

    def start(self, state: State) -> State:
        common = {k: state[k] for k in _COMMON}
        whole = self._whole([{**common, **self._member.start(one)} for one in self._members(state)])
        return {k: v for k, v in whole.items() if k not in _COMMON}

    def predict(self, state: State, x: Tensor, task: Task | None = None) -> Tensor | None:
        """Logits of the member that was adapted, whatever ``task``; or logarithms of all members' mean
        probabilities."""
        members, i = self._members(state), int(state["answers"])
        if i != _ALL:
            return self._member.predict(members[i], x)
        logits = [self._member.predict(one, x) for one in members]
        told = torch.stack([one.log_softmax(-1) for one in logits if one is not None])
        return told.logsumexp(0) - math.log(len(told))

    @torch.no_grad()
    def loss(self, state: State, batch: Batch) -> float:
        logits = self.predict(state, batch.x)
        assert logits is not None
        return float(F.cross_entropy(logits, batch.y))

    def masks(self, state: State) -> MaskSet:
        return MaskSet({})


METHODS = (
    Method(
        name="multi-maml",
        config=MultiMAMLConfig,
        build=MultiMAML,
        summary="a MAML for each domain of tasks, told which a task is of",
        page="multi-maml",
        logged=LOGGED,
        quick={"inner_steps": 3, "alpha": 0.3, "outer_lr": 0.01, "meta_batch": 1},
        tried_on="conv4",
        meta=("theta",),
    ),
)
