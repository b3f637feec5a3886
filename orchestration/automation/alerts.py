"""Telling people what is wrong: once when it begins, once when it is over, and not every night in between.

Always to the log; to a webhook where one is configured. What is open stands in ``alerts/open.json`` below the
warehouse's home, with the messages that the webhook has not taken yet: those are sent again with the next one, in their
order. A message names run, step, check and stream; it never holds a secret or a row of data.

Does not belong here: finding out what is wrong (``automation.outcome``).
"""

import json
import logging
import re
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration.automation.outcome import Outcome, Problem, outcome_of
from orchestration.report.build import mask
from orchestration.settings import Settings
from orchestration.warehouse.control import Control
from orchestration.warehouse.files import exclusive, write_json

NIGHTLY = "nightly"
PID_TAG = "experience/pid"
"""Tag of nights of the command line; they report themselves."""
STATE = "alerts/open.json"
WEBHOOK_TIMEOUT_SECONDS = 10
OUTBOX_LIMIT = 50
"""Messages kept for a webhook that does not answer; the oldest are dropped beyond."""
TEXT_LIMIT = 500

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_NAME = re.compile(r"[a-z0-9_./:=<>-]*")
_log = logging.getLogger(__name__)


@dataclass
class _State:
    """What is open, by job and key, and what has still to be sent."""

    open: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    outbox: list[dict[str, Any]] = field(default_factory=list)


def report(settings: Settings, *, job: str, run_id: str, outcome: Outcome, now: datetime) -> dict[str, Any] | None:
    """Bring what is open up to a run, and tell what began, went on long enough to remind of it, or is over.

    Args:
        settings: Where the state lies, the webhook, and after how many nights to remind.
        job: The job; a problem of one job is not over because another one is well.
        run_id: The run.
        outcome: What the run showed.
        now: When; written into the state.

    Returns:
        The message ``{text, job, run_id, problems, resolved, reminded}``, each entry one sentence; None where there
        was nothing to tell.
    """
    path = settings.home / STATE
    with exclusive(path.parent):
        state = _read(path)
        opened, message = _move(
            state.open.get(job, {}), outcome, job=job, run_id=run_id, now=now, remind=settings.alert_remind_nights
        )
        state.open = {**state.open, job: opened}
        if not opened:
            del state.open[job]
        if message:
            (_log.error if message["problems"] else _log.warning)("%s", message["text"])
            if settings.alert_webhook is not None:
                state.outbox.append(message)
        if settings.alert_webhook is not None:
            state.outbox = _send(settings.alert_webhook, state.outbox)[-OUTBOX_LIMIT:]
        try:
            write_json({"open": state.open, "outbox": state.outbox}, path)
        except OSError as error:
            _log.error("what was told cannot be kept in %s (%s): it will be told again", path, error)
    return message


def _move(
    before: dict[str, dict[str, Any]], outcome: Outcome, *, job: str, run_id: str, now: datetime, remind: int
) -> tuple[dict[str, dict[str, Any]], dict[str, Any] | None]:
    """What is open after a run, and the message that says what changed."""
    begun, reminded, resolved = [], [], []
    opened: dict[str, dict[str, Any]] = {}
    for problem in outcome.problems:
        was = before.get(problem.key)
        entry: dict[str, Any] = {"severity": problem.severity, "text": _safe(problem.text)}
        entry |= {"since_run": run_id, "since_at": str(now), "nights": 1, "told": 1}
        if was is not None and (was["severity"] != "warn" or problem.severity == "warn"):
            entry |= {name: was[name] for name in ("since_run", "since_at", "told")} | {"nights": was["nights"] + 1}
            if problem.severity != "warn" and remind and entry["nights"] - entry["told"] >= remind:
                reminded.append(f"{entry['text']} (since {entry['since_at']}, {entry['nights']} nights)")
                entry["told"] = entry["nights"]
        elif problem.severity != "warn":
            begun.append(entry["text"] + (f" (it warned since {was['since_at']})" if was else ""))
        opened[problem.key] = entry
    for key, was in before.items():
        if key in opened:
            continue
        if key in outcome.passed or outcome.is_complete:
            if was["severity"] != "warn":
                resolved.append(f"{was['text']} (since {was['since_at']}, {was['nights']} nights)")
        else:
            opened[key] = was
    parts = {"begun": begun, "still open": reminded, "resolved": resolved}
    said = "; ".join(f"{name}: {text}" for name, texts in parts.items() for text in texts)
    if not said:
        return opened, None
    message = {"text": f"{job} {run_id}: {said}", "job": job, "run_id": run_id, "problems": begun}
    return opened, message | {"resolved": resolved, "reminded": reminded}


def _send(url: str, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Post messages in their order; those from the first that was not taken on are given back."""
    for index, message in enumerate(messages):
        body = json.dumps(message, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json; charset=utf-8"}
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT_SECONDS):
                pass
        except OSError as error:
            # The address may hold a token, and the error the address.
            waiting = len(messages) - index
            _log.error("the alert webhook did not take the message: %s; %d wait", type(error).__name__, waiting)
            return list(messages[index:])
    return []


def _safe(text: str) -> str:
    """One line without e-mail addresses, phone numbers, credentials, and quoted values that are no plain name."""

    def plain(found: re.Match[str]) -> str:
        quoted = found.group()
        return quoted if _NAME.fullmatch(quoted[1:-1]) else f"{quoted[0]}…{quoted[-1]}"

    text = _CREDENTIALS.sub("", " ".join(text.split()))
    text = mask(_QUOTED.sub(plain, text))
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"


def _read(path: Path) -> _State:
    try:
        return _State(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return _State()
    except (OSError, ValueError, TypeError) as error:
        _log.error("%s cannot be read (%s): what was told before is forgotten", path, error)
        return _State()


def sensors(settings: Settings, clock: Callable[[], datetime]) -> list[dg.SensorDefinition]:
    """Sensors that report runs of the web interface and of the schedules; nights of the command line do so themselves.

    Args:
        settings: As ``report`` takes them.
        clock: Gives the time of the report.
    """

    def tell(context: dg.RunStatusSensorContext) -> None:
        run = context.dagster_run
        if PID_TAG in run.tags:
            return
        Control(settings.control_dir).gather_steps(run.run_id)
        logs = context.instance.all_logs(run.run_id)
        events = [entry.dagster_event for entry in logs if entry.dagster_event is not None]
        outcome = outcome_of(events, publishes=run.job_name == NIGHTLY)
        if not run.is_success and not outcome.problems:
            text = context.dagster_event.message or "the run failed"
            outcome = Outcome((Problem("run", text),), outcome.passed - {"run"})
        report(settings, job=run.job_name, run_id=run.run_id, outcome=outcome, now=clock())

    @dg.run_failure_sensor(
        name="report_run_failure",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells what began to be wrong with a failed run: in the log and at EXPERIENCE_ALERT_WEBHOOK.",
    )
    def _failed(context: dg.RunFailureSensorContext) -> None:
        tell(context)

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name="report_run_success",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells which problems are over, and which streams are stale, when a run has ended well.",
    )
    def _succeeded(context: dg.RunStatusSensorContext) -> None:
        tell(context)

    return [_failed, _succeeded]
