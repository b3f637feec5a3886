"""One process at a time that changes a warehouse from the command line: its lock, its log, and what a killed one left.

Nights that Dagster's daemon launches wait for each other in the run queue instead (``automation.jobs.EXCLUSIVE_TAG``).
Does not belong here: what runs under the lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from orchestration.errors import CannotRunError
from orchestration.settings import Settings


@contextmanager
def only_night(settings: Settings) -> Iterator[None]:
    """Hold the warehouse's lock; the system frees that of a killed process.

    Raises:
        CannotRunError: another process holds it; the message names it.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "night.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise CannotRunError(
                f"another night is running (process {lock.read().strip() or 'unknown'}); wait until it ends"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def logged(path: Path) -> Iterator[Path]:
    """Send what Dagster, dbt and Great Expectations print into a file: the summary is what a person reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        yield path


def open_runs(instance: Any, job_name: str | None = None) -> list[Any]:
    """Runs that have begun and not ended, of one job or of all; also those that were killed since."""
    import dagster as dg

    states = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    return list(instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=states)))


def end_dead_runs(instance: Any, pid_tag: str) -> list[str]:
    """Mark runs that were killed as failed, so that the pools they hold are free again; gives their run ids.

    A process that runs holds the lock that the caller holds now: a run with ``pid_tag`` that is still open in the
    instance is dead.
    """
    dead = []
    for run in open_runs(instance):
        if pid := run.tags.get(pid_tag):
            instance.report_run_failed(run, message=f"the process {pid} of this run is gone")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            dead.append(run.run_id)
    return dead
