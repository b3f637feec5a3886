"""Any text that is landed is read back as it was, through the landing alone and through a CSV file."""

import csv
import io
import tempfile
from datetime import datetime
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.settings import Settings
from orchestration.sources.config import parse_source
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing
from orchestration.sources.profiles import surveymonkey_names, unique_names

NOW = datetime(2026, 5, 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.none() | TEXT, st.none() | TEXT, st.booleans()), max_size=8), st.integers(1, 4))
def test_landing(rows, reserve):
    with tempfile.TemporaryDirectory() as folder:
        landing = Landing(Path(folder))
        with landing.begin(source="s", stream="t", run_id="r", now=NOW, reserve_rows=reserve) as writer:
            for a, b, deleted in rows:
                schema = {"a": pl.String, "b": pl.String, "_deleted": pl.Boolean}
                writer.write(pl.DataFrame({"a": [a], "b": [b], "_deleted": [deleted]}, schema=schema))
            writer.commit(kind="full", extracted_at=NOW, rows_read=len(rows))
        (manifest,) = landing.manifests("s", "t")
        if rows:
            assert landing.scan(manifest).select("a", "b", "_deleted").collect().rows() == rows
        landing.verify(manifest, content=True)


# A lone CR would be a line end, and csv leaves it unquoted in some positions; NUL is refused by csv itself.
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=8),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_csv_file(rows, encoding, delimiter, line_end):
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL)
        writer.writerows([["id", "email", "note"], *rows])
        (home / "a.csv").write_bytes(text.getvalue().encode(encoding))
        stream = {
            "from": {"path": "a.csv", "encoding": encoding.removesuffix("-sig"), "delimiter": delimiter},
            "to": "customer",
            "primary_key": "position",
            "fields": {"email": "email"},
        }
        source = parse_source({"source": "s", "type": "files", "streams": {"t": stream}}, home / "s.yaml")
        extract(source, "t", settings=Settings(home=home, sources_dir=home), run_id="r", now=NOW)
        landing = Landing(home / "landing")
        found = landing.scan(landing.manifests("s", "t")[0]).collect()
        assert [list(row) for row in found.select("id", "email", "note").rows()] == rows
        assert found["_row"].to_list() == list(range(1, len(rows) + 1))


@given(st.lists(st.sampled_from(["", " ", "a", "a#1", "b", "_row", "column_1"]), max_size=8))
def test_names_are_unique_and_stable(names):
    unique = unique_names(names)
    assert len(set(unique)) == len(names)
    assert unique == unique_names(names)
    assert [name for name in unique if names.count(name) == 1 and name.strip() and name != "_row"] == [
        name for name in names if names.count(name) == 1 and name in unique
    ]


HEADER = st.lists(st.sampled_from(["", " ", "Q", "R", "Response", "Yes"]), min_size=5, max_size=5)


@given(HEADER, HEADER)
def test_surveymonkey_headers_give_unique_names(questions, options):
    names = surveymonkey_names([questions, options])
    assert len(set(names)) == 5
    assert all(name.strip() for name in names)
