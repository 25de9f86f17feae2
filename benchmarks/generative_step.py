"""What continual generative modelling costs: a training step, an epoch, an importance-sampled likelihood. One thread.

    python -m benchmarks.generative_step        (make bench)

Processor time on the VAE of the published specifications, batches of 50 random images: one Adam step, without anything,
with EWC's penalty and with EfficientPackNet's masks under Powerpropagation, within a second task; and the likelihood of
one batch from K = 500 samples. From them what MNIST's ten tasks cost at the published budget: 108 batches an epoch and
task, 200 epochs, and 19 evaluations of about 1,000 images with K = 5000 (each task after its own end, all at the last).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch

from benchmarks.clock import matrix_rate, seconds
from frisket.algos.kinds import LEARNERS, NETWORKS
from frisket.algos.learner import Learner
from frisket.algos.networks.vae import VAE, VAEConfig
from frisket.heap import keep_freed_memory
from frisket.rng import torch_generator
from frisket.types import Batch, Task, TaskEnd

BATCH, ROUNDS, SAMPLES = 50, 7, 500
EPOCH, EPOCHS, TASKS, EVALUATIONS, IMAGES, PUBLISHED = 108, 200, 10, 19, 1000, 5000
METHODS = {
    "sequential": ("sequential", 1.0, {"fresh_optimiser": True}),
    "EWC": ("ewc-fisher", 1.0, {"fresh_optimiser": True, "fisher_batches": 1}),
    "EPN, alpha 1.5": ("efficient-packnet", 1.5, {"score": "log_likelihood", "grid": (0.3,)}),
}


def learner(name: str) -> Learner:
    """The method on the published network."""
    kind, alpha, fields = METHODS[name]
    network = NETWORKS["vae"].build(VAEConfig(powerprop_alpha=alpha), in_channels=1, size=28, ways=10)
    return LEARNERS[kind].build(LEARNERS[kind].config(lr=1e-4, **fields), network)


def step_of(name: str, x: torch.Tensor) -> Callable[[], None]:
    """One position of the method's second task, again and again."""
    method, y = learner(name), torch.zeros(len(x), dtype=torch.int64)
    first = Batch(x, y, 0, Task("images", (), 0))
    end = TaskEnd(1, lambda i: first, lambda: (x, y))
    state, _ = method.observe(method.init(0), Batch(x, y, 0, first.task, end=end))
    held = [method.observe(state, Batch(x, y, 1, Task("images", (), 1)))[0]]

    def work() -> None:
        held[0], _ = method.observe(held[0], Batch(x, y, 2, Task("images", (), 1)))

    return work


def main() -> None:
    """Print the costs."""
    torch.set_num_threads(1)
    keep_freed_memory()
    x = torch.rand(BATCH, 1, 28, 28, generator=torch_generator(0, "benchmark"))
    steps = {name: step_of(name, x) for name in METHODS}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, work in steps.items():
            times[name].append(seconds(work, 1))
    network = VAE(VAEConfig(), in_channels=1, size=28, ways=10)
    params = network.init(torch_generator(0, "theta"))
    likelihood = min(
        seconds(lambda: network.log_likelihood(params, x, samples=SAMPLES, seed=0, key=()), 1) for _ in range(3)
    )
    print(f"matrix product: {matrix_rate() / 1e9:.0f} GFLOP/s")
    task = likelihood * PUBLISHED / SAMPLES * IMAGES / BATCH
    judged = task * EVALUATIONS
    for name, found in times.items():
        step = statistics.median(found)
        hours = (step * EPOCH * EPOCHS * TASKS + judged) / 3600
        print(
            f"{name:>14} {1e3 * step:>7.1f} ms a step {EPOCH * step:>6.1f} s an epoch of a task {hours:>6.2f} h a run"
        )
    print(
        f"log-likelihood of a task, K = {PUBLISHED}: {task:.0f} s; of a run {judged / 3600:.2f} h (in the hours above)"
    )


if __name__ == "__main__":
    main()
