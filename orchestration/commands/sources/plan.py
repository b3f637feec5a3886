"""``experience sources plan``: what the next load of each stream would ask for; calls nobody."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from orchestration.settings import Settings

EXIT_FAULT = 1


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser("plan", help="tell windows, parts, requests and files of the next loads, before any call")
    parser.add_argument("name", nargs="?", metavar="SOURCE[.STREAM]", help="such as crm or crm.customers; default all")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print the plans as a table; 1 where one cannot be made."""
    from orchestration.commands.sources import chosen, table
    from orchestration.sources.errors import SourceError
    from orchestration.sources.plan import plan

    rows, faults = [], []
    now = datetime.now(UTC)
    for source, streams in chosen(settings, options.name):
        for stream in streams:
            try:
                found = plan(source, stream, settings=settings, now=now)
            except (SourceError, OSError) as error:
                faults.append(f"FAULT  {error}")
                continue
            requests = "" if found.requests is None else f"{found.requests:,}"
            parts = f"{found.parts:,}" if found.parts != 1 else ""
            rows.append((f"{source.source}.{stream}", found.window, parts, requests, found.note))
    print(table(("stream", "window", "parts", "requests", "note"), rows))
    print("\n".join(faults), end="\n" if faults else "")
    return EXIT_FAULT if faults else 0
