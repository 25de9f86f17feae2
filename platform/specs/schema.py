"""A JSON Schema of specifications, for editors: every kind with its fields, made of the configurations themselves.

It refuses unknown fields and wrong types. What a configuration checks beyond that (a value above 0, fields that must
fit) is told in the descriptions, and found when the specification is read. Draft 7, which editors know best.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from frisket.algos.inner.pretrain import PretrainConfig
from frisket.platform.specs.arguments import Argument, arguments
from frisket.platform.specs.data import FORMS
from frisket.platform.specs.experiment import Experiment, Published
from frisket.platform.specs.kinds import SECTIONS, known
from frisket.platform.specs.search import Search
from frisket.platform.specs.section import StreamSection
from frisket.platform.specs.text import DEFAULT_KINDS

Schema = dict[str, Any]

_LABEL = r"^[\w.-]+$"


def schema() -> Schema:
    """The schema of a specification's file. The kinds of a section are told apart by ``kind``; a specification that
    ``uses`` modules of its own may name others than those known here."""
    said = {argument.name: argument for argument in arguments(Experiment)}
    pretrain = _or_null({"$ref": "#/definitions/pretrain"}, said["pretrain"])
    own_data = {"oneOf": [_object(form) for form in FORMS.values()]}
    fields = {
        "pretrain": pretrain,
        **_properties(Experiment, leave_out=(*SECTIONS, "data", "uses", "pretrain", "published", "variants", "tune")),
        "data": _or_null({"type": "object", "additionalProperties": own_data}, said["data"]),
        "uses": {"type": "array", "items": _use(), "description": said["uses"].meaning},
        "published": _or_null(_object(Published), said["published"]),
        "variants": {"type": "object", "description": said["variants"].meaning},
        "tune": {"description": said["tune"].meaning},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "frisket specification",
        "type": "object",
        "required": [name for name in SECTIONS if name not in DEFAULT_KINDS],
        "additionalProperties": False,
        "properties": {**{name: {"type": "object"} for name in SECTIONS}, **fields},
        "if": {"required": ["uses"]},
        "then": {
            "properties": {**_with_sections(pretrain, "-or-own"), "tune": _or_null(_search(_axis()), said["tune"])}
        },
        "else": {"properties": {**_with_sections(pretrain, ""), "tune": _or_null(_search(False), said["tune"])}},
        "definitions": {**_sections(), "pretrain": _object(PretrainConfig)},
    }


def _with_sections(pretrain: Schema, form: str) -> Schema:
    """The sections of a specification and of its variants, in one of the forms that `_sections` defines."""
    whole = {name: {"$ref": f"#/definitions/{name}{form}"} for name in SECTIONS}
    partial = _closed(
        {**{name: {"$ref": f"#/definitions/{name}-partial{form}"} for name in SECTIONS}, "pretrain": pretrain}
    )
    return {**whole, "variants": {"patternProperties": {_LABEL: partial}, "additionalProperties": False}}


def _use() -> Schema:
    """A file or a module by its name, or what a run has noted of it."""
    record = {name: {"type": "string"} for name in ("name", "sha256", "version")}
    return {"anyOf": [{"type": "string"}, {**_closed(record), "required": ["name"]}]}


def _sections() -> Schema:
    """Every kind of every section; ``SECTION``, ``SECTION-partial`` for what a variant says of it, and both with
    ``-or-own``, where kinds may be named that are not known here."""
    found: Schema = {}
    for name, kinds in known().sections.items():
        more = {"source": _property(StreamSection, "source")} if name == "stream" else {}
        for kind, row in kinds.items():
            fields = {"kind": {"const": kind, "description": row.summary}, **_properties(row.config), **more}
            required = [] if kind == DEFAULT_KINDS.get(name) else ["kind"]
            found[f"{name}.{kind}"] = {"title": f"{name}: {kind}", **_closed(fields), "required": required}
        every = [{"$ref": f"#/definitions/{name}.{kind}"} for kind in kinds]
        unknown = {"kind": {"type": "string", "not": {"enum": list(kinds)}}}
        own = {"type": "object", "properties": unknown, "required": ["kind"]}
        found[name] = {"oneOf": every}
        found[f"{name}-or-own"] = {"oneOf": [*every, own]}
        found[f"{name}-partial"] = {"anyOf": [*every, _closed({**_any_kind(kinds), **more})]}
        found[f"{name}-partial-or-own"] = {"anyOf": [*every, own, {"type": "object", "not": {"required": ["kind"]}}]}
    return found


def _any_kind(kinds: Mapping[str, Any]) -> Schema:
    """The fields of a section whose kind is said elsewhere: those of any."""
    found: dict[str, list[Schema]] = {}
    for row in kinds.values():
        for name, one in _properties(row.config).items():
            form = {k: v for k, v in one.items() if k not in ("default", "description")}
            if form not in (forms := found.setdefault(name, [])):
                forms.append(form)
    return {name: forms[0] if len(forms) == 1 else {"anyOf": forms} for name, forms in found.items()}


def _axis() -> Schema:
    """Values that are said, or a range."""
    span = {"low": {"type": "number"}, "high": {"type": "number"}, "scale": {"enum": ["linear", "log"]}}
    return {"anyOf": [{"type": "array", "minItems": 1}, _closed(span)]}


def _search(others: Schema | bool) -> Schema:
    """The ``tune`` section; axes by dotted names, or in the sections' own mappings. ``others``: what axes over fields
    of kinds that are not known here may be, if any."""
    axis, names = _axis(), {name: list(_any_kind(kinds)) for name, kinds in known().sections.items()}
    names["pretrain"] = list(_properties(PretrainConfig))
    flat = {f"{name}.{field}": axis for name, fields in names.items() for field in fields}
    more = {"additionalProperties": others}
    nested = {name: {**_closed(dict.fromkeys(fields, axis)), **more} for name, fields in names.items()}
    own = {"patternProperties": {rf"^({'|'.join(SECTIONS)})\.": others}} if others else {}
    search = _object(Search)
    search["properties"]["axes"] |= {**_closed({**flat, **nested}), **own, "minProperties": 1}
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
    if argument.allowed is None:
        return argument.meaning
    return f"{argument.meaning.rstrip('.')}. Must be {argument.allowed}."


def _or_null(form: Schema, argument: Argument) -> Schema:
    return {"anyOf": [form, {"type": "null"}], "description": argument.meaning}
