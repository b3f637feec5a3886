"""Contracts, suites, dbt and docs name the same tables and columns; everything an operator may set is documented."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from data_quality.suites import clean_rules, marts_rules
from data_quality.suites.marts import MART_KEYS
from orchestration import settings
from orchestration.contracts import CONTRACTS, CONTROL, DERIVED, TABLES
from orchestration.contracts.page import page
from orchestration.warehouse.publish import PUBLISHED_CONTROL

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "dbt_project" / "models"
DOCS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "docs").rglob("*.md")}
DOCS["README.md"] = (ROOT / "README.md").read_text()
KEY_TESTS = {"unique", "unique_key", "unique_of_touched", "same_count"}
WITHOUT_KEY = {
    "int_as_of": "it has one row",
    "int_web_event_filtered": "rows of stg_web_event, whose key is tested at the clean gate and in staging",
    "int_web_scope": "it has one row",
    "int_answer_scope": "it has one row",
    "int_response_fingerprinted": "rows of int_response_qualified",
    "int_web_event_touched": "rows of int_web_event_filtered",
    "int_person_fingerprinted": "a full join of int_person_profiled with recorded entries, by person",
    "int_stage_entry_recorded": "a person may enter a stage twice at one instant",
    "int_stage_entry_collected": "a person may enter a stage twice at one instant",
}


def described(layer):
    """Model to its YAML, of one layer."""
    found = {}
    for path in (MODELS / layer).glob("*.yml"):
        for model in yaml.safe_load(path.read_text()).get("models", []):
            found[model["name"]] = model
    return found


def test_names(entry):
    return {next(iter(test)) if isinstance(test, dict) else test for test in entry.get("data_tests", [])}


test_names.__test__ = False


def columns(model):
    return [column["name"] for column in model.get("columns", [])]


@pytest.mark.parametrize("layer", ["staging", "intermediate", "intermediate/working", "marts"])
def test_every_model_has_its_grain_and_a_test_of_its_key(layer):
    models = described(layer)
    assert set(models) == {path.stem for path in (MODELS / layer).glob("*.sql")}
    for name, model in models.items():
        assert model.get("description", "").startswith("One "), name
        tests = test_names(model).union(*(test_names(column) for column in model.get("columns", [])))
        assert KEY_TESTS & tests or name in WITHOUT_KEY, f"{name} has no test of its key"


def test_the_rules_of_the_clean_gate_name_tables_and_columns_of_the_contracts():
    tables = CONTRACTS | DERIVED
    rules = clean_rules()
    assert {rule.target_table for rule in rules} == set(tables)
    for rule in rules:
        assert rule.column is None or rule.column in tables[rule.target_table].schema, rule.identity
        assert set(rule.key) <= set(tables[rule.target_table].schema), rule.identity
    required = {(table.name, column.name) for table in tables.values() for column in table.columns if column.required}
    assert required <= {(rule.target_table, rule.column) for rule in rules if rule.severity == "error"}


def test_the_rules_of_the_marts_gate_name_the_marts_and_their_columns():
    marts = described("marts")
    assert set(MART_KEYS) == set(marts)
    for rule in marts_rules():
        assert rule.target_table in marts, rule.identity
        assert rule.column is None or rule.column in columns(marts[rule.target_table]), rule.identity
    for mart, key in MART_KEYS.items():
        assert set(key) <= set(columns(marts[mart])), mart


def test_dbt_reads_the_tables_of_the_contracts():
    (source,) = yaml.safe_load((MODELS / "staging" / "_sources.yml").read_text())["sources"]
    assert {table["name"] for table in source["tables"]} == set(CONTRACTS | DERIVED)
    staging = described("staging")
    for name, contract in (CONTRACTS | DERIVED).items():
        assert columns(staging[f"stg_{name}"]) == list(contract.schema)


@pytest.mark.parametrize("mart", MART_KEYS)
def test_every_mart_is_in_the_docs(mart):
    assert [name for name, text in DOCS.items() if f"`{mart}`" in text], f"write of {mart} in docs/"


def test_the_page_of_the_contracts_says_what_they_say():
    assert DOCS["docs/contracts.md"] == page(), "run: python -m orchestration.contracts.page"
    for table in TABLES.values():
        assert f"### `{table.name}`" in page()
        assert all(f"| `{column.name}` |" in page() for column in table.columns)


def bullets_of_marts():
    text = DOCS["docs/architecture.md"].split("## Published marts")[1].split("\n## ")[0]
    return {match[1]: match[2] for match in re.finditer(r"^- `(mart_\w+)`:(.*?)(?=^- |\Z)", text, re.M | re.S)}


def test_the_columns_that_the_architecture_names_are_there():
    marts, bullets = described("marts"), bullets_of_marts()
    assert bullets
    for mart, text in bullets.items():
        named = set(re.findall(r"`([a-z]\w*)`", text))
        assert named <= set(columns(marts[mart])) | set(marts), mart


def test_published_control_tables_are_contracts():
    assert set(PUBLISHED_CONTROL) < set(CONTROL)


VARIABLES = sorted(value for name, value in vars(settings).items() if name.endswith("_VARIABLE"))


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_is_documented(variable):
    assert [name for name, text in DOCS.items() if variable in text], f"write of {variable} in docs/"


def test_documented_variables_exist():
    known = {*VARIABLES, "EXPERIENCE_RUN_ID"}
    for name, text in DOCS.items():
        assert set(re.findall(r"EXPERIENCE_[A-Z_]+[A-Z]", text)) <= known, name


def makefile_targets():
    text = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^\.PHONY: (\S+)", text, re.M)), text


def test_make_help_lists_every_target():
    targets, _ = makefile_targets()
    printed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = {match[1]: match[2] for match in re.finditer(r"^  make (\S+) +(\S.*)$", printed, re.M)}
    assert set(listed) == targets


def test_docs_speak_of_targets_that_exist():
    targets, _ = makefile_targets()
    for name, text in DOCS.items():
        assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets, name


def test_links_between_docs_lead_somewhere():
    for name, text in DOCS.items():
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
            assert (ROOT / name).parent.joinpath(target).exists(), f"{name}: {target}"
