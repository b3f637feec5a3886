"""A proposal of how columns fill a contract, by what they are called; for a person to look over.

Pure functions over names and types. Does not belong here: how columns are found (``discover``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from orchestration.contracts import CONTRACTS, Column, Contract, Kind, Pii

TABLES: Mapping[str, Sequence[str]] = {
    "customer": (
        "customer",
        "contact",
        "person",
        "people",
        "client",
        "user",
        "lead",
        "member",
        "subscriber",
        "partner",
    ),
    "account": ("account", "company", "organisation", "organization", "firm"),
    "opportunity": ("opportunity", "deal"),
    "sales_order": ("order", "purchase", "sale", "booking", "checkout"),
    "web_event": ("event", "hit", "pageview", "action", "click"),
    "survey": ("survey", "form", "questionnaire"),
    "invitation": ("invitation", "invite", "distribution"),
    "response": ("response", "submission", "reply"),
    "ticket": ("ticket", "case", "issue", "conversation", "request"),
    "ticket_event": ("ticketevent", "statuschange", "audit", "tickethistory"),
    "comment": ("comment", "review", "feedback", "note", "message"),
}
"""Contract to what its tables are called elsewhere, in the singular. Answers and questions need a person to map."""
COLUMNS: Mapping[str, Sequence[str]] = {
    "full_name": ("name", "display_name", "contact_name", "customer_name"),
    "email": ("mail", "e_mail", "email_address", "email_addr", "work_email", "requester_email"),
    "phone": ("mobile", "phone_number", "telephone", "tel", "cell", "mobile_phone"),
    "login": ("username", "user_name", "login_name"),
    "account_id": ("company_id", "organisation_id", "organization_id", "parent_id"),
    "customer_id": ("contact_id", "user_id", "client_id", "person_id", "requester_id", "buyer_id", "customer"),
    "birth_date": ("birthday", "date_of_birth", "dob"),
    "country": ("country_code", "country_name"),
    "region": ("province", "state", "county"),
    "city": ("town",),
    "language": ("locale", "lang"),
    "gender": ("sex",),
    "segment": ("tier", "customer_segment"),
    "acquisition_channel": ("lead_source", "source", "utm_source"),
    "has_marketing_consent": ("marketing_consent", "newsletter", "opt_in", "consent"),
    "employee_count": ("employees", "number_of_employees"),
    "annual_revenue_currency": ("currency", "currency_code"),
    "annual_revenue_amount": ("annual_revenue", "revenue"),
    "created_at": ("created", "create_date", "created_on", "date_created", "creation_date", "inserted_at"),
    "updated_at": (
        "updated", "modified", "modified_at", "last_modified", "last_modified_date", "changed_at", "changed",
        "write_date", "lastmodified", "last_update", "updated_on", "date_modified", "systemmodstamp",
    ),
    "occurred_at": ("timestamp", "event_time", "event_timestamp", "time", "at", "created_at", "date"),
    "ordered_at": ("order_date", "ordered", "purchased_at", "placed_at", "date", "created_at", "date_order"),
    "delivered_at": ("delivery_date", "delivered"),
    "order_amount": ("amount", "total", "total_amount", "amount_total", "grand_total", "price"),
    "order_currency": ("currency", "currency_code"),
    "value_amount": ("amount", "value", "expected_revenue"),
    "value_currency": ("currency", "currency_code"),
    "item_count": ("items", "quantity", "qty", "number_of_items"),
    "owner_id": ("owner", "assigned_to", "sales_rep"),
    "closed_at": ("close_date", "closed", "closed_on"),
    "opened_at": ("created_at", "created", "opened", "create_date", "created_on"),
    "resolved_at": ("solved_at", "resolution_date", "resolved"),
    "first_response_at": ("first_reply_at", "first_replied_at"),
    "agent_id": ("assignee_id", "assignee", "agent", "owner_id"),
    "subject": ("title", "summary", "headline"),
    "ticket_category": ("category", "type", "topic"),
    "reopened_count": ("reopens", "reopen_count"),
    "event_name": ("event", "name", "action", "event_type", "type"),
    "anonymous_id": ("visitor_id", "visitor", "client_id", "device_id", "cookie_id", "user_pseudo_id"),
    "page_path": ("url", "page_url", "page", "path", "page_location"),
    "page_host": ("host", "hostname", "domain"),
    "answered_at": ("submitted_at", "completed_at", "end_date", "ended_at", "finished_at", "recorded_date", "date"),
    "started_at": ("start_date", "started", "begin_date"),
    "duration_seconds": ("duration", "seconds"),
    "sent_at": ("sent", "send_date", "created_at"),
    "from_status": ("old_status", "old_value", "status_from"),
    "to_status": ("new_status", "new_value", "status_to", "status"),
    "actor_kind": ("actor", "author_type"),
    "comment_text": ("comment", "text", "body", "message", "review", "content", "note", "description"),
    "commented_at": ("created_at", "created", "date", "posted_at", "timestamp"),
    "name": ("title", "company_name", "display_name", "label"),
    "stage": ("stage_name", "deal_stage", "pipeline_stage"),
    "status": ("state",),
}  # fmt: skip
"""Contract column to names that it goes by elsewhere, the likeliest first."""
CHANGED = COLUMNS["updated_at"]
_PERSONAL = re.compile(
    r"passw|passwd|secret|token|ssn|social_security|passport|iban|card_?n|cvv|tax_?id|^ip$|ip_addr|national_id|address"
)
_GONE = {"deleted", "archived", "removed", "trashed"}
_ALIKE = 0.86
_FITS = 2.0
"""Points from which a contract is proposed: a name that says it, or a few columns."""
_TIMES = {Kind.TIMESTAMP, Kind.DATE}
_NUMBERS = {Kind.INTEGER, Kind.NUMBER, Kind.MONEY}
_TIME_TYPES = re.compile(r"time|date")
_NUMBER_TYPES = re.compile(r"int|num|dec|real|double|float|serial|money")
_OTHER_TYPES = re.compile(r"bool|bit|json|array|bytea|blob|uuid")
_SAMPLE = 500


@dataclass(frozen=True)
class Found:
    """What is known of one table, file or list of records.

    Attributes:
        name: What it is called.
        columns: Column to type, in any database's words; '' where it is not known.
        key: Columns of the primary key.
        origin: ``from`` of the stream, as plain data.
        has_cursor: Whether an increment can be asked for.
        more: Further keys of the stream that are known, as plain data.
    """

    name: str
    columns: Mapping[str, str]
    key: Sequence[str]
    origin: Mapping[str, object]
    has_cursor: bool = False
    more: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Proposal:
    """How one stream could be read.

    Attributes:
        found: What there is.
        contract: Name of the contract; None where none fits.
        fields: Contract column to source column.
        missing: Columns that the contract requires and nothing fits.
        key: Columns of the primary key.
        cursor: Column of the cursor.
        cursors: Other columns that could be it.
        hidden: Columns that look personal and are mapped nowhere.
    """

    found: Found
    contract: str | None
    fields: Mapping[str, str]
    missing: Sequence[str]
    key: Sequence[str]
    cursor: str | None
    cursors: Sequence[str]
    hidden: Sequence[str]

    @property
    def deleted(self) -> tuple[str, str] | None:
        """The column that says that a record is gone, and the value that says so."""
        for name, kind in self.found.columns.items():
            if _plain(name).removeprefix("is") in _GONE and name not in self.fields.values():
                return name, "1" if _NUMBER_TYPES.search(kind.lower()) else "true"
        return None

    @property
    def unmapped(self) -> list[str]:
        """Columns that fill nothing."""
        used = {*self.fields.values(), *self.key, *self.hidden, *(self.deleted or ())[:1]}
        return [name for name in self.found.columns if name not in used]

    def is_personal(self, column: str) -> bool:
        """Whether a contract's column says who somebody is."""
        return CONTRACTS[str(self.contract)].column(column).pii is Pii.DIRECT


def propose(found: Found) -> Proposal:
    """The contract that fits best, and what fills it."""
    best: tuple[float, str | None, dict[str, str]] = (_FITS, None, {})
    for name, contract in CONTRACTS.items():
        if name not in TABLES:
            continue
        fields = match(contract, found)
        lacks = sum(column.required and column.name not in fields for column in contract.columns)
        # A name says what a table is; without one, most of the columns must.
        points = _points_of_name(found.name, TABLES[name]) or -lacks
        points += 3 * len(fields) / max(6, len(found.columns))
        if points > best[0]:
            best = (points, name, fields)
    _, contract_name, fields = best
    missing = [
        column.name
        for column in (CONTRACTS[contract_name].columns if contract_name else ())
        if column.required and column.name not in fields
    ]
    times = [name for name, kind in found.columns.items() if _fits(Kind.TIMESTAMP, kind, is_sure=True)]
    known = [_plain(name) for name in ("updated_at", *CHANGED)]
    dated = [name for name, kind in found.columns.items() if _fits(Kind.TIMESTAMP, kind) and _plain(name) in known]
    changed = sorted(dated, key=lambda name: known.index(_plain(name)))
    cursor = changed[0] if changed and found.has_cursor else None
    key = list(found.key) or [name for name in found.columns if _plain(name) in {"id", "uuid", "key", "guid"}][:1]
    used = {*fields.values(), *key}
    return Proposal(
        found=found,
        contract=contract_name,
        fields=fields,
        missing=missing,
        key=key,
        cursor=cursor,
        cursors=[name for name in times if name != cursor] if found.has_cursor else [],
        hidden=[name for name in found.columns if name not in used and _PERSONAL.search(_snake(name))],
    )


def match(contract: Contract, found: Found) -> dict[str, str]:
    """Contract column to the source column that fits it best, each source column once."""
    wanted = [*contract.columns, contract.column("updated_at")]
    pairs = sorted(
        (
            (-score, position, column.name, name)
            for position, column in enumerate(wanted)
            for name, kind in found.columns.items()
            if (score := _alike(column, name, found.name)) and _fits(column.kind, kind)
        ),
    )
    fields: dict[str, str] = {}
    taken: set[str] = set()
    for _, _, column, name in pairs:
        if column not in fields and name not in taken:
            fields[column] = name
            taken.add(name)
    # What a contract requires may be what another column says too: a ticket is opened when it is created.
    for _, _, column, name in pairs:
        if column not in fields and contract.column(column).required:
            fields[column] = name
    return {column.name: fields[column.name] for column in wanted if column.name in fields}


def guessed_types(rows: pl.DataFrame) -> dict[str, str]:
    """Types of columns of text, by what all of their values look like; '' where they are empty."""
    found = {}
    for name in (name for name, kind in rows.schema.items() if kind == pl.String):
        values = rows[name].drop_nulls().head(_SAMPLE)
        found[name] = next(
            (kind for kind, pattern in _LOOKS.items() if values.len() and values.str.contains(pattern).all()),
            "text" if values.len() else "",
        )
    return found


_LOOKS = {
    "boolean": r"^(true|false)$",
    "number": r"^-?\d+(\.\d+)?$",
    "timestamp": r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d",
    "date": r"^\d{4}-\d\d-\d\d$",
    "json": r"^[\[{]",
}


def _alike(column: Column, name: str, table: str) -> float:
    """How likely a source column is a contract's column, from its name: 0 to 1."""
    plain = _plain(name)
    singular = _singular(_plain(table))
    # "customer_name" of customers is its "name".
    own = plain.removeprefix(singular) or plain
    wanted = [_plain(column.name), *map(_plain, COLUMNS.get(column.name, ()))]
    for candidate, malus in ((plain, 0.0), (own, 0.02)):
        if candidate in wanted:
            return 1 - malus - 0.01 * wanted.index(candidate)
    ratio = difflib.SequenceMatcher(None, plain, wanted[0]).ratio()
    return 0.8 * ratio if ratio >= _ALIKE else 0.0


def _fits(kind: Kind, type_name: str, *, is_sure: bool = False) -> bool:
    """Whether values of a type can be of a contract's kind; ``is_sure`` asks for a type that says so."""
    lower = type_name.lower()
    if kind in _TIMES:
        return bool(_TIME_TYPES.search(lower)) or (not is_sure and not _known(lower))
    if kind in _NUMBERS:
        return bool(_NUMBER_TYPES.search(lower)) or not _known(lower)
    if kind in {Kind.EMAIL, Kind.PHONE, Kind.PERSON_NAME}:
        return not _TIME_TYPES.search(lower)
    return True


def _known(type_name: str) -> bool:
    return any(pattern.search(type_name) for pattern in (_TIME_TYPES, _NUMBER_TYPES, _OTHER_TYPES))


def _points_of_name(table: str, names: Collection[str]) -> float:
    words = [_singular(word) for word in _snake(table.rpartition(".")[2]).split("_") if word]
    whole = "".join(words)
    if whole in names:
        return 3.0
    # The last word says what a row is: "customer_orders" are orders.
    return 2.5 if words and words[-1] in names else 0.0


def _snake(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")


def _plain(name: str) -> str:
    return _snake(name.rpartition(".")[2]).replace("_", "")


def _singular(word: str) -> str:
    for ending, single in (("ies", "y"), ("sses", "ss"), ("ses", "se"), ("s", "")):
        if word.endswith(ending) and not word.endswith("ss") and len(word) > 3:
            return word.removesuffix(ending) + single
    return word
