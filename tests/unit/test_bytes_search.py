"""Strings are found where values are stored: in dictionaries, in pages, across blocks; and a hash knows only bytes."""

import os

import polars as pl
import pytest

from orchestration.privacy.bytes_search import BLOCK, Searched, places_holding, text_columns_holding
from orchestration.privacy.strings import Strings

STRINGS = Strings.of(contacts=["c3@example.com", "order-31"], digits=["13800000003"], texts=["Zoë van den Berg"])


def column(path, values, **options):
    frame = pl.DataFrame({"a.b": values, "other": ["x"] * len(values), "number": range(len(values))})
    frame.write_parquet(path, **options)
    return text_columns_holding(path, STRINGS)


@pytest.mark.parametrize(
    "text",
    [
        "C3@Example.com",
        "write to <c3@example.com>, please",
        "138 0000-00-03",
        "(138) 0000\u300000\u00a003",
        "of Zoë van den Berg",
        '{"name": "Zo\\u00eb van den Berg"}',
        "?name=Zo%C3%AB%20van%20den%20Berg",
    ],
)
@pytest.mark.parametrize("others", [["x"] * 5000, [f"value {number}" for number in range(5000)], [None] * 5000])
def test_a_text_is_found_however_its_column_is_stored(tmp_path, text, others):
    values = [*others, text]
    assert column(tmp_path / "one.parquet", values) == {"a.b"}
    assert column(tmp_path / "groups.parquet", values, row_group_size=500, compression="zstd") == {"a.b"}
    assert column(tmp_path / "none.parquet", others) == set()


def test_a_column_that_begins_with_a_dictionary_and_goes_on_without_is_searched_to_its_end(tmp_path):
    long = [f"{number:06}" + "x" * 500 for number in range(20_000)]
    assert column(tmp_path / "a.parquet", [*["same"] * 50_000, *long, "to c3@example.com"]) == {"a.b"}
    assert column(tmp_path / "b.parquet", ["to c3@example.com", *["same"] * 50_000, *long]) == {"a.b"}


def test_columns_may_be_left_out_and_nothing_is_found_for_nobody(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame({"hash": ["order-31"], "text": ["order-31"], "empty": [None]}).write_parquet(path)
    assert text_columns_holding(path, STRINGS, {"hash"}) == {"text"}
    assert text_columns_holding(path, Strings()) == set()
    pl.DataFrame(schema={"text": pl.String}).write_parquet(path)
    assert text_columns_holding(path, STRINGS) == set()


@pytest.mark.parametrize("at", [0, 5, 12288 - 3, 12288, 12288 + BLOCK - 1, 12288 + 2 * BLOCK - 13, 12288 + 3 * BLOCK])
def test_a_text_is_found_at_any_place_of_a_file(tmp_path, at):
    path = tmp_path / "a.bin"
    text = b"c3@example.com"
    path.write_bytes(b"\xff" * at + text + b"\x00" * (12288 + 4 * BLOCK - at))
    places = places_holding(path, STRINGS)
    assert places and all(place <= at + len(text) and at < place + BLOCK for place in places)
    path.write_bytes(b"\xff" * (4 * BLOCK))
    assert places_holding(path, STRINGS) == []
    path.write_bytes(b"")
    assert places_holding(path, STRINGS) == []


def test_what_was_searched_is_known_by_its_bytes_and_not_by_name_size_or_time(tmp_path):
    path, searched = tmp_path / "a.parquet", Searched()
    path.write_bytes(b"nothing of hers")
    before = path.stat()
    searched.add([searched.stamp(path)])
    assert searched.knows(path)
    path.write_bytes(b"c3@example.com!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size and path.stat().st_mtime_ns == before.st_mtime_ns
    assert not searched.knows(path)
