"""Publishing under real concurrency: readers, writers and kills in processes of their own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
import sqlalchemy

from orchestration.contracts import CONTROL
from orchestration.settings import Settings
from orchestration.warehouse import publish as publishing
from orchestration.warehouse.publish import (
    PublishBlocked,
    PublishError,
    Release,
    current_release,
    prune,
    publish,
    releases,
    roll_back,
    verify,
)

NOW = datetime(2026, 5, 1, 2, 10, tzinfo=UTC)
TABLES = ("dim_person", "fct_order", "mart_nps")

READER = """
import json, sys, threading
from pathlib import Path
import duckdb
link = Path(sys.argv[1])
tables = json.loads(sys.argv[2])
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
checks, faults, seen = 0, [], set()
while checks == 0 or not stop.is_set():
    try:
        with duckdb.connect(str(link / "marts.duckdb"), read_only=True) as db:
            found = {g for t in tables for (g,) in db.execute(f"select distinct generation from {t}").fetchall()}
        release = link.resolve()
        files = [str(release / "parquet" / t) + ("/*.parquet" if t.startswith("fct_") else ".parquet") for t in tables]
        with duckdb.connect() as db:
            sql = "select distinct generation from read_parquet(?)"
            found_files = {g for f in files for (g,) in db.execute(sql, [f]).fetchall()}
        for name, generations in (("database", found), ("parquet", found_files)):
            if len(generations) != 1:
                faults.append(f"mixed {name}: {sorted(generations)}")
        seen |= found
    except Exception as error:
        faults.append(repr(error))
    checks += 1
    if checks == 1:
        print("ready", flush=True)
print(json.dumps({"checks": checks, "faults": faults[:5], "seen": sorted(seen)}), flush=True)
"""

WRITER = """
import sys, duckdb
held = [duckdb.connect(path) for path in sys.argv[1:]]
for db in held:
    db.execute("begin")
    db.execute("create or replace table written_now as select 1 as x")
print("ready", flush=True)
sys.stdin.read()
"""

PUBLISHER = """
# Imports once, then forks a process for each publish asked for, so that many kills stay cheap.
import os, signal, sys
from datetime import datetime, UTC
from pathlib import Path
from types import SimpleNamespace
from orchestration.settings import Settings
from orchestration.warehouse.publish import publish
home = Path(sys.argv[1])
def child(run_id, die_after):
    def after(step):
        print(step, flush=True)
        if step == die_after:
            os.kill(os.getpid(), signal.SIGKILL)
    publish(Settings(home=home, sources_dir=home), run_id, now=datetime(2026, 5, 1, tzinfo=UTC),
            decision=SimpleNamespace(action="publish", reasons=()), extra_files={"report.html": b"<p>x"},
            after_step=after)
print("ready", flush=True)
for line in sys.stdin:
    run_id, die_after = line.rstrip("\\n").split("|")
    pid = os.fork()
    if pid == 0:
        child(run_id, die_after)
        os._exit(0)
    print(pid, flush=True)
    print(f"ended {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}", flush=True)
"""


@dataclass(frozen=True)
class Decided:
    action: str = "publish"
    reasons: tuple[str, ...] = ()


MONTHS = ("2026-02", "2026-03", "undated")


def write_marts(settings: Settings, generation: int, rows: int = 5000) -> None:
    settings.marts_path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(settings.marts_path)) as db:
        for table in TABLES:
            db.execute(
                f"CREATE OR REPLACE TABLE {table} AS SELECT {generation} AS generation, i::BIGINT AS id, "
                "'row ' || i AS label, CASE WHEN i % 50 > 0 THEN TIMESTAMP '2026-01-31 12:00:00' + "
                f"to_days((i % 50)::INTEGER) END AS ordered_at FROM range({rows}) AS r(i)"
            )
            db.execute(f"COMMENT ON TABLE {table} IS 'One row of {table}.'")
            db.execute(f"COMMENT ON COLUMN {table}.id IS 'Key of {table}.'")


def read(path: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(path), read_only=True) as db:
        return db.execute(sql).fetchall()


def generation_of(settings: Settings) -> int:
    found = {
        row[0]
        for table in TABLES
        for row in read(settings.serving_dir / "current" / "marts.duckdb", f"SELECT DISTINCT generation FROM {table}")
    }
    assert len(found) == 1, f"a reader sees a mix: {found}"
    return found.pop()


def run(settings: Settings, run_id: str, **options) -> Release:
    return publish(settings, run_id, **{"now": NOW, "decision": Decided(), **options})


@contextmanager
def process(code: str, *arguments: str) -> Iterator[subprocess.Popen]:
    """A helper process that has said it is ready; it is let go at the end."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline().strip() == "ready"
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def finish(reader: subprocess.Popen) -> dict:
    out, _ = reader.communicate("")
    return json.loads(out)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, sources_dir=tmp_path / "sources", keep_releases=50)


def leftovers(settings: Settings) -> list[Path]:
    return [*settings.serving_dir.glob(".work-*"), *settings.serving_dir.glob("releases/.work-*")]


# --- what a release is -------------------------------------------------------------------------------


def test_release_holds_database_parquet_manifest_and_extra_files(settings):
    write_marts(settings, 1)
    release = run(
        settings,
        "run-1",
        decision=Decided("publish+warn", ("2 warnings",)),
        extra_files={"report.html": "<p>早安".encode()},
        warnings=["late"],
        stale_sources=["crm"],
    )
    current = settings.serving_dir / "current"
    assert current.is_symlink() and str(current.readlink()) == "releases/run-1"
    assert current_release(settings) == release
    assert release.row_counts == {
        "check_result": 0,
        "dim_person": 5000,
        "fct_order": 5000,
        "load": 0,
        "mart_nps": 5000,
        "retention": 0,
        "step_metric": 0,
    }
    assert (current / "report.html").read_text("utf-8") == "<p>早安"
    manifest = json.loads((current / "release.json").read_text("utf-8"))
    assert manifest["action"] == "publish+warn" and manifest["reasons"] == ["2 warnings"]
    assert manifest["stale_sources"] == ["crm"] and manifest["published_at"] == "2026-05-01T02:10:00+00:00"
    assert pl.read_parquet(current / "parquet" / "dim_person.parquet").height == 5000
    assert pl.read_parquet(current / "parquet" / "fct_order").height == 5000
    assert sorted(file.stem for file in (current / "parquet" / "fct_order").iterdir()) == list(MONTHS)
    assert verify(release) == [] and leftovers(settings) == []
    assert not list(release.path.glob("*.wal")) and not list(release.path.glob("*.tmp"))


def test_comments_on_tables_and_columns_survive(settings):
    write_marts(settings, 1)
    database = run(settings, "run-1").marts_path
    comments = dict(read(database, "SELECT table_name, comment FROM duckdb_tables()"))
    assert comments["fct_order"] == "One row of fct_order."
    assert comments["load"].startswith("One committed or failed attempt")
    columns = dict(read(database, "SELECT table_name || '.' || column_name, comment FROM duckdb_columns()"))
    assert columns["fct_order.id"] == "Key of fct_order."
    assert columns["check_result.outcome"] == "What came of it."


def test_catalogue_and_file_name_stay_the_same(settings):
    for number in (1, 2):
        write_marts(settings, number)
        run(settings, f"run-{number}")
        path = settings.serving_dir / "current" / "marts.duckdb"
        assert read(path, "SELECT current_database(), count(*) FROM marts.main.fct_order") == [("marts", 5000)]


def test_bi_tools_read_through_sqlalchemy(settings):
    write_marts(settings, 1)
    run(settings, "run-1")
    path = settings.serving_dir / "current" / "marts.duckdb"
    engine = sqlalchemy.create_engine(f"duckdb:///{path}?access_mode=read_only", poolclass=sqlalchemy.pool.NullPool)
    for number in (1, 2):
        with engine.connect() as connection:
            assert connection.execute(sqlalchemy.text("SELECT max(generation) FROM fct_order")).scalar() == number
            assert "fct_order" in sqlalchemy.inspect(connection).get_table_names()
        write_marts(settings, number + 1)
        run(settings, f"run-{number + 1}")


def test_published_files_cannot_be_written(settings):
    write_marts(settings, 1)
    release = run(settings, "run-1")
    for file in (
        release.marts_path,
        release.path / "release.json",
        release.parquet_dir / "fct_order" / "2026-02.parquet",
    ):
        assert file.stat().st_mode & 0o222 == 0


def test_parquet_is_byte_identical_while_rows_do_not_change(settings):
    write_marts(settings, 1, rows=30_000)
    first = hashes(run(settings, "run-1"))
    with duckdb.connect(str(settings.marts_path)) as db:
        db.execute("CREATE OR REPLACE TABLE fct_order AS FROM fct_order ORDER BY hash(id)")
        db.execute("UPDATE mart_nps SET label = 'changed' WHERE id = 7")
        db.execute("UPDATE fct_order SET label = 'changed' WHERE id = 7")
    # Written anew by another than the release before: nothing is taken from there.
    for name in ("current", "releases"):
        (settings.serving_dir / name).rename(settings.serving_dir / f"{name}-before")
    second = hashes(run(settings, "run-2"))
    assert {path for path in second if second[path] != first[path]} == {"fct_order/2026-02.parquet", "mart_nps.parquet"}


def hashes(release: Release) -> dict[str, str]:
    return {file.path: file.sha256 for table in release.tables for file in table.files}


@pytest.mark.parametrize(
    ("change", "written"),
    [
        ("CREATE OR REPLACE TABLE fct_order AS FROM fct_order ORDER BY hash(id)", []),
        ("UPDATE fct_order SET label = 'changed' WHERE id = 7", ["2026-02"]),
        ("UPDATE fct_order SET label = NULL WHERE id = 40", ["2026-03"]),
        ("UPDATE fct_order SET ordered_at = NULL WHERE id = 40", ["2026-03", "undated"]),
        ("DELETE FROM fct_order WHERE id = 50", ["undated"]),
        ("INSERT INTO fct_order SELECT * FROM fct_order WHERE id = 7", ["2026-02"]),
        ("INSERT INTO fct_order SELECT 1, 9, 'x', '2026-04-30 23:59:59'", ["2026-04"]),
        ("UPDATE fct_order SET ordered_at = NULL WHERE month(ordered_at) = 3", ["2026-03", "undated"]),
        ("ALTER TABLE fct_order RENAME COLUMN label TO name", ["2026-02", "2026-03", "undated"]),
        ("ALTER TABLE fct_order ALTER generation TYPE BIGINT", ["2026-02", "2026-03", "undated"]),
        ("DELETE FROM fct_order", None),
    ],
)
def test_only_months_of_facts_that_changed_are_written(settings, change, written):
    write_marts(settings, 1)
    first = run(settings, "run-1")
    make(settings, change)
    second = run(settings, "run-2", accept_drops=["fct_order"])
    assert not verify(second)
    kept = {file.path for table in second.tables for file in table.files if file in find(first, table.name).files}
    for path in kept:
        assert (second.parquet_dir / path).samefile(first.parquet_dir / path)
    assert {"dim_person.parquet", "mart_nps.parquet"} <= kept
    held = {file.path for file in find(second, "fct_order").files}
    if written is None:
        assert held == {"fct_order/undated.parquet"}
    else:
        assert {file for file in held if file not in kept} == {f"fct_order/{month}.parquet" for month in written} & held
    in_files = f"SELECT * FROM '{second.parquet_dir}/fct_order/*.parquet' ORDER BY ALL"
    assert read(second.marts_path, in_files) == read(second.marts_path, "FROM fct_order ORDER BY ALL")


def find(release: Release, name: str):
    return next(table for table in release.tables if table.name == name)


def make(settings, *statements):
    with duckdb.connect(str(settings.marts_path)) as db:
        for statement in statements:
            db.execute(statement)


def test_months_of_many_rows_have_equal_bytes_whatever_other_months_hold(settings):
    """A row group of Parquet has at most 122,880 rows."""
    write_marts(settings, 1, rows=10)
    rows = "SELECT i AS id, TIMESTAMP '2026-02-01' + to_seconds(i) AS ordered_at FROM range(130000) AS r(i)"
    make(settings, f"CREATE OR REPLACE TABLE fct_order AS {rows}")
    first = hashes(run(settings, "run-1"))
    more = "SELECT i AS id, TIMESTAMP '2026-01-01' + to_seconds(i) AS ordered_at FROM range(50001) AS r(i)"
    make(settings, f"CREATE OR REPLACE TABLE fct_order AS FROM ({more} UNION ALL {rows}) ORDER BY hash(id)")
    (settings.serving_dir / "current").unlink()
    assert hashes(run(settings, "run-2"))["fct_order/2026-02.parquet"] == first["fct_order/2026-02.parquet"]


def test_a_month_is_that_of_the_first_time_that_is_known(settings):
    write_marts(settings, 1, rows=10)
    times = "(NULL, DATE '2026-05-01'), (TIMESTAMP '2026-04-30 23:59:59', DATE '2026-05-01'), (NULL, NULL)"
    make(settings, f"CREATE OR REPLACE TABLE fct_order AS SELECT * FROM (VALUES {times}) AS v(paid_at, ordered_date)")
    found = {file.path: file.rows for file in find(run(settings, "run-1"), "fct_order").files}
    assert found == {f"fct_order/{name}.parquet": 1 for name in ("2026-04", "2026-05", "undated")}


@pytest.mark.parametrize("kind", ["TIMESTAMP", "DATE"])
def test_every_row_stands_in_the_file_of_its_month(settings, kind):
    """Months are asked for by their first time where each row has one, and otherwise by what is known."""
    write_marts(settings, 1, rows=10)
    first = ["2026-04-30", "2026-05-01", "2026-05-31", "2026-06-01", "2026-06-30", "9999-12-31", "0044-03-15 (BC)"]
    first += ["infinity", "-infinity", "200000-01-01"]
    times = ", ".join(f"('k{n}', {kind} '{time}', NULL)" for n, time in enumerate(first))
    times += ", ('k20', NULL, TIMESTAMP '2026-06-15 12:00:00'), ('k21', NULL, NULL)"
    make(settings, f"CREATE OR REPLACE TABLE fct_order AS FROM (VALUES {times}) AS v(order_key, paid_at, ordered_at)")
    release = run(settings, "run-1")
    found = {file.path: file.rows for file in find(release, "fct_order").files}
    assert (found["fct_order/2026-04.parquet"], found["fct_order/2026-05.parquet"]) == (1, 2)
    assert (found["fct_order/2026-06.parquet"], found["fct_order/9999-12.parquet"]) == (3, 1)
    assert sum(found.values()) == len(first) + 2
    in_files = f"SELECT * FROM '{release.parquet_dir}/fct_order/*.parquet' ORDER BY ALL"
    assert read(release.marts_path, in_files) == read(release.marts_path, "FROM fct_order ORDER BY ALL")


def test_rows_without_a_key_in_front_are_ordered_by_all_they_hold(settings):
    write_marts(settings, 1, rows=10)
    rows = "SELECT i % 3 AS store, i AS id, TIMESTAMP '2026-02-01' AS ordered_at FROM range(500) AS r(i)"
    make(settings, f"CREATE OR REPLACE TABLE fct_order AS {rows}")
    first = hashes(run(settings, "run-1"))
    make(settings, f"CREATE OR REPLACE TABLE fct_order AS FROM ({rows}) ORDER BY hash(id)")
    (settings.serving_dir / "current").unlink()
    assert hashes(run(settings, "run-2"))["fct_order/2026-02.parquet"] == first["fct_order/2026-02.parquet"]


def test_columns_may_be_named_like_what_publishing_uses(settings):
    write_marts(settings, 1, rows=10)
    columns = 'i % 7 AS rowid, i AS "month", i AS n, i AS "group", TIMESTAMP \'2026-01-31\' + to_days(i::INT) AS hashes'
    for table in ("dim_person", "fct_order"):
        make(settings, f"CREATE OR REPLACE TABLE {table} AS SELECT {columns} FROM range(40) AS r(i)")
    release = run(settings, "run-1")
    for table, files in (("dim_person", "dim_person.parquet"), ("fct_order", "fct_order/*.parquet")):
        in_files = f"SELECT * FROM '{release.parquet_dir}/{files}' ORDER BY ALL"
        assert read(release.marts_path, in_files) == read(release.marts_path, f"FROM {table} ORDER BY ALL")


def test_values_of_the_last_column_that_change_places_are_seen(settings):
    """DuckDB's hash of several columns takes the last one in so that these sums would be equal."""
    write_marts(settings, 1, rows=10)
    rows = "SELECT * FROM (VALUES ('k143', {}), ('k32529', {})) AS v(k, is_last)"
    make(settings, f"CREATE OR REPLACE TABLE dim_person AS {rows.format(True, False)}")
    run(settings, "run-1")
    make(settings, f"CREATE OR REPLACE TABLE dim_person AS {rows.format(False, True)}")
    second = run(settings, "run-2")
    assert sorted(pl.read_parquet(second.parquet_dir / "dim_person.parquet").rows()) == [
        ("k143", False),
        ("k32529", True),
    ]


def test_files_that_cannot_be_linked_are_written(settings, monkeypatch):
    def refuse(*_):
        raise PermissionError("Operation not permitted")

    write_marts(settings, 1)
    first = run(settings, "run-1")
    monkeypatch.setattr(publishing.os, "link", refuse)
    second = run(settings, "run-2")
    assert not verify(second) and hashes(second) == hashes(first)


@pytest.mark.parametrize("of_before", [{"marts_sha256": "x"}, {}])
def test_release_of_the_format_before_can_be_followed_and_rolled_back_to(settings, of_before):
    write_marts(settings, 1)
    first = run(settings, "run-1")
    manifest = first.path / "release.json"
    content = json.loads(manifest.read_text("utf-8"))
    for month in MONTHS[1:]:
        (first.parquet_dir / "fct_order" / f"{month}.parquet").unlink()
    (first.parquet_dir / "fct_order" / f"{MONTHS[0]}.parquet").rename(first.parquet_dir / "fct_order.parquet")
    for table in content["tables"]:
        file = table.pop("files")[0]
        table |= {"bytes": file["bytes"], "sha256": file["sha256"]}
    manifest.unlink()
    manifest.write_text(json.dumps(content | {"format": 1} | of_before), "utf-8")
    write_marts(settings, 2)
    second = run(settings, "run-2")
    assert not verify(second) and current_release(settings) == second
    assert roll_back(settings, "run-1").row_counts == second.row_counts


@pytest.mark.parametrize("damage", ["changed", "gone", "other marts"])
def test_parquet_is_written_anew_where_the_release_before_cannot_be_trusted(settings, damage):
    write_marts(settings, 1)
    first = run(settings, "run-1")
    file = first.parquet_dir / "fct_order" / "2026-02.parquet"
    if damage == "changed":
        file.chmod(0o644)
        file.write_bytes(b"x" * file.stat().st_size)
    elif damage == "gone":
        file.unlink()
    else:
        write_marts(settings, 2)
    second = run(settings, "run-2")
    assert not verify(second)
    in_file = read(second.marts_path, f"SELECT DISTINCT generation FROM '{second.parquet_dir}/fct_order/*.parquet'")
    assert in_file == read(second.marts_path, "SELECT DISTINCT generation FROM fct_order")


def load_row(run_id: str) -> dict:
    return {
        "load_id": f"load-{run_id}",
        "run_id": run_id,
        "source": "crm",
        "stream": "contacts",
        "status": "committed",
        "started_at": datetime(2026, 5, 1, 2, 0),
        "rows_read": 3,
    }


def test_control_tables_come_from_frames_or_from_the_control_folder(settings):
    write_marts(settings, 1)
    given = pl.DataFrame([load_row("given")], schema_overrides=CONTROL["load"].schema)
    release = run(settings, "run-1", control={"load": given})
    assert read(release.marts_path, "SELECT run_id, rows_read, error FROM load") == [("given", 3, None)]

    folder = settings.control_dir / "load"
    folder.mkdir(parents=True)
    for number in (2, 1):
        pl.DataFrame([load_row(f"kept-{number}")]).write_parquet(folder / f"{number}.parquet")
    release = run(settings, "run-2")
    assert read(release.marts_path, "SELECT run_id FROM load") == [("kept-1",), ("kept-2",)]
    assert dict(
        read(release.marts_path, "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name='load'")
    )["extracted_at"] == ("TIMESTAMP")


def test_changes_that_a_killed_writer_left_in_the_wal_are_published(settings):
    write_marts(settings, 1)
    code = (
        "import sys, os, signal, duckdb\n"
        "db = duckdb.connect(sys.argv[1])\n"
        "db.execute('SET wal_autocheckpoint = \"1GB\"')\n"
        "for t in ('dim_person', 'fct_order', 'mart_nps'): db.execute(f'UPDATE {t} SET generation = 2')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(settings.marts_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert Path(f"{settings.marts_path}.wal").exists()
    run(settings, "run-1")
    assert generation_of(settings) == 2


# --- what stands before it ---------------------------------------------------------------------------


def test_blocked_decision_publishes_nothing(settings):
    write_marts(settings, 1)
    run(settings, "run-1")
    write_marts(settings, 2)
    with pytest.raises(PublishBlocked, match="nps out of range") as caught:
        run(settings, "run-2", decision=Decided("block", ("nps out of range in mart_nps",)))
    assert caught.value.reasons == ("nps out of range in mart_nps",)
    assert generation_of(settings) == 1 and [r.run_id for r in releases(settings)] == ["run-1"]


@pytest.mark.parametrize("action", ["", "PUBLISH", "publish-warn", "skip"])
def test_unknown_decision_blocks(settings, action):
    write_marts(settings, 1)
    with pytest.raises(PublishBlocked):
        run(settings, "run-1", decision=Decided(action))
    assert current_release(settings) is None


def test_row_loss_blocks_and_can_be_accepted(settings):
    write_marts(settings, 1, rows=100)
    run(settings, "run-1")
    write_marts(settings, 2, rows=50)
    run(settings, "run-2")
    with duckdb.connect(str(settings.marts_path)) as db:
        db.execute("DELETE FROM fct_order WHERE id >= 24")
        db.execute("DELETE FROM mart_nps")
    with pytest.raises(PublishBlocked) as caught:
        run(settings, "run-3")
    (reason,) = caught.value.reasons
    assert "fct_order" in reason and "24" in reason and "50" in reason and "accept_drops=['fct_order']" in reason
    assert current_release(settings).run_id == "run-2" and leftovers(settings) == []
    release = run(settings, "run-3", accept_drops={"fct_order"})
    assert release.row_counts["fct_order"] == 24 and release.accepted_drops == ("fct_order",)


def test_lost_table_blocks(settings):
    write_marts(settings, 1, rows=100)
    run(settings, "run-1")
    with duckdb.connect(str(settings.marts_path)) as db:
        db.execute("DROP TABLE mart_nps")
    with pytest.raises(PublishBlocked, match=r"mart_nps \(100 rows in release run-1\) is gone"):
        run(settings, "run-2")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("CREATE TABLE fct_x AS SELECT [1] AS tags", ["fct_x.tags", "INTEGER[]", "columns or rows"]),
        ("CREATE TABLE fct_x AS SELECT {'a': 1} AS parts", ["fct_x.parts", "STRUCT"]),
        ("CREATE TABLE fct_x AS SELECT map {'a': 1} AS parts", ["fct_x.parts", "MAP"]),
        ("CREATE TABLE fct_x AS SELECT sum(1) AS total", ["fct_x.total", "HUGEINT", "BIGINT or DECIMAL"]),
        ("CREATE TABLE fct_x AS SELECT now()::TIMESTAMPTZ AS seen_at", ["fct_x.seen_at", "TIMESTAMP in UTC"]),
        ("CREATE TABLE fct_x AS SELECT 'a'::ENUM ('a', 'b') AS kind", ["fct_x.kind", "ENUM"]),
        ("CREATE VIEW fct_x AS SELECT 1 AS x", ["fct_x", "view"]),
        ("CREATE SCHEMA private; CREATE TABLE private.person AS SELECT 1 AS x", ["private.person", "schema main"]),
        ("CREATE TABLE load AS SELECT 1 AS x", ["load", "control table"]),
        ('CREATE TABLE "Fct X" AS SELECT 1 AS x', ["Fct X", "snake_case"]),
    ],
)
def test_broken_contract_is_named(settings, sql, words):
    write_marts(settings, 1, rows=10)
    with duckdb.connect(str(settings.marts_path)) as db:
        db.execute(sql)
    with pytest.raises(PublishError) as caught:
        run(settings, "run-1")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert current_release(settings) is None and leftovers(settings) == []


def test_missing_and_empty_marts_are_named(settings):
    with pytest.raises(PublishError, match="does not exist: build the marts"):
        run(settings, "run-1")
    settings.marts_path.parent.mkdir(parents=True)
    duckdb.connect(str(settings.marts_path)).close()
    with pytest.raises(PublishError, match="holds no table"):
        run(settings, "run-1")


@pytest.mark.parametrize("run_id", ["", "../x", ".hidden", "a/b", "a b"])
def test_run_id_must_name_a_folder(settings, run_id):
    write_marts(settings, 1, rows=10)
    with pytest.raises(PublishError, match="run id"):
        run(settings, run_id)


@pytest.mark.parametrize("name", ["marts.duckdb", "release.json", "../report.html", "parquet"])
def test_extra_files_cannot_overwrite(settings, name):
    write_marts(settings, 1, rows=10)
    with pytest.raises(PublishError, match="extra file"):
        run(settings, "run-1", extra_files={name: b"x"})


def test_same_run_twice(settings):
    write_marts(settings, 1, rows=10)
    first = run(settings, "run-1")
    assert run(settings, "run-1") == first
    write_marts(settings, 2, rows=10)
    with pytest.raises(PublishError, match="new run id"):
        run(settings, "run-1")
    assert generation_of(settings) == 1


# --- earlier releases ---------------------------------------------------------------------------------


def publish_three(settings):
    for number in (1, 2, 3):
        write_marts(settings, number, rows=10)
        run(settings, f"run-{number}", now=NOW.replace(day=number))


def test_roll_back_and_forward(settings):
    publish_three(settings)
    assert roll_back(settings, "run-1").run_id == "run-1"
    assert generation_of(settings) == 1
    assert [r.run_id for r in releases(settings)] == ["run-3", "run-2", "run-1"]
    with pytest.raises(PublishError, match="there are: run-3, run-2, run-1"):
        roll_back(settings, "run-9")


def test_roll_back_refuses_a_damaged_release(settings):
    publish_three(settings)
    parquet = releases(settings)[1].parquet_dir
    (parquet / "fct_order" / "2026-02.parquet").unlink()
    (parquet / "fct_order" / "2026-02.parquet").write_bytes(b"x")
    (parquet / "load.parquet").unlink()
    with pytest.raises(PublishError, match=r"fct_order/2026-02.parquet was changed.*load.parquet is missing"):
        roll_back(settings, "run-2")
    assert generation_of(settings) == 3


def test_damaged_manifest_is_named_and_can_be_left(settings):
    publish_three(settings)
    manifest = settings.serving_dir / "current" / "release.json"
    manifest.unlink()
    manifest.write_text("{")
    with pytest.raises(PublishError, match="roll back"):
        current_release(settings)
    roll_back(settings, "run-2")
    assert generation_of(settings) == 2


def test_prune_keeps_the_newest_and_the_current(settings):
    publish_three(settings)
    roll_back(settings, "run-1")
    assert prune(settings, 1) == ["run-2"]
    assert [r.run_id for r in releases(settings)] == ["run-3", "run-1"]
    assert generation_of(settings) == 1
    with pytest.raises(ValueError, match="at least 1"):
        prune(settings, 0)


def test_publishing_prunes_to_the_limit_of_the_settings(settings):
    small = Settings(home=settings.home, sources_dir=settings.sources_dir, keep_releases=2)
    publish_three(small)
    assert [r.run_id for r in releases(small)] == ["run-3", "run-2"]


# --- processes at the same time -----------------------------------------------------------------------


def test_readers_never_fail_or_see_a_mix_while_releases_change(settings):
    write_marts(settings, 0)
    run(settings, "run-0")
    arguments = (str(settings.serving_dir / "current"), json.dumps(TABLES))
    with process(READER, *arguments) as one, process(READER, *arguments) as two:
        for number in range(1, 9):
            write_marts(settings, number)
            run(settings, f"run-{number}", now=NOW.replace(day=number))
        roll_back(settings, "run-5")
        results = [finish(one), finish(two)]
    for result in results:
        assert result["faults"] == []
        assert result["checks"] >= 5 and len(result["seen"]) >= 2, result


def test_open_reader_keeps_its_data_and_the_next_gets_the_new(settings):
    write_marts(settings, 1)
    run(settings, "run-1")
    path = str(settings.serving_dir / "current" / "marts.duckdb")
    with duckdb.connect(path, read_only=True) as old:
        assert old.execute("SELECT max(generation) FROM fct_order").fetchall() == [(1,)]
        for number in (2, 3):
            write_marts(settings, number)
            run(settings, f"run-{number}")
        assert old.execute("SELECT max(generation), count(*) FROM dim_person").fetchall() == [(1, 5000)]
        in_another_process = subprocess.run(
            [sys.executable, "-c", READER, str(settings.serving_dir / "current"), json.dumps(TABLES)],
            input="",
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(in_another_process.stdout.splitlines()[-1])["seen"] == [3]


def test_writer_of_the_private_files_never_disturbs_readers(settings):
    write_marts(settings, 1)
    run(settings, "run-1")
    with process(WRITER, str(settings.warehouse_path), str(settings.marts_path)):
        with pytest.raises(duckdb.IOException, match="lock"):
            duckdb.connect(str(settings.marts_path), read_only=True)
        with process(READER, str(settings.serving_dir / "current"), json.dumps(TABLES)) as reader:
            result = finish(reader)
        assert result["faults"] == [] and result["seen"] == [1]
        with pytest.raises(PublishError, match="open for writing, let it end"):
            run(settings, "run-2")
    assert generation_of(settings) == 1
    run(settings, "run-2")


def test_second_publisher_is_refused(settings):
    write_marts(settings, 1, rows=10)

    def second(step: str) -> None:
        if step == "copied":
            with pytest.raises(PublishError, match="another process is publishing"):
                run(settings, "run-2")

    run(settings, "run-1", after_step=second)
    assert current_release(settings).run_id == "run-1"


STEPS = (
    "cleaned",
    "copied",
    "control added",
    "exported fct_order",
    "exported mart_nps",
    "written",
    "synced",
    "in place",
    "linked",
    "swapped",
    "pruned",
)


def killed_publish(publisher: subprocess.Popen, run_id: str, die_after: str, kill_at: int | None) -> int:
    """Publish in a process that dies after a step, or is killed from here once so many steps were seen."""
    publisher.stdin.write(f"{run_id}|{die_after}\n")
    publisher.stdin.flush()
    heard: list[str] = []
    pid = None
    while not heard or not heard[-1].startswith("ended"):
        heard.append(publisher.stdout.readline().strip())
        if pid is None and heard[-1].isdigit():
            pid = int(heard[-1])
        if kill_at is not None and pid is not None and len(heard) == kill_at:
            os.kill(pid, signal.SIGKILL)
    return int(heard[-1].split()[1])


def test_killed_publish_leaves_the_old_release_or_the_new_one_whole(settings):
    """Killed after every step, and from outside at random points between steps, with a reader all along."""
    write_marts(settings, 0)
    run(settings, "run-0")
    points: list[tuple[str, int | None]] = [(step, None) for step in STEPS]
    points += [("", random.Random(20260501 + number).randrange(2, 14)) for number in range(6)]
    generation = 0
    outcomes = []
    with (
        process(PUBLISHER, str(settings.home)) as publisher,
        process(READER, str(settings.serving_dir / "current"), json.dumps(TABLES)) as reader,
    ):
        for number, (die_after, kill_at) in enumerate(points, start=1):
            write_marts(settings, number)
            status = killed_publish(publisher, f"run-{number}", die_after, kill_at)
            assert status == -signal.SIGKILL or kill_at is not None
            found = generation_of(settings)
            assert found in (generation, number), f"killed after {die_after or kill_at}"
            assert verify(current_release(settings)) == []
            outcomes.append(found == number)
            generation = found
        result = finish(reader)
    assert result["faults"] == [] and result["checks"] > len(points)
    assert outcomes[: len(STEPS)] == [step in ("swapped", "pruned") for step in STEPS]

    write_marts(settings, 99)
    run(settings, "run-7")
    assert generation_of(settings) == 99
    assert leftovers(settings) == []


def test_steps_that_the_kill_test_names_are_the_steps_there_are(settings):
    write_marts(settings, 1, rows=10)
    steps: list[str] = []
    run(settings, "run-1", after_step=steps.append)
    assert [step for step in steps if not step.startswith("exported")] == [
        step for step in STEPS if not step.startswith("exported")
    ]
    assert set(STEPS) <= set(steps)


def test_everything_is_synced_before_the_swap(settings, monkeypatch):
    """A crash of the machine must not leave a link to a release whose bytes are not on disk."""
    write_marts(settings, 1, rows=10)
    events: list[str] = []
    real = publishing.sync
    monkeypatch.setattr(publishing, "sync", lambda path: (events.append(Path(path).name), real(path)))
    run(settings, "run-1", after_step=events.append, extra_files={"report.html": b"x"})
    before_swap = events[: events.index("linked")]
    expected = {"marts.duckdb", "release.json", "report.html", "parquet", "fct_order", "2026-02.parquet", "releases"}
    assert expected <= set(before_swap)
    assert "serving" in events[events.index("linked") : events.index("swapped")]
