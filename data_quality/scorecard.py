"""Data-quality index from the results of the rules, by table and dimension.

Belongs here: summing results up. Does not belong here: the row-wise index of a data set with its own evidence of
completeness and accuracy (``orchestration.statistics``).
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

WEIGHTS: Mapping[str, float] = {"accuracy": 0.35, "completeness": 0.30, "timeliness": 0.20, "uniqueness": 0.15}
"""Weights of the dimensions after ISO/IEC 25012 and DAMA-DMBOK; the numbers are a choice. Consistency and validity
are reported and carry no weight of their own unless given one."""


def dimension_scores(results: pl.DataFrame) -> pl.DataFrame:
    """Share that passed, by run, gate, table and dimension.

    A rule that counted rows contributes the share of its rows that passed; one that did not count them contributes 1
    where it passed and 0 where it failed. A rule that errored or was skipped is known nothing of and contributes 0.
    The score is the mean over the rules, so that a rule on a large table does not drown the others.

    Args:
        results: Rows of the ``check_result`` contract.

    Returns:
        ``run_id``, ``gate``, ``target_table``, ``dimension``, ``rules``, ``rules_passed``, ``score`` (0 to 1).
    """
    known = pl.col("outcome").is_in(["passed", "failed"])
    counted = pl.col("element_count").is_not_null() & pl.col("unexpected_count").is_not_null()
    rows = 1 - pl.min_horizontal(pl.col("unexpected_count") / pl.col("element_count"), pl.lit(1.0))
    passed = pl.col("outcome") == "passed"
    score = (
        pl.when(~known)
        .then(0.0)
        .when(counted & (pl.col("element_count") > 0))
        .then(rows)
        .otherwise(passed.cast(pl.Float64))
    )
    keys = ["run_id", "gate", "target_table", "dimension"]
    return (
        results.with_columns(score=score)
        .group_by(keys)
        .agg(rules=pl.len(), rules_passed=passed.sum(), score=pl.col("score").mean())
        .sort(keys)
    )


def data_quality_index(scores: pl.DataFrame, weights: Mapping[str, float] | None = None) -> pl.DataFrame:
    """Weighted mean of the dimensions' scores, 0 to 100, by run, gate and table.

    Args:
        scores: What ``dimension_scores`` gives.
        weights: Dimension to weight, default ``WEIGHTS``; the weights of the dimensions that a table has no rule
            for are left out and the others scaled up.

    Returns:
        ``run_id``, ``gate``, ``target_table``, ``data_quality_index`` (null where no weighted dimension has a rule)
        and ``weight_covered`` (0 to 1).

    Raises:
        ValueError: a weight is negative, or all are zero.
    """
    weights = WEIGHTS if weights is None else weights
    total = sum(weights.values())
    if total <= 0 or min(weights.values()) < 0:
        raise ValueError(f"weights must not be negative and not all zero: {dict(weights)}")
    weight = pl.col("dimension").replace_strict(dict(weights), default=0.0, return_dtype=pl.Float64)
    keys = ["run_id", "gate", "target_table"]
    return (
        scores.with_columns(weight=weight)
        .group_by(keys)
        .agg(weighted=(pl.col("score") * pl.col("weight")).sum(), weight=pl.col("weight").sum())
        .select(
            *keys,
            data_quality_index=pl.when(pl.col("weight") > 0).then(100 * pl.col("weighted") / pl.col("weight")),
            weight_covered=pl.col("weight") / total,
        )
        .sort(keys)
    )
