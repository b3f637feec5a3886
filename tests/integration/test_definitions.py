"""The definitions load in a process of their own, and the graph is what the snapshot says.

A change to the graph is meant to be seen in review: run this file with `UPDATE_SNAPSHOTS=1` and read the difference.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.definitions import build_definitions
from orchestration.sample.generate import copy_sources
from orchestration.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = ROOT / "tests" / "snapshots" / "definitions.json"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("definitions")
    copy_sources(home / "sources")
    return home


def graph(home: Path) -> dict:
    settings = Settings.from_environment({"EXPERIENCE_HOME": str(home)})
    repository = build_definitions(settings).get_repository_def()
    nodes = repository.asset_graph
    return {
        "assets": {
            key.to_user_string(): {
                "group": nodes.get(key).group_name,
                "owners": sorted(nodes.get(key).owners),
                "deps": sorted(parent.to_user_string() for parent in nodes.get(key).parent_keys),
            }
            for key in sorted(nodes.get_all_asset_keys())
        },
        "checks": {
            f"{key.asset_key.to_user_string()}:{key.name}": "blocking" if nodes.get_check_spec(key).blocking else "open"
            for key in sorted(nodes.asset_check_keys, key=lambda key: (key.asset_key, key.name))
        },
        "jobs": sorted(name for name in repository.job_names if not name.startswith("__")),
        "schedules": {
            schedule.name: f"{schedule.cron_schedule} {schedule.execution_timezone} {schedule.default_status.value}"
            for schedule in repository.schedule_defs
        },
        "sensors": sorted(sensor.name for sensor in repository.sensor_defs),
    }


def test_the_graph_is_the_snapshot(home):
    now = graph(home)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    assert now == json.loads(SNAPSHOT.read_text())


def test_every_asset_tells_its_group_owner_and_description(home):
    settings = Settings.from_environment({"EXPERIENCE_HOME": str(home)})
    nodes = build_definitions(settings).get_repository_def().asset_graph
    for key in nodes.get_all_asset_keys():
        node = nodes.get(key)
        assert node.group_name != "default", key
        assert node.owners, key
        assert node.description, key


def test_definitions_validate_in_a_process_of_their_own(home, tmp_path):
    environment = {**os.environ, "EXPERIENCE_HOME": str(home), "DAGSTER_HOME": str(ROOT)}
    done = subprocess.run(
        [Path(sys.executable).parent / "dagster", "definitions", "validate"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All code locations passed validation" in done.stdout + done.stderr


def test_definitions_load_without_any_source(tmp_path):
    now = graph(tmp_path)
    assert not [key for key in now["assets"] if key.startswith("landing/")]
    assert "published/release" in now["assets"]


def test_a_source_file_that_cannot_be_read_becomes_an_asset_that_says_so(tmp_path):
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "broken.yaml").write_text("source: broken\ntype: files\nstreems: {}\n")
    assert "landing/broken/configuration" in graph(tmp_path)["assets"]
