"""How known platforms write their exports: header rows that become column names, nested events made flat.

Belongs here: what a platform's file looks like. Does not belong here: bytes, compression and encodings (``files``),
and what a column means (the mapping in the source YAML).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import duckdb
import polars as pl

from orchestration.sources.errors import suggest
from orchestration.sources.landing import META_SCHEMA

PROFILES = ("ga4_bigquery", "qualtrics", "surveymonkey")
CSV_PROFILES = ("qualtrics", "surveymonkey")

GA4_COLUMNS = (
    "event_date",
    "event_timestamp",
    "event_name",
    "event_params",
    "event_previous_timestamp",
    "event_value_in_usd",
    "event_bundle_sequence_id",
    "event_server_timestamp_offset",
    "user_id",
    "user_pseudo_id",
    "privacy_info",
    "user_properties",
    "user_first_touch_timestamp",
    "user_ltv",
    "device",
    "geo",
    "app_info",
    "traffic_source",
    "collected_traffic_source",
    "session_traffic_source_last_click",
    "stream_id",
    "platform",
    "event_dimensions",
    "ecommerce",
    "items",
    "is_active_user",
    "batch_event_index",
    "batch_page_id",
    "batch_ordering_id",
    "publisher",
)
"""Top level of the GA4 BigQuery export schema (support.google.com/analytics/answer/7029846)."""
GA4_ALWAYS = ("event_date", "event_timestamp", "event_name")
"""Columns that no GA4 export is without; a JSON export leaves out what is null, so others may be absent."""
GA4_KEYED = ("event_params", "user_properties")
_GA4_RECORDS = (
    "privacy_info",
    "user_ltv",
    "device",
    "geo",
    "app_info",
    "traffic_source",
    "collected_traffic_source",
    "session_traffic_source_last_click",
    "event_dimensions",
    "ecommerce",
    "publisher",
)
_GA4_VALUES = ("string_value", "int_value", "float_value", "double_value")
_UNNAMED_OPTIONS = ("", "response", "open-ended response")


def unique_names(names: Iterable[str]) -> list[str]:
    """Names that differ: a blank one is ``column_<position>``, equal ones all become ``name#1``, ``name#2`` ….

    None of several equal names keeps the plain name, so that a mapping can never take the wrong one silently. Names
    that the landing uses itself become ``<name>#source``.
    """
    filled = [name if name.strip() else f"column_{position}" for position, name in enumerate(names, start=1)]
    filled = [f"{name}#source" if name in META_SCHEMA else name for name in filled]
    repeated = {name for name in filled if filled.count(name) > 1}
    taken = set(filled) - repeated
    seen: dict[str, int] = {}
    result = []
    for name in filled:
        unique = name
        while name in repeated and (unique == name or unique in taken):
            seen[name] = seen.get(name, 0) + 1
            unique = f"{name}#{seen[name]}"
        taken.add(unique)
        result.append(unique)
    return result


def joined_names(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names of a header of several rows without a profile: the different cells of a column, joined by `` - ``."""
    width = max(map(len, rows))
    columns = ([row[position] if position < len(row) else "" for row in rows] for position in range(width))
    return unique_names(" - ".join(dict.fromkeys(cell.strip() for cell in cells if cell.strip())) for cells in columns)


def surveymonkey_names(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names of a SurveyMonkey export: row 1 the question (blank where it goes on), row 2 the option.

    A column is ``question - option``; a question of one column keeps its plain name where the option says nothing
    (blank, ``Response``).
    """
    questions, options = ([*row] for row in rows[:2])
    width = max(len(questions), len(options))
    questions += [""] * (width - len(questions))
    options += [""] * (width - len(options))
    names = []
    question = ""
    for position in range(width):
        question = _folded(questions[position]) or question
        goes_on = position + 1 < width and not _folded(questions[position + 1])
        continues = not _folded(questions[position])
        option = _folded(options[position])
        alone = not goes_on and not continues
        plain = (alone and option.lower() in _UNNAMED_OPTIONS) or not option
        names.append(question if plain else f"{question} - {option}" if question else option)
    return unique_names(names)


def qualtrics_names(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names of a Qualtrics export: by ``ImportId`` of the third header row, by the first row without one."""
    if len(rows) < 3:
        return unique_names(cell.strip() for cell in rows[0])
    names = []
    for short, cell in zip(rows[0], rows[2], strict=True):
        entry = _import_id(cell) or {}
        name = str(entry.get("ImportId") or short.strip())
        if choice := entry.get("choiceId"):
            name = f"{name}_{choice}"
        names.append(name)
    return unique_names(names)


def is_import_id_row(cells: Sequence[str]) -> bool:
    """Whether a row is the third header row of a Qualtrics export."""
    filled = [cell for cell in cells if cell.strip()]
    return bool(filled) and all(_import_id(cell) is not None for cell in filled)


def ga4_missing(column: str, columns: Iterable[str]) -> str | None:
    """Why a declared column cannot be one of a GA4 export, or None where it may merely be absent today."""
    top = column.partition(".")[0]
    known = [*GA4_COLUMNS, *columns]
    if column in GA4_ALWAYS or top not in GA4_COLUMNS:
        return f"column {column!r} is missing; {suggest(column, known, 'known')}"
    if top in GA4_KEYED and column == top:
        return f"column {column!r} is made flat; name one key of it, such as {column}.page_location"
    return None


def ga4_rows(connection: duckdb.DuckDBPyConnection, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Events made flat.

    ``event_params`` and ``user_properties`` become ``event_params.<key>`` with the one value that is set; records
    such as ``device`` become ``device.category``, ``device.web_info.browser``; lists stay JSON.

    Args:
        connection: Any DuckDB connection; used for its JSON functions.
        frame: Top-level columns as text, nested values as JSON text.

    Returns:
        The flat rows in their order, and for each row whether its nested values could be read.
    """
    readable = pl.Series([True] * frame.height, dtype=pl.Boolean)
    parts: list[pl.DataFrame] = []
    for name in frame.columns:
        if name in GA4_KEYED:
            values, fits = _keyed(connection, frame[name])
            readable &= fits
            parts.append(values)
        elif name in _GA4_RECORDS:
            values, fits = _record(connection, frame[name])
            readable &= fits
            parts.append(values)
        else:
            parts.append(frame.select(name))
    return pl.concat(parts, how="horizontal"), readable


def _keyed(connection: duckdb.DuckDBPyConnection, column: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    structure = json.dumps([{"key": "VARCHAR", "value": dict.fromkeys(_GA4_VALUES, "VARCHAR")}])
    lists = _transform(connection, column, structure)
    fits = lists.is_not_null() | column.is_null()
    rows = pl.DataFrame({"row": pl.int_range(column.len(), eager=True), "entry": lists})
    entries = (
        rows.explode("entry", empty_as_null=False, keep_nulls=False)
        .unnest("entry")
        .unnest("value")
        .select("row", "key", pl.coalesce(_GA4_VALUES).alias("value"))
        .drop_nulls("key")
    )
    keys = entries["key"].unique(maintain_order=True).to_list()
    values = entries.group_by("row").agg(
        pl.col("value").filter(pl.col("key") == key).first().alias(f"{column.name}.{key}") for key in keys
    )
    return rows.select("row").join(values, on="row", how="left", maintain_order="left").drop("row"), fits


def _record(connection: duckdb.DuckDBPyConnection, column: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    # A handful of devices and places stand for millions of events.
    values = column.unique(maintain_order=True)
    connection.register("_values", values.to_frame("value").to_arrow())
    kinds = connection.execute("SELECT CASE WHEN json_valid(value) THEN json_type(value) END AS kind FROM _values").pl()
    is_object = kinds["kind"].eq("OBJECT").fill_null(False)
    objects = values.filter(is_object)
    connection.register("_values", objects.to_frame("value").to_arrow())
    found = connection.execute("SELECT json_group_structure(value::JSON)::VARCHAR FROM _values")
    structure = json.loads((found.fetchone() or (None,))[0] or "null")
    fits = column.is_in(objects.implode()) | column.is_null()
    if not isinstance(structure, dict) or not structure:
        return column.to_frame(), fits
    flat = _transform(connection, objects, json.dumps(_as_text(structure))).to_frame()
    while nested := [name for name, dtype in flat.schema.items() if isinstance(dtype, pl.Struct)]:
        for name in nested:
            flat = flat.with_columns(pl.col(name).name.map_fields(_prefixed(name))).unnest(name)
    names = flat.columns
    joined = column.to_frame("\0").join(
        flat.with_columns(objects.alias("\0")), on="\0", how="left", maintain_order="left"
    )
    return joined.select(names), fits


def _prefixed(name: str) -> Callable[[str], str]:
    return lambda field: f"{name}.{field}"


def _transform(connection: duckdb.DuckDBPyConnection, column: pl.Series, structure: str) -> pl.Series:
    connection.register("_values", column.to_frame("value").to_arrow())
    table = connection.execute(
        "SELECT TRY(json_transform(value, ?)) AS value FROM _values", [structure]
    ).to_arrow_table()
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame["value"].alias(column.name)


def _as_text(structure: Any) -> Any:
    """A JSON structure in which everything but an object is text."""
    if isinstance(structure, dict) and structure:
        return {name: _as_text(inner) for name, inner in structure.items()}
    return "VARCHAR"


def _folded(text: str) -> str:
    return " ".join(text.split())


def _import_id(cell: str) -> dict[str, Any] | None:
    try:
        value = json.loads(cell)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "ImportId" in value else None
