"""``python -m orchestration.sample``: write the sample company, or let another night pass over it.

Does not belong here: anything but reading arguments and saying what was done.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

from orchestration.sample.generate import BASE_EVENTS, Sample, copy_sources, generate, next_night, read_state
from orchestration.sample.world import SampleError, WorldConfig
from orchestration.settings import Settings


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m orchestration.sample", description=__doc__)
    parser.add_argument("--home", type=Path, help="the warehouse's folder; default: $EXPERIENCE_HOME")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--scale", type=float, help="size; 1.0 is the demo's: about 2,000 customers (default 1.0)")
    size.add_argument("--events", type=int, help="size by the number of web events, about")
    parser.add_argument("--seed", type=int, help="seed of every draw (default 7)")
    parser.add_argument("--days", type=int, help="days of history (default 400)")
    parser.add_argument("--end-date", type=date.fromisoformat, help="last day of the history (default 2026-10-31)")
    more = parser.add_mutually_exclusive_group()
    more.add_argument("--until", type=date.fromisoformat, help="last day that is known; each day is delivered in turn")
    more.add_argument("--nights", type=int, default=0, help="let so many more days pass over the sample that is there")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = _arguments().parse_args(arguments)
    home = given.home or Settings.from_environment().home
    folder = home / "sample"
    try:
        sample = next_night(folder, given.nights) if given.nights else _write(folder, given)
    except SampleError as error:
        sys.stderr.write(f"sample: {error}\n")
        return 2
    copy_sources(home / "sources", lambda message: sys.stderr.write(message + "\n"))
    counts = {name: sample.planted[source][name] for source, name in _SHOWN}
    sys.stdout.write(
        f"sample company in {folder}, known up to {sample.as_of}: "
        + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
        + f"; {len(sample.written)} files written, sources in {home / 'sources'}\n"
    )
    return 0


_SHOWN = (("web", "events"), ("survey", "responses"), ("support", "tickets"))


def _write(folder: Path, given: argparse.Namespace) -> Sample:
    """Write the sample the arguments describe; what they leave open is taken from the sample that is there."""
    state = read_state(folder)
    usual = state[0] if state else WorldConfig()
    scale = given.events / BASE_EVENTS if given.events is not None else given.scale
    config = WorldConfig(
        seed=usual.seed if given.seed is None else given.seed,
        scale=usual.scale if scale is None else scale,
        days=usual.days if given.days is None else given.days,
        end_date=usual.end_date if given.end_date is None else given.end_date,
    )
    until = given.until or (state[1] if state else config.end_date)
    if state and state[0] == config and until > state[1]:
        return next_night(folder, (until - state[1]).days)
    return generate(
        folder,
        scale=config.scale,
        days=config.days,
        seed=config.seed,
        end_date=config.end_date,
        as_of=until,
    )


if __name__ == "__main__":
    sys.exit(main())
