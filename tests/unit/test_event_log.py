"""Commits of Dagster's SQLite files while a night runs."""

import sqlite3

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from orchestration.automation.event_log import unhurried_commits

FULL, NORMAL = 2, 1


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "log.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE event (number INTEGER)")
    connection.close()
    return path


def write(path, number):
    with create_engine(f"sqlite:///{path}", poolclass=NullPool).begin() as connection:
        connection.execute(text(f"INSERT INTO event VALUES ({number})"))
        return connection.execute(text("PRAGMA synchronous")).scalar()


def log_of(path):
    return path.with_name(path.name + "-wal")


def test_the_log_is_written_back_once_and_nothing_is_lost(database):
    assert write(database, 0) == FULL
    assert not log_of(database).exists()
    with unhurried_commits():
        assert [write(database, number) for number in (1, 2)] == [NORMAL, NORMAL]
        assert log_of(database).exists()
        with sqlite3.connect(database) as reader:
            assert reader.execute("SELECT max(number) FROM event").fetchone() == (2,)
        reader.close()
    assert not log_of(database).exists()
    assert write(database, 3) == FULL
    with sqlite3.connect(database) as reader:
        assert reader.execute("SELECT count(*) FROM event").fetchone() == (4,)
    reader.close()


def test_a_database_without_write_ahead_log_keeps_its_syncs(tmp_path):
    path = tmp_path / "plain.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE event (number INTEGER)")
    connection.close()
    with unhurried_commits():
        assert write(path, 1) == FULL


def test_a_database_made_meanwhile_can_still_change_its_mode(tmp_path):
    path = tmp_path / "new.db"
    with unhurried_commits():
        with create_engine(f"sqlite:///{path}", poolclass=NullPool).connect() as connection:
            connection.execute(text("CREATE TABLE event (number INTEGER)"))
            assert connection.execute(text("PRAGMA journal_mode = WAL")).scalar() == "wal"
        assert write(path, 1) == NORMAL


def test_the_syncs_come_back_after_an_error(database):
    with pytest.raises(ZeroDivisionError), unhurried_commits():
        write(database, 1)
        raise ZeroDivisionError
    assert write(database, 2) == FULL
