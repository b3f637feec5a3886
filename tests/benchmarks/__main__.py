"""``python -m tests.benchmarks [events] [night] [gates] [change] [sql] [http]``: print tables, assert nothing."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

NAMES = ("events", "night", "gates", "change", "sql", "http")


def main() -> None:
    """Run the benchmarks that are named, all of them without a name."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(NAMES)}; default: all")
    parser.add_argument("--events", type=int, default=5_000_000, help="web events to generate (default 5,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of which the best and the median are shown")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; use {', '.join(NAMES)}")
    home = Path(os.environ.get("EXPERIENCE_HOME") or "var").resolve()
    for name in given.names or NAMES:
        print(f"## {name}\n", flush=True)
        if name == "events":
            from tests.benchmarks import bench_events

            bench_events.main(home, given.events, given.rounds)
        elif name == "night":
            from tests.benchmarks import bench_night

            bench_night.main(home, given.rounds)
        elif name == "change":
            from tests.benchmarks import bench_change

            bench_change.main(home, given.events)
        elif name == "sql":
            from tests.benchmarks import bench_sql

            bench_sql.main(given.rounds)
        elif name == "http":
            from tests.benchmarks import bench_http

            bench_http.main(given.rounds)
        else:
            from tests.benchmarks import bench_gates

            bench_gates.main()


if __name__ == "__main__":
    main()
