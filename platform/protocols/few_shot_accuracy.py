"""Few-shot accuracy at the best validation point (maml_family spec, section 6).

Every ``every`` outer steps, and after the last, the learner adapts to validation episodes and answers their queries.
Where the mean accuracy is better than ever before, its meta-parameters are kept, and test episodes are judged with
them: nothing is chosen by what the test says. The result is the test accuracy of the best point, with an interval over
episodes; the model is that point's. Of several domains as many episodes of each are judged, each has its accuracy, and
what counts is the mean over domains.

Where the method decides task by task what adapts, what it decides for the test episodes at the best point is gathered
once the stream has ended (`frisket.platform.protocols.decisions`).

With ``snapshots`` above 1 the best so many points are kept, each adapts to a test episode by itself, and their
probabilities are averaged (section 8, "Snapshot ensemble").
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frisket.algos.learner import Deciding, Episodic, Learner
from frisket.algos.masks.store import MaskStore
from frisket.algos.parts.tree import to_device
from frisket.envs.episode_stream import EpisodeStream
from frisket.envs.stream import Stream
from frisket.errors import SpecError, require
from frisket.platform.protocols.decisions import METRICS, gather, recorded
from frisket.platform.protocols.judged_episodes import episodes, support_and_queries
from frisket.platform.protocols.protocol import Answers, Protocol, ProtocolKind, Scored
from frisket.types import Batch, Metrics, Split, State

_TWO_SIDED = 1.96  # of a normal, 95 %


@dataclass(frozen=True, kw_only=True)
class FewShotAccuracyConfig:
    """Attributes:
    every: outer steps from one validation to the next.
    first: outer steps before the first one.
    validation_episodes: judged at every validation; of several domains in equal parts, rounded up.
    test_episodes: judged where validation is better than ever before; of several domains so many of each.
    snapshots: best points that are kept and answer together.
    """

    every: int = 500
    first: int = 0
    validation_episodes: int = 300
    test_episodes: int = 300
    snapshots: int = 1

    def __post_init__(self) -> None:
        for name in ("every", "validation_episodes", "test_episodes", "snapshots"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.first >= 0, "first", self.first, "at least 0")


class FewShotAccuracy(Protocol):
    """Accuracy on the queries of test episodes.

    Scores: ``steps``, outer steps so far; ``validation``, ``[domains]`` accuracies of the last validation, and
    ``test``, ``[episodes]`` accuracies at the best one, both empty before the first; ``ensemble``, as ``test``, of all
    snapshots together; ``kept/0``, ``kept/1``, ...: the best points, each with ``validation``, ``step`` and ``start``
    (`frisket.algos.learner.Episodic.start`), the best first; ``decided``, empty before the end: ``metrics`` of what was
    decided, float64 in the order of `METRICS`, NaN for none, and ``masks`` of every domain, [domains, ...].
    """

    headline = "accuracy"
    of_episodes = True

    def __init__(self, config: FewShotAccuracyConfig, stream: EpisodeStream) -> None:
        self.config, self.stream = config, stream

    def judgings(self, learner: Learner) -> Iterator[tuple[int, float]]:
        """Of N validations, the j-th is taken to be better than all before with the chance 1 / sqrt(j): more often than
        one of N alike, which is 1 / j, as what learns gets better."""
        assert isinstance(learner, Episodic)
        domains, each = len(self.stream.domains), learner.meta_batch
        steps, tests = self.stream.steps // each, self.config.test_episodes * len(self.stream.domains)
        due = [s for s in range(self.config.every, steps, self.config.every) if s > self.config.first]
        for j, step in enumerate([*due, steps], start=1):
            validated = math.ceil(self.config.validation_episodes / domains) * domains
            yield step - 1, validated + tests / math.sqrt(j)
        ensemble = min(self.config.snapshots, len(due) + 1)
        yield steps - 1, tests * ((ensemble if ensemble > 1 else 0) + isinstance(learner, Deciding))

    def init(self) -> State:
        none = torch.zeros(0, dtype=torch.float64)
        steps = torch.zeros((), dtype=torch.int64)
        return {"steps": steps, "validation": none, "test": none, "ensemble": none, "kept": {}, "decided": {}}

    def before(self, answers: Sequence[Answers], scores: Sequence[State], batches: Sequence[Batch]) -> list[Scored]:
        return [Scored(one, {}) for one in scores]

    def after(self, answers: Sequence[Answers], known: list[Scored], batches: Sequence[Batch]) -> list[Scored]:
        return [self._after(*one) for one in zip(answers, known, batches, strict=True)]

    def _after(self, answers: Answers, known: Scored, batch: Batch) -> Scored:
        scores = {**known.scores, "steps": known.scores["steps"] + 1}
        steps, last = int(scores["steps"]), batch.position + 1 == self.stream.steps
        if not last and (steps <= self.config.first or steps % self.config.every):
            return Scored(scores, known.record)
        return self._validated(answers, scores, dict(known.record), last)

    def _validated(self, answers: Answers, scores: State, record: dict[str, Any], last: bool) -> Scored:
        learner = answers.learner
        assert isinstance(learner, Episodic)
        start = learner.start(answers.state)
        each = math.ceil(self.config.validation_episodes / len(self.stream.domains))
        found = means(self._judged(answers, "validation", each, [start]), self.stream.domains)
        validation = float(found.mean())
        point = {"validation": torch.tensor(validation, dtype=torch.float64), "step": scores["steps"], "start": start}
        best = sorted([*scores["kept"].values(), point], key=lambda one: -float(one["validation"]))
        best = best[: self.config.snapshots]
        scores = {**scores, "validation": found, "kept": {str(i): one for i, one in enumerate(best)}}
        record |= self._named("validation", found)
        if best[0] is point:
            scores["test"] = self._judged(answers, "test", self.config.test_episodes, [start])
            record |= self._named("test", means(scores["test"], self.stream.domains))
        if last and len(best) > 1:
            starts = [one["start"] for one in best]
            scores["ensemble"] = self._judged(answers, "test", self.config.test_episodes, starts)
        if last and isinstance(learner, Deciding):
            state = _from(answers.state, best[0]["start"])
            found = gather(learner, state, self.stream, self.config.test_episodes)
            if found is not None:
                metrics = found.decisions.metrics()
                numbers = torch.tensor([metrics.get(name, math.nan) for name in METRICS], dtype=torch.float64)
                scores["decided"] = {"metrics": numbers, "masks": found.masks}
                record |= recorded(found.decisions)
        return Scored(scores, record)

    def _judged(self, answers: Answers, split: Split, count: int, starts: Sequence[State]) -> Tensor:
        """As `accuracies`, of ``count`` episodes of every domain and what each of ``starts`` adapts to."""
        learner, states = answers.learner, [_from(answers.state, start) for start in starts]
        assert isinstance(learner, Episodic)
        found, numbers = accuracies(learner, states, self.stream, split, count)
        answers.numbers = answers.numbers and numbers
        return found

    def chosen(self, state: State, scores: State) -> State:
        """The best validation point's meta-parameters."""
        return {**state, **scores["kept"]["0"]["start"]} if scores["kept"] else state

    def points(self, scores: State) -> tuple[Metrics, State]:
        points = self._named("accuracy", means(scores["test"], self.stream.domains)) if len(scores["test"]) else {}
        if len(scores["validation"]):
            points |= self._named("validation/accuracy", scores["validation"])
        return points, scores

    def _named(self, name: str, found: Tensor) -> Metrics:
        """Under ``name`` the mean of ``found`` [domains], and of several domains that of each."""
        domains = self.stream.domains
        parts = zip(domains, found.tolist(), strict=True) if len(domains) > 1 else ()
        return {name: float(found.mean()), **{f"{name}/{domain}": value for domain, value in parts}}

    def final(self, scores: State) -> Metrics:
        metrics: Metrics = {}
        for name, found in (("accuracy", scores["test"]), ("ensemble/accuracy", scores["ensemble"])):
            if len(found):
                metrics |= summarised(found, self.stream.domains, name)
        if scores["kept"]:
            best = scores["kept"]["0"]
            metrics |= {"validation/accuracy": float(best["validation"]), "validation/step": float(best["step"])}
        if scores["decided"]:
            numbers = zip(METRICS, scores["decided"]["metrics"].tolist(), strict=True)
            metrics |= {name: value for name, value in numbers if not math.isnan(value)}
        return metrics

    def domain_masks(self, scores: State) -> MaskStore | None:
        if not scores["decided"]:
            return None
        masks = scores["decided"]["masks"]
        store = MaskStore({k: tuple(v.shape[1:]) for k, v in masks.items()})
        for domain in range(len(self.stream.domains)):
            store = store.appended({k: v[domain] for k, v in masks.items()})
        return store


def _from(state: State, start: State) -> State:
    """``state`` with the meta-parameters ``start``; those of a checkpoint come from the CPU."""
    return {**state, **to_device(start, state["step"].device)}


def accuracies(
    learner: Episodic, states: Sequence[State], stream: EpisodeStream, split: Split, count: int
) -> tuple[Tensor, bool]:
    """How the queries of episodes are answered by the mean probabilities of what each of ``states`` adapts to.

    Args:
        learner: whose states they are.
        states: one, or several that answer together; on the device where the answers are made.
        stream: where the episodes come from.
        split: which of its classes.
        count: how many episodes of every domain, from number 0 on.

    Returns:
        The accuracy on each episode's queries, ``[count * domains]`` float64, the domains in turn; whether no answer
        was NaN.
    """
    found, numbers = torch.zeros(count * len(stream.domains), dtype=torch.float64), True
    for place, whole in episodes(stream, split, count):
        (support, queries), answered = support_and_queries(learner, stream, whole, states[0]["step"].device), []
        for state in states:
            logits = learner.predict(learner.adapted(state, support), queries.x, support.task)
            assert logits is not None
            numbers = numbers and not bool(logits.isnan().any())
            answered.append(logits.softmax(-1))
        found[place] = (torch.stack(answered).mean(0).argmax(-1) == queries.y).double().mean()
    return found, numbers


def interval(found: Tensor) -> float:
    """Half the width of the 95 % interval of the mean of ``found`` [n], by the normal's; 0 for one value."""
    return _TWO_SIDED * float(found.std()) / math.sqrt(len(found)) if len(found) > 1 else 0.0


def means(found: Tensor, domains: Sequence[str]) -> Tensor:
    """``[domains]``: of each the mean of its part of ``found`` (`accuracies`)."""
    return torch.stack([found[i :: len(domains)].mean() for i in range(len(domains))])


def summarised(found: Tensor, domains: Sequence[str], name: str = "accuracy") -> Metrics:
    """Under ``name`` the mean over ``domains`` of ``found`` (`accuracies`), and of several domains under
    ``name/DOMAIN`` that of each; beside each under ``.../interval`` its `interval` over episodes. The mean's is that of
    a mean of independent ones: a domain always has its part in it."""
    each = means(found, domains)
    widths = [interval(found[i :: len(domains)]) for i in range(len(domains))]
    metrics = {name: float(each.mean()), f"{name}/interval": math.hypot(*widths) / len(domains)}
    if len(domains) > 1:
        for domain, mean, width in zip(domains, each.tolist(), widths, strict=True):
            metrics |= {f"{name}/{domain}": mean, f"{name}/{domain}/interval": width}
    return metrics


def _build(config: FewShotAccuracyConfig, stream: Stream) -> FewShotAccuracy:
    if not isinstance(stream, EpisodeStream):
        raise SpecError("protocol.kind", "few-shot-accuracy", "needs a stream of episodes: stream.kind = episodes")
    clear = len(stream.domains) == 1 or "interval" not in stream.domains
    require(clear, "stream.domains", "interval", "called otherwise: accuracy/interval is that of the mean")
    return FewShotAccuracy(config, stream)


PROTOCOLS = (
    ProtocolKind(
        name="few-shot-accuracy",
        config=FewShotAccuracyConfig,
        build=_build,
        headline=FewShotAccuracy.headline,
        summary="accuracy on the queries of new tasks, at the best validation point",
        journalled=("accuracy", "validation/accuracy"),
        final=("accuracy/interval", "ensemble/accuracy", "validation/step", *METRICS),
    ),
)
