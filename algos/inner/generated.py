"""Masks whose m a linear layer generates from noise (sparse-MAML+; maml spec, sections 2, 4 and 5).

    x       = z o sigma + mu                       z ~ N(0, 1), E of them, drawn afresh for every adaptation
    m_k     = A_k x + b_k + shift                  for every convolution kernel k; other weights have an m of their own
    dL/db_k = dL/dm_k                              dL/dA_k = dL/dm_k x^T
    dL/dmu  = sum_k A_k^T dL/dm_k                  dL/dsigma = z o dL/dmu

First values: mu = 0, sigma = 1, A and b uniform within 1/sqrt(E). The paper has one matrix A whose rows are dealt to
the kernels in order, [C_out, C_in, 3, 3] each; here every kernel has its own, laid out as it is, which is the same.

A has E numbers for every weight of a kernel. With Conv4 of 64 channels on RGB images and E = 1600 that is 112,320 x
1600 = 180 million, 719 MB in float32, as much again for every gradient of it that is held, one for velocity, and two
for Adam's moments. The gradients of a meta-batch are best added up one by one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from frisket.algos.inner.modulation import EntrywiseModulation, Modulation, Seen
from frisket.algos.masks.mask_set import MaskSet
from frisket.rng import torch_generator
from frisket.types import Params

MEAN, SPREAD, NOISE = "noise.mean", "noise.spread", "noise.draw"
"""Names in m of mu, sigma and z, [E] each."""
ROWS, OFFSET = "rows.", "offset."
"""What stands in m before a kernel's name: its A_k [C_out, C_in, H, W, E] and its b_k [C_out, C_in, H, W]."""


def kernels(weights: Params) -> list[str]:
    """Names of the convolution kernels, [C_out, C_in, H, W]."""
    return [k for k, v in weights.items() if v.dim() == 4]


def kernel_biases(weights: Params) -> list[str]:
    """Names of the biases of the convolutions, ``conv1.bias`` to a kernel ``conv1.weight``."""
    beside = (f"{k.removesuffix('weight')}bias" for k in kernels(weights))
    return [k for k in beside if k in weights]


class Generated(Modulation):
    """``over`` with the m of the convolution kernels generated.

    A draw z is an entry of m (`NOISE`), which `draw` replaces. Its gradient is 0, so that no outer rule moves it. Not
    for packs.

    Args:
        over: the rates as a function of m; its own m is that of the weights that are no kernels.
        shift: added to what is generated: 0 starts half closed.
        width: E.
    """

    def __init__(self, over: EntrywiseModulation, shift: float = 0.0, width: int = 1600) -> None:
        self.over, self.shift, self.width = over, shift, width
        self.switches_off = over.switches_off

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        made = {k: adaptable[k] for k in kernels(adaptable)}
        m = {k: v for k, v in self.over.init(adaptable, generator).items() if k not in made}
        bound = 1 / math.sqrt(self.width)
        for k, weight in made.items():
            m[ROWS + k] = weight.new_empty(*weight.shape, self.width).uniform_(-bound, bound, generator=generator)
            m[OFFSET + k] = torch.empty_like(weight).uniform_(-bound, bound, generator=generator)
        like = next(iter(adaptable.values())).new_empty(self.width)
        noise = torch.empty_like(like).normal_(generator=generator)
        return {**m, MEAN: torch.zeros_like(like), SPREAD: torch.ones_like(like), NOISE: noise}

    def draw(self, m: Params, seed: int, *key: str | int) -> Params:
        generator = torch_generator(seed, "generated", *key)
        noise = torch.empty_like(m[NOISE], device="cpu").normal_(generator=generator)
        return {**m, NOISE: noise.to(m[NOISE].device)}

    def values(self, m: Params) -> Params:
        """The m of every weight that has one, by the weight's name and of its shape."""
        x = _input(m)
        of_its_own = {k: v for k, v in m.items() if not _generates(k)}
        made = {k.removeprefix(ROWS): rows @ x for k, rows in m.items() if k.startswith(ROWS)}
        return {**of_its_own, **{k: v + m[OFFSET + k] + self.shift for k, v in made.items()}}

    def rates(self, m: Params, seen: Seen) -> Params:
        return self.over.rates(self.values(m), seen)

    def pull_back(self, m: Params, seen: Seen, rate_grads: Params) -> Params:
        x, back = _input(m), torch.zeros_like(m[MEAN])
        grads: Params = {}
        for k, g in self.over.pull_back(self.values(m), seen, rate_grads).items():
            if ROWS + k not in m:
                grads[k] = g
                continue
            grads[ROWS + k], grads[OFFSET + k] = g[..., None] * x, g
            back = back + torch.tensordot(g, m[ROWS + k], dims=g.dim())
        return {**grads, MEAN: back, SPREAD: m[NOISE] * back, NOISE: torch.zeros_like(back)}

    def masks(self, m: Params) -> MaskSet:
        return self.over.masks(self.values(m))


def _input(m: Params) -> Tensor:
    """x [E]."""
    return m[NOISE] * m[SPREAD] + m[MEAN]


def _generates(name: str) -> bool:
    """Whether an entry of m is the generator's."""
    return name in (MEAN, SPREAD, NOISE) or name.startswith((ROWS, OFFSET))
