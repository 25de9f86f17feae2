"""What the scale of MNIST's pixels on OSAKA moves: 0 to 1 here, 0 to 255 in the released code (D11).

    python -m benchmarks.pixel_scale [--data-dir DIR]

The full-size network at its start; the gradient of the first convolution on the first four batches of five seeds, real
data, in float64, so that rounding has no part in it. Batch normalisation would cancel the scale but for its epsilon.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.envs.data import resolve
from frisket.envs.streams.osaka import OsakaConfig, OsakaStream
from frisket.rng import torch_generator

SEEDS, BATCHES = 5, 4


def gradients(domain: str, data: Mapping[str, Any], scaled: bool) -> Iterator[Tensor]:
    """Of conv1.weight, flat, batch by batch and seed by seed; ``scaled``: pixels in 0 to 1."""
    network = Conv4(Conv4Config(), in_channels=1, size=28, ways=10)
    config = OsakaConfig(domains={domain: 1.0}, p=0.0, steps=BATCHES, raw_scale=() if scaled else (domain,))
    for seed in range(SEEDS):
        stream = OsakaStream(config, data, seed)
        weights = {k: v.double() for k, v in network.init(torch_generator(seed, "weights")).items()}
        for position in range(BATCHES):
            batch = stream.batch(position)
            weights["conv1.weight"].requires_grad_()
            loss = network.loss(weights, batch.x.double(), batch.y)
            yield torch.autograd.grad(loss, weights["conv1.weight"])[0].flatten()


def main() -> None:
    parser = argparse.ArgumentParser(description="What the scale of MNIST's pixels on OSAKA moves.")
    parser.add_argument("--data-dir", default=None)
    folder = parser.parse_args().data_dir
    for domain in ("mnist", "fashion_mnist"):
        data = resolve((domain,), "real", folder)
        pairs = list(zip(gradients(domain, data, True), gradients(domain, data, False), strict=True))
        moved = sorted(float((ours - raw).norm() / raw.norm()) for ours, raw in pairs)
        cosine = min(float(torch.cosine_similarity(ours, raw, dim=0)) for ours, raw in pairs)
        print(
            f"{domain}: conv1's gradient moves by {statistics.median(moved):.1%} (median; {moved[0]:.1%} to "
            f"{moved[-1]:.1%}, {len(moved)} batches), cosine at least {cosine:.4f}"
        )


if __name__ == "__main__":
    main()
