"""``experience quarantine``: rejected rows, counted by table, field and reason, and one by one."""

from __future__ import annotations

import argparse
from typing import Any

from orchestration.settings import Settings


def add(commands: Any) -> None:
    """Declare the verb."""
    parser = commands.add_parser("quarantine", help="count rejected rows by table, field and reason, and show them")
    parser.add_argument("--rows", type=int, default=0, metavar="N", help="show the first N rows too")
    parser.add_argument("--table", help="only rows meant for this table")
    parser.add_argument("--source", help="only rows of this source")
    parser.add_argument("--load", help="only rows of this load")
    parser.add_argument("--all", action="store_true", help="also rows that a later load settled")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print the counts, and rows if asked for."""
    import polars as pl

    from orchestration.warehouse.quarantine import SETTLED, rejected

    rows = rejected(settings)
    for column, value in (("target_table", options.table), ("source", options.source), ("load_id", options.load)):
        if value is not None:
            rows = rows.filter(pl.col(column) == value)
    settled = rows.filter(pl.col(SETTLED).is_not_null())
    if not options.all:
        rows = rows.filter(pl.col(SETTLED).is_null())
    counted = rows.group_by("target_table", "source", "stream", "field", "reason").len("rows")
    order = ["rows", "target_table", "source", "stream", "field", "reason"]
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=200, fmt_str_lengths=80, tbl_hide_dataframe_shape=True):
        print(counted.sort(order, descending=[True, *[False] * 5]))
        if options.rows:
            shown = rows.with_columns(
                place=pl.when(pl.col("source_file").is_null())
                .then(pl.format("{}.{} key {}", "source", "stream", pl.col("source_id").fill_null("unknown")))
                .otherwise(pl.format("{} row {}", "source_file", pl.col("source_row").fill_null(0)))
            )
            columns = ["target_table", "place", "field", "reason", "original_value", "load_id"]
            print(shown.sort("load_id", "load_row").select(columns).head(options.rows))
    if settled.height and not options.all:
        print(f"{settled.height} more were settled by a later load; --all shows them")
    return 0
