"""What every network must hold to: a pure function of weights and inputs whose gradients are right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frisket.algos.networks.kind import NetworkKind
from frisket.algos.networks.network import Network
from frisket.algos.parts.tree import equal_states
from frisket.configuration import require_configuration
from frisket.findings import Check, Finding, NotAsked, findings, need, no_global_randomness, source_of
from frisket.rng import torch_generator
from frisket.types import Params

WAYS, OWN, COUNT = 6, 3, 5
"""Labels, labels in a block of their own, inputs in a batch."""
_ROUNDED = 1e-9
"""Relative difference in float64 that rounding explains."""


@dataclass(frozen=True)
class NetworkTrial:
    """A network as the contract tries it.

    Attributes:
        kind: the row that is tried.
    """

    kind: NetworkKind

    @property
    def file(self) -> str | None:
        """Where its source is."""
        return source_of(self.kind.make)

    def network(self, own: int | None = None) -> Network:
        """A new one of `WAYS` labels."""
        channels, size = self.kind.tried_at
        return self.kind.build(self.kind.config(**self.kind.quick), in_channels=channels, size=size, ways=WAYS, own=own)

    def inputs(self, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Inputs ``[COUNT, C, H, W]`` and labels ``[COUNT]`` of both blocks."""
        channels, size = self.kind.tried_at
        x = torch.rand(COUNT, channels, size, size, generator=torch_generator(0, "inputs"), dtype=dtype)
        return x, torch.tensor([0, 3, 5, 3, 1])

    def params(self, network: Network) -> Params:
        """First weights in float64, each moved a little, so that none is at a special value; running statistics to
        where variances stay above 0."""
        generator = torch_generator(0, "params")
        params = {k: v.double() for k, v in network.init(generator).items()}
        noise = {k: 0.3 * torch.randn(v.shape, generator=generator, dtype=v.dtype) for k, v in params.items()}
        return {k: v + (noise[k].abs() if k in network.running else noise[k]) for k, v in params.items()}


def check_network(kind: NetworkKind, *, checks: Sequence[Check[NetworkTrial]] | None = None) -> list[Finding]:
    """What holds of the network ``kind``, and what does not. ``checks``: of `NETWORK_CHECKS`; None for all."""
    trial = NetworkTrial(kind)
    return list(findings(NETWORK_CHECKS if checks is None else checks, trial, trial.file))


def configuration_is_complete(trial: NetworkTrial) -> None:
    """The configuration is a frozen, keyword-only dataclass that says what each field means; `quick` has no other."""
    require_configuration(trial.kind.config, trial.kind.quick)


def first_weights_come_from_the_generator(trial: NetworkTrial) -> None:
    """Generators of one seed give the same first weights to the bit, another seed gives others; all are float32."""
    with no_global_randomness():
        network = trial.network()
        one, same, other = (network.init(torch_generator(seed)) for seed in (0, 0, 1))
    need(equal_states(one, same), "two generators of one seed gave different weights")
    need(not equal_states(one, other), "two seeds gave the same weights")
    odd = [k for k, v in one.items() if v.dtype != torch.float32 or v.requires_grad or v.device.type != "cpu"]
    need(not odd, f"{', '.join(odd)}: not plain float32 on the CPU")


def output_has_a_logit_per_label(trial: NetworkTrial) -> None:
    """Inputs [N, C, H, W] give logits [N, ways], in float32 and in float64."""
    network = trial.network()
    if network.generates:
        raise NotAsked
    params = network.init(torch_generator(0))
    for dtype in (torch.float32, torch.float64):
        logits = network({k: v.to(dtype) for k, v in params.items()}, trial.inputs(dtype)[0])
        shape = tuple(logits.shape)
        need(shape == (COUNT, WAYS), f"an output of shape {shape}, not {(COUNT, WAYS)}")
        need(logits.dtype == dtype, f"{dtype} in, {logits.dtype} out")


def is_a_function_of_weights_and_inputs(trial: NetworkTrial) -> None:
    """Called twice it gives the same bits, draws nothing at random and leaves weights and inputs as they are; other
    weights give another output."""
    network = trial.network()
    params, (x, _) = trial.params(network), trial.inputs(torch.float64)
    before = {k: v.clone() for k, v in params.items()}
    with no_global_randomness():
        first, again = network(params, x), network(params, x)
    need(torch.equal(first, again), "two calls differ")
    need(equal_states(before, params), "it changed its weights")
    need(torch.equal(x, trial.inputs(torch.float64)[0]), "it changed its inputs")
    moved = {k: v + 0.1 for k, v in params.items()}
    need(not torch.equal(first, network(moved, x)), "other weights give the same output")


def gradients_are_those_of_the_loss(trial: NetworkTrial) -> None:
    """`loss_and_gradients` gives the loss and its gradient for every weight, in their order and without a graph, as
    automatic differentiation has them."""
    network = trial.network(OWN)
    params, (x, y) = trial.params(network), trial.inputs(torch.float64)
    target = network.target(x, y, 0)
    loss, grads = network.loss_and_gradients(params, x, target)
    need(list(grads) == list(params), f"gradients of {', '.join(grads)}, not of {', '.join(params)}")
    leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
    expected = network.loss(leaves, x, target)
    exact = torch.autograd.grad(expected, list(leaves.values()), materialize_grads=True)
    one, other = float(loss.detach()), float(expected.detach())
    need(math.isclose(one, other, rel_tol=_ROUNDED), f"a loss of {one:.6g}, not {other:.6g}")
    wrong = [
        k for k, g in zip(params, exact, strict=True) if not torch.allclose(grads[k], g, rtol=_ROUNDED, atol=1e-12)
    ]
    need(not wrong, f"wrong for {', '.join(wrong[:4])}")
    need(not any(g.requires_grad for g in (loss, *grads.values())), "they carry a graph")


def names_its_layers(trial: NetworkTrial) -> None:
    """What it calls `adaptable`, `head`, `private` and `running` are names of its weights; the head has a row for
    every label, and no inner loop changes a running statistic."""
    network = trial.network()
    params = network.init(torch_generator(0))
    for attribute in ("adaptable", "head", "private", "running"):
        unknown = [name for name in getattr(network, attribute) if name not in params]
        need(not unknown, f"{', '.join(unknown)} in `{attribute}`; weights are {', '.join(params)}")
    need(bool(network.adaptable), "`adaptable` is empty: no inner loop could change it")
    both = [name for name in network.running if name in network.adaptable]
    need(not both, f"{', '.join(both)} in `adaptable` and in `running`")
    if network.generates:
        return
    need(bool(network.head), "`head` is empty")
    odd = [name for name in network.head if len(params[name]) != WAYS]
    need(not odd, f"{', '.join(odd)} in `head` with {[len(params[name]) for name in odd]} rows for {WAYS} labels")


def labels_in_blocks_are_learned_among_themselves(trial: NetworkTrial) -> None:
    """Told that labels come in blocks (`own`), a sample's loss does not see the logits of another block."""
    network = trial.network(OWN)
    if network.generates:
        raise NotAsked
    need(network.own == OWN, f"made with own={OWN}, it says own={network.own}")
    params, (x, _) = trial.params(network), trial.inputs(torch.float64)
    bias = [name for name in network.head if params[name].dim() == 1]
    if not bias:
        raise NotAsked
    shift = 50.0 * (torch.arange(WAYS) >= OWN).double()
    shifted = {**params, bias[0]: params[bias[0]] + shift}
    y = torch.tensor([0, 1, 2, 2, 1])
    need(torch.equal(network.loss(params, x, y), network.loss(shifted, x, y)), "logits of another block move the loss")


def support_passes_alone_move_statistics(trial: NetworkTrial) -> None:
    """`support_loss` gives a loss and all `running` statistics, moved and without a graph, and leaves those it was
    given; a network that has them answers to one input whatever the others are, and has no gradient for them."""
    network = trial.network()
    if network.generates:
        raise NotAsked
    params, (x, y) = trial.params(network), trial.inputs(torch.float64)
    leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
    loss, moved = network.support_loss(leaves, x, y, 0)
    need(loss.shape == (), f"a loss of shape {tuple(loss.shape)}")
    need(equal_states(params, leaves), "`support_loss` changed its weights")
    need(set(moved) == set(network.running), f"statistics {', '.join(moved)}, not {', '.join(network.running)}")
    if not network.running:
        need(torch.equal(loss, network.loss(leaves, x, y)), "without statistics, `support_loss` is not `loss`")
        return
    need(not equal_states(moved, {k: params[k] for k in moved}), "a support pass moves no statistic")
    need(not any(v.requires_grad for v in moved.values()), "statistics carry a graph")
    others = torch.cat([x[:1], x[1:].flip(0) + 1])
    need(torch.equal(network(params, x)[0], network(params, others)[0]), "an answer depends on the other inputs")
    grads = network.loss_and_gradients(params, x, y)[1]
    need(not any(grads[k].any() for k in network.running), "statistics have a gradient")


def features_are_of_the_support_pass(trial: NetworkTrial) -> None:
    """A network with `pooled` features gives so many of them with a support pass, without a graph, and the pass's own
    loss and statistics to the bit."""
    network = trial.network()
    if network.pooled is None:
        raise NotAsked
    params, (x, y) = trial.params(network), trial.inputs(torch.float64)
    leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
    plain = network.support_loss(leaves, x, y, 0)
    loss, moved, features = network.support_loss_and_features(leaves, x, y, 0)
    need(torch.equal(loss, plain[0]) and equal_states(moved, plain[1]), "with features it is another pass")
    shape = tuple(features.shape)
    need(shape == (network.pooled,), f"features of shape {shape}, not {(network.pooled,)}")
    need(not features.requires_grad, "features carry a graph")


NETWORK_CHECKS: tuple[Check[NetworkTrial], ...] = (
    configuration_is_complete, first_weights_come_from_the_generator, output_has_a_logit_per_label,
    is_a_function_of_weights_and_inputs, gradients_are_those_of_the_loss, names_its_layers,
    labels_in_blocks_are_learned_among_themselves, support_passes_alone_move_statistics,
    features_are_of_the_support_pass,
)  # fmt: skip
"""All checks of a network."""
