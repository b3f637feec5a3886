"""One load of a stream over HTTP: its units read page by page, reconciled, and what is left when the budget ends.

Does not belong here: the parts that it puts together (``windows``, ``paging``, ``client``, ``records``).
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import queue
import shutil
import threading
import zipfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

import polars as pl

from orchestration.sources.drift import require_columns
from orchestration.sources.errors import SourceError
from orchestration.sources.files import FilesOrigin, read_file
from orchestration.sources.http import records as answers
from orchestration.sources.http import windows
from orchestration.sources.http.client import (
    Answer,
    BudgetUsedUpError,
    Client,
    DayBudget,
    SkippedError,
)
from orchestration.sources.http.config import (
    ErrorRule,
    Export,
    HttpOrigin,
    NumberPaging,
    Records,
    Request,
)
from orchestration.sources.http.paging import Asked, PageError, Pager, Position, count, pager
from orchestration.sources.http.records import RecordsError
from orchestration.sources.http.windows import Point, Task, Unit
from orchestration.sources.kinds import Batch, Delivery, Plan, ReadRequest
from orchestration.sources.landing import META_SCHEMA, REJECT_SCHEMA
from orchestration.sources.pii import protect
from orchestration.sources.vanished import key_columns, vanished_rows

_READINGS = 5
"""Readings of numbered pages before they are given up as never the same twice."""
_JUDGED_ROWS = 20
"""Records without a declared field that say that the field is gone, and not only empty."""
_CHUNK_ROWS = 20_000
_POSITION_OF = {
    "token": "paging.param, or page.token in a template",
    "link": "the link of the answer",
    "keyset": "last.<field> in a template",
    "page": "paging.param, or page.number in a template",
    "offset": "paging.param, or page.offset in a template",
}
"""What in a request names the page."""
_GATHERED_ROWS, _GATHERED_PAGES = 20_000, 200
"""Pages that are landed together, at most."""
_EXPORT_TRIES = 3
_DOWNLOADS = ".download"


def read_stream(request: ReadRequest) -> Delivery:
    """What is new in the stream since the cursor, or all of it.

    Raises:
        SourceError: names what to mend; what may pass was tried again before it is raised.
    """
    task = windows.task(request)
    client = Client(request)
    folder = request.landing.root / request.source.source / request.stream / _DOWNLOADS
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


@dataclass
class _Page:
    """One page: its rows as landed, the position behind it, and how many records the source counts in all."""

    rows: pl.DataFrame
    following: Position | None
    total: int | None = None


@dataclass
class _Memory:
    """What one sequence of pages has shown so far."""

    pages: set[bytes] = field(default_factory=set)
    positions: set[str] = field(default_factory=set)


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
        self._largest: Point | None = windows.kept(task.resume.get("largest")) if task.resume else None
        self._left: dict[str, Unit] = {unit.key: unit for unit in task.units}
        self._total = task.total
        self._positions: dict[str, Position] = dict(task.resume.get("positions", {}))
        self._stopped = ""
        self._columns: set[str] = set()
        self._ancestors: set[str] = set()
        self._rows = 0
        self._names = 0
        self._sliced: dict[bytes, str] = {}
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
            with self._to_correct(self._place):
                export = self._exported(self._origin.export, unit) if self._origin.export else {}
                if isinstance(self._origin.paging, NumberPaging):
                    yield from self._reconciled(unit, export, todo)
                else:
                    yield from self._sequence(unit, export)
        except SkippedError:
            return

    def _sequence(self, unit: Unit, export: Mapping[str, Any]) -> Iterator[Batch]:
        """Pages or files, one behind the other, from where the last load ended."""
        steps = pager(self._origin.paging)
        memory = _Memory()
        position: Position | None = self._positions.get(unit.key) or self._begin(steps)
        is_of_another_day = position != steps.first()
        while position is not None:
            try:
                batches, following = self._at_position(unit, steps, position, export, memory)
            except SourceError:
                if not is_of_another_day:
                    raise
                # A token may not live until the next day; what it led to is read again from the beginning.
                position, memory, is_of_another_day = steps.first(), _Memory(), False
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

    def _at_position(
        self, unit: Unit, steps: Pager, position: Position, export: Mapping[str, Any], memory: _Memory
    ) -> tuple[Iterable[Batch], Position | None]:
        """The page or file at a position, already known to be whole, and the position behind it."""
        if self._origin.records.is_file:
            return self._file(unit, steps, position, export, memory)
        page = self._page(unit, steps, position, export, memory)
        return [Batch(page.rows)], page.following

    def _begin(self, steps: Pager) -> Position:
        """The first position, or where the last load ended for a source that remembers."""
        previous = self._request.previous
        if (
            windows.resumes(self._origin)
            and previous is not None
            and previous.config_hash == self._request.config.config_hash
            and previous.state.get("position")
        ):
            return dict(previous.state["position"])
        return steps.first()

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
        steps = pager(paging)
        over = self._origin.slices.over if self._origin.slices else None
        before: set[int] | None = None
        for _ in range(_READINGS):
            position: Position | None = steps.first()
            memory = _Memory()
            totals: list[int | None] = []
            seen: set[int] = set()
            while position is not None:
                page = self._page(unit, steps, position, export, memory)
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
                        f"{self._place}, or use reconcile: reread"
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
            f"read. Nothing was loaded. Ask for slices of time that are over, or another paging, in {self._place}"
        )

    def _identities(self, rows: pl.DataFrame, by_key: bool) -> set[int]:
        key = self._request.config.primary_key
        if by_key and isinstance(key, list) and set(key) <= set(rows.columns):
            rows = rows.select(key)
        return set(rows.select(sorted(rows.columns)).hash_rows(seed=7).to_list()) if rows.width else set()

    def _page(self, unit: Unit, steps: Pager, position: Position, export: Mapping[str, Any], memory: _Memory) -> _Page:
        """One page, asked for until it can be the one that follows."""
        attempts = self._request.source.connection.retry.attempts
        for attempt in range(1, attempts + 1):
            asked = steps.asked(position)
            answer = self._ask(self._origin.request, unit, asked, export)
            try:
                return self._checked(unit, steps, position, answer, memory, doubts=attempt == 1 < attempts)
            except PageError as error:
                if attempt == attempts:
                    raise SourceError(
                        f"{self._request.name}: {error}; asked {attempts} times. Nothing was loaded. Look at "
                        f"{self._place}"
                    ) from error
                self._client.wait(self._client.backoff(attempt))
        raise AssertionError("attempts is at least 1")

    def _checked(
        self, unit: Unit, steps: Pager, position: Position, answer: Answer, memory: _Memory, *, doubts: bool
    ) -> _Page:
        """A page that can be the one asked for; ``doubts`` also asks again for one that another slice gave."""
        records = self._origin.records
        if answer.status == 200 and not answer.content.strip() and not records.may_be_absent:
            raise PageError(
                "an empty answer came where a page of records was asked for; if that means that there are none, add "
                "records.may_be_absent: true"
            )
        with self._to_correct(self._at("records")):
            found = [] if answer.is_empty else answers.locate(answer.document, records)
        flat = self._flat(found, unit)
        # Pages are told apart and followed by records, of which an exploded row is only a part.
        plain = self._flat(found, unit, records.model_copy(update={"explode": None})) if records.explode else flat
        rows = self._framed(flat, unit)
        content = _digest(rows if plain is flat else self._framed(plain, unit))
        if plain and content in memory.pages:
            raise PageError(
                "a page came a second time where the next one was asked for; look whether the request says where the "
                f"next page begins ({_POSITION_OF.get(self._origin.paging.kind, 'its parameters')})"
            )
        if plain and self._has_parts and self._is_anothers(_digest(answers.frame(plain)), unit) and doubts:
            raise PageError("a page is that of another slice or value of each")
        self._require_key(flat, unit)
        following = self._client.without_credentials(steps.following(position, answer, plain))
        repeats = getattr(self._origin.paging, "repeats", False)
        memory.positions.add(repr(position))
        if following is not None and not repeats and repr(following) in memory.positions:
            raise PageError(f"the page leads back to one that was read before ({self._shown(following)})")
        memory.pages.add(content)
        total = None
        paging = self._origin.paging
        if isinstance(paging, NumberPaging) and paging.total is not None:
            total = count(paging.total, answer)
        return _Page(rows, following, total=total)

    @property
    def _has_parts(self) -> bool:
        return bool(self._origin.slices or self._origin.each)

    def _is_anothers(self, content: bytes, unit: Unit) -> bool:
        """Whether a slice, or a value of ``each``, gave the same before.

        Two may hold the same, where both count a bound in; a source that says it again is believed.
        """
        with self._lock:
            return self._sliced.setdefault(content, unit.key) != unit.key

    def _require_key(self, flat: Sequence[Mapping[str, str | None]], unit: Unit) -> None:
        """Fail where no record of a page has a key: an error that is no list would pass for a record."""
        key = self._request.config.primary_key
        own = [name for name in key if name not in unit.constants] if isinstance(key, list) else []
        if flat and own and all(row.get(name) is None for row in flat for name in own):
            raise PageError(
                f"none of the page's records has {' or '.join(map(repr, own))} (primary_key), but "
                f"{self._client.excerpt(', '.join(flat[0]))}"
            )

    def _flat(
        self, found: Sequence[dict[str, Any]], unit: Unit, records: Records | None = None
    ) -> list[dict[str, str | None]]:
        with self._to_correct(self._at("records")):
            return answers.flat_rows(found, records or self._origin.records, unit.pickable)

    def _framed(self, flat: Sequence[Mapping[str, str | None]], unit: Unit) -> pl.DataFrame:
        with self._to_correct(self._at("records")):
            rows = answers.frame(flat, unit.constants)
        if reserved := [name for name in rows.columns if name in META_SCHEMA]:
            raise SourceError(
                f"{self._request.name}: the records have fields named {', '.join(reserved)}, which the landing uses "
                f"itself; take the fields that are wanted, under other names, by records.path, such as "
                f"'items[].{{id: id, name: name, other{reserved[0]}: {reserved[0]}}}'"
            )
        return rows

    def _ask(
        self,
        spec: Request,
        unit: Unit,
        asked: Asked,
        export: Mapping[str, Any],
        *,
        to_file: Path | None = None,
        is_json: bool = True,
    ) -> Answer:
        rules: list[ErrorRule] = self._origin.errors
        return self._client.send(
            spec,
            {**self._variables(unit), **asked.variables, "export": dict(export)},
            rules=rules,
            url=asked.url,
            params=asked.params,
            to_file=to_file,
            is_json=is_json,
        )

    def _variables(self, unit: Unit) -> dict[str, Any]:
        return {
            "window": unit.window.variables,
            "each": dict(unit.each),
            "parent": dict(unit.parent),
            "page": {"token": None},
            "last": {},
            "export": {},
            "now": self._task.begin,
        }

    def _exported(self, export: Export, unit: Unit) -> dict[str, Any]:
        """Start an export and wait for it; one that fails is started anew."""
        nothing = Asked({}, {})
        said = ""
        for attempt in range(1, _EXPORT_TRIES + 1):
            started = self._ask(export.start, unit, nothing, {})
            values = self._values(export.values, started, "export.values")
            if export.poll is None:
                return values
            waited, pause = 0.0, export.every_seconds
            while True:
                # Without a path into it, the answer may be the file itself.
                is_json = bool(export.status or export.poll_values)
                answer = self._ask(export.poll, unit, nothing, values, is_json=is_json)
                state = answers.as_text(answers.find(export.status, answer.document)) if export.status else None
                if state in export.done or answer.status in export.done_status:
                    return values | self._values(export.poll_values, answer, "export.poll_values")
                if state in export.failed:
                    said = self._client.excerpt(answers.json_text(answer.document))
                    break
                if waited >= export.timeout_seconds:
                    raise SourceError(
                        f"{self._request.name}: the export is still {state!r} after {waited:.0f} s; raise "
                        f"export.timeout_seconds in {self._place}, or ask for a shorter window (slices)"
                    )
                self._client.wait(pause)
                waited += max(pause, 0.001)
                pause = min(pause * 1.5, 10 * export.every_seconds)
            self._client.wait(self._client.backoff(attempt))
        raise SourceError(
            f"{self._request.name}: the source says {_EXPORT_TRIES} times that its export failed: "
            f"{said}. Nothing was loaded; try again later"
        )

    def _values(self, paths: Mapping[str, str], answer: Answer, place: str) -> dict[str, Any]:
        values = {}
        for name, path in paths.items():
            value = answers.find(path, answer.document)
            if value is None:
                raise SourceError(
                    f"{self._request.name}: the answer has nothing at {path!r} ({place}.{name}): "
                    f"{self._client.excerpt(answers.json_text(answer.document))}; correct {self._place}"
                )
            values[name] = value
        return values

    def _file(
        self, unit: Unit, steps: Pager, position: Position, export: Mapping[str, Any], memory: _Memory
    ) -> tuple[Iterator[Batch], Position | None]:
        """An answer that is a file: on disk when this returns, read from there as its batches are."""
        answer, path = self._downloaded(unit, steps.asked(position), export)
        following = self._client.without_credentials(steps.following(position, answer, []))
        memory.positions.add(repr(position))
        if following is not None and repr(following) in memory.positions:
            raise SourceError(
                f"{self._request.name}: the file leads back to one that was read before "
                f"({self._shown(following)}); look at {self._at('paging')}"
            )
        return self._batches_of(answer, path, unit), following

    def _batches_of(self, answer: Answer, path: Path, unit: Unit) -> Iterator[Batch]:
        if not answer.is_empty:
            for file in self._unzipped(path) if self._origin.records.unzip else [path]:
                yield from self._file_batches(file, unit)
                file.unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def _downloaded(self, unit: Unit, asked: Asked, export: Mapping[str, Any]) -> tuple[Answer, Path]:
        """One file, asked for until it is whole."""
        records = self._origin.records
        path = self._new_file("answer")
        for attempt in range(1, _EXPORT_TRIES + 1):
            if records.is_inside:
                answer = self._ask(self._origin.request, unit, asked, export)
                if not answer.is_empty:
                    with self._to_correct(self._at("records")):
                        path.write_bytes(answers.decoded(answer.document, records))
            else:
                answer = self._ask(self._origin.request, unit, asked, export, to_file=path, is_json=False)
            is_doubtful = attempt == 1 and self._has_parts and self._is_anothers_file(answer, path, unit)
            if self._is_whole(answer, path) and not is_doubtful:
                return answer, path
            if attempt < _EXPORT_TRIES:
                self._client.wait(self._client.backoff(attempt))
        raise SourceError(
            f"{self._request.name}: the file that was downloaded is damaged ({path.stat().st_size} bytes); asked "
            "several times. Nothing was loaded; try again later"
        )

    def _is_anothers_file(self, answer: Answer, path: Path, unit: Unit) -> bool:
        """Whether a file with records is the one of another unit; a zip tells neither."""
        records = self._origin.records
        if answer.is_empty or records.unzip or records.format not in {"csv", "ndjson"}:
            return False
        with path.open("rb") as file:
            lines = sum(1 for _ in itertools.islice(file, records.header_rows + 1))
            if lines <= (records.header_rows if records.format == "csv" else 0):
                return False
            file.seek(0)
            return self._is_anothers(hashlib.file_digest(file, "blake2b").digest(), unit)

    def _is_whole(self, answer: Answer, path: Path) -> bool:
        if answer.is_empty:
            return True
        try:
            if self._origin.records.unzip:
                with zipfile.ZipFile(path) as archive:
                    return archive.testzip() is None
            with _opened(path) as file:
                while isinstance(file, gzip.GzipFile) and file.read(1 << 20):
                    pass
        except (zipfile.BadZipFile, EOFError, zlib.error, OSError):
            return False
        return True

    def _unzipped(self, path: Path) -> Iterator[Path]:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    continue
                target = self._new_file(Path(member.filename).name or "member")
                with archive.open(member) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                yield target

    def _new_file(self, name: str) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            self._names += 1
            return self._folder / f"{self._names:06d}-{name}"

    def _file_batches(self, path: Path, unit: Unit) -> Iterator[Batch]:
        records = self._origin.records
        if records.format == "json" or (records.format is None and path.suffix == ".json"):
            try:
                with _opened(path) as file:
                    document = answers.read_json(file.read())
            except ValueError as error:
                raise SourceError(
                    f"{self._request.name}: the file holds no JSON ({error}); correct {self._place}"
                ) from error
            with self._to_correct(self._at("records")):
                # Of a text inside, ``path`` led to the text; ``inner`` leads to the records.
                found = answers.locate(document, records)
            for begin in range(0, len(found), _CHUNK_ROWS):
                yield self._file_batch(found[begin : begin + _CHUNK_ROWS], [], unit)
            return
        if records.format == "ndjson":
            yield from self._ndjson(path, unit)
            return
        origin = FilesOrigin(
            path=str(path),
            format="csv",
            profile=records.profile,
            delimiter=records.delimiter,
            quote=records.quote,
            encoding=records.encoding,
            header_rows=records.header_rows,
        )
        constants = [pl.lit(value, pl.String).alias(name) for name, value in unit.constants.items()]
        config = self._request.config
        # Columns that the unit gives are none of the file's.
        asked = replace(
            self._request,
            config=config.model_copy(update={"optional": [*config.optional, *unit.constants, *records.pick]}),
        )
        for batch in read_file(asked, origin, path):
            yield Batch(self._picked(batch.rows, unit).with_columns(constants), batch.rejects)

    def _picked(self, rows: pl.DataFrame, unit: Unit) -> pl.DataFrame:
        """Rows of a CSV with the columns of ``records.pick``."""
        records = self._origin.records
        if not records.pick:
            return rows
        known = unit.pickable
        with self._to_correct(self._at("records")):
            found = [answers.picks({**row, **known}, records) for row in rows.iter_rows(named=True)]
        return rows.with_columns(
            pl.Series(name, [answers.as_text(row[name]) for row in found], dtype=pl.String) for name in records.pick
        )

    def _ndjson(self, path: Path, unit: Unit) -> Iterator[Batch]:
        found: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        with _opened(path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    record = answers.read_json(line)
                except ValueError:
                    record = None
                if isinstance(record, dict):
                    found.append(record)
                elif not line.endswith(b"\n"):
                    raise SourceError(
                        f"{self._request.name}: the lines of JSON end in the middle of line {number}, so the answer "
                        "was cut short. Nothing was loaded; try again later",
                        True,
                    )
                else:
                    text = line.decode(self._origin.records.encoding, "backslashreplace").rstrip("\n")
                    bad.append({"_file": None, "_row": number, "reason": "no_json", "text": text})
                if len(found) >= _CHUNK_ROWS:
                    yield self._file_batch(found, bad, unit)
                    found, bad = [], []
        yield self._file_batch(found, bad, unit)

    def _file_batch(self, found: Sequence[dict[str, Any]], bad: Sequence[dict[str, Any]], unit: Unit) -> Batch:
        flat = self._flat(found, unit)
        try:
            self._require_key(flat, unit)
        except PageError as error:
            raise SourceError(f"{self._request.name}: {error}. Nothing was loaded. Look at {self._place}") from error
        rows = self._framed(flat, unit)
        return Batch(rows, pl.DataFrame(list(bad), schema=REJECT_SCHEMA) if bad else None)

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

    def _shown(self, position: Position) -> str:
        return ", ".join(f"{name} {self._client.clean(str(value))[:60]!r}" for name, value in position.items())

    @contextmanager
    def _to_correct(self, place: str) -> Iterator[None]:
        """Raise a ``RecordsError`` as one that names the stream and the place in the YAML where it is mended."""
        try:
            yield
        except RecordsError as error:
            raise SourceError(f"{self._request.name}: {error}; correct {place}") from error

    def _at(self, key: str) -> str:
        return f"streams.{self._request.stream}.from.{key} in {self._request.source.path}"

    @property
    def _place(self) -> str:
        return f"streams.{self._request.stream}.from in {self._request.source.path}"


def _opened(path: Path) -> IO[bytes]:
    """A file that was downloaded, unpacked where it is gzip."""
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if is_packed else path.open("rb")


def _digest(rows: pl.DataFrame) -> bytes:
    """What tells one page from another."""
    hashes = rows.hash_rows(seed=7).to_numpy().tobytes() if rows.width else b""
    return hashlib.blake2b(hashes, person=str(rows.height).encode()[:16], digest_size=16).digest()


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
