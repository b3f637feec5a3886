"""Play with a fake by hand: ``python -m tests.fakes hubspot --rows 500``; it runs until its input ends or Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import sys
from datetime import datetime

from tests.fakes.faults import KINDS, FaultPlan
from tests.fakes.server import DIALECTS, serve
from tests.fakes.store import NOON, Clock


def main() -> None:
    """Serve one dialect and print where."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes", description=__doc__)
    parser.add_argument("dialect", choices=DIALECTS)
    parser.add_argument("--port", type=int, default=0, help="a free one by default")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7, help="of the records and of the faults")
    parser.add_argument("--now", type=datetime.fromisoformat, default=NOON, help="time at the source")
    parser.add_argument("--fault", action="append", default=[], metavar="KIND=RATE", help=", ".join(KINDS))
    options = parser.parse_args()
    rates = {kind: float(rate or 1) for kind, _, rate in (fault.partition("=") for fault in options.fault)}
    plan = FaultPlan(rates=rates, seed=options.seed)
    with serve(
        options.dialect, rows=options.rows, seed=options.seed, clock=Clock(options.now), faults=plan, port=options.port
    ) as fake:
        print(fake.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()


if __name__ == "__main__":
    main()
