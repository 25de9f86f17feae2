"""MAML's outer step by frisket and written without it: what `benchmarks.fewshot_step` compares.

Each way is made once and called for an outer step: adapt to every task, add up the gradients of the queries' losses,
one step of Adam. The network of the others is Conv4 as the papers draw it. learn2learn and TorchOpt are taken from the
folder that ``benchmarks/others.sh`` makes, and are left out where it is not there.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frisket.algos.learners.fewshot.learner import EpisodicLearner
from frisket.algos.learners.fewshot.maml import MAMLConfig
from frisket.algos.networks.conv4 import Conv4, Conv4Config
from frisket.rng import torch_generator
from frisket.types import Batch, Data
from frisket.types import Task as DomainTask

OTHERS = Path("build/others")
ALPHA, OUTER_LR = 0.01, 0.001

Task = tuple[Data, Data]
Way = Callable[[Sequence[Task]], float]
"""One outer step; returns the sum of the queries' losses."""


def conv4(channels: int, in_channels: int, size: int) -> nn.Module:
    """Conv4 for 5 classes, batch norm by the batch alone."""
    blocks: list[nn.Module] = []
    for i in range(4):
        blocks += [
            nn.Conv2d(channels if i else in_channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels, track_running_stats=False),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(channels * (size // 16) ** 2, 5))


def with_first_weights(module: nn.Module, channels: int, in_channels: int, size: int) -> nn.Module:
    """``module`` with the weights frisket's own begins with."""
    network = Conv4(Conv4Config(channels=channels), in_channels=in_channels, size=size, ways=5)
    with torch.no_grad():
        for parameter, value in zip(
            module.parameters(), network.init(torch_generator(0, "theta")).values(), strict=True
        ):
            parameter.copy_(value)
    return module


def plain(module: nn.Module, order: int, steps: int) -> Way:
    """A Python loop over tasks on `torch.func.functional_call` and `torch.autograd.grad`."""
    adam = torch.optim.Adam(module.parameters(), OUTER_LR)
    theta: dict[str, Tensor] = dict(module.named_parameters())

    def loss(phi: dict[str, Tensor], data: Data) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(module, phi, (data.x,)), data.y)

    def judged(support: Data, query: Data) -> Tensor:
        phi = theta
        for _ in range(steps):
            grads = torch.autograd.grad(loss(phi, support), list(phi.values()), create_graph=order == 2)
            phi = {name: p - ALPHA * g for (name, p), g in zip(phi.items(), grads, strict=True)}
        return loss(phi, query)

    return _outer_step(adam, judged)


def learn2learn(module: nn.Module, order: int, steps: int) -> Way:
    """learn2learn's MAML: a clone for each task, which adapts."""
    maml = _other("learn2learn.algorithms.maml").MAML(module, lr=ALPHA, first_order=order == 1)
    adam = torch.optim.Adam(maml.parameters(), OUTER_LR)

    def judged(support: Data, query: Data) -> Tensor:
        learner = maml.clone()
        for _ in range(steps):
            learner.adapt(F.cross_entropy(learner(support.x), support.y))
        return F.cross_entropy(learner(query.x), query.y)

    return _outer_step(adam, judged)


def torchopt(module: nn.Module, order: int, steps: int) -> Way:
    """TorchOpt's differentiable SGD on the module for second order; it has no first-order form of that, which is
    written with its functional SGD."""
    library = _other("torchopt")
    adam = torch.optim.Adam(module.parameters(), OUTER_LR)
    theta: dict[str, Tensor] = dict(module.named_parameters())
    sgd = library.sgd(lr=ALPHA)

    def first(support: Data, query: Data) -> Tensor:
        phi, state = theta, sgd.init(theta)
        for _ in range(steps):
            value = F.cross_entropy(torch.func.functional_call(module, phi, (support.x,)), support.y)
            grads = dict(zip(phi, torch.autograd.grad(value, list(phi.values())), strict=True))
            updates, state = sgd.update(grads, state, params=phi, inplace=False)
            phi = library.apply_updates(phi, updates, inplace=False)
        return F.cross_entropy(torch.func.functional_call(module, phi, (query.x,)), query.y)

    def second(support: Data, query: Data) -> Tensor:
        inner = library.MetaSGD(module, lr=ALPHA)
        start = library.extract_state_dict(module, by="reference", detach_buffers=True)
        for _ in range(steps):
            inner.step(F.cross_entropy(module(support.x), support.y))
        value = F.cross_entropy(module(query.x), query.y)
        library.recover_state_dict(module, start)
        return value

    return _outer_step(adam, first if order == 1 else second)


def frisket(
    channels: int, in_channels: int, size: int, order: Literal[1, 2], steps: int, precision: Literal["fp32", "bf16"]
) -> Way:
    """The learner itself, from the weights that seed 0 draws."""
    config = Conv4Config(channels=channels, adapt_norm=True, precision=precision)
    network = Conv4(config, in_channels=in_channels, size=size, ways=5)
    learner = EpisodicLearner(MAMLConfig(order=order, inner_steps=steps, alpha=ALPHA, outer_lr=OUTER_LR), network)
    state = learner.init(0)

    def step(tasks: Sequence[Task]) -> float:
        nonlocal state
        state, metrics = learner.apply(state, learner.gradients(state, [episode(*sides) for sides in tasks]))
        return len(tasks) * metrics["query_loss"]

    return step


def episode(support: Data, query: Data, task: DomainTask | None = None) -> Batch:
    """One batch of both."""
    x, y = (torch.cat(both) for both in zip(support, query, strict=True))
    return Batch(x, y, 0, task, support=len(support.y))


def _outer_step(adam: torch.optim.Adam, judged: Callable[[Data, Data], Tensor]) -> Way:
    """Adam on the sum of ``judged(support, query)`` over tasks, one graph at a time."""

    def step(tasks: Sequence[Task]) -> float:
        adam.zero_grad()
        losses = 0.0
        for support, query in tasks:
            loss = judged(support, query)
            loss.backward()
            losses += float(loss.detach())
        adam.step()
        return losses

    return step


OTHER_WAYS: dict[str, Callable[[nn.Module, int, int], Way]] = {
    "plain loop": plain,
    "learn2learn": learn2learn,
    "TorchOpt": torchopt,
}


def there(name: str) -> bool:
    """Whether the library of a way can be imported."""
    try:
        _other({"learn2learn": "learn2learn.algorithms.maml", "TorchOpt": "torchopt"}.get(name, "torch"))
    except ImportError:
        return False
    return True


def _other(module: str) -> Any:
    if OTHERS.is_dir() and str(OTHERS) not in sys.path:
        sys.path.append(str(OTHERS))
    return importlib.import_module(module)
