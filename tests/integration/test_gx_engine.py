"""Great Expectations on DuckDB: every expectation that is used evaluates, in few queries, and no lock stays."""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import duckdb
import great_expectations.expectations as gxe
import pytest
import sqlalchemy as sa

import data_quality.engine
from data_quality.engine import DuckDBExecutionEngine, Validator
from data_quality.session import Session

ROWS = """
    CREATE VIEW t AS SELECT * FROM (VALUES
        ('a', 1, 'ann@mail.example', 1.5, 'open', TIMESTAMP '2026-01-01'),
        ('b', 1, 'bob@mail.example', 9.0, 'open', TIMESTAMP '2026-01-02'),
        ('b', 1, 'not an address', NULL, 'shut', TIMESTAMP '2026-01-03'),
        ('c', 2, NULL, 3.0, 'ajar', NULL)
    ) AS v(id, part, email, amount, status, seen_at)
"""
EXPECTED = [
    (lambda: gxe.ExpectColumnValuesToNotBeNull(column="email"), 1),
    (lambda: gxe.ExpectColumnValuesToMatchRegex(column="email", regex=r"^[^@\s]+@[^@\s]+$"), 1),
    (lambda: gxe.ExpectColumnValuesToMatchRegex(column="email", regex="mail"), 1),
    (lambda: gxe.ExpectColumnValuesToNotMatchRegex(column="email", regex="mail"), 2),
    (lambda: gxe.ExpectColumnValuesToMatchLikePattern(column="email", like_pattern="%@mail.example"), 1),
    (lambda: gxe.ExpectColumnValuesToNotMatchLikePattern(column="email", like_pattern="ann%"), 1),
    (lambda: gxe.ExpectColumnValuesToBeInSet(column="status", value_set=["open", "shut"]), 1),
    (lambda: gxe.ExpectColumnValuesToBeBetween(column="amount", min_value=1, max_value=5), 1),
    (lambda: gxe.ExpectColumnValuesToBeBetween(column="amount", min_value=2), 1),
    (lambda: gxe.ExpectColumnValuesToBeBetween(column="amount", max_value=2), 2),
    (lambda: gxe.ExpectColumnValuesToBeUnique(column="id"), 2),
    (lambda: gxe.ExpectCompoundColumnsToBeUnique(column_list=["id", "part"]), 2),
]


@pytest.fixture
def session():
    with Session() as session:
        session.execute(ROWS)
        yield session


@pytest.fixture
def validator(session):
    validator = Validator(session)
    yield validator
    validator.close()


@pytest.mark.parametrize("number", range(len(EXPECTED)))
def test_every_expectation_counts_what_fails(validator, number):
    build, unexpected = EXPECTED[number]
    (result,) = validator.validate(validator.batch("t"), [build()])
    assert not result.success
    assert result.exception_info["raised_exception"] is False
    assert result.result["unexpected_count"] == unexpected
    assert result.result["element_count"] == 4
    assert not result.result.get("partial_unexpected_list"), "values of people do not belong in a result"


def test_together_they_count_the_same(validator):
    results = validator.validate(validator.batch("t"), [build() for build, _ in EXPECTED])
    assert [result.result["unexpected_count"] for result in results] == [count for _, count in EXPECTED]


def test_row_count_and_own_sql(validator):
    batch = validator.batch("t")
    few, query, none = validator.validate(
        batch,
        [
            gxe.ExpectTableRowCountToBeBetween(max_value=3),
            gxe.UnexpectedRowsExpectation(unexpected_rows_query="SELECT * FROM {batch} WHERE amount > 2"),
            gxe.UnexpectedRowsExpectation(unexpected_rows_query="SELECT * FROM {batch} WHERE amount > 20"),
        ],
    )
    assert (few.success, few.result["observed_value"]) == (False, 4)
    assert (query.success, query.result["observed_value"]) == (False, 2)
    assert (none.success, none.result["observed_value"]) == (True, 0)


def test_mostly(validator):
    half, most = validator.validate(
        validator.batch("t"),
        [
            gxe.ExpectColumnValuesToMatchRegex(column="email", regex="@", mostly=0.5),
            gxe.ExpectColumnValuesToMatchRegex(column="email", regex="@", mostly=0.9),
        ],
    )
    assert (half.success, most.success) == (True, False)


def test_a_null_in_a_key_is_no_duplicate(session, validator):
    session.execute("CREATE VIEW nulls AS SELECT NULL::VARCHAR AS id, 1 AS part FROM range(3)")
    alone, both = validator.validate(
        validator.batch("nulls"),
        [
            gxe.ExpectColumnValuesToBeUnique(column="id"),
            gxe.ExpectCompoundColumnsToBeUnique(column_list=["id", "part"]),
        ],
    )
    assert (alone.success, both.success) == (True, True)


@pytest.mark.parametrize(("rows", "repeated"), [("t", 2), ("(SELECT DISTINCT id, part FROM t)", 0)])
def test_keys_that_share_a_hash_are_not_taken_for_equal(session, validator, rows, repeated):
    session.execute(f"CREATE VIEW hashed AS SELECT * FROM {rows}")
    session.execute("CREATE MACRO hash(a, b := 0) AS 1")
    results = validator.validate(validator.batch("hashed"), [build() for build, _ in EXPECTED[-2:]])
    assert [result.result["unexpected_count"] for result in results] == [repeated, repeated]


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_repeated_keys_are_found_where_few_hashes_are_compared_at_once(validator, monkeypatch, at_once):
    monkeypatch.setattr(data_quality.engine._DuplicatedRows, "hashes_at_once", at_once)
    results = validator.validate(validator.batch("t"), [build() for build, _ in EXPECTED[-2:]])
    assert [result.result["unexpected_count"] for result in results] == [2, 2]
    validator._engine.execute_query(sa.text("CREATE VIEW different AS SELECT DISTINCT id, part FROM t"))
    results = validator.validate(validator.batch("different"), [build() for build, _ in EXPECTED[-2:]])
    assert [result.success for result in results] == [True, True]


def test_an_exception_is_not_a_finding(validator):
    (result,) = validator.validate(validator.batch("t"), [gxe.ExpectColumnValuesToNotBeNull(column="no_such_column")])
    assert not result.success
    assert any(entry["raised_exception"] for entry in result.exception_info.values())


def test_a_table_is_scanned_once_for_all_its_columns(validator):
    statements = []
    sa.event.listen(validator._engine.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    maps = [build() for build, _ in EXPECTED if "Unique" not in type(build()).__name__]
    validator.validate(validator.batch("t"), maps)
    aggregates = [statement for statement in statements if "sum(CASE" in statement]
    assert len(aggregates) == 1
    assert not any("CREATE TEMP" in statement.upper() for statement in statements), "the table is not copied"
    assert not any("SELECT email" in statement for statement in statements), "no values are fetched"


def test_one_connection_serves_the_whole_run(validator):
    with validator._engine.get_connection() as first, validator._engine.get_connection() as second:
        assert first is second
    assert isinstance(validator._engine, DuckDBExecutionEngine)


def test_it_speaks_to_nobody_and_draws_no_bars(validator, capfd):
    config = validator._context.config
    assert config.analytics_enabled is False
    assert config.progress_bars["globally"] is False
    validator.validate(validator.batch("t"), [build() for build, _ in EXPECTED])
    out, err = capfd.readouterr()
    assert "Calculating Metrics" not in out + err


def test_no_lock_stays(tmp_path):
    """Another process can write the file as soon as the session is closed, not before."""
    path = tmp_path / "marts.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE m AS SELECT 1 AS id")

    def other_process_writes():
        code = f"import duckdb; duckdb.connect({str(path)!r}).execute('INSERT INTO m VALUES (2)')"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0

    with Session() as session:
        session.execute(f"ATTACH '{path}' AS gated (READ_ONLY)")
        session.execute("CREATE VIEW m AS SELECT * FROM gated.main.m")
        validator = Validator(session)
        (result,) = validator.validate(validator.batch("m"), [gxe.ExpectColumnValuesToBeUnique(column="id")])
        assert result.success
        assert not other_process_writes(), "the test sees no lock at all"
        validator.close()
    assert other_process_writes()


def test_great_expectations_is_pinned_exactly():
    # engine.py reaches into private attributes; another version has to pass this file first.
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())
    pins = [pin for pin in project["project"]["dependencies"] if pin.startswith("great-expectations")]
    assert pins == [f"great-expectations=={importlib.metadata.version('great-expectations')}"]
