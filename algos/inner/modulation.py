"""Where to learn: the elementwise step size of an inner loop, and how it is itself learned.

One inner step is ``phi <- phi - s o grad L(phi)``. A `Modulation` owns the meta-parameters ``m`` behind ``s``. It is
asked for s at the inner steps (`Modulation.rates`) and carries dL/ds back to dL/dm (`Modulation.pull_back`), by a
derivative that it defines itself. With c for ``lr_scale`` and kappa for ``ste_scale``:

===============  ====================  =================================================================================
modulation       s                     ds/dm
===============  ====================  =================================================================================
`LearnedStep`    eta_k, one a tensor   1 (C-MAML; the sign is free)
`FixedStep`      alpha_0               nothing to learn (MAML)
`BinaryMask`     alpha_0 * 1[m >= 0]   alpha_0 kappa, straight-through (sparse paper, Eq. 5 and 10)
`StraightRelu`   c max(m, 0)           c, straight-through: a rate can come back from 0 (sparse-ReLU-MAML)
`PlainRelu`      c max(m, 0)           c 1[m > 0]: a rate that reaches 0 stays there (La-MAML on MNIST)
`ExpRate`        c exp(m)              c exp(m): a rate never reaches 0 (exp-MAML)
`Signed`         m                     1: a negative rate climbs (Meta-SGD)
`Raw`            m                     1, over weights that an outer step rectifies (La-MAML on CIFAR-100, TinyImageNet)
`Generated`      of another one        its own, carried on to what generates the kernels' m (sparse-MAML+)
`LayerMask`      alpha^k 1[o_l >= 0]   straight-through, into the network that gives alpha and o (BMP)
`Subnet`         alpha 1[top of |phi|] straight-through, into the network that gives each layer's share (MMSUP)
===============  ====================  =================================================================================

What has one m per weight starts it as a `frisket.algos.inner.first_m.Start` says. The last three have files of their
own, `frisket.algos.inner.generated`, `frisket.algos.inner.layer_mask` and `frisket.algos.inner.subnet`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from frisket.algos.inner.first_m import Start
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.parts.clip import spread
from frisket.algos.parts.gradients import leaves
from frisket.types import Metrics, Params

Choice: TypeAlias = Callable[[Params], Collection[str]]
"""Names of some of the weights given."""


def nothing(weights: Params) -> Collection[str]:
    """The `Choice` of none."""
    return ()


class Seen(NamedTuple):
    """What a modulation is shown when it is asked for s, all of it without a graph.

    Attributes:
        phi: the fast weights at that step.
        step: number of the inner step, from 0.
        grads: gradient of the inner loss at phi; {} where s is asked for outside an inner loop.
        features: [F], the network's features of the support at phi (`frisket.algos.networks.network.Network.pooled`);
            None unless the modulation asks for them.
        means: what an adapter has made of phi and grads (`frisket.algos.inner.adapter.Adapter.means`), so that it is
            worked out once however often s is asked for; None before.
    """

    phi: Params
    step: int = 0
    grads: Mapping[str, Tensor] = MappingProxyType({})
    features: Tensor | None = None
    means: Tensor | None = None


class Modulation(ABC):
    """The step size ``s`` of an inner loop as a function of its meta-parameters ``m``.

    Attributes:
        by_step: whether s may differ between the steps of one inner loop; it is then asked for, and its gradient kept,
            at every step. Otherwise it is asked for once, at step 0.
        switches_off: whether it keeps some weights from changing, which `masks` tells.
        by_task: whether it decides for every task anew what it switches off; `masks` then cannot tell, and what has an
            s other than 0 at any step is noted as it is asked (`frisket.algos.inner.loop.Noted`).
        holds_start: of one `by_task`, whether a task's gradient for theta is kept to what the task could change, and
            the outer step holds what no task could.
        features: whether it has to be shown `Seen.features`.
    """

    by_step: bool = False
    switches_off: bool = False
    by_task: bool = False
    holds_start: bool = False
    features: bool = False

    @abstractmethod
    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        """First values of ``m`` for the weights ``adaptable``; ``{}`` when there is nothing to learn."""

    @abstractmethod
    def rates(self, m: Params, seen: Seen) -> Params:
        """``s`` for every adaptable tensor, broadcastable to it.

        Args:
            m: meta-parameters.
            seen: the fast weights, and what else is known then. What s owes to it is constant in every derivative.
        """

    def looked(self, seen: Seen) -> Seen:
        """``seen``, with what this modulation makes of it more than once. What is asked in an inner loop is shown
        this."""
        return seen

    def draw(self, m: Params, seed: int, *key: str | int) -> Params:
        """``m`` for one adaptation. Where s is random, m holds the noise behind it, and this is m with noise drawn
        afresh from (``seed``, ``key``); elsewhere m as it is. What `rates`, `pull_back` and `masks` are then asked has
        to be of the same draw."""
        return m

    def pull_back(self, m: Params, seen: Seen, rate_grads: Params) -> Params:
        """dL/dm from dL/ds; by default by automatic differentiation of `rates`.

        Args:
            m, seen: what s was asked for.
            rate_grads: dL/ds, of the shapes of the fast weights; where ``by_step`` is False the sum over all steps.
        """
        if not m:
            return {}
        with torch.enable_grad():
            m = leaves(m)
            rates = self.rates(m, seen)
        # A rate shared by a whole tensor collects the sum over it: the inner product - <g_out, G> of a learned step.
        learned = [k for k in rate_grads if rates[k].requires_grad]
        into = [rate_grads[k].sum_to_size(rates[k].shape) for k in learned]
        grads = torch.autograd.grad([rates[k] for k in learned], list(m.values()), into, materialize_grads=True)
        return dict(zip(m, grads, strict=True))

    def masks(self, m: Params) -> MaskSet:
        """The weights that may change, for modulations that switch some off; else an empty MaskSet."""
        return MaskSet({})

    def answer(self, m: Params, seen: Seen, before: Params) -> tuple[Params, Params]:
        """`rates`, as an inner loop asks for them, and what one adaptation tells of itself: ``before``, {} at first,
        with what was decided now added. Outer steps have the sum over their tasks."""
        return self.rates(m, seen), before

    def decided(self, m: Params, seen: Seen) -> tuple[Tensor, Tensor | None] | None:
        """What it decides for a task at ``seen``: the share of each layer's weights that has an s other than 0, [L]
        (`frisket.algos.inner.adapter.layers_of`), and what s is there, scalar, None where that is given. None where
        nothing is left for it to decide."""
        return None

    def settled(self, m: Params, measured: Params) -> Params:
        """``m`` after an outer step, where some of it is no gradient's to move but goes by what was ``measured``, as
        `answer` tells it."""
        return m

    def metrics(self, measured: Params, tasks: Tensor) -> Metrics:
        """What there is to log of what was ``measured`` over so many ``tasks``, scalar."""
        return {}


class LearnedStep(Modulation):
    """One learned scalar eta_k per tensor, started at ``step_size`` (C-MAML)."""

    def __init__(self, step_size: float) -> None:
        self.step_size = step_size

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        return {k: torch.full((), self.step_size, dtype=v.dtype) for k, v in adaptable.items()}

    def rates(self, m: Params, seen: Seen) -> Params:
        return m


class FixedStep(Modulation):
    """The same constant ``alpha_0`` for every weight."""

    def __init__(self, alpha_0: float) -> None:
        self.alpha_0 = alpha_0

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        return {}

    def rates(self, m: Params, seen: Seen) -> Params:
        return {k: torch.full((), self.alpha_0, dtype=v.dtype, device=v.device) for k, v in seen.phi.items()}


class EntrywiseModulation(Modulation):
    """A `Modulation` with ``s_i = f(m_i)`` and a closed derivative, so that neither needs a graph. ``m`` may be a
    pack's, [P, ...].

    Args:
        start: first values of m.
    """

    switches_off = True

    def __init__(self, start: Start) -> None:
        self.start = start

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        return {k: self.start(v, generator) for k, v in adaptable.items()}


class ScaledRate(EntrywiseModulation):
    """``c f(m)``; subclasses say f and its derivative.

    Args:
        start: first values of m.
        lr_scale: c, 1 in the released code and alpha in the equations as printed; for a pack one per replica, [P].
    """

    def __init__(self, start: Start, lr_scale: float | Tensor = 1.0) -> None:
        super().__init__(start)
        self.lr_scale = lr_scale

    def scaled(self, values: Params) -> Params:
        """``values`` times c."""
        if not isinstance(self.lr_scale, Tensor) and self.lr_scale == 1:
            return values
        return {k: v * spread(self.lr_scale, v) for k, v in values.items()}


class PlainRelu(ScaledRate):
    """``c max(m, 0)`` and its own derivative, 0 at m = 0."""

    def rates(self, m: Params, seen: Seen) -> Params:
        return self.scaled({k: v.relu() for k, v in m.items()})

    def pull_back(self, m: Params, seen: Seen, rate_grads: Params) -> Params:
        return self.scaled({k: g * (m[k] > 0).to(m[k].dtype) for k, g in rate_grads.items()})

    def masks(self, m: Params) -> MaskSet:
        return above_zero(m)


class StraightRelu(PlainRelu):
    """``c max(m, 0)`` as a rate per weight, with c as its derivative everywhere."""

    def pull_back(self, m: Params, seen: Seen, rate_grads: Params) -> Params:
        return self.scaled(rate_grads)


class ExpRate(ScaledRate):
    """``c exp(m)``, which is its own derivative. No rate is 0, so nothing is switched off."""

    switches_off = False

    def rates(self, m: Params, seen: Seen) -> Params:
        return self.scaled({k: v.exp() for k, v in m.items()})

    def pull_back(self, m: Params, seen: Seen, rate_grads: Params) -> Params:
        rates = self.rates(m, seen)
        return {k: g * rates[k] for k, g in rate_grads.items()}


class Signed(EntrywiseModulation):
    """``m`` itself: a negative rate climbs. Nothing is switched off."""

    switches_off = False

    def rates(self, m: Params, seen: Seen) -> Params:
        return m

    def pull_back(self, m: Params, seen: Seen, rate_grads: Params) -> Params:
        return rate_grads


class Raw(Signed):
    """`Signed` in the inner loop, of methods whose outer step rectifies: what it takes for 0 is switched off."""

    switches_off = True

    def masks(self, m: Params) -> MaskSet:
        return above_zero(m)


class BinaryMask(EntrywiseModulation):
    """``alpha_0 * 1[m >= 0]`` (sparse-MAML; the mask is 1 at m = 0). A weight that has no m is open, and counts in no
    sparsity.

    Args:
        alpha_0: step size where the mask is open; for a pack one per replica, [P].
        start: first values of m.
        ste_scale: kappa, 1 in the equations and 1/2 in a paper's listing; for a pack [P].
        always: which of the adaptable weights get no m.
    """

    def __init__(
        self, alpha_0: float | Tensor, start: Start, ste_scale: float | Tensor = 1.0, always: Choice = nothing
    ) -> None:
        super().__init__(start)
        self.alpha_0, self.ste_scale, self.always = alpha_0, ste_scale, always

    def init(self, adaptable: Params, generator: torch.Generator) -> Params:
        unmasked = self.always(adaptable)
        return super().init({k: v for k, v in adaptable.items() if k not in unmasked}, generator)

    def rates(self, m: Params, seen: Seen) -> Params:
        masked = {k: spread(self.alpha_0, v) * (v >= 0).to(v.dtype) for k, v in m.items()}
        unmasked = {k: spread(self.alpha_0, v) * torch.ones_like(v) for k, v in seen.phi.items() if k not in m}
        return {**masked, **unmasked}

    def pull_back(self, m: Params, seen: Seen, rate_grads: Params) -> Params:
        return {k: g * spread(self.alpha_0 * self.ste_scale, g) for k, g in rate_grads.items() if k in m}

    def masks(self, m: Params) -> MaskSet:
        return MaskSet({k: v >= 0 for k, v in m.items()})


def above_zero(m: Params) -> MaskSet:
    """Open where m > 0."""
    return MaskSet({k: v > 0 for k, v in m.items()})
