"""What the next load of a stream would ask for, told without asking.

Belongs here: what the cursor alone tells. Does not belong here: what one type knows (``SourceKind.plan``).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from orchestration.settings import Settings
from orchestration.sources import declared
from orchestration.sources.config import CursorConfig, SourceConfig, parents
from orchestration.sources.errors import ConfigError, SourceError
from orchestration.sources.kinds import Plan, ReadRequest, source_kind
from orchestration.sources.landing import Landing


def plan(source: SourceConfig, stream: str, *, settings: Settings, now: datetime) -> Plan:
    """What loading the stream at ``now`` would ask for.

    Raises:
        SourceError: it cannot be told; says why.
    """
    landing = Landing(settings.landing_dir)
    request = ReadRequest.next_load(source, stream, landing, settings=settings, now=now)
    if isinstance(request.config.origin, declared.DeclaredOrigin):
        return Plan(window="what the YAML declares")
    kind = source_kind(source.type)
    if waits := [name for name in parents(source, stream) if not landing.manifests(source.source, name)]:
        return Plan(window="", note=f"waits for the records of {', '.join(waits)}, which was never loaded")
    try:
        return by_cursor(request) if kind.plan is None else kind.plan(request)
    except ConfigError as error:
        raise SourceError(str(error)) from error


def by_cursor(request: ReadRequest) -> Plan:
    """The window that cursor and last load give."""
    cursor, previous, why = request.config.cursor, request.previous, request.why_everything
    if why is not None or cursor is None or previous is None or previous.cursor_to is None:
        return Plan(window="everything", note=why or "")
    return Plan(window=f"{cursor.field} from {_lower(previous.cursor_to, cursor)}", note=_bounds(cursor))


def _lower(value: str, cursor: CursorConfig) -> str:
    if not cursor.lag:
        return value
    try:
        if isinstance(cursor.lag, timedelta):
            return (datetime.fromisoformat(value) - cursor.lag).isoformat(sep=" ")
        return str(Decimal(value) - Decimal(str(cursor.lag)))
    except (ValueError, ArithmeticError):
        # A cursor in the source's own way of writing.
        return f"{value} minus the lag"


def _bounds(cursor: CursorConfig) -> str:
    said = []
    if cursor.lag:
        said.append(f"lag {cursor.lag}")
    if cursor.settle:
        said.append(f"rows younger than {cursor.settle} wait")
    return ", ".join(said)
