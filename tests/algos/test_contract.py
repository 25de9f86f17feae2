"""What every method must hold to, for every row of the registry and for the further forms a row can take."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from toys import FORMS, WAYS, build, equal_states, noise_batch, replays, run, separable_batch, start

from frisket.algos.kinds import LEARNERS
from frisket.algos.learner import KeepsTasks, Learner, Prunable, TaskWeights
from frisket.algos.learners.look_ahead.learner import LookAheadConfig
from frisket.algos.networks.powerprop import masked
from frisket.algos.parts.inference import Form, infer_task
from frisket.algos.parts.tree import flatten, map_tensors
from frisket.algos.state_file import load_state, save_state
from frisket.errors import SpecError
from frisket.types import Batch, Metrics, State, Task

every_form = pytest.mark.parametrize("form", list(FORMS))

# Worst mean accuracy allowed over 10 steps of the separable stream, chance being 0.5.
LEARNS = 0.9
SWITCH: dict[str, Any] = {
    "switch_threshold": 0.05
}  # so low that the methods with a detector take outer steps on the toy stream


def with_switches(form: str) -> Learner:
    """The form, its detector (where it has one) made to fire on noise."""
    fields = {f.name for f in dataclasses.fields(LEARNERS[FORMS[form][0]].config)}
    pap = "restart" in fields
    return build(form, **(SWITCH if pap else {}))


def lead(learner: Learner, state: State, positions: range) -> tuple[State, list[Metrics]]:
    """The state after noise batches, and the metrics of each step."""
    reports = []
    for position in positions:
        state, metrics = learner.observe(state, noise_batch(position))
        reports.append(metrics)
    return state, reports


@every_form
def test_same_seed_same_bits(form: str) -> None:
    a, b = with_switches(form), with_switches(form)
    end_a, metrics_a = lead(a, a.init(3, start(form, 3)), range(4))
    end_b, metrics_b = lead(b, b.init(3, start(form, 3)), range(4))
    assert equal_states(end_a, end_b)
    assert str(metrics_a) == str(metrics_b)  # text, because NaN differs from itself


@every_form
def test_another_seed_gives_other_weights(form: str) -> None:
    learner = with_switches(form)
    one, other = (lead(learner, learner.init(seed), range(3))[0] for seed in (1, 2))
    x = noise_batch(9).x
    assert not torch.equal(answer(learner, one, x), answer(learner, other, x))


def answer(learner: Learner, state: State, x: torch.Tensor) -> torch.Tensor:
    logits = learner.predict(state, x)
    assert logits is not None
    return logits


@every_form
@pytest.mark.parametrize("stop", [1, 4])
def test_stop_save_load_go_on_equals_never_stopped(form: str, stop: int, tmp_path: Path) -> None:
    through = with_switches(form)
    whole, metrics = lead(through, through.init(0, start(form, 0)), range(6))

    first = with_switches(form)
    state, before = lead(first, first.init(0, start(form, 0)), range(stop))
    save_state(tmp_path / "state.safetensors", state, {})
    again = with_switches(form)
    state, _ = load_state(tmp_path / "state.safetensors")
    resumed, after = lead(again, state, range(stop, 6))

    assert equal_states(whole, resumed)
    assert str(metrics) == str(before + after)
    x = noise_batch(20).x
    assert torch.equal(answer(through, whole, x), answer(again, resumed, x))


@every_form
def test_predicting_changes_nothing(form: str) -> None:
    learner = with_switches(form)
    state, _ = lead(learner, learner.init(0), range(2))
    before = map_tensors(torch.clone, state)
    first = answer(learner, state, noise_batch(5).x)
    assert torch.equal(first, answer(learner, state, noise_batch(5).x))
    assert equal_states(before, state)


@every_form
def test_learns_a_trivial_stream(form: str) -> None:
    """30 steps of one separable task, then judged on the next 10, each before its labels; a pre-trained method gets its
    quick pre-training."""
    learner = build(form, channels=4)
    state = run(learner, learner.init(0, start(form, 0, channels=4)), range(30))
    accuracies = []
    for position in range(30, 40):
        batch = separable_batch(position)
        accuracies.append(float((answer(learner, state, batch.x).argmax(-1) == batch.y).double().mean()))
        state, _ = learner.observe(state, batch)
    assert sum(accuracies) / len(accuracies) >= LEARNS


@every_form
def test_first_answer_comes_after_the_first_batch(form: str) -> None:
    """As released no OSAKA method answers at t = 0; Algorithm 2 as printed does, from theta, and so does the replay
    family."""
    at_once = replays(form) or form == "sparse-cmaml/same_step"
    learner = with_switches(form)
    state = learner.init(0, start(form, 0))
    assert (learner.predict(state, noise_batch(0).x) is None) == (not at_once)
    state, metrics = learner.observe(state, noise_batch(0))
    assert learner.predict(state, noise_batch(1).x) is not None
    assert (metrics == {}) == (not at_once)


@every_form
def test_declared_samples(form: str) -> None:
    learner = with_switches(form)
    state, _ = lead(learner, learner.init(0), range(2))
    batch = noise_batch(2)
    samples = learner.capabilities.samples
    expected = (len(batch.y), WAYS) if samples == 1 else (samples, len(batch.y), WAYS)
    assert tuple(answer(learner, state, batch.x).shape) == expected


@every_form
def test_declared_masks(form: str) -> None:
    learner = with_switches(form)
    state, _ = lead(learner, learner.init(0), range(2))
    masks = learner.masks(state)
    assert bool(len(masks)) == learner.capabilities.masks
    if masks:
        masks.check_fits(state["theta"])
        assert list(masks) == sorted(masks, key=list(state.get("phi", state["theta"])).index)


@every_form
def test_declared_replay(form: str) -> None:
    """A method that declares no replay holds no image of the past anywhere in its state; one that does, does."""
    learner = with_switches(form)
    batch = noise_batch(0)
    state, _ = learner.observe(learner.init(0), batch)
    sample = batch.x.shape[1:]
    images = [x for v in flatten(state).values() if v.shape[-3:] == sample for x in v.reshape(-1, *sample)]
    assert any(torch.equal(image, seen) for image in images for seen in batch.x) == learner.capabilities.replay


@every_form
def test_declared_meta_learning(form: str) -> None:
    """What inner loops restart from (theta, m, mu) changes exactly where a method says that it meta-learns; methods
    without an inner loop have nothing that is meta."""
    learner = with_switches(form)
    state = learner.init(0, start(form, 0))
    end, _ = lead(learner, state, range(6))
    looks_ahead = issubclass(LEARNERS[FORMS[form][0]].config, LookAheadConfig)
    names = ("theta", "m", "mu") if "phi" in state or "m" in state or looks_ahead else ()
    meta = {k: v for k, v in flatten(state).items() if k.split("/")[0] in names}
    changed = any(not torch.equal(v, flatten(end)[k]) for k, v in meta.items())
    assert changed == learner.capabilities.meta_learns


@every_form
def test_what_can_be_pruned_is_all_that_answers(form: str) -> None:
    learner = with_switches(form)
    state, _ = lead(learner, learner.init(0), range(4))
    dense = learner.dense(state) if isinstance(learner, Prunable) else None
    if dense is not None:
        x = noise_batch(9).x
        assert torch.equal(answer(learner, state, x), dense.network(dense.parameters, x))


def test_methods_that_answer_from_more_than_their_parameters_are_not_pruned() -> None:
    for form in ("icarl", "independent", "static-sparse"):
        learner = with_switches(form)
        assert isinstance(learner, Prunable)
        assert learner.dense(learner.init(0)) is None


def task_from(start: int) -> Task:
    return Task("noise", tuple(range(WAYS)), start)


@every_form
def test_answers_under_the_weights_it_shows(form: str) -> None:
    learner = with_switches(form)
    if not isinstance(learner, TaskWeights):
        assert not learner.capabilities.generates  # a latent network is judged by its weights
        return
    state, _ = lead(learner, learner.init(0), range(7))
    x, starts = noise_batch(9).x, learner.starts(state)
    assert starts in ([], [0, 3])
    for task in (None, *map(task_from, starts)):
        weights = learner.weights_for(state, task)
        assert not any(v.requires_grad for v in weights.values())
        logits = learner.predict(state, x, task)
        assert logits is not None
        assert torch.equal(logits, learner.computes(weights, x))


@every_form
def test_kept_tasks_answer_as_declared_and_stay_what_they_are(form: str) -> None:
    """Each ended task has its masks, answers under them and nothing else, and keeps every bit while others are
    learned."""
    learner = with_switches(form)
    if not isinstance(learner, KeepsTasks):
        return
    assert learner.capabilities.needs_task
    assert learner.capabilities.ends_tasks
    state, _ = lead(learner, learner.init(0), range(6))
    tasks, x, starts = learner.tasks(state), noise_batch(9).x, learner.starts(state)
    assert len(tasks) == len(starts) == 2
    later, _ = lead(learner, map_tensors(torch.clone, state), range(6, 9))
    for t, start_of in enumerate(starts):
        weights, masks = tasks.weights(t), tasks.store.masks(t)
        assert equal_states(weights, masked(weights, masks))
        assert equal_states(weights, learner.weights_for(state, task_from(start_of)))
        assert equal_states(weights, learner.tasks(later).weights(t))
        assert torch.equal(tasks.answer(t, x), tasks.network(weights, x))
    forms: tuple[Form, ...] = ("one_shot", "binary", "exhaustive")
    assert all(infer_task(tasks, x, how) in (0, 1) for how in forms)


class Unlabelled:
    """A task that complains when it is looked at."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the hidden task was read: {name}")


@every_form
def test_hidden_task_is_read_only_where_declared(form: str) -> None:
    """A method that declares a need of the task refuses to learn without; every other one never looks at it."""
    learner = with_switches(form)
    if learner.capabilities.needs_task:
        with pytest.raises(SpecError, match="task"):
            learner.observe(learner.init(0), noise_batch(0).hide_task())
        return
    told, untold = learner.init(0), learner.init(0)
    for position in range(3):
        batch = noise_batch(position)
        told, _ = learner.observe(told, Batch(batch.x, batch.y, position, Unlabelled()))  # type: ignore[arg-type]
        untold, _ = learner.observe(untold, batch.hide_task())
    assert equal_states(told, untold)


@every_form
def test_metrics_are_floats_and_nan_only_without_an_outer_step(form: str) -> None:
    learner = with_switches(form)
    _, reports = lead(learner, learner.init(0, start(form, 0)), range(6))
    assert all("loss_before" in metrics for metrics in reports[1:])
    for metrics in reports:
        assert all(type(v) is float for v in metrics.values())
        assert [k for k, v in metrics.items() if not math.isfinite(v)] in ([], ["outer_loss"])


@every_form
def test_loss_before_is_that_of_the_answer(form: str) -> None:
    """What predicts at t is what is judged at t: the same fast weights, batch norm and Monte-Carlo samples."""
    learner = with_switches(form)
    state, _ = lead(learner, learner.init(0, start(form, 0)), range(3))
    batch = noise_batch(3)
    logits = answer(learner, state, batch.x).reshape(-1, len(batch.y), WAYS)
    expected = sum(float(F.cross_entropy(sample, batch.y)) for sample in logits) / len(logits)
    _, metrics = learner.observe(state, batch)
    assert metrics["loss_before"] == pytest.approx(expected, rel=1e-5)


@every_form
def test_counts_its_steps(form: str) -> None:
    learner = with_switches(form)
    state, _ = lead(learner, learner.init(7), range(3))
    assert int(state["step"]) == 3
    assert int(state["seed"]) == 7
