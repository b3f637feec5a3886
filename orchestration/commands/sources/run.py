"""``experience sources run``: load streams now, as the night does; the next night takes the rows on."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from orchestration.errors import CannotRunError
from orchestration.night_lock import only_night
from orchestration.settings import Settings

if TYPE_CHECKING:
    from orchestration.progress import Watcher
    from orchestration.sources.config import SourceConfig
    from orchestration.sources.extract import LoadRecord
    from orchestration.sources.kinds import Figures

EXIT_FAILED = 1


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser("run", help="load streams now, as the night does; the next night takes the rows on")
    parser.add_argument("name", metavar="SOURCE[.STREAM]", help="such as crm or crm.customers")
    parser.add_argument(
        "--backfill",
        type=_days,
        metavar="DAY..DAY",
        help="read these days of the cursor again, both inclusive; the cursor stays where it is",
    )
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Load one stream after the other, parents first; 1 where one failed."""
    from orchestration.commands.sources import chosen
    from orchestration.progress import Watcher
    from orchestration.sources.backfill import day_window, why_not

    [(source, streams)] = chosen(settings, options.name)
    window = None
    if options.backfill:
        reasons = {stream: why_not(source, stream) for stream in streams}
        if "." in options.name and (reason := reasons[streams[0]]):
            raise CannotRunError(reason)
        streams = [stream for stream, reason in reasons.items() if reason is None]
        if not streams:
            raise CannotRunError(next(filter(None, reasons.values())))
        first, last = options.backfill
        try:
            window = day_window(first, last, settings.business_timezone)
        except ValueError as error:
            raise CannotRunError(str(error)) from error
    run_id = str(uuid4())
    failed = False
    with only_night(settings), Watcher(sys.stdout).showing() as watcher:
        for stream in streams:
            try:
                record = _load(source, stream, settings, watcher, run_id=run_id, window=window)
            except KeyboardInterrupt:
                raise CannotRunError(
                    f"interrupted; nothing of {source.source}.{stream} was committed, streams before it were"
                ) from None
            watcher.say(_line(record))
            failed |= record.status == "failed"
    if not failed:
        print("the next night takes what was loaded into the marts: experience nightly")
    return EXIT_FAILED if failed else 0


def _load(
    source: SourceConfig,
    stream: str,
    settings: Settings,
    watcher: Watcher,
    *,
    run_id: str,
    window: tuple[str, str] | None,
) -> LoadRecord:
    """Load one stream; a fault that may pass is tried again after a wait."""
    from orchestration.assets.load import TryAgainError, load_stream
    from orchestration.sources.kinds import Figures

    attempt = 0
    while True:
        figures = Figures()
        with watcher.load(f"{source.source}.{stream}", figures):
            try:
                return load_stream(
                    source,
                    stream,
                    settings=settings,
                    run_id=run_id,
                    now=datetime.now(UTC),
                    attempt=attempt,
                    window=window,
                    figures=figures,
                )
            except TryAgainError as error:
                watcher.say(f"{error}; trying again in {error.seconds:g} s")
                _wait(error.seconds, figures)
                attempt += 1


def _wait(seconds: float, figures: Figures) -> None:
    figures.doing = f"waits {seconds:g} s before it tries again"
    time.sleep(seconds)


def _line(record: LoadRecord) -> str:
    from orchestration.commands.sources import named
    from orchestration.progress import counted, in_words

    name = f"{record.source}.{record.stream}"
    if record.status == "failed":
        return f"FAILED {named(name, record.error)}"
    said = "nothing new" if record.status == "unchanged" else f"{counted(record.rows_landed or 0, 'row')} landed"
    if record.rows_rejected:
        said += f", {record.rows_rejected:,} could not be (experience sources rejects {name})"
    if record.rows_suppressed:
        said += f", {record.rows_suppressed:,} of erased persons left out"
    if record.schema_change:
        said += f"; columns {record.schema_change}"
    if record.figures is not None:
        said += f"; read {in_words(record.figures)}"
    return f"ok     {name}: {said}"


def _days(text: str) -> tuple[date, date]:
    first, _, last = text.partition("..")
    try:
        return date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no window; write 2026-11-01..2026-11-03, or one day") from error
