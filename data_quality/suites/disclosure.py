"""Rules of the marts gate that try to work out what suppression hides, as a reader of the releases could.

Within a release: a shown total less the shown cells of a breakdown. Over two releases: a cell that is hidden in one
and shown in the other with as many votes is taken for the same. A rule fails where what is left is a single cell, or
has fewer votes than may be shown. What is not tried stands in docs/metrics/suppression.md. Does not belong here: which
cells are hidden (dbt's macro ``suppression_reason``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from data_quality.rules import Rule, Severity, no_rows, quote

ADDITIVE_MARTS = ("mart_nps", "mart_csat", "mart_response_rate")
"""Marts in which the cells of a breakdown add up to the total."""
_CELL = ("breakdown", "breakdown_value")


def disclosure_rules(marts: Mapping[str, Sequence[str]]) -> list[Rule]:
    """Two rules for each mart whose cells add up.

    Args:
        marts: Mart to its key.
    """
    rules = []
    for mart in ADDITIVE_MARTS:
        key, published = marts[mart], f"published__{mart}"
        both = f"{_attack(mart, published, key, 'tonight')} UNION ALL {_attack(published, mart, key, 'published')}"
        rules += [
            _rule(mart, key, "hidden_stays_hidden", _attack(mart, None, key, "tonight"), "error", "its own totals"),
            _rule(
                mart,
                key,
                "hidden_stays_hidden_over_releases",
                both,
                "warn",
                "its totals and the release published now",
            ),
        ]
    return rules


def _rule(  # noqa: PLR0917 - one line a rule above
    mart: str, key: Sequence[str], rule_id: str, query: str, severity: Severity, given: str
) -> Rule:
    return Rule(
        rule_id,
        "marts",
        mart,
        no_rows(query),
        "validity",
        severity,
        f"{mart}: no hidden cell comes out of {given}.",
        key=tuple(key),
        mend=(
            "Raise minimum_n in dbt_project.yml for good, or publish when more votes are in; see "
            "docs/metrics/suppression.md."
        ),
    )


def _attack(mart: str, known_from: str | None, key: Sequence[str], attacked: str) -> str:
    """Groups of cells of ``mart`` in which the hidden ones come out.

    Args:
        mart: Table whose hidden cells are sought.
        known_from: Table whose shown cells are known besides, or None.
        key: Columns that tell the mart's cells apart.
        attacked: What the result calls ``mart``.
    """
    group = ", ".join(quote(name) for name in key if name not in _CELL)
    cells = f"SELECT *, is_suppressed AS is_unknown FROM {quote(mart)}"
    if known_from is not None:
        same = " AND ".join(f"cell.{quote(name)} = known.{quote(name)}" for name in (*key, "n"))
        # Of hidden cells alone it counts what the other release shows, and they are few.
        known = (
            f"SELECT * FROM {quote(known_from)} SEMI JOIN (SELECT * FROM {quote(mart)} WHERE is_suppressed) AS hidden "
            f"USING ({', '.join(quote(name) for name in (*key, 'n'))}) WHERE NOT is_suppressed"
        )
        cells = (
            "SELECT cell.*, cell.is_suppressed AND known.n IS NULL AS is_unknown, known.n IS NOT NULL AS is_known "
            f"FROM {quote(mart)} AS cell LEFT JOIN ({known}) AS known ON {same}"
        )
    # Without what the other release tells, the rule on one release speaks.
    helped = " AND bool_or(is_suppressed AND is_known)" if known_from is not None else ""
    return (
        f"SELECT '{attacked}' AS release, {group}, breakdown FROM ({cells}) AS cell "
        f"SEMI JOIN (SELECT * FROM {quote(mart)} WHERE breakdown = 'total' AND NOT is_suppressed) AS total "
        f"USING ({group}) WHERE breakdown <> 'total' AND n > 0 GROUP BY {group}, breakdown "
        "HAVING (count(*) FILTER (is_unknown) = 1 OR sum(n) FILTER (is_unknown) < max(minimum_n))" + helped
    )
