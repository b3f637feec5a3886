"""The dbt project as a whole: it builds with all its tests, and what it publishes keeps its promises."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestration.contracts import CONTRACTS, DERIVED, Pii
from orchestration.settings import PROJECT_ROOT

PROJECT = PROJECT_ROOT / "dbt_project"
MARTS = {path.stem for path in (PROJECT / "models" / "marts").glob("*.sql")}
SCALAR = ("BOOLEAN", "INTEGER", "BIGINT", "DOUBLE", "DECIMAL", "DATE", "TIMESTAMP", "VARCHAR")
WITH_SCORE = ("mart_nps", "mart_csat", "mart_funnel", "mart_response_rate")


def described(folder: str) -> dict[str, dict]:
    models = {}
    for path in (PROJECT / "models" / folder).glob("_*.yml"):
        for model in yaml.safe_load(path.read_text()).get("models", []):
            models[model["name"]] = model
    return models


@pytest.fixture(scope="module")
def warehouse(new_warehouse):
    """An empty company: every model, data test and unit test must do without rows."""
    made = new_warehouse()
    made.build()
    return made


@pytest.fixture(scope="module")
def columns(warehouse):
    return warehouse.rows(
        "select table_name, column_name, data_type, comment from duckdb_columns()"
        " where database_name = 'marts' and schema_name = 'main'"
    )


def test_everything_builds_and_every_unit_test_passes_without_a_row(warehouse):
    built = warehouse.rows("select table_name from duckdb_tables() where database_name = 'marts'")
    assert {row["table_name"] for row in built} == MARTS


def test_a_broken_key_fails_the_build(new_warehouse):
    made = new_warehouse()
    made.write("sales_order", [{"source_id": "same", "ordered_at": "2026-01-01T00:00:00"}] * 2)
    result = made.dbt("build", "--select", "stg_sales_order")
    assert not result.success
    assert {r.node.name.split("_stg")[0]: str(r.status) for r in result.result}["unique_key"] == "fail"


def test_marts_hold_scalars_only(columns):
    assert {row["data_type"] for row in columns if not row["data_type"].startswith(SCALAR)} == set()


def test_every_column_of_a_mart_is_described_and_the_file_says_so(warehouse, columns):
    models = described("marts")
    for mart in MARTS:
        told = {column["name"]: column["description"] for column in models[mart]["columns"]}
        assert {row["column_name"]: row["comment"] for row in columns if row["table_name"] == mart} == told, mart
    tables = warehouse.rows("select table_name, comment from duckdb_tables() where database_name = 'marts'")
    assert all(row["comment"] for row in tables)


def test_marts_hold_no_personal_data_and_no_free_text(columns):
    forbidden = {
        column.name
        for contract in CONTRACTS.values()
        for column in contract.columns
        if column.pii in (Pii.DIRECT, Pii.FREE_TEXT)
    } - {"name"}
    assert {"email", "phone", "full_name", "value_text", "comment_text", "subject"} <= forbidden
    found = {(row["table_name"], row["column_name"]) for row in columns if row["column_name"] in forbidden}
    assert found == set()
    raw_ids = {"anonymous_id", "user_id", "visitor_id", "login", "customer_id", "attributes", "user_agent", "ip_hash"}
    assert not raw_ids & {row["column_name"] for row in columns}


def test_who_states_a_score_says_how_sure_it_is(columns):
    needed = {"n", "ci_low", "ci_high", "minimum_n", "is_suppressed", "suppression_reason", "metric_version", "run_id"}
    for mart in WITH_SCORE:
        assert needed <= {row["column_name"] for row in columns if row["table_name"] == mart}, mart


def test_every_model_is_described_by_its_grain():
    for folder in ("staging", "intermediate", "marts", "semantic"):
        models = described(folder)
        files = {path.stem for path in (PROJECT / "models" / folder).glob("*.sql")}
        assert files == set(models), folder
        assert all(model["description"].startswith(("One ", "A ")) for model in models.values()), folder


def test_staging_is_what_the_contracts_say():
    path = PROJECT / "scripts" / "staging.py"
    spec = importlib.util.spec_from_file_location("staging_script", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    folder = PROJECT / "models" / "staging"
    committed = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
    assert committed == script.files(), "run: python dbt_project/scripts/staging.py"
    assert {f"stg_{table}.sql" for table in CONTRACTS | DERIVED} < committed.keys()


def test_models_read_clean_tables_through_src_only():
    for path in (PROJECT / "models").rglob("*.sql"):
        text = path.read_text()
        assert "read_parquet" not in text and "source(" not in text, path
        assert ("src(" in text) == (path.parent.name == "staging"), path


def test_silent_traps_of_other_engines_are_kept_out():
    traps = ("date_diff", "datediff(", "dbt.dateadd", "100.0 *", "current_date", "now()", "current_timestamp")
    for path in [*(PROJECT / "models").rglob("*.sql"), *(PROJECT / "macros").rglob("*.sql")]:
        text = "\n".join(line.split("--")[0] for line in path.read_text().splitlines()).lower()
        text = "".join(part.split("#}")[-1] for part in text.split("{#"))
        assert not [trap for trap in traps if trap in text], path


def test_the_project_parses_without_a_home(tmp_path):
    """Definitions are validated before there is a warehouse."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EXPERIENCE_", "DBT_"))}
    command = [str(Path(sys.executable).parent / "dbt"), "--quiet", "parse", "--no-partial-parse"]
    folders = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--target-path", str(tmp_path)]
    done = subprocess.run(
        [*command, *folders, "--log-path", str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "manifest.json").exists() and (tmp_path / "semantic_manifest.json").exists()
