"""A warehouse whose clean layer changes night by night, and dbt that follows; and the same built at once.

Does not belong here: any particular table or model.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from orchestration.contracts import Contract
from orchestration.warehouse.clean import CleanStore, MergeResult
from orchestration.warehouse.touched import TouchedLog
from tests.golden.conftest import Warehouse


@dataclass(frozen=True)
class Area:
    """Models that are made anew entity by entity.

    Attributes:
        contract: Clean table whose log of touched entities they follow.
        models: What dbt builds.
        scope: Model that says whether everything is made anew.
        touched: Model that lists the touched entities.
        built: Model that says what was built upon.
        tables: Tables to compare.
    """

    contract: Contract
    models: Sequence[str]
    scope: str
    touched: str
    built: str
    tables: Sequence[str]


class Nights:
    """One home; ``merge`` into the clean table, ``build``, compare with ``at_once``."""

    def __init__(self, area: Area, new_warehouse: Callable[[], Warehouse], like: Nights | None = None):
        self.area = area
        self.new_warehouse = new_warehouse
        self.warehouse = new_warehouse()
        self.store = CleanStore(self.warehouse.home / "clean", "Asia/Shanghai")
        self.load = like.load if like else 0
        if like:
            shutil.copytree(like.warehouse.home, self.warehouse.home, dirs_exist_ok=True)
        else:
            shutil.rmtree(self.store.folder(area.contract))
            self.store.ensure(area.contract)

    def merge(self, *rows: Mapping[str, Any]) -> MergeResult:
        """One load of rows."""
        self.load += 1
        at = datetime(2026, 6, 1) + timedelta(days=self.load)
        common = {
            "source": "w",
            "load_id": f"l{self.load}",
            "extracted_at": at,
            "first_extracted_at": at,
            "is_deleted": False,
        }
        full = [
            {**common, "load_row": number, "row_hash": repr(sorted(row.items(), key=str)), **row}
            for number, row in enumerate(rows)
        ]
        frame = pl.DataFrame(full, schema=self.area.contract.schema, strict=False)
        return self.store.merge(self.area.contract, frame)

    def build(self, *arguments: str, **variables: Any) -> tuple[str, int]:
        """Build; the scope, and how many entities were made anew."""
        self.warehouse.build("--resource-type", "model", "seed", "--select", *self.area.models, *arguments, **variables)
        scope = self.warehouse.row(f"SELECT scope FROM warehouse.working.{self.area.scope}")["scope"]
        return scope, self.warehouse.row(f"SELECT count(*) AS n FROM warehouse.working.{self.area.touched}")["n"]

    def built(self) -> int:
        """Number of the change that the last build ended with."""
        return int(self.warehouse.row(f"SELECT sequence FROM warehouse.working.{self.area.built}")["sequence"])

    def tables(self) -> dict[str, list[str]]:
        """Rows of the tables, in an order of their own."""
        return {name: sorted(map(repr, self.warehouse.rows(f"FROM {name}"))) for name in self.area.tables}

    def at_once(self) -> dict[str, list[str]]:
        """The same tables from the same clean layer, in a home where nothing was built before."""
        fresh = Nights(self.area, self.new_warehouse)
        clean = fresh.warehouse.home / "clean"
        shutil.rmtree(clean)
        shutil.copytree(self.warehouse.home / "clean", clean)
        shutil.rmtree(fresh.store.folder(self.area.contract) / "touched")
        TouchedLog(fresh.store.folder(self.area.contract)).ensure(0)
        assert fresh.build() == ("all", 0)
        return fresh.tables()
