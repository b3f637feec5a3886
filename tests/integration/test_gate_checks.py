"""The bridge to Dagster: what runs behind a gate, and what Dagster does where a check says nothing.

Great Expectations plays no part here; the results of the rules are given.
"""

import dagster as dg
import polars as pl
import pytest

from data_quality.checks import check_name, gate_checks
from data_quality.gate import decide
from data_quality.rules import Rule, not_null

RULES = [
    Rule(rule_id, "clean", table, not_null("x"), "validity", severity, f"{rule_id} holds.")
    for rule_id, table, severity in (
        ("a_error", "a", "error"),
        ("a_warn", "a", "warn"),
        ("b_error", "b", "error"),
        ("b_error_too", "b", "error"),
    )
]
NIGHT = ["a", "b", "gate", "behind_a", "behind_b", "publish"]


class Night:
    """Assets a and b, a gate on both, one asset behind each, and publish behind those."""

    def __init__(self, outcomes=None, *, gate=None, raises=False, a=None, selection=None):
        self.ran: list[str] = []
        self.results: list[dict] = []
        self.outcomes = outcomes or {}
        self.raises = raises
        definitions = dg.Definitions(
            assets=[
                a(self) if a else self.asset("a"),
                self.asset("b"),
                self.asset("behind_a", "a"),
                self.asset("behind_b", "b"),
                self.asset("publish", "behind_a", "behind_b"),
            ],
            asset_checks=[gate or gate_checks("clean", RULES, dg.AssetKey, self.run)],
            jobs=[
                dg.define_asset_job(
                    "night",
                    selection=dg.AssetSelection.all() if selection is None else selection,
                    executor_def=dg.in_process_executor,
                )
            ],
        )
        with dg.DagsterInstance.ephemeral() as instance:
            self.outcome = definitions.resolve_job_def("night").execute_in_process(
                instance=instance, raise_on_error=False
            )
            self.checks = {
                (check.asset_key.to_user_string(), check.check_name): check
                for check in self.outcome.get_asset_check_evaluations()
            }

    def asset(self, name, *deps):
        @dg.asset(name=name, deps=list(deps))
        def _asset():
            self.ran.append(name)

        return _asset

    def run(self, run_id):
        self.ran.append("gate")
        if self.raises:
            raise RuntimeError("the disk is full")
        self.results = [
            {
                "run_id": run_id,
                "gate": rule.gate,
                "target_table": rule.target_table,
                "rule_id": rule.rule_id,
                "outcome": self.outcomes.get(rule.rule_id, "passed"),
                "unexpected_count": 0 if rule.rule_id not in self.outcomes else 3,
                "detail": "3 of 10 | rows fail",
            }
            for rule in RULES
            if self.outcomes.get(rule.rule_id) != "no_result"
        ]
        return pl.DataFrame(self.results)

    @property
    def action(self):
        return decide(RULES, self.results).action


def test_a_good_night_is_published():
    night = Night()
    assert night.outcome.success
    assert sorted(night.ran) == sorted(NIGHT)
    assert night.ran.count("gate") == 1
    assert set(night.checks) == {("a", "validity"), ("a", "validity_warn"), ("b", "validity")}


# The cases of golden g31, one night each.
@pytest.mark.parametrize(
    ("rule_id", "outcome", "action"),
    [
        ("a_error", "passed", "publish"),
        ("a_warn", "failed", "publish+warn"),
        ("a_error", "failed", "block"),
        ("a_error", "errored", "block"),
        ("a_error", "skipped", "block"),
        ("a_error", "no_result", "block"),
        ("b_error_too", "failed", "block"),
        ("a_warn", "errored", "publish+warn"),
        ("a_warn", "no_result", "publish+warn"),
    ],
)
def test_golden_g31_through_dagster(rule_id, outcome, action):
    night = Night({rule_id: outcome})
    assert night.action == action
    assert night.outcome.success is (action != "block")
    # A gate that blocks stops everything behind every asset it guards, also behind those that were good.
    assert sorted(night.ran) == sorted(["a", "b", "gate"] if action == "block" else NIGHT)


def test_a_failed_check_says_what_and_how_often():
    night = Night({"b_error_too": "failed"})
    check = night.checks["b", "validity"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.description == "b_error_too failed: 3 of 10 | rows fail"
    assert check.metadata["unexpected"].value == 3
    assert check.metadata["rules not passed"].value == 1
    table = check.metadata["results"].value
    assert "| b_error_too | failed |  | 3 |  | 3 of 10 \\| rows fail |" in table
    assert "| b_error | passed |" in table
    assert night.checks["a", "validity"].passed


def test_a_warning_is_seen():
    check = Night({"a_warn": "failed"}).checks["a", "validity_warn"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_a_gate_that_raises_fails_every_check_and_stops_the_night():
    night = Night(raises=True)
    assert sorted(night.ran) == ["a", "b", "gate"]
    assert {check.passed for check in night.checks.values()} == {False}
    assert "the disk is full" in night.checks["a", "validity"].description
    assert [event.step_key for event in night.outcome.get_step_failure_events()] == ["clean_gate"]


def test_where_a_checked_asset_fails_nothing_behind_any_checked_asset_runs():
    def failing(night):
        @dg.asset(name="a")
        def _asset():
            night.ran.append("a")
            raise ValueError("a cannot be built")

        return _asset

    night = Night(a=failing)
    assert not night.outcome.success
    assert sorted(night.ran) == ["a", "b"]
    assert night.action == "block"


def test_part_of_the_night_checks_its_part():
    night = Night({"b_error": "failed"}, selection=dg.AssetSelection.assets("a", "behind_a"))
    assert night.outcome.success
    assert sorted(night.ran) == ["a", "behind_a", "gate"]
    assert set(night.checks) == {("a", "validity"), ("a", "validity_warn")}


# What Dagster lets through. Each of these publishes as far as Dagster is concerned, so that the publisher has to ask
# ``decide`` about all rules; a Dagster that has become stricter shows here.


def test_dagster_goes_on_where_the_checks_are_not_selected():
    night = Night(selection=dg.AssetSelection.all() - dg.AssetSelection.all_asset_checks())
    assert night.outcome.success
    assert "publish" in night.ran
    assert night.action == "block"


def test_dagster_goes_on_where_the_gate_is_skipped():
    """A checked asset that gives no output (``output_required=False``) skips the gate and opens it for the others."""

    def silent(night):
        @dg.asset(name="a", output_required=False)
        def _asset():
            night.ran.append("a")
            yield from ()

        return _asset

    night = Night(a=silent)
    assert night.outcome.success
    assert night.ran == ["a", "b", "behind_b"]
    assert night.checks == {}
    assert night.action == "block"


@pytest.mark.parametrize(("can_subset", "published"), [(True, True), (False, False)])
def test_dagster_goes_on_where_a_subsettable_check_function_yields_nothing(can_subset, published):
    specs = [dg.AssetCheckSpec("x", asset=name, blocking=True) for name in ("a", "b")]

    @dg.multi_asset_check(name="silent", specs=specs, can_subset=can_subset)
    def _silent():
        yield from ()

    night = Night(gate=_silent)
    assert ("publish" in night.ran) is published
    assert night.action == "block"


def test_the_gate_yields_every_selected_check():
    """It may be run in part, and so has to yield by itself what Dagster does not ask for."""
    for outcomes in ({}, dict.fromkeys([rule.rule_id for rule in RULES], "no_result")):
        night = Night(outcomes)
        assert set(night.checks) == {(rule.target_table, check_name(rule)) for rule in RULES}


def test_only_error_severity_blocks():
    gate = gate_checks("clean", RULES, dg.AssetKey, lambda _: pl.DataFrame())
    assert {spec.name: spec.blocking for spec in gate.check_specs} == {"validity": True, "validity_warn": False}


def test_a_gate_needs_rules():
    with pytest.raises(ValueError, match="no rules"):
        gate_checks("clean", [], dg.AssetKey, lambda _: pl.DataFrame())


def test_a_gate_refuses_rules_that_cannot_be_told_apart():
    with pytest.raises(ValueError, match="clean/a/a_error"):
        gate_checks("clean", [RULES[0], RULES[0]], dg.AssetKey, lambda _: pl.DataFrame())
