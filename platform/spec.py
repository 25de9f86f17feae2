"""Experiments as data: YAML (or a dict) to a typed, validated `Experiment`.

A specification has sections ``stream``, ``network``, ``learner``, ``protocol`` (each with a ``kind`` and that kind's
fields), optional ``pretrain``, ``published``, ``variants`` or ``tune``, and a few fields of its own. Whatever is left
out takes the default of the component's own dataclass; nothing unknown passes.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from frisket.algos.pack import packed_fields
from frisket.algos.pretrain import PretrainConfig
from frisket.errors import SpecError, nearest, require
from frisket.platform.registry import PROTOCOLS, SECTIONS
from frisket.platform.search import Search, flat_axes, points, require_comparable

TABLES = "tables/"
"""Where in tune_configs the published tables lie (`frisket.platform.tables`), which are no specifications."""
DEFAULT_KINDS = {"stream": "osaka", "network": "conv4", "protocol": "online-accuracy"}


@dataclass(frozen=True, kw_only=True)
class Section:
    """Attributes: kind: name in the section's registry; config: that kind's configuration."""

    kind: str
    config: Any

    def as_dict(self) -> dict[str, Any]:
        """``{"kind": ..., **fields}``."""
        return {"kind": self.kind, **dataclasses.asdict(self.config)}


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
        tune: the search it is, None for none; its points are then the variants, and none is the headline.
        seeds: seeds 0 .. seeds - 1.
        pack: most replicas that run as one program; part of the specification, because rounding depends on it.
        threads: threads per pack; part of the specification, because rounding depends on it.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        log_every: steps between points sent to MLflow.
        checkpoint_seconds: seconds between checkpoints.
    """

    name: str
    stream: Section
    network: Section
    learner: Section
    protocol: Section
    pretrain: PretrainConfig | None = None
    published: Published | None = None
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
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
        return from_dict(_merge(base, self.variants[label]))

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
        name, text = spec, resources.files("frisket.tune_configs").joinpath(f"{spec}.yaml").read_text("utf-8")
    else:
        raise SpecError(
            "SPEC", spec, f"no such specification; {nearest(spec, names)} (`frisket list specs`); or give a .yaml file"
        )
    raw = _parse(text, spec)
    if not isinstance(raw, dict):
        raise SpecError("SPEC", spec, "must be a mapping of sections")
    for override in overrides:
        raw = _override(raw, override)
    if seeds is not None:
        raw["seeds"] = seeds
    return from_dict({"name": name, **raw})


def from_dict(raw: Mapping[str, Any]) -> Experiment:
    """Validate a specification given as a dict. Raises `SpecError`, naming the field, its value and what is allowed."""
    raw = dict(raw)
    known = [f.name for f in dataclasses.fields(Experiment)]
    _refuse_unknown(raw, known, prefix="")
    sections = {name: _section(name, raw.pop(name, {})) for name in SECTIONS}
    pretrain = raw.pop("pretrain", None)
    published = raw.pop("published", None)
    variants = raw.pop("variants", {})
    tune = raw.pop("tune", None)
    if tune is not None and variants:
        raise SpecError("variants", list(variants), "leave them out: the points of the tune section are the variants")
    if not isinstance(variants, dict) or not all(isinstance(v, dict) for v in variants.values()):
        raise SpecError("variants", variants, "must map labels to partial specifications")
    name = str(raw.pop("name"))
    experiment = Experiment(
        name=name,
        **sections,
        pretrain=None if pretrain is None else _typed(PretrainConfig, pretrain, "pretrain"),
        published=None if published is None else _typed(Published, published, "published"),
        variants=variants,
        tune=None if tune is None else _typed(Search, flat_axes(tune), "tune"),
        **dataclasses.asdict(_typed(_Settings, raw, "")),
    )
    if experiment.tune is not None:
        experiment = _with_points(experiment, experiment.tune)
    for label in variants:
        require(
            re.fullmatch(r"[\w.-]+", label) is not None, "variants", label, "labels of letters, digits, '.', '_', '-'"
        )
        allowed = {*SECTIONS, "pretrain"}
        _refuse_unknown(variants[label], allowed, prefix=f"variants.{label}.")
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


def spec_names() -> tuple[str, ...]:
    """Names of all specifications in tune_configs, sorted."""
    return tuple(name for name in config_names() if not name.startswith(TABLES))


@cache
def config_names() -> tuple[str, ...]:
    """Names of all YAML files in tune_configs, published tables included, sorted."""
    return tuple(sorted(_walk(resources.files("frisket.tune_configs"), "")))


def read_config(cls: type[Any], name: str) -> Any:
    """The file ``name`` of tune_configs as the dataclass ``cls``, whose field ``name`` is set; as strict as a spec.

    Raises:
        SpecError: a field that is wrong.
    """
    text = resources.files("frisket.tune_configs").joinpath(f"{name}.yaml").read_text("utf-8")
    return _typed(cls, {"name": name, **_parse(text, name)}, name)


def _walk(folder: Any, prefix: str) -> Iterable[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield prefix + entry.name.removesuffix(".yaml")


def _section(name: str, raw: Any) -> Section:
    if not isinstance(raw, dict):
        raise SpecError(name, raw, "must be a mapping with a 'kind'")
    fields = dict(raw)
    kinds = SECTIONS[name]
    kind = fields.pop("kind", DEFAULT_KINDS.get(name))
    if kind is None:
        raise SpecError(f"{name}.kind", None, f"is required; known: {', '.join(sorted(kinds))}")
    if kind not in kinds:
        raise SpecError(f"{name}.kind", kind, nearest(str(kind), kinds))
    return Section(kind=kind, config=_typed(kinds[kind].config, fields, name))


def _typed(cls: type[Any], raw: Any, prefix: str) -> Any:
    """``raw`` as the dataclass ``cls``: strict types (an int passes for a float), unknown keys refused."""
    from pydantic import ValidationError

    dot = f"{prefix}." if prefix else ""
    if not isinstance(raw, dict):
        raise SpecError(prefix, raw, f"must be a mapping of {', '.join(f.name for f in dataclasses.fields(cls))}")
    _refuse_unknown(raw, [f.name for f in dataclasses.fields(cls)], dot)
    try:
        # JSON is the one form pydantic reads strictly into dataclasses and tuples.
        return _reader(cls).validate_json(json.dumps(raw), strict=True)
    except (TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            raise SpecError(prefix, raw, f"must be plain YAML values ({error})") from error
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, SpecError):
            raise SpecError(dot + cause.field, cause.value, cause.fix) from None
        where = dot + ".".join(str(part) for part in first["loc"])
        value = None if first["type"] == "missing" else first["input"]
        raise SpecError(where.rstrip("."), value, first["msg"].lower()) from None


@cache
def _reader(cls: type[Any]) -> Any:
    """Pydantic's reader of ``cls``, made once: a grid reads thousands of sections."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _refuse_unknown(raw: Mapping[str, Any], known: Iterable[str], prefix: str) -> None:
    known = list(known)
    for key in raw:
        if key not in known:
            raise SpecError(f"{prefix}{key}", raw[key], f"unknown key; {nearest(str(key), known)}")


def _merge(base: Mapping[str, Any], partial: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the sections of ``partial`` laid over its own, field by field; another ``kind`` starts afresh."""
    merged = copy.deepcopy(dict(base))
    for name, fields in copy.deepcopy(dict(partial)).items():
        old = merged.get(name)
        same_kind = (
            isinstance(old, dict)
            and isinstance(fields, dict)
            and ("kind" not in fields or fields["kind"] == old.get("kind", DEFAULT_KINDS.get(name)))
        )
        merged[name] = {**old, **fields} if same_kind and old else fields
    return merged


def _override(raw: dict[str, Any], text: str) -> dict[str, Any]:
    """``raw`` with one ``key.path=value`` laid over it."""
    path, equals, value = text.partition("=")
    first, *rest = path.strip().split(".")
    if not equals or not first or not all(rest):
        raise SpecError("override", text, "must be key.path=value")
    parsed = _parse(value, text)
    if rest == ["kind"]:
        return _merge(raw, {first: {"kind": parsed}})
    raw = copy.deepcopy(raw)
    node: Any = raw
    for depth, key in enumerate([first, *rest][:-1]):
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise SpecError("override", text, f"{'.'.join([first, *rest][: depth + 1])} has no fields")
    node[[first, *rest][-1]] = parsed
    return raw


class _Loader(yaml.SafeLoader):
    """YAML whose floats are those of YAML 1.2: 1e-3 is a number, not a string."""


_Loader.yaml_implicit_resolvers = {
    k: [(tag, rule) for tag, rule in v if tag != "tag:yaml.org,2002:float"]
    for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)


def _parse(text: str, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise SpecError("SPEC", source, f"is not valid YAML: {' '.join(str(error).split())}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.as_dict()
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
