"""What a contract is made of, and the columns that every source table carries.

Does not belong here: any particular table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import polars as pl


class Kind(StrEnum):
    """What a column means; it decides the stored type and the normalisation."""

    TEXT = "text"
    CATEGORY = "category"
    IDENTIFIER = "identifier"
    EMAIL = "email"
    PHONE = "phone"
    PERSON_NAME = "person_name"
    COUNTRY = "country"
    REGION = "region"
    LANGUAGE = "language"
    CURRENCY = "currency"
    TIMESTAMP = "timestamp"
    DATE = "date"
    INTEGER = "integer"
    NUMBER = "number"
    MONEY = "money"
    BOOLEAN = "boolean"
    JSON = "json"


class Pii(StrEnum):
    """How a column touches a person. Published marts hold none of DIRECT and FREE_TEXT."""

    NONE = "none"
    DIRECT = "direct"
    QUASI = "quasi"
    FREE_TEXT = "free_text"
    PSEUDONYM = "pseudonym"


class OnInvalid(StrEnum):
    """What happens to a value that cannot be read."""

    NULL = "null"
    """The field becomes null, is counted, and ``quality_flags`` says so."""
    REJECT = "reject"
    """The whole row goes to quarantine."""


class Partition(StrEnum):
    """By what the clean layer is cut: by what the duplicates of a row share."""

    EVENT_DATE = "event_date"
    EVENT_MONTH = "event_month"
    BUCKET = "bucket"
    WHOLE = "whole"


TIMESTAMP_TYPE = pl.Datetime("us")
"""UTC without a zone, microseconds."""
MONEY_TYPE = pl.Decimal(18, 4)

_TYPES: dict[Kind, pl.DataType] = {
    Kind.TIMESTAMP: TIMESTAMP_TYPE,
    Kind.DATE: pl.Date(),
    Kind.INTEGER: pl.Int64(),
    Kind.NUMBER: pl.Float64(),
    Kind.MONEY: MONEY_TYPE,
    Kind.BOOLEAN: pl.Boolean(),
}


@dataclass(frozen=True)
class Column:
    """One column of a contract.

    Attributes:
        name: snake_case; ``_at`` is a UTC timestamp, ``_date`` a business day, a unit is a suffix.
        kind: Meaning, hence type and normalisation.
        description: What it holds, in a sentence.
        required: A null rejects the row.
        pii: How it touches a person.
        on_invalid: What an unreadable value does.
        values: The allowed values of a category, or None where any text is allowed.
        minimum: Smallest allowed number, inclusive.
        maximum: Largest allowed number, inclusive.
    """

    name: str
    kind: Kind
    description: str
    required: bool = False
    pii: Pii = Pii.NONE
    on_invalid: OnInvalid = OnInvalid.NULL
    values: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None

    @property
    def dtype(self) -> pl.DataType:
        """The Polars type the column is stored in."""
        return _TYPES.get(self.kind, pl.String())


COMMON_COLUMNS: tuple[Column, ...] = (
    Column("source", Kind.IDENTIFIER, "Name of the source system, from its YAML file.", required=True),
    Column("source_id", Kind.IDENTIFIER, "Key of the row in its source, never changed.", required=True),
    Column("load_id", Kind.IDENTIFIER, "Committed load that brought this version.", required=True),
    Column("load_row", Kind.INTEGER, "Row number of this version within its load, from 0.", required=True),
    Column("row_hash", Kind.IDENTIFIER, "Hash of the row's content, without load columns.", required=True),
    Column("updated_at", Kind.TIMESTAMP, "When the source last changed the row; null where it does not say."),
    Column("extracted_at", Kind.TIMESTAMP, "When this version was extracted.", required=True),
    Column("first_extracted_at", Kind.TIMESTAMP, "When any version of the row was first extracted.", required=True),
    Column("is_deleted", Kind.BOOLEAN, "The source no longer has the row; staging leaves it out.", required=True),
    Column("quality_flags", Kind.TEXT, "What normalising noted, as 'field:note' joined by '|'; null if nothing."),
    Column("attributes", Kind.JSON, "Source fields outside the contract, as a JSON object.", pii=Pii.QUASI),
)
"""Columns that every table of ``CONTRACTS`` carries in front of its own."""


@dataclass(frozen=True)
class Contract:
    """One canonical table.

    Attributes:
        name: Table name, singular.
        domain: Business domain, also the Dagster group's owner and the docs' chapter.
        grain: What one row is, as the first words of the description.
        description: What the table is for.
        columns: The table's own columns, without the common ones.
        partition: How the clean layer cuts it.
        event_time: Column whose business day partitions an event table, and dates the touched days of others.
        is_source_table: True where sources fill it and the common columns stand in front.
        key: Columns that identify a row.
        bucket_key: Column hashed into a bucket (so that rows of one parent lie together).
        person_columns: Columns that may serve as identity evidence.
        entity_columns: Columns of which the first that is not null names, within its source, what derived tables are
            made anew by: the visitor of a web event. Empty where they are made anew whole.
        entity_keeps_lineage: Derived tables keep ``load_id`` and ``load_row``, so that an entity is made anew also
            where the same content was delivered again.
    """

    name: str
    domain: str
    grain: str
    description: str
    columns: tuple[Column, ...]
    partition: Partition = Partition.BUCKET
    event_time: str | None = None
    is_source_table: bool = True
    key: tuple[str, ...] = ("source", "source_id")
    bucket_key: str = "source_id"
    buckets: int = 8
    person_columns: tuple[str, ...] = field(default=())
    entity_columns: tuple[str, ...] = ()
    entity_keeps_lineage: bool = False

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Every column as stored, in order."""
        return (*COMMON_COLUMNS, *self.columns) if self.is_source_table else self.columns

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Polars schema as stored."""
        return {column.name: column.dtype for column in self.all_columns}

    def column(self, name: str) -> Column:
        """The column called ``name``.

        Raises:
            KeyError: the contract has no such column; the message lists those it has.
        """
        for column in self.all_columns:
            if column.name == name:
                return column
        known = ", ".join(column.name for column in self.columns)
        raise KeyError(f"contract {self.name!r} has no column {name!r}; it has {known}")
