"""Whether dbt's files are as the last build left them."""

import os
from dataclasses import replace

import duckdb
import pytest

from orchestration.assets import dbt
from orchestration.settings import Settings, SettingsError
from orchestration.warehouse.files import write_json


@pytest.fixture
def settings(tmp_path) -> Settings:
    settings = Settings(home=tmp_path, sources_dir=tmp_path / "sources")
    settings.marts_path.parent.mkdir(parents=True)
    for path in (settings.warehouse_path, settings.marts_path):
        with duckdb.connect(str(path)) as connection:
            connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    dbt._build_note(settings).parent.mkdir(parents=True)
    write_json({"run_id": "r1", "inputs": "", "files": dbt._files(settings)}, dbt._build_note(settings))
    return settings


@pytest.mark.parametrize("name", ["warehouse_path", "marts_path"])
def test_a_build_does_not_stand_where_a_killed_writer_left_rows_in_a_log_alone(settings, name):
    path = getattr(settings, name)
    state = path.stat()
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO t VALUES (2)")
        # What stands beside the file before it is closed is what a kill leaves.
        log = path.with_name(path.name + ".wal")
        left = log.read_bytes()
        content = path.read_bytes()
    path.write_bytes(content)
    log.write_bytes(left)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    assert dbt._last_build(settings)["files"] != dbt._files(settings)
    note = dbt._build_note(settings).read_text()
    with dbt.rewriting_files(settings):
        duckdb.connect(str(path)).execute("CHECKPOINT").close()
    assert dbt._build_note(settings).read_text() == note
    assert dbt._last_build(settings)["files"] != dbt._files(settings)


def test_a_build_stands_where_its_files_are_written_anew(settings):
    with dbt.rewriting_files(settings):
        duckdb.connect(str(settings.marts_path)).execute("CREATE TABLE more AS SELECT 1 AS n").close()
    assert dbt._last_build(settings)["files"] == dbt._files(settings)


def test_instances_side_by_side_share_the_memory(settings):
    assert settings.beside(1).duckdb_memory_limit == "4GB"
    shared = replace(settings, duckdb_memory_limit="0.5 GB").beside(1)
    with duckdb.connect(config={"memory_limit": shared.duckdb_memory_limit}) as connection:
        assert connection.execute("SELECT current_setting('memory_limit')").fetchone() == ("238.4 MiB",)
    with pytest.raises(SettingsError, match="no number with a unit"):
        replace(settings, duckdb_memory_limit="much").beside(1)
