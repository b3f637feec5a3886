"""Whole nights killed with SIGKILL while their work is watched from outside; a reader of what is published never rests.

Each night is ``experience nightly`` in a process of its own, with a delivery that no night before had. It is killed
when a file shows how far it is, also in the midst of what DuckDB writes. The night after the last kill is not killed:
it publishes every row once. Single stages killed at many moments are in ``tests/integration/test_stages_killed.py``.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from orchestration.sources.landing import Landing
from orchestration.warehouse.control import Control

READER = Path(__file__).parents[1] / "integration" / "stage_server.py"
SIGNS = {
    "a load of responses is committed": "landing/survey/responses/load_date=*/load_id=*/_manifest.json",
    "the responses are merged": "clean/response/_merged.json",
    "persons are written": "clean/person_record/all.parquet",
    "DuckDB writes what dbt builds": "warehouse/*.duckdb*",
    "the clean gate has spoken": "control/check_result/clean--*.parquet",
    "a release is being made": "serving/releases/.work-*",
}


def state(home, pattern):
    """What shows that a file came or was written: names, sizes and times."""
    found = set()
    for path in home.glob(pattern):
        try:
            about = path.stat()
        except FileNotFoundError:
            continue
        found.add((path.name, str(path.parent), about.st_size, about.st_mtime_ns))
    return found


def kill_at(bench, pattern):
    """Start a night and kill it as soon as something changes at ``pattern``."""
    before = state(bench.home, pattern)
    night = subprocess.Popen(
        [str(Path(sys.executable).with_name("experience")), "nightly"],
        cwd=bench.home, env=bench.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        while state(bench.home, pattern) <= before:
            try:
                night.wait(timeout=0.01)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"the night ended before anything changed at {pattern}: {night.stdout.read()}")
    finally:
        if night.poll() is None:
            os.killpg(night.pid, signal.SIGKILL)
        night.communicate()


@pytest.fixture
def reader(published_bench):
    """A process that reads what is published all along; gives its findings when asked."""
    child = subprocess.Popen(
        [sys.executable, str(READER), "reader", str(published_bench.home / "serving" / "current")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(READER.parents[2])},
    )  # fmt: skip
    assert "ready" in json.loads(child.stdout.readline())
    yield lambda: json.loads(child.communicate("")[0].splitlines()[-1])
    if child.poll() is None:
        child.kill()
        child.communicate()


def test_nights_killed_one_after_the_other_are_mended_by_the_next(published_bench, reader, rows_of):
    bench, before = published_bench, published_bench.release()
    for number, (sign, pattern) in enumerate(SIGNS.items(), start=2):
        delivery = rows_of["responses"](f"night{number}-", day=f"2026-05-{number:02d}")
        bench.deliver({f"responses_{number}.csv": delivery})
        kill_at(bench, pattern)
        assert bench.release() == before, sign
        assert bench.one("SELECT count(*) FROM fct_response") == 20, sign
    mended = bench.command("nightly")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert bench.release() != before
    expected = 20 * (1 + len(SIGNS))
    assert bench.one("SELECT count(*), count(DISTINCT source_id) FROM fct_response") == (expected, expected)
    assert bench.one("SELECT count(*), count(DISTINCT answer_key) FROM fct_answer") == (2 * expected, 2 * expected)
    manifests = Landing(bench.settings.landing_dir).manifests("survey", "responses")
    landed = [stamp.path for manifest in manifests for stamp in manifest.files]
    assert sorted(landed) == sorted({"responses_0501.csv", *(f"responses_{n}.csv" for n in range(2, 2 + len(SIGNS)))})
    loads = Control(bench.settings.control_dir).scan("load").filter(pl.col("status") == "committed").collect()
    assert {manifest.load_id for manifest in manifests} <= set(loads["load_id"])
    said = reader()
    assert said["faults"] == []
    assert said["seen"] == [before, bench.release()]
