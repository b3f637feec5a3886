"""Rows that a file no longer holds when it is delivered again: ``deletes: {strategy: replaced_file}``.

They are landed once more as they were, marked ``_deleted``, unless another file of the stream has their key. Does not
belong here: which files changed (``files``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from orchestration.sources.errors import SourceError
from orchestration.sources.kinds import Batch, ReadRequest
from orchestration.sources.landing import META_SCHEMA, FileStamp, Manifest
from orchestration.sources.pii import protect

_HASH = "_key_hash"


class Replaced:
    """Keys of the files of one load, held against what earlier loads brought of them.

    Args:
        request: The load.
    """

    def __init__(self, request: ReadRequest) -> None:
        key = request.config.primary_key
        self._request = request
        self._key = ["_file", "_row"] if key == "position" else list(key or [])
        self._present: list[pl.Series] = []

    def note(self, rows: pl.DataFrame) -> None:
        """Remember the keys of rows of this load; eight bytes a row."""
        if rows.height:
            request = self._request
            keys = rows.select(name for name in self._key if name in rows.columns)
            kept = protect(keys, request.config.pii_actions(), request.settings.hmac_key, request.name)
            self._present.append(kept.select(self._hash(kept.columns)).to_series())

    def batches(self, files: Sequence[FileStamp]) -> Iterator[Batch]:
        """The rows that files delivered again have lost.

        Args:
            files: Files of this load.

        Raises:
            SourceError: a file lost more of its rows than ``max_vanish_share`` allows.
        """
        before = self._latest({stamp.path for stamp in files})
        if not before:
            return
        present = pl.concat(self._present) if self._present else pl.Series(_HASH, [], dtype=pl.UInt64)
        present = present.unique()
        rows_now = {stamp.path: stamp.rows for stamp in files}
        for manifest, names in before:
            landed = self._rows_of(manifest, names)
            gone = landed.filter(~pl.col(_HASH).is_in(present.implode())).collect(engine="streaming")
            if gone.is_empty():
                continue
            elsewhere = self._elsewhere(gone[_HASH], {stamp.path for stamp in files})
            gone = gone.filter(~pl.col(_HASH).is_in(elsewhere.implode()))
            counts = dict(landed.group_by("_file").len().collect().iter_rows())
            for name, lost in gone.group_by("_file").len().sort("_file").iter_rows():
                self._guard(str(name), int(lost), counts[name], rows_now[str(name)])
            if gone.height:
                yield Batch(gone.drop(_HASH, "_load_row").with_columns(pl.lit(True).alias("_deleted")), is_final=True)

    def _guard(self, name: str, lost: int, before: int, now: int) -> None:
        share = self._request.config.deletes.max_vanish_share
        if (before - now) / before > share:
            raise SourceError(
                f"{self._request.name}: file {name} came again with {now} rows where {before} were landed, {lost} of "
                f"them are gone: more than max_vanish_share = {share:g}; nothing was loaded. Deliver the whole file; "
                "if it is right, raise deletes.max_vanish_share for one night"
            )

    def _latest(self, names: set[str]) -> list[tuple[Manifest, list[str]]]:
        """The last load of each of these files, with its files."""
        last: dict[str, Manifest] = {}
        for manifest in self._request.history:
            last.update({stamp.path: manifest for stamp in manifest.files if stamp.path in names})
        loads = {manifest.load_id: manifest for manifest in last.values() if manifest.removed_at is None}
        return [
            (manifest, [name for name, load in last.items() if load.load_id == load_id])
            for load_id, manifest in loads.items()
        ]

    def _rows_of(self, manifest: Manifest, names: Sequence[str]) -> pl.LazyFrame:
        """Rows that are alive of files as a load brought them, with the hash of their key."""
        rows = self._request.landing.scan(manifest).filter(pl.col("_file").is_in(names) & ~pl.col("_deleted"))
        return rows.with_columns(self._hash([*manifest.columns, *META_SCHEMA]))

    def _elsewhere(self, wanted: pl.Series, changed: set[str]) -> pl.Series:
        """Of these keys those that another file, as it was landed last, holds."""
        others = {stamp.path for load in self._request.history for stamp in load.files} - changed
        found = [
            self._rows_of(manifest, names)
            .select(_HASH)
            .filter(pl.col(_HASH).is_in(wanted.implode()))
            .collect(engine="streaming")
            .to_series()
            for manifest, names in self._latest(others)
        ]
        return pl.concat(found) if found else pl.Series(_HASH, [], dtype=pl.UInt64)

    def _hash(self, columns: Sequence[str]) -> pl.Expr:
        parts = [
            (pl.col(name).cast(pl.String) if name in columns else pl.lit(None, pl.String)).alias(name)
            for name in self._key
        ]
        return pl.struct(parts).hash(seed=11).alias(_HASH)


__all__ = ["Replaced"]
