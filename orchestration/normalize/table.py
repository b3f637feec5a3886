"""Landing rows of one stream to rows of one contract, and what could not be read to quarantine.

Belongs here: the order of the steps, and what a mapping means for a contract. Does not belong here: how a value of one
kind is read (``timestamps``, ``phones`` …), which version of a row counts (``deduplicate``), reading and storing.

Everything is lazy and works row by row: any part of a load may be normalised on its own, with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, NoReturn
from zoneinfo import ZoneInfo

import polars as pl

from orchestration.contracts import CONTROL, Column, Contract, Kind, OnInvalid
from orchestration.contracts.mapping import FieldMapping, TableMapping
from orchestration.contracts.model import TIMESTAMP_TYPE
from orchestration.normalize import categories, emails, names, numbers, phones, places, scales, text, timestamps, web
from orchestration.normalize.batches import REASON, VALUE, cleaned, notes
from orchestration.normalize.hashing import content_hash

LOAD_ROW, FILE, ROW, DELETED = "_load_row", "_file", "_row", "_deleted"
META = {LOAD_ROW: pl.Int64(), FILE: pl.String(), ROW: pl.Int64(), DELETED: pl.Boolean()}

VERSION = 1
"""Goes up when the same landed rows come out differently, so that stored rows can be made anew."""

MISSING = "missing"
MISSING_KEY = "missing_key"
SOURCE_ID = "source_id"

_UNCHOSEN = ("0", "false", "no", "f", "n", "否", "off")
"""Cells of a multi-select option that say that it was not chosen."""
_MAPPABLE_COMMON = ("updated_at",)
_NOT_HASHED = ("load_id", "load_row", "row_hash", "extracted_at", "first_extracted_at", "quality_flags")
"""Nor is the key hashed: a hash is compared among the versions of one key only."""
_PARENT_IDS = {"answer": "response_id", "comment": "parent_id", "ticket_event": "ticket_id"}
"""Columns that refer to a row of the same stream and so take the mapping's ``key_prefix``."""
_ANSWER_FIELDS = ("value_text", "value_number", "missing_reason")

_OF_THE_KEY = {SOURCE_ID, "response_id", "parent_id"}
"""Columns that the key fills, always or where no field does."""
_KEY, _DEAD, _SLOT, _TEXT = "__key", "__dead", "__slot", "__text"
_REJECTS = "__rejects"


class MappingError(ValueError):
    """A mapping that cannot be carried out; the message names source, stream, table and field, and how to mend it."""


@dataclass(frozen=True)
class NormaliseContext:
    """What normalising needs to know beside the mapping.

    Attributes:
        source: Source of the load.
        stream: Stream of the load.
        load_id: Load that brought the rows.
        extracted_at: End of the extraction; UTC where it has no zone.
        timezone: IANA zone of the source's local times.
        primary_key: The stream's key, where the mapping names none.
        questions: Rows of the ``question`` contract; needed for answers.
    """

    source: str
    stream: str
    load_id: str
    extracted_at: datetime
    timezone: str = "UTC"
    primary_key: list[str] | Literal["content", "position"] | None = None
    questions: pl.DataFrame | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Normalised:
    """The result: ``rows`` with the contract's schema, ``rejects`` with that of ``quarantine``."""

    rows: pl.LazyFrame
    rejects: pl.LazyFrame

    def collect(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Both, computed in one go."""
        rows, rejects = pl.collect_all([self.rows, self.rejects])
        return rows, rejects


def normalise(contract: Contract, landed: pl.LazyFrame, mapping: TableMapping, context: NormaliseContext) -> Normalised:
    """Normalise the landed rows of one load.

    A field is taken as ``FieldMapping`` says and read by its column's kind. What cannot be read becomes null and is
    noted in ``quality_flags``, or rejects the row where the column or the mapping says so; a required column that is
    null rejects it as ``missing``. A rejected row goes to quarantine once a failing field, with the field, the reason,
    the value and the whole row as landed. A row that the source deleted (``_deleted``) needs its key only.

    A wide ``answer`` mapping (``questions``) gives a row a question, a missing one too; a multi-select question a row
    an option. An option that was not chosen, and a blank text of a wide ``comment`` mapping, comes as a deleted row,
    so that a choice that was taken back does not stay behind.

    Args:
        contract: Table to fill.
        landed: Text columns as the source named them, and ``_load_row``, ``_file``, ``_row``, ``_deleted``.
        mapping: How the stream fills the table. Source fields that this load lacks are null.
        context: Where the rows come from.

    Raises:
        MappingError: the mapping cannot be carried out, whatever the rows hold.
    """
    return _Normaliser(contract, landed, mapping, context).result()


def read_columns(
    contract: Contract,
    landed: pl.LazyFrame,
    mapping: TableMapping,
    context: NormaliseContext,
    columns: Collection[str],
) -> pl.LazyFrame:
    """A few columns of a table, of every landed row, those that ``normalise`` would reject or leave out too.

    Args:
        contract: The table.
        landed: As for ``normalise``; only the fields that ``source_fields`` names are needed.
        mapping: How the stream fills the table.
        context: Where the rows come from.
        columns: Columns of the contract, none that is worked out from others but ``source_id``.

    Returns:
        ``_load_row``; ``is_of_table``, whether ``where`` lets the row through; and ``columns``, null where nothing
        fills them or the value cannot be read; ``source_id`` is that of the landed row (without the question of a wide
        stream).
    """
    narrow = mapping.model_copy(
        update={"fields": {name: entry for name, entry in mapping.fields.items() if name in columns}, "where": {}}
    )
    reader = _ColumnReader(contract, landed, narrow, context)
    return reader.columns(list(columns), mapping.where)


def source_fields(mapping: TableMapping, context: NormaliseContext, columns: Collection[str]) -> set[str] | None:
    """Source fields that ``read_columns`` needs; None where the key needs all of them."""
    key = (mapping.primary_key or context.primary_key) if _OF_THE_KEY & set(columns) else ()
    if key == "content":
        return None
    mapped = {name for column in columns if column in mapping.fields for name in mapping.fields[column].source_fields}
    return mapped | set(mapping.where) | (set(key) if isinstance(key, list) else set())


@dataclass(frozen=True)
class _Field:
    """One contract column that a mapping fills."""

    column: Column
    mapping: FieldMapping
    taken: pl.Expr
    original: pl.Expr

    @property
    def name(self) -> str:
        return self.column.name

    @property
    def taken_name(self) -> str:
        return f"__taken_{self.name}"

    @property
    def read_name(self) -> str:
        return f"__read_{self.name}"

    @property
    def is_rejecting(self) -> bool:
        policy = self.mapping.on_invalid or self.column.on_invalid.value
        return policy == OnInvalid.REJECT.value

    @property
    def can_fail(self) -> bool:
        plain = {Kind.TEXT, Kind.IDENTIFIER, Kind.PERSON_NAME}
        return not (self.column.kind in plain or (self.column.kind is Kind.CATEGORY and self.column.values is None))

    @property
    def value(self) -> pl.Expr:
        """The value read, null where it could not be."""
        read = pl.col(self.read_name)
        return read.struct.field(VALUE) if self.can_fail else read

    @property
    def reason(self) -> pl.Expr:
        """Why it could not be read, or what is to be noted."""
        if not self.can_fail:
            return pl.lit(None, dtype=pl.String())
        return pl.col(self.read_name).struct.field(REASON)


def _joined(expressions: list[pl.Expr]) -> pl.Expr:
    """Texts joined by a blank, null where all are."""
    if len(expressions) == 1:
        return expressions[0]
    together = pl.concat_str(expressions, separator=" ", ignore_nulls=True)
    return pl.when(pl.any_horizontal([expression.is_not_null() for expression in expressions])).then(together)


class _Normaliser:
    """The steps of one call of ``normalise``."""

    def __init__(
        self, contract: Contract, landed: pl.LazyFrame, mapping: TableMapping, context: NormaliseContext
    ) -> None:
        self.contract = contract
        self.mapping = mapping
        self.context = context
        schema = landed.collect_schema()
        self.fields_landed = [name for name in schema if name not in META]
        if LOAD_ROW not in schema:
            self.fail(f"the landed frame lacks {LOAD_ROW}; read it through the landing's manifests")
        self.landed = landed.select(
            *(pl.col(name).cast(pl.String()) for name in self.fields_landed),
            *(
                pl.col(name).cast(dtype) if name in schema else pl.lit(None, dtype=dtype).alias(name)
                for name, dtype in META.items()
            ),
        ).with_columns(pl.col(DELETED).fill_null(value=False))
        self.is_wide = bool(mapping.questions or mapping.texts)
        self.check()
        self.fields = [self.field(name, entry) for name, entry in mapping.fields.items() if self.is_generic(name)]
        self.by_name = {entry.name: entry for entry in self.fields}

    # -- the mapping -----------------------------------------------------------------------------------------------

    def fail(self, what: str) -> NoReturn:
        raise MappingError(
            f"source {self.context.source!r}, stream {self.context.stream!r}, table {self.contract.name!r}: {what}"
        )

    def check(self) -> None:
        """Refuse what no row could pass."""
        table, mapping = self.contract.name, self.mapping
        own = {column.name for column in self.contract.columns}
        for name, entry in mapping.fields.items():
            if name not in own and name not in _MAPPABLE_COMMON:
                known = ", ".join([*sorted(own), *_MAPPABLE_COMMON])
                self.fail(f"there is no column {name!r} to map; use one of {known}")
            if entry.timezone is not None:
                self.check_zone(entry.timezone, f"fields.{name}.timezone")
            if entry.format is not None and self.contract.column(name).kind in (Kind.TIMESTAMP, Kind.DATE):
                self.check_template(name, entry.format)
            is_phone = self.contract.column(name).kind is Kind.PHONE
            if is_phone and entry.region is not None and entry.region not in phones.known_regions():
                self.fail(f"fields.{name}.region {entry.region!r} is no country; use ISO 3166-1 alpha-2 such as CN")
        self.check_zone(self.context.timezone, "timezone")
        if mapping.questions and table != "answer":
            self.fail("'questions' fills 'answer' only; move it there")
        if mapping.texts and table != "comment":
            self.fail("'texts' fills 'comment' only; move it there")
        if missing := [
            column.name
            for column in self.contract.columns
            if column.required and column.name not in mapping.fields and column.name not in self.defaults
        ]:
            self.fail(f"nothing fills the required {', '.join(missing)}; add it under 'fields'")
        if table == "answer" and not mapping.questions and not {*_ANSWER_FIELDS} & {*mapping.fields}:
            self.fail("nothing gives the answer; map value_text or value_number, or list 'questions'")

    def check_zone(self, zone: str, place: str) -> None:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            self.fail(f"{place} {zone!r} is not an IANA time zone; use a name such as 'Asia/Shanghai'")

    def check_template(self, name: str, template: str) -> None:
        try:
            timestamps.read_timestamps(pl.Series(["2026"]), zone="UTC", template=template)
        except pl.exceptions.PolarsError as error:
            self.fail(
                f"fields.{name}.format {template!r} cannot be used ({str(error).splitlines()[0]}); "
                "write it in strftime's letters, such as '%d.%m.%Y %H:%M'"
            )

    @cached_property
    def defaults(self) -> dict[str, pl.Expr]:
        """Columns that the contract or the mapping's other keys fill where no field does."""
        given: dict[str, pl.Expr] = {}
        columns = {column.name for column in self.contract.columns}
        if self.mapping.survey is not None and "survey_id" in columns:
            given["survey_id"] = pl.lit(self.mapping.survey)
        if self.mapping.questions:
            given["response_id"] = pl.col(_KEY)
            given["question_id"] = self.slot_column("question")
            given["option_id"] = self.slot_column("option")
        if self.mapping.texts:
            given["question_id"] = self.slot_column("question")
            given["comment_text"] = pl.col(_TEXT)
            given["parent_table"] = pl.lit("response")
            given["parent_id"] = pl.col(_KEY)
            given["is_solicited"] = pl.lit(value=True)
        return given

    def is_generic(self, name: str) -> bool:
        """False for the fields that are read together, by their question."""
        return not (self.contract.name == "answer" and name in _ANSWER_FIELDS)

    def source_field(self, name: str) -> pl.Expr:
        return pl.col(name) if name in self.fields_landed else pl.lit(None, dtype=pl.String())

    def field(self, name: str, entry: FieldMapping) -> _Field:
        if entry.value is not None:
            original = pl.lit(entry.value)
            taken = cleaned(original)
        else:
            original = _joined([self.source_field(source) for source in entry.source_fields])
            taken = _joined([cleaned(self.source_field(source)) for source in entry.source_fields])
        if entry.map is not None:
            old = pl.Series(list(entry.map), dtype=pl.String())
            new = pl.Series(list(entry.map.values()), dtype=pl.String())
            rest = taken if entry.map_default is None else pl.when(taken.is_not_null()).then(pl.lit(entry.map_default))
            taken = taken.replace_strict(old, new, default=rest, return_dtype=pl.String())
        if entry.default is not None:
            taken = taken.fill_null(entry.default)
        return _Field(self.contract.column(name), entry, taken, original)

    # -- the key ---------------------------------------------------------------------------------------------------

    def key(self) -> pl.Expr:
        """``source_id`` of a landed row, null where a part of it is."""
        chosen = self.mapping.primary_key or self.context.primary_key
        if chosen is None:
            self.fail("no primary key; name the key's fields, 'content' or 'position'")
        if chosen == "content":
            key = content_hash({name: pl.String() for name in sorted(self.fields_landed)})
        elif chosen == "position":
            key = pl.concat_str([pl.col(FILE), pl.col(ROW).cast(pl.String())], separator=":")
        else:
            key = pl.concat_str([cleaned(self.source_field(name)) for name in chosen], separator=":")
        return pl.concat_str([pl.lit(self.mapping.key_prefix), key]) if self.mapping.key_prefix else key

    def key_fields(self) -> list[str]:
        chosen = self.mapping.primary_key or self.context.primary_key
        return [name for name in chosen if name in self.fields_landed] if isinstance(chosen, list) else []

    # -- wide streams ----------------------------------------------------------------------------------------------

    @cached_property
    def slots(self) -> pl.DataFrame:
        """One row a question, option or text of a wide stream; ``kind`` says what a cell of it means.

        ``single``: the answer. ``absent``: this load has no such field. ``option``: chosen where it holds something.
        ``none``: holds something where an option was chosen, and then is no row of its own. ``text``: an utterance.
        """
        rows: list[tuple[str, str, str | None, str | None]] = []
        for question, source in self.mapping.questions.items():
            sources = [source] if isinstance(source, str) else source
            landed = [name for name in sources if name in self.fields_landed]
            if isinstance(source, str):
                rows.append((question, "single" if landed else "absent", None, source))
            else:
                rows.extend((question, "option", name, name) for name in landed)
                rows.append((question, "none" if landed else "absent", None, None))
        rows.extend((label, "text", None, source) for label, source in self.mapping.texts.items())
        schema = {"question": pl.String(), "kind": pl.String(), "option": pl.String(), "source": pl.String()}
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        return frame.with_row_index("number").select(pl.format("__slot_{}", pl.col("number")).alias(_SLOT), *schema)

    def slot_column(self, name: str) -> pl.Expr:
        return pl.col(_SLOT).replace_strict(
            self.slots.get_column(_SLOT), self.slots.get_column(name), default=None, return_dtype=pl.String()
        )

    def cell(self, kind: str, question: str, source: str | None) -> pl.Expr:
        if kind == "none":
            options = self.mapping.questions[question]
            landed = [name for name in options if name in self.fields_landed]
            return pl.when(pl.any_horizontal([self.option(name).is_not_null() for name in landed])).then(pl.lit("1"))
        if kind == "absent" or source is None:
            return pl.lit(None, dtype=pl.String())
        return self.option(source) if kind == "option" else cleaned(self.source_field(source))

    def option(self, source: str) -> pl.Expr:
        """The cell of an option where it was chosen, else null."""
        given = cleaned(self.source_field(source))
        return pl.when(~given.str.to_lowercase().is_in(list(_UNCHOSEN))).then(given)

    def unpivoted(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """One row a slot, with ``__slot`` and ``__text``; rows that are no answer or utterance are dead."""
        needed = {name for entry in self.mapping.fields.values() for name in entry.source_fields}
        needed |= {*self.mapping.attributes, *self.key_fields()}
        index = [name for name in self.fields_landed if name in needed]
        cells = [
            self.cell(kind, question, source).alias(slot) for slot, question, kind, _, source in self.slots.iter_rows()
        ]
        kind = self.slot_column("kind")
        is_dead = (kind.is_in(["option", "text"]) & pl.col(_TEXT).is_null()) | (
            (kind == "none") & pl.col(_TEXT).is_not_null()
        )
        return (
            frame.with_columns(cells)
            .select(*index, *META, _KEY, _DEAD, *self.slots.get_column(_SLOT))
            .unpivot(
                self.slots.get_column(_SLOT).to_list(),
                index=[*index, *META, _KEY, _DEAD],
                variable_name=_SLOT,
                value_name=_TEXT,
            )
            .with_columns(pl.col(_DEAD) | is_dead)
            .with_columns(pl.when(kind != "none").then(pl.col(_TEXT)).alias(_TEXT))
        )

    def source_id(self) -> pl.Expr:
        if not self.is_wide:
            return pl.col(_KEY)
        return pl.concat_str(
            [
                pl.col(_KEY),
                pl.concat_str(
                    [self.slot_column("question"), self.slot_column("option")], separator=":", ignore_nulls=True
                ),
            ],
            separator=":",
        )

    # -- the values ------------------------------------------------------------------------------------------------

    def read(self, entry: _Field) -> pl.Expr:
        """The normaliser of the column's kind, over the text taken."""
        taken, column, hints = pl.col(entry.taken_name), entry.column, entry.mapping
        zone = hints.timezone or self.context.timezone
        when: dict[str, Any] = {
            "zone": zone,
            "day_first": hints.day_first,
            "unit": hints.unit,
            "template": hints.format,
        }
        simple: dict[Kind, Callable[[], pl.Expr]] = {
            Kind.EMAIL: lambda: emails.emails(taken),
            Kind.PHONE: lambda: phones.phones(taken, hints.region),
            Kind.PERSON_NAME: lambda: names.person_names(taken),
            Kind.COUNTRY: lambda: places.countries(taken),
            Kind.REGION: lambda: places.regions(taken, self.region_country(hints)),
            Kind.LANGUAGE: lambda: text.languages(taken),
            Kind.CURRENCY: lambda: numbers.currencies(taken, hints.region),
            Kind.TIMESTAMP: lambda: timestamps.timestamps(taken, **when),
            Kind.DATE: lambda: timestamps.dates(taken, **when),
            Kind.INTEGER: lambda: numbers.integers(taken, hints.format),
            Kind.NUMBER: lambda: numbers.numbers(taken, hints.format, _percent(column.name)),
            Kind.MONEY: lambda: numbers.money(taken, hints.format),
            Kind.BOOLEAN: lambda: numbers.booleans(taken),
            Kind.JSON: lambda: categories.json_texts(taken),
        }
        if column.kind in simple:
            return simple[column.kind]()
        if column.values is not None:
            return categories.listed_categories(taken, column.values)
        if (self.contract.name, column.name) in (("web_event", "event_name"), ("ticket_event", "event_name")):
            return categories.snake_case(taken)
        if (self.contract.name, column.name) == ("web_event", "device_category"):
            return taken.str.to_lowercase()
        return taken

    def region_country(self, hints: FieldMapping) -> pl.Expr:
        """The country whose regions a column names: the hint, else the row's own country."""
        if hints.region is not None:
            return pl.lit(hints.region)
        if "country" in self.by_name:
            return pl.col(self.by_name["country"].read_name).struct.field(VALUE)
        return pl.lit(None, dtype=pl.String())

    def kept(self, name: str, values: list[str]) -> pl.Expr:
        """Whether a condition of ``where`` lets a landed row through."""
        # A deletion brings the key only, so that the field may be blank on it.
        value = cleaned(self.source_field(name))
        return value.is_in(values) | (value.is_null() & ("" in values)) | (pl.col(DELETED) & value.is_null())

    def staged(self) -> pl.LazyFrame:
        """Landed rows (one row a slot for wide streams) with ``__taken_…`` and ``__read_…`` of every field."""
        frame = self.landed
        for name, values in self.mapping.where.items():
            frame = frame.filter(self.kept(name, values).fill_null(value=False))
        frame = frame.with_columns(self.key().alias(_KEY), pl.col(DELETED).alias(_DEAD))
        if self.is_wide:
            frame = self.unpivoted(frame)
        frame = frame.with_columns(entry.taken.alias(entry.taken_name) for entry in self.fields)
        # Regions are read by the row's country, so that comes first.
        late = [entry for entry in self.fields if entry.column.kind is Kind.REGION]
        for batch in ([entry for entry in self.fields if entry not in late], late):
            if batch:
                frame = frame.with_columns(self.read(entry).alias(entry.read_name) for entry in batch)
        bounded = [
            entry for entry in self.fields if entry.column.minimum is not None or entry.column.maximum is not None
        ]
        if bounded:
            frame = frame.with_columns(
                numbers.within_bounds(pl.col(entry.read_name), entry.column.minimum, entry.column.maximum).alias(
                    entry.read_name
                )
                for entry in bounded
            )
        return self.derived(frame)

    def value(self, name: str) -> pl.Expr:
        """What stands in a contract column: the value read, else the default."""
        column = self.contract.column(name)
        entry, default = self.by_name.get(name), self.defaults.get(name)
        if entry is None:
            return (default if default is not None else pl.lit(None)).cast(column.dtype)
        value = entry.value
        if self.mapping.key_prefix and _PARENT_IDS.get(self.contract.name) == name:
            value = pl.concat_str([pl.lit(self.mapping.key_prefix), value])
        return pl.coalesce(value, default) if default is not None else value

    def derived(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Add what a contract's columns say about each other, as columns named like the contract's."""
        match self.contract.name:
            case "web_event":
                return self.web_columns(frame)
            case "comment":
                return self.comment_columns(frame)
            case "answer":
                return self.answer_columns(frame)
        return frame

    def web_columns(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Host, path and campaign from addresses, and robots from the user agent."""
        parts = {
            name: pl.col(f"__address_{name}") for name in ("page_path", "page_host", "referrer") if name in self.by_name
        }
        frame = frame.with_columns(web.addresses(self.by_name[name].value).alias(f"__address_{name}") for name in parts)
        found: dict[str, pl.Expr] = {}
        page: list[pl.Expr] = []
        if "page_host" in parts:
            # A bare host has no scheme and so reads as a path.
            host = parts["page_host"].struct.field("host")
            page.append(pl.coalesce(host, pl.col(self.by_name["page_host"].read_name).str.to_lowercase()))
        if "page_path" in parts:
            page.append(parts["page_path"].struct.field("host"))
        if page:
            found["page_host"] = pl.coalesce(page)
        if "page_path" in parts:
            found["page_path"] = parts["page_path"].struct.field("path")
        elif "page_host" in parts:
            address = parts["page_host"]
            found["page_path"] = pl.when(address.struct.field("host").is_not_null()).then(address.struct.field("path"))
        if "referrer" in parts:
            found["referrer"] = parts["referrer"].struct.field("address")
        for name in web.UTM_FIELDS:
            sources = [parts[part].struct.field(name) for part in ("page_path", "page_host") if part in parts]
            if sources and name not in self.by_name:
                found[name] = pl.coalesce(sources)
        if "user_agent" in self.by_name and "is_bot" not in self.by_name:
            found["is_bot"] = web.is_robot(self.by_name["user_agent"].value)
        return frame.with_columns(expression.alias(f"__{name}") for name, expression in found.items())

    def comment_columns(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Repaired text, lost characters and language; a blank text is no utterance."""
        frame = frame.with_columns(self.value("comment_text").alias("__comment_text"))
        said = pl.col("__comment_text")
        found = {"is_mojibake": text.is_mojibake(said), "clean_text": text.clean_text(said)}
        frame = frame.with_columns(
            pl.col(_DEAD) | said.is_null(),
            *(expression.alias(f"__{name}") for name, expression in found.items() if name not in self.by_name),
        )
        repaired = self.by_name["clean_text"].value if "clean_text" in self.by_name else pl.col("__clean_text")
        recognised = text.recognised_language(repaired)
        declared = self.by_name["language"].value if "language" in self.by_name else None
        language = recognised if declared is None else pl.coalesce(declared, recognised)
        return frame.with_columns(language.alias("__language"))

    def answer_columns(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The answer by its question: number, text, missing reason, or a reason to reject."""
        given = [
            self.field(name, self.mapping.fields[name])
            for name in ("value_number", "value_text")
            if name in self.mapping.fields
        ]
        nothing = pl.lit(None, dtype=pl.String())
        answer = pl.col(_TEXT) if self.mapping.questions else pl.coalesce([*(entry.taken for entry in given), nothing])
        frame = frame.with_columns(
            self.value("survey_id").alias("__survey_id"),
            self.value("question_id").alias("__question_id"),
            answer.alias("__answer_text"),
        )
        frame = scales.read_answers(frame, self.context.questions, self.context.source, prefix="__")
        reason = pl.col("__missing_reason")
        if self.mapping.questions:
            absent = (self.slot_column("kind") == "absent") & ~pl.col(DELETED)
            reason = pl.when(absent).then(pl.lit(scales.NOT_ASKED)).otherwise(reason)
        if "missing_reason" in self.mapping.fields:
            declared = self.field("missing_reason", self.mapping.fields["missing_reason"])
            listed = categories.listed_categories(declared.taken, declared.column.values or ())
            reason = pl.when(reason.is_not_null()).then(pl.coalesce(listed.struct.field(VALUE), reason))
        alive = ~pl.col(_DEAD)
        return frame.with_columns(
            pl.when(alive).then(pl.col("__value_text")).alias("__value_text"),
            pl.when(alive).then(pl.col("__value_number")).alias("__value_number"),
            pl.when(alive).then(reason).alias("__missing_reason"),
        )

    # -- rows and rejects ------------------------------------------------------------------------------------------

    def column_value(self, name: str, schema: pl.Schema) -> pl.Expr:
        return pl.col(f"__{name}") if f"__{name}" in schema else self.value(name)

    def failures(self, schema: pl.Schema) -> list[tuple[pl.Expr, pl.Expr, pl.Expr, pl.Expr]]:
        """Ways for a row to be rejected: condition, field, reason, original value."""
        # A landed row of a wide stream without key is one fault and not one a question.
        alive = ~pl.col(_DEAD) & pl.col(_KEY).is_not_null() if self.is_wide else ~pl.col(_DEAD)
        ways: list[tuple[pl.Expr, pl.Expr, pl.Expr, pl.Expr]] = []
        chosen = [self.source_field(name) for name in self.key_fields()]
        original = pl.concat_str([part.fill_null("") for part in chosen], separator=":") if chosen else pl.lit(None)
        ways.append((pl.col(_KEY).is_null(), pl.lit(SOURCE_ID), pl.lit(MISSING_KEY), original))
        for column in (*self.contract.columns, self.contract.column("updated_at")):
            entry = self.by_name.get(column.name)
            value = self.column_value(column.name, schema)
            is_text = self.contract.name == "comment" and column.name == "comment_text"
            required = column.required and not is_text
            rejecting = entry is not None and entry.can_fail and entry.is_rejecting
            if not required and not rejecting:
                continue
            condition = value.is_null()
            if not required and entry is not None:
                condition = condition & entry.reason.is_not_null()
            reason = pl.lit(MISSING) if entry is None else entry.reason.fill_null(MISSING)
            before = pl.lit(None) if entry is None else entry.original
            ways.append((alive & condition, pl.lit(column.name), reason, before))
        if self.contract.name == "answer":
            reason = pl.col("__reject_reason")
            name = (
                pl.when(reason == scales.UNDECLARED_QUESTION)
                .then(pl.lit("question_id"))
                .otherwise(pl.lit("value_number"))
            )
            known = self.value("question_id").is_not_null()
            if self.is_wide:
                name = pl.concat_str([name, self.slot_column("question")], separator=":")
            is_bad = alive & known & reason.is_not_null()
            before = (
                pl.when(reason == scales.UNDECLARED_QUESTION)
                .then(self.value("question_id"))
                .otherwise(pl.col("__answer_text"))
            )
            ways.append((is_bad, name, reason, before))
        return ways

    def result(self) -> Normalised:
        staged = self.staged()
        schema = staged.collect_schema()
        failures = self.failures(schema)
        is_rejected = pl.any_horizontal([condition.fill_null(value=False) for condition, *_ in failures])
        return Normalised(
            self.rows(staged.filter(~is_rejected), schema), self.rejects(staged.filter(is_rejected), failures)
        )

    def rows(self, accepted: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
        extracted_at = self.context.extracted_at
        if extracted_at.tzinfo is not None:
            extracted_at = extracted_at.astimezone(UTC).replace(tzinfo=None)
        extracted = pl.lit(extracted_at, dtype=TIMESTAMP_TYPE)
        updated = self.value("updated_at")
        if "updated_at" in self.by_name:
            # An undated deletion is as old as the extraction that noticed it, else an older version would outrank it.
            updated = pl.when(pl.col(DELETED) & updated.is_null()).then(extracted).otherwise(updated)
        common = {
            "source": pl.lit(self.context.source),
            "source_id": self.source_id(),
            "load_id": pl.lit(self.context.load_id),
            "load_row": pl.col(LOAD_ROW),
            "updated_at": updated,
            "extracted_at": extracted,
            "first_extracted_at": extracted,
            "is_deleted": pl.col(_DEAD),
            "quality_flags": self.flags(),
            "attributes": self.attributes(),
        }
        own = {column.name: self.column_value(column.name, schema) for column in self.contract.columns}
        dtypes = self.contract.schema
        values = {name: value.cast(dtypes[name]) for name, value in (common | own).items()}
        filled = {column.name for column in self.contract.columns if f"__{column.name}" in schema}
        filled |= {*self.by_name, *self.defaults, "is_deleted"}
        if self.mapping.attributes:
            filled.add("attributes")
        hashed = {name: dtypes[name] for name in dtypes if name in filled and name not in _NOT_HASHED}
        return accepted.select(**values).with_columns(row_hash=content_hash(hashed)).select(list(dtypes))

    def flags(self) -> pl.Expr:
        """What was noted, as ``field:note`` joined by ``|``."""
        alive = ~pl.col(_DEAD)
        return notes({entry.name: pl.when(alive).then(entry.reason) for entry in self.fields if entry.can_fail})

    def attributes(self) -> pl.Expr:
        """Source fields outside the contract as a JSON object."""
        kept = [name for name in self.mapping.attributes if name in self.fields_landed]
        if not kept:
            return pl.lit(None, dtype=pl.String())
        some = pl.any_horizontal([pl.col(name).is_not_null() for name in kept])
        return pl.when(some).then(pl.struct(kept).struct.json_encode())

    def rejects(
        self, rejected: pl.LazyFrame, failures: list[tuple[pl.Expr, pl.Expr, pl.Expr, pl.Expr]]
    ) -> pl.LazyFrame:
        """One quarantine row a failing field."""
        listed = pl.concat_list(
            [
                pl.when(condition.fill_null(value=False)).then(
                    pl.struct(
                        field.cast(pl.String()).alias("field"),
                        reason.cast(pl.String()).alias("reason"),
                        original.cast(pl.String()).alias("original_value"),
                    )
                )
                for condition, field, reason, original in failures
            ]
        ).list.drop_nulls()
        identity = {
            "target_table": pl.lit(self.contract.name),
            "source": pl.lit(self.context.source),
            "stream": pl.lit(self.context.stream),
            "load_id": pl.lit(self.context.load_id),
            "load_row": pl.col(LOAD_ROW),
            "source_file": pl.col(FILE),
            "source_row": pl.col(ROW),
            "source_id": self.source_id(),
        }
        whole = pl.struct(self.fields_landed).struct.json_encode() if self.fields_landed else pl.lit("{}")
        if self.is_wide:
            found = rejected.select(**identity, **{_REJECTS: listed}).explode(_REJECTS).unnest(_REJECTS)
            # A fault of the landed row itself shows on each of its slots; one of them speaks for all.
            found = found.unique(["load_row", "field"], keep="any")
            rows = self.landed.select(load_row=pl.col(LOAD_ROW), __row=pl.struct(self.fields_landed))
            found = found.join(rows, on="load_row", how="left").with_columns(
                row_json=pl.col("__row").struct.json_encode()
            )
        else:
            found = rejected.select(**identity, row_json=whole, **{_REJECTS: listed}).explode(_REJECTS).unnest(_REJECTS)
        schema = CONTROL["quarantine"].schema
        return found.select(pl.col(name).cast(dtype) for name, dtype in schema.items())


class _ColumnReader(_Normaliser):
    """Reads some columns and leaves out what makes a row of them."""

    def check(self) -> None:
        """Nothing is refused: what is missing is null."""
        self.is_wide = False

    def is_generic(self, name: str) -> bool:
        return True

    def derived(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame

    def columns(self, names: list[str], where: Mapping[str, list[str]]) -> pl.LazyFrame:
        kept = [self.kept(name, values) for name, values in where.items()]
        staged = self.staged()
        return staged.select(
            LOAD_ROW,
            (pl.all_horizontal(kept) if kept else pl.lit(value=True)).fill_null(value=False).alias("is_of_table"),
            *((pl.col(_KEY) if name == SOURCE_ID else self.value(name)).alias(name) for name in names),
        )


def _percent(name: str) -> Literal["pct", "share"] | None:
    if name.endswith("_pct"):
        return "pct"
    return "share" if name.endswith("_share") else None
