"""What a night costs when little changed, and an erasure, beside the night that makes everything.

``python -m tests.benchmarks change [--events 5000000]`` prints tables and asserts nothing. The sample company with 400
days of history, without its last four days, has its first night below ``$EXPERIENCE_HOME/benchmark``; then nothing
happens for a night, then come the four days (1 % new events) with as many of the events before them restated, then the
exports of the month are delivered once more, whole and unchanged, then one person is erased. CPU seconds by layer come
from ``step_metric``.

The sample's survey and support exports are files of a month, written again each night. In the night of 1 % they hold
only the rows that are new or changed, since a month is 8 % of all answers.

What a night costs whatever the number of rows (start-up, some 200 checks and models, Dagster's log) is what the same
night costs in a small company; the shares are of what goes beyond.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from tests.benchmarks.bench_night import run
from tests.benchmarks.measuring import ROOT, print_table

LAST_DAY = date(2026, 10, 31)
NEW_DAYS = 4
RESTATED_SHARE = 0.01
SMALL_EVENTS = 60_000
EVERYTHING = "everything"
EXPORTS = ("survey/relational_*.csv", "survey/transactional_*.csv", "survey/invitations_*.csv", "support/*.jsonl")
"""Files of the sample that are written again while their month lasts."""
HEADER_ROWS = {"relational": 3, "transactional": 3, "invitations": 1}


@dataclass(frozen=True)
class Night:
    """One run: its cost as a whole process, and by layer."""

    cpu_seconds: float
    seconds: float
    layers: dict[str, float]


def main(home: Path, events: int = 5_000_000) -> None:
    """Play the nights in a small company and in one with so many events, and print what each cost."""
    small = play(home / "benchmark" / "change-small", SMALL_EVENTS)
    nights = play(home / "benchmark" / f"change-{events}", events)
    print(f"{events:,} events in 400 days; {NEW_DAYS} days are new, {RESTATED_SHARE:.0%} of events are restated\n")
    show(nights, small)


def play(folder: Path, events: int) -> dict[str, Night]:
    """Everything, nothing, four days with restated events, exports once more, an erasure; each a night."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = os.environ | {"EXPERIENCE_HOME": str(folder), "DAGSTER_HOME": str(ROOT), "PYTHONUTF8": "1"}
    environment.pop("EXPERIENCE_SOURCES", None)
    experience = str(Path(sys.executable).with_name("experience"))
    sample = [sys.executable, "-m", "orchestration.sample", "--home", str(folder)]

    def night(*arguments: str) -> Night:
        seconds, cpu, _ = run([experience, *(arguments or ("nightly",))], environment)
        return Night(cpu, seconds, layers(folder))

    run([experience, "init"], environment)
    run([*sample, "--events", str(events), "--until", str(LAST_DAY - timedelta(days=NEW_DAYS))], environment)
    nights = {EVERYTHING: night(), "nothing new": night()}
    before = exports(folder / "sample")
    run([*sample, "--nights", str(NEW_DAYS)], environment)
    whole = {path: text for path, text in exports(folder / "sample").items() if before.get(path) != text}
    for path, text in whole.items():
        path.write_bytes((new_rows(path, before[path], text) if path in before else text).encode())
    restate(folder / "sample" / "web", round(events * RESTATED_SHARE))
    nights["1 % new, 1 % changed"] = night()
    for path, text in whole.items():
        path.write_bytes(text.encode())
    nights["exports once more"] = night()
    nights["one person erased"] = night("erase", *somebody(folder))
    return nights


def show(nights: dict[str, Night], small: dict[str, Night]) -> None:
    """One column a night: CPU seconds by layer, of the same night in a small company, and beyond that as a share."""
    names = dict.fromkeys(layer for night in nights.values() for layer in night.layers)
    beyond = {name: night.cpu_seconds - small[name].cpu_seconds for name, night in nights.items()}
    rows = [[name, *(f"{night.layers.get(name, 0.0):.1f}" for night in nights.values())] for name in names]
    other = (night.cpu_seconds - sum(night.layers.values()) for night in nights.values())
    rows.append(["after the last step", *(f"{seconds:.1f}" for seconds in other)])
    rows.append(["whole process, CPU s", *(f"{night.cpu_seconds:.1f}" for night in nights.values())])
    rows.append(["whole process, s", *(f"{night.seconds:.1f}" for night in nights.values())])
    rows.append([f"with {SMALL_EVENTS:,} events, CPU s", *(f"{small[name].cpu_seconds:.1f}" for name in nights)])
    rows.append(["beyond that, CPU s", *(f"{seconds:.1f}" for seconds in beyond.values())])
    rows.append(["of everything", *(f"{100 * seconds / beyond[EVERYTHING]:.0f} %" for seconds in beyond.values())])
    print_table(("CPU seconds", *nights), rows)


def layers(folder: Path) -> dict[str, float]:
    """CPU seconds of the newest run by layer; the first step's include the start-up."""
    from orchestration.settings import Settings
    from orchestration.warehouse.control import Control

    steps = Control(Settings(home=folder, sources_dir=folder).control_dir).scan("step_metric").collect()
    newest = steps.filter(pl.col("started_at") == pl.col("started_at").max())["run_id"].to_list()[0]
    own = steps.filter(pl.col("run_id") == newest).sort("started_at")
    summed = own.group_by("layer", maintain_order=True).agg(pl.col("cpu_seconds").sum())
    return dict(summed.rows())


def exports(folder: Path) -> dict[Path, str]:
    """Content of the sample's monthly exports, by file."""
    return {path: path.read_bytes().decode() for glob in EXPORTS for path in folder.glob(glob)}


def new_rows(path: Path, before: str, now: str) -> str:
    """An export with the rows that it did not have before, behind its header."""
    if path.suffix == ".jsonl":
        known = set(before.splitlines())
        return "".join(f"{line}\n" for line in now.splitlines() if line not in known)
    rows, known_rows = list(csv.reader(io.StringIO(now))), {tuple(row) for row in csv.reader(io.StringIO(before))}
    header = HEADER_ROWS[path.stem.split("_")[0]]
    text = io.StringIO()
    csv.writer(text).writerows([*rows[:header], *(row for row in rows[header:] if tuple(row) not in known_rows)])
    return text.getvalue()


def restate(folder: Path, number: int) -> int:
    """Deliver events of the days before the new ones once more, each from another country than before."""
    with gzip.open(folder / "events_restated.jsonl.gz", "wt", encoding="utf-8") as file:
        count = 0
        for line in newest_lines(folder):
            if count == number:
                break
            event = json.loads(line)
            event["geo"] = {**(event.get("geo") or {}), "country": "Iceland"}
            file.write(json.dumps(event, ensure_ascii=False) + "\n")
            count += 1
    return count


def newest_lines(folder: Path) -> Iterator[str]:
    """Lines of the daily files before the new days, the newest file first."""
    for path in sorted(folder.glob("events_2*.jsonl.gz"), reverse=True)[NEW_DAYS:]:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from file


def somebody(folder: Path) -> list[str]:
    """Arguments that name a customer with web visits and a response."""
    customers = pl.scan_parquet(folder / "clean" / "customer" / "bucket-*.parquet").filter(~pl.col("is_deleted"))
    logins = customers.drop_nulls("login").select("source", "source_id").sort("source", "source_id").head(1).collect()
    source, key = logins.rows()[0]
    return ["--source", source, "--table", "customer", "--key", key]
