"""Loads of sql and of files killed at random points: nothing lost, nothing twice, no hand work.

A child process loads one stream and is killed after as many of its audited operations (files opened, renamed, removed,
locked, sockets connected) as chance says. Every next load begins with what is there.
"""

import os
import random
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from orchestration.sources.landing import Landing

ROOT = Path(__file__).resolve().parents[2]
ROWS = 4000
LOADER = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from orchestration.settings import Settings
from orchestration.sources import files, mysql, postgresql, landing
from orchestration.sources.config import load_source
from orchestration.sources.extract import extract
home = Path(sys.argv[1])
source = load_source(home / "source.yaml")
left = None
def count(event, arguments):
    global left
    if left is None or event not in EVENTS:
        return
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "socket.connect", "fcntl.flock"}
sys.addaudithook(count)
# Small pieces, so that there are many points to be killed at.
landing._BUFFER_BYTES = 20_000
postgresql._CHUNK = mysql._CHUNK = 20_000
files._BLOCK = files._LINES = 1 << 14
for line in sys.stdin:
    at, now = line.split()
    if os.fork() == 0:
        left = int(at)
        record = extract(
            source, "rows", settings=Settings(home=home, sources_dir=home), run_id="r", now=datetime.fromisoformat(now)
        )
        left = None
        os.write(1, f"{record.status}\\n".encode())
        os._exit(0)
    _, status = os.wait()
    if os.WIFSIGNALED(status):
        os.write(1, b"killed\\n")
    elif status:
        os.write(1, b"failed\\n")
"""


class Loads:
    """A home, and a process that loads its one stream again and again."""

    def __init__(self, home):
        self.home = home
        self.landing = Landing(home / "landing")
        self.now = datetime(2026, 5, 1)

    def declare(self, text):
        (self.home / "source.yaml").write_text(text)

    def __enter__(self):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOADER, str(self.home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def load(self, at):
        self.now += timedelta(hours=1)
        self.process.stdin.write(f"{at} {self.now.isoformat()}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def rows(self):
        """Key and value of every row of every committed load, in their order."""
        loads = self.landing.manifests("crm", "rows")
        for load in loads:
            self.landing.verify(load, content=True)
        return [row for load in loads for row in self.landing.scan(load).collect().select("id", "name").rows()]

    def leftovers(self):
        """Files below the landing that no manifest names."""
        known = {
            load.folder / name
            for load in self.landing.manifests("crm", "rows")
            for name in ["_manifest.json", *(part.name for part in (*load.parts, *load.rejects))]
        }
        found = {path for path in self.landing.root.rglob("*") if path.is_file() and path.name != ".lock"}
        return found - known


@pytest.fixture
def loads(tmp_path):
    return Loads(tmp_path)


SQL = """\
source: crm
type: sql
connection: {{dsn: "{dsn}"}}
streams:
  rows:
    from: {{table: rows_of{pages}}}
    to: customer
    primary_key: [id]
    cursor: {{field: at, lag: 0s}}
    fields: {{full_name: name}}
"""
FILES = """\
source: crm
type: files
streams:
  rows:
    from: {path: "{home}/in/*.csv*"}
    to: customer
    primary_key: [id]
    fields: {full_name: name}
"""


def play(loads, seed, add):
    """Rounds of new rows, each loaded until it is committed, killed at random points before."""
    chance = random.Random(seed)
    expected = {}
    killed = 0
    with loads:
        for number in range(6):
            expected |= add(number)
            at = chance.randrange(10)
            while (said := loads.load(at)) == "killed":
                killed += 1
                at = chance.choice([*range(12), *range(12, 60, 5), 10_000])
            # Killed behind its commit, a load leaves nothing to do to the next one.
            assert said in {"committed", "unchanged"}
        # The next one has nothing to do and finds nothing to clear away.
        assert loads.load(10_000) == "unchanged"
    assert loads.leftovers() == set()
    assert killed >= 6
    rows = loads.rows()
    assert dict(rows) == expected
    return rows


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("pages", ["", ", page_rows: 700"], ids=["whole", "pages"])
@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_sql_loads(request, loads, kind, pages, seed):
    if kind == "postgresql":
        dsn = request.getfixturevalue("postgres").empty()
        connection = psycopg.connect(dsn, autocommit=True)
    else:
        mariadb = request.getfixturevalue("mariadb")
        dsn = mariadb.empty()
        connection = mariadb.connect()
    loads.declare(SQL.format(dsn=dsn, pages=pages))
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE rows_of (id bigint PRIMARY KEY, name varchar(100), at bigint)")

        def add(number):
            first = number * ROWS // 6 + 1
            new = {str(key): f"name {key} of round {number}" for key in range(first, first + ROWS // 6)}
            # A row of an earlier round changes too.
            if number:
                new["1"] = f"changed in round {number}"
            values = ", ".join(f"({key}, '{text}', {number})" for key, text in new.items() if key != "1" or not number)
            cursor.execute(f"INSERT INTO rows_of VALUES {values}")
            if number:
                cursor.execute(f"UPDATE rows_of SET name = '{new['1']}', at = {number} WHERE id = 1")
            return new

        rows = play(loads, seed, add)
    # What overlaps is landed again, nothing else is.
    assert len(rows) <= ROWS + 6 * (ROWS // 6 + 2)


@pytest.mark.parametrize("seed", [1, 2])
def test_files_loads(loads, seed):
    loads.declare(FILES)
    folder = loads.home / "in"
    folder.mkdir()

    def add(number):
        first = number * ROWS // 6
        new = {str(key): f"name {key}" for key in range(first, first + ROWS // 6)}
        path = folder / f"{number}.csv"
        path.write_text("id,name\n" + "".join(f"{key},{text}\n" for key, text in new.items()))
        if number > 1:
            # An earlier file comes again, with one row changed.
            new["0"] = f"changed in round {number}"
            again = folder / "0.csv"
            lines = again.read_text().splitlines()
            lines[1] = f"0,{new['0']}"
            again.write_text("\n".join(lines) + "\n")
        return new

    rows = play(loads, seed, add)
    # Six files once, and the first one four times more.
    assert len(rows) == 6 * (ROWS // 6) + 4 * (ROWS // 6)
