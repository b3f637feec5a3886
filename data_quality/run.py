"""Run rules over tables and give their results in the ``check_result`` contract.

Belongs here: reaching the tables, one Great Expectations session for a gate, one validation a table, and reading
the answers so that nothing that went wrong looks like a pass. Does not belong here: what follows from the
results (``gate``), Dagster (``checks``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data_quality.personal_data import NAME
from data_quality.rules import Rule, literal, quote
from data_quality.suites.personal_data import PERSONAL_VALUES, personal_columns
from orchestration.contracts import CONTRACTS, CONTROL, Pii

if TYPE_CHECKING:
    from data_quality.engine import Session

log = logging.getLogger(__name__)

RESULT_SCHEMA: dict[str, pl.DataType] = CONTROL["check_result"].schema
SAMPLE_SIZE = 20
"""Keys of failing rows that a result names."""
PUBLISHED_PREFIX = "published__"
FURTHER = "*"
"""Name of a file of personal values that is no table of the clean layer."""
RUN_TABLE = "gate_run"
"""Table that rules may read: one row with ``run_id``, ``built_by`` (the run that built the marts) and ``now`` (UTC)."""
_MESSAGE_LENGTH = 500


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


def run_rules(
    rules: Sequence[Rule],
    *,
    tables: Tables,
    run_id: str,
    now: datetime,
    memory_limit: str | None = None,
    threads: int | None = None,
    built_by: str | None = None,
) -> pl.DataFrame:
    """Check every rule and say what came of it; one row a rule, whatever happens.

    A rule that raises, whose table or column is missing, or that Great Expectations leaves without an answer is
    ``errored``. Nothing is raised: a gate that cannot run at all gives ``errored`` for all of its rules.

    Args:
        rules: Rules of one gate or more.
        tables: How to reach the tables that they read.
        run_id: Run that the results belong to.
        now: The instant the results carry, with zone or in UTC.
        memory_limit: DuckDB's ``memory_limit``, such as ``8GB``.
        threads: DuckDB's ``threads``.
        built_by: Run whose marts stand at the gate, where it is not ``run_id``: nothing changed since it built them.

    Returns:
        A frame with the columns of the ``check_result`` contract, in the order of ``rules``.
    """
    instant = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now
    answers: dict[int, _Answer] = {}
    try:
        from data_quality.engine import Session

        with Session(memory_limit=memory_limit, threads=threads) as session:
            problems = _open(session, tables, run_id, built_by or run_id, instant)
            for table in dict.fromkeys(rule.reads for rule in rules):
                group = {position: rule for position, rule in enumerate(rules) if rule.reads == table}
                answers |= _check_table(session, table, group, problems)
    except Exception as error:
        log.exception("the gate could not run to its end")
        failure = _Answer("errored", detail=f"the gate could not run: {_message(error)}")
        answers = {position: answers.get(position, failure) for position in range(len(rules))}
    missing = _Answer("errored", detail="the rule gave no result")
    rows = [
        {
            "run_id": run_id,
            "gate": rule.gate,
            "target_table": rule.target_table,
            "rule_id": rule.rule_id,
            "column_name": rule.column,
            "dimension": rule.dimension,
            "severity": rule.severity,
            "checked_at": instant,
            **vars(answers.get(position, missing)),
        }
        for position, rule in enumerate(rules)
    ]
    return pl.DataFrame(rows, schema=RESULT_SCHEMA)


@dataclass(frozen=True)
class _Answer:
    outcome: str
    element_count: int | None = None
    unexpected_count: int | None = None
    observed_value: str | None = None
    detail: str | None = None


def _open(session: Session, tables: Tables, run_id: str, built_by: str, now: datetime) -> dict[str, str]:
    """Make the tables readable by name; what cannot be read is told by table, and is nobody else's trouble."""
    problems: dict[str, str] = {}
    instant = f"TIMESTAMP {literal(now.isoformat(' '))}"
    session.execute(
        f"CREATE TABLE {RUN_TABLE} AS SELECT {literal(run_id)} AS run_id, {literal(built_by)} AS built_by, "
        f"{instant} AS now"
    )
    for name, pattern in tables.parquet.items():
        try:
            if name in CONTROL:
                _control_table(session, name, pattern)
            else:
                # A deleted row is a tombstone: it has a key and need not have anything else.
                kept = " WHERE NOT is_deleted" if name in CONTRACTS else ""
                _view(session, name, f"read_parquet({literal(pattern)}, hive_partitioning = false){kept}")
        except Exception as error:
            problems[name] = f"{pattern} cannot be read: {_message(error)}"
    for name, pattern in tables.optional.items():
        try:
            if session.execute(f"SELECT 1 FROM glob({literal(pattern)}) LIMIT 1"):
                _control_table(session, name, pattern)
            else:
                session.register(name, pl.DataFrame(schema=CONTROL[name].schema))
        except Exception as error:
            problems[name] = f"{pattern} cannot be read: {_message(error)}"
    for name, frame in tables.frames.items():
        session.register(name, frame)
    _personal(session, tables.personal)
    if tables.database is not None:
        try:
            names = _attach(session, tables.database, "gated", "")
        except Exception as error:
            problems["*"] = f"{tables.database} cannot be opened: {_message(error)}"
        else:
            problems |= _published(session, tables.published, names)
    return problems


def _personal(session: Session, globs: Mapping[str, str]) -> None:
    """Every direct identifier once, in lower case; a mobile number also without its country code."""
    found = ["SELECT '' AS kind, '' AS value WHERE false"]
    for table, pattern in globs.items():
        origin = f"read_parquet({literal(pattern)}, hive_partitioning = false)"
        if table == FURTHER:
            found.append(f"SELECT kind, value FROM {origin}")
            continue
        found += [f"SELECT {literal(name)}, {quote(name)} FROM {origin}" for name in personal_columns()[table]]
    values = " UNION ALL ".join(found)
    session.execute(
        f"CREATE TABLE {PERSONAL_VALUES} AS SELECT min(kind) AS kind, value FROM (SELECT kind, "
        f"unnest([lower(trim(value)), regexp_replace(trim(value), '^[+]86', '')]) AS value FROM ({values}) WHERE "
        f"kind NOT LIKE '%name%' OR regexp_matches(value, {literal(NAME)})) "
        "WHERE length(value) > 1 GROUP BY value"
    )


def _view(session: Session, name: str, origin: str) -> None:
    session.execute(f"CREATE VIEW {quote(name)} AS SELECT * FROM {origin}")


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
            return {PUBLISHED_PREFIX: f"{path} cannot be opened: {_message(error)}"}
    for name in set(names) - set(there):
        session.execute(f"CREATE VIEW {quote(PUBLISHED_PREFIX + name)} AS SELECT * FROM {quote(name)} WHERE false")
    return {}


def _check_table(
    session: Session, table: str, group: Mapping[int, Rule], problems: Mapping[str, str]
) -> dict[int, _Answer]:
    problem = problems.get(table) or problems.get("*")
    if problem is None:
        try:
            columns = session.columns(table)
        except Exception as error:
            problem = _message(error)
        else:
            problem = None if columns else f"there is no table {table}"
    if problem is not None:
        return {position: _Answer("errored", detail=problem) for position in group}

    answers: dict[int, _Answer] = {}
    built: dict[int, Any] = {}
    for position, rule in group.items():
        if rule.column is not None and rule.column not in columns and rule.expectation.rows is None:
            answers[position] = _Answer("errored", detail=f"{table} has no column {rule.column}")
            continue
        try:
            built[position] = _expectation(session, rule, columns)
        except Exception as error:
            answers[position] = _Answer("errored", detail=f"the rule cannot be built: {_message(error)}")
    if not built:
        return answers
    try:
        batch = session.batch(table)
        total = int(session.execute(f"SELECT count(*) FROM {quote(table)}")[0][0])
        results = dict(zip(built, session.validate(batch, list(built.values())), strict=True))
    except Exception as error:
        detail = f"{table} could not be checked: {_message(error)}"
        return answers | {position: _Answer("errored", detail=detail) for position in built}
    for position, result in results.items():
        if len(built) > 1 and _exception(result) is not None:
            # Great Expectations computes the counts of a table in one query: one column that cannot be
            # compared takes its neighbours down with it. Alone, only the culprit raises.
            try:
                results[position] = session.validate(batch, [built[position]])[0]
            except Exception as error:
                log.warning("%s: %s", group[position].rule_id, _message(error))
        answers[position] = _answer(session, group[position], results[position], total, columns)
    return answers


def _expectation(session: Session, rule: Rule, columns: Mapping[str, str]) -> Any:
    import great_expectations.expectations as gxe

    kwargs = dict(rule.expectation.kwargs)
    if rule.expectation.rows is not None:
        # Braces are placeholders to Great Expectations, a colon a parameter to SQLAlchemy.
        query = _rows(session, rule, columns).replace("{", "{{").replace("}", "}}").replace(":", "\\:")
        # Great Expectations warns on standard output where a query does not name its batch.
        kwargs["unexpected_rows_query"] = f"SELECT * FROM ({query}\n) AS found /* {{batch}} */"
    elif rule.minimum_share < 1:
        kwargs["mostly"] = rule.minimum_share
    return getattr(gxe, rule.expectation.type)(**kwargs)


def _rows(session: Session, rule: Rule, columns: Mapping[str, str]) -> str:
    query = rule.expectation.rows or ""
    return query.replace("{text_values}", _texts(session, rule.reads, columns)) if "{text_values}" in query else query


def _texts(session: Session, table: str, columns: Mapping[str, str]) -> str:
    """A query of a table's texts, which are gathered once however many rules look through them."""
    gathered = quote(f"{table}__texts")
    if not session.columns(f"{table}__texts"):
        text = [name for name, kind in columns.items() if kind == "VARCHAR" and not name.endswith(("_key", "_hash"))]
        # Distinct first: a column of a million rows has few values as a rule, and a pattern is dear.
        values = " UNION ALL ".join(
            f"SELECT {literal(name)} AS column_name, {quote(name)} AS value, count(*) AS n FROM {quote(table)} "
            f"WHERE {quote(name)} IS NOT NULL GROUP BY {quote(name)}"
            for name in text
        )
        nothing = "SELECT '' AS column_name, '' AS value, 0 AS n WHERE false"
        session.execute(f"CREATE TABLE {gathered} AS {values or nothing}")
    return f"SELECT column_name, value, n FROM {gathered}"


def _exception(result: Any) -> str | None:
    """Message of what was raised within an expectation, which comes back as ``success=False``; None for nothing."""
    if result is None:
        return "Great Expectations gave no result"
    info = result.exception_info or {}
    entries = [info] if "raised_exception" in info else list(info.values())
    raised = [entry for entry in entries if isinstance(entry, Mapping) and entry.get("raised_exception")]
    return str(raised[0].get("exception_message") or "unknown exception") if raised else None


def _answer(session: Session, rule: Rule, result: Any, total: int, columns: Mapping[str, str]) -> _Answer:
    looked_at: int | None
    if (raised := _exception(result)) is not None:
        return _Answer("errored", element_count=total, detail=f"{rule.description} {_shorten(raised)}".strip())
    found: Mapping[str, Any] = result.result or {}
    if rule.expectation.type == "ExpectTableRowCountToBeBetween":
        seen = found.get("observed_value")
        if seen is None:
            return _Answer("errored", detail="the number of rows was not counted")
        failed = not result.success
        return _Answer(
            "failed" if failed else "passed",
            element_count=total,
            observed_value=f"{seen} rows",
            detail=_detail(session, rule, columns, f"{seen} rows") if failed else None,
        )
    if rule.expectation.rows is not None:
        unexpected = found.get("observed_value")
        # Of a rule that reads another table, what is counted are not rows of the table that it is about.
        looked_at = total if rule.table is None else None
        success = unexpected is not None and unexpected <= (1 - rule.minimum_share) * total
    else:
        unexpected, success = found.get("unexpected_count"), bool(result.success)
        looked_at = found.get("element_count", total) - (found.get("missing_count") or 0)
        if unexpected is None and not looked_at:
            unexpected = 0
    if unexpected is None:
        # An expectation without a count says that it holds; nothing was counted, so nothing is known.
        return _Answer("errored", element_count=total, detail="the failing rows were not counted")
    share = f" ({unexpected / looked_at:.2%})" if looked_at else ""
    observed = f"{unexpected} found" if looked_at is None else f"{unexpected} of {looked_at} rows fail{share}"
    return _Answer(
        "passed" if success else "failed",
        element_count=looked_at,
        unexpected_count=int(unexpected),
        observed_value=observed,
        detail=None if success else _detail(session, rule, columns, observed),
    )


def _detail(session: Session, rule: Rule, columns: Mapping[str, str], observed: str) -> str:
    limit = f", at least {rule.minimum_share:.0%} must hold" if rule.minimum_share < 1 else ""
    return " ".join(
        part for part in (f"{rule.description} {observed}{limit}.", _sample(session, rule, columns), rule.mend) if part
    )


def _sample(session: Session, rule: Rule, columns: Mapping[str, str]) -> str:
    """Keys of failing rows, without values: a result is no place for personal data."""
    if rule.expectation.rows is not None:
        query = f"SELECT * FROM ({_rows(session, rule, columns)}\n)"
        names = "found"
    else:
        key = [name for name in rule.key if name in columns]
        if rule.expectation.failing is None or not key:
            return ""
        condition = rule.expectation.failing.replace("{table}", quote(rule.reads))
        listed = ", ".join(quote(name) for name in key)
        query = f"SELECT DISTINCT {listed} FROM {quote(rule.reads)} WHERE {condition}"
        names = "/".join(key)
    try:
        rows = session.execute(f"SELECT * FROM ({query}) ORDER BY ALL LIMIT {SAMPLE_SIZE}")
    except Exception as error:
        log.warning("no sample of %s.%s: %s", rule.target_table, rule.rule_id, _message(error))
        return ""
    shown = ", ".join("/".join("null" if value is None else str(value) for value in row) for row in rows)
    return f"{names}: {shown}." if rows else ""


def _message(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return _shorten(str(cause) or type(cause).__name__)


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MESSAGE_LENGTH else text[: _MESSAGE_LENGTH - 1] + "…"
