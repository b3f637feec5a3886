"""Normalise, deduplicate and sessionise generated web events: the night's own path, pandas, a DuckDB script.

``python -m tests.benchmarks events [--events 5000000] [--rounds 3]`` prints tables and asserts nothing. The sample
company is generated and landed once and kept below ``$EXPERIENCE_HOME/benchmark``; what is measured starts from the
landed Parquet parts and ends with sessions. Each way runs in a process of its own, in turns, and the results are
compared column by column.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import duckdb

from tests.benchmarks.measuring import ROOT, Cost, cpu_seconds, in_process_of_its_own, median, print_table

WAYS = {"night": "the night's own path", "script": "one DuckDB script", "pandas": "pandas"}
EVENT_COLUMNS = (
    *("source_id", "load_row", "occurred_at", "anonymous_id", "user_id", "source_session_id", "event_name"),
    *("page_host", "page_path", "page_title", "referrer", "utm_source", "utm_medium", "utm_campaign"),
    *("device_category", "operating_system", "browser", "country", "region", "user_agent", "is_bot", "item_id"),
    *("value_amount", "value_currency", "attributes"),
)
SESSION_COLUMNS = (
    *("started_at", "ended_at", "n_events", "n_page_views", "has_purchase", "entry_page_path", "exit_page_path"),
    *("utm_source", "utm_medium", "utm_campaign", "device_category", "country"),
)


def main(home: Path, events: int = 5_000_000, rounds: int = 3) -> None:
    """Print what each way costs, and whether the results are equal."""
    folder = prepare(home / "benchmark" / f"events-{events}", events)
    runs: dict[str, list[dict[str, Cost]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            out = [] if way == "night" else [str(folder / "rivals" / way)]
            runs[way].append(in_process_of_its_own(f"tests.benchmarks.events_{way}", str(folder), *out))
    best = {
        way: min(costs, key=lambda run: sum(cost.cpu_seconds for cost in run.values())) for way, costs in runs.items()
    }
    whole = {way: sum(cost.cpu_seconds for cost in run.values()) for way, run in best.items()}
    print(
        f"{events:,} events, {rounds} rounds in turns, {os.cpu_count()} cores; the round with the fewest CPU seconds\n"
    )
    print_table(
        ("way", "s", "CPU s", "clean CPU s", "sessions CPU s", "peak MB", "CPU / night's", "s, median round"),
        (
            (
                WAYS[way],
                f"{min(sum(cost.seconds for cost in costs.values()) for costs in runs[way]):.1f}",
                f"{whole[way]:.1f}",
                f"{run['clean'].cpu_seconds:.1f}",
                f"{run['sessions'].cpu_seconds:.1f}",
                f"{max(cost.peak_mb for cost in run.values()):,.0f}",
                f"{whole[way] / whole['night']:.2f}",
                f"{median(sum(cost.seconds for cost in costs.values()) for costs in runs[way]):.1f}",
            )
            for way, run in best.items()
        ),
    )
    compare(folder)


def prepare(folder: Path, events: int) -> Path:
    """A home with landed web events and dbt's seeds and models over empty tables, made once."""
    environment = os.environ | {"EXPERIENCE_HOME": str(folder), "PYTHONUTF8": "1"}
    environment.pop("EXPERIENCE_SOURCES", None)
    if not (folder / "landing").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"generating {events:,} events into {folder}; this takes some minutes, once")
        command = [sys.executable, "-m", "orchestration.sample", "--home", str(folder), "--events", str(events)]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        land(folder)
    # The models may have changed since: they are built anew over empty tables, and compiled on the way.
    from orchestration.contracts import CONTRACTS, DERIVED
    from orchestration.warehouse.clean import CleanStore

    shutil.rmtree(folder / "clean", ignore_errors=True)
    shutil.rmtree(folder / "warehouse", ignore_errors=True)
    (folder / "warehouse").mkdir()
    store = CleanStore(folder / "clean", "Asia/Shanghai")
    for contract in (CONTRACTS | DERIVED).values():
        store.ensure(contract)
    dbt = Path(sys.executable).with_name("dbt")
    project = str(ROOT / "dbt_project")
    command = [str(dbt), "--quiet", "build", "--select", "+fct_session", "--resource-type", "seed", "model"]
    command += ["--project-dir", project, "--profiles-dir", project, "--target-path", str(folder / "dbt")]
    subprocess.run(command, cwd=ROOT, env=environment | {"DBT_LOG_PATH": str(folder / "dbt" / "logs")}, check=True)
    return folder


def land(folder: Path) -> None:
    """Extract the sample's web events as the night does; it is not part of what is compared."""
    from orchestration.settings import Settings
    from orchestration.sources.config import load_source
    from orchestration.sources.extract import extract

    settings = Settings(home=folder, sources_dir=folder / "sources")
    before = cpu_seconds()
    extract(
        load_source(settings.sources_dir / "web.yaml"),
        "events",
        settings=settings,
        run_id="benchmark",
        now=datetime(2026, 11, 1),
    )
    print(f"landed in {cpu_seconds() - before:.0f} CPU s")
    shutil.rmtree(settings.sample_dir / "web")


def compare(folder: Path) -> None:
    """Say how many events and sessions each way gave, and how many rows differ from the night's."""
    rows = []
    with duckdb.connect(config={"memory_limit": "4GB"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{folder}/warehouse/marts.duckdb' AS marts (READ_ONLY)")
        clean = "substr(filename, -15, 4) <> 'mpty' AND NOT is_deleted"
        connection.execute(
            f"CREATE VIEW night_events AS FROM read_parquet('{folder}/clean/web_event/*.parquet', filename = true) "
            f"WHERE {clean}"
        )
        connection.execute("CREATE VIEW night_sessions AS FROM marts.fct_session")
        for way, label in WAYS.items():
            if way != "night":
                out = folder / "rivals" / way
                connection.execute(f"CREATE VIEW {way}_events AS FROM read_parquet('{out}/events/**/*.parquet')")
                connection.execute(f"CREATE VIEW {way}_sessions AS FROM '{out}/sessions.parquet'")
            cells = [label]
            for kind, columns in (("events", EVENT_COLUMNS), ("sessions", SESSION_COLUMNS)):
                count = connection.execute(f"SELECT count(*) FROM {way}_{kind}").fetchall()[0][0]
                cells += [f"{count:,}", f"{differing(connection, way, kind, columns):,}"]
            rows.append(cells)
    print_table(("way", "events", "events that differ", "sessions", "sessions that differ"), rows)


def differing(connection: duckdb.DuckDBPyConnection, way: str, kind: str, columns: tuple[str, ...]) -> int:
    """Rows of the one that have no equal in the other, in both directions."""
    if way == "night":
        return 0
    # A hash a row keeps five million rows of text out of memory.
    values = ", ".join(
        f"coalesce({name}::DOUBLE::VARCHAR, '')" if name == "value_amount" else f"coalesce({name}::VARCHAR, '')"
        for name in columns
    )
    rows = "SELECT hash(concat_ws(chr(31), {values})) AS row FROM {view}"
    ours, theirs = (rows.format(values=values, view=f"{name}_{kind}") for name in ("night", way))
    query = f"SELECT count(*) FROM (({ours}) EXCEPT ALL ({theirs}) UNION ALL (({theirs}) EXCEPT ALL ({ours})))"
    return int(connection.execute(query).fetchall()[0][0])
