"""From answers to rows of text: digits kept, objects flat, lists as rows or columns."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.sources.http.config import Records
from orchestration.sources.http.records import (
    MAX_COLUMNS,
    RecordsError,
    decoded,
    frame,
    json_text,
    locate,
    read_json,
    rows,
    says_yes,
)


def flat(text: str, known: dict | None = None, **options) -> list[dict]:
    records = Records.model_validate(options)
    return list(rows(locate(read_json(text), records), records, known))


def test_numbers_keep_their_digits_in_columns_and_in_lists():
    text = '[{"id": 12345678901234567890, "amount": 1.10, "deep": {"rate": 1e400, "list": [1.0, "1.0", {"x": 2.50}]}}]'
    assert flat(text) == [
        {
            "id": "12345678901234567890",
            "amount": "1.10",
            "deep.rate": "1e400",
            "deep.list": '[1.0,"1.0",{"x":2.50}]',
        }
    ]


def test_null_empty_object_and_booleans():
    assert flat('[{"a": null, "b": {}, "c": true, "d": [], "e": ""}]') == [
        {"a": None, "b": None, "c": "true", "d": "[]", "e": ""}
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_json_text_is_the_json_that_was_read(value):
    assert json.loads(json_text(read_json(json.dumps(value)))) == value


@given(st.lists(st.dictionaries(st.sampled_from("abcdef"), st.none() | st.text(), min_size=1), max_size=8))
def test_a_frame_holds_every_value_at_its_place(found):
    table = frame(found, {"each.x": "1"})
    assert table.height == len(found)
    for row, expected in zip(table.iter_rows(named=True), found, strict=True):
        assert {name: value for name, value in row.items() if value is not None and name != "each.x"} == {
            name: value for name, value in expected.items() if value is not None
        }


def test_lists_of_lists_become_rows_beside_their_record():
    text = (
        '{"data": [{"id": 1, "pages": [{"n": 1, "questions": [{"q": "a"}, {"q": "b"}]}, {"n": 2, "questions": []}]}]}'
    )
    assert flat(text, path="data", explode="pages.questions") == [
        {"id": "1", "pages.n": "1", "pages.questions.q": "a"},
        {"id": "1", "pages.n": "1", "pages.questions.q": "b"},
    ]


def test_a_list_of_name_and_value_becomes_columns_several_values_numbered():
    text = '[{"answers": [{"field": {"ref": "nps"}, "number": 9}, {"field": {"ref": "why"}, "choices": ["x", "y"]}]}]'
    assert flat(text, pivot={"answers": {"name": "field.ref", "value": "number || choices"}}) == [
        {"answers.nps": "9", "answers.why.1": "x", "answers.why.2": "y"}
    ]


def test_a_list_found_deep_inside_is_picked_and_pivoted():
    text = '[{"id": 1, "pages": [{"questions": [{"id": 7, "answers": [{"text": "good"}]}]}]}]'
    (row,) = flat(
        text,
        pick={"flat": "pages[].questions[].{id: id, text: answers[].text}"},
        pivot={"flat": {"name": "id", "value": "text"}},
    )
    assert row["flat.7.1"] == "good"


def test_a_pick_knows_the_parent():
    (row,) = flat('[{"author": 5}]', {"_parent": {"owner": "5"}}, pick={"is_owner": "author == _parent.owner"})
    assert row["is_owner"] == "true"


def test_false_is_null_but_for_booleans_and_pairs_are_taken_apart():
    text = '[{"name": false, "active": false, "partner_id": [3, "Acme"]}]'
    assert flat(text, false_is_null=True, booleans=["active"], pick={"partner": "partner_id[0]"}) == [
        {"name": None, "active": "false", "partner_id": '[3,"Acme"]', "partner": "3"}
    ]


def test_functions_take_numbers_as_texts():
    (row,) = flat('[{"year": 2026, "month": 5}]', pick={"day": "join('-', [year, month])", "long": "length(year)"})
    assert (row["day"], row["long"]) == ("2026-5", "4")


def test_typed_values_are_the_text_they_stand_for():
    text = (
        '[{"at": {"__class__": "datetime", "year": 2026, "month": 5, "day": 4, "hour": 3, "minute": 2, "second": 1,'
        ' "microsecond": 900}, "on": {"__class__": "date", "year": 2026, "month": 5, "day": 4},'
        ' "price": {"__class__": "Decimal", "decimal": "1.50"}}]'
    )
    assert flat(text, typed=True) == [{"at": "2026-05-04T03:02:01.000900", "on": "2026-05-04", "price": "1.50"}]


def test_rows_as_lists_and_records_under_their_keys():
    assert flat('{"columns": ["a", "b"], "results": [[1, null]]}', path="results", columns="columns") == [
        {"a": "1", "b": None}
    ]
    assert flat('{"x": {"n": 1}, "y": {"n": 2}}', keyed_by="key") == [{"key": "x", "n": "1"}, {"key": "y", "n": "2"}]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ('{"items": []}', {"path": "results"}, "nothing at records.path 'results'; it holds 'items'"),
        ('{"items": [1]}', {"path": "items"}, "where a record was expected"),
        ('{"items": "no"}', {"path": "items"}, "where a list of records was expected"),
        ('{"rows": [[1]], "names": ["a", "b"]}', {"path": "rows", "columns": "names"}, "not 2 values"),
        ('{"rows": [[1]]}', {"path": "rows", "columns": "names"}, "no list of names"),
        ("[1]", {"keyed_by": "id"}, "no keys"),
    ],
)
def test_an_answer_of_another_form_says_what_is_there(text, options, said):
    with pytest.raises(RecordsError, match=said):
        flat(text, **options)


def test_an_absent_list_may_be_allowed():
    assert flat('{"next": null}', path="items", may_be_absent=True) == []


def test_base64_that_is_none():
    records = Records(path="result", base64=True, format="csv")
    assert decoded({"result": "YSxiCg=="}, records) == b"a,b\n"
    with pytest.raises(RecordsError, match="no text"):
        decoded({"result": {"status": "No Data"}}, records)
    with pytest.raises(RecordsError, match="no base64"):
        decoded({"result": "%%%"}, records)


def test_objects_whose_keys_are_data_are_refused():
    with pytest.raises(RecordsError, match="keep_json"):
        frame([{f"k{number}": "1"} for number in range(MAX_COLUMNS + 1)])
    assert flat('[{"seen": {"k1": 1}}]', keep_json=["seen"]) == [{"seen": '{"k1":1}'}]


@pytest.mark.parametrize(
    ("text", "yes"), [("true", True), ("false", False), ("0", False), ('"no"', False), ("null", False), ('"x"', True)]
)
def test_what_says_yes(text, yes):
    assert says_yes(read_json(text)) is yes
