"""Identity assets: evidence, persons, the log of merges and splits, and the measured quality of all that."""

from collections.abc import Callable
from datetime import datetime

import dagster as dg

from orchestration.assets.clean import WRITER_POOL
from orchestration.assets.keys import IDENTITY_TABLES, OWNERS, clean_key
from orchestration.contracts import CONTRACTS, DERIVED
from orchestration.identity.run import measure_identity, refresh_identity
from orchestration.settings import Settings
from orchestration.warehouse.clean import CleanStore

MINIMUM_PRECISION = 0.95
"""Pairwise precision below which the night is blocked: joining two people is worse than missing a join."""
EXPECTED_RECALL = 0.80


def identity_assets(settings: Settings, clock: Callable[[], datetime]) -> dg.AssetsDefinition:
    """The identity tables, written in one step."""
    evidence_from = [clean_key(table.name) for table in CONTRACTS.values() if table.person_columns]

    @dg.multi_asset(
        name="identity",
        specs=[
            dg.AssetSpec(
                clean_key(table),
                deps=evidence_from,
                group_name="identity",
                owners=OWNERS["identity"],
                kinds={"polars", "parquet"},
                description=f"{DERIVED[table].grain}. {DERIVED[table].description}",
            )
            for table in IDENTITY_TABLES
        ],
        pool=WRITER_POOL,
    )
    def _identity(context: dg.AssetExecutionContext):
        store = CleanStore(settings.clean_dir, settings.business_timezone)
        result = refresh_identity(store, settings=settings, run_id=context.run_id, now=clock())
        for table in IDENTITY_TABLES:
            yield dg.MaterializeResult(asset_key=clean_key(table), metadata=result.metadata(table))

    return _identity


def identity_quality_check(settings: Settings) -> dg.AssetChecksDefinition:
    """The check of identity resolution on labelled records."""

    @dg.asset_check(
        asset=clean_key("person_record"),
        name="identity_quality",
        blocking=True,
        description=(
            "Precision, recall and B-cubed on labelled records: $EXPERIENCE_HOME/identity/labelled.parquet, or the "
            f"sample company's truth. Pairwise precision below {MINIMUM_PRECISION} blocks; recall below "
            f"{EXPECTED_RECALL} warns. Without labelled records it passes and says that nothing was measured."
        ),
    )
    def _quality() -> dg.AssetCheckResult:
        store = CleanStore(settings.clean_dir, settings.business_timezone)
        measured = measure_identity(store, settings=settings)
        if measured is None:
            return dg.AssetCheckResult(passed=True, metadata={"labelled records": 0, "measured": "nothing"})
        precise = measured["pair_precision"] >= MINIMUM_PRECISION
        return dg.AssetCheckResult(
            passed=precise and measured["pair_recall"] >= EXPECTED_RECALL,
            severity=dg.AssetCheckSeverity.WARN if precise else dg.AssetCheckSeverity.ERROR,
            metadata=dict(measured),
        )

    return _quality
