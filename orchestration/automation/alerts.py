"""Telling people that a night failed: always to the log, and to a webhook where one is configured.

The message names the run, the step and the error; it never holds a secret or a row of data.
"""

import json
import logging
import re
import urllib.request
from collections.abc import Sequence

import dagster as dg

from orchestration.settings import Settings

WEBHOOK_TIMEOUT_SECONDS = 10

_CLASS_PATH = re.compile(r"^(?:\w+\.)+\w+: ")
_log = logging.getLogger(__name__)


def alert(settings: Settings, *, job: str, run_id: str, problems: Sequence[str]) -> None:
    """Log the failure and post it as JSON ``{text, job, run_id, problems}``; a webhook that fails is logged."""
    text = f"{job} {run_id} failed: " + ("; ".join(problems) or "no step said why")
    _log.error("%s", text)
    if settings.alert_webhook is None:
        return
    body = json.dumps({"text": text, "job": job, "run_id": run_id, "problems": list(problems)}).encode()
    request = urllib.request.Request(
        settings.alert_webhook, data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT_SECONDS):
            pass
    except OSError as error:
        _log.error("the alert webhook did not take the message: %s", type(error).__name__)


def cause(event: dg.DagsterEvent) -> str:
    """The first line of the innermost error of a step's failure, without the path of its class."""
    error = getattr(event.event_specific_data, "error", None)
    while error is not None and error.cause is not None:
        error = error.cause
    lines = [line for line in (error.message if error else "").splitlines() if line.strip()]
    return _CLASS_PATH.sub("", lines[0].strip()) if lines else (event.message or "no error was recorded")


def failure_sensor(settings: Settings) -> dg.SensorDefinition:
    """Sensor that reports each failed run of this code location."""

    @dg.run_failure_sensor(
        name="report_run_failure",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Logs each failed run and posts it to EXPERIENCE_ALERT_WEBHOOK where that is set.",
    )
    def _report(context: dg.RunFailureSensorContext) -> None:
        problems = [f"{event.step_key}: {cause(event)}" for event in context.get_step_failure_events()]
        alert(
            settings,
            job=context.dagster_run.job_name,
            run_id=context.dagster_run.run_id,
            problems=problems or [context.failure_event.message or "the run failed"],
        )

    return _report
