"""One La-MAML meta-gradient of second order on CIFAR-100's shapes, beside the products that it cannot do without.

    python -m benchmarks.la_maml_conv          (make bench)

K = 5 inner steps of two samples, clamped, a meta-batch of 20, the network of three strided convolutions. Processor time
of one thread, interleaved: the meta-gradient of second order (`frisket.algos.learners.look_ahead.second_order`) and of
first, beside the products that they need at the rate of a plain one.

Products of the second order, in passes of the samples through a layer: three for the meta-loss at each inner step
(forward, gradient by the input, by the weights), three for the inner gradient, and six for its derivative; the first
layer has no gradient by its input. First order leaves the six out.
"""

from __future__ import annotations

import statistics
import sys

import torch

from benchmarks.clock import matrix_rate, seconds
from frisket.algos.learners.look_ahead.gradient import look_ahead
from frisket.algos.learners.look_ahead.second_order import look_ahead_second
from frisket.algos.networks.strided_conv import StridedConv, StridedConvConfig
from frisket.heap import keep_freed_memory
from frisket.rng import torch_generator
from frisket.types import Data

K, CHUNK, META, ROUNDS = 5, 2, 20, 9
SIDE, CLASSES = 32, 5


def products(network: StridedConv, *, order: int) -> float:
    """Floating-point operations of one meta-gradient."""
    side, layers = SIDE, []
    for before, after in zip(network.channels, network.channels[1:], strict=False):
        side = (side + 1) // 2
        layers.append(9.0 * before * after * side**2)
    layers += [float(a * b) for a, b in zip(network.widths, network.widths[1:], strict=False)]
    through = 2 * (3 * sum(layers) - layers[0])
    return K * through * (META + CHUNK * (3 if order == 2 else 1))


def main() -> int:
    """Print the table."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as the engine does
    network = StridedConv(StridedConvConfig(), in_channels=3, size=SIDE, ways=100, own=CLASSES)
    theta = network.init(torch_generator(0, "theta"))
    rates = {k: torch.full_like(v, 0.1) for k, v in theta.items()}
    generator = torch_generator(0, "samples")

    def drawn(count: int) -> Data:
        return Data(torch.randn(count, 3, SIDE, SIDE, generator=generator), torch.arange(count) % CLASSES)

    chunks, meta = [drawn(CHUNK) for _ in range(K)], drawn(META)
    works = {
        2: lambda: look_ahead_second(network, 1.0, theta, rates, chunks, meta, "mean"),
        1: lambda: look_ahead(network, 1.0, theta, rates, chunks, meta, "mean"),
    }
    times: dict[int, list[float]] = {order: [] for order in works}
    rates_seen = []
    for _ in range(ROUNDS):
        for order, work in works.items():
            times[order].append(seconds(work, 1))
        rates_seen.append(matrix_rate())
    rate = statistics.median(rates_seen)
    print(f"one thread, torch {torch.__version__}; plain matrix product: {rate / 1e9:.0f} GFLOP/s")
    print(f"{'order':>5} {'ms':>8} {'products, ms':>13} {'over products':>14}")
    for order, values in times.items():
        ms, floor = 1e3 * statistics.median(values), 1e3 * products(network, order=order) / rate
        print(f"{order:>5} {ms:>8.1f} {floor:>13.1f} {ms / floor:>14.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
