"""Golden g15: late, repeated and outdated versions of six responses over three loads."""

from datetime import date, datetime

import polars as pl
import pytest

from orchestration.contracts import CONTRACTS
from orchestration.warehouse.clean import CleanStore

RESPONSE = CONTRACTS["response"]
VERSIONS = [
    ("2026-05-02", "r1", "2026-05-01T09:00:00", "2026-05-01T09:00:00", "c1", 9),
    ("2026-05-02", "r2", "2026-05-01T10:00:00", "2026-05-01T10:00:00", "c2", 6),
    ("2026-05-02", "r3", "2026-05-01T23:30:00", "2026-05-01T23:30:00", "c3", 10),
    ("2026-05-03", "r4", "2026-05-02T08:00:00", "2026-05-02T08:00:00", "c4", 8),
    ("2026-05-03", "r2", "2026-05-02T12:00:00", "2026-05-01T10:00:00", "c2", 9),
    ("2026-05-03", "r1", "2026-05-01T09:00:00", "2026-05-01T09:00:00", "c1", 9),
    ("2026-05-04", "r5", "2026-05-03T07:00:00", "2026-05-01T16:30:00", "c5", 3),
    ("2026-05-04", "r2", "2026-05-01T11:00:00", "2026-05-01T10:00:00", "c2", 2),
    ("2026-05-04", "r6", "2026-05-03T17:00:00", "2026-05-03T17:00:00", "c6", 10),
]
DAYS_TOUCHED = {
    "2026-05-02": ["2026-05-01", "2026-05-02"],
    "2026-05-03": ["2026-05-01", "2026-05-02"],
    "2026-05-04": ["2026-05-02", "2026-05-04"],
}
# day -> n, promoters, passives, detractors, NPS, after each load
DAILY_NPS = {
    "2026-05-02": {"2026-05-01": (2, 1, 0, 1, 0.0), "2026-05-02": (1, 1, 0, 0, 100.0)},
    "2026-05-03": {"2026-05-01": (2, 2, 0, 0, 100.0), "2026-05-02": (2, 1, 1, 0, 50.0)},
    "2026-05-04": {
        "2026-05-01": (2, 2, 0, 0, 100.0),
        "2026-05-02": (3, 1, 1, 1, 0.0),
        "2026-05-04": (1, 1, 0, 0, 100.0),
    },
}


def rows_of(load):
    chosen = [version for version in VERSIONS if version[0] == load]
    rows = [
        {
            "source": "survey",
            "source_id": response,
            "load_id": load,
            "load_row": number,
            "row_hash": f"{response} {answered} {customer} {score}",
            "updated_at": datetime.fromisoformat(updated),
            "extracted_at": datetime.fromisoformat(load),
            "first_extracted_at": datetime.fromisoformat(load),
            "is_deleted": False,
            "answered_at": datetime.fromisoformat(answered),
            "customer_id": customer,
            "attributes": f'{{"ltr": {score}}}',
        }
        for number, (_, response, updated, answered, customer, score) in enumerate(chosen)
    ]
    return pl.DataFrame(rows, schema=RESPONSE.schema)


def daily_nps(store):
    score = pl.col("attributes").str.json_path_match("$.ltr").cast(pl.Int64)
    counts = (
        store.scan(RESPONSE)
        .with_columns(day=store.day_expression(RESPONSE).cast(pl.String), score=score)
        .group_by("day")
        .agg(
            n=pl.len(),
            promoters=(pl.col("score") >= 9).sum(),
            passives=pl.col("score").is_between(7, 8).sum(),
            detractors=(pl.col("score") <= 6).sum(),
        )
        .with_columns(nps=100.0 * (pl.col("promoters").cast(pl.Float64) - pl.col("detractors")) / pl.col("n"))
        .collect()
    )
    return {day: tuple(values) for day, *values in counts.rows()}


@pytest.fixture
def store(tmp_path):
    return CleanStore(tmp_path, "Asia/Shanghai")


def test_each_load_touches_exactly_the_days_that_change(store):
    for load, days in DAYS_TOUCHED.items():
        result = store.merge(RESPONSE, rows_of(load))
        assert list(result.days_touched) == [date.fromisoformat(day) for day in days]
        assert daily_nps(store) == DAILY_NPS[load]


def test_a_load_run_again_changes_nothing(store):
    for load in DAYS_TOUCHED:
        store.merge(RESPONSE, rows_of(load))
        again = store.merge(RESPONSE, rows_of(load))
        assert (again.days_touched, again.partitions) == ((), ())


def test_full_refresh_equals_the_nights(store, tmp_path):
    for load in DAYS_TOUCHED:
        store.merge(RESPONSE, rows_of(load))
    full = CleanStore(tmp_path / "full", "Asia/Shanghai")
    full.merge(RESPONSE, [rows_of(load) for load in reversed(DAYS_TOUCHED)])
    assert daily_nps(full) == DAILY_NPS["2026-05-04"]
    assert full.scan(RESPONSE).collect().equals(store.scan(RESPONSE).collect())
