"""Gradients turned so that they do not hurt the past: GEM's quadratic programme and A-GEM's projection (lamaml spec,
section 5)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from frisket.algos.parts.finite import finite

_RANK_TOLERANCE = 1e-12  # eigenvalues below this share of the largest are rounding


def gem_projection(g: Tensor, past: Tensor, margin: float, ridge: float) -> Tensor:
    """GEM: ``g + G^T v`` with v minimising ``v^T (G G^T + ridge I) v / 2 + (G g)^T v`` over ``v >= margin``.

    ``g`` itself where it disagrees with no past gradient, or where a gradient is not finite. With margin 0 and ridge 0
    the result g' is the nearest vector with ``G g' >= 0``; a margin pushes further. The programme has as many unknowns
    as there are past tasks; with ``v = u + margin`` it is a non-negative least-squares problem, solved by SciPy's
    active-set method in float64.

    Args:
        g: gradient on the new samples, [P].
        past: G, one gradient per past task, [T, P].
    """
    exact = past.double()
    products = exact @ g.double()
    if agree(products):
        return g
    return g + (exact.T @ gem_weights(products, exact @ exact.T, margin, ridge)).to(g)


def agree(products: Tensor) -> bool:
    """Whether a gradient with these ``products`` with the past ones is to be used as it is: it hurts none of them, or
    one of them is not finite, and then there is no programme to solve."""
    return bool((products >= 0).all()) or not finite(products)


def gem_weights(products: Tensor, gram: Tensor, margin: float, ridge: float) -> Tensor:
    """v of `gem_projection`, [T], from ``products`` G g [T] and ``gram`` G G^T [T, T], all float64."""
    from scipy.optimize import nnls

    matrix = gram.cpu().numpy() + ridge * np.eye(len(gram))
    slope = products.cpu().numpy() + matrix @ np.full(len(matrix), margin)
    values, vectors = np.linalg.eigh(matrix)
    kept = values > _RANK_TOLERANCE * values[-1]
    root = np.sqrt(values[kept])
    # u^T matrix u / 2 + slope^T u = |A u - b|^2 / 2 + constant, with A^T A = matrix and A^T b = - slope
    u, _ = nnls(root[:, None] * vectors[:, kept].T, -(vectors[:, kept].T @ slope) / root)
    return torch.from_numpy(u + margin).to(products)


def agem_projection(g: Tensor, reference: Tensor) -> Tensor:
    """A-GEM: ``g - (g . r / r . r) r`` where ``g . r < 0``, else ``g``. ``g`` and ``reference`` r are [P], or [..., P],
    each row by itself.

    ``g`` itself also where r is not finite, or so short that ``r . r`` is 0 in the numbers' own type.
    """
    product, square = (torch.linalg.vecdot(one, reference)[..., None] for one in (g, reference))
    disagree = (product < 0) & (square > 0) & product.isfinite() & square.isfinite()
    return torch.where(disagree, g - product / square * reference, g) if bool(disagree.any()) else g
