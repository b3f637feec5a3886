"""Replaying rejected rows: the loads that have any are normalised again, files that were mended are read again.

Belongs here: which loads and streams are due, and what came of it. Does not belong here: how a load is read or
normalised, and the lock (``commands.replay_rejects`` holds it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from orchestration.contracts import CONTRACTS
from orchestration.privacy.suppression import screen_of
from orchestration.settings import Settings
from orchestration.sources.config import QUESTIONS_STREAM, SURVEYS_STREAM, SourceConfig
from orchestration.sources.extract import extract
from orchestration.warehouse.control import Control
from orchestration.warehouse.quarantine import waiting
from orchestration.warehouse.refresh import refresh_table


@dataclass(frozen=True)
class Replayed:
    """What came of the rejected rows of one table of one source.

    Attributes:
        table: Table.
        source: Source.
        waited: Rejected rows before.
        remaining: Those that still wait.
        reasons: Field and reason to how many of them.
    """

    table: str
    source: str
    waited: int
    remaining: int
    reasons: Mapping[str, int]


def replay_rejects(
    sources: Mapping[str, SourceConfig],
    *,
    settings: Settings,
    run_id: str,
    now: datetime,
    table: str | None = None,
    source: str | None = None,
) -> list[Replayed]:
    """Bring back what can be read now.

    Args:
        sources: Configured sources, by name.
        settings: Where everything lies.
        run_id: Run on whose behalf.
        now: Time of an extraction.
        table: Only this table.
        source: Only this source.

    Returns:
        One entry for each table of each source that had rejected rows, in order.

    Raises:
        SourceError: a file cannot be read again.
        RefreshError: a load cannot be normalised again.
    """
    before = waiting(settings, table=table, source=source).filter(pl.col("source").is_in(list(sources)))
    control = Control(settings.control_dir)
    # A mended file, and mended declarations: what answers mean travels as data.
    streams = set(before.filter(pl.col("source_file").is_not_null()).select("source", "stream").rows())
    streams |= {(name, stream) for name in set(before["source"]) for stream in (SURVEYS_STREAM, QUESTIONS_STREAM)}
    affected = set(before["target_table"])
    for name, stream in sorted(streams):
        if stream in sources[name].streams:
            screen = screen_of(settings, sources[name], stream)
            record = extract(sources[name], stream, settings=settings, run_id=run_id, now=now, screen=screen)
            control.record_load(record)
            affected |= set(sources[name].streams[stream].tables)
    loads = set(before["load_id"])
    for contract in CONTRACTS.values():
        if contract.name in affected:
            refresh_table(contract, sources, settings=settings, run_id=run_id, replay=loads)
    after = waiting(settings, table=table, source=source)
    replayed = []
    for name, of in sorted(before.select("target_table", "source").unique().rows()):
        was, still = (_rows(frame, name, of) for frame in (before, after))
        counts = still.group_by("field", "reason").len().sort("len", "field", "reason", descending=[True, False, False])
        reasons = {f"{field}: {reason}": number for field, reason, number in counts.rows()}
        replayed.append(Replayed(name, of, _count(was), _count(still), reasons))
    return replayed


def _rows(frame: pl.DataFrame, table: str, source: str) -> pl.DataFrame:
    return frame.filter((pl.col("target_table") == table) & (pl.col("source") == source))


def _count(frame: pl.DataFrame) -> int:
    """Rows, of which one may have failed in several fields."""
    return frame.select("load_id", "load_row").n_unique()
