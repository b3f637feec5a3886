"""Erasure assets: requests are honoured before anything is extracted, and finished behind publishing."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import dagster as dg

from orchestration.assets.clean import WRITER_POOL as CLEAN_POOL
from orchestration.assets.dbt import WRITER_POOL as DUCKDB_POOL
from orchestration.assets.dbt import rewriting_files
from orchestration.assets.keys import COMPACTION, ERASURE, ERASURE_DONE, OWNERS, PUBLISHED
from orchestration.privacy import erase
from orchestration.privacy.bytes_search import Places
from orchestration.settings import Settings
from orchestration.sources.config import SourceConfig


def privacy_assets(
    sources: Mapping[str, SourceConfig],
    marts: Sequence[dg.AssetKey],
    settings: Settings,
    clock: Callable[[], datetime],
) -> list[dg.AssetsDefinition]:
    """What a night does for requests for erasure; nothing, and in no time, where there are none.

    Args:
        sources: Sources by name.
        marts: What is to be published, and the gate in front of it.
        settings: Where everything lies.
        clock: Gives the time of an audit row.
    """
    searched: erase.SearchedFor = {}
    known = Places()

    @dg.asset(
        key=ERASURE,
        group_name="privacy",
        owners=OWNERS["privacy"],
        pool=CLEAN_POOL,
        description=(
            "Persons whom the request table asks for, put on the suppression list and taken out of landing, clean "
            "tables, identity and quarantine."
        ),
    )
    def _erase(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        begun = erase.begin(settings, sources, searched)
        for fault in begun.refused:
            context.log.warning("%s", fault)
        return dg.MaterializeResult(
            metadata={
                "requests": dg.MetadataValue.json(list(begun.request_ids)),
                "refused": len(begun.refused),
                **(begun.counts or {}),
            }
        )

    @dg.asset(
        key=COMPACTION,
        deps=list(marts),
        group_name="privacy",
        owners=OWNERS["privacy"],
        pool=DUCKDB_POOL,
        description="dbt's two files without what their bytes still hold of a person who is being erased.",
    )
    def _compact() -> dg.MaterializeResult:
        with rewriting_files(settings):
            done = erase.compact(settings, known)
        return dg.MaterializeResult(metadata={"compacted": done})

    @dg.asset(
        key=ERASURE_DONE,
        deps=[PUBLISHED],
        group_name="privacy",
        owners=OWNERS["privacy"],
        pool=DUCKDB_POOL,
        description=(
            "Requests that are done: earlier releases removed, logs masked, every file searched, an audit row in "
            "control.erasure."
        ),
    )
    def _finish(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        rows = erase.finish(settings, sources, run_id=context.run_id, now=clock(), searched=searched, known=known)
        searched.clear()
        known.clear()
        return dg.MaterializeResult(metadata={"requests": dg.MetadataValue.json(rows)})

    return [_erase, _compact, _finish]
