"""What each record holds that may say whose it is.

A record is a node: a row of a table that names a person, a web visitor (``source``, cookie) or a web login
(``source``, user id). Evidence is one value of one rule on one node; two nodes that hold the same value under the
same rule are linked, unless the value is shared by several people (``sharing``).

Rules, from the surest:

- ``customer_id``: the row names a customer record; ``external_id``: it does so by the id that the source gives to
  others, or two customer records of a source carry the same one.
- ``parent``: the row belongs to another (a response to its invitation, a comment to its response or ticket).
- ``email``, ``phone``: the normalised value. ``login``: the web user id on a customer and on events.
- ``cookie``: the cookie that events carry, the logins seen on it, and the customers known to own it. That a visitor has
  its own cookie is evidence only where one of the others holds it: most visitors are known by nothing else.

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

NODES_SCHEMA: dict[str, pl.DataType] = {
    "node": pl.UInt32(),
    **dict.fromkeys(NODE, pl.String()),
    "first_extracted_at": TIMESTAMP_TYPE,
    "is_deleted": pl.Boolean(),
}

_SEPARATOR = "\x1f"
_ANY_SOURCE = "*"


@dataclass(frozen=True)
class Values:
    """Values that records hold, numbered: numbers are several times cheaper to compare than texts.

    Attributes:
        links: Which record holds which value: ``node`` and ``value``, a pair possibly more than once.
        texts: The values as they are, each once; the position is the number.
    """

    links: pl.DataFrame
    texts: pl.Series


@dataclass(frozen=True)
class Collected:
    """What the clean layer says of people.

    Attributes:
        nodes: One row a record (``NODES_SCHEMA``), in the order of its key; ``node`` is its position.
        evidence: What records hold, by rule.
        profiles: ``name`` and ``birth_date`` of customer records.
    """

    nodes: pl.DataFrame
    evidence: dict[str, Values]
    profiles: dict[str, Values]


def collect(tables: Mapping[str, pl.LazyFrame]) -> Collected:
    """Gather nodes and evidence.

    Args:
        tables: Clean tables by name, of ``INPUTS``; a table that is missing has no rows. ``customer`` may hold
            deleted rows: they still say that other records are one person, and keep the person's id.
    """
    frames = {name: tables[name] if name in tables else pl.LazyFrame(schema=CONTRACTS[name].schema) for name in INPUTS}
    web = _web(frames["web_event"])
    numbered = _numbered(
        {
            "customer": _customers(frames["customer"]),
            **{name: _records(name, frames[name]) for name in RECORD_TABLES[1:]},
            VISITOR: _web_nodes(web, "anonymous_id"),
            LOGIN: _web_nodes(web, "user_id"),
        }
    )
    customer, visitors, logins = numbered["customer"], numbered[VISITOR], numbered[LOGIN]
    records = {name: numbered[name] for name in RECORD_TABLES[1:]}
    seen_together = web.drop_nulls(["anonymous_id", "user_id"])
    found = [*_contact_values(customer)]
    for rows in records.values():
        found += _contact_values(rows)
    found += _references(customer, records)
    found += _logins(customer, logins)
    found += _cookies(customer, visitors, logins, seen_together)
    texts = {rule: [rows for its, rows in found if its == rule] for rule in RULES if rule != "parent"}
    nodes = [rows.select(pl.lit(name).alias("record_table"), *_NODE_COLUMNS) for name, rows in numbered.items()]
    return Collected(
        pl.concat(nodes, rechunk=True).select(NODES_SCHEMA.keys()),
        {rule: numbered_values(pl.concat(rows)) for rule, rows in texts.items()}
        | {"parent": _parents(customer, records)},
        {
            "name": numbered_values(_values(customer, pl.col("full_name"))),
            "birth_date": numbered_values(_values(customer, pl.col("birth_date").cast(pl.String))),
        },
    )


def numbered_values(rows: pl.DataFrame) -> Values:
    """Number texts.

    Args:
        rows: ``node`` and ``value``, a text and never null.
    """
    held = rows.group_by(text="value").agg("node").with_row_index("value")
    return Values(held.select("node", "value").explode("node"), held["text"])


_NODE_COLUMNS = ("node", "source", "source_id", "first_extracted_at", "is_deleted")
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


def _web_nodes(web: pl.DataFrame, key: str) -> pl.DataFrame:
    found = web.drop_nulls(key).group_by("source", pl.col(key).alias("source_id"))
    return found.agg(pl.col("first_extracted_at").min()).with_columns(is_deleted=pl.lit(False))


def _numbered(frames: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Each frame with the position of its rows among all, ``node``, in the order of table, source and id."""
    numbered, first = {}, 0
    for name in sorted(frames):
        # Source by source: one column is sorted several times faster than two.
        rows, sources = frames[name], frames[name]["source"].unique().sort()
        by_source = [rows.filter(pl.col("source") == source).sort("source_id") for source in sources]
        rows = pl.concat([rows.clear(), *by_source])
        numbered[name] = rows.with_columns(node=pl.int_range(first, first + rows.height, dtype=pl.UInt32))
        first += rows.height
    return numbered


def _join(*parts: pl.Expr | str) -> pl.Expr:
    return pl.concat_str(*parts, separator=_SEPARATOR)


def _rows(frame: pl.DataFrame, rule: str, value: pl.Expr) -> tuple[str, pl.DataFrame]:
    return rule, _values(frame, value)


def _values(frame: pl.DataFrame, value: pl.Expr) -> pl.DataFrame:
    return frame.select("node", value.alias("value")).drop_nulls("value")


def _contact_values(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    return [_rows(rows, rule, pl.col(rule)) for rule in ("email", "phone")]


def _references(customer: pl.DataFrame, records: Mapping[str, pl.DataFrame]) -> list[tuple[str, pl.DataFrame]]:
    """Records to the customer they name, by external id where one fits, else by the record's own id."""
    external = customer.drop_nulls("external_id").select("source", "external_id").unique()
    parts = [_rows(customer, "external_id", _join("source", "external_id"))]
    named: list[pl.DataFrame] = []
    for rows in records.values():
        referring = rows.drop_nulls("customer_id").select(
            "node", "customer_id", owner=pl.coalesce("customer_source", "source")
        )
        target = external.rename({"source": "owner", "external_id": "customer_id"})
        outside = referring.join(target, on=["owner", "customer_id"], how="semi")
        inside = referring.join(target, on=["owner", "customer_id"], how="anti")
        parts.append(_rows(outside, "external_id", _join("owner", "customer_id")))
        parts.append(_rows(inside, "customer_id", _join("owner", "customer_id")))
        named.append(inside.select(source="owner", source_id="customer_id"))
    own = customer.join(pl.concat(named), on=["source", "source_id"], how="semi")
    parts.append(_rows(own, "customer_id", _join("source", "source_id")))
    return parts


def _parents(customer: pl.DataFrame, records: Mapping[str, pl.DataFrame]) -> Values:
    """A row to the row of the same source that it belongs to. Both ends carry the parent's key as value."""
    claims = pl.concat(
        [
            records["response"].select("node", "source", parent=pl.lit("invitation"), key="invitation_id"),
            records["invitation"].select("node", "source", parent=pl.lit("response"), key="response_id"),
            records["comment"].select("node", "source", parent="parent_table", key="parent_id"),
        ]
    )
    claims = claims.drop_nulls(["parent", "key"])
    links = [pl.DataFrame(schema={"node": pl.UInt32(), "value": pl.UInt32()})]
    texts = [pl.Series("text", dtype=pl.String)]
    first = 0
    # Table by table and numbered by the parent's node, so that few texts are compared and none that are put together.
    for name, rows in {"customer": customer, **records}.items():
        known = rows.select("source", key="source_id", parent_node="node")
        found = claims.filter(pl.col("parent") == name).join(known, on=["source", "key"])
        parents = found.unique("parent_node").with_row_index("value", offset=first)
        numbers = parents.select("parent_node", "value")
        links.append(numbers.rename({"parent_node": "node"}))
        links.append(found.join(numbers, on="parent_node").select("node", "value"))
        texts.append(parents.select(_join("parent", "source", "key").alias("text")).to_series())
        first += parents.height
    return Values(pl.concat(links), pl.concat(texts, rechunk=True))


def _logins(customer: pl.DataFrame, logins: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """Customers and web logins.

    A source that has both customers with logins and web logins keeps them to itself; elsewhere a login means the
    same in every source, for the CRM does not say whose web users it means.
    """
    on_customers = customer.drop_nulls("login")
    own = set(on_customers["source"].unique()) & set(logins["source"].unique())
    space = pl.when(pl.col("source").is_in(list(own))).then(pl.col("source")).otherwise(pl.lit(_ANY_SOURCE))
    return [
        _rows(on_customers, "login", _join(space, "login")),
        _rows(logins, "login", _join(space, "source_id")),
    ]


def _cookies(
    customer: pl.DataFrame, visitors: pl.DataFrame, logins: pl.DataFrame, seen_together: pl.DataFrame
) -> list[tuple[str, pl.DataFrame]]:
    """Logins seen on cookies, customers that a cookie is known to be of, and the visitors with these cookies.

    A customer's cookie is looked for in the customer's own source, then in the one source that has it.
    """
    known = customer.drop_nulls("anonymous_id").select("node", "source", "anonymous_id")
    seen = visitors.select("source", anonymous_id="source_id").join(known, on="anonymous_id", how="semi")
    only = seen.group_by("anonymous_id").agg(pl.col("source").first().alias("seen_in"), pl.len().alias("sources"))
    owners = (
        known.join(seen.with_columns(is_own=pl.lit(True)), on=["source", "anonymous_id"], how="left")
        .join(only.filter(pl.col("sources") == 1), on="anonymous_id", how="left")
        .with_columns(space=pl.when("is_own").then("source").otherwise(pl.coalesce("seen_in", "source")))
    )
    with_login = seen_together.join(logins, left_on=["source", "user_id"], right_on=["source", "source_id"])
    others = [
        _rows(with_login, "cookie", _join("source", "anonymous_id")),
        _rows(owners, "cookie", _join("space", "anonymous_id")),
    ]
    held = pl.concat([rows.select("value") for _, rows in others])
    return [*others, ("cookie", _values(visitors, _join("source", "source_id")).join(held, on="value", how="semi"))]
