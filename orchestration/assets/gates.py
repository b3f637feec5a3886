"""The three gates: which rules stand at each, and how their tables are reached.

One step a gate; a failed rule at error severity stops every step behind the assets it guards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import dagster as dg
import polars as pl

from data_quality.checks import gate_checks, table_check_name
from data_quality.rules import Rule
from data_quality.run import run_rules
from data_quality.suites import Stream, clean_rules, landing_rules, marts_rules
from data_quality.tables import Tables
from orchestration.assets.dbt import built_by
from orchestration.assets.keys import OWNERS, clean_key, gate_key, landing_key
from orchestration.assets.landing import CONFIGURATION_STREAM, broken_source_name
from orchestration.contracts import CONTRACTS, DERIVED
from orchestration.settings import Settings
from orchestration.sources.config import SourceConfig
from orchestration.sources.landing import Landing
from orchestration.warehouse.control import Control


def gate_rules(
    sources: Mapping[str, SourceConfig], broken: Mapping[Path, str], settings: Settings
) -> dict[str, list[Rule]]:
    """Every rule that has to report before a night is published, by gate."""
    streams = [
        Stream(
            source.source,
            name,
            kind=source.type,
            is_incremental=stream.cursor is not None,
            is_required=stream.required,
            may_be_empty=stream.on_empty == "allow",
            max_drop_share=stream.max_drop_share,
        )
        for source in sources.values()
        for name, stream in source.streams.items()
    ]
    streams += [Stream(broken_source_name(path), CONFIGURATION_STREAM, kind="configuration") for path in broken]
    return {
        "landing": landing_rules(streams, business_timezone=settings.business_timezone),
        "clean": clean_rules(),
        "marts": marts_rules(accept_drops=settings.accept_drops),
    }


def gate_assets(marts: Sequence[dg.AssetKey]) -> list[dg.AssetsDefinition]:
    """What stands at the clean gate and at the marts gate.

    The checks of these gates belong to an asset of the gate and not to the tables: a check that blocks between two
    tables of one dbt project would cut its one build into many.
    """
    clean = [clean_key(table) for table in (*CONTRACTS, *DERIVED)]
    return [
        _gate_asset("clean", clean, "Clean and identity tables as they stand before dbt reads them."),
        _gate_asset("marts", marts, "Marts as dbt built them, before they are published."),
    ]


def _gate_asset(gate: str, guarded: Sequence[dg.AssetKey], description: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=gate_key(gate),
        deps=list(guarded),
        group_name="gates",
        owners=OWNERS["gates"],
        description=f"{description} Its checks are the gate: one that fails stops every step behind it.",
    )
    def _stand() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"tables": len(guarded)})

    return _stand


def gates(
    sources: Mapping[str, SourceConfig],
    rules: Mapping[str, list[Rule]],
    settings: Settings,
    clock: Callable[[], datetime],
) -> list[dg.AssetChecksDefinition]:
    """One definition a gate, with a check for each table, dimension and severity."""
    control = Control(settings.control_dir)

    def run(
        gate: str, tables: Callable[[], Tables], builder: Callable[[], str | None] = lambda: None
    ) -> Callable[[str], pl.DataFrame]:
        def _run(run_id: str) -> pl.DataFrame:
            results = run_rules(
                rules[gate],
                tables=tables(),
                run_id=run_id,
                now=clock(),
                memory_limit=settings.duckdb_memory_limit,
                threads=settings.duckdb_threads,
                built_by=builder(),
                # What the landing gate asks is about this run alone.
                cached=None if gate == "landing" else settings.control_dir / "cached_result" / f"{gate}.json",
            )
            control.write_check_results(run_id, gate, results)
            return results

        return _run

    published = settings.serving_dir / "current" / "marts.duckdb"
    return [
        *(
            [
                gate_checks(
                    "landing",
                    rules["landing"],
                    lambda name: landing_key(*name.split(".", 1)),
                    run("landing", lambda: Tables.landing(settings.control_dir, _manifests(sources, settings))),
                )
            ]
            if rules["landing"]
            else []
        ),
        gate_checks(
            "clean",
            rules["clean"],
            lambda _: gate_key("clean"),
            run("clean", lambda: Tables.clean(settings.clean_dir, settings.control_dir, (*CONTRACTS, *DERIVED))),
            name_of=table_check_name,
        ),
        gate_checks(
            "marts",
            rules["marts"],
            lambda _: gate_key("marts"),
            run(
                "marts",
                lambda: Tables.marts(
                    settings.marts_path, published, settings.clean_dir, settings.sample_truth_dir / "pii.parquet"
                ),
                lambda: built_by(settings),
            ),
            name_of=table_check_name,
        ),
    ]


def _manifests(sources: Mapping[str, SourceConfig], settings: Settings) -> pl.DataFrame:
    landing = Landing(settings.landing_dir)
    counts = ("rows_read", "rows_landed", "rows_rejected")
    rows = [
        {
            "load_id": manifest.load_id,
            "source": source.source,
            "stream": stream,
            **{name: getattr(manifest, name) for name in counts},
        }
        for source in sources.values()
        for stream in source.streams
        for manifest in landing.manifests(source.source, stream)
    ]
    names = dict.fromkeys(("load_id", "source", "stream"), pl.String)
    return pl.DataFrame(rows, schema=names | dict.fromkeys(counts, pl.Int64))
