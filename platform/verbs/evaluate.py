"""What a registered few-shot model answers to episodes of another stream (`frisket evaluate`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from frisket.algos.learner import Episodic
from frisket.algos.masks.mask_set import MaskSet
from frisket.algos.parts.tree import flatten, to_device
from frisket.envs.episode_stream import SPLITS, EpisodeStream
from frisket.errors import ModelError, SpecError, nearest
from frisket.heap import within_memory
from frisket.platform.model.model import FrisketModel, Member
from frisket.platform.protocols.few_shot_accuracy import accuracies, summarised
from frisket.platform.run.aggregate import aggregate
from frisket.platform.specs.build import build_learner, build_stream, choose_device, load_data, mode_of, provenance_of
from frisket.platform.specs.experiment import Experiment, Replica, changed, load_spec
from frisket.platform.specs.text import parted
from frisket.platform.specs.uses import Given
from frisket.platform.verbs.asked import require_count, require_mode
from frisket.platform.verbs.load import load_model
from frisket.types import DataMode, Split


def evaluate(
    model: str | Path,
    stream: str | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    episodes: int = 600,
    split: str = "test",
    data: DataMode = "auto",
    data_dir: str | Path | None = None,
    tracking_uri: str | None = None,
    uses: Sequence[Given] = (),
    log: bool = True,
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
    methods, others = parted(overrides, "learner")
    for change in others:
        field, _, value = change.partition("=")
        if field.strip().split(".")[0] not in ("stream", "data"):
            raise SpecError(
                field.strip(), value, "a model is judged as it is: fields of stream, data and learner alone"
            )
    answering = changed(loaded.experiment, methods)
    experiment = changed(answering, others) if stream is None else load_spec(stream, others, uses=uses)
    images = load_data(experiment, data, None if data_dir is None else str(data_dir))
    made = build_stream(experiment, images, seed=0)
    if not isinstance(made, EpisodeStream):
        raise SpecError("stream.kind", experiment.stream.kind, "must give episodes: stream.kind = episodes")
    replicas = loaded.experiment.replicas()
    results, masks = [], dict[str, list[MaskSet]]()
    for done, replica in enumerate(replicas):
        watch(done, len(replicas))
        learner, member = _answering(loaded, answering, replica, methods)
        with within_memory():
            found = _judged(learner, member, loaded.experiment.name, made, split, episodes)
        results.append({"seed": replica.seed, "variant": replica.variant, **found})
        if own := learner.masks(member.state):
            masks.setdefault(replica.variant or loaded.experiment.learner.kind, []).append(own)
    watch(len(replicas), len(replicas))
    said = {
        "model": str(model),
        "of": loaded.experiment.name,
        "stream": experiment.name,
        "overrides": list(overrides),
        "domain": ", ".join(made.domains),
        "domains": list(made.domains),
        "ways": made.ways,
        "shots": made.shots,
        "norm": loaded.experiment.norm,
        "split": split,
        "episodes": episodes,
        "data": {"mode": mode_of(images), "sets": provenance_of(images)},
        "results": results,
        "summary": _summary(results),
    }
    registered = not Path(model).exists()
    return said | {"mlflow": _logged(said, masks, tracking_uri) if log and registered else None}


def _logged(
    said: Mapping[str, Any], masks: Mapping[str, Sequence[MaskSet]], store: str | None
) -> dict[str, str | None]:
    """Where the evaluation is in MLflow; a model that lies in a folder is not known there."""
    from frisket.platform.tracking.evaluation import log_evaluation
    from frisket.platform.tracking.settings import tracking_uri

    return log_evaluation(said, masks, store or tracking_uri())


def _answering(
    model: FrisketModel, experiment: Experiment, replica: Replica, overrides: Sequence[str]
) -> tuple[Episodic, Member]:
    """The method of one replica as ``experiment`` has it, which is the model's own with ``overrides`` of its learner;
    and the replica.

    Raises:
        ModelError: it does not adapt to episodes.
        SpecError: what it has learned is no state of the method any more.
    """
    member = model.member(replica.seed, replica.variant)
    section = experiment.variant(replica.variant).learner
    learner = build_learner(experiment.variant(replica.variant), member.inputs)
    if not isinstance(learner, Episodic):
        raise ModelError("model", model.experiment.name, f"must adapt to episodes, and {section.kind} does not")
    if overrides:
        shapes = [{k: v.shape for k, v in flatten(state).items()} for state in (member.state, learner.init(0))]
        fix = "must leave what the model has learned as it is: learner.inner_steps_test=35"
        if section.kind != model.experiment.variant(replica.variant).learner.kind or shapes[0] != shapes[1]:
            raise SpecError("learner", " ".join(overrides), fix)
    return learner, member


def _judged(
    learner: Episodic, member: Member, name: str, stream: EpisodeStream, split: Split, episodes: int
) -> dict[str, float]:
    """As `summarised`, of one replica of the model of ``name``; the mean's interval is called ``interval``."""
    takes, given = (member.inputs.shape, member.inputs.ways), (stream.shape, stream.ways)
    if takes != given:
        fix = f"takes inputs of shape {takes[0]} in {takes[1]} ways; the stream has {given[0]} in {given[1]}"
        raise ModelError("model", name, fix)
    state = to_device(member.state, choose_device("auto"))
    found, _ = accuracies(learner, [state], stream, split, episodes)
    said = summarised(found, stream.domains)
    return {"accuracy": said.pop("accuracy"), "interval": said.pop("accuracy/interval"), **said}


def _summary(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each variant the mean over seeds, its spread (the population's), and the widest of their intervals; of several
    domains under ``accuracy/DOMAIN`` the mean, and under ``.../interval`` the widest interval, of each."""
    rows = []
    for variant in dict.fromkeys(one["variant"] for one in results):
        own = [one for one in results if one["variant"] == variant]
        found = aggregate({"accuracy": one["accuracy"]} for one in own)["accuracy"]
        widest = max(one["interval"] for one in own)
        parts = {name: [one[name] for one in own] for name in own[0] if name.startswith("accuracy/")}
        rows.append({"variant": variant, "accuracy": found["mean"], "std": found["std"], "n": found["n"],
                     "interval": widest, **{k: max(v) if k.endswith("/interval") else sum(v) / len(v)
                                            for k, v in parts.items()}})  # fmt: skip
    return rows
