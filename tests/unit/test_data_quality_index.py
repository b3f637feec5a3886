"""The index leaves out what was not measured, and each dimension counts what it says."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from orchestration.statistics.data_quality_index import (
    COMPONENTS_SCHEMA,
    WEIGHTS,
    QualityRules,
    data_quality_index,
    passes,
    quality_components,
)

NOON = datetime(2026, 5, 1, 12)


def components(**shares):
    rows = [(name, None, None, share, WEIGHTS[name]) for name, share in shares.items()]
    return pl.DataFrame(rows, schema=COMPONENTS_SCHEMA, orient="row")


def test_weights_add_up_to_one():
    assert sum(WEIGHTS.values()) == pytest.approx(1)


def test_a_dimension_that_was_not_measured_neither_helps_nor_hurts():
    assert data_quality_index(components(accuracy=1.0, completeness=0.5)) == pytest.approx(
        100 * (0.35 * 1.0 + 0.30 * 0.5) / 0.65
    )
    assert data_quality_index(components(accuracy=0.8, timeliness=None)) == pytest.approx(80)
    assert data_quality_index(components(accuracy=None)) is None


def test_no_rows_have_no_shares_and_no_index():
    frame = pl.LazyFrame(schema={"a": pl.String})
    measured = quality_components(frame, QualityRules(required=("a",), key=("a",)))
    assert measured["share"].null_count() == measured.height
    assert data_quality_index(measured) is None


def test_the_lag_is_inclusive_and_an_event_after_its_row_is_wrong_and_not_timely():
    frame = pl.DataFrame(
        {"at": [NOON, NOON, NOON, None], "seen": [NOON + timedelta(hours=hours) for hours in (24, 25, -1, 0)]}
    )
    rules = QualityRules(required=("at",), event_time="at", available_at="seen")
    found = {
        row["dimension"]: (row["numerator"], row["denominator"])
        for row in quality_components(frame.lazy(), rules).to_dicts()
    }
    assert found == {"completeness": (3, 4), "accuracy": (2, 3), "timeliness": (1, 2)}
    assert frame.select(passes(rules)).to_series().to_list() == [True, True, False, False]
