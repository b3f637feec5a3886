"""The published release: the gates' verdict on the whole night, the report, and the swap that readers see."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import dagster as dg
import polars as pl

from data_quality.gate import Rule, decide
from data_quality.personal_data import found_in, texts_of
from orchestration.assets.dbt import WRITER_POOL, built_by, ensure_manifest
from orchestration.assets.keys import OWNERS, PUBLISHED
from orchestration.contracts import CONTRACTS
from orchestration.lineage.code import FILE as LINEAGE
from orchestration.lineage.code import code_of
from orchestration.report.build import build_report, mask
from orchestration.settings import PROJECT_ROOT, Settings
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.control import Control
from orchestration.warehouse.publish import PublishBlocked, publish

DEADLINE_HOUR = 6


def publish_asset(
    marts: Sequence[dg.AssetKey], rules: Sequence[Rule], settings: Settings, clock: Callable[[], datetime]
) -> dg.AssetsDefinition:
    """The release.

    Args:
        marts: Assets that are published.
        rules: Every rule of every gate; one that left no result in this run blocks like one that failed.
        settings: Where to publish.
        clock: Gives the time of publishing.
    """

    @dg.asset(
        key=PUBLISHED,
        deps=list(marts),
        group_name="published",
        owners=OWNERS["published"],
        kinds={"duckdb", "parquet"},
        pool=WRITER_POOL,
        description=(
            "One published version: a read-only DuckDB file, Parquet and the report, behind the link "
            "serving/current that moves only when every gate let the night through."
        ),
        freshness_policy=dg.FreshnessPolicy.cron(
            deadline_cron=f"0 {DEADLINE_HOUR} * * *",
            lower_bound_delta=timedelta(hours=DEADLINE_HOUR - 1),
            timezone=settings.business_timezone,
        ),
    )
    def _publish(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        now = clock()
        control = Control(settings.control_dir)
        all_results, all_loads = control.scan("check_result").collect(), control.scan("load").collect()
        results = all_results.filter(pl.col("run_id") == context.run_id)
        # What a backfill brought, or failed to, says nothing about whether a stream is stale.
        loads = all_loads.filter(pl.col("kind").ne_missing("backfill"))
        control.gather_steps(context.run_id)
        decision = decide(rules, results)
        stale = (
            loads.filter((pl.col("run_id") == context.run_id) & (pl.col("status") == "failed"))
            .select(name=pl.format("{}.{}", "source", "stream"))["name"]
            .sort()
            .to_list()
        )
        page = build_report(
            settings.marts_path,
            decision=decision,
            checks=results,
            loads=loads,
            now=now,
            run_id=context.run_id,
            timezone=settings.business_timezone,
            steps=control.scan("step_metric").collect(),
        )
        if found := found_in(texts_of(page), _names(settings)):
            raise PublishBlocked([f"the report holds personal data: {sentence}" for sentence in found])
        code = code_of(ensure_manifest(settings), PROJECT_ROOT, built_by(settings))
        release = publish(
            settings,
            context.run_id,
            now=now,
            decision=decision,
            extra_files={"report.html": page.encode(), LINEAGE: code.to_json().encode()},
            # What went wrong may quote a value.
            control={"load": _masked(all_loads, "error"), "check_result": _masked(all_results, "detail")},
            stale_sources=stale,
            accept_drops=settings.accept_drops,
        )
        return dg.MaterializeResult(
            metadata={
                "database": dg.MetadataValue.path(str(settings.serving_dir / "current" / "marts.duckdb")),
                "report": dg.MetadataValue.path(str(settings.serving_dir / "current" / "report.html")),
                "decision": str(decision.action),
                "warnings": dg.MetadataValue.json(list(decision.reasons)),
                "stale": dg.MetadataValue.json(stale),
                "tables": dg.MetadataValue.json(release.row_counts),
                "dagster/row_count": sum(release.row_counts.values()),
                "bytes written": sum(file.stat().st_size for file in release.path.rglob("*") if file.is_file()),
            }
        )

    return _publish


def _names(settings: Settings) -> pl.Series:
    """Names of all customers, and of the sample's persons where it is there."""
    store = CleanStore(settings.clean_dir, settings.business_timezone)
    names = [store.scan(CONTRACTS["customer"]).select("full_name")]
    truth = settings.sample_truth_dir / "pii.parquet"
    if truth.is_file():
        names.append(pl.scan_parquet(truth).filter(pl.col("kind").str.contains("name")).select(full_name="value"))
    return pl.concat(names).unique().collect()["full_name"]


def _masked(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """``frame`` with ``column`` free of addresses and numbers of persons."""
    said = frame[column].drop_nulls().unique()
    return frame.with_columns(pl.col(column).replace({text: mask(text) for text in said.to_list()}))
