"""The JSON Schema of a source YAML, by which editors complete and check it.

Made from the models that ``config.parse_source`` checks with, from the contracts and the presets, so that it cannot lag
behind. It is no stricter than the models: what only they can say (fields that go together) is said by ``experience
sources check``. Scalars are taken as YAML writes them: a number or ``true`` is a text too, a quoted number a number.

Does not belong here: the models (``config``, and one module a kind).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from orchestration.contracts import COMMON_COLUMNS, CONTRACTS, Contract
from orchestration.contracts.mapping import FieldMapping, SurveyDeclaration, TableMapping
from orchestration.sources.config import CursorConfig, DeletesConfig, Secret, SourceConfig, StreamConfig
from orchestration.sources.errors import ConfigError
from orchestration.sources.kinds import MODULES, SourceKind, source_kind
from orchestration.sources.presets import Preset, preset, preset_names

Schema = dict[str, Any]
ADDRESS = "https://json-schema.org/draft/2020-12/schema"
FOLDER = ".schema"
FILE = "source.schema.json"
"""Below the folder of the sources: where ``experience init`` writes it."""
MODELINE = f"# yaml-language-server: $schema={FOLDER}/{FILE}"
"""First line of a source YAML, by which editors find the schema."""
_DURATION: Schema = {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(s|m|h|d)\s*$"}
_SCALAR: Schema = {"type": ["string", "number", "boolean"]}
_TEXT_OF = {"integer": r"^\s*-?\d+\s*$", "number": r"^\s*-?\d+(\.\d+)?([eE][+-]?\d+)?\s*$"}
_BOOLEANS = ["true", "false", "True", "False", "yes", "no", "on", "off", "1", "0"]
_SHORT = tuple(name for name in TableMapping.model_fields if name != "primary_key")
_OF_SOURCE = ("source", "timezone", "owner", "description", "surveys")


def schema(type_name: str | None = None) -> Schema:
    """The schema of source YAMLs of every type, or of one.

    Raises:
        ConfigError: there is no such type; the message names the nearest.
    """
    known = [*MODULES, *preset_names()]
    if type_name is not None and type_name not in known:
        source_kind(type_name)
    kinds = {name: source_kind(name) for name in MODULES}
    models: list[type[BaseModel]] = [SourceConfig, StreamConfig, SurveyDeclaration, TableMapping, FieldMapping, Secret]
    models += [CursorConfig, DeletesConfig]
    models += [model for kind in kinds.values() for model in (kind.connection, kind.origin) if model is not None]
    wanted = list(dict.fromkeys(models))
    made, shared = models_json_schema(
        [(model, "validation") for model in wanted], by_alias=True, schema_generator=_Generator
    )
    definitions: Schema = dict(shared["$defs"])
    for model in wanted:
        reference = made[model, "validation"]["$ref"].rpartition("/")[2]
        assert reference == model.__name__, f"two models are called {model.__name__}"
    _describe([*wanted, *models_in(wanted)], definitions)
    for contract in CONTRACTS.values():
        definitions[f"fields_{contract.name}"] = _fields(contract)
        definitions[f"changed_fields_{contract.name}"] = _changed_fields(contract)
        definitions[f"table_{contract.name}"] = _table(contract, definitions)
        definitions[f"changed_table_{contract.name}"] = _changed_table(contract, definitions)
    source = definitions["SourceConfig"]["properties"]
    names = known if type_name is None else [type_name]
    for name, kind in kinds.items():
        definitions[f"stream_{name}"] = _stream(kind, definitions)
    definitions["stream_changes"] = _changes(definitions)
    result: Schema = {
        "$schema": ADDRESS,
        "title": "Source of the experience warehouse",
        "type": "object",
        "required": ["source", "type"],
        "additionalProperties": False,
        "properties": {
            **{name: source[name] for name in _OF_SOURCE},
            "source": {**source["source"], "pattern": "^[a-z][a-z0-9_]*$"},
            "type": {"enum": names, "description": source["type"].get("description", "")},
            "connection": True,
            "streams": {"type": ["object", "null"]},
        },
        "allOf": [
            {
                "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                "then": _of_type(name, kinds, definitions),
            }
            for name in names
        ],
        "$defs": definitions,
    }
    for unused in ("SourceConfig", "StreamConfig", "TableMapping"):
        definitions.pop(unused)
    return result


class _Generator(GenerateJsonSchema):
    """Schemas of what may be written, where a model takes more than it keeps."""

    def str_schema(self, schema: Any) -> Schema:
        found = super().str_schema(schema)
        # YAML reads a bare 12 or true as something else; for the models every scalar is a text.
        return {**found, "type": _SCALAR["type"]} if set(found) == {"type"} else found

    def int_schema(self, schema: Any) -> Schema:
        return _number(super().int_schema(schema))

    def float_schema(self, schema: Any) -> Schema:
        return _number(super().float_schema(schema))

    def bool_schema(self, schema: Any) -> Schema:
        return {"anyOf": [super().bool_schema(schema), {"enum": _BOOLEANS}]}

    def timedelta_schema(self, schema: Any) -> Schema:
        return dict(_DURATION)

    def function_before_schema(self, schema: Any) -> Schema:
        # A list that something comes before may be written as the one entry it holds.
        return _one_or_many(self.generate_inner(schema["schema"]))

    def none_required_schema(self, schema: Any) -> Schema:
        return schema


def _number(found: Schema) -> Schema:
    return {"anyOf": [found, {"type": "string", "pattern": _TEXT_OF[found["type"]]}]}


def _one_or_many(found: Schema) -> Schema:
    if found.get("type") == "array":
        return {"anyOf": [found["items"], found]}
    if "anyOf" in found and not any(entry.get("type") == "object" for entry in found["anyOf"]):
        return {**found, "anyOf": [_one_or_many(entry) for entry in found["anyOf"]]}
    return found


def models_in(models: Sequence[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """Models that stand in fields of ``models``, at any depth."""
    seen = set(models)
    due = list(models)
    while due:
        for info in due.pop().model_fields.values():
            for inner in _models_of(info.annotation):
                if inner not in seen:
                    seen.add(inner)
                    due.append(inner)
                    yield inner


def _models_of(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models_of(part)


def described(model: type[BaseModel]) -> dict[str, str]:
    """What the docstring of a model says of its attributes, each as one line."""
    _, _, text = (model.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if match := re.match(r"^ {8}(\w+): (.*)$", line):
            name = match[1]
            found[name] = match[2].strip()
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return found


def _describe(models: Sequence[type[BaseModel]], definitions: Schema) -> None:
    """Put what docstrings say where an editor shows it, and take away what only pydantic needs."""
    for model in models:
        definition = definitions.get(model.__name__)
        if definition is None:
            continue
        definition.pop("title", None)
        definition["description"] = (model.__doc__ or "").partition("\n\n")[0].strip()
        says = described(model)
        for name, info in model.model_fields.items():
            entry = definition["properties"][info.alias or name]
            entry.pop("title", None)
            entry.pop("default", None)
            if text := says.get(name) or says.get(info.alias or ""):
                entry["description"] = text.replace("``", "`")
    if "Secret" in definitions:
        definitions["Secret"] |= {"minProperties": 1, "maxProperties": 1}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _fields(contract: Contract) -> Schema:
    """What may stand under ``fields`` for a contract."""
    entry = {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}, _ref("FieldMapping")]}
    common = [column for column in COMMON_COLUMNS if column.name == "updated_at"]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            column.name: {**entry, "description": f"{column.description}{' Required.' if column.required else ''}"}
            for column in (*contract.columns, *common)
        },
    }


def _table(contract: Contract, definitions: Schema) -> Schema:
    """The mapping of one contract under ``tables``."""
    mapping = definitions["TableMapping"]
    return {
        "type": "object",
        "additionalProperties": False,
        "description": f"{contract.grain}. {contract.description}",
        "properties": {**mapping["properties"], "fields": _ref(f"fields_{contract.name}")},
    }


def _stream(kind: SourceKind, definitions: Schema) -> Schema:
    """A stream of a kind, written out."""
    own = dict(definitions["StreamConfig"]["properties"])
    own["from"] = {**_ref(kind.origin.__name__), "description": own["from"].get("description", "")}
    short = {name: definitions["TableMapping"]["properties"][name] for name in _SHORT}
    return {
        "type": "object",
        "required": ["from"],
        "additionalProperties": False,
        "properties": {
            **own,
            **short,
            "to": {"enum": list(CONTRACTS), "description": "The contract that is filled."},
            "tables": {
                "type": "object",
                "description": own["tables"].get("description", ""),
                "additionalProperties": False,
                "properties": {name: _ref(f"table_{name}") for name in CONTRACTS},
            },
            "fields": {"type": "object"},
        },
        "allOf": [_fields_of(contract) for contract in CONTRACTS.values()],
    }


def _fields_of(contract: Contract, prefix: str = "") -> Schema:
    """``fields`` beside ``to`` are those of that contract."""
    return {
        "if": {"properties": {"to": {"const": contract.name}}, "required": ["to"]},
        "then": {"properties": {"fields": _ref(f"{prefix}fields_{contract.name}")}},
    }


def _changes(definitions: Schema) -> Schema:
    """A preset's stream with what a user puts over it: any key, any part of it, null to take it away."""
    stream = definitions["StreamConfig"]["properties"]
    names = [*stream, *_SHORT, "to", "like"]
    keys: Schema = {name: {"description": stream.get(name, {}).get("description", "")} for name in names}
    keys["to"] = {"enum": [*CONTRACTS, None]}
    keys["like"] = {**_SCALAR, "description": "The preset's stream that this is one more of."}
    keys["tables"] = {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {name: _ref(f"changed_table_{name}") for name in CONTRACTS},
    }
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": keys,
        "allOf": [_fields_of(contract, "changed_") for contract in CONTRACTS.values()],
    }


def _changed_table(contract: Contract, definitions: Schema) -> Schema:
    mapping = definitions["TableMapping"]["properties"]
    keys: Schema = {name: {"description": entry.get("description", "")} for name, entry in mapping.items()}
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {**keys, "fields": _ref(f"changed_fields_{contract.name}")},
    }


def _changed_fields(contract: Contract) -> Schema:
    found = _fields(contract)
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        # Parts of a mapping may be changed alone.
        "properties": {name: {"description": entry["description"]} for name, entry in found["properties"].items()},
    }


def _of_type(name: str, kinds: Mapping[str, SourceKind], definitions: Schema) -> Schema:
    """What ``connection`` and ``streams`` hold for one type."""
    if name not in kinds:
        return _of_preset(preset(name), kinds, definitions)
    kind = kinds[name]
    streams = {"type": "object", "additionalProperties": _ref(f"stream_{name}")}
    if kind.connection is None:
        return {"properties": {"connection": {"type": "null"}, "streams": streams}, "required": ["streams"]}
    needed = any(info.is_required() for info in kind.connection.model_fields.values())
    reference = _ref(kind.connection.__name__)
    return {
        "properties": {
            "connection": reference if needed else {"anyOf": [reference, {"type": "null"}]},
            "streams": streams,
        },
        "required": ["connection", "streams"] if needed else ["streams"],
    }


def _of_preset(chosen: Preset, kinds: Mapping[str, SourceKind], definitions: Schema) -> Schema:
    kind = kinds[str(chosen.source["type"])]
    settings: Schema = {}
    if kind.connection is not None:
        inner = definitions[kind.connection.__name__]["properties"]
        # Parts of the preset's own may be changed alone.
        settings = {key: {"description": entry.get("description", "")} for key, entry in inner.items()}
    options = {
        key: {
            "description": f"{option.description}{f', such as {option.example}' if option.example else ''}",
            **(_ref("Secret") if option.secret else {}),
        }
        for key, option in chosen.options.items()
    }
    required = [key for key, option in chosen.options.items() if option.required and option.default is None]
    streams = {str(key): _ref("stream_changes") for key in chosen.source.get("streams", {})}
    own = {"anyOf": [_ref(f"stream_{kind.name}"), {**_ref("stream_changes"), "required": ["like"], "type": "object"}]}
    connection: Schema = {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {**settings, **options},
        "description": f"{chosen.title}; credentials: {chosen.docs}",
    }
    if required:
        connection |= {"required": required, "type": "object"}
    return {
        "properties": {
            "connection": connection,
            "streams": {"type": ["object", "null"], "properties": streams, "additionalProperties": own},
        },
        **({"required": ["connection"]} if required else {}),
    }


__all__ = ["FILE", "FOLDER", "MODELINE", "ConfigError", "described", "models_in", "schema"]
