"""The latest version is a property of the set of versions, not of the way they came."""

from datetime import datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.contracts import CONTRACTS
from orchestration.normalize.deduplicate import latest_versions

CONTRACT = CONTRACTS["ticket_event"]
START = datetime(2026, 5, 1)
QUICK = settings(max_examples=100, deadline=None)


@st.composite
def versions(draw):
    count = draw(st.integers(1, 12))
    rows = []
    for number in range(count):
        load = draw(st.integers(0, 3))
        extracted = START + timedelta(days=load)
        rows.append(
            {
                "source": "s",
                "source_id": draw(st.sampled_from("abc")),
                "load_id": f"load-{load}",
                "load_row": draw(st.integers(0, 4)),
                "row_hash": draw(st.sampled_from(["h1", "h2", "h3"])) + str(number % 2),
                "updated_at": draw(
                    st.one_of(st.none(), st.integers(0, 3).map(lambda hours: START + timedelta(hours=hours)))
                ),
                "extracted_at": extracted,
                "first_extracted_at": extracted,
                "is_deleted": draw(st.booleans()),
            }
        )
    # A load gives a row number once a key: rows that agree in the whole order are one version.
    frame = pl.DataFrame(rows, schema_overrides={"updated_at": pl.Datetime("us")})
    frame = frame.unique(
        ["source_id", "updated_at", "load_id", "load_row", "row_hash"], keep="first", maintain_order=True
    )
    return frame.lazy().match_to_schema(CONTRACT.schema, missing_columns="insert").collect()


def latest(*frames):
    return latest_versions(CONTRACT, pl.concat(frames).lazy()).collect()


def same(one, other):
    key = list(CONTRACT.key)
    assert one.sort(key).equals(other.sort(key))


@QUICK
@given(versions(), st.data())
def test_order_repetition_and_grouping_do_not_matter(rows, data):
    expected = latest(rows)
    order = data.draw(st.permutations(range(rows.height)))
    shuffled = rows[list(order)]
    same(latest(shuffled), expected)
    same(latest(rows, shuffled), expected)
    first, second = data.draw(st.integers(0, rows.height)), data.draw(st.integers(0, rows.height))
    low, high = min(first, second), max(first, second)
    a, b, c = shuffled[:low], shuffled[low:high], shuffled[high:]
    same(latest(latest(a, b), c), expected)
    same(latest(a, latest(b, c)), expected)
    same(latest(latest(c, a), b, a), expected)
    same(latest(expected), expected)


@QUICK
@given(versions())
def test_the_winner_is_the_greatest_and_the_first_extraction_is_kept(rows):
    for winner in latest(rows).to_dicts():
        rivals = rows.filter(source_id=winner["source_id"])
        assert winner["first_extracted_at"] == rivals["first_extracted_at"].min()
        dated = rivals["updated_at"].drop_nulls()
        assert winner["updated_at"] == (dated.max() if len(dated) else None)
        same_date = rivals.filter(
            pl.col("updated_at").eq_missing(pl.lit(winner["updated_at"], dtype=pl.Datetime("us")))
        )
        assert winner["extracted_at"] == same_date["extracted_at"].max()
