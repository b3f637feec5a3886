"""Which keys were landed before and are gone now: the key scan, with its guard.

Does not belong here: how the keys of a source are read.
"""

from __future__ import annotations

import polars as pl

from orchestration.sources.errors import SourceError
from orchestration.sources.kinds import ReadRequest


def landed_keys(request: ReadRequest) -> pl.DataFrame:
    """Each key ever landed, with ``_deleted`` as of its latest load.

    Returns:
        The key's columns and those of the record's own date as text, and ``_deleted`` (Boolean); one row a key.
    """
    key, dates = key_columns(request), _date_columns(request)
    loads = [
        request.landing.scan(manifest).select(
            *key,
            *(name for name in dates if name in manifest.columns),
            "_deleted",
            pl.lit(position).alias("_load"),
            "_load_row",
        )
        for position, manifest in enumerate(request.history)
        if set(key) <= set(manifest.columns)
    ]
    if not loads:
        return pl.DataFrame(schema={**dict.fromkeys([*key, *dates], pl.String()), "_deleted": pl.Boolean()})
    found = pl.concat(loads, how="diagonal")
    known = [name for name in dates if name in found.collect_schema()]
    return (
        found.group_by(key)
        .agg(pl.col(*known, "_deleted").sort_by("_load", "_load_row").last())
        .collect(engine="streaming")
    )


def vanished_rows(
    request: ReadRequest,
    present: pl.DataFrame,
    *,
    max_share: float,
    may_be_empty: bool = False,
    landed: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Rows that say ``_deleted`` for keys landed alive and not in ``present``.

    Each carries the date (``updated_at``) that the record had when it was last seen: dated by the scan, it would be
    newer than the record itself, should it come back unchanged.

    Args:
        request: The load.
        present: All keys the source has now, as text and as they are landed.
        max_share: Share of the live keys that may vanish at once.
        may_be_empty: Whether an answer without any key is believed.
        landed: What ``landed_keys`` gave, if it is known.

    Raises:
        SourceError: no key at all, or too many vanished; nothing is deleted.
    """
    key = key_columns(request)
    live = (landed_keys(request) if landed is None else landed).filter(~pl.col("_deleted")).drop("_deleted")
    gone = live.join(present, on=key, how="anti", nulls_equal=True)
    if live.height and present.is_empty() and not may_be_empty:
        raise SourceError(
            f"{request.name}: the key scan found no key where {live.height} records are alive; nothing was deleted. "
            "Look whether the table was emptied or the filter is wrong; if all are gone on purpose, remove the "
            "stream's landing and load anew"
        )
    if live.height and gone.height / live.height > max_share:
        raise SourceError(
            f"{request.name}: the key scan misses {gone.height} of {live.height} records "
            f"({gone.height / live.height:.1%}), more than max_vanish_share = {max_share:g}; nothing was deleted. If "
            "they are gone on purpose, raise deletes.max_vanish_share for one night"
        )
    return gone.with_columns(pl.lit(True).alias("_deleted"))


def key_columns(request: ReadRequest) -> list[str]:
    """Source fields of the stream's key."""
    key = request.config.primary_key
    if not isinstance(key, list):
        raise SourceError(f"{request.name}: a key scan needs primary_key as a list of fields")
    return key


def _date_columns(request: ReadRequest) -> list[str]:
    """Source fields that say when a record was last changed, without those of the key."""
    mapped = [table.fields["updated_at"] for table in request.config.tables.values() if "updated_at" in table.fields]
    fields = dict.fromkeys(name for entry in mapped for name in entry.source_fields)
    return [name for name in fields if name not in key_columns(request)]
