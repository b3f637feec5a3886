"""What was deleted from a DuckDB file is in none of its bytes afterwards, and everything else is as it was."""

import re
import struct
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from orchestration.privacy.bytes_search import BLOCK
from orchestration.settings import Settings
from orchestration.warehouse import compact as compaction
from orchestration.warehouse.compact import WITHOUT_PACKING, clear, layout_of

SECRET = b"secret-of-the-person-"
ROWS = 300_000


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path, sources_dir=tmp_path / "sources")


@pytest.fixture
def copies(monkeypatch):
    """Whole copies that were made."""
    made: list[Path] = []
    whole = compaction.compact
    monkeypatch.setattr(compaction, "compact", lambda path, *rest: (made.append(path), whole(path, *rest)))
    return made


def places(path, at=None):
    return matching(re.escape(SECRET), path, at)


def matching(pattern, path, at):
    """Where a pattern is found, within the blocks that begin at some places."""
    found = [match.start() for match in re.finditer(pattern, path.read_bytes())]
    return [place for place in found if at is None or any(begin <= place < begin + BLOCK for begin in at)]


def noting(reported):
    """``places``, whose answers are added to a set."""

    def found(path, at):
        some = places(path, at)
        reported.update(some)
        return some

    return found


def make(path, *statements, packing=False):
    with duckdb.connect(str(path)) as connection:
        if not packing:
            connection.execute(WITHOUT_PACKING)
        for statement in statements:
            connection.execute(statement)
        connection.execute("CHECKPOINT")


BIG = f"""CREATE TABLE big AS SELECT range AS id, 'value-' || (range % 1000) AS often,
    CASE WHEN range % 50000 = 7 THEN '{SECRET.decode()}' || range ELSE md5(range::VARCHAR) END AS once
    FROM range({ROWS})"""
SMALL = f"CREATE TABLE small AS SELECT '{SECRET.decode()}' || range AS text FROM range(5)"
STALE = ("DELETE FROM big WHERE once LIKE 'secret%'", "INSERT INTO big SELECT -1, 'new', 'row'")


def content(path):
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
        ]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=str) for name in tables}


def test_rows_that_were_deleted_and_tables_that_were_dropped_leave_the_bytes(tmp_path, settings, copies):
    path = tmp_path / "a.duckdb"
    make(path, BIG, SMALL, "CREATE VIEW shown AS SELECT * FROM big", "COMMENT ON COLUMN big.id IS 'a number'")
    make(path, *STALE, "CREATE TABLE next AS SELECT text[:3] AS text FROM small", "DROP TABLE small")
    assert places(path), "deleting and dropping alone must not be enough, or there is nothing to do"
    before = content(path)
    clear(path, settings, places)
    assert places(path) == []
    assert content(path) == before
    assert copies == []
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT count(*) FROM shown").fetchone() == (len(before["big"]),)
        assert connection.execute("SELECT comment FROM duckdb_columns() WHERE column_name = 'id'").fetchall()[0] == (
            "a number",
        )
        connection.execute("CREATE TABLE more AS SELECT * FROM big")
        connection.execute("CHECKPOINT")
        assert (
            connection.execute("SELECT count(*), count(DISTINCT id) FROM more").fetchone() == (len(before["big"]),) * 2
        )
    clear(path, settings, places)
    assert {name: rows for name, rows in content(path).items() if name != "more"} == before


def test_all_rows_of_a_table_may_be_written_anew(tmp_path, settings, copies):
    path = tmp_path / "a.duckdb"
    make(path, "CREATE TABLE note AS SELECT range AS id, 'x' AS text FROM range(10)", SMALL)
    make(path, "DELETE FROM small WHERE text LIKE '%3'", f"UPDATE note SET text = '{SECRET.decode()}' WHERE id = 4")
    make(path, "UPDATE note SET text = 'y' WHERE id = 4", "DELETE FROM small")
    before = content(path)
    clear(path, settings, places)
    assert places(path) == [] and content(path) == before


def test_a_text_that_a_row_still_holds_needs_no_copy(tmp_path, settings, copies):
    """A longer id that begins like the one looked for, in the row group of the rows that were deleted and elsewhere."""
    path = tmp_path / "a.duckdb"
    alike = SECRET.decode() + "7-and-more"
    make(path, BIG, f"CREATE TABLE note AS SELECT '{alike}' AS text", f"UPDATE big SET once = '{alike}' WHERE id = 9")
    make(path, *STALE)
    before = content(path)
    clear(path, settings, places)
    assert copies == []
    assert content(path) == before
    stored = path.read_bytes()
    assert {stored[place : place + len(alike)] for place in places(path)} == {alike.encode()}


@pytest.mark.parametrize("why", ["packed", "constraint", "unknown key", "long texts", "described"])
def test_where_that_does_not_help_the_whole_file_is_written_anew(tmp_path, settings, copies, why):
    path = tmp_path / "a.duckdb"
    match why:
        case "packed":
            make(path, BIG, packing=True)
            with duckdb.connect(str(path), read_only=True) as connection:
                assert layout_of(connection).hiding == {'"main"."big"'}
        case "constraint":
            make(
                path,
                BIG.replace(
                    "CREATE TABLE big AS",
                    "CREATE TABLE big(id BIGINT PRIMARY KEY, often TEXT, once TEXT); INSERT INTO big",
                ),
            )
        case "unknown key":
            make(
                path,
                BIG,
                "CREATE TABLE small(id INTEGER UNIQUE, text VARCHAR)",
                f"INSERT INTO small SELECT NULL, if(range < 3, '{SECRET.decode()}' || range, 'no') FROM range(300)",
                "DELETE FROM small WHERE text LIKE 'secret%'",
            )
        case "long texts":
            make(path, BIG, "CREATE TABLE long AS SELECT repeat('x', 5000) || range AS text FROM range(100)")
        case "described":
            make(path, BIG, f"COMMENT ON TABLE big IS '{SECRET.decode()}'")
    make(path, *STALE)
    before = content(path)
    clear(path, settings, places)
    assert copies == [path]
    assert content(path) == before
    assert len(places(path)) == (1 if why == "described" else 0)
    with duckdb.connect(str(path), read_only=True) as connection:
        assert layout_of(connection).hiding == ({'"main"."long"'} if why == "long texts" else set())


def test_blocks_that_cannot_be_told_free_are_left_to_the_copy(tmp_path, settings, copies, monkeypatch):
    path = tmp_path / "a.duckdb"
    make(path, BIG, SMALL)
    make(path, "DROP TABLE small", "DROP TABLE big", "CREATE TABLE kept AS SELECT 1 AS one")
    with duckdb.connect(str(path), read_only=True) as connection:
        real = layout_of(connection)
    assert real.free
    miscounted = {**vars(real), "free": None}
    monkeypatch.setattr(compaction, "layout_of", lambda connection: compaction.Layout(**miscounted))
    clear(path, settings, places)
    assert copies == [path] and places(path) == []


def test_a_text_in_a_block_that_was_not_written_since_is_left_to_the_copy(tmp_path, settings, copies, monkeypatch):
    path = tmp_path / "a.duckdb"
    make(path, BIG, SMALL)
    make(path, *STALE)
    monkeypatch.setattr(compaction, "_write_anew", lambda *_: True)
    clear(path, settings, places)
    assert copies == [path]


def test_a_file_is_searched_once_and_then_where_it_was_written(tmp_path, settings, copies):
    path = tmp_path / "a.duckdb"
    make(path, BIG, SMALL)
    make(path, *STALE, "DROP TABLE small")
    asked = []
    clear(path, settings, lambda path, at: (asked.append(at), places(path, at))[1])
    assert copies == [] and places(path) == []
    with duckdb.connect(str(path), read_only=True) as connection:
        layout = layout_of(connection)
    first, *more = asked
    assert first is None and more and None not in more
    assert all(0 in at and {layout.places_of([block])[0] for block in layout.described} <= set(at) for at in more)
    assert max(len(at) for at in more) < layout.blocks


@pytest.mark.parametrize("why", ["nothing", "rows", "longer", "described", "constraint", "long texts"])
def test_a_text_stands_nowhere_but_where_it_was_found_if_every_block_was_searched(tmp_path, settings, why):
    """Whoever searches the file next may look there alone, also where rows were written anew or all was copied."""
    path = tmp_path / "a.duckdb"
    alike = f"UPDATE big SET once = '{SECRET.decode()}7-and-more' WHERE id = 9"
    more = {
        "nothing": [],
        "rows": [SMALL],
        "longer": [alike],
        "described": [alike, f"COMMENT ON TABLE big IS '{SECRET.decode()}'"],
        "constraint": [
            f"CREATE TABLE own(id INT PRIMARY KEY, text TEXT); INSERT INTO own VALUES (1, '{SECRET.decode()}')"
        ],
        "long texts": ["CREATE TABLE long AS SELECT repeat('x', 5000) || range AS text FROM range(100)"],
    }[why]
    make(path, BIG)
    make(path, *STALE, *more)
    reported: set[int] = set()
    is_known = clear(path, settings, noting(reported))
    assert is_known == (why not in {"constraint", "long texts"})
    if is_known:
        with duckdb.connect(str(path), read_only=True) as connection:
            layout = layout_of(connection)
        assert {layout.block_of(place) for place in places(path)} <= {layout.block_of(place) for place in reported}
    assert bool(places(path)) == (why in {"rows", "longer", "described", "constraint"})


@pytest.mark.parametrize("checkpoints", ["one", "many"])
def test_blocks_that_become_free_while_others_are_written_are_searched_too(
    tmp_path, settings, copies, monkeypatch, checkpoints
):
    """DuckDB brings a log of more than 16 MB into the file by itself, and then writes to blocks of rows that went."""
    path = tmp_path / "a.duckdb"
    wide = " || ".join(f"md5((range + {number})::VARCHAR)" for number in range(4))
    own = f"CASE WHEN range = 7 THEN '{SECRET.decode()}' ELSE"
    tables = [
        f"CREATE TABLE {name} AS SELECT range AS id, {wide} AS wide, {own} {others} END AS text FROM range(100000)"
        for name, others in {"a": "md5(range::VARCHAR)", "b": "md5(range::VARCHAR)", "c": "'x' || (range % 10)"}.items()
    ]
    make(path, *tables)
    make(path, *(f"DELETE FROM {name} WHERE text LIKE 'secret%'" for name in "ab"))
    before = content(path)
    if checkpoints == "many":
        monkeypatch.setattr(compaction, "_ONE_CHECKPOINT", "SELECT 1")
    reported: set[int] = set()
    assert clear(path, settings, noting(reported))
    assert content(path) == before
    with duckdb.connect(str(path), read_only=True) as connection:
        layout = layout_of(connection)
    assert copies == [] or checkpoints == "many"
    (place,) = places(path)
    assert layout.block_of(place) in {layout.block_of(other) for other in reported}
    assert {group.table for group in layout.stored_at([place])} == {'"main"."c"'}


def test_a_file_that_is_not_there_is_nothing_to_clear(tmp_path, settings):
    assert not clear(tmp_path / "none.duckdb", settings, places)
    assert list(tmp_path.iterdir()) == []


SHORT = b"aaaa-%03d"
"""As many characters as DuckDB keeps of the least value of a segment."""


def short_places(path, at=None):
    return matching(re.escape(SHORT % 7), path, at)


def make_with_least(path, *, of_table):
    """A table of several segments; the short text is the least of one of them, or of all."""
    least = "" if of_table else f"WHEN range = 5 THEN '{(SHORT % 1).decode()}' "
    make(
        path,
        f"CREATE TABLE big AS SELECT range AS id, CASE {least}WHEN range = 200000 THEN '{(SHORT % 7).decode()}' "
        f"ELSE 'b' || md5(range::VARCHAR)[:7] END AS text FROM range({ROWS})",
    )
    make(path, f"DELETE FROM big WHERE text = '{(SHORT % 7).decode()}'", "CREATE TABLE next AS SELECT 'row' AS text")


@pytest.mark.parametrize("of_table", [False, True])
def test_the_least_value_that_was_deleted_leaves_what_the_file_says_of_its_values(tmp_path, settings, copies, of_table):
    path = tmp_path / "a.duckdb"
    make_with_least(path, of_table=of_table)
    with duckdb.connect(str(path), read_only=True) as connection:
        layout = layout_of(connection)
    assert any(layout.block_of(place) in layout.described for place in short_places(path))
    before, mode = content(path), path.stat().st_mode
    clear(path, settings, short_places)
    assert short_places(path) == []
    assert content(path) == before and path.stat().st_mode == mode
    assert copies == []
    make(path, "CREATE TABLE more AS SELECT * FROM big", "INSERT INTO big SELECT * FROM more")
    assert len(content(path)["big"]) == 2 * len(before["big"])
    assert list(tmp_path.iterdir()) == [path]


def short_hits(content):
    return [match.span() for match in re.finditer(re.escape(SHORT % 7), content)]


def make_with_shared_part(path, least):
    """Two tables that DuckDB describes in one part of a block; the second has the short text as its least, deleted."""
    more = ", ".join(f"md5((range * {i})::VARCHAR) AS c{i}" for i in range(2, 6))
    statement = "CREATE TABLE {} AS SELECT range AS id, CASE {}ELSE 'b' || md5(range::VARCHAR)[:7] END AS text, {} "
    statement += "FROM range(150000)"
    make(
        path,
        "SET checkpoint_threshold = '1TB'",
        "BEGIN",
        statement.format("first", f"WHEN range = 3 THEN '{least}' ", more),
        statement.format("second", f"WHEN range = 75000 THEN '{(SHORT % 7).decode()}' ", more),
        "COMMIT",
    )
    make(
        path, f"DELETE FROM second WHERE text = '{(SHORT % 7).decode()}'", "CREATE TABLE third AS SELECT 'row' AS text"
    )


def test_a_least_value_in_a_part_that_another_table_uses_is_overwritten(tmp_path, settings, copies):
    path = tmp_path / "a.duckdb"
    make_with_shared_part(path, "aaa")
    before = content(path)
    clear(path, settings, short_places, hits=short_hits)
    assert short_places(path) == []
    assert copies == []
    assert content(path) == before
    make(path, "CREATE TABLE more AS SELECT * FROM second", "INSERT INTO first SELECT * FROM more")
    assert len(content(path)["first"]) == len(before["first"]) + len(before["second"])


def test_without_a_way_to_tell_it_such_a_value_is_left_to_the_copy(tmp_path, settings, copies):
    path = tmp_path / "a.duckdb"
    make_with_shared_part(path, "aaa")
    clear(path, settings, short_places)
    assert short_places(path) == []
    assert copies == [path]


def test_a_least_value_of_today_is_not_overwritten(tmp_path, settings, copies):
    path = tmp_path / "a.duckdb"
    longer = (SHORT % 7).decode() + "9"
    make_with_shared_part(path, longer)
    before = content(path)
    clear(path, settings, short_places, hits=short_hits)
    assert content(path) == before
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute(f"SELECT count(*) FROM first WHERE text = '{longer}'").fetchone() == (1,)
        (said,) = connection.execute("SELECT stats(text) FROM first LIMIT 1").fetchone()
    assert f"Min: {longer[:8]}," in said
    assert copies == [path]


def test_a_checksum_that_is_not_known_leaves_the_file_to_the_copy(tmp_path, settings, copies, monkeypatch):
    path = tmp_path / "a.duckdb"
    make_with_least(path, of_table=False)
    before = content(path)
    monkeypatch.setattr(compaction, "_checksum", lambda _: bytes(8))
    clear(path, settings, short_places)
    assert short_places(path) == [] and content(path) == before
    assert copies == [path]


def test_every_checksum_is_the_one_that_duckdb_wrote(tmp_path):
    path = tmp_path / "a.duckdb"
    make(path, BIG, SMALL)
    with duckdb.connect(str(path), read_only=True) as connection:
        layout = layout_of(connection)
    with path.open("rb") as file:
        for number in (*layout.columns, *layout.described):
            file.seek(compaction.HEADER + number * layout.block_size)
            block = file.read(layout.block_size)
            assert block[:8] == compaction._checksum(block[8:]), number


def test_a_free_block_behind_the_end_of_the_file_is_no_reason_to_copy(tmp_path, settings, copies, monkeypatch):
    path = tmp_path / "a.duckdb"
    make(path, BIG, SMALL)
    make(path, *STALE, "DROP TABLE small")
    counted = compaction.layout_of

    def one_more(connection):
        layout = counted(connection)
        return replace(layout, blocks=layout.blocks + 1, free=[*layout.free, layout.blocks])

    monkeypatch.setattr(compaction, "layout_of", one_more)
    size = path.stat().st_size
    clear(path, settings, lambda *_: [])
    assert copies == [] and path.stat().st_size == size


@pytest.mark.parametrize("spilled", [False, True])
def test_what_a_killed_run_left_beside_the_file_goes(tmp_path, settings, spilled):
    path = tmp_path / "a.duckdb"
    make(path, BIG)
    left = compaction._fresh(path)
    if spilled:
        # DuckDB's own folder for what did not fit in memory.
        left.mkdir()
        left /= "duckdb_temp_storage_DEFAULT-0.tmp"
    left.write_bytes(SECRET)
    clear(path, settings, lambda *_: [])
    assert list(tmp_path.iterdir()) == [path]


GAPS = {
    "Uncompressed": "CREATE TABLE t AS SELECT md5(range::VARCHAR) || range AS text FROM range(6000)",
    "Dictionary": "CREATE TABLE t AS SELECT md5((range % 5000)::VARCHAR) || (range % 5000) AS text FROM range(10000)",
}


def write_into_a_gap(path, settings):
    """Write the secret between places and texts of a segment, as DuckDB does with memory; how the segment is packed."""
    with duckdb.connect(str(path), read_only=True) as connection:
        layout = layout_of(connection)
    content = bytearray(path.read_bytes())
    for number, some in layout.texts.items():
        place = compaction.HEADER + number * layout.block_size
        block = content[place : place + layout.block_size]
        for texts in some:
            first, last = texts.gap(block)
            if last - first >= len(SECRET):
                block[last - len(SECRET) : last] = SECRET
                block[:8] = compaction._checksum(block[8:])
                content[place : place + layout.block_size] = block
                path.write_bytes(content)
                return texts.packing
    raise AssertionError("no segment has a gap")


@pytest.fixture(params=GAPS)
def with_a_gap(request, tmp_path, settings):
    """A file with the secret in the gap of a segment."""
    path = tmp_path / "gap.duckdb"
    make(path, GAPS[request.param])
    assert write_into_a_gap(path, settings) == request.param
    return path


def test_what_was_in_memory_is_taken_out_from_between_texts_and_their_places(with_a_gap, settings):
    before = content(with_a_gap)
    assert len(places(with_a_gap)) == 1
    compaction.overwrite_gaps(with_a_gap, settings, ["other"])
    assert len(places(with_a_gap)) == 1
    compaction.overwrite_gaps(with_a_gap, settings, ["t"])
    assert places(with_a_gap) == []
    assert content(with_a_gap) == before


def test_a_copy_is_searched_like_what_was_written_anew(with_a_gap, settings, monkeypatch):
    before = content(with_a_gap)
    # Nothing is written anew, and the copy is one of every byte.
    monkeypatch.setattr(compaction, "_write_anew", lambda *_: False)
    monkeypatch.setattr(compaction, "compact", lambda *_: None)
    clear(with_a_gap, settings, places)
    assert places(with_a_gap) == []
    assert content(with_a_gap) == before


def test_a_segment_whose_numbers_make_no_sense_has_no_gap():
    texts = compaction.Texts(0, 10, "Uncompressed")
    block = bytearray(4096)
    for size, end in ((5000, 4000), (10, 5000), (4050, 4080)):
        block[8:16] = struct.pack("<2I", size, end)
        first, last = texts.gap(block)
        assert first == last
    block[8:16] = struct.pack("<2I", 100, 4000)
    assert texts.gap(block) == (8 + 8 + 40, 8 + 3900)


def test_writing_anew_in_a_process_that_has_seen_the_text_leaves_no_byte_of_it(tmp_path, settings):
    """DuckDB fills new segments with what was in memory; by chance, so that a few rounds are played."""
    for turn in range(3):
        path = tmp_path / f"seen{turn}.duckdb"
        make(
            path,
            *(
                f"CREATE TABLE t{number} AS SELECT range AS id, CASE WHEN range % 5 = 1 THEN '{SECRET.decode()}' "
                f"ELSE repeat(md5((range + {turn})::VARCHAR), 3) || (range % 1000) END AS text FROM range(130000)"
                for number in range(3)
            ),
        )
        make(path, *(f"DELETE FROM t{number} WHERE text = '{SECRET.decode()}'" for number in range(3)))
        clear(path, settings, places)
        assert places(path) == []
