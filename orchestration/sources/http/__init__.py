"""The ``http`` kind: APIs over HTTP, declared in YAML.

``config`` what may be declared, ``templates`` how requests are filled, ``auth`` and ``client`` how they are sent,
``records`` how answers become rows, ``paging`` how to come to the next page, ``windows`` what is asked for tonight,
``engine`` how a load is read. Does not belong here: anything about one vendor (``sources.presets``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration.sources.http.config import HttpConnection, HttpOrigin
from orchestration.sources.kinds import Delivery, Plan, ReadRequest, SourceKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestration.sources.config import StreamConfig


def read(request: ReadRequest) -> Delivery:
    """What is new in the stream, read page by page.

    Raises:
        SourceError: the source cannot be reached or answers with an error; names the request and the mend.
    """
    from orchestration.sources.http.engine import read_stream

    return read_stream(request)


def parents(stream: StreamConfig) -> Sequence[str]:
    """The stream whose records are asked for one by one, if any."""
    parent = stream.origin.parent
    return (parent.stream,) if parent else ()


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
    plan=plan,
)
