"""Five million events as the night does them: ``refresh_table``, then the compiled dbt models up to the sessions.

``python -m tests.benchmarks.events_night FOLDER`` measures; ``FOLDER`` is a warehouse's home with landed web events in
which dbt has built the seeds and models before, over empty tables.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb

from orchestration.contracts import CONTRACTS
from orchestration.settings import Settings
from orchestration.sources.config import load_source
from orchestration.warehouse.refresh import refresh_table
from tests.benchmarks.measuring import measure, report

LAST_MODEL = "fct_session"


def refresh(settings: Settings) -> None:
    """Landing to clean layer: normalise, quarantine, deduplicate, write the days."""
    source = load_source(settings.sources_dir / "web.yaml")
    refresh_table(CONTRACTS["web_event"], {source.source: source}, settings=settings, run_id="benchmark")


def models(settings: Settings) -> Iterator[str]:
    """The statements of the models that the sessions need, in order."""
    manifest = json.loads((settings.home / "dbt" / "manifest.json").read_text(encoding="utf-8"))
    nodes = {name: node for name, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name not in nodes or name in done:
            return
        done.add(name)
        node = nodes[name]
        for parent in node["depends_on"]["nodes"]:
            yield from visit(parent)
        kind = node["config"]["materialized"]
        yield f"CREATE OR REPLACE {kind} {node['relation_name']} AS {node['compiled_code']}"

    yield from visit(f"model.experience.{LAST_MODEL}")


def sessionise(settings: Settings) -> None:
    """Clean layer to ``fct_session``, with the connection that dbt's profile describes."""
    with duckdb.connect(settings.warehouse_path) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        connection.execute(f"ATTACH '{settings.marts_path}' AS marts")
        for statement in models(settings):
            connection.execute(statement)


def main(folder: Path) -> None:
    settings = Settings(home=folder, sources_dir=folder / "sources")
    shutil.rmtree(settings.clean_dir / "web_event", ignore_errors=True)
    clean, sessions = measure(lambda: refresh(settings), lambda: sessionise(settings))
    report({"clean": clean, "sessions": sessions})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
