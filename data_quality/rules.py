"""What a rule is. Does not belong here: which rules there are (``suites``) and how they run (``run``).

Great Expectations is not imported here: Dagster loads the rules each time it loads the definitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Gate = Literal["landing", "clean", "marts"]
Dimension = Literal["completeness", "accuracy", "timeliness", "uniqueness", "consistency", "validity"]
Severity = Literal["error", "warn"]
Outcome = Literal["passed", "failed", "errored", "skipped"]

GATES: tuple[Gate, ...] = ("landing", "clean", "marts")
DIMENSIONS: tuple[Dimension, ...] = (
    "completeness",
    "accuracy",
    "timeliness",
    "uniqueness",
    "consistency",
    "validity",
)


def quote(name: str) -> str:
    """``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """``value`` as an SQL literal; None is NULL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"


@dataclass(frozen=True)
class Expectation:
    """A Great Expectations expectation by its class name and its arguments.

    Attributes:
        type: Class name in ``great_expectations.expectations``.
        kwargs: Its arguments, without ``mostly``.
        failing: SQL condition that holds for a failing row, or None where rows cannot be named.
        rows: SQL query of the failing rows for ``UnexpectedRowsExpectation``, or None. What it selects appears in
            the detail of a result: keys and counts, never a person's values. ``{text_values}`` stands for
            a query of the table's texts: ``column_name``, ``value`` and how often, ``n``; surrogate keys and hashes,
            which are digests, are left out.
        by_row: Each row of the one table that it reads fails or passes by itself, whatever the others hold.
    """

    type: str
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    failing: str | None = None
    rows: str | None = None
    by_row: bool = False


def not_null(column: str) -> Expectation:
    """Every row has a value."""
    return Expectation("ExpectColumnValuesToNotBeNull", {"column": column}, f"{quote(column)} IS NULL", by_row=True)


def in_set(column: str, values: Sequence[str | bool | int]) -> Expectation:
    """Every value is one of ``values``."""
    listed = ", ".join(literal(value) for value in values)
    return Expectation(
        "ExpectColumnValuesToBeInSet",
        {"column": column, "value_set": list(values)},
        f"{quote(column)} NOT IN ({listed})",
        by_row=True,
    )


def matches(column: str, regex: str) -> Expectation:
    """``regex`` is found in every value; anchor it to match whole values."""
    return Expectation(
        "ExpectColumnValuesToMatchRegex",
        {"column": column, "regex": regex},
        f"NOT regexp_matches({quote(column)}, {literal(regex)})",
        by_row=True,
    )


def between(column: str, minimum: float | None, maximum: float | None) -> Expectation:
    """Every value lies between the bounds, both inclusive; None is no bound.

    Raises:
        ValueError: no bound at all.
    """
    if minimum is None and maximum is None:
        raise ValueError(f"between({column!r}) needs a minimum or a maximum")
    bounds = [f"{quote(column)} < {literal(minimum)}"] if minimum is not None else []
    bounds += [f"{quote(column)} > {literal(maximum)}"] if maximum is not None else []
    return Expectation(
        "ExpectColumnValuesToBeBetween",
        {"column": column, "min_value": minimum, "max_value": maximum},
        " OR ".join(bounds),
        by_row=True,
    )


def unique(columns: Sequence[str]) -> Expectation:
    """No two rows share their values in ``columns``; rows with a null among them are not looked at."""
    names = list(columns)
    keys = ", ".join(quote(name) for name in names)
    condition = f"({keys}) IN (SELECT ({keys}) FROM {{table}} GROUP BY {keys} HAVING count(*) > 1)"
    if len(names) == 1:
        return Expectation("ExpectColumnValuesToBeUnique", {"column": names[0]}, condition)
    return Expectation("ExpectCompoundColumnsToBeUnique", {"column_list": names}, condition)


def row_count(minimum: int | None = None, maximum: int | None = None) -> Expectation:
    """The table's number of rows lies between the bounds, both inclusive."""
    return Expectation("ExpectTableRowCountToBeBetween", {"min_value": minimum, "max_value": maximum})


def no_rows(query: str, *, by_row: bool = False) -> Expectation:
    """``query`` finds nothing. It names tables of the gate and selects the keys of what it finds.

    Args:
        query: The query.
        by_row: It only looks at each row of one table, the rule's, by itself.
    """
    return Expectation("UnexpectedRowsExpectation", rows=query, by_row=by_row)


@dataclass(frozen=True)
class Rule:
    """One thing that must hold for one table.

    Attributes:
        rule_id: Name of the rule, unique within gate and target table.
        gate: Gate that it stands at.
        target_table: Table, or ``<source>.<stream>`` at the landing gate.
        expectation: What must hold.
        dimension: Quality dimension it speaks for.
        severity: ``error`` blocks, ``warn`` publishes and says so.
        description: What must hold, as a sentence.
        column: Column checked, if one.
        minimum_share: Share (0 to 1) of the rows looked at that must pass; nulls are not looked at.
        table: Table the expectation reads, where it is not ``target_table``.
        key: Columns that name a row in the detail of a result; no personal data.
        mend: What to do about a failure.
    """

    rule_id: str
    gate: Gate
    target_table: str
    expectation: Expectation
    dimension: Dimension
    severity: Severity
    description: str
    column: str | None = None
    minimum_share: float = 1.0
    table: str | None = None
    key: tuple[str, ...] = ("source", "source_id")
    mend: str = ""

    @property
    def reads(self) -> str:
        """The table that the expectation reads."""
        return self.table or self.target_table

    @property
    def identity(self) -> tuple[str, str, str]:
        """Gate, target table and rule id: what tells rules apart."""
        return self.gate, self.target_table, self.rule_id


@dataclass(frozen=True)
class Answer:
    """What came of a rule: the columns of the ``check_result`` contract that say so."""

    outcome: Outcome
    element_count: int | None = None
    unexpected_count: int | None = None
    observed_value: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Limits:
    """Limits that the suites' business rules hold, in one place.

    Attributes:
        rejected_warn: Share of a load's rows in quarantine from which a table warns.
        rejected_error: Share from which it blocks.
        orphans_warn: Share of rows without the row they refer to, from which a table warns.
        orphans_error: Share from which it blocks.
        volume_drop_warn: Fall against the median of the same weekday in the last 28 days, from which a stream warns.
        stale_hours: Hours without a load that came through, from which a stream is stale.
        drop_error: Fall of a mart's rows against the published version, beyond which nothing is published.
        future_hours: Hours that a time may lie after its extraction (clocks and zones).
        discarded_warn: Share of responses flagged as not given in earnest, from which a warning is due.
    """

    rejected_warn: float = 0.02
    rejected_error: float = 0.20
    orphans_warn: float = 0.02
    orphans_error: float = 0.20
    volume_drop_warn: float = 0.35
    stale_hours: float = 36
    drop_error: float = 0.50
    future_hours: float = 24
    discarded_warn: float = 0.30


def reject_duplicates(rules: Sequence[Rule]) -> list[Rule]:
    """``rules`` as a list.

    Raises:
        ValueError: two rules have the same gate, target table and id; the message names them.
    """
    seen: set[tuple[str, str, str]] = set()
    twice = sorted({rule.identity for rule in rules if rule.identity in seen or seen.add(rule.identity)})  # type: ignore[func-returns-value]
    if twice:
        raise ValueError(f"rules declared twice: {', '.join('/'.join(identity) for identity in twice)}; rename one")
    return list(rules)
