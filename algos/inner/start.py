"""What learners begin with: weights, the modulation's m and Adam's moments."""

from __future__ import annotations

import torch

from frisket.algos.inner.modulation import Modulation
from frisket.algos.networks.network import Network, split
from frisket.algos.parts import adam
from frisket.rng import torch_generator
from frisket.types import State


def meta_start(network: Network, modulation: Modulation, seed: int, warm_start: State | None = None) -> State:
    """``theta, m, adam/theta, adam/m``: fresh, or those of pre-training.

    Pre-training learns step sizes or nothing, so its ``m`` is taken only where it fits this modulation (same names and
    shapes); masks and rates per weight start afresh on the pre-trained theta.
    """
    theta = network.init(torch_generator(seed, "theta"))
    m = modulation.init(split(network, theta)[0], torch_generator(seed, "modulation"))
    start: State = {"theta": theta, "m": m, "adam": {"theta": adam.init(theta), "m": adam.init(m)}}
    if warm_start is None:
        return start
    warm_m = warm_start["m"]
    if warm_m.keys() == m.keys() and all(v.shape == m[k].shape for k, v in warm_m.items()):
        return {k: warm_start[k] for k in start}
    return {"theta": warm_start["theta"], "m": m, "adam": {**start["adam"], "theta": warm_start["adam"]["theta"]}}


def weights_start(network: Network, seed: int, warm_start: State | None) -> State:
    """``seed, step, theta`` before the stream: the warm start's weights, else those ``seed`` draws."""
    theta = network.init(torch_generator(seed, "theta")) if warm_start is None else warm_start["theta"]
    return {"seed": torch.tensor(seed), "step": torch.zeros((), dtype=torch.int64), "theta": theta}
