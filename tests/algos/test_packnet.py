"""PackNet and EfficientPackNet: which weights they choose (powerprop sheet, facts P11 to P13)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sequences import batches, learn, learner_of, striped

from frisket.algos.learners.tasks.efficient_packnet import EfficientPackNet, EfficientPackNetConfig
from frisket.algos.learners.tasks.packnet import PackNetConfig
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.masks.ranking import Ranking
from frisket.algos.masks.search import Judged, acceptable, binary_search, grid_search
from frisket.algos.networks.powerprop import masked
from frisket.errors import SpecError
from frisket.types import Batch, Metrics, State, TaskEnd

GRID = (0.02, 0.05, 0.1, 0.2, 0.4)


def before_its_end(learner: Any, state: State, index: int, steps: int = 12) -> tuple[State, Batch, Metrics]:
    """The state after the task's training, as `choose` sees it; its last batch; what the end then measured."""
    *training, last = batches(index, steps)
    for batch in training:
        state, _ = learner.observe(state, batch)
    trained, _ = learner.observe(state, Batch(last.x, last.y, last.position, last.task))
    _, metrics = learner.observe(state, last)
    return trained, last, metrics


@pytest.mark.parametrize("score", ["accuracy", "log_likelihood"])
@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_p11_the_smallest_mask_that_passes(score: str, scope: str, alpha: float) -> None:
    """For the first two tasks, whatever gamma: the chosen mask passes and the next smaller one of the grid does not."""
    learner = learner_of("efficient-packnet", alpha, gamma=0.97, grid=GRID, score=score, scope=scope)
    assert isinstance(learner, EfficientPackNet)
    state = learner.init(0)
    for index in range(2):
        trained, last, metrics = before_its_end(learner, state, index)
        assert last.end is not None
        x, y = last.end.validation()
        chosen = learner.choose(trained, last.end).masks
        theta = learner.network.effective(trained["theta"]).theta
        ranking = Ranking(
            {k: trained["theta"][k] for k in learner.maskable}, learner.config.scope, learner.network.head
        )
        dense = learner.score(theta, x, y)
        scores = {s: learner.score(masked(theta, ranking.keep(s)), x, y) for s in GRID}
        at = next(s for s in GRID if all(torch.equal(m, chosen[k]) for k, m in ranking.keep(s).items()))
        assert metrics["dense_score"] == dense
        assert metrics["sparse_score"] == scores[at]
        passing = [s for s in GRID if all(acceptable(scores[larger], dense, 0.97) for larger in GRID if larger >= s)]
        if passing:
            assert (at, metrics["violated"]) == (min(passing), 0.0)
            assert at == GRID[0] or not acceptable(scores[GRID[GRID.index(at) - 1]], dense, 0.97)
        else:
            assert (at, metrics["violated"]) == (GRID[-1], 1.0)
        for batch in batches(index, 12):
            state, _ = learner.observe(state, batch)


def test_p12_later_tasks_reuse_weights_of_earlier_ones() -> None:
    learner = learner_of("efficient-packnet", grid=(0.1, 0.2, 0.4))
    state, metrics = learn(learner, learner.init(0), 0)
    assert metrics["reused"] == 0
    state, metrics = learn(learner, state, 1)
    store = learner.store(state)
    shared = sum(int(m.sum()) for m in (store[0] & store[1]).values())
    assert shared > 0
    assert metrics["reused"] == pytest.approx(shared / sum(int(m.sum()) for m in store[1].values()))
    assert store.capacity().reused.tolist() == pytest.approx([0.0, metrics["reused"]])


def test_p12_packnet_owns_only_what_nobody_owned() -> None:
    learner = learner_of("packnet", prune=(0.5, 0.75, 0.2))
    state, free = learner.init(0), MaskSet(learner.init(0)["free"])
    for index in range(3):
        state, _ = learn(learner, state, index)
        store = learner.store(state)
        owned = MaskSet(store[index]) - MaskSet(store[index - 1]) if index else store[0]
        assert owned - free == MaskSet({k: torch.zeros_like(m) for k, m in free.items()})
        if index:
            assert store[index - 1] - store[index] == owned & ~owned  # all older weights are used
        for k, mask in owned.items():
            candidates = int(free[k].sum())
            assert int(mask.sum()) == candidates - round((0.5, 0.75, 0.2)[index] * candidates)
        free = MaskSet(state["free"])


@pytest.mark.parametrize("tasks", [2, 3, 7])
def test_p13_every_task_owns_its_part_of_every_tensor(tasks: int) -> None:
    learner = learner_of("packnet", tasks=tasks, head="masked")
    state = learner.init(0)
    for index in range(tasks):
        state, _ = learn(learner, state, index, 2)
    store = learner.store(state)
    for k in store.shapes:
        size, before = store[0][k].numel(), 0
        for one in store:
            owned = int(one[k].sum()) - before
            assert abs(owned - size / tasks) <= 1
            before = int(one[k].sum())
        assert before == size
    assert not any(bool(m.any()) for m in state["free"].values())


def test_packnet_keeps_the_largest_of_its_own() -> None:
    learner = learner_of("packnet", prune=(0.6,))
    state = learner.init(0)
    end = TaskEnd(1, lambda i: next(batches(0)), lambda: striped(0, 0))
    masks = learner.choose(state, end).masks
    for k, mask in masks.items():
        kept, pruned = state["theta"][k][mask].abs(), state["theta"][k][~mask].abs()
        assert float(kept.min()) > float(pruned.max())


def test_shares_of_packnet() -> None:
    known = PackNetConfig(tasks=3)
    assert [known.share(t) for t in range(4)] == [2 / 3, 1 / 2, 0, 0]
    scripts = PackNetConfig()
    assert [scripts.share(t) for t in range(4)] == [0.5, 0.75, 0.75, 0.75]


@pytest.mark.parametrize(
    ("sparse", "dense", "gamma", "passes"),
    [
        (0.9, 1.0, 0.9, True),
        (0.89, 1.0, 0.9, False),
        (0.0, 0.0, 0.9, True),
        (-110.0, -100.0, 0.9, True),
        (-111.0, -100.0, 0.9, False),
        (-100.0, -100.0, 1.0, True),
        (-100.1, -100.0, 1.0, False),
        (-100.0, -50.0, 0.0, True),
    ],
)
def test_score_rule(sparse: float, dense: float, gamma: float, passes: bool) -> None:
    assert acceptable(sparse, dense, gamma) == passes


def judge_from(threshold: float, tried: list[float]) -> Any:
    def judge(fraction: float) -> Judged:
        tried.append(fraction)
        return Judged({}, fraction, fraction >= threshold)

    return judge


def test_grid_search_stops_at_the_first_failure() -> None:
    tried: list[float] = []
    found = grid_search(GRID, judge_from(0.1, tried))
    assert tried == [0.4, 0.2, 0.1, 0.05]
    assert [one.passes for one in found] == [True, True, True, False]


def test_binary_search_by_hand() -> None:
    """Threshold 0.3: 0.5 passes, 0.25 fails, 0.375 passes, 0.3125 passes."""
    tried: list[float] = []
    found = binary_search(4, judge_from(0.3, tried))
    assert tried == [0.5, 0.25, 0.375, 0.3125]
    assert [one.score for one in found if one.passes][-1] == 0.3125


def finish(**fields: Any) -> tuple[float, Metrics]:
    """The kept fraction, and the metrics, at the end of a first task."""
    learner = learner_of("efficient-packnet", **fields)
    state, metrics = learn(learner, learner.init(0), 0, 12)
    return 1 - learner.store(state)[0].sparsity(), metrics


def test_gamma_0_keeps_the_least_and_nothing_to_lose_the_most() -> None:
    kept, metrics = finish(gamma=0.0, grid=GRID)
    assert kept == pytest.approx(0.02, abs=1e-3)
    assert (metrics["violated"], metrics["evaluations"]) == (0.0, 5.0)


def test_where_the_largest_of_the_grid_fails_it_is_kept_and_said() -> None:
    kept, metrics = finish(gamma=1.0, grid=(0.0005, 0.001), score="log_likelihood")
    assert kept == pytest.approx(0.001, abs=3e-4)
    assert (metrics["violated"], metrics["evaluations"]) == (1.0, 1.0)
    assert metrics["sparse_score"] < metrics["dense_score"]


def test_where_no_half_passes_all_weights_are_kept() -> None:
    kept, metrics = finish(gamma=1.0, search="binary", evaluations=1, score="log_likelihood", scope="layer")
    if metrics["violated"]:
        assert kept == 1.0
        assert metrics["sparse_score"] == metrics["dense_score"]
    else:
        assert kept == pytest.approx(0.5, abs=1e-2)
    assert metrics["evaluations"] == 1.0


def test_keep_last_tested_is_one_too_sparse() -> None:
    fields: dict[str, Any] = {
        "gamma": 0.99,
        "grid": (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4),
    }
    kept, metrics = finish(**fields)
    printed, last = finish(**fields, keep_last_tested=True)
    assert metrics["violated"] == 0.0
    assert last["violated"] == 1.0
    assert printed < kept


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"gamma": 1.01}, "gamma"),
        ({"gamma": -0.1}, "gamma"),
        ({"gamma": float("nan")}, "gamma"),
        ({"grid": ()}, "grid"),
        ({"grid": (0.0, 0.5)}, "grid"),
        ({"grid": (0.5, 0.5)}, "grid"),
        ({"grid": (0.5, 1.1)}, "grid"),
        ({"evaluations": 0}, "evaluations"),
        ({"search": "binary", "keep_last_tested": True}, "keep_last_tested"),
    ],
)
def test_numbers_that_cannot_be_are_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        EfficientPackNetConfig(**fields)
    assert caught.value.field == field


def test_without_validation_samples_there_is_nothing_to_judge_by() -> None:
    learner = learner_of("efficient-packnet")
    *_, last = batches(0)
    assert last.end is not None
    x, y = striped(0, 0)
    end = TaskEnd(1, last.end.batch, lambda: (x[:0], y[:0]))
    with pytest.raises(SpecError, match="keep samples back"):
        learner.choose(learner.init(0), end)
