"""Batches of the replay baselines of La-MAML's Table 1, a replica alone and in packs. One thread, ratios.

    python -m benchmarks.baseline_step          (make bench)

Ten samples of MNIST's shape, learned one by one by the 784-100-100-10 network, as `replay/rotations-METHOD` and
`replay/many-permutations-METHOD` have them, with as many earlier tasks as those have on the average. Processor time of
a batch and replica, each way in a process of its own (`benchmarks.in_turn`); GEM also with every gradient of the past
formed. A table of five seeds is what packs are to be of use for: three and two of them on two cores.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial

import torch

from benchmarks.in_turn import Timed, Work, measure
from benchmarks.la_maml_step import samples
from frisket.algos.learners.replay.gem import GEM
from frisket.algos.networks.mlp import MLP
from frisket.platform.specs.experiment import load_spec
from frisket.types import Batch, Data, Task

METHODS = ("online", "ewc", "gem", "mer")
STREAMS = {"rotations": 10, "many-permutations": 50}
"""Name in a specification to the tasks that are met before the one that is timed."""
PACKS = (1, 3, 5)
TEN, ROUNDS = 10, 9
FORMED = "gem, formed"
BATCH = "batch"


def batch_of(task: int, replica: int) -> Batch:
    """Ten samples of a task."""
    x, y = samples(TEN, f"{task}, {replica}")
    return Batch(x, y, task, Task("noise", tuple(range(10)), task))


def works(stream: str, method: str, size: int, formed: bool) -> Mapping[str, Work]:
    """A pack of ``size`` in its last task, which learns a batch when asked to; ``formed``: with GEM's gradients."""
    experiment = load_spec(f"replay/{stream}-{method}")
    network = MLP(experiment.network.config, in_channels=1, size=28, ways=10)
    learners = [experiment.learner.row.build(experiment.learner.config, network) for _ in range(size)]
    pack = learners[0].pack(learners[1:])
    state = pack.join([one.init(seed) for seed, one in enumerate(learners)])
    batches = []
    for task in range(STREAMS[stream] + 1):
        batches = [batch_of(task, replica) for replica in range(size)]
        state, _ = pack.observe(state, batches)
    if not formed:
        return {BATCH: partial(pack.observe, state, batches)}
    learner = learners[0]
    assert isinstance(learner, GEM)
    data = Data(torch.stack([one.x for one in batches]), torch.stack([one.y for one in batches]))
    hyper = {k: torch.tensor([getattr(learner.config, k)]) for k in learner.config.packed}
    return {BATCH: torch.no_grad()(partial(learner.learn_formed, state, data, hyper))}


def main() -> int:
    """Print the table."""
    print(f"ms a batch and replica; {'in packs of':>15}{''.join(f'{size:>10}' for size in PACKS)}   alone over 3 and 5")
    for stream in STREAMS:
        ways = {f"{name} {size}": Timed(works, stream, name, size, False) for name in METHODS for size in PACKS}
        ways[FORMED] = Timed(works, stream, "gem", 1, True)
        found = {way: 1000 * took for (way, _), took in measure(ways, [BATCH], ROUNDS).items()}
        for name in METHODS:
            row = [found[f"{name} {size}"] / size for size in PACKS]
            ratios = ", ".join(f"{row[0] / ms:.2f}" for ms in row[1:])
            print(f"{stream:<20}{name:<18}{''.join(f'{ms:10.2f}' for ms in row)}   {ratios}")
        print(f"{stream:<20}{FORMED:<18}{found[FORMED]:10.2f}   {found[FORMED] / found['gem 1']:.1f} times gem alone")
    return 0


if __name__ == "__main__":
    sys.exit(main())
