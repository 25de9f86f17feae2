"""Any PyTorch module as a network: it holds to the contract, methods learn with it, and what cannot be one is named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frisket.algos.contract import METHOD_CHECKS, check, check_network
from frisket.algos.contract.toys import noise_batch
from frisket.algos.kinds import LEARNERS, NETWORKS
from frisket.algos.networks.module import ModuleNetwork, module_network
from frisket.algos.networks.network import NetworkConfig
from frisket.errors import SpecError
from frisket.rng import torch_generator


@dataclass(frozen=True, kw_only=True)
class SmallConfig(NetworkConfig):
    """Attributes: filters: of the convolution."""

    filters: int = 8


def small(config: SmallConfig, in_channels: int, size: int, ways: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, config.filters, 3, stride=2, padding=1),
        nn.BatchNorm2d(config.filters),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(config.filters * (size // 2) ** 2, ways),
    )


SMALL = module_network(small, name="small", summary="one convolution", config=SmallConfig, quick={"filters": 4})


def made(*layers: nn.Module, **fields: Any) -> ModuleNetwork:
    """A network of ``layers`` and a linear one, for 1 x 4 x 4 inputs and 2 labels."""
    head = nn.Linear(16, 2)
    return ModuleNetwork(lambda: nn.Sequential(*layers, nn.Flatten(), head), in_channels=1, size=4, ways=2, **fields)


def test_holds_to_the_contract_of_networks() -> None:
    found = check_network(SMALL)
    assert len(found) == 8
    assert [finding for finding in found if not finding.ok] == []


@pytest.mark.parametrize("kind", ["er", "la-maml", "sparse-cmaml"])
def test_methods_hold_to_theirs_on_it(kind: str) -> None:
    row = replace(LEARNERS[kind], tried_on="small")
    asked = [one for one in METHOD_CHECKS if one.__name__ != "reports_what_it_logs"]
    found = check(row, networks={**NETWORKS, "small": SMALL}, checks=asked)
    assert len(found) > 15
    assert [finding for finding in found if not finding.ok] == []


def test_is_the_module_itself_with_batch_statistics() -> None:
    network = SMALL.build(SmallConfig(), in_channels=1, size=16, ways=2)
    params, x = network.init(torch_generator(3)), noise_batch(0).x
    z = F.conv2d(x, params["0.weight"], params["0.bias"], 2, 1)
    z = F.batch_norm(z, None, None, params["1.weight"], params["1.bias"], training=True).relu().flatten(1)
    assert torch.allclose(network(params, x), F.linear(z, params["4.weight"], params["4.bias"]), atol=1e-6)
    assert list(params) == ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"]
    assert network.head == ("4.weight", "4.bias")


def test_first_weights_are_those_pytorch_draws_and_no_global_generator_moves() -> None:
    before = torch.get_rng_state()
    network = SMALL.build(SmallConfig(), in_channels=1, size=16, ways=2)
    params = network.init(torch_generator(0))
    assert torch.equal(before, torch.get_rng_state())
    bound = 1 / 3  # uniform within 1 / sqrt(fan in), fan in 9
    assert 0.8 * bound < float(params["0.weight"].abs().max()) <= bound
    assert bool((params["1.weight"] == 1).all())


def test_layers_are_chosen_by_name() -> None:
    network = made(nn.Conv2d(1, 1, 1), nn.Linear(4, 4), adaptable=("1", "3.bias"))
    assert network.adaptable == ("1.weight", "1.bias", "3.bias")
    assert network.head == ("3.weight", "3.bias")
    twice = ModuleNetwork(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 2), nn.Linear(2, 2)), in_channels=1, size=4, ways=2, head="1"
    )
    assert twice.head == ("1.weight", "1.bias")
    with pytest.raises(SpecError, match=r"network = '7': is no layer with weights of Sequential: 0, 1"):
        made(adaptable=("7",))


class Positions(nn.Module):
    """Adds a buffer: a constant, or one that counts calls, or one drawn at random."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.register_buffer("table", torch.rand(4) if how == "drawn" else torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        table = self.get_buffer("table")
        if self.how == "counts":
            table += 1
        return x + table


def test_constant_buffers_go_along_in_any_precision() -> None:
    network = ModuleNetwork(
        lambda: nn.Sequential(Positions("fixed"), nn.Flatten(), nn.Linear(16, 2)), in_channels=1, size=4, ways=2
    )
    params = network.init(torch_generator(0))
    assert set(params) == {"2.weight", "2.bias"}
    x = torch.rand(3, 1, 4, 4, generator=torch_generator(1))
    wide = network({k: v.double() for k, v in params.items()}, x.double())
    assert wide.dtype == torch.float64
    assert torch.allclose(wide, F.linear((x + 1).flatten(1), params["2.weight"], params["2.bias"]).double(), atol=1e-6)


def frozen() -> nn.Module:
    layer = nn.Linear(4, 4)
    layer.weight.requires_grad_(False)
    return layer


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (lambda: nn.Dropout(0.5), r"Dropout\(p=0\.5\) at '0'.*draws at random.*set p=0"),
        (lambda: nn.RReLU(), r"'Sequential': draws at random in its forward pass"),
        (lambda: nn.InstanceNorm2d(1, track_running_stats=True), r"'Sequential\.0\.running_\w+': is changed"),
        (lambda: Positions("counts"), r"'Sequential\.0\.table': is changed by the forward pass"),
        (lambda: Positions("drawn"), r"'0\.table': is a buffer drawn at random"),
        (frozen, r"'0\.weight': is frozen"),
        (lambda: nn.Conv2d(1, 2, 1), r"cannot take inputs \(2, 1, 4, 4\): RuntimeError"),
    ],
)
def test_what_is_no_function_of_weights_and_inputs_is_refused(layer: Any, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        ModuleNetwork(lambda: nn.Sequential(layer(), nn.Flatten(), nn.Linear(16, 2)), in_channels=1, size=4, ways=2)


def test_what_gives_no_logits_is_refused() -> None:
    with pytest.raises(SpecError, match=r"must give logits \(2, 3\) for inputs \(2, 1, 4, 4\), not \(2, 2\)"):
        ModuleNetwork(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), in_channels=1, size=4, ways=3)
    with pytest.raises(SpecError, match=r"has no linear layer: say which one makes the logits"):
        ModuleNetwork(lambda: nn.Sequential(nn.Conv2d(1, 2, 4), nn.Flatten()), in_channels=1, size=4, ways=2)
    with pytest.raises(SpecError, match=r"network = 3: must be a torch\.nn\.Module"):
        ModuleNetwork(lambda: 3, in_channels=1, size=4, ways=2)  # type: ignore[arg-type, return-value]


def test_there_is_no_compiled_form_and_packs_go_one_after_the_other() -> None:
    network = SMALL.build(SmallConfig(), in_channels=1, size=16, ways=2)
    row = LEARNERS["la-maml"]
    compiled = row.build(row.config(**{**row.quick, "compile": True}), network)
    with pytest.raises(SpecError, match=r"compile = True: .*programs are for the mlp network"):
        compiled.pack([])
