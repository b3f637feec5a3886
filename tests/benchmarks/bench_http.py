"""Rows per CPU second out of an HTTP API in pages of JSON, against a bare httpx loop; and peak memory.

Each figure is of a process of its own, without its imports; the API is a fake in another process and not counted. The
bare loop asks for page after page and reads the JSON; with Parquet it makes one Polars frame of everything and writes
it. Neither retries, checks, keeps a manifest, hashes or a cursor.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import (
    ROOT,
    Cost,
    in_process_of_its_own,
    measure,
    median,
    print_table,
    rate_line,
    report,
)

ROWS = (20_000, 200_000)
PAGES = (100, 1000)
NAMES = {
    "bare": "bare httpx loop",
    "parquet": "httpx loop, Polars, Parquet",
    "token": "by token, as landed",
    "keyset": "by keyset, as landed",
}
ORIGINS: dict[str, dict[str, Any]] = {
    "token": {
        "request": {"path": "/token/items"},
        "paging": {"kind": "token", "next": "next_token", "param": "token"},
    },
    "keyset": {
        "request": {
            "path": "/keyset/items",
            "params": {"since": "{{ last.updated_at or window.start }}", "after_id": "{{ last.id }}"},
        },
        "paging": {"kind": "keyset", "fields": ["updated_at", "id"]},
    },
}


def main(rounds: int) -> None:
    """Measure and print the table."""
    lines = []
    for rows in ROWS:
        with _served(rows) as url:
            for size in PAGES:
                base = 0.0
                for name, label in NAMES.items():
                    costs = [_run(name, url, rows, size) for _ in range(rounds)]
                    base = base or median(cost.cpu_seconds for cost in costs)
                    lines.append(rate_line(f"{rows:,} rows, {size:,} a page: {label}", rows, costs, base))
    print_table(["", "CPU s", "rows per CPU s", "times the loop", "peak MB"], lines)


@contextmanager
def _served(rows: int) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.fakes", "rest", "--rows", str(rows)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def _run(name: str, url: str, rows: int, size: int) -> Cost:
    return in_process_of_its_own("tests.benchmarks.bench_http", name, url, str(rows), str(size))[name]


def _loop(name: str, url: str, rows: int, size: int, home: Path) -> None:
    import httpx
    import polars as pl

    def work() -> None:
        found: list[dict[str, Any]] = []
        count, params = 0, {"limit": str(size)}
        with httpx.Client(base_url=url, headers={"X-Api-Key": "static-token"}) as client:
            while True:
                body = client.get("/token/items", params=params).json()
                count += len(body["items"])
                if name == "parquet":
                    found += body["items"]
                if body["next_token"] is None:
                    break
                params["token"] = body["next_token"]
        if name == "parquet":
            pl.DataFrame(found, infer_schema_length=None).write_parquet(home / "rows.parquet", compression="zstd")
        assert count == rows

    report({name: measure(work)[0]})


def _landed(name: str, url: str, rows: int, size: int, home: Path) -> None:
    from datetime import UTC, datetime

    from orchestration.settings import Settings
    from orchestration.sources.config import parse_source
    from orchestration.sources.extract import extract
    from orchestration.sources.http import engine  # noqa: F401 - imported before the clock runs

    os.environ["BENCH_KEY"] = "static-token"
    origin = ORIGINS[name]
    request = origin["request"]
    source = parse_source(
        {
            "source": "bench",
            "type": "http",
            "connection": {
                "base_url": url,
                "auth": {"kind": "header", "name": "X-Api-Key", "value": {"env": "BENCH_KEY"}},
            },
            "streams": {
                "items": {
                    "from": {
                        **origin,
                        "request": {**request, "params": {**request.get("params", {}), "limit": str(size)}},
                        "records": {"path": "items"},
                    },
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
        settings = Settings(home=home, sources_dir=home)
        record = extract(source, "items", settings=settings, run_id="bench", now=datetime.now(UTC))
        assert record.rows_landed == rows

    report({name: measure(work)[0]})


if __name__ == "__main__":
    NAME, URL, COUNT, SIZE = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with tempfile.TemporaryDirectory() as folder:
        (_landed if NAME in ORIGINS else _loop)(NAME, URL, COUNT, SIZE, Path(folder))
