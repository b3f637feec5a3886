"""Which entities of a clean table changed, and at which of its changes: what derived tables have to make anew.

Belongs here: the two files below. Does not belong here: finding out what changed (``warehouse.clean``) and what is made
anew from it (the dbt models that read these files).

::

    clean/<table>/touched/entity.parquet   key, sequence: an entity and the number of the last change that touched it
    clean/<table>/touched/change.parquet   sequence, token, probe: the changes that entity.parquet is complete for

An entity is named by a hash and not by its value, so that a person who was erased is not kept here. Who builds on the
table remembers the last ``sequence`` with its ``token``. Is that row still in ``change.parquet``, then entities with a
higher sequence are all that changed since; is it not (the table was made anew, restored from elsewhere, or its old
entries were dropped), everything has to be built anew. ``probe`` is the hash of a fixed text as source and entity:
where DuckDB gives another one, its hashes have changed.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import duckdb
import polars as pl

from orchestration.warehouse.files import prepare_parquet, sync, temporary_path, write_parquet

FOLDER = "touched"
PROBE = "probe"
ENTITY_SCHEMA = {"key": pl.UInt64(), "sequence": pl.Int64()}
CHANGE_SCHEMA = {"sequence": pl.Int64(), "token": pl.String(), "probe": pl.UInt64()}


class TouchedLog:
    """The touched entities of one table.

    Args:
        folder: Folder of the table.
    """

    def __init__(self, folder: Path) -> None:
        self._entity = folder / FOLDER / "entity.parquet"
        self._change = folder / FOLDER / "change.parquet"

    def ensure(self, sequence: int) -> None:
        """Begin the log at change number ``sequence``, where there is none."""
        if self.exists():
            return
        write_parquet(pl.DataFrame(schema=ENTITY_SCHEMA), self._entity)
        write_parquet(_change(sequence), self._change)

    def exists(self) -> bool:
        """Whether the log was begun."""
        return self._change.exists()

    def read(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Entities (``key, sequence``) and changes (``sequence, token, probe``)."""
        return pl.read_parquet(self._entity, glob=False), pl.read_parquet(self._change, glob=False)

    def prepare(self, entities: pl.DataFrame, sequence: int) -> None:
        """Write the log with one more change under temporary names.

        Args:
            entities: Columns ``source`` and ``entity`` (text) of what changed, with any repetition.
            sequence: Number of the change.
        """
        before, changes = self.read()
        touched = _keys(entities).with_columns(sequence=pl.lit(sequence, dtype=pl.Int64))
        rows = pl.concat([before.join(touched, on="key", how="anti"), touched]).sort("key")
        prepare_parquet(rows, self._entity)
        prepare_parquet(pl.concat([changes.filter(pl.col("sequence") < sequence), _change(sequence)]), self._change)

    def apply(self) -> None:
        """Move prepared files into place; may be repeated at any point."""
        for path in (self._entity, self._change):
            if temporary_path(path).exists():
                temporary_path(path).replace(path)
        sync(self._change.parent)

    def discard(self) -> None:
        """Remove files that were prepared by somebody who was killed before deciding."""
        for path in (self._entity, self._change):
            if temporary_path(path).exists():
                temporary_path(path).unlink()

    def forget(self, sequence: int) -> None:
        """Drop what nobody needs who has seen change number ``sequence``."""
        entities, changes = self.read()
        if not changes.filter(pl.col("sequence") < sequence).height:
            return
        # The changes go first: killed in between, what is left says less than the entities hold, never more.
        write_parquet(changes.filter(pl.col("sequence") >= sequence), self._change)
        write_parquet(entities.filter(pl.col("sequence") > sequence), self._entity)


def _keys(entities: pl.DataFrame) -> pl.DataFrame:
    """Hashes, by DuckDB as the models compute them, one row an entity."""
    pairs = entities.select("source", "entity").unique()
    with duckdb.connect() as connection:
        connection.register("pairs", pairs)
        return connection.sql("SELECT DISTINCT hash(source, entity) AS key FROM pairs").pl()


def _change(sequence: int) -> pl.DataFrame:
    with duckdb.connect() as connection:
        probe = connection.execute("SELECT hash(?, ?)", [PROBE, PROBE]).fetchall()[0][0]
    row = {"sequence": [sequence], "token": [secrets.token_hex(8)], "probe": [probe]}
    return pl.DataFrame(row, schema=CHANGE_SCHEMA)
