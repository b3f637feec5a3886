"""Nights over real data that nobody in this project wrote: a source YAML in, the published file out.

Each case is a folder of source files under ``sources/``. They reach the data as ``{home}/data/…``: the fixture puts
a link of that name into a warehouse's home of its own. Nothing of the data is ever copied into the project.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

from orchestration.contracts import CONTRACTS
from orchestration.settings import PROJECT_ROOT, Settings
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.control import Control

DATA = PROJECT_ROOT.parent / "shared" / "data"
SOURCES = Path(__file__).parent / "sources"
NIGHT = datetime(2026, 5, 1, 18, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Published:
    """What a night left behind."""

    settings: Settings
    result: dg.ExecuteInProcessResult
    connection: duckdb.DuckDBPyConnection

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query over the published file."""
        return self.connection.execute(query, parameters).fetchall()

    def one(self, query: str, *parameters: Any) -> Any:
        """The only row of a query; the only value of a row of one."""
        found = self.rows(query, *parameters)
        assert len(found) == 1, f"one row was expected of {query!r}, not {found[:5]}"
        return found[0][0] if len(found[0]) == 1 else found[0]

    def clean(self, table: str) -> pl.DataFrame:
        """A table of the clean layer as dbt reads it, for what no mart publishes."""
        store = CleanStore(self.settings.clean_dir, self.settings.business_timezone)
        return store.scan(CONTRACTS[table]).collect()

    def quarantined(self) -> pl.DataFrame:
        """Every rejected row."""
        return Control(self.settings.control_dir).scan("quarantine").collect()

    def complaints(self) -> set[tuple[str, str]]:
        """Table and rule of every check that did not pass."""
        results = Control(self.settings.control_dir).scan("check_result").filter(pl.col("outcome") != "passed")
        return set(results.select("target_table", "rule_id").collect().rows())

    def landed(self) -> dict[tuple[str, str], int]:
        """Rows landed by source and stream."""
        loads = Control(self.settings.control_dir).scan("load").collect()
        failed = loads.filter(pl.col("status") == "failed")
        assert failed.is_empty(), failed["error"].to_list()
        counted = loads.group_by("source", "stream").agg(pl.col("rows_landed").sum())
        return {(source, stream): rows for source, stream, rows in counted.rows()}


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data. A missing one is a failure, not a skip: whoever asked for these tests wants them."""
    assert DATA.is_dir(), (
        f'{DATA} is missing; put the real data there, or leave these tests out with -m "not real_data"'
    )
    return DATA


@pytest.fixture(scope="module")
def run_night(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Published]]:
    """Runs the job ``nightly`` over one case's sources and opens what it published; ``deliver`` adds files before."""
    connections: list[duckdb.DuckDBPyConnection] = []

    def _run(case: str, timezone: str, deliver: Callable[[Path], None] | None = None) -> Published:
        # Imported here: loading the definitions reads the environment.
        from orchestration.definitions import build_definitions

        home = tmp_path_factory.mktemp(case) / "home"
        home.mkdir()
        if deliver:
            deliver(home)
        (home / "data").symlink_to(data, target_is_directory=True)
        settings = Settings(home=home, sources_dir=SOURCES / case, business_timezone=timezone, retry_seconds=0)
        before = dict(os.environ)
        try:
            job = build_definitions(settings, clock=lambda: NIGHT).resolve_job_def("nightly")
            with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path_factory.mktemp("dagster"))) as instance:
                result = job.execute_in_process(instance=instance, raise_on_error=False)
        finally:
            os.environ.clear()
            os.environ.update(before)
        assert result.success, problems(result)
        connections.append(duckdb.connect(str(settings.serving_dir / "current" / "marts.duckdb"), read_only=True))
        return Published(settings, result, connections[-1])

    yield _run
    for connection in connections:
        connection.close()


def problems(result: dg.ExecuteInProcessResult) -> str:
    """Failed steps and checks, for the message of an assertion."""
    lines = [
        f"{event.step_key}: {_root(event.event_specific_data.error)}" for event in result.get_step_failure_events()
    ]
    lines += [
        f"check {check.asset_key.to_user_string()}:{check.check_name} {check.metadata}"
        for check in result.get_asset_check_evaluations()
        if not check.passed
    ]
    return "\n".join(["the night was not published", *lines])


def _root(error: Any) -> str:
    while error.cause is not None:
        error = error.cause
    return str(error.message)
