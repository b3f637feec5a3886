"""A warehouse's home with a clean layer written by contract, and real dbt to build it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from orchestration.contracts import CONTRACTS, DERIVED, Kind
from orchestration.settings import PROJECT_ROOT
from orchestration.warehouse.touched import TouchedLog

PROJECT = PROJECT_ROOT / "dbt_project"
EXTRACTED = datetime(2026, 6, 1)
COMMON = {"source": "test", "load_id": "load-1", "row_hash": "-", "is_deleted": False}


def _instant(value: Any) -> Any:
    return datetime.fromisoformat(value.removesuffix("Z")) if isinstance(value, str) else value


def write_clean(home: Path, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of one clean table; common columns have defaults, timestamps may be ISO texts in UTC."""
    contract = (CONTRACTS | DERIVED)[table]
    instants = {column.name for column in contract.all_columns if column.kind is Kind.TIMESTAMP}
    unknown = {name for row in rows for name in row} - set(contract.schema)
    assert not unknown, f"{table} has no {sorted(unknown)}"
    defaults = {**COMMON, "extracted_at": EXTRACTED, "first_extracted_at": EXTRACTED}
    full = [
        {
            name: _instant(value) if name in instants else value
            for name, value in {
                **{key: default for key, default in defaults.items() if key in contract.schema},
                **({"source_id": f"{table}-{number:05d}", "load_row": number} if contract.is_source_table else {}),
                **row,
            }.items()
        }
        for number, row in enumerate(rows)
    ]
    folder = home / "clean" / table
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(schema=contract.schema).write_parquet(folder / "_empty.parquet")
    pl.DataFrame(full, schema=contract.schema, strict=False).write_parquet(folder / "all.parquet")
    if contract.entity_columns:
        # A table made anew: whoever built on the one before has to build everything anew.
        shutil.rmtree(folder / "touched", ignore_errors=True)
        TouchedLog(folder).ensure(0)


@dataclass
class Warehouse:
    """One home; ``write`` its clean layer, ``build`` it with dbt, ``rows`` of what came out."""

    home: Path
    target: Path
    monkeypatch: pytest.MonkeyPatch
    variables: dict[str, Any] = field(default_factory=dict)

    def write(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        write_clean(self.home, table, rows)

    def dbt(self, *arguments: str, **variables: Any) -> Any:
        from dbt.cli.main import dbtRunner

        from orchestration.assets.dbt import closing_files

        for name, value in {
            "EXPERIENCE_HOME": self.home,
            "EXPERIENCE_TIMEZONE": "Asia/Shanghai",
            "EXPERIENCE_RUN_ID": "run-1",
            "DBT_TARGET_PATH": self.target,
            "DBT_LOG_PATH": self.target / "logs",
        }.items():
            self.monkeypatch.setenv(name, str(value))
        (self.home / "warehouse").mkdir(parents=True, exist_ok=True)
        folders = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
        given = json.dumps(self.variables | variables)
        with closing_files():
            return dbtRunner().invoke(["--quiet", *arguments, *folders, "--vars", given])

    def build(self, *arguments: str, **variables: Any) -> None:
        result = self.dbt("build", *arguments, **variables)
        bad = [r for r in (result.result or []) if r.status not in ("success", "pass", "no-op")]
        assert result.success, result.exception or "\n".join(f"{r.node.name}: {r.status}: {r.message}" for r in bad)

    @contextmanager
    def connect(self, read_only: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
        mode = " (read_only)" if read_only else ""
        with duckdb.connect() as connection:
            for name in ("warehouse", "marts"):
                connection.execute(f"attach '{self.home}/warehouse/{name}.duckdb' as {name}{mode}")
            connection.execute("set timezone = 'UTC'")
            yield connection

    def rows(self, query: str) -> list[dict[str, Any]]:
        with self.connect() as connection:
            cursor = connection.execute(query)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def row(self, query: str) -> dict[str, Any]:
        found = self.rows(query)
        assert len(found) == 1, found
        return found[0]

    def evaluate(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query in which macros of the project stand."""
        result = self.dbt("compile", "--inline", sql)
        assert result.success, result.exception
        with duckdb.connect() as connection:
            cursor = connection.execute(result.result.results[0].node.compiled_code)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@pytest.fixture(scope="session")
def dbt_target(tmp_path_factory) -> Path:
    """One target folder for all homes, so that the project is parsed once."""
    return tmp_path_factory.mktemp("dbt_target")


@pytest.fixture(scope="module")
def new_warehouse(tmp_path_factory, dbt_target) -> Iterator[Callable[..., Warehouse]]:
    """Makes a home with an empty clean layer."""
    with pytest.MonkeyPatch.context() as monkeypatch:

        def make(**variables: Any) -> Warehouse:
            warehouse = Warehouse(tmp_path_factory.mktemp("home"), dbt_target, monkeypatch, variables)
            for table in CONTRACTS | DERIVED:
                warehouse.write(table, [])
            return warehouse

        yield make
