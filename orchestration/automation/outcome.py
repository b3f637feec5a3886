"""What was wrong in a run, and what was seen to be well, from the run's events.

Each problem has a key that stays the same from night to night: the step, the check or the stream, without run ids and
numbers. Pure; does not belong here: telling people (``automation.alerts``).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import dagster as dg

from orchestration.warehouse.nights import RELEASE_STEP

RUN = "run"
"""Key of the run itself: it was killed, or could not begin."""

Severity = Literal["error", "stale", "warn"]
_CLASS_PATH = re.compile(r"^(?:\w+\.)+\w+: ")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        key: What it is about; equal from night to night as long as the same thing is wrong.
        text: What to tell people.
        severity: ``error`` (a step failed or a check blocks), ``stale`` (a stream keeps what it had) or ``warn``.
    """

    key: str
    text: str
    severity: Severity = "error"


@dataclass(frozen=True)
class Outcome:
    """What one run showed.

    Attributes:
        problems: What is wrong, one a key.
        passed: Keys that were looked at and are well.
        is_complete: Whether everything was looked at: then every problem that is not among these is over.
    """

    problems: tuple[Problem, ...] = ()
    passed: frozenset[str] = frozenset()
    is_complete: bool = False


def outcome_of(events: Iterable[dg.DagsterEvent], *, publishes: bool) -> Outcome:
    """Read a finished run.

    Args:
        events: All events of the run, in order.
        publishes: Whether the run was to end in a release: then one that has none is a problem, whatever Dagster says.
    """
    problems: dict[str, Problem] = {}
    passed = {RUN}
    failed_steps: dict[str, str] = {}
    explained: set[str] = set()
    succeeded: set[str] = set()
    for event in events:
        step = event.step_key or ""
        if event.is_step_failure:
            failed_steps.setdefault(step, cause(event))
        elif event.is_step_success:
            succeeded.add(step)
        elif event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            name = f"{check.asset_key.to_user_string()}:{check.check_name}"
            if check.passed:
                passed.add(f"check {name}")
            else:
                is_error = check.severity is dg.AssetCheckSeverity.ERROR
                explained |= {step} if is_error else set()
                text = f"check {name} failed" if is_error else f"check {name} warned"
                problems[f"check {name}"] = Problem(f"check {name}", text, "error" if is_error else "warn")
        elif event.is_step_materialization and event.asset_key and event.asset_key.path[0] == "landing":
            stream = ".".join(event.asset_key.path[1:])
            status = event.step_materialization_data.materialization.metadata.get("status")
            if status is not None and status.value == "failed":
                text = f"stream {stream} is stale: its load failed and it keeps what it had"
                problems[f"stream {stream}"] = Problem(f"stream {stream}", text, "stale")
            else:
                passed.add(f"stream {stream}")
    for step, message in failed_steps.items():
        # A gate fails because of its checks, which are named already.
        if step not in explained:
            problems[f"step {step}"] = Problem(f"step {step}", f"{step}: {message}")
    passed |= {f"step {step}" for step in succeeded - set(failed_steps)}
    if publishes and not failed_steps and RELEASE_STEP not in succeeded:
        text = f"no release came of this run although no step failed: {RELEASE_STEP} did not run"
        problems[f"step {RELEASE_STEP}"] = Problem(f"step {RELEASE_STEP}", text)
    is_complete = not failed_steps and (not publishes or RELEASE_STEP in succeeded)
    return Outcome(tuple(problems.values()), frozenset(passed - set(problems)), is_complete)


def cause(event: dg.DagsterEvent) -> str:
    """The first line of the innermost error of a step's failure, without the path of its class."""
    error = getattr(event.event_specific_data, "error", None)
    while error is not None and error.cause is not None:
        error = error.cause
    lines = [line for line in (error.message if error else "").splitlines() if line.strip()]
    return _CLASS_PATH.sub("", lines[0].strip()) if lines else (event.message or "no error was recorded")
