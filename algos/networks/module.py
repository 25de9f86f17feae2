"""Any `torch.nn.Module` as a network: `module_network` makes the row of one.

    def small(config, in_channels, size, ways):
        inputs = 8 * (size - 2) ** 2
        return nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(inputs, ways))

    NETWORKS = (module_network(small, name="small", summary="one convolution"),)

Its weights go by the module's own names (``0.weight``) and are a function's argument (`torch.func.functional_call`),
so every method takes it. A network here is a pure function of weights and inputs, and a module need not be one:

* Batch norm goes by the statistics of whatever batch it is given, in learning and in answering, as `Conv4`'s does;
  running ones would be moved by every call. (`frisket.algos.networks.normalised` is for those who need them.)
* What draws at random (dropout above 0), keeps something from one call to the next, has frozen or lazy weights, or
  buffers that are drawn at random, is refused by a `SpecError` that names the layer.
* There is no form of it for replicas or for a compiler: replicas of a pack take it one after the other, and
  ``compile: true`` is refused. The numbers are the same, the speed is that of plain PyTorch.

>>> kind = module_network(lambda config, in_channels, size, ways: torch.nn.Sequential(
...     torch.nn.Flatten(), torch.nn.Linear(in_channels * size**2, ways)), name="linear", summary="one layer")
>>> network = kind.build(kind.config(), in_channels=1, size=4, ways=3)
>>> {name: tuple(v.shape) for name, v in network.init(torch.Generator().manual_seed(0)).items()}
{'1.weight': (3, 16), '1.bias': (3,)}
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, replace_all_batch_norm_modules_
from torch.nn.parameter import is_lazy

from frisket.algos.networks.kind import NetworkKind
from frisket.algos.networks.network import Network, NetworkConfig, require_blocks
from frisket.errors import SpecError
from frisket.types import Params

_FIELD = "network"


class ModuleNetwork(Network):
    """A module for inputs ``[N, in_channels, size, size]`` and ``ways`` labels.

    Args:
        make: builds the module, its weights drawn as PyTorch draws them; called once here, and once by every `init`.
        in_channels, size: C and H (= W) of an input.
        ways: number of labels.
        own: size of the blocks of labels that are learned among themselves; None for one head over all.
        head: name of the layer that makes the logits; None for the last linear one.
        adaptable: names of the layers an inner loop may change, with all that lies in them; None for all.

    Raises:
        SpecError: it is no pure function of weights and inputs, or does not give a logit for each label.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        *,
        in_channels: int,
        size: int,
        ways: int,
        own: int | None = None,
        head: str | None = None,
        adaptable: tuple[str, ...] | None = None,
    ) -> None:
        require_blocks(own, ways)
        self._make, self.own = make, own
        self._module = self._drawn(0)
        _require_plain(self._module, self._drawn(1))
        names = [name for name, _ in self._module.named_parameters()]
        self.head = _weights_of(self._module, _last_linear(self._module) if head is None else head, names)
        within = names if adaptable is None else [w for a in adaptable for w in _weights_of(self._module, a, names)]
        self.adaptable = tuple(name for name in names if name in within)
        normed = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in self._module.modules())
        self.norm = "transductive" if normed else None
        self._require_function(torch.zeros(2, in_channels, size, size), ways)

    def init(self, generator: torch.Generator) -> Params:
        module = self._drawn(int(torch.randint(2**62, (), generator=generator)))
        return {name: weight.detach() for name, weight in module.named_parameters()}

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        fixed = {name: v.to(x) if v.is_floating_point() else v.to(x.device) for name, v in self._module.named_buffers()}
        return functional_call(self._module, {**params, **fixed}, (x,))

    def _drawn(self, seed: int) -> nn.Module:
        """A new module, its weights drawn from ``seed``; the global generator, which PyTorch draws them from, is left
        where it was."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            module = self._make()
        if not isinstance(module, nn.Module):
            raise SpecError(_FIELD, module, "must be a torch.nn.Module")
        return replace_all_batch_norm_modules_(module)

    def _require_function(self, x: Tensor, ways: int) -> None:
        """Try it on two inputs ``x``."""
        weights = {name: weight.detach() for name, weight in self._module.named_parameters()}
        before = {name: v.clone() for name, v in self._module.named_buffers()}
        state = torch.get_rng_state()
        kind = type(self._module).__name__
        try:
            with torch.no_grad():
                logits = self(weights, x)
        except RuntimeError as error:  # PyTorch's word for shapes that do not fit
            fix = f"cannot take inputs {tuple(x.shape)}: {type(error).__name__}: {error}"
            raise SpecError(_FIELD, kind, fix) from error
        if not torch.equal(state, torch.get_rng_state()):
            torch.set_rng_state(state)
            raise SpecError(_FIELD, kind, "draws at random in its forward pass; a network must not: take that out")
        moved = [name for name, v in self._module.named_buffers() if not torch.equal(v, before[name])]
        if moved:
            fix = "is changed by the forward pass; a network must not remember: take it out, or turn its tracking off"
            raise SpecError(_FIELD, f"{kind}.{moved[0]}", fix)
        if not isinstance(logits, Tensor) or logits.shape != (len(x), ways):
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise SpecError(_FIELD, kind, f"must give logits {(len(x), ways)} for inputs {tuple(x.shape)}, not {shape}")


Make = Callable[[Any, int, int, int], nn.Module]
"""``(config, in_channels, size, ways) -> module``."""


def module_network(
    make: Make,
    *,
    name: str,
    summary: str,
    config: type[Any] = NetworkConfig,
    head: str | None = None,
    adaptable: tuple[str, ...] | None = None,
    quick: Mapping[str, Any] | None = None,
    tried_at: tuple[int, int] = (1, 16),
) -> NetworkKind:
    """The row of a module.

    Args:
        make: ``(config, in_channels, size, ways)`` to the module.
        name, summary, quick, tried_at: of the row (`NetworkKind`).
        config: the configuration dataclass; by default one without fields of its own.
        head, adaptable: as for `ModuleNetwork`.
    """

    @functools.wraps(make)  # so that its source is the user's: for error messages, and for a run's digest of it
    def build(config: Any, *, in_channels: int, size: int, ways: int, own: int | None = None) -> Network:
        return ModuleNetwork(
            lambda: make(config, in_channels, size, ways),
            in_channels=in_channels, size=size, ways=ways, own=own, head=head, adaptable=adaptable,
        )  # fmt: skip

    return NetworkKind(name=name, config=config, make=build, summary=summary, quick=quick or {}, tried_at=tried_at)


def _require_plain(module: nn.Module, other: nn.Module) -> None:
    """Raise `SpecError` where ``module`` can be told to be no network without calling it; ``other`` is the same one
    drawn from another seed."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
            fix = "draws at random in its forward pass; a network must not: take it out, or set p=0"
            raise SpecError(_FIELD, f"{type(layer).__name__}(p={layer.p}) at {name!r}", fix)
    for name, weight in module.named_parameters():
        if is_lazy(weight):
            raise SpecError(_FIELD, name, "is a lazy weight, which has no shape yet: give the layer its size")
        if not weight.requires_grad:
            fix = "is frozen, and methods move every weight: compute the features first, and learn from those"
            raise SpecError(_FIELD, name, fix)
    others = dict(other.named_buffers())
    for name, v in module.named_buffers():
        if not torch.equal(v, others[name]):
            fix = "is a buffer drawn at random, which no model would keep: make it a parameter, or draw it from a seed"
            raise SpecError(_FIELD, name, fix)


def _last_linear(module: nn.Module) -> str:
    linear = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise SpecError(_FIELD, type(module).__name__, "has no linear layer: say which one makes the logits (head=...)")
    return linear[-1]


def _weights_of(module: nn.Module, layer: str, names: list[str]) -> tuple[str, ...]:
    """Names of the weights in ``layer``; a weight's own name is as good."""
    found = tuple(name for name in names if layer == "" or name == layer or name.startswith(f"{layer}."))
    if not found:
        known = ", ".join(name for name, _ in module.named_modules() if name)
        raise SpecError(_FIELD, layer, f"is no layer with weights of {type(module).__name__}: {known}")
    return found
