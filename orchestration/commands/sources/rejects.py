"""``experience sources rejects``: rows that could not be landed at all, with where they stood and why.

Rows that were landed and do not fit their contract are another matter: ``experience quarantine``.
"""

from __future__ import annotations

import argparse
from typing import Any

from orchestration.errors import CannotRunError
from orchestration.settings import Settings


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser("rejects", help="show rows that could not be landed, with file, record, reason and text")
    parser.add_argument("name", metavar="SOURCE.STREAM", help="such as web.events")
    parser.add_argument("--load", metavar="LOAD_ID", help="of this load; default of all")
    parser.add_argument("--rows", type=int, default=20, metavar="N", help="number of rows (20), the newest first")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print the rows."""
    from orchestration.commands.sources import one, table
    from orchestration.sources.landing import Landing

    source, stream = one(settings, options.name)
    if stream is None:
        raise CannotRunError(f"name a stream, such as {source.source}.{next(iter(source.streams))}")
    landing = Landing(settings.landing_dir)
    loads = [load for load in reversed(landing.manifests(source.source, stream)) if load.rows_rejected]
    if options.load is not None:
        loads = [load for load in loads if load.load_id == options.load]
    rows: list[tuple[str, ...]] = []
    for load in loads:
        for place, number, reason, text in (
            landing.rejects(load).head(max(0, options.rows - len(rows))).collect().rows()
        ):
            shown = "(not shown: the stream hides personal fields)" if text is None else " ".join(str(text).split())
            rows.append((load.load_id, place or "", str(number or ""), reason or "", shown[:120]))
    total = sum(load.rows_rejected for load in loads)
    if not total:
        print(f"every row of {options.name} could be landed")
        return 0
    print(table(("load", "file", "record", "reason", "text"), rows))
    print(
        f"{len(rows)} of {total} rows. Mend the file or from (delimiter, quote, encoding), then: "
        f"experience replay-rejects --source {source.source}"
    )
    return 0
