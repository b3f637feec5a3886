"""Who may import whom: docs/architecture.md, 'Rules of the house'."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {
    "orchestration/contracts": {
        "orchestration.privacy",
        "orchestration.sources",
        "orchestration.normalize",
        "orchestration.identity",
        "orchestration.warehouse",
        "orchestration.assets",
        "data_quality",
        "dagster",
    },
    "orchestration/sources": {
        "orchestration.privacy",
        "orchestration.normalize",
        "orchestration.identity",
        "orchestration.warehouse",
        "orchestration.assets",
        "data_quality",
        "dagster",
    },
    "orchestration/normalize": {
        "orchestration.privacy",
        "orchestration.sources",
        "orchestration.identity",
        "orchestration.warehouse",
        "orchestration.assets",
        "orchestration.settings",
        "data_quality",
        "dagster",
    },
    "orchestration/identity": {
        "orchestration.privacy",
        "orchestration.sources",
        "orchestration.assets",
        "data_quality",
        "dagster",
    },
    "orchestration/statistics": {
        "orchestration.sources",
        "orchestration.normalize",
        "orchestration.identity",
        "orchestration.warehouse",
        "orchestration.assets",
        "data_quality",
        "dagster",
    },
    "orchestration/warehouse": {"orchestration.privacy", "orchestration.assets", "data_quality", "dagster"},
    "orchestration/report": {
        "orchestration.sources",
        "orchestration.normalize",
        "orchestration.identity",
        "orchestration.assets",
        "data_quality",
        "dagster",
    },
    "orchestration/lineage": {"orchestration.assets", "data_quality", "dagster"},
    "orchestration/privacy": {"orchestration.assets", "data_quality", "dagster"},
    "orchestration/sample": {"orchestration.assets", "data_quality", "dagster"},
}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def violations(path: Path, forbidden: set[str]) -> list[str]:
    return [name for name in imports(path) if any(name == bad or name.startswith(bad + ".") for bad in forbidden)]


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_layers_import_only_what_lies_before_them(folder):
    files = list((ROOT / folder).rglob("*.py"))
    assert files, f"{folder} is empty"
    found = {str(path.relative_to(ROOT)): bad for path in files if (bad := violations(path, FORBIDDEN[folder]))}
    assert not found


def test_data_quality_knows_contracts_and_its_bridge_alone_knows_dagster():
    for path in (ROOT / "data_quality").rglob("*.py"):
        names = imports(path)
        allowed = {name for name in names if name.startswith("orchestration.contracts")}
        assert {name for name in names if name.startswith("orchestration")} <= allowed, path
        if path.name != "checks.py":
            assert not {name for name in names if name.split(".")[0] == "dagster"}, path


def test_the_environment_is_read_in_one_place():
    allowed = {
        "orchestration/settings.py",
        "orchestration/sources/config.py",
        "orchestration/assets/dbt.py",
        "orchestration/cli.py",
    }
    for path in (ROOT / "orchestration").rglob("*.py"):
        name = str(path.relative_to(ROOT))
        if name not in allowed:
            assert "os.environ" not in path.read_text() and "getenv(" not in path.read_text(), name


def test_a_forbidden_import_is_caught(tmp_path):
    module = tmp_path / "bad.py"
    module.write_text("from orchestration.assets.keys import clean_key\n")
    assert violations(module, FORBIDDEN["orchestration/contracts"]) == ["orchestration.assets.keys"]
