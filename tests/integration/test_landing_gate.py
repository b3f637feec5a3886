"""The landing gate: golden g31's deliveries and drift, judged by what a stream is."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from data_quality.gate import decide
from data_quality.run import Tables, run_rules
from data_quality.suites import Stream, landing_rules
from orchestration.contracts import CONTROL

TONIGHT = datetime(2026, 5, 1, 18)
"""02:00 on Saturday 2 May in Shanghai; still Friday in UTC."""
FILES = Stream("web", "events", "files")
FULL = Stream("crm", "accounts", "sql")
INCREMENTAL = Stream("crm", "customers", "sql", is_incremental=True)
REQUIRED = Stream("crm", "customers", "sql", is_incremental=True, is_required=True)


def load(days_ago=0, rows=5000, stream=FILES, *, hours=0, **more):
    started = TONIGHT - timedelta(days=days_ago, hours=hours)
    return {
        "load_id": f"{stream.stream}-{days_ago}-{hours}",
        "run_id": "tonight" if days_ago == 0 and hours == 0 else f"run-{days_ago}",
        "source": stream.source,
        "stream": stream.stream,
        "status": "committed",
        "started_at": started,
        "extracted_at": started,
        "rows_read": rows,
        "rows_landed": rows,
        "rows_rejected": 0,
        **more,
    }


def check(tmp_path, loads, *streams, manifests=None):
    """Rule id to outcome of what did not pass, and the gate's decision."""
    loads = loads if isinstance(loads, list) else [loads]
    frame = pl.DataFrame(loads, schema=CONTROL["load"].schema)
    (tmp_path / "load").mkdir(exist_ok=True)
    frame.write_parquet(tmp_path / "load" / "all.parquet")
    columns = ["load_id", "source", "stream", "rows_read", "rows_landed", "rows_rejected"]
    if manifests is None:
        manifests = frame.filter(pl.col("status") == "committed").select(columns)
    rules = landing_rules(streams or (FILES,), business_timezone="Asia/Shanghai")
    results = run_rules(
        rules,
        tables=Tables.landing(tmp_path, manifests),
        run_id="tonight",
        now=TONIGHT + timedelta(hours=1),
    )
    assert results.height == len(rules)
    bad = results.filter(pl.col("outcome") != "passed")
    details = dict(bad.select("rule_id", "detail").iter_rows())
    return dict(bad.select("rule_id", "outcome").iter_rows()), decide(rules, results).action, details


HISTORY = [load(days) for days in range(1, 36)]


def test_a_good_night_publishes(tmp_path):
    assert check(tmp_path, [*HISTORY, load()])[:2] == ({}, "publish")


def test_golden_g31_nothing_where_yesterday_had_5000_blocks(tmp_path):
    found, action, details = check(tmp_path, [load(1), load(rows=0)])
    assert (found, action) == ({"not_empty": "failed"}, "block")
    assert "events-0-0/5000" in details["not_empty"]


def test_golden_g31_35_percent_below_the_weekday_warns(tmp_path):
    found, action, details = check(tmp_path, [*HISTORY, load(rows=3250)])
    assert (found, action) == ({"volume_as_usual": "failed"}, "publish+warn")
    assert "2026-05-02/3250/5000" in details["volume_as_usual"]


def test_a_little_less_is_quiet(tmp_path):
    assert check(tmp_path, [*HISTORY, load(rows=3251)])[:2] == ({}, "publish")


def test_the_weekday_is_the_business_days(tmp_path):
    """Fridays bring 500, all other days 5000: 500 is too little on a Saturday, enough on a Friday."""
    history = [load(days, 500 if days % 7 == 1 else 5000) for days in range(1, 36)]
    assert check(tmp_path, [*history, load(rows=500)])[0] == {"volume_as_usual": "failed"}
    saturdays_low = [load(days, 500 if days % 7 == 0 else 5000) for days in range(1, 36)]
    assert check(tmp_path, [*saturdays_low, load(rows=500)])[0] == {}


def test_a_median_needs_more_than_one_day(tmp_path):
    assert check(tmp_path, [load(7), load(rows=1)])[0] == {}


def test_golden_g31_a_new_column_warns(tmp_path):
    found, action, details = check(tmp_path, [load(1), load(schema_change="added: loyalty_tier")])
    assert (found, action) == ({"no_schema_change": "failed"}, "publish+warn")
    assert "added: loyalty_tier" in details["no_schema_change"]


@pytest.mark.parametrize("rows", [None, 5000])
def test_golden_g31_the_same_file_again_is_a_quiet_night(tmp_path, rows):
    again = load(rows=rows, status="unchanged", rows_landed=0)
    assert check(tmp_path, [*HISTORY, again])[:2] == ({}, "publish")


def test_an_incremental_stream_with_nothing_new_is_a_quiet_night(tmp_path):
    loads = [load(1, stream=INCREMENTAL), load(rows=0, stream=INCREMENTAL, status="unchanged")]
    assert check(tmp_path, loads, INCREMENTAL)[:2] == ({}, "publish")


@pytest.mark.parametrize("status", ["committed", "unchanged"])
def test_a_full_extract_that_finds_nothing_blocks(tmp_path, status):
    loads = [load(1, stream=FULL), load(rows=0, stream=FULL, status=status)]
    assert check(tmp_path, loads, FULL)[:2] == ({"not_empty": "failed"}, "block")


@pytest.mark.parametrize("status", ["committed", "unchanged"])
def test_a_second_empty_night_blocks_too(tmp_path, status):
    assert check(tmp_path, [load(2), load(1, rows=0), load(rows=0, status=status)])[1] == "block"


def test_a_stream_that_never_had_rows_may_be_empty(tmp_path):
    assert check(tmp_path, [load(1, rows=0), load(rows=0)])[:2] == ({}, "publish")


def failed(stream):
    error = "crm.customers: the database is down; start it"
    none = dict.fromkeys(("rows_read", "rows_landed", "rows_rejected"))
    return load(stream=stream, status="failed", error=error, **none)


def test_a_failed_load_warns_and_names_the_stale_stream(tmp_path):
    found, action, details = check(tmp_path, [load(1, stream=INCREMENTAL), failed(INCREMENTAL)], INCREMENTAL)
    assert (found, action) == ({"not_failed": "failed"}, "publish+warn")
    assert "crm.customers" in details["not_failed"]
    assert "the database is down; start it" in details["not_failed"]


def test_a_failed_load_of_a_required_stream_blocks(tmp_path):
    assert check(tmp_path, [load(1, stream=REQUIRED), failed(REQUIRED)], REQUIRED)[:2] == (
        {"not_failed": "failed"},
        "block",
    )


def test_a_load_that_recovered_is_forgotten(tmp_path):
    earlier = {**failed(REQUIRED), "load_id": "early", "run_id": "x", "started_at": TONIGHT - timedelta(hours=5)}
    assert check(tmp_path, [load(1, stream=REQUIRED), earlier, load(stream=REQUIRED)], REQUIRED)[1] == "publish"


@pytest.mark.parametrize(("stream", "action"), [(INCREMENTAL, "publish+warn"), (REQUIRED, "block")])
def test_a_stream_that_was_not_extracted_is_stale(tmp_path, stream, action):
    loads = [load(0, stream=FILES), load(2, stream=stream)]
    assert check(tmp_path, loads, FILES, stream)[:2] == ({"fresh": "failed"}, action)


def test_a_stream_that_never_loaded_is_stale(tmp_path):
    found, action, details = check(tmp_path, [load()], FILES, REQUIRED)
    assert (found, action) == ({"fresh": "failed"}, "block")
    assert "crm/customers/null" in details["fresh"]


def test_rows_that_do_not_add_up_block(tmp_path):
    assert check(tmp_path, [load(1), load(rows_landed=4990)])[:2] == ({"counts_add_up": "failed"}, "block")


def test_rows_that_say_a_key_is_gone_come_on_top(tmp_path):
    assert check(tmp_path, [load(1), load(rows_landed=5010)])[:2] == ({}, "publish")


def test_counts_that_are_missing_block(tmp_path):
    assert check(tmp_path, [load(1), load(rows_rejected=None)])[:2] == ({"counts_add_up": "failed"}, "block")


@pytest.mark.parametrize("landed", [None, 4999])
def test_a_manifest_that_disagrees_blocks(tmp_path, landed):
    schema = ["load_id", "source", "stream", "rows_read", "rows_landed", "rows_rejected"]
    rows = [("events-0-0", "web", "events", 5000, landed, 0)] if landed else []
    types = dict.fromkeys(schema[:3], pl.String) | dict.fromkeys(schema[3:], pl.Int64)
    manifests = pl.DataFrame(rows, schema=types, orient="row")
    found = check(tmp_path, [load(1), load()], manifests=manifests)
    assert found[:2] == ({"manifest_agrees": "failed"}, "block")


@pytest.mark.parametrize(
    ("rejected", "expected", "action"),
    [
        (100, {}, "publish"),
        (101, {"rejected_warn": "failed"}, "publish+warn"),
        (1001, {"rejected_warn": "failed", "rejected_error": "failed"}, "block"),
    ],
)
def test_rows_that_cannot_be_landed_are_limited(tmp_path, rejected, expected, action):
    tonight = load(rows_landed=5000 - rejected, rows_rejected=rejected)
    assert check(tmp_path, [load(1), tonight])[:2] == (expected, action)


def test_a_window_that_was_not_read_to_its_end_warns_with_the_share(tmp_path):
    api = Stream("shop", "orders", "http", is_incremental=True)
    cut = load(stream=api, missing_share=0.25, cursor_from="2026-04-30T00:00:00Z")
    found, action, details = check(tmp_path, [load(1, stream=api), cut], api)
    assert (found, action) == ({"complete": "failed"}, "publish+warn")
    assert "25.0 % of the window is missing" in details["complete"]
    assert "the next load goes on where this one ended" in details["complete"]
    # A night on which the source is away does not make it complete; one that reads on does.
    away = {**failed(api), "started_at": TONIGHT + timedelta(minutes=1)}
    assert "complete" in check(tmp_path, [load(1, stream=api), cut, away], api)[0]
    read = load(stream=api, load_id="later", started_at=TONIGHT + timedelta(minutes=1))
    assert check(tmp_path, [load(1, stream=api), cut, read], api)[:2] == ({}, "publish")


def test_streams_do_not_mix(tmp_path):
    other = Stream("shop", "events", "files")
    loads = [load(1), load(), load(1, stream=other), load(rows=0, stream=other, load_id="empty")]
    rules = landing_rules((FILES, other))
    assert {rule.target_table for rule in rules} == {"web.events", "shop.events"}
    found, action, _ = check(tmp_path, loads, FILES, other)
    assert (found, action) == ({"not_empty": "failed"}, "block")


def test_without_a_load_table_everything_is_errored(tmp_path):
    rules = landing_rules((FILES,))
    results = run_rules(rules, tables=Tables.landing(tmp_path, pl.DataFrame()), run_id="tonight", now=TONIGHT)
    assert results["outcome"].unique().to_list() == ["errored"]
    assert decide(rules, results).action == "block"
