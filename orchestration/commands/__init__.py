"""Verbs of ``experience`` beyond running and reading a night: one module a verb, found by its name.

A module has ``add(commands)``, which declares the verb on argparse's subparsers and ends with
``parser.set_defaults(run=run)``, and ``run(settings, options) -> int``, which gives the exit status. What it cannot do
it says with ``orchestration.errors.CannotRunError`` (exit status 2).

Does not belong here: the work itself; a verb parses, calls and prints.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from types import ModuleType


def verbs() -> Sequence[ModuleType]:
    """Every verb's module, in the order of their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}") for name in names]
