"""Alerts with state: told once when it begins, once when it is over; nothing is lost, nothing private is said."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from orchestration.automation.alerts import OUTBOX_LIMIT, PID_TAG, STATE, report, sensors
from orchestration.automation.outcome import Outcome, Problem, outcome_of
from orchestration.settings import Settings

NIGHT = datetime(2026, 5, 3, 18, tzinfo=UTC)


class Operator:
    """Reports outcomes night after night."""

    def __init__(self, home, inbox, **options):
        self.settings = Settings(home=home, sources_dir=home, alert_webhook=inbox and inbox.url, **options)
        self.night = 0

    def tell(self, *problems, passed=(), complete=False, job="nightly"):
        self.night += 1
        found = tuple(p if isinstance(p, Problem) else Problem(f"step {p}", f"{p}: no space left") for p in problems)
        return report(
            self.settings,
            job=job,
            run_id=f"r{self.night}",
            outcome=Outcome(found, frozenset(passed), complete),
            now=NIGHT + timedelta(days=self.night - 1),
        )


@pytest.fixture
def operator(tmp_path, inbox):
    return Operator(tmp_path, inbox)


def test_a_problem_is_told_when_it_begins_and_when_it_is_over_and_not_in_between(operator, inbox):
    operator.tell("dbt")
    operator.tell("dbt")
    operator.tell("dbt")
    operator.tell(complete=True)
    operator.tell(complete=True)
    assert [message["text"] for message in inbox.messages] == [
        "nightly r1: begun: dbt: no space left",
        "nightly r4: resolved: dbt: no space left (since 2026-05-03 18:00:00+00:00, 3 nights)",
    ]
    assert inbox.messages[0] == {
        "text": "nightly r1: begun: dbt: no space left",
        "job": "nightly",
        "run_id": "r1",
        "problems": ["dbt: no space left"],
        "resolved": [],
        "reminded": [],
    }


def test_a_second_problem_is_told_alone(operator, inbox):
    operator.tell("dbt")
    operator.tell("dbt", "clean_gate")
    assert inbox.messages[1]["problems"] == ["clean_gate: no space left"]


def test_what_was_not_looked_at_is_not_over(operator, inbox):
    """A night that stops at the landing says nothing of a check at the marts."""
    marts = Problem("check gates/marts:x", "check gates/marts:x failed")
    operator.tell(marts)
    operator.tell("landing_gate", passed={"step identity"})
    assert inbox.messages[-1]["resolved"] == []
    operator.tell("landing_gate", passed={marts.key})
    assert [text.split(" (")[0] for text in inbox.messages[-1]["resolved"]] == ["check gates/marts:x failed"]


def test_a_warning_is_silent_until_it_becomes_an_error(operator, inbox):
    warning = Problem("check clean/x", "check clean/x warned", "warn")
    error = Problem("check clean/x", "check clean/x failed")
    operator.tell(warning, complete=True)
    assert inbox.messages == []
    operator.tell(error)
    assert inbox.messages[0]["problems"] == ["check clean/x failed (it warned since 2026-05-03 18:00:00+00:00)"]
    operator.tell(error)
    assert len(inbox.messages) == 1
    operator.tell(complete=True)
    assert inbox.messages[1]["resolved"]


def test_a_warning_that_goes_is_not_told(operator, inbox):
    operator.tell(Problem("check clean/x", "check clean/x warned", "warn"))
    operator.tell(complete=True)
    assert inbox.messages == []


def test_a_stale_stream_is_told_although_the_night_is_published(operator, inbox):
    stale = Problem("stream crm.customers", "stream crm.customers is stale", "stale")
    operator.tell(stale, complete=True)
    operator.tell(stale, complete=True)
    operator.tell(complete=True)
    assert [bool(message["problems"]) for message in inbox.messages] == [True, False]


def test_what_goes_on_is_told_again_after_as_many_nights_as_asked_for(tmp_path, inbox):
    operator = Operator(tmp_path, inbox, alert_remind_nights=2)
    for _ in range(5):
        operator.tell("dbt")
    assert [len(message["reminded"]) for message in inbox.messages] == [0, 1, 1]
    assert inbox.messages[1]["run_id"] == "r3"
    assert "still open: dbt: no space left (since 2026-05-03 18:00:00+00:00, 3 nights)" in inbox.messages[1]["text"]


def test_jobs_do_not_end_each_others_problems(operator, inbox):
    operator.tell("dbt")
    operator.tell(complete=True, job="housekeeping")
    operator.tell("dbt")
    assert len(inbox.messages) == 1


def test_a_webhook_that_fails_gets_every_message_in_order_when_it_is_back(operator, inbox, caplog):
    inbox.status = 503
    operator.tell("dbt")
    operator.tell(complete=True)
    assert inbox.messages == []
    assert "the alert webhook did not take the message: HTTPError; 2 wait" in caplog.text
    assert "nightly r1: begun: dbt: no space left" in caplog.text
    assert "hush" not in caplog.text
    inbox.status = 200
    operator.tell(complete=True)
    assert [message["run_id"] for message in inbox.messages] == ["r1", "r2"]
    operator.tell(complete=True)
    assert len(inbox.messages) == 2


def test_a_webhook_that_is_gone_does_not_fill_the_disk(operator, inbox):
    inbox.close()
    for _ in range(OUTBOX_LIMIT):
        operator.tell("dbt")
        operator.tell(complete=True)
    state = json.loads((operator.settings.home / STATE).read_text())
    assert len(state["outbox"]) == OUTBOX_LIMIT
    assert state["outbox"][-1]["run_id"] == f"r{2 * OUTBOX_LIMIT}"


def test_without_a_webhook_the_log_is_told_and_nothing_waits(tmp_path, caplog):
    operator = Operator(tmp_path, None)
    operator.tell("dbt")
    operator.tell("dbt")
    assert caplog.text.count("begun: dbt: no space left") == 1
    assert json.loads((tmp_path / STATE).read_text())["outbox"] == []


def test_a_state_that_cannot_be_read_is_forgotten_and_not_fatal(operator, inbox, caplog):
    path = operator.settings.home / STATE
    path.parent.mkdir()
    path.write_text("{")
    operator.tell("dbt")
    assert inbox.messages[0]["problems"] == ["dbt: no space left"]
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("could not connect to postgresql://crm:s3cret@db.example/crm", "postgresql://db.example/crm"),
        ("no column 'customer_id' in 'Zhang Wei'", "no column 'customer_id' in '…'"),
        ("row of li.na@example.com and 13800138000", "row of [e-mail] and [phone]"),
        ("first\nsecond", "first second"),
        ("x" * 900, "…"),
    ],
)
def test_nothing_private_is_told(operator, inbox, said, told):
    operator.tell(Problem("step a", said))
    (text,) = inbox.messages[0]["problems"]
    assert told in text and "\n" not in text and len(text) <= 500
    for private in ("s3cret", "Zhang", "li.na", "13800138000"):
        assert private not in json.dumps(inbox.messages[0], ensure_ascii=False)


# --- from a run ---------------------------------------------------------------------------------------


def assets(*, severity="ERROR", load="committed", breaks=False):
    @dg.asset(key=["landing", "crm", "customers"])
    def landed():
        return dg.MaterializeResult(metadata={"status": dg.MetadataValue.text(load)})

    @dg.asset_check(asset=landed, name="timeliness", blocking=True)
    def timeliness():
        return dg.AssetCheckResult(passed=load != "failed", severity=dg.AssetCheckSeverity[severity])

    @dg.asset(deps=[landed], key=["published", "release"])
    def release():
        if breaks:
            raise ValueError("the disk is full\nsecond line")

    return dg.Definitions(
        assets=[landed, release],
        asset_checks=[timeliness],
        jobs=[dg.define_asset_job("nightly", executor_def=dg.in_process_executor)],
    )


def played(instance, tags=None, **options):
    job = assets(**options).resolve_job_def("nightly")
    return job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)


@pytest.fixture
def instance(tmp_path):
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        yield instance


def test_a_good_run_has_no_problem_and_is_complete(instance):
    outcome = outcome_of(played(instance).all_events, publishes=True)
    assert outcome.problems == () and outcome.is_complete
    assert {"run", "step published__release", "stream crm.customers", "check landing/crm/customers:timeliness"} <= (
        outcome.passed
    )


def test_a_check_that_blocks_is_named_and_not_its_step_too(instance):
    outcome = outcome_of(played(instance, load="failed").all_events, publishes=True)
    assert {problem.key: problem.severity for problem in outcome.problems} == {
        "check landing/crm/customers:timeliness": "error",
        "stream crm.customers": "stale",
    }
    assert not outcome.is_complete


def test_a_warning_lets_the_night_be_complete(instance):
    outcome = outcome_of(played(instance, load="failed", severity="WARN").all_events, publishes=True)
    assert {problem.severity for problem in outcome.problems} == {"warn", "stale"}
    assert outcome.is_complete


def test_keys_are_the_same_in_every_run(instance):
    first, second = (outcome_of(played(instance, breaks=True).all_events, publishes=True) for _ in range(2))
    assert [problem.key for problem in first.problems] == ["step published__release"]
    assert first == second


def test_a_run_that_ends_well_without_a_release_is_a_problem(instance):
    events = [event for event in played(instance).all_events if event.step_key != "published__release"]
    (problem,) = outcome_of(events, publishes=True).problems
    assert "no release came of this run" in problem.text
    assert outcome_of(events, publishes=False).problems == ()


def sense(instance, settings, result):
    """What Dagster's daemon does when a run has ended."""
    failed, succeeded = sensors(settings, lambda: NIGHT)
    context = dg.build_run_status_sensor_context(
        sensor_name="sensor",
        dagster_event=result.get_run_success_event() if result.success else result.get_run_failure_event(),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
    )
    if result.success:
        succeeded(context)
    else:
        failed(context.for_run_failure())


def test_the_sensors_tell_of_runs_that_the_daemon_started(instance, inbox, tmp_path):
    settings = Settings(home=tmp_path, sources_dir=tmp_path, alert_webhook=inbox.url)
    results = [played(instance, breaks=breaks) for breaks in (True, True, False)]
    for result in results:
        sense(instance, settings, result)
    first, last = inbox.messages
    assert first["problems"] == ["published__release: ValueError: the disk is full"]
    assert (last["run_id"], len(last["resolved"])) == (results[2].run_id, 1)


def test_the_sensors_leave_nights_of_the_command_line_to_themselves(instance, inbox, tmp_path):
    settings = Settings(home=tmp_path, sources_dir=tmp_path, alert_webhook=inbox.url)
    sense(instance, settings, played(instance, breaks=True, tags={PID_TAG: "17"}))
    assert inbox.messages == []
