"""Small networks and streams shared by the tests of algos/."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from frisket.algos.contract.toys import SHAPE, SIZE, WAYS, separable_batch
from frisket.algos.contract.trial import Trial, quick_pretraining
from frisket.algos.kinds import LEARNERS, NETWORKS
from frisket.algos.learner import Learner
from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.algos.networks.mlp import MLP, MLPConfig
from frisket.algos.networks.network import Network
from frisket.types import Batch, Params, State


def small_network(channels: int = 2, ways: int = WAYS) -> Conv4:
    """Conv4 for 1 x 16 x 16 images."""
    return Conv4(Conv4Config(channels=channels), in_channels=1, size=SIZE, ways=ways)


def small_mlp(width: int = 2, ways: int = WAYS) -> MLP:
    """The replay family's network for 1 x 16 x 16 images, ``8 width`` hidden units in each of two layers."""
    return MLP(MLPConfig(hidden=(8 * width, 8 * width)), in_channels=1, size=SIZE, ways=ways)


def double(params: Params) -> Params:
    """The same weights in float64."""
    return {k: v.double() for k, v in params.items()}


# Further forms of a method that its registry row can take; the contract holds for them too.
FORMS: dict[str, tuple[str, dict[str, object]]] = {
    **{kind: (kind, {}) for kind in LEARNERS},
    "sparse-cmaml/same_step": (
        "sparse-cmaml",
        {"restart": "same_step", "keep_detect_batch": True, "order": 2, "inner_steps": 1},
    ),
    "sparse-relu-cmaml/mask_outer": ("sparse-relu-cmaml", {"mask_outer": True}),
    "cmaml-no-pap/first_order": ("cmaml-no-pap", {"order": 1}),
    "metabgd/second_order": ("metabgd", {"order": 2, "inner_steps": 1}),
    "metabgd/intended": ("metabgd", {"as_released": False}),
    "metabgd/intended_second_order": ("metabgd", {"as_released": False, "order": 2, "samples": 2, "inner_steps": 1}),
    "la-maml/paper": ("la-maml", {"meta_loss": "sum", "reservoir": "textbook"}),
    "la-maml/raw_clamped_last": ("la-maml", {"inner_rate": "raw", "inner_clamp": 0.1, "meta_loss": "last"}),
    "la-maml/uneven_chunks": ("la-maml", {"inner_steps": 4, "memory_slots": 10}),
    "la-maml/second_order": (
        "la-maml",
        {"inner_rate": "raw", "inner_clamp": 2.0, "inner_steps": 3, "second_order": True, "alignment": True},
    ),
    "replay-metabgd/code": ("replay-metabgd", {"alpha_bayes": True, "alignment": True}),
    "replay-metabgd/first_order": ("replay-metabgd", {"second_order": False, "inner_clamp": None, "samples": 1}),
    "sparse-la-maml/half": ("sparse-la-maml", {"ste_scale": 0.5}),
    "bmp/soft": (
        "bmp",
        {"order": 1, "straight": "sigmoid", "rate_form": "softplus", "statistics": "abs", "features": "none"},
    ),
    "mmsup/fixed": ("mmsup", {"sparsity": (0.1, 0.3, 0.5, 0.7, 0.0), "k_means_kept": True, "inner_checkpoint": 2}),
    "mmsup/eq7": (
        "mmsup",
        {
            "outer": "eq7",
            "order": 1,
            "alpha": 0.1,
            "features": "pooled",
            "score": "weight_times_gradient",
            "spread": "threshold",
        },
    ),
    "er/batch": ("er", {"samples_per_step": 10, "glances": 5, "clip_norm": 2.0}),
    "er/alignment": ("er", {"samples_per_step": 2, "glances": 2, "alignment": True}),
    "gem/margin": ("gem", {"margin": 0.1, "ridge": 0.001, "samples_per_step": 2}),
    "gem/clipped": ("gem", {"samples_per_step": 10, "glances": 2, "clip_norm": 0.5}),
    "icarl/all_candidates": ("icarl", {"task_steps": 2, "glances": 2, "skip_last_piece": False, "samples_per_step": 3}),
    "packnet/retrained": (
        "packnet",
        {"optimiser": "momentum", "biases": "per_task", "retrain_steps": 4, "retrain_lr": 0.003, "weight_decay": 0.01},
    ),
    "packnet/redrawn": ("packnet", {"refill": "redraw", "head": "masked", "biases": "none", "tasks": 3}),
    "efficient-packnet/layer": ("efficient-packnet", {"scope": "layer", "biases": "per_task", "weight_decay": 0.01}),
    "efficient-packnet/binary": (
        "efficient-packnet",
        {
            "search": "binary",
            "evaluations": 2,
            "score": "log_likelihood",
            "head": "per_task",
            "biases": "none",
            "retrain_steps": 2,
        },
    ),
    "sequential/momentum": ("sequential", {"optimiser": "momentum", "lr": 0.02, "weight_decay": 0.001}),
    "ewc-fisher/afresh": ("ewc-fisher", {"fresh_optimiser": True, "fisher_batches": 2}),
    "si/sgd": ("si", {"optimiser": "sgd", "lr": 0.1, "strength": 0.1, "damping": 0.1, "floor": 0.0}),
    "vcl/momentum": ("vcl", {"optimiser": "momentum", "lr": 0.02, "samples": 1, "log_sigma": -4.0}),
    "top-kast/half": ("top-kast", {"backward_kept": 0.5, "optimiser": "momentum", "scope": "erk"}),
    "static-sparse/scheduled": (
        "static-sparse",
        {
            "optimiser": "momentum",
            "warmup": 3,
            "drops": (8,),
            "drop_factor": 0.5,
            "cosine": 100,
            "label_smoothing": 0.1,
            "micro_batches": 2,
            "scope": "uniform",
            "kept": 0.5,
        },
    ),
    "a-gem/code": ("a-gem", {"reference": "code"}),
    "metacog/intended": ("metacog", {"as_released": False, "l1": 0.001}),
    "metacog/intended_second_order": ("metacog", {"as_released": False, "order": 2, "samples": 2, "inner_steps": 1}),
}


# What a form declares otherwise than its row.
DECLARED: dict[str, dict[str, Any]] = {
    "sparse-cmaml/same_step": {"answers_at_once": True},  # Algorithm 2 as printed answers from theta
    "metacog/intended": {"meta": ("mu",)},
    "metacog/intended_second_order": {"meta": ("mu",)},
}


@functools.cache
def trial(form: str) -> Trial:
    """A form of `FORMS` as the contract tries it."""
    kind, fields = FORMS[form]
    row = LEARNERS[kind]
    return Trial(replace(row, quick={**row.quick, **fields}, **DECLARED.get(form, {})), NETWORKS[row.tried_on])


def network_of(form: str, channels: int) -> Network:
    """The small network a form is tried on."""
    return small_mlp(channels) if LEARNERS[FORMS[form][0]].tried_on == "mlp" else small_network(channels)


def build(form: str, channels: int = 2, **changes: Any) -> Learner:
    """The learner of a row of `FORMS`, quick, on the small network."""
    kind, fields = FORMS[form]
    entry = LEARNERS[kind]
    return entry.build(entry.config(**{**entry.quick, **fields, **changes}), network_of(form, channels))


def run(learner: Learner, state: State, positions: range, batch: Callable[[int], Batch] = separable_batch) -> State:
    """``state`` after the stream's ``positions``."""
    for position in positions:
        state, _ = learner.observe(state, batch(position))
    return state


def largest_difference(a: Params, b: Params) -> float:
    assert a.keys() == b.keys()
    return max(float((a[k] - b[k]).abs().max()) for k in a)


@functools.cache
def warm(adapt: Literal["all", "head"], channels: int) -> State:
    """A quick pre-training for the methods that start from one."""
    return quick_pretraining(small_network(channels), SHAPE, adapt)


def start(form: str, seed: int, channels: int = 2) -> State | None:
    """The warm start a form has in its specifications, None for a fresh start."""
    adapt = LEARNERS[FORMS[form][0]].pretrained
    return None if adapt is None else warm(adapt, channels)
