"""Sparse training: iterative magnitude pruning, Top-KAST, RigL and the static mask (powerprop sheet, section 5)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toys import small_mlp

from frisket.algos.contract.toys import separable_batch
from frisket.algos.kinds import LEARNERS
from frisket.algos.learners.sparse.iterative_magnitude import IterativeMagnitudeConfig
from frisket.algos.learners.sparse.learner import SparseLearner
from frisket.algos.learners.sparse.rigl import RigL, RigLConfig, exchanged
from frisket.algos.learners.sparse.top_kast import TopKAST, TopKASTConfig
from frisket.algos.masks.ranking import cubic_kept
from frisket.algos.networks.powerprop import Powerprop
from frisket.errors import SpecError
from frisket.types import State

KINDS = ("iterative-magnitude", "top-kast", "rigl", "static-sparse")


def learner_of(kind: str, alpha: float = 1.0, **fields: Any) -> SparseLearner:
    entry = LEARNERS[kind]
    built = entry.build(entry.config(**{"lr": 0.01, **fields}), Powerprop(small_mlp(), alpha))
    assert isinstance(built, SparseLearner)
    return built


def states(learner: SparseLearner, steps: int) -> list[State]:
    found = [learner.init(0)]
    for t in range(steps):
        found.append(learner.observe(found[-1], separable_batch(t))[0])
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimiser", ["adam", "momentum"])
def test_what_is_not_open_keeps_its_bits(kind: str, optimiser: str) -> None:
    learner = learner_of(kind, every=1000, kept=0.2, optimiser=optimiser, weight_decay=0.1, **(
        {"backward_kept": 0.4} if kind == "top-kast" else {}))  # fmt: skip
    first, *_, last = states(learner, 6)
    for k, open_ in first["open"].items():
        assert torch.equal(first["theta"][k][~open_], last["theta"][k][~open_])
        assert not torch.equal(first["theta"][k], last["theta"][k])
        assert bool((open_ | ~first["active"][k]).all())


@pytest.mark.parametrize("scope", ["global", "layer", "erk"])
@pytest.mark.parametrize("kind", ["top-kast", "rigl", "static-sparse"])
def test_as_many_stay_in_use_as_were_asked_for(kind: str, scope: str) -> None:
    learner = learner_of(kind, every=1, kept=0.2, scope=scope, **({"last": 100} if kind == "rigl" else {}))
    found = states(learner, 5)
    counts = [{k: int(m.sum()) for k, m in state["active"].items()} for state in found]
    if scope == "global" and kind == "top-kast":
        assert len({sum(count.values()) for count in counts}) == 1
    else:
        assert all(count == counts[0] for count in counts)
    assert sum(counts[0].values()) == pytest.approx(0.2 * (256 * 16 + 16 * 16 + 32), abs=15)


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_iterative_magnitude_follows_the_schedule(alpha: float) -> None:
    learner = learner_of("iterative-magnitude", alpha, every=2, first=2, last=10, kept=0.1, scope="global")
    found, total = states(learner, 14), 256 * 16 + 16 * 16 + 32
    for t, state in enumerate(found):
        kept = cubic_kept(t - t % 2, 2, 10, 0.1)
        assert sum(int(m.sum()) for m in state["active"].values()) == int(kept * total)
    at = found[12]
    order = torch.cat([v.abs().flatten() for k, v in at["theta"].items() if k in at["active"]])
    used = torch.cat([m.flatten() for m in at["active"].values()])
    assert float(order[used].min()) >= float(order[~used].max())


def test_answers_use_the_active_weights_alone() -> None:
    learner, batch = learner_of("top-kast", kept=0.2), separable_batch(3)
    *_, state = states(learner, 4)
    theta = {k: v * state["active"][k] if k in state["active"] else v for k, v in state["theta"].items()}
    answer = learner.predict(state, batch.x)
    assert answer is not None
    assert torch.equal(answer, learner.network(theta, batch.x))


def test_penalty_of_top_kast_by_hand() -> None:
    """lambda = 0.1, D = 0.5: 0.1 theta in use, 0.2 theta out of use but learned, nothing elsewhere."""
    learner = TopKAST(TopKASTConfig(kept=0.5, backward_kept=0.75, penalty=0.1), small_mlp())
    theta = {"w": torch.tensor([1.0, 2.0, 4.0]), "b": torch.ones(1)}
    state = {"active": {"w": torch.tensor([False, False, True])}, "open": {"w": torch.tensor([False, True, True])}}
    found = learner.regularised({"w": torch.zeros(3), "b": torch.ones(1)}, theta, state)
    assert found["w"].tolist() == pytest.approx([0.0, 0.4, 0.4])
    assert found["b"].tolist() == [1.0]


def test_exchange_of_rigl_by_hand() -> None:
    """Of four active weights half are dropped, the smallest; the two steepest of the others come in."""
    mask = torch.tensor([[True, True, True, True], [False, False, False, False]])
    theta = torch.tensor([[4.0, 1.0, -3.0, 2.0], [9.0, 9.0, 9.0, 9.0]])
    grad = torch.tensor([[0.0, 99.0, 0.0, 0.0], [0.1, -0.4, 0.2, 0.3]])
    after = exchanged(mask, theta, grad, 0.5)
    assert after.tolist() == [[True, False, True, False], [False, True, False, True]]
    assert torch.equal(exchanged(mask, theta, grad, 0.0), mask)


def test_rigl_takes_weights_in_at_0_and_stops_at_its_last_step() -> None:
    learner = learner_of("rigl", kept=0.2, every=2, last=4)
    found = states(learner, 8)
    first, second = found[1]["active"]["fc1.weight"], found[2]["active"]["fc1.weight"]
    new = second & ~first
    assert int(new.sum()) > 0
    assert not found[2]["theta"]["fc1.weight"][new].any()
    assert not found[2]["theta"]["fc1.weight"][~second].any()
    assert torch.equal(found[4]["active"]["fc1.weight"], found[8]["active"]["fc1.weight"])


def test_static_mask_is_random_and_stays() -> None:
    learner = learner_of("static-sparse", kept=0.3, every=1)
    found = states(learner, 3)
    assert torch.equal(found[0]["active"]["fc1.weight"], found[3]["active"]["fc1.weight"])
    assert not torch.equal(learner.init(1)["active"]["fc1.weight"], found[0]["active"]["fc1.weight"])


@pytest.mark.parametrize(
    ("config", "fields", "field"),
    [
        (TopKASTConfig, {"kept": 0.0}, "kept"),
        (TopKASTConfig, {"kept": 0.5, "backward_kept": 0.4}, "backward_kept"),
        (TopKASTConfig, {"penalty": -1.0}, "penalty"),
        (TopKASTConfig, {"every": 0}, "every"),
        (RigLConfig, {"drop": 1.1}, "drop"),
        (RigLConfig, {"last": 0}, "last"),
        (IterativeMagnitudeConfig, {"first": 10, "last": 10}, "first"),
    ],
)
def test_numbers_that_cannot_be_are_refused(config: Any, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        config(**fields)
    assert caught.value.field == field


def test_rigl_refuses_powerprop() -> None:
    with pytest.raises(SpecError, match="could not move"):
        RigL(RigLConfig(), Powerprop(small_mlp(), 2.0))
