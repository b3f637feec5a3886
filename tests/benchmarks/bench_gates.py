"""The clean gate against the same checks as plain SQL, side by side in one process.

``python -m tests.benchmarks.bench_gates [rows]`` prints a table and asserts nothing. Both sides read the same
Parquet files with two threads: once a small table, which shows the fixed cost of a rule, and once a large one.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl

from data_quality.rules import Rule
from data_quality.run import Tables, run_rules
from data_quality.suites import clean_rules
from orchestration.contracts import CONTRACTS, CONTROL, DERIVED, Contract, Kind

GATED = CONTRACTS | DERIVED
THREADS = 2
EXPRESSIONS = {
    Kind.TIMESTAMP: "TIMESTAMP '2026-01-01' + INTERVAL (i % 10000000) SECOND",
    Kind.DATE: "DATE '1990-01-01'",
    Kind.INTEGER: "i % 100",
    Kind.NUMBER: "(i % 10)::DOUBLE",
    Kind.MONEY: "(i % 100)::DECIMAL(18, 4)",
    Kind.BOOLEAN: "false",
    Kind.EMAIL: "'user' || i || '@mail.example'",
    Kind.PHONE: "'+8613' || (800000000 + i % 100000000)",
    Kind.COUNTRY: "'CN'",
    Kind.CURRENCY: "'CNY'",
    Kind.LANGUAGE: "'zh'",
}
OF_COLUMN = {
    "source": "'crm'",
    "source_id": "'id' || i",
    "row_hash": "md5(i::VARCHAR)",
    "value_hash": "md5(i::VARCHAR)",
    "extracted_at": "TIMESTAMP '2027-01-01'",
    "metric": "'choice'",
}


def main(rows: int = 1_000_000) -> None:
    """Print what the gate costs on small and on large tables, and what plain SQL does."""
    started = time.process_time()
    import data_quality.engine  # noqa: F401

    print(f"import of Great Expectations: {time.process_time() - started:.1f} CPU s\n")
    print("| rows | tables | rules | gate s | gate CPU s | SQL s | SQL CPU s | CPU ratio |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    for count, tables in ((2_000, list(GATED)), (rows, ["customer"]), (rows, ["web_event"])):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), {table: count if table in tables else 0 for table in GATED})
            rules = [rule for rule in clean_rules() if rule.target_table in tables]
            gate = measure(lambda: through_gate(Path(folder), rules))  # noqa: B023 - called at once
            sql = measure(lambda: through_sql(Path(folder), rules))  # noqa: B023 - called at once
        name = tables[0] if len(tables) == 1 else f"all {len(tables)}"
        print(
            f"| {count:,} | {name} | {len(rules)} | {gate[0]:.2f} | {gate[1]:.2f} | {sql[0]:.2f} | {sql[1]:.2f} | "
            f"{gate[1] / sql[1]:.1f} |"
        )


def measure(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds and CPU seconds of the better of two runs."""
    runs = []
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(runs, key=lambda run: run[1])


def write(folder: Path, counts: dict[str, int]) -> None:
    """Clean tables of generated rows below ``folder``."""
    connection = duckdb.connect()
    for table, count in counts.items():
        target = folder / "clean" / table
        target.mkdir(parents=True)
        pl.DataFrame(schema=GATED[table].schema).write_parquet(target / "_empty.parquet")
        if count:
            columns = ", ".join(_expression(GATED[table]))
            connection.execute(f"COPY (SELECT {columns} FROM range({count}) AS r(i)) TO '{target}/all.parquet'")


def _expression(contract: Contract) -> list[str]:
    listed = []
    for column in contract.all_columns:
        value = f"'{column.values[0]}'" if column.values else EXPRESSIONS.get(column.kind, "'v' || (i % 1000)")
        cast = "::VARCHAR" if column.dtype == pl.String else ""
        listed.append(f"({OF_COLUMN.get(column.name, value)}){cast} AS {column.name}")
    return listed


def through_gate(folder: Path, rules: Sequence[Rule]) -> pl.DataFrame:
    """The rules through Great Expectations."""
    tables = Tables.clean(folder / "clean", folder / "control", GATED)
    return run_rules(rules, tables=tables, run_id="benchmark", now=datetime(2026, 5, 1), threads=THREADS)


def through_sql(folder: Path, rules: Sequence[Rule]) -> None:
    """The same checks as somebody would write them: one aggregate a table, one query for what spans rows."""
    connection = duckdb.connect(config={"threads": THREADS})
    for table in GATED:
        connection.execute(f"CREATE VIEW {table} AS FROM read_parquet('{folder}/clean/{table}/*.parquet')")
    for table in ("load", "quarantine"):
        connection.register("frame", pl.DataFrame(schema=CONTROL[table].schema).to_arrow())
        connection.execute(f"CREATE TABLE {table} AS FROM frame")
    aggregates: dict[str, list[str]] = {}
    for rule in rules:
        expectation = rule.expectation
        if expectation.rows is not None:
            connection.execute(f"SELECT count(*) FROM ({expectation.rows})").fetchall()
        elif rule.rule_id == "key_unique":
            key = ", ".join(GATED[rule.target_table].key)
            connection.execute(
                f"SELECT sum(n) FROM (SELECT count(*) AS n FROM {rule.target_table} GROUP BY {key} HAVING count(*) > 1)"
            ).fetchall()
        else:
            aggregates.setdefault(rule.target_table, []).append(f"count(*) FILTER ({expectation.failing})")
    for table, counts in aggregates.items():
        connection.execute(f"SELECT count(*), {', '.join(counts)} FROM {table}").fetchall()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
