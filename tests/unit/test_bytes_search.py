"""Strings are found where values are stored: in dictionaries, in pages, across blocks; and a hash knows only bytes."""

import os
from contextlib import suppress

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.privacy import bytes_search
from orchestration.privacy.bytes_search import BLOCK, Places, Searched, places_holding, text_columns_holding
from orchestration.privacy.parquet_pages import UnknownError, text_pages
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


@pytest.mark.parametrize("at", [0, 5, 12288 - 3, 12288, 12288 + BLOCK - 1, 12288 + 2 * BLOCK - 13, 12288 + 3 * BLOCK])
def test_a_text_is_found_in_the_chosen_blocks_and_across_their_ends(tmp_path, at):
    path = tmp_path / "a.bin"
    text = b"c3@example.com"
    path.write_bytes(b"\xff" * at + text + b"\x00" * (12288 + 4 * BLOCK - at))
    starts = [0, *range(12288, path.stat().st_size, BLOCK)]
    whole = places_holding(path, STRINGS)
    for first, start in enumerate(starts):
        end = starts[first + 1] if first + 1 < len(starts) else path.stat().st_size
        found = places_holding(path, STRINGS, [start, start + 1])
        assert bool(found) or at + len(text) <= start or at >= end
        assert set(found) <= set(whole)
    assert places_holding(path, STRINGS, starts) == whole
    assert places_holding(path, STRINGS, []) == places_holding(path, STRINGS, [1 << 40]) == []


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


VALUES = [*(f"value {number % 300} of many" for number in range(4000)), None, "to c3@example.com", None]
WAYS = [
    {"use_dictionary": True},
    {"use_dictionary": False},
    {"use_dictionary": True, "dictionary_pagesize_limit": 1000, "data_page_size": 500},
    {"use_dictionary": False, "column_encoding": {"text": "DELTA_LENGTH_BYTE_ARRAY"}},
]
UNKNOWN_WAYS = [
    {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
    {"compression": "lz4"},
]


def stored(path, values=VALUES, **options):
    table = pa.table({"text": pa.array(values, pa.string()), "number": range(len(values))})
    pq.write_table(table, path, row_group_size=1500, write_batch_size=100, **options)
    with pa.memory_map(str(path)) as file:
        metadata = pq.read_metadata(file)
        file.seek(0)
        return file.read_buffer(), metadata


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "brotli", "none"])
@pytest.mark.parametrize("way", WAYS, ids=range(len(WAYS)))
def test_every_value_lies_in_a_page(tmp_path, monkeypatch, way, compression, version):
    path = tmp_path / "a.parquet"
    content, metadata = stored(path, compression=compression, data_page_version=version, **way)
    pages = [page.to_pybytes() for _, page in text_pages(content, metadata, {"text"})]
    assert all(any(value.encode() in page for page in pages) for value in set(VALUES) - {None})
    monkeypatch.setattr(bytes_search, "_decoded", None)
    assert text_columns_holding(path, STRINGS) == {"text"}
    stored(path, [*VALUES[:4000], None], compression=compression, data_page_version=version, **way)
    assert text_columns_holding(path, STRINGS) == set()


@pytest.mark.parametrize("way", UNKNOWN_WAYS, ids=range(len(UNKNOWN_WAYS)))
def test_what_is_stored_in_another_way_is_decoded(tmp_path, way):
    path = tmp_path / "a.parquet"
    content, metadata = stored(path, **way)
    with pytest.raises(UnknownError):
        list(text_pages(content, metadata, {"text"}))
    assert text_columns_holding(path, STRINGS) == {"text"}
    stored(path, VALUES[:4000], **way)
    assert text_columns_holding(path, STRINGS) == set()


def test_numbers_into_a_dictionary_are_passed_over(tmp_path):
    content, metadata = stored(tmp_path / "a.parquet", use_dictionary=True)
    assert len(list(text_pages(content, metadata, {"text"}))) == metadata.num_row_groups
    assert list(text_pages(content, metadata, set())) == []
    with pytest.raises(UnknownError):
        list(text_pages(content, metadata, {"text", "another"}))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_a_file_that_ends_too_soon_is_refused(tmp_path, share):
    content, metadata = stored(tmp_path / "a.parquet", use_dictionary=False, compression="none")
    with pytest.raises(UnknownError):
        list(text_pages(content.slice(0, int(content.size * share)), metadata, {"text"}))


@pytest.mark.parametrize("at", range(24))
def test_a_damaged_header_is_refused_or_gives_bytes_and_never_hangs(tmp_path, at):
    path = tmp_path / "a.parquet"
    content, metadata = stored(path, use_dictionary=False, compression="none")
    for byte in range(0, 256, 5):
        damaged = bytearray(content.to_pybytes())
        damaged[4 + at] = byte
        with suppress(UnknownError, OSError):
            list(text_pages(pa.py_buffer(bytes(damaged)), metadata, {"text"}))


def test_places_of_a_file_hold_until_somebody_writes_to_it(tmp_path):
    path, others = tmp_path / "a.duckdb", Strings.of(contacts=["c4@example.com"])
    content = bytearray(12288 + 3 * BLOCK)
    for place in (0, 12288 + 2 * BLOCK):
        content[place : place + 14] = b"c3@example.com"
    path.write_bytes(content)
    known = Places()
    assert known.look(path, STRINGS) == [0, 12288 + 2 * BLOCK]
    assert known.of(path, STRINGS) is None, "nobody said that this was all"
    assert known.look(path, STRINGS, [12288]) == []
    known.keep(path)
    assert known.of(path, STRINGS) == [0, 12288 + 2 * BLOCK], "of all looks"
    assert known.of(path, others) is None and known.of(tmp_path / "b.duckdb", STRINGS) is None
    before = path.stat()
    path.write_bytes(content[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known.of(path, STRINGS) is None
    known.look(path, others)
    known.keep(path)
    assert known.of(path, others) == [], "what was found for other strings says nothing"
    known.look(path, others)
    assert known.of(path, others) is None
    known.keep(path)
    replacement = tmp_path / "new"
    replacement.write_bytes(path.read_bytes())
    replacement.replace(path)
    assert known.of(path, others) is None
    known.look(path, others)
    known.keep(path)
    known.clear()
    assert known.of(path, others) is None


def test_what_is_written_while_a_file_is_searched_is_not_known(tmp_path, monkeypatch):
    path = tmp_path / "a.duckdb"
    path.write_bytes(b"nothing")
    monkeypatch.setattr(bytes_search, "places_holding", lambda *_: (path.write_bytes(b"c3@example.com"), [])[1])
    known = Places()
    known.look(path, STRINGS)
    known.keep(path)
    assert known.of(path, STRINGS) is None
