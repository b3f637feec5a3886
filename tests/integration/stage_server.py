"""One stage of a night in a process of its own, which dies at one of its file operations; and a reader.

``stages`` imports everything once and then forks a process for each line it reads, ``{"stage", "home", "at", "clock",
"file_limit"}``: the process runs the stage on the home at that clock and kills itself with SIGKILL when it is about to
make its operation number ``at`` (opening, renaming, removing, making or linking something below the home). With ``at``
0 it runs to its end and says how many operations there were. ``file_limit`` is the size in bytes that no file may
outgrow, where it is not 0. ``reader`` opens what is published again and again until its input is closed, and says what
it found.

What DuckDB and Polars do to a file once it is open is not counted: the tests of whole nights kill there.
"""

import importlib
import json
import os
import resource
import signal
import sys
import threading
import traceback
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

from tests.dying import die_at, say, serve

RUN_ID = "killed-run"
MODELS = ("+fct_order", "+fct_session", "+int_web_built", "+int_answer_built")
PRELOADED = ("great_expectations", "dbt.cli.main", "dbt.adapters.duckdb", "data_quality.engine")


def stages() -> None:
    """Serve until the input ends."""
    for name in PRELOADED:
        importlib.import_module(name)
    import dagster as dg

    from data_quality.run import Tables, run_rules
    from data_quality.suites import clean_rules
    from orchestration.assets import dbt as layer
    from orchestration.assets.load import record_missed
    from orchestration.contracts import CONTRACTS, DERIVED
    from orchestration.identity.run import refresh_identity
    from orchestration.normalize.response_quality import flag_responses
    from orchestration.settings import Settings
    from orchestration.sources.config import load_sources
    from orchestration.sources.extract import extract
    from orchestration.warehouse.clean import CleanStore
    from orchestration.warehouse.control import Control
    from orchestration.warehouse.publish import publish
    from orchestration.warehouse.refresh import refresh_table

    def run_extract(settings: Settings, now: datetime) -> None:
        for source in load_sources(settings.sources_dir).values():
            for stream in source.streams:
                record_missed(source.source, stream, settings)
                record = extract(source, stream, settings=settings, run_id=RUN_ID, now=now)
                Control(settings.control_dir).record_load(record)

    def run_clean(settings: Settings, now: datetime) -> None:
        sources = load_sources(settings.sources_dir)
        for contract in CONTRACTS.values():
            refresh_table(contract, sources, settings=settings, run_id=RUN_ID)
        store = CleanStore(settings.clean_dir, settings.business_timezone)
        tables = (store.scan(CONTRACTS[name]) for name in ("response", "answer", "question"))
        store.replace(DERIVED["response_quality"], flag_responses(*tables).collect())

    def run_identity(settings: Settings, now: datetime) -> None:
        store = CleanStore(settings.clean_dir, settings.business_timezone)
        refresh_identity(store, settings=settings, run_id=RUN_ID, now=now)

    def run_dbt(settings: Settings, now: datetime) -> None:
        invoke = layer._invoke
        narrow = ["build", "--select", *MODELS, "--exclude-resource-type", "unit_test", "test"]
        full = {"--full-refresh"}
        layer._invoke = lambda settings, arguments: invoke(settings, [*narrow, *full.intersection(arguments)])
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            dg.materialize([layer.warehouse_assets(settings)], instance=instance, run_config=quiet)

    def run_gate(settings: Settings, now: datetime) -> None:
        tables = Tables.clean(settings.clean_dir, settings.control_dir, (*CONTRACTS, *DERIVED))
        rules = [rule for rule in clean_rules() if rule.target_table == "customer"]
        results = run_rules(rules, tables=tables, run_id=RUN_ID, now=now, memory_limit="1GB", threads=1)
        Control(settings.control_dir).write_check_results(RUN_ID, "clean", results)

    def run_publish(settings: Settings, now: datetime) -> None:
        decision = SimpleNamespace(action="publish", reasons=())
        publish(settings, f"run-{now:%d}", now=now, decision=decision, extra_files={"report.html": b"<p>"})

    run = {
        "extract": run_extract,
        "clean": run_clean,
        "identity": run_identity,
        "dbt": run_dbt,
        "gate": run_gate,
        "publish": run_publish,
    }

    def child(order: dict) -> int:
        home = Path(order["home"])
        settings = replace(Settings(home=home, sources_dir=home / "sources"), duckdb_memory_limit="1GB")
        if limit := order.get("file_limit"):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        count = die_at(str(home), order["at"])
        try:
            with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
                run[order["stage"]](settings, datetime.fromisoformat(order["clock"]))
        except BaseException:
            say({"error": traceback.format_exc()})
            return 1
        say({"operations": count()})
        return 0

    serve(child, sorted(run))


def reader(current: Path) -> None:
    """Open what is published again and again: a release is whole, its tables are those of its manifest."""
    import duckdb

    from orchestration.warehouse.publish import PUBLISHED_CONTROL

    os.nice(10)  # it must not keep the processor from what it watches
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    faults: list[str] = []
    seen: list[str] = []
    checks = 0
    say({"ready": []})
    while not stop.is_set():
        try:
            release = current.resolve(strict=True)
        except FileNotFoundError:
            if seen:
                faults.append("current is gone")
            continue
        try:
            manifest = json.loads((release / "release.json").read_text(encoding="utf-8"))
            with duckdb.connect(str(release / "marts.duckdb"), read_only=True) as connection:
                for table in manifest["tables"]:
                    name = table["name"]
                    files = [f"{release}/parquet/{file['path']}" for file in table["files"]]
                    queries = (f'SELECT count(*) FROM "{name}"', f"SELECT count(*) FROM read_parquet({files})")
                    counts = [connection.execute(query).fetchone()[0] for query in queries]
                    if counts != [table["rows"]] * 2:
                        faults.append(f"{release.name}: {name} has {counts} rows, not {table['rows']}")
                    if name not in PUBLISHED_CONTROL and name.startswith("fct_"):
                        key = connection.execute(f'SELECT count(DISTINCT {name[4:]}_key) FROM "{name}"').fetchone()[0]
                        if key != counts[0]:
                            faults.append(f"{release.name}: {name} has {counts[0]} rows of {key} keys")
        except Exception as error:
            faults.append(f"{release.name}: {type(error).__name__} {error}")
        checks += 1
        if release.name not in seen:
            seen.append(release.name)
    say({"checks": checks, "faults": faults[:20], "seen": seen})


if __name__ == "__main__":
    if sys.argv[1] == "stages":
        stages()
    else:
        reader(Path(sys.argv[2]))
