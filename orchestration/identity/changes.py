"""What became of persons from one night to the next: the log of merges and splits.

Does not belong here: how persons are made.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from orchestration.contracts import DERIVED
from orchestration.identity.evidence import NODE

MERGE, SPLIT, REMOVED = "merge", "split", "removed"


def changes(before: pl.DataFrame, after: pl.DataFrame, run_id: str, now: datetime) -> pl.DataFrame:
    """Records whose person is another one than before.

    ``merge``: all records that the old person still has went together to a person who had records of others before.
    ``split``: the old person's records went different ways, or the record that gave the person its id is gone.
    ``removed``: the record is gone. New records are no change.

    Args:
        before: ``person_record`` of the night before.
        after: ``person_record`` now.
        run_id: The run.
        now: When, UTC.

    Returns:
        Rows of ``person_change``.
    """
    key = list(NODE)
    # Of a person whose records all stayed, nothing has to be said.
    gone = before.join(after, on=[*key, "person_id"], how="anti")
    still = after.join(gone, on=key, how="semi")
    moved = gone.select(*key, from_person_id="person_id").join(
        still.select(*key, to_person_id="person_id"), on=key, how="left"
    )
    asked = pl.concat([moved["from_person_id"], moved["to_person_id"]]).drop_nulls().unique()
    theirs = before.filter(pl.col("person_id").is_in(asked.implode()))
    # Records that stayed with a person: one way to go, and one origin, beyond those of the records that moved.
    stayed = theirs.join(gone, on=key, how="anti").select("person_id").unique().with_columns(stayed=pl.lit(1))
    ways, origins = (
        moved.group_by(person)
        .agg(moved=pl.col(other).drop_nulls().n_unique())
        .join(stayed, left_on=person, right_on="person_id", how="left")
        .select(person, (pl.col("moved") + pl.col("stayed").fill_null(0)).alias(name))
        for name, person, other in (
            ("ways", "from_person_id", "to_person_id"),
            ("origins", "to_person_id", "from_person_id"),
        )
    )
    is_merge = (pl.col("ways") == 1) & (pl.col("origins") > 1)
    kind = (
        pl.when(pl.col("to_person_id").is_null())
        .then(pl.lit(REMOVED))
        .when(is_merge)
        .then(pl.lit(MERGE))
        .otherwise(pl.lit(SPLIT))
    )
    contract = DERIVED["person_change"]
    return (
        moved.join(ways, on="from_person_id", how="left")
        .join(origins, on="to_person_id", how="left")
        .with_columns(
            run_id=pl.lit(run_id),
            changed_at=pl.lit(now).dt.replace_time_zone(None).dt.cast_time_unit("us"),
            change_kind=kind,
        )
        .select(contract.schema.keys())
        .sort(contract.key)
    )
