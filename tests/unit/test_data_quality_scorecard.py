"""The data-quality index: shares by hand, and golden g12's weights."""

import polars as pl
import pytest

from data_quality.run import RESULT_SCHEMA
from data_quality.scorecard import WEIGHTS, data_quality_index, dimension_scores


def results(*rows):
    common = {"run_id": "run", "gate": "clean", "target_table": "customer", "severity": "error"}
    return pl.DataFrame([{**common, "rule_id": f"r{i}", **row} for i, row in enumerate(rows)], schema=RESULT_SCHEMA)


def counted(dimension, failing, of, outcome=None):
    outcome = outcome or ("failed" if failing else "passed")
    return {"dimension": dimension, "outcome": outcome, "element_count": of, "unexpected_count": failing}


def test_golden_g12():
    found = dimension_scores(
        results(
            counted("accuracy", 3, 26),
            counted("completeness", 4, 30),
            counted("timeliness", 2, 8),
            counted("uniqueness", 1, 10),
        )
    )
    scores = dict(zip(found["dimension"], found["score"], strict=True))
    assert scores == pytest.approx(
        {"accuracy": 0.8846153846, "completeness": 0.8666666667, "timeliness": 0.75, "uniqueness": 0.9}
    )
    assert WEIGHTS == {"accuracy": 0.35, "completeness": 0.3, "timeliness": 0.2, "uniqueness": 0.15}
    row = data_quality_index(found).row(0, named=True)
    assert row["data_quality_index"] == pytest.approx(85.4615384615)
    assert row["weight_covered"] == pytest.approx(1)


def test_what_is_not_known_counts_as_nothing():
    errored = {"dimension": "accuracy", "outcome": "errored", "element_count": 10, "unexpected_count": None}
    found = dimension_scores(results(counted("accuracy", 0, 10), errored))
    assert found["score"].to_list() == [0.5]
    assert found["rules_passed"].to_list() == [1]


def test_a_rule_without_counts_is_all_or_nothing():
    found = dimension_scores(
        results({"dimension": "timeliness", "outcome": "failed"}, {"dimension": "accuracy", "outcome": "passed"})
    )
    assert dict(zip(found["dimension"], found["score"], strict=True)) == {"accuracy": 1.0, "timeliness": 0.0}


def test_more_failures_than_rows_are_no_negative_score():
    assert dimension_scores(results(counted("validity", 12, 10)))["score"].to_list() == [0.0]


def test_missing_dimensions_are_left_out():
    index = data_quality_index(dimension_scores(results(counted("uniqueness", 1, 2), counted("validity", 2, 2))))
    assert index["data_quality_index"].to_list() == [50.0]
    assert index["weight_covered"].to_list() == pytest.approx([0.15])


def test_without_weighted_dimensions_there_is_no_index():
    assert data_quality_index(dimension_scores(results(counted("validity", 0, 2))))["data_quality_index"][0] is None


def test_bad_weights_are_refused():
    with pytest.raises(ValueError, match="weights"):
        data_quality_index(dimension_scores(results(counted("validity", 0, 2))), {"validity": 0})
