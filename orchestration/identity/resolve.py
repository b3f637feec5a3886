"""Evidence to persons: judge values from the surest rule on, join what is left, name each person.

A person is a connected component of records. Its id is made from its oldest record (the least
``first_extracted_at``, then the order of tables and the record's key), so it is a function of the data alone: the
same data always gives the same id, and a person keeps its id while the oldest record stays, whoever joins.

Belongs here: the order of the rules, components, ids, hashing. Does not belong here: collecting evidence, deciding
that a value is shared, comparing nights.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from orchestration.contracts import DERIVED
from orchestration.identity.evidence import LOGIN, NODE, RECORD_TABLES, VISITOR, Collected, collect
from orchestration.identity.sharing import BLOCKED_SCHEMA, LISTED, SharingRules, cluster, judge, listed

SURE = ("customer_id", "external_id", "parent")
JUDGED = ("login", "email", "phone", "cookie")
"""Rules whose values may be shared, from the surest; each is judged on what the ones before have joined."""
_AGE_ORDER = (*RECORD_TABLES, LOGIN, VISITOR)


@dataclass(frozen=True)
class Identities:
    """The tables ``identity_evidence`` and ``person_record``."""

    evidence: pl.DataFrame
    person_record: pl.DataFrame


def resolve_identities(
    tables: Mapping[str, pl.LazyFrame],
    blocked: pl.DataFrame | None = None,
    *,
    rules: SharingRules | None = None,
    hmac_key: bytes | None = None,
) -> Identities:
    """Find out which records are one person.

    Args:
        tables: Clean tables by name, see ``evidence.collect``.
        blocked: Values that link nobody: ``kind`` (a rule, or ``email_local_part``), ``value``, ``reason``.
        rules: How strict to be with values that people share.
        hmac_key: Key of the hashes of values; without one they are plain SHA-256.

    Returns:
        Evidence and persons of records that are not deleted; a deleted customer record still links the others.
    """
    return resolve(collect(tables), blocked, rules=rules, hmac_key=hmac_key)


def resolve(
    collected: Collected,
    blocked: pl.DataFrame | None = None,
    *,
    rules: SharingRules | None = None,
    hmac_key: bytes | None = None,
) -> Identities:
    """``resolve_identities`` on evidence that is collected already."""
    nodes, evidence = collected.nodes, collected.evidence
    if blocked is None:
        blocked = pl.DataFrame(schema=BLOCKED_SCHEMA)
    reason = pl.when(listed(evidence, blocked)).then(pl.lit(LISTED)).otherwise(pl.lit(None, dtype=pl.String))
    evidence = evidence.select("node", "rule", "value", block_reason=reason)
    traits = _traits(collected, evidence)

    holder = np.arange(nodes.height)
    settled: list[pl.DataFrame] = []
    for rule in SURE:
        ours = evidence.filter(pl.col("rule") == rule)
        holder = cluster(ours.filter(pl.col("block_reason").is_null()), holder)
        settled.append(ours)
    for rule in JUDGED:
        ours = evidence.filter(pl.col("rule") == rule)
        free = ours.filter(pl.col("block_reason").is_null()).drop("block_reason")
        judgement = judge(free, holder, traits, rules or SharingRules())
        free = free.join(judgement.blocked, on=["rule", "value"], how="anti")
        found = ours.join(judgement.blocked.rename({"block_reason": "found"}), on=["rule", "value"], how="left")
        settled.append(found.select("node", "rule", "value", pl.coalesce("block_reason", "found")))
        settled.append(judgement.agreed.with_columns(block_reason=pl.lit(None, dtype=pl.String)))
        traits = traits.join(
            judgement.blocked.filter(pl.col("rule") == rule).select(trait="rule", text=pl.col("value").cast(pl.String)),
            on=["trait", "text"],
            how="anti",
        )
        holder = cluster(pl.concat([free, judgement.agreed]), holder)
    return Identities(
        _evidence_table(pl.concat(settled), nodes, hmac_key),
        _person_table(nodes.with_columns(component=pl.Series(holder))),
    )


def _traits(collected: Collected, evidence: pl.DataFrame) -> pl.DataFrame:
    """What holders of a value are compared by: ``node``, ``trait``, ``text``."""
    profiles = collected.profiles
    values = evidence.filter(pl.col("rule").is_in(["email", "login"]) & pl.col("block_reason").is_null())
    return pl.concat(
        [
            profiles.select("node", trait=pl.lit("name"), text="name").drop_nulls("text"),
            profiles.select("node", trait=pl.lit("birth_date"), text=pl.col("birth_date").cast(pl.String)).drop_nulls(
                "text"
            ),
            values.select("node", trait="rule", text=pl.col("value").cast(pl.String)),
        ]
    )


def _evidence_table(evidence: pl.DataFrame, nodes: pl.DataFrame, hmac_key: bytes | None) -> pl.DataFrame:
    values = evidence.select("rule", "value").unique()
    texts = values.select(pl.concat_str("rule", pl.lit(":"), pl.col("value").cast(pl.String))).to_series().to_list()
    if hmac_key:
        hashes = [hmac.digest(hmac_key, text.encode(), "sha256").hex() for text in texts]
    else:
        hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    # The place of a hash takes its place in sorting: the rows come out in the order of the table's key.
    values = values.with_columns(value_hash=pl.Series(hashes, dtype=pl.String)).sort("rule", "value_hash")
    values = values.with_row_index("place")
    rows = evidence.join(values.select("rule", "value", "place"), on=["rule", "value"])
    rows = rows.filter(~nodes["is_deleted"].gather(rows["node"])).sort("node", "place")
    held, valued = nodes.select(NODE)[rows["node"]], values.select("value_hash")[rows["place"]]
    table = pl.concat([rows, held, valued], how="horizontal")
    contract = DERIVED["identity_evidence"]
    return table.with_columns(is_blocked=pl.col("block_reason").is_not_null()).select(contract.schema.keys())


def _person_table(nodes: pl.DataFrame) -> pl.DataFrame:
    rank = pl.col("record_table").replace_strict(_AGE_ORDER, np.arange(len(_AGE_ORDER)), return_dtype=pl.Int8)
    oldest = nodes.select("component", "node", "first_extracted_at", rank=rank)
    for name in ("first_extracted_at", "rank"):
        oldest = oldest.filter(pl.col(name) == pl.col(name).min().over("component"))
    # Nodes of one table are numbered in the order of their keys.
    oldest = oldest.group_by("component").agg(pl.col("node").min())
    keys = nodes.select(pl.concat_str(*NODE, separator="\x1f"))[oldest["node"]].to_series().to_list()
    ids = ["p_" + hashlib.sha256(key.encode()).hexdigest()[:32] for key in keys]
    named = oldest.select("component", person_id=pl.Series(ids, dtype=pl.String))
    contract = DERIVED["person_record"]
    live = nodes.filter(~pl.col("is_deleted")).join(named, on="component", maintain_order="left")
    return live.select(contract.schema.keys())
