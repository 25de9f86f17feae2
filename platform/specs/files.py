"""Configuration files as typed values: YAML to dicts, dicts laid over each other, dicts to dataclasses.

Whatever is wrong is a `SpecError` which names the field, its value and what is allowed; nothing unknown passes.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from frisket.errors import SpecError, nearest
from frisket.platform.specs.yaml_text import parse

DEFAULT_KINDS: Mapping[str, str] = MappingProxyType(
    {"stream": "osaka", "network": "conv4", "protocol": "online-accuracy"}
)
"""What a section is that names no kind; a learner must be named."""

TABLES = "tables/"
"""Where in tune_configs the published tables lie (`frisket.platform.tables.table`), which are no specifications."""


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
    return typed(cls, {"name": name, **parse(text_of(name), name)}, name)


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
    path = Path(spec)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise SpecError("SPEC", spec, "no such file")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SpecError("SPEC", spec, f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
        return SpecFile(path.stem, path, text, path.absolute().parent)
    if spec not in (names := spec_names()):
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


def typed(cls: type[Any], raw: Any, prefix: str) -> Any:
    """``raw`` as the dataclass ``cls``: strict types (an int passes for a float), unknown keys refused."""
    from pydantic import ValidationError

    dot = f"{prefix}." if prefix else ""
    if not isinstance(raw, dict):
        raise SpecError(prefix, raw, f"must be a mapping of {', '.join(f.name for f in dataclasses.fields(cls))}")
    refuse_unknown(raw, [f.name for f in dataclasses.fields(cls)], dot)
    try:
        # JSON is the one form pydantic reads strictly into dataclasses and tuples.
        return _reader(cls).validate_json(json.dumps(raw), strict=True)
    except (TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            key = next((key for key, value in raw.items() if not _plain(value)), "")
            field = f"{dot}{key}" if key else prefix
            raise SpecError(field, raw.get(key, raw), f"must be a plain YAML value ({error})") from error
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


def refuse_unknown(raw: Mapping[str, Any], known: Iterable[str], prefix: str) -> None:
    """Raise `SpecError` for the first key of ``raw`` that is not ``known``; ``prefix`` says where ``raw`` lies."""
    known = list(known)
    for key in raw:
        if key not in known:
            raise SpecError(f"{prefix}{key}", raw[key], f"unknown key; {nearest(str(key), known)}")


def _plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


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
