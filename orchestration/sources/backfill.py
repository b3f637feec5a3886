"""Windows of a backfill: which streams have any, and the bounds of business days as a source writes its times.

Does not belong here: reading the rows (``sql``) and what follows a backfill (``assets.backfill``).
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from orchestration.sources.config import SourceConfig
from orchestration.sources.errors import SourceError, suggest
from orchestration.sources.kinds import ReadRequest, source_kind


def why_not(source: SourceConfig, stream: str) -> str | None:
    """Why a stream cannot be read by window, with the way out; None where it can."""
    if stream not in source.streams:
        return f"source {source.source!r} has no stream {stream!r}; {suggest(stream, source.streams, 'streams')}"
    name = f"{source.source}.{stream}"
    if not source_kind(source.type).has_cursor:
        return (
            f"{name} is read from {source.type}, which cannot be asked for the rows of a day: deliver the files of "
            "those days again, and the next night reads what changed in them"
        )
    if source.streams[stream].cursor is None:
        return f"{name} has no cursor and is read whole every night: there is nothing to backfill"
    return None


def windowed_streams(source: SourceConfig) -> list[str]:
    """Streams that can be backfilled."""
    return [stream for stream in source.streams if why_not(source, stream) is None]


def day_window(first: date, last: date, timezone: str) -> tuple[str, str]:
    """The instants that bound business days, both ends inclusive, as ``extract`` takes them.

    Raises:
        ValueError: the last day lies before the first.
    """
    if last < first:
        raise ValueError(f"the last day {last} lies before the first, {first}")
    zone = ZoneInfo(timezone)
    begin, end = (datetime.combine(day, time.min, zone) for day in (first, last + timedelta(days=1)))
    return begin.astimezone(ZoneInfo("UTC")).isoformat(), end.astimezone(ZoneInfo("UTC")).isoformat()


def instant(bound: str) -> datetime | None:
    """The instant that a bound names; None for a bound in the source's own way of writing."""
    try:
        moment = datetime.fromisoformat(bound)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def without_zone(request: ReadRequest, bound: str) -> str:
    """A bound for a column without time zone: an instant as the source's local time, anything else as it is."""
    moment = instant(bound)
    if moment is None:
        return bound
    return moment.astimezone(ZoneInfo(request.source.timezone)).replace(tzinfo=None).isoformat(sep=" ")


def require_times(request: ReadRequest, bounds: tuple[str, str], is_time: bool) -> None:
    """Fail where instants are asked of a cursor that is a number.

    Raises:
        SourceError: names the cursor.
    """
    if not is_time and any(instant(bound) for bound in bounds):
        cursor = request.config.cursor
        raise SourceError(
            f"{request.name}: cursor {cursor.field if cursor else ''!r} is a number, so its rows have no days; a "
            "backfill by day needs a cursor that is a date or a time"
        )
