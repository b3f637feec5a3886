"""Every stage of a night, killed with SIGKILL at seeded moments: what was there stays whole, and the next run mends it.

Each trial is a copy of a home in which the stage has work to do. It is killed at one of its file operations; then what
readers of that layer see is whole, and running the stage again gives what one run without a kill gives: no row less, no
row twice. A full disk is treated like a kill: it fails the stage and harms nothing. A reader of the published files
never rests while publishers die.

Kills of publishing step by step are in ``test_publish.py``, of a merge rename by rename in ``test_clean_killed.py``, of
whole nights in ``tests/nights``.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import duckdb
import polars as pl
import pytest

from orchestration.contracts import CONTRACTS
from orchestration.sources.landing import Landing
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.control import Control

SERVER = Path(__file__).with_name("stage_server.py")
FIRST, SECOND, LATER = "2026-05-03T18:00:00+00:00", "2026-05-04T18:00:00+00:00", "2026-05-05T18:00:00+00:00"
STAGES = ("extract", "clean", "identity", "dbt", "gate", "publish")
KILLS = {"extract": 14, "clean": 14, "identity": 6, "gate": 4, "publish": 8}
DBT_KILLS = 6
DISK = 256 << 20
ROOMS = {
    "extract": [8 << 10, 40 << 10],
    "clean": [8 << 10, 64 << 10],
    "identity": [0],
    "gate": [4 << 10],
    "publish": [64 << 10, 1 << 20],
}
"""Stage to the bytes that are free on the disk when it begins."""
FULL = ("No space left on device", "not enough space", "File too large", "Could not write")

CRM = """\
source: crm
type: sql
timezone: UTC
connection: {dsn: "sqlite:///{home}/in/crm.sqlite"}
streams:
  customers:
    from: {table: customers}
    to: customer
    primary_key: [id]
    cursor: {field: updated_at, lag: 1h}
    deletes: {strategy: key_scan, max_vanish_share: 0.2}
    fields: {full_name: name, email: email, login: login, created_at: updated_at, updated_at: updated_at}
  orders:
    from: {table: orders}
    to: sales_order
    primary_key: [id]
    fields: {customer_source: {value: crm}, customer_id: customer_id, ordered_at: ordered_at, status: status,
             order_amount: amount, order_currency: {value: CNY}}
"""
WEB = """\
source: web
type: files
timezone: UTC
streams:
  events:
    from: {path: "{home}/in/events_*.csv"}
    to: web_event
    primary_key: [id]
    fields: {occurred_at: at, anonymous_id: visitor, user_id: login, event_name: event, page_path: page}
"""
SURVEY = """\
source: survey
type: files
timezone: UTC
streams:
  responses:
    from: {path: "{home}/in/responses_*.csv"}
    primary_key: [id]
    tables:
      response:
        survey: S1
        fields: {customer_source: {value: crm}, customer_id: customer, answered_at: answered, status: {value: complete},
                 updated_at: answered}
      answer:
        survey: S1
        fields: {answered_at: answered, updated_at: answered}
        questions: {Q1: nps}
surveys:
  S1:
    name: How are we doing
    questions:
      Q1: {metric: nps, scale: {min: 0, max: 10}}
"""


def deliver(home, night):
    """What the sources hold on a night: more customers, one gone, events of two days, one late, half a row."""
    inbox = home / "in"
    inbox.mkdir(exist_ok=True)
    with sqlite3.connect(inbox / "crm.sqlite") as crm:
        if night == 1:
            crm.execute("CREATE TABLE customers (id, name, email, login, updated_at)")
            crm.execute("CREATE TABLE orders (id, customer_id, ordered_at, status, amount)")
        for n in range(20 * (night - 1), 20 * night):
            values = (f"c{n}", f"Customer {n}", f"c{n % 17}@example.com", f"user{n}", f"2026-05-0{night} 08:00:00")
            crm.execute("INSERT INTO customers VALUES (?, ?, ?, ?, ?)", values)
            values = (f"o{n}", f"c{n}", f"2026-05-0{night} 09:{n:02d}:00", "paid", "12.50")
            crm.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", values)
        if night == 2:
            crm.execute("DELETE FROM customers WHERE id = 'c3'")
    crm.close()
    events = [
        f"e{night}-{visitor}-{number},2026-05-0{night if visitor else 1} 10:{number:02d}:00,v{visitor},"
        f"{f'user{visitor}' if number == 1 else ''},page_view,/p{number}"
        for visitor in range(8)
        for number in range(3)
    ]
    (inbox / f"events_{night}.csv").write_text("\n".join(["id,at,visitor,login,event,page", *events, ""]))
    answers = [f"r{night}-{n},c{n},2026-05-0{night}T09:{n:02d}:00Z,{n % 11}" for n in range(15)]
    answers += [f"r1-0,c0,2026-05-0{night}T12:00:00Z,9", "torn,c1"]
    (inbox / f"responses_{night}.csv").write_text("\n".join(["id,customer,answered,nps", *answers, ""]))


@contextmanager
def server(*arguments):
    """The stage server or the reader, ready."""
    child = subprocess.Popen(
        [sys.executable, str(SERVER), *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SERVER.parents[2]), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    try:
        assert "ready" in json.loads(child.stdout.readline())
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


@contextmanager
def reading(home):
    """Readers of what is published, all along; afterwards the release ids that they saw."""
    seen = []
    with server("reader", str(home / "serving" / "current")) as child:
        yield seen
        said = json.loads(child.communicate("")[0].splitlines()[-1])
    assert said["faults"] == []
    assert said["checks"] > 0
    seen += said["seen"]


class Stages:
    """Runs stages in processes that may die."""

    def __init__(self, child):
        self.child = child

    def run(self, home, stage, clock, at=0, file_limit=0):
        """Exit status of the process, and what it said."""
        order = {"stage": stage, "home": str(home), "at": at, "clock": clock, "file_limit": file_limit}
        self.child.stdin.write(json.dumps(order) + "\n")
        self.child.stdin.flush()
        said = json.loads(self.child.stdout.readline())
        return (said["status"], {}) if "status" in said else (json.loads(self.child.stdout.readline())["status"], said)

    def whole(self, home, stage, clock):
        """Run a stage to its end; the number of its operations."""
        status, said = self.run(home, stage, clock)
        assert status == 0, said["error"]
        return said["operations"]

    def killed(self, home, stage, clock, at):
        status, said = self.run(home, stage, clock, at)
        assert status == -signal.SIGKILL, said


@pytest.fixture(scope="module")
def stages():
    with server("stages") as child:
        yield Stages(child)


@pytest.fixture(scope="module")
def homes(stages, tmp_path_factory):
    """A published first night; then, for each stage, a home in which it is the next one of the second night."""
    root = tmp_path_factory.mktemp("killed")
    home = root / "home"
    (home / "sources").mkdir(parents=True)
    for name, text in {"crm": CRM, "web": WEB, "survey": SURVEY}.items():
        (home / "sources" / f"{name}.yaml").write_text(text)
    deliver(home, 1)
    for stage in STAGES:
        stages.whole(home, stage, FIRST)
    deliver(home, 2)
    before = {}
    for stage in STAGES:
        before[stage] = root / stage
        shutil.copytree(home, before[stage], symlinks=True)
        stages.whole(home, stage, SECOND)
    return before


@pytest.fixture
def copy(tmp_path):
    """Copies a home."""

    def make(home, name):
        return shutil.copytree(home, tmp_path / name, symlinks=True)

    return make


def streams(home):
    return [tuple(path.parts[-2:]) for path in sorted((home / "landing").glob("*/*"))]


def landed(home):
    """Every landed row of every stream, and the loads that the control table knows of."""
    landing = Landing(home / "landing")
    loads = Control(home / "control").scan("load").filter(pl.col("status") == "committed").collect()
    found = {}
    for stream in streams(home):
        manifests = landing.manifests(*stream)
        for manifest in manifests:
            landing.verify(manifest, content=True)
        rows = pl.concat([landing.scan(manifest) for manifest in manifests], how="diagonal").collect()
        known = set(loads.filter(source=stream[0], stream=stream[1])["load_id"])
        found[stream] = (len(manifests), sorted(map(str, rows.rows())), {load.load_id for load in manifests} == known)
    return found


def clean(home):
    """Hash of every file of the clean layer and of the quarantine; of the log of changes the numbers, tokens differ."""
    paths = [*(home / "clean").rglob("*.parquet"), *(home / "control" / "quarantine").rglob("*.parquet")]
    found = {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    for path in (home / "clean").glob("*/touched/change.parquet"):
        found[str(path.relative_to(home))] = pl.read_parquet(path)["sequence"].to_list()
    return found


def readable(home):
    """Clean tables can be read whenever a writer dies, and hold each key once."""
    store = CleanStore(home / "clean", "Asia/Shanghai")
    for contract in CONTRACTS.values():
        rows = store.scan(contract, include_deleted=True).collect()
        assert rows.select(contract.key).is_duplicated().sum() == 0


BY_RUN = ("_scope", "_touched")
"""Ends of names of working tables with what a build makes anew: behind a killed one it makes more anew, or all."""


def tables(home):
    """Every row of every table that dbt built, without the run that built it."""
    found = {}
    for name in ("warehouse", "marts"):
        with duckdb.connect(str(home / "warehouse" / f"{name}.duckdb"), read_only=True) as connection:
            built = connection.execute("SELECT schema_name, table_name FROM duckdb_tables() ORDER BY ALL").fetchall()
            for schema, table in built:
                if schema == "working" and table.endswith(BY_RUN):
                    continue
                columns = connection.execute(f'DESCRIBE "{schema}"."{table}"').fetchall()
                kept = ", ".join(f'"{column[0]}"' for column in columns if column[0] not in ("run_id", "invocation_id"))
                query = f'SELECT {kept} FROM "{schema}"."{table}" ORDER BY ALL'
                found[f"{name}.{schema}.{table}"] = connection.execute(query).fetchall()
    return found


def checked(home):
    results = Control(home / "control").scan("check_result").sort("gate", "rule_id").collect()
    return dict(enumerate(results.rows()))


def released(home):
    manifest = json.loads((home / "serving" / "current" / "release.json").read_text(encoding="utf-8"))
    return {"": manifest["run_id"]} | {
        table["name"]: (table["rows"], [(file["path"], file["sha256"]) for file in table["files"]])
        for table in manifest["tables"]
    }


def assert_same(found, expected, when):
    assert {name for name in found | expected if found.get(name) != expected.get(name)} == set(), when


STATE = {"extract": landed, "clean": clean, "identity": clean, "gate": checked, "publish": released}


def leftovers(home):
    """Temporary files of layers that nobody cleans later."""
    folders = [home / name for name in ("landing", "clean", "control", "serving")]
    return [
        path for folder in folders for path in folder.rglob("*") if path.name.endswith(".tmp") or ".work-" in path.name
    ]


@pytest.mark.parametrize("stage", KILLS)
def test_a_stage_killed_at_any_moment_is_mended_by_its_next_run(stages, homes, copy, stage):
    expected = copy(homes[stage], "expected")
    operations = stages.whole(expected, stage, SECOND)
    moments = random.Random(f"nights {stage}").sample(range(1, operations + 1), KILLS[stage])
    for at in sorted(moments):
        home = copy(homes[stage], f"killed-{at}")
        before = released(home)
        stages.killed(home, stage, SECOND, at)
        readable(home)
        assert released(home) in (before, released(expected)), f"{stage} killed at {at}"
        stages.whole(home, stage, SECOND)
        assert_same(STATE[stage](home), STATE[stage](expected), f"{stage} killed at {at}")
        assert leftovers(home) == [], f"{stage} killed at {at}"
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def built(stages, homes, tmp_path_factory):
    """What one build without a kill makes, and the number of its operations."""
    home = shutil.copytree(homes["dbt"], tmp_path_factory.mktemp("built") / "home", symlinks=True)
    return stages.whole(home, "dbt", SECOND), tables(home)


def test_dbt_killed_again_and_again_builds_what_one_build_builds(stages, homes, copy, built):
    """The first kill falls into reading the project, because the home is new; the others between models."""
    home, (operations, expected) = copy(homes["dbt"], "home"), built
    chance = random.Random("nights dbt")
    before = released(home)
    for first, last in [(0.0, 0.3), *[(0.4, 0.7)] * (DBT_KILLS - 1)]:
        stages.killed(home, "dbt", SECOND, round(operations * chance.uniform(first, last)))
        assert released(home) == before
    stages.whole(home, "dbt", SECOND)
    assert_same(tables(home), expected, "after all kills")


@pytest.mark.parametrize("name", ["manifest.json", "partial_parse.msgpack"])
def test_a_file_of_dbt_that_a_kill_cut_short_is_made_anew(stages, homes, copy, name):
    home = copy(homes["gate"], "home")
    path = home / "dbt" / name
    whole = path.stat().st_size
    os.truncate(path, whole // 2)
    (home / "dbt" / "last_build.json").unlink()
    stages.whole(home, "dbt", SECOND)
    assert path.stat().st_size > whole // 2


def test_a_publisher_killed_again_and_again_never_shows_a_reader_half_a_release(stages, homes, copy):
    home = copy(homes["publish"], "home")
    before = released(home)
    operations = stages.whole(copy(homes["publish"], "expected"), "publish", SECOND)
    chance = random.Random("nights publish again")
    with reading(home) as seen:
        for _ in range(KILLS["publish"]):
            stages.killed(home, "publish", SECOND, chance.randrange(1, operations // 2))
            assert released(home) == before
        stages.whole(home, "publish", SECOND)
    assert len(seen) in (1, 2)
    assert released(home)[""] == "run-04"
    assert leftovers(home) == []


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """A folder, and whether it is a disk of its own: who may not mount gets a limit on the size of files instead."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield folder, mounted
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def run_in(room, stages, home, stage, small_disk):
    """Run a stage while only ``room`` bytes are free."""
    disk, mounted = small_disk
    if not mounted:
        return stages.run(home, stage, SECOND, file_limit=max(1, room))
    with (disk / "filler").open("wb") as filler:
        free = os.statvfs(disk)
        os.posix_fallocate(filler.fileno(), 0, free.f_bavail * free.f_frsize - room)
    try:
        return stages.run(home, stage, SECOND)
    finally:
        (disk / "filler").unlink()


def test_a_full_disk_fails_dbt_and_harms_nothing(stages, homes, built, small_disk):
    home = shutil.copytree(homes["dbt"], small_disk[0] / "dbt", symlinks=True)
    before = released(home)
    status, said = run_in(64 << 10, stages, home, "dbt", small_disk)
    assert status == 1
    assert any(words in said["error"] for words in FULL), said["error"]
    assert released(home) == before
    stages.whole(home, "dbt", SECOND)
    assert_same(tables(home), built[1], "after a full disk")
    shutil.rmtree(home)


@pytest.mark.parametrize("stage", ROOMS)
def test_a_full_disk_fails_the_stage_and_harms_nothing(stages, homes, copy, small_disk, stage):
    expected = copy(homes[stage], "expected")
    stages.whole(expected, stage, SECOND)
    disk, failed = small_disk[0], 0
    for room in ROOMS[stage]:
        home = shutil.copytree(homes[stage], disk / f"{stage}-{room}", symlinks=True)
        before = released(home)
        status, said = run_in(room, stages, home, stage, small_disk)
        if status:
            failed += 1
            assert any(words in said["error"] for words in FULL), said["error"]
        readable(home)
        assert released(home) in (before, released(expected))
        stages.whole(home, stage, SECOND)
        assert_same(STATE[stage](home), STATE[stage](expected), f"{stage} with room for {room} bytes")
        assert leftovers(home) == []
        shutil.rmtree(home)
    assert failed, "the disk was large enough"


def test_the_suite_kills_often_enough():
    """Fifty and more over a run of the suite, here and in the tests named above."""
    assert sum(KILLS.values()) + DBT_KILLS + KILLS["publish"] >= 50
