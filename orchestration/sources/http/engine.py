"""One load of a stream over HTTP: its units read page by page, reconciled, and what is left when the budget ends.

Does not belong here: what is asked for (``windows``) and how one page or file of it is had (``reader``).
"""

from __future__ import annotations

import queue
import shutil
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from orchestration.sources.drift import require_columns
from orchestration.sources.errors import SourceError
from orchestration.sources.http import records as answers
from orchestration.sources.http import windows
from orchestration.sources.http.client import BudgetUsedUpError, Client, DayBudget, SkippedError
from orchestration.sources.http.config import HttpOrigin, NumberPaging
from orchestration.sources.http.paging import Position
from orchestration.sources.http.reader import Reader, Walk
from orchestration.sources.http.windows import Point, Task, Unit
from orchestration.sources.kinds import Batch, Delivery, Plan, ReadRequest
from orchestration.sources.landing import DOWNLOADS
from orchestration.sources.pii import protect
from orchestration.sources.vanished import key_columns, vanished_rows

_READINGS = 5
"""Readings of numbered pages before they are given up as never the same twice."""
_JUDGED_ROWS = 20
"""Records without a declared field that say that the field is gone, and not only empty."""
_GATHERED_ROWS, _GATHERED_PAGES = 20_000, 200
"""Pages that are landed together, at most."""


def read_stream(request: ReadRequest) -> Delivery:
    """What is new in the stream since the cursor, or all of it.

    Raises:
        SourceError: names what to mend; what may pass was tried again before it is raised.
    """
    task = windows.task(request)
    client = Client(request)
    folder = request.landing.root / request.source.source / request.stream / DOWNLOADS
    shutil.rmtree(folder, ignore_errors=True)

    def free() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        client.close()

    delivery = Delivery(
        kind=task.kind,
        cursor_from=windows.text_of(task.window.start),
        cursor_field=request.config.cursor.field if request.config.cursor else None,
        free=free,
    )
    delivery.batches = _Scan(request, client, task, folder).batches(delivery)
    return delivery


def plan_stream(request: ReadRequest) -> Plan:
    """What the load would ask for; calls nobody.

    Raises:
        SourceError: the window cannot be made as declared.
    """
    task = windows.task(request)
    origin: HttpOrigin = request.config.origin
    left = DayBudget(request).left()
    start, end = (windows.text_of(bound) for bound in (task.window.start, task.window.end))
    field_ = request.config.cursor.field if request.config.cursor else None
    window = f"{field_} from {start or 'the beginning'} to {end or 'the end'}" if field_ else "everything"
    each = 3 if origin.export else 1
    notes = [f"goes on with {len(task.units)} of {task.total} parts"] if task.resume else []
    if left is not None:
        notes.append(f"{left} requests left today of {request.source.connection.budget.per_day}")
    return Plan(window=window, parts=len(task.units), requests=each * len(task.units), note="; ".join(notes))


class _StopError(Exception):
    """Another thread failed; this one ends."""


class _Scan:
    """Reads the units of a task as ``origin`` declares them, which is the stream's own where none is given."""

    def __init__(
        self,
        request: ReadRequest,
        client: Client,
        task: Task,
        folder: Path,
        origin: HttpOrigin | None = None,
    ) -> None:
        self._request = request
        self._client = client
        self._task = task
        self._folder = folder
        self._origin: HttpOrigin = origin or request.config.origin
        self._reader = Reader(request, client, self._origin, folder, task.begin)
        self._largest: Point | None = windows.kept(task.resume.get("largest")) if task.resume else None
        self._left: dict[str, Unit] = {unit.key: unit for unit in task.units}
        self._total = task.total
        self._positions: dict[str, Position] = dict(task.resume.get("positions", {}))
        self._stopped = ""
        self._columns: set[str] = set()
        self._ancestors: set[str] = set()
        self._rows = 0
        self._lock = threading.Lock()
        self._scans_keys = request.config.deletes.strategy == "key_scan" and task.kind != "backfill"

    def batches(self, delivery: Delivery) -> Iterator[Batch]:
        """All rows, then what vanished; what is known only in the end is put into ``delivery``."""
        present: list[pl.DataFrame] = []
        whole = self._scans_keys and self._origin.keys is None
        figures = self._request.figures
        figures.parts = self._task.total
        figures.parts_done = self._task.total - len(self._task.units)
        pages = self._units()
        for batch in pages if self._request.is_trial else _gathered(pages):
            self._note(batch.rows)
            if whole:
                present.append(self._keys_of(batch.rows))
            yield batch
        if not self._stopped:
            self._require_columns()
            if self._scans_keys:
                try:
                    keys = [*present, *self._keys_before()] if whole else self._all_keys()
                except BudgetUsedUpError as error:
                    # Every record is read; the next load has the keys alone to ask for.
                    self._stopped = str(error)
                else:
                    yield from self._vanished(keys)
        if self._rows == 0:
            # What reads the landing finds the columns that the YAML names, though nothing came yet.
            yield Batch(pl.DataFrame(schema=dict.fromkeys(self._request.config.declared_columns(), pl.String)))
        self._conclude(delivery)

    def _units(self) -> Iterator[Batch]:
        workers = min(self._request.source.connection.budget.concurrency, len(self._task.units))
        if workers > 1:
            yield from self._side_by_side(workers)
            return
        todo = deque(self._task.units)
        while todo:
            unit = todo.popleft()
            try:
                yield from self._read(unit, todo)
            except BudgetUsedUpError as error:
                self._stopped = str(error)
                return
            self._finished(unit)

    def _side_by_side(self, workers: int) -> Iterator[Batch]:
        """Units in several threads; a bounded queue holds a few pages of each."""
        todo = deque(self._task.units)
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=2 * workers)
        stop = threading.Event()

        def put(item: Batch | BaseException | None) -> None:
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.1)
                except queue.Full:
                    continue
                return
            raise _StopError

        def work() -> None:
            try:
                while not stop.is_set():
                    try:
                        unit = todo.popleft()
                    except IndexError:
                        break
                    for batch in self._read(unit, todo):
                        put(batch)
                    self._finished(unit)
                put(None)
            except _StopError:
                return
            except BaseException as error:
                try:
                    put(error)
                except _StopError:
                    return

        threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        running = workers
        try:
            while running:
                item = ready.get()
                if item is None:
                    running -= 1
                elif isinstance(item, BudgetUsedUpError):
                    self._stopped = str(item)
                    running -= 1
                elif isinstance(item, BaseException):
                    raise item
                else:
                    yield item
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _finished(self, unit: Unit) -> None:
        with self._lock:
            self._left.pop(unit.key, None)
            if not windows.resumes(self._origin):
                self._positions.pop(unit.key, None)
            self._request.figures.parts_done += 1

    def _read(self, unit: Unit, todo: deque[Unit]) -> Iterator[Batch]:
        """The rows of one unit; a unit with too many records is put back as two."""
        try:
            with self._reader.to_correct(self._reader.place):
                export = self._reader.exported(unit)
                if isinstance(self._origin.paging, NumberPaging):
                    yield from self._reconciled(unit, export, todo)
                else:
                    yield from self._sequence(unit, export)
        except SkippedError:
            return

    def _sequence(self, unit: Unit, export: Mapping[str, Any]) -> Iterator[Batch]:
        """Pages or files, one behind the other, from where the last load ended."""
        walk = Walk(unit, export)
        position: Position | None = self._positions.get(unit.key) or self._begin()
        is_of_another_day = position != self._reader.first()
        while position is not None:
            try:
                batches, following = self._reader.at(walk, position)
            except SourceError:
                if not is_of_another_day:
                    raise
                # A token may not live until the next day; what it led to is read again from the beginning.
                position, walk, is_of_another_day = self._reader.first(), Walk(unit, export), False
                continue
            is_of_another_day = False
            for batch in batches:
                yield batch
                if self._is_older(unit, batch.rows):
                    return
            if following is not None or windows.resumes(self._origin):
                with self._lock:
                    self._positions[unit.key] = following or position
            position = following

    def _begin(self) -> Position:
        """The first position, or where the last load ended for a source that remembers."""
        previous = self._request.previous
        if (
            windows.resumes(self._origin)
            and previous is not None
            and previous.config_hash == self._request.config.config_hash
            and previous.state.get("position")
        ):
            return dict(previous.state["position"])
        return self._reader.first()

    def _is_older(self, unit: Unit, rows: pl.DataFrame) -> bool:
        """Whether all rows are older than the window, where the newest come first."""
        paging, cursor = self._origin.paging, self._request.config.cursor
        start = unit.window.start
        if not getattr(paging, "newest_first", False) or cursor is None or start is None or rows.is_empty():
            return False
        largest = self._largest_of(rows)
        return largest is not None and type(largest) is type(start) and largest < start  # type: ignore[operator]

    def _reconciled(self, unit: Unit, export: Mapping[str, Any], todo: deque[Unit]) -> Iterator[Batch]:
        """Numbered pages, read until nothing can have moved between them."""
        paging = self._origin.paging
        assert isinstance(paging, NumberPaging)
        over = self._origin.slices.over if self._origin.slices else None
        before: set[int] | None = None
        for _ in range(_READINGS):
            position: Position | None = self._reader.first()
            walk = Walk(unit, export)
            totals: list[int | None] = []
            seen: set[int] = set()
            while position is not None:
                page = self._reader.page(walk, position)
                totals.append(page.total)
                halves = unit.halves() if over is not None and (totals[0] or 0) > over else None
                if halves is not None:
                    with self._lock:
                        self._left.update({half.key: half for half in halves})
                        self._total += len(halves)
                        self._request.figures.parts = self._total
                    todo.extendleft(reversed(halves))
                    return
                seen |= self._identities(page.rows, paging.reconcile == "total")
                yield Batch(page.rows)
                position = page.following
            if paging.reconcile == "total":
                if totals[0] is None:
                    raise SourceError(
                        f"{self._request.name}: the answer has no count at paging.total {paging.total!r}; correct "
                        f"{self._reader.place}, or use reconcile: reread"
                    )
                if totals[0] == totals[-1] == len(seen):
                    return
                found = f"{len(seen)} distinct records were read where the source counts {totals[0]}"
                if totals[0] != totals[-1]:
                    found += f" at first and {totals[-1]} in the end"
            else:
                if before == seen:
                    return
                found = "two readings never gave the same records"
                before = seen
        raise SourceError(
            f"{self._request.name}: {found}, in {_READINGS} readings: records move between the pages while they are "
            f"read. Nothing was loaded. Ask for slices of time that are over, or another paging, in "
            f"{self._reader.place}"
        )

    def _identities(self, rows: pl.DataFrame, by_key: bool) -> set[int]:
        key = self._request.config.primary_key
        if by_key and isinstance(key, list) and set(key) <= set(rows.columns):
            rows = rows.select(key)
        return set(rows.select(sorted(rows.columns)).hash_rows(seed=7).to_list()) if rows.width else set()

    def _note(self, rows: pl.DataFrame) -> None:
        """Remember which columns came and how far the cursor got."""
        if rows.is_empty():
            self._columns |= set(rows.columns)
            return
        self._rows += rows.height
        self._columns |= set(rows.columns)
        declared = self._request.config.declared_columns()
        missing = [name for name in declared if name not in self._columns]
        for name in missing:
            parts = name.split(".")
            for length in range(1, len(parts)):
                if ".".join(parts[:length]) in rows.columns:
                    self._ancestors.add(name)
        largest = self._largest_of(rows)
        if largest is not None and (self._largest is None or largest > self._largest):  # type: ignore[operator]
            self._largest = largest

    def _largest_of(self, rows: pl.DataFrame) -> Point | None:
        cursor = self._request.config.cursor
        if cursor is None or not cursor.is_field or cursor.field not in rows.columns:
            return None
        column = rows[cursor.field].drop_nulls().unique()
        if cursor.format == "iso" and (latest := windows.latest_of_one_form(column)) and latest <= self._task.begin:
            return latest
        values = column.to_list()
        known = windows.points(values, cursor.format, self._request.source.timezone)
        limit = self._task.begin
        if values and not known:
            raise SourceError(
                f"{self._request.name}: cursor {cursor.field!r} holds {values[0]!r}, which is not {cursor.format!r}; "
                f"correct streams.{self._request.stream}.cursor.format in {self._request.source.path} (iso, epoch, "
                "epoch_ms, number or a pattern such as %d.%m.%Y %H:%M)"
            )
        # One wrong date far ahead must hide nothing.
        return max(
            (value for value in known if not isinstance(value, datetime) or value <= limit),
            default=None,
        )

    def _require_columns(self) -> None:
        """Fail where a field that steers the load is missing, or a declared one was in none of many records."""
        if self._rows == 0:
            return
        config = self._request.config
        steering = set(config.primary_key if isinstance(config.primary_key, list) else ())
        if config.cursor and config.cursor.is_field:
            steering.add(config.cursor.field)
        declared = {*config.declared_columns()}
        records = self._origin.records
        # Which columns a pivot or a pick gives is up to the data: a question that nobody answered tonight.
        by_data = tuple(f"{name}." for name in (*records.pivot, *records.pick))
        excused = {name for name in declared if name in records.pick or name.startswith(by_data)} | self._ancestors
        if self._rows < _JUDGED_ROWS:
            excused |= declared
        require_columns(self._request, self._columns, "the records", excused - steering)

    def _keys_of(self, rows: pl.DataFrame) -> pl.DataFrame:
        key = key_columns(self._request)
        if missing := [name for name in key if name not in rows.columns]:
            if rows.is_empty():
                return pl.DataFrame(schema=dict.fromkeys(key, pl.String))
            raise SourceError(f"{self._request.name}: the records have no {missing[0]!r}, which is part of the key")
        actions = self._request.config.pii_actions()
        settings = self._request.settings
        return self._request.screen(protect(rows.select(key), actions, settings.hmac_key, self._request.name))

    def _keys_before(self) -> Iterator[pl.DataFrame]:
        """Keys that earlier loads of the same scan brought, before the day's budget ended."""
        if not self._task.resume:
            return
        key = key_columns(self._request)
        for load in self._request.history:
            if load.state.get("begin") == self._task.begin.isoformat() and set(key) <= set(load.columns):
                yield self._request.landing.scan(load).filter(~pl.col("_deleted")).select(key).collect()

    def _all_keys(self) -> list[pl.DataFrame]:
        """All keys the source has now, asked for on their own."""
        keys = self._origin.keys
        assert keys is not None
        origin = self._origin.model_copy(
            update={"request": keys.request, "records": keys.records, "paging": keys.paging, "export": None}
        )
        units = windows.everything(self._request, self._task.window.end)
        task = replace(self._task, units=tuple(units), total=len(units), resume={})
        scan = _Scan(self._request, self._client, task, self._folder, origin)
        return [self._keys_of(batch.rows) for unit in units for batch in scan._read(unit, deque())]

    def _vanished(self, present: Sequence[pl.DataFrame]) -> Iterator[Batch]:
        key = key_columns(self._request)
        found = [frame for frame in present if not frame.is_empty()]
        keys = pl.concat(found).unique() if found else pl.DataFrame(schema=dict.fromkeys(key, pl.String))
        gone = vanished_rows(self._request, keys, max_share=self._request.config.deletes.max_vanish_share)
        if gone.height:
            yield Batch(gone, is_final=True)

    def _conclude(self, delivery: Delivery) -> None:
        """Fill in what the delivery says in the end."""
        task, previous = self._task, self._request.previous
        delivery.state = {"begin": task.begin.isoformat()}
        delivery.must_commit = bool(task.resume or self._stopped)
        if self._stopped:
            # Keys that are asked for on their own come last, so they are missing whatever was read.
            keys = 1 if self._scans_keys and self._origin.keys is not None else 0
            delivery.missing_share = round((len(self._left) + keys) / max(self._total + keys, 1), 4)
        if windows.resumes(self._origin):
            # The source remembers: where the last page ended is where the next load begins, finished or not.
            before = previous.state.get("position") if previous is not None else None
            delivery.state["position"] = next(iter(self._positions.values()), before)
            delivery.must_commit = delivery.must_commit or delivery.state["position"] != before
            return
        if not self._stopped:
            delivery.cursor_to = windows.moved(self._request, task, self._largest, self._client.server_time)
            return
        if task.kind == "backfill" or (self._rows == 0 and len(self._left) == self._total):
            raise SourceError(
                f"{self._request.name}: {self._client.clean(self._stopped)} before anything was read; nothing was "
                "loaded, and the next run begins anew"
            )
        is_same_cursor = previous is not None and previous.cursor_field == delivery.cursor_field
        delivery.cursor_to = previous.cursor_to if previous is not None and is_same_cursor else None
        delivery.state["resume"] = {
            "window": [windows.text_of(task.window.start), windows.text_of(task.window.end)],
            "units": [windows.unit_state(unit) for unit in self._left.values()],
            "total": self._total,
            "positions": self._lasting_positions(),
            "largest": windows.text_of(self._largest),
            "why": self._client.clean(self._stopped),
        }

    def _lasting_positions(self) -> dict[str, Position]:
        """Positions that another day can go on from, by unit; a unit without one is read from its beginning."""
        # Numbered pages are reconciled as a whole, and the next export has positions of its own.
        if isinstance(self._origin.paging, NumberPaging) or self._origin.export:
            return {}
        texts = {key: answers.json_text(position) for key, position in self._positions.items()}
        return {key: self._positions[key] for key, text in texts.items() if self._client.clean(text) == text}


def _gathered(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Small pages put together, for what each batch costs beside its rows."""
    held: list[Batch] = []
    for batch in batches:
        held.append(batch)
        if len(held) >= _GATHERED_PAGES or sum(one.rows.height for one in held) >= _GATHERED_ROWS:
            yield _joined(held)
            held = []
    if held:
        yield _joined(held)


def _joined(batches: Sequence[Batch]) -> Batch:
    rejects = [batch.rejects for batch in batches if batch.rejects is not None]
    return Batch(
        pl.concat([batch.rows for batch in batches], how="diagonal"),
        pl.concat(rejects) if rejects else None,
    )
