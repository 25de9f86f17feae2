"""Batches of the replay baselines of La-MAML's Table 1, a replica alone and in packs. One thread, ratios.

    python -m benchmarks.baseline_step          (make bench)

Ten samples of MNIST's shape, learned one by one by the 784-100-100-10 network, as `replay/rotations-METHOD` and
`replay/many-permutations-METHOD` have them, with as many earlier tasks as those have on the average. Processor time of
a batch and replica, interleaved; GEM also with every gradient of the past formed. A table of five seeds is what packs
are to be of use for: three and two of them on two cores.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.clock import seconds
from benchmarks.la_maml_step import samples
from frisket.algos.learner import Learner, Pack
from frisket.algos.learners.replay.gem import GEM
from frisket.algos.networks.mlp import MLP
from frisket.heap import keep_freed_memory
from frisket.platform.specs.experiment import load_spec
from frisket.types import Batch, Data, State, Task

METHODS = ("online", "ewc", "gem", "mer")
STREAMS = {"rotations": 10, "many-permutations": 50}
"""Name in a specification to the tasks that are met before the one that is timed."""
PACKS = (1, 3, 5)
TEN, ROUNDS = 10, 7
FORMED = "gem, formed"


class Timed:
    """A pack in its last task; a call learns a batch.

    Args:
        learners: its replicas.
        tasks: tasks they have met before.
        formed: whether GEM forms its gradients.
    """

    def __init__(self, learners: list[Learner], tasks: int, *, formed: bool) -> None:
        self.pack: Pack[Learner] = learners[0].pack(learners[1:])
        self.state: State = self.pack.join([one.init(seed) for seed, one in enumerate(learners)])
        self.batches = [[self._batch(i, replica) for replica in range(len(learners))] for i in range(tasks + 1)]
        self.call = self._learn_formed if formed else self._observe
        for batches in self.batches:
            self.state, _ = self.pack.observe(self.state, batches)

    @staticmethod
    def _batch(task: int, replica: int) -> Batch:
        x, y = samples(TEN, f"{task}, {replica}")
        return Batch(x, y, task, Task("noise", tuple(range(10)), task))

    def _observe(self) -> None:
        self.state, _ = self.pack.observe(self.state, self.batches[-1])

    def _learn_formed(self) -> None:
        learner = self.pack.learners[0]
        assert isinstance(learner, GEM)
        data = Data(*(torch.stack([getattr(one, name) for one in self.batches[-1]]) for name in ("x", "y")))
        hyper = {k: torch.tensor([getattr(learner.config, k)]) for k in learner.config.packed}
        self.state, _ = learner.learn_formed(self.state, data, hyper)

    def __call__(self) -> float:
        return seconds(self.call, 1) / len(self.batches[-1])


def learner_of(stream: str, method: str) -> Callable[[], Learner]:
    """What makes replicas of one specification's method."""
    experiment = load_spec(f"replay/{stream}-{method}")
    network = MLP(experiment.network.config, in_channels=1, size=28, ways=10)
    return partial(experiment.learner.row.build, experiment.learner.config, network)


@torch.no_grad()
def main() -> int:
    """Print the table."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as the engine does
    print(f"ms a batch and replica; {'in packs of':>15}{''.join(f'{size:>10}' for size in PACKS)}   alone over 3 and 5")
    for stream, tasks in STREAMS.items():
        ways = {(name, size): Timed([learner_of(stream, name)() for _ in range(size)], tasks, formed=False)
                for name in METHODS for size in PACKS}  # fmt: skip
        ways[FORMED, 1] = Timed([learner_of(stream, "gem")()], tasks, formed=True)
        times: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, timed in ways.items():
                times[way].append(timed())
        found = {way: 1000 * statistics.median(values) for way, values in times.items()}
        for name in METHODS:
            row, ratios = [found[name, size] for size in PACKS], [found[name, 1] / found[name, n] for n in PACKS[1:]]
            print(f"{stream:<20}{name:<18}{''.join(f'{ms:10.2f}' for ms in row)}   {ratios[0]:.2f}, {ratios[1]:.2f}")
        over = found[FORMED, 1] / found["gem", 1]
        print(f"{stream:<20}{FORMED:<18}{found[FORMED, 1]:10.2f}   {over:.1f} times gem alone")
    return 0


if __name__ == "__main__":
    sys.exit(main())
