"""Clean assets: one a contract, typed and deduplicated, and the quality flags of responses.

Every contract has its table, also where no source fills it yet, so that dbt always finds it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg

from orchestration.assets.keys import OWNERS, clean_key, landing_key
from orchestration.contracts import CONTRACTS, DERIVED, Contract
from orchestration.normalize.response_quality import flag_responses
from orchestration.settings import Settings
from orchestration.sources.config import SourceConfig
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.refresh import refresh_table

WRITER_POOL = "clean_writer"


def clean_assets(sources: Mapping[str, SourceConfig], settings: Settings) -> list[dg.AssetsDefinition]:
    """One asset for each contract, fed by the streams that fill it, and ``response_quality``."""
    assets = [_table_asset(contract, sources, settings) for contract in CONTRACTS.values()]
    return [*assets, _response_quality(settings)]


def _table_asset(contract: Contract, sources: Mapping[str, SourceConfig], settings: Settings) -> dg.AssetsDefinition:
    streams = [
        landing_key(source.source, name)
        for source in sources.values()
        for name, stream in source.streams.items()
        if contract.name in stream.tables
    ]
    # Answers are held against the declared questions.
    deps = [*streams, clean_key("question")] if contract.name == "answer" else streams

    @dg.asset(
        key=clean_key(contract.name),
        deps=deps,
        group_name="clean",
        owners=OWNERS["clean"],
        kinds={"polars", "parquet"},
        pool=WRITER_POOL,
        description=f"{contract.grain}. {contract.description}",
        metadata={"dagster/column_schema": _column_schema(contract), "domain": contract.domain},
        tags={"domain": contract.domain},
    )
    def _refresh(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        result = refresh_table(contract, sources, settings=settings, run_id=context.run_id)
        if result.rejected:
            context.log.warning("%s: %d rows rejected; read control.quarantine", contract.name, result.rejected)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": result.rows,
                "loads": len(result.loads),
                "rows in": result.rows_in,
                "rejected": result.rejected,
                "inserted": result.inserted,
                "updated": result.updated,
                "unchanged": result.unchanged,
                "deleted": result.deleted,
                "older than kept": result.expired,
                "bytes written": _bytes(settings.clean_dir / contract.name, result.partitions),
                "partitions rewritten": dg.MetadataValue.json(sorted(result.partitions)),
                "days touched": dg.MetadataValue.json([str(day) for day in sorted(result.days_touched)]),
            }
        )

    return _refresh


def _response_quality(settings: Settings) -> dg.AssetsDefinition:
    contract = DERIVED["response_quality"]

    @dg.asset(
        key=clean_key(contract.name),
        deps=[clean_key("response"), clean_key("answer"), clean_key("question")],
        group_name="clean",
        owners=OWNERS["clean"],
        kinds={"polars", "parquet"},
        pool=WRITER_POOL,
        description=f"{contract.grain}. {contract.description}",
        metadata={"dagster/column_schema": _column_schema(contract), "domain": contract.domain},
        tags={"domain": contract.domain},
    )
    def _flag() -> dg.MaterializeResult:
        store = CleanStore(settings.clean_dir, settings.business_timezone)
        flags = flag_responses(
            store.scan(CONTRACTS["response"]), store.scan(CONTRACTS["answer"]), store.scan(CONTRACTS["question"])
        ).collect()
        changed = store.replace(contract, flags)
        counts = {name: int(flags[name].sum()) for name in flags.columns if name.startswith("is_")}
        return dg.MaterializeResult(metadata={"dagster/row_count": flags.height, "changed": changed, **counts})

    return _flag


def _bytes(folder: Path, partitions: Sequence[str]) -> int:
    """Bytes of the partitions as they are now; one that ended has none."""
    files = [folder / f"{name}.parquet" for name in partitions]
    return sum(file.stat().st_size for file in files if file.exists())


def _column_schema(contract: Contract) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=str(column.dtype),
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=not column.required),
                tags={"pii": column.pii.value},
            )
            for column in contract.all_columns
        ]
    )
