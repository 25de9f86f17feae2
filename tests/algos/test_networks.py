"""What every network must hold to: gradients proved, labels in blocks learned among themselves; and the replay nets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.kinds import NETWORKS
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.networks.network import Adapting, Network, own_logits, within_block
from frisket.algos.networks.strided_conv import StridedConv, StridedConvConfig
from frisket.errors import SpecError
from frisket.rng import torch_generator
from frisket.types import Params

# So small that finite differences over every weight are quick; sizes that do not halve evenly where that can happen.
TINY: dict[str, tuple[dict[str, Any], int]] = {
    "conv4": ({"channels": 2}, 16),
    "mlp": ({"hidden": (5, 4)}, 5),
    "strided-conv": ({"convolutions": 2, "filters": 3, "hidden": (5,)}, 7),
    "pooled-conv": ({"filters": (2, 3, 2), "hidden": 4}, 11),
    "resnet": ({"depth": 18, "width": 2, "stem": "small"}, 9),
    "resnet12": ({"channels": (2, 2, 3, 2)}, 7),
    "layer-norm-mlp": ({"hidden": (6, 5)}, 3),
    "vae": ({"latent": 2, "encoder": (5,), "head": (4,), "shared": (3,)}, 5),
}
WAYS = 6
every_network = pytest.mark.parametrize("kind", sorted(NETWORKS))
every_classifier = pytest.mark.parametrize("kind", sorted(set(NETWORKS) - {"vae"}))
each_own = pytest.mark.parametrize("own", [None, 2, 3, 1, 6])


def tiny(kind: str, own: int | None) -> tuple[Network, Params, Tensor, Tensor]:
    """A network in float64 with biases that are not 0, and a batch which holds labels of several blocks."""
    fields, size = TINY[kind]
    entry = NETWORKS[kind]
    network = entry.build(entry.config(**fields), in_channels=2, size=size, ways=WAYS, own=own)
    generator = torch_generator(0, "tiny")
    params = {k: v.double() for k, v in network.init(generator).items()}
    params = {k: v + 0.3 * torch.randn(v.shape, generator=generator, dtype=v.dtype) for k, v in params.items()}
    x = torch.randn(5, 2, size, size, generator=generator, dtype=torch.float64)
    return network, params, x, network.target(x, torch.tensor([0, 3, 5, 3, 1]), 0)


def test_every_network_is_tried() -> None:
    assert set(TINY) == set(NETWORKS)


@every_network
@each_own
def test_gradients_are_those_of_finite_differences(kind: str, own: int | None) -> None:
    network, params, x, y = tiny(kind, own)
    loss, grads = network.loss_and_gradients(params, x, y)
    assert torch.allclose(loss, network.loss(params, x, y), rtol=1e-13, atol=1e-15)
    assert list(grads) == list(params)
    step = 1e-6
    for name, weight in params.items():
        for i in range(0, weight.numel(), max(1, weight.numel() // 7)):
            nudge = torch.zeros_like(weight)
            nudge.view(-1)[i] = step
            up, down = (network.loss({**params, name: weight + s * nudge}, x, y) for s in (1, -1))
            slope = float(up - down) / (2 * step)
            assert float(grads[name].flatten()[i]) == pytest.approx(slope, rel=1e-5, abs=1e-8), (name, i)


@every_network
def test_second_derivatives_are_those_of_finite_differences(kind: str) -> None:
    """What a method that learns through its inner steps needs; with blocks, some logits are at minus infinity."""
    network, params, x, y = tiny(kind, 2)
    leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
    direction = {k: torch.randn(v.shape, generator=torch_generator(1, k), dtype=v.dtype) for k, v in params.items()}

    def along(weights: Params) -> Tensor:
        grads = torch.autograd.grad(network.loss(weights, x, y), list(weights.values()), create_graph=True)
        return sum(((g * direction[k]).sum() for k, g in zip(weights, grads, strict=True)), torch.zeros(()).double())

    curvature = torch.autograd.grad(along(leaves), list(leaves.values()))
    step = 1e-6
    moved = [{k: (v + s * step * direction[k]).requires_grad_() for k, v in params.items()} for s in (1, -1)]
    for name, (up, down), exact in zip(
        params, zip(*(network.loss_and_gradients(m, x, y)[1].values() for m in moved), strict=True), curvature,
        strict=True
    ):  # fmt: skip
        assert torch.allclose((up - down) / (2 * step), exact, rtol=1e-4, atol=1e-7), name


@every_classifier
def test_fact_9_other_tasks_logits_change_neither_loss_nor_answer(kind: str) -> None:
    """A constant on every logit outside the task's own block: same loss, bit for bit, and same answer."""
    network, params, x, _ = tiny(kind, 2)
    task, bias = 1, network.head[1]
    y = torch.tensor([2, 3, 3, 2, 2])
    outside = torch.tensor([j // 2 != task for j in range(WAYS)])
    shifted = {**params, bias: params[bias] + 50 * outside}
    assert torch.equal(network.loss(params, x, y), network.loss(shifted, x, y))
    _, grads = network.loss_and_gradients(params, x, y)
    assert not grads[bias][outside].any()
    assert not grads[network.head[0]][outside].any()
    before, after = (within_block(network(p, x), task, 2).argmax(-1) for p in (params, shifted))
    assert torch.equal(before, after)
    assert set(before.tolist()) <= {2, 3}
    assert not torch.equal(before, network(shifted, x).argmax(-1))  # over all labels the shift would have won


@pytest.mark.parametrize("kind", ["mlp", "strided-conv"])
def test_replicas_learn_as_one_program(kind: str) -> None:
    """`torch.func.vmap` over weights and labels, which packs rely on: blocks differ from replica to replica."""
    network, params, x, _ = tiny(kind, 2)
    labels = torch.tensor([[0, 3, 5, 3, 1], [4, 5, 0, 1, 2]])
    replicas = [params, {k: v + 0.1 for k, v in params.items()}]
    stacked = {k: torch.stack([one[k] for one in replicas]) for k in params}
    losses = torch.func.vmap(network.loss, in_dims=(0, None, 0))(stacked, x, labels)
    grads = torch.func.vmap(torch.func.grad(network.loss), in_dims=(0, None, 0))(stacked, x, labels)
    for i, (one, y) in enumerate(zip(replicas, labels, strict=True)):
        loss, alone = network.loss_and_gradients(one, x, y)
        assert torch.allclose(losses[i], loss, rtol=1e-12)
        assert all(torch.allclose(grads[k][i], alone[k], rtol=1e-9, atol=1e-12) for k in params)


@every_classifier
def test_own_block_loss_is_the_cross_entropy_of_a_small_head(kind: str) -> None:
    network, params, x, y = tiny(kind, 3)
    logits = network(params, x)
    parts = [
        F.cross_entropy(logits[n, b * 3 : b * 3 + 3][None], v[None] % 3) for n, v in enumerate(y) for b in [v // 3]
    ]
    assert torch.allclose(network.loss(params, x, y), torch.stack(parts).mean(), rtol=1e-13)


@every_classifier
def test_one_block_of_all_labels_is_no_block(kind: str) -> None:
    whole, params, x, y = tiny(kind, WAYS)
    plain = tiny(kind, None)[0]
    assert torch.equal(whole.loss(params, x, y), plain.loss(params, x, y))


@every_classifier
@pytest.mark.parametrize("own", [0, -2, 4, 7])
def test_blocks_must_divide_the_labels(kind: str, own: int) -> None:
    with pytest.raises(SpecError, match="own"):
        tiny(kind, own)


@every_classifier
def test_a_wrapped_network_learns_among_the_same_blocks(kind: str) -> None:
    network, params, x, y = tiny(kind, 2)
    wrapped = Adapting(network, network.head)
    assert torch.equal(wrapped.loss(params, x, y), network.loss(params, x, y))


def test_blocks_of_several_weight_samples() -> None:
    logits = torch.arange(12.0).view(2, 1, 6)
    assert torch.isfinite(within_block(logits, 2, 2)).nonzero()[:, -1].tolist() == [4, 5, 4, 5]
    assert within_block(logits, torch.tensor([0]), 2).argmax(-1).tolist() == [[1], [1]]
    assert torch.equal(own_logits(logits[0], torch.tensor([5]), None), logits[0])


@pytest.mark.parametrize(
    ("config", "size", "ways", "count", "flat"),
    [
        (StridedConvConfig(), 32, 100, 1_419_940, 2560),
        (StridedConvConfig(convolutions=4, hidden=(640, 640)), 64, 200, 2_873_640, 2560),
        (StridedConvConfig(convolutions=4), 32, 10, 1_007_210, 640),
    ],
)
def test_fact_10_parameter_counts(config: StridedConvConfig, size: int, ways: int, count: int, flat: int) -> None:
    network = StridedConv(config, in_channels=3, size=size, ways=ways)
    params = network.init(torch_generator(0, "theta"))
    assert sum(v.numel() for v in params.values()) == count
    assert params["fc1.weight"].shape[1] == flat
    assert network(params, torch.zeros(2, 3, size, size)).shape == (2, ways)
    assert set(network.adaptable) == set(params)
    assert not any(v.any() for k, v in params.items() if k.endswith("bias"))
    for name in ("conv2.weight", "fc1.weight"):  # Kaiming normal, fan in, gain sqrt 2
        weight = params[name]
        assert float(weight.std()) == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.02)
        assert float(weight.mean()) == pytest.approx(0, abs=1e-3)


def test_xavier_normal_starts() -> None:
    """Meta-BGD's: convolutions with biases off 0, linear layers with 0."""
    network = StridedConv(StridedConvConfig(init="xavier_normal"), in_channels=3, size=32, ways=100)
    params = network.init(torch_generator(0, "theta"))
    biases = torch.cat([params[f"conv{i}.bias"] for i in (1, 2, 3)])
    assert float(biases.std()) == pytest.approx((2 / (1 + 9 * 160)) ** 0.5, rel=0.1)
    assert not any(params[f"fc{i}.bias"].any() for i in (1, 2, 3))
    dense = MLP(MLPConfig(init="xavier_normal"), in_channels=1, size=28, ways=10).init(torch_generator(0, "theta"))
    assert not any(v.any() for k, v in dense.items() if k.endswith("bias"))
    for weight, fans in ((params["conv2.weight"], 9 * 320), (params["fc1.weight"], 2880), (dense["fc1.weight"], 884)):
        assert float(weight.std()) == pytest.approx((2 / fans) ** 0.5, rel=0.02)


def test_strided_conv_equals_the_plain_layers() -> None:
    network, params, x, _ = tiny("strided-conv", None)
    z = x
    for i in (1, 2):
        z = torch.nn.functional.conv2d(z, params[f"conv{i}.weight"], params[f"conv{i}.bias"], 2, 1).clamp(min=0)
    z = (z.flatten(1) @ params["fc1.weight"].T + params["fc1.bias"]).clamp(min=0)
    assert torch.allclose(network(params, x), z @ params["fc2.weight"].T + params["fc2.bias"], rtol=1e-12)


@pytest.mark.parametrize("fields", [{"convolutions": 0}, {"filters": 0}, {"hidden": (3, 0)}])
def test_mistakes_are_named(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(fields))):
        StridedConvConfig(**fields)


def test_truncated_normal_starts() -> None:
    """Standard deviation sqrt(1 / fan in), and nothing beyond two of the normal it is cut from (of which it has 0.8796
    of the deviation)."""
    dense = MLP(MLPConfig(init="truncated_normal"), in_channels=1, size=28, ways=10).init(torch_generator(0, "theta"))
    weight = dense["fc1.weight"]
    assert float(weight.std()) == pytest.approx(784**-0.5, rel=0.01)
    assert float(weight.mean()) == pytest.approx(0, abs=1e-3)
    bound = 2 * 784**-0.5 / 0.8796256610342398
    assert 0.99 * bound < float(weight.abs().max()) <= 1.0001 * bound
    assert not dense["fc1.bias"].any()


def test_uniform_starts() -> None:
    dense = MLP(MLPConfig(init="uniform"), in_channels=1, size=28, ways=10).init(torch_generator(0, "theta"))
    assert 0.999 / 28 < float(dense["fc1.weight"].abs().max()) <= 1 / 28
    assert float(dense["fc1.weight"].std()) == pytest.approx(1 / 28 / 3**0.5, rel=0.01)
