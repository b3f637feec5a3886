"""``experience replay-rejects``: bring rejected rows back after their file, mapping or code was mended."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from orchestration.errors import CannotRunError
from orchestration.night_lock import only_night
from orchestration.settings import Settings


def add(commands: Any) -> None:
    """Declare the verb."""
    parser = commands.add_parser("replay-rejects", help="read rejected rows again, and say what came back")
    parser.add_argument("--table", help="only rows meant for this table")
    parser.add_argument("--source", help="only rows of this source")
    parser.add_argument("--nightly", action="store_true", help="go on with a night, which publishes what came back")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Replay; with ``--nightly`` the exit status is that of the night."""
    from dagster._core.utils import make_new_run_id

    from orchestration.assets.replay import replay_rejects
    from orchestration.contracts import CONTRACTS
    from orchestration.sources.config import load_sources
    from orchestration.sources.errors import ConfigError, SourceError, suggest
    from orchestration.warehouse.refresh import RefreshError

    sources = load_sources(settings.sources_dir)
    for name, known, what in ((options.table, CONTRACTS, "tables"), (options.source, sources, "sources")):
        if name is not None and name not in known:
            raise CannotRunError(f"there is no {what[:-1]} {name!r}; {suggest(name, known, what)}")
    with only_night(settings):
        try:
            found = replay_rejects(
                sources,
                settings=settings,
                run_id=make_new_run_id(),
                now=datetime.now(UTC),
                table=options.table,
                source=options.source,
            )
        except (ConfigError, SourceError, RefreshError) as error:
            raise CannotRunError(str(error)) from error
    for one in found:
        print(
            f"{one.table} of {one.source}: {one.waited - one.remaining} of {one.waited} rows came back or were settled"
        )
        for reason, number in one.reasons.items():
            print(f"  still {number}: {reason}")
    if not found:
        print("no rejected row waits")
    if options.nightly:
        from orchestration.cli import nightly

        return nightly(settings)
    if any(one.waited > one.remaining for one in found):
        print("the next night takes them into the marts: experience nightly")
    return 0
