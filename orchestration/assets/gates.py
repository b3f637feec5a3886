"""The three gates: which rules stand at each, and how their tables are reached.

One step a gate; a failed rule at error severity stops every step behind the assets it guards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import dagster as dg
import polars as pl

from data_quality.checks import gate_checks
from data_quality.rules import Rule
from data_quality.run import Tables, run_rules
from data_quality.suites import Stream, clean_rules, landing_rules, marts_rules
from orchestration.assets.keys import clean_key, landing_key, mart_key
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
            is_incremental=_is_incremental(source, name),
            is_required=stream.required,
        )
        for source in sources.values()
        for name, stream in source.streams.items()
    ]
    streams += [Stream(broken_source_name(path), CONFIGURATION_STREAM, kind="configuration") for path in broken]
    return {
        "landing": landing_rules(streams, business_timezone=settings.business_timezone),
        "clean": clean_rules(),
        "marts": marts_rules(),
    }


def gates(
    sources: Mapping[str, SourceConfig],
    rules: Mapping[str, list[Rule]],
    settings: Settings,
    clock: Callable[[], datetime],
) -> list[dg.AssetChecksDefinition]:
    """One definition a gate, with a check for each table, dimension and severity."""
    control = Control(settings.control_dir)

    def run(gate: str, tables: Callable[[], Tables]) -> Callable[..., pl.DataFrame]:
        def _run(chosen: Sequence[Rule], context: dg.AssetCheckExecutionContext) -> pl.DataFrame:
            results = run_rules(
                chosen,
                tables=tables(),
                run_id=context.run_id,
                now=clock(),
                memory_limit=settings.duckdb_memory_limit,
                threads=settings.duckdb_threads,
            )
            control.write_check_results(context.run_id, gate, results)
            return results

        return _run

    published = settings.serving_dir / "current" / "marts.duckdb"
    return [
        gate_checks(
            "landing",
            rules["landing"],
            lambda name: landing_key(*name.split(".", 1)),
            run("landing", lambda: Tables.landing(settings.control_dir, _manifests(sources, settings))),
        ),
        gate_checks(
            "clean",
            rules["clean"],
            clean_key,
            run("clean", lambda: Tables.clean(settings.clean_dir, settings.control_dir, (*CONTRACTS, *DERIVED))),
        ),
        gate_checks(
            "marts", rules["marts"], mart_key, run("marts", lambda: Tables.marts(settings.marts_path, published))
        ),
    ]


def _is_incremental(source: SourceConfig, stream: str) -> bool:
    return source.streams[stream].cursor is not None


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
