"""What Powerpropagation and masks add to a training step, and what switching tasks costs. One thread, one run, ratios.

    python -m benchmarks.powerprop_step        (make bench)

The step is Adam on 1024-1000-1000-10 (two million weights), batches of 128, processor time, interleaved:

* plain     loss, gradients, Adam's update, without masks or Powerpropagation;
* masked    one position of EfficientPackNet's second task, alpha = 1: protected weights are held;
* powerprop the same with alpha = 2, and with alpha = 1.5, whose power is not a product.

Then the time from a store of 300 tasks' masks to the weights of one of them, and the size of the store's file.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.clock import matrix_rate, seconds
from frisket.algos.learners.tasks.efficient_packnet import EfficientPackNet, EfficientPackNetConfig
from frisket.algos.masks.store import MaskStore
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.networks.powerprop import Powerprop
from frisket.algos.parts import adam
from frisket.heap import keep_freed_memory
from frisket.rng import torch_generator
from frisket.types import Batch, State, Task, TaskEnd

BATCH, ROUNDS, TASKS = 128, 15, 300
STEP_LIMIT, SWITCH_LIMIT_MS, SIZE_LIMIT = 1.25, 50.0, 1.02


def network() -> MLP:
    """The network of the permuted-MNIST experiments."""
    return MLP(MLPConfig(hidden=(1000, 1000)), in_channels=1, size=32, ways=10)


def learner(alpha: float) -> EfficientPackNet:
    """EfficientPackNet whose first mask is its largest."""
    return EfficientPackNet(EfficientPackNetConfig(grid=(0.1,)), Powerprop(network(), alpha))


def second_task(method: EfficientPackNet, x: torch.Tensor, y: torch.Tensor) -> tuple[State, Batch]:
    """The state within a second task, and a batch of it."""
    end = TaskEnd(1, lambda i: Batch(x, y, i), lambda: (x, y))
    state, _ = method.observe(method.init(0), Batch(x, y, 0, Task("first", (), 0), end=end))
    batch = Batch(x, y, 1, Task("second", (), 1))
    state, _ = method.observe(state, batch)
    return state, batch


def works() -> dict[str, Callable[[], None]]:
    """The steps to be timed, by name."""
    generator = torch_generator(0, "benchmark")
    x, y = torch.rand(BATCH, 1, 32, 32, generator=generator), torch.arange(BATCH) % 10
    bare = network()
    params = bare.init(generator)
    moments = adam.init(params)

    def plain() -> None:
        nonlocal params, moments
        _, grads = bare.loss_and_gradients(params, x, y)
        params, moments = adam.step(params, grads, moments, 1e-4)

    def led(alpha: float) -> Callable[[], None]:
        method = learner(alpha)
        state, batch = second_task(method, x, y)

        def step() -> None:
            nonlocal state
            state, _ = method.observe(state, batch)

        return step

    return {"plain": plain, "masked": led(1.0), "powerprop 2": led(2.0), "powerprop 1.5": led(1.5)}


def full_store(method: EfficientPackNet, state: State) -> State:
    """``state`` after 300 tasks, every mask a tenth of the weights."""
    shapes = method.store(state).shapes
    generator = torch_generator(0, "masks")
    masks = {k: torch.rand(shape, generator=generator) < 0.1 for k, shape in shapes.items()}
    row = MaskStore(shapes).appended(masks).bits
    return {**state, "store": row.repeat(TASKS, 1), "starts": torch.arange(TASKS)}


def main() -> int:
    """Print the table; 1 when a target is missed."""
    torch.set_num_threads(1)
    kept = keep_freed_memory()  # as the engine does
    print(f"one thread, torch {torch.__version__}; freed memory kept: {kept}")
    print(f"plain matrix product: {matrix_rate() / 1e9:.0f} GFLOP/s")
    steps = works()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for work in steps.values():
        work()
    for _ in range(ROUNDS):
        for name, work in steps.items():
            times[name].append(seconds(work, 1))
    ms = {name: 1e3 * statistics.median(t) for name, t in times.items()}
    for name, value in ms.items():
        print(f"{name:>14} {value:>8.2f} ms {value / ms['plain']:>7.3f} of plain")
    worst = max(value / ms["plain"] for value in ms.values())

    method = learner(2.0)
    state = full_store(method, method.init(0))
    switches = []
    for task in range(0, TASKS, 20):
        begin = time.perf_counter()
        method.tasks(state).weights(task)
        switches.append(1e3 * (time.perf_counter() - begin))
    switch = statistics.median(switches)
    with tempfile.TemporaryDirectory() as folder:
        store = method.store(state)
        size = store.save(Path(folder) / "store").stat().st_size / (store.size * TASKS / 8)
    print(f"switching the task: {switch:.1f} ms; file: {size:.4f} of one bit per weight and task")
    print(f"worst step: {worst:.3f} (target: at most {STEP_LIMIT})")
    return int(worst > STEP_LIMIT or switch > SWITCH_LIMIT_MS or size > SIZE_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
