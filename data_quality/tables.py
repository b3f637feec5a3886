"""The tables of a gate: where they lie, and how they become readable by name.

Belongs here: Parquet files, frames, the marts file, the published one and the personal values to compare them with.
Does not belong here: which rules read them, and whether they changed (``cache``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from data_quality.personal_data import NAME, marked_sql
from data_quality.rules import Rule, literal, quote
from data_quality.session import Session, message_of
from data_quality.suites.personal_data import PERSONAL_VALUES, personal_columns
from orchestration.contracts import CONTRACTS, CONTROL, Pii

PUBLISHED_PREFIX = "published__"
FURTHER = "*"
"""Name of a file of personal values that is no table of the clean layer."""
ANY = "*"
"""Name under which ``open_tables`` tells a problem that every table has."""
RUN_TABLE = "gate_run"
"""Table that rules may read: one row with ``run_id``, ``built_by`` (the run that built the marts) and ``now`` (UTC)."""


@dataclass(frozen=True)
class Tables:
    """How to reach the tables of a gate.

    Attributes:
        parquet: Table to a glob of Parquet files.
        optional: Table to a glob that may match nothing yet; then it is an empty table of its control contract.
        frames: Table to a frame in memory.
        database: A DuckDB file whose tables in schema ``main`` are read under their own names, read-only.
        personal: Table of the clean layer to a glob; the direct identifiers in them become the table
            ``personal_value``. A name ``*`` stands for a file of ``kind`` and ``value`` besides.
        published: The DuckDB file published now; its tables are read with the prefix ``published__``. None, or a
            path where nothing lies yet, stands for empty tables.
    """

    parquet: Mapping[str, str] = field(default_factory=dict)
    optional: Mapping[str, str] = field(default_factory=dict)
    frames: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    database: Path | None = None
    published: Path | None = None
    personal: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def landing(cls, control_dir: Path, manifests: pl.DataFrame) -> Tables:
        """Tables of the landing gate.

        Args:
            control_dir: Folder of the control tables; ``load`` is read.
            manifests: The committed manifests, one row each: ``load_id``, ``source``, ``stream``, ``rows_read``,
                ``rows_landed``, ``rows_rejected``.
        """
        return cls(parquet={"load": f"{control_dir}/load/*.parquet"}, frames={"manifest": manifests})

    @classmethod
    def clean(cls, clean_dir: Path, control_dir: Path, names: Iterable[str]) -> Tables:
        """Tables of the clean gate: ``names`` below ``clean_dir``, with ``load`` and ``quarantine``."""
        return cls(
            parquet={name: f"{clean_dir}/{name}/*.parquet" for name in names},
            optional={
                "load": f"{control_dir}/load/*.parquet",
                "quarantine": f"{control_dir}/quarantine/*/*.parquet",
            },
        )

    @classmethod
    def marts(
        cls,
        marts_path: Path,
        published_path: Path | None,
        clean_dir: Path | None = None,
        known_persons: Path | None = None,
    ) -> Tables:
        """Tables of the marts gate: what dbt built, what is published now, and the persons who must not be in it.

        Args:
            marts_path: The DuckDB file that dbt wrote.
            published_path: The one that is published now.
            clean_dir: Root of the clean layer, whose direct identifiers are looked for.
            known_persons: A Parquet file of further values (``kind``, ``value``), where there is one.
        """
        personal = {} if clean_dir is None else {name: f"{clean_dir}/{name}/*.parquet" for name in personal_columns()}
        if known_persons is not None and known_persons.is_file():
            personal[FURTHER] = str(known_persons)
        return cls(database=marts_path, published=published_path, personal=personal)


def words_of(rules: Iterable[Rule]) -> set[str]:
    """Every word, in lower case, of the SQL of the rules, and the tables that they are about.

    SQL reads a table by its name alone, so that these are the names of all that the rules read, and more.
    """
    return {
        word
        for rule in rules
        for word in (rule.reads.lower(), *re.findall(r"\w+", (rule.expectation.rows or "").lower()))
    }


def open_tables(session: Session, tables: Tables, facts: Mapping[str, str], words: Collection[str]) -> dict[str, str]:
    """Make tables readable by name.

    Args:
        session: Where.
        tables: How to reach them.
        facts: The row of ``gate_run``: ``run_id``, ``built_by``, and ``now`` in ISO 8601.
        words: What the rules to be checked name (``words_of``); other tables are left alone.

    Returns:
        Table to what is wrong with it, nobody else's trouble; ``ANY`` for what is wrong with all.
    """
    problems: dict[str, str] = {}
    session.execute(
        f"CREATE TABLE {RUN_TABLE} AS SELECT {literal(facts['run_id'])} AS run_id, "
        f"{literal(facts['built_by'])} AS built_by, TIMESTAMP {literal(facts['now'])} AS now"
    )
    for name, pattern in tables.parquet.items():
        if name.lower() not in words:
            continue
        try:
            if name in CONTROL:
                _control_table(session, name, pattern)
            else:
                view_of_files(session, name, literal(pattern))
        except Exception as error:
            problems[name] = f"{pattern} cannot be read: {message_of(error)}"
    for name, pattern in tables.optional.items():
        if name.lower() not in words:
            continue
        try:
            if session.execute(f"SELECT 1 FROM glob({literal(pattern)}) LIMIT 1"):
                _control_table(session, name, pattern)
            else:
                session.register(name, pl.DataFrame(schema=CONTROL[name].schema))
        except Exception as error:
            problems[name] = f"{pattern} cannot be read: {message_of(error)}"
    for name, frame in tables.frames.items():
        session.register(name, frame)
    if PERSONAL_VALUES in words:
        _personal(session, tables.personal)
    if tables.database is not None:
        try:
            names = _attach(session, tables.database, "gated", "")
        except Exception as error:
            problems[ANY] = f"{tables.database} cannot be opened: {message_of(error)}"
        else:
            problems |= _published(session, tables.published, names)
    return problems


def _personal(session: Session, globs: Mapping[str, str]) -> None:
    """Every direct identifier once, in lower case; a mobile number also without its country code."""
    found = ["SELECT '' AS kind, '' AS value WHERE false"]
    of_kind: dict[str, list[str]] = {}
    for table, pattern in globs.items():
        origin = f"read_parquet({literal(pattern)}, hive_partitioning = false)"
        if table == FURTHER:
            found.append(f"SELECT kind, value FROM {origin}")
            continue
        for name in personal_columns()[table]:
            of_kind.setdefault(name, []).append(f"SELECT {quote(name)} AS value FROM {origin}")
    # Distinct first: a person's address stands on many records, and changing a text is dear.
    found += [
        f"SELECT {literal(kind)}, value FROM (SELECT DISTINCT value FROM ({' UNION ALL '.join(columns)}))"
        for kind, columns in of_kind.items()
    ]
    stated = f"SELECT kind, trim(value) AS value FROM ({' UNION ALL '.join(found)}) WHERE value IS NOT NULL"
    session.execute(
        f"CREATE TABLE {PERSONAL_VALUES} AS WITH stated AS ({stated}), known AS (SELECT * FROM stated WHERE kind NOT "
        f"LIKE '%name%' OR regexp_matches(value, {literal(NAME)})), lowered AS (SELECT kind, lower(value) AS value "
        "FROM known UNION ALL SELECT kind, value[4:] FROM known WHERE starts_with(value, '+86')) "
        f"SELECT *, {marked_sql('value')} AS is_marked FROM (SELECT DISTINCT kind, value FROM lowered WHERE "
        "length(value) > 1)"
    )


def view_of_files(session: Session, name: str, files: str, table: str | None = None) -> None:
    """Make files of a table of the clean layer readable as ``name``, in place of what it was before.

    Args:
        session: Where.
        name: Name of the view.
        files: The files as SQL: a pattern, or a list.
        table: The table, where ``name`` is not its name.
    """
    # A deleted row is a tombstone: it has a key and need not have anything else.
    kept = " WHERE NOT is_deleted" if (table or name) in CONTRACTS else ""
    _view(session, name, f"read_parquet({files}, hive_partitioning = false){kept}")


def _view(session: Session, name: str, origin: str) -> None:
    session.execute(f"CREATE OR REPLACE VIEW {quote(name)} AS SELECT * FROM {origin}")


def _control_table(session: Session, name: str, pattern: str) -> None:
    # Many small files, read by many rules: once is enough. What rows held is not looked at.
    columns = ", ".join(quote(column.name) for column in CONTROL[name].columns if column.pii is not Pii.FREE_TEXT)
    session.execute(
        f"CREATE TABLE {quote(name)} AS SELECT {columns} FROM read_parquet({literal(pattern)}, union_by_name = true, "
        "hive_partitioning = false)"
    )


def _attach(session: Session, path: Path, alias: str, prefix: str) -> list[str]:
    if not path.is_file():
        # ATTACH would say the same of a folder that cannot be read; this names what is missing.
        raise FileNotFoundError(f"there is no file {path}")
    session.execute(f"ATTACH {literal(str(path))} AS {alias} (READ_ONLY)")
    found = session.execute(
        "SELECT table_name FROM (SELECT database_name, schema_name, table_name FROM duckdb_tables() UNION ALL "
        "SELECT database_name, schema_name, view_name FROM duckdb_views() WHERE NOT internal) "
        f"WHERE database_name = {literal(alias)} AND schema_name = 'main' ORDER BY 1"
    )
    names = [row[0] for row in found]
    for name in names:
        _view(session, prefix + name, f"{alias}.main.{quote(name)}")
    return names


def _published(session: Session, path: Path | None, names: Sequence[str]) -> dict[str, str]:
    there: list[str] = []
    if path is not None and path.exists():
        try:
            there = _attach(session, path, "published", PUBLISHED_PREFIX)
        except Exception as error:
            return {PUBLISHED_PREFIX: f"{path} cannot be opened: {message_of(error)}"}
    for name in set(names) - set(there):
        session.execute(f"CREATE VIEW {quote(PUBLISHED_PREFIX + name)} AS SELECT * FROM {quote(name)} WHERE false")
    return {}


def has_views(session: Session) -> bool:
    """Whether an attached file has views, whose rows may come from anywhere."""
    found = session.execute(
        "SELECT 1 FROM duckdb_views() WHERE database_name IN ('gated', 'published') AND NOT internal LIMIT 1"
    )
    return bool(found)
