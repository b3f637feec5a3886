"""The ``http`` kind: APIs over HTTP, declared in YAML.

``config`` what may be declared, ``templates`` how requests are filled, ``auth`` and ``client`` how they are sent,
``records`` how answers become rows, ``paging`` how to come to the next page, ``reader`` how one page or file is had,
``windows`` what is asked for tonight, ``engine`` how a load is read. Does not belong here: anything about one vendor
(``sources.presets``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration.sources.http.config import HttpConnection, HttpOrigin, KeysetPaging
from orchestration.sources.http.windows import bound, resumes
from orchestration.sources.kinds import Delivery, Plan, ReadRequest, SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestration.sources.config import StreamConfig


def read(request: ReadRequest) -> Delivery:
    """What is new in the stream, read page by page.

    Raises:
        SourceError: the source cannot be reached or answers with an error; names the request and the mend.
    """
    from orchestration.sources.http.engine import read_stream

    return read_stream(request)


def parents(stream: StreamConfig) -> Mapping[str, Sequence[str]]:
    """The stream whose records are asked for one by one, if any, and its columns that requests need."""
    parent = stream.origin.parent
    return {parent.stream: [*parent.fields.values(), *parent.where]} if parent else {}


def faults(stream: StreamConfig) -> Iterator[str]:
    """What would lose rows, or could never run."""
    origin: HttpOrigin = stream.origin
    paging = origin.paging
    is_scanned = stream.deletes.strategy == "key_scan"
    if is_scanned and origin.keys is None and (stream.cursor is not None or resumes(origin)):
        yield (
            "deletes.strategy: an increment does not bring all keys, so what it misses is not gone; add from.keys (a "
            "request for all keys), or take the cursor (or paging.resume) out"
        )
    if is_scanned and origin.parent is not None and origin.parent.changed_only:
        yield "from.parent.changed_only: a key scan asks every parent; use one of both"
    if stream.cursor is None:
        if origin.slices is not None:
            yield "from.slices: a stream without cursor has no window to slice; add cursor: {field: …, start: …}"
        if getattr(paging, "newest_first", False):
            yield "from.paging.newest_first: without a cursor no page is too old; add one, or take it out"
    elif origin.slices is not None and stream.cursor.start is None:
        yield "cursor.start: is missing; slices need the first day there is"
    elif stream.cursor.start is not None and bound(stream.cursor.start, stream.cursor, "UTC") is None:
        yield f"cursor.start: {stream.cursor.start!r} is no date, time or number; write one such as 2025-01-01"
    if (
        isinstance(paging, KeysetPaging)
        and paging.size is None
        and isinstance(stream.primary_key, list)
        and not set(stream.primary_key) <= set(paging.fields) | _given(origin)
    ):
        yield (
            "from.paging.size: is missing; the fields do not hold the whole primary key, so a standstill is told from "
            "the end by the size of a page"
        )


def _given(origin: HttpOrigin) -> set[str]:
    """Columns that are the same in one sequence of pages."""
    parents = origin.parent.fields if origin.parent else ()
    return {f"each.{name}" for name in origin.each} | {f"parent.{name}" for name in parents}


def plan(request: ReadRequest) -> Plan:
    """Window, parts, requests and what is left of the day's budget; calls nobody."""
    from orchestration.sources.http.engine import plan_stream

    return plan_stream(request)


KIND = SourceKind(
    name="http",
    connection=HttpConnection,
    origin=HttpOrigin,
    read=read,
    deletes=("none", "soft_flag", "tombstone", "key_scan"),
    has_cursor=True,
    has_position=False,
    parents=parents,
    faults=faults,
    plan=plan,
)
