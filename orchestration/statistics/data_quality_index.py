"""The data-quality index: how complete, accurate, timely and unique a set of rows is, in one number.

Dimensions after ISO/IEC 25012 and DAMA-DMBOK; the weights are a convention of ours. Does not belong here: running
rules (``data_quality``) and turning rows away (``normalize``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import polars as pl

WEIGHTS: Mapping[str, float] = {"accuracy": 0.35, "completeness": 0.30, "timeliness": 0.20, "uniqueness": 0.15}
"""Share of each dimension in the index; they add up to 1."""

COMPONENTS_SCHEMA: dict[str, pl.DataType] = {
    "dimension": pl.String(),
    "numerator": pl.Int64(),
    "denominator": pl.Int64(),
    "share": pl.Float64(),
    "weight": pl.Float64(),
}


@dataclass(frozen=True)
class QualityRules:
    """What a set of rows is measured against.

    Attributes:
        required: Columns that must hold a value.
        valid: Column to the condition that its value must meet; looked at where the column holds a value.
        event_time: Column with the time something happened, or None where timeliness is not measured.
        available_at: Column with the time the row was there to be used.
        max_lag: Longest time between both that counts as timely.
        key: Columns that tell rows apart.
    """

    required: tuple[str, ...]
    valid: Mapping[str, pl.Expr] = field(default_factory=dict)
    event_time: str | None = None
    available_at: str | None = None
    max_lag: timedelta = timedelta(hours=24)
    key: tuple[str, ...] = ()


def _is_before_its_event(rules: QualityRules) -> pl.Expr:
    """True where a row was there before what it tells of happened, which is wrong and not early."""
    if rules.event_time is None or rules.available_at is None:
        return pl.lit(value=False)
    return (pl.col(rules.event_time) > pl.col(rules.available_at)).fill_null(value=False)


def _violations(rules: QualityRules) -> dict[str, pl.Expr]:
    """Column to the condition under which its value, though present, is not accurate."""
    found: dict[str, pl.Expr] = {}
    for column in rules.required:
        wrong = pl.lit(value=False)
        if column in rules.valid:
            wrong = ~rules.valid[column].fill_null(value=False)
        if column == rules.event_time:
            wrong = wrong | _is_before_its_event(rules)
        found[column] = pl.col(column).is_not_null() & wrong
    return found


def quality_components(frame: pl.LazyFrame, rules: QualityRules) -> pl.DataFrame:
    """Numerator, denominator and share of each dimension that the rules measure.

    * completeness: required cells that hold a value, of all required cells.
    * accuracy: required cells whose value is valid, of those that hold one. An event later than the row that tells of
      it counts against the event time.
    * timeliness: rows no later than ``max_lag`` after their event, of those with an event time that can be right.
    * uniqueness: distinct keys, of all rows.

    Returns:
        Columns as in ``COMPONENTS_SCHEMA``, one row a dimension. ``share`` is null where the denominator is 0.
    """
    present = [pl.col(column).is_not_null().sum() for column in rules.required]
    wrong = [condition.sum() for condition in _violations(rules).values()]
    counts: dict[str, tuple[pl.Expr, pl.Expr]] = {}
    if rules.required:
        counts["completeness"] = (pl.sum_horizontal(present), pl.len() * len(rules.required))
        counts["accuracy"] = (
            pl.sum_horizontal(present).cast(pl.Int64()) - pl.sum_horizontal(wrong).cast(pl.Int64()),
            pl.sum_horizontal(present),
        )
    if rules.event_time is not None and rules.available_at is not None:
        lag = pl.col(rules.available_at) - pl.col(rules.event_time)
        is_measured = lag.is_not_null() & ~_is_before_its_event(rules)
        counts["timeliness"] = ((is_measured & (lag <= rules.max_lag)).sum(), is_measured.sum())
    if rules.key:
        counts["uniqueness"] = (pl.struct(*rules.key).n_unique(), pl.len())
    totals = frame.select(
        pl.struct(top.cast(pl.Int64()).alias("top"), bottom.cast(pl.Int64()).alias("bottom")).alias(dimension)
        for dimension, (top, bottom) in counts.items()
    ).collect()
    rows = []
    for dimension in counts:
        pair = totals.get_column(dimension)[0]
        share = pair["top"] / pair["bottom"] if pair["bottom"] else None
        rows.append((dimension, pair["top"], pair["bottom"], share, WEIGHTS[dimension]))
    return pl.DataFrame(rows, schema=COMPONENTS_SCHEMA, orient="row")


def passes(rules: QualityRules) -> pl.Expr:
    """True for a row that is complete, accurate and alone with its key. Lateness alone turns no row away."""
    faults = [pl.col(column).is_null() for column in rules.required]
    faults += list(_violations(rules).values())
    if rules.key:
        faults.append(pl.struct(*rules.key).is_duplicated())
    return ~pl.any_horizontal(faults)


def data_quality_index(components: pl.DataFrame) -> float | None:
    """The weighted mean of the shares, times 100.

    ``DQI = 100 * sum(weight * share) / sum(weight)`` over the dimensions that have a share, so that a dimension that
    was not measured neither helps nor hurts.

    Args:
        components: ``share`` (0 to 1 or null) and ``weight`` (above 0), one row a dimension.

    Returns:
        0 to 100, or None where no dimension has a share.
    """
    measured = components.filter(pl.col("share").is_not_null())
    if measured.is_empty():
        return None
    weighted = (measured.get_column("share") * measured.get_column("weight")).sum()
    return 100.0 * float(weighted) / float(measured.get_column("weight").sum())
