"""What is asked for tonight: the window, its slices, and the parents and values each slice is asked for.

Belongs here: cursor values as the source writes them, the window of a load, its division into units. Does not belong
here: how a unit is read (``engine``, ``reader``).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from orchestration.sources.config import CursorConfig
from orchestration.sources.errors import SourceError, suggest
from orchestration.sources.http.config import HttpOrigin, LinkPaging, Parent, TokenPaging
from orchestration.sources.kinds import ReadRequest
from orchestration.sources.landing import Kind, Manifest, as_utc

Point = datetime | Decimal
"""A value of a cursor: a time in UTC with its zone, or a number."""
_TRUSTED = timedelta(days=1)
"""Behind the end of a bounded window, a cursor is moved no further than this without having seen a record."""


@dataclass(frozen=True)
class Window:
    """Bounds of what is asked for; ``start`` None asks for everything."""

    start: Point | None = None
    end: Point | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """``window`` of templates."""
        return {"start": _plain(self.start), "end": _plain(self.end)}


@dataclass(frozen=True)
class Unit:
    """One sequence of pages: one slice of the window, for one parent and one value of each ``each``.

    Attributes:
        window: Its bounds.
        each: Values of ``each``.
        parent: Values of the parent's fields; lists of them where one request names several.
    """

    window: Window
    each: Mapping[str, str] = field(default_factory=dict)
    parent: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The unit as a text, the same in every run."""
        return json.dumps(unit_state(self), sort_keys=True, ensure_ascii=False)

    @property
    def constants(self) -> dict[str, str | None]:
        """Columns that every row of the unit carries."""
        return {
            **{f"each.{name}": value for name, value in self.each.items()},
            **{f"parent.{name}": value for name, value in self.parent.items() if not isinstance(value, list)},
        }

    @property
    def pickable(self) -> dict[str, Any]:
        """What ``records.pick`` knows beside a record."""
        return {"_parent": dict(self.parent), "_each": dict(self.each)}

    def halves(self) -> tuple[Unit, Unit] | None:
        """The unit as two; None where its slice is too short for that."""
        start, end = self.window.start, self.window.end
        if not isinstance(start, datetime) or not isinstance(end, datetime) or end - start < timedelta(seconds=2):
            return None
        middle = start + timedelta(seconds=(end - start).total_seconds() // 2)
        return (
            Unit(Window(start, middle), self.each, self.parent),
            Unit(Window(middle, end), self.each, self.parent),
        )


@dataclass(frozen=True)
class Task:
    """What a load has to do.

    Attributes:
        kind: Kind of the load.
        window: The whole window.
        units: What is to be read, in order; those that an earlier load finished are left out.
        total: Units of the window, the finished ones included.
        resume: State that an incomplete load left, or nothing.
        begin: Begin of the scan: no cursor moves beyond it.
    """

    kind: Kind
    window: Window
    units: tuple[Unit, ...]
    total: int
    resume: Mapping[str, Any]
    begin: datetime


def point(text: str | None, how: str, timezone: str) -> Point | None:
    """A cursor value as a time or number; None where it cannot be read.

    Args:
        text: The value as landed.
        how: ``cursor.format``.
        timezone: Zone of a time without one.
    """
    if text is None or not text.strip():
        return None
    text = text.strip()
    try:
        match how:
            case "number":
                number = Decimal(text)
                return number if number.is_finite() else None
            case "epoch":
                return datetime.fromtimestamp(float(text), UTC)
            case "epoch_ms":
                return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(Decimal(text)))
            case "iso":
                moment = datetime.fromisoformat(text)
            case _:
                moment = datetime.strptime(text, how)
    except (ValueError, OverflowError, InvalidOperation, OSError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))).astimezone(UTC)


def latest_of_one_form(texts: pl.Series) -> datetime | None:
    """The latest of times in UTC that are all written alike (``2026-05-04T12:00:00.250Z``); None where they are not.

    Such texts sort as their times do, so that one of them alone is looked at.
    """
    pattern = texts.str.replace_all(r"\d", "0").unique()
    if len(pattern) != 1 or not str(pattern[0]).startswith("0000-00-00T00:00:00") or not str(pattern[0]).endswith("Z"):
        return None
    found = point(str(texts.max()), "iso", "UTC")
    return found if isinstance(found, datetime) else None


def points(texts: Sequence[str], how: str, timezone: str) -> list[Point]:
    """``point`` of each text that can be read; for many times of one form without a look at each."""
    if how == "iso":
        try:
            moments = list(map(datetime.fromisoformat, texts))
        except ValueError:
            moments = []
        if moments and all(moment.tzinfo for moment in moments):
            return [moment.astimezone(UTC) for moment in moments]
    found = (point(text, how, timezone) for text in texts)
    return [value for value in found if value is not None]


def text_of(value: Point | None) -> str | None:
    """A cursor value as it is kept in manifests."""
    if value is None:
        return None
    return value.isoformat() if isinstance(value, datetime) else str(value)


def kept(text: str | None) -> Point | None:
    """The value of ``text_of``."""
    if text is None:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return datetime.fromisoformat(text)


def task(request: ReadRequest) -> Task:
    """What the load has to do.

    Raises:
        SourceError: the window cannot be made as declared.
    """
    origin: HttpOrigin = request.config.origin
    cursor = request.config.cursor
    begin = request.now.replace(tzinfo=UTC)
    previous = request.previous
    is_same = previous is not None and previous.config_hash == request.config.config_hash
    if cursor is None and request.window is not None:
        raise SourceError(f"{request.name}: a backfill needs a cursor in {request.source.path}; add one")
    if previous is not None and is_same and request.window is None and (state := previous.state.get("resume")):
        window = Window(*map(kept, state["window"]))
        kind: Kind = "full" if previous.kind == "full" else "incremental"
        rest = tuple(_unit_of(entry) for entry in state["units"])
        begin = datetime.fromisoformat(previous.state["begin"])
        return Task(kind, window, rest, state["total"], state, begin)
    if request.window is not None and cursor is not None:
        start, end = (_bound(request, text) for text in request.window)
        window, kind = Window(start, end), "backfill"
    else:
        window, kind = _tonight(request, begin)
    units = _units(request, origin, window, previous if kind == "incremental" else None)
    return Task(kind, window, tuple(units), len(units), {}, begin)


def _tonight(request: ReadRequest, begin: datetime) -> tuple[Window, Kind]:
    cursor = request.config.cursor
    if cursor is None:
        return Window(end=begin), "full"
    is_number = cursor.format == "number"
    end: Point | None = None if is_number else begin - (cursor.settle or timedelta(0))
    start = _bound(request, cursor.start) if cursor.start is not None else None
    previous = request.previous
    if request.why_everything is not None or previous is None:
        return Window(start, end), "full"
    return Window(_less(request, kept(previous.cursor_to)), end), "incremental"


def _less(request: ReadRequest, value: Point | None) -> Point | None:
    """A cursor value with the lag taken off."""
    lag = request.config.cursor.lag if request.config.cursor else timedelta(0)
    if isinstance(value, datetime) and isinstance(lag, timedelta):
        return value - lag
    if isinstance(value, Decimal) and not (isinstance(lag, timedelta) and lag):
        return value - Decimal(str(lag if isinstance(lag, float) else 0))
    if not lag:
        return value
    raise SourceError(
        f"{request.name}: lag fits the cursor's format: a duration such as 15m for times, a number for format: number; "
        f"correct streams.{request.stream}.cursor in {request.source.path}"
    )


def bound(text: str, cursor: CursorConfig | None, timezone: str) -> Point | None:
    """A bound as YAML and commands write it: a number for a cursor of numbers, else a date or time; None if neither."""
    return point(text, "number" if cursor and cursor.format == "number" else "iso", timezone)


def _bound(request: ReadRequest, text: str) -> Point:
    found = bound(text, request.config.cursor, request.source.timezone)
    if found is None:
        raise SourceError(
            f"{request.name}: {text!r} is no lower bound; write a date or time such as 2025-01-01 (a number where the "
            f"cursor's format is number) in streams.{request.stream}.cursor.start of {request.source.path}"
        )
    return found


def _units(request: ReadRequest, origin: HttpOrigin, window: Window, previous: Manifest | None) -> list[Unit]:
    units: list[Unit] = []
    for parent, is_new in _batched(origin, list(_parents(request, origin, previous))):
        for values in itertools.product(*origin.each.values()):
            each = dict(zip(origin.each, values, strict=True))
            asked = window
            if is_new and window.start is not None and request.window is None:
                # A parent met for the first time has records from before the window.
                cursor = request.config.cursor
                asked = Window(_bound(request, cursor.start) if cursor and cursor.start else None, window.end)
            units += [Unit(part, each, parent) for part in _slices(request, origin, asked)]
    return units


def everything(request: ReadRequest, end: Point | None) -> list[Unit]:
    """One unit for each parent and value of ``each``, without lower bound."""
    origin: HttpOrigin = request.config.origin
    return _units(request, origin.model_copy(update={"slices": None}), Window(None, end), None)


def unit_state(unit: Unit) -> list[Any]:
    """A unit as plain JSON."""
    return [text_of(unit.window.start), text_of(unit.window.end), dict(unit.each), dict(unit.parent)]


def _unit_of(state: Sequence[Any]) -> Unit:
    start, end, each, parent = state
    return Unit(Window(kept(start), kept(end)), each, parent)


def _slices(request: ReadRequest, origin: HttpOrigin, window: Window) -> Iterator[Window]:
    if origin.slices is None:
        yield window
        return
    start, end = window.start, window.end
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        raise SourceError(
            f"{request.name}: slices need a window of time: give cursor.start (the first day there is) and a cursor "
            f"that is a time in streams.{request.stream} of {request.source.path}"
        )
    if origin.slices.align:
        zone = ZoneInfo(request.source.timezone)
        start = datetime.combine(start.astimezone(zone).date(), time.min, zone).astimezone(UTC)
    while start < end:
        after = min(_after(start, origin.slices.by, request.source.timezone, origin.slices.align), end)
        yield Window(start, after)
        start = after


def _after(start: datetime, length: timedelta, timezone: str, align: bool) -> datetime:
    if not align:
        return start + length
    # Whole days of the source's zone are 23 to 25 hours long.
    zone = ZoneInfo(timezone)
    return (start.astimezone(zone).replace(tzinfo=None) + length).replace(tzinfo=zone).astimezone(UTC)


def _batched(
    origin: HttpOrigin, parents: Sequence[tuple[dict[str, str | None], bool]]
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Parents as one request names them; new ones apart, for they have another window."""
    if origin.parent is None or origin.parent.batch is None:
        yield from parents
        return
    for is_new in (False, True):
        alike = [values for values, new in parents if new == is_new]
        for begin in range(0, len(alike), origin.parent.batch):
            some = alike[begin : begin + origin.parent.batch]
            yield {name: [values[name] for values in some] for name in origin.parent.fields}, is_new


def _parents(
    request: ReadRequest, origin: HttpOrigin, previous: Manifest | None
) -> Iterator[tuple[dict[str, str | None], bool]]:
    """Values of each parent in a fixed order, and whether it came after this stream's last window was made."""
    if origin.parent is None:
        yield {}, False
        return
    parent = origin.parent
    rows = _parent_rows(request, origin)
    since = None
    if previous is not None:
        begin = datetime.fromisoformat(previous.state["begin"]) if "begin" in previous.state else None
        since = as_utc(begin) if begin is not None else previous.started_at
    for values, first_seen, last_seen in rows:
        is_new = since is not None and first_seen >= since
        if parent.changed_only and since is not None and last_seen < since:
            continue
        yield values, is_new


def _parent_rows(request: ReadRequest, origin: HttpOrigin) -> list[tuple[dict[str, str | None], datetime, datetime]]:
    """Each live parent's values, with the end of the first and of the last load that brought it."""
    parent = origin.parent
    assert parent is not None
    loads = _parent_loads(request, parent)
    latest = _live_parents(request, parent, loads)
    for name, values in parent.where.items():
        latest = latest.filter(pl.col(name).is_in(values))
    found: dict[str, tuple[dict[str, str | None], datetime, datetime]] = {}
    for row in latest.iter_rows(named=True):
        asked = {name: row[column] for name, column in parent.fields.items()}
        if any(value is None for value in asked.values()):
            continue
        first, last = loads[row["_first"]].extracted_at, loads[row["_last"]].extracted_at
        known = found.get(str(asked))
        found[str(asked)] = (asked, min(first, known[1]) if known else first, max(last, known[2]) if known else last)
    return list(found.values())


def _parent_loads(request: ReadRequest, parent: Parent) -> list[Manifest]:
    """Loads of the other stream; fails where it is none, was never loaded, or does not keep what requests need."""
    source = request.source
    config = source.streams.get(parent.stream)
    if config is None:
        raise SourceError(
            f"{request.name}: parent.stream {parent.stream!r} is no stream of {source.source}; "
            f"{suggest(parent.stream, source.streams, 'streams')}"
        )
    hidden = [name for name in parent.fields.values() if name in config.pii_actions()]
    if hidden:
        raise SourceError(
            f"{request.name}: parent.fields uses {hidden[0]!r}, which {source.source}.{parent.stream} does not keep as "
            "it is (pii); requests need it as the source gave it"
        )
    loads = request.landing.manifests(source.source, parent.stream)
    if not loads:
        raise SourceError(
            f"{request.name}: its parent {source.source}.{parent.stream} was never loaded; load it first, or look at "
            "why that failed"
        )
    return loads


def _live_parents(request: ReadRequest, parent: Parent, loads: Sequence[Manifest]) -> pl.DataFrame:
    """The latest row of each live parent by its key, with the first and the last of ``loads`` that brought it."""
    source = request.source
    key = source.streams[parent.stream].primary_key
    key = key if isinstance(key, list) else list(parent.fields.values())
    names = list(dict.fromkeys([*key, *parent.fields.values(), *parent.where]))
    # An increment of few records may lack a column that others have.
    known_columns = dict.fromkeys(name for load in reversed(loads) for name in load.columns)
    if known_columns and (missing := [name for name in names if name not in known_columns]):
        raise SourceError(
            f"{request.name}: parent.fields uses {missing[0]!r}, which {source.source}.{parent.stream} does not "
            f"have; {suggest(missing[0], known_columns, 'columns')}"
        )
    frames = [
        request.landing.scan(load).select(
            *(pl.col(name) if name in load.columns else pl.lit(None, pl.String).alias(name) for name in names),
            "_deleted",
            "_load_row",
            pl.lit(position).alias("_load"),
        )
        for position, load in enumerate(loads)
    ]
    return (
        pl.concat(frames)
        .sort("_load", "_load_row")
        .group_by(key, maintain_order=True)
        .agg(
            *(pl.col(name).last() for name in names if name not in key),
            pl.col("_deleted").last(),
            pl.col("_load").first().alias("_first"),
            pl.col("_load").last().alias("_last"),
        )
        .filter(~pl.col("_deleted"))
        .sort(key)
        .collect()
    )


def moved(request: ReadRequest, done: Task, largest: Point | None, server_time: datetime | None) -> str | None:
    """The cursor after a complete load.

    The largest value seen, not later than the begin of the scan by the slower of both clocks: a record changed while
    the scan went on may have been passed. Where the requests named the end of the window, at least a day before it, so
    that a source without news does not make the window grow. Where records do not show their stamp, the begin of the
    scan.
    """
    origin: HttpOrigin = request.config.origin
    limit = min(done.begin, server_time or done.begin)
    points: list[Point] = []
    if largest is not None:
        points.append(min(largest, limit) if isinstance(largest, datetime) else largest)
    if request.config.cursor is not None and not request.config.cursor.is_field:
        points.append(limit)
    elif isinstance(done.window.end, datetime) and origin.is_bounded:
        points.append(min(done.window.end, limit) - _TRUSTED)
    previous = request.previous
    cursor = request.config.cursor
    if previous is not None and cursor is not None and previous.cursor_field == cursor.field and done.kind != "full":
        before = kept(previous.cursor_to)
        points += [before] if before is not None else []
    times = [value for value in points if isinstance(value, datetime)]
    numbers = [value for value in points if isinstance(value, Decimal)]
    return text_of(max(times) if times else max(numbers) if numbers else None)


def resumes(origin: HttpOrigin) -> bool:
    """Whether the last token is the cursor."""
    return isinstance(origin.paging, TokenPaging | LinkPaging) and origin.paging.resume


def _plain(value: Point | None) -> Any:
    """A bound for templates: a time, a whole number or a number."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value
