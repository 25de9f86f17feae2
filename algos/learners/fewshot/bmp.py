"""BMP, the binary mask perceptron: an initialisation, and an adapter that says at every inner step which layers learn
and how fast (GEMS, Algorithm 1; gems spec, section 2).

    phi_l <- phi_l - alpha^k 1[o_l^k >= 0] grad_l L(phi, support),  (o^k, alpha^k) = g(phi, its gradients, features)
    theta, g <- theta, g - Opt( gradients of sum_tasks L(phi, query) )            straight-through in the bits

theta goes on as in MAML, of either order.

Symbols and arguments: M ``inner_steps``, alpha_0 ``alpha``, beta ``gamma_m``, eta ``outer_lr``.
"""

from __future__ import annotations

from dataclasses import dataclass

from frisket.algos.inner.adapter import layers_of
from frisket.algos.inner.layer_mask import LayerMask, RateForm, Straight
from frisket.algos.inner.modulation import Modulation
from frisket.algos.learner import Method
from frisket.algos.learners.fewshot.adapter import AdapterConfig
from frisket.algos.learners.fewshot.learner import LOGGED, EpisodicLearner
from frisket.algos.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class BMPConfig(AdapterConfig):
    """Attributes:
    straight: what stands for the derivative of a layer's bit by the adapter's output o: ``identity``, 1, or
        ``sigmoid``, that of sigmoid(o).
    rate_form: how the step size comes from the adapter's output r: ``sigmoid``, alpha_0 2 sigmoid(r), below twice
        alpha_0, or ``softplus``, without that bound.
    mask_bias: first bias of the outputs that the layers' bits are the signs of: above 0 all layers learn at first, as
        in MAML.
    """

    straight: Straight = "identity"
    rate_form: RateForm = "sigmoid"
    mask_bias: float = 0.5

    def modulation(self, network: Network) -> Modulation:
        first = [*(self.mask_bias for _ in layers_of(network)), 0.0]
        return LayerMask(self.adapter(network, first), self.alpha, self.straight, self.rate_form)


METHODS = (
    Method(
        name="bmp",
        config=BMPConfig,
        build=EpisodicLearner,
        summary="learns an initialisation, and to say at every step which layers adapt and how fast",
        page="bmp",
        logged={
            **LOGGED,
            "open_layers": "share of the layers that adapt, mean over a meta-batch's tasks and their inner steps",
            "task_lr": "the adapter's step size, mean over the same",
            "not_adapted": "share of a meta-batch's tasks no layer of which adapts at any inner step",
        },
        quick={"inner_steps": 3, "alpha": 0.3, "outer_lr": 0.01, "meta_batch": 1},
        tried_on="conv4",
        meta=("theta", "m"),
    ),
)
