"""The replay baselines against their equations: fact 11 of the lamaml spec."""

from __future__ import annotations

import pytest
import torch
from toys import build, double, largest_difference, run, small_mlp

from frisket.algos.contract.toys import noise_batch, noise_data, separable_batch
from frisket.algos.learner import Learner
from frisket.algos.learners.replay.er import OnlineSGD, OnlineSGDConfig
from frisket.algos.learners.replay.ewc import EWC, EWCConfig
from frisket.algos.learners.replay.gem import GEM, GEMConfig, flatten, unflatten
from frisket.algos.learners.replay.mer import MER, MERConfig
from frisket.algos.learners.replay.row_walk import Products, RowWalk
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.parts.projection import agem_projection, gem_projection
from frisket.algos.parts.tree import equal_states, lifted, stacked
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Batch, Data, Params, Task

EXACT = 1e-10


def exact_batch(position: int) -> Batch:
    return noise_batch(position, dtype=torch.float64)


def exact_end(learner: Learner, positions: int) -> Params:
    """The weights after noise batches, all in float64."""
    state = learner.init(0)
    return run(learner, {**state, "theta": double(state["theta"])}, range(positions), exact_batch)["theta"]


def vectors(count: int, size: int = 12, key: int = 0) -> torch.Tensor:
    return torch.randn(count, size, generator=torch_generator(0, "vectors", key), dtype=torch.float64)


@pytest.mark.parametrize("key", range(8))
@pytest.mark.parametrize("tasks", [1, 2, 5, 11])
def test_11_gem_hurts_no_task_and_moves_no_further_than_needed(tasks: int, key: int) -> None:
    past, g = vectors(tasks, key=key), vectors(1, key=100 + key)[0]
    turned = gem_projection(g, past, margin=0.0, ridge=0.0)
    assert float((past @ turned).min()) >= -EXACT
    # Optimality: the move is a non-negative mixture of the past gradients, and of those it is level with only.
    v = torch.linalg.lstsq(past.T, (turned - g)[:, None]).solution[:, 0]
    assert torch.allclose(past.T @ v, turned - g, atol=1e-9)
    assert float(v.min()) >= -1e-9
    assert float((v * (past @ turned)).abs().max()) < 1e-9


def test_11_gem_leaves_a_gradient_that_agrees_alone() -> None:
    g = vectors(1)[0]
    assert gem_projection(g, torch.stack([g, 2 * g]), margin=0.5, ridge=1e-3) is g


def test_gem_with_a_margin_goes_further_and_survives_repeated_gradients() -> None:
    g = vectors(1)[0]
    past = torch.stack([-g, -g, -2 * g])
    level = gem_projection(g, past, margin=0.0, ridge=0.0)
    assert float((past @ level).abs().max()) < 1e-8
    further = gem_projection(g, past, margin=0.1, ridge=0.0)
    assert float((past @ further).min()) > 0
    assert float((further - g).norm()) > float((level - g).norm())
    ridged = gem_projection(g, past[:1], margin=0.0, ridge=1e-3)
    product = float(g @ g)
    assert torch.allclose(ridged, g - product / (product + 1e-3) * g)


@pytest.mark.parametrize("key", range(5))
def test_11_agem(key: int) -> None:
    g, r = vectors(2, key=key)
    for reference in (r, -r):
        turned = agem_projection(g, reference)
        assert float(turned @ reference) >= -EXACT
        assert (turned is g) == bool(g @ reference >= 0)
    both = agem_projection(torch.stack([g, g]), torch.stack([r, -r]))
    alone = torch.stack([agem_projection(g, r), agem_projection(g, -r)])
    assert torch.allclose(both, alone, atol=EXACT, rtol=0), "each row by itself"


def test_vectors_and_parameters() -> None:
    theta = small_mlp().init(torch_generator(0))
    backwards = dict(reversed(list(theta.items())))
    both = stacked([theta, {k: 2 * v for k, v in backwards.items()}])
    assert torch.equal(flatten(both), flatten(dict(reversed(list(both.items())))))
    assert torch.equal(flatten(both)[1], 2 * flatten(lifted(theta))[0])
    assert equal_states(unflatten(flatten(both), both), both)


def test_rings_hold_the_last_samples_of_each_task() -> None:
    learner = build("gem")
    assert isinstance(learner, GEM)
    state = run(learner, learner.init(0), range(8), noise_batch)  # tasks begin at 0, 3 and 6
    assert state["rings"]["pushed"].tolist() == [18, 18, 12]
    assert torch.equal(learner.earlier(lifted(state))[1].x[0], noise_batch(5).x[-3:])
    wide = GEM(GEMConfig(memories=50), small_mlp())
    state = run(wide, wide.init(0), range(4), noise_batch)
    held = torch.cat([noise_batch(i).x for i in range(3)])
    assert torch.equal(wide.earlier(lifted(state))[0].x[0], held)
    odd = GEM(GEMConfig(memories=8), small_mlp())
    state = run(odd, odd.init(0), range(3), noise_batch)
    assert torch.equal(state["rings"]["x"][0].roll(-18 % 8, 0), held[-8:])


@pytest.mark.parametrize("clip", [None, 0.02])
@pytest.mark.parametrize(("margin", "ridge"), [(0.0, 0.0), (0.1, 1e-3)])
@pytest.mark.parametrize(("size", "glances"), [(1, 1), (4, 2)])
@pytest.mark.parametrize("own", [None, 2])
def test_gem_by_rows_is_gem_with_its_gradients_formed(
    own: int | None, size: int, glances: int, margin: float, ridge: float, clip: float | None
) -> None:
    """Three earlier rings, the last of which is not full, and gradients that some of them disagree with."""
    network = MLP(MLPConfig(hidden=(12, 7)), in_channels=1, size=16, ways=4, own=own)
    config = GEMConfig(memories=14, margin=margin, ridge=ridge, clip_norm=clip, samples_per_step=size, glances=glances)
    learner = GEM(config, network)
    state = learner.init(0)
    state["theta"] = double(state["theta"])
    for position in (*range(8), 9):
        state, _ = learner.observe(state, noise_batch(position, ways=4, dtype=torch.float64))
    assert state["rings"]["pushed"].tolist() == [36, 36, 24, 12]
    state["rings"]["pushed"][2] = 9
    state = lifted(state)
    hyper = {"lr": torch.tensor([0.05]).double(), "margin": torch.tensor([margin]), "ridge": torch.tensor([ridge])}
    turned = 0
    for key in range(4):
        x, y = noise_data(50 + key, ways=4)
        data = Data(x[None], (y[None] + 1 + key) % 4)
        formed, measured = learner.learn_formed(state, data, hyper)
        rings = {k: v.clone() for k, v in state["rings"].items()}
        by_rows, also = learner.learn({**state, "rings": rings}, data, hyper)
        assert list(by_rows["theta"]) == list(state["theta"])
        assert largest_difference(by_rows["theta"], formed["theta"]) < 1e-9
        assert torch.allclose(also["outer_loss"], measured["outer_loss"], atol=EXACT, rtol=0)
        _, grads = learner.gradient_on(state["theta"], data)
        turned += largest_difference(learner.project(state, grads, hyper), grads) > 1e-6
    assert turned


def test_row_products_are_those_of_the_gradients() -> None:
    """Of the new samples' gradient with the sets', of the sets' among themselves; and a step along their mixture."""
    network = small_mlp()
    theta = double(network.init(torch_generator(0)))
    x, y = (torch.stack(parts) for parts in zip(*(noise_data(t) for t in range(3)), strict=True))
    held, new = torch.tensor([6, 1, 4]), noise_data(7)
    past = [network.loss_and_gradients(theta, x[t, :n], y[t, :n])[1] for t, n in enumerate(held.tolist())]
    formed = flatten(stacked(past))
    loss, grads = network.loss_and_gradients(theta, new.x[2:5], new.y[2:5])
    g, v, seen = flatten(lifted(grads))[0], torch.tensor([[0.5, -2.0, 1.0]], dtype=torch.float64), list[Products]()

    def mix(products: Products) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(products)
        return torch.tensor([3.0], dtype=torch.float64), v

    walk = RowWalk(network, lifted(theta), Data(x[None], y[None]), held, Data(new.x[None], new.y[None]))
    found = walk.step(2, 5, torch.tensor([0.1], dtype=torch.float64), mix)
    assert torch.allclose(found, loss, atol=EXACT, rtol=0)
    assert torch.allclose(seen[0].new[0], formed @ g, atol=EXACT, rtol=0)
    assert torch.allclose(seen[0].square()[0], g @ g, atol=EXACT, rtol=0)
    assert torch.allclose(seen[0].past()[0], formed @ formed.T, atol=EXACT, rtol=0)
    expected = flatten(lifted(theta))[0] - 0.1 * (3 * g + formed.T @ v[0])
    assert torch.allclose(flatten(walk.end())[0], expected, atol=EXACT, rtol=0)


def test_agem_of_the_released_code_never_protects_the_first_task() -> None:
    """Two tasks: its gradient is never turned. The textbook's is, sooner or later."""
    plain, code, textbook = (build(kind, lr=0.1) for kind in ("online-sgd", "a-gem/code", "a-gem"))
    ends = {name: exact_end(one, 6) for name, one in (("plain", plain), ("code", code), ("textbook", textbook))}
    assert largest_difference(ends["plain"], ends["code"]) < EXACT
    assert largest_difference(ends["plain"], ends["textbook"]) > 1e-3
    assert largest_difference(exact_end(code, 12), exact_end(plain, 12)) > 1e-3


def test_11_mer_with_one_pass_over_an_empty_memory_is_one_sgd_step() -> None:
    network = small_mlp()
    mer = MER(MERConfig(lr=0.1, passes=1, within_rate=1.0, across_rate=1.0), network)
    sgd = OnlineSGD(OnlineSGDConfig(lr=0.1), network)
    batch = noise_batch(0)
    one = Batch(batch.x[:1], batch.y[:1], 0)
    assert equal_states(mer.observe(mer.init(0), one)[0]["theta"], sgd.observe(sgd.init(0), one)[0]["theta"])


def test_mer_equations() -> None:
    """Two passes over an empty memory, in float64, by hand."""
    network = small_mlp()
    learner = MER(MERConfig(lr=0.1, passes=2, within_rate=0.3, across_rate=0.5), network)
    state = learner.init(0)
    theta = state["theta"] = double(state["theta"])
    data = noise_data(0)
    x, y = data.x[:1], data.y[:1]

    def sgd(w: Params) -> Params:
        _, g = network.loss_and_gradients(w, x, y)
        return {k: v - 0.1 * g[k] for k, v in w.items()}

    def towards(a: Params, b: Params, share: float) -> Params:
        return {k: v + share * (b[k] - v) for k, v in a.items()}

    first = towards(theta, sgd(theta), 0.3)
    second = towards(first, sgd(first), 0.3)
    expected = towards(theta, second, 0.5)
    after, _ = learner.observe(state, Batch(x, y, 0))
    assert max(float((after["theta"][k] - expected[k]).abs().max()) for k in theta) < EXACT


def test_11_ewc_on_the_first_task_is_online() -> None:
    network = small_mlp()
    ewc, sgd = EWC(EWCConfig(lr=0.05), network), OnlineSGD(OnlineSGDConfig(lr=0.05), network)
    assert largest_difference(exact_end(ewc, 3), exact_end(sgd, 3)) < EXACT
    assert run(ewc, ewc.init(0), range(3), noise_batch)["fisher"] == {}


def test_ewc_pull_is_the_gradient_of_its_penalty() -> None:
    """The third task's step against automatic differentiation of the loss as printed."""
    network = small_mlp()
    learner = EWC(EWCConfig(lr=0.05, strength=7.0, memories=2), network)
    state = learner.init(0)
    state["theta"] = double(state["theta"])
    anchors: list[tuple[Params, Params]] = []
    for t in range(2):
        x, y = noise_data(t)
        for i in range(3):
            state, _ = learner.observe(
                state, Batch(x[2 * i : 2 * i + 2], y[2 * i : 2 * i + 2], i, Task("t", (0, 1), t))
            )
        _, g = network.loss_and_gradients(state["theta"], x[:2], y[:2])
        anchors.append(({k: v * v for k, v in g.items()}, state["theta"]))
    x, y = noise_data(2)
    theta = {k: v.detach().requires_grad_() for k, v in state["theta"].items()}
    loss = torch.nn.functional.cross_entropy(network(theta, x[:1]), y[:1])
    for fisher, anchor in anchors:
        loss = loss + 7.0 * sum((fisher[k] * (theta[k] - anchor[k]) ** 2).sum() for k in theta)
    grads = torch.autograd.grad(loss, list(theta.values()))
    after, _ = learner.observe(state, Batch(x[:1], y[:1], 9, Task("t", (0, 1), 2)))
    for (k, v), g in zip(theta.items(), grads, strict=True):
        assert float((after["theta"][k] - (v.detach() - 0.05 * g)).abs().max()) < EXACT


def test_er_step_is_plain_sgd_on_draws_and_new_samples() -> None:
    learner = build("er", samples_per_step=6, replay_batch=0)
    network = small_mlp()
    theta, batch = double(learner.init(0)["theta"]), exact_batch(0)
    _, g = network.loss_and_gradients(theta, batch.x, batch.y)
    expected = {k: v.sub(g[k], alpha=0.02) for k, v in theta.items()}
    assert largest_difference(exact_end(learner, 1), expected) < EXACT


def test_replay_remembers_what_online_forgets() -> None:
    """A second task with the labels swapped on mirrored brightness: ER still answers the first one, Online does not."""

    def second(position: int) -> Batch:
        batch = separable_batch(position)
        return Batch(2 - batch.x, 1 - batch.y, position, Task("mirrored", (0, 1), 60))

    scores = {}
    for form in ("er", "online-sgd"):
        learner = build(form, channels=4, lr=0.05)
        state = run(learner, run(learner, learner.init(0), range(60)), range(60, 120), second)
        x, y = separable_batch(500).x, separable_batch(500).y
        logits = learner.predict(state, x)
        assert logits is not None
        scores[form] = float((logits.argmax(-1) == y).double().mean())
    assert scores["er"] > scores["online-sgd"]


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (lambda: MERConfig(samples_per_step=2), "samples_per_step"),
        (lambda: MERConfig(memory_slots=5), "memory_slots"),
        (lambda: EWCConfig(memories=0), "memories"),
        (lambda: GEMConfig(margin=-1.0), "margin"),
        (lambda: OnlineSGDConfig(lr=0.0), "lr"),
    ],
)
def test_mistakes_are_named(config: object, field: str) -> None:
    with pytest.raises(SpecError, match=field):
        config()  # type: ignore[operator]
