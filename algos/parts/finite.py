"""What may be put before a solver or a division: a method whose loss has run away goes on, it does not fail.

A method that computes a step from its gradients (GEM's programme, A-GEM's projection, a mask judged by a score) asks
here first, and where it is told no, leaves the step as plain learning would take it. That the loss is lost is for the
run to say (`frisket.platform.run.divergence`), not for a solver.
"""

from __future__ import annotations

import math

from torch import Tensor


def finite(*values: Tensor | float) -> bool:
    """Whether every number of all ``values`` is finite."""
    return all(bool(v.isfinite().all()) if isinstance(v, Tensor) else math.isfinite(v) for v in values)
