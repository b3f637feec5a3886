"""Rules of the marts gate: the last look before the swap.

Keys, bounds, sums that must come out, suppressed cells that must be empty, and no mart that lost half of its rows
against what is published; what is looked for to find persons stands in ``personal_data``. Does not belong here: how a
metric is computed (dbt tests that on worked examples).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from data_quality.rules import (
    Dimension,
    Expectation,
    Limits,
    Rule,
    Severity,
    between,
    no_rows,
    quote,
    reject_duplicates,
    unique,
)
from data_quality.suites.disclosure import disclosure_rules
from data_quality.suites.personal_data import personal_data_rules

MART_KEYS: Mapping[str, tuple[str, ...]] = {
    "dim_person": ("person_id",),
    "dim_account": ("account_key",),
    "dim_touchpoint": ("touchpoint_id",),
    "dim_date": ("calendar_date",),
    "fct_response": ("response_key",),
    "fct_answer": ("answer_key",),
    "fct_session": ("session_key",),
    "fct_order": ("order_key",),
    "fct_ticket": ("ticket_key",),
    "fct_journey_stage": ("journey_stage_key",),
    "mart_nps": ("nps_kind", "period_kind", "period_start_date", "breakdown", "breakdown_value"),
    "mart_csat": (
        "source",
        "survey_id",
        "question_id",
        "metric",
        "period_kind",
        "period_start_date",
        "breakdown",
        "breakdown_value",
    ),
    "mart_response_rate": ("period_kind", "period_start_date", "breakdown", "breakdown_value"),
    "mart_funnel": ("cohort_kind", "cohort_start_date", "breakdown", "breakdown_value", "stage_id"),
    "mart_journey_map": ("touchpoint_id",),
}
"""Every published mart and the columns that tell its rows apart."""

_NOT_NEGATIVE = {
    "mart_nps": ("n", "promoters", "passives", "detractors"),
    "mart_csat": ("n", "top_box_count"),
    "mart_response_rate": ("n_sent", "n", "n_complete", "n_partial"),
    "mart_funnel": ("n", "n_previous", "n_reached", "median_hours_from_previous"),
    "mart_journey_map": ("n_persons", "n_sessions", "n_orders", "n_tickets", "nps_n", "csat_n"),
    "fct_session": ("duration_seconds", "n_events"),
}
_BOUNDS = {
    "mart_nps": (("nps", "ci_low", "ci_high", "nps_weighted", "weighted_ci_low", "weighted_ci_high"), -100, 100),
    "mart_csat": (("top_box_pct", "ci_low", "ci_high"), 0, 100),
    "mart_response_rate": (("response_share", "ci_low", "ci_high"), 0, 1),
    "mart_funnel": (("conversion_share", "dropoff_share", "ci_low", "ci_high", "share_of_first"), 0, 1),
    "mart_journey_map": (("csat_top_box_pct", "csat_ci_low", "csat_ci_high"), 0, 100),
}
_INTERVALS = {
    "mart_nps": (("ci_low", "ci_high"), ("weighted_ci_low", "weighted_ci_high")),
    "mart_csat": (("ci_low", "ci_high"), ("mean_ci_low", "mean_ci_high")),
    "mart_response_rate": (("ci_low", "ci_high"),),
    "mart_funnel": (("ci_low", "ci_high"),),
    "mart_journey_map": (("nps_ci_low", "nps_ci_high"), ("csat_ci_low", "csat_ci_high")),
}
_SCORES = {
    "mart_nps": (
        "promoters",
        "passives",
        "detractors",
        "nps",
        "standard_error",
        "ci_low",
        "ci_high",
        "n_effective",
        "nps_weighted",
        "weighted_ci_low",
        "weighted_ci_high",
    ),
    "mart_csat": ("top_box_count", "top_box_pct", "ci_low", "ci_high", "mean_score", "mean_ci_low", "mean_ci_high"),
    "mart_response_rate": ("n_complete", "n_partial", "response_share", "ci_low", "ci_high"),
    "mart_funnel": (
        "n_previous",
        "n_reached",
        "conversion_share",
        "dropoff_share",
        "ci_low",
        "ci_high",
        "share_of_first",
    ),
}
"""What a suppressed cell may not hold."""

_PERSONS = ("fct_response", "fct_answer", "fct_session", "fct_order", "fct_ticket", "fct_journey_stage")


def marts_rules(limits: Limits | None = None, accept_drops: Collection[str] = ()) -> list[Rule]:
    """The rules of the marts gate.

    Args:
        limits: Limits other than the default ones.
        accept_drops: Marts that may lose rows this time: their drop guard warns instead of blocking.
    """
    limits = limits or Limits()
    rules: list[Rule] = []
    for mart, key in MART_KEYS.items():
        rules += _every_mart(mart, key, limits, mart in accept_drops)
    for mart, names in _NOT_NEGATIVE.items():
        rules += [_bounds(mart, name, 0, None) for name in names]
    for mart, (names, low, high) in _BOUNDS.items():
        rules += [_bounds(mart, name, low, high) for name in names]
    rules += [_bounds("mart_journey_map", name, -100, 100) for name in ("nps", "nps_ci_low", "nps_ci_high")]
    for mart, pairs in _INTERVALS.items():
        rules += [_interval(mart, low, high) for low, high in pairs]
    for mart, names in _SCORES.items():
        rules += _suppression(mart, names)
    for fact in _PERSONS:
        rules += _persons(fact, limits)
    rules += [*_nps_rules(), *_reconciliations(), *personal_data_rules(MART_KEYS), *disclosure_rules(MART_KEYS)]
    return reject_duplicates(rules)


def _rule(
    mart: str,
    rule_id: str,
    expectation: Expectation,
    dimension: Dimension,
    says: str,
    *,
    severity: Severity = "error",
    column: str | None = None,
    minimum_share: float = 1.0,
    mend: str = "",
) -> Rule:
    return Rule(
        rule_id,
        "marts",
        mart,
        expectation,
        dimension,
        severity,
        f"{mart}: {says}.",
        column=column,
        minimum_share=minimum_share,
        key=MART_KEYS[mart],
        mend=mend,
    )


def _every_mart(mart: str, key: Sequence[str], limits: Limits, may_drop: bool) -> list[Rule]:
    table = quote(mart)
    dropped = (
        "SELECT rows_published, rows_now FROM (SELECT (SELECT count(*) FROM "
        f"{quote('published__' + mart)}) AS rows_published, (SELECT count(*) FROM {table}) AS rows_now) "
        f"WHERE rows_now < (1 - {limits.drop_error}) * rows_published"
    )
    unnamed = f"SELECT {_listed(mart)} FROM {table} WHERE {' OR '.join(f'{name} IS NULL' for name in key)}"
    rules = [
        _rule(mart, "key_unique", unique(key), "uniqueness", f"no two rows share {', '.join(key)}"),
        _rule(mart, "key_present", no_rows(unnamed), "completeness", f"{', '.join(key)} are never null"),
        _rule(
            mart,
            "rows_kept",
            no_rows(dropped),
            "completeness",
            f"at most {limits.drop_error:.0%} of the rows that are published now are gone",
            severity="warn" if may_drop else "error",
            mend="If the loss is meant, accept it for this table and run again.",
        ),
    ]
    if mart in _INTERVALS:
        stale = (
            f"SELECT max(run_id) AS built_by FROM {table} HAVING count(*) > 0 AND "
            "count(*) FILTER (run_id = (SELECT built_by FROM gate_run)) = 0"
        )
        rules.append(
            _rule(mart, "built_by_last_build", no_rows(stale), "timeliness", "the last build made it", severity="warn")
        )
    return rules


def _bounds(mart: str, name: str, low: float | None, high: float | None) -> Rule:
    span = f"at least {low}" if high is None else f"between {low} and {high}"
    return _rule(mart, f"{name}_in_range", between(name, low, high), "validity", f"{name} is {span}", column=name)


def _interval(mart: str, low: str, high: str) -> Rule:
    query = f"SELECT {_listed(mart)} FROM {quote(mart)} WHERE {low} > {high} OR ({low} IS NULL) <> ({high} IS NULL)"
    says = f"{low} is at most {high}, and both are there or neither"
    return _rule(mart, f"{low}_at_most_{high}", no_rows(query), "consistency", says, column=low)


def _suppression(mart: str, names: Sequence[str]) -> list[Rule]:
    held = " OR ".join(f"{name} IS NOT NULL" for name in names)
    hidden = f"SELECT {_listed(mart)} FROM {quote(mart)} WHERE is_suppressed IS DISTINCT FROM false AND ({held})"
    flag = (
        f"SELECT {_listed(mart)} FROM {quote(mart)} WHERE is_suppressed IS NULL OR "
        "is_suppressed <> (suppression_reason IS NOT NULL)"
    )
    small = f"SELECT {_listed(mart)} FROM {quote(mart)} WHERE n < minimum_n AND NOT is_suppressed"
    return [
        _rule(mart, "suppressed_is_empty", no_rows(hidden), "validity", "a suppressed cell holds no score"),
        _rule(mart, "suppression_explained", no_rows(flag), "consistency", "a cell is suppressed for a reason"),
        _rule(mart, "small_is_suppressed", no_rows(small), "validity", "a cell below the minimum base is suppressed"),
    ]


def _persons(fact: str, limits: Limits) -> list[Rule]:
    key = ", ".join(f"f.{name}" for name in MART_KEYS[fact])
    orphans = no_rows(
        f"SELECT {key} FROM {quote(fact)} AS f ANTI JOIN dim_person AS p ON f.person_id = p.person_id "
        "WHERE f.person_id IS NOT NULL"
    )
    says = "every person is a row of dim_person"
    levels: tuple[tuple[str, Severity, float], ...] = (
        ("", "warn", limits.orphans_warn),
        ("_error", "error", limits.orphans_error),
    )
    return [
        _rule(
            fact,
            f"person_exists{suffix}",
            orphans,
            "consistency",
            says,
            severity=severity,
            column="person_id",
            minimum_share=1 - limit,
        )
        for suffix, severity, limit in levels
    ]


def _nps_rules() -> list[Rule]:
    listed = _listed("mart_nps")
    return [
        _rule(
            "mart_nps",
            "counts_add_up",
            no_rows(
                f"SELECT {listed} FROM mart_nps WHERE NOT is_suppressed AND "
                "(promoters + passives + detractors = n) IS NOT TRUE"
            ),
            "consistency",
            "promoters, passives and detractors make up n",
        ),
        _rule(
            "mart_nps",
            "score_follows",
            no_rows(
                f"SELECT {listed} FROM mart_nps WHERE NOT is_suppressed AND n > 0 AND "
                "(abs(nps - 100.0 * (promoters - detractors) / n) < 1e-6) IS NOT TRUE"
            ),
            "accuracy",
            "nps is the promoters' less the detractors' share",
            column="nps",
        ),
        _rule(
            "mart_nps",
            "breakdowns_add_up",
            no_rows(
                "SELECT nps_kind, period_kind, period_start_date, breakdown FROM (SELECT nps_kind, period_kind, "
                "period_start_date, breakdown, sum(n) AS n FROM mart_nps WHERE breakdown <> 'total' GROUP BY ALL) AS b "
                "JOIN (SELECT nps_kind, period_kind, period_start_date, n AS total FROM mart_nps WHERE breakdown = "
                "'total') AS t USING (nps_kind, period_kind, period_start_date) WHERE n <> total"
            ),
            "consistency",
            "the cells of a breakdown make up the total",
            column="n",
        ),
    ]


def _reconciliations() -> list[Rule]:
    counted = "is_valid AND is_counted"
    return [
        _rule(
            "mart_nps",
            "reconciles_with_answers",
            # A person votes once, so that votes lie between the voters and the answers.
            no_rows(
                "SELECT votes, voters, answers FROM (SELECT coalesce((SELECT sum(n) FROM mart_nps WHERE period_kind = "
                "'all' AND breakdown = 'total'), 0) AS votes, (SELECT count(*) FROM fct_answer WHERE metric = 'nps' "
                f"AND {counted}) AS answers, (SELECT count(DISTINCT coalesce(person_id, response_key)) FROM "
                f"fct_answer WHERE metric = 'nps' AND {counted}) AS voters) "
                "WHERE votes > answers OR votes < voters"
            ),
            "accuracy",
            "votes of all time are at least the voters and at most the answers of fct_answer",
            column="n",
        ),
        _rule(
            "mart_csat",
            "reconciles_with_answers",
            no_rows(
                "SELECT source, survey_id, question_id, m.n AS in_mart, f.n AS in_answers FROM (SELECT source, "
                "survey_id, question_id, metric, n FROM mart_csat WHERE period_kind = 'all' AND breakdown = 'total') "
                "AS m FULL JOIN (SELECT source, survey_id, question_id, metric, count(*) AS n FROM fct_answer WHERE "
                f"metric IN ('csat', 'ces', 'rating') AND {counted} GROUP BY ALL) AS f "
                "USING (source, survey_id, question_id, metric) WHERE m.n IS DISTINCT FROM f.n"
            ),
            "accuracy",
            "n of all time equals the answers of fct_answer",
            column="n",
        ),
        _rule(
            "mart_funnel",
            "reconciles_with_stages",
            no_rows(
                "SELECT stage_id, m.n_reached AS in_mart, coalesce(f.n, 0) AS in_stages FROM (SELECT stage_id, "
                "n_reached FROM mart_funnel WHERE cohort_kind = 'all' AND breakdown = 'total' AND NOT is_suppressed) "
                "AS m LEFT JOIN (SELECT stage_id, count(*) AS n FROM fct_journey_stage WHERE is_reached_in_order "
                "GROUP BY ALL) AS f USING (stage_id) WHERE m.n_reached IS DISTINCT FROM coalesce(f.n, 0)"
            ),
            "accuracy",
            "who reached a stage in order is counted in fct_journey_stage too",
            column="n_reached",
        ),
        _rule(
            "mart_funnel",
            "never_widens",
            no_rows(f"SELECT {_listed('mart_funnel')} FROM mart_funnel WHERE n_reached > n_previous"),
            "consistency",
            "a stage is reached by no more than the one before",
            column="n_reached",
        ),
        _rule(
            "fct_answer",
            "response_exists",
            no_rows(
                "SELECT a.answer_key FROM fct_answer AS a ANTI JOIN fct_response AS r "
                "ON a.response_key = r.response_key"
            ),
            "consistency",
            "every answer belongs to a row of fct_response",
            column="response_key",
        ),
    ]


def _listed(mart: str) -> str:
    return ", ".join(MART_KEYS[mart])
