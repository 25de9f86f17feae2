"""The variational autoencoder of the continual generative tasks (VCL18's code; powerprop sheet, section 9).

L latent dimensions, D pixels::

    encoder  (every task its own)   D -> 500 -> 500 -> 500 -> 2 L      ReLU between; mean and log standard deviation
    head     (every task its own)   L -> 500 -> 500                    ReLU after both
    shared   (of all tasks)         500 -> 500 -> D                    ReLU, then the pixels' logits

Pixels in [0, 1] are Bernoulli means: ``log p(x | z) = sum_d x_d log p_d + (1 - x_d) log(1 - p_d)``. The released code
bounds both logarithms from below by log 1e-9. Here the probabilities themselves are held in [1e-9, 1 - 1e-9], which
differs from that by less than 2e-9 a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.networks.kind import NetworkKind
from frisket.algos.networks.latent import LatentNetwork
from frisket.algos.networks.network import NetworkConfig, xavier_uniform
from frisket.errors import require
from frisket.types import Params

_LARGEST_LOGIT = math.log((1 - 1e-9) / 1e-9)


@dataclass(frozen=True, kw_only=True)
class VAEConfig(NetworkConfig):
    """Further fields are those of `NetworkConfig`; Powerpropagation reparametrises the shared decoder alone.

    Attributes:
        latent: L.
        encoder: hidden widths of the encoder.
        head: widths of the decoder's private layers.
        shared: hidden widths of the shared decoder.
    """

    latent: int = 50
    encoder: tuple[int, ...] = (500, 500, 500)
    head: tuple[int, ...] = (500, 500)
    shared: tuple[int, ...] = (500,)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.latent >= 1, "latent", self.latent, "at least 1")
        require(len(self.head) > 0, "head", self.head, "one width or more")
        for name in ("encoder", "head", "shared"):
            widths = getattr(self, name)
            require(all(width >= 1 for width in widths), name, widths, "widths of at least 1")


class VAE(LatentNetwork):
    """The network for images ``[N, in_channels, size, size]``; labels are not looked at.

    >>> network = VAE(VAEConfig(), in_channels=1, size=28, ways=10)
    >>> counts = {k: v.numel() for k, v in network.init(torch.Generator()).items()}
    >>> {part: sum(n for k, n in counts.items() if k.startswith(part)) for part in ("encoder", "head", "shared")}
    {'encoder': 943600, 'head': 276000, 'shared': 643284}
    """

    def __init__(self, config: VAEConfig, *, in_channels: int, size: int, ways: int, own: int | None = None) -> None:
        self.config, self.latent, self.ways = config, config.latent, ways
        self.shape = (in_channels, size, size)
        pixels = math.prod(self.shape)
        self.widths = {
            "encoder": (pixels, *config.encoder, 2 * config.latent),
            "head": (config.latent, *config.head),
            "shared": (config.head[-1], *config.shared, pixels),
        }
        self.layers = {part: tuple(f"{part}{i}" for i in range(1, len(widths))) for part, widths in self.widths.items()}
        names = {part: tuple(f"{k}.{p}" for k in ks for p in ("weight", "bias")) for part, ks in self.layers.items()}
        self.private = names["encoder"] + names["head"]
        self.adaptable = self.private + names["shared"]
        self.head = names["shared"][-2:]

    def init(self, generator: torch.Generator) -> Params:
        params: Params = {}
        for part, layers in self.layers.items():
            for layer, (inputs, outputs) in zip(layers, pairwise(self.widths[part]), strict=True):
                params[f"{layer}.weight"] = xavier_uniform((outputs, inputs), generator)
                params[f"{layer}.bias"] = torch.zeros(outputs)
        return params

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        """Pixel logits ``[N, C H W]`` of the reconstructions of ``x`` [N, C, H, W], from the posterior means."""
        return self.decode(params, self.posterior(params, x)[0])

    def probabilities(self, outputs: Tensor) -> Tensor:
        """The pixels' means."""
        return outputs.sigmoid()

    def posterior(self, params: Params, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self._run(params, "encoder", x.flatten(1)).chunk(2, -1)
        return mean, log_std

    def decode(self, params: Params, z: Tensor) -> Tensor:
        """Logits of the pixels, [..., C H W], for ``z`` [..., L]."""
        return self._run(params, "shared", self._run(params, "head", z).relu())

    def log_conditional(self, params: Params, x: Tensor, z: Tensor) -> Tensor:
        logits = self.decode(params, z).clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT)
        return (logits * x.flatten(1)).sum(-1) - F.softplus(logits).sum(-1)

    def images(self, params: Params, z: Tensor) -> Tensor:
        return self.decode(params, z).sigmoid().view(len(z), *self.shape)

    def _run(self, params: Params, part: str, h: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers[part]):
            h = F.linear(h.relu() if i else h, params[f"{layer}.weight"], params[f"{layer}.bias"])
        return h


NETWORKS = (
    NetworkKind(
        name="vae",
        config=VAEConfig,
        make=VAE,
        summary="variational auto-encoder, an encoder of its own for every task",
        quick={"latent": 2, "encoder": (5,), "head": (4,), "shared": (3,)},
    ),
)
