"""The look-ahead gradient of a fully connected network, P replicas at once, its first layer never unrolled.

The same numbers as `frisket.algos.learners.look_ahead.gradient`, in another order of summation. Three observations
make it fast:

* The meta-batch holds the inner samples. So going forward and back through the network for the meta-loss at phi_k also
  yields, row by row, the gradient of the next inner step at phi_k.
* With few samples a first-layer gradient has low rank, and the inner loop never needs that layer's fast weights. For
  inner samples x_j with first-layer deltas d_j (d loss / d output), meta-samples X_n and rates s::

      Q_jn  = (x_j o X_n) s^T                                 one matrix product per call
      z_n  <- z_n - sum_{j in chunk} d_j o (Q_jn + s_bias)    the layer's output after an inner step
      G_theta = (w sum_k D_k)^T X                             D_kn deltas of the meta-samples after step k
      G_s     = - F^T P                                       P_jn = x_j o X_n,  F_jn = d_j o w sum_{k >= k(j)} D_kn

* The later layers' G_s needs no running sums inside the loop: with H_k = D_k^T A_k their gradients after step k,
  ``G_s = - w sum_j g_j o sum_{k >= k(j)} H_k``, taken at the end.

Three pure functions: `begin`, `inner_step` (K times), `finish`. Each can be compiled (`frisket.algos.program`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from frisket.algos.learners.look_ahead.gradient import LookAhead, MetaLoss
from frisket.algos.networks.mlp import MLP, Backward, outer
from frisket.algos.program import Pure, compiled
from frisket.types import Data, Params

_WEIGHT, _BIAS = "fc1.weight", "fc1.bias"


class Method(Protocol):
    """What a method adds to the gradient. Pure; all tensors are [P, ...], ``hyper`` has one number per replica, [P]."""

    def rates(self, m: Params, hyper: Params) -> Params:
        """Rates of the inner loop, s(m)."""
        ...

    def outer_step(self, theta: Params, m: Params, ahead: LookAhead, hyper: Params) -> tuple[Params, Params]:
        """``(theta, m)`` after the outer step."""
        ...


class Begun(NamedTuple):
    """Attributes:
    products: x_j o X_n, [P, n N, I].
    q: Q + s_bias, [P, n, N, H].
    rates: of the later layers.
    z: first layer's output on the meta-batch, [P, N, H].
    back: the network there and back at phi_0.
    """

    products: Tensor
    q: Tensor
    rates: Params
    z: Tensor
    back: Backward


class Rows(NamedTuple):
    """What an inner step learns from: the rows of its chunk in a `Backward`, deltas divided by the chunk's size.
    Attributes: inputs, deltas: each [P, s, width]."""

    inputs: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]

    @classmethod
    def of(cls, back: Backward, chunk: Tensor) -> Rows:
        """Rows ``chunk`` [s] of ``back``, all of a chunk's."""
        size = len(chunk)
        deltas = tuple(d.index_select(1, chunk) for d in back.deltas)
        inputs = tuple(a.index_select(1, chunk) for a in back.inputs)
        return cls(inputs, deltas if size == 1 else tuple(d / size for d in deltas))


class Stepped(NamedTuple):
    """Attributes: z, late: first layer's output and later layers' weights after an inner step; back: there and back."""

    z: Tensor
    late: Params
    back: Backward


def begin(
    network: MLP, method: Method, theta: Params, m: Params, hyper: Params, new: Tensor, x: Tensor, y: Tensor
) -> Begun:
    """Everything before the first inner step. ``new`` [P, n, I] are the last n rows of ``x`` [P, N, I]."""
    rates = method.rates(m, hyper)
    products = (new[:, :, None] * x[:, None]).flatten(1, 2)
    q = (products @ rates[_WEIGHT].mT).unflatten(1, (new.shape[1], x.shape[1])) + rates[_BIAS][:, None, None]
    z = network.first(theta, x)
    late = {k: v for k, v in rates.items() if k not in (_WEIGHT, _BIAS)}
    return Begun(products, q, late, z, network.backward(theta, z, y))


def inner_step(
    network: MLP, z: Tensor, late: Params, back: Backward, rates: Params, q: Tensor, y: Tensor, chunk: Tensor
) -> Stepped:
    """One inner step on the samples in rows ``chunk`` [s] of the meta-batch.

    Args:
        network: the network.
        z, late, back: where the step before has ended.
        rates: of the later layers.
        q: Q + s_bias, [P, n, N, H].
        y: labels, [P, N].
        chunk: rows of the meta-batch.
    """
    rows, new = Rows.of(back, chunk), chunk - (y.shape[1] - q.shape[1])
    z = z - (rows.deltas[0][:, :, None] * q.index_select(1, new)).sum(1)
    moved = {}
    for layer, inputs, deltas in zip(network.layers[1:], rows.inputs, rows.deltas[1:], strict=True):
        weight, bias = f"{layer}.weight", f"{layer}.bias"
        moved[weight] = late[weight] - rates[weight] * outer(deltas, inputs)
        moved[bias] = late[bias] - rates[bias] * deltas.sum(1)
    return Stepped(z, moved, network.backward(moved, z, y))


def finish(
    network: MLP, method: Method, judged: MetaLoss, theta: Params, m: Params, hyper: Params, x: Tensor,
    products: Tensor, backs: list[Backward], chunks: list[Tensor],
) -> tuple[Params, Params, Tensor]:  # fmt: skip
    """``(theta, m, loss [P])`` after the outer step, from what the K inner steps left.

    Args:
        network, judged: as in `frisket.algos.learners.look_ahead.gradient.look_ahead`.
        method, theta, m, hyper: the outer step and what it works on.
        x: meta-batch, [P, N, I].
        products: from `begin`.
        backs: there and back before the first inner step and after each, K + 1.
        chunks: the rows each inner step learned from.
    """
    learned = [Rows.of(back, chunk) for back, chunk in zip(backs, chunks, strict=False)]
    at_start, *backs = backs
    steps, n = len(backs), x.shape[1]
    share = (1 / steps if judged == "mean" else 1.0) / n
    counted = [judged != "last" or k == steps - 1 for k in range(steps)]

    judges = _sums_from(torch.stack([back.deltas[0] for back in backs]), counted)
    weighted = torch.cat([a[:, None] * r.deltas[0][:, :, None] for a, r in zip(judges, learned, strict=True)], 1)
    weighted = weighted.flatten(1, 2)  # F, [P, n N, H]
    gradient = {_WEIGHT: outer(judges[0], x) * share, _BIAS: judges[0].sum(1) * share}
    along = {_WEIGHT: outer(weighted, products) * -share, _BIAS: weighted.sum(1) * -share}
    for i, layer in enumerate(network.layers[1:]):
        deltas = torch.stack([back.deltas[i + 1] for back in backs])
        inputs = torch.stack([back.inputs[i] for back in backs])
        weights = _sums_from(outer(deltas, inputs), counted)
        biases = _sums_from(deltas.sum(2), counted)
        gradient[f"{layer}.weight"], gradient[f"{layer}.bias"] = weights[0] * share, biases[0] * share
        travelled = [outer(rows.deltas[i + 1], rows.inputs[i]) * h for rows, h in zip(learned, weights, strict=True)]
        along[f"{layer}.weight"] = functools.reduce(torch.add, travelled) * -share
        travelled = [rows.deltas[i + 1].sum(1) * h for rows, h in zip(learned, biases, strict=True)]
        along[f"{layer}.bias"] = functools.reduce(torch.add, travelled) * -share

    losses = functools.reduce(torch.add, [back.losses.sum(1) for back, on in zip(backs, counted, strict=True) if on])

    def plain() -> Params:
        inputs = (x, *at_start.inputs)
        layers = list(zip(network.layers, at_start.deltas, inputs, strict=True))
        grads = {f"{layer}.weight": outer(delta, given) / n for layer, delta, given in layers}
        return grads | {f"{layer}.bias": delta.sum(1) / n for layer, delta, _ in layers}

    ahead = LookAhead({k: gradient[k] for k in theta}, {k: along[k] for k in theta}, losses * share, plain)
    return *method.outer_step(theta, m, ahead, hyper), ahead.loss


class MLPMetaUpdate:
    """One meta-update of P replicas: `begin`, K times `inner_step`, `finish`.

    Args:
        network: the network.
        method: the rates and the outer step.
        judged: how the meta-loss is judged.
        name: what messages call the programs; None compiles nothing.
        full: samples drawn from a memory that holds enough. Only meta-batches with that many draws are compiled for;
            the few before the memory has filled are run plainly.
    """

    def __init__(self, network: MLP, method: Method, judged: MetaLoss, name: str | None, full: int) -> None:
        self._name, self._full = name, full
        self._functions: dict[str, Pure] = {
            "begin": functools.partial(begin, network, method),
            "inner step": functools.partial(inner_step, network),
            "finish": functools.partial(finish, network, method, judged),
        }
        self._programs: dict[tuple[Any, ...], Pure] = {}

    @torch.no_grad()
    def __call__(
        self, theta: Params, m: Params, hyper: Params, sizes: Sequence[int], meta: Data
    ) -> tuple[Params, Params, Tensor, Tensor]:
        """``(theta, m, meta-loss [P], loss of the new samples before the step [P])``.

        Args:
            theta, m, hyper: [P, ...].
            sizes: samples of each chunk; together the last rows of the meta-batch, in order.
            meta: b_m, x [P, N, ...], y [P, N].
        """
        x, y = meta.x.flatten(2), meta.y
        first = x.shape[1] - sum(sizes)
        chunks = list(torch.arange(first, x.shape[1], device=x.device).split(list(sizes)))
        run = functools.partial(self._run, first == self._full, (*x.shape, *sizes, x.dtype, x.device))
        begun: Begun = run("begin", theta, m, hyper, x[:, first:], x, y)
        z, late, backs = begun.z, {k: theta[k] for k in begun.rates}, [begun.back]
        for chunk in chunks:
            z, late, back = run("inner step", z, late, backs[-1], begun.rates, begun.q, y, chunk)
            backs.append(back)
        theta, m, loss = run("finish", theta, m, hyper, x, begun.products, backs, chunks)
        return theta, m, loss, begun.back.losses[:, first:].mean(1)

    def _run(self, full: bool, signature: tuple[Any, ...], name: str, *arguments: Any) -> Any:
        """One of the functions, by its program where it has one."""
        if self._name is None or not full:
            return self._functions[name](*arguments)
        key = (name, len(arguments[-1]), signature) if name == "inner step" else (name, signature)
        if key not in self._programs:
            self._programs[key] = compiled(self._functions[name], f"{self._name}, {name}", *arguments)
        return self._programs[key](*arguments)


def _sums_from(parts: Tensor, counted: list[bool]) -> list[Tensor]:
    """``sum_{k >= j} parts_k`` over those that count, for every j."""
    running, sums = parts[-1], [parts[-1]]
    for k in reversed(range(len(parts) - 1)):
        running = running + parts[k] if counted[k] else running
        sums.insert(0, running)
    return sums
