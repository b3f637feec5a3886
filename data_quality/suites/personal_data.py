"""Rules of the marts gate against personal data: by a column's name, by what its texts look like, by known values.

The contracts say which columns hold persons; what they hold is compared with every published text. Does not belong
here: the patterns (``data_quality.personal_data``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from data_quality.personal_data import email_sql, id_card_sql, marked_sql, phone_sql
from data_quality.rules import Expectation, Rule, Severity, literal, no_rows, quote
from orchestration.contracts import CONTRACTS, DERIVED, TABLES, Kind, Pii

PERSONAL_VALUES = "personal_value"
"""Table of the gate: ``value`` of every direct identifier in the clean layer, lower case, its ``kind``, and
``is_marked`` after ``marked_sql``."""
HIDDEN = frozenset({Pii.DIRECT, Pii.FREE_TEXT})
NAMED_AS_PERSONS: Mapping[tuple[str, str], str] = {
    ("dim_account", "account_name"): "a company may bear its owner's name",
}
"""Mart and column where a known person's name only warns, and why."""


def personal_columns() -> dict[str, list[str]]:
    """Source table to its columns that identify a person directly."""
    found = {
        table.name: [column.name for column in table.columns if column.pii is Pii.DIRECT]
        for table in CONTRACTS.values()
    }
    return {table: columns for table, columns in found.items() if columns}


def forbidden_columns() -> list[str]:
    """Names of columns that no mart may have: what the contracts class as direct or free text, and JSON.

    A name that another contract uses for something harmless is left to the rules on content.
    """
    columns = [column for table in TABLES.values() for column in table.all_columns]
    harmless = {
        column.name
        for table in (CONTRACTS | DERIVED).values()
        for column in table.columns
        if column.pii not in HIDDEN and column.kind is not Kind.JSON
    }
    return sorted({column.name for column in columns if column.pii in HIDDEN or column.kind is Kind.JSON} - harmless)


def personal_data_rules(marts: Mapping[str, Sequence[str]]) -> list[Rule]:
    """Three rules for each mart, and one that warns for columns of ``NAMED_AS_PERSONS``.

    Args:
        marts: Mart to its key.
    """
    rules = []
    for mart, key in marts.items():
        accepted = [column for table, column in NAMED_AS_PERSONS if table == mart]
        rules += [
            _rule(mart, key, "no_personal_column", _columns(mart), "no column is named as one that identifies persons"),
            _rule(
                mart,
                key,
                "no_personal_data",
                _content(),
                "no text looks like an e-mail address, a phone number or an identity card's number",
            ),
            _rule(
                mart,
                key,
                "no_known_person",
                _known(accepted, is_in=False),
                "no text is a known person's name or address",
            ),
        ]
        if accepted:
            says = f"{', '.join(accepted)} are no known person's names"
            rules.append(_rule(mart, key, "no_known_person_warn", _known(accepted, is_in=True), says, "warn"))
    return rules


def _rule(  # noqa: PLR0917 - one line a rule above
    mart: str, key: Sequence[str], rule_id: str, expectation: Expectation, says: str, severity: Severity = "error"
) -> Rule:
    return Rule(
        rule_id,
        "marts",
        mart,
        expectation,
        "validity",
        severity,
        f"{mart}: {says}.",
        key=tuple(key),
        mend="Leave the column out of the mart, or map the source's key with pii: hmac.",
    )


def _columns(mart: str) -> Expectation:
    listed = ", ".join(map(literal, forbidden_columns()))
    ends = "(^|_)(email|e_mail|phone|mobile|full_name|id_card|birth_date)$"
    return no_rows(
        f"SELECT column_name FROM (DESCRIBE {quote(mart)}) WHERE column_name IN ({listed}) OR "
        f"regexp_matches(column_name, {literal(ends)})"
    )


def _content() -> Expectation:
    # The value stays out of the result: only the column and how often. A key of digits may look like a phone number.
    return no_rows(
        f"SELECT column_name, sum(n) AS n FROM ({{text_values}}) WHERE {email_sql('value')} OR {id_card_sql('value')} "
        f"OR (NOT ends_with(column_name, '_id') AND {phone_sql('value')}) "
        "GROUP BY column_name"
    )


def _known(columns: Sequence[str], *, is_in: bool) -> Expectation:
    listed = ", ".join(map(literal, columns)) or "''"
    # Nearly all that identifies persons is marked, and few texts are: the others are compared with the rest alone.
    found = " UNION ALL ".join(
        f"SELECT column_name, kind, n FROM (SELECT * FROM ({{text_values}}){texts}) AS text JOIN (SELECT * FROM "
        f"{PERSONAL_VALUES} WHERE {values}) AS known ON lower(trim(text.value)) = known.value"
        for texts, values in ((f" WHERE {marked_sql('value')}", "is_marked"), ("", "NOT is_marked"))
    )
    return no_rows(
        f"SELECT column_name, kind, sum(n) AS n FROM ({found}) WHERE column_name {'IN' if is_in else 'NOT IN'} "
        f"({listed}) GROUP BY column_name, kind"
    )
