"""Rejected rows that still wait to be mended, and those that a later load settled.

A row is settled where its file was delivered again since, or where the clean table holds its key from a later load:
what it said has come in, or was taken back. Does not belong here: why a row is rejected (``normalize``,
``warehouse.refresh``) and replaying (``assets.replay``).
"""

from __future__ import annotations

import polars as pl

from orchestration.contracts import CONTRACTS
from orchestration.settings import Settings
from orchestration.sources.landing import Landing
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.control import Control

SETTLED = "settled_by"


def rejected(settings: Settings) -> pl.DataFrame:
    """Every row of the quarantine, with the later load that settled it as ``settled_by``; null where it waits."""
    rows = Control(settings.control_dir).scan("quarantine").collect()
    again = [
        _delivered_again(rows, Landing(settings.landing_dir)),
        _key_came(rows, CleanStore(settings.clean_dir, settings.business_timezone)),
    ]
    key = ["target_table", "load_id", "load_row", "field"]
    settled = pl.concat(again).group_by(key).agg(pl.col(SETTLED).min())
    return rows.join(settled, on=key, how="left", nulls_equal=True)


def waiting(settings: Settings, *, table: str | None = None, source: str | None = None) -> pl.DataFrame:
    """Rows that nothing settled, of one table or source if asked for."""
    rows = rejected(settings).filter(pl.col(SETTLED).is_null())
    for column, value in (("target_table", table), ("source", source)):
        if value is not None:
            rows = rows.filter(pl.col(column) == value)
    return rows


_KEY = ("target_table", "load_id", "load_row", "field")


def _delivered_again(rows: pl.DataFrame, landing: Landing) -> pl.DataFrame:
    """The load that brought a row's file again."""
    schema = {"source": pl.String, "stream": pl.String, "source_file": pl.String, "later": pl.String}
    streams = rows.filter(pl.col("source_file").is_not_null()).select("source", "stream").unique().rows()
    files = pl.DataFrame(
        [
            (source, stream, file.path, manifest.load_id)
            for source, stream in streams
            for manifest in landing.manifests(source, stream)
            for file in manifest.files
        ],
        schema=schema,
        orient="row",
    )
    later = rows.join(files, on=["source", "stream", "source_file"]).filter(pl.col("later") > pl.col("load_id"))
    return later.select(*_KEY, pl.col("later").alias(SETTLED))


def _key_came(rows: pl.DataFrame, store: CleanStore) -> pl.DataFrame:
    """The load from which the clean table holds a row's key."""
    found = [pl.DataFrame(schema={**{name: rows.schema[name] for name in _KEY}, SETTLED: pl.String})]
    for (table,), group in rows.filter(pl.col("source_id").is_not_null()).group_by("target_table"):
        if table not in CONTRACTS:
            continue
        wanted = group.select("source", "source_id").unique().lazy()
        clean = store.scan(CONTRACTS[str(table)], include_deleted=True).select(
            "source", "source_id", pl.col("load_id").alias(SETTLED)
        )
        came = clean.join(wanted, on=["source", "source_id"], how="semi").collect()
        later = group.join(came, on=["source", "source_id"]).filter(pl.col(SETTLED) > pl.col("load_id"))
        found.append(later.select(*_KEY, SETTLED))
    return pl.concat(found)
