"""Retention by policy: what is due goes, what the next night needs stays, and what is left over is seen."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from orchestration.contracts import CONTRACTS, CONTROL
from orchestration.settings import Settings
from orchestration.sources.config import load_source
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.control import Control
from orchestration.warehouse.refresh import RefreshError, rebuild_table, refresh_table
from orchestration.warehouse.retention import (
    Policy,
    RetentionError,
    due,
    kept_from,
    load_policy,
    records,
    require_no_jump,
)

FIRST = datetime(2026, 5, 1, 18, tzinfo=UTC)
EVENT = CONTRACTS["web_event"]
YAML = """\
source: web
type: files
timezone: UTC
streams:
  events:
    from: {path: "%s/events_*.csv"}
    to: web_event
    primary_key: [id]
    fields: {occurred_at: at, anonymous_id: visitor, event_name: %s}
"""


class Home:
    """One source of web events, a file a day."""

    def __init__(self, path):
        self.path = path
        self.settings = Settings(home=path, sources_dir=path / "sources")
        (path / "sources").mkdir(parents=True)
        self.source()
        self.now = FIRST

    def source(self, event="event"):
        (self.path / "sources" / "web.yaml").write_text(YAML % (self.path, event))

    @property
    def sources(self):
        return {"web": load_source(self.path / "sources" / "web.yaml")}

    def night(self, rows, *, merge=True):
        """Deliver ``id, day`` and load it; a day later then."""
        text = "id,at,visitor,event,other\n" + "".join(f"{i},{day} 10:00:00,v{i},view,click\n" for i, day in rows)
        (self.path / f"events_{self.now:%m%d}.csv").write_text(text)
        record = extract(self.sources["web"], "events", settings=self.settings, run_id="r", now=self.now)
        Control(self.settings.control_dir).record_load(record)
        self.now += timedelta(days=1)
        return self.refresh() if merge else None

    def refresh(self, **options):
        return refresh_table(EVENT, self.sources, settings=self.settings, run_id="r", **options)

    def policy(self, **values):
        """Enforce a policy; what it removed, by kind."""
        found = due(self.settings, self.sources, Policy(**values), self.now)
        for entry in found:
            entry.remove()
        return {entry.kind: entry.names for entry in found if entry.names}

    def events(self):
        rows = CleanStore(self.settings.clean_dir, "Asia/Shanghai").scan(EVENT).collect()
        return rows.sort("source_id").select("source_id", "event_name", "first_extracted_at", "load_id")

    def loads(self):
        return Landing(self.settings.landing_dir).manifests("web", "events")

    def parts(self):
        return len(list(self.settings.landing_dir.rglob("*.parquet")))


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    home.night([("a", "2026-05-01"), ("b", "2026-05-01")])
    home.night([("a", "2026-05-01"), ("c", "2026-05-02")])
    home.night([("d", "2026-05-03")])
    return home


# --- the policy file ----------------------------------------------------------------------------------


def policy_of(tmp_path, text, sources=("crm", "web")):
    (tmp_path / "retention.yaml").write_text(text)
    return load_policy(Settings(home=tmp_path, sources_dir=tmp_path), sources)


def test_without_a_file_only_logs_go(tmp_path):
    policy = load_policy(Settings(home=tmp_path, sources_dir=tmp_path))
    assert policy == Policy() and policy.landing_days is None and policy.log_days == 90


def test_a_policy_is_read(tmp_path):
    policy = policy_of(tmp_path, "landing_days: 400\nlanding_days_by_source: {web: 30}\nclean_days: {web_event: 730}\n")
    assert (policy.landing_days, policy.landing_days_by_source, policy.clean_days) == (
        400,
        {"web": 30},
        {"web_event": 730},
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("landing_dayz: 3", "unknown key 'landing_dayz'; did you mean 'landing_days'?"),
        ("releases: 3", "releases is not set here but by EXPERIENCE_KEEP_RELEASES"),
        ("clean_days: {web_evnt: 3}", "clean_days.web_evnt: did you mean 'web_event'?"),
        ("clean_days: {customer: 3}", "clean_days.customer: tables with partitions by event date: web_event"),
        ("landing_days_by_source: {wab: 3}", "landing_days_by_source.wab: did you mean 'web'?"),
        ("landing_days: 0", "greater than or equal to 1"),
        ("landing_days: soon", "valid integer"),
        ("clean_days: {web_event: -1}", "-1 is no number of days"),
        ("control_days: 7", "greater than or equal to 60"),
        ("- 3", "give a mapping of keys to days"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_policy_that_cannot_be_used_says_where_and_how_to_mend_it(tmp_path, text, says):
    with pytest.raises(RetentionError, match="retention.yaml") as error:  # noqa: RUF043
        policy_of(tmp_path, text)
    assert says in str(error.value)


# --- landing ------------------------------------------------------------------------------------------


def test_old_loads_lose_their_rows_and_keep_their_record(home):
    first, second, third = home.loads()
    assert home.policy(landing_days=2)["landing"] == (f"events/{first.load_id}",)
    removed, *others = home.loads()
    assert others == [second, third]
    assert (removed.removed_at, removed.rows_landed, removed.parts) == (home.now.replace(tzinfo=None), 2, ())
    assert home.parts() == 2
    assert home.policy(landing_days=2) == {}
    assert Landing(home.settings.landing_dir).scan(removed).collect().is_empty()


def test_the_newest_load_stays_however_old_it_is(home):
    home.now += timedelta(days=900)
    assert len(home.policy(landing_days=1)["landing"]) == 2
    assert [load.removed_at is None for load in home.loads()] == [False, False, True]


def test_a_load_that_no_table_has_taken_in_yet_stays(tmp_path):
    home = Home(tmp_path / "home")
    for day in (1, 2, 3):
        home.night([("a", f"2026-05-0{day}")], merge=False)
    home.now += timedelta(days=900)
    assert home.policy(landing_days=1) == {}
    home.refresh()
    assert len(home.policy(landing_days=1)["landing"]) == 2


def test_files_of_removed_loads_are_not_read_again(home):
    home.policy(landing_days=1)
    record = extract(home.sources["web"], "events", settings=home.settings, run_id="r", now=home.now)
    assert record.status == "unchanged"


def test_a_rebuild_keeps_rows_whose_loads_were_removed(home):
    before = home.events()
    home.policy(landing_days=1)
    result = rebuild_table(EVENT, home.sources, settings=home.settings, run_id="r")
    assert result.kept == 3 and result.deleted == 0
    assert home.events().equals(before)
    result = rebuild_table(EVENT, home.sources, settings=home.settings, run_id="r")
    assert home.events().equals(before), "also a second time"


def test_a_rebuild_remembers_when_a_row_was_first_seen(home):
    """Row a came in the first load, which is removed, and again in the second, which is there."""
    before = home.events()
    home.policy(landing_days=2)
    rebuild_table(EVENT, home.sources, settings=home.settings, run_id="r")
    assert home.events().equals(before)


def test_without_removed_loads_the_same_rebuild_keeps_nothing(home):
    assert rebuild_table(EVENT, home.sources, settings=home.settings, run_id="r").kept == 0


def test_a_changed_mapping_is_refused_until_somebody_says_that_old_rows_may_stay(home):
    before = home.events()
    home.policy(landing_days=1)
    home.source(event="other")
    with pytest.raises(RefreshError, match="experience rebuild --table web_event --keep-removed"):
        home.refresh()
    with pytest.raises(RefreshError, match="retention removed the rows of 2 of its loads"):
        rebuild_table(EVENT, home.sources, settings=home.settings, run_id="r")
    assert home.events().equals(before)
    result = home.refresh(keep_removed=True)
    assert (result.kept, result.updated) == (3, 1)
    assert dict(home.events().select("source_id", "event_name").rows()) == {
        "a": "view", "b": "view", "c": "view", "d": "click",
    }  # fmt: skip
    assert home.refresh().loads == (), "it is asked once"


def test_keys_that_a_key_scan_needs_stay(tmp_path):
    landing = Landing(tmp_path)
    with landing.begin(source="crm", stream="customers", run_id="r", now=FIRST) as writer:
        writer.write(pl.DataFrame({"id": ["1", "2"], "email": ["a@example.com", "b@example.com"]}))
        manifest = writer.commit(kind="full", extracted_at=FIRST, rows_read=2)
    removed = landing.remove_rows(manifest, now=FIRST, keep=["id"])
    rows = landing.scan(removed).collect()
    assert rows["id"].to_list() == ["1", "2"] and rows["email"].null_count() == 2
    assert not [path for path in tmp_path.rglob("*.parquet") if b"example.com" in path.read_bytes()]
    assert landing.manifests("crm", "customers") == [removed]


# --- clean --------------------------------------------------------------------------------------------


def test_old_days_of_events_go_and_are_told_as_touched(home):
    store = CleanStore(home.settings.clean_dir, "Asia/Shanghai")
    before = store.sequence(EVENT)
    assert home.policy(clean_days={"web_event": 2})["clean"] == ("2026-05-01", "2026-05-02")
    assert home.events()["source_id"].to_list() == ["d"]
    assert store.days_touched_since(EVENT, before) == [date(2026, 5, 1), date(2026, 5, 2)]
    assert kept_from(home.settings, "web_event") == date(2026, 5, 3)


def test_days_that_went_do_not_come_back(home):
    home.policy(clean_days={"web_event": 2})
    result = home.night([("a", "2026-05-01"), ("e", "2026-05-04")])
    assert (result.expired, result.inserted) == (1, 1)
    result = rebuild_table(EVENT, home.sources, settings=home.settings, run_id="r")
    assert home.events()["source_id"].to_list() == ["d", "e"]
    assert result.expired == 5, "each version that the landing still has"


def test_a_policy_that_is_taken_back_lets_a_rebuild_bring_all_again(home):
    before = home.events()
    home.policy(clean_days={"web_event": 2})
    home.policy()
    rebuild_table(EVENT, home.sources, settings=home.settings, run_id="r")
    assert home.events().equals(before)


# --- the rest -----------------------------------------------------------------------------------------


def test_old_records_go_but_the_newest_of_each_stream_stays(home):
    control = Control(home.settings.control_dir)
    home.now += timedelta(days=100)
    assert len(home.policy(control_days=60)["control"]) == 2
    assert control.scan("load").collect()["load_id"].to_list() == [home.loads()[-1].load_id]


def test_old_rejects_go(home):
    control = Control(home.settings.control_dir)
    for load in home.loads():
        row = dict.fromkeys(CONTROL["quarantine"].schema) | {"target_table": "web_event", "load_id": load.load_id}
        control.write_quarantine("web_event", load.load_id, pl.DataFrame([row], schema=CONTROL["quarantine"].schema))
    assert len(home.policy(quarantine_days=1)["quarantine"]) == 2
    assert control.scan("quarantine").collect().height == 1


def test_old_logs_go(home):
    old = (home.now - timedelta(days=91)).timestamp()
    for name in ("logs/r1.log", "dbt/logs/dbt.log.1", "0f1e/compute_logs/a.out", "logs/r2.log"):
        path = home.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a log")
        os.utime(path, (old, old))
        os.utime(path.parent, (old, old))
    recent = home.now.timestamp()
    os.utime(home.path / "logs/r2.log", (recent, recent))
    assert home.policy()["logs"] == ("compute_logs", "dbt.log.1", "r1.log")
    assert not (home.path / "0f1e").exists() and (home.path / "logs/r2.log").exists()


def test_what_is_due_and_was_not_removed_is_seen(home):
    """What the check of the night asks for."""
    policy = Policy(landing_days=1, clean_days={"web_event": 1}, log_days=None)
    left = [entry.kind for entry in due(home.settings, home.sources, policy, home.now) if entry.names]
    assert left == ["landing", "clean"]
    home.policy(landing_days=1, clean_days={"web_event": 1})
    assert not [entry for entry in due(home.settings, home.sources, policy, home.now) if entry.names]


def test_a_removal_that_was_killed_is_finished(home, monkeypatch):
    """Killed behind the manifest: the parts are nobody's, and go with the next call for the load."""
    landing = Landing(home.settings.landing_dir)
    first = home.loads()[0]
    monkeypatch.setattr(Landing, "remove_unreferenced", lambda *_: [])
    landing.remove_rows(first, now=home.now)
    monkeypatch.undo()
    assert home.parts() == 3
    assert home.policy(landing_days=2)["landing"] == (f"events/{first.load_id}",)
    assert home.parts() == 2
    assert home.policy(landing_days=2) == {}


def test_a_clock_that_jumped_removes_nothing(home):
    control = Control(home.settings.control_dir)
    found = due(home.settings, home.sources, Policy(), home.now)
    control.write_retention("r", records(found, run_id="r", now=home.now))
    require_no_jump(home.settings, home.now + timedelta(days=31))
    require_no_jump(home.settings, home.now - timedelta(days=900))
    with pytest.raises(RetentionError, match="experience retention --enforce"):
        require_no_jump(home.settings, home.now + timedelta(days=32))


def test_what_was_removed_is_recorded(home):
    found = due(home.settings, home.sources, Policy(landing_days=1), home.now)
    rows = records(found, run_id="r", now=home.now)
    (row,) = rows.filter(pl.col("kept_kind") == "landing").to_dicts()
    assert (row["subject"], row["policy"], row["removed_count"], row["removed_rows"]) == ("web", "1 days", 2, 4)
    assert row["freed_bytes"] > 0 and row["before_at"] == home.now.replace(tzinfo=None) - timedelta(days=1)
    assert rows.filter(pl.col("kept_kind") == "clean")["policy"].to_list() == [None]


# --- in Dagster ---------------------------------------------------------------------------------------


def test_old_runs_go_with_their_logs_and_the_housekeeping_job_does_it_all(home):
    import dagster as dg

    from orchestration.assets.retention import enforce, run_history, summary
    from orchestration.automation.jobs import housekeeping_job

    @dg.job
    def some_job():
        pass

    with dg.DagsterInstance.ephemeral(tempdir=str(home.path)) as instance:
        run_id = some_job.execute_in_process(instance=instance).run_id
        (home.path / run_id / "compute_logs").mkdir(parents=True)
        soon, late = (datetime.now(UTC) + timedelta(days=days) for days in (89, 91))
        assert run_history(home.settings, instance, soon).names == ()
        assert run_history(home.settings, instance, late).names == (run_id,)
        assert summary(enforce({}, home.settings, instance, run_id="r1", now=soon)) == "nothing was due"
        result = housekeeping_job({}, home.settings, lambda: late).execute_in_process(instance=instance)
        assert result.output_for_node("enforce_retention") == 2, "the run, and its logs"
        assert instance.get_run_by_id(run_id) is None
        assert not (home.path / run_id / "compute_logs").exists()
    rows = Control(home.settings.control_dir).scan("retention").filter(pl.col("removed_count") > 0).collect()
    assert sorted(rows["kept_kind"]) == ["logs", "run_history"] and set(rows["run_id"]) == {result.run_id}
