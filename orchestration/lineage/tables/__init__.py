"""One module a published table, each with ``TABLE``; a new table is one new file, found by its name.

``SEEDED`` lists published tables that no source row is behind. Does not belong here: how rows are traced (``trace``).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from orchestration.lineage.table import ExplainedTable

SEEDED: Mapping[str, str] = {
    "dim_date": "dbt_project/seeds/business_calendar.csv and the calendar's range in dbt_project.yml",
    "dim_touchpoint": "dbt_project/seeds/touchpoint.csv, stage.csv and channel.csv",
}
"""Published table to what it is made from."""


def tables() -> dict[str, ExplainedTable]:
    """Every table that can be explained, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = [importlib.import_module(f"{__name__}.{name}").TABLE for name in names]
    return {table.name: table for table in found}
