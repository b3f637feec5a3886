"""The same by one hand-written DuckDB script, ``events_script.sql``.

``python -m tests.benchmarks.events_script FOLDER OUT`` measures it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import duckdb

from tests.benchmarks.measuring import measure, report
from tests.benchmarks.rules import COUNTRIES, HASHED, ROBOT, landed_parts

SCRIPT = Path(__file__).with_suffix(".sql")


def main(folder: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    script = SCRIPT.read_text(encoding="utf-8")
    filled = {
        "landed": str(landed_parts(folder)),
        "out": str(out),
        "robot": ROBOT,
        "hashed": ", ".join(f"coalesce({name}::VARCHAR, '')" for name in HASHED),
        "countries": ", ".join(str(pair) for pair in COUNTRIES.items()),
    }
    for name, value in filled.items():
        script = script.replace("{" + name + "}", value)
    clean, sessions = (part for part in script.split(";\n") if part.strip())
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        costs = measure(lambda: connection.execute(clean), lambda: connection.execute(sessions))
    report(dict(zip(("clean", "sessions"), costs, strict=True)))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
