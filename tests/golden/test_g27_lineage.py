"""Golden g27: a number explained down to its responses, and the ways in which that must fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from types import SimpleNamespace

import duckdb
import pytest

from data_quality.suites.marts import MART_KEYS
from orchestration.cli import main
from orchestration.contracts import CONTRACTS
from orchestration.lineage.code import FILE, Code, code_of
from orchestration.lineage.explain import ExplainError, digest, explain
from orchestration.lineage.tables import SEEDED, tables
from orchestration.settings import PROJECT_ROOT, Settings
from orchestration.sources.config import load_sources
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing
from orchestration.warehouse.publish import publish
from orchestration.warehouse.refresh import refresh_table

RESPONSES = {
    "qualtrics": [
        ("r1", "2026-04-03", 10, "north"),
        ("r2", "2026-04-03", 9, "north"),
        ("r6", "2026-05-02", 10, "north"),
    ],
    "web": [("r3", "2026-04-09", 6, "north"), ("r4", "2026-04-10", 8, "north"), ("r5", "2026-04-12", 7, "south")],
}
IDS = ["r1", "r2", "r3", "r4"]
DIGEST = "799255db01d9d3d1b8c865abecd55a22fd7a645e2dabc5b694f65e06a651d226"
NORTH = {
    "period_kind": "month",
    "period_start_date": "2026-04-01",
    "breakdown": "segment",
    "breakdown_value": "north",
}
YAML = """\
source: {source}
type: files
timezone: UTC
streams:
  responses:
    from: {{path: "{{home}}/in/{source}_*.csv"}}
    primary_key: [response_id]
    tables:
      response:
        survey: S1
        fields: {{answered_at: day, segment: region, status: {{value: complete}}}}
      answer:
        survey: S1
        fields: {{answered_at: day}}
        questions: {{Q1: ltr}}
surveys:
  S1: {{name: How are we doing, questions: {{Q1: {{metric: nps, scale: {{min: 0, max: 10}}}}}}}}
"""
GOOD = SimpleNamespace(action="publish", reasons=())


def deliver(settings: Settings) -> None:
    (settings.home / "in").mkdir()
    settings.sources_dir.mkdir()
    for source, rows in RESPONSES.items():
        text = "\n".join(["response_id,day,ltr,region", *(",".join(map(str, row)) for row in rows), ""])
        (settings.home / "in" / f"{source}_1.csv").write_text(text)
        (settings.sources_dir / f"{source}.yaml").write_text(YAML.format(source=source))
    sources = load_sources(settings.sources_dir)
    for source in sources.values():
        for stream in source.streams:
            extract(source, stream, settings=settings, run_id="run-1", now=datetime(2026, 5, 3, tzinfo=UTC))
    for table in CONTRACTS:
        shutil.rmtree(settings.clean_dir / table)
        refresh_table(CONTRACTS[table], sources, settings=settings, run_id="run-1")


@pytest.fixture(scope="module")
def home(new_warehouse):
    """Two sources loaded, built with cells shown from one vote on, and published."""
    warehouse = new_warehouse(minimum_n=1)
    settings = Settings(home=warehouse.home, sources_dir=warehouse.home / "sources", duckdb_memory_limit="1GB")
    deliver(settings)
    assert warehouse.dbt("seed").success
    result = warehouse.dbt("run", "--select", "+mart_nps", "+fct_answer", "fct_response")
    assert result.success
    code = code_of(warehouse.target / "manifest.json", PROJECT_ROOT, "run-1")
    publish(
        settings,
        "run-1",
        now=datetime(2026, 5, 3, tzinfo=UTC),
        decision=GOOD,
        extra_files={FILE: code.to_json().encode()},
    )
    return settings


@pytest.fixture
def copied(home, tmp_path):
    """A home of its own, whose release may be changed."""
    folder = shutil.copytree(home.home, tmp_path / "home", symlinks=True)
    for path in (folder / "serving").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return replace(home, home=folder)


def change_release(settings: Settings, statement: str) -> None:
    with duckdb.connect(str(settings.serving_dir / "releases" / "run-1" / "marts.duckdb")) as connection:
        connection.execute(statement)


def test_the_cell_is_explained_to_its_responses_files_and_code(home):
    found = explain(home, "mart_nps", NORTH, built_by="run-1")
    assert found.records["id"].to_list() == IDS
    assert found.digests == {"n": DIGEST}
    assert [one.recomputed for one in found.compared][:5] == [4, 2, 1, 1, 25.0]
    assert not found.differences and not found.notes
    places = found.records.select("id", "source", "source_file", "source_row", "part", "run_id").rows()
    assert places == [
        ("r1", "qualtrics", "qualtrics_1.csv", 1, "part-00000.parquet", "run-1"),
        ("r2", "qualtrics", "qualtrics_1.csv", 2, "part-00000.parquet", "run-1"),
        ("r3", "web", "web_1.csv", 1, "part-00000.parquet", "run-1"),
        ("r4", "web", "web_1.csv", 2, "part-00000.parquet", "run-1"),
    ]
    assert [(load.source, load.kind, load.rows, len(load.files)) for load in found.loads] == [
        ("qualtrics", "files", 2, 1),
        ("web", "files", 2, 1),
    ]
    assert found.cell["metric_version"] == "1.0"
    assert found.code.git_commit is None or len(found.code.git_commit) == 40
    assert list(found.models)[-1] == "mart_nps" and {"stg_answer", "int_nps_vote_latest"} <= set(found.models)
    assert all(len(model.checksum) == 64 for model in found.models.values())


def test_every_shown_cell_and_every_fact_comes_out_equal(home):
    with duckdb.connect(str(home.serving_dir / "current" / "marts.duckdb"), read_only=True) as connection:
        for name in ("mart_nps", "fct_response", "fct_answer"):
            key = tables()[name].key
            listed = ", ".join(f"CAST({column} AS VARCHAR)" for column in key)
            for row in connection.execute(f"SELECT {listed} FROM {name} USING SAMPLE 25 (reservoir, 7)").fetchall():
                found = explain(home, name, dict(zip(key, row, strict=True)), built_by="run-1")
                assert not found.differences and found.records.height
                assert found.records["source_row"].null_count() == 0


def test_the_digest_is_that_of_the_sorted_ids():
    assert digest(["r4", "r2", "r1", "r3"]) == DIGEST


def test_a_number_that_the_rows_do_not_give_fails_loudly(copied, monkeypatch, capsys):
    change_release(copied, "UPDATE mart_nps SET promoters = promoters + 1 WHERE period_kind = 'month'")
    monkeypatch.setenv("EXPERIENCE_HOME", str(copied.home))
    arguments = [f"--where={column}={value}" for column, value in NORTH.items()]
    assert main(["explain", "mart_nps", *arguments, "--format", "json"]) == 1
    said = capsys.readouterr()
    assert "mart_nps.promoters is 3 in release run-1, but the records give 2" in said.err
    document = json.loads(said.out)
    assert document["is_equal"] is False
    assert document["digests"] == {"n": DIGEST}


def test_a_suppressed_cell_is_told_to_operators_alone(copied):
    change_release(
        copied,
        "UPDATE mart_nps SET is_suppressed = true, suppression_reason = 'below_minimum', nps = NULL, promoters = NULL, "
        "passives = NULL, detractors = NULL, standard_error = NULL, ci_low = NULL, ci_high = NULL, minimum_n = 10",
    )
    with pytest.raises(ExplainError, match=r"suppressed \(below_minimum, minimum 10\)"):
        explain(copied, "mart_nps", NORTH, built_by="run-1")
    found = explain(copied, "mart_nps", NORTH, built_by="run-1", show_suppressed=True)
    assert found.digests == {"n": DIGEST}
    assert found.recomputed["nps"] == 25.0
    assert [one.column for one in found.compared] == ["n"]
    assert "not for publication" in found.notes[0]


def test_another_build_is_told_and_held_against_the_release(home):
    [note] = explain(home, "mart_nps", NORTH, built_by="run-2").notes
    assert "run run-2 built the marts again" in note
    [note] = explain(home, "mart_nps", NORTH, built_by=None).notes
    assert "did not come to its end" in note


def test_a_load_that_left_the_landing_is_named(copied):
    shutil.rmtree(copied.landing_dir / "web")
    found = explain(copied, "mart_nps", NORTH, built_by="run-1")
    assert not found.differences
    assert [load.stream for load in found.loads] == ["responses", None]
    assert "holds no load" in found.notes[0]
    assert found.records["source_file"].to_list() == ["qualtrics_1.csv", "qualtrics_1.csv", None, None]


def test_a_load_that_retention_removed_is_named(copied):
    landing = Landing(copied.landing_dir)
    [load] = landing.manifests("web", "responses")
    landing.remove_rows(load, now=datetime(2026, 9, 1, tzinfo=UTC), keep=["response_id"])
    found = explain(copied, "mart_nps", NORTH, built_by="run-1")
    assert not found.differences
    assert "retention removed the rows" in found.notes[0] and "2026-09-01" in found.notes[0]
    assert [(load.source, load.stream) for load in found.loads] == [("qualtrics", "responses"), ("web", "responses")]
    assert found.records["source_row"].to_list() == [1, 2, None, None]


def test_a_release_without_its_code_says_so(copied):
    (copied.serving_dir / "releases" / "run-1" / FILE).unlink()
    found = explain(copied, "mart_nps", NORTH, built_by="run-1")
    assert found.code == Code()
    assert "does not say which code made it" in found.notes[0]


@pytest.mark.parametrize(
    ("table", "where", "message"),
    [
        ("mart_nsp", {}, "no published table 'mart_nsp' can be explained; there are mart_nps"),
        ("dim_touchpoint", {}, "touchpoint.csv"),
        ("mart_nps", {"brakdown": "segment"}, "no column 'brakdown'; nearest: breakdown"),
        ("mart_nps", {**NORTH, "breakdown_value": "nort"}, "no 'nort'; nearest: north"),
        ("mart_nps", {**NORTH, "period_start_date": "2020-01-01"}, "nearest: 2026-0[45]-01, 2026-0[45]-01"),
        ("mart_nps", {"period_kind": "month", "breakdown": "segment"}, "breakdown_value= one of north, south"),
        ("mart_nps", {}, "no condition names more than one row"),
    ],
)
def test_what_names_no_row_or_several_is_answered_with_what_would(home, table, where, message):
    with pytest.raises(ExplainError, match=message):
        explain(home, table, where, built_by="run-1")


def test_a_release_is_named_where_it_is_not_the_current_one(home):
    assert explain(home, "mart_nps", NORTH, release_id="run-1", built_by="run-1").digests == {"n": DIGEST}
    with pytest.raises(ExplainError, match="no release 'run-0'; there are run-1"):
        explain(home, "mart_nps", NORTH, release_id="run-0")


def test_nothing_published_is_told(tmp_path):
    with pytest.raises(ExplainError, match="run a night first"):
        explain(Settings(home=tmp_path, sources_dir=tmp_path), "mart_nps", NORTH)


def test_a_file_that_is_written_to_is_told(copied):
    hold = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(copied.warehouse_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "held\n"
        with pytest.raises(ExplainError, match="ask again when the night has ended"):
            explain(copied, "mart_nps", NORTH, built_by="run-1")
        writer.stdin.close()


def test_every_published_table_can_be_explained_or_is_seeded():
    assert set(tables()) | set(SEEDED) == set(MART_KEYS)
    assert {name: table.key for name, table in tables().items()} == {
        name: key for name, key in MART_KEYS.items() if name not in SEEDED
    }


def test_a_bare_checkout_has_no_commit(tmp_path):
    assert code_of(tmp_path / "manifest.json", tmp_path, None) == Code()


def test_dates_are_written_as_the_file_has_them(home):
    found = explain(home, "mart_nps", NORTH, built_by="run-1")
    assert found.cell["period_start_date"] == date(2026, 4, 1)
