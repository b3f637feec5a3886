"""One source, one YAML file: its strict models, the checks against the contracts, and its secrets.

Belongs here: what may stand in a source YAML, and errors that name file, key and the nearest valid one. Does not
belong here: what only one ``type`` knows (its ``connection`` and ``from`` are models of its own module), and how
fields fill a contract (``contracts.mapping``).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator, model_validator

from orchestration.contracts import COMMON_COLUMNS, CONTRACTS, Contract, Kind
from orchestration.contracts.mapping import FieldMapping, StrictModel, SurveyDeclaration, TableMapping
from orchestration.contracts.survey import METRICS
from orchestration.sources.errors import WRITTEN_OUT, ConfigError, suggest
from orchestration.sources.kinds import SourceKind, source_kind
from orchestration.sources.presets import expand, preset_names

PiiAction = Literal["keep", "drop", "hmac"]
SURVEYS_STREAM = "surveys"
QUESTIONS_STREAM = "questions"
PSEUDONYM_FORMULA = 2
"""Goes up when pseudonyms come out differently, so that streams that hold some are read again."""
_STRICTNESS: dict[PiiAction, int] = {"keep": 0, "hmac": 1, "drop": 2}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_PLAIN_VALUE = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?|true|false")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MAPPABLE_COMMON = ("updated_at",)
# A keyed hash is a plain text; these kinds would be read as something else and lost.
_UNHASHABLE = {
    Kind.EMAIL,
    Kind.PHONE,
    Kind.COUNTRY,
    Kind.REGION,
    Kind.LANGUAGE,
    Kind.CURRENCY,
    Kind.TIMESTAMP,
    Kind.DATE,
    Kind.INTEGER,
    Kind.NUMBER,
    Kind.MONEY,
    Kind.BOOLEAN,
    Kind.JSON,
}


def read_duration(value: Any) -> Any:
    """A duration such as ``30s``, ``15m``, ``2h`` or ``1d``; what is no text is given back.

    Raises:
        ValueError: the text is none.
    """
    if not isinstance(value, str):
        return value
    if match := _DURATION.fullmatch(value.strip()):
        return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    raise ValueError(f"{value!r} is no duration; write 30s, 15m, 2h or 1d (a bare number for a numeric cursor)")


class PlainText(str):
    """A YAML scalar that was written without quotes and that YAML itself would read as a number or a Boolean."""

    __slots__ = ()


class Secret(StrictModel):
    """A value that stands outside the YAML: ``{env: NAME}`` or ``{file: path}``, read only when it is used."""

    env: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("give exactly one of 'env' (a variable's name) and 'file' (a path)")
        return self


def _no_text(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(WRITTEN_OUT)
    return value


Hidden = Annotated[Secret, BeforeValidator(_no_text)]
"""A value that never stands in the YAML."""


class CursorConfig(StrictModel):
    """How an increment is bounded.

    Attributes:
        field: Source column that grows with every change.
        lag: Taken off the cursor for the lower bound, so that rows committed late are met: ``15m``, ``2h``, ``1d``
            for times, a number for numbers.
        settle: Rows younger than this wait for the next load.
        start: Lower bound of the first load (http): a date, a time or a number; without, everything is asked for.
        format: How the source writes the cursor (http): ``iso``, ``epoch`` (seconds), ``epoch_ms``, ``number``, or a
            pattern such as ``%d.%m.%Y %H:%M``. A time without zone is in the source's ``timezone``. ``scan`` where the
            source knows when a record changed and its records do not say it: the cursor is the begin of the last scan,
            and ``field`` is only its name.
    """

    field: str
    lag: timedelta | float = timedelta(0)
    settle: timedelta | None = None
    start: str | None = None
    format: str = "iso"

    @field_validator("lag", "settle", mode="before")
    @classmethod
    def _read_duration(cls, value: Any) -> Any:
        if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?", value.strip()):
            return float(value)
        return read_duration(value)

    @property
    def is_field(self) -> bool:
        """Whether the cursor is a field of the records."""
        return self.format != "scan"

    @field_validator("settle")
    @classmethod
    def _settle_is_time(cls, value: Any) -> Any:
        if isinstance(value, float):
            raise ValueError("settle is a duration such as 1m")
        return value


class DeletesConfig(StrictModel):
    """How the source tells that a record is gone.

    Attributes:
        strategy: ``soft_flag`` a column of the row says so; ``tombstone`` a row of its own says so; ``key_scan``
            all keys are read and those that are missing are gone; ``replaced_file`` a file that is delivered again
            says so by what it no longer holds; ``none`` nothing is ever gone.
        field: Column of ``soft_flag`` and ``tombstone``.
        values: Its values that mean gone, as text.
        max_vanish_share: Share of the live keys that may vanish in one ``key_scan``, or of the rows that a file
            delivered again may have less; more fails the load.
    """

    strategy: Literal["none", "soft_flag", "tombstone", "key_scan", "replaced_file"] = "none"
    field: str | None = None
    values: list[str] = Field(default_factory=list)
    max_vanish_share: float = Field(default=0.05, ge=0, le=1)

    @model_validator(mode="after")
    def _field_where_needed(self) -> DeletesConfig:
        flagged = self.strategy in {"soft_flag", "tombstone"}
        if flagged and not (self.field and self.values):
            raise ValueError(f"strategy {self.strategy!r} needs 'field' and 'values' (the values that mean deleted)")
        if not flagged and (self.field or self.values):
            raise ValueError(f"strategy {self.strategy!r} takes neither 'field' nor 'values'")
        return self


class StreamConfig(StrictModel):
    """One stream of a source: from where, into which contracts.

    Attributes:
        origin: ``from`` in the YAML, a model of the source's type.
        tables: Contract to mapping; ``to`` with ``fields`` is the short form for one.
        primary_key: Source fields of the key; ``content`` (rows of equal content are one) or ``position`` (files:
            every line is one).
        cursor: Bounds of an increment; none reads everything.
        deletes: How the source tells that a record is gone.
        required: A load that fails blocks the night instead of warning.
        on_empty: Whether a delivery without rows, where earlier ones had rows, blocks the night.
        max_drop_share: Share of rows that a delivery may have less than the one before, if that is to be judged.
        optional: Source fields that are mapped but need not be there; they land as null.
        pii: Source field to what happens before it is written, for fields that no table maps.
        types: Source field to the source's own type that is right, where it changed on purpose.
    """

    origin: Any = Field(alias="from")
    tables: dict[str, TableMapping]
    primary_key: list[str] | Literal["content", "position"] | None = None
    cursor: CursorConfig | None = None
    deletes: DeletesConfig = DeletesConfig()
    required: bool = False
    on_empty: Literal["block", "allow"] = "block"
    max_drop_share: float | None = Field(default=None, ge=0, le=1)
    optional: list[str] = Field(default_factory=list)
    pii: dict[str, PiiAction] = Field(default_factory=dict)
    types: dict[str, str] = Field(default_factory=dict)
    description: str = ""

    def declared_columns(self) -> dict[str, str]:
        """Source fields that must be there, each with the first place of the YAML that names it."""
        found: dict[str, str] = {}
        if isinstance(self.primary_key, list):
            for name in self.primary_key:
                found.setdefault(name, "primary_key")
        if self.cursor and self.cursor.is_field:
            found.setdefault(self.cursor.field, "cursor")
        if self.deletes.field:
            found.setdefault(self.deletes.field, "deletes")
        for table, mapping in self.tables.items():
            for name, place in _mapped_fields(mapping):
                found.setdefault(name, f"{table}.{place}")
        for name, action in self.pii.items():
            if action != "keep":
                found.setdefault(name, "pii")
        return {name: place for name, place in found.items() if name not in self.optional}

    def pii_actions(self) -> dict[str, PiiAction]:
        """Source field to what happens before it is written; the strictest wins where several tables map it."""
        actions: dict[str, PiiAction] = {name: action for name, action in self.pii.items() if action != "keep"}
        for mapping in self.tables.values():
            for entry in mapping.fields.values():
                for name in entry.source_fields:
                    if _STRICTNESS[entry.pii] > _STRICTNESS[actions.get(name, "keep")]:
                        actions[name] = entry.pii
        return actions

    @property
    def config_hash(self) -> str:
        """Hash of what decides how the stream is read and landed; a change of it reads everything again."""
        left_out = set(getattr(self.origin, "NOT_READING", ()))
        origin = self.origin.model_dump(mode="json", exclude=left_out)
        actions = self.pii_actions()
        parts = {
            "from": origin,
            "cursor": self.cursor.field if self.cursor else None,
            "deletes": self.deletes.model_dump(mode="json", exclude={"max_vanish_share"}),
            "pii": dict(sorted(actions.items())),
        }
        if "hmac" in actions.values():
            parts["pseudonym"] = PSEUDONYM_FORMULA
        return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class SourceConfig(StrictModel):
    """One source system.

    Attributes:
        source: Name, the first part of every key of its rows.
        type: Kind of reader.
        timezone: IANA zone of timestamps without one.
        connection: How to reach it, a model of the type.
        streams: Streams by name; ``surveys`` and ``questions`` are added where surveys are declared.
        surveys: Surveys by id, with their questions and what each is measured as.
        owner: Who answers for it.
        description: What it is.
        path: The YAML file.
    """

    source: str
    type: str
    timezone: str = "UTC"
    connection: Any = None
    streams: dict[str, StreamConfig]
    surveys: dict[str, SurveyDeclaration] = Field(default_factory=dict)
    owner: str | None = None
    description: str = ""
    path: Path = Field(default=Path(), exclude=True)

    @field_validator("source")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        return _require_name(value)

    @field_validator("streams")
    @classmethod
    def _plain_stream_names(cls, value: dict[str, StreamConfig]) -> dict[str, StreamConfig]:
        for name in value:
            _require_name(name)
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is not an IANA time zone; use a name such as 'Asia/Shanghai'") from error
        return value

    def expand(self, text: str, home: Path) -> Path:
        """A path of the YAML: ``{home}`` is the warehouse's folder, a relative path starts at the YAML's folder."""
        path = Path(text.replace("{home}", str(home))).expanduser()
        return path if path.is_absolute() else self.path.parent / path

    def reveal(self, secret: str | Secret, home: Path, environment: Mapping[str, str] | None = None) -> str:
        """The value a secret stands for; a plain text is itself.

        Raises:
            ConfigError: the variable is unset or the file cannot be read; the message names it, never a value.
        """
        if isinstance(secret, str):
            return secret
        if secret.env is not None:
            value = (os.environ if environment is None else environment).get(secret.env)
            if not value:
                raise ConfigError(
                    f"{self.path}: source {self.source!r} needs the environment variable {secret.env}, which is not "
                    f"set; export {secret.env}=… before the run"
                )
            return value
        file = self.expand(str(secret.file), home)
        try:
            return file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self.path}: source {self.source!r} needs the secret file {file}, which cannot be read "
                f"({type(error).__name__}); create it, readable by the warehouse's user alone"
            ) from error


def load_sources(folder: Path) -> dict[str, SourceConfig]:
    """Every source of a folder, by name; empty where the folder is missing or holds no YAML.

    Raises:
        ConfigError: a file cannot be used, or two files name the same source.
    """
    sources, broken = read_sources(folder)
    if broken:
        raise ConfigError(next(iter(broken.values())))
    return sources


def read_sources(folder: Path) -> tuple[dict[str, SourceConfig], dict[Path, str]]:
    """Sources by name, and source files that cannot be used with the error, such as a second one of the same name."""
    sources: dict[str, SourceConfig] = {}
    broken: dict[Path, str] = {}
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            source = load_source(path)
        except ConfigError as error:
            broken[path] = str(error)
            continue
        if source.source in sources:
            other = sources[source.source].path
            broken[path] = f"{path}: the source {source.source!r} is declared in {other} already; rename one of them"
            continue
        sources[source.source] = source
    return sources, broken


def parents(source: SourceConfig, stream: str) -> list[str]:
    """Streams of the source that must be landed before ``stream`` is read."""
    # What is declared in the YAML itself is read from no other stream.
    is_declared = bool(source.surveys) and stream in {SURVEYS_STREAM, QUESTIONS_STREAM}
    return [] if is_declared else list(source_kind(source.type).parents(source.streams[stream]))


def lasting_columns(source: SourceConfig, stream: str) -> list[str]:
    """Columns of landed rows that later loads need however old they are: a key scan's key, what children ask by."""
    config, kind = source.streams[stream], source_kind(source.type)
    asked = [
        column
        for child in source.streams
        if stream in parents(source, child)
        for column in kind.parents(source.streams[child])[stream]
    ]
    is_needed = asked or config.deletes.strategy == "key_scan"
    key = config.primary_key if is_needed and isinstance(config.primary_key, list) else []
    return list(dict.fromkeys([*key, *asked]))


def load_source(path: Path) -> SourceConfig:
    """Read and check one source YAML.

    Raises:
        ConfigError: names the file, the path of the key and the way to mend it; all faults found, one a line.
    """
    return parse_source(read_yaml(path), path)


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys of a YAML file; scalars stay text.

    Raises:
        ConfigError: the file cannot be read, is no YAML or holds no keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    try:
        raw = yaml.load(text, Loader=_TextLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is no YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a source file holds keys such as source, type and streams; this one holds none")
    return raw


def parse_source(raw: Mapping[str, Any], path: Path) -> SourceConfig:
    """Check a source given as plain data, as ``load_source`` does; ``path`` is named in messages.

    Raises:
        ConfigError: as ``load_source``.
    """
    faults: list[str] = []
    preset = str(raw.get("type", ""))
    values = expand(raw, path) if preset in preset_names() else dict(raw)
    try:
        kind = source_kind(str(values.get("type", "")))
    except ConfigError as error:
        raise ConfigError(f"{path}: type: {error}") from error
    label = str(values.get("source", path.stem))
    if kind.connection is None:
        if values.get("connection") is not None:
            faults.append(f"connection: a source of type {kind.name!r} has none; remove it")
    else:
        values["connection"] = _validated(
            kind.connection, values.get("connection") or {}, ("connection",), faults, label
        )
    streams = values.get("streams")
    if isinstance(streams, dict):
        values["streams"] = {name: _stream_values(entry, name, kind, faults, label) for name, entry in streams.items()}
    config = _validated(SourceConfig, {**values, "path": path}, (), faults, label)
    if config is None or faults:
        raise ConfigError("\n".join(f"{path}: {fault}" for fault in faults))
    faults = [*_stream_faults(config, kind), *_mapping_faults(config, kind)]
    if faults:
        raise ConfigError("\n".join(f"{path}: {fault}" for fault in faults))
    return _with_declared_streams(config)


class _TextLoader(yaml.SafeLoader):
    """YAML whose scalars stay text (so that ``NO`` is Norway and ``01`` keeps its zero); a key stands once."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class's own attribute
        first: [
            (tag, pattern) for tag, pattern in resolvers if tag in {"tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"}
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        is_plain = getattr(node, "style", None) is None and isinstance(value, str) and _PLAIN_VALUE.fullmatch(value)
        return PlainText(value) if is_plain else value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name!r} stands twice in one place; keep one", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def _require_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no plain name; use lower case letters, digits and _ such as 'crm_contacts'")
    return value


def _stream_values(entry: Any, name: str, kind: SourceKind, faults: list[str], label: str) -> Any:
    """The stream's plain data with ``from`` validated and the short form ``to`` written out."""
    if not isinstance(entry, dict):
        return entry
    values = dict(entry)
    place = ("streams", name)
    if "from" in values:
        values["from"] = _validated(kind.origin, values["from"], (*place, "from"), faults, label)
    short = {key: values.pop(key) for key in _SHORT_FORM if key in values}
    if "to" in values:
        if "tables" in values:
            faults.append(f"{_dotted((*place, 'to'))}: give either 'to' (one contract) or 'tables' (several), not both")
        values["tables"] = {values.pop("to"): short}
    elif short and "tables" not in values:
        faults.append(f"{_dotted(place)}: 'fields' needs 'to': the contract they fill ({', '.join(CONTRACTS)})")
        values["tables"] = {}
    elif short:
        faults.append(f"{_dotted(place)}: move {', '.join(short)} into a table of 'tables'")
    default = getattr(values.get("from"), "default_deletes", "none")
    declared = values.get("deletes") or {}
    is_told = _why_no_replacing(values.get("primary_key"), values.get("tables")) is None
    if default != "none" and is_told and isinstance(declared, dict):
        values["deletes"] = {"strategy": default, **declared}
    return values


def _why_no_replacing(key: Any, tables: Any) -> str | None:
    """Why rows that a file has lost cannot be told by the stream's key; None where they can."""
    if not isinstance(key, list) and key != "position":
        return "name the key's fields, or 'position'"
    mappings = tables.values() if isinstance(tables, dict) else ()
    own = [
        mapping.get("primary_key") if isinstance(mapping, dict) else getattr(mapping, "primary_key", None)
        for mapping in mappings
    ]
    return "a table with a primary_key of its own may need a row that the stream lost" if any(own) else None


_SHORT_FORM = tuple(name for name in TableMapping.model_fields if name != "primary_key")


def _validated(model: type[BaseModel], values: Any, place: tuple[Any, ...], faults: list[str], label: str) -> Any:
    """An instance of ``model``, or None with the faults appended."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults += [
            _explain(model, place, problem, label)
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        return None


def _explain(model: type[BaseModel], place: tuple[Any, ...], problem: Any, label: str) -> str:
    loc = tuple(problem["loc"])
    path = _dotted((*place, *_spoken(loc)))
    if problem["type"] == "extra_forbidden":
        known = _keys_at(model, loc[:-1])
        if model is SourceConfig and len(loc) == 3 and loc[0] == "streams":
            known = [*known, "to", *_SHORT_FORM]
        known = [name for name in known if name != "path"]
        return f"{path}: unknown key {str(loc[-1])!r}; {suggest(str(loc[-1]), known, 'keys here')}"
    match loc:
        case ("surveys", survey, "questions", question, "metric"):
            return (
                f"{path}: source {label!r}, survey {survey!r}, question {question!r} needs a metric, which is never "
                f"guessed: one of {', '.join(METRICS)} ('none' where it feeds no metric)"
            )
        case _:
            message = str(problem["msg"]).removeprefix("Value error, ")
            if problem["type"] == "missing":
                message = "is missing; add it"
            return f"{path or 'file'}: {message}"


def _spoken(loc: Iterable[Any]) -> Iterator[Any]:
    """A pydantic location without the names of union members."""
    for part in loc:
        if isinstance(part, str) and (part.startswith(("literal[", "list[", "dict[")) or part in _UNION_MEMBERS):
            continue
        yield part


_UNION_MEMBERS = {"str", "float", "int", "Secret", "timedelta", "constrained-str"}


def _dotted(parts: Iterable[Any]) -> str:
    return ".".join(str(part) for part in parts)


def _keys_at(annotation: Any, loc: tuple[Any, ...]) -> list[str]:
    """Keys allowed at a location below a model: field names in their YAML spelling."""
    origin = typing.get_origin(annotation)
    if origin in {typing.Union, types.UnionType}:
        return [name for choice in typing.get_args(annotation) for name in _keys_at(choice, loc)]
    if origin is typing.Annotated:
        return _keys_at(typing.get_args(annotation)[0], loc)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if loc and (loc[0] == annotation.__name__ or loc[0] in _tags(annotation)):
            loc = loc[1:]
        fields = {info.alias or name: info.annotation for name, info in annotation.model_fields.items()}
        if not loc:
            return list(fields)
        return _keys_at(fields[loc[0]], loc[1:]) if loc[0] in fields else []
    if origin in {dict, list} and loc:
        return _keys_at(typing.get_args(annotation)[-1], loc[1:])
    return []


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """The values of ``kind`` that choose this model among others."""
    kind = model.model_fields.get("kind")
    return typing.get_args(kind.annotation) if kind is not None else ()


def _stream_faults(config: SourceConfig, kind: SourceKind) -> Iterator[str]:
    for name, stream in config.streams.items():
        place = f"streams.{name}"
        if config.surveys and name in {SURVEYS_STREAM, QUESTIONS_STREAM}:
            yield f"{place}: this name is taken by the declarations under 'surveys'; rename the stream"
        if stream.cursor and not kind.has_cursor:
            yield f"{place}.cursor: type {kind.name!r} has no cursor (what was read is known by content); remove it"
        yield from (f"{place}.{fault}" for fault in kind.faults(stream))
        if stream.deletes.strategy not in kind.deletes:
            yield (
                f"{place}.deletes.strategy: type {kind.name!r} cannot follow {stream.deletes.strategy!r}; "
                f"use one of {', '.join(kind.deletes)}"
            )
        for parent in kind.parents(stream):
            if parent not in config.streams:
                close = suggest(parent, config.streams, "streams")
                yield f"{place}.from.parent: there is no stream {parent!r}; {close}"
        if _is_own_ancestor(config, kind, name):
            yield f"{place}.from.parent: the stream waits for itself; name a parent that does not come from it"
        if stream.deletes.strategy == "replaced_file" and (why := _why_no_replacing(stream.primary_key, stream.tables)):
            yield f"{place}.deletes: 'replaced_file' tells rows by the stream's primary_key; {why}"
        if stream.deletes.strategy == "key_scan" and not isinstance(stream.primary_key, list):
            yield f"{place}.primary_key: deletes by key_scan need the fields of the key, such as [id]"
        actions = stream.pii_actions()
        if isinstance(stream.primary_key, list):
            for field in stream.primary_key:
                if actions.get(field) == "drop":
                    yield f"{place}: {field!r} is part of the primary key and cannot be dropped; use pii: hmac"
        used = [stream.cursor.field if stream.cursor else None, stream.deletes.field]
        for field in filter(None, used):
            if field in actions:
                yield f"{place}: {field!r} steers the load (cursor or deletes) and cannot be dropped or hashed"
        for key in (stream.primary_key, *(mapping.primary_key for mapping in stream.tables.values())):
            if key == "position" and not kind.has_position:
                yield f"{place}.primary_key: 'position' needs files; name the key's fields, or 'content'"


def _is_own_ancestor(config: SourceConfig, kind: SourceKind, name: str) -> bool:
    met: set[str] = set()
    due = list(kind.parents(config.streams[name]))
    while due:
        parent = due.pop()
        if parent in config.streams and parent not in met:
            met.add(parent)
            due += kind.parents(config.streams[parent])
    return name in met


def _mapping_faults(config: SourceConfig, kind: SourceKind) -> Iterator[str]:
    fills = {table for stream in config.streams.values() for table in stream.tables}
    parents = {parent for stream in config.streams.values() for parent in kind.parents(stream)}
    for name, stream in config.streams.items():
        # A stream that others take their parents from may be there for that alone.
        if not stream.tables and name not in parents:
            yield f"streams.{name}: fills no contract; add 'to' and 'fields', or 'tables'"
        for table, mapping in stream.tables.items():
            place = f"streams.{name}.tables.{table}"
            if table not in CONTRACTS:
                yield f"{place}: unknown contract {table!r}; {suggest(table, CONTRACTS, 'contracts')}"
                continue
            if mapping.primary_key is None and stream.primary_key is None:
                yield f"streams.{name}.primary_key: is missing; name the key's fields, 'content' or 'position' (files)"
            yield from _column_faults(CONTRACTS[table], mapping, place)
            yield from _survey_faults(config, fills, table, mapping, place)


def _column_faults(contract: Contract, mapping: TableMapping, place: str) -> Iterator[str]:
    own = {column.name: column for column in contract.columns}
    common = {column.name for column in COMMON_COLUMNS}
    for name, entry in mapping.fields.items():
        if name in common and name not in _MAPPABLE_COMMON and name not in own:
            yield f"{place}.fields.{name}: is filled by the warehouse and cannot be mapped; remove it"
        elif name not in own and name not in common:
            yield (
                f"{place}.fields.{name}: contract {contract.name!r} has no column {name!r}; "
                f"{suggest(name, [*own, *_MAPPABLE_COMMON], 'columns')}"
            )
        elif entry.pii == "hmac" and contract.column(name).kind in _UNHASHABLE:
            yield (
                f"{place}.fields.{name}: a keyed hash cannot be read as {contract.column(name).kind.value}; map it to "
                "an identifier column, or use pii: drop"
            )
    for key, what in (("questions", "answer"), ("texts", "comment")):
        if getattr(mapping, key) and contract.name != what:
            yield f"{place}.{key}: only {what!r} takes {key!r}; move it there"
    if mapping.survey is not None and contract.name not in {"answer", "response", "comment", "invitation"}:
        yield f"{place}.survey: only answer, response, invitation and comment belong to a survey; remove it"
    filled = {*mapping.fields, *_filled_by_mapping(contract.name, mapping)}
    for column in contract.columns:
        if column.required and column.name not in filled:
            hint = "; add 'survey: <id>' or map it" if column.name == "survey_id" else ""
            yield f"{place}.fields: required column {column.name!r} is not mapped ({column.description}){hint}"


def _filled_by_mapping(table: str, mapping: TableMapping) -> set[str]:
    """Required columns that normalising fills from the mapping's other keys."""
    filled = set()
    if mapping.survey is not None:
        filled.add("survey_id")
    if table == "answer" and mapping.questions:
        filled |= {"question_id", "response_id"}
    if table == "comment" and mapping.texts:
        filled.add("comment_text")
    return filled


def _survey_faults(
    config: SourceConfig, fills: set[str], table: str, mapping: TableMapping, place: str
) -> Iterator[str]:
    if mapping.survey is not None and "survey" not in fills and mapping.survey not in config.surveys:
        yield (
            f"{place}.survey: {mapping.survey!r} is not declared under 'surveys'; "
            f"{suggest(mapping.survey, config.surveys, 'declared')}"
        )
        return
    if table != "answer" or "question" in fills or not mapping.questions:
        return
    surveys = [config.surveys[mapping.survey]] if mapping.survey in config.surveys else list(config.surveys.values())
    declared = {question for survey in surveys for question in survey.questions}
    for question in mapping.questions:
        if question not in declared:
            yield (
                f"{place}.questions.{question}: question {question!r} of survey {mapping.survey or '(any)'!r} in "
                "source "
                f"{config.source!r} is not declared; declare it under surveys.<id>.questions with a metric (one of "
                f"{', '.join(METRICS)}); {suggest(question, declared, 'declared')}"
            )


def _mapped_fields(mapping: TableMapping) -> Iterator[tuple[str, str]]:
    if isinstance(mapping.primary_key, list):
        for name in mapping.primary_key:
            yield name, "primary_key"
    for column, entry in mapping.fields.items():
        for name in entry.source_fields:
            yield name, f"fields.{column}"
    for question, fields in mapping.questions.items():
        for name in [fields] if isinstance(fields, str) else fields:
            yield name, f"questions.{question}"
    for label, name in mapping.texts.items():
        yield name, f"texts.{label}"
    for name in mapping.where:
        yield name, "where"
    for name in mapping.attributes:
        yield name, "attributes"


def _with_declared_streams(config: SourceConfig) -> SourceConfig:
    if not config.surveys:
        return config
    from orchestration.sources.declared import declared_streams

    return config.model_copy(update={"streams": {**config.streams, **declared_streams(config)}})


__all__ = [
    "QUESTIONS_STREAM",
    "SURVEYS_STREAM",
    "ConfigError",
    "CursorConfig",
    "DeletesConfig",
    "FieldMapping",
    "Hidden",
    "Secret",
    "SourceConfig",
    "StreamConfig",
    "load_source",
    "load_sources",
    "parents",
    "parse_source",
    "read_sources",
]
