"""What each step of a night cost: elapsed and CPU seconds, peak memory, rows, bytes.

Belongs here: measuring, as a hook that Dagster calls when a step has ended, whoever started the run. Does not belong
here: keeping the measurements (``warehouse.control``) and summing them up by night (``warehouse.nights``).

A night runs in one process, step after step. So what the process has used when a step ends, less what it had used when
the step before ended, is the step's; what Dagster does between two steps counts with the second one, and the start of
the process with its first step.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.definitions.decorators.hook_decorator import event_list_hook

from orchestration.settings import Settings
from orchestration.warehouse.control import Control

_ROW_COUNTS = ("dagster/row_count",)
_BYTE_COUNTS = ("bytes_landed", "bytes written")


@dataclass
class _Mark:
    """What this process had used when its last step ended."""

    cpu_seconds: float
    at: float


_mark = _Mark(0.0, time.monotonic())


def cpu_seconds() -> float:
    """CPU seconds of this process and of its ended children."""
    return sum(os.times()[:4])


def peak_memory_bytes() -> int | None:
    """Largest resident memory of this process so far; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def step_metrics_hook(settings: Settings) -> dg.HookDefinition:
    """Hook that notes what each step cost in the control table ``step_metric``."""

    @event_list_hook(name="step_metrics")
    def _note(context: dg.HookContext, event_list: Sequence[dg.DagsterEvent]) -> dg.HookExecutionResult:
        # Steps that are skipped behind a failed one are in its list too.
        events = [event for event in event_list if event.step_key == context.step_key]
        failed = any(event.is_step_failure for event in events)
        if not failed and not any(event.is_step_success for event in events):
            return dg.HookExecutionResult(hook_name="step_metrics", is_skipped=True)
        cpu, elapsed = cpu_seconds() - _mark.cpu_seconds, time.monotonic() - _mark.at
        _mark.cpu_seconds, _mark.at = _mark.cpu_seconds + cpu, _mark.at + elapsed
        # Dagster tells how long a step took that came to its end; of one that failed, the time since the one before is.
        seconds = min(elapsed, next((_seconds(event) for event in events if event.is_step_success), elapsed))
        Control(settings.control_dir).note_step(
            {
                "run_id": context.run_id,
                "step": context.step_key,
                "layer": layer_of(context.step_key),
                "status": "failure" if failed else "success",
                "started_at": datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=seconds),
                "seconds": seconds,
                "cpu_seconds": cpu,
                "peak_memory_bytes": peak_memory_bytes(),
                "rows": _sum(events, _ROW_COUNTS),
                "bytes_written": _sum(events, _BYTE_COUNTS),
            }
        )
        return dg.HookExecutionResult(hook_name="step_metrics")

    return _note


def layer_of(step: str) -> str:
    """Layer of a step, from its key: ``landing__crm__customers`` is of the landing, ``clean_gate`` of the gates."""
    first = step.split("__", 1)[0]
    return "gates" if first.endswith("_gate") else first


def _seconds(event: dg.DagsterEvent) -> float:
    return event.step_success_data.duration_ms / 1000


def _sum(events: Sequence[dg.DagsterEvent], names: Sequence[str]) -> int | None:
    """Sum of a number over what a step materialised; None where none was said."""
    found = [
        int(entry.value)
        for event in events
        if event.is_step_materialization
        for name, entry in event.step_materialization_data.materialization.metadata.items()
        if name in names and isinstance(entry.value, int)
    ]
    return sum(found) if found else None
