"""Rows per CPU second out of PostgreSQL and MariaDB, against ``COPY`` to CSV that Polars reads; and peak memory.

Each figure is of a process of its own, without its imports; the server's CPU is not counted. All read the same table of
eight columns and write Parquet. ``COPY`` and Polars do nothing else: no manifest, no hashes, no cursor.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import psycopg

from tests.benchmarks.measuring import Cost, in_process_of_its_own, measure, median, print_table, rate_line, report

ROWS = (200_000, 2_000_000)
NAMES = {
    "copy": "`COPY` to CSV, Polars, Parquet",
    "postgresql": "PostgreSQL, as landed",
    "postgresql-pages": "PostgreSQL, `page_rows: 100000`",
    "mysql": "MariaDB, as landed",
    "pymysql": "MariaDB, bare pymysql loop",
}


def main(rounds: int) -> None:
    """Measure and print the table."""
    from tests.servers import mariadb_server, postgres_server

    with postgres_server() as postgres, mariadb_server() as mariadb:
        mariadb.empty()
        for rows in ROWS:
            _fill_postgres(postgres.dsn, rows)
            with mariadb.connect() as connection, connection.cursor() as cursor:
                cursor.execute(_mariadb_table(rows))
        lines = []
        for rows in ROWS:
            base = 0.0
            for name, label in NAMES.items():
                if name == "pymysql" and rows > ROWS[0]:
                    continue
                dsn = mariadb.dsn if "mysql" in name else postgres.dsn
                costs = [_run(name, dsn, rows) for _ in range(rounds)]
                base = base or median(cost.cpu_seconds for cost in costs)
                lines.append(rate_line(f"{rows:,} rows: {label}", rows, costs, base))
        print_table(["", "CPU s", "rows per CPU s", "times `COPY`", "peak MB"], lines)


def _run(name: str, dsn: str, rows: int) -> Cost:
    return in_process_of_its_own("tests.benchmarks.bench_sql", name, dsn, str(rows))[name]


def _fill_postgres(dsn: str, rows: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            f"CREATE TABLE contacts_{rows} AS SELECT i AS id, 'someone' || i || '@example.com' AS email, "
            "'Name ' || md5(i::text) AS full_name, (i % 1000)::numeric / 7 AS amount, i % 2 = 0 AS is_active, "
            "CASE WHEN i % 3 > 0 THEN 'a note about customer ' || i END AS note, "
            "timestamptz '2026-01-01' + i * interval '1 second' AS updated_at, i / 3.7e0 AS score "
            f"FROM generate_series(1, {rows}) i"
        )
        connection.execute(f"CREATE UNIQUE INDEX ON contacts_{rows} (updated_at, id)")


def _mariadb_table(rows: int) -> str:
    return (
        f"CREATE TABLE contacts_{rows} AS SELECT seq AS id, concat('someone', seq, '@example.com') AS email, "
        "concat('Name ', md5(seq)) AS full_name, (seq % 1000) / 7 AS amount, seq % 2 = 0 AS is_active, "
        "CASE WHEN seq % 3 > 0 THEN concat('a note about customer ', seq) END AS note, "
        "timestamp('2026-01-01') + INTERVAL seq SECOND AS updated_at, seq / 3.7e0 AS score "
        f"FROM seq_1_to_{rows}"
    )


def _copy(dsn: str, rows: int, home: Path) -> None:
    import polars as pl

    def work() -> None:
        path = home / "rows.csv"
        with (
            psycopg.connect(dsn) as connection,
            path.open("wb") as file,
            connection.cursor().copy(f"COPY contacts_{rows} TO STDOUT (FORMAT csv)") as copy,
        ):
            for data in copy:
                file.write(data)
        frame = pl.read_csv(path, has_header=False, infer_schema=False)
        frame.write_parquet(home / "rows.parquet", compression="zstd")
        assert frame.height == rows

    report({"copy": measure(work)[0]})


def _pymysql(dsn: str, rows: int) -> None:
    from urllib.parse import urlsplit

    import pymysql
    from pymysql.cursors import SSCursor

    def work() -> None:
        parts = urlsplit(dsn)
        connection = pymysql.connect(
            host=parts.hostname, port=parts.port, user=parts.username, database="crm", cursorclass=SSCursor
        )
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM contacts_{rows}")
            assert sum(1 for _ in cursor) == rows

    report({"pymysql": measure(work)[0]})


def _landed(name: str, dsn: str, rows: int, home: Path) -> None:
    from datetime import UTC, datetime

    from orchestration.settings import Settings
    from orchestration.sources.config import parse_source
    from orchestration.sources.extract import extract
    from orchestration.sources.sql import DIALECTS  # noqa: F401 - imported before the clock runs

    os.environ["BENCH_DSN"] = dsn
    pages = {"page_rows": "100000"} if name.endswith("pages") else {}
    source = parse_source(
        {
            "source": "bench",
            "type": "sql",
            "connection": {"dsn": {"env": "BENCH_DSN"}},
            "streams": {
                "contacts": {
                    "from": {"table": f"contacts_{rows}", **pages},
                    "to": "customer",
                    "primary_key": ["id"],
                    "cursor": {"field": "updated_at", "lag": "15m"},
                    "fields": {"email": "email"},
                }
            },
        },
        home / "bench.yaml",
    )

    def work() -> None:
        record = extract(
            source,
            "contacts",
            settings=Settings(home=home, sources_dir=home),
            run_id="bench",
            now=datetime.now(UTC),
        )
        assert record.rows_landed == rows

    report({name: measure(work)[0]})


if __name__ == "__main__":
    NAME, DSN, NUMBER = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        if NAME == "copy":
            _copy(DSN, NUMBER, Path(folder))
        elif NAME == "pymysql":
            _pymysql(DSN, NUMBER)
        else:
            _landed(NAME, DSN, NUMBER, Path(folder))
