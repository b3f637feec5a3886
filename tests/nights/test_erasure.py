"""g16 and more: a person is erased through the real job, and nothing of them is left in any file or table."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import polars as pl
import pytest

from orchestration.contracts import CONTRACTS, DERIVED
from orchestration.privacy.landed import Mode
from orchestration.privacy.requests import Request, pending, write
from orchestration.pseudonym import pseudonym
from orchestration.warehouse.control import Control

KEY = b"a key of the tests"

G16 = """\
response_id,customer_id,month,ltr,comment
r1,c1,2026-04,10,great
r2,c2,2026-04,9,
r3,c3,2026-04,3,call me 13800000001
r4,c4,2026-04,8,
r5,c3,2026-05,9,better now
r6,c5,2026-05,6,
r7,c1,2026-05,10,
r8,c6,2026-05,7,
"""
BEFORE = {"2026-04": (4, 2, 1, 1, 25.0), "2026-05": (4, 2, 1, 1, 25.0)}
AFTER = {
    "delete": {"2026-04": (3, 2, 1, 0, 66.6666666667), "2026-05": (3, 1, 1, 1, 0.0)},
    "anonymise": BEFORE,
}
G16_YAML = """\
source: survey
type: files
timezone: Asia/Shanghai
streams:
  responses:
    from: {path: "{home}/in/g16_*.csv"}
    primary_key: [response_id]
    tables:
      response:
        survey: S1
        fields: {customer_source: {value: crm}, customer_id: customer_id, answered_at: {from: month, format: "%Y-%m"},
                 status: {value: complete}}
      answer:
        survey: S1
        fields: {answered_at: {from: month, format: "%Y-%m"}}
        questions: {Q1: ltr}
      comment:
        fields: {customer_source: {value: crm}, customer_id: customer_id, channel: {value: survey}}
        texts: {Q9: comment}
surveys:
  S1:
    name: Would you recommend us
    questions:
      Q1: {metric: nps, scale: {min: 0, max: 10}}
"""


def request(request_id="q1", mode="delete", **subject):
    by = {"person_id": "person", "key": "record", "email": "email", "phone": "phone"}[list(subject)[-1]]
    return Request(request_id, by, subject, Mode(mode), reason="asked by letter")


def monthly(bench):
    """Month to n, promoters, passives, detractors, NPS as published; the mart itself shows no cell so small."""
    cells = bench.rows(
        "SELECT strftime(answered_date, '%Y-%m'), count(*), count(*) FILTER (score >= 9), "
        "count(*) FILTER (score BETWEEN 7 AND 8), count(*) FILTER (score <= 6) "
        "FROM fct_answer WHERE metric = 'nps' AND is_counted GROUP BY 1 ORDER BY 1"
    )
    shown = bench.rows(
        "SELECT strftime(period_start_date, '%Y-%m'), n FROM mart_nps "
        "WHERE nps_kind = 'relational' AND period_kind = 'month' AND breakdown = 'total' ORDER BY 1"
    )
    assert shown == [(month, n) for month, n, *_ in cells]
    return {
        month: (n, promoters, passives, detractors, pytest.approx(100 * (promoters - detractors) / n))
        for month, n, promoters, passives, detractors in cells
    }


@pytest.mark.parametrize("mode", ["delete", "anonymise"])
def test_g16(new_bench, mode):
    bench = new_bench(sources={"survey": G16_YAML})
    bench.options = {"hmac_key": KEY, "accept_drops": ("fct_response",)}
    bench.deliver({"g16_1.csv": G16})
    night = bench.night()
    assert night.published, night.text
    assert monthly(bench) == BEFORE
    write(bench.home, request(mode=mode, source="survey", table="response", key="r3"))
    night = bench.night()
    assert night.published, night.text
    assert monthly(bench) == AFTER[mode]


# c3 has a customer record, orders o3 and o9, a ticket, a response with a comment, web visits with a login.
GONE = ["c3@example.com", "13800000003", "+8613800000003", "Customer 3", "my own words about the parcel"]
GONE_IDS = ["c3", "o3", "o9", "t3", "t8", "r3", "v3", "user3"]
COMMENTS = """      comment:
        fields: {customer_source: {value: crm}, customer_id: customer, channel: {value: survey},
                 commented_at: answered}
        texts: {Q9: words}
"""


def deliver(bench, without=None):
    """The usual deliveries with comments and mentions; ``without`` leaves a person's rows out, as never delivered."""
    survey = (bench.home / "sources" / "survey.yaml").read_text()
    bench.source("survey", survey.replace("surveys:\n", COMMENTS + "surveys:\n", 1))
    folder = bench.home / "in"
    lines = (folder / "responses_0501.csv").read_text().splitlines()
    words = {"r3": "my own words about the parcel", "r4": "please write to [erased] too"}
    if without is None:
        words["r4"] = "please write to c3@example.com too"
    texts = [line + "," + words.get(line.split(",")[0], "") for line in lines[1:]]
    bench.deliver({"responses_0501.csv": "\n".join([lines[0] + ",words", *texts, ""])})
    tickets = [json.loads(line) for line in (folder / "tickets_0501.jsonl").read_text().splitlines()]
    # So many that two rejected ones stop no night.
    tickets += [{**tickets[0], "id": f"t{number}", "customer": f"c{number}"} for number in range(10, 24)]
    tickets.append({**tickets[3], "id": "t8", "opened": "once upon a time", "subject": "c3@example.com asks"})
    tickets.append({**tickets[2], "id": "t9", "opened": "some day", "subject": "Where?"})
    bench.deliver({"tickets_0501.jsonl": "".join(json.dumps(ticket) + "\n" for ticket in tickets)})
    if without:
        bench.crm(
            f"DELETE FROM customers WHERE id = '{without}'", f"DELETE FROM orders WHERE customer_id = '{without}'"
        )
        for path in folder.glob("*.*sv"):
            kept = [line for line in path.read_text().splitlines() if f",{without}," not in line]
            path.write_text("\n".join([*kept, ""]))
        for path in folder.glob("*.jsonl"):
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            kept = [row for row in rows if row.get("customer") != without and row.get("visitor") != f"v{without[1:]}"]
            path.write_text("".join(json.dumps(row) + "\n" for row in kept))


def values_of(path: Path):
    """Every text that a file holds, decoded where it is compressed."""
    content = path.read_bytes()
    if content.startswith(b"PAR1"):
        frame = pl.read_parquet(path, glob=False)
        for name in frame.columns:
            yield from (str(value) for value in frame[name].drop_nulls().unique().to_list())
    elif content.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(path)) as connection:
            yield from connection.iterdump()
    elif content[8:12] == b"DUCK":
        with duckdb.connect(str(path), read_only=True) as connection:
            for schema, table in connection.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = current_database()"
            ).fetchall():
                for row in connection.execute(f'SELECT * FROM "{schema}"."{table}"').fetchall():
                    yield "\n".join(str(value) for value in row if value is not None)


def found(home: Path, texts, folders=None):
    """Where one of the texts stands as a word of its own, by value and, where it cannot be met by chance, by byte."""
    pattern = re.compile("|".join(rf"(?<![A-Za-z0-9+]){re.escape(text)}(?![A-Za-z0-9])" for text in texts))
    hits = set()
    for path in sorted(home.rglob("*")):
        place = path.relative_to(home)
        if not path.is_file() or path.is_symlink() or place.parts[0] in {"in", "sources"}:
            continue
        if folders and place.parts[0] not in folders:
            continue
        raw = path.read_bytes()
        hits |= {(str(place), text) for text in texts if len(text) > 8 and text.encode() in raw}
        hits |= {(str(place), hit.group()) for value in values_of(path) for hit in pattern.finditer(value)}
    return hits


def marts(bench):
    """Rows of every published table, without run, load and time columns, as sorted text."""
    content = {}
    with bench.published() as connection:
        for (table,) in connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall():
            if table in CONTROL_NAMES:
                continue
            columns = [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
            kept = [name for name in columns if name not in PER_RUN]
            names = ", ".join(f'"{name}"' for name in kept)
            content[table] = sorted(map(str, connection.execute(f"SELECT {names} FROM {table}").fetchall()))
    return content


CONTROL_NAMES = {"load", "check_result", "step_metric", "retention", "erasure"}
PER_RUN = {"run_id", "load_id", "load_row", "extracted_at", "first_extracted_at", "changed_at", "row_hash"}


def clean(bench):
    tables = {}
    for table in (*CONTRACTS, *DERIVED):
        frame = bench.clean(table).drop(PER_RUN, strict=False)
        tables[table] = frame.sort(frame.columns)
    return tables


@pytest.fixture(scope="module")
def erased(new_bench):
    """A home after a night by command and an erasure by command."""
    bench = new_bench()
    deliver(bench)
    assert bench.command("init").returncode == 0
    bench.options = {"hmac_key": (bench.home / "hmac.key").read_text().strip().encode()}
    done = bench.command("nightly", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    # What a night may leave behind: an error that quotes a value, a log, a release of the night before.
    Control(bench.home / "control").record_load(
        {
            "load_id": "20260101T000000000000Z-0",
            "run_id": "r",
            "source": "crm",
            "stream": "customers",
            "status": "failed",
            "started_at": bench.clock.replace(tzinfo=None),
            "error": "duplicate key c3@example.com (138 0000 0003)",
        }
    )
    (bench.home / "logs" / "old.log").write_text('{"to": "c3@example.com", "t": 1}\n')
    before = found(bench.home, GONE)
    places = {place.split("/")[0] for place, _ in before}
    assert {"landing", "clean", "control", "logs"} <= places, "the search must be able to find"
    erase = bench.command(
        "erase", "--email", "C3@example.com", "--request-id", "q1", "--reason", "letter of c3@example.com", timeout=900
    )
    return bench, erase


def test_nothing_is_left_in_any_file(erased):
    bench, erase = erased
    assert erase.returncode == 0, erase.stdout + erase.stderr
    assert found(bench.home, GONE) == set()
    assert found(bench.home, GONE_IDS, {"landing", "clean", "control", "warehouse", "serving"}) == set()
    assert "request q1 is done (delete): nothing of the person was found" in erase.stdout
    assert pending(bench.home) == ([], [])


def test_the_audit_row_names_nobody(erased):
    bench, _ = erased
    (row,) = Control(bench.home / "control").scan("erasure").collect().to_dicts()
    assert (row["request_id"], row["mode"], row["subject_namespace"]) == ("q1", "delete", "email")
    assert row["subject_hash"] == pseudonym("email", "c3@example.com", bench.options["hmac_key"])
    assert row["reason"] == "letter of [erased]"
    # 1 customer, 2 orders, 1 response, 2 tickets, 4 events, and 1 response of somebody else that named the address.
    assert row["landing_rows"] == 11
    assert row["quarantine_rows"] == 1
    assert row["releases_removed"] == 1
    assert len(list((bench.home / "serving" / "releases").iterdir())) == 1


def test_the_home_equals_one_that_never_met_the_person(erased, new_bench):
    bench, _ = erased
    other = new_bench()
    deliver(other, without="c3")
    (other.home / "hmac.key").write_bytes((bench.home / "hmac.key").read_bytes())
    done = other.command("nightly", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = clean(bench), clean(other)
    for table in theirs:
        assert ours[table].equals(theirs[table]), table
    assert marts(bench) == marts(other)
    assert {row["source_id"] for row in bench.quarantine("ticket")} == {"t9"}


def test_the_person_does_not_come_back_and_a_second_request_finds_nobody(erased):
    bench, _ = erased
    before = bench.clean_files()
    # Everything again: a new full extraction (the mapping's cursor is dropped), files under new names, a new order.
    crm = (bench.home / "sources" / "crm.yaml").read_text()
    bench.source("crm", crm.replace("    cursor: {field: updated_at, lag: 1h}\n", ""))
    tickets = (bench.home / "in" / "tickets_0501.jsonl").read_text()
    survey = (bench.home / "in" / "responses_0501.csv").read_text()
    assert "c3@example.com" in survey, "somebody else names the address"
    bench.deliver({"tickets_again.jsonl": tickets + "\n", "responses_again.csv": survey + "\n"})
    bench.crm("INSERT INTO orders VALUES ('o99', 'c3', '2026-05-02 10:30:00', 'paid', '1.00', '1')")
    night = bench.night()
    assert night.published, night.text
    assert night.loads["crm.customers"]["rows_suppressed"] == 1
    assert night.loads["crm.orders"]["rows_suppressed"] == 3
    assert night.loads["support.tickets"]["rows_suppressed"] == 2
    assert found(bench.home, GONE, {"landing", "clean", "warehouse", "serving"}) == set()
    assert found(bench.home, GONE_IDS, {"landing", "clean"}) == set()
    assert set(bench.clean_files()) == set(before)
    again = bench.command("erase", "--email", "c3@example.com")
    assert again.returncode == 2
    assert "nobody is known by this email" in again.stderr
    assert pending(bench.home) == ([], [])
