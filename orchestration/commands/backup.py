"""``experience backup`` and ``experience restore``: the warehouse's home as one file, and back."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from orchestration.errors import CannotRunError
from orchestration.night_lock import only_night, open_runs
from orchestration.settings import HMAC_KEY_FILE, HOME_VARIABLE, Settings
from orchestration.warehouse.backup import Backup, BackupError, back_up, restore


def add(commands) -> None:
    """Declare the verbs."""
    out = commands.add_parser("backup", help="write everything that the warehouse keeps into one tar file")
    out.add_argument("target", type=Path, help="the file to write (.tar or .tar.gz), or a folder for it")
    out.add_argument("--without-key", action="store_true", help=f"leave {HMAC_KEY_FILE} out; keep it elsewhere")
    out.set_defaults(run=run_backup)
    back = commands.add_parser("restore", help="unpack a back-up into a new home, every file compared with its hash")
    back.add_argument("source", type=Path, help="the file that 'experience backup' wrote")
    back.add_argument("--home", type=Path, required=True, help="the new home; empty, or not there yet")
    back.set_defaults(run=run_restore)


def run_backup(settings: Settings, options: argparse.Namespace) -> int:
    """Write the back-up while no night runs."""
    try:
        with only_night(settings), _no_run_of_the_daemon():
            made = back_up(settings, options.target, now=datetime.now(UTC), with_key=not options.without_key)
    except BackupError as error:
        raise CannotRunError(str(error)) from error
    print(f"backed up: {made.path} ({_says(made)})")
    _warn_of_key(made, settings)
    return 0


def run_restore(settings: Settings, options: argparse.Namespace) -> int:
    """Unpack a back-up."""
    try:
        found = restore(options.source, options.home)
    except BackupError as error:
        raise CannotRunError(str(error)) from error
    print(f"restored: {options.home.absolute()} ({_says(found)})")
    print(f"go on with: {HOME_VARIABLE}={options.home.absolute()}")
    if not found.has_key:
        print(f"warning: the back-up has no {HMAC_KEY_FILE}; put it back before the next night", file=sys.stderr)
    return 0


def _says(made: Backup) -> str:
    return (
        f"{made.files} files, {made.bytes / 1e6:.1f} MB, made at {made.made_at}, release {made.run_id or 'none'}, "
        f"{', '.join(f'{name} {number}' for name, number in made.versions.items())}"
    )


def _warn_of_key(made: Backup, settings: Settings) -> None:
    if not made.has_key and settings.hmac_key is not None:
        print(
            "warning: the key of the pseudonyms is not in the back-up; keep it elsewhere: without it new pseudonyms "
            "differ from the old ones",
            file=sys.stderr,
        )


@contextmanager
def _no_run_of_the_daemon() -> Iterator[None]:
    """Nights of the daemon do not take the lock: refuse while one runs, and give up where one began meanwhile."""
    import dagster as dg
    from dagster._core.errors import DagsterHomeNotSetError

    try:
        instance = dg.DagsterInstance.get()
    except DagsterHomeNotSetError:
        yield
        return
    with instance:
        if running := open_runs(instance):
            raise CannotRunError(
                f"the run {running[0].run_id} of the job {running[0].job_name} is open; wait until it ends (one that "
                "was killed is closed by the next night)"
            )
        before = {run.run_id for run in instance.get_runs(limit=100)}
        yield
        if begun := [run.run_id for run in instance.get_runs(limit=100) if run.run_id not in before]:
            raise BackupError(f"the run {begun[0]} began meanwhile, so the back-up may be torn; back up again")
