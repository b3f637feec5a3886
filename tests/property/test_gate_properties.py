"""The gate for any rules and any results: it never opens on anything but a pass."""

from hypothesis import given
from hypothesis import strategies as st

from data_quality.gate import decide
from data_quality.rules import Rule, not_null

OUTCOMES = st.sampled_from(["passed", "failed", "errored", "skipped", "unknown", None])
SEVERITIES = st.sampled_from(["error", "warn"])
NIGHTS = st.lists(st.tuples(SEVERITIES, st.lists(OUTCOMES, max_size=3)), min_size=1, max_size=8)


def night(drawn):
    rules, results = [], []
    for number, (severity, outcomes) in enumerate(drawn):
        rule = Rule(f"r{number}", "clean", "t", not_null("c"), "validity", severity, "It holds.")
        rules.append(rule)
        names = {"gate": rule.gate, "target_table": rule.target_table, "rule_id": rule.rule_id}
        results += [{**names, "outcome": outcome, "detail": None} for outcome in outcomes]
    return rules, results


@given(NIGHTS)
def test_it_publishes_only_what_was_seen_to_pass(drawn):
    rules, results = night(drawn)
    good = [bool(outcomes) and set(outcomes) == {"passed"} for _, outcomes in drawn]
    errors = [passed for (severity, _), passed in zip(drawn, good, strict=True) if severity == "error"]
    expected = "block" if not all(errors) else "publish" if all(good) else "publish+warn"
    decision = decide(rules, results)
    assert decision.action == expected
    assert len(decision.reasons) == good.count(False)


@given(NIGHTS, st.randoms(use_true_random=False))
def test_the_order_of_the_results_does_not_matter(drawn, random):
    rules, results = night(drawn)
    shuffled = random.sample(results, len(results))
    assert decide(rules, shuffled).action == decide(rules, results).action


@given(NIGHTS, st.data())
def test_losing_a_result_never_opens_the_gate(drawn, data):
    rules, results = night(drawn)
    if decide(rules, results).action == "block":
        return
    lost = data.draw(st.sampled_from(rules))
    left = [row for row in results if row["rule_id"] != lost.rule_id]
    assert decide(rules, left).action == ("block" if lost.severity == "error" else "publish+warn")
