"""Which version of a row counts, where a source delivered several.

The rule is a maximum over a total order, so it does not matter in which order, how often and in which groups loads
are merged: ``latest(latest(a + b) + c) == latest(a + latest(b + c))``, and merging a load twice changes nothing. For
the same reason identical content delivered again is not thrown away by comparing it with what is stored: the later
delivery wins and brings its ``extracted_at`` and ``load_id``, because a third version that arrives out of order must
meet the same opponent whatever was merged before. Whether content changed is told by ``row_hash``.

Partition by key: all versions of a key must be in the frame. Does not belong here: rows that are different records of
one person (``identity``).
"""

from __future__ import annotations

import polars as pl

from orchestration.contracts import Contract

VERSION_ORDER = ("updated_at", "extracted_at", "load_id", "load_row", "row_hash")
"""The later version is the greater one in these columns, null before everything.

A deletion that the source did not date has the time of its extraction as ``updated_at`` where the table has one
(``table.normalise`` sees to it). ``row_hash`` only decides where one row of a load gave two rows of one key.
"""


def latest_versions(contract: Contract, rows: pl.LazyFrame) -> pl.LazyFrame:
    """One row a key: the latest version, with the earliest ``first_extracted_at`` of all versions.

    Args:
        contract: Contract of the rows; its ``key`` tells rows apart.
        rows: Rows with ``contract.schema``, several versions of a key in any order.

    Returns:
        The rows that count, in the columns of ``contract``; their order is not defined.
    """
    key = list(contract.key)
    numbered = rows.select(list(contract.schema)).with_columns(__versions=pl.len().over(key))
    single = numbered.filter(pl.col("__versions") == 1)
    several = (
        numbered.filter(pl.col("__versions") > 1)
        .with_columns(pl.col("first_extracted_at").min().over(key))
        .sort(VERSION_ORDER, nulls_last=False)
        .unique(key, keep="last", maintain_order=False)
    )
    return pl.concat([single, several]).drop("__versions")


def contradicting_versions(contract: Contract, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of one load that another row of it contradicts: same key and ``updated_at``, other content.

    Nothing in such rows says which of them counts. ``latest_versions`` keeps the last; the others are given here, so
    that they can be reported.

    Args:
        contract: Contract of the rows.
        rows: Rows of one load, with ``contract.schema``.

    Returns:
        ``source_id`` and ``load_row`` of the rows that do not count; their order is not defined.
    """
    same = [*contract.key, "updated_at"]
    return (
        rows.filter(~pl.col("is_deleted").fill_null(value=False))
        .select(*same, "load_row", "row_hash")
        .filter(pl.struct(same).is_duplicated())
        .with_columns(
            is_other=pl.col("row_hash") != pl.col("row_hash").sort_by("load_row", "row_hash").last().over(same)
        )
        .filter(pl.col("is_other"))
        .select("source_id", "load_row")
    )
