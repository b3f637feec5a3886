"""What nights cost: noted by the hook at each step's end, gathered into a table, summed up by night."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from orchestration.automation.metrics import cpu_seconds, layer_of, peak_memory_bytes, step_metrics_hook
from orchestration.contracts import CONTROL
from orchestration.settings import Settings
from orchestration.warehouse.control import Control
from orchestration.warehouse.nights import NIGHT_SCHEMA, nights

BEGUN = datetime(2026, 5, 3, 18)


def step(name, **values):
    return {
        "run_id": "r1",
        "step": name,
        "layer": layer_of(name),
        "status": "success",
        "started_at": BEGUN,
        "seconds": 1.0,
        "cpu_seconds": 0.5,
        "peak_memory_bytes": 100,
        "rows": None,
        "bytes_written": None,
    } | values


def frame(*steps):
    return pl.DataFrame(list(steps), schema=CONTROL["step_metric"].schema)


def run(home, *assets):
    """Metrics of a run of a job over ``assets``, by step."""
    settings = Settings(home=home, sources_dir=home)
    job = dg.define_asset_job("some", hooks={step_metrics_hook(settings)}, executor_def=dg.in_process_executor)
    graph = dg.Definitions(assets=list(assets), jobs=[job])
    with dg.DagsterInstance.ephemeral(tempdir=str(home)) as instance:
        result = graph.resolve_job_def("some").execute_in_process(instance=instance, raise_on_error=False)
    control = Control(settings.control_dir)
    control.gather_steps(result.run_id)
    rows = control.scan("step_metric").filter(pl.col("run_id") == result.run_id).collect().to_dicts()
    return {row["step"]: row for row in rows}


def test_a_step_is_noted_with_its_rows_bytes_and_cost(tmp_path):
    @dg.asset(key_prefix="landing")
    def orders():
        sum(number * number for number in range(600_000))
        return dg.MaterializeResult(metadata={"dagster/row_count": 7, "bytes_landed": 4096, "other": 9})

    @dg.asset(deps=[orders], key_prefix="clean")
    def sales_order():
        return dg.MaterializeResult(metadata={"rows in": 7})

    before = cpu_seconds()
    found = run(tmp_path, orders, sales_order)
    landed = found["landing__orders"]
    assert (landed["layer"], landed["status"], landed["rows"], landed["bytes_written"]) == (
        "landing", "success", 7, 4096,
    )  # fmt: skip
    assert landed["seconds"] > 0
    assert landed["cpu_seconds"] > 0
    assert landed["peak_memory_bytes"] > 10_000_000
    assert landed["peak_memory_bytes"] <= peak_memory_bytes()
    clean = found["clean__sales_order"]
    assert (clean["rows"], clean["bytes_written"]) == (None, None)
    assert 0 <= clean["cpu_seconds"] <= cpu_seconds() - before


def test_a_step_that_fails_is_noted_and_one_that_is_skipped_behind_it_is_not(tmp_path):
    @dg.asset
    def breaks():
        raise ValueError("no")

    @dg.asset(deps=[breaks])
    def behind():
        pass

    found = run(tmp_path, breaks, behind)
    assert {name: row["status"] for name, row in found.items()} == {"breaks": "failure"}
    assert found["breaks"]["seconds"] > 0


def test_a_metric_that_cannot_be_kept_does_not_fail_the_night(tmp_path):
    (tmp_path / "control").write_text("in the way")

    @dg.asset
    def works():
        pass

    settings = Settings(home=tmp_path, sources_dir=tmp_path)
    job = dg.define_asset_job("some", hooks={step_metrics_hook(settings)}, executor_def=dg.in_process_executor)
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        result = (
            dg.Definitions(assets=[works], jobs=[job]).resolve_job_def("some").execute_in_process(instance=instance)
        )
    assert result.success
    assert [event.event_type_value for event in result.all_events if "HOOK" in event.event_type_value] == [
        "HOOK_ERRORED"
    ]


def test_gathering_twice_or_in_parts_gives_one_row_a_step(tmp_path):
    control = Control(tmp_path)
    control.note_step(step("landing__crm__customers"))
    control.gather_steps("r1")
    control.note_step(step("clean__customer"))
    control.note_step(step("landing__crm__customers", seconds=2.0))
    control.gather_steps()
    control.gather_steps()
    rows = control.scan("step_metric").collect()
    assert dict(rows.select("step", "seconds").rows()) == {"landing__crm__customers": 2.0, "clean__customer": 1.0}
    assert not list(tmp_path.rglob("*.jsonl"))


def test_a_line_that_was_cut_off_takes_no_other_with_it(tmp_path):
    control = Control(tmp_path)
    control.note_step(step("landing__crm__customers"))
    path = tmp_path / "step_metric" / "r1.jsonl"
    path.write_text(path.read_text() + '{"run_id": "r1", "st')
    control.gather_steps("r1")
    assert control.scan("step_metric").collect()["step"].to_list() == ["landing__crm__customers"]


def test_another_run_is_left_to_itself(tmp_path):
    control = Control(tmp_path)
    control.note_step(step("dbt", run_id="still-running"))
    control.gather_steps("r1")
    assert (tmp_path / "step_metric" / "still-running.jsonl").exists()


def test_a_night_is_the_sum_of_its_steps():
    steps = frame(
        step("landing__crm__customers", rows=10, bytes_written=1000),
        step("landing__web__events", started_at=BEGUN + timedelta(seconds=1), rows=5, bytes_written=None),
        step("dbt", started_at=BEGUN + timedelta(seconds=2), seconds=7.5, peak_memory_bytes=900, rows=99),
        step("published__release", started_at=BEGUN + timedelta(seconds=10), seconds=0.25, bytes_written=5),
        step("dbt", run_id="r2", started_at=BEGUN + timedelta(days=1), status="failure"),
        step("dbt", run_id="r3", started_at=BEGUN + timedelta(days=2), peak_memory_bytes=None),
    )
    first, second, third = nights(steps).to_dicts()
    assert first == {
        "run_id": "r1",
        "started_at": BEGUN,
        "status": "published",
        "seconds": pytest.approx(10.25),
        "cpu_seconds": pytest.approx(2.0),
        "peak_memory_bytes": 900,
        "rows_landed": 15,
        "bytes_landed": 1000,
        "steps": 4,
    }
    assert [second["status"], third["status"]] == ["failed", "unfinished"]
    assert third["peak_memory_bytes"] is None
    assert nights(steps, last=2)["run_id"].to_list() == ["r2", "r3"]


def test_no_night_is_an_empty_frame():
    assert dict(nights(frame()).schema) == NIGHT_SCHEMA
