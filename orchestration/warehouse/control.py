"""Tables about the warehouse's own work, as Parquet files that are added, never changed.

::

    control/load/<load_id>.parquet
    control/quarantine/<table>/<load_id>.parquet
    control/check_result/<gate>--<run_id>.parquet
    control/step_metric/<run_id>.parquet, and <run_id>.jsonl with what is not gathered yet
    control/retention/<run_id>.parquet
    control/erasure/<request_id>.parquet

A file's name is what makes writing it again harmless: a run that is repeated writes the same files. Belongs here:
writing and reading them. Does not belong here: what is loaded, rejected or checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from orchestration.contracts import CONTROL, Contract
from orchestration.warehouse.files import sync, write_parquet

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

    def has_load(self, load_id: str) -> bool:
        """Whether a load is on record."""
        return (self.root / "load" / f"{_file_name(load_id)}.parquet").exists()

    def write_quarantine(self, table: str, load_id: str, frame: pl.DataFrame) -> None:
        """Keep the rejected rows of one load of one table in place of those kept before; none removes them."""
        path = self.root / "quarantine" / table / f"{_file_name(load_id)}.parquet"
        if frame.height:
            contract = CONTROL["quarantine"]
            write_parquet(_conform(frame, contract).sort(contract.key, nulls_last=True), path)
        elif path.exists():
            path.unlink()
            sync(path.parent)

    def write_check_results(self, run_id: str, gate: str, frame: pl.DataFrame) -> None:
        """Keep the results of one gate of one run."""
        contract = CONTROL["check_result"]
        path = self.root / "check_result" / f"{_file_name(gate)}--{_file_name(run_id)}.parquet"
        write_parquet(_conform(frame, contract).sort(contract.key, nulls_last=True), path)

    def note_step(self, values: Mapping[str, Any]) -> None:
        """Keep what one step cost, at once and with little cost; ``gather_steps`` makes the table of it.

        Args:
            values: The columns of the contract ``step_metric``; a line is written whole, so that a killed night keeps
                the steps that had ended.
        """
        row = {name: values[name] for name in CONTROL["step_metric"].schema}
        folder = self.root / "step_metric"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{_file_name(row['run_id'])}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, default=_iso) + "\n")

    def gather_steps(self, run_id: str | None = None) -> None:
        """Move the steps noted so far into the table ``step_metric``; may be repeated and killed at any point.

        Args:
            run_id: The run; None takes every run, which only the holder of the night's lock may ask for.
        """
        contract = CONTROL["step_metric"]
        name = "*" if run_id is None else _file_name(run_id)
        for noted in sorted((self.root / "step_metric").glob(f"{name}.jsonl")):
            path = noted.with_suffix(".parquet")
            rows = _noted_steps(noted, contract)
            if path.exists():
                rows = pl.concat([pl.read_parquet(path).match_to_schema(contract.schema), rows])
            rows = rows.unique(contract.key, keep="last").sort("started_at", "step")
            write_parquet(rows, path)
            noted.unlink()

    def write_retention(self, run_id: str, frame: pl.DataFrame) -> None:
        """Keep what retention removed in one run."""
        contract = CONTROL["retention"]
        write_parquet(
            _conform(frame, contract).sort(contract.key), self.root / "retention" / f"{_file_name(run_id)}.parquet"
        )

    def write_erasure(self, values: Mapping[str, Any]) -> None:
        """Keep the audit row of an erasure: the columns of the contract ``erasure``."""
        contract = CONTROL["erasure"]
        row = pl.DataFrame([{name: values.get(name) for name in contract.schema}], schema=contract.schema)
        write_parquet(row, self.root / "erasure" / f"{_file_name(values['request_id'])}.parquet")

    def scan(self, table: str) -> pl.LazyFrame:
        """Rows of a control table with the schema of its contract."""
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


def _noted_steps(path: Path, contract: Contract) -> pl.DataFrame:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        # A line that a full disk cut off is no step.
        with suppress(ValueError):
            rows.append(json.loads(line))
    for row in rows:
        row["started_at"] = datetime.fromisoformat(row["started_at"])
    return pl.DataFrame(rows, schema=contract.schema, orient="row")


def _iso(value: datetime) -> str:
    return value.isoformat(timespec="microseconds")


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
