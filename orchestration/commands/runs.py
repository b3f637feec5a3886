"""``experience runs``: the last nights with what they cost."""

import argparse

import polars as pl

from orchestration.settings import Settings
from orchestration.warehouse.control import Control
from orchestration.warehouse.nights import nights


def add(commands) -> None:
    """Declare the verb."""
    parser = commands.add_parser("runs", help="list the last nights: status, seconds, CPU, memory, rows, bytes")
    parser.add_argument("--last", type=int, default=14, metavar="N", help="number of nights (14)")
    parser.add_argument("--steps", metavar="RUN_ID", help="list the steps of one night instead, the longest first")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print the table."""
    steps = Control(settings.control_dir).scan("step_metric")
    with pl.Config(
        tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200, fmt_str_lengths=80, tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True, tbl_formatting="NOTHING", tbl_cell_numeric_alignment="RIGHT",
        thousands_separator=",", float_precision=1,
    ):  # fmt: skip
        print(_of_run(steps, options.steps) if options.steps else _of_nights(steps, options.last))
    return 0


def _of_nights(steps: pl.LazyFrame, last: int) -> pl.DataFrame | str:
    found = nights(steps, last)
    if found.is_empty():
        return "no night has run yet"
    return found.reverse().select(
        "run_id",
        started=pl.col("started_at").dt.strftime("%Y-%m-%d %H:%M UTC"),
        status="status",
        seconds="seconds",
        cpu_seconds="cpu_seconds",
        peak_mb=_megabytes("peak_memory_bytes"),
        rows_landed="rows_landed",
        mb_landed=_megabytes("bytes_landed"),
    )


def _of_run(steps: pl.LazyFrame, run_id: str) -> pl.DataFrame | str:
    found = steps.filter(pl.col("run_id") == run_id).sort("seconds", "step", descending=[True, False]).collect()
    if found.is_empty():
        return f"no step of a run {run_id!r} is known; 'experience runs' lists the runs"
    return found.select(
        "step",
        "layer",
        "status",
        "seconds",
        "cpu_seconds",
        "rows",
        peak_mb=_megabytes("peak_memory_bytes"),
        mb_written=_megabytes("bytes_written"),
    )


def _megabytes(name: str) -> pl.Expr:
    return pl.col(name) / 1e6
