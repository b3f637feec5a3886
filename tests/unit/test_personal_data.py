"""What personal data looks like, and that it is found in a page."""

import duckdb
import polars as pl
import pytest

from data_quality.personal_data import PHONE, found_in, id_card_sql, is_id_card, texts_of
from data_quality.suites.personal_data import forbidden_columns, personal_columns
from orchestration.contracts import TABLES, Kind, Pii

NAMES = pl.Series(["Felix Taylor", "谢勇", "May", None, "O'Neil (Ann)"])
GOOD_CARDS = ["11010519491231002X", "34052419800101001X", "11010519491231002x"]
BAD_CARDS = ["110105194912310021", "340524198001010011"]


@pytest.mark.parametrize(("number", "is_good"), [*((n, True) for n in GOOD_CARDS), *((n, False) for n in BAD_CARDS)])
def test_the_check_digit_tells_identity_numbers(number, is_good):
    assert is_id_card(number) is is_good
    query = f"SELECT {id_card_sql('value')} FROM (SELECT 'id {number}.' AS value)"
    assert duckdb.sql(query).fetchone() == (is_good,)


@pytest.mark.parametrize(
    "text",
    ["+8613812345678", "call +86 138 1234 5678", "138-1234-5678", "13812345678", "0086 13812345678", "+1 212 555 0123",
     "+44.20.7946.0018", "tel:13812345678,"],
)  # fmt: skip
def test_phones_are_found(text):
    assert duckdb.execute(f"SELECT regexp_matches(?, '{PHONE}')", [text]).fetchone() == (True,)
    assert found_in([text], NAMES) == ["a phone number stands in 1 of its texts"]


@pytest.mark.parametrize(
    "text",
    ["2026-05-01", "order 138001380001", "1700000000", "+12.5 points", "a1b2c3d4-5f61-4138-8123-45678aa",
     "0.13812345678", "20261122T202617585099Z-d3fce710", "138123456789", "+3 +4 +5"],
)  # fmt: skip
def test_what_is_no_phone_passes(text):
    assert duckdb.execute(f"SELECT regexp_matches(?, '{PHONE}')", [text]).fetchone() == (False,)
    assert found_in([text], NAMES) == []


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("Felix Taylor", True),
        ("by Felix Taylor, 5 May", True),
        ("Felix Taylorson", False),
        ("谢勇", True),
        ("来自谢勇", False),
        ("customer: 谢勇。", True),
        ("May", False),
        ("O'Neil (Ann) said", True),
    ],
)
def test_names_are_found_as_whole_words(text, is_found):
    assert bool(found_in([text], NAMES)) is is_found


def test_a_page_is_read_without_style_script_and_tags():
    page = "<style>a@b.de</style><p title='x@y.de'>one &amp; <b>two</b></p><!-- c@d.de --><script>e@f.de</script>"
    assert texts_of(page) == ["one &", "two"]
    assert found_in(texts_of(page), NAMES) == []
    assert found_in(texts_of("<p>mail <i>ann@mail.example</i></p>"), NAMES) == [
        "an e-mail address stands in 1 of its texts"
    ]


def test_what_is_found_is_told_without_the_value():
    (said,) = found_in(["Felix Taylor", "Felix Taylor"], NAMES)
    assert "Felix" not in said


def test_forbidden_columns_are_those_the_contracts_class():
    names = set(forbidden_columns())
    assert {"email", "phone", "full_name", "comment_text", "value_text", "attributes", "row_json"} <= names
    # A survey's name is nobody's.
    assert "name" not in names
    assert {"country", "segment", "person_id"}.isdisjoint(names)


def test_every_direct_identifier_is_looked_for():
    direct = {
        (table.name, column.name)
        for table in TABLES.values()
        for column in table.columns
        if column.pii is Pii.DIRECT or column.kind in {Kind.EMAIL, Kind.PHONE, Kind.PERSON_NAME}
    }
    assert direct == {(table, column) for table, columns in personal_columns().items() for column in columns}
