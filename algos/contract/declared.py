"""What a method declares is true: checks of its `Capabilities`, of its row, and of what it offers beyond learning and
answering (`Deciding`, `TaskWeights`, `KeepsTasks`, `Prunable`, packs)."""

from __future__ import annotations

from typing import Any, get_args

import torch

from frisket.algos.contract.toys import WAYS, line_batch, noise_task
from frisket.algos.contract.trial import Trial, answer
from frisket.algos.learner import Deciding, KeepsTasks, Prunable, TaskWeights
from frisket.algos.networks.powerprop import masked
from frisket.algos.pack import packed_fields
from frisket.algos.parts.inference import Form, infer_task
from frisket.algos.parts.tree import equal_states, flatten, map_tensors
from frisket.errors import SpecError
from frisket.findings import Broken, Check, NotAsked, need
from frisket.types import Batch, Metrics, State

_OTHER = 0.9
"""What the second replica has of the packed numbers of the first."""
_ROUNDED = 1e-6
"""Difference in float64 between a replica alone and in a pack that rounding explains."""


def reports_what_it_logs(trial: Trial) -> None:
    """What it reports beside `loss_before` is in the row's `logged`, with its meaning."""
    learner = trial.learner()
    _, reports = trial.led(learner, range(4), learner.init(0, trial.start))
    told = {name for metrics in reports for name in metrics} - {"loss_before"} - set(trial.method.logged)
    need(not told, f"{', '.join(sorted(told))}: reported, and not in `logged`")


def samples_are_as_declared(trial: Trial) -> None:
    """An answer is [N, ways], or [S, N, ways] where it declares S samples of the weights."""
    learner = trial.learner()
    state, _ = trial.led(learner, range(2))
    batch, samples = trial.noise(2), learner.capabilities.samples
    expected = (len(batch.y), WAYS) if samples == 1 else (samples, len(batch.y), WAYS)
    shape = tuple(answer(learner, state, batch.x).shape)
    need(shape == expected, f"an answer of shape {shape}, not {expected}")


def masks_are_as_declared(trial: Trial) -> None:
    """It has masks exactly if it declares them; they fit its weights and come in their order."""
    learner = trial.learner()
    state, _ = trial.led(learner, range(2))
    masks = learner.masks(state)
    need(bool(len(masks)) == learner.capabilities.masks, f"{len(masks)} masks; declared: {learner.capabilities.masks}")
    if masks:
        masks.check_fits(state["theta"])
        order = list(state.get("phi", state["theta"]))
        need(list(masks) == sorted(masks, key=order.index), f"masks in the order {', '.join(masks)}")


def replay_is_as_declared(trial: Trial) -> None:
    """Its state holds an input of the past, which may have more behind it, exactly if it declares replay."""
    learner = trial.learner()
    batch = trial.noise(0)
    state, _ = learner.observe(learner.init(0), batch)
    first, *one = batch.x.shape[1:]
    images = [v for v in flatten(state).values() if v.dim() > 3 and v.shape[-3] >= first and v.shape[-2:] == (*one,)]
    kept = [x for v in images for x in v.flatten(0, -4)[:, :first]]
    holds = any(torch.equal(image, seen) for image in kept for seen in batch.x)
    said = learner.capabilities.replay
    need(holds == said, f"inputs in the state: {holds}; declared: {said}")


def meta_learning_is_as_declared(trial: Trial) -> None:
    """What the row names as `meta` changes during the stream exactly if it declares that it meta-learns."""
    learner, names = trial.learner(), trial.method.meta
    declared = learner.capabilities.meta_learns
    if not names and not declared:
        raise NotAsked
    need(bool(names), "declares meta_learns, and its row names nothing under `meta`")
    start = learner.init(0, trial.start)
    missing = [name for name in names if name not in start]
    need(not missing, f"{', '.join(missing)}: named as meta, and not in the state")
    before = map_tensors(torch.clone, {name: start[name] for name in names})
    end, _ = trial.led(learner, range(6), start)
    changed = not equal_states(before, {name: end[name] for name in names})
    told = "declared" if declared else "not declared"
    need(changed == declared, f"{', '.join(names)} {'changes' if changed else 'stays'}, and meta_learns is {told}")


class _Unlabelled:
    """A task that complains when it is looked at."""

    def __getattr__(self, name: str) -> object:
        raise Broken(f"the hidden task was read (its {name}); declare needs_task, or leave it alone")


def task_is_read_only_where_declared(trial: Trial) -> None:
    """A method that declares a need of the task refuses to learn without, by a SpecError that says so; every other one
    never looks at it."""
    learner = trial.learner()
    if learner.capabilities.needs_task:
        try:
            learner.observe(learner.init(0), trial.noise(0).hide_task())
        except SpecError as error:
            need("task" in str(error), f"the refusal does not speak of the task: {error}")
            return
        raise Broken("it learned from a batch whose task is hidden")
    told, untold = learner.init(0), learner.init(0)
    for position in range(3):
        batch = trial.noise(position)
        told, _ = learner.observe(told, Batch(batch.x, batch.y, position, _Unlabelled()))  # type: ignore[arg-type]
        untold, _ = learner.observe(untold, batch.hide_task())
    need(equal_states(told, untold), "it learns otherwise where the task is shown")


def packs_are_their_replicas(trial: Trial) -> None:
    """A pack of two that differ in seed and in the `packed` fields learns what they learn alone, but for rounding; a
    configuration without such fields has no packs, and says so."""
    config, first = trial.config(), trial.learner()
    fields = packed_fields(config)
    if not fields:
        try:
            first.pack([trial.learner()])
        except SpecError:
            return
        raise Broken("it makes packs, and its configuration names no `packed` fields")
    others: dict[str, Any] = {name: _OTHER * float(getattr(config, name)) for name in fields}
    learners = [first, trial.learner(**others)]
    alone = [_double(one.init(10 + i, trial.start)) for i, one in enumerate(learners)]
    pack = first.pack(learners[1:])
    together = pack.join([map_tensors(torch.clone, state) for state in alone])
    for position in range(4):
        batches = [_double_batch(trial, position, i) for i in range(len(learners))]
        together, metrics = pack.observe(together, batches)
        for i, (one, batch) in enumerate(zip(learners, batches, strict=True)):
            alone[i], reported = one.observe(alone[i], batch)
            need(_close(metrics[i], reported), f"at step {position} replica {i} reports {metrics[i]}, alone {reported}")
    for i, state in enumerate(alone):
        mine, own = flatten(pack.replica(together, i)), flatten(state)
        need(mine.keys() == own.keys(), f"replica {i} has {', '.join(sorted(mine.keys() ^ own.keys()))} of its own")
        apart = [k for k in own if not torch.allclose(mine[k].double(), own[k].double(), rtol=_ROUNDED, atol=_ROUNDED)]
        need(not apart, f"replica {i} differs from the learner alone: {', '.join(apart[:4])}")


def what_can_be_pruned_is_all_that_answers(trial: Trial) -> None:
    """A method that can be pruned answers with the network and the weights it shows, to the bit."""
    learner = trial.learner()
    if not isinstance(learner, Prunable):
        raise NotAsked
    state, _ = trial.led(learner, range(4))
    dense, x = learner.dense(state), trial.noise(9).x
    if dense is None:
        raise NotAsked
    need(torch.equal(answer(learner, state, x), dense.network(dense.parameters, x)), "it answers otherwise")


def answers_under_the_weights_it_shows(trial: Trial) -> None:
    """With the weights it shows for a task, or for none, the network gives its answers, to the bit."""
    learner = trial.learner()
    if not isinstance(learner, TaskWeights):
        need(
            not learner.capabilities.generates, "declares generates, and is no TaskWeights: what would it be judged by"
        )
        raise NotAsked
    state, _ = trial.led(learner, range(7))
    x, starts = trial.noise(9).x, learner.starts(state)
    need(
        starts in ([], [0, 3]), f"ended tasks that began at {starts}; after 7 batches in threes it is 0 and 3, or none"
    )
    for task in (None, *map(noise_task, starts)):
        weights = learner.weights_for(state, task)
        need(not any(v.requires_grad for v in weights.values()), "the weights carry a graph")
        logits = learner.predict(state, x, task)
        shown = learner.computes(weights, x)
        need(logits is not None and torch.equal(logits, shown), f"it answers otherwise (task {task})")


def kept_tasks_stay_what_they_are(trial: Trial) -> None:
    """Each ended task that is kept has its masks, answers under them and nothing else, and keeps every bit while
    others are learned."""
    learner = trial.learner()
    if not isinstance(learner, KeepsTasks):
        raise NotAsked
    need(learner.capabilities.needs_task and learner.capabilities.ends_tasks, "must declare needs_task and ends_tasks")
    state, _ = trial.led(learner, range(6))
    tasks, x, starts = learner.tasks(state), trial.noise(9).x, learner.starts(state)
    need(len(tasks) == len(starts) == 2, f"{len(tasks)} tasks kept, {len(starts)} starts; two have ended")
    later, _ = trial.led(learner, range(6, 9), map_tensors(torch.clone, state))
    for t, start in enumerate(starts):
        weights, masks = tasks.weights(t), tasks.store.masks(t)
        need(equal_states(weights, masked(weights, masks)), f"task {t} has weights outside its masks")
        need(equal_states(weights, learner.weights_for(state, noise_task(start))), f"weights_for task {t} are others")
        need(equal_states(weights, learner.tasks(later).weights(t)), f"task {t} has changed with the third")
        need(torch.equal(tasks.answer(t, x), tasks.network(weights, x)), f"task {t} answers otherwise")
    told = [infer_task(tasks, x, how) for how in get_args(Form)]
    need(all(t in (0, 1) for t in told), f"inferred tasks {told}")


def decides_as_it_adapts(trial: Trial) -> None:
    """A method that decides for a task what adapts says what it did: the masks it adapts with, shares from 0 to 1 of
    each layer, finite rates; to be told moves nothing."""
    learner = trial.learner()
    if not isinstance(learner, Deciding):
        raise NotAsked
    state, _ = trial.led(learner, range(2))
    before, batch = map_tensors(torch.clone, state), trial.noise(9)
    found = learner.decided(state, batch)
    need(equal_states(state, before), "the state has changed")
    if found is None:
        raise NotAsked
    need(found.masks == learner.masks(learner.adapted(state, batch)), "it adapts under other masks than it says")
    shares, rate, times = found.open, found.rate, len(found.open)
    need(
        tuple(shares.shape) == (times, len(found.layers)), f"{tuple(shares.shape)} shares of {len(found.layers)} layers"
    )
    need(bool(((shares >= 0) & (shares <= 1)).all()), "a share of a layer is outside [0, 1]")
    fine = rate is None or (tuple(rate.shape) == (times,) and bool(rate.isfinite().all()))
    need(fine, f"rates {rate} of {times} inner steps")


DECLARED: tuple[Check[Trial], ...] = (
    reports_what_it_logs, samples_are_as_declared, masks_are_as_declared, replay_is_as_declared,
    meta_learning_is_as_declared, task_is_read_only_where_declared, packs_are_their_replicas,
    what_can_be_pruned_is_all_that_answers, answers_under_the_weights_it_shows, kept_tasks_stay_what_they_are,
    decides_as_it_adapts,
)  # fmt: skip
"""All checks of this file."""


def _double(state: State) -> State:
    return map_tensors(lambda t: t.double() if t.dtype == torch.float32 else t.clone(), state)


def _double_batch(trial: Trial, position: int, replica: int) -> Batch:
    """What a replica learns from at ``position``, of a task that all have, in float64."""
    if trial.acts:
        return line_batch(position, trial.shape, of=replica, dtype=torch.float64)
    batch, x = trial.noise(position), trial.noise(2 * position + replica).x
    return Batch(x.double(), batch.y, batch.position, batch.task, batch.epoch)


def _close(a: Metrics, b: Metrics) -> bool:
    pairs = [(torch.tensor(a[k]), torch.tensor(b[k])) for k in a.keys() & b.keys()]
    return a.keys() == b.keys() and all(
        torch.allclose(x, y, rtol=_ROUNDED, atol=_ROUNDED, equal_nan=True) for x, y in pairs
    )
