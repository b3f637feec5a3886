"""Erasing from landed rows: which rows of a stream are a person's, and what becomes of them.

One transformation serves twice: for rows that are landed already, and for rows that a later extraction brings. Rows
are compared through the source's own mapping, so it works for whatever source is configured; identifiers are compared
in their normalised form, and only the fields that hold them are read.

An identifier is a value in a namespace:

====================================  ======================================================================
``record/<table>/<source>``           a record's ``source_id``
``customer/<source>``                 what other rows call a customer of that source: its id or external id
``email``, ``phone``                  a contact, normalised
``visitor/<source>``                  a cookie; of events without login
``login/<source>``                    a web user id
``digits``, ``word``                  a phone's digits and a long id, as other people's texts may hold them
====================================  ======================================================================

Does not belong here: which identifiers a person has (``subject``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Protocol

import polars as pl

from orchestration.contracts import CONTRACTS, Kind, Pii
from orchestration.contracts.mapping import TableMapping
from orchestration.normalize import emails, phones
from orchestration.normalize.batches import cleaned
from orchestration.normalize.table import LOAD_ROW, NormaliseContext, read_columns, source_fields
from orchestration.privacy.strings import ERASED, tokens
from orchestration.pseudonym import pseudonyms
from orchestration.sources.config import SourceConfig
from orchestration.sources.landing import META_SCHEMA

IDENTIFYING = {Pii.DIRECT, Pii.FREE_TEXT, Pii.PSEUDONYM}
"""Classes of columns that say who a person is, or may."""
_MEASURED = {"nps", "csat", "ces", "rating", "choice"}
"""Metrics of questions whose answers say nothing about who gave them."""
_PARENTS = {"answer": ("response", "response_id"), "ticket_event": ("ticket", "ticket_id")}
"""Tables whose rows belong to a record of another table of the same source, and the column that names it."""
_REFERRING = ("customer_source", "customer_id", "email", "phone", "external_id", "anonymous_id", "user_id")
_CONTACTS = {"email": emails.may_be_one_of, "phone": phones.may_be_one_of}
"""Contacts, with what says which texts may be one of some."""
_TOKEN_LENGTH = 24


class Mode(StrEnum):
    """What becomes of a person's rows."""

    DELETE = "delete"
    """They leave."""
    ANONYMISE = "anonymise"
    """They stay, without the cells that say whose they are; customer records leave."""


class Matcher(Protocol):
    """Knows the identifiers of persons."""

    @property
    def namespaces(self) -> Collection[str]:
        """Namespaces in which it knows any."""

    def hits(self, namespace: str, values: pl.Series) -> pl.Series:
        """Which of ``values`` (text, normalised) are known in ``namespace``; False for null."""


@dataclass(frozen=True)
class PlainMatcher:
    """Identifiers as they are.

    Attributes:
        identifiers: Values by namespace.
    """

    identifiers: Mapping[str, frozenset[str]]

    @property
    def namespaces(self) -> Collection[str]:
        """See ``Matcher``."""
        return self.identifiers.keys()

    def hits(self, namespace: str, values: pl.Series) -> pl.Series:
        """See ``Matcher``."""
        known = self.identifiers.get(namespace)
        return values.is_in(list(known)).fill_null(value=False) if known else _nothing(values)


@dataclass(frozen=True)
class HashedMatcher:
    """Identifiers as pseudonyms.

    Attributes:
        hashes: Pseudonyms by namespace.
        key: Key of the pseudonyms.
    """

    hashes: Mapping[str, frozenset[str]]
    key: bytes

    @property
    def namespaces(self) -> Collection[str]:
        """See ``Matcher``."""
        return self.hashes.keys()

    def hits(self, namespace: str, values: pl.Series) -> pl.Series:
        """See ``Matcher``."""
        known = self.hashes.get(namespace)
        if not known:
            return _nothing(values)
        return pseudonyms(namespace, values, self.key).is_in(list(known)).fill_null(value=False)


def _nothing(values: pl.Series) -> pl.Series:
    return pl.repeat(False, len(values), dtype=pl.Boolean, eager=True)


class Screen:
    """Erases persons from rows of one stream.

    Args:
        source: The source.
        stream: Name of one of its streams.
        matcher: Whom.
        mode: How.
        key: Key of the pseudonyms that stand for parts of a row's key when it is anonymised.
    """

    def __init__(self, source: SourceConfig, stream: str, matcher: Matcher, mode: Mode, key: bytes) -> None:
        self.source = source
        self.stream = stream
        self.config = source.streams[stream]
        self.matcher = matcher
        self.mode = mode
        self.key = key

    @cached_property
    def fields(self) -> set[str] | None:
        """Source fields that ``hits`` needs; None for all of them."""
        found: set[str] = set()
        for table, mapping in self.config.tables.items():
            needed = source_fields(mapping, self._context(), self._compared(table))
            if needed is None:
                return None
            found |= needed
        return found

    @property
    def compares(self) -> bool:
        """Whether ``hits`` can find anybody at all."""
        return any(self._compared(table) for table in self.config.tables)

    def hits(self, rows: pl.DataFrame) -> pl.Series:
        """Which rows are a person's.

        Args:
            rows: Landed rows; of the source's fields those of ``fields`` are enough.
        """
        found = _nothing(rows.to_series() if rows.width else pl.Series([]))
        if LOAD_ROW not in rows.columns:
            rows = rows.with_row_index(LOAD_ROW)
        for table, mapping in self.config.tables.items():
            if not (columns := self._compared(table)):
                continue
            read = self._read_known(table, mapping, rows, columns)
            found |= table_hits(self.matcher, self.source.source, table, read)
        return found

    def apply(self, rows: pl.DataFrame, hits: pl.Series | None = None) -> pl.DataFrame:
        """``rows`` without the persons; equal to ``rows`` where none is in there.

        Args:
            rows: Landed rows.
            hits: What ``hits`` gave, if it is known.
        """
        if rows.is_empty():
            return rows
        hits = self.hits(rows) if hits is None else hits
        if not hits.any():
            return rows
        if self.mode is Mode.DELETE:
            return rows.filter(~hits)
        others = rows.with_row_index("__position")
        theirs = self._anonymised(rows.filter(hits), others.filter(hits)["__position"])
        return pl.concat([others.filter(~hits), theirs]).sort("__position").drop("__position")

    def keys(self, table: str, rows: pl.DataFrame) -> pl.Series:
        """``source_id`` of landed rows in one of the stream's tables, without the question of a wide stream."""
        mapping = self.config.tables[table]
        read = read_columns(CONTRACTS[table], _numbered(rows).lazy(), mapping, self._context(), ("source_id",))
        return read.select("source_id").collect().to_series()

    def may_have_key(self, table: str, keys: Collection[str]) -> pl.Expr:
        """Rows that may have one of ``keys``, by the first field of the key alone; never misses one.

        Every row where ``key_fields`` gives none.
        """
        key = self._key(table)
        if not isinstance(key, list):
            return pl.lit(value=True)
        # A field may hold the separator, so that it may reach to any of them.
        parts = [some.removeprefix(self.config.tables[table].key_prefix).split(":") for some in keys]
        starts = {":".join(part[: end + 1]) for part in parts for end in range(len(part))}
        return cleaned(pl.col(key[0])).is_in(sorted(starts))

    def key_fields(self, table: str) -> set[str] | None:
        """Source fields that ``keys`` needs; None where the key says nothing about other versions of a row."""
        key = self._key(table)
        return set(key) if isinstance(key, list) else None

    def _key(self, table: str) -> list[str] | str | None:
        return self.config.tables[table].primary_key or self.config.primary_key

    def _read_known(self, table: str, mapping: TableMapping, rows: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
        """``columns`` of a table as far as they are compared: a contact that cannot be a known one may be null.

        Reading a contact takes as long as all else of a row.
        """
        known = self.matcher.identifiers if isinstance(self.matcher, PlainMatcher) else {}
        may_be: dict[str, pl.Expr] = {}
        for column, may_be_one_of in _CONTACTS.items():
            entry = mapping.fields.get(column)
            if column in columns and column in known and entry is not None and len(entry.source_fields) == 1:
                (name,) = entry.source_fields
                if name in rows.columns and entry.value is None and entry.map is None and entry.default is None:
                    may_be[column] = may_be_one_of(pl.col(name), known[column]).fill_null(value=False)
        read = self._read(table, mapping, rows, [name for name in columns if name not in may_be])
        for column, condition in may_be.items():
            at = rows.select(condition.arg_true()).to_series()
            values = self._read(table, mapping, rows[at], [column])[column]
            nothing = pl.repeat(None, rows.height, dtype=values.dtype, eager=True)
            read = read.with_columns(nothing.scatter(at, values).alias(column))
        return read

    def _compared(self, table: str) -> list[str]:
        return compared_columns(self.matcher, self.source.source, table)

    def _read(
        self, table: str, mapping: TableMapping, rows: pl.DataFrame, columns: Collection[str] = ()
    ) -> pl.DataFrame:
        return read_columns(CONTRACTS[table], rows.lazy(), mapping, self._context(), columns).collect()

    def _context(self) -> NormaliseContext:
        return NormaliseContext(
            source=self.source.source,
            stream=self.stream,
            load_id="",
            extracted_at=datetime.min,
            timezone=self.source.timezone,
            primary_key=self.config.primary_key,
        )

    def _anonymised(self, rows: pl.DataFrame, positions: pl.Series) -> pl.DataFrame:
        """Rows of persons without what identifies, and without customer records."""
        rows = rows.insert_column(0, positions)
        numbered = rows if LOAD_ROW in rows.columns else rows.with_row_index(LOAD_ROW)
        member = {
            table: self._read(table, mapping, numbered)["is_of_table"] for table, mapping in self.config.tables.items()
        }
        names = [name for name in rows.columns if name not in META_SCHEMA and name != "__position"]
        key = self._key_fields()
        kept = key | self._technical_fields()
        mapped = {table: _mapped_fields(mapping) for table, mapping in self.config.tables.items()}
        free = set(names) - kept - set().union(*mapped.values())
        blank = {name: pl.repeat(True, rows.height, eager=True) for name in free}
        for table, mapping in self.config.tables.items():
            for name, is_telling in self._identifying(table, mapping, rows).items():
                if name in names and (name in key or name not in kept):
                    blank[name] = blank.get(name, _nothing(positions)) | (is_telling & member[table])
        changed = []
        for name, is_blank in blank.items():
            # A part of the key cannot be blank: what stands for it says nothing to whoever lacks the key.
            token = pseudonyms(f"key/{self.source.source}/{self.stream}", rows[name], self.key) if name in key else None
            instead = (
                pl.lit(None, dtype=pl.String)
                if token is None
                else pl.when(rows[name].str.starts_with("erased-"))
                .then(pl.col(name))
                .otherwise(pl.lit("erased-") + token.str.head(_TOKEN_LENGTH))
            )
            changed.append(pl.when(is_blank).then(instead).otherwise(pl.col(name)).alias(name))
        is_customer = member.get("customer", _nothing(positions))
        return rows.with_columns(changed).filter(~is_customer)

    def _identifying(self, table: str, mapping: TableMapping, rows: pl.DataFrame) -> dict[str, pl.Series]:
        """Source fields of a table that may say who the person is, and on which rows."""
        always = pl.repeat(True, rows.height, eager=True)
        contract = CONTRACTS[table]
        found: dict[str, pl.Series] = {}
        for name, entry in mapping.fields.items():
            if contract.column(name).pii in IDENTIFYING:
                is_answer = (table, name) == ("answer", "value_text")
                measured = self._measured_rows(mapping, rows) if is_answer else ~always
                for field in entry.source_fields:
                    found[field] = ~measured & ~(_is_score(rows, field) & is_answer)
        for question, fields in mapping.questions.items():
            if question not in self._measured(mapping.survey):
                for field in [fields] if isinstance(fields, str) else fields:
                    found[field] = ~_is_score(rows, field)
        return found | dict.fromkeys(mapping.texts.values(), always)

    def _measured(self, survey: str | None) -> set[str]:
        surveys = self.source.surveys
        chosen = [surveys[survey]] if survey in surveys else list(surveys.values())
        return {name for entry in chosen for name, item in entry.questions.items() if item.metric in _MEASURED}

    def _measured_rows(self, mapping: TableMapping, rows: pl.DataFrame) -> pl.Series:
        read = read_columns(
            CONTRACTS["answer"], _numbered(rows).lazy(), mapping, self._context(), ("question_id",)
        ).collect()
        return read["question_id"].is_in(list(self._measured(mapping.survey))).fill_null(value=False)

    def _key_fields(self) -> set[str]:
        keys = [*map(self._key, self.config.tables), self.config.primary_key]
        return {name for key in keys if isinstance(key, list) for name in key}

    def _technical_fields(self) -> set[str]:
        """Fields that say how a row is read and not whose it is."""
        found = {name for mapping in self.config.tables.values() for name in mapping.where}
        if self.config.cursor:
            found.add(self.config.cursor.field)
        if self.config.deletes.field:
            found.add(self.config.deletes.field)
        return found


@dataclass(frozen=True)
class _Comparison:
    """One way in which a row may be a person's.

    Attributes:
        namespace: Namespace of the values.
        column: Column that holds them.
        where: Rows of which they are believed, over columns of ``read``; None for all of them.
    """

    namespace: str
    column: str
    where: pl.Expr | None = None


def _comparisons(matcher: Matcher, source: str, table: str) -> list[_Comparison]:
    """Ways in which rows of a table may be a person's, of those that ``matcher`` knows anything of."""
    columns = {"source_id", *identifying_columns(table)}
    own = f"record/{table}/{source}"
    ways = [_Comparison(own, "source_id", pl.col("is_of_table")), _Comparison("email", "email")]
    ways += [_Comparison("phone", "phone"), _Comparison(f"customer/{source}", "external_id")]
    if table == "customer":
        ways.append(_Comparison(f"customer/{source}", "source_id", pl.col("is_of_table")))
    if table in _PARENTS:
        parent, column = _PARENTS[table]
        ways.append(_Comparison(f"record/{parent}/{source}", column))
    for namespace in matcher.namespaces:
        kind, _, rest = namespace.partition("/")
        if kind == "customer":
            ways.append(_Comparison(namespace, "customer_id", pl.col("customer_source").fill_null(source) == rest))
        elif kind == "record" and rest.endswith(f"/{source}"):
            parent = rest.removesuffix(f"/{source}")
            ways.append(_Comparison(namespace, "parent_id", pl.col("parent_table") == parent))
    if "user_id" in columns:
        ways.append(_Comparison(f"login/{source}", "user_id"))
        ways.append(_Comparison(f"visitor/{source}", "anonymous_id", pl.col("user_id").is_null()))
    return [way for way in ways if way.column in columns and way.namespace in matcher.namespaces]


def compared_columns(matcher: Matcher, source: str, table: str) -> list[str]:
    """Columns that ``table_hits`` looks at; none where ``matcher`` knows nobody who could be in the table."""
    ways = _comparisons(matcher, source, table)
    found = [
        name for way in ways for name in (way.column, *(way.where.meta.root_names() if way.where is not None else ()))
    ]
    return [name for name in dict.fromkeys(found) if name != "is_of_table"]


def table_hits(matcher: Matcher, source: str, table: str, read: pl.DataFrame) -> pl.Series:
    """Which rows of a table are a person's.

    Args:
        matcher: Whom.
        source: Source of the rows.
        table: Contract.
        read: ``is_of_table`` (False where only ``source_id`` may not be believed) and ``compared_columns`` of the rows.
    """
    found = pl.repeat(False, read.height, dtype=pl.Boolean, eager=True)
    for way in _comparisons(matcher, source, table):
        hits = matcher.hits(way.namespace, read[way.column])
        found |= hits if way.where is None else hits & read.select(way.where.fill_null(value=False)).to_series()
    return found


def screens(
    source: SourceConfig, stream: str, matchers: Mapping[Mode, Matcher], key: bytes
) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """One function that applies a screen for each mode, deletion first, and masks mentions in what is left."""
    chosen = [Screen(source, stream, matchers[mode], mode, key) for mode in Mode if mode in matchers]
    mapped = [_wordless_fields(mapping, table) for table, mapping in source.streams[stream].tables.items()]

    def apply(rows: pl.DataFrame) -> pl.DataFrame:
        for screen in chosen:
            rows = screen.apply(rows)
        # What extraction itself adds (whether a row is deleted) is no text.
        texts = [name for name, kind in rows.schema.items() if kind == pl.String and name not in META_SCHEMA]
        names = [name for name in texts if not any(name in part for part in mapped)]
        for screen in chosen:
            rows = mask_mentions(rows, names, screen.matcher)
        return rows

    return apply


def mask_mentions(rows: pl.DataFrame, columns: Sequence[str], matcher: Matcher) -> pl.DataFrame:
    """Mask addresses, numbers and long ids of persons in texts of other people's rows.

    Args:
        rows: Landed rows.
        columns: Text columns to look at.
        matcher: Knows the namespaces ``email``, ``digits`` and ``word``.
    """
    changed = []
    for name in columns:
        texts = rows[name].filter(rows[name].str.contains(r"@|\d").fill_null(value=False)).unique().to_list()
        parts = [(text, *token) for text in texts for token in tokens(text)]
        if not parts:
            continue
        cut = pl.DataFrame(parts, schema=["text", "namespace", "value", "written"], orient="row")
        hits = [
            part.filter(matcher.hits(str(namespace), part["value"])) for (namespace,), part in cut.group_by("namespace")
        ]
        masked: dict[str, str] = {}
        for text, written in pl.concat(hits).select("text", "written").rows():
            masked[text] = masked.get(text, text).replace(written, ERASED)
        if masked:
            new = [None if text == ERASED else text for text in masked.values()]
            changed.append(rows[name].replace(pl.Series(list(masked)), pl.Series(new, dtype=pl.String)))
    return rows.with_columns(changed) if changed else rows


def _wordless_fields(mapping: TableMapping, table: str) -> set[str]:
    """Source fields of a table that hold no words: keys, times, numbers, listed values."""
    worded = {Kind.TEXT, Kind.JSON, Kind.PERSON_NAME}
    found: set[str] = set()
    for name, entry in mapping.fields.items():
        column = CONTRACTS[table].column(name)
        if column.kind not in worded and column.pii is not Pii.FREE_TEXT:
            found |= set(entry.source_fields)
    return found - set(mapping.attributes) - set(mapping.texts.values())


def _is_score(rows: pl.DataFrame, field: str) -> pl.Series:
    """Cells that hold a number too short to be somebody's."""
    if field not in rows.columns:
        return pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True)
    return rows[field].str.strip_chars().str.contains(r"^\d{1,3}$").fill_null(value=False)


def _numbered(rows: pl.DataFrame) -> pl.DataFrame:
    return rows if LOAD_ROW in rows.columns else rows.with_row_index(LOAD_ROW)


def identifying_columns(table: str) -> list[str]:
    """Columns of a table that may hold an identifier."""
    schema = CONTRACTS[table].schema
    own = [name for name in _REFERRING if name in schema]
    own += [name for name in ("parent_table", "parent_id") if name in schema]
    return own + ([_PARENTS[table][1]] if table in _PARENTS else [])


def _mapped_fields(mapping: TableMapping) -> set[str]:
    fields = {name for entry in mapping.fields.values() for name in entry.source_fields}
    for source in mapping.questions.values():
        fields |= {source} if isinstance(source, str) else set(source)
    return fields | set(mapping.texts.values()) | set(mapping.attributes)
