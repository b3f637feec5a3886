"""What ``explain`` needs to know of a published table. Does not belong here: any particular table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestration.lineage.formulas import Formulas

RECORD_COLUMNS = ("measure", "id", "record_table", "source", "source_id")
"""What a query of records gives at least."""


def no_numbers(_: Formulas) -> Mapping[str, str]:
    """Nothing to recompute: the row is a record and not a sum of records."""
    return {}


@dataclass(frozen=True)
class ExplainedTable:
    """One published table.

    Attributes:
        name: Its name.
        key: Columns that tell its rows apart.
        records: SQL query of the records behind one row. It reads that row as the table ``cell``, the release as the
            database ``release`` and dbt's private tables as the database ``warehouse``, the name that its views know.
            It gives ``RECORD_COLUMNS``: ``measure`` (the column of the row in which the record is counted), ``id``
            (what is counted: a response, a person), and the clean row: table, source and key. It may give ``load_id``
            and ``load_row`` where the version is known; they are looked up in the clean layer otherwise. More columns
            are shown as they are.
        counts: Name to SQL aggregate over the table ``record`` (what ``records`` gave). Names that are columns of the
            table are compared with it.
        scores: Formulas to column of the table and SQL expression over ``counts``; compared too.
        hidden_by: Measure to the flag that hides it, where it is not ``is_suppressed``.
        reads_build: Whether ``records`` reads ``warehouse``: then it is exact only while that is the build released.
    """

    name: str
    key: tuple[str, ...]
    records: str
    counts: Callable[[Formulas], Mapping[str, str]] = no_numbers
    scores: Callable[[Formulas], Mapping[str, str]] = no_numbers
    hidden_by: Mapping[str, str] = field(default_factory=dict)
    reads_build: bool = True


def fact(name: str, key: str, record_table: str) -> ExplainedTable:
    """A table of which each row is one clean row, and says which version of it."""
    return ExplainedTable(
        name=name,
        key=(key,),
        records=f"""
            SELECT 'row' AS measure, source_id AS id, '{record_table}' AS record_table, source, source_id, load_id,
                load_row
            FROM cell
        """,
        reads_build=False,
    )
