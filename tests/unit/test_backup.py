"""A back-up is whole or is not there; a restore gives back every byte or nothing."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import tarfile
from contextlib import closing
from datetime import UTC, datetime

import pytest

from orchestration.settings import Settings, make_hmac_key
from orchestration.warehouse import backup
from orchestration.warehouse.backup import BackupError, back_up, restore

NOW = datetime(2026, 5, 4, 3, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path):
    """A home with a bit of everything."""
    home = tmp_path / "home"
    for name, content in {
        "sources/crm.yaml": b"source: crm\n",
        "landing/crm/customers/load_date=2026-05-03/load_id=a/_manifest.json": b"{}",
        "landing/crm/customers/load_date=2026-05-03/load_id=a/part-00000.parquet": os.urandom(3_000_000),
        "clean/customer/all.parquet": b"rows",
        "serving/releases/r1/marts.duckdb": b"marts",
        "dbt/manifest.json": b"made anew",
        "night.lock": b"17",
        "clean/customer/.lock": b"",
        "clean/customer/all.parquet.tmp": b"left by a killed night",
        "serving/releases/.work-r2/marts.duckdb": b"left by a killed night",
        "suppression/listed.parquet": b"whatever another part keeps",
    }.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (home / "serving/releases/r1/marts.duckdb").chmod(0o444)
    (home / "serving/current").symlink_to("releases/r1")
    make_hmac_key(home)
    (home / "history").mkdir()
    with closing(sqlite3.connect(home / "history" / "runs.db")) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE runs (run_id)")
        connection.execute("INSERT INTO runs VALUES ('r1')")
        connection.commit()
    return Settings.from_environment({"EXPERIENCE_HOME": str(home)})


def files(home):
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz"])
def test_what_is_restored_is_what_was_there(settings, tmp_path, name):
    made = back_up(settings, tmp_path / name, now=NOW)
    found = restore(tmp_path / name, tmp_path / "new")
    assert (made.files, made.bytes, made.run_id, made.has_key) == (found.files, found.bytes, "r1", True)
    before, after = files(settings.home), files(tmp_path / "new")
    left_out = {
        "dbt/manifest.json", "night.lock", "clean/customer/.lock", "clean/customer/all.parquet.tmp",
        "serving/releases/.work-r2/marts.duckdb",
    }  # fmt: skip
    assert set(before) - set(after) == left_out
    assert {name: content for name, content in after.items() if "history" not in name} == {
        name: content for name, content in before.items() if "history" not in name and name not in left_out
    }
    with closing(sqlite3.connect(tmp_path / "new/history/runs.db")) as connection:
        assert connection.execute("SELECT run_id FROM runs").fetchall() == [("r1",)]
    assert str((tmp_path / "new/serving/current").readlink()) == "releases/r1"
    assert (tmp_path / "new/serving/current/marts.duckdb").read_bytes() == b"marts"
    modes = [
        stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) for name in ("hmac.key", "serving/current/marts.duckdb")
    ]
    assert modes == [0o600, 0o444]
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_database_that_is_written_to_is_copied_as_it_stands(settings, tmp_path):
    with closing(sqlite3.connect(settings.home / "history/runs.db", isolation_level=None)) as writer:
        writer.execute("INSERT INTO runs VALUES ('r2')")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO runs VALUES ('r3')")
        back_up(settings, tmp_path / "b.tar", now=NOW)
        writer.execute("ROLLBACK")
    restore(tmp_path / "b.tar", tmp_path / "new")
    with closing(sqlite3.connect(tmp_path / "new/history/runs.db")) as connection:
        assert connection.execute("SELECT run_id FROM runs").fetchall() == [("r1",), ("r2",)]


def test_the_key_may_stay_behind(settings, tmp_path):
    assert not back_up(settings, tmp_path / "b.tar", now=NOW, with_key=False).has_key
    restore(tmp_path / "b.tar", tmp_path / "new")
    assert not (tmp_path / "new/hmac.key").exists()


def test_sources_that_lie_elsewhere_come_along(settings, tmp_path):
    elsewhere = tmp_path / "etc"
    (settings.home / "sources").rename(elsewhere)
    moved = Settings.from_environment({"EXPERIENCE_HOME": str(settings.home), "EXPERIENCE_SOURCES": str(elsewhere)})
    back_up(moved, tmp_path / "b.tar", now=NOW)
    restore(tmp_path / "b.tar", tmp_path / "new")
    assert (tmp_path / "new/sources/crm.yaml").read_text() == "source: crm\n"


def test_a_folder_gets_a_name_with_the_time(settings, tmp_path):
    (tmp_path / "backups").mkdir()
    assert back_up(settings, tmp_path / "backups", now=NOW).path.name == "experience-20260504T030000Z.tar"


@pytest.mark.parametrize(
    ("target", "says"),
    [("there.tar", "exists already"), ("home/b.tar", "which is what is backed up"), ("no/b.tar", "does not exist")],
)
def test_a_target_that_cannot_be_is_refused(settings, tmp_path, target, says):
    (tmp_path / "there.tar").write_bytes(b"old")
    with pytest.raises(BackupError, match=says):
        back_up(settings, tmp_path / target, now=NOW)
    assert (tmp_path / "there.tar").read_bytes() == b"old"


def test_a_back_up_that_breaks_off_leaves_no_file(settings, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_stream", full)
    with pytest.raises(BackupError, match="No space left"):
        back_up(settings, tmp_path / "b.tar", now=NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_file_that_changes_meanwhile_is_told(settings, tmp_path, monkeypatch):
    stream = backup._stream

    def touched(archive, member, file):
        entry = stream(archive, member, file)
        if member.name == "clean/customer/all.parquet":
            (settings.home / member.name).write_bytes(b"another night wrote here")
        return entry

    monkeypatch.setattr(backup, "_stream", touched)
    with pytest.raises(BackupError, match=r"all\.parquet changed while it was backed up"):
        back_up(settings, tmp_path / "b.tar", now=NOW)


def test_a_home_that_holds_something_is_left_alone(settings, tmp_path):
    back_up(settings, tmp_path / "b.tar", now=NOW)
    before = files(settings.home)
    with pytest.raises(BackupError, match="holds something already"):
        restore(tmp_path / "b.tar", settings.home)
    assert files(settings.home) == before
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "b.tar", tmp_path / "empty")


def assert_refused(source, tmp_path, says):
    with pytest.raises(BackupError, match=says):
        restore(source, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".new*"))


def test_every_cut_is_seen(settings, tmp_path):
    whole = back_up(settings, tmp_path / "b.tar", now=NOW).path.read_bytes()
    cut = tmp_path / "cut.tar"
    manifest = whole.rindex(b"backup.json\0")
    for length in (0, 700, 1_000_000, manifest, manifest + 600):
        cut.write_bytes(whole[:length])
        assert_refused(cut, tmp_path, "cannot be restored|cut off")


def test_one_changed_byte_is_seen(settings, tmp_path):
    path = back_up(settings, tmp_path / "b.tar", now=NOW).path
    content = bytearray(path.read_bytes())
    content[content.index(b"source: crm") + 3] ^= 1
    path.write_bytes(content)
    assert_refused(path, tmp_path, r"damaged: sources/crm.yaml \(1 of 8 files\)")


def rewritten(path, change):
    """The back-up with members changed by hand."""
    other = path.with_name("other.tar")
    with tarfile.open(path) as source, tarfile.open(other, "w") as target:
        for member in source:
            changed = change(member)
            if changed is not None:
                target.addfile(changed, source.extractfile(member) if member.isfile() else None)
    return other


def test_a_file_taken_out_is_seen(settings, tmp_path):
    path = back_up(settings, tmp_path / "b.tar", now=NOW).path
    other = rewritten(path, lambda member: None if member.name == "clean/customer/all.parquet" else member)
    assert_refused(other, tmp_path, "damaged: clean/customer/all.parquet")


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside-of-the-home"])
def test_nothing_is_written_outside_of_the_home(settings, tmp_path, name):
    def climb(member):
        return member.replace(name=name) if member.name == "sources/crm.yaml" else member

    path = back_up(settings, tmp_path / "b.tar", now=NOW).path
    assert_refused(rewritten(path, climb), tmp_path, "outside of the home")
    assert not (tmp_path / "outside").exists()


def test_a_link_that_leads_out_is_refused(settings, tmp_path):
    path = back_up(settings, tmp_path / "b.tar", now=NOW).path
    other = tmp_path / "other.tar"
    with tarfile.open(path) as source, tarfile.open(other, "w") as target:
        for member in source:
            if member.issym():
                member.linkname = "../../../etc"
            target.addfile(member, source.extractfile(member) if member.isfile() else None)
    assert_refused(other, tmp_path, "outside of the home")


def test_another_kind_of_file_is_no_back_up(tmp_path):
    (tmp_path / "text.tar").write_text("hello")
    assert_refused(tmp_path / "text.tar", tmp_path, "cannot be restored")
    with tarfile.open(tmp_path / "plain.tar", "w") as archive:
        archive.add(__file__, "a.py")
    assert_refused(tmp_path / "plain.tar", tmp_path, "it was cut off, or is no back-up")


def test_a_later_format_is_refused(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(backup, "FORMAT", 2)
    path = back_up(settings, tmp_path / "b.tar", now=NOW).path
    monkeypatch.setattr(backup, "FORMAT", 1)
    assert_refused(path, tmp_path, "another version")
    with tarfile.open(path) as archive:
        assert json.loads(archive.extractfile("backup.json").read())["format"] == 2
