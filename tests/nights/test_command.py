"""``experience nightly`` as an operator runs it: its exit status, its lock, its end by ``kill -9``."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from pathlib import Path


def stored(home: Path, database: str, query: str) -> list[tuple]:
    """Rows of one of the files in which Dagster keeps its runs."""
    with closing(sqlite3.connect(home / "history" / database)) as connection:
        return connection.execute(query).fetchall()


def taken_slots(home: Path) -> list[tuple]:
    """Pool and run of every slot that is taken."""
    query = "SELECT concurrency_key, run_id FROM concurrency_slots WHERE run_id IS NOT NULL AND NOT deleted"
    return stored(home, "runs/index.db", query)


@contextmanager
def held_in_a_pool(bench):
    """A night in a process of its own, stopped in the midst of a step that holds a pool.

    The file that says which loads a clean table holds is a fifo: opening it for writing returns when the night has
    opened it for reading, and what it reads there never comes.
    """
    path = bench.home / "clean" / "ticket" / "_merged.json"
    content = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    night = subprocess.Popen(
        [str(Path(sys.executable).with_name("experience")), "nightly"],
        cwd=bench.home, env=bench.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip

    def let_go():
        # A night that ends by itself opens the fifo no more: the test must not wait for it.
        night.wait()
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))

    watch = threading.Thread(target=let_go, daemon=True)
    watch.start()
    try:
        with path.open("wb"):
            assert night.poll() is None, "the night ended before it read the file"
            yield night
    finally:
        if night.poll() is None:
            os.killpg(night.pid, signal.SIGKILL)
        night.wait()
        watch.join()
        path.unlink()
        path.write_bytes(content)


def test_a_night_that_was_blocked_ends_with_1_and_posts_why(published_bench, inbox):
    bench, before = published_bench, published_bench.release()
    bench.deliver({"responses_0502.csv": "id,customer,answered,updated,csat\nx1,c1,2026-05-02,2026-05-02,5\n"})
    done = bench.command("nightly", EXPERIENCE_ALERT_WEBHOOK=inbox.url)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED  landing/survey/responses:timeliness: not_failed failed: survey.responses" in done.stdout
    assert "skipped behind landing_gate: " in done.stdout
    assert "NOT published: readers keep the version published before" in done.stdout
    assert bench.release() == before
    assert bench.read_elsewhere() == 20
    (message,) = inbox.messages
    assert message["job"] == "nightly"
    assert f"night {message['run_id']}" in done.stdout
    assert message["problems"] == [
        "stream survey.responses is stale: its load failed and it keeps what it had",
        "check landing/survey/responses:timeliness failed",
    ]
    assert "hush" not in done.stdout + done.stderr


def test_a_night_that_cannot_run_ends_with_2(bench):
    done = bench.command("nightly", EXPERIENCE_TIMEZONE="Mars/Olympus")
    assert done.returncode == 2
    assert "EXPERIENCE_TIMEZONE='Mars/Olympus' is not an IANA time zone" in done.stderr


def test_two_nights_never_run_at_once_and_a_killed_one_is_healed_by_the_next(published_bench, rows_of):
    bench, before = published_bench, published_bench.release()
    bench.deliver({"responses_0502.csv": rows_of["responses"]("s", day="2026-05-02")})
    with held_in_a_pool(bench) as night:
        second = bench.command("nightly")
        assert second.returncode == 2, second.stdout + second.stderr
        assert f"another night is running (process {night.pid}); wait until it ends" in second.stderr
        os.killpg(night.pid, signal.SIGKILL)
        night.wait()
    ((pool, run_id),) = taken_slots(bench.home)
    assert pool == "clean_writer"
    assert bench.release() == before
    assert bench.read_elsewhere() == 20

    healed = bench.command("nightly")
    assert healed.returncode == 0, healed.stdout + healed.stderr
    assert bench.release() not in (before, run_id)
    assert bench.release() in healed.stdout
    assert bench.read_elsewhere() == 40
    assert taken_slots(bench.home) == []
    states = dict(stored(bench.home, "runs.db", "SELECT run_id, status FROM runs"))
    assert states == {run_id: "FAILURE", bench.release(): "SUCCESS"}
