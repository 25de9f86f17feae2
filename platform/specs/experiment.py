"""Experiments as data: YAML (or a dict) to a typed, validated `Experiment`.

A specification has sections ``stream``, ``network``, ``learner``, ``protocol`` (each with a ``kind`` and that kind's
fields), optional ``pretrain``, ``published``, ``data``, ``variants`` or ``tune``, and a few fields of its own. Whatever
is left out takes the default of the component's own dataclass; nothing unknown passes.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from frisket.algos.inner.pretrain import PretrainConfig
from frisket.algos.pack import packed_fields
from frisket.envs.data import OwnData
from frisket.errors import SpecError, nearest, require
from frisket.platform.specs.data import read_data
from frisket.platform.specs.files import merge, overridden, parse, refuse_unknown, spec_names, text_of, typed
from frisket.platform.specs.kinds import DEFAULT_KINDS, PROTOCOLS, SECTIONS
from frisket.platform.specs.search import Search, flat_axes, points, require_comparable


@dataclass(frozen=True, kw_only=True)
class Section:
    """Attributes: kind: name in the section's registry; config: that kind's configuration."""

    kind: str
    config: Any

    def as_dict(self) -> dict[str, Any]:
        """``{"kind": ..., **fields}``."""
        return {"kind": self.kind, **dataclasses.asdict(self.config)}


StreamSource = Literal["auto", "service", "in-process"]


@dataclass(frozen=True, kw_only=True)
class StreamSection(Section):
    """Attributes: source: who makes the batches: a ``service``, every worker for itself ``in-process``, or ``auto``: a
    service where the workers span nodes. It moves no number, and is no part of what makes a result."""

    source: StreamSource = "auto"

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "source": self.source}


@dataclass(frozen=True, kw_only=True)
class Published:
    """The published number an experiment answers to.

    Attributes:
        table: ``PAPER/NAME``.
        source: where it is printed.
        n: seeds behind it, None where the source does not say.
        metrics: metric name to ``{"mean": ..., "std": ...}`` in frisket's units (accuracies in [0, 1]).
    """

    table: str
    source: str
    n: int | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One run of an experiment. Attributes: variant: its label, None in a plain experiment; seed."""

    variant: str | None
    seed: int

    @property
    def key(self) -> str:
        """Name of the replica's folder."""
        return f"seed{self.seed}" if self.variant is None else f"{self.variant}-seed{self.seed}"


Pack = tuple[Replica, ...]
"""Replicas that run together as one program."""


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """The fields of an experiment that belong to no section."""

    seeds: int = 5
    pack: int = 1
    threads: int = 1
    device: str = "auto"
    log_every: int = 50
    checkpoint_seconds: float = 30.0

    def __post_init__(self) -> None:
        require(self.seeds >= 1, "seeds", self.seeds, "at least 1")
        require(self.pack >= 1, "pack", self.pack, "at least 1")
        require(self.threads >= 1, "threads", self.threads, "at least 1")
        ok = self.device in ("auto", "cpu") or re.fullmatch(r"cuda(:\d+)?", self.device) is not None
        require(ok, "device", self.device, "auto, cpu, cuda or cuda:N")
        require(self.log_every >= 1, "log_every", self.log_every, "at least 1")
        require(self.checkpoint_seconds > 0, "checkpoint_seconds", self.checkpoint_seconds, "above 0")


@dataclass(frozen=True, kw_only=True)
class Experiment(_Settings):
    """A complete, valid specification.

    Attributes:
        name: ``FAMILY/STREAM-METHOD``, or the file's stem.
        stream, network, learner, protocol: the components.
        pretrain: pre-training before the stream, None for none.
        published: the number it answers to, None for none.
        variants: label to the partial specification that makes it; the first is the headline, the others what it is
            compared with. Empty for a plain experiment.
        data: the user's own data sets by the names they have in the stream, None for none.
        tune: the search it is, None for none; its points are then the variants, and none is the headline.
        seeds: seeds 0 .. seeds - 1.
        pack: most replicas that run as one program; part of the specification, because rounding depends on it.
        threads: threads per pack; part of the specification, because rounding depends on it.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        log_every: steps between points sent to MLflow.
        checkpoint_seconds: seconds between checkpoints.
    """

    name: str
    stream: StreamSection
    network: Section
    learner: Section
    protocol: Section
    pretrain: PretrainConfig | None = None
    published: Published | None = None
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    data: dict[str, OwnData] | None = None
    tune: Search | None = None

    def as_dict(self) -> dict[str, Any]:
        """The complete specification, JSON-able; `from_dict` gives the same experiment back."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.tune is not None:
            del plain["variants"]  # the search says them
        return json.loads(json.dumps({k: _plain(v) for k, v in plain.items() if v is not None}))

    def variant(self, label: str | None) -> Experiment:
        """The plain experiment behind ``label``; None is the experiment itself, or its headline variant."""
        if not self.variants:
            require(label is None, "variant", label, "left out: this experiment has no variants")
            return self
        label = next(iter(self.variants)) if label is None else label
        if label not in self.variants:
            raise SpecError("variant", label, nearest(label, self.variants))
        spanning = ("variants", "tune", "pack")
        base = {k: v for k, v in self.as_dict().items() if k not in spanning}
        return from_dict(merge(base, self.variants[label]))

    def replicas(self) -> list[Replica]:
        """Every run, headline variant first, seeds in order."""
        return [Replica(variant=label, seed=s) for label in self.variants or [None] for s in range(self.seeds)]

    def packs(self) -> list[Pack]:
        """The replicas in packs of at most `pack`: those of a pack differ in seed and in what their learner's
        configuration declares as `packed`, in nothing else. A method that has no packs runs one by one."""
        groups: dict[str, list[Replica]] = {}
        variants = {label: self.variant(label) for label in self.variants or [None]}
        for replica in self.replicas():
            plain = variants[replica.variant]
            may_differ = packed_fields(plain.learner.config)
            learner = {k: v for k, v in plain.learner.as_dict().items() if k not in may_differ}
            alone = None if may_differ and plain.pretrain is None else replica.key
            shared = [plain.stream.as_dict(), plain.network.as_dict(), plain.protocol.as_dict()]
            groups.setdefault(json.dumps([learner, alone, *shared]), []).append(replica)
        return [tuple(group[i : i + self.pack]) for group in groups.values() for i in range(0, len(group), self.pack)]


def share(packs: Sequence[Pack], rank: int, workers: int) -> Sequence[Pack]:
    """The packs that fall to worker ``rank`` of ``workers``, dealt out like cards."""
    return packs[rank::workers]


def load_spec(spec: str, overrides: Sequence[str] = (), *, seeds: int | None = None) -> Experiment:
    """The experiment of a name in tune_configs or a YAML path, with ``key.path=value`` overrides (values are YAML).

    Raises:
        SpecError: no such specification, or a field that is wrong.
    """
    path = Path(spec)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise SpecError("SPEC", spec, "no such file")
        name, text = path.stem, path.read_text(encoding="utf-8")
    elif spec in (names := spec_names()):
        name, text = spec, text_of(spec)
    else:
        raise SpecError(
            "SPEC", spec, f"no such specification; {nearest(spec, names)} (`frisket list specs`); or give a .yaml file"
        )
    raw = parse(text, spec)
    if not isinstance(raw, dict):
        raise SpecError("SPEC", spec, "must be a mapping of sections")
    for change in overrides:
        raw = overridden(raw, change)
    if seeds is not None:
        raw["seeds"] = seeds
    return from_dict({"name": name, **raw})


def from_dict(raw: Mapping[str, Any]) -> Experiment:
    """Validate a specification given as a dict. Raises `SpecError`, naming the field, its value and what is allowed."""
    raw = dict(raw)
    known = [f.name for f in dataclasses.fields(Experiment)]
    refuse_unknown(raw, known, prefix="")
    sections: dict[str, Any] = {name: _section(name, raw.pop(name, {})) for name in SECTIONS}
    pretrain = raw.pop("pretrain", None)
    published = raw.pop("published", None)
    variants = raw.pop("variants", {})
    tune = raw.pop("tune", None)
    data = raw.pop("data", None)
    if tune is not None and variants:
        raise SpecError("variants", list(variants), "leave them out: the points of the tune section are the variants")
    if not isinstance(variants, dict) or not all(isinstance(v, dict) for v in variants.values()):
        raise SpecError("variants", variants, "must map labels to partial specifications")
    name = str(raw.pop("name"))
    experiment = Experiment(
        name=name,
        **sections,
        pretrain=None if pretrain is None else typed(PretrainConfig, pretrain, "pretrain"),
        published=None if published is None else typed(Published, published, "published"),
        variants=variants,
        data=read_data(data) if data else None,
        tune=None if tune is None else typed(Search, flat_axes(tune), "tune"),
        **dataclasses.asdict(typed(_Settings, raw, "")),
    )
    if experiment.tune is not None:
        experiment = _with_points(experiment, experiment.tune)
    for label in variants:
        require(
            re.fullmatch(r"[\w.-]+", label) is not None, "variants", label, "labels of letters, digits, '.', '_', '-'"
        )
        allowed = {*SECTIONS, "pretrain"}
        refuse_unknown(variants[label], allowed, prefix=f"variants.{label}.")
    methods = [experiment.variant(label).learner for label in experiment.variants or [None]]
    packed = experiment.pack == 1 or any(packed_fields(method.config) for method in methods)
    require(packed, "pack", experiment.pack, f"1: learner.kind {methods[0].kind} has no packs")
    return experiment


def _with_points(experiment: Experiment, search: Search) -> Experiment:
    """``experiment`` with the points of its search as variants."""
    configs = {name: type(getattr(experiment, name).config) for name in SECTIONS}
    if experiment.pretrain is not None:
        configs["pretrain"] = PretrainConfig
    fields = {f"{name}.{key}": hint for name, c in configs.items() for key, hint in get_type_hints(c).items()}
    require_comparable(
        search, PROTOCOLS[experiment.protocol.kind], seeds=experiment.seeds, pack=experiment.pack,
        published=experiment.published is not None,
    )  # fmt: skip
    experiment = dataclasses.replace(experiment, variants=points(search, fields))
    for label in experiment.variants:
        try:
            experiment.variant(label)
        except SpecError as error:
            raise SpecError(error.field, error.value, f"{error.fix} (point {label})") from None
    return experiment


def _section(name: str, raw: Any) -> Section:
    if not isinstance(raw, dict):
        raise SpecError(name, raw, "must be a mapping with a 'kind'")
    fields = dict(raw)
    kinds = SECTIONS[name]
    kind = fields.pop("kind", DEFAULT_KINDS.get(name))
    source = fields.pop("source", "auto") if name == "stream" else None
    if kind is None:
        raise SpecError(f"{name}.kind", None, f"is required; known: {', '.join(sorted(kinds))}")
    if kind not in kinds:
        raise SpecError(f"{name}.kind", kind, nearest(str(kind), kinds))
    config = typed(kinds[kind].config, fields, name)
    if source is None:
        return Section(kind=kind, config=config)
    if source not in get_args(StreamSource):
        raise SpecError("stream.source", source, nearest(str(source), get_args(StreamSource)))
    return StreamSection(kind=kind, config=config, source=source)


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.as_dict()
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
