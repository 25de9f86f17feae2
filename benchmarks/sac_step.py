"""Updates of soft actor-critic a second, beside stable-baselines3's. One thread, one run, ratios.

    python -m benchmarks.sac_step        (make bench)

Batches of 128, observations of 39 numbers and actions of 4, hidden layers of 256: processor time, each way in a process
of its own (`benchmarks.in_turn`).

* stock      SB3's SAC with its own networks: linear and ReLU
* alike      SB3's SAC over the networks of the next line, which have LayerNorm besides
* frisket    the learner's updates
* protected  those of its second task under Powerpropagation (alpha = 1.5) and masks
* bf16       as frisket, with network.precision

A second table is of packs: replicas that update as one agent, on the GPU where there is one (by the clock), else on a
core.

The floor is the multiplications of matrix products an update cannot do without, over the rate of a plain product of
fp32 matrices on the same core.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import stable_baselines3
import torch
from gymnasium import Env, spaces
from stable_baselines3.common.logger import Logger

from benchmarks.clock import matrix_rate
from benchmarks.in_turn import Timed, Work, measure
from frisket.algos.learners.robots.learner import RobotLearner
from frisket.algos.learners.robots.pack import RobotPack
from frisket.algos.learners.robots.sac import SACConfig
from frisket.algos.learners.robots.sac_packnet import SACPackNet, SACPackNetConfig
from frisket.algos.networks.layer_norm_mlp import LayerNormMLP, LayerNormMLPConfig
from frisket.algos.networks.powerprop import Powerprop
from frisket.algos.parts import transitions
from frisket.algos.parts.tree import to_device
from frisket.algos.sac.policy import NetworkPolicy
from frisket.rng import torch_generator
from frisket.types import State

BATCH, SEEN, ACTIONS, WIDTH, STORED = 128, 39, 4, 256, 10_000
DEPTHS = {2: 1.4, 4: 1.35}
"""Hidden layers to the least of updates a second over stock."""
ROUNDED, PROTECTED = 1.9, 1.15
"""The least of bf16 over stock with four layers; the most of protection over none."""
WAYS = ("stock", "alike", "frisket", "protected", "bf16")
AT_ONCE = 20
PACKS, PACKS_ON_GPU = (1, 3, 8), (1, 8, 32)
"""Replicas of a pack."""


class Spaces(Env[np.ndarray, np.ndarray]):
    """Nothing but spaces: what SB3 wants of an environment to be made."""

    observation_space = spaces.Box(-1, 1, (SEEN,), np.float32)
    action_space = spaces.Box(-1, 1, (ACTIONS,), np.float32)


def network(depth: int, precision: Any = "fp32") -> LayerNormMLP:
    """The actor's."""
    config = LayerNormMLPConfig(hidden=(WIDTH,) * depth, precision=precision)
    return LayerNormMLP(config, inputs=SEEN, ways=2 * ACTIONS)


def stock(depth: int, alike: bool) -> Work:
    """SB3's own updates."""
    kind: Any = "MlpPolicy"
    fields: dict[str, Any] = {"net_arch": [WIDTH] * depth}
    if alike:
        actor = network(depth)
        kind, fields = NetworkPolicy, {"actor": actor, "critic": actor.sized(SEEN + ACTIONS, 1)}
    agent = stable_baselines3.SAC(kind, Spaces(), policy_kwargs=fields, buffer_size=STORED, device="cpu")
    agent.set_logger(Logger(None, []))
    draws = np.random.default_rng(0)
    assert agent.replay_buffer is not None
    for _ in range(STORED):
        seen, after = draws.standard_normal((2, 1, SEEN))
        action, reward = draws.uniform(-1, 1, (1, ACTIONS)), draws.standard_normal(1)
        agent.replay_buffer.add(seen, after, action, reward, np.zeros(1), [{}])
    return lambda: agent.train(AT_ONCE, BATCH)


def filled(state: State) -> None:
    """Fill the memory of ``state`` with noise."""
    draws = torch_generator(0, "memory")
    seen, after = torch.randn(2, STORED, SEEN, 1, 1, generator=draws)
    actions, rewards = 2 * torch.rand(STORED, ACTIONS, generator=draws) - 1, torch.randn(STORED, 1, generator=draws)
    transitions.push(state["memory"], seen, after, actions, rewards, torch.zeros(STORED, 1))


def learned(depth: int, way: str) -> Work:
    """The learner's."""
    draws = torch_generator(0, "benchmark")
    learner: RobotLearner
    if way == "protected":
        config = SACPackNetConfig(tasks=10, refill="redraw", memory_slots=STORED)
        learner = SACPackNet(config, Powerprop(network(depth), 1.5))
    else:
        learner = RobotLearner(SACConfig(memory_slots=STORED), network(depth, "bf16" if way == "bf16" else "fp32"))
    state = learner.init(0)
    filled(state)
    if way == "protected":
        free = {k: torch.rand(v.shape, generator=draws) < 0.9 for k, v in state["free"].items()}
        state = {**state, "free": free, "starts": torch.zeros(1, dtype=torch.int64)}
    agent = learner._bound(state)
    return lambda: agent.losses(AT_ONCE, BATCH)


def packed(replicas: int, device: str) -> Mapping[int, Work]:
    """Updates of so many replicas in step, by hidden layers."""
    return {depth: _packed(depth, replicas, device) for depth in DEPTHS}


def _packed(depth: int, replicas: int, device: str) -> Work:
    learner = RobotLearner(SACConfig(memory_slots=STORED), network(depth))
    states = [learner.init(seed) for seed in range(replicas)]
    for state in states:
        filled(state)
    pack = RobotPack([learner] * replicas)
    agent = pack.bound(to_device(pack.join(states), device), slice(0, replicas))
    return lambda: agent.losses(AT_ONCE, BATCH)


def works(way: str) -> Mapping[int, Work]:
    """A way's updates by hidden layers."""
    if way in ("stock", "alike"):
        return {depth: stock(depth, way == "alike") for depth in DEPTHS}
    return {depth: learned(depth, way) for depth in DEPTHS}


def operations(depth: int) -> float:
    """Of an update: through the actor twice and through critics and targets three times, and back by weights and inputs
    through each once; through the critics once more by inputs alone, down to the actions."""

    def multiplied(inputs: int, outputs: int) -> tuple[int, int]:
        first, *rest = (a * b for a, b in pairwise((inputs, *(WIDTH,) * depth, outputs)))
        return 2 * BATCH * first, 2 * BATCH * sum(rest)

    (first, rest), (judged, judging) = multiplied(SEEN, 2 * ACTIONS), multiplied(SEEN + ACTIONS, 1)
    return 3 * first + 4 * rest + 2 * (5 * judged + 6 * judging)


def print_packs(rounds: int) -> None:
    """The table of packs."""
    gpu = torch.cuda.is_available()
    sizes = PACKS_ON_GPU if gpu else PACKS
    if gpu:
        made = {size: packed(size, "cuda") for size in sizes}
        times = {(str(size), depth): by_the_clock(made[size][depth], rounds) for size in sizes for depth in DEPTHS}
    else:
        times = measure({str(size): Timed(packed, size, "cpu") for size in sizes}, list(DEPTHS), rounds)
    print(f"\nreplicas that update as one, on {torch.cuda.get_device_name() if gpu else 'a core'}")
    print("| layers | replicas | ms | updates/s of all | over one |")
    print("|---|---|---|---|---|")
    for depth in DEPTHS:
        alone = times["1", depth]
        for size in sizes:
            took = times[str(size), depth]
            rate, over = size * AT_ONCE / took, size * alone / took
            print(f"| {depth} x {WIDTH} | {size} | {1e3 * took / AT_ONCE:.2f} | {rate:.0f} | {over:.2f} |")


def by_the_clock(work: Work, rounds: int) -> float:
    """Median of the seconds of ``work``, which waits for the device, after one that does not count."""
    times = list[float]()
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="how often everything is measured")
    rounds = parser.parse_args(arguments).rounds
    torch.set_num_threads(1)
    rate = matrix_rate()
    print(f"one thread, torch {torch.__version__}; plain matrix product: {rate / 1e9:.0f} GFLOP/s; {rounds} rounds")
    times = measure({way: Timed(works, way) for way in WAYS}, list(DEPTHS), rounds)
    ms = {pair: 1e3 * took / AT_ONCE for pair, took in times.items()}
    missed = []
    print("| layers | way | ms | updates/s | over stock | time over frisket | over floor |")
    print("|---|---|---|---|---|---|---|")
    for depth, least in DEPTHS.items():
        floor = 1e3 * operations(depth) / rate
        for way in WAYS:
            took, faster = ms[way, depth], ms["stock", depth] / ms[way, depth]
            over = took / ms["frisket", depth]
            print(
                f"| {depth} x {WIDTH} | {way} | {took:.2f} | {1e3 / took:.0f} | {faster:.2f} | {over:.3f} "
                f"| {took / floor:.2f} |"
            )
            wanted = {"frisket": least, "bf16": ROUNDED if depth == 4 else 0.0}.get(way, 0.0)
            if faster < wanted or (way == "protected" and over > PROTECTED):
                missed.append(f"{way} with {depth} layers")
        print(f"| {depth} x {WIDTH} | floor | {floor:.2f} | {1e3 / floor:.0f} | | | 1 |")
    print_packs(rounds)
    for name in missed:
        print(f"missed: {name}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
