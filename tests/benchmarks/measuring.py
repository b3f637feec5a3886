"""What one process costs: seconds, CPU seconds of all its threads, peak memory.

Does not belong here: what is measured, and imports that would weigh on the measured process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Cost:
    """Cost of a stretch of work.

    Attributes:
        seconds: Elapsed, with whatever else the machine did meanwhile.
        cpu_seconds: Of all threads of the process, and of the children it has waited for.
        peak_mb: Largest resident memory of the process since it began, mapped files included.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float


def cpu_seconds() -> float:
    """CPU seconds of this process and of its ended children."""
    return sum(os.times()[:4])


def measure(*steps: Callable[[], object]) -> list[Cost]:
    """Run the steps one after the other and give the cost of each."""
    costs = []
    for step in steps:
        wall, cpu = time.perf_counter(), cpu_seconds()
        step()
        costs.append(Cost(time.perf_counter() - wall, cpu_seconds() - cpu, peak_mb()))
    return costs


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB (10^6 bytes); 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), 0.0)


def report(costs: Mapping[str, Cost]) -> None:
    """Print the costs for ``in_process_of_its_own`` to read."""
    sys.stdout.write(json.dumps({name: asdict(cost) for name, cost in costs.items()}) + "\n")


def in_process_of_its_own(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> dict[str, Cost]:
    """Run ``python -m <module>`` and read what it reports in its last line."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | (environment or {}), stdout=subprocess.PIPE, text=True, check=True
    )
    return {name: Cost(**cost) for name, cost in json.loads(done.stdout.splitlines()[-1]).items()}


def rate_line(label: str, rows: int, costs: Sequence[Cost], base: float) -> list[str]:
    """A line of a table: median CPU seconds, rows a CPU second, times the ``base`` in CPU seconds, largest peak."""
    cpu = median(cost.cpu_seconds for cost in costs)
    peak = max(cost.peak_mb for cost in costs)
    return [label, f"{cpu:.2f}", f"{rows / cpu:,.0f}", f"{cpu / base:.2f}", f"{peak:.0f}"]


def median(values: Iterable[float]) -> float:
    """The middle value; of an even number the lower of the two in the middle."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A Markdown table; every column but the first is aligned to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    sys.stdout.write("".join("| " + " | ".join(line) + " |\n" for line in lines) + "\n")
    sys.stdout.flush()
