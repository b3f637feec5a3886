"""The nightly page: one HTML file that needs nothing else, readable in a browser, in print and by screen readers.

Belongs here: what the page says and in which order. Does not belong here: formulas (the marts have them),
geometry of charts (``report.svg``), where the file is stored (``warehouse.publish``).

The page holds no personal data: only aggregates come from the marts, and e-mail addresses, phone and identity
numbers are masked in messages of checks and loads, which may quote a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from html import escape
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

import polars as pl

from orchestration.report import style, svg
from orchestration.report.headlines import (
    STALE_AFTER,
    CheckCounts,
    Freshness,
    FunnelStage,
    Headlines,
    MartError,
    Period,
    QuestionScore,
    Score,
    Touchpoint,
    count_checks,
    freshness,
    headlines,
    render_text,
    stale_sources,
)
from orchestration.warehouse.nights import nights

__all__ = ["Headlines", "MartError", "build_report", "freshness", "headlines", "render_text", "stale_sources"]

NIGHTS_SHOWN = 30
"""Nights charted, this one included; all of them stand in the table step_metric."""
CHECKS_SHOWN = 100
"""Failed and warned checks listed; the rest are counted and stand in the table check_result."""

_DOCS = (
    ("NPS", "docs/metrics/nps.md"),
    ("CSAT", "docs/metrics/csat.md"),
    ("Response rate", "docs/metrics/response_rate.md"),
    ("Funnel", "docs/metrics/funnel.md"),
    ("Journey map", "docs/metrics/journey_map.md"),
    ("Publishing", "docs/publishing.md"),
)
_MASKS = (
    (re.compile(r"[^\s@'\"<>(),;:]+@[^\s@'\"<>(),;:]+\.[^\s@'\"<>(),;:]+"), "[e-mail]"),
    (re.compile(r"(?<![\w.])\d{17}[\dXx](?!\w)"), "[id number]"),
    (re.compile(r"(?<![\w.])(?:\+\d{1,3}[ -]?)?1[3-9]\d(?:[ -]?\d{4}){2}(?!\d)"), "[phone]"),
    (re.compile(r"\+\d[\d ()-]{6,}\d"), "[phone]"),
)
_METRICS = {"csat": "CSAT", "ces": "CES", "rating": "Rating"}
_NIGHT_STATUS = {"published": "published", "failed": "a step failed", "unfinished": "not finished"}
_STATUS = {
    "publish": ("ok", "Published"),
    "publish+warn": ("warn", "Published with warnings"),
    "block": ("bad", "Not published"),
}


class GateDecision(Protocol):
    """What the page needs of the gates' decision."""

    @property
    def action(self) -> str:
        """``publish``, ``publish+warn`` or ``block``."""

    @property
    def reasons(self) -> Sequence[str]:
        """Why, one sentence each."""


def build_report(
    marts: Path,
    *,
    decision: GateDecision,
    checks: pl.DataFrame,
    loads: pl.DataFrame,
    now: datetime,
    run_id: str,
    timezone: str = "UTC",
    docs_url: str | None = None,
    steps: pl.DataFrame | None = None,
) -> str:
    """Build the page of one night.

    Args:
        marts: The DuckDB file of the marts, published or not; missing or empty gives a page that says so.
        decision: The gates' decision.
        checks: Rows of the ``check_result`` contract; those of ``run_id`` are shown.
        loads: Rows of the ``load`` contract of as many nights as there are.
        now: When the page is made; a naive value is UTC.
        run_id: The run.
        timezone: IANA zone that times are shown in.
        docs_url: Where the documentation is read, without trailing slash; None prints the paths of the files.
        steps: Rows of the ``step_metric`` contract of as many nights as there are.

    Returns:
        The HTML text; it refers to no other file.

    Raises:
        MartError: a mart lacks a column it must have.
        duckdb.Error: the file cannot be read.
    """
    moment = now.replace(tzinfo=UTC) if now.tzinfo is None else now.astimezone(UTC)
    zone = ZoneInfo(timezone)
    figures = headlines(marts)
    streams = freshness(loads, moment.replace(tzinfo=None))
    rules = checks.filter(pl.col("run_id") == run_id).to_dicts() if not checks.is_empty() else []
    counts = count_checks(rules)
    kind, status = _STATUS.get(str(decision.action), ("bad", str(decision.action)))
    local = moment.astimezone(zone)
    body = [
        "<header>",
        f"<h1>Customer experience, night of {local.day} {local:%B %Y}</h1>",
        f'<p class="status {kind}"><strong>{escape(status)}</strong>{_status_detail(counts, streams)}</p>',
        '<dl class="facts">',
        _fact("Data to", _day(figures.as_of.isoformat() if figures.as_of else None)),
        _fact("Made", f"{local:%Y-%m-%d %H:%M} {escape(timezone)}"),
        _fact("Run", f"<code>{escape(run_id)}</code>"),
        "</dl>",
        "</header>",
        "<main>",
        _section("headlines", "Headlines", _tiles(figures)),
        _section("nps", "NPS by month", _nps_months(figures.nps_by_month, figures.as_of)),
        _section("funnel", "From awareness to loyalty", _funnel(figures.funnel)),
        _section("journey", "Journey map", _journey(figures.journey)),
        _section("questions", "Rated questions, last 28 days", _questions(figures.questions)),
        _section("checks", "Data quality", _checks(rules, counts, decision)),
        _section("sources", "Freshness of the sources", _sources(streams, zone)),
        _section("nights", "Last nights", _nights(steps, zone)),
        _section("about", "How to read this page", _about(figures, docs_url)),
        "</main>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="robots" content="noindex">\n'
        f"<title>Customer experience, {local:%Y-%m-%d}</title>\n<style>\n{style.PAGE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def mask(text: str) -> str:
    """The text without e-mail addresses, phone numbers and identity numbers."""
    for pattern, stand_in in _MASKS:
        text = pattern.sub(stand_in, text)
    return text


# --- sections -----------------------------------------------------------------------------------------


def _status_detail(counts: CheckCounts, streams: Sequence[Freshness]) -> str:
    said = []
    if counts.total:
        said.append(f"{counts.failed} of {counts.total} checks failed, {counts.warned} warned")
    else:
        said.append("no check reported")
    stale = sorted({entry.source for entry in streams if entry.is_stale})
    if stale:
        said.append(f"stale: {escape(', '.join(stale))}")
    if partial := sorted({entry.source for entry in streams if entry.missing_share}):
        said.append(f"not read to the end: {escape(', '.join(partial))}")
    return f" <span>{'; '.join(said)}.</span>"


def _tiles(figures: Headlines) -> str:
    window = f"28 days to {figures.as_of}" if figures.as_of else "last 28 days"
    before = f"<p>28 days before: {_number(figures.nps_before)}{_base(figures.nps_before)}</p>" if figures.as_of else ""
    tiles = [
        _tile("NPS", figures.nps, -100, 100, "votes", extra=f"<p>Relational, {window}; one vote a person.</p>{before}")
    ]
    csat = figures.csat
    question = f"; top boxes of {escape(csat.survey_id)}, {escape(csat.question_id)}" if csat else ""
    detail = f"<p>{window[0].upper()}{window[1:]}{question}.</p>"
    tiles.append(_tile("CSAT", csat.top_box if csat else Score(), 0, 100, "answers", unit=" %", extra=detail))
    rate = figures.response_rate
    tiles.append(
        _tile(
            "Response rate",
            rate.score if rate else Score(),
            0,
            100,
            "invitations",
            unit=" %",
            factor=100,
            extra="<p>Complete answers to the invitations delivered"
            + (f" in {rate.start:%B %Y}.</p>" if rate else ".</p>"),
        )
    )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _tile(
    name: str, score: Score, minimum: float, maximum: float, base: str, *, unit: str = "", factor: float = 1, extra: str
) -> str:
    identifier = name.lower().replace(" ", "-")
    if not score.is_shown or score.value is None:
        body = f'<p class="figure none" id="figure-{identifier}">{escape(score.instead)}</p>'
    else:
        body = (
            f'<p class="figure" id="figure-{identifier}">{_number(score, unit, factor)}</p>'
            + svg.interval(
                score.value * factor,
                None if score.low is None else score.low * factor,
                None if score.high is None else score.high * factor,
                minimum=minimum,
                maximum=maximum,
                has_ends=True,
            )
            + f"<p>95 % interval {_interval(score, factor)}{_unit(unit)}<br>n = {score.n:,} {base}</p>"
        )
    return f'<div class="tile"><h3>{name}</h3>{body}<div class="note">{extra}</div></div>'


def _nps_months(periods: Sequence[Period], as_of: date | None) -> str:
    if not periods:
        return _none("No relational NPS votes yet.")
    points = [
        svg.Point(
            label=f"{period.start:%b}" + (f" {period.start:%y}" if period.start.month == 1 or i == 0 else ""),
            value=period.score.value if period.score.is_shown else None,
            low=period.score.low,
            high=period.score.high,
            n=period.score.n if period.score.is_shown else None,
            instead=period.score.instead if period.score.hidden else "none",
        )
        for i, period in enumerate(periods)
    ]
    span = f"{periods[0].start:%B %Y} to {periods[-1].start:%B %Y}"
    label = f"Relational NPS by month, {span}; the table below has the numbers"
    charts = "".join(
        f'<div class="{name}">'
        f"{svg.line_with_band(points, width=width, height=height, label=label, identifier=f'chart-{name}')}</div>"
        for name, width, height in (("wide", 900, 290), ("narrow", 360, 260))
    )
    rows = [
        (
            f"{period.start:%Y-%m}" + (" to date" if as_of and period.end > as_of else ""),
            _number(period.score),
            _interval(period.score),
            _count(period.score.n) if period.score.is_shown else "",
        )
        for period in reversed(periods)
    ]
    table = _table(
        "Relational NPS by month with 95 % interval and number of votes",
        (("Month", ""), ("NPS", "num"), ("95 % interval", "num"), ("n", "num")),
        rows,
        hide_caption=True,
    )
    return (
        f"<figure>{charts}<figcaption>Line: NPS. Band: 95 % interval. n: votes, one a person and month.</figcaption>"
        f"</figure><details><summary>The numbers</summary>{table}</details>"
    )


def _funnel(stages: Sequence[FunnelStage]) -> str:
    if not stages:
        return _none("No person has entered the funnel yet.")
    rows = []
    for index, stage in enumerate(stages):
        first = index == 0
        rows.append(
            (
                _label(stage.stage_id),
                _count(stage.n_reached) if stage.n_reached is not None else escape(stage.conversion.instead),
                svg.bar(stage.share_of_first) if stage.share_of_first is not None else "",
                "" if first else _number(stage.conversion, " %", 100),
                "" if first else _interval(stage.conversion, 100),
                ""
                if first or stage.dropoff_share is None
                else f"{stage.dropoff_share * 100:.1f}\N{NARROW NO-BREAK SPACE}%",
                "" if first else _hours(stage.median_hours),
            )
        )
    window = next((stage.window_days for stage in stages if stage.window_days is not None), None)
    note = [f"Stages in order, each within {window} days of the first." if window else "Stages in order."]
    if not all(stage.is_mature for stage in stages):
        note.append("Persons whose window is still open are counted as they stand, so late stages will still grow.")
    return _table(
        "Persons by stage; conversion from the stage before with 95 % Wilson interval",
        (
            ("Stage", ""),
            ("Persons", "num"),
            ("Of the first stage", "graph"),
            ("Conversion", "num"),
            ("95 % interval", "num"),
            ("Drop-off", "num"),
            ("Median time", "num"),
        ),
        rows,
        note=" ".join(note),
    )


def _journey(points: Sequence[Touchpoint]) -> str:
    if not points:
        return _none("No touchpoint has been seen yet.")
    pain = [point for point in points if point.is_pain_point]
    if pain:
        listed = "".join(
            f"<li><strong>{escape(point.touchpoint)}</strong> ({escape(point.stage)}): CSAT "
            f"{_number(point.csat, ' %')}, 95 % interval {_interval(point.csat)}, n = {point.csat.n:,}</li>"
            for point in sorted(pain, key=lambda point: point.csat.value or 0)
        )
        opening = f"<p>Pain points, CSAT below the journey's as a whole beyond chance:</p><ul>{listed}</ul>"
    elif sum(point.csat.is_shown for point in points) < 2:
        opening = "<p>Too few touchpoints have a CSAT to compare them.</p>"
    else:
        opening = "<p>No touchpoint's CSAT lies below the journey's as a whole beyond chance.</p>"
    rows = []
    stage = None
    for point in points:
        rows.append(
            (
                f'<span class="unseen">{escape(point.stage)}</span>' if point.stage == stage else escape(point.stage),
                escape(point.touchpoint) + (' <span class="tag">pain point</span>' if point.is_pain_point else ""),
                _count(point.n_persons),
                _number(point.csat, " %"),
                _whisker(point.csat, 0, 100),
                _base_number(point.csat),
                _number(point.nps),
                _whisker(point.nps, -100, 100),
                _base_number(point.nps),
                _count(point.n_tickets),
            )
        )
        stage = point.stage
    return opening + _table(
        "Touchpoints by stage, from all data so far, with their scores and 95 % intervals",
        (
            ("Stage", ""),
            ("Touchpoint", ""),
            ("Persons", "num"),
            ("CSAT", "num"),
            ("0 to 100", "graph"),
            ("n", "num"),
            ("NPS", "num"),
            ("\N{MINUS SIGN}100 to 100", "graph"),
            ("n", "num"),
            ("Tickets", "num"),
        ),
        rows,
    )


def _questions(questions: Sequence[QuestionScore]) -> str:
    if not questions:
        return _none("No rated question was answered in these days.")
    rows = [
        (
            escape(question.survey_id),
            escape(question.question_id),
            _METRICS.get(question.metric, escape(question.metric)),
            _number(question.top_box, " %"),
            _interval(question.top_box),
            _whisker(question.top_box, 0, 100),
            _number(question.mean, digits=2),
            _interval(question.mean, digits=2),
            _base_number(question.top_box),
        )
        for question in questions
    ]
    return _table(
        "Share of top boxes (Wilson interval) and mean score (t interval), 95 %",
        (
            ("Survey", ""),
            ("Question", ""),
            ("Metric", ""),
            ("Top boxes", "num"),
            ("Interval", "num"),
            ("0 to 100", "graph"),
            ("Mean", "num"),
            ("Interval", "num"),
            ("n", "num"),
        ),
        rows,
    )


def _checks(rules: Sequence[dict], counts: CheckCounts, decision: GateDecision) -> str:
    if not rules:
        return _none("No check reported for this run.") + _reasons(decision.reasons)
    opening = (
        f"<p>{counts.total} rules ran: {counts.passed} passed, {counts.warned} warned, {counts.failed} failed. "
        "A rule that raised, was skipped or gave no result counts like one that failed.</p>"
    )
    order = {"error": 0, "warn": 1}
    bad = sorted(
        (rule for rule in rules if rule["outcome"] != "passed"),
        key=lambda rule: (order.get(rule["severity"], 0), rule["gate"], rule["target_table"], rule["rule_id"]),
    )
    named = {f"{rule['target_table']}.{rule['rule_id']}" for rule in bad}
    unreported = [reason for reason in decision.reasons if not any(name in reason for name in named)]
    opening += _reasons(unreported)
    if not bad:
        return opening
    rows = [
        (
            f'<span class="{"warn" if rule["severity"] == "warn" else "bad"}">'
            f"{'warned' if rule['severity'] == 'warn' else escape(rule['outcome'])}</span>",
            escape(rule["gate"]),
            f"<code>{_breakable(rule['target_table'])}</code>",
            f"<code>{_breakable(rule['rule_id'])}</code>",
            _count(rule["unexpected_count"]),
            _count(rule["element_count"]),
            escape(mask(rule["detail"] or "")),
        )
        for rule in bad[:CHECKS_SHOWN]
    ]
    note = f"{len(bad) - CHECKS_SHOWN} more stand in the table check_result." if len(bad) > CHECKS_SHOWN else ""
    return opening + _table(
        "Rules that did not pass, those that block first",
        (
            ("Outcome", ""),
            ("Gate", ""),
            ("Table", ""),
            ("Rule", ""),
            ("Rows failing", "num"),
            ("Rows", "num"),
            ("What it says", "text"),
        ),
        rows,
        note=note,
    )


def _reasons(reasons: Sequence[str]) -> str:
    if not reasons:
        return ""
    return "<ul>" + "".join(f"<li>{escape(mask(reason))}</li>" for reason in reasons) + "</ul>"


def _freshness(entry: Freshness) -> str:
    """State of a stream that is not stale."""
    if not entry.missing_share:
        return "fresh"
    return f'<span class="warn">{entry.missing_share:.1%} of the window still to be read</span>'


def _sources(streams: Sequence[Freshness], zone: ZoneInfo) -> str:
    if not streams:
        return _none("No source has been loaded yet.")
    stale = sorted({entry.source for entry in streams if entry.is_stale})
    hours = int(STALE_AFTER.total_seconds() // 3600)
    opening = (
        f"<p><strong>Stale: {escape(', '.join(stale))}.</strong> The last attempt failed, or the last good load is "
        f"older than {hours} hours; figures that rest on these sources stand where they stood.</p>"
        if stale
        else f"<p>Every source had a good load within {hours} hours.</p>"
    )
    rows = [
        (
            escape(entry.source),
            escape(entry.stream),
            '<span class="warn">stale</span>' if entry.is_stale else _freshness(entry),
            _local(entry.last_success, zone),
            escape({"unchanged": "nothing new"}.get(entry.status, entry.status)),
            _count(entry.rows_landed),
            escape(mask(entry.error or "")),
        )
        for entry in streams
    ]
    return opening + _table(
        f"Loads by stream, times in {zone.key}",
        (
            ("Source", ""),
            ("Stream", ""),
            ("State", ""),
            ("Last good load", "num"),
            ("Latest attempt", ""),
            ("Rows", "num"),
            ("Error", "text"),
        ),
        rows,
    )


def _nights(steps: pl.DataFrame | None, zone: ZoneInfo) -> str:
    found = nights(steps, NIGHTS_SHOWN).to_dicts() if steps is not None else []
    if not found:
        return _none("No night has been measured yet.")
    megabyte = 1_000_000
    measures: tuple[tuple[str, str, str, float], ...] = (
        ("seconds", "Elapsed time", "s", 1),
        ("cpu_seconds", "CPU time", "s", 1),
        ("peak_memory_bytes", "Peak memory", "MB", megabyte),
        ("rows_landed", "Rows landed", "rows", 1),
    )
    span = f"{_local(found[0]['started_at'], zone)} to {_local(found[-1]['started_at'], zone)}"
    tiles = []
    for name, title, unit, size in measures:
        values = [None if night[name] is None else night[name] / size for night in found]
        most = max((value for value in values if value is not None), default=0)
        chart = svg.columns(
            values,
            label=f"{title} of {len(found)} nights, {span}, at most {most:,.0f} {unit}; the table has the numbers",
            identifier=f"nights-{name.replace('_', '-')}",
            highest=f"{most:,.0f} {unit}",
        )
        tiles.append(f'<figure class="tile"><h3>{title}</h3>{chart}</figure>')
    rows = [
        (
            _local(night["started_at"], zone),
            escape(_NIGHT_STATUS.get(night["status"], night["status"])),
            *("" if night[name] is None else f"{night[name] / size:,.0f}" for name, _, _, size in measures),
            f"<code>{_breakable(night['run_id'])}</code>",
        )
        for night in reversed(found)
    ]
    heads = [(f"{title}, {unit}" if unit != "rows" else title, "num") for _, title, unit, _ in measures]
    table = _table(
        f"Nights, the newest first, times in {zone.key}",
        (("Begun", ""), ("Status", ""), *heads, ("Run", "")),
        rows,
        note="The night of this page is measured up to its publishing.",
    )
    return f'<div class="tiles">{"".join(tiles)}</div><details><summary>The numbers</summary>{table}</details>'


def _about(figures: Headlines, docs_url: str | None) -> str:
    links = "".join(
        f'<li><a href="{escape(docs_url.rstrip("/"))}/{path}">{name}</a></li>'
        if docs_url
        else f"<li>{name}: <code>{path}</code></li>"
        for name, path in _DOCS
    )
    versions = ", ".join(f"{metric} {version}" for metric, version in figures.metric_versions)
    return (
        "<p>Every score stands with its base n and its 95 % interval: two figures whose intervals overlap widely "
        "should not be told apart. Cells with too few answers show the limit (such as n &lt; 10) and never the number; "
        "<em>withheld</em> marks a cell that would let a reader work out a hidden one.</p>"
        + (f"<p>Metric versions: {escape(versions)}.</p>" if versions else "")
        + f'<p>Definitions and worked examples:</p><ul class="links">{links}</ul>'
    )


# --- pieces -------------------------------------------------------------------------------------------


def _section(identifier: str, title: str, content: str) -> str:
    return f'<section aria-labelledby="{identifier}"><h2 id="{identifier}">{title}</h2>{content}</section>'


def _fact(name: str, value: str) -> str:
    return f"<div><dt>{name}</dt><dd>{value}</dd></div>"


def _none(text: str) -> str:
    return f'<p class="none">No data. {text}</p>'


def _table(
    caption: str,
    columns: Sequence[tuple[str, str]],
    rows: Iterable[Sequence[str]],
    *,
    note: str = "",
    hide_caption: bool = False,
) -> str:
    """A table with a caption, row headings and a frame of its own that scrolls where the screen is narrow."""

    def attribute(kind: str) -> str:
        return f' class="{kind}"' if kind else ""

    head = "".join(f'<th scope="col"{attribute(kind)}>{escape(name)}</th>' for name, kind in columns)
    body = []
    for row in rows:
        cells = "".join(
            f"<td{attribute(kind)}>{cell}</td>" for cell, (_, kind) in zip(row[1:], columns[1:], strict=True)
        )
        body.append(f'<tr><th scope="row">{row[0]}</th>{cells}</tr>')
    hidden = ' class="unseen"' if hide_caption else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption{hidden}><span>{escape(caption)}</span></caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>" + (f'<p class="note">{escape(note)}</p>' if note else "")
    )


def _number(score: Score, unit: str = "", factor: float = 1, digits: int = 1) -> str:
    if not score.is_shown or score.value is None:
        return f'<span class="none">{escape(score.instead)}</span>'
    return svg.signed(score.value * factor, digits) + _unit(unit)


def _interval(score: Score, factor: float = 1, digits: int = 1) -> str:
    if not score.is_shown or score.low is None or score.high is None:
        return ""
    return f"{svg.signed(score.low * factor, digits)} to {svg.signed(score.high * factor, digits)}"


def _whisker(score: Score, minimum: float, maximum: float) -> str:
    if not score.is_shown or score.value is None:
        return ""
    return svg.interval(score.value, score.low, score.high, minimum=minimum, maximum=maximum)


def _base(score: Score) -> str:
    return f" (n = {score.n:,})" if score.is_shown and score.n is not None else ""


def _base_number(score: Score) -> str:
    return _count(score.n) if score.is_shown else ""


def _unit(unit: str) -> str:
    return unit.replace(" ", "\N{NARROW NO-BREAK SPACE}")


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _hours(hours: float | None) -> str:
    if hours is None:
        return ""
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} h"


def _day(day: str | None) -> str:
    return f'<time datetime="{day}">{day}</time>' if day else "no data"


def _local(moment: datetime | None, zone: ZoneInfo) -> str:
    return f"{moment.replace(tzinfo=UTC).astimezone(zone):%Y-%m-%d %H:%M}" if moment else "never"


def _label(identifier: str) -> str:
    return identifier.replace("_", " ").capitalize()


def _breakable(name: str) -> str:
    return escape(name).replace("_", "_<wbr>").replace(".", ".<wbr>")
