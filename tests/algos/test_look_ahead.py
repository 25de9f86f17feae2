"""The look-ahead gradient and its family: facts 1 to 6 of the lamaml spec, in float64 where they are identities."""

from __future__ import annotations

import pytest
import torch
from oracle import eager_look_ahead
from toys import build, double, largest_difference, small_mlp, small_network

from frisket.algos.contract.toys import SIZE, noise_batch, noise_data
from frisket.algos.inner.first_m import Constant
from frisket.algos.inner.modulation import BinaryMask, EntrywiseModulation, PlainRelu, Raw, Seen, StraightRelu
from frisket.algos.learners.look_ahead.gradient import LookAhead, MetaLoss, chunks, look_ahead
from frisket.algos.learners.look_ahead.la_er import LaER
from frisket.algos.learners.look_ahead.la_maml import LaMAML, LaMAMLConfig
from frisket.algos.learners.look_ahead.learner import LookAheadLearner
from frisket.algos.learners.look_ahead.mlp import MLPMetaUpdate
from frisket.algos.learners.look_ahead.pack import TOGETHER, LookAheadPack
from frisket.algos.learners.look_ahead.replay_cmaml import ReplayCMAML, ReplayCMAMLConfig
from frisket.algos.learners.look_ahead.sparse_la_maml import SparseLaMAML, SparseLaMAMLConfig
from frisket.algos.learners.look_ahead.sync_la_maml import SyncLaMAML, SyncLaMAMLConfig
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.parts.clip import clip_by_global_norm, global_norm
from frisket.algos.parts.tree import flatten, lifted, picked
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Batch, Data, Params

EXACT = 1e-10
ALONE = slice(0, 1)


def start(network: MLP | None = None) -> tuple[MLP, Params]:
    network = network or small_mlp()
    return network, double(network.init(torch_generator(0, "theta")))


def rates_like(theta: Params, key: int = 0) -> Params:
    """Some open, some closed, some climbing."""
    generator = torch_generator(0, "rates", key)
    return {k: torch.empty_like(v).uniform_(-0.05, 0.1, generator=generator) for k, v in theta.items()}


def inner_and_meta() -> tuple[list[Data], Data]:
    """Six single-sample chunks, and a meta-batch of 12 which ends with them."""
    new, old = noise_data(1), noise_data(2)
    return chunks(new, 6), Data(torch.cat([old.x, new.x]), torch.cat([old.y, new.y]))


def ahead(
    network: MLP, theta: Params, rates: Params, clamp: float | None = None, judged: MetaLoss = "mean"
) -> LookAhead:
    return look_ahead(network, clamp, theta, rates, *inner_and_meta(), judged)


class Untouched:
    """A method whose rates are m and whose outer step hands out the gradients themselves."""

    def rates(self, m: Params, hyper: Params) -> Params:
        return m

    def outer_step(self, theta: Params, m: Params, ahead: LookAhead, hyper: Params) -> tuple[Params, Params]:
        return ahead.theta, ahead.rates


@pytest.mark.parametrize("judged", ["mean", "sum", "last"])
@pytest.mark.parametrize("hidden", [(), (7,), (7, 5), (7, 6, 5)])
@pytest.mark.parametrize("steps", [1, 4, 6])
def test_1_form_of_the_mlp_is_the_eager_oracle(judged: MetaLoss, hidden: tuple[int, ...], steps: int) -> None:
    """Chunks of 6, 2 and 1 samples; also 4 + 2, where they differ in size."""
    network, theta = start(MLP(MLPConfig(hidden=hidden), in_channels=1, size=SIZE, ways=2))
    rates, (_, meta) = rates_like(theta), inner_and_meta()
    new = noise_data(1)
    uneven = [Data(new.x[:4], new.y[:4]), Data(new.x[4:], new.y[4:])]
    for inner in (chunks(new, steps), uneven):
        update = MLPMetaUpdate(network, Untouched(), judged, None, 0)
        sizes = [len(chunk.y) for chunk in inner]
        g_theta, g_rates, loss, before = update(lifted(theta), lifted(rates), {}, sizes, lifted_data(meta))
        theirs = eager_look_ahead(network, theta, rates, inner, meta, judged=judged)
        assert largest_difference(picked(g_theta, 0), theirs.theta) < EXACT
        assert largest_difference(picked(g_rates, 0), theirs.rates) < EXACT
        assert float(loss[0]) == pytest.approx(float(theirs.loss), abs=EXACT)
        assert float(before[0]) == pytest.approx(float(network.loss(theta, new.x, new.y)), abs=EXACT)


def lifted_data(data: Data) -> Data:
    return Data(data.x[None], data.y[None])


@pytest.mark.parametrize("judged", ["mean", "sum", "last"])
@pytest.mark.parametrize("clamp", [None, 0.01])
def test_1_closed_form_is_the_eager_oracle(judged: MetaLoss, clamp: float | None) -> None:
    network, theta = start()
    ours = ahead(network, theta, rates_like(theta), clamp, judged)
    theirs = eager_look_ahead(network, theta, rates_like(theta), *inner_and_meta(), clamp=clamp, judged=judged)
    assert largest_difference(ours.theta, theirs.theta) < EXACT
    assert largest_difference(ours.rates, theirs.rates) < EXACT
    assert float(ours.loss) == pytest.approx(float(theirs.loss), abs=EXACT)


def test_1_holds_for_a_network_without_its_own_back_propagation() -> None:
    network = small_network()
    theta = double(network.init(torch_generator(0, "theta")))
    inner, meta = inner_and_meta()
    ours = look_ahead(network, None, theta, rates_like(theta), inner, meta, "mean")
    theirs = eager_look_ahead(network, theta, rates_like(theta), inner, meta)
    assert largest_difference(ours.theta, theirs.theta) < EXACT
    assert largest_difference(ours.rates, theirs.rates) < EXACT


HERE = Constant(0.1)


@pytest.mark.parametrize(
    ("modulation", "where_closed"),
    [(PlainRelu(HERE), 0.0), (Raw(HERE), 1.0), (StraightRelu(HERE), 1.0), (BinaryMask(0.1, HERE), 0.1)],
    ids=lambda m: type(m).__name__,
)
def test_1_what_is_pulled_back_is_the_derivative_of_the_rates(
    modulation: EntrywiseModulation, where_closed: float
) -> None:
    """D = 1[alpha > 0] under ReLU, 1 for raw and straight-through rates, alpha_0 for the mask; where the rate is open
    and not a mask, they are the finite difference of the rates."""
    _, theta = start()
    m = rates_like(theta)
    slopes = modulation.pull_back(m, Seen(theta), {k: torch.ones_like(v) for k, v in m.items()})
    closed = {k: v < 0 for k, v in m.items()}
    assert any(bool(c.any()) for c in closed.values())
    assert all(bool((slopes[k][c] == where_closed).all()) for k, c in closed.items())
    step = 1e-7
    ahead_, here = modulation.rates({k: v + step for k, v in m.items()}, Seen(theta)), modulation.rates(m, Seen(theta))
    for k, c in closed.items():
        far = m[k].abs() > 1e-6
        expected = slopes[k] if not isinstance(modulation, BinaryMask) else torch.zeros_like(m[k])
        assert torch.allclose(((ahead_[k] - here[k]) / step)[~c & far], expected[~c & far], atol=1e-6)


def test_1_ste_scale_scales_the_derivative_only() -> None:
    whole, half = BinaryMask(0.1, HERE), BinaryMask(0.1, HERE, 0.5)
    _, theta = start()
    m = rates_like(theta)
    assert largest_difference(whole.rates(m, Seen(theta)), half.rates(m, Seen(theta))) == 0
    pulled = whole.pull_back(m, Seen(theta), m)
    assert largest_difference(pulled, {k: 2 * v for k, v in half.pull_back(m, Seen(theta), m).items()}) == 0


def meta_update(learner: LookAheadLearner, theta: Params, m: Params) -> tuple[Params, Params]:
    return update(learner, theta, m, 6, inner_and_meta()[1])


def update(learner: LookAheadLearner, theta: Params, m: Params, new: int, meta: Data) -> tuple[Params, Params]:
    """One outer step of a replica alone."""
    theta, m, _, _ = LookAheadPack([learner]).meta_update(lifted(theta), lifted(m), lifted_data(meta), new, ALONE)
    return picked(theta, 0), picked(m, 0)


@pytest.mark.parametrize("form", ["la-maml", "sync-la-maml", "la-er"])
def test_a_pack_larger_than_one_call_is_its_replicas(form: str) -> None:
    """Seven replicas, five of them and then two in one call, each with weights, rates and samples of its own."""
    learners = [build(form) for _ in range(7)]
    assert len(learners) > TOGETHER
    starts = [one.init(i) for i, one in enumerate(learners)]
    batches = [noise_batch(i) for i in range(7)]
    pack = LookAheadPack([one for one in learners if isinstance(one, LookAheadLearner)])
    joined = pack.join(starts)
    state, metrics = pack.observe(joined, batches)
    moved = [k for k, v in flatten(state).items() if v.data_ptr() != flatten(joined)[k].data_ptr()]
    assert moved == ["memory/x", "memory/y"], "allocated at the first sample"
    for i, learner in enumerate(learners):
        alone, measured = learner.observe(starts[i], batches[i])
        ours = flatten(pack.replica(state, i))
        assert all(torch.allclose(v, ours[k], atol=1e-6) for k, v in flatten(alone).items())
        assert metrics[i] == pytest.approx(measured, abs=1e-5)


def test_2_one_inner_step_at_a_constant_rate_is_fomaml() -> None:
    network, theta = start()
    new, meta = noise_data(1), inner_and_meta()[1]
    config = ReplayCMAMLConfig(inner_steps=1, alpha_init=0.1, outer_lr=0.2, clip_norm=None)
    learner = ReplayCMAML(config, network)
    m = learner.modulation.init(theta, torch_generator(0))
    moved, _ = update(learner, theta, m, 6, meta)
    _, g = network.loss_and_gradients(theta, new.x, new.y)
    phi = {k: v - 0.1 * g[k] for k, v in theta.items()}
    _, outer = network.loss_and_gradients(phi, meta.x, meta.y)
    assert largest_difference(moved, {k: v - 0.2 * outer[k] for k, v in theta.items()}) < EXACT


def test_2_without_an_inner_rate_cmaml_is_er_on_the_same_meta_batch() -> None:
    network, theta = start()
    learner = ReplayCMAML(ReplayCMAMLConfig(inner_steps=6, alpha_init=0.0, outer_lr=0.2, clip_norm=None), network)
    moved, _ = meta_update(learner, theta, learner.modulation.init(theta, torch_generator(0)))
    meta = inner_and_meta()[1]
    _, g = network.loss_and_gradients(theta, meta.x, meta.y)
    assert largest_difference(moved, {k: v - 0.2 * g[k] for k, v in theta.items()}) < EXACT


def test_3_a_rate_driven_negative_stops_its_weight_in_the_same_step() -> None:
    """La-MAML's theta waits for the new alpha; Sync's does not."""
    network, theta = start()
    look = LaMAML(LaMAMLConfig(inner_steps=6, alpha_init=0.05, alpha_lr=5.0), network)
    sync = SyncLaMAML(SyncLaMAMLConfig(inner_steps=6, alpha_init=0.05, alpha_lr=5.0, outer_lr=0.1), network)
    m = look.modulation.init(theta, torch_generator(0))
    (looked, looked_m), (synced, synced_m) = meta_update(look, theta, m), meta_update(sync, theta, m)
    assert largest_difference(looked_m, synced_m) == 0
    closed = {k: v <= 0 for k, v in looked_m.items()}
    moving = {k: ahead(network, theta, m).theta[k] != 0 for k in theta}
    assert any(bool((closed[k] & moving[k]).any()) for k in theta)
    for k in theta:
        assert torch.equal(looked[k][closed[k]], theta[k][closed[k]])
        assert bool((synced[k] != theta[k])[closed[k] & moving[k]].all())


def test_4_a_closed_rate_stays_closed_under_relu_and_can_revive_otherwise() -> None:
    network, theta = start()
    m = rates_like(theta)
    closed = {k: v <= 0 for k, v in m.items()}
    relu = LaMAML(LaMAMLConfig(inner_steps=6, alpha_lr=1.0), network)
    end, end_m = meta_update(relu, *meta_update(relu, theta, m))
    for k, c in closed.items():
        assert torch.equal(end_m[k][c], m[k][c])
        assert torch.equal(end[k][c], theta[k][c])
    raw = LaMAML(LaMAMLConfig(inner_steps=6, alpha_lr=1.0, inner_rate="raw"), network)
    sparse = SparseLaMAML(SparseLaMAMLConfig(inner_steps=6, gamma_m=5.0), network)
    for learner in (raw, sparse):
        _, end_m = meta_update(learner, *meta_update(learner, theta, m))
        assert any(bool((end_m[k] > 0)[c].any()) for k, c in closed.items())


def test_5_an_open_frozen_mask_is_cmaml_and_a_closed_one_freezes_theta() -> None:
    network, theta = start()
    cmaml = ReplayCMAML(ReplayCMAMLConfig(inner_steps=6, alpha_init=0.1, outer_lr=0.1), network)
    open_ = SparseLaMAML(SparseLaMAMLConfig(inner_steps=6, alpha_0=0.1, gamma_m=0.0), network)
    theirs, _ = meta_update(cmaml, theta, cmaml.modulation.init(theta, torch_generator(0)))
    ours, m = meta_update(open_, theta, open_.modulation.init(theta, torch_generator(0)))
    assert largest_difference(ours, theirs) < EXACT
    assert all(bool((v == 0.3).all()) for v in m.values())

    learning = SparseLaMAML(SparseLaMAMLConfig(inner_steps=6, alpha_0=0.1, gamma_m=0.01), network)
    shut = {k: torch.full_like(v, -1.0) for k, v in theta.items()}
    end, end_m = meta_update(learning, theta, shut)
    assert largest_difference(end, theta) == 0
    assert largest_difference(end_m, shut) > 0


def test_6_clipping_bounds_each_list_by_itself() -> None:
    _, theta = start()
    long = {k: 100 * v for k, v in theta.items()}
    assert float(global_norm(clip_by_global_norm(long, 2.0))) == pytest.approx(2.0, rel=1e-6)
    assert float(global_norm(clip_by_global_norm(long, 2.0))) <= 2.0
    short = {k: 1e-3 * v for k, v in theta.items()}
    assert largest_difference(clip_by_global_norm(short, 2.0), short) == 0
    assert clip_by_global_norm(long, None) is long

    network, theta = start()
    free = LaMAML(LaMAMLConfig(inner_steps=6, clip_norm=None), network)
    bound = LaMAML(LaMAMLConfig(inner_steps=6, clip_norm=1e-3), network)
    m = free.modulation.init(theta, torch_generator(0))
    steps = {name: meta_update(x, theta, m)[1] for name, x in (("free", free), ("bound", bound))}
    moved = {name: {k: (m[k] - v) / 0.3 for k, v in end.items()} for name, end in steps.items()}
    assert float(global_norm(moved["bound"])) == pytest.approx(1e-3, rel=1e-2)  # alone, not shared with theta's
    assert float(global_norm(moved["free"])) > 1e-3


def test_8_meta_batches_hold_replay_first_and_grow_from_the_second_meta_update(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Data] = []

    def spy(self: LookAheadPack, theta: Params, m: Params, meta: Data, new: int, part: slice) -> object:
        seen.append(Data(meta.x[0], meta.y[0]))
        return original(self, theta, m, meta, new, part)

    original = LookAheadPack.meta_update
    monkeypatch.setattr(LookAheadPack, "meta_update", spy)
    for form, sizes in (("la-maml", [10, 20, 10 + 10, 20]), ("la-er", [10, 10, 20, 20])):
        seen.clear()
        learner = build(form, glances=2, inner_steps=10)
        state = learner.init(0)
        batches = [ten(p) for p in range(2)]
        for batch in batches:
            state, _ = learner.observe(state, batch)
        assert [len(meta.y) for meta in seen] == sizes
        third = seen[2]
        assert all(any(torch.equal(x, old) for old in batches[0].x) for x in third.x[:10])
        assert all(any(torch.equal(x, new) for new in batches[1].x) for x in third.x[10:])


def ten(position: int) -> Batch:
    x = torch.rand(10, 1, SIZE, SIZE, generator=torch_generator(0, "ten", position))
    return Batch(x, torch.arange(10) % 2, position)


def test_la_er_moves_theta_by_the_gradient_at_theta_itself() -> None:
    network, theta = start()
    learner = build("la-er", inner_steps=6, clip_norm=None)
    assert isinstance(learner, LaER)
    learner.network = network
    m = learner.modulation.init(theta, torch_generator(0))
    meta = inner_and_meta()[1]
    moved, moved_m = update(LaER(learner.config, network), theta, m, 6, meta)
    _, g = network.loss_and_gradients(theta, meta.x, meta.y)
    assert largest_difference(moved, {k: v - moved_m[k].relu() * g[k] for k, v in theta.items()}) < EXACT


def test_10_the_network_has_the_papers_size_and_its_gradients_are_right() -> None:
    network = MLP(MLPConfig(), in_channels=1, size=28, ways=10)
    theta = network.init(torch_generator(0, "theta"))
    assert sum(v.numel() for v in theta.values()) == 89_610
    assert theta["fc1.weight"].std() == pytest.approx((2 / 784) ** 0.5, rel=0.02)
    assert all(bool((v == 0).all()) for k, v in theta.items() if k.endswith("bias"))
    uniform = MLP(MLPConfig(init="xavier_uniform"), in_channels=1, size=28, ways=10).init(torch_generator(0, "theta"))
    assert float(uniform["fc1.weight"].abs().max()) == pytest.approx((6 / 884) ** 0.5, rel=0.01)

    network, theta = start()
    data = noise_data(3)
    ours = network.loss_and_gradients(theta, data.x, data.y)
    theirs = super(MLP, network).loss_and_gradients(theta, data.x, data.y)
    assert float(ours[0]) == pytest.approx(float(theirs[0]), abs=EXACT)
    assert largest_difference(ours[1], theirs[1]) < EXACT
    one = network.loss_and_gradients(theta, data.x[:1], data.y[:1])[1]
    assert largest_difference(one, super(MLP, network).loss_and_gradients(theta, data.x[:1], data.y[:1])[1]) < EXACT


def test_a_batch_that_does_not_fill_the_chunks_gives_fewer() -> None:
    data = noise_data(0)  # 6 samples
    assert [len(c.y) for c in chunks(data, 4)] == [2, 2, 2]
    assert [len(c.y) for c in chunks(data, 10)] == [1] * 6
    state, metrics = build("la-maml", inner_steps=4).observe(build("la-maml").init(0), noise_batch(0))
    assert metrics["outer_loss"] > 0
    assert int(state["memory"]["age"]) == 6


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("inner_steps", 0),
        ("glances", 0),
        ("memory_slots", 9),
        ("replay_batch", -1),
        ("clip_norm", 0.0),
        ("alpha_init", 0.0),
    ],
)
def test_mistakes_are_named(field: str, value: float) -> None:
    with pytest.raises(SpecError, match=field):
        LaMAMLConfig(**{field: value})  # pyright: ignore[reportArgumentType]
