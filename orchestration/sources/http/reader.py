"""What lies at one position of a unit, a page or a file, asked for until it can be believed and read as rows of text.

Belongs here: what makes an answer the right one: its records are there, it is no page of before and none of another
slice, its file is whole. Does not belong here: in which order units and positions are read (``engine``), how an answer
is had (``client``), how a record becomes a row (``records``).
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import shutil
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

import polars as pl

from orchestration.sources.errors import SourceError
from orchestration.sources.files import FilesOrigin, read_file
from orchestration.sources.http import records as answers
from orchestration.sources.http.client import Answer, Client
from orchestration.sources.http.config import ErrorRule, HttpOrigin, NumberPaging, Records, Request
from orchestration.sources.http.paging import Asked, PageError, Position, count, pager
from orchestration.sources.http.records import RecordsError
from orchestration.sources.http.windows import Unit
from orchestration.sources.kinds import Batch, ReadRequest
from orchestration.sources.landing import META_SCHEMA, REJECT_SCHEMA

_CHUNK_ROWS = 20_000
_POSITION_OF = {
    "token": "paging.param, or page.token in a template",
    "link": "the link of the answer",
    "keyset": "last.<field> in a template",
    "page": "paging.param, or page.number in a template",
    "offset": "paging.param, or page.offset in a template",
}
"""What in a request names the page."""
_TRIES = 3
"""Of an export that fails, and of a file that comes damaged."""


@dataclass
class Page:
    """One page: its rows as landed, the position behind it, and how many records the source counts in all."""

    rows: pl.DataFrame
    following: Position | None
    total: int | None = None


@dataclass
class Walk:
    """One walk through the positions of a unit.

    Attributes:
        unit: The unit.
        export: What its export gave, ``export.<name>`` in templates.
        pages: Digests of the pages that were read.
        positions: Positions that were read.
    """

    unit: Unit
    export: Mapping[str, Any]
    pages: set[bytes] = field(default_factory=set)
    positions: set[str] = field(default_factory=set)


class Reader:
    """Reads the positions of units as ``origin`` declares them; safe for several threads."""

    def __init__(self, request: ReadRequest, client: Client, origin: HttpOrigin, folder: Path, begin: datetime) -> None:
        self._request = request
        self._client = client
        self._origin = origin
        self._folder = folder
        self._begin = begin
        self._pager = pager(origin.paging)
        self._files = 0
        self._sliced: dict[bytes, str] = {}
        self._lock = threading.Lock()

    def first(self) -> Position:
        """Where a walk begins."""
        return self._pager.first()

    def at(self, walk: Walk, position: Position) -> tuple[Iterable[Batch], Position | None]:
        """The page or file at a position, already known to be the right one, and the position behind it.

        Raises:
            SourceError: there is none that can be believed; names what to mend.
            BudgetUsedUpError: no request is left today.
            SkippedError: a rule says that this is not there.
        """
        if self._origin.records.is_file:
            return self._file(walk, position)
        page = self.page(walk, position)
        return [Batch(page.rows)], page.following

    def page(self, walk: Walk, position: Position) -> Page:
        """One page, asked for until it can be the one that follows.

        Raises:
            SourceError: as ``at``, which raises the others too.
        """
        attempts = self._request.source.connection.retry.attempts
        for attempt in range(1, attempts + 1):
            asked = self._pager.asked(position)
            answer = self._ask(self._origin.request, walk.unit, asked, walk.export)
            try:
                return self._checked(walk, position, answer, doubts=attempt == 1 < attempts)
            except PageError as error:
                if attempt == attempts:
                    raise SourceError(
                        f"{self._request.name}: {error}; asked {attempts} times. Nothing was loaded. Look at "
                        f"{self.place}"
                    ) from error
                self._client.wait(self._client.backoff(attempt))
        raise AssertionError("attempts is at least 1")

    def exported(self, unit: Unit) -> dict[str, Any]:
        """What the unit's export gives, once it is ready; one that fails is started anew. Nothing without an export.

        Raises:
            SourceError: it fails again and again, or takes too long.
        """
        export = self._origin.export
        if export is None:
            return {}
        nothing = Asked({}, {})
        said = ""
        for attempt in range(1, _TRIES + 1):
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
                        f"export.timeout_seconds in {self.place}, or ask for a shorter window (slices)"
                    )
                self._client.wait(pause)
                waited += max(pause, 0.001)
                pause = min(pause * 1.5, 10 * export.every_seconds)
            self._client.wait(self._client.backoff(attempt))
        raise SourceError(
            f"{self._request.name}: the source says {_TRIES} times that its export failed: "
            f"{said}. Nothing was loaded; try again later"
        )

    @contextmanager
    def to_correct(self, place: str) -> Iterator[None]:
        """Raise a ``RecordsError`` as one that names the stream and the place in the YAML where it is mended."""
        try:
            yield
        except RecordsError as error:
            raise SourceError(f"{self._request.name}: {error}; correct {place}") from error

    @property
    def place(self) -> str:
        """Where the reading of the stream is declared, as messages call it."""
        return f"streams.{self._request.stream}.from in {self._request.source.path}"

    def _checked(self, walk: Walk, position: Position, answer: Answer, *, doubts: bool) -> Page:
        """A page that can be the one asked for; ``doubts`` also asks again for one that another slice gave."""
        unit, records = walk.unit, self._origin.records
        if answer.status == 200 and not answer.content.strip() and not records.may_be_absent:
            raise PageError(
                "an empty answer came where a page of records was asked for; if that means that there are none, add "
                "records.may_be_absent: true"
            )
        with self.to_correct(self._at("records")):
            found = [] if answer.is_empty else answers.locate(answer.document, records)
        flat = self._flat(found, unit)
        # Pages are told apart and followed by records, of which an exploded row is only a part.
        plain = self._flat(found, unit, records.model_copy(update={"explode": None})) if records.explode else flat
        rows = self._framed(flat, unit)
        content = _digest(rows if plain is flat else self._framed(plain, unit))
        if plain and content in walk.pages:
            raise PageError(
                "a page came a second time where the next one was asked for; look whether the request says where the "
                f"next page begins ({_POSITION_OF.get(self._origin.paging.kind, 'its parameters')})"
            )
        if plain and self._has_parts and self._is_anothers(_digest(answers.frame(plain)), unit) and doubts:
            raise PageError("a page is that of another slice or value of each")
        self._require_key(flat, unit)
        following = self._client.without_credentials(self._pager.following(position, answer, plain))
        repeats = getattr(self._origin.paging, "repeats", False)
        walk.positions.add(repr(position))
        if following is not None and not repeats and repr(following) in walk.positions:
            raise PageError(f"the page leads back to one that was read before ({self._shown(following)})")
        walk.pages.add(content)
        total = None
        paging = self._origin.paging
        if isinstance(paging, NumberPaging) and paging.total is not None:
            total = count(paging.total, answer)
        return Page(rows, following, total)

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
        with self.to_correct(self._at("records")):
            return answers.flat_rows(found, records or self._origin.records, unit.pickable)

    def _framed(self, flat: Sequence[Mapping[str, str | None]], unit: Unit) -> pl.DataFrame:
        with self.to_correct(self._at("records")):
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
            "now": self._begin,
        }

    def _values(self, paths: Mapping[str, str], answer: Answer, place: str) -> dict[str, Any]:
        values = {}
        for name, path in paths.items():
            value = answers.find(path, answer.document)
            if value is None:
                raise SourceError(
                    f"{self._request.name}: the answer has nothing at {path!r} ({place}.{name}): "
                    f"{self._client.excerpt(answers.json_text(answer.document))}; correct {self.place}"
                )
            values[name] = value
        return values

    def _file(self, walk: Walk, position: Position) -> tuple[Iterator[Batch], Position | None]:
        """An answer that is a file: on disk when this returns, read from there as its batches are."""
        answer, path = self._downloaded(walk, self._pager.asked(position))
        following = self._client.without_credentials(self._pager.following(position, answer, []))
        walk.positions.add(repr(position))
        if following is not None and repr(following) in walk.positions:
            raise SourceError(
                f"{self._request.name}: the file leads back to one that was read before "
                f"({self._shown(following)}); look at {self._at('paging')}"
            )
        return self._batches_of(answer, path, walk.unit), following

    def _batches_of(self, answer: Answer, path: Path, unit: Unit) -> Iterator[Batch]:
        if not answer.is_empty:
            for file in self._unzipped(path) if self._origin.records.unzip else [path]:
                yield from self._file_batches(file, unit)
                file.unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def _downloaded(self, walk: Walk, asked: Asked) -> tuple[Answer, Path]:
        """One file, asked for until it is whole."""
        unit, records = walk.unit, self._origin.records
        path = self._new_file("answer")
        for attempt in range(1, _TRIES + 1):
            if records.is_inside:
                answer = self._ask(self._origin.request, unit, asked, walk.export)
                if not answer.is_empty:
                    with self.to_correct(self._at("records")):
                        path.write_bytes(answers.decoded(answer.document, records))
            else:
                answer = self._ask(self._origin.request, unit, asked, walk.export, to_file=path, is_json=False)
            is_doubtful = attempt == 1 and self._has_parts and self._is_anothers_file(answer, path, unit)
            if self._is_whole(answer, path) and not is_doubtful:
                return answer, path
            if attempt < _TRIES:
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
            self._files += 1
            return self._folder / f"{self._files:06d}-{name}"

    def _file_batches(self, path: Path, unit: Unit) -> Iterator[Batch]:
        """Rows of a file in the form it is declared in, or that its name in a zip tells; else CSV."""
        match self._origin.records.format or path.suffix:
            case "json" | ".json":
                return self._json(path, unit)
            case "ndjson":
                return self._ndjson(path, unit)
        return self._csv(path, unit)

    def _json(self, path: Path, unit: Unit) -> Iterator[Batch]:
        try:
            with _opened(path) as file:
                document = answers.read_json(file.read())
        except ValueError as error:
            raise SourceError(
                f"{self._request.name}: the file holds no JSON ({error}); correct {self.place}"
            ) from error
        with self.to_correct(self._at("records")):
            # Of a text inside, ``path`` led to the text; ``inner`` leads to the records.
            found = answers.locate(document, self._origin.records)
        for begin in range(0, len(found), _CHUNK_ROWS):
            yield self._file_batch(found[begin : begin + _CHUNK_ROWS], [], unit)

    def _csv(self, path: Path, unit: Unit) -> Iterator[Batch]:
        records = self._origin.records
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
        with self.to_correct(self._at("records")):
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
                        transient=True,
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
            raise SourceError(f"{self._request.name}: {error}. Nothing was loaded. Look at {self.place}") from error
        rows = self._framed(flat, unit)
        return Batch(rows, pl.DataFrame(list(bad), schema=REJECT_SCHEMA) if bad else None)

    def _shown(self, position: Position) -> str:
        return ", ".join(f"{name} {self._client.clean(str(value))[:60]!r}" for name, value in position.items())

    def _at(self, key: str) -> str:
        return f"streams.{self._request.stream}.from.{key} in {self._request.source.path}"


def _opened(path: Path) -> IO[bytes]:
    """A file that was downloaded, unpacked where it is gzip."""
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if is_packed else path.open("rb")


def _digest(rows: pl.DataFrame) -> bytes:
    """What tells one page from another."""
    hashes = rows.hash_rows(seed=7).to_numpy().tobytes() if rows.width else b""
    return hashlib.blake2b(hashes, person=str(rows.height).encode()[:16], digest_size=16).digest()
