"""The figures of the nightly page, read from the marts; nothing here computes a metric.

Belongs here: which mart rows are the headlines, how suppressed cells are kept out, and the plain-text
rendering. Does not belong here: formulas (they live in the marts) and HTML (``report.build``).

A suppressed cell loses its numbers here, where it is read, so that no rendering can show them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

STALE_AFTER = timedelta(hours=36)
"""A source whose last good load is older than this is stale: a night was missed, with half a day of grace."""
MONTHS_SHOWN = 13
"""A year and the same month of the year before."""


class MartError(RuntimeError):
    """A mart lacks a column that the page needs; the message names it."""


@dataclass(frozen=True)
class Score:
    """One score with its base and interval; the numbers are None where the cell may not be shown.

    Attributes:
        value: The score in its own unit (NPS -100 to 100, percentages 0 to 100, shares 0 to 1, means on the scale).
        low: Lower bound of the 95 % interval, same unit.
        high: Upper bound.
        n: Base: votes, answers or persons.
        hidden: Why nothing is shown: ``below_minimum``, ``complementary``, or None where it is shown.
        minimum_n: The smallest base that is shown.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    hidden: str | None = None
    minimum_n: int | None = None

    @property
    def is_shown(self) -> bool:
        """True where there is a number to show."""
        return self.hidden is None and self.value is not None

    @property
    def instead(self) -> str:
        """What stands in place of the number: never the number, never the base."""
        if self.hidden == "below_minimum":
            return f"n < {self.minimum_n}" if self.minimum_n else "base too small"
        return "withheld" if self.hidden else "no data"


@dataclass(frozen=True)
class Period:
    """A score of one period, first and last day inclusive."""

    start: date
    end: date
    score: Score


@dataclass(frozen=True)
class QuestionScore:
    """A rated question: share of the top boxes (``top_box``, 0 to 100) and mean on its scale (``mean``)."""

    survey_id: str
    question_id: str
    metric: str
    top_box: Score
    mean: Score


@dataclass(frozen=True)
class FunnelStage:
    """One stage: persons who reached it and their share of the stage before (0 to 1, Wilson interval)."""

    stage_id: str
    n_reached: int | None
    conversion: Score
    dropoff_share: float | None
    share_of_first: float | None
    median_hours: float | None
    window_days: int | None
    is_mature: bool


@dataclass(frozen=True)
class Touchpoint:
    """One touchpoint of one stage; ``is_pain_point`` as defined by ``mark_pain_points``."""

    stage: str
    touchpoint: str
    n_persons: int | None
    n_sessions: int | None
    n_orders: int | None
    n_tickets: int | None
    nps: Score
    csat: Score
    is_pain_point: bool = False


@dataclass(frozen=True)
class CheckCounts:
    """Outcomes of one run's rules; ``failed`` are those at error severity, errored and skipped ones included."""

    passed: int
    warned: int
    failed: int

    @property
    def total(self) -> int:
        """All rules that reported."""
        return self.passed + self.warned + self.failed


@dataclass(frozen=True)
class Headlines:
    """What a night says in a dozen numbers; each is None or empty where the marts hold no data for it.

    Attributes:
        run_id: Run that built the marts.
        as_of: Last day of the 28-day window.
        nps: Relational NPS of the last 28 days.
        nps_before: The 28 days before those.
        nps_by_month: Relational NPS by month, oldest first; months without votes are there as "no data".
        questions: Rated questions of the last 28 days.
        response_rate: Share (0 to 1) of delivered invitations answered, sent in the last full month: a younger
            invitation may still be answered.
        funnel: Stages in order, all cohorts.
        journey: Touchpoints in order of the stages.
        checks: Outcomes of the latest run's rules, where the file holds them.
        metric_versions: Version by metric.
    """

    run_id: str | None = None
    as_of: date | None = None
    nps: Score = Score()
    nps_before: Score = Score()
    nps_by_month: tuple[Period, ...] = ()
    questions: tuple[QuestionScore, ...] = ()
    response_rate: Period | None = None
    funnel: tuple[FunnelStage, ...] = ()
    journey: tuple[Touchpoint, ...] = ()
    checks: CheckCounts | None = None
    metric_versions: tuple[tuple[str, str], ...] = ()

    @property
    def csat(self) -> QuestionScore | None:
        """The CSAT question with the most answers."""
        rated = [question for question in self.questions if question.metric == "csat"]
        return max(rated, key=lambda question: question.top_box.n or 0, default=None)


@dataclass(frozen=True)
class Freshness:
    """What is known of one stream's loads.

    Attributes:
        source: Source.
        stream: Stream.
        last_success: End of the last load that was committed or found nothing new.
        status: Status of the latest attempt.
        rows_landed: Rows of the latest attempt.
        error: Why the latest attempt failed.
        is_stale: No good load within ``STALE_AFTER``, or the latest attempt failed.
        missing_share: Share (0-1) of the window of the last committed load that is still to be read; None for nothing.
    """

    source: str
    stream: str
    last_success: datetime | None
    status: str
    rows_landed: int | None
    error: str | None
    is_stale: bool
    missing_share: float | None = None


def headlines(marts: Path) -> Headlines:
    """Read the headlines from a marts file, published or not.

    Args:
        marts: The DuckDB file; one that does not exist or lacks tables gives headlines without data.

    Raises:
        MartError: a mart lacks a column it must have.
        duckdb.Error: the file cannot be read.
    """
    if not Path(marts).is_file():
        return Headlines()
    with duckdb.connect(str(marts), read_only=True) as connection:
        try:
            return _read(_Reader(connection))
        except (KeyError, duckdb.BinderException) as error:
            raise MartError(f"{marts}: a mart lacks a column, {error}; build the marts (dbt build) anew") from error


def _read(reader: _Reader) -> Headlines:
    as_of = reader.as_of()
    checks = reader.rows(
        "check_result",
        "SELECT severity, outcome FROM check_result "
        "WHERE run_id = (SELECT arg_max(run_id, checked_at) FROM check_result)",
    )
    return Headlines(
        run_id=reader.value("mart_nps", "SELECT max(run_id) FROM mart_nps"),
        as_of=as_of,
        nps=reader.relational_nps(as_of),
        nps_before=reader.relational_nps(as_of - timedelta(days=28)) if as_of else Score(),
        nps_by_month=reader.nps_by_month(),
        questions=reader.questions(as_of),
        response_rate=reader.response_rate(as_of),
        funnel=reader.funnel(),
        journey=mark_pain_points(reader.journey()),
        checks=count_checks(checks) if checks else None,
        metric_versions=reader.metric_versions(),
    )


def count_checks(rows: Sequence[Mapping[str, Any]]) -> CheckCounts:
    """Count rules by what came of them; whatever did not pass is failed or, at warn severity, warned."""
    passed = sum(row["outcome"] == "passed" for row in rows)
    warned = sum(row["outcome"] != "passed" and row["severity"] == "warn" for row in rows)
    return CheckCounts(passed, warned, len(rows) - passed - warned)


def freshness(loads: pl.DataFrame, now: datetime) -> list[Freshness]:
    """How fresh each stream is, from the ``load`` table.

    Args:
        loads: Rows of the ``load`` contract, any number of nights.
        now: Present time, UTC without zone like the table's own.

    Returns:
        One entry a stream, ordered by source and stream.
    """
    if loads.is_empty():
        return []
    good = pl.col("status").is_in(["committed", "unchanged"])
    streams = (
        loads.sort("started_at", "load_id")
        .group_by("source", "stream")
        .agg(
            pl.coalesce("extracted_at", "started_at").filter(good).max().alias("last_success"),
            pl.col("status", "rows_landed", "error").last(),
            pl.col("missing_share")
            .filter((pl.col("status") == "committed") & (pl.col("kind").ne_missing("backfill")))
            .last(),
        )
        .sort("source", "stream")
    )
    return [
        Freshness(
            **row,
            is_stale=row["status"] == "failed"
            or row["last_success"] is None
            or now - row["last_success"] > STALE_AFTER,
        )
        for row in streams.to_dicts()
    ]


def stale_sources(loads: pl.DataFrame, now: datetime) -> list[str]:
    """Names of the sources that have a stale stream."""
    return sorted({entry.source for entry in freshness(loads, now) if entry.is_stale})


def mark_pain_points(journey: Sequence[Touchpoint]) -> tuple[Touchpoint, ...]:
    """Mark the touchpoints whose CSAT is worse than the journey's as a whole, beyond chance.

    A touchpoint is a pain point where the whole 95 % interval of its CSAT lies below the CSAT of all shown
    touchpoints taken together (their top boxes over their answers).
    """
    shown = [point.csat for point in journey if point.csat.is_shown and point.csat.n]
    base = sum(score.n or 0 for score in shown)
    if not base:
        return tuple(journey)
    together = sum((score.value or 0.0) * (score.n or 0) for score in shown) / base
    return tuple(
        replace(
            point,
            is_pain_point=point.csat.is_shown and point.csat.high is not None and point.csat.high < together,
        )
        for point in journey
    )


class _Reader:
    """Queries on one marts file; a mart that is not there reads as empty, a missing column is an error."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.columns: dict[str, set[str]] = {}
        for table, column in connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() "
            "WHERE database_name = current_database() AND schema_name = 'main' AND NOT internal"
        ).fetchall():
            self.columns.setdefault(table, set()).add(column)

    def rows(self, table: str, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        if table not in self.columns:
            return []
        cursor = self.connection.execute(sql, list(parameters))
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def value(self, table: str, sql: str) -> Any:
        rows = self.rows(table, sql)
        return next(iter(rows[0].values())) if rows else None

    def as_of(self) -> date | None:
        """Last day of the marts' windows: where every period named 'all' ends."""
        ends = [
            self.value(table, f"SELECT max(period_end_date) FROM {table} WHERE period_kind = 'all'")
            for table in ("mart_nps", "mart_csat", "mart_response_rate")
        ]
        return max((end for end in ends if end is not None), default=None)

    def relational_nps(self, end: date | None) -> Score:
        rows = self.rows(
            "mart_nps",
            "SELECT * FROM mart_nps WHERE nps_kind = 'relational' AND breakdown = 'total' "
            "AND period_kind = 'rolling_28d' AND period_end_date = ?",
            end,
        )
        return _score(rows[0], "nps") if rows else Score()

    def nps_by_month(self) -> tuple[Period, ...]:
        rows = self.rows(
            "mart_nps",
            "SELECT * FROM mart_nps WHERE nps_kind = 'relational' AND breakdown = 'total' "
            "AND period_kind = 'month' ORDER BY period_start_date",
        )
        found = {row["period_start_date"]: row for row in rows}
        if not found:
            return ()
        periods: list[Period] = []
        start = max(found)
        while len(periods) < MONTHS_SHOWN and start >= min(found):
            row = found.get(start)
            end = row["period_end_date"] if row else (start.replace(day=28) + timedelta(days=4)).replace(day=1)
            end = end if row else end - timedelta(days=1)
            periods.append(Period(start, end, _score(row, "nps") if row else Score()))
            start = (start - timedelta(days=1)).replace(day=1)
        return tuple(reversed(periods))

    def questions(self, end: date | None) -> tuple[QuestionScore, ...]:
        rows = self.rows(
            "mart_csat",
            "SELECT * FROM mart_csat WHERE breakdown = 'total' AND period_kind = 'rolling_28d' "
            "AND period_end_date = ? "
            "ORDER BY list_position(['csat', 'ces', 'rating'], metric), survey_id, question_id, source",
            end,
        )
        return tuple(
            QuestionScore(
                row["survey_id"],
                row["question_id"],
                row["metric"],
                _score(row, "top_box_pct"),
                _score(row, "mean_score", "mean_ci_low", "mean_ci_high"),
            )
            for row in rows
        )

    def response_rate(self, as_of: date | None) -> Period | None:
        rows = self.rows(
            "mart_response_rate",
            "SELECT * FROM mart_response_rate WHERE breakdown = 'total' AND period_kind = 'month' "
            "ORDER BY period_end_date <= ? DESC, period_end_date DESC LIMIT 1",
            as_of,
        )
        if not rows:
            return None
        return Period(rows[0]["period_start_date"], rows[0]["period_end_date"], _score(rows[0], "response_share"))

    def funnel(self) -> tuple[FunnelStage, ...]:
        rows = self.rows(
            "mart_funnel",
            "SELECT * FROM mart_funnel WHERE cohort_kind = 'all' AND breakdown = 'total' ORDER BY stage_order",
        )
        return tuple(
            FunnelStage(
                stage_id=row["stage_id"],
                n_reached=None if _hidden(row) else row["n_reached"],
                conversion=_score(row, "conversion_share", n="n_previous"),
                dropoff_share=None if _hidden(row) else row["dropoff_share"],
                share_of_first=None if _hidden(row) else row["share_of_first"],
                median_hours=None if _hidden(row) else row["median_hours_from_previous"],
                window_days=row["window_days"],
                is_mature=bool(row["is_mature"]),
            )
            for row in rows
        )

    def journey(self) -> tuple[Touchpoint, ...]:
        rows = self.rows("mart_journey_map", "SELECT * FROM mart_journey_map ORDER BY stage_order, touchpoint_id")
        return tuple(
            Touchpoint(
                stage=row["stage_name"] or "No stage",
                touchpoint=row["touchpoint_name"] or row["touchpoint_id"],
                n_persons=row["n_persons"],
                n_sessions=row["n_sessions"],
                n_orders=row["n_orders"],
                n_tickets=row["n_tickets"],
                nps=_part_score(row, "nps", "nps"),
                csat=_part_score(row, "csat", "csat_top_box_pct"),
            )
            for row in rows
        )

    def metric_versions(self) -> tuple[tuple[str, str], ...]:
        found = []
        for metric, table in (
            ("NPS", "mart_nps"),
            ("CSAT", "mart_csat"),
            ("response rate", "mart_response_rate"),
            ("funnel", "mart_funnel"),
            ("journey map", "mart_journey_map"),
        ):
            if "metric_version" in self.columns.get(table, ()):
                version = self.value(table, f"SELECT max(metric_version) FROM {table}")
                if version is not None:
                    found.append((metric, str(version)))
        return tuple(found)


def _hidden(row: Mapping[str, Any], flag: str = "is_suppressed", reason: str = "suppression_reason") -> str | None:
    """Why the row's score may not be shown; a row whose flag is null is not shown either."""
    return None if row[flag] is False else row[reason] or "below_minimum"


def _score(row: Mapping[str, Any], value: str, low: str = "ci_low", high: str = "ci_high", *, n: str = "n") -> Score:
    hidden = _hidden(row)
    if hidden is not None:
        return Score(hidden=hidden, minimum_n=row["minimum_n"])
    numbers = [_number(row[name]) for name in (value, low, high)]
    return Score(numbers[0], numbers[1], numbers[2], n=row[n], minimum_n=row["minimum_n"])


def _part_score(row: Mapping[str, Any], part: str, value: str) -> Score:
    """One of several scores of a row, each with columns and a flag of its own."""
    hidden = _hidden(row, f"is_{part}_suppressed", f"{part}_suppression_reason")
    if hidden is not None:
        return Score(hidden=hidden, minimum_n=row["minimum_n"])
    numbers = [_number(row[name]) for name in (value, f"{part}_ci_low", f"{part}_ci_high")]
    return Score(numbers[0], numbers[1], numbers[2], n=row[f"{part}_n"], minimum_n=row["minimum_n"])


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def render_text(figures: Headlines) -> str:
    """The headlines as plain text for a terminal, one figure a line."""
    period = f"28 days to {figures.as_of}" if figures.as_of else "last 28 days"
    lines = [f"NPS, {period:<32} {_text(figures.nps, '.1f')}"]
    if figures.csat is not None:
        lines.append(f"CSAT, {period:<31} {_text(figures.csat.top_box, '.1f', ' %')}")
    if figures.response_rate is not None:
        sent = f"sent in {figures.response_rate.start:%B %Y}"
        lines.append(f"Response rate, {sent:<22} {_text(figures.response_rate.score, '.1f', ' %', 100)}")
    lines.append("Funnel" + ("" if figures.funnel else ": no data"))
    for stage in figures.funnel:
        reached = "hidden" if stage.n_reached is None else f"{stage.n_reached:,}"
        conversion = _text(stage.conversion, ".1f", " %", 100) if stage is not figures.funnel[0] else ""
        lines.append(f"  {stage.stage_id:<15} {reached:>9}  {conversion}".rstrip())
    if figures.checks is not None:
        counts = figures.checks
        lines.append(f"Checks: {counts.failed} failed, {counts.warned} warned, {counts.passed} passed")
    return "\n".join(lines)


def _text(score: Score, form: str, unit: str = "", factor: float = 1) -> str:
    if not score.is_shown or score.value is None:
        return score.instead
    text = f"{score.value * factor:{form}}{unit}  n = {score.n:,}"
    if score.low is not None and score.high is not None:
        text += f"  95 % interval {score.low * factor:{form}} to {score.high * factor:{form}}"
    return text
