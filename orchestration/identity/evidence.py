"""What each record holds that may say whose it is.

A record is a node: a row of a table that names a person, a web visitor (``source``, cookie) or a web login
(``source``, user id). Evidence is one value of one rule on one node; two nodes that hold the same value under the
same rule are linked, unless the value is shared by several people (``sharing``).

Rules, from the surest:

- ``customer_id``: the row names a customer record; ``external_id``: it does so by the id that the source gives to
  others, or two customer records of a source carry the same one.
- ``parent``: the row belongs to another (a response to its invitation, a comment to its response or ticket).
- ``email``, ``phone``: the normalised value. ``login``: the web user id on a customer and on events.
- ``cookie``: the cookie that events carry, the logins seen on it, and the customers known to own it.

Belongs here: which columns are evidence, and what a reference means. Does not belong here: whether a value links.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from orchestration.contracts import CONTRACTS
from orchestration.contracts.model import TIMESTAMP_TYPE

RULES = ("customer_id", "external_id", "parent", "email", "phone", "login", "cookie")
RECORD_TABLES = ("customer", "sales_order", "invitation", "response", "ticket", "opportunity", "comment")
"""Tables whose rows belong to a person, in the order in which they give their id to a person of equal age."""
VISITOR, LOGIN = "visitor", "login"
NODE = ("record_table", "source", "source_id")
INPUTS = (*RECORD_TABLES, "web_event")

_NODE_SCHEMA = dict.fromkeys(NODE, pl.String())
NODES_SCHEMA: dict[str, pl.DataType] = {
    **_NODE_SCHEMA,
    "first_extracted_at": TIMESTAMP_TYPE,
    "is_deleted": pl.Boolean(),
}
EVIDENCE_SCHEMA: dict[str, pl.DataType] = {**_NODE_SCHEMA, "rule": pl.String(), "value": pl.String()}
PROFILE_SCHEMA: dict[str, pl.DataType] = {**_NODE_SCHEMA, "name": pl.String(), "birth_date": pl.Date()}

_SEPARATOR = "\x1f"
_ANY_SOURCE = "*"


@dataclass(frozen=True)
class Collected:
    """What the clean layer says of people.

    Attributes:
        nodes: One row a record (``NODES_SCHEMA``).
        evidence: One row a value of a rule on a record (``EVIDENCE_SCHEMA``), values as they are.
        profiles: Name and date of birth of customer records (``PROFILE_SCHEMA``).
    """

    nodes: pl.DataFrame
    evidence: pl.DataFrame
    profiles: pl.DataFrame


def collect(tables: Mapping[str, pl.LazyFrame]) -> Collected:
    """Gather nodes and evidence.

    Args:
        tables: Clean tables by name, of ``INPUTS``; a table that is missing has no rows. ``customer`` may hold
            deleted rows: they still say that other records are one person, and keep the person's id.
    """
    frames = {name: tables[name] if name in tables else pl.LazyFrame(schema=CONTRACTS[name].schema) for name in INPUTS}
    customer = _customers(frames["customer"])
    web = _web(frames["web_event"])
    records = {name: _records(name, frames[name]) for name in RECORD_TABLES[1:]}
    nodes = [customer.select(*_node("customer"), *_age())]
    nodes += [rows.select(*_node(name), *_age()) for name, rows in records.items()]
    visitors, logins = web.drop_nulls("anonymous_id"), web.drop_nulls("user_id")
    nodes.append(_web_nodes(visitors, VISITOR, "anonymous_id"))
    nodes.append(_web_nodes(logins, LOGIN, "user_id"))

    evidence = [*_contact_values("customer", customer)]
    for name, rows in records.items():
        evidence += _contact_values(name, rows)
    evidence += _references(customer, records)
    evidence += _parents(customer, records)
    evidence += _logins(customer, logins)
    evidence += _cookies(customer, visitors)
    profiles = customer.select(*_node("customer"), name="full_name", birth_date="birth_date")
    return Collected(
        pl.concat(nodes).select(NODES_SCHEMA.keys()),
        pl.concat(evidence).select(EVIDENCE_SCHEMA.keys()).unique(maintain_order=False),
        profiles.filter(pl.col("name").is_not_null() | pl.col("birth_date").is_not_null()),
    )


_CUSTOMER_COLUMNS = (
    "source",
    "source_id",
    "first_extracted_at",
    "is_deleted",
    "external_id",
    "full_name",
    "email",
    "phone",
    "login",
    "anonymous_id",
    "birth_date",
)
_RECORD_COLUMNS = (
    "source",
    "source_id",
    "first_extracted_at",
    "is_deleted",
    "customer_source",
    "customer_id",
    "email",
    "phone",
    "invitation_id",
    "response_id",
    "parent_table",
    "parent_id",
)


def _customers(rows: pl.LazyFrame) -> pl.DataFrame:
    return rows.select(_CUSTOMER_COLUMNS).collect()


def _records(table: str, rows: pl.LazyFrame) -> pl.DataFrame:
    columns = set(CONTRACTS[table].schema)
    missing = [pl.lit(None, dtype=pl.String).alias(name) for name in _RECORD_COLUMNS if name not in columns]
    return rows.select([name for name in _RECORD_COLUMNS if name in columns]).with_columns(missing).collect()


def _web(rows: pl.LazyFrame) -> pl.DataFrame:
    """One row a source, cookie and login that were seen together."""
    return (
        rows.group_by("source", "anonymous_id", "user_id")
        .agg(pl.col("first_extracted_at").min())
        .collect(engine="streaming")
    )


def _node(table: str) -> list[pl.Expr]:
    return [pl.lit(table).alias("record_table"), pl.col("source"), pl.col("source_id")]


def _age() -> list[pl.Expr]:
    return [pl.col("first_extracted_at"), pl.col("is_deleted")]


def _web_nodes(rows: pl.DataFrame, table: str, key: str) -> pl.DataFrame:
    found = rows.group_by("source", pl.col(key).alias("source_id")).agg(pl.col("first_extracted_at").min())
    return found.select(*_node(table), "first_extracted_at", pl.lit(False).alias("is_deleted"))


def _join(*parts: pl.Expr | str) -> pl.Expr:
    return pl.concat_str(*parts, separator=_SEPARATOR)


def _rows(frame: pl.DataFrame, table: str, rule: str, value: pl.Expr) -> pl.DataFrame:
    return frame.select(*_node(table), pl.lit(rule).alias("rule"), value.alias("value")).drop_nulls("value")


def _contact_values(table: str, rows: pl.DataFrame) -> list[pl.DataFrame]:
    return [_rows(rows, table, rule, pl.col(rule)) for rule in ("email", "phone")]


def _references(customer: pl.DataFrame, records: Mapping[str, pl.DataFrame]) -> list[pl.DataFrame]:
    """Records to the customer they name, by external id where one fits, else by the record's own id."""
    external = customer.drop_nulls("external_id").select("source", "external_id").unique()
    parts = [_rows(customer, "customer", "external_id", _join("source", "external_id"))]
    named: list[pl.DataFrame] = []
    for table, rows in records.items():
        referring = rows.drop_nulls("customer_id").select(
            "source", "source_id", "customer_id", owner=pl.coalesce("customer_source", "source")
        )
        target = external.rename({"source": "owner", "external_id": "customer_id"})
        outside = referring.join(target, on=["owner", "customer_id"], how="semi")
        inside = referring.join(target, on=["owner", "customer_id"], how="anti")
        parts.append(_rows(outside, table, "external_id", _join("owner", "customer_id")))
        parts.append(_rows(inside, table, "customer_id", _join("owner", "customer_id")))
        named.append(inside.select(source="owner", source_id="customer_id"))
    own = customer.join(pl.concat(named).unique(), on=["source", "source_id"], how="semi")
    parts.append(_rows(own, "customer", "customer_id", _join("source", "source_id")))
    return parts


def _parents(customer: pl.DataFrame, records: Mapping[str, pl.DataFrame]) -> list[pl.DataFrame]:
    """A row to the row of the same source that it belongs to. Both ends carry the parent's key as value."""
    response, invitation, comment = records["response"], records["invitation"], records["comment"]
    claims = [
        response.drop_nulls("invitation_id").select(
            "source", "source_id", pl.lit("response").alias("table"), parent=pl.lit("invitation"), key="invitation_id"
        ),
        invitation.drop_nulls("response_id").select(
            "source", "source_id", pl.lit("invitation").alias("table"), parent=pl.lit("response"), key="response_id"
        ),
        comment.drop_nulls(["parent_table", "parent_id"]).select(
            "source", "source_id", pl.lit("comment").alias("table"), parent="parent_table", key="parent_id"
        ),
    ]
    known = pl.concat(
        [customer.select(*_node("customer")), *(rows.select(*_node(name)) for name, rows in records.items())]
    )
    found = pl.concat(claims).join(known, left_on=["parent", "source", "key"], right_on=NODE, how="semi")
    value = _join("parent", "source", "key")
    rule = pl.lit("parent").alias("rule")
    return [
        found.select(pl.col("table").alias("record_table"), "source", "source_id", rule, value.alias("value")),
        found.select(
            pl.col("parent").alias("record_table"),
            "source",
            pl.col("key").alias("source_id"),
            rule,
            value.alias("value"),
        ).unique(),
    ]


def _logins(customer: pl.DataFrame, logins: pl.DataFrame) -> list[pl.DataFrame]:
    """Customers and web logins.

    A source that has both customers with logins and web logins keeps them to itself; elsewhere a login means the
    same in every source, for the CRM does not say whose web users it means.
    """
    on_customers = customer.drop_nulls("login")
    own = set(on_customers["source"].unique()) & set(logins["source"].unique())
    space = pl.when(pl.col("source").is_in(list(own))).then(pl.col("source")).otherwise(pl.lit(_ANY_SOURCE))
    nodes = logins.select("source", source_id="user_id").unique()
    return [
        _rows(on_customers, "customer", "login", _join(space, "login")),
        _rows(nodes, LOGIN, "login", _join(space, "source_id")),
    ]


def _cookies(customer: pl.DataFrame, visitors: pl.DataFrame) -> list[pl.DataFrame]:
    """Visitors, the logins seen on their cookies, and customers that a cookie is known to be of.

    A customer's cookie is looked for in the customer's own source, then in the one source that has it.
    """
    seen = visitors.select("source", "anonymous_id").unique()
    only = seen.group_by("anonymous_id").agg(pl.col("source").first().alias("seen_in"), pl.len().alias("sources"))
    owners = (
        customer.drop_nulls("anonymous_id")
        .select("source", "source_id", "anonymous_id")
        .join(seen.with_columns(is_own=pl.lit(True)), on=["source", "anonymous_id"], how="left")
        .join(only.filter(pl.col("sources") == 1), on="anonymous_id", how="left")
        .with_columns(space=pl.when("is_own").then("source").otherwise(pl.coalesce("seen_in", "source")))
    )
    with_login = visitors.drop_nulls("user_id").select("source", "anonymous_id", source_id="user_id").unique()
    return [
        _rows(seen.with_columns(source_id="anonymous_id"), VISITOR, "cookie", _join("source", "anonymous_id")),
        _rows(with_login, LOGIN, "cookie", _join("source", "anonymous_id")),
        _rows(owners, "customer", "cookie", _join("space", "anonymous_id")),
    ]
