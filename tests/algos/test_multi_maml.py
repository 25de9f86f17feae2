"""Multi-MAML: members that know nothing of each other (gems spec, section 4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from frisket.algos.learner import Episodic
from frisket.algos.learners.fewshot.learner import EpisodicLearner
from frisket.algos.learners.fewshot.maml import MAMLConfig
from frisket.algos.learners.fewshot.multi_maml import MultiMAML, MultiMAMLConfig
from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.networks.network import Network
from frisket.algos.parts.tree import equal_states, flatten
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Batch, State, Task

DOMAINS = ("a", "b", "c")
DENSE = MLP(MLPConfig(hidden=(5,)), in_channels=1, size=16, ways=3)
RUNNING = Conv4(Conv4Config(channels=2, norm="inductive"), in_channels=1, size=16, ways=3)
FIELDS: dict[str, Any] = {"inner_steps": 2, "alpha": 0.1, "outer_lr": 0.01}


def episode(number: int, domain: str) -> Batch:
    """3-way 2-shot with 3 queries a class, of noise."""
    generator = torch_generator(number, "episode", domain)
    y = torch.cat([torch.arange(3).repeat_interleave(2), torch.arange(3).repeat_interleave(3)])
    x = torch.randn(15, 1, 16, 16, generator=generator)
    return Batch(x, y, number, Task(domain, (0, 1, 2), number), support=6)


def support_of(one: Batch, **changes: Any) -> Batch:
    return Batch(one.x[:6], one.y[:6], one.position, **{"task": one.task, **changes})


def multi(network: Network = DENSE, **fields: Any) -> MultiMAML:
    return MultiMAML(MultiMAMLConfig(**FIELDS, **fields), network).over(DOMAINS)


def member(state: State, i: int) -> State:
    """Entries of ``state`` by member, the ``i``-th."""
    return {k: state[k][str(i)] for k in ("theta", "m", "outer", "phi")}


def stepped(learner: Episodic, state: State, episodes: Sequence[Batch]) -> State:
    return learner.apply(state, learner.gradients(state, episodes))[0]


@pytest.mark.parametrize("network", [DENSE, RUNNING], ids=["dense", "running statistics"])
def test_a_member_is_what_it_would_be_without_the_others(network: Network) -> None:
    """To the bit after every meta-batch, also those in which it has no task (fact 10)."""
    learner, plain = multi(network), EpisodicLearner(MAMLConfig(**FIELDS), network)
    state, alone = learner.init(4), [plain.init(4) for _ in DOMAINS]
    for k, domains in enumerate(["abcabc", "aab", "cc"]):
        tasks = [episode(10 * k + i, domain) for i, domain in enumerate(domains)]
        state = stepped(learner, state, tasks)
        for i, domain in enumerate(DOMAINS):
            own = [one for one in tasks if one.task is not None and one.task.domain == domain]
            alone[i] = stepped(plain, alone[i], own) if own else alone[i]
            assert equal_states(member(state, i), {k: alone[i][k] for k in member(state, i)})
    assert int(state["step"]) == 3


def test_gradients_of_shared_out_tasks_add_up() -> None:
    """As `parallel: tasks` does: every process has the same names, whichever domains it met."""
    learner = multi()
    state, tasks = learner.init(0), [episode(i, domain) for i, domain in enumerate("abab")]
    whole, (one, other) = learner.gradients(state, tasks), (learner.gradients(state, tasks[i::2]) for i in range(2))
    parts = [flatten(one), flatten(other)]
    assert parts[0].keys() == parts[1].keys() == flatten(whole).keys()
    for name, value in flatten(whole).items():
        assert torch.equal(parts[0][name] + parts[1][name], value)
    assert float(whole["2"]["tasks"]) == 0


def test_query_loss_is_the_mean_over_all_tasks() -> None:
    learner, plain = multi(), EpisodicLearner(MAMLConfig(**FIELDS), DENSE)
    state, tasks = learner.init(0), [episode(i, domain) for i, domain in enumerate("aab")]
    _, metrics = learner.apply(state, learner.gradients(state, tasks))
    alone = plain.init(0)
    _, wanted = plain.apply(alone, plain.gradients(alone, tasks))
    assert metrics["query_loss"] == pytest.approx(wanted["query_loss"], rel=1e-6)


def test_a_known_domain_is_answered_by_its_member_and_another_by_all() -> None:
    learner, plain = multi(), EpisodicLearner(MAMLConfig(**FIELDS), DENSE)
    state = stepped(learner, learner.init(0), [episode(i, domain) for i, domain in enumerate("abc")])
    asked = episode(9, "b")
    x, answers = asked.x[6:], []
    for i in range(3):
        own = {**plain.init(0), **member(state, i)}
        answers.append(plain.predict(plain.adapted(own, support_of(asked)), x))
    told = [one for one in answers if one is not None]
    found = learner.predict(learner.adapted(state, support_of(asked)), x, asked.task)
    assert found is not None
    assert torch.equal(found, told[1])
    mean = torch.stack([one.softmax(-1) for one in told]).mean(0)
    for task in (None, Task("d", (0, 1, 2), 0)):
        found = learner.predict(learner.adapted(state, support_of(asked, task=task)), x, task)
        assert found is not None
        torch.testing.assert_close(found.softmax(-1), mean)


@pytest.mark.parametrize("task", [None, Task("d", (0, 1, 2), 0)])
def test_an_unknown_domain_can_be_refused(task: Task | None) -> None:
    learner = multi(unknown="error")
    state, asked = learner.init(0), episode(0, "a")
    learner.adapted(state, support_of(asked))
    with pytest.raises(SpecError, match=r"a, b, c; or say learner\.unknown=mean"):
        learner.adapted(state, support_of(asked, task=task))


def test_what_is_kept_of_the_best_point_leaves_the_state_whole() -> None:
    learner = multi()
    first = learner.init(0)
    later = stepped(learner, first, [episode(i, domain) for i, domain in enumerate("abc")])
    back = {**later, **learner.start(first)}
    assert flatten(back).keys() == flatten(first).keys()
    assert equal_states(back["theta"], first["theta"])
    assert equal_states(back["outer"], later["outer"])
    adapted = learner.adapted(later, support_of(episode(3, "b")))
    assert equal_states(learner.start(adapted), learner.start(later))


@pytest.mark.parametrize(
    ("make", "field", "says"),
    [
        (lambda: multi(unknown="best"), "unknown", "one of mean, error"),
        (lambda: multi().over(()), "learner.kind", "must be given episodes, whose domains it is to know"),
        (lambda: multi().gradients(multi().init(0), [episode(0, "d")]), "stream.domains", "known: a, b, c"),
        (lambda: multi().gradients(multi().init(0), [episode(0, "a").hide_task()]), "learner.kind", "told the task"),
    ],
)
def test_what_does_not_suit_is_refused(make: Any, field: str, says: str) -> None:
    with pytest.raises(SpecError) as refused:
        make()
    assert refused.value.field == field
    assert says in str(refused.value)


def test_other_methods_of_episodes_keep_nothing_by_domain() -> None:
    plain = EpisodicLearner(MAMLConfig(**FIELDS), DENSE)
    assert plain.over(DOMAINS) is plain
    assert not plain.capabilities.needs_task
    assert dataclasses.replace(plain.capabilities, needs_task=True) == multi().capabilities
