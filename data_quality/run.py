"""Run rules over tables and give their results in the ``check_result`` contract.

Belongs here: one session for a gate, the rules of a table together, and reading the answers so that nothing that went
wrong looks like a pass. Great Expectations judges, and is imported when the first rule has to be checked. Does not
belong here: reaching the tables (``tables``), which answers of an earlier run hold still (``cache``), what follows from
the results (``gate``), Dagster (``checks``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from data_quality.cache import UNIQUE, Cache, Inputs
from data_quality.rules import Answer, Rule, literal, quote
from data_quality.session import Session, message_of, shorten
from data_quality.tables import ANY, Tables, has_views, open_tables, view_of_files, words_of
from orchestration.contracts import CONTROL

if TYPE_CHECKING:
    from data_quality.engine import Validator

log = logging.getLogger(__name__)

RESULT_SCHEMA: dict[str, pl.DataType] = CONTROL["check_result"].schema
SAMPLE_SIZE = 20
"""Keys of failing rows that a result names."""
FIRST_VALUES = 10_000
"""Values of a column by which is told whether most of its rows have a text of their own."""


def run_rules(
    rules: Sequence[Rule],
    *,
    tables: Tables,
    run_id: str,
    now: datetime,
    memory_limit: str | None = None,
    threads: int | None = None,
    built_by: str | None = None,
    cached: Path | None = None,
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
        cached: File of the answers of earlier runs, which stand in for those that hold still, and say so; it is
            written anew. None has every rule checked.

    Returns:
        A frame with the columns of the ``check_result`` contract, in the order of ``rules``.
    """
    instant = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now
    facts = {"run_id": run_id, "built_by": built_by or run_id, "now": instant.isoformat(" ")}
    cache = _cache(cached, rules, tables, facts, instant)
    answers: dict[int, Answer] = {}
    if cache is not None:
        answers = {place: answer for place, rule in enumerate(rules) if (answer := cache.answer(rule)) is not None}
    left = {place: rule for place, rule in enumerate(rules) if place not in answers}
    partly: set[int] = set()
    try:
        if left:
            with Session(memory_limit=memory_limit, threads=threads) as session, _Checker(session) as checker:
                checker.problems |= open_tables(session, tables, facts, words_of(left.values()))
                if has_views(session):
                    cache = None
                for table in dict.fromkeys(rule.reads for rule in left.values()):
                    group = {place: rule for place, rule in left.items() if rule.reads == table}
                    if cache is not None and table in tables.parquet and table not in CONTROL:
                        found = _check_changes(checker, cache, table, tables.parquet[table], group)
                        partly |= set(found)
                        answers |= found
                    rest = {place: rule for place, rule in group.items() if place not in answers}
                    answers |= checker.check(table, rest)
    except Exception as error:
        log.exception("the gate could not run to its end")
        failure = Answer("errored", detail=f"the gate could not run: {message_of(error)}")
        answers = {place: answers.get(place, failure) for place in range(len(rules))}
    missing = Answer("errored", detail="the rule gave no result")
    results = [answers.get(place, missing) for place in range(len(rules))]
    if cache is not None:
        try:
            cache.keep(zip(rules, results, strict=True), {rules[place].identity for place in partly})
        except Exception as error:
            log.warning("the answers could not be kept for the next run: %s", message_of(error))
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
            **vars(answer),
        }
        for rule, answer in zip(rules, results, strict=True)
    ]
    return pl.DataFrame(rows, schema=RESULT_SCHEMA)


def _cache(
    path: Path | None, rules: Sequence[Rule], tables: Tables, facts: Mapping[str, str], now: datetime
) -> Cache | None:
    if path is None:
        return None
    try:
        return Cache(path, Inputs(rules, tables, facts), facts["run_id"], now)
    except Exception as error:
        log.warning("no answer of an earlier run is looked for: %s", message_of(error))
        return None


def _check_changes(
    checker: _Checker, cache: Cache, table: str, pattern: str, group: Mapping[int, Rule]
) -> dict[int, Answer]:
    """Answers of the rules that find nothing in the files that changed, as they found nothing in the others before.

    What is found at all is counted over the whole table, by whoever checks the rules that have no answer here.
    """
    found = {place: changed for place, rule in group.items() if (changed := cache.changed(rule)) is not None}
    if not found:
        return {}
    # The states of a table's files are kept once, so that all of its rules name the same.
    changed = next(iter(found.values()))
    session, whole = checker.session, f"{table}__whole"
    try:
        view_of_files(session, whole, literal(pattern), table)
        view_of_files(session, table, f"[{', '.join(map(literal, changed.files))}]")
        answers = checker.check(table, {place: group[place] for place in found}, whole)
    except Exception as error:
        log.warning("%s: the changed files could not be looked at: %s", table, message_of(error))
        answers = {}
    try:
        view_of_files(session, table, literal(pattern))
    except Exception as error:
        checker.problems[table] = f"{pattern} cannot be read: {message_of(error)}"
    said = f"{len(changed.files)} of {changed.of} files were looked at: the others are as in run {changed.run_id}."
    return {
        place: replace(answer, detail=said)
        for place, answer in answers.items()
        if answer.outcome == "passed" and answer.unexpected_count == 0
    }


class _Checker:
    """Checks the rules of one table after the other over one session, which it leaves before the session ends.

    Attributes:
        session: The session.
        problems: What is wrong with a table, by table.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.problems: dict[str, str] = {}
        self._validator: Validator | None = None

    def __enter__(self) -> _Checker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._validator is not None:
            self._validator.close()

    def check(self, table: str, group: Mapping[int, Rule], whole: str | None = None) -> dict[int, Answer]:
        """Answers of the rules of ``group``, which all read ``table``.

        Args:
            table: The table.
            group: The rules by their place.
            whole: Where ``table`` shows a part of its rows only: the table with all of them, in which a key of the
                part must not stand twice.
        """
        if not group:
            return {}
        session = self.session
        problem = self.problems.get(table) or self.problems.get(ANY)
        if problem is None:
            try:
                columns = session.columns(table)
            except Exception as error:
                problem = message_of(error)
            else:
                problem = None if columns else f"there is no table {table}"
        if problem is not None:
            return dict.fromkeys(group, Answer("errored", detail=problem))
        try:
            total = session.count(f"SELECT 1 FROM {quote(table)}")
        except Exception as error:
            return dict.fromkeys(group, Answer("errored", detail=f"{table} could not be checked: {message_of(error)}"))
        answers: dict[int, Answer] = {}
        expected: dict[int, Rule] = {}
        for place, rule in group.items():
            if rule.expectation.rows is None and rule.column is not None and rule.column not in columns:
                answers[place] = Answer("errored", detail=f"{table} has no column {rule.column}")
            elif whole is not None and rule.expectation.type in UNIQUE:
                answers[place] = _ask_for_repeated(session, rule, total, whole)
            else:
                expected[place] = rule
        return answers | self._expect(table, expected, total, columns)

    def _expect(
        self, table: str, group: Mapping[int, Rule], total: int, columns: Mapping[str, str]
    ) -> dict[int, Answer]:
        """Answers of the rules that Great Expectations judges."""
        answers: dict[int, Answer] = {}
        built: dict[int, Any] = {}
        for place, rule in group.items():
            try:
                built[place] = _expectation(self.session, rule, columns)
            except Exception as error:
                answers[place] = Answer("errored", detail=f"the rule cannot be built: {message_of(error)}")
        if not built:
            return answers
        try:
            validator = self._engine()
            batch = validator.batch(table)
            results = dict(zip(built, validator.validate(batch, list(built.values())), strict=True))
        except Exception as error:
            detail = f"{table} could not be checked: {message_of(error)}"
            return answers | dict.fromkeys(built, Answer("errored", detail=detail))
        for place, result in results.items():
            if len(built) > 1 and _exception(result) is not None:
                # Great Expectations computes the counts of a table in one query: one column that cannot be
                # compared takes its neighbours down with it. Alone, only the culprit raises.
                try:
                    results[place] = validator.validate(batch, [built[place]])[0]
                except Exception as error:
                    log.warning("%s: %s", group[place].rule_id, message_of(error))
            answers[place] = _answer(self.session, group[place], results[place], total, columns)
        return answers

    def _engine(self) -> Validator:
        if self._validator is None:
            from data_quality.engine import Validator

            self._validator = Validator(self.session)
        return self._validator


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


def _ask_for_repeated(session: Session, rule: Rule, total: int, whole: str) -> Answer:
    """Answer of a rule on unique keys where all but the rows of its table are known to have such in ``whole``."""
    kwargs = rule.expectation.kwargs
    names = kwargs["column_list"] if "column_list" in kwargs else [kwargs["column"]]
    keys = ", ".join(map(quote, names))
    stated = " AND ".join(f"{quote(name)} IS NOT NULL" for name in names)
    part = f"SELECT {keys} FROM {quote(rule.reads)} WHERE {stated}"
    try:
        rows = session.count(f"SELECT 1 FROM {quote(whole)} SEMI JOIN ({part}) AS part USING ({keys})")
        repeated = rows - session.count(f"SELECT DISTINCT {keys} FROM ({part})")
    except Exception as error:
        return Answer("errored", element_count=total, detail=message_of(error))
    return _counted(session, rule, repeated, total, repeated == 0, {})


def _rows(session: Session, rule: Rule, columns: Mapping[str, str]) -> str:
    query = rule.expectation.rows or ""
    return query.replace("{text_values}", _texts(session, rule.reads, columns)) if "{text_values}" in query else query


def _texts(session: Session, table: str, columns: Mapping[str, str]) -> str:
    """A query of a table's texts, which are gathered once however many rules look through them."""
    gathered = quote(f"{table}__texts")
    if not session.columns(f"{table}__texts"):
        text = [name for name, kind in columns.items() if kind == "VARCHAR" and not name.endswith(("_key", "_hash"))]
        values = " UNION ALL ".join(_values(session, table, name) for name in text)
        nothing = "SELECT '' AS column_name, '' AS value, 0 AS n WHERE false"
        session.execute(f"CREATE VIEW {gathered} AS {values or nothing}")
    return f"SELECT column_name, value, n FROM {gathered}"


def _values(session: Session, table: str, column: str) -> str:
    """A query of a column's texts and how often each stands there."""
    selected = f"FROM {quote(table)} WHERE {quote(column)} IS NOT NULL"
    first = f"SELECT {quote(column)} AS value {selected} LIMIT {FIRST_VALUES}"
    ((rows, distinct),) = session.execute(f"SELECT count(*), count(DISTINCT value) FROM ({first})")
    if 2 * distinct > rows:
        # Nearly each row has a text of its own: to tell them apart would cost more than to look at each.
        return f"SELECT {literal(column)} AS column_name, {quote(column)} AS value, 1 AS n {selected}"
    # A column of a million rows has few values as a rule, and a pattern is dear.
    values = quote(f"{table}__{column}__values")
    session.execute(f"CREATE TABLE {values} AS SELECT {quote(column)} AS value, count(*) AS n {selected} GROUP BY ALL")
    return f"SELECT {literal(column)} AS column_name, value, n FROM {values}"


def _exception(result: Any) -> str | None:
    """Message of what was raised within an expectation, which comes back as ``success=False``; None for nothing."""
    if result is None:
        return "Great Expectations gave no result"
    info = result.exception_info or {}
    entries = [info] if "raised_exception" in info else list(info.values())
    raised = [entry for entry in entries if isinstance(entry, Mapping) and entry.get("raised_exception")]
    return str(raised[0].get("exception_message") or "unknown exception") if raised else None


def _answer(session: Session, rule: Rule, result: Any, total: int, columns: Mapping[str, str]) -> Answer:
    if (raised := _exception(result)) is not None:
        return Answer("errored", element_count=total, detail=f"{rule.description} {shorten(raised)}".strip())
    found: Mapping[str, Any] = result.result or {}
    if rule.expectation.type == "ExpectTableRowCountToBeBetween":
        seen = found.get("observed_value")
        if seen is None:
            return Answer("errored", detail="the number of rows was not counted")
        failed = not result.success
        return Answer(
            "failed" if failed else "passed",
            element_count=total,
            observed_value=f"{seen} rows",
            detail=_detail(session, rule, columns, f"{seen} rows") if failed else None,
        )
    looked_at: int | None
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
        return Answer("errored", element_count=total, detail="the failing rows were not counted")
    return _counted(session, rule, int(unexpected), looked_at, success, columns)


def _counted(  # noqa: PLR0917 - what is known, in the order of the result's columns
    session: Session, rule: Rule, unexpected: int, looked_at: int | None, success: bool, columns: Mapping[str, str]
) -> Answer:
    share = f" ({unexpected / looked_at:.2%})" if looked_at else ""
    observed = f"{unexpected} found" if looked_at is None else f"{unexpected} of {looked_at} rows fail{share}"
    return Answer(
        "passed" if success else "failed",
        element_count=looked_at,
        unexpected_count=unexpected,
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
        log.warning("no sample of %s.%s: %s", rule.target_table, rule.rule_id, message_of(error))
        return ""
    shown = ", ".join("/".join("null" if value is None else str(value) for value in row) for row in rows)
    return f"{names}: {shown}." if rows else ""
