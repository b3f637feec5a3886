"""What follows from results: golden g31, and that nothing but a pass lets data through at error severity."""

import polars as pl
import pytest

from data_quality.gate import Action, decide
from data_quality.rules import Rule, not_null, reject_duplicates

G31_CASES = [
    ("pass", "error", "publish"),
    ("fail", "warn", "publish+warn"),
    ("fail", "error", "block"),
    ("errored", "error", "block"),
    ("skipped", "error", "block"),
    ("no_result", "error", "block"),
]
OUTCOME = {"pass": "passed", "fail": "failed"}


def rule(rule_id="r", severity="error", table="customer", gate="clean"):
    return Rule(rule_id, gate, table, not_null("email"), "completeness", severity, "No e-mail is missing.")


def result(rule, outcome, **more):
    names = {"gate": rule.gate, "target_table": rule.target_table, "rule_id": rule.rule_id}
    return {**names, "outcome": outcome, "severity": rule.severity, "detail": None, **more}


@pytest.mark.parametrize(("outcome", "severity", "action"), G31_CASES)
def test_golden_g31(outcome, severity, action):
    judged, other = rule("judged", severity), rule("other")
    results = [result(other, "passed")]
    if outcome != "no_result":
        results.append(result(judged, OUTCOME.get(outcome, outcome)))
    assert decide([judged, other], results).action == action


@pytest.mark.parametrize("outcome", ["failed", "errored", "skipped", "PASSED", "", None])
def test_only_a_pass_passes(outcome):
    decision = decide([rule()], [result(rule(), outcome)])
    assert decision.action is Action.BLOCK
    assert len(decision.reasons) == 1


@pytest.mark.parametrize("outcome", ["failed", "errored", "skipped"])
def test_warn_severity_publishes_and_says_so(outcome):
    decision = decide([rule(severity="warn")], [result(rule(severity="warn"), outcome, detail="3 of 10 rows fail.")])
    assert decision.action == "publish+warn"
    assert decision.reasons == (f"clean customer.r {outcome}: 3 of 10 rows fail.",)


def test_no_rules_block():
    assert decide([], [result(rule(), "passed")]).action is Action.BLOCK


def test_the_severity_is_the_rules_own():
    assert decide([rule()], [result(rule(), "failed", severity="warn")]).action is Action.BLOCK


def test_the_worst_of_several_results_counts():
    results = [result(rule(), "passed"), result(rule(), "failed"), result(rule(), "passed")]
    assert decide([rule()], results).action is Action.BLOCK


@pytest.mark.parametrize("other", [{"gate": "marts"}, {"target_table": "account"}, {"rule_id": "s"}])
def test_a_result_of_another_rule_does_not_count(other):
    decision = decide([rule()], [{**result(rule(), "passed"), **other}])
    assert decision.action is Action.BLOCK
    assert "gave no result" in decision.reasons[0]


def test_frames_and_rows_are_the_same():
    rows = [result(rule(), "passed"), result(rule("w", "warn"), "failed")]
    rules = [rule(), rule("w", "warn")]
    assert decide(rules, pl.DataFrame(rows)) == decide(rules, rows)


def test_an_empty_frame_blocks():
    schema = dict.fromkeys(("gate", "target_table", "rule_id", "outcome", "detail"), pl.String)
    assert decide([rule()], pl.DataFrame(schema=schema)).action is Action.BLOCK


def test_blocking_reasons_come_first():
    rules = [rule("w", "warn"), rule("e")]
    decision = decide(rules, [result(rules[0], "failed"), result(rules[1], "errored", detail="no table customer")])
    assert [reason.split(":")[0] for reason in decision.reasons] == [
        "clean customer.e errored",
        "clean customer.w failed",
    ]


def test_rules_declared_twice_are_refused():
    with pytest.raises(ValueError, match="clean/customer/r"):
        reject_duplicates([rule(), rule(severity="warn")])
