"""Experiments as data: YAML (or a dict) to a typed, validated `Experiment`.

A specification has sections ``stream``, ``network``, ``learner``, ``protocol`` (each with a ``kind`` and that kind's
fields), optional ``pretrain``, ``published``, ``data``, ``variants`` or ``tune``, and a few fields of its own. Whatever
is left out takes the default of the component's own dataclass; nothing unknown passes.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_origin, get_type_hints

from frisket.algos.inner.pretrain import PretrainConfig
from frisket.algos.learner import Method
from frisket.algos.networks.kind import NetworkKind
from frisket.algos.networks.norm_policy import PolicyConfig
from frisket.algos.pack import packed_fields
from frisket.envs.data import OwnData
from frisket.errors import SpecError, nearest, require
from frisket.moves import NOTHING, ROUNDING, idle
from frisket.platform.protocols.protocol import ProtocolKind
from frisket.platform.specs.data import read_data
from frisket.platform.specs.kinds import SECTIONS, Kinds
from frisket.platform.specs.names import require_label, require_name
from frisket.platform.specs.search import MOST_REPLICAS, Search, flat_axes, points, require_comparable
from frisket.platform.specs.section import Section, StreamSection, read_section
from frisket.platform.specs.text import laid_over, merge, read_raw
from frisket.platform.specs.typed import refuse_unknown, typed
from frisket.platform.specs.uses import Given, Use, blamed, kinds_with, resolve, taken

T = TypeVar("T")

MOST_THREADS = 256
"""Of a pack: more than a machine has only wait for each other, and torch ends the process where it cannot make them."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """The published number an experiment answers to. In which table it stands, the tables say.

    Attributes:
        source: where it is printed.
        n: seeds behind it, None where the source does not say.
        metrics: metric name to ``{"mean": ..., "std": ...}`` in frisket's units (accuracies in [0, 1]).
        searched: ``section.field`` of settings that are not the source's but were looked for, by what they give. Every
            verdict says so.
    """

    source: str
    n: int | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    searched: tuple[str, ...] = ()


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
    pack: int = field(default=1, metadata=ROUNDING)
    threads: int = field(default=1, metadata=ROUNDING)
    device: str = field(default="auto", metadata=ROUNDING)
    parallel: Literal["replicas", "tasks"] = field(default="replicas", metadata=ROUNDING)
    log_every: int = field(default=50, metadata=NOTHING)
    checkpoint_seconds: float = field(default=30.0, metadata=NOTHING)

    def __post_init__(self) -> None:
        require(self.seeds >= 1, "seeds", self.seeds, "at least 1")
        require(self.pack >= 1, "pack", self.pack, "at least 1")
        require(1 <= self.threads <= MOST_THREADS, "threads", self.threads, f"1 to {MOST_THREADS}")
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
        uses: modules of the user's own that bring kinds.
        pretrain: pre-training before the stream, None for none.
        published: the number it answers to, None for none.
        variants: label to the partial specification that makes it; the first is the headline, the others what it is
            compared with. Empty for a plain experiment.
        data: the user's own data sets by the names they have in the stream, None for none.
        tune: the search it is, None for none; its points are then the variants, and none is the headline.
        seeds: seeds 0 .. seeds - 1.
        pack: most replicas that run as one program.
        threads: threads per pack.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        parallel: what workers share out: ``replicas``, or, one replica after the other, the ``tasks`` of a few-shot
            learner's meta-batches. Then the number of workers moves rounding.
        log_every: steps between points sent to MLflow.
        checkpoint_seconds: seconds between checkpoints.
    """

    name: str
    stream: StreamSection
    network: Section[NetworkKind]
    learner: Section[Method]
    protocol: Section[ProtocolKind]
    uses: tuple[Use, ...] = ()
    pretrain: PretrainConfig | None = None
    published: Published | None = field(default=None, metadata=NOTHING)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    data: dict[str, OwnData] | None = None
    tune: Search | None = None

    @property
    def norm(self) -> str | None:
        """The policy its networks' batch norm goes by, of variants that differ all; None where there is none."""
        configs = [plan.network.config for plan in self.plans.values()]
        return " and ".join(dict.fromkeys(one.norm for one in configs if isinstance(one, PolicyConfig))) or None

    def as_dict(self) -> dict[str, Any]:
        """The complete specification, JSON-able; `from_dict` gives the same experiment back."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.tune is not None:
            del plain["variants"]  # the search says them
        plain["uses"] = [use.as_dict() for use in self.uses] or None
        return json.loads(json.dumps({k: _plain(v) for k, v in plain.items() if v is not None}))

    @cached_property
    def kinds(self) -> Kinds:
        """What its sections may name."""
        return kinds_with(self.uses)

    def work(self, *, exact: bool = False) -> dict[str, Any]:
        """What decides the numbers, JSON-able: `as_dict` without the fields that say they move none (`frisket.moves`),
        with every variant's own work. Experiments of equal work have equal results, up to rounding; if ``exact``, to
        the bit on one machine."""
        left_out = idle(self, rounding=not exact)
        if self.tune is not None and self.tune.early_stopping:
            left_out -= {"log_every"}  # a race compares its points where they are journalled
        work = {k: v for k, v in self.as_dict().items() if k not in left_out}
        work |= {name: getattr(self, name).work(exact=exact) for name in SECTIONS}
        if "variants" in work:
            work["variants"] = {label: self.plans[label].work(exact=exact) for label in self.variants}
        return json.loads(json.dumps(work))

    @cached_property
    def plans(self) -> Mapping[str | None, Experiment]:
        """Label to the plain experiment behind it, the headline first; of a plain experiment, None to itself.

        Derived once, each from the sections that its partial specification touches: the others are valid as they stand
        here. No part of what is compared or pickled.

        Raises:
            SpecError: a partial specification does not fit.
        """
        if not self.variants:
            return {None: self}
        what = "variant" if self.tune is None else "point"
        plans: dict[str | None, Experiment] = {}
        for label, partial in self.variants.items():
            try:
                plans[label] = self._plan(partial)
            except SpecError as error:
                raise SpecError(error.field, error.value, f"{error.fix} ({what} {label})") from None
        return plans

    @cached_property
    def largest(self) -> Mapping[str | None, int]:
        """Label to the size of the largest pack whose first replica is that plan's; no part of what is compared."""
        return {pack[0].variant: len(pack) for pack in sorted(self.packs(), key=len)}

    @property
    def headline_label(self) -> str | None:
        """The first variant's label; None for a plain experiment."""
        return next(iter(self.variants), None)

    @property
    def headline(self) -> Experiment:
        """The plain experiment of the first variant; a plain experiment itself."""
        return self.plans[self.headline_label]

    @property
    def metric(self) -> str:
        """What it is judged by, and the points of a search are compared by: its search's metric, or its protocol's
        headline."""
        return (self.tune and self.tune.metric) or self.protocol.row.headline

    def variant(self, label: str | None) -> Experiment:
        """The plain experiment behind ``label``; None is the experiment itself, or its headline variant."""
        label = self.headline_label if label is None else label
        if label in self.plans:
            return self.plans[label]
        fix = nearest(str(label), self.variants)
        raise SpecError("variant", label, fix if self.variants else "leave it out: this experiment has no variants")

    def unreached(self, change: str) -> list[str]:
        """Labels of the variants that the override ``section.field=value`` leaves as they are, because they say that
        field themselves, or another kind."""
        section, _, field = change.partition("=")[0].strip().partition(".")
        if self.tune is not None or section not in SECTIONS:
            return []
        kind = getattr(self, section).kind
        said = {label: partial.get(section, {}) for label, partial in self.variants.items()}
        return [label for label, own in said.items() if field in own or own.get("kind", kind) != kind]

    def replicas(self) -> list[Replica]:
        """Every run, headline variant first, seeds in order."""
        return [Replica(variant=label, seed=s) for label in self.plans for s in range(self.seeds)]

    def packs(self) -> list[Pack]:
        """The replicas in packs of at most `pack`: those of a pack differ in seed, in what their learner's
        configuration declares as `packed` and in what moves no number, in nothing else. A method that has no packs runs
        one by one."""
        groups: dict[str, list[Replica]] = {}
        alike = {label: plan._alike() for label, plan in self.plans.items()}
        for replica in self.replicas():
            groups.setdefault(alike[replica.variant] or replica.key, []).append(replica)
        return [tuple(group[i : i + self.pack]) for group in groups.values() for i in range(0, len(group), self.pack)]

    @property
    def jobs(self) -> int:
        """How many workers find something to do at once: one per pack, or per task of a meta-batch."""
        if self.parallel == "tasks":
            return min(plan.learner.config.meta_batch for plan in self.plans.values())
        return len(self.packs())

    def _alike(self) -> str | None:
        """The same text for plain experiments whose replicas may share a pack; None if they run one by one."""
        may_differ = packed_fields(self.learner.config)
        if not may_differ or self.pretrain is not None:
            return None
        learner = {k: v for k, v in self.learner.work(exact=True).items() if k not in may_differ}
        return json.dumps([learner, *(s.work(exact=True) for s in (self.stream, self.network, self.protocol))])

    def _plan(self, partial: Mapping[str, Any]) -> Experiment:
        """The plain experiment that ``partial`` makes of this one."""
        changed: dict[str, Any] = {}
        for name, raw in merge({name: _plain(getattr(self, name)) for name in partial}, partial).items():
            changed[name] = read_section(name, raw, self.kinds) if name in SECTIONS else _pretrain(raw)
        return dataclasses.replace(self, variants={}, tune=None, pack=1, **changed)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.as_dict(), self.uses)  # what declares the kinds is found again, not carried along


def share(packs: Sequence[T], rank: int, workers: int) -> Sequence[T]:
    """The packs, or what is known of each, that fall to worker ``rank`` of ``workers``, dealt out like cards."""
    return packs[rank::workers]


def load_spec(
    spec: str | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    seeds: int | None = None,
    uses: Iterable[Given] = (),
) -> Experiment:
    """The experiment of a name in tune_configs, a YAML path or a dict, with ``key.path=value`` overrides (values are
    YAML).

    Args:
        spec: which; a dict without a ``name`` is called ``experiment``.
        overrides: laid over it.
        seeds: how many; None for its own number.
        uses: modules of one's own, beside those it names itself (`frisket.platform.specs.uses.taken`).

    Raises:
        SpecError: no such specification, or a field that is wrong.
    """
    if not isinstance(spec, (str, Mapping)):
        raise SpecError("SPEC", spec, "must be a name, the path of a YAML file as text, or a dict")
    passed = list(taken(uses))
    if isinstance(spec, Mapping) and isinstance(spec.get("uses"), (list, tuple)):
        objects = [one for one in spec["uses"] if not isinstance(one, (str, Mapping))]  # classes, rows, modules, paths
        passed += taken(objects)
        spec = {**spec, "uses": [one for one in spec["uses"] if isinstance(one, (str, Mapping))]}
    raw, folder = read_raw(spec, overrides, seeds=seeds)
    return from_dict(raw, folder=folder, passed=passed)


def changed(experiment: Experiment, overrides: Sequence[str]) -> Experiment:
    """``experiment`` with ``key.path=value`` overrides laid over it. Raises `SpecError` as `load_spec` does."""
    return from_dict(laid_over(experiment.as_dict(), overrides), passed=experiment.uses) if overrides else experiment


def from_dict(raw: Mapping[str, Any], *, folder: Path | None = None, passed: Sequence[Use] = ()) -> Experiment:
    """Validate a specification given as a dict.

    Args:
        raw: sections and fields; ``name`` is required.
        folder: where the files lie that it ``uses``; without, what is only noted of them (as in a model) is not
            looked for, and files are looked for in the working folder.
        passed: modules handed over beside it (`frisket.platform.specs.uses.taken`).

    Raises:
        SpecError: names the field, its value and what is allowed.
    """
    raw = dict(raw)
    known = [f.name for f in dataclasses.fields(Experiment)]
    refuse_unknown(raw, known, prefix="")
    uses = resolve(raw.pop("uses", ()), folder, passed)
    with blamed(uses, "a configuration of it cannot be made"):
        kinds = kinds_with(uses)
        sections: dict[str, Any] = {name: read_section(name, raw.pop(name, {}), kinds) for name in SECTIONS}
    pretrain = raw.pop("pretrain", None)
    published = raw.pop("published", None)
    variants = raw.pop("variants", {})
    tune = raw.pop("tune", None)
    data = raw.pop("data", None)
    if not isinstance(variants, dict) or not all(isinstance(v, dict) for v in variants.values()):
        raise SpecError("variants", variants, "must map labels to partial specifications")
    if tune is not None and variants:
        raise SpecError("variants", list(variants), "leave them out: the points of the tune section are the variants")
    name = raw.pop("name")
    require_name(name)
    for label, partial in variants.items():
        require_label(label)
        refuse_unknown(partial, {*SECTIONS, "pretrain"}, prefix=f"variants.{label}.")
    experiment = Experiment(
        name=name,
        uses=uses,
        **sections,
        pretrain=_pretrain(pretrain),
        published=None if published is None else typed(Published, published, "published"),
        variants=variants,
        data=read_data(data) if data else None,
        tune=None if tune is None else typed(Search, flat_axes(tune), "tune"),
        **dataclasses.asdict(typed(_Settings, raw, "")),
    )
    if experiment.tune is not None:
        experiment = dataclasses.replace(experiment, variants=_points(experiment, experiment.tune))
    most = MOST_REPLICAS // max(1, len(experiment.variants))
    require(experiment.seeds <= most, "seeds", experiment.seeds, f"at most {most:,}: {MOST_REPLICAS:,} replicas in all")
    methods = [plan.learner for plan in experiment.plans.values()]
    if experiment.parallel == "tasks":
        require(experiment.tune is None, "parallel", "tasks", "replicas: a search shares out its points")
        batches = [hasattr(method.config, "meta_batch") for method in methods]
        require(all(batches), "parallel", "tasks", f"replicas: {methods[0].kind} has no meta-batches of tasks")
    packed = experiment.pack == 1 or any(packed_fields(method.config) for method in methods)
    require(packed, "pack", experiment.pack, f"1: learner.kind {methods[0].kind} has no packs")
    for plan in experiment.plans.values():
        episodes = plan.pretrain is None or plan.stream.row.episodes is not None
        require(episodes, "pretrain", plan.pretrain, "left out on this stream")
    return experiment


def _rebuilt(raw: Mapping[str, Any], uses: tuple[Use, ...]) -> Experiment:
    return from_dict(raw, passed=uses)


def _points(experiment: Experiment, search: Search) -> dict[str, dict[str, Any]]:
    """The points of ``search``, the one that ``experiment`` is, as variants."""
    configs = {name: type(getattr(experiment, name).config) for name in SECTIONS}
    if experiment.pretrain is not None:
        configs["pretrain"] = PretrainConfig
    fields = {f"{name}.{key}": hint for name, c in configs.items() for key, hint in get_type_hints(c).items()
              if get_origin(hint) is not ClassVar}  # fmt: skip
    require_comparable(
        search, experiment.protocol.row, seeds=experiment.seeds, pack=experiment.pack,
        published=experiment.published is not None,
    )  # fmt: skip
    return points(search, fields)


def _pretrain(raw: Any) -> PretrainConfig | None:
    return None if raw is None else typed(PretrainConfig, raw, "pretrain")


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.as_dict()
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
