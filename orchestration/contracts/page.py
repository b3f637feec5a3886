"""Write docs/contracts.md from the contracts: ``python -m orchestration.contracts.page``.

A test compares what is committed with what this would write. Does not belong here: anything that a contract does not
say itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestration.contracts import COMMON_COLUMNS, CONTRACTS, CONTROL, DERIVED
from orchestration.contracts.model import Column, Contract, OnInvalid, Partition

PAGE = Path(__file__).resolve().parents[2] / "docs" / "contracts.md"
_PARTITIONS = {
    Partition.EVENT_DATE: "one file a business day of `{event}`",
    Partition.EVENT_MONTH: "one file a month, by business day, of `{event}`",
    Partition.BUCKET: "{buckets} files by a hash of `{bucket}`",
    Partition.WHOLE: "one file",
}


def page() -> str:
    """The page in Markdown: each table with grain, key, partition and columns."""
    chapters = (
        ("Filled by sources", CONTRACTS, "Typed, one row a key, in the clean layer."),
        ("Derived", DERIVED, "Inferred by the warehouse and rebuildable; never mixed with facts as received."),
        ("Control", CONTROL, "About the warehouse's own work."),
    )
    lines = [
        "# Contracts",
        "",
        "The canonical tables: `orchestration/contracts` declares them, this page is written from there",
        "(`python -m orchestration.contracts.page`). A column marked *yes* is never null; *reject* sends the row to",
        "quarantine when its value cannot be read, otherwise the column becomes null and `quality_flags` says so.",
        "",
        "Every table filled by sources begins with these columns:",
        "",
        *_columns(COMMON_COLUMNS),
    ]
    for title, tables, says in chapters:
        lines += ["", f"## {title}", "", says]
        for table in tables.values():
            lines += ["", *_table(table)]
    return "\n".join(lines) + "\n"


def _table(table: Contract) -> Iterator[str]:
    yield f"### `{table.name}`"
    yield ""
    yield f"{table.grain}. {table.description}"
    yield ""
    key = f"Key: {', '.join(f'`{name}`' for name in table.key)}."
    if table.name in CONTROL:
        yield key
    else:
        partition = _PARTITIONS[table.partition].format(
            event=table.event_time, buckets=table.buckets, bucket=table.bucket_key
        )
        yield f"{key} Partition: {partition}."
    yield ""
    yield from _columns(table.columns)


def _columns(columns: Sequence[Column]) -> Iterator[str]:
    yield "| column | kind | required | personal data | meaning |"
    yield "|---|---|---|---|---|"
    for column in columns:
        required = "yes" if column.required else ""
        if column.on_invalid is OnInvalid.REJECT:
            required = f"{required}, reject".removeprefix(", ")
        personal = "" if column.pii == "none" else column.pii.value.replace("_", " ")
        values = f" One of {', '.join(f'`{value}`' for value in column.values)}." if column.values else ""
        meaning = (column.description + values).replace("|", "\\|")
        yield f"| `{column.name}` | {column.kind.value} | {required} | {personal} | {meaning} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
