"""What a night costs when nothing is new: start-up of Dagster, dbt and Great Expectations, and each step.

``python -m tests.benchmarks night [--rounds 3]`` prints tables and asserts nothing. The sample company (scale 1) has
had its first night below ``$EXPERIENCE_HOME/benchmark/night``; further nights find the same sources.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tests.benchmarks.measuring import ROOT, median, print_table

IMPORTS = {
    "Python alone": "pass",
    "polars, duckdb, pyarrow": "import polars, duckdb, pyarrow",
    "dagster": "import dagster",
    "dagster and dagster_dbt": "import dagster, dagster_dbt",
    "orchestration.definitions": "import orchestration.definitions",
    "dbt": "import dbt.cli.main",
    "great_expectations": "import great_expectations",
}


def main(home: Path, rounds: int = 3) -> None:
    """Print the cost of the imports, of whole nights and of their steps."""
    folder = home / "benchmark" / "night"
    environment = os.environ | {"EXPERIENCE_HOME": str(folder), "DAGSTER_HOME": str(ROOT), "PYTHONUTF8": "1"}
    environment.pop("EXPERIENCE_SOURCES", None)
    rows = []
    for name, code in IMPORTS.items():
        costs = [run([sys.executable, "-c", code], environment) for _ in range(rounds)]
        rows.append((name, f"{min(cost[0] for cost in costs):.2f}", f"{min(cost[1] for cost in costs):.2f}"))
    print(f"start-up, each in a process of its own, least of {rounds}\n")
    print_table(("import", "s", "CPU s"), rows)
    night = [str(Path(sys.executable).with_name("experience")), "nightly"]
    if not (folder / "serving" / "current").exists():
        folder.mkdir(parents=True, exist_ok=True)
        run([str(Path(sys.executable).with_name("experience")), "init"], environment)
        run([sys.executable, "-m", "orchestration.sample", "--home", str(folder)], environment)
        print(f"first night: {describe(run(night, environment))}\n")
    nights = []
    for _ in range(rounds):
        began = time.time()
        seconds, cpu, output = run(night, environment)
        run_id = next(line.split()[1] for line in output.splitlines() if line.startswith("night "))
        nights.append((seconds, cpu, phases(folder, run_id, began, began + seconds)))
    print(f"{rounds} nights with nothing new; least and median\n")
    names = dict.fromkeys(name for _, _, parts in nights for name in parts)
    listed: list[tuple[str, list[float]]] = [
        ("whole night, s", [seconds for seconds, _, _ in nights]),
        ("whole night, CPU s", [cpu for _, cpu, _ in nights]),
        *((f"{name}, s", [parts.get(name, 0.0) for _, _, parts in nights]) for name in names),
    ]
    print_table(
        ("part", "least", "median"), ((name, f"{min(values):.2f}", f"{median(values):.2f}") for name, values in listed)
    )


def run(command: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Run a command; seconds, CPU seconds of it and its children, and what it printed.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, cpu, done.stdout


def describe(cost: tuple[float, float, str]) -> str:
    return f"{cost[0]:.1f} s, {cost[1]:.1f} CPU s"


def phases(folder: Path, run_id: str, began: float, ended: float) -> dict[str, float]:
    """Seconds of a night by phase and layer, from Dagster's event log.

    ``between steps`` is what Dagster itself takes while the run goes on.
    """
    code = (
        "import dagster, sys\n"
        "with dagster.DagsterInstance.get() as instance:\n"
        "    for entry in instance.all_logs(sys.argv[1]):\n"
        "        if entry.is_dagster_event:\n"
        "            event = entry.dagster_event\n"
        "            print(event.event_type_value, event.step_key, entry.timestamp)\n"
    )
    environment = os.environ | {"EXPERIENCE_HOME": str(folder), "DAGSTER_HOME": str(ROOT)}
    events = subprocess.run(
        [sys.executable, "-c", code, run_id], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return summed((line.split() for line in events.stdout.splitlines()), began, ended)


def summed(events: Iterable[list[str]], began: float, ended: float) -> dict[str, float]:
    """Phases of a night from (event type, step, time)."""
    entries = [(kind, step, float(at)) for kind, step, at in events]
    times = [at for _, _, at in entries]
    starts = {step: at for kind, step, at in entries if kind == "STEP_START"}
    layers: dict[str, float] = {}
    for kind, step, at in entries:
        if kind == "STEP_SUCCESS":
            layer = step.split("__")[0]
            layers[layer] = layers.get(layer, 0.0) + at - starts[step]
    inside = sum(layers.values())
    return {
        "start-up, to the first event": min(times) - began,
        **dict(sorted(layers.items(), key=lambda layer: -layer[1])),
        "between steps": max(times) - min(times) - inside,
        "after the last event": ended - max(times),
    }
