"""Imports put off until a module is used.

Belongs here: leaving out what a library imports and never uses for us. Does not belong here: which modules those are.
"""

from __future__ import annotations

import sys
from importlib.util import LazyLoader, find_spec, module_from_spec


def import_later(name: str) -> None:
    """Have a module loaded when first an attribute of it is asked for, though ``from package import module`` be met.

    A module that is loaded already, or that is not installed, is left alone.

    Args:
        name: ``package.module``; the package is imported now.
    """
    if name in sys.modules:
        return
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return
    if spec is None or spec.loader is None:
        return
    spec.loader = LazyLoader(spec.loader)
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    package, _, child = name.rpartition(".")
    setattr(sys.modules[package], child, module)
