"""``experience sources check``: can each stream be read? Configuration, credentials, one page; nothing is written."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestration.settings import Settings

if TYPE_CHECKING:
    from orchestration.sources.config import SourceConfig
    from orchestration.sources.trial import Trial

EXIT_FAULT = 1


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser("check", help="try configuration, credentials and one page of each stream; write nothing")
    parser.add_argument("name", nargs="?", metavar="SOURCE[.STREAM]", help="such as crm or crm.customers; default all")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print a line a stream; 1 where there is a fault."""
    from orchestration.commands.sources import chosen, every, named
    from orchestration.sources.errors import SourceError
    from orchestration.sources.trial import trials
    from orchestration.warehouse.fit import MappingError

    now = datetime.now(UTC)
    # A file that cannot be read is a fault among others here.
    meant, broken = every(settings) if options.name is None else (chosen(settings, options.name), [])
    for text in broken:
        print("\n".join(f"FAULT  {line}" for line in text.splitlines()))
    faults = len(broken)
    for source, streams in meant:
        with trials(source, settings, now) as tried:
            for stream in streams:
                name = f"{source.source}.{stream}"
                try:
                    print(f"ok     {name}: {_said(tried.read(stream), source, stream, settings, now)}", flush=True)
                except (SourceError, MappingError, OSError) as error:
                    faults += 1
                    print(f"FAULT  {named(name, error)}", flush=True)
    if faults:
        print(f"{faults} fault{'s' if faults > 1 else ''}; nothing was written")
    return EXIT_FAULT if faults else 0


def _said(trial: Trial, source: SourceConfig, stream: str, settings: Settings, now: datetime) -> str:
    """What the first page holds and what would become of it, without any value."""
    from orchestration.progress import counted
    from orchestration.sources.declared import DeclaredOrigin
    from orchestration.warehouse.fit import fit

    height, requests = trial.rows.height, trial.figures.requests
    lines = [f"{counted(height, 'row')} with {counted(len(trial.columns), 'column')}" if height else "no rows now"]
    lines[0] += f", {counted(requests, 'request')}" if requests else ""
    if not height:
        return lines[0]
    if absent := [name for name in source.streams[stream].declared_columns() if name not in trial.columns]:
        lines.append(f"not in these rows: {', '.join(absent)}")
    if isinstance(source.streams[stream].origin, DeclaredOrigin):
        return lines[0]
    for table in fit(source, stream, trial.rows, settings=settings, now=now):
        if table.rejects:
            lines.append(f"{table.table} would reject {_counts(table.rejects)}")
        if table.notes:
            lines.append(f"{table.table} could not read {_counts(table.notes)}")
        if table.empty:
            lines.append(f"{table.table} has no value for {', '.join(table.empty)}")
    return "\n         ".join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    from orchestration.progress import counted

    return ", ".join(f"{what} ({counted(number, 'row')})" for what, number in counts.items())
