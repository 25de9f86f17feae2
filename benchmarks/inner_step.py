"""What the stream loop costs on top of the arithmetic it cannot avoid. One thread, one run, ratios.

    python -m benchmarks.inner_step            (make bench)

Four timings of the same batch of 50 images, processor time, interleaved:

* plain       forward and backward of Conv4 as a `torch.nn` module, the way the papers draw it;
* bare        forward and backward of frisket's Conv4, the gradient of the ten adaptable tensors;
* inner step  one step of `frisket.algos.inner.loop.adapt`, update included;
* stream loop everything the engine does at one position (batch, prediction, K = 16 steps, detection, journal), per
  inner step.

The floor is the multiplications of the four convolutions over this core's measured matrix-product rate.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.clock import matrix_rate, seconds
from frisket.algos.inner.loop import adapt, loss_on
from frisket.algos.learners.online.cmaml import CMAML, SparseCMAMLConfig
from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.algos.networks.network import split
from frisket.algos.parts.gradients import gradients, leaves
from frisket.envs.data import resolve
from frisket.envs.streams.osaka import OsakaConfig, OsakaStream
from frisket.heap import keep_freed_memory
from frisket.platform.protocols.online_accuracy import OnlineAccuracy, OnlineAccuracyConfig
from frisket.platform.run.drive import supervised
from frisket.platform.run.journal import Journal
from frisket.rng import torch_generator
from frisket.types import Data

K = 16
LIMIT = 1.15  # the target: inner step and stream loop over bare


def plain_conv4(channels: int) -> nn.Module:
    """Conv4 as the papers draw it, for 1x28x28 inputs."""
    blocks: list[nn.Module] = []
    for i in range(4):
        inputs = channels if i else 1
        blocks += [
            nn.Conv2d(inputs, channels, 3, padding=1),
            nn.BatchNorm2d(channels, track_running_stats=False),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(channels, 10))


def convolution_flops(channels: int, images: int = 50) -> float:
    """Floating-point operations of forward and backward of the four convolutions."""
    total, inputs = 0.0, 1
    for size in (28, 14, 7, 3):
        # the first convolution needs no gradient of its input
        forward = 2.0 * images * size**2 * 9 * inputs * channels
        total += forward * (2 if inputs == 1 else 3)
        inputs = channels
    return total


def measure(channels: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of each timing over ``rounds`` interleaved rounds."""
    data = resolve(("omniglot", "mnist", "fashion_mnist"), "embedded")
    # One endless task: no switch is detected and no outer step is due, so a position is exactly K inner steps.
    stream = OsakaStream(OsakaConfig(p=1.0, steps=100 * rounds + 2), data, seed=0)
    network = Conv4(Conv4Config(channels=channels), in_channels=1, size=28, ways=10)
    learner = CMAML(SparseCMAMLConfig(inner_steps=K, switch_threshold=100.0), network)
    protocol = OnlineAccuracy(OnlineAccuracyConfig(), stream.domains)
    batch = stream.batch(0)
    support = Data(batch.x, batch.y)
    theta = network.init(torch_generator(0, "theta"))
    start, rest = split(network, theta)
    loss = loss_on(network, rest, support)
    modulation, m = learner.modulation, learner.init(0)["m"]
    module = plain_conv4(channels)

    def plain() -> object:
        return torch.autograd.grad(F.cross_entropy(module(batch.x), batch.y), list(module.parameters()))

    def bare() -> object:
        phi = leaves(start)
        return gradients(loss(phi), phi)

    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "journal.jsonl", keep=0) as journal:
        pack = learner.pack([])
        state, scores, position = learner.init(0), protocol.init(), 0

        def stream_loop() -> None:
            nonlocal state, scores, position
            outcome = supervised(pack, protocol, state, [scores], [stream.batch(position)])
            state, ((scores, record),) = outcome.state, outcome.scored
            journal.step(position, record)
            position += 1

        stream_loop()  # position 0 only initialises
        works = {
            "plain": plain,
            "bare": bare,
            "inner step": lambda: adapt(loss, start, modulation, m, 1),
            "stream loop": stream_loop,
        }
        share = {"plain": 1, "bare": 1, "inner step": 1, "stream loop": K}
        for work in works.values():
            work()
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(rounds):
            for name, work in works.items():
                times[name].append(seconds(work, max(1, K // share[name])) / share[name])
    return {name: 1e3 * statistics.median(t) for name, t in times.items()}


def main() -> int:
    """Print the table; 1 when a ratio is over the target."""
    torch.set_num_threads(1)
    kept = keep_freed_memory()  # as the engine does
    rate = matrix_rate()
    print(f"one thread, torch {torch.__version__}; K = {K}; freed memory kept: {kept}")
    print(f"plain matrix product: {rate / 1e9:.0f} GFLOP/s")
    print(f"{'channels':>8} {'timing':>12} {'ms':>8} {'over bare':>10} {'over floor':>11}")
    worst = 0.0
    for channels, rounds in ((64, 7), (16, 21)):
        times = measure(channels, rounds)
        floor = 1e3 * convolution_flops(channels) / rate
        for name, ms in times.items():
            print(f"{channels:>8} {name:>12} {ms:>8.2f} {ms / times['bare']:>10.3f} {ms / floor:>11.2f}")
        worst = max(worst, *(times[name] / times["bare"] for name in ("inner step", "stream loop")))
    print(f"worst of inner step and stream loop over bare: {worst:.3f} (target: at most {LIMIT})")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
