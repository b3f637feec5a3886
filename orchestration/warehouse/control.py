"""Tables about the warehouse's own work, as Parquet files that are added, never changed.

::

    control/load/<load_id>.parquet
    control/quarantine/<table>/<load_id>.parquet
    control/check_result/<gate>--<run_id>.parquet

A file's name is what makes writing it again harmless: a run that is repeated writes the same files. Belongs here:
writing and reading them. Does not belong here: what is loaded, rejected or checked.
"""

from __future__ import annotations

import re
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import polars as pl

from orchestration.contracts import CONTROL, Contract
from orchestration.warehouse.files import sync_folder, write_parquet

_UNSAFE = re.compile(r"[^A-Za-z0-9_.=-]")


class Control:
    """The control tables below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def record_load(self, record: Any) -> None:
        """Keep the record of a load.

        Args:
            record: A dataclass or mapping with the columns of the contract ``load``.
        """
        values = asdict(record) if is_dataclass(record) and not isinstance(record, type) else dict(record)
        contract = CONTROL["load"]
        row = {name: values.get(name) for name in contract.schema}
        frame = pl.DataFrame([row], schema=contract.schema)
        write_parquet(frame, self.root / "load" / f"{_file_name(values['load_id'])}.parquet")

    def write_quarantine(self, table: str, load_id: str, frame: pl.DataFrame) -> None:
        """Keep the rejected rows of one load of one table in place of those kept before; none removes them."""
        path = self.root / "quarantine" / table / f"{_file_name(load_id)}.parquet"
        if frame.height:
            contract = CONTROL["quarantine"]
            write_parquet(_conform(frame, contract).sort(contract.key, nulls_last=True), path)
        elif path.exists():
            path.unlink()
            sync_folder(path.parent)

    def write_check_results(self, run_id: str, gate: str, frame: pl.DataFrame) -> None:
        """Keep the results of one gate of one run."""
        contract = CONTROL["check_result"]
        path = self.root / "check_result" / f"{_file_name(gate)}--{_file_name(run_id)}.parquet"
        write_parquet(_conform(frame, contract).sort(contract.key, nulls_last=True), path)

    def scan(self, table: str) -> pl.LazyFrame:
        """Rows of ``load``, ``quarantine`` or ``check_result`` with the schema of its contract."""
        contract = CONTROL[table]
        paths = sorted((self.root / table).glob(_glob(table)))
        if not paths:
            return pl.LazyFrame(schema=contract.schema)
        return pl.scan_parquet(
            paths, schema=contract.schema, missing_columns="insert", extra_columns="ignore", glob=False
        )

    def view_sql(self, table: str) -> str:
        """DuckDB statement that makes a control table readable as a view of its name.

        Works before the first row too: the view then has the columns and no rows.
        """
        contract = CONTROL[table]
        empty = self.root / "empty" / f"{table}.parquet"
        if not empty.exists() or pl.read_parquet_schema(empty) != contract.schema:
            write_parquet(pl.DataFrame(schema=contract.schema), empty)
        globs = [str(empty)]
        if any((self.root / table).glob(_glob(table))):
            globs.append(str(self.root / table / _glob(table)))
        files = ", ".join("'" + glob.replace("'", "''") + "'" for glob in globs)
        columns = ", ".join(f'"{name}"' for name in contract.schema)
        return (
            f'CREATE OR REPLACE VIEW "{table}" AS SELECT {columns} FROM read_parquet([{files}], union_by_name = true)'
        )


def _glob(table: str) -> str:
    return "*/*.parquet" if table == "quarantine" else "*.parquet"


def _file_name(text: str) -> str:
    return _UNSAFE.sub("_", text)


def _conform(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    return frame.match_to_schema(
        contract.schema,
        missing_columns="insert",
        extra_columns="raise",
        integer_cast="upcast",
        float_cast="upcast",
    )
