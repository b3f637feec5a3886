"""g31: what a night does with each outcome of a rule, at real gates of the real job. Fail closed."""

import json

import dagster as dg
import duckdb
import polars as pl
import pytest

from data_quality.rules import Rule, no_rows
from orchestration.assets import gates
from orchestration.assets.keys import BACKFILL_GROUP
from orchestration.automation.outcome import cause
from orchestration.warehouse.publish import current_release

TARGETS = {"landing": "crm.customers", "clean": "customer", "marts": "dim_person"}
QUERIES = {
    "pass": "SELECT 1 AS found WHERE false",
    "fail": "SELECT 1 AS found",
    "errored": "SELECT no_such_column FROM {table}",
    "skipped": "SELECT 1 AS found WHERE false",
    "no_result": "SELECT 1 AS found WHERE false",
}


@pytest.fixture
def inject(monkeypatch):
    """Adds a rule with an outcome of its own to a gate of the job."""

    def _inject(gate, outcome, severity="error"):
        name = f"g31_{outcome.replace('no_result', 'silent')}_{severity}"
        table = {"landing": "load"}.get(gate, TARGETS[gate])
        rule = Rule(
            name, gate, TARGETS[gate], no_rows(QUERIES[outcome].format(table=table)), "validity", severity,
            f"what g31 says of {outcome}", table=table,
        )  # fmt: skip
        declared, run = getattr(gates, f"{gate}_rules"), gates.run_rules

        def with_rule(*arguments, **options):
            return [*declared(*arguments, **options), rule]

        def with_outcome(rules, **options):
            results = run(rules, **options)
            if outcome == "skipped":
                its = pl.col("rule_id") == name
                return results.with_columns(
                    outcome=pl.when(its).then(pl.lit("skipped")).otherwise("outcome"),
                    detail=pl.when(its).then(None).otherwise("detail"),
                )
            return results.filter(pl.col("rule_id") != name) if outcome == "no_result" else results

        monkeypatch.setattr(gates, f"{gate}_rules", with_rule)
        monkeypatch.setattr(gates, "run_rules", with_outcome)
        return name

    return _inject


def assert_blocked(bench, night, before, gate, rule):
    """Nothing moved; who reads sees what was there; the summary names the gate and what was left undone."""
    assert not night.published
    assert not night.result.success
    assert bench.release() == before
    assert bench.one("SELECT count(*) FROM fct_response") == 20
    assert bench.read_elsewhere() == 20
    assert "published__release" not in night.executed
    assert "NOT published: readers keep the version published before" in night.text
    assert f"FAILED  {gate}_gate: " in night.text
    assert rule in night.text
    behind = next(line for line in night.text.splitlines() if line.startswith(f"  skipped behind {gate}_gate: "))
    assert "published__release" in behind
    return behind


def test_every_rule_passed_publishes(first_night):
    bench, night = first_night
    release = current_release(bench.settings)
    assert (release.action, release.run_id, release.reasons) == ("publish", night.run_id, ())
    assert bench.one("SELECT count(*) FROM check_result WHERE outcome <> 'passed'") == 0
    assert bench.one("SELECT count(DISTINCT gate) FROM check_result") == 3
    assert night.not_passed == {}


@pytest.mark.parametrize("outcome", ["fail", "errored", "skipped", "no_result"])
def test_a_rule_at_error_severity_that_was_not_seen_to_pass_stops_the_night_at_the_landing(
    published_bench, inject, rows_of, outcome
):
    bench, before = published_bench, published_bench.release()
    rule = inject("landing", outcome)
    bench.deliver({"responses_0502.csv": rows_of["responses"]("s", day="2026-05-02")})
    with bench.published() as reader:
        night = bench.night()
        assert reader.execute("SELECT count(*) FROM fct_response").fetchone() == (20,)
    behind = assert_blocked(bench, night, before, "landing", rule)
    assert night.not_passed == {"landing/crm/customers:validity": "error"}
    assert "clean__response" in behind and "dbt" in behind
    assert not {"dbt", "clean__response", "clean_gate"} & night.executed
    # What was landed stays and is read by the next night.
    assert night.loads["survey.responses"]["rows_landed"] == 20
    assert bench.clean("response").height == 20


@pytest.mark.parametrize("outcome", ["skipped", "errored"])
def test_the_clean_gate_stops_what_is_behind_it_and_keeps_the_quarantine(published_bench, inject, rows_of, outcome):
    bench, before = published_bench, published_bench.release()
    rule = inject("clean", outcome)
    bench.deliver({"tickets_0502.jsonl": rows_of["tickets"]("u", number=1, opened="once upon a time")})
    night = bench.night()
    behind = assert_blocked(bench, night, before, "clean", rule)
    assert "dbt" in behind
    assert "dbt" not in night.executed
    (row,) = bench.quarantine("ticket")
    assert (row["source"], row["stream"], row["source_file"], row["source_row"]) == (
        "support",
        "tickets",
        "tickets_0502.jsonl",
        1,
    )
    assert (row["source_id"], row["field"], row["original_value"]) == ("u0", "opened_at", "once upon a time")
    assert json.loads(row["row_json"])["subject"] == "Where is my parcel?"


def test_the_marts_gate_stops_the_publisher(published_bench, inject, rows_of):
    bench, before = published_bench, published_bench.release()
    rule = inject("marts", "errored")
    bench.deliver({"responses_0502.csv": rows_of["responses"]("s", day="2026-05-02")})
    night = bench.night()
    assert_blocked(bench, night, before, "marts", rule)
    assert "dbt" in night.executed
    with duckdb.connect(str(bench.settings.marts_path), read_only=True) as private:
        assert private.execute("SELECT count(*) FROM fct_response").fetchone() == (40,)


@pytest.mark.parametrize("fault", ["it yields nothing", "its checks are not selected"])
def test_dagster_fails_open_where_a_gate_is_silent_and_the_publisher_does_not(published_bench, monkeypatch, fault):
    bench, before, selection = published_bench, published_bench.release(), None
    monkeypatch.setattr(gates, "run_rules", _without("marts", gates.run_rules))
    if fault == "it yields nothing":
        monkeypatch.setattr(gates, "gate_checks", _silent("marts", gates.gate_checks))
    else:
        night = dg.AssetSelection.all() - dg.AssetSelection.groups(BACKFILL_GROUP)
        selection = night - dg.AssetSelection.checks_for_assets(dg.AssetKey(["gates", "marts"]))
    night = bench.night(selection=selection)
    assert "published__release" in night.executed, "this is where Dagster alone would have let the night through"
    assert not night.published
    assert bench.release() == before
    (failure,) = night.result.get_step_failure_events()
    assert "not published: marts dim_person.key_unique gave no result" in cause(failure)
    assert "landing" not in cause(failure) and "clean" not in cause(failure)


def _without(gate, run):
    """``run_rules`` that leaves the rules of one gate without a result."""
    return lambda rules, **options: run([rule for rule in rules if rule.gate != gate], **options)


def _silent(gate, build):
    """``gate_checks`` whose step for one gate reports no check at all."""

    def gate_checks(name, rules, asset_key_of, run, **options):
        definition = build(name, rules, asset_key_of, run, **options)
        if name != gate:
            return definition
        specs = list(definition.check_specs)

        @dg.multi_asset_check(name=f"{name}_gate", specs=specs, can_subset=True)
        def _nothing():
            yield from ()

        return _nothing

    return gate_checks


def test_a_night_whose_publisher_was_skipped_is_no_success(published_bench):
    bench, before = published_bench, published_bench.release()
    night = bench.night(selection=dg.AssetSelection.assets("landing/crm/orders").without_checks())
    assert night.result.success
    assert not night.published
    assert "NOT published" in night.text
    assert bench.release() == before


def test_publishing_alone_without_its_gates_is_refused(published_bench):
    bench, before = published_bench, published_bench.release()
    night = bench.night(selection=dg.AssetSelection.assets("published/release"))
    assert not night.published
    assert bench.release() == before
    (failure,) = night.result.get_step_failure_events()
    assert "not published: landing crm.customers.not_failed gave no result" in cause(failure)
