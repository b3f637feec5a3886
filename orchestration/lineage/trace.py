"""From clean rows to the landed part, the source file and the row in it.

Does not belong here: which rows (``explain``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from pathlib import Path

import duckdb
import polars as pl

from orchestration.contracts import CONTRACTS
from orchestration.lineage.sql import literal
from orchestration.sources.landing import MANIFEST, Landing, LandingError, Manifest

LANDED_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "load_id": pl.String(),
    "load_row": pl.Int64(),
    "stream": pl.String(),
    "run_id": pl.String(),
    "part": pl.String(),
    "source_file": pl.String(),
    "source_row": pl.Int64(),
}


@dataclass(frozen=True)
class Load:
    """One load behind a number.

    Attributes:
        load_id: The load.
        source: Its source.
        stream: Its stream; None where the landing does not hold the load any more.
        run_id: Run that landed it.
        kind: ``full``, ``incremental``, ``files``, ``declared`` or ``backfill``.
        extracted_at: When it was read.
        folder: Where it lies in the landing.
        rows: Rows of it that are behind the number.
        files: Source file to the SHA-256 that it had when it was read; only files that rows came from.
    """

    load_id: str
    source: str
    stream: str | None
    run_id: str | None
    kind: str | None
    extracted_at: datetime | None
    folder: str | None
    rows: int
    files: dict[str, str]


def versions(connection: duckdb.DuckDBPyConnection, clean_dir: Path, records: pl.DataFrame) -> pl.DataFrame:
    """``records`` with ``load_id`` and ``load_row`` of their clean rows where they do not say them.

    Args:
        connection: Where to work.
        clean_dir: Root of the clean layer.
        records: With ``record_table``, ``source``, ``source_id``; perhaps with ``load_id`` and ``load_row``.
    """
    for name, kind in (("load_id", pl.String()), ("load_row", pl.Int64())):
        if name not in records.columns:
            records = records.with_columns(pl.lit(None, kind).alias(name))
    wanted = records.filter(pl.col("load_id").is_null()).select("record_table", "source", "source_id").unique()
    found = []
    for (table,), keys in wanted.group_by("record_table"):
        if table not in CONTRACTS:
            continue
        connection.register("wanted", keys)
        files = literal(f"{clean_dir}/{table}/*.parquet")
        found.append(
            connection.execute(
                f"SELECT wanted.*, clean.load_id AS found_load_id, clean.load_row AS found_load_row FROM wanted JOIN "
                f"read_parquet({files}, hive_partitioning = false) AS clean USING (source, source_id)"
            ).pl()
        )
        connection.unregister("wanted")
    if not found:
        return records
    joined = records.join(pl.concat(found), on=["record_table", "source", "source_id"], how="left")
    return joined.with_columns(
        load_id=pl.coalesce("load_id", "found_load_id"), load_row=pl.coalesce("load_row", "found_load_row")
    ).drop("found_load_id", "found_load_row")


def landed(landing_dir: Path, records: pl.DataFrame) -> tuple[pl.DataFrame, list[Load], list[str]]:
    """Where each version came from.

    Args:
        landing_dir: Root of the landing.
        records: With ``source``, ``load_id`` and ``load_row``.

    Returns:
        One row with ``LANDED_SCHEMA`` for each version, the loads in order, and what could not be found, as sentences.
    """
    wanted = records.select("source", "load_id", "load_row").drop_nulls().unique()
    frames, loads, problems = [], [], []
    landing = Landing(landing_dir)
    for (source, load_id), rows in sorted(wanted.group_by("source", "load_id"), key=lambda group: group[0]):
        try:
            manifest = _manifest(landing_dir, str(source), str(load_id))
            frame = _landed_rows(landing, manifest, rows["load_row"])
        except LandingError as error:
            problems.append(str(error))
            loads.append(Load(str(load_id), str(source), None, None, None, None, None, rows.height, {}))
            continue
        if manifest.removed_at is not None:
            problems.append(
                f"retention removed the rows of load {load_id} of {source}.{manifest.stream} on "
                f"{manifest.removed_at:%Y-%m-%d}: the file and the row that they came from cannot be named"
            )
        frames.append(frame)
        stamps = {stamp.path: stamp.sha256 for stamp in manifest.files}
        read = frame["source_file"].drop_nulls().unique().sort().to_list()
        loads.append(
            Load(
                manifest.load_id,
                manifest.source,
                manifest.stream,
                manifest.run_id,
                manifest.kind,
                manifest.extracted_at,
                str(manifest.folder),
                rows.height,
                {name: stamps[name] for name in read if name in stamps},
            )
        )
    return pl.concat([pl.DataFrame(schema=LANDED_SCHEMA), *frames]), loads, problems


def _manifest(landing_dir: Path, source: str, load_id: str) -> Manifest:
    found = sorted((landing_dir / source).glob(f"*/load_date=*/load_id={load_id}/{MANIFEST}"))
    if not found:
        raise LandingError(
            f"the landing below {landing_dir / source} holds no load {load_id} any more: the file and the row that it "
            "came from cannot be named; restore it from a backup"
        )
    return Manifest.read(found[0])


def _landed_rows(landing: Landing, manifest: Manifest, load_rows: pl.Series) -> pl.DataFrame:
    if manifest.removed_at is not None:
        return pl.DataFrame(schema=LANDED_SCHEMA)
    ends = list(accumulate(part.rows for part in manifest.parts))
    names = [part.name for part in manifest.parts]
    part = pl.lit(None, pl.String)
    for end, name in reversed(list(zip(ends, names, strict=True))):
        part = pl.when(pl.col("load_row") < end).then(pl.lit(name)).otherwise(part)
    return (
        landing.scan(manifest)
        .filter(pl.col("_load_row").is_in(load_rows.implode()))
        .select(
            source=pl.lit(manifest.source),
            load_id=pl.lit(manifest.load_id),
            load_row=pl.col("_load_row"),
            stream=pl.lit(manifest.stream),
            run_id=pl.lit(manifest.run_id),
            source_file="_file",
            source_row="_row",
        )
        .with_columns(part=part)
        .select(list(LANDED_SCHEMA))
        .collect()
    )
