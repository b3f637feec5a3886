"""What there is at a source, and a ready YAML to read it: tables of a database, columns of files, fields of answers.

Belongs here: asking, through each kind's own reader (the same credentials, limits and read-only sessions), and writing
the proposal as YAML. Does not belong here: which column fills what (``propose``).
"""

from __future__ import annotations

import csv
import glob
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from orchestration.contracts.mapping import TableMapping
from orchestration.settings import Settings
from orchestration.sources.config import (
    ConfigError,
    Secret,
    SourceConfig,
    StreamConfig,
    parse_source,
    read_yaml,
)
from orchestration.sources.declared import DeclaredOrigin
from orchestration.sources.errors import SourceError
from orchestration.sources.presets import preset, preset_names
from orchestration.sources.propose import Found, Proposal, guessed_types, propose
from orchestration.sources.schema import MODELINE
from orchestration.sources.sql import SqlConnection, SqlOrigin, dialect
from orchestration.sources.trial import trials

_PLACEHOLDER: Mapping[str, Any] = {"account": {"fields": {"name": {"value": "-"}}, "primary_key": "content"}}
"""Mapping of a stream that has none yet, so that it can be read."""
_OPEN = {"to", "tables", "fields", "primary_key"}
_WIDTH = 116


def tables_of(connection: SqlConnection, *, settings: Settings, now: datetime) -> list[Found]:
    """Tables and views that the user may read, each with columns, types and key.

    Raises:
        SourceError: the database cannot be reached or asked.
    """
    source = SourceConfig.model_construct(
        source="discover", type="sql", timezone="UTC", connection=connection, surveys={}, path=Path.cwd() / "discover"
    )
    query = dialect("discover", source.reveal(connection.dsn, settings.home)).CATALOGUE
    stream = StreamConfig.model_validate(
        {"from": SqlOrigin(query=query), "tables": {"account": TableMapping()}, "primary_key": "content"}
    )
    source = source.model_copy(update={"streams": {"tables": stream}})
    found: list[Found] = []
    with trials(source, settings, now) as tried:
        rows = pl.concat(list(tried.batches("tables"))).sort("table", "position")
    for (table,), columns in rows.group_by("table", maintain_order=True):
        types = dict(zip(columns["column"], columns["type"].fill_null(""), strict=True))
        key = columns.filter(pl.col("is_key") == "true")["column"].to_list()
        found.append(Found(str(table), types, key, {"table": table}, has_cursor=True))
    return found


def file_found(path: str, *, settings: Settings, now: datetime) -> Found:
    """Columns of the files of a pattern; delimiter and encoding are found out.

    Raises:
        SourceError: there is no file, or it cannot be read as it is.
        ConfigError: the ending names no format.
    """
    if "://" not in path:
        path = str(Path.cwd() / path)
    origin: dict[str, Any] = {"path": path}
    first = next((Path(found) for found in sorted(glob.glob(path, recursive=True))), None)  # noqa: PTH207
    if first is not None and first.suffix.lower() in {".csv", ".tsv", ".txt"}:
        origin |= _csv_layout(first)
    name = _stream_name(re.sub(r"[*?\[\]\d]", "", Path(path).name).partition(".")[0] or Path(path).parent.name)
    raw = {"source": "discover", "type": "files", "streams": {name: {"from": origin, "tables": _PLACEHOLDER}}}
    with trials(parse_source(raw, Path.cwd() / "discover.yaml"), settings, now) as tried:
        trial = tried.read(name)
    types = guessed_types(trial.rows)
    return Found(name, {column: types.get(column, "") for column in trial.columns}, (), origin)


def _stream_name(text: str) -> str:
    name = re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_")
    return name if name[:1].isalpha() else f"rows_{name}".strip("_")


def _csv_layout(path: Path) -> dict[str, Any]:
    """Delimiter and encoding of a file that is not compressed, where they are not the usual ones."""
    start = path.read_bytes()[:65536]
    if start[:2] in {b"\x1f\x8b", b"PK"}:
        return {}
    layout: dict[str, Any] = {}
    # Bytes beyond ASCII stand alone in Western texts, and in pairs in Chinese ones.
    high = re.findall(rb"[\x80-\xff]+", start)
    is_western = sum(len(run) == 1 for run in high) > len(high) / 2
    for encoding in ("utf-8", "utf-16", *(("cp1252", "gb18030") if is_western else ("gb18030", "cp1252"))):
        try:
            # A character may be cut in two by the end of what was read.
            text = start.decode(encoding, "strict" if len(start) < 65536 else "ignore")
        except UnicodeError:
            continue
        if encoding == "utf-16" and start[:2] not in {b"\xff\xfe", b"\xfe\xff"}:
            continue
        if encoding != "utf-8":
            layout["encoding"] = encoding
        break
    else:
        return {}
    head = text.partition("\n")[0]
    counts = {sign: len(next(csv.reader(io.StringIO(head), delimiter=sign), [])) for sign in ",;\t|"}
    best = max(counts, key=lambda sign: counts[sign])
    if best != "," and counts[best] > counts[","]:
        layout["delimiter"] = {"\t": "tab"}.get(best, best)
    return layout


def draft(path: Path) -> tuple[dict[str, Any], SourceConfig]:
    """A source YAML whose streams need no mapping yet: as written, and as one that can be read.

    Raises:
        ConfigError: as ``load_source``, but for what is not mapped.
    """
    raw = read_yaml(path)
    if raw.get("type") in preset_names():
        return raw, parse_source(raw, path)
    streams = raw.get("streams")
    if not isinstance(streams, dict):
        raise ConfigError(
            f"{path}: streams: name at least one, such as people: {{from: {{request: {{path: /people}}}}}}"
        )
    filled = {
        name: {key: value for key, value in entry.items() if key not in _OPEN} | {"tables": _PLACEHOLDER}
        if isinstance(entry, dict) and not {"to", "tables"} & set(entry)
        else entry
        for name, entry in streams.items()
    }
    return raw, parse_source({**raw, "streams": filled}, path)


def fields_of(
    source: SourceConfig,
    *,
    settings: Settings,
    now: datetime,
    only: str | None = None,
    failed: Callable[[str, SourceError], None],
) -> Iterator[Found]:
    """Columns in the first page of each stream; ``failed`` is told of those that cannot be read."""
    with trials(source, settings, now) as tried:
        for name, config in source.streams.items():
            # What the YAML declares itself has no fields to be found.
            if only not in (None, name) or isinstance(config.origin, DeclaredOrigin):
                continue
            try:
                trial = tried.read(name)
            except SourceError as error:
                failed(name, error)
                continue
            types = guessed_types(trial.rows) | {key: kind for key, kind in trial.source_types.items() if kind}
            columns = {column: types.get(column, "") for column in trial.columns}
            key = config.primary_key if isinstance(config.primary_key, list) else ()
            yield Found(name, columns, key, {}, has_cursor=config.cursor is not None)


def source_yaml(
    source: str, type_name: str, connection: Mapping[str, Any] | None, found: Sequence[Found], timezone: str = "UTC"
) -> str:
    """A source YAML with every table that fits a contract; the others as comments."""
    proposals = [propose(one) for one in found]
    customers = next((one for one in proposals if one.contract == "customer" and not one.missing), None)
    lines = [MODELINE, f"source: {source}", f"type: {type_name}", f"timezone: {timezone}"]
    if connection:
        lines.append(f"connection: {_flow(connection)}")
    good = [one for one in proposals if one.contract and not one.missing]
    lines.append("streams:" if good else "streams: {}")
    for one in good:
        lines += _stream_lines(one, source if customers is not None else None)
    for one in proposals:
        if one not in good:
            lines += _left_out(one)
    return "\n".join(lines) + "\n"


def head_yaml(written: Mapping[str, Any]) -> str:
    """A source YAML down to its streams, as it is written."""
    lines = [MODELINE, *(line.removeprefix("    ") for line in _keys(written)), "streams:"]
    return "\n".join(lines)


def stream_yaml(found: Found, written: Mapping[str, Any], config: StreamConfig) -> str:
    """A stream as it is written, with what is proposed for it; the columns that nothing maps as comments."""
    one = propose(found)
    kept = {key: value for key, value in written.items() if key not in _OPEN or {"to", "tables"} & set(written)}
    if {"to", "tables"} & set(written) or not one.contract or one.missing:
        lines = [f"  {found.name}:", *_keys(kept)]
        if not {"to", "tables"} & set(written):
            lines += [f"    # {line.strip(' #')}" for line in _left_out(one)]
        used = {*config.declared_columns(), *config.optional}
        rest = [f"{name} ({kind or 'empty'})" for name, kind in found.columns.items() if name not in used]
        return "\n".join([*lines, *(_comment("not mapped", rest) if rest else [])])
    return "\n".join(_stream_lines(one, None, kept))


def preset_yaml(name: str) -> str:
    """A source YAML of a preset: its options, and its streams."""
    chosen = preset(name)
    lines = [
        MODELINE,
        f"# {chosen.title}; credentials: {chosen.docs}",
        f"source: {name}",
        f"type: {name}",
        "connection:",
    ]
    for key, option in chosen.options.items():
        value = option.example if option.example is not None else option.default
        if option.secret:
            value = option.example or f"{{env: {f'{name}_{key}'.upper()}}}"
        shown = str(value) if option.secret else _flow(value)
        mark = "" if option.required else "# "
        lines.append(f"  {mark}{key}: {shown}  # {option.description}")
    if not any(option.required for option in chosen.options.values()):
        lines[-len(chosen.options) - 1] = "connection: {}" if chosen.options else "# no connection is needed"
    lines.append("streams:")
    for stream, entry in chosen.source.get("streams", {}).items():
        fills = ", ".join(entry.get("tables", {}) or [str(entry.get("to", ""))])
        mark = "# " if stream in chosen.optional_streams else ""
        lines.append(f"  {mark}{stream}: {{}}  # fills {fills}{'; read where named' if mark else ''}")
    if survey := chosen.options.get("survey"):
        lines += [
            "surveys:",
            f"  {survey.example or survey.default}:",
            "    name: what the survey is called",
            "    questions: {}",
        ]
        lines.append("    # questions: {Q1: {metric: nps, scale: {min: 0, max: 10}}}")
    return "\n".join(lines) + "\n"


def _stream_lines(one: Proposal, customers: str | None, written: Mapping[str, Any] | None = None) -> list[str]:
    lines = [
        f"  {_stream_name(one.found.name.rpartition('.')[2])}:",
        *_keys(written if written is not None else {"from": dict(one.found.origin)}),
    ]
    lines += [f"    to: {one.contract}"]
    key = _flow(list(one.key)) if one.key else "content  # rows of equal content are one; better the fields of a key"
    lines += [f"    primary_key: {key}"]
    if "deletes" not in (written or {}) and (flag := one.deleted):
        lines.append(f"    deletes: {{strategy: soft_flag, field: {_flow(flag[0])}, values: ['{flag[1]}']}}")
    if "cursor" not in (written or {}):
        if one.cursor:
            lines.append(f"    cursor: {{field: {_flow(one.cursor)}, lag: 15m}}")
        if one.cursors and not one.cursor:
            lines.append(f"    # cursor: {{field: {_flow(one.cursors[0])}}}  # only if it grows with every change")
        if one.found.has_cursor and not one.deleted:
            lines.append("    # deletes: {strategy: key_scan}  # if rows are removed at the source")
    lines.append("    fields:")
    if customers is not None and "customer_id" in one.fields:
        lines.append(f"      customer_source: {{value: {customers}}}")
    for column, field in one.fields.items():
        lines.append(f"      {column}: {_flow(field)}{'  # personal' if one.is_personal(column) else ''}")
    if one.hidden:
        lines.append(f"    pii: {_flow(dict.fromkeys(one.hidden, 'drop'))}  # looks personal and fills nothing")
    if one.unmapped:
        lines += _comment("not mapped", [f"{name} ({one.found.columns[name] or 'unknown'})" for name in one.unmapped])
    return lines


def _keys(values: Mapping[str, Any]) -> list[str]:
    """Keys of a stream as YAML, each on a line where it fits."""
    lines: list[str] = []
    for key, value in values.items():
        flow = f"    {key}: {_flow(value)}"
        if len(flow) <= _WIDTH:
            lines.append(flow)
            continue
        block = yaml.safe_dump(_plain({key: value}), sort_keys=False, allow_unicode=True, width=100)
        lines += [f"    {line}" for line in block.splitlines()]
    return lines


def _left_out(one: Proposal) -> list[str]:
    if one.contract is None:
        reason = "no contract fits by its name and columns"
    else:
        reason = f"looks like {one.contract}, but nothing fits its {', '.join(one.missing)}"
    columns = [f"{name} ({kind})" if kind else name for name, kind in one.found.columns.items()]
    return _comment(f"{one.found.name}: {reason}; columns", columns, indent="  ")


def _comment(what: str, words: Sequence[str], indent: str = "    ") -> list[str]:
    lines, line = [], f"{indent}# {what}: "
    for position, word in enumerate(words):
        shown = f"{word}{',' if position < len(words) - 1 else ''} "
        if len(line) + len(shown) > _WIDTH:
            lines.append(line.rstrip())
            line = f"{indent}#   "
        line += shown
    return [*lines, line.rstrip()]


def _flow(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.safe_dump(_plain(value), default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("...").strip()


def _plain(value: Any) -> Any:
    """Without types of our own, which YAML would name."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Secret):
        return {"env": value.env} if value.env else {"file": value.file}
    return str(value) if isinstance(value, str) else value
