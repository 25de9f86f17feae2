"""Specifications as they are written: where their YAML lies, what it says, and overrides laid over it.

Numbers are those of YAML 1.2. What would be taken silently for something else, or would end the process, is refused; so
a mistake is a `SpecError` that names the field, its value and what is allowed.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from frisket.errors import SpecError, nearest, shortened

DEFAULT_KINDS: Mapping[str, str] = MappingProxyType(
    {"stream": "osaka", "network": "conv4", "protocol": "online-accuracy"}
)
"""What a section is that names no kind; a learner must be named."""

TABLES = "tables/"
"""Where in tune_configs the published tables lie (`frisket.platform.tables.table`), which are no specifications."""

_DEEPEST = 30
"""Levels of lists and mappings in each other."""
_MOST_VALUES = 1_000_000
_INDENTED = re.compile(r"^[ \-?:]*", re.MULTILINE)
_TOO_DEEP = "is nested too deeply to be a specification"
_LONGEST_INTEGER = 20
"""Characters, as 64 bits take; nothing that is specified is as large."""

# libyaml's reader is ten times as fast; PyYAML may have been built without it.
_SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):
    """YAML whose numbers are those of YAML 1.2: 1e-3 is one, 010 is ten, 1:30 is text. A key said twice is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        there: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode):
                if key.value in there:
                    raise _mistake(f"key {key.value!r} is said twice, in lines {there[key.value]} and {line}")
                there[key.value] = line
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = node.value.replace("_", "")
        base = {"0x": 16, "0o": 8, "0b": 2}.get(text.lstrip("+-")[:2].lower(), 10)
        if len(text) > _LONGEST_INTEGER:
            raise _mistake(f"{shortened(text, 30)} is too large a number")
        return int(text, base)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads: a text that looks like a number to it is quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True  # a file for people says a list twice rather than pointing at it


def _mistake(text: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(problem=text)


_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_Loader.add_constructor(_INT, _Loader.construct_yaml_int)
for _side in (_Loader, _Dumper):
    _side.yaml_implicit_resolvers = {
        k: [(tag, rule) for tag, rule in v if tag not in (_INT, _FLOAT)]
        for k, v in _side.yaml_implicit_resolvers.items()
    }
    _side.add_implicit_resolver(
        _INT,
        re.compile(r"^[-+]?([0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+)$"),
        list("-+0123456789"),
    )
    _side.add_implicit_resolver(
        _FLOAT,
        re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
        list("-+.0123456789"),
    )


# -- where they lie ---------------------------------------------------------------------------------------------------


def spec_names() -> tuple[str, ...]:
    """Names of all specifications in tune_configs, sorted."""
    return tuple(name for name in config_names() if not name.startswith(TABLES))


@cache
def config_names() -> tuple[str, ...]:
    """Names of all YAML files in tune_configs, published tables included, sorted."""
    return tuple(sorted(_walk(resources.files("frisket.tune_configs"), "")))


def text_of(name: str) -> str:
    """The file ``name`` of tune_configs."""
    return resources.files("frisket.tune_configs").joinpath(f"{name}.yaml").read_text("utf-8")


class SpecFile(NamedTuple):
    """A specification as it is written. Attributes: name: of its experiment, unless it says another; path; text;
    folder: where the files lie that it ``uses``."""

    name: str
    path: Path
    text: str
    folder: Path


def find_spec(spec: str) -> SpecFile:
    """The file of a name in tune_configs, or of a YAML path. Raises `SpecError` where there is none."""
    if "\0" in spec:
        raise SpecError("SPEC", spec, "must be a name or a path, without NUL")
    path = Path(spec)
    if path.suffix.lower() in (".yaml", ".yml"):
        if not path.is_file():
            raise SpecError("SPEC", spec, "is a folder; name a .yaml file" if path.is_dir() else "no such file")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SpecError("SPEC", spec, f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
        return SpecFile(path.stem, path, text, path.absolute().parent)
    if spec not in (names := spec_names()):
        if os.sep in spec and os.path.exists(spec):  # False for what can be no path
            raise SpecError("SPEC", spec, f"is a {'folder' if path.is_dir() else 'file'}; name a .yaml file")
        fix = f"no such specification; {nearest(spec, names)} (`frisket list specs`); or give a .yaml file"
        raise SpecError("SPEC", spec, fix)
    path = Path(str(resources.files("frisket.tune_configs").joinpath(f"{spec}.yaml")))
    return SpecFile(spec, path, text_of(spec), Path())


def _walk(folder: Any, prefix: str) -> Iterable[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield prefix + entry.name.removesuffix(".yaml")


# -- what they say ----------------------------------------------------------------------------------------------------


def read_raw(
    spec: str | Mapping[str, Any], overrides: Sequence[str] = (), *, seeds: int | None = None
) -> tuple[dict[str, Any], Path]:
    """What `load_spec` makes an experiment of: what is written, ``overrides`` laid over it; and the folder where the
    files lie that it uses. Raises as `load_spec` does."""
    folder = Path()
    if isinstance(spec, Mapping):
        _require_bounded(dict(spec), "a dict", "SPEC")
        name, raw = "experiment", copy.deepcopy(dict(spec))
    else:
        name, _, text, folder = find_spec(spec)
        raw = parse(text, spec)
    if not isinstance(raw, dict):
        raise SpecError("SPEC", spec, "must be a mapping of sections")
    raw = laid_over(raw, overrides)
    if seeds is not None:
        raw["seeds"] = seeds
    return {"name": name, **raw}, folder


def laid_over(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """``raw`` with ``key.path=value`` overrides laid over it, one after the other."""
    _require_texts(overrides)
    for change in overrides:
        raw = overridden(raw, change)
    return raw


def parted(overrides: Sequence[str], section: str) -> tuple[list[str], list[str]]:
    """Those of ``overrides`` that are of ``section``, and the others."""
    _require_texts(overrides)
    own = [
        text for text in overrides if isinstance(text, str) and text.partition("=")[0].split(".")[0].strip() == section
    ]
    return own, [text for text in overrides if text not in own]


def _require_texts(overrides: Sequence[str]) -> None:
    if isinstance(overrides, str) or not isinstance(overrides, Sequence):
        raise SpecError("overrides", overrides, "must be a list of texts: ['stream.steps=300']")


def merge(base: Mapping[str, Any], partial: Mapping[str, Any]) -> dict[str, Any]:
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


def overridden(raw: dict[str, Any], text: str) -> dict[str, Any]:
    """``raw`` with one ``key.path=value`` laid over it."""
    if not isinstance(text, str):
        raise SpecError("override", text, "must be key.path=value, as text")
    path, equals, value = text.partition("=")
    first, *rest = path.strip().split(".")
    if not equals or not first or not all(rest):
        raise SpecError("override", text, "must be key.path=value")
    parsed = parse(value, text, "override")
    if rest == ["kind"]:
        return merge(raw, {first: {"kind": parsed}})
    raw = copy.deepcopy(raw)
    node: Any = raw
    for depth, key in enumerate([first, *rest][:-1]):
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise SpecError("override", text, f"{'.'.join([first, *rest][: depth + 1])} has no fields")
    node[[first, *rest][-1]] = parsed
    return raw


def parse(text: str, source: str, field: str = "SPEC") -> Any:
    """What the YAML ``text`` says; ``field`` and ``source`` name it in a `SpecError`."""
    try:
        _require_shallow(text)
        said = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise SpecError(field, source, f"is not valid YAML: {' '.join(str(error).split())}") from None
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:  # a date of month 13, !!int abc
        raise SpecError(field, source, f"has a value that is not what its form or tag says ({error})") from None
    except RecursionError:
        raise SpecError(field, source, _TOO_DEEP) from None
    _require_bounded(said, source, field)
    return said


def _require_bounded(said: Any, source: str, field: str) -> None:
    """Raise `SpecError` where ``said`` is deeper or larger than anything that is specified."""
    try:
        values = _measured(said, _DEEPEST, {})
    except RecursionError:
        raise SpecError(field, source, _TOO_DEEP) from None
    if values > _MOST_VALUES:
        raise SpecError(field, source, f"is {values:.3g} values once its aliases are followed: too many")


def _require_shallow(text: str) -> None:
    """Raise `RecursionError` where lists and mappings lie too deeply in each other even for the reader itself, which is
    C and would end the process."""
    if text.count("[") + text.count("{") + 2 * (1 + max(map(len, _INDENTED.findall(text)), default=0)) < _DEEPEST:
        return  # a level opens with a bracket, or stands further to the right but for a list in a mapping
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise RecursionError


def _measured(said: Any, depth: int, known: dict[int, int]) -> int:
    """How many values ``said`` is, those that aliases repeat counted again. Raises `RecursionError` below ``depth``."""
    if depth == 0:
        raise RecursionError
    inside = list(said.values()) if isinstance(said, dict) else said if isinstance(said, (list, tuple)) else []
    for one in inside:
        if id(one) not in known:
            known[id(one)] = _measured(one, depth - 1, known)
    return 1 + sum(known[id(one)] for one in inside)


def dump(value: Mapping[str, Any]) -> str:
    """``value`` as YAML that `parse` gives back: keys in their order, plain fields of a section in braces."""
    form: dict[str, Any] = {"sort_keys": False, "default_flow_style": None, "width": 110}
    return yaml.dump(dict(value), Dumper=_Dumper, **form)


def lines(text: str) -> dict[tuple[str, ...], int]:
    """The line, from 1, that every key of valid YAML ``text`` stands on, by its path of keys."""
    return dict(_lines(yaml.compose(text, Loader=_Loader), ()))


def _lines(node: yaml.Node | None, path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, str(key.value)), key.start_mark.line + 1
            yield from _lines(value, (*path, str(key.value)))
