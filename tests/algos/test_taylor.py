"""The Taylor variant of EfficientPackNet: the estimate is exact where it can be, its parts are what they say."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from sequences import batches, learner_of
from torch import Tensor
from toys import double, small_mlp

from frisket.algos.contract.toys import WAYS
from frisket.algos.learners.tasks.efficient_packnet import EfficientPackNet, EfficientPackNetConfig
from frisket.algos.learners.tasks.taylor import Expansion, expand, summed_gradient
from frisket.algos.masks.ranking import Ranking
from frisket.algos.masks.search import acceptable
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.networks.powerprop import masked
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Batch, Params, State, TaskEnd

EXACT = 1e-12


def drawn(*shape: int, key: object = 0) -> Tensor:
    return torch.randn(*shape, generator=torch_generator(0, "taylor", str(key)), dtype=torch.float64)


def some_masks(weights: Params, key: int) -> Params:
    return {k: drawn(*v.shape, key=(k, key)) > 0 for k, v in weights.items()}


@pytest.mark.parametrize("key", range(5))
def test_a_quadratic_loss_with_a_diagonal_hessian_is_estimated_exactly(key: int) -> None:
    """L = sum_i a_i (theta_i - c_i)^2 / 2, not at its minimum: both orders count, and curvature of either sign."""
    theta = {"w": drawn(7, 5), "v": drawn(3)}
    a, c = ({k: drawn(*v.shape, key=(part, k)) for k, v in theta.items()} for part in ("a", "c"))

    def loss(at: Params) -> Tensor:
        return sum(((0.5 * a[k] * (v - c[k]) ** 2).sum() for k, v in at.items()), torch.zeros((), dtype=torch.float64))

    expansion = Expansion(theta, {k: a[k] * (v - c[k]) for k, v in theta.items()}, a)
    masks = some_masks(theta, key)
    change = float(loss(masked(theta, masks)) - loss(theta))
    assert abs(change) > 0.1
    assert expansion.cost(masks) == pytest.approx(change, rel=EXACT, abs=EXACT)


def test_what_it_neglects_is_what_weights_have_in_common() -> None:
    """L = theta^T A theta / 2 with a full A: the difference is the removed weights' part off A's diagonal."""
    theta, root = drawn(6), drawn(6, 6, key="root")
    hessian = root @ root.T
    expansion = Expansion({"w": theta}, {"w": hessian @ theta}, {"w": hessian.diagonal()})
    mask = torch.tensor([True, False, False, True, False, True])
    left = torch.where(mask, theta, 0)
    change = 0.5 * (left @ hessian @ left - theta @ hessian @ theta)
    removed = torch.where(mask, 0, theta)
    shared = 0.5 * removed @ (hessian - hessian.diagonal().diag()) @ removed
    assert abs(float(shared)) > 0.01
    assert expansion.cost({"w": mask}) == pytest.approx(float(change - shared), rel=EXACT)


def test_nothing_removed_costs_nothing() -> None:
    theta = {"w": drawn(4, 3)}
    assert Expansion(theta, theta, theta).cost({"w": torch.ones(4, 3, dtype=torch.bool)}) == 0


def tiny() -> tuple[MLP, Params, Tensor, Tensor]:
    network = MLP(MLPConfig(hidden=(3,)), in_channels=1, size=2, ways=3)
    theta = double(network.init(torch_generator(0, "tiny")))
    return network, theta, drawn(2, 1, 2, 2, key="x"), torch.tensor([0, 2])


def test_squared_sums_under_random_signs_are_the_gauss_newton_diagonal() -> None:
    """Every label and every sign, weighed by its probability, against J^T (diag p - p p^T) J sample by sample."""
    network, theta, x, _ = tiny()
    names = network.adaptable
    p = network(theta, x).softmax(-1)
    mean = {k: torch.zeros_like(theta[k]) for k in names}
    for labels in itertools.product(range(3), repeat=2):
        for signs in itertools.product([-1.0, 1.0], repeat=2):
            y, r = torch.tensor(labels), torch.tensor(signs, dtype=torch.float64)
            for k, g in summed_gradient(network, theta, names, x, y, r).items():
                mean[k] += float(p[0, labels[0]] * p[1, labels[1]]) / 4 * g.square()
    for k in names:

        def answer(weight: Tensor, name: str = k) -> Tensor:
            return network({**theta, name: weight}, x)

        jacobian = torch.autograd.functional.jacobian(answer, theta[k])
        assert isinstance(jacobian, Tensor)
        flat = jacobian.flatten(2)  # [samples, ways, weights]
        middle = p.diag_embed() - p[:, :, None] * p[:, None, :]
        diagonal = torch.einsum("nci,ncd,ndi->i", flat, middle, flat).view_as(theta[k])
        assert torch.allclose(mean[k], diagonal, rtol=1e-10, atol=1e-14)
        assert float(diagonal.max()) > 0


def test_gradient_is_that_of_the_mean_loss_over_all_groups() -> None:
    network, theta = small_mlp(), double(small_mlp().init(torch_generator(0, "theta")))
    x, y = drawn(250, 1, 16, 16, key="many"), torch.arange(250) % WAYS
    expansion = expand(network, theta, network.adaptable, x, y, torch_generator(0))
    _, grads = network.loss_and_gradients(theta, x, y)
    for k in network.adaptable:
        assert torch.allclose(expansion.gradient[k], grads[k], rtol=1e-10, atol=1e-14)
        assert bool((expansion.curvature[k] >= 0).all())


def test_curvature_comes_near_its_mean() -> None:
    """40,000 samples that are two again and again, in 400 groups, against the exact mean over both."""
    network, theta, x, y = tiny()
    found = expand(network, theta, network.adaptable, x.repeat(20_000, 1, 1, 1), y.repeat(20_000), torch_generator(1))
    p = network(theta, x).softmax(-1)
    for k in network.adaptable:
        exact = torch.zeros_like(theta[k])
        for n, label in itertools.product(range(2), range(3)):
            one = torch.ones(1, dtype=torch.float64)
            grads = summed_gradient(network, theta, (k,), x[n : n + 1], torch.tensor([label]), one)
            exact += p[n, label] * grads[k].square() / 2
        assert float(found.curvature[k].sum() / exact.sum()) == pytest.approx(1, abs=0.12)


def trained(**fields: Any) -> tuple[EfficientPackNet, State, TaskEnd]:
    """A learner at the end of a first task."""
    learner = learner_of("efficient-packnet", search="taylor", score="log_likelihood", **fields)
    assert isinstance(learner, EfficientPackNet)
    state = learner.init(0)
    *training, last = batches(0, 12)
    for batch in training:
        state, _ = learner.observe(state, batch)
    state, _ = learner.observe(state, Batch(last.x, last.y, last.position, last.task))
    assert last.end is not None
    return learner, state, last.end


GRID = (0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95)


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_the_smallest_mask_whose_estimate_passes(alpha: float) -> None:
    learner, state, end = trained(alpha=alpha, gamma=0.8, grid=GRID)
    masks, metrics = learner.choose(state, end)
    x, y = end.validation()
    theta = learner.network.effective(state["theta"]).theta
    again = torch_generator(0, "taylor", 0)
    expansion = expand(learner.network.network, theta, learner.maskable, x, y, again)
    ranking = Ranking({k: state["theta"][k] for k in learner.maskable}, "global")
    dense = learner.score(theta, x, y)
    estimates = {s: dense - expansion.cost(ranking.keep(s)) for s in GRID}
    passing = list(itertools.takewhile(lambda s: acceptable(estimates[s], dense, 0.8), reversed(GRID)))
    at = passing[-1] if passing else GRID[-1]
    assert all(torch.equal(mask, masks[k]) for k, mask in ranking.keep(at).items())
    measured = learner.score(masked(theta, masks), x, y)
    assert metrics == {
        "dense_score": dense,
        "sparse_score": measured,
        "estimated_score": pytest.approx(estimates[at], abs=1e-9),
        "evaluations": 1.0,
        "violated": float(not acceptable(measured, dense, 0.8)),
    }


def test_little_removed_is_estimated_well() -> None:
    """The smallest fifth of the weights: the estimate is within a tenth of what removing the largest fifth costs."""
    learner, state, end = trained(grid=GRID)
    x, y = end.validation()
    theta = learner.network.effective(state["theta"]).theta
    expansion = expand(learner.network.network, theta, learner.maskable, x, y, torch_generator(0))
    small = Ranking({k: theta[k] for k in learner.maskable}, "global").keep(0.8)
    large = {k: ~mask for k, mask in Ranking({k: theta[k] for k in learner.maskable}, "global").keep(0.2).items()}
    dense = learner.score(theta, x, y)
    truth, worst = (dense - learner.score(masked(theta, masks), x, y) for masks in (small, large))
    assert worst > 0.1
    assert abs(expansion.cost(small) - truth) < 0.1 * worst
    assert expansion.cost(large) > 10 * abs(expansion.cost(small))


def test_same_seed_same_masks() -> None:
    (one, first, end), (two, second, _) = trained(grid=GRID), trained(grid=GRID)
    a, b = one.choose(first, end), two.choose(second, end)
    assert a.metrics == b.metrics
    assert all(torch.equal(a.masks[k], b.masks[k]) for k in a.masks)


def test_a_diverged_network_keeps_the_densest_mask_and_says_so() -> None:
    learner, state, end = trained(grid=GRID)
    state = {**state, "theta": {k: torch.full_like(v, torch.nan) for k, v in state["theta"].items()}}
    masks, metrics = learner.choose(state, end)
    kept = sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())
    assert kept == pytest.approx(GRID[-1], abs=1e-3)
    assert metrics["violated"] == 1.0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"search": "taylor"}, "score"),
        ({"search": "taylor", "score": "log_likelihood", "keep_last_tested": True}, "keep_last_tested"),
    ],
)
def test_what_it_cannot_do_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        EfficientPackNetConfig(**fields)
    assert caught.value.field == field
