"""Backfills through Dagster partitions: rows that no increment brings, beside a cursor that stays, beside a night."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from orchestration.definitions import build_definitions
from orchestration.night_lock import only_night
from orchestration.sources.landing import Landing
from orchestration.warehouse.control import Control

LATE = (
    "INSERT INTO customers VALUES ('late', 'Late Comer', 'late@example.com', '13911110000', 'latecomer', 'CN', "
    "'2025-11-10 08:00:00', '2025-11-10 08:00:00')"
)
"""Older than the cursor by weeks: no increment reads it."""


def backfill(bench, key, *, partition=None, **tags):
    """Materialise one partition, or a range of them, as Dagster does."""
    environment = dict(os.environ)
    try:
        graph = build_definitions(bench.settings, clock=lambda: bench.clock)
        return graph.resolve_job_def(key[0]).execute_in_process(
            instance=bench.instance,
            raise_on_error=False,
            asset_selection=[dg.AssetKey(key)],
            partition_key=partition,
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    finally:
        os.environ.clear()
        os.environ.update(environment)


def loads(bench):
    return Landing(bench.settings.landing_dir).manifests("crm", "customers")


def changed(result):
    [event] = [event for event in result.all_events if event.event_type_value == "ASSET_MATERIALIZATION"]
    return event.step_materialization_data.materialization.metadata["changed"].value["customer"]


DAY = ["backfill_by_day", "crm", "customers"]
MONTH = ["backfill_by_month", "crm", "customers"]


def test_a_day_is_brought_as_if_on_time_and_the_cursor_stays(published_bench):
    bench = published_bench
    [first] = loads(bench)
    bench.crm(LATE, "DELETE FROM customers WHERE id IN ('c1')")
    landed = bench.night(selection=dg.AssetSelection.groups("landing", "clean"))
    assert landed.loads["crm.customers"]["status"] == "unchanged", "an increment does not read what is so old"

    result = backfill(bench, DAY, partition="2025-11-10")
    assert result.success
    assert changed(result) == {"inserted": 1, "updated": 0, "unchanged": 0, "deleted": 0, "rejected": 0}
    last = loads(bench)[-1]
    assert (last.kind, last.cursor_to, last.rows_landed) == ("backfill", None, 1)
    assert last.window == ("2025-11-09T16:00:00+00:00", "2025-11-10T16:00:00+00:00")
    record = Control(bench.settings.control_dir).scan("load").filter(pl.col("load_id") == last.load_id).collect()
    assert record.select("kind", "status").rows() == [("backfill", "committed")]
    assert first == loads(bench)[0], "what was landed is as it was"

    customer = bench.clean("customer")
    assert "c1" in customer["source_id"], "a backfill looks for no deletions"
    [row] = customer.filter(source_id="late").to_dicts()
    [usual] = customer.filter(source_id="c2").to_dicts()
    assert (row["email"], row["phone"], row["country"]) == ("late@example.com", "+8613911110000", "CN")
    assert (row["created_at"], row["updated_at"]) == (row["updated_at"], row["created_at"])
    assert {name for name in row if (row[name] is None) != (usual[name] is None)} == set()

    files = bench.clean_files()
    again = backfill(bench, DAY, partition="2025-11-10")
    assert again.success
    assert loads(bench)[-1] == last, "what was just landed is not landed again"
    assert bench.clean_files() == files

    after = bench.night(selection=dg.AssetSelection.groups("landing", "clean"))
    assert after.loads["crm.customers"]["cursor_from"] == landed.loads["crm.customers"]["cursor_from"]
    assert after.loads["crm.customers"]["cursor_to"] == first.cursor_to


def test_months_and_ranges_are_one_window_each(published_bench):
    bench = published_bench
    bench.crm(LATE)
    assert changed(backfill(bench, MONTH, partition="2025-11-01"))["inserted"] == 1
    assert loads(bench)[-1].window == ("2025-10-31T16:00:00+00:00", "2025-11-30T16:00:00+00:00")
    bench.crm("UPDATE customers SET name = 'Later Comer' WHERE id = 'late'")
    tags = {"dagster/asset_partition_range_start": "2025-11-09", "dagster/asset_partition_range_end": "2025-11-12"}
    result = backfill(bench, DAY, **tags)
    assert result.success
    assert len(result.get_asset_materialization_events()) == 4, "each day of the range counts as materialised"
    assert loads(bench)[-1].window == ("2025-11-08T16:00:00+00:00", "2025-11-12T16:00:00+00:00")
    assert bench.clean("customer").filter(source_id="late")["full_name"].to_list() == ["Later Comer"]


def test_a_backfill_that_fails_is_no_stale_stream(published_bench):
    bench = published_bench
    bench.crm("ALTER TABLE customers RENAME TO clients")
    result = backfill(bench, DAY, partition="2025-11-10")
    assert not result.success
    failed = Control(bench.settings.control_dir).scan("load").filter(status="failed").collect()
    assert failed.select("source", "stream", "kind").rows() == [("crm", "customers", "backfill")]
    bench.crm("ALTER TABLE clients RENAME TO customers")
    night = bench.night(selection=dg.AssetSelection.groups("landing"))
    assert not any("customers" in check for check in night.not_passed)


def test_what_has_no_window_has_no_partitions(published_bench):
    keys = build_definitions(published_bench.settings).get_repository_def().asset_graph.get_all_asset_keys()
    found = {key.to_user_string() for key in keys if key.path[0].startswith("backfill")}
    assert found == {"backfill_by_day/crm/customers", "backfill_by_month/crm/customers"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("web.events", "--from=2026-05-01", "--to=2026-05-02"), "read from files, which cannot be asked"),
        (("crm.orders", "--from=2026-05-01", "--to=2026-05-02"), "has no cursor and is read whole every night"),
        (("crm.customer", "--from=2026-05-01", "--to=2026-05-02"), "did you mean 'customers'?"),
        (("crn.customers", "--from=2026-05-01", "--to=2026-05-02"), "no source 'crn'"),
        (("crm.customers", "--from=2026-05-02", "--to=2026-05-01"), "lies before the first"),
    ],
)
def test_what_cannot_be_backfilled_is_told(first_night, arguments, message):
    done = first_night[0].command("backfill", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


@contextmanager
def night_in_its_midst(bench):
    """A night in a process of its own that stands still in the clean layer, and goes on when the block ends."""
    path = bench.home / "clean" / "ticket" / "_merged.json"
    content, spare = path.read_bytes(), path.with_suffix(".spare")
    path.unlink()
    os.mkfifo(path)
    command = [str(Path(sys.executable).with_name("experience")), "nightly"]
    with (
        subprocess.Popen(command, cwd=bench.home, env=bench.environment(), stdout=subprocess.DEVNULL) as night,
        path.open("wb") as fifo,  # returns when the night reads it
    ):
        try:
            yield night
        finally:
            spare.write_bytes(content)
            spare.replace(path)
            fifo.write(content)


def test_a_backfill_beside_a_night_is_refused_and_harms_nothing(published_bench):
    bench, before = published_bench, published_bench.release()
    bench.crm(LATE)
    with night_in_its_midst(bench) as night:
        done = bench.command("backfill", "crm.customers", "--from=2025-11-10", "--to=2025-11-10")
        assert done.returncode == 2
        assert f"another night is running (process {night.pid}); wait until it ends" in done.stderr
        refused = backfill(bench, DAY, partition="2025-11-10")
        assert not refused.success
        assert [load.kind for load in loads(bench)].count("backfill") == 0
    assert night.returncode == 0
    assert bench.release() != before

    done = bench.command("backfill", "crm.customers", "--from=2025-11-10", "--to=2025-11-10")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'inserted': 1" in done.stdout
    persons = bench.one("SELECT sum(n_customer_records) FROM dim_person")
    later = bench.command("nightly")
    assert later.returncode == 0, later.stdout + later.stderr
    assert bench.one("SELECT sum(n_customer_records) FROM dim_person") == persons + 1


def test_a_night_that_dagster_launched_is_waited_for(published_bench):
    bench = published_bench
    graph = build_definitions(bench.settings)
    run = bench.instance.create_run_for_job(graph.resolve_job_def("nightly"), status=dg.DagsterRunStatus.STARTED)
    refused = backfill(bench, DAY, partition="2025-11-10")
    assert not refused.success
    [event] = refused.get_step_failure_events()
    assert f"night {run.run_id} is running" in str(event.event_specific_data.error)
    bench.instance.report_run_failed(run)
    assert backfill(bench, DAY, partition="2025-11-10").success


def test_a_run_of_dagster_holds_the_lock_against_a_night(published_bench):
    with only_night(published_bench.settings):
        refused = backfill(published_bench, DAY, partition="2025-11-10")
    assert not refused.success
    assert f"process {os.getpid()}" in str(refused.get_step_failure_events()[0].event_specific_data.error)


def test_backfills_of_dagster_wait_in_the_queue_with_the_night(first_night):
    graph = build_definitions(first_night[0].settings)
    tags = {name: graph.resolve_job_def(name).tags for name in ("nightly", "backfill_by_day", "backfill_by_month")}
    assert {tag["experience/exclusive"] for tag in tags.values()} == {"night"}
