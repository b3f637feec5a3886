"""Explain one row of one published table: its records, where they came from, and the same numbers computed from them.

Belongs here: finding the row, gathering what is behind it, holding the recomputed numbers against the published ones.
Does not belong here: which records count for which table (``tables``), printing (``commands.explain``).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl

from orchestration.lineage.code import FILE, Code, Model
from orchestration.lineage.formulas import Formulas
from orchestration.lineage.sql import literal, quote
from orchestration.lineage.table import RECORD_COLUMNS, ExplainedTable
from orchestration.lineage.tables import SEEDED, tables
from orchestration.lineage.trace import Load, landed, versions
from orchestration.settings import Settings
from orchestration.sources.errors import nearest
from orchestration.warehouse.publish import Release, current_release, releases

TOLERANCE = 1e-9
"""Relative difference that sums of doubles in another order may have."""
_SHOWN_VALUES = 8


class ExplainError(RuntimeError):
    """The row cannot be named or explained; the message says why and what to do."""


@dataclass(frozen=True)
class Compared:
    """One number of the row, as published and as computed from the records."""

    column: str
    published: Any
    recomputed: Any

    @property
    def is_equal(self) -> bool:
        """Whether both are the same, but for the order that doubles were added in."""
        one, other = _plain(self.published), _plain(self.recomputed)
        if isinstance(one, float) and isinstance(other, float | int):
            return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return bool(one == other)


@dataclass(frozen=True)
class Explanation:
    """What is behind one row of one published table.

    Attributes:
        table: The table.
        cell: The row, column to value.
        release: Release that it was read from.
        code: Code that made it.
        models: Models and seeds from the clean layer to the table, in order.
        records: What counts: ``measure``, ``id``, ``record_table``, ``source``, ``source_id``, ``load_id``,
            ``load_row``, ``stream``, ``run_id`` (that landed it), ``part``, ``source_file``, ``source_row``, and what
            the table's records have besides; sorted by measure and id.
        loads: Loads that they came with.
        digests: Measure to the SHA-256 of its sorted ids, joined by newline.
        compared: Numbers of the row that were computed again.
        recomputed: Those that the release does not show (a suppressed score).
        notes: What the reader has to know.
    """

    table: str
    cell: Mapping[str, Any]
    release: Release
    code: Code
    models: Mapping[str, Model]
    records: pl.DataFrame
    loads: Sequence[Load]
    digests: Mapping[str, str]
    compared: Sequence[Compared]
    recomputed: Mapping[str, Any]
    notes: Sequence[str]

    @property
    def differences(self) -> list[Compared]:
        """Numbers that do not come out as published."""
        return [one for one in self.compared if not one.is_equal]


def explain(
    settings: Settings,
    name: str,
    where: Mapping[str, str],
    *,
    release_id: str | None = None,
    show_suppressed: bool = False,
    built_by: str | None = None,
) -> Explanation:
    """Explain one row.

    Args:
        settings: Where everything lies.
        name: A published table.
        where: Column to value as text; together they name one row.
        release_id: Release; the current one by default.
        show_suppressed: Explain a suppressed cell too.
        built_by: Run whose build dbt's private tables hold; None where the last build did not come to its end.

    Raises:
        ExplainError: there is no such table, column or row, or more than one; the cell is suppressed; a file is being
            written to.
    """
    release = _release(settings, release_id)
    known = tables()
    if name in SEEDED:
        raise ExplainError(f"{name} is made from {SEEDED[name]}: no row of a source is behind it")
    if name not in known:
        found = nearest(name, known)
        raise ExplainError(f"no published table {name!r} can be explained; there are {', '.join(found or known)}")
    table = known[name]
    notes: list[str] = []
    code = _code(release, notes)
    with _databases(settings, release, table) as connection:
        cell = _cell(connection, table, where)
        hidden = _hidden(table, cell, show_suppressed, notes)
        if table.reads_build:
            notes += _moved_on(release, code, built_by)
        kept = " AND ".join(["true", *(f"measure <> {literal(measure)}" for measure in hidden)])
        connection.execute(f"CREATE TEMP TABLE record AS SELECT * FROM ({table.records}) WHERE {kept}")
        values = _recompute(connection, table, Formulas(settings.dbt_project_dir), hidden)
        records = connection.execute("FROM record").pl()
        for database in ("warehouse", "release"):
            # A night that begins now must find its files free.
            connection.execute(f"DETACH DATABASE IF EXISTS {database}")
        records = versions(connection, settings.clean_dir, records)
    rows, loads, problems = landed(settings.landing_dir, records)
    notes += problems
    # A cookie and a login are values on rows, not rows.
    lost = records.filter(pl.col("load_id").is_null() & ~pl.col("record_table").is_in(["visitor", "login"])).height
    if lost:
        notes.append(f"{lost} records are in the clean layer no more: they were deleted or erased since")
    records = records.join(rows, on=["source", "load_id", "load_row"], how="left")
    more = [column for column in records.columns if column not in _ORDER]
    records = records.select(*_ORDER, *more).sort("measure", "id", "source", "source_id", nulls_last=True)
    return Explanation(
        table=name,
        cell=cell,
        release=release,
        code=code,
        models={model: code.models[model] for model in code.behind(name)},
        records=records,
        loads=loads,
        digests={
            str(measure): digest(group["id"].to_list()) for (measure,), group in sorted(records.group_by("measure"))
        },
        compared=[
            Compared(column, cell[column], value)
            for column, value in values.items()
            if column in cell and (cell[column] is not None or not show_suppressed)
        ],
        recomputed={column: value for column, value in values.items() if cell.get(column) is None},
        notes=notes,
    )


_ORDER = (
    *RECORD_COLUMNS,
    "load_id",
    "load_row",
    "stream",
    "run_id",
    "part",
    "source_file",
    "source_row",
)


def digest(ids: Sequence[str]) -> str:
    """SHA-256 of the sorted ids, joined by newline: equal for equal sets of records."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def _release(settings: Settings, release_id: str | None) -> Release:
    if release_id is None:
        current = current_release(settings)
        if current is None:
            raise ExplainError(f"nothing is published below {settings.serving_dir} yet; run a night first")
        return current
    known = {release.run_id: release for release in releases(settings)}
    if release_id not in known:
        raise ExplainError(f"there is no release {release_id!r}; there are {', '.join(known) or 'none'}")
    return known[release_id]


def _code(release: Release, notes: list[str]) -> Code:
    path = release.path / FILE
    try:
        return Code.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        notes.append(f"the release does not say which code made it: {error}")
        return Code()


def _moved_on(release: Release, code: Code, built_by: str | None) -> list[str]:
    if code.built_by is not None and built_by == code.built_by:
        return []
    since = f"run {built_by} built the marts again" if built_by else "a build began that did not come to its end"
    return [
        f"since release {release.run_id} was published, {since}: the records are those of that build, held against the "
        "numbers of the release"
    ]


@contextmanager
def _databases(settings: Settings, release: Release, table: ExplainedTable) -> Iterator[duckdb.DuckDBPyConnection]:
    config: dict[str, Any] = {"memory_limit": settings.duckdb_memory_limit, "threads": settings.duckdb_threads}
    with duckdb.connect(config=config) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH {literal(str(release.marts_path))} AS release (READ_ONLY)")
        if table.reads_build:
            path = settings.warehouse_path
            if not path.is_file():
                raise ExplainError(f"{path} does not exist: the rows behind {table.name} cannot be named; run a night")
            try:
                connection.execute(f"ATTACH {literal(str(path))} AS warehouse (READ_ONLY)")
            except duckdb.IOException as error:
                raise ExplainError(
                    f"{path} is being written to ({error}); ask again when the night has ended"
                ) from error
        yield connection


def _cell(connection: duckdb.DuckDBPyConnection, table: ExplainedTable, where: Mapping[str, str]) -> dict[str, Any]:
    """The row that ``where`` names; it is the table ``cell`` afterwards."""
    columns = [row[0] for row in connection.execute(f"DESCRIBE release.{quote(table.name)}").fetchall()]
    if unknown := [column for column in where if column not in columns]:
        near = nearest(unknown[0], columns) or columns
        raise ExplainError(
            f"{table.name} has no column {unknown[0]!r}; nearest: {', '.join(near)}. Its rows are told apart by "
            f"{', '.join(table.key)}"
        )
    conditions = [f"CAST({quote(column)} AS VARCHAR) = {literal(value)}" for column, value in where.items()]
    condition = " AND ".join(["true", *conditions])
    connection.execute(f"CREATE TEMP TABLE cell AS SELECT * FROM release.{quote(table.name)} WHERE {condition} LIMIT 2")
    cursor = connection.execute("FROM cell")
    found = cursor.fetchall()
    if len(found) == 1:
        return dict(zip(columns, found[0], strict=True))
    said = ", ".join(f"{column}={value}" for column, value in where.items()) or "no condition"
    if found:
        raise ExplainError(
            f"{said} names more than one row of {table.name}; add --where "
            + "; --where ".join(_open_columns(connection, table, where, condition))
        )
    raise ExplainError(f"{table.name} has no row with {said}; {_nearest_value(connection, table, where)}")


def _open_columns(
    connection: duckdb.DuckDBPyConnection, table: ExplainedTable, where: Mapping[str, str], condition: str
) -> list[str]:
    """Key columns that the rows found differ in, with some of their values."""
    listed = []
    for column in table.key:
        if column in where:
            continue
        values = _values(connection, table, column, condition)
        if len(values) > 1:
            more = " …" if len(values) > _SHOWN_VALUES else ""
            listed.append(f"{column}= one of {', '.join(values[:_SHOWN_VALUES])}{more}")
    return listed or [f"{column}=…" for column in table.key]


def _nearest_value(connection: duckdb.DuckDBPyConnection, table: ExplainedTable, where: Mapping[str, str]) -> str:
    """Which condition leaves nothing over, and the values nearest to its own among the rows that the others name."""
    conditions: list[str] = ["true"]
    for column, value in where.items():
        values = _values(connection, table, column, " AND ".join(conditions))
        conditions.append(f"CAST({quote(column)} AS VARCHAR) = {literal(value)}")
        if value not in values:
            near = nearest(value, values, _SHOWN_VALUES) or values[:_SHOWN_VALUES]
            return f"{column} has there no {value!r}; nearest: {', '.join(near)}"
    return "no row has all of it"


def _values(connection: duckdb.DuckDBPyConnection, table: ExplainedTable, column: str, condition: str) -> list[str]:
    query = (
        f"SELECT DISTINCT CAST({quote(column)} AS VARCHAR) AS value FROM release.{quote(table.name)} "
        f"WHERE {condition} AND {quote(column)} IS NOT NULL ORDER BY value"
    )
    return [row[0] for row in connection.execute(query).fetchall()]


def _hidden(table: ExplainedTable, cell: Mapping[str, Any], show_suppressed: bool, notes: list[str]) -> list[str]:
    """Measures whose records are not named.

    Raises:
        ExplainError: the cell is suppressed as a whole.
    """
    minimum = cell.get("minimum_n")
    if cell.get("is_suppressed") and not show_suppressed:
        raise ExplainError(
            f"this cell is suppressed ({cell.get('suppression_reason')}, minimum {minimum}): to name its records would "
            "tell what it hides. With --show-suppressed an operator may see it; the answer is not for publication"
        )
    hidden = [measure for measure, flag in table.hidden_by.items() if cell.get(flag)]
    if (hidden or cell.get("is_suppressed")) and show_suppressed:
        notes.append("this cell is suppressed: what stands here is not for publication")
        return []
    if hidden:
        notes.append(f"{', '.join(hidden)} are suppressed here (minimum {minimum}) and left out; see --show-suppressed")
    return hidden


def _recompute(
    connection: duckdb.DuckDBPyConnection, table: ExplainedTable, formulas: Formulas, hidden: Sequence[str]
) -> dict[str, Any]:
    counts = {name: sql for name, sql in table.counts(formulas).items() if name not in hidden}
    if not counts:
        return {}
    listed = ", ".join(f"{sql} AS {name}" for name, sql in counts.items())
    scores = {} if hidden else table.scores(formulas)
    said = "".join(f", {sql} AS {name}" for name, sql in scores.items())
    cursor = connection.execute(f"SELECT *{said} FROM (SELECT {listed} FROM record)")
    row = cursor.fetchone()
    assert row is not None and cursor.description is not None
    return dict(zip([column[0] for column in cursor.description], row, strict=True))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value
