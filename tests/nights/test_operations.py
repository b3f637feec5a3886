"""Operating nights: retention, alerts, what nights cost, back-up and restore, rebuilding what was lost."""

import re
import shutil
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import duckdb
import polars as pl
import pytest
from dagster._core.utils import make_new_run_id

from orchestration.night_lock import only_night
from orchestration.settings import HMAC_KEY_FILE, PROJECT_ROOT
from orchestration.sources.landing import Landing
from orchestration.warehouse import retention
from orchestration.warehouse.control import Control
from orchestration.warehouse.nights import nights

FOR_RUN = {"run_id", "published_at"}
OWN = ("load", "check_result", "step_metric", "retention")
"""Published control tables: they tell of the runs themselves."""


def marts(bench):
    """Every published mart as sorted rows, without the columns that name the run."""
    found = {}
    with bench.published() as connection:
        for (name,) in connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall():
            if name not in OWN:
                columns = [c[0] for c in connection.execute(f'DESCRIBE "{name}"').fetchall() if c[0] not in FOR_RUN]
                listed = ", ".join(f'"{column}"' for column in columns)
                found[name] = connection.execute(f'SELECT {listed} FROM "{name}" ORDER BY ALL').fetchall()
    return found


def step_metrics(bench, run_id):
    rows = Control(bench.settings.control_dir).scan("step_metric").filter(pl.col("run_id") == run_id).collect()
    return {row["step"]: row for row in rows.to_dicts()}


@pytest.fixture(scope="module")
def kept(new_bench, first_night, rows_of):
    """The second night of a home with a policy: what it was before, and after."""
    bench = new_bench(like=first_night[0])
    (bench.home / "retention.yaml").write_text("landing_days: 1\nclean_days: {web_event: 2}\nquarantine_days: 1\n")
    bench.clock += timedelta(days=1)
    bench.deliver(
        {
            "events_0505.jsonl": rows_of["events"]("f", day="2026-05-05"),
            "responses_0505.csv": rows_of["responses"]("s", day="2026-05-05"),
            "tickets_0505.jsonl": rows_of["tickets"]("u"),
        }
    )
    night = bench.night()
    assert night.published, night.text
    return bench, night


def test_a_night_keeps_to_the_policy_and_says_so(kept):
    bench, night = kept
    line = next(line for line in night.text.splitlines() if "retention: " in line)
    assert "removed landing 3, clean 1; " in line and line.endswith(" MB freed")
    assert night.not_passed == {}
    removed = [load for load in Landing(bench.settings.landing_dir).manifests("web", "events") if load.removed_at]
    assert len(removed) == 1 and removed[0].rows_landed == 32
    assert bench.clean("web_event")["source_id"].str.starts_with("f").all()
    assert [path.name for path in bench.home.glob("landing/web/events/*/*/part-*")] == ["part-00000.parquet"]
    rows = Control(bench.settings.control_dir).scan("retention").filter(pl.col("run_id") == night.run_id).collect()
    assert dict(rows.filter(pl.col("removed_count") > 0).select("subject", "removed_count").rows()) == {
        "support": 1, "survey": 1, "web": 1, "web_event": 1,
    }  # fmt: skip
    assert rows.filter(pl.col("policy").is_null())["kept_kind"].unique().to_list() == ["control"]


def test_readers_see_it_in_the_next_night_which_equals_a_rebuild(kept, new_bench):
    bench = new_bench(like=kept[0])
    assert bench.one("SELECT count(*) FROM fct_session") == 16
    night = bench.night()
    assert night.published, night.text
    assert bench.one("SELECT count(*) FROM fct_session") == 8
    assert bench.one("SELECT count(*) FROM fct_response") == 40
    assert bench.one("SELECT count(*) FROM retention WHERE removed_count > 0") == 4
    before, clean = marts(bench), bench.clean_files()
    done = bench.command("rebuild")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"web_event +32 rows from +1 loads, 0 changed", done.stdout)
    assert "20 kept of removed loads" in done.stdout
    assert bench.clean_files() == clean
    for lost in ("warehouse", "dbt"):
        shutil.rmtree(bench.home / lost)
    assert bench.night().published
    assert marts(bench) == before


def test_what_is_older_than_the_policy_is_seen_by_the_check(kept, new_bench, monkeypatch):
    bench = new_bench(like=kept[0])
    monkeypatch.setattr(retention.CleanStore, "rewrite", lambda *_: None)
    bench.clock += timedelta(days=20)
    night = bench.night()
    assert night.not_passed["published/retention:kept_to_policy"] == "error"
    assert (
        "FAILED  published/retention:kept_to_policy: clean web_event: 1 older than 2 days, such as 2026-05-05"
        in night.text
    )
    assert night.published, "it is told, and readers have their data"


def test_what_a_night_cost_is_kept_published_and_charted(kept):
    bench, night = kept
    steps = step_metrics(bench, night.run_id)
    # The bench does not gather; the release was made when all but the last two steps had ended.
    assert {"landing__web__events", "clean__web_event", "clean_gate", "dbt", "marts_gate"} <= set(steps)
    assert steps["landing__web__events"]["rows"] == 32
    assert steps["landing__web__events"]["bytes_written"] > 0
    assert all(row["seconds"] >= 0 and row["cpu_seconds"] >= 0 and row["peak_memory_bytes"] for row in steps.values())
    published = bench.rows(f"SELECT step FROM step_metric WHERE run_id = '{night.run_id}'")
    assert {step for (step,) in published} == set(steps)
    page = (bench.home / "serving/current/report.html").read_text()
    assert "Elapsed time of 2 nights" in page
    Control(bench.settings.control_dir).gather_steps()
    last = nights(Control(bench.settings.control_dir).scan("step_metric")).to_dicts()[-1]
    assert (last["run_id"], last["status"]) == (night.run_id, "published")
    assert last["rows_landed"] == 32 + 20 + 4
    listed = bench.command("runs")
    assert night.run_id in listed.stdout and "published" in listed.stdout
    assert "dbt " in bench.command("runs", "--steps", night.run_id).stdout


def test_a_restored_home_plays_the_next_night_as_the_old_one_does(kept, new_bench, rows_of, tmp_path):
    bench = new_bench(like=kept[0])
    (bench.home / HMAC_KEY_FILE).write_text("k" * 64)
    saved = bench.command("backup", str(tmp_path / "saved.tar"))
    assert saved.returncode == 0, saved.stdout + saved.stderr
    assert f"release {kept[1].run_id}" in saved.stdout
    restored = replace(bench, home=tmp_path / "restored")
    done = bench.command("restore", str(tmp_path / "saved.tar"), "--home", str(restored.home))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"go on with: EXPERIENCE_HOME={restored.home}" in done.stdout
    assert restored.release() == kept[1].run_id
    assert restored.clean_files() == bench.clean_files()
    assert marts(restored) == marts(bench)
    again = bench.command("restore", str(tmp_path / "saved.tar"), "--home", str(restored.home))
    assert again.returncode == 2 and "holds something already" in again.stderr

    for home in (bench, restored):
        home.deliver({"events_0506.jsonl": rows_of["events"]("g", day="2026-05-06", visitors=5)})
        home.crm("UPDATE customers SET name = 'Another', updated_at = '2026-05-06 09:00:00' WHERE id = 'c3'")
        night = home.night()
        assert night.published, night.text
    names = ("load_id", "extracted_at", "first_extracted_at")
    for table in ("customer", "web_event", "response", "person_record"):
        old, new = (home.clean(table).drop(names, strict=False) for home in (bench, restored))
        assert old.equals(new), table
    assert marts(restored) == marts(bench)
    assert restored.one("SELECT count(*) FROM fct_session") == 13


def test_a_back_up_is_refused_while_a_night_of_the_daemon_runs(kept, new_bench, tmp_path, monkeypatch):
    bench = new_bench(like=kept[0])
    monkeypatch.setenv("EXPERIENCE_HOME", str(bench.home))
    with dg.DagsterInstance.from_config(str(PROJECT_ROOT)) as instance:
        run = dg.DagsterRun(job_name="nightly", run_id=make_new_run_id(), status=dg.DagsterRunStatus.STARTED)
        instance.add_run(run)
        refused = bench.command("backup", str(tmp_path / "saved.tar"))
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert f"the run {run.run_id} of the job nightly is open; wait until it ends" in refused.stderr
        instance.report_run_failed(run)
        assert bench.command("backup", str(tmp_path / "saved.tar")).returncode == 0


def test_a_back_up_waits_for_nobody_and_is_refused_while_a_night_runs(kept, new_bench, tmp_path):
    bench = new_bench(like=kept[0])
    with only_night(bench.settings):
        for verb in (["backup", str(tmp_path / "saved.tar")], ["rebuild"], ["retention", "--enforce"]):
            refused = bench.command(*verb)
            assert refused.returncode == 2 and "another night is running" in refused.stderr, verb
    assert not list(tmp_path.iterdir())


def test_what_clean_and_warehouse_lost_comes_from_the_landing(first_night, new_bench):
    bench = new_bench(like=first_night[0])
    before, clean = marts(bench), bench.clean_files()
    for lost in ("clean", "warehouse", "dbt"):
        shutil.rmtree(bench.home / lost)
    done = bench.command("rebuild")
    assert done.returncode == 0, done.stdout + done.stderr
    night = bench.night()
    assert night.published, night.text
    assert marts(bench) == before
    # Which entities changed when is counted anew.
    assert {name: content for name, content in bench.clean_files().items() if "/touched/" not in name} == {
        name: content for name, content in clean.items() if "/touched/" not in name
    }


def test_a_model_built_by_hand_is_not_built_upon(first_night, new_bench):
    bench = new_bench(like=first_night[0])
    before = marts(bench)
    # Alone it says of responses that their answers were made as they are now, which nobody has looked at.
    by_hand = bench.night(selection=dg.AssetSelection.assets("intermediate/int_response_built"))
    assert by_hand.result.success, by_hand.text
    night = bench.night()
    assert night.published, night.text
    with duckdb.connect(str(bench.settings.warehouse_path), read_only=True) as connection:
        scopes = [connection.table(f"working.int_{area}_scope").fetchall()[0][0] for area in ("web", "answer")]
    assert scopes == ["all", "all"]
    assert marts(bench) == before


def test_a_policy_that_cannot_be_read_removes_nothing_and_says_so(first_night, new_bench):
    bench = new_bench(like=first_night[0])
    (bench.home / "retention.yaml").write_text("landing_dayz: 1\n")
    shown = bench.command("retention")
    assert shown.returncode == 2
    assert "unknown key 'landing_dayz'; did you mean 'landing_days'?" in shown.stderr
    (bench.home / "retention.yaml").write_text("landing_days_by_source: {web: 30}\n")
    shown = bench.command("retention")
    assert shown.returncode == 0, shown.stderr
    assert ["landing", "web", "30", "days", "0", "due"] in [line.split() for line in shown.stdout.splitlines()]
