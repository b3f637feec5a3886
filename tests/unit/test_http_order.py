"""How records are told to come in their order, and their times read, for whole pages at once."""

from datetime import datetime

import httpx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.sources.http.client import Answer
from orchestration.sources.http.config import KeysetPaging, Records
from orchestration.sources.http.paging import PageError, pager
from orchestration.sources.http.records import flat_rows, read_json, rows
from orchestration.sources.http.windows import latest_of_one_form, point, points

ANSWER = Answer(200, httpx.Headers(), "http://api.example")


def following(values, before=None, **paging):
    steps = pager(KeysetPaging(kind="keyset", fields=["at", "id"], **paging))
    position = {"last": dict(zip(("at", "id"), before or (None, None), strict=True))}
    found = steps.following(position, ANSWER, [dict(zip(("at", "id"), value, strict=True)) for value in values])
    return found and tuple(found["last"].values())


@pytest.mark.parametrize(
    "values",
    [
        [("9", "a"), ("10", "b"), ("10.5", "a")],
        [("2026-05-01T10:00:00+02:00", "2"), ("2026-05-01T09:00:00Z", "1"), ("2026-05-01 09:30:00", "10")],
        [("a", "9"), ("a", "10"), ("b", "1")],
    ],
)
def test_numbers_times_and_texts_are_compared_as_such(values):
    assert following(values) == values[-1]
    with pytest.raises(PageError, match=r"rising order of at, id \(.* stands in the wrong place"):
        following([values[0], values[2], values[1]])
    assert following(values[::-1], newest_first=True) == values[0]
    with pytest.raises(PageError, match="falling order"):
        following(values, newest_first=True)


def test_a_page_that_holds_nothing_behind_the_last_record_ends_or_fails():
    page = [("1", "1"), ("1", "2")]
    assert following(page, before=("1", "1"), size=2) == ("1", "2")
    assert following(page, before=("1", "2"), size=3) is None
    with pytest.raises(PageError, match="holds nothing behind it"):
        following(page, before=("1", "2"), size=2)
    with pytest.raises(PageError, match="holds nothing behind it"):
        following([("2", "x"), ("1", "2")], before=("1", "2"), size=2, order=["none", "text"])


def test_a_value_that_is_not_of_the_declared_order_is_said():
    with pytest.raises(PageError, match=r"'at' holds 'soon', which is no time; correct paging.order"):
        following([("2026-05-01", "1"), ("soon", "2")], order=["time", "number"])
    with pytest.raises(PageError, match="a record has no 'id'"):
        following([("1", "1"), ("2", None)])
    # No number is beside this one.
    assert following([("NaN", "1"), ("NaN", "2")]) == ("NaN", "2")


def test_many_times_are_read_as_one_is():
    texts = ["2026-05-01T10:00:00.123+02:00", "2026-05-01T09:00:00Z"]
    for some in (texts, [*texts, "2026-05-01 09:00:00"], [*texts, "soon", " 2026-05-02 "], []):
        known = [point(text, "iso", "Asia/Shanghai") for text in some]
        assert points(some, "iso", "Asia/Shanghai") == [value for value in known if value is not None]
    assert points(["5", "x", "10"], "number", "UTC") == [point("5", "number", "UTC"), point("10", "number", "UTC")]


@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1, "b": "x", "c": null}, {"a": 1.50, "d": "y"}]',
        '[{"a": true, "b": {"c": 1}}, {"b": {}, "e": [1, {"f": null}]}]',
        "[]",
        "[{}]",
    ],
)
def test_records_that_are_flat_already_are_taken_as_they_would_become(text):
    found = read_json(text)
    assert flat_rows(found, Records()) == list(rows(found, Records()))
    assert flat_rows(found, Records(false_is_null=True)) == list(rows(found, Records(false_is_null=True)))


@settings(deadline=None)
@given(st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=8), st.booleans())
def test_the_latest_of_texts_of_one_form_is_the_latest_time(moments, with_fraction):
    timespec = "milliseconds" if with_fraction else "seconds"
    texts = [f"{moment.isoformat(timespec=timespec)}Z" for moment in moments]
    expected = max(point(text, "iso", "UTC") for text in texts)
    assert latest_of_one_form(pl.Series(texts)) == expected


@pytest.mark.parametrize(
    "texts", [["2026-05-04T12:00:00Z", "2026-05-04T12:00:00.5Z"], ["2026-05-04T12:00:00+02:00"], ["soon"], ["4Z"]]
)
def test_texts_of_several_forms_are_looked_at_one_by_one(texts):
    assert latest_of_one_form(pl.Series(texts)) is None
