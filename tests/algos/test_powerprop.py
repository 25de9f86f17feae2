"""Powerpropagation (powerprop sheet, facts P1 to P6), identities in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from toys import FORMS, network_of, run, small_mlp, small_network

from frisket.algos.contract.toys import noise_batch
from frisket.algos.inner.loop import loss_on
from frisket.algos.kinds import LEARNERS, NETWORKS
from frisket.algos.networks import powerprop
from frisket.algos.networks.powerprop import Powerprop, as_powerprop, psi, psi_inverse, slope
from frisket.algos.parts import adam, virtual_target
from frisket.algos.parts.gradients import gradients, leaves
from frisket.algos.parts.optimiser import SGD, Adam, Momentum, Optimiser
from frisket.algos.parts.tree import descend, flatten, map_tensors
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Data, Params

ALPHAS = [1.0, 1.25, 1.5, 2.0, 3.0]
curved = pytest.mark.parametrize("alpha", ALPHAS[1:])
every_alpha = pytest.mark.parametrize("alpha", ALPHAS)


def draw(*shape: int, key: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch_generator(0, "weights", key), dtype=torch.float64)


def network(alpha: float) -> Powerprop:
    return Powerprop(small_mlp(), alpha)


def start(alpha: float, dtype: torch.dtype = torch.float64) -> Params:
    params = network(alpha).network.init(torch_generator(0, "theta"))
    return {k: psi_inverse(v.to(dtype), alpha) if v.dim() > 1 else v.to(dtype) for k, v in params.items()}


@every_alpha
def test_p1_inverse_odd_monotone(alpha: float) -> None:
    theta = draw(500)
    assert torch.allclose(psi(psi_inverse(theta, alpha), alpha), theta, rtol=1e-12, atol=0)
    assert torch.equal(psi(-theta, alpha), -psi(theta, alpha))
    ordered = theta.sort().values
    assert bool((psi(ordered, alpha).diff() > 0).all())


@every_alpha
@pytest.mark.parametrize("build", [small_mlp, small_network])
def test_p1_the_first_function_does_not_depend_on_alpha(alpha: float, build: object) -> None:
    plain = build()  # type: ignore[operator]
    x = noise_batch(0).x
    ours = Powerprop(plain, alpha)
    assert torch.allclose(
        ours(ours.init(torch_generator(3)), x), plain(plain.init(torch_generator(3)), x), rtol=0, atol=1e-5
    )


def test_p2_alpha_1_is_the_plain_network_bit_for_bit() -> None:
    plain, ours = small_mlp(), network(1.0)
    params = ours.init(torch_generator(0, "theta"))
    batch = noise_batch(0)
    assert torch.equal(ours(params, batch.x), plain(params, batch.x))
    a, b = (one.loss_and_gradients(params, batch.x, batch.y)[1] for one in (plain, ours))
    assert all(torch.equal(a[k], b[k]) for k in a)
    for optimiser in (SGD(), Adam()):
        left, right = params, params
        left_state, right_state = optimiser.init(params), optimiser.init(params)
        for t in range(100):
            batch = noise_batch(t)
            grads = plain.loss_and_gradients(left, batch.x, batch.y)[1]
            direction, left_state = optimiser.direction(grads, left_state)
            left = descend(left, 0.01, direction)
            effective = ours.effective(right)
            grads = ours.network.loss_and_gradients(effective.theta, batch.x, batch.y)[1]
            right, right_state = virtual_target.step(optimiser, right, grads, effective, right_state, lr=0.01)
        assert all(torch.equal(left[k], right[k]) for k in left)
        assert not torch.equal(left["fc1.weight"], params["fc1.weight"])


@curved
def test_p3_the_gradient_is_scaled_by_the_slope(alpha: float) -> None:
    ours, params, batch = network(alpha), start(alpha), noise_batch(0, dtype=torch.float64)
    theta, slopes = ours.effective(params)
    loss, by_theta = ours.network.loss_and_gradients(theta, batch.x, batch.y)
    same, by_phi = ours.loss_and_gradients(params, batch.x, batch.y)
    assert torch.equal(loss, same)
    for k in ours.kernels:
        assert torch.allclose(by_phi[k], by_theta[k] * alpha * params[k].abs() ** (alpha - 1), rtol=1e-12, atol=1e-300)
        assert torch.allclose(slopes[k], slope(params[k], alpha), rtol=1e-12)
    assert torch.equal(by_phi["fc1.bias"], by_theta["fc1.bias"])


@curved
def test_p3_by_automatic_differentiation_and_finite_differences(alpha: float) -> None:
    ours, params, batch = network(alpha), start(alpha), noise_batch(0, dtype=torch.float64)
    hung = leaves(params)
    loss = loss_on(ours, {}, Data(batch.x, batch.y))
    through_graph = gradients(loss(hung), hung)
    _, by_hand = ours.loss_and_gradients(params, batch.x, batch.y)
    assert all(torch.allclose(through_graph[k], by_hand[k], rtol=1e-9, atol=1e-14) for k in params)
    for name, at, h in (("fc1.weight", (2, 100), 1e-5), ("fc3.weight", (1, 3), 1e-6)):
        up, down = ({**params, name: params[name].clone()} for _ in range(2))
        up[name][at] += h
        down[name][at] -= h
        difference = (loss(up) - loss(down)) / (2 * h)
        assert float(by_hand[name][at]) == pytest.approx(float(difference), rel=1e-4, abs=1e-9)


def test_second_derivative_and_its_bound_at_zero() -> None:
    """d2 psi / dphi2 = alpha (alpha - 1) |phi|^(alpha-2) sign(phi); 0, and no NaN, at phi = 0."""
    phi = torch.tensor([-0.3, 0.0, 0.2], dtype=torch.float64, requires_grad=True)
    for alpha in ALPHAS[1:]:
        (first,) = torch.autograd.grad(psi(phi, alpha).sum(), phi, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), phi)
        outer = alpha * (alpha - 1) * torch.tensor([-(0.3 ** (alpha - 2)), 0, 0.2 ** (alpha - 2)], dtype=torch.float64)
        assert torch.allclose(second, outer, rtol=1e-12)


@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0])
@pytest.mark.parametrize("optimiser", [SGD(), Momentum(0.9), Adam()])
def test_p4_a_weight_at_zero_stays_there(alpha: float, optimiser: Optimiser) -> None:
    phi = {"w": torch.tensor([0.0, 0.5, -0.0])}
    leaf = phi["w"].clone().requires_grad_()
    (grad,) = torch.autograd.grad(psi(leaf, alpha).sum(), leaf)
    assert grad[[0, 2]].tolist() == [0.0, 0.0]
    state = optimiser.init(phi)
    for t in range(1000):
        effective = powerprop.Effective({"w": psi(phi["w"], alpha)}, {"w": slope(phi["w"], alpha)})
        grads = {"w": torch.full((3,), 0.1 + 0.01 * (t % 3))}
        phi, state = virtual_target.step(optimiser, phi, grads, effective, state, lr=0.001)
    assert phi["w"][[0, 2]].tolist() == [0.0, 0.0]
    assert bool(phi["w"].isfinite().all())
    assert float(phi["w"][1]) < 0.5


def test_p4_what_automatic_differentiation_would_do() -> None:
    """The reason for the written-out derivative."""
    phi = torch.zeros(1, requires_grad=True)
    (grad,) = torch.autograd.grad((phi * phi.abs().pow(0.5)).sum(), phi)
    assert bool(grad.isnan())


@every_alpha
def test_p5_virtual_target_of_sgd_is_sgd_on_phi(alpha: float) -> None:
    ours, params = network(alpha), start(alpha)
    batch = noise_batch(0, dtype=torch.float64)
    effective = ours.effective(params)
    grads = ours.network.loss_and_gradients(effective.theta, batch.x, batch.y)[1]
    moved, _ = virtual_target.step(SGD(), params, grads, effective, {}, lr=0.1)
    plain = descend(params, 0.1, ours.loss_and_gradients(params, batch.x, batch.y)[1])
    assert all(torch.equal(moved[k], plain[k]) for k in params)
    naive, _ = virtual_target.step(SGD(), params, grads, effective, {}, lr=0.1, naive=True)
    assert all(torch.equal(naive[k], plain[k]) for k in params)


@curved
def test_p5_virtual_target_of_adam_is_adams_step_on_theta_times_the_slope(alpha: float) -> None:
    """Two steps, so that moments enter; by hand the first is lr sign(g) J."""
    phi, lr = {"w": draw(50)}, 0.01
    state, ours, reference = phi, Adam().init(phi), adam.init(phi)
    for t in range(2):
        grads = {"w": draw(50, key=t + 1)}
        effective = powerprop.Effective({"w": psi(state["w"], alpha)}, {"w": slope(state["w"], alpha)})
        moved, ours = virtual_target.step(Adam(), state, grads, effective, ours, lr=lr)
        expected, reference = adam.update(grads, reference, lr)
        assert torch.allclose((moved["w"] - state["w"]) / effective.slopes["w"], expected["w"], rtol=1e-9, atol=1e-12)
        if t == 0:
            by_hand = -lr * grads["w"].sign() * effective.slopes["w"]
            assert torch.allclose(moved["w"] - state["w"], by_hand, rtol=1e-5, atol=1e-12)
        state = moved


def test_p6_naive_adam_loses_the_slope() -> None:
    """The same gradient by theta at slopes 1 and 4: the naive steps agree, the virtual ones do not."""
    effective = powerprop.Effective({"w": torch.ones(2, dtype=torch.float64)}, {"w": torch.tensor([1.0, 4.0]).double()})
    steps = {}
    for naive in (True, False):
        state, phi = Adam().init(effective.theta), effective.theta
        moved = phi
        for _ in range(3):
            moved, state = virtual_target.step(
                Adam(), phi, {"w": torch.full((2,), 0.3).double()}, effective, state, lr=0.1, naive=naive
            )
        steps[naive] = (moved["w"] - phi["w"]).tolist()
    assert steps[True][0] == pytest.approx(steps[True][1], rel=1e-6)
    assert 4 * steps[False][0] == pytest.approx(steps[False][1], rel=1e-6)


def test_momentum_and_weight_decay_by_hand() -> None:
    """theta = 1, J = 2, g = 0.5, lambda = 0.1, mu = 0.5, lr = 0.1: v = 0.6, then 0.5 * 0.6 + 0.6 = 0.9."""
    effective = powerprop.Effective({"w": torch.ones(1).double()}, {"w": torch.full((1,), 2.0).double()})
    optimiser, grads = Momentum(0.5, weight_decay=0.1), {"w": torch.full((1,), 0.5).double()}
    state = optimiser.init(effective.theta)
    for velocity in (0.6, 0.9):
        moved, state = virtual_target.step(optimiser, effective.theta, grads, effective, state, lr=0.1)
        assert float(moved["w"]) == pytest.approx(1 - 0.1 * velocity * 2)


def test_every_network_takes_the_field() -> None:
    for kind, entry in NETWORKS.items():
        small = {
            "conv4": {"channels": 2},
            "layer-norm-mlp": {"hidden": (4,)},
            "mlp": {"hidden": (4,)},
            "strided-conv": {"filters": 2, "hidden": (4,)},
            "pooled-conv": {"filters": (2, 2, 2), "hidden": 4},
            "resnet": {"depth": 18, "width": 2, "stem": "small"},
            "resnet12": {"channels": (2, 2, 2, 2)},
            "vae": {"latent": 2, "encoder": (4,), "head": (3,), "shared": (4,)},
        }[kind]
        plain = entry.build(entry.config(**small), in_channels=1, size=16, ways=2)
        built = entry.build(entry.config(**small, powerprop_alpha=2.0), in_channels=1, size=16, ways=2)
        assert not isinstance(plain, Powerprop)
        assert isinstance(built, Powerprop)
        assert (built.adaptable, built.head, built.own) == (plain.adaptable, plain.head, plain.own)
        params = built.init(torch_generator(0))
        assert {k for k, v in params.items() if v.dim() > 1} == {*built.kernels} | {
            k for k in plain.private if k.endswith(".weight")
        }
        start = plain.init(torch_generator(0))
        assert all(torch.equal(v, start[k]) == (k not in built.kernels) for k, v in params.items())


def test_a_powerprop_network_is_taken_as_it_is() -> None:
    ours = network(2.0)
    assert as_powerprop(ours) is ours
    assert as_powerprop(ours.network).alpha == 1


@pytest.mark.parametrize("alpha", [0.99, 0.0, -1.0, float("nan"), float("inf")])
def test_alpha_below_1_is_refused(alpha: float) -> None:
    with pytest.raises(SpecError, match="at least 1") as caught:
        Powerprop(small_mlp(), alpha)
    assert caught.value.field == "powerprop_alpha"
    with pytest.raises(SpecError, match="at least 1"):
        NETWORKS["mlp"].config(powerprop_alpha=alpha)


@pytest.mark.parametrize(
    "form",
    [
        "sparse-cmaml", "metabgd/second_order", "bgd", "online-adam", "la-maml", "la-maml/second_order",
        "replay-metabgd", "er", "mer", "gem", "replay-ewc", "icarl", "independent", "top-kast",
    ],
)  # fmt: skip
def test_methods_learn_on_a_network_that_has_it(form: str) -> None:
    """alpha = 1.5, where a derivative left to automatic differentiation would give NaN at a weight of 0."""
    kind, fields = FORMS[form]
    entry = LEARNERS[kind]
    learner = entry.build(entry.config(**{**entry.quick, **fields}), Powerprop(network_of(form, 2), 1.5))
    first = learner.init(0)
    for value in (first[k] for k in ("theta", "mu", "phi") if k in first):
        for name, weight in value.items():
            if name.endswith(".weight") and weight.dim() > 1:
                weight.view(-1)[0] = 0.0
    state = run(learner, map_tensors(torch.clone, first), range(4))
    flat, before = flatten(state), flatten(first)
    assert all(bool(v.isfinite().all()) for v in flat.values() if v.is_floating_point())
    learned = ("theta/", "mu/", "phi/")
    names = [k for k in flat if k.startswith(learned) and k.endswith(".weight") and k in before]
    assert any(not torch.equal(flat[k], before[k]) for k in names)
