"""How some rows of a stream fit the contracts it fills, before any of them is landed.

Does not belong here: reading the rows (``sources.trial``), and normalising a load (``refresh``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from orchestration.contracts import CONTRACTS
from orchestration.normalize.table import MappingError, NormaliseContext, normalise
from orchestration.settings import Settings
from orchestration.sources import declared
from orchestration.sources.config import QUESTIONS_STREAM, SourceConfig
from orchestration.sources.pii import protect


@dataclass(frozen=True)
class Fit:
    """What would become of the rows in one table.

    Attributes:
        table: The contract.
        rows: Rows it would get.
        rejects: Field and reason to how many rows would go to quarantine.
        notes: Field and note (a value that could not be read and became null) to how many rows.
        empty: Mapped columns that no row has a value for.
    """

    table: str
    rows: int
    rejects: Mapping[str, int]
    notes: Mapping[str, int]
    empty: tuple[str, ...]


def fit(source: SourceConfig, stream: str, rows: pl.DataFrame, *, settings: Settings, now: datetime) -> list[Fit]:
    """What would become of ``rows`` in each table that the stream fills.

    Args:
        source: The source.
        stream: The stream.
        rows: As its reader gives them.
        settings: The key of pseudonyms.
        now: Time of the extraction.

    Raises:
        SourceError: a field is to be hashed and there is no key.
        MappingError: the mapping cannot be carried out.
    """
    config = source.streams[stream]
    name = f"{source.source}.{stream}"
    landed = protect(rows, config.pii_actions(), settings.hmac_key, name).with_row_index("_load_row")
    found = []
    for table, mapping in config.tables.items():
        contract = CONTRACTS[table]
        context = NormaliseContext(
            source=source.source,
            stream=stream,
            load_id="trial",
            extracted_at=now,
            timezone=source.timezone,
            primary_key=config.primary_key,
            questions=_questions(source, now) if table == "answer" else None,
        )
        if table == "answer" and context.questions is None:
            # What answers mean comes with another stream, as data.
            continue
        good, rejects = normalise(contract, landed.lazy(), mapping, context).collect()
        alive = good.filter(~pl.col("is_deleted"))
        filled = [name for name in (*mapping.fields, *mapping.texts) if name in alive.columns]
        empty = [name for name in filled if alive.height and alive[name].null_count() == alive.height]
        found.append(
            Fit(
                table=table,
                rows=good.height,
                rejects=_counted(rejects.select(pl.format("{}: {}", "field", "reason"))),
                notes=_counted(alive.select(pl.col("quality_flags").str.split("|")).explode("quality_flags")),
                empty=tuple(empty),
            )
        )
    return found


def _questions(source: SourceConfig, now: datetime) -> pl.DataFrame | None:
    if QUESTIONS_STREAM not in source.streams or not source.surveys:
        return None
    config = source.streams[QUESTIONS_STREAM]
    context = NormaliseContext(
        source=source.source,
        stream=QUESTIONS_STREAM,
        load_id="trial",
        extracted_at=now,
        primary_key=config.primary_key,
    )
    rows = declared.question_rows(source).with_row_index("_load_row")
    return normalise(CONTRACTS["question"], rows.lazy(), config.tables["question"], context).rows.collect()


def _counted(values: pl.DataFrame) -> dict[str, int]:
    counts = values.to_series().drop_nulls().value_counts(sort=True, name="number")
    return dict(counts.rows())


__all__ = ["Fit", "MappingError", "fit"]
