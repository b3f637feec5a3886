"""Who is asked for: the person's records, the identifiers they are known by, and the strings that give them away.

A value that records of somebody else hold too (a family's phone, the mailbox of an office) is no identifier of the
person: it stays for the others.

Belongs here: reading all that from the clean layer. Does not belong here: changing anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import phonenumbers
import polars as pl

from orchestration.contracts import CONTRACTS, DERIVED, Kind, Pii
from orchestration.identity.evidence import LOGIN, NODE, RECORD_TABLES, VISITOR
from orchestration.normalize.emails import emails
from orchestration.normalize.phones import read_phone
from orchestration.privacy.requests import ErasureError, Request
from orchestration.privacy.strings import Strings, is_telling_id, is_telling_text
from orchestration.warehouse.clean import CleanStore

_KEYS = ("source", "source_id")


@dataclass(frozen=True)
class Subject:
    """A person as the warehouse knows them.

    Attributes:
        person_ids: Persons that identity resolution made of the records; one, unless the person was found in parts.
        records: ``NODE`` of each record.
        identifiers: (namespace, value), see ``landed``.
        strings: What is looked for in texts.
    """

    person_ids: tuple[str, ...] = ()
    records: tuple[tuple[str, str, str], ...] = ()
    identifiers: tuple[tuple[str, str], ...] = ()
    strings: Strings = field(default_factory=Strings)

    def by_namespace(self) -> dict[str, frozenset[str]]:
        """Identifiers by namespace."""
        found: dict[str, set[str]] = {}
        for namespace, value in self.identifiers:
            found.setdefault(namespace, set()).add(value)
        return {namespace: frozenset(values) for namespace, values in found.items()}

    def nodes(self) -> pl.DataFrame:
        """``records`` as a frame."""
        return pl.DataFrame(list(self.records), schema=dict.fromkeys(NODE, pl.String()), orient="row")

    def to_json(self) -> dict[str, Any]:
        """As kept in a request that has begun."""
        return {
            "person_ids": self.person_ids,
            "records": self.records,
            "identifiers": self.identifiers,
            "contacts": self.strings.contacts,
            "digits": self.strings.digits,
            "texts": self.strings.texts,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Subject:
        """The reverse of ``to_json``."""
        return cls(
            person_ids=tuple(values["person_ids"]),
            records=tuple((a, b, c) for a, b, c in values["records"]),
            identifiers=tuple((a, b) for a, b in values["identifiers"]),
            strings=Strings.of(contacts=values["contacts"], digits=values["digits"], texts=values["texts"]),
        )


def find(store: CleanStore, request: Request) -> Subject:
    """The person whom a request asks for.

    Raises:
        ErasureError: nobody is known by what was given, or more than one person is.
    """
    match request.by:
        case "person":
            nodes, person = _of_person(store, request.subject["person_id"]), request.subject["person_id"]
            if nodes.is_empty():
                raise ErasureError(
                    f"no person {person!r} is known; person ids stand in identity.person_record and dim_person"
                )
        case "record":
            nodes = _of_record(store, **{name: request.subject[name] for name in ("source", "table", "key")})
        case _:
            nodes = _of_contact(store, request.by, request.subject[request.by])
    nodes = nodes.unique().sort(NODE)
    return _gather(store, nodes)


def _person_record(store: CleanStore) -> pl.LazyFrame:
    return store.scan(DERIVED["person_record"])


def _of_person(store: CleanStore, person_id: str) -> pl.DataFrame:
    return _person_record(store).filter(pl.col("person_id") == person_id).select(NODE).collect()


def _of_record(store: CleanStore, source: str, table: str, key: str) -> pl.DataFrame:
    known = (*RECORD_TABLES, LOGIN, VISITOR)
    if table not in known:
        raise ErasureError(f"records of {table!r} belong to no person; name one of {', '.join(known)}")
    is_it = (pl.col("source") == source) & (pl.col("source_id") == key)
    person = _person_record(store).filter((pl.col("record_table") == table) & is_it).collect()
    if person.height:
        return _of_person(store, person.item(0, "person_id"))
    if table in RECORD_TABLES:
        rows = store.scan(CONTRACTS[table], include_deleted=True).filter(is_it).select(_KEYS).collect()
        if rows.height:
            # Deleted at its source: no person any more, but its rows are kept.
            return rows.select(record_table=pl.lit(table), source="source", source_id="source_id")
    raise ErasureError(f"no record of {table} with this key of the source {source!r} is known")


def _of_contact(store: CleanStore, kind: str, given: str) -> pl.DataFrame:
    value = normalised_contact(kind, given)
    holders = _holders(store, kind, [value]).select(NODE)
    if holders.is_empty():
        raise ErasureError(
            f"nobody is known by this {kind}"
            + ("; give a phone with its country code, such as +86 138 …" if kind == "phone" else "")
        )
    persons = _person_record(store).join(holders.lazy(), on=NODE, how="semi").select("person_id").unique().collect()
    if persons.height > 1:
        raise ErasureError(
            f"{persons.height} persons share this {kind}, so that it does not say who is meant; ask by person id or by "
            "a record of the person"
        )
    if persons.is_empty():
        return holders
    return pl.concat([holders, _of_person(store, persons.item())])


def normalised_contact(kind: str, given: str) -> str:
    """An e-mail address or a phone number in the form in which the clean layer holds it.

    Raises:
        ErasureError: it cannot be read as one.
    """
    if kind == "email":
        value = pl.select(emails(pl.lit(given))).to_series().struct.field("value").item()
    else:
        value = read_phone(given)[0]
    if value is None:
        raise ErasureError(
            "this is no e-mail address"
            if kind == "email"
            else "this is no phone number with country code; write it as +86 138 0000 0000"
        )
    return str(value)


def _holders(store: CleanStore, column: str, values: list[str]) -> pl.DataFrame:
    """Records, deleted ones too, that hold one of ``values`` in ``column``: ``NODE`` and ``value``."""
    found = [
        store.scan(CONTRACTS[table], include_deleted=True)
        .filter(pl.col(column).is_in(values))
        .select(record_table=pl.lit(table), source="source", source_id="source_id", value=column)
        for table in RECORD_TABLES
        if column in CONTRACTS[table].schema
    ]
    return pl.concat(found).collect()


def _referring(store: CleanStore, ids: pl.DataFrame) -> pl.DataFrame:
    """Records that name one of the customers ``owner``, ``value``: ``NODE``, ``owner`` and ``value``."""
    found = [
        store.scan(CONTRACTS[table], include_deleted=True)
        .filter(pl.col("customer_id").is_in(ids["value"].to_list()))
        .select(
            record_table=pl.lit(table),
            source="source",
            source_id="source_id",
            owner=pl.coalesce("customer_source", "source"),
            value="customer_id",
        )
        for table in RECORD_TABLES
        if "customer_id" in CONTRACTS[table].schema
    ]
    return pl.concat(found).collect().join(ids.select("owner", "value").unique(), on=["owner", "value"], how="semi")


def _gather(store: CleanStore, nodes: pl.DataFrame) -> Subject:
    """Records to identifiers and strings. Records deleted at their source that are held by them alone come along."""
    identifiers: dict[tuple[str, str], None] = {}
    rows = _rows_of(store, nodes)
    # Contacts and references may lead to records that were deleted at their source; those may hold more of the same.
    while True:
        values = _values(rows)
        own: dict[str, list[str]] = {}
        met = []
        for column in ("email", "phone"):
            holders = _holders(store, column, values[column])
            exclusive = _exclusive(store, holders, nodes, "value")
            own[column] = exclusive["value"].unique().sort().to_list()
            met.append(exclusive.select(NODE))
        called = _called(rows)
        referring = _referring(store, called)
        shared = _alive(store, referring.join(nodes, on=NODE, how="anti")).select("owner", "value")
        called = called.join(shared.unique(), on=["owner", "value"], how="anti")
        met.append(referring.join(called, on=["owner", "value"], how="semi").select(NODE))
        more = pl.concat(met).unique().join(nodes, on=NODE, how="anti")
        if more.is_empty():
            break
        nodes = pl.concat([nodes, more])
        rows = _rows_of(store, nodes)
    for table, source, key in nodes.sort(NODE).rows():
        identifiers[f"record/{table}/{source}" if table not in {VISITOR, LOGIN} else f"{table}/{source}", key] = None
    for column in ("email", "phone"):
        identifiers |= dict.fromkeys((column, value) for value in own[column])
    identifiers |= dict.fromkeys((f"customer/{owner}", value) for owner, value in called.sort("owner", "value").rows())
    ids = {value for namespace, value in identifiers if namespace not in {"email", "phone"}}
    ids |= {value for name in ("login", "anonymous_id", "external_id") for value in values[name]}
    person_ids = _person_record(store).join(nodes.lazy(), on=NODE, how="semi").select("person_id").unique().collect()
    return Subject(
        person_ids=tuple(person_ids["person_id"].sort()),
        records=tuple(nodes.sort(NODE).rows()),
        identifiers=tuple(identifiers),
        strings=Strings.of(
            contacts=[*own["email"], *(value for value in ids if is_telling_id(value))],
            digits=[number for phone in own["phone"] for number in _written(phone)],
            texts=_own_texts(store, rows, nodes),
        ),
    )


def _alive(store: CleanStore, rows: pl.DataFrame) -> pl.DataFrame:
    """Those of ``rows`` whose record is a person's, and not deleted at its source."""
    known = _person_record(store).select(NODE).join(rows.lazy(), on=NODE, how="semi").collect()
    return rows.join(known, on=NODE, how="semi")


def _exclusive(store: CleanStore, holders: pl.DataFrame, nodes: pl.DataFrame, column: str) -> pl.DataFrame:
    """Holders of values that no record of another person holds."""
    others = _alive(store, holders.join(nodes, on=NODE, how="anti"))
    return holders.join(others.select(column).unique(), on=column, how="anti")


def _rows_of(store: CleanStore, nodes: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Rows of the record tables, deleted ones too."""
    found = {}
    for (table,), part in nodes.group_by("record_table"):
        if table in RECORD_TABLES:
            contract = CONTRACTS[str(table)]
            rows = store.scan(contract, include_deleted=True)
            # Few rows are read whole for it.
            rows = rows.filter(pl.col("source_id").is_in(part["source_id"].to_list()))
            found[str(table)] = rows.join(part.select(_KEYS).lazy(), on=_KEYS, how="semi").collect()
    return found


def _values(rows: Mapping[str, pl.DataFrame]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {name: set() for name in ("email", "phone", "login", "anonymous_id", "external_id")}
    for frame in rows.values():
        for name in found.keys() & set(frame.columns):
            found[name] |= set(frame[name].drop_nulls().to_list())
    return {name: sorted(values) for name, values in found.items()}


def _called(rows: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What rows call the person: ``owner`` and ``value``."""
    empty = pl.DataFrame(schema={"owner": pl.String(), "value": pl.String()})
    parts = [empty]
    for table, frame in rows.items():
        if table == "customer":
            parts += [frame.select(owner="source", value=name).drop_nulls() for name in ("source_id", "external_id")]
        elif "customer_id" in frame.columns:
            parts.append(frame.select(owner=pl.coalesce("customer_source", "source"), value="customer_id").drop_nulls())
    return pl.concat(parts).unique()


def _own_texts(store: CleanStore, rows: Mapping[str, pl.DataFrame], nodes: pl.DataFrame) -> list[str]:
    """Names and own words that are long enough and that nobody else has."""
    found: list[str] = []
    for table, frame in rows.items():
        contract = CONTRACTS[table]
        names = [
            column.name for column in contract.columns if column.pii is Pii.FREE_TEXT or column.kind is Kind.PERSON_NAME
        ]
        keys = nodes.filter(pl.col("record_table") == table).select(_KEYS)
        for name in names:
            texts = [text for text in frame[name].drop_nulls().unique().to_list() if is_telling_text(text)]
            if not texts:
                continue
            others = (
                store.scan(contract, include_deleted=True)
                .filter(pl.col(name).is_in(texts))
                .select(*_KEYS, name)
                .join(keys.lazy(), on=_KEYS, how="anti")
                .select(name)
                .collect()
            )
            found += sorted(set(texts) - set(others[name]))
    return found


def _written(phone: str) -> list[str]:
    """Ways in which a phone number (E.164) is written, as digits."""
    try:
        national = phonenumbers.national_significant_number(phonenumbers.parse(phone))
    except phonenumbers.NumberParseException:
        national = ""
    return [phone.lstrip("+"), *([national] if len(national) >= 7 else [])]
