"""What every method must hold to: its memory, its determinism, and what it says of itself.

Checks of one `Trial`, in the order in which they are reported; `frisket.algos.contract.declared` has those of what a
method declares beyond learning and answering.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from frisket.algos.contract.declared import DECLARED
from frisket.algos.contract.toys import WAYS, noise_batch
from frisket.algos.contract.trial import Trial, answer
from frisket.algos.kinds import NETWORKS
from frisket.algos.learner import Method
from frisket.algos.networks.kind import NetworkKind
from frisket.algos.parts.tree import SEPARATOR, equal_states, flatten, map_tensors
from frisket.algos.state_file import load_state, save_state
from frisket.configuration import require_configuration
from frisket.errors import SpecError, nearest
from frisket.files import scratch
from frisket.findings import Check, Finding, NotAsked, findings, need, no_global_randomness
from frisket.types import State

MORE_WAYS = 6
"""Labels, where the toys have two: an answer that is too narrow shows."""
LEARNS = 0.9
"""Least mean accuracy over ten steps of the separable stream, chance being a half."""
_CLOSE = 1e-5
"""Relative difference of two losses that are computed in different orders in float32."""


def check(
    method: Method, *, networks: Mapping[str, NetworkKind] = NETWORKS, checks: Sequence[Check[Trial]] | None = None
) -> list[Finding]:
    """What holds of ``method`` and what does not, on the small network it is `Method.tried_on`.

    Args:
        networks: known by name.
        checks: of `METHOD_CHECKS`; None for all.

    Raises:
        SpecError: it is tried on a network that is not known.
    """
    if method.tried_on not in networks:
        raise SpecError("tried_on", method.tried_on, nearest(method.tried_on, networks))
    trial = Trial(method, networks[method.tried_on])
    return list(findings(METHOD_CHECKS if checks is None else checks, trial, trial.file))


def configuration_is_complete(trial: Trial) -> None:
    """The configuration is a frozen, keyword-only dataclass that says what each field means; `quick` has no other."""
    require_configuration(trial.method.config, {**trial.method.quick, **trial.method.eager})


def row_is_complete(trial: Trial) -> None:
    """The row has a name a specification can say, and a summary of one line."""
    name, summary = trial.method.name, trial.method.summary
    need(bool(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)), f"name {name!r}: lower case, digits and single hyphens")
    need(bool(summary.strip()) and "\n" not in summary, f"summary {summary!r}")


def same_seed_same_bits(trial: Trial) -> None:
    """Two learners of one seed that see the same batches have the same state and report the same, to the bit."""
    a, b = trial.learner(), trial.learner()
    end_a, metrics_a = trial.led(a, range(4), a.init(3, trial.start))
    end_b, metrics_b = trial.led(b, range(4), b.init(3, trial.start))
    _need_equal(end_a, end_b, "between two learners of seed 3")
    need(str(metrics_a) == str(metrics_b), f"reported {metrics_a}, then {metrics_b}")  # text: NaN differs from itself


def another_seed_gives_other_weights(trial: Trial) -> None:
    """Everything random comes from the seed: another one gives other answers."""
    learner = trial.learner()
    one, other = (trial.led(learner, range(3), learner.init(seed))[0] for seed in (1, 2))
    x = trial.noise(9).x
    need(not torch.equal(answer(learner, one, x), answer(learner, other, x)), "seeds 1 and 2 answer alike")


def no_global_generator_is_used(trial: Trial) -> None:
    """Neither learning nor answering draws from or seeds a global generator."""
    with no_global_randomness():
        learner = trial.learner()
        state, _ = trial.led(learner, range(4), learner.init(0))
        learner.predict(state, trial.noise(9).x)


def state_is_tensors_by_name(trial: Trial) -> None:
    """The state is a nested dict of tensors without a graph, under names without a slash."""
    learner = trial.learner()
    state = learner.init(0, trial.start)
    for position in range(4):
        for name, value in _leaves(state):
            need(isinstance(value, Tensor), f"{name} is of type {type(value).__name__}; a tensor survives a stop")
            need(not value.requires_grad, f"{name} carries a graph; detach it")
        state, _ = learner.observe(state, trial.noise(position))


def stopped_and_resumed_is_never_stopped(trial: Trial) -> None:
    """Stopping after 1 or 4 of 6 batches, saving, loading and going on ends as never stopping: state, reports and
    answers."""
    through = trial.learner()
    whole, metrics = trial.led(through, range(6), through.init(0, trial.start))
    x = trial.noise(20).x
    for stop in (1, 4):
        first = trial.learner()
        state, before = trial.led(first, range(stop), first.init(0, trial.start))
        again = trial.learner()
        resumed, after = trial.led(again, range(stop, 6), _saved(state))
        _need_equal(whole, resumed, f"after a stop at {stop}")
        need(str(metrics) == str(before + after), f"after a stop at {stop} it reports {after}, not {metrics[stop:]}")
        same = torch.equal(answer(through, whole, x), answer(again, resumed, x))
        need(same, f"after a stop at {stop} it answers differently")


def order_of_the_state_does_not_matter(trial: Trial) -> None:
    """A state whose entries come in another order goes on to the same end."""
    learner = trial.learner()
    state, _ = trial.led(learner, range(3), learner.init(0, trial.start))
    turned = {name: state[name] for name in reversed(_saved(state))}
    straight, otherwise = (trial.led(learner, range(3, 5), one)[0] for one in (map_tensors(torch.clone, state), turned))
    _need_equal(straight, otherwise, "between two orders of one state")


def predicting_changes_nothing(trial: Trial) -> None:
    """Answering twice gives the same bits, and leaves the state and the inputs as they are."""
    learner = trial.learner()
    state, _ = trial.led(learner, range(2))
    before, x = map_tensors(torch.clone, state), trial.noise(5).x
    first = answer(learner, state, x)
    need(torch.equal(first, answer(learner, state, x)), "two answers to one batch differ")
    _need_equal(before, state, "between before and after predict")
    need(torch.equal(x, trial.noise(5).x), "predict changed its inputs")


def learning_leaves_the_batch_alone(trial: Trial) -> None:
    """The batch that is learned from is as before: a stream may give the same memory again."""
    learner = trial.learner()
    state = learner.init(0, trial.start)
    for position in range(4):
        batch, again = trial.noise(position), trial.noise(position)
        state, _ = learner.observe(state, batch)
        need(torch.equal(batch.x, again.x), f"observe changed the inputs of batch {position}")
        need(torch.equal(batch.y, again.y), f"observe changed the labels of batch {position}")


def learns_a_trivial_stream(trial: Trial) -> None:
    """After 30 batches of an easy task the next 10 are answered right, each before its labels are seen: 90 % of them
    or more."""
    if trial.shape[1] < 4:
        raise NotAsked
    learner = trial.learner(eager=False)
    state, right = learner.init(0, trial.start), []
    for position in range(40):
        batch = trial.separable(position)
        if position >= 30:
            right.append(float((answer(learner, state, batch.x).argmax(-1) == batch.y).double().mean()))
        state, _ = learner.observe(state, batch)
    accuracy = sum(right) / len(right)
    need(accuracy >= LEARNS, f"{100 * accuracy:.0f} % right; fields of `quick` may let it learn faster")


def first_answer_comes_when_declared(trial: Trial) -> None:
    """It answers before its first batch, and reports on that batch, exactly if it declares `answers_at_once`; after it,
    always."""
    learner, at_once = trial.learner(), trial.method.answers_at_once
    state = learner.init(0, trial.start)
    silent = learner.predict(state, trial.noise(0).x) is None
    need(silent == (not at_once), f"before its first batch it {'gives no answer' if silent else 'answers'}")
    state, metrics = learner.observe(state, trial.noise(0))
    answer(learner, state, trial.noise(1).x)
    need((metrics == {}) == (not at_once), f"of its first batch it reports {metrics}")


def answers_for_every_label(trial: Trial) -> None:
    """Where there are six labels, an answer has six values for each input."""
    batch = noise_batch(0, ways=MORE_WAYS, shape=trial.shape)
    learner = trial.built(trial.small_network(MORE_WAYS))
    state = learner.init(0)
    if not trial.method.answers_at_once:
        state, _ = learner.observe(state, batch)
    shape, wanted = tuple(answer(learner, state, batch.x).shape), (len(batch.y), MORE_WAYS)
    need(shape[-2:] == wanted, f"an answer of shape {shape} for {len(batch.y)} inputs and {MORE_WAYS} labels")


def reports_finite_numbers(trial: Trial) -> None:
    """Every step reports `loss_before` and Python floats that are finite; `outer_loss` may be NaN in a step without
    one."""
    learner = trial.learner()
    _, reports = trial.led(learner, range(6), learner.init(0, trial.start))
    for position, metrics in enumerate(reports):
        need(position == 0 or "loss_before" in metrics, f"no loss_before at step {position}: {metrics}")
        odd = {k: type(v).__name__ for k, v in metrics.items() if type(v) is not float}
        need(not odd, f"no floats: {odd}")
        endless = [k for k, v in metrics.items() if not math.isfinite(v) and k != "outer_loss"]
        need(not endless, f"not finite at step {position}: {', '.join(endless)}")


def loss_before_is_that_of_the_answer(trial: Trial) -> None:
    """The `loss_before` a step reports is the cross-entropy of what was answered to its batch before; one that acts
    has no labels to be answered."""
    if trial.acts:
        raise NotAsked
    learner = trial.learner()
    state, _ = trial.led(learner, range(3), learner.init(0, trial.start))
    batch = trial.noise(3)
    logits = answer(learner, state, batch.x).reshape(-1, len(batch.y), WAYS)
    expected = sum(float(F.cross_entropy(sample, batch.y)) for sample in logits) / len(logits)
    _, metrics = learner.observe(state, batch)
    seen = metrics["loss_before"]
    need(math.isclose(seen, expected, rel_tol=_CLOSE), f"{seen:.6g} is reported, and the answer's is {expected:.6g}")


def counts_its_steps(trial: Trial) -> None:
    """The state says its `seed`, and in `step` how many batches were learned from."""
    learner = trial.learner()
    state, _ = trial.led(learner, range(3), learner.init(7))
    found = {name: int(state[name]) if name in state else None for name in ("step", "seed")}
    need(found == {"step": 3, "seed": 7}, f"{found} after 3 batches of seed 7")


METHOD_CHECKS: tuple[Check[Trial], ...] = (
    row_is_complete, configuration_is_complete, same_seed_same_bits, another_seed_gives_other_weights,
    no_global_generator_is_used, state_is_tensors_by_name, stopped_and_resumed_is_never_stopped,
    order_of_the_state_does_not_matter, predicting_changes_nothing, learning_leaves_the_batch_alone,
    learns_a_trivial_stream, first_answer_comes_when_declared, answers_for_every_label, reports_finite_numbers,
    loss_before_is_that_of_the_answer, counts_its_steps, *DECLARED,
)  # fmt: skip
"""All checks of a method."""


def _saved(state: State) -> State:
    """``state`` through a file."""
    with scratch("check") as folder:
        file = folder / "state.safetensors"
        save_state(file, state, {})
        return load_state(file)[0]


def _leaves(state: Mapping[Any, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in state.items():
        need(isinstance(key, str) and SEPARATOR not in key, f"the key {prefix}{key!r}")
        found += _leaves(value, f"{prefix}{key}{SEPARATOR}") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found


def _need_equal(a: State, b: State, when: str) -> None:
    if equal_states(a, b):
        return
    left, right = flatten(a), flatten(b)
    there = [k for k in left if k in right and not torch.equal(left[k], right[k])]
    names = there or sorted(left.keys() ^ right.keys()) or ["a dtype"]
    need(False, f"{', '.join(names[:4])} {'differ' if len(names) > 1 else 'differs'} {when}")
