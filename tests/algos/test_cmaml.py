"""C-MAML + UM + PAP and its sparse forms: acceptance facts A3, A6, A7, A8 and the switches of the discrepancy list."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from toys import build, run, small_network

from frisket.algos.contract.toys import noise_batch, noise_data
from frisket.algos.inner.loop import adapt, adapt_first_order, loss_on
from frisket.algos.inner.meta_gradient import meta_gradient
from frisket.algos.learners.online.cmaml import CMAML, SparseCMAMLConfig, detects, half_with_half, update_weight
from frisket.algos.networks.network import split
from frisket.algos.parts.tree import equal_states, flatten
from frisket.errors import SpecError
from frisket.types import Data, Params, State

NEVER, ALWAYS = 1000.0, 1e-9  # thresholds: detection off; any drop of the loss is a switch
ALPHA = 0.05


def data_at(position: int) -> Data:
    batch = noise_batch(position)
    return Data(batch.x, batch.y)


def with_mask(state: State, value: float) -> State:
    return {**state, "m": {k: torch.full_like(v, value) for k, v in state["m"].items()}}


def equal(a: Params, b: Params) -> bool:
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


def test_a3_an_open_mask_equals_the_fixed_step_bit_for_bit() -> None:
    """A3: with m = +1 everywhere, until m's first sign change, through several outer steps."""
    sparse = build("sparse-cmaml", alpha_0=ALPHA, switch_threshold=ALWAYS)
    fixed = build("cmaml-fixed", alpha_0=ALPHA, switch_threshold=ALWAYS)
    a, b = with_mask(sparse.init(0), 1.0), fixed.init(0)
    for position in range(12):
        a, report_a = sparse.observe(a, noise_batch(position))
        b, report_b = fixed.observe(b, noise_batch(position))
        assert str(report_a) == str(report_b)
        assert equal(a["phi"], b["phi"])
        assert equal(a["theta"], b["theta"])
    assert int(a["adam"]["theta"]["t"]) >= 3
    assert all((v > 0).all() and not (v == 1).all() for k, v in a["m"].items() if k.endswith("weight"))


def test_a3_a_closed_mask_leaves_phi_at_theta() -> None:
    """A3: with m = -1 everywhere phi = theta, until m's first sign change."""
    learner = build("sparse-cmaml", switch_threshold=NEVER)
    state = with_mask(learner.init(0), -1.0)
    for position in range(8):
        state, report = learner.observe(state, noise_batch(position))
        assert equal(state["phi"], {k: state["theta"][k] for k in state["phi"]})
        assert not position or report["loss_before"] == pytest.approx(report["loss_after"], rel=1e-6)


def test_a3_a_closed_mask_is_felt_by_the_gradient_that_opens_it() -> None:
    """m = -1: theta still gets g_out, and m the straight-through gradient."""
    learner = build("sparse-cmaml", switch_threshold=NEVER)
    assert isinstance(learner, CMAML)
    state = with_mask(learner.init(0), -1.0)
    result = meta_gradient(
        learner.network, learner.modulation, state["theta"], state["m"], data_at(0), data_at(1), steps=2, order=1
    )
    assert float(result.m["conv1.weight"].abs().max()) > 0
    assert float(result.theta["conv1.weight"].abs().max()) > 0


def test_a6_update_weight() -> None:
    """A6: g(0) = 0; g(L) in [0, 1); lambda = 1000 gives weight 1 to float precision for L > 0.05."""
    assert update_weight(0.0, 5.0) == 0
    assert all(0 <= update_weight(loss / 10, lam) < 1 for loss in range(1, 60) for lam in (0.25, 1.0, 5.0))
    assert update_weight(0.0500001, 1000.0) == 1
    assert update_weight(0.7, 1.0) == pytest.approx(1 - math.exp(-0.7), rel=1e-12)


@pytest.mark.parametrize(
    ("before", "after", "gamma", "expected"),
    [(2.0, 0.5, 1.5, True), (2.0, 0.5000001, 1.5, False), (2.0, 0.4, 1.5, True), (200.0, 0.0, 100.0, False)],
)
def test_a7_detector_compares_with_at_least(before: float, after: float, gamma: float, expected: bool) -> None:
    """A7: it fires at a drop of exactly gamma; a gamma of 100 or more switches it off."""
    assert detects(before, after, gamma) is expected


def test_a7_restart_comes_one_step_after_the_detection() -> None:
    """A7, D1: as released, phi goes on from itself at the step of the detection and restarts from theta at the next."""
    learner = build("cmaml-fixed", alpha_0=ALPHA, switch_threshold=ALWAYS)
    assert isinstance(learner, CMAML)
    state = run(learner, learner.init(0), range(1), noise_batch)

    after, report = learner.observe(state, noise_batch(1))
    assert report["detected"] == 1
    assert bool(after["prev_detected"])
    _, rest = split(learner.network, state["theta"])
    assert equal(
        after["phi"], adapt(loss_on(learner.network, rest, data_at(1)), state["phi"], learner.modulation, {}, 2).phi
    )

    last, _ = learner.observe(after, noise_batch(2))
    restarted = adapt_first_order(learner.network, learner.modulation, after["theta"], {}, data_at(2), 2).phi
    assert not equal(after["theta"], state["theta"])
    assert equal(last["phi"], restarted)


def test_a8_pairing() -> None:
    """A8, D4: (0,3), (1,4) of five; a single batch is its own query."""
    assert half_with_half(5) == [(0, 3), (1, 4)]
    assert half_with_half(4) == [(0, 2), (1, 3)]
    assert half_with_half(2) == [(0, 1)]
    assert half_with_half(1) == [(0, 0)]


@pytest.mark.parametrize(("keep", "left"), [(False, 0), (True, 1)])
def test_betraying_batch_is_dropped_unless_kept(keep: bool, left: int) -> None:
    """D2, and our variant."""
    learner = build("sparse-cmaml", switch_threshold=ALWAYS, keep_detect_batch=keep)
    state = run(learner, learner.init(0), range(1), noise_batch)
    assert len(state["buffer"]["x"]) == 1
    state, report = learner.observe(state, noise_batch(1))
    assert math.isfinite(report["outer_loss"])
    assert len(state["buffer"]["x"]) == left
    assert not keep or torch.equal(state["buffer"]["x"][0], noise_batch(1).x)


def test_a_full_buffer_forces_an_outer_step_without_a_restart() -> None:
    """D5: more than 2N stored batches are flushed; phi goes on. N = 6 images here: 13 stored at t = 13."""
    learner = build("cmaml-fixed", alpha_0=ALPHA, switch_threshold=NEVER)
    state = run(learner, learner.init(0), range(13), noise_batch)
    assert int(state["adam"]["theta"]["t"]) == 0
    assert len(state["buffer"]["x"]) == 13
    after, report = learner.observe(state, noise_batch(13))
    assert math.isfinite(report["outer_loss"])
    assert int(after["adam"]["theta"]["t"]) == 1
    assert len(after["buffer"]["x"]) == 0
    assert not bool(after["prev_detected"])


def test_outer_step_is_adam_on_the_weighted_mean_over_pairs() -> None:
    """D3: theta and m move by Adam along g(Lbar) grad Lbar, Lbar the mean over the pairs of the buffer."""
    learner = build("cmaml", switch_threshold=NEVER, um_lambda=0.5, outer_lr=0.01)
    assert isinstance(learner, CMAML)
    state = run(learner, learner.init(0), range(13), noise_batch)
    after, report = learner.observe(state, noise_batch(13))
    x, y = state["buffer"]["x"], state["buffer"]["y"]
    results = [
        meta_gradient(
            learner.network, learner.modulation, state["theta"], state["m"], Data(x[i], y[i]), Data(x[7 + i], y[7 + i]),
            steps=2, order=1,
        )
        for i in range(6)
    ]  # fmt: skip
    mean = sum(float(r.loss) for r in results) / 6
    assert report["outer_loss"] == pytest.approx(mean, rel=1e-6)
    for part in ("theta", "m"):
        leaves = {k: v.clone().requires_grad_() for k, v in state[part].items()}
        for k, v in leaves.items():
            v.grad = (1 - math.exp(-0.5 * mean)) * torch.stack([getattr(r, part)[k] for r in results]).mean(0)
        torch.optim.Adam(list(leaves.values()), lr=0.01).step()
        for k, v in leaves.items():
            if k.startswith("conv") and k.endswith("bias"):
                continue  # batch norm cancels them: their gradient is rounding, which Adam would blow up
            torch.testing.assert_close(after[part][k], v.detach(), rtol=1e-4, atol=1e-6)


def test_as_printed_restarts_within_the_step() -> None:
    """Algorithm 2: on detection theta steps and phi restarts from it on D_t at once; D_t is not stored."""
    learner = build("sparse-cmaml", restart="same_step", switch_threshold=ALWAYS)
    assert isinstance(learner, CMAML)
    start = learner.init(0)
    assert equal(start["phi"], {k: start["theta"][k] for k in start["phi"]})
    first, report = learner.observe(start, noise_batch(0))
    assert report["detected"] == 1
    assert math.isnan(report["outer_loss"])  # nothing stored yet
    state = {**first, "buffer": {"x": noise_batch(7).x[None], "y": noise_batch(7).y[None]}}
    after, report = learner.observe(state, noise_batch(1))
    assert math.isfinite(report["outer_loss"])
    assert not equal(after["theta"], state["theta"])
    restarted = adapt_first_order(learner.network, learner.modulation, after["theta"], after["m"], data_at(1), 2).phi
    assert equal(after["phi"], restarted)
    assert len(after["buffer"]["x"]) == 0


def test_mask_outer_keeps_closed_weights_of_theta() -> None:
    """SM A: with mask_outer a closed weight of theta does not move; open ones and batch norm do."""
    learner = build("sparse-cmaml", switch_threshold=ALWAYS, mask_outer=True)
    state = run(learner, learner.init(0), range(1), noise_batch)
    after, _ = learner.observe(state, noise_batch(1))
    open_entries = state["m"]["conv2.weight"] >= 0
    change = after["theta"]["conv2.weight"] - state["theta"]["conv2.weight"]
    assert not change[~open_entries].any()
    assert change[open_entries].any()
    assert (after["theta"]["bn1.bias"] != state["theta"]["bn1.bias"]).any()


def test_fresh_masks_are_half_closed_and_shift_opens_them() -> None:
    """Section 7: each tensor's own mean is taken off; a shift chooses the first sparsity."""
    learner = build("sparse-cmaml", channels=8)
    masks = learner.masks(learner.init(0))
    assert masks.sparsity("conv2.weight") == pytest.approx(0.5, abs=0.05)
    shifted = build("sparse-cmaml", channels=8, mask_shift=10.0)
    assert shifted.masks(shifted.init(0)).sparsity() == 0
    relu = build("sparse-relu-cmaml", channels=8)
    state = relu.init(0)
    assert relu.masks(state).sparsity() == 0
    values = torch.cat([v.flatten() for v in state["m"].values()])
    assert float(values.min()) >= 0.005
    assert float(values.max()) <= 0.1


def test_both_orders_learn_but_not_alike() -> None:
    ends = []
    for order in (1, 2):
        learner = build("sparse-cmaml", switch_threshold=ALWAYS, order=order)
        ends.append(run(learner, learner.init(0), range(4), noise_batch))
    assert not equal_states(ends[0], ends[1])


def test_float64_state_runs_in_float64() -> None:
    learner = CMAML(SparseCMAMLConfig(inner_steps=1, switch_threshold=ALWAYS), small_network())
    state = learner.init(0)
    state = {
        **state,
        **{part: {k: v.double() for k, v in state[part].items()} for part in ("theta", "m", "phi")},
    }
    for position in range(3):
        batch = noise_batch(position, dtype=torch.float64)
        state, _ = learner.observe(state, batch)
    logits = learner.predict(state, noise_data(0).x)
    assert logits is not None
    assert logits.dtype == torch.float64
    assert {v.dtype for k, v in flatten(state).items() if k.startswith(("theta/", "m/", "phi/"))} == {torch.float64}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("cmaml", "inner_steps", 0),
        ("cmaml", "outer_lr", 0.0),
        ("cmaml", "um_lambda", 0.0),
        ("cmaml", "switch_threshold", 0.0),
        ("cmaml-fixed", "alpha_0", -1.0),
        ("sparse-cmaml", "gamma_m", -0.1),
        ("sparse-relu-cmaml", "rate_low", 1.0),
        ("cmaml-no-pap", "inner_steps", 0),
        ("cmaml-no-pap", "switch_threshold", -1.0),
        ("online-adam", "outer_lr", 0.0),
        ("static-maml", "step_size", 0.0),
        ("bgd", "sigma_0", 0.0),
        ("bgd", "samples", 0),
        ("metabgd", "mean_lr", -1.0),
        ("metabgd", "inner_steps", 0),
        ("metacog", "l1", -0.5),
    ],
)
def test_bad_values_name_field_and_range(kind: str, field: str, value: Any) -> None:
    with pytest.raises(SpecError, match=f"{field} = {value}: must be "):
        build(kind, **{field: value})
