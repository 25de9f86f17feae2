"""What a specification says, completely: every value, and where it comes from. Plain data; nothing is run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frisket.envs.data import CLASS_FOLDERS, EMBEDDED, FOLDERS, SOURCES
from frisket.platform.specs.arguments import Argument, arguments
from frisket.platform.specs.build import datasets
from frisket.platform.specs.experiment import Experiment, load_spec, read_raw
from frisket.platform.specs.kinds import SECTIONS
from frisket.platform.specs.section import Section
from frisket.platform.specs.text import dump, find_spec, lines, merge
from frisket.platform.specs.uses import Given

_APART = ("published", "variants")
"""Fields of an experiment that have a place of their own in what `show` gives."""
_SPANNING = ("pack", "tune")
"""Fields that belong to the experiment as a whole: a variant alone has none."""

Keys = tuple[str, ...]


def show(
    spec: str | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    variant: str | None = None,
    uses: Iterable[Given] = (),
) -> dict[str, Any]:
    """The complete specification, JSON-able.

    ``spec``, ``file``: its name, and where it is written, None for a dict. ``variant``: the label whose values are
    shown, None for a plain experiment and for the base point of a search. ``values``: a list of ``{field, value, from,
    where, moves, searched}``; ``moves`` is ``numbers``, ``rounding`` or ``nothing``, ``searched`` says that every point
    has a value of its own, and the value is said by

    ======== =========================================== =============================
    from     where                                       who
    ======== =========================================== =============================
    default  class of configuration                      nobody
    file     line from 1, None where there is none       the specification
    variant  label                                       its variant, or its point
    override ``key.path=value``                          the command line
    ======== =========================================== =============================

    ``variants``: label to the fields in which it differs from the headline, empty for a search. ``search``: ``{metric,
    axes, points}``, or None. ``published``: the numbers it answers to, or None. ``data``: a list of ``{name, what,
    stand_in}``. ``seeds``, ``replicas``: how many.

    Args:
        spec: name in tune_configs, path of a YAML file, or a dict.
        overrides: ``key.path=value``, as on the command line.
        variant: label of a variant or of a point of a search; None for the headline, or the base point.
        uses: modules of one's own, beside those it names itself.

    Raises:
        SpecError: no such specification or variant, or a field that is wrong.
    """
    experiment = load_spec(spec, overrides, uses=uses)
    label, plain = _chosen(experiment, variant)
    partial = {} if label is None else experiment.variants[label]
    written = find_spec(spec) if isinstance(spec, str) else None
    sources = _Sources(
        said=merge(read_raw(spec, overrides)[0], partial),
        lines={} if written is None else {".".join(path): line for path, line in lines(written.text).items()},
        changes=[(tuple(text.partition("=")[0].strip().split(".")), text) for text in reversed(overrides)],
        label=label,
        partial=partial,
    )
    whole = {name: getattr(experiment, name) for name in _SPANNING}
    axes = {} if experiment.tune is None else experiment.tune.axes
    return {
        "spec": experiment.name,
        "file": None if written is None else str(written.path),
        "variant": label,
        "values": [
            {**sources.row(*one), "searched": label is None and ".".join(one[0]) in axes}
            for one in _values(plain, whole)
        ],
        "variants": {} if experiment.tune is not None else _changes(experiment),
        "search": _search(experiment),
        "published": experiment.as_dict().get("published"),
        "data": [_data_set(name) for name in datasets(experiment)],
        "seeds": experiment.seeds,
        "replicas": len(experiment.replicas()),
    }


def complete(spec: str, overrides: Sequence[str] = (), *, variant: str | None = None) -> str:
    """The complete specification as YAML that gives the same experiment again: all of it, or one variant alone.

    Args:
        spec, overrides: as for `show`.
        variant: label of a variant or of a point of a search; None for the experiment with all it has.

    Raises:
        SpecError: no such specification or variant, or a field that is wrong.
    """
    experiment = load_spec(spec, overrides)
    said = (experiment if variant is None else _chosen(experiment, variant)[1]).as_dict()
    names = [a.name for a in _ordered(arguments(Experiment)) if said.get(a.name, {}) != {}]
    return dump({name: said[name] for name in names})


def _chosen(experiment: Experiment, variant: str | None) -> tuple[str | None, Experiment]:
    """Label and plain experiment of what is to be shown."""
    if variant is None and experiment.tune is not None:
        return None, experiment
    label = experiment.headline_label if variant is None else variant
    return label, experiment.variant(label)


@dataclass(frozen=True, kw_only=True)
class _Sources:
    """Who says what.

    Attributes:
        said: file, overrides and variant laid over each other.
        lines: line of the file by dotted path of keys.
        changes: path and text of every override, the last one first.
        label: of the variant, None for none; partial: what it says.
    """

    said: Mapping[str, Any]
    lines: Mapping[str, int]
    changes: Sequence[tuple[Keys, str]]
    label: str | None
    partial: Mapping[str, Any]

    def row(self, path: Keys, value: Any, argument: Argument) -> dict[str, Any]:
        kind, where = self._origin(path, argument)
        return {"field": ".".join(path), "value": value, "from": kind, "where": where, "moves": argument.moves}

    def _origin(self, path: Keys, argument: Argument) -> tuple[str, str | int | None]:
        varied = self.label is not None and _has(self.partial, path)
        if not (argument.required or _has(self.said, path)):
            return "default", argument.home
        places = [("variants", str(self.label), *path), ("tune", "axes", *path)] if varied else [path]
        for changed, text in self.changes:
            if any(_meet(changed, place) for place in places):
                return "override", text
        return ("variant", self.label) if varied else ("file", self.lines.get(".".join(path)))


def _has(tree: Any, path: Keys) -> bool:
    for key in path:
        if not isinstance(tree, Mapping) or key not in tree:
            return False
        tree = tree[key]
    return True


def _meet(changed: Keys, place: Keys) -> bool:
    """Whether an override of ``changed`` sets ``place``, a part of it, or what it lies in; an axis's key has dots."""
    place = tuple(".".join(place).split("."))
    shared = min(len(changed), len(place))
    return changed[:shared] == place[:shared]


def _values(plain: Experiment, whole: Mapping[str, Any]) -> Iterator[tuple[Keys, Any, Argument]]:
    """Keys, JSON-able value and declaration of every field of ``plain``; those of ``whole`` are as given."""
    said = plain.as_dict()
    for argument in _ordered(arguments(Experiment)):
        value = whole.get(argument.name, getattr(plain, argument.name))
        if argument.name in _APART:
            continue
        if isinstance(value, Section):
            yield from _section((argument.name,), value)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            for one in arguments(type(value)):
                yield from _field((argument.name, one.name), getattr(value, one.name), one)
        else:
            value = whole.get(argument.name, said.get(argument.name, argument.default))
            yield (argument.name,), value, dataclasses.replace(argument, home=Experiment.__name__)


def _field(path: Keys, value: Any, argument: Argument) -> Iterator[tuple[Keys, Any, Argument]]:
    if path == ("tune", "axes"):
        yield from (((*path, axis), _json(values), argument) for axis, values in value.items())
    else:
        yield path, _json(value), argument


def _ordered(fields: Sequence[Argument]) -> list[Argument]:
    """Name first, then the components, then the rest."""
    rank = {name: i for i, name in enumerate(["name", *SECTIONS, "pretrain"])}
    return sorted(fields, key=lambda argument: rank.get(argument.name, len(rank)))


def _section(path: Keys, section: Section[Any]) -> Iterator[tuple[Keys, Any, Argument]]:
    for own in arguments(type(section)):
        if own.name == "kind":
            yield (*path, own.name), section.kind, dataclasses.replace(own, home=Experiment.__name__, required=False)
        elif own.name == "config":
            for one in arguments(type(section.config)):
                yield (*path, one.name), _json(getattr(section.config, one.name)), one
        elif own.name != "row":
            yield (*path, own.name), _json(getattr(section, own.name)), own


def _changes(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Label to the fields in which the variant differs from the headline; those of another kind's that are as usual
    are left out."""
    headline = {path: value for path, value, _ in _values(experiment.headline, {})}
    return {label: _differing(experiment.plans[label], headline) for label in experiment.variants}


def _differing(variant: Experiment, headline: Mapping[Keys, Any]) -> dict[str, Any]:
    found = {}
    for path, value, argument in _values(variant, {}):
        if value != headline.get(path, argument.default):
            found[".".join(path)] = value
    return found


def _search(experiment: Experiment) -> dict[str, Any] | None:
    search = experiment.tune
    if search is None:
        return None
    return {"metric": experiment.metric, "axes": _json(search.axes), "points": len(experiment.variants)}


def _data_set(name: str) -> dict[str, Any]:
    """A data set in words; a split of one is named ``SET:SPLIT``."""
    base = name.partition(":")[0]
    published = SOURCES.get(base) or FOLDERS.get(base) or CLASS_FOLDERS.get(base)
    entry = published or EMBEDDED.get(base)
    return {
        "name": name,
        "what": None if entry is None else entry.title,
        "stand_in": None if published is None else published.stand_in,
    }


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value))
