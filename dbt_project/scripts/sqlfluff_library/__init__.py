"""Stand-ins for what dbt gives to Jinja, so that SQLFluff can render the models without dbt.

What is rendered only has to be SQL of the right shape: a dispatched macro becomes a call with its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

_PROJECT = Path(__file__).resolve().parent.parent.parent
_VARS = yaml.safe_load((_PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]

execute = False
invocation_id = "lint"


def var(name: str, default: Any = None) -> Any:
    """The variable as ``dbt_project.yml`` sets it."""
    return _VARS.get(name, default)


def env_var(name: str, default: str = "") -> str:
    """The default; what is linted does not depend on the environment."""
    return default or name


def load_relation(relation: Any) -> str:
    """The table, as if it were there."""
    return str(relation)


class _Adapter:
    @staticmethod
    def dispatch(name: str) -> Callable[..., str]:
        """A call of a function of that name, with the same arguments."""

        def call(*arguments: Any) -> str:
            texts = (", ".join(map(str, part)) if isinstance(part, list) else str(part) for part in arguments)
            return f"{name}({', '.join(texts)})"

        return call

    @staticmethod
    def get_relation(_database: str, schema: str, name: str) -> str:
        """The table, as if it were there."""
        return f"{schema}.{name}"


class _Target:
    database = "warehouse"


class _Dbt:
    @staticmethod
    def date_spine(*_: str) -> str:
        """A table with the column of dbt's macro."""
        return "select cast(null as date) as date_day"


adapter = _Adapter()
target = _Target()
dbt = _Dbt()
