"""Publishing: from the marts that dbt wrote to the files that readers open, in one atomic step.

Belongs here: what a release is made of, the guards that stand before it, the swap, roll-back and pruning.
Does not belong here: deciding whether a night may be published (``data_quality.gate``) and what the report
says (``report.build``).

Readers never touch the files that are written to: DuckDB lets one process write a file and then nobody
else may open it, not even to read. So a release is a copy in a folder of its own that no writer opens
again, and publishing it moves one link::

    serving/releases/<run_id>/marts.duckdb, release.json, report.html
    serving/releases/<run_id>/parquet/<table>.parquet, and of facts parquet/<table>/<month>.parquet
    serving/current -> releases/<run_id>

The database file keeps its name in every release, because the file's name is the catalogue's name and BI
tools store it in their queries. The file is copied rather than rebuilt: that is several times faster and
keeps the comments on tables and columns. The link is to the folder, not to the file: pooled readers that
have the old file open keep it, and whoever opens the path next gets the new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb
import polars as pl

from orchestration.contracts import CONTROL, Contract
from orchestration.lineage.sql import quote
from orchestration.settings import Settings
from orchestration.sources.landing import file_sha256
from orchestration.warehouse.compact import overwrite_gaps
from orchestration.warehouse.files import quoted, sync

DATABASE = "marts.duckdb"
"""File name of the published database in every release; ``marts`` is thereby the catalogue's name."""
MANIFEST = "release.json"
PARQUET = "parquet"
CURRENT = "current"
PUBLISHED_CONTROL = ("load", "check_result", "step_metric", "retention")
"""Control tables that readers get too; the quarantine stays private, it holds rows as landed."""
MAXIMUM_DROP_SHARE = 0.5
"""Share of its rows that a guarded table may lose from one release to the next."""
GUARDED_PREFIXES = ("fct_", "dim_")
MONTHLY_PREFIX = "fct_"
"""Tables whose Parquet is cut by the month of their first time that is known, so that a night writes what changed."""
UNDATED = "undated"
"""Name of the file of a fact's rows without any time."""
SCALAR_TYPES = frozenset(
    {
        "BOOLEAN",
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "FLOAT",
        "DOUBLE",
        "DECIMAL",
        "VARCHAR",
        "DATE",
        "TIMESTAMP",
    }
)
"""Types that every BI tool's driver and every Parquet reader takes."""

_WORK = ".work-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*")
_TABLE = re.compile(r"[a-z][a-z0-9_]*")
_PLAIN_MONTH = re.compile(r"\d{4}-\d{2}")
_MONTH = " + INTERVAL 1 MONTH"
_FORMAT = 2
_COPY_OPTIONS = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"


class PublishError(RuntimeError):
    """Publishing, rolling back or reading a release could not be done; what was published stays."""


class PublishBlocked(PublishError):  # noqa: N818 - the name that callers and docs use for the outcome
    """A gate or a guard stands against publishing; what was published stays.

    Attributes:
        reasons: One sentence each.
    """

    def __init__(self, reasons: Sequence[str]):
        self.reasons = tuple(reasons)
        super().__init__("not published: " + "; ".join(self.reasons))


class GateDecision(Protocol):
    """What publishing needs of the gates' decision."""

    @property
    def action(self) -> str:
        """``publish``, ``publish+warn`` or ``block``."""

    @property
    def reasons(self) -> Sequence[str]:
        """Why, one sentence each."""


@dataclass(frozen=True)
class PublishedFile:
    """One Parquet file of a release.

    Attributes:
        path: Below the folder of the Parquet files.
        rows: Number of rows.
        bytes: Size.
        sha256: Hash of the file.
        digest: Of its rows and columns, whatever their order: a file of a later release with the same one is this one.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    digest: str


@dataclass(frozen=True)
class PublishedTable:
    """One table of a release.

    Attributes:
        name: Table name in schema ``main``.
        rows: Number of rows.
        files: Its Parquet files; their hashes are equal as long as the table's rows are equal.
    """

    name: str
    rows: int
    files: tuple[PublishedFile, ...]


@dataclass(frozen=True)
class Release:
    """One published version.

    Attributes:
        run_id: Run that published it; the folder's name.
        published_at: When, UTC.
        path: The release's own folder, not the link.
        action: The gates' decision.
        reasons: The gates' reasons.
        warnings: What readers should know besides.
        stale_sources: Sources whose data are older than promised.
        accepted_drops: Tables whose loss of rows was accepted by hand.
        database_sha256: Hash of the database file.
        tables: Every table, by name.
        files: Hashes of the extra files, by name.
    """

    run_id: str
    published_at: datetime
    path: Path
    action: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    stale_sources: tuple[str, ...]
    accepted_drops: tuple[str, ...]
    database_sha256: str
    tables: tuple[PublishedTable, ...]
    files: dict[str, str] = field(default_factory=dict)

    @property
    def marts_path(self) -> Path:
        """The DuckDB file."""
        return self.path / DATABASE

    @property
    def parquet_dir(self) -> Path:
        """Folder of the Parquet files."""
        return self.path / PARQUET

    @property
    def row_counts(self) -> dict[str, int]:
        """Rows by table."""
        return {table.name: table.rows for table in self.tables}


def publish(
    settings: Settings,
    run_id: str,
    *,
    now: datetime,
    decision: GateDecision,
    extra_files: Mapping[str, bytes] | None = None,
    control: Mapping[str, pl.DataFrame] | None = None,
    warnings: Sequence[str] = (),
    stale_sources: Sequence[str] = (),
    accept_drops: Collection[str] = (),
    after_step: Callable[[str], None] | None = None,
) -> Release:
    """Publish ``settings.marts_path`` as release ``run_id`` and make it the current one.

    Killed at any point, the current release stays the old one or is the new one, whole either way; what a
    killed run left is removed by the next. Publishing a run again that is already current and whose data
    are the same changes nothing.

    Args:
        settings: Where the marts and the serving folder lie.
        run_id: Name of the release.
        now: Time of publishing; a naive value is UTC.
        decision: The gates' decision; only ``publish`` and ``publish+warn`` publish.
        extra_files: Content by file name, such as ``report.html``.
        control: Frames of the control tables that readers get; by default read from ``settings.control_dir``.
        warnings: What readers should know, written into the release.
        stale_sources: Sources whose data are older than promised.
        accept_drops: Tables that may vanish or shrink this time.
        after_step: Called with the name of each step once it is done.

    Raises:
        PublishBlocked: the decision is to block, or a table vanished or lost too many rows.
        PublishError: the marts are missing, open for writing or break the published contract.
    """
    step = after_step or (lambda _name: None)
    if decision.action not in ("publish", "publish+warn"):
        raise PublishBlocked(tuple(decision.reasons) or (f"the gates' decision is {str(decision.action)!r}",))
    extra = dict(extra_files or {})
    _check_names(run_id, extra)
    frames = {name: _control_frame(settings, CONTROL[name], control) for name in PUBLISHED_CONTROL}
    with _lock(settings):
        before = current_release(settings)
        _clean_work(settings)
        step("cleaned")
        work = _releases_dir(settings) / f"{_WORK}{run_id}"
        (work / PARQUET).mkdir(parents=True)
        try:
            _copy_marts(settings, work / DATABASE, before, accept_drops)
            step("copied")
            _add_control(work / DATABASE, frames, settings)
            step("control added")
            tables = _export(work, settings, step, before)
            for name, content in extra.items():
                (work / name).write_bytes(content)
            release = Release(
                run_id=run_id,
                published_at=_utc(now),
                path=_releases_dir(settings) / run_id,
                action=str(decision.action),
                reasons=tuple(decision.reasons),
                warnings=tuple(warnings),
                stale_sources=tuple(stale_sources),
                accepted_drops=tuple(sorted(accept_drops)),
                database_sha256=file_sha256(work / DATABASE),
                tables=tables,
                files={name: hashlib.sha256(content).hexdigest() for name, content in sorted(extra.items())},
            )
            if before is not None and before.run_id == run_id:
                return _same_again(before, release)
            (work / MANIFEST).write_text(_to_json(release), encoding="utf-8")
            step("written")
            _seal(work)
            step("synced")
            if release.path.exists():
                # A run that was killed between here and the swap, or a release that was rolled back from.
                release.path.rename(_releases_dir(settings) / f"{_WORK}old-{run_id}")
            work.rename(release.path)
            sync(_releases_dir(settings))
            step("in place")
            _swap(settings, run_id, step)
        finally:
            _clean_work(settings)
        _prune(settings, settings.keep_releases)
        step("pruned")
    return release


def current_release(settings: Settings) -> Release | None:
    """The release that readers get now, or None before the first one.

    Raises:
        PublishError: the link points at something that is no whole release.
    """
    link = settings.serving_dir / CURRENT
    if not link.is_symlink():
        if link.exists():
            raise PublishError(f"{link} is not a link; move it away, publishing makes the link itself")
        return None
    return _read_release(link.resolve())


def releases(settings: Settings) -> list[Release]:
    """Every whole release, newest first; a folder that cannot be read as one is left out."""
    folder = _releases_dir(settings)
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if not path.name.startswith(".") and path.is_dir():
            with suppress(PublishError):
                found.append(_read_release(path))
    return sorted(found, key=lambda release: (release.published_at, release.run_id), reverse=True)


def roll_back(settings: Settings, run_id: str) -> Release:
    """Make the earlier release ``run_id`` the current one again.

    Its files are compared with their hashes first. The next publish goes on as usual.

    Raises:
        PublishError: there is no such release (the message lists those there are), or a file of it is
            missing or changed.
    """
    with _lock(settings):
        known = {release.run_id: release for release in releases(settings)}
        if run_id not in known:
            raise PublishError(f"no release {run_id!r} to roll back to; there are: {', '.join(known) or 'none'}")
        damage = verify(known[run_id])
        if damage:
            raise PublishError(f"release {run_id!r} is damaged: {'; '.join(damage)}; choose another")
        _swap(settings, run_id, lambda _name: None)
    return known[run_id]


def prune(settings: Settings, keep: int) -> list[str]:
    """Remove all but the ``keep`` newest releases; the current one always stays.

    Returns:
        Run ids of the releases removed.

    Raises:
        ValueError: ``keep`` is below 1.
    """
    with _lock(settings):
        _clean_work(settings)
        return _prune(settings, keep)


def verify(release: Release) -> list[str]:
    """Compare a release's files with their hashes; returns what is wrong, one sentence each."""
    expected = {DATABASE: release.database_sha256, **release.files}
    expected |= {f"{PARQUET}/{file.path}": file.sha256 for table in release.tables for file in table.files}
    damage = []
    for name, sha256 in expected.items():
        if not (release.path / name).is_file():
            damage.append(f"{name} is missing")
        elif file_sha256(release.path / name) != sha256:
            damage.append(f"{name} was changed after publishing")
    return damage


def _releases_dir(settings: Settings) -> Path:
    return settings.serving_dir / "releases"


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _check_names(run_id: str, extra: Mapping[str, bytes]) -> None:
    if not _NAME.fullmatch(run_id):
        raise PublishError(f"run id {run_id!r} cannot name a folder; use letters, digits, '.', '_', '-' and '='")
    for name in extra:
        if not _NAME.fullmatch(name) or name in (DATABASE, MANIFEST, PARQUET):
            raise PublishError(f"extra file {name!r} cannot be published under that name; use a plain file name")


@contextmanager
def _lock(settings: Settings) -> Iterator[None]:
    """Only one process changes the serving folder; the system drops the lock of a killed one."""
    settings.serving_dir.mkdir(parents=True, exist_ok=True)
    _releases_dir(settings).mkdir(exist_ok=True)
    path = settings.serving_dir / ".lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PublishError(
                f"another process is publishing, rolling back or pruning in {settings.serving_dir}; "
                "try again when it has ended"
            ) from error
        yield
    finally:
        os.close(handle)


def _clean_work(settings: Settings) -> None:
    """Remove what killed runs left; only called under the lock, so nothing here belongs to a live one."""
    for path in _releases_dir(settings).glob(f"{_WORK}*"):
        shutil.rmtree(path)
    for path in settings.serving_dir.glob(f"{_WORK}*"):
        path.unlink()


def _connect(path: Path, settings: Settings, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    config: dict[str, Any] = {
        "memory_limit": settings.duckdb_memory_limit,
        "threads": settings.duckdb_threads,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        return duckdb.connect(str(path), read_only=read_only, config=config)
    except (duckdb.IOException, duckdb.ConnectionException) as error:
        raise PublishError(
            f"{path} cannot be opened: {error}. If another process has it open for writing, let it end and "
            "publish again; in this process, close every connection to it first"
        ) from error


def _copy_marts(settings: Settings, target: Path, before: Release | None, accept_drops: Collection[str]) -> None:
    source = settings.marts_path
    if not source.is_file():
        raise PublishError(f"{source} does not exist: build the marts (dbt build) before publishing")
    if source.with_name(source.name + ".wal").exists():
        # A writer that was killed leaves changes beside the file; opening for writing brings them in.
        with _connect(source, settings, read_only=False) as connection:
            connection.execute("CHECKPOINT")
    # Held open while copying: it keeps every writer out.
    with _connect(source, settings, read_only=True) as connection:
        names = _check_catalogue(connection, source)
        _guard_rows(_count(connection, names), before, accept_drops)
        shutil.copyfile(source, target)
    target.chmod(0o644)


def _check_catalogue(connection: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    """Tables of the file, all found to keep the published contract."""
    relations = connection.execute(
        "SELECT table_schema, table_name, table_type FROM information_schema.tables "
        "WHERE table_catalog = current_database() ORDER BY 1, 2"
    ).fetchall()
    problems = []
    for schema, name, kind in relations:
        if schema != "main":
            problems.append(f"table {schema}.{name} lies outside schema main; only main is published")
        elif kind != "BASE TABLE":
            problems.append(f"{name} is a {kind.lower()}; materialise it as a table, a view would look for files")
        elif not _TABLE.fullmatch(name):
            problems.append(f"table {name!r} must be named in snake_case")
        elif name in PUBLISHED_CONTROL:
            problems.append(f"table {name} has the name of a control table that publishing adds; rename the model")
    columns = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = current_database() AND NOT internal ORDER BY table_name, column_index"
    ).fetchall()
    problems += [
        f"column {table}.{column} has type {kind}; {_mend(kind)}"
        for table, column, kind in columns
        if "[" in kind or kind.split("(")[0] not in SCALAR_TYPES
    ]
    if problems:
        raise PublishError(f"{path} breaks the published contract: " + "; ".join(problems))
    if not relations:
        raise PublishError(f"{path} holds no table: build the marts (dbt build) before publishing")
    return [name for _, name, _ in relations]


def _mend(kind: str) -> str:
    if kind in ("HUGEINT", "UHUGEINT", "UBIGINT", "UINTEGER", "USMALLINT", "UTINYINT", "BIGNUM"):
        return "cast it to BIGINT or DECIMAL in the model"
    if kind.startswith("TIMESTAMP"):
        return "cast it to TIMESTAMP in UTC in the model"
    if "[" in kind or kind.startswith(("STRUCT", "MAP", "UNION")):
        return "publish its parts as columns or rows of their own"
    return f"publish one of {', '.join(sorted(SCALAR_TYPES))}"


def _count(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> dict[str, int]:
    query = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM \"{name}\"" for name in names)
    return dict(connection.execute(query).fetchall())


def _guard_rows(counts: Mapping[str, int], before: Release | None, accept_drops: Collection[str]) -> None:
    """Block when a table of the current release is gone or, for facts and dimensions, much smaller.

    Raises:
        PublishBlocked: names each table, both counts and how to accept it.
    """
    if before is None:
        return
    reasons = []
    for name, rows_before in before.row_counts.items():
        if name in PUBLISHED_CONTROL or name in accept_drops:
            continue
        accept = f"if that is right, publish with accept_drops=[{name!r}]"
        if name not in counts:
            reasons.append(f"table {name} ({rows_before} rows in release {before.run_id}) is gone; {accept}")
        elif name.startswith(GUARDED_PREFIXES) and counts[name] < rows_before * (1 - MAXIMUM_DROP_SHARE):
            reasons.append(
                f"table {name} has {counts[name]} rows after {rows_before} in release {before.run_id}, "
                f"a loss of more than {MAXIMUM_DROP_SHARE:.0%}; {accept}"
            )
    if reasons:
        raise PublishBlocked(reasons)


def _control_frame(settings: Settings, contract: Contract, control: Mapping[str, pl.DataFrame] | None) -> pl.DataFrame:
    """One control table in the contract's columns, types and order of keys."""
    if control is not None and contract.name in control:
        frame = control[contract.name]
    else:
        files = sorted((settings.control_dir / contract.name).glob("*.parquet"))
        frames = [pl.read_parquet(file) for file in files]
        frame = pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame(schema=contract.schema)
    columns = [
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in contract.schema.items()
    ]
    return frame.select(columns).sort(contract.key)


def _add_control(path: Path, frames: Mapping[str, pl.DataFrame], settings: Settings) -> None:
    with _connect(path, settings, read_only=False) as connection:
        for name, frame in frames.items():
            contract = CONTROL[name]
            connection.register("frame", frame.to_arrow())
            connection.execute(f'CREATE TABLE "{name}" AS FROM frame')
            connection.unregister("frame")
            connection.execute(f'COMMENT ON TABLE "{name}" IS {quoted(f"{contract.grain}. {contract.description}")}')
            for column in contract.all_columns:
                connection.execute(f'COMMENT ON COLUMN "{name}"."{column.name}" IS {quoted(column.description)}')
        connection.execute("CHECKPOINT")
    overwrite_gaps(path, settings, frames)


def _export(
    work: Path, settings: Settings, step: Callable[[str], None], before: Release | None
) -> tuple[PublishedTable, ...]:
    """Write each table as Parquet, its rows in an order that only depends on the rows.

    Args:
        work: Folder of the release.
        settings: Memory and threads.
        step: Called after each table.
        before: The current release; files of it that hold the same rows are taken where they are whole.
    """
    known = {file.path: file for table in before.tables for file in table.files} if before is not None else {}
    tables = []
    with (
        _connect(work / DATABASE, settings, read_only=True) as connection,
        ThreadPoolExecutor(settings.duckdb_threads) as pool,
    ):

        def file_of(part: _Part) -> PublishedFile:
            with connection.cursor() as cursor:
                taken = _taken(before, known.get(part.path), part, work / PARQUET)
                return taken or _write(cursor, part, work / PARQUET)

        names = [
            name
            for (name,) in connection.execute(
                "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() ORDER BY 1"
            ).fetchall()
        ]
        for name in names:
            files = tuple(pool.map(file_of, _parts(connection, name)))
            tables.append(PublishedTable(name, sum(file.rows for file in files), files))
            step(f"exported {name}")
    return tuple(tables)


@dataclass(frozen=True)
class _Part:
    """Rows of a table that become one file.

    Attributes:
        path: The file, below the folder of the Parquet files.
        query: SQL of the rows, in the order in which they are written.
        rows: Number of rows.
        digest: Of the rows and their columns.
    """

    path: str
    query: str
    rows: int
    digest: str


def _parts(connection: duckdb.DuckDBPyConnection, table: str) -> list[_Part]:
    """The files of a table, an empty one where it has no rows."""
    columns: dict[str, str] = dict(
        connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() "
            "WHERE database_name = current_database() AND table_name = ? ORDER BY column_index",
            [table],
        ).fetchall()
    )
    times = [column for column, kind in columns.items() if kind in ("TIMESTAMP", "DATE")]
    others = [column for column in columns if column not in times]
    is_cut = table.startswith(MONTHLY_PREFIX) and bool(times)
    # Behind a key, which is in no two rows, nothing decides and all takes long to sort by.
    decisive = others[:1] if is_cut and others[:1] and others[0].endswith("_key") else others
    # Times in front: rows of one time are alike, so that files are small.
    order = ", ".join(map(quote, [*times, *decisive]))
    known = ", ".join(f"TRY_CAST({quote(time)} AS TIMESTAMP)" for time in times)
    month = f"date_trunc('month', coalesce({known}))" if is_cut else "CAST(NULL AS TIMESTAMP)"
    first = quote(times[0]) if is_cut else "NULL"
    # DuckDB's hash may change with its version, and so may the files that it writes. It mixes the last column in with
    # little effect on the other bits, so that it is hashed once more before it is summed up.
    layout = f"{duckdb.__version__} {_COPY_OPTIONS} {order} {columns}"
    found = connection.execute(
        "SELECT strftime(month, '%Y-%m'), month::VARCHAR, n, hashes, is_by_first FROM ("
        f"SELECT {month} AS month, count(*) AS n, sum(hash(hash({', '.join(map(quote, columns))}))) AS hashes, "
        f"bool_and(TRY_CAST({first} AS TIMESTAMP) IS NOT NULL) AS is_by_first "
        f"FROM {quote(table)} GROUP BY 1) ORDER BY month"
    ).fetchall()
    parts = []
    for name, beginning, rows, hashes, is_by_first in found or [(None, None, 0, None, False)]:
        of_month = f"{month} IS NOT DISTINCT FROM CAST({quoted(beginning) if beginning else 'NULL'} AS TIMESTAMP)"
        if is_by_first and _PLAIN_MONTH.fullmatch(name):
            # The same rows, and DuckDB passes over what is stored elsewhere.
            begin, end = (f"CAST(TIMESTAMP {quoted(beginning)}{more} AS {columns[times[0]]})" for more in ("", _MONTH))
            of_month = f"{first} >= {begin} AND {first} < {end}"
        parts.append(
            _Part(
                path=f"{table}/{name or UNDATED}.parquet" if is_cut else f"{table}.parquet",
                query=f"FROM {quote(table)} WHERE {of_month} ORDER BY {order}",
                rows=rows,
                digest=hashlib.sha256(f"{layout} {rows} {hashes}".encode()).hexdigest(),
            )
        )
    return parts


def _taken(before: Release | None, file: PublishedFile | None, part: _Part, folder: Path) -> PublishedFile | None:
    """A file of the release before; None where its rows are others, it is not as it was published, or has no links."""
    if before is None or file is None or file.digest != part.digest:
        return None
    origin, target = before.parquet_dir / file.path, folder / file.path
    if not origin.is_file() or file_sha256(origin) != file.sha256:
        return None
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(origin, target)
    except OSError:
        return None
    return file


def _write(connection: duckdb.DuckDBPyConnection, part: _Part, folder: Path) -> PublishedFile:
    """Write rows to their file.

    Raises:
        PublishError: not as many were written as there are.
    """
    path = folder / part.path
    path.parent.mkdir(exist_ok=True)
    row = connection.execute(f"COPY ({part.query}) TO {quoted(str(path))} ({_COPY_OPTIONS})").fetchone()
    if row is None or row[0] != part.rows:
        raise PublishError(f"{path} got {row and row[0]} rows and not {part.rows}; publish again")
    return PublishedFile(part.path, part.rows, path.stat().st_size, file_sha256(path), part.digest)


def _same_again(before: Release, release: Release) -> Release:
    """A run that publishes twice: fine when nothing changed, since a release never changes."""
    held = [
        {file.path: file.sha256 for table in one.tables if table.name not in PUBLISHED_CONTROL for file in table.files}
        for one in (before, release)
    ]
    if held[0] == held[1]:
        return before
    raise PublishError(
        f"release {release.run_id!r} is already published with other data, and a release never changes; "
        "publish under a new run id"
    )


def _to_json(release: Release) -> str:
    content = asdict(release)
    content["format"] = _FORMAT
    content["published_at"] = release.published_at.isoformat()
    del content["path"]
    return json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def _read_release(path: Path) -> Release:
    try:
        content = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        match content.pop("format"):
            case 1:
                content = _of_first_format(content)
            case number if number != _FORMAT:
                raise ValueError("it was written by another version of this software")
        content["published_at"] = datetime.fromisoformat(content["published_at"])
        content["tables"] = tuple(
            PublishedTable(table["name"], table["rows"], tuple(PublishedFile(**file) for file in table["files"]))
            for table in content["tables"]
        )
        for name in ("reasons", "warnings", "stale_sources", "accepted_drops"):
            content[name] = tuple(content[name])
        return Release(path=path, **content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PublishError(
            f"{path / MANIFEST} cannot be read as a release: {error}. Remove the folder {path}; if it is the "
            "current release, first roll back to another one"
        ) from error


def _of_first_format(content: dict[str, Any]) -> dict[str, Any]:
    """A manifest of a release whose tables were one file each, as it would be written now."""
    content.pop("marts_sha256", None)
    tables = [
        {
            "name": table["name"],
            "rows": table["rows"],
            "files": [{"path": f"{table.pop('name')}.parquet", "digest": ""} | table],
        }
        for table in content["tables"]
    ]
    return content | {"tables": tables}


def _seal(work: Path) -> None:
    """Flush every file and folder to disk, and take away the right to write the files.

    A BI tool that opens the database for writing by mistake would lock all others out; without that right
    it gets an error instead.
    """
    shutil.rmtree(work / f"{DATABASE}.tmp", ignore_errors=True)
    for folder in (*(path for path in (work / PARQUET).iterdir() if path.is_dir()), work / PARQUET, work):
        for file in folder.iterdir():
            if file.is_file():
                sync(file)
                file.chmod(0o444)
        sync(folder)


def _swap(settings: Settings, run_id: str, step: Callable[[str], None]) -> None:
    link = settings.serving_dir / f"{_WORK}{CURRENT}"
    link.unlink(missing_ok=True)
    link.symlink_to(Path("releases") / run_id, target_is_directory=True)
    step("linked")
    link.replace(settings.serving_dir / CURRENT)
    sync(settings.serving_dir)
    step("swapped")


def _prune(settings: Settings, keep: int) -> list[str]:
    if keep < 1:
        raise ValueError(f"keep must be at least 1, not {keep}: readers need a release")
    current = current_release(settings)
    removed = []
    for release in releases(settings)[keep:]:
        if current is None or release.run_id != current.run_id:
            # Renamed first, so that nobody finds half a release.
            work = _releases_dir(settings) / f"{_WORK}prune-{release.run_id}"
            release.path.rename(work)
            shutil.rmtree(work)
            removed.append(release.run_id)
    return removed
