"""Rows of MySQL's protocol come out as they went in, wherever the network cuts them."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.sources import mysql_rows
from orchestration.sources.mysql_rows import ServerFaultError, columns, packets

END = b"\x05\x00\x00\x09\xfe\x00\x00\x02\x00"
VALUES = st.one_of(st.none(), st.binary(max_size=20), st.binary(min_size=245, max_size=260), st.just(b"\xfe" * 70_000))
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(VALUES, min_size=width, max_size=width), max_size=12)
)


def packed(value):
    if value is None:
        return b"\xfb"
    size = len(value)
    if size <= 250:
        return bytes([size]) + value
    return (b"\xfc" + size.to_bytes(2, "little") if size < 1 << 16 else b"\xfd" + size.to_bytes(3, "little")) + value


def sent(payload, largest):
    """A payload as packets: one of the largest size is followed by another, be it empty."""
    data, is_done = b"", False
    while not is_done:
        part, payload = payload[:largest], payload[largest:]
        data += len(part).to_bytes(3, "little") + b"\x01" + part
        is_done = len(part) < largest
    return data


@settings(max_examples=60, deadline=None)
@given(
    table=TABLES,
    cut=st.integers(1, 300),
    size=st.sampled_from([1, 400, 1 << 24]),
    largest=st.sampled_from([300, 1 << 24]),
)
def test_rows_come_out_as_they_went_in(table, cut, size, largest):
    before, mysql_rows._LARGEST = mysql_rows._LARGEST, min(largest, mysql_rows._LARGEST)
    try:
        payloads = [b"".join(map(packed, row)) for row in table]
        stream = io.BytesIO(b"".join(sent(payload, mysql_rows._LARGEST) for payload in payloads) + END)
        found = [row for rows in packets(lambda: stream.read(cut), size) for row in rows]
    finally:
        mysql_rows._LARGEST = before
    assert found == payloads
    if table:
        width = len(table[0])
        assert [column.to_list() for column in columns(found, width)] == [
            list(column) for column in zip(*table, strict=True)
        ]


def test_an_answer_that_ends_early_is_a_fault():
    stream = io.BytesIO(sent(b"\x01a", 1 << 24) + END[:6])
    with pytest.raises(ConnectionError):
        list(packets(lambda: stream.read(3), 100))


def test_what_the_server_says_is_handed_on():
    stream = io.BytesIO(sent(b"\x01a", 1 << 24) + sent(b"\xff\x01\x02#70100gone", 1 << 24))
    with pytest.raises(ServerFaultError) as fault:
        list(packets(lambda: stream.read(64), 100))
    assert fault.value.args[0] == b"\xff\x01\x02#70100gone"
