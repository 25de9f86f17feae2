"""A JSON Schema of specifications, for editors: every kind with its fields, made of the configurations themselves.

It refuses unknown fields and wrong types. What a configuration checks beyond that (a value above 0, fields that must
fit) is told in the descriptions, and found when the specification is read. Draft 7, which editors know best.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from frisket.algos.inner.pretrain import PretrainConfig
from frisket.platform.specs.arguments import Argument, arguments
from frisket.platform.specs.experiment import Experiment, Published, StreamSection
from frisket.platform.specs.files import DEFAULT_KINDS
from frisket.platform.specs.kinds import SECTIONS
from frisket.platform.specs.search import Search

Schema = dict[str, Any]

_LABEL = r"^[\w.-]+$"


def schema() -> Schema:
    """The schema of a specification's file. The kinds of a section are told apart by ``kind``."""
    said = {argument.name: argument for argument in arguments(Experiment)}
    own = _properties(Experiment, leave_out=(*SECTIONS, "pretrain", "published", "variants", "tune"))
    partial = {name: {"$ref": f"#/definitions/{name}-partial"} for name in SECTIONS}
    pretrain = {"$ref": "#/definitions/pretrain"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "frisket specification",
        "type": "object",
        "required": [name for name in SECTIONS if name not in DEFAULT_KINDS],
        "additionalProperties": False,
        "properties": {
            **{name: {"$ref": f"#/definitions/{name}"} for name in SECTIONS},
            "pretrain": _or_null(pretrain, said["pretrain"]),
            **own,
            "published": _or_null(_object(Published), said["published"]),
            "variants": {
                "type": "object",
                "description": said["variants"].meaning,
                "patternProperties": {_LABEL: _closed({**partial, "pretrain": _or_null(pretrain, said["pretrain"])})},
                "additionalProperties": False,
            },
            "tune": _or_null(_search(), said["tune"]),
        },
        "definitions": {**_sections(), "pretrain": _object(PretrainConfig)},
    }


def _sections() -> Schema:
    found: Schema = {}
    for name, kinds in SECTIONS.items():
        more = {"source": _property(StreamSection, "source")} if name == "stream" else {}
        for kind, entry in kinds.items():
            fields = {"kind": {"const": kind, "description": entry.summary}, **_properties(entry.config), **more}
            required = [] if kind == DEFAULT_KINDS.get(name) else ["kind"]
            found[f"{name}.{kind}"] = {"title": f"{name}: {kind}", **_closed(fields), "required": required}
        every = [{"$ref": f"#/definitions/{name}.{kind}"} for kind in kinds]
        found[name] = {"oneOf": every}
        found[f"{name}-partial"] = {"anyOf": [*every, _closed({**_any_kind(kinds), **more})]}
    return found


def _any_kind(kinds: Mapping[str, Any]) -> Schema:
    """The fields of a section whose kind is said elsewhere: those of any."""
    found: dict[str, list[Schema]] = {}
    for entry in kinds.values():
        for name, one in _properties(entry.config).items():
            form = {k: v for k, v in one.items() if k not in ("default", "description")}
            if form not in (forms := found.setdefault(name, [])):
                forms.append(form)
    return {name: forms[0] if len(forms) == 1 else {"anyOf": forms} for name, forms in found.items()}


def _search() -> Schema:
    """The ``tune`` section; axes by dotted names, or in the sections' own mappings."""
    axis = {
        "anyOf": [
            {"type": "array", "minItems": 1},
            _closed({"low": {"type": "number"}, "high": {"type": "number"}, "scale": {"enum": ["linear", "log"]}}),
        ]
    }
    names = {name: list(_any_kind(kinds)) for name, kinds in SECTIONS.items()}
    names["pretrain"] = list(_properties(PretrainConfig))
    flat = {f"{name}.{field}": axis for name, fields in names.items() for field in fields}
    nested = {name: _closed(dict.fromkeys(fields, axis)) for name, fields in names.items()}
    search = _object(Search)
    search["properties"]["axes"] |= {**_closed({**flat, **nested}), "minProperties": 1}
    return search


def _object(config: type[Any]) -> Schema:
    required = [argument.name for argument in arguments(config) if argument.required]
    return {**_closed(_properties(config)), "required": required}


def _closed(properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _properties(config: type[Any], leave_out: tuple[str, ...] = ()) -> Schema:
    return {a.name: _property(config, a.name) for a in arguments(config) if a.name not in leave_out}


def _property(config: type[Any], name: str) -> Schema:
    from pydantic import TypeAdapter

    argument = next(a for a in arguments(config) if a.name == name)
    form = TypeAdapter(get_type_hints(config)[name]).json_schema()
    default = {} if argument.required else {"default": argument.default}
    return {**form, **default, "description": _description(argument)}


def _description(argument: Argument) -> str:
    return argument.meaning if argument.allowed is None else f"{argument.meaning} Must be {argument.allowed}."


def _or_null(form: Schema, argument: Argument) -> Schema:
    return {"anyOf": [form, {"type": "null"}], "description": argument.meaning}
