"""Nights summed up from what their steps cost.

Pure: frames in, frames out. Does not belong here: measuring (``automation.metrics``) and drawing (``report``).
"""

from __future__ import annotations

import polars as pl

RELEASE_STEP = "published__release"
"""The step that publishes; a night in which it did not succeed published nothing."""
NIGHT_SCHEMA: dict[str, pl.DataType] = {
    "run_id": pl.String(),
    "started_at": pl.Datetime("us"),
    "status": pl.String(),
    "seconds": pl.Float64(),
    "cpu_seconds": pl.Float64(),
    "peak_memory_bytes": pl.Int64(),
    "rows_landed": pl.Int64(),
    "bytes_landed": pl.Int64(),
    "steps": pl.Int64(),
}
"""One row a night. ``status`` is published, failed (a step failed) or unfinished (killed, or still running)."""


def nights(steps: pl.DataFrame | pl.LazyFrame, last: int | None = None) -> pl.DataFrame:
    """Sum up the steps of each run.

    Args:
        steps: Rows of the control table ``step_metric``.
        last: Only so many of the newest nights.

    Returns:
        A frame with ``NIGHT_SCHEMA``, oldest night first. ``seconds`` is from the begin of the first step to the end of
        the last one.
    """
    step, landing = pl.col("step"), pl.col("layer") == "landing"
    ended = pl.col("started_at") + pl.duration(microseconds=(pl.col("seconds") * 1_000_000).cast(pl.Int64))
    summed = (
        steps.lazy()
        .group_by("run_id")
        .agg(
            started_at=pl.col("started_at").min(),
            status=pl.when((pl.col("status") == "failure").any())
            .then(pl.lit("failed"))
            .when((step == RELEASE_STEP).any())
            .then(pl.lit("published"))
            .otherwise(pl.lit("unfinished")),
            seconds=(ended.max() - pl.col("started_at").min()).dt.total_microseconds() / 1_000_000,
            cpu_seconds=pl.col("cpu_seconds").sum(),
            peak_memory_bytes=pl.col("peak_memory_bytes").max(),
            rows_landed=pl.col("rows").filter(landing).sum(),
            bytes_landed=pl.col("bytes_written").filter(landing).sum(),
            steps=pl.len(),
        )
        .sort("started_at", "run_id")
        .select(pl.col(name).cast(dtype) for name, dtype in NIGHT_SCHEMA.items())
    )
    return (summed if last is None else summed.tail(last)).collect()
