"""The clean layer: typed, deduplicated rows as Parquet, one folder a table, one file a partition.

Belongs here: the layout, merging new versions of rows into it, replacing derived tables, reading back. Does not
belong here: how rows become canonical (``normalize``) and which loads there are (``warehouse.refresh``).

::

    clean/<table>/2026-05-01.parquet   Partition.EVENT_DATE: the business day of the event
    clean/<table>/2026-05.parquet      Partition.EVENT_MONTH: its month, where a day holds too few rows for a file
    clean/<table>/bucket-03.parquet    Partition.BUCKET: crc32 of the bucket key, modulo the contract's buckets
    clean/<table>/all.parquet          Partition.WHOLE, and derived tables
    clean/<table>/_empty.parquet       no rows, so that a glob of *.parquet always finds the schema
    clean/<table>/_merged.json         which loads the table holds, and when which business day last changed
    clean/<table>/_pending.json        only while a merge moves its files into place
    clean/<table>/touched/             which entities changed when, where the contract names its entities

A partition is cut by what the versions of a row share, so that a merge reads and writes only the partitions that
new rows fall into. Where a new version lies in another partition than the old one (the source corrected the time of
an event, or deleted it), the key is looked up in the whole table and moves.

A merge prepares every new file under a temporary name, writes down in ``_pending.json`` what it is about to do, and
only then renames. Killed before, it has changed nothing; killed after, the next merge (or ``ensure``) finishes it.
Equal content gives equal bytes, whatever the order, repetition and grouping of the merges.
"""

from __future__ import annotations

import json
import operator
import shutil
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from enum import Enum, auto
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from orchestration.contracts import Contract, Partition
from orchestration.normalize.deduplicate import latest_versions
from orchestration.warehouse.files import (
    TEMPORARY_SUFFIX,
    exclusive,
    prepare_parquet,
    sync,
    temporary_path,
    write_json,
    write_parquet,
)
from orchestration.warehouse.touched import TouchedLog

EMPTY = "_empty"
WHOLE = "all"
UNDATED = "undated"
"""Partition of rows without event time: deletions, and answers whose source does not date them."""
MERGED = "_merged.json"
PENDING = "_pending.json"
SPILL = ".spill"

_BATCH_ROWS = 250_000
_MEMORY_ROWS = 1_000_000
_SPILL_BATCH_ROWS = 16_384
_NO_DAY = -(2**31)
_WORKERS = 2
"""Partitions prepared at a time; each is too small to keep several cores busy."""
_PARTITION = "_partition"


Rows = pl.LazyFrame | pl.DataFrame


class CleanError(RuntimeError):
    """The clean layer cannot be read or written as asked; the message says how to mend it."""


@dataclass(frozen=True)
class LoadMark:
    """What ``_merged.json`` keeps of a load.

    Attributes:
        source: Source of the load.
        stream: Stream of the load.
        mapping_hash: Hash of everything that decides how its rows are normalised.
    """

    source: str
    stream: str
    mapping_hash: str


@dataclass(frozen=True)
class MergeResult:
    """What a merge changed.

    Attributes:
        partitions: Partitions in which rows that readers see changed, sorted.
        days_touched: Business days (of the event time, before and after) of rows that changed, sorted.
        inserted: Keys that readers did not see before; new, or deleted and back.
        updated: Keys whose content changed.
        unchanged: Keys that came in and changed nothing.
        deleted: Keys that readers no longer see.
    """

    partitions: tuple[str, ...] = ()
    days_touched: tuple[date, ...] = ()
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0


class _Action(Enum):
    """What happens to the file of a partition."""

    KEEP = auto()
    WRITE = auto()
    REMOVE = auto()


@dataclass(frozen=True)
class _Compared:
    """One partition, before and after: see ``CleanStore._compare``."""

    partition: str
    action: _Action
    changes: pl.DataFrame
    entities: pl.DataFrame
    keys_in: int


@dataclass
class _Tally:
    """Sums up a merge, partition by partition."""

    partitions: set[str] = field(default_factory=set)
    days: set[date] = field(default_factory=set)
    entities: list[pl.DataFrame] = field(default_factory=list)
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0

    def add(self, compared: _Compared) -> None:
        changes = compared.changes
        inserted, updated, deleted = (int(changes[name].sum()) for name in ("inserted", "updated", "deleted"))
        self.inserted += inserted
        self.updated += updated
        self.deleted += deleted
        self.unchanged += max(0, compared.keys_in - inserted - updated - deleted)
        if compared.entities.height:
            self.entities.append(compared.entities)
        if changes.height:
            self.partitions.add(compared.partition)
            for name in ("day", "day_before"):
                self.days |= set(changes[name].drop_nulls())

    def result(self) -> MergeResult:
        return MergeResult(
            tuple(sorted(self.partitions)),
            tuple(sorted(self.days)),
            self.inserted,
            self.updated,
            self.unchanged,
            self.deleted,
        )


@dataclass
class _Plan:
    """What a merge is about to do: partitions with a prepared file, and partitions that end."""

    writes: list[str] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)

    def add(self, compared: _Compared) -> None:
        match compared.action:
            case _Action.WRITE:
                self.writes.append(compared.partition)
            case _Action.REMOVE:
                self.removals.append(compared.partition)


class CleanStore:
    """The clean layer below ``root``.

    Args:
        root: Folder of the layer.
        business_timezone: IANA zone that decides which business day an event belongs to.
    """

    def __init__(self, root: Path, business_timezone: str) -> None:
        self.root = Path(root)
        self.business_timezone = business_timezone

    def folder(self, contract: Contract) -> Path:
        """Folder of a table."""
        return self.root / contract.name

    def ensure(self, contract: Contract) -> None:
        """Make the table's folder and its empty file, and finish a merge that was killed.

        Raises:
            CleanError: the table was cut by other buckets or another time zone than now asked for.
        """
        folder = self.folder(contract)
        empty = folder / f"{EMPTY}.parquet"
        log = self._touched(contract)
        whole = empty.exists() and not (folder / PENDING).exists() and (log is None or log.exists())
        if whole and pl.read_parquet_schema(empty) == contract.schema:
            return
        with exclusive(folder):
            self._recover(contract)
            self._write_empty(contract)

    def scan(self, contract: Contract, include_deleted: bool = False) -> pl.LazyFrame:
        """Rows of a table with ``contract.schema``; rows that the source deleted only if asked for."""
        paths = sorted(
            path for path in self.folder(contract).glob("*.parquet") if path.stem != EMPTY
        )  # an empty table has no other file
        if not paths:
            return pl.LazyFrame(schema=contract.schema)
        rows = pl.scan_parquet(
            paths, schema=contract.schema, missing_columns="insert", extra_columns="ignore", glob=False
        )
        if contract.is_source_table and not include_deleted:
            rows = rows.filter(~pl.col("is_deleted"))
        return rows

    def merged_loads(self, contract: Contract | str) -> dict[str, LoadMark]:
        """Loads that the table holds, by load id."""
        return {name: LoadMark(**mark) for name, mark in self._merged(contract)["loads"].items()}

    def sequence(self, contract: Contract | str) -> int:
        """Number of merges that changed the table so far; ``days_touched_since`` takes it."""
        return int(self._merged(contract)["sequence"])

    def days_touched_since(self, contract: Contract | str, sequence: int) -> list[date]:
        """Business days that changed after merge number ``sequence``, in order.

        Whoever builds on a table remembers the sequence it has seen, so that a run that failed between a merge and
        its use loses no day.
        """
        days = self._merged(contract)["days"]
        return sorted(date.fromisoformat(day) for day, at in days.items() if at > sequence)

    def merge(
        self,
        contract: Contract,
        rows: Rows | Iterable[Rows],
        loads: Mapping[str, LoadMark] | None = None,
        replace_sources: Collection[str] = (),
    ) -> MergeResult:
        """Merge versions of rows into a table: the latest version of each key wins.

        Args:
            contract: Table of ``CONTRACTS``.
            rows: Versions with ``contract.schema``, in any order, with any repetition; one frame or several, which
                are drawn one by one.
            loads: Loads that ``rows`` are all of; recorded as merged in the same step.
            replace_sources: Sources whose rows are taken out first, because ``rows`` holds all of their loads anew.

        Raises:
            CleanError: the table was cut by other buckets or another time zone.
        """
        if not contract.is_source_table:
            raise CleanError(f"{contract.name} is derived; use replace()")
        folder = self.folder(contract)
        with exclusive(folder):
            carried = self._recover(contract)
            self._write_empty(contract)
            self._remove_leftovers(folder)
            incoming = _Incoming(self, contract, folder / SPILL)
            try:
                for part in [rows] if isinstance(rows, pl.LazyFrame | pl.DataFrame) else rows:
                    incoming.take(part)
                tally, plan = self._prepare(contract, incoming, sorted(replace_sources))
            finally:
                incoming.close()
            tally.days |= carried
            self._decide(contract, tally, plan, loads or {}, replace_sources)
        return tally.result()

    def rewrite(
        self,
        contract: Contract,
        change: Callable[[pl.DataFrame], pl.DataFrame],
        partitions: Collection[str] | None = None,
    ) -> MergeResult:
        """Put ``change(rows)`` in place of each partition, all at once; what changed is recorded as by ``merge``.

        Args:
            contract: Table of ``CONTRACTS``.
            change: Rows of a partition (also deleted ones) to the rows it shall hold, which belong to it and have its
                schema. An empty frame ends the partition.
            partitions: Those to look at, by file name without suffix; default all.

        Raises:
            CleanError: the table was cut by other buckets or another time zone, or ``change`` breaks its contract.
        """
        folder = self.folder(contract)
        with exclusive(folder):
            carried = self._recover(contract)
            self._write_empty(contract)
            self._remove_leftovers(folder)
            tally, plan = _Tally(), _Plan()
            for name, path in sorted(self._paths(contract).items()):
                if partitions is not None and name not in partitions:
                    continue
                stored = self._read_partition(contract, path)
                after = _latest(contract, change(stored).select(contract.schema.keys()))
                if after.schema != contract.schema:
                    raise CleanError(f"{path} would no longer keep to the contract of {contract.name}")
                compared = self._compare(
                    contract, name, stored=stored, before=stored, after=after, keys_in=stored.height
                )
                tally.add(compared)
                plan.add(compared)
            tally.days |= carried
            self._decide(contract, tally, plan, {}, ())
        return tally.result()

    def forget_touched(self, contract: Contract, sequence: int) -> None:
        """Drop entries about entities that nobody needs who has built on change number ``sequence``."""
        if (log := self._touched(contract)) is not None:
            with exclusive(self.folder(contract)):
                self._recover(contract)
                log.forget(sequence)

    def replace(self, contract: Contract, frame: pl.DataFrame | pl.LazyFrame) -> bool:
        """Put ``frame`` in place of a derived table; False when it already holds just that.

        Raises:
            CleanError: a column is missing or of another type, a required one holds a null, or a key comes twice.
        """
        rows = frame.lazy().collect()
        if missing := [name for name in contract.schema if name not in rows.columns]:
            raise CleanError(f"{contract.name} lacks the columns {', '.join(missing)}")
        rows = rows.select(contract.schema.keys())
        if wrong := [
            f"{name} is {rows.schema[name]}" for name in rows.columns if rows.schema[name] != contract.schema[name]
        ]:
            raise CleanError(f"{contract.name} does not keep to its contract: {'; '.join(wrong)}")
        for column in contract.columns:
            if column.required and (nulls := rows[column.name].null_count()):
                raise CleanError(f"{contract.name}.{column.name} is required and null in {nulls} rows")
        # Many come in the order of their key, and looking is cheaper than sorting.
        if not _is_increasing(rows, contract.key):
            rows = rows.sort(contract.key, nulls_last=True)
            same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift(1)) for name in contract.key)
            # The row before the first one is nobody's, even where the key is null.
            if duplicates := int(rows.select(same.slice(1).sum()).item()):
                key = ", ".join(contract.key)
                raise CleanError(f"{contract.name} holds {duplicates} rows beyond one a key ({key})")
        self.ensure(contract)
        path = self.folder(contract) / f"{WHOLE}.parquet"
        with exclusive(self.folder(contract)):
            if path.exists():
                if _holds(path, rows):
                    return False
            elif rows.is_empty():
                return False
            write_parquet(rows, path)
        return True

    def day_expression(self, contract: Contract) -> pl.Expr:
        """Business day of a row's event time; null where the table has none."""
        if contract.event_time is None:
            return pl.lit(None, dtype=pl.Date)
        return (
            pl.col(contract.event_time)
            .dt.replace_time_zone("UTC")
            .dt.convert_time_zone(self.business_timezone)
            .dt.date()
        )

    def with_partition(self, contract: Contract, frame: pl.DataFrame) -> pl.DataFrame:
        """``frame`` with the number of the partition that each row belongs to, as ``_partition``."""
        match contract.partition:
            case Partition.EVENT_DATE:
                day = self.day_expression(contract)
                return frame.with_columns(day.to_physical().fill_null(_NO_DAY).alias(_PARTITION))
            case Partition.EVENT_MONTH:
                month = self.day_expression(contract).dt.month_start()
                return frame.with_columns(month.to_physical().fill_null(_NO_DAY).alias(_PARTITION))
            case Partition.BUCKET:
                # Polars' own hash may change with its version; this one is the same for ever.
                keys = frame[contract.bucket_key].unique()
                numbers = [zlib.crc32((key or "").encode()) % contract.buckets for key in keys.to_list()]
                named = pl.DataFrame({contract.bucket_key: keys, _PARTITION: pl.Series(numbers, dtype=pl.Int32)})
                return frame.join(named, on=contract.bucket_key, how="left", nulls_equal=True)
            case Partition.WHOLE:
                return frame.with_columns(pl.lit(0, dtype=pl.Int32).alias(_PARTITION))

    @staticmethod
    def partition_name(contract: Contract, number: int) -> str:
        """Name, without suffix, of the file that holds a partition."""
        match contract.partition:
            case Partition.EVENT_DATE | Partition.EVENT_MONTH:
                if number == _NO_DAY:
                    return UNDATED
                day = (date(1970, 1, 1) + timedelta(days=number)).isoformat()
                return day if contract.partition is Partition.EVENT_DATE else day[:7]
            case Partition.BUCKET:
                return f"bucket-{number:02d}"
            case Partition.WHOLE:
                return WHOLE

    def _layout(self, contract: Contract) -> str:
        match contract.partition:
            case Partition.EVENT_DATE | Partition.EVENT_MONTH:
                return f"{contract.partition} {contract.event_time} {self.business_timezone}"
            case Partition.BUCKET:
                return f"bucket {contract.bucket_key} {contract.buckets}"
            case Partition.WHOLE:
                return "whole"

    def _merged(self, contract: Contract | str) -> dict[str, Any]:
        name = contract if isinstance(contract, str) else contract.name
        path = self.root / name / MERGED
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"layout": None, "loads": {}, "sequence": 0, "days": {}}
        except ValueError as error:
            raise CleanError(
                f"{path} cannot be read ({error}); remove the folder {path.parent} to rebuild it"
            ) from error
        if not isinstance(contract, str) and record["layout"] not in (None, self._layout(contract)):
            raise CleanError(
                f"{name} is cut by '{record['layout']}' and not by '{self._layout(contract)}'; "
                f"remove the folder {path.parent}, the next refresh rebuilds it from the landing"
            )
        return record

    def _write_empty(self, contract: Contract) -> None:
        empty = self.folder(contract) / f"{EMPTY}.parquet"
        if not empty.exists() or pl.read_parquet_schema(empty) != contract.schema:
            write_parquet(pl.DataFrame(schema=contract.schema), empty)

    def _remove_leftovers(self, folder: Path) -> None:
        for path in folder.glob(f"*{TEMPORARY_SUFFIX}"):
            path.unlink()
        shutil.rmtree(folder / SPILL, ignore_errors=True)

    def _paths(self, contract: Contract) -> dict[str, Path]:
        return {path.stem: path for path in self.folder(contract).glob("*.parquet") if path.stem != EMPTY}

    def _read_partition(self, contract: Contract, path: Path | None) -> pl.DataFrame:
        if path is None:
            return pl.DataFrame(schema=contract.schema)
        rows = _read(path)
        if rows.schema == contract.schema:
            return rows
        return rows.match_to_schema(contract.schema, missing_columns="insert", extra_columns="ignore")

    def _prepare(self, contract: Contract, incoming: _Incoming, replaced: Collection[str]) -> tuple[_Tally, _Plan]:
        """Write the new content of every partition that changes under a temporary name."""
        paths = self._paths(contract)
        moved = self._moved(contract, incoming, paths, replaced)
        touched = incoming.partitions() | (set(paths) if replaced else set()) | moved.partitions
        tally, plan = _Tally(), _Plan()

        def prepare(name: str) -> _Compared:
            stored = self._read_partition(contract, paths.get(name))
            before, kept, new = stored, _without(stored, replaced), incoming.rows(name)
            if not moved.keys.is_empty():
                before, kept, new = (part.join(moved.keys, on=contract.key, how="anti") for part in (before, kept, new))
                before = pl.concat([before, moved.stored_for(name)])
            winners = moved.winners_for(name)
            parts = [part for part in (kept, new, winners) if part.height]
            after = _latest(contract, pl.concat(parts)) if parts else kept
            keys_in = after.height if kept.is_empty() else new.select(contract.key).n_unique() + winners.height
            return self._compare(contract, name, stored=stored, before=before, after=after, keys_in=keys_in)

        with ThreadPoolExecutor(_WORKERS) as pool:
            for compared in pool.map(prepare, sorted(touched)):
                tally.add(compared)
                plan.add(compared)
        return tally, plan

    def _compare(
        self,
        contract: Contract,
        name: str,
        *,
        stored: pl.DataFrame,
        before: pl.DataFrame,
        after: pl.DataFrame,
        keys_in: int,
    ) -> _Compared:
        """What becomes of a partition; its new file, if it gets one, is written under a temporary name.

        Args:
            contract: The table.
            name: The partition.
            stored: What its file holds.
            before: What the table holds of the keys in ``after``, which may lie in other partitions.
            after: What its file shall hold.
            keys_in: Keys that came in.
        """
        action = _Action.KEEP
        if not after.equals(stored):
            action = _Action.REMOVE if after.is_empty() else _Action.WRITE
        if action is _Action.WRITE:
            prepare_parquet(after, self.folder(contract) / f"{name}.parquet")
        changes, entities = self._changes(contract, before, after)
        return _Compared(name, action, changes, entities, keys_in)

    def _decide(
        self,
        contract: Contract,
        tally: _Tally,
        plan: _Plan,
        loads: Mapping[str, LoadMark],
        replaced: Collection[str],
    ) -> None:
        """Write down what was prepared, and do it."""
        if not (loads or plan.writes or plan.removals):
            return
        log = self._touched(contract)
        if log is not None and tally.entities:
            log.prepare(pl.concat(tally.entities), self.sequence(contract) + 1)
        pending = {
            "writes": plan.writes,
            "removals": plan.removals,
            "days": [day.isoformat() for day in sorted(tally.days)],
            "changed": bool(tally.partitions or tally.entities),
            "loads": {name: asdict(mark) for name, mark in loads.items()},
            "replaced": sorted(replaced),
        }
        write_json(pending, self.folder(contract) / PENDING)
        self._apply(contract, pending)

    def _touched(self, contract: Contract) -> TouchedLog | None:
        return TouchedLog(self.folder(contract)) if contract.entity_columns else None

    def _changes(
        self, contract: Contract, before: pl.DataFrame, after: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """What a reader sees change between two states of a partition.

        Returns:
            Rows inserted, updated and deleted by day before and after; and the entities (``source, entity``) of those
            rows before and after, for a contract that names them, with those whose lineage changed where it counts.
        """
        key = list(contract.key)
        day = self.day_expression(contract).alias("day")
        names = [pl.coalesce(contract.entity_columns).alias("entity")] if contract.entity_columns else []
        lineage = ["load_id", "load_row"] if contract.entity_keeps_lineage else []
        seen: list[str | pl.Expr] = ["row_hash", "is_deleted", day, *names, *lineage]
        new = after.lazy().select(*key, *seen)
        if before.is_empty():
            absent = new.select(pl.exclude(key)).collect_schema().items()
            pairs = new.with_columns(pl.lit(None, dtype=dtype).alias(f"{name}_before") for name, dtype in absent)
        else:
            pairs = new.join(before.lazy().select(*key, *seen), on=key, how="full", coalesce=True, suffix="_before")
        was = ~pl.col("is_deleted_before").fill_null(True)
        now = ~pl.col("is_deleted").fill_null(True)
        differs = pl.col("row_hash") != pl.col("row_hash_before")
        moved = [pl.col(name) != pl.col(f"{name}_before") for name in lineage]
        flags = pairs.select(
            day=pl.when(now).then("day"),
            day_before=pl.when(was).then("day_before"),
            inserted=now & ~was,
            updated=now & was & differs,
            deleted=was & ~now,
            moved=now & was & pl.any_horizontal(differs, *moved),
            **(
                {
                    "source": pl.col("source"),
                    "entity": pl.when(now).then("entity"),
                    "entity_before": pl.when(was).then("entity_before"),
                }
                if names
                else {}
            ),
        )
        touched = flags.filter(pl.any_horizontal("inserted", "deleted", "moved")).collect()
        entities = [
            touched.select("source", entity=name).drop_nulls("entity").unique()
            for name in ("entity", "entity_before")
            if names
        ]
        changed = touched.filter(pl.any_horizontal("inserted", "updated", "deleted"))
        counts = changed.group_by("day", "day_before").agg(pl.col("inserted", "updated", "deleted").sum())
        return counts, pl.concat(entities) if entities else pl.DataFrame()

    def _moved(
        self, contract: Contract, incoming: _Incoming, paths: Mapping[str, Path], replaced: Collection[str]
    ) -> _Moved:
        """Keys of which versions lie in more than one partition, with the version that wins."""
        by_key = contract.partition is Partition.BUCKET and contract.bucket_key in contract.key
        if by_key or contract.partition is Partition.WHOLE:
            return _Moved.none(contract)
        stray = incoming.stray_keys(paths, replaced)
        if stray.is_empty():
            return _Moved.none(contract)
        found = {
            name: self._read_partition(contract, path).join(stray, on=contract.key, how="semi")
            for name, path in paths.items()
        }
        stored = pl.concat([pl.DataFrame(schema=contract.schema), *found.values()])
        new = [incoming.rows(name).join(stray, on=contract.key, how="semi") for name in incoming.partitions()]
        versions = pl.concat([_without(stored, replaced), *new])
        winners = _latest(contract, versions)
        numbers = self.with_partition(contract, winners)[_PARTITION].to_list()
        names = [self.partition_name(contract, number) for number in numbers]
        winners = winners.with_columns(pl.Series(_PARTITION, names, dtype=pl.String))
        return _Moved(
            keys=stray,
            winners=winners,
            stored=stored.join(winners.select(*contract.key, _PARTITION), on=contract.key),
            partitions={name for name, rows in found.items() if rows.height} | set(winners[_PARTITION]),
        )

    def _recover(self, contract: Contract) -> set[date]:
        """Finish what a killed merge had decided; the days it touched, for whoever merges next."""
        path = self.folder(contract) / PENDING
        self._merged(contract)
        log = self._touched(contract)
        if not path.exists():
            if log is not None:
                log.ensure(self.sequence(contract))
                log.discard()
            return set()
        pending = json.loads(path.read_text(encoding="utf-8"))
        self._apply(contract, pending)
        return {date.fromisoformat(day) for day in pending["days"]}

    def _apply(self, contract: Contract, pending: Mapping[str, Any]) -> None:
        """Move prepared files into place and record the merge; may be repeated at any point."""
        folder = self.folder(contract)
        for name in pending["writes"]:
            path = folder / f"{name}.parquet"
            if temporary_path(path).exists():
                temporary_path(path).replace(path)
        for name in pending["removals"]:
            (folder / f"{name}.parquet").unlink(missing_ok=True)
        sync(folder)
        if (log := self._touched(contract)) is not None and pending["changed"]:
            log.apply()
        merged = self._merged(contract)
        sequence = merged["sequence"] + (1 if pending["changed"] else 0)
        loads = {name: mark for name, mark in merged["loads"].items() if mark["source"] not in pending["replaced"]}
        record = {
            "layout": self._layout(contract),
            "loads": loads | pending["loads"],
            "sequence": sequence,
            "days": merged["days"] | dict.fromkeys(pending["days"], sequence),
        }
        if record != merged:
            write_json(record, folder / MERGED)
        (folder / PENDING).unlink()
        sync(folder)


@dataclass(frozen=True)
class _Moved:
    """Keys with versions in several partitions.

    Attributes:
        keys: The keys.
        winners: The winning version of each, with its partition.
        stored: What the table held of them, with the partition of the winner.
        partitions: Where the table held them.
    """

    keys: pl.DataFrame
    winners: pl.DataFrame
    stored: pl.DataFrame
    partitions: set[str]

    @classmethod
    def none(cls, contract: Contract) -> _Moved:
        empty = pl.DataFrame(schema={**contract.schema, _PARTITION: pl.String()})
        return cls(empty.select(contract.key), empty, empty, set())

    def winners_for(self, partition: str) -> pl.DataFrame:
        return self.winners.filter(pl.col(_PARTITION) == partition).drop(_PARTITION)

    def stored_for(self, partition: str) -> pl.DataFrame:
        return self.stored.filter(pl.col(_PARTITION) == partition).drop(_PARTITION)


class _Incoming:
    """New rows, sorted by partition in runs as they stream in; beyond a limit the runs wait on disk."""

    def __init__(self, store: CleanStore, contract: Contract, spill: Path) -> None:
        self._store = store
        self._contract = contract
        self._spill = spill
        self._runs: list[pl.DataFrame | pl.LazyFrame] = []
        self._slices: dict[str, list[tuple[int, int, int]]] = {}
        self._keys: list[pl.DataFrame] = []
        self._homes: dict[str, int] = {}
        self._rows_held = 0

    def take(self, rows: Rows) -> None:
        for batch in _batches(rows.lazy().select(list(self._contract.schema)), self._contract):
            if batch.height:
                self._add_run(batch.rechunk())

    def partitions(self) -> set[str]:
        return set(self._slices)

    def rows(self, partition: str) -> pl.DataFrame:
        parts = [self._piece(*at) for at in self._slices.get(partition, [])]
        return pl.concat(parts) if parts else pl.DataFrame(schema=self._contract.schema)

    def _piece(self, run: int, offset: int, length: int) -> pl.DataFrame:
        piece = self._runs[run].slice(offset, length)
        return piece if isinstance(piece, pl.DataFrame) else piece.collect()

    def _add_run(self, rows: pl.DataFrame) -> None:
        """Sort rows by partition and remember where each partition lies.

        A run is small enough that sorting it stays within the processor's cache.
        """
        contract = self._contract
        run = self._store.with_partition(contract, rows)
        lengths = run[_PARTITION].value_counts().sort(_PARTITION).rows()
        if len(lengths) > 1:
            run = run.sort(_PARTITION)
        self._keys.append(run.select(_key_hash(contract), pl.col(_PARTITION).alias("home")))
        offset = 0
        for number, length in lengths:
            name = self._store.partition_name(contract, number)
            self._homes[name] = number
            self._slices.setdefault(name, []).append((len(self._runs), offset, length))
            offset += length
        self._runs.append(run.drop(_PARTITION))
        self._rows_held += run.height
        if self._rows_held > _MEMORY_ROWS:
            self._spill_held()

    def _spill_held(self) -> None:
        """Move the runs in memory to one run on disk, partition after partition."""
        self._spill.mkdir(exist_ok=True)
        number = len(self._runs)
        pieces: list[pl.DataFrame] = []
        offset = 0
        for name, slices in self._slices.items():
            held = [at for at in slices if isinstance(self._runs[at[0]], pl.DataFrame)]
            if not held:
                continue
            pieces += [self._piece(*at) for at in held]
            length = sum(at[2] for at in held)
            self._slices[name] = [at for at in slices if at not in held] + [(number, offset, length)]
            offset += length
        path = self._spill / f"run-{number}.arrow"
        pl.concat(pieces).write_ipc(path, compression="uncompressed", record_batch_size=_SPILL_BATCH_ROWS)
        nothing = pl.LazyFrame(schema=self._contract.schema)
        self._runs = [nothing if isinstance(run, pl.DataFrame) else run for run in self._runs]
        self._runs.append(pl.scan_ipc(path))
        self._rows_held = 0

    def stray_keys(self, paths: Mapping[str, Path], replaced: Collection[str]) -> pl.DataFrame:
        """Keys that came in and of which another partition, here or in the table, holds a version too.

        Works on a 64-bit hash of the key; a collision only makes a key be looked at that need not be.
        """
        contract = self._contract
        none = pl.DataFrame(schema={name: contract.schema[name] for name in contract.key})
        if not self._keys:
            return none
        homes = pl.concat(self._keys)
        # The home takes the low bits, so that one sort of plain numbers brings a key's homes side by side.
        low = np.uint64(0xFFFF)
        packed = homes["key"].to_numpy() & ~low | homes["home"].cast(pl.Int64).to_numpy().astype(np.uint64) & low
        packed.sort()
        several = (packed[1:] & ~low == packed[:-1] & ~low) & (packed[1:] != packed[:-1])
        strays = pl.DataFrame({"high": np.unique(packed[1:][several] & ~low)}, schema={"high": pl.UInt64})
        high = pl.col("key") & pl.lit(~low, dtype=pl.UInt64)
        found = [homes.join(strays, left_on=high, right_on="high", how="semi").select("key")]
        if paths:
            files = pl.DataFrame(
                {
                    "path": [str(path) for path in paths.values()],
                    "stored": pl.Series([self._homes.get(name) for name in paths], dtype=pl.Int32),
                }
            )
            rows = pl.scan_parquet(list(paths.values()), include_file_paths="path", glob=False)
            if replaced:
                rows = rows.filter(~pl.col("source").is_in(list(replaced)))
            rows = rows.select(_key_hash(contract), "path").join(homes.lazy(), on="key")
            rows = rows.join(files.lazy(), on="path").filter(pl.col("home").ne_missing(pl.col("stored")))
            found.append(rows.select("key").collect(engine="streaming"))
        hashes = pl.concat(found).unique()
        if hashes.is_empty():
            return none
        keys = [
            self.rows(name).select(*contract.key, _key_hash(contract)).join(hashes, on="key", how="semi")
            for name in self.partitions()
        ]
        return pl.concat(keys).select(contract.key).unique()

    def close(self) -> None:
        self._runs.clear()
        shutil.rmtree(self._spill, ignore_errors=True)


def _batches(rows: pl.LazyFrame, contract: Contract) -> Iterator[pl.DataFrame]:
    schema = rows.collect_schema()
    if schema != contract.schema:
        wrong = [f"{name} is {schema[name]}" for name in schema if schema[name] != contract.schema[name]]
        raise CleanError(f"rows for {contract.name} do not keep to its contract: {'; '.join(wrong)}")
    batches: Iterable[pl.DataFrame] = rows.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=False)
    yield from batches


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise CleanError(f"{path} cannot be read ({error}); remove the folder {path.parent} to rebuild it") from error


def _holds(path: Path, rows: pl.DataFrame) -> bool:
    """Whether a file holds just these rows; one with more or fewer need not be read."""
    if pl.read_parquet_schema(path) != rows.schema:
        return False
    height = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    return height == rows.height and _read(path).equals(rows)


def _key_hash(contract: Contract) -> pl.Expr:
    parts = [pl.col(name).hash(seed) for seed, name in enumerate(contract.key)]
    return reduce(operator.xor, parts).alias("key")


def _latest(contract: Contract, versions: pl.DataFrame) -> pl.DataFrame:
    """One row a key, in the order of the key. Only keys with several versions need to be compared."""
    repeated = versions.select(_key_hash(contract).is_duplicated()).to_series()
    # Sorting by the one column that differs is several times faster than by a constant and that column.
    key = [name for name in contract.key if versions[name].n_unique() > 1] or list(contract.key[-1:])
    if not repeated.any():
        return versions.sort(key)
    latest = latest_versions(contract, versions.filter(repeated).lazy()).select(contract.schema.keys()).collect()
    rows = pl.concat([versions, latest], rechunk=True)
    single = pl.concat([~repeated, pl.repeat(True, latest.height, dtype=pl.Boolean, eager=True)])
    return rows[rows.select(*key).with_row_index("row").filter(single).sort(key)["row"]]


def _is_increasing(rows: pl.DataFrame, key: Sequence[str]) -> bool:
    """Whether each row's key comes after the one before; never where a key has a null."""
    increases: pl.Expr = pl.lit(False)
    for name in reversed(key):
        now, before = pl.col(name).slice(1), pl.col(name).shift(1).slice(1)
        increases = (now > before) | ((now == before) & increases)
    without_null = not any(rows[name].null_count() for name in key)
    return without_null and bool(rows.select(increases.all()).item())


def _without(rows: pl.DataFrame, sources: Collection[str]) -> pl.DataFrame:
    return rows.filter(~pl.col("source").is_in(list(sources))) if sources else rows
