"""``experience sources …``: what an engineer sees, and that trying a source writes nothing."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from orchestration.cli import main
from orchestration.progress import Watcher, in_words
from orchestration.settings import Settings
from orchestration.sources.config import load_source
from orchestration.sources.kinds import Figures
from orchestration.sources.landing import Landing
from orchestration.warehouse.control import Control

CRM = """\
source: crm
type: sql
timezone: Asia/Shanghai
connection: {dsn: "sqlite:///{home}/crm.sqlite"}
streams:
  customers:
    from: {table: customers}
    to: customer
    primary_key: [id]
    cursor: {field: updated_at, lag: 1h}
    deletes: {strategy: key_scan}
    fields: {full_name: name, email: email, phone: phone, birth_date: birthday, updated_at: updated_at}
"""
WEB = """\
source: web
type: files
streams:
  events:
    from: {path: "{home}/events_*.csv"}
    to: web_event
    primary_key: [id]
    fields: {occurred_at: at, anonymous_id: visitor, event_name: name}
"""
PASSWORD = "hunter2-and-more"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPERIENCE_HOME", str(tmp_path))
    for name in ("EXPERIENCE_SOURCES", "EXPERIENCE_HMAC_KEY", "EXPERIENCE_TIMEZONE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXPERIENCE_RETRY_SECONDS", "0")
    (tmp_path / "sources").mkdir()
    source(tmp_path, "crm", CRM)
    source(tmp_path, "web", WEB)
    with sqlite3.connect(tmp_path / "crm.sqlite") as database:
        database.execute("CREATE TABLE customers (id TEXT, name TEXT, email TEXT, phone TEXT, birthday TEXT, "
                         "updated_at TEXT)")  # fmt: skip
        rows = [(f"c{n}", f"Name {n}", f"n{n}@shop.example", None, None, f"2026-05-0{n} 10:00:00") for n in (1, 2, 3)]
        database.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?)", rows)
    (tmp_path / "events_1.csv").write_text("id,at,visitor,name\n1,2026-05-01T10:00:00Z,v1,page_view\n")
    return tmp_path


def source(home: Path, name: str, text: str) -> None:
    (home / "sources" / f"{name}.yaml").write_text(text, encoding="utf-8")


def crm(home: Path, statement: str) -> None:
    with sqlite3.connect(home / "crm.sqlite") as database:
        database.execute(statement)


def files(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def sources(*arguments: str) -> int:
    return main(["sources", *arguments])


def test_check_tells_what_a_first_page_holds_and_writes_nothing(home, capsys):
    before = files(home)
    assert sources("check") == 0
    said = capsys.readouterr().out
    assert "ok     crm.customers: 3 rows with 6 columns\n" in said
    assert "customer has no value for phone, birth_date" in said
    assert "ok     web.events: 1 row with 4 columns\n" in said
    assert files(home) == before


def test_check_says_which_rows_a_contract_would_refuse_without_showing_them(home, capsys):
    crm(home, "UPDATE customers SET email = 'not-an-address', id = NULL WHERE id = 'c2'")
    crm(home, "UPDATE customers SET email = 'also-none' WHERE id = 'c3'")
    assert sources("check", "crm.customers") == 0
    said = capsys.readouterr().out
    assert "customer would reject source_id: missing_key (1 row)" in said
    assert "customer could not read email:invalid_email (1 row)" in said
    assert "also-none" not in said
    assert "not-an-address" not in said


def test_check_exits_1_with_the_fault_and_its_mend(home, capsys):
    source(home, "crm", CRM.replace("email: email", "email: mail_addr"))
    assert sources("check") == 1
    said = capsys.readouterr().out
    assert "FAULT  crm.customers: declared column 'mail_addr' (used by customer.fields.email) is missing" in said
    assert "ok     web.events" in said, "other streams are tried all the same"
    assert "1 fault; nothing was written" in said


def test_check_names_a_file_that_cannot_be_read_and_goes_on(home, capsys):
    source(home, "shop", "source: shop\ntype: sqll\n")
    assert sources("check") == 1
    said = capsys.readouterr().out
    assert "FAULT" in said
    assert "did you mean 'sql'?" in said
    assert "ok     crm.customers" in said


def test_check_of_a_database_that_is_away_never_prints_a_secret(home, capsys, monkeypatch):
    monkeypatch.setenv("CRM_DSN", f"postgresql://reader:{PASSWORD}@127.0.0.1:1/crm")
    source(home, "crm", CRM.replace('"sqlite:///{home}/crm.sqlite"', "{env: CRM_DSN}"))
    assert sources("check", "crm") == 1
    said = "".join(capsys.readouterr())
    assert "FAULT  crm.customers: the database does not answer" in said
    assert PASSWORD not in said


def test_check_says_which_variable_is_not_set(home, capsys):
    source(home, "crm", CRM.replace('"sqlite:///{home}/crm.sqlite"', "{env: NOT_SET_ANYWHERE}"))
    assert sources("check", "crm") == 1
    assert "NOT_SET_ANYWHERE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "crn"], "did you mean 'crm'?"),
        (["run", "crm.customer"], "did you mean 'customers'?"),
        (["rejects", "web"], "name a stream, such as web.events"),
        (["run", "web.events", "--backfill", "2026-05-01..2026-05-02"], "deliver the files of those days again"),
        (["run", "crm", "--backfill", "2026-05-02..2026-05-01"], "lies before the first"),
    ],
)
def test_what_cannot_run_says_why(home, capsys, arguments, says):
    assert sources(*arguments) == 2
    assert says in capsys.readouterr().err


def test_plan_calls_nobody_and_tells_the_window(home, capsys):
    (home / "crm.sqlite").rename(home / "away.sqlite")
    assert sources("plan", "crm") == 0
    assert "first load" in capsys.readouterr().out
    (home / "away.sqlite").rename(home / "crm.sqlite")
    assert sources("run", "crm") == 0
    capsys.readouterr()
    (home / "crm.sqlite").unlink()
    assert sources("plan", "crm.customers") == 0
    assert "updated_at from 2026-05-03 09:00:00" in capsys.readouterr().out
    source(home, "crm", CRM.replace("phone: phone, ", "").replace("email: email", "email: email, city: town"))
    assert sources("plan", "crm.customers") == 0
    assert "town came into the mapping: read anew" in capsys.readouterr().out


def test_plan_names_the_files_that_are_new(home, capsys):
    assert sources("plan", "web") == 0
    assert "1 new or changed of 1 file" in capsys.readouterr().out
    assert sources("run", "web") == 0
    (home / "events_2.csv").write_text("id,at,visitor,name\n2,2026-05-01T10:00:00Z,v1,page_view\n")
    capsys.readouterr()
    assert sources("plan", "web") == 0
    [line] = capsys.readouterr().out.splitlines()[1:]
    assert "1 new or changed of 2 files" in line
    assert line.endswith("events_2.csv")
    for path in home.glob("events_*.csv"):
        path.unlink()
    assert sources("plan", "web") == 0
    assert "no file matches" in capsys.readouterr().out


def test_run_lands_as_a_night_does_and_loads_tells(home, capsys):
    assert sources("run", "crm") == 0
    assert "ok     crm.customers: 3 rows landed; read 3 rows" in capsys.readouterr().out
    [load] = Landing(home / "landing").manifests("crm", "customers")
    assert (load.kind, load.rows_landed) == ("full", 3)
    assert sources("run", "crm.customers") == 0
    assert "nothing new" in capsys.readouterr().out
    records = Control(home / "control").scan("load").collect().sort("started_at")
    assert records["status"].to_list() == ["committed", "unchanged"]
    assert sources("loads", "crm") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "started", "(UTC)", "stream", "kind", "status", "rows", "rejects", "cursor", "complete", "seconds",
    ]  # fmt: skip
    assert "incremental" in lines[1]
    assert "2026-05-03 10:00:00" in lines[2]


def test_a_backfill_reads_its_days_and_leaves_the_cursor(home, capsys):
    assert sources("run", "crm") == 0
    assert sources("run", "crm", "--backfill", "2026-05-01..2026-05-02") == 0
    assert "2 rows landed" in capsys.readouterr().out
    full, backfill = Landing(home / "landing").manifests("crm", "customers")
    assert (backfill.kind, backfill.cursor_to, full.cursor_to) == ("backfill", None, "2026-05-03 10:00:00")


def test_run_leaves_out_persons_who_were_erased(home, capsys, monkeypatch):
    from orchestration.privacy import suppression
    from orchestration.privacy.landed import Mode
    from orchestration.settings import make_hmac_key

    make_hmac_key(home)
    settings = Settings.from_environment()
    suppression.add(
        home,
        [("email", "n2@shop.example")],
        mode=Mode.DELETE,
        request_id="r1",
        requested_at=datetime(2026, 5, 1),
        key=settings.hmac_key,
    )
    assert sources("run", "crm") == 0
    assert "2 rows landed, 1 of erased persons left out" in capsys.readouterr().out
    landed = pl.concat(
        Landing(home / "landing").scan(load) for load in Landing(home / "landing").manifests("crm", "customers")
    )
    assert sorted(landed.collect()["id"]) == ["c1", "c3"]


def test_a_failed_load_is_recorded_and_exits_1(home, capsys):
    crm(home, "DROP TABLE customers")
    assert sources("run", "crm") == 1
    assert "FAILED crm.customers: table 'customers' does not exist" in " ".join(capsys.readouterr().out.split())
    assert sources("loads") == 0
    said = capsys.readouterr().out
    assert "failed" in said.splitlines()[1]
    assert "table 'customers' does not exist" in said


def test_a_fault_that_may_pass_is_tried_again(home, capsys, monkeypatch):
    from orchestration.assets import load
    from orchestration.sources.errors import SourceError

    extract, calls = load.extract, []

    def flaky(*arguments, **more):
        calls.append(more["figures"])
        if len(calls) < 3:
            raise SourceError("crm.customers: the database restarts", transient=True)
        return extract(*arguments, **more)

    monkeypatch.setattr(load, "extract", flaky)
    assert sources("run", "crm") == 0
    assert capsys.readouterr().out.count("the database restarts; trying again in 0 s") == 2
    assert Control(home / "control").scan("load").collect()["status"].to_list() == ["committed"]


def test_an_interrupted_load_leaves_nothing_behind(home, capsys, monkeypatch):
    from orchestration.assets import load

    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(load, "extract", interrupted)
    assert sources("run", "crm") == 2
    assert "nothing of crm.customers was committed" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setenv("EXPERIENCE_HOME", str(home))
    assert sources("run", "crm") == 0


def test_run_waits_for_no_night_but_says_that_one_runs(home, capsys):
    from orchestration.night_lock import only_night

    with only_night(Settings.from_environment()):
        assert sources("run", "crm") == 2
    assert "another night is running" in capsys.readouterr().err
    assert not (home / "landing").exists()


def test_rejects_shows_where_and_why(home, capsys):
    (home / "events_2.csv").write_text(
        "id,at,visitor,name\n2,2026-05-01T10:00:00Z,v1,page_view\n3,2026-05-01T10:00:00Z,too,many,fields\n"
    )
    assert sources("run", "web") == 0
    assert "1 could not be (experience sources rejects web.events)" in capsys.readouterr().out
    assert sources("rejects", "web.events") == 0
    said = capsys.readouterr().out
    assert "events_2.csv  2       too_many_fields  3,2026-05-01T10:00:00Z,too,many,fields" in said
    assert "experience replay-rejects --source web" in said
    (home / "events_2.csv").write_text("id,at,visitor,name\n3,2026-05-01T10:00:00Z,v1,page_view\n")
    assert sources("rejects", "crm.customers") == 0
    assert "every row of crm.customers could be landed" in capsys.readouterr().out


def test_rejects_keeps_hidden_fields_hidden(home, capsys):
    source(home, "web", WEB + "    pii: {visitor: drop}\n".replace("visitor", "ip"))
    (home / "events_1.csv").write_text(
        "id,at,visitor,name,ip\n1,2026-05-01T10:00:00Z,v1,x,10.0.0.1\n2,a,b,c,10.0.0.2,more\n"
    )
    assert sources("run", "web") == 0
    assert sources("rejects", "web.events") == 0
    said = capsys.readouterr().out
    assert "(not shown: the stream hides personal fields)" in said
    assert "10.0.0.2" not in said


def test_figures_in_words():
    assert in_words(Figures(rows=1)) == "1 row"
    figures = Figures(rows=12000, requests=130, retries=2, wait_seconds=3.44, bytes_received=1_200_000)
    assert in_words(figures) == "12,000 rows, 130 requests (2 again), 3.4 s waited, 1.2 MB"


def test_where_nobody_sees_a_moving_line_a_plain_one_comes_now_and_then():
    class Lines(io.StringIO):
        told = threading.Event()

        def write(self, text):
            if "so far" in text:
                self.told.set()
            return super().write(text)

    stream = Lines()
    watcher = Watcher(stream, every_seconds=0.001)
    figures = Figures(rows=5, requests=2, doing="waits 30 s (429)")
    with watcher.showing(), watcher.load("shop.orders", figures):
        assert Lines.told.wait(10)
    assert "shop.orders: 5 rows, 2 requests so far; waits 30 s (429)" in stream.getvalue()


def test_a_terminal_shows_parts_rows_and_waits():
    from rich.console import Console

    stream = io.StringIO()
    watcher = Watcher(stream)
    watcher.console = Console(file=stream, force_terminal=True, width=160)
    figures = Figures(rows=70, requests=7, parts=10, parts_done=4, doing="waits 2 s")
    with watcher.showing(), watcher.load("shop.orders", figures):
        watcher._bar.refresh()
        watcher.say("a line above")
    said = stream.getvalue()
    assert "shop.orders" in said
    assert "70 rows, 7 requests; waits 2 s" in said
    assert "a line above" in said


def test_a_night_shows_its_steps_and_the_load_that_runs():
    from types import SimpleNamespace

    from rich.console import Console

    def event(kind, step):
        return SimpleNamespace(dagster_event=SimpleNamespace(event_type_value=kind, step_key=step))

    stream = io.StringIO()
    watcher = Watcher(stream)
    watcher.console = Console(file=stream, force_terminal=True, width=160)
    with watcher.showing():
        tell = watcher.steps("night", 4)
        tell(event("STEP_START", "landing__shop__orders"))
        watcher.watch("shop.orders", Figures(rows=12, requests=3))
        bar = watcher._bar
        bar.refresh()
        assert [task.description for task in bar.tasks] == ["night", "shop.orders"]
        tell(event("STEP_SUCCESS", "landing__shop__orders"))
        tell(SimpleNamespace(dagster_event=None))
        assert [task.description for task in bar.tasks] == ["night"], "a load that has ended is not shown"
        assert bar.tasks[0].fields["figures"].parts_done == 1
    assert "landing__shop__orders" in stream.getvalue()
    assert "12 rows, 3 requests" in stream.getvalue()


def test_parents_are_loaded_before_their_children(tmp_path):
    from orchestration.commands.sources import in_order

    path = tmp_path / "api.yaml"
    path.write_text(CHILDREN, encoding="utf-8")
    config = load_source(path)
    assert in_order(config, config.streams) == ["teams", "members", "orders"]
    assert in_order(config, ["members"]) == ["members"]


CHILDREN = """\
source: api
type: http
connection: {base_url: "https://api.example"}
streams:
  members:
    from:
      request: {path: "/teams/{{ parent.team }}/members"}
      parent: {stream: teams, fields: {team: id}}
    to: customer
    primary_key: [id]
    fields: {email: email}
  orders:
    from: {request: {path: /orders}}
    to: sales_order
    primary_key: [id]
    fields: {ordered_at: at}
  teams:
    from: {request: {path: /teams}}
    to: account
    primary_key: [id]
    fields: {name: name}
"""


def test_a_trial_does_not_wait_as_long_as_a_load(home, capsys, monkeypatch):
    from orchestration.sources.http import client

    waits = []
    monkeypatch.setattr(client, "sleep", waits.append)
    source(home, "api", CHILDREN.replace("https://api.example", "http://127.0.0.1:1"))
    assert sources("check", "api.orders") == 1
    assert "FAULT  api.orders: " in capsys.readouterr().out
    assert len(waits) == 1, "one more attempt, not five"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("stream: teams", "stream: team"), "there is no stream 'team'; did you mean 'teams'?"),
        (("stream: teams", "stream: members"), "the stream waits for itself"),
    ],
)
def test_a_parent_that_cannot_be_is_refused(tmp_path, change, says):
    from orchestration.sources.config import ConfigError

    path = tmp_path / "api.yaml"
    path.write_text(CHILDREN.replace(*change), encoding="utf-8")
    with pytest.raises(ConfigError, match=says.replace("?", r"\?")):
        load_source(path)


def test_verbs_are_declared_without_loading_what_they_need():
    program = (
        "import sys\n"
        "from orchestration.cli import main\n"
        "try:\n    main(['sources', '--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(', '.join({'dagster', 'rich', 'pydantic', 'httpx'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
