"""Verbs of ``experience`` beyond running and reading a night: one module a verb.

A module has ``add(commands)``, which declares the verb on argparse's subparsers and ends with
``parser.set_defaults(run=run)``, and ``run(settings, options) -> int``, which gives the exit status. What it cannot do
it says with ``orchestration.errors.CannotRunError`` (exit status 2).

Does not belong here: the work itself; a verb parses, calls and prints.
"""

from collections.abc import Sequence
from types import ModuleType

from orchestration.commands import (
    backfill,
    backup,
    erase,
    explain,
    quarantine,
    rebuild,
    replay_rejects,
    retention,
    runs,
)

MODULES: Sequence[ModuleType] = (
    backfill,
    backup,
    erase,
    explain,
    quarantine,
    rebuild,
    replay_rejects,
    retention,
    runs,
)
