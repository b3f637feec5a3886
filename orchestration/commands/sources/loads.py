"""``experience sources loads``: the last loads of each stream and what they cost."""

from __future__ import annotations

import argparse
from typing import Any

from orchestration.settings import Settings


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser("loads", help="list the last loads: rows, rejects, cursor, completeness, time, requests")
    parser.add_argument("name", nargs="?", metavar="SOURCE[.STREAM]", help="such as crm or crm.customers; default all")
    parser.add_argument("--last", type=int, default=20, metavar="N", help="number of loads (20)")
    parser.add_argument("--errors", action="store_true", help="tell in full why loads failed")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print the loads, the newest first."""
    import polars as pl

    from orchestration.commands.sources import named, table
    from orchestration.warehouse.control import Control

    loads = Control(settings.control_dir).scan("load")
    if options.name is not None:
        source, _, stream = options.name.partition(".")
        loads = loads.filter(pl.col("source") == source)
        if stream:
            loads = loads.filter(pl.col("stream") == stream)
    found = loads.sort("started_at", "load_id", descending=True).head(options.last).collect()
    if found.is_empty():
        print(f"no load{f' of {options.name}' if options.name else ''} is on record")
        return 0
    heads = (
        "started (UTC)",
        "stream",
        "kind",
        "status",
        "rows",
        "rejects",
        "cursor",
        "complete",
        "seconds",
        "requests",
    )
    print(table(heads, [_row(load) for load in found.to_dicts()]))
    for load in found.to_dicts():
        if load["status"] == "failed":
            error = load["error"] if options.errors else str(load["error"]).splitlines()[0][:160]
            name = f"{load['source']}.{load['stream']}"
            print(f"{load['started_at']:%Y-%m-%d %H:%M:%S} failed: {named(name, error)}")
    return 0


def _row(load: dict[str, Any]) -> tuple[str, ...]:
    ended = load["extracted_at"]
    missing = load["missing_share"]
    return (
        f"{load['started_at']:%Y-%m-%d %H:%M:%S}",
        f"{load['source']}.{load['stream']}",
        load["kind"] or "",
        load["status"],
        _number(load["rows_landed"]),
        _number(load["rows_rejected"]),
        load["cursor_to"] or "",
        "" if load["status"] == "failed" else "yes" if not missing else f"{missing:.1%} missing",
        "" if ended is None else f"{(ended - load['started_at']).total_seconds():.1f}",
        _number(load["requests"]),
    )


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
