"""What a registered few-shot model answers to episodes of another stream (`frisket evaluate`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from frisket.algos.learner import Episodic
from frisket.envs.episode_stream import SPLITS, EpisodeStream
from frisket.errors import ModelError, SpecError, nearest
from frisket.platform.model.model import FrisketModel
from frisket.platform.protocols.few_shot_accuracy import accuracies, interval
from frisket.platform.run.aggregate import aggregate
from frisket.platform.specs.build import build_stream, load_data, mode_of, provenance_of
from frisket.platform.specs.experiment import load_spec
from frisket.platform.specs.uses import Given
from frisket.platform.verbs.asked import require_count, require_mode
from frisket.platform.verbs.load import load_model
from frisket.types import DataMode, Split


def evaluate(
    model: str | Path,
    stream: str | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    episodes: int = 600,
    split: str = "test",
    data: DataMode = "auto",
    data_dir: str | Path | None = None,
    tracking_uri: str | None = None,
    uses: Sequence[Given] = (),
    watch: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """As `frisket.platform.api.evaluate` says.

    Args:
        watch: told how many replicas are judged, and of how many.
    """
    require_count("episodes", episodes)
    require_mode(data)
    if split not in SPLITS:
        raise SpecError("split", split, nearest(str(split), SPLITS))
    loaded = load_model(model, tracking_uri=tracking_uri, uses=uses)
    experiment = load_spec(stream, overrides, uses=uses)
    images = load_data(experiment, data, None if data_dir is None else str(data_dir))
    made = build_stream(experiment, images, seed=0)
    if not isinstance(made, EpisodeStream):
        raise SpecError("stream.kind", experiment.stream.kind, "must give episodes: stream.kind = episodes")
    replicas = loaded.experiment.replicas()
    results = []
    for done, replica in enumerate(replicas):
        watch(done, len(replicas))
        found = _judged(loaded, replica.seed, replica.variant, made, split, episodes)
        results.append({"seed": replica.seed, "variant": replica.variant, **found})
    watch(len(replicas), len(replicas))
    return {
        "model": str(model),
        "of": loaded.experiment.name,
        "stream": experiment.name,
        "domain": made.domains[0],
        "ways": made.ways,
        "shots": made.shots,
        "split": split,
        "episodes": episodes,
        "data": {"mode": mode_of(images), "sets": provenance_of(images)},
        "results": results,
        "summary": _summary(results),
    }


def _judged(
    model: FrisketModel, seed: int, variant: str | None, stream: EpisodeStream, split: Split, episodes: int
) -> dict[str, float]:
    """``accuracy`` and ``interval``, half the width of its 95 % interval over episodes, of one replica."""
    learner, member = model.learner_of(variant), model.member(seed, variant)
    if not isinstance(learner, Episodic):
        method = model.experiment.variant(variant).learner.kind
        raise ModelError("model", model.experiment.name, f"must adapt to episodes, and {method} does not")
    takes, given = (member.inputs.shape, member.inputs.ways), (stream.shape, stream.ways)
    if takes != given:
        fix = f"takes inputs of shape {takes[0]} in {takes[1]} ways; the stream has {given[0]} in {given[1]}"
        raise ModelError("model", model.experiment.name, fix)
    found, _ = accuracies(learner, [member.state], stream, split, episodes)
    return {"accuracy": float(found.mean()), "interval": interval(found)}


def _summary(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each variant the mean over seeds, its spread (the population's), and the widest of their intervals."""
    rows = []
    for variant in dict.fromkeys(one["variant"] for one in results):
        own = [one for one in results if one["variant"] == variant]
        found = aggregate({"accuracy": one["accuracy"]} for one in own)["accuracy"]
        widest = max(one["interval"] for one in own)
        rows.append({"variant": variant, "accuracy": found["mean"], "std": found["std"], "n": found["n"],
                     "interval": widest})  # fmt: skip
    return rows
