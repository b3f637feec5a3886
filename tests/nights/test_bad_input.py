"""Everything that can be wrong with what is delivered, in one night, through the real job.

Each fault is said with the source, the stream, the file, row or key, and the way to mend it. The night goes on where
it safely can, and what was published stays.
"""

from datetime import timedelta

import polars as pl
import pytest

from orchestration.sources.extract import LoadRecord
from orchestration.sources.landing import Landing, as_utc
from orchestration.warehouse.control import Control
from orchestration.warehouse.publish import current_release

TICKETS = """\
source: {name}
type: files
streams:
  tickets:
    from: {{path: "{{home}}/in/{path}"}}
    to: ticket
    primary_key: [id]
    fields: {{subject: subject, status: status, opened_at: opened}}
"""
DATABASE = """\
source: {name}
type: sql
connection: {{dsn: {dsn}}}
streams:
  people:
    from: {{table: people}}
    to: customer
    primary_key: [id]
    fields: {{email: email}}
"""
NO_METRIC = """\
source: club
type: files
streams:
  answers:
    from: {path: "{home}/in/club_*.csv"}
    primary_key: [id]
    tables:
      response: {survey: C1, fields: {answered_at: at}}
      answer: {survey: C1, questions: {Q9: score}}
surveys:
  C1:
    name: Club
    questions:
      Q9: {text: How is the club, scale: {min: 0, max: 10}}
"""
CLOSED_PORT = 9  # discard; nothing listens on it here


@pytest.fixture(scope="module")
def bad_night(new_bench, first_night, rows_of):
    """One night in which nearly everything is wrong."""
    bench = new_bench(like=first_night[0])
    files = {
        "missing": "nothing_*.jsonl",
        "encoding": "gb18030.csv",
        "truncated": "truncated.parquet",
        "header": "header.csv",
        "mixed": "mixed.csv",
    }
    for name, path in files.items():
        bench.source(name, TICKETS.format(name=name, path=path))
    bench.source("unknown_key", TICKETS.format(name="unknown_key", path="x.csv").replace("fields:", "feilds:"))
    bench.source("secret", DATABASE.format(name="secret", dsn="{env: SECRET_DSN_OF_NO_ONE}"))
    bench.source("down", DATABASE.format(name="down", dsn=f"postgresql://reader@127.0.0.1:{CLOSED_PORT}/crm"))
    bench.source("club", NO_METRIC)
    whole = bench.home / "in" / "whole.parquet"
    pl.DataFrame({"id": ["p1"], "subject": ["x"], "status": ["open"], "opened": ["2026-05-02"]}).write_parquet(whole)
    bench.deliver(
        {
            "gb18030.csv": "id,subject,status,opened\ng1,包裹在哪里,open,2026-05-02\n".encode("gb18030"),
            "truncated.parquet": whole.read_bytes()[:-20],
            "header.csv": "id,subject,state,opened\nh1,Where,open,2026-05-02\n",
            "mixed.csv": "id,subject,status,opened\nm1,first,open,2026-05-02\nm1,second,open,2026-05-02\n"
            "m2,torn\nm3,late,open,once\n" + "".join(f"m{n},fine,open,2026-05-02\n" for n in range(4, 24)),
            # A column more than before; 9 and 'nine'.
            "responses_0502.csv": "id,customer,answered,updated,nps,csat,mood\n"
            "n1,c21,2026-05-02T01:00:00Z,2026-05-02T01:00:00Z,9,5,sunny\n"
            "n2,c22,2026-05-02T02:00:00Z,2026-05-02T02:00:00Z,nine,5,grey\n"
            + "".join(f"n{n},c{n},2026-05-02T03:{n}:00Z,2026-05-02T03:{n}:00Z,10,5,dull\n" for n in range(10, 20)),
            # Numbers as text, and the same bytes under another name.
            "tickets_0502.jsonl": rows_of["tickets"]("u", number=2, reopens="9"),
            "events_0501_again.jsonl": rows_of["events"]("e"),
        }
    )
    # Orders had 20 rows on the same weekday one and two weeks before; tonight they have 13.
    bench.crm(*(f"INSERT INTO orders SELECT 'p{n}', customer_id, ordered_at, status, amount, items FROM orders "
                f"WHERE id = 'o{n}'" for n in range(3)))  # fmt: skip
    for weeks in (1, 2):
        when = as_utc(bench.clock - timedelta(weeks=weeks))
        Control(bench.settings.control_dir).record_load(
            LoadRecord(
                f"earlier-{weeks}",
                "earlier",
                "crm",
                "orders",
                "committed",
                when,
                kind="full",
                extracted_at=when,
                rows_read=20,
                rows_landed=20,
                rows_rejected=0,
                bytes_landed=1,
            )
        )
    web_before = {name: content for name, content in bench.clean_files().items() if name.startswith("web_event/")}
    night = bench.night()
    assert night.published, night.text
    return bench, night, web_before


def test_the_night_goes_on_and_says_what_is_stale(bad_night):
    bench, night, _ = bad_night
    release = current_release(bench.settings)
    assert (release.run_id, release.action) == (night.run_id, "publish+warn")
    assert release.stale_sources == (
        "club.configuration",
        "down.people",
        "encoding.tickets",
        "header.tickets",
        "missing.tickets",
        "secret.people",
        "truncated.tickets",
        "unknown_key.configuration",
    )
    for stream in release.stale_sources:
        assert f"landing/{stream.replace('.', '/')}:timeliness_warn" in night.not_passed
        assert f"warned  landing/{stream.replace('.', '/')}:timeliness_warn: not_failed failed" in night.text
    assert set(night.not_passed.values()) == {"warn"}
    # The good sources were read to the end.
    assert bench.one("SELECT count(*) FROM fct_ticket WHERE source = 'support'") == 6
    assert bench.one("SELECT count(*) FROM fct_response") == 32


SAID = {
    "a missing file": ("missing.tickets", ["missing.tickets", "nothing_*.jsonl", "Deliver it", "from.path"]),
    "an unreadable encoding": (
        "encoding.tickets",
        ["encoding.tickets", "gb18030.csv", "no utf-8", "from.encoding", "what fits here: gb18030"],
    ),
    "a truncated Parquet": ("truncated.tickets", ["truncated.tickets", "truncated.parquet", "deliver it again"]),
    "a wrong header": ("header.tickets", ["header.tickets", "header.csv", "'status'", "state"]),
    "an unknown YAML key": (
        "unknown_key.configuration",
        ["unknown_key.yaml", "streams.tickets.feilds", "unknown key 'feilds'", "fields"],
    ),
    "an unset secret": ("secret.people", ["secret.yaml", "SECRET_DSN_OF_NO_ONE", "not set", "export"]),
    "a database that is down": ("down.people", ["down.people", "127.0.0.1", str(CLOSED_PORT)]),
    "a question without a metric": (
        "club.configuration",
        ["club.yaml", "surveys.C1.questions.Q9.metric", "'Q9'", "needs a metric", "nps"],
    ),
}


@pytest.mark.parametrize("fault", SAID)
def test_a_fault_is_named_with_the_way_to_mend_it(bad_night, fault):
    _, night, _ = bad_night
    stream, words = SAID[fault]
    error = night.load_error(stream)
    for word in words:
        assert word in error, error
    assert error.splitlines()[0][:80] in night.text.replace("; ", "\n"), night.text


def test_a_database_that_is_down_was_tried_again(bad_night):
    _, night, _ = bad_night
    tries = [event for event in night.result.all_events if event.event_type_value == "STEP_RESTARTED"]
    assert {event.step_key for event in tries} == {"landing__down__people"}
    assert len(tries) == 3


def test_rows_that_cannot_be_used_are_in_quarantine_with_file_row_and_key(bad_night):
    bench, _, _ = bad_night
    rows = [row for row in bench.quarantine("ticket") if row["source"] == "mixed"]
    found = {(row["reason"].split(":")[0], row["source_file"], row["source_row"], row["source_id"]) for row in rows}
    assert found == {
        ("duplicate_key", "mixed.csv", 1, "m1"),
        ("not_landed", "mixed.csv", 3, None),
        ("invalid_timestamp", "mixed.csv", 4, "m3"),
    }
    arrived = {key for (key,) in bench.rows("SELECT source_id FROM fct_ticket WHERE source = 'mixed'")}
    assert arrived == {"m1", *(f"m{n}" for n in range(4, 24))}


def test_a_new_column_lands_and_goes_no_further(bad_night):
    bench, night, _ = bad_night
    assert night.not_passed["landing/survey/responses:consistency_warn"] == "warn"
    assert "mood" in night.loads["survey.responses"]["schema_change"]
    landing = Landing(bench.settings.landing_dir)
    newest = landing.scan(landing.manifests("survey", "responses")[-1]).collect()
    assert newest["mood"].to_list() == ["sunny", "grey", *["dull"] * 10]
    assert bench.rows("SELECT table_name FROM duckdb_columns() WHERE column_name = 'mood'") == []


def test_a_number_as_text_is_cast_and_a_word_goes_to_quarantine(bad_night):
    bench, _, _ = bad_night
    assert bench.rows("SELECT reopened_count FROM fct_ticket WHERE source_id LIKE 'u%'") == [(9,), (9,)]
    answers = (
        "SELECT question_id, score FROM fct_answer JOIN fct_response r USING (response_key) WHERE r.source_id = '{}' "
        "ORDER BY 1"
    )
    assert bench.rows(answers.format("n1")) == [("Q1", 9.0), ("Q2", 5.0)]
    assert bench.rows(answers.format("n2")) == [("Q2", 5.0)]
    (row,) = bench.quarantine("answer")
    assert (row["source_file"], row["source_row"], row["original_value"]) == ("responses_0502.csv", 2, "nine")


def test_a_third_fewer_rows_than_usual_warns(bad_night):
    _, night, _ = bad_night
    assert night.loads["crm.orders"]["rows_read"] == 13
    assert night.not_passed["landing/crm/orders:completeness_warn"] == "warn"
    assert "20.0" in night.details() or "usual" in night.details()


def test_the_same_file_again_changes_no_row(bad_night):
    bench, night, before = bad_night
    assert night.loads["web.events"]["status"] == "unchanged"
    after = {name: content for name, content in bench.clean_files().items() if name.startswith("web_event/")}
    assert after == before


@pytest.fixture
def quiet(published_bench):
    return published_bench, published_bench.release()


def assert_stopped_at_the_landing(bench, night, before):
    assert not night.published
    assert "dbt" not in night.executed
    assert bench.release() == before
    assert bench.one("SELECT count(*) FROM fct_response") == 20


def test_an_empty_delivery_where_yesterday_had_rows_stops_the_night(quiet):
    bench, before = quiet
    bench.deliver({"tickets_0502.jsonl": ""})
    night = bench.night()
    assert_stopped_at_the_landing(bench, night, before)
    assert night.not_passed == {"landing/support/tickets:completeness": "error"}
    assert "support.tickets: the delivery is not empty" in night.text
    assert "Ask the source for the rows" in night.text


def test_a_required_column_that_is_missing_stops_the_night(quiet):
    bench, before = quiet
    bench.deliver({"responses_0502.csv": "id,customer,answered,updated,csat\nx1,c1,2026-05-02,2026-05-02,5\n"})
    night = bench.night()
    assert_stopped_at_the_landing(bench, night, before)
    error = night.load_error("survey.responses")
    for word in ("survey.responses", "responses_0502.csv", "'nps'"):
        assert word in error, error
    assert night.not_passed == {"landing/survey/responses:timeliness": "error"}


def test_a_required_database_without_its_file_stops_the_night(quiet):
    bench, before = quiet
    bench.deliver({"crm.sqlite": None})
    night = bench.night()
    assert_stopped_at_the_landing(bench, night, before)
    assert "crm.customers" in night.load_error("crm.customers")
