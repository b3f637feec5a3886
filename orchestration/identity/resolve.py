"""Evidence to persons: judge values from the surest rule on, join what is left, name each person.

A person is a connected component of records. Its id is made from its oldest record (the least
``first_extracted_at``, then the order of tables and the record's key), so it is a function of the data alone: the
same data always gives the same id, and a person keeps its id while the oldest record stays, whoever joins.

Belongs here: the order of the rules, components, ids, hashing. Does not belong here: collecting evidence, deciding
that a value is shared, comparing nights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from orchestration.contracts import DERIVED
from orchestration.identity.evidence import (
    LOGIN,
    NODE,
    RECORD_TABLES,
    VISITOR,
    Collected,
    Values,
    collect,
    numbered_values,
)
from orchestration.identity.sharing import (
    BLOCKED_SCHEMA,
    LISTED,
    SharingRules,
    cluster,
    judge,
    listed,
    packed,
    unpacked,
)
from orchestration.pseudonym import keyed_digests

SURE = ("customer_id", "external_id", "parent")
JUDGED = ("login", "email", "phone", "cookie")
"""Rules whose values may be shared, from the surest; each is judged on what the ones before have joined."""
_AGE_ORDER = (*RECORD_TABLES, LOGIN, VISITOR)
_HASH_BYTES = 16
"""Of the 32 of SHA-256: what RFC 2104 allows of an HMAC, and enough to tell any number of values and persons apart."""


@dataclass(frozen=True)
class Identities:
    """What came out.

    Attributes:
        evidence: The table ``identity_evidence``.
        person_record: The table ``person_record``.
        sizes: How many records each person has, web visitors left out.
    """

    evidence: pl.DataFrame
    person_record: pl.DataFrame
    sizes: pl.Series


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
        hmac_key: Key of the hashes of values; without one they are plain SHA-256. Of both, the first 128 bits are kept.

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
    nodes, evidence, traits = collected.nodes, dict(collected.evidence), dict(collected.profiles)
    if blocked is None:
        blocked = pl.DataFrame(schema=BLOCKED_SCHEMA)
    reasons = {rule: _listed(rule, values.texts, blocked) for rule, values in evidence.items()}
    sure = _together([_free(evidence[rule], reasons[rule]) for rule in SURE])
    holder = cluster(sure.links, np.arange(nodes.height))
    for rule in JUDGED:
        judgement = judge(rule, _free(evidence[rule], reasons[rule]), holder, traits, rules or SharingRules())
        found = reasons[rule].scatter(judgement.blocked["value"], judgement.blocked["block_reason"])
        traits[rule] = _free(evidence[rule], found)
        agreed = numbered_values(judgement.agreed)
        evidence[rule] = _together([evidence[rule], agreed])
        reasons[rule] = found.extend_constant(None, len(agreed.texts))
        holder = cluster(_free(evidence[rule], reasons[rule]).links, holder)
    return Identities(
        _evidence_table(evidence, reasons, nodes, hmac_key), _person_table(nodes, holder), _sizes(nodes, holder)
    )


def _listed(rule: str, texts: pl.Series, blocked: pl.DataFrame) -> pl.Series:
    """The reason for each value, null where there is none."""
    is_listed = listed(rule, texts, blocked).alias("is_listed")
    return pl.select(pl.when(is_listed).then(pl.lit(LISTED)).alias("block_reason")).to_series()


def _free(values: Values, reasons: pl.Series) -> Values:
    """Values without the links of those that are blocked."""
    return Values(values.links.filter(reasons.is_null()[values.links["value"]]), values.texts)


def _together(parts: list[Values]) -> Values:
    """Values of several kinds side by side, numbered on."""
    links, first = [], 0
    for values in parts:
        links.append(values.links.with_columns(pl.col("value") + first))
        first += len(values.texts)
    return Values(pl.concat(links), pl.concat([values.texts for values in parts]))


def _digests(rule: str, texts: pl.Series, hmac_key: bytes | None) -> pl.Series:
    messages = _messages(texts.to_frame("text").select(pl.concat_str(pl.lit(f"{rule}:"), "text")).to_series())
    digests = keyed_digests(messages, hmac_key) if hmac_key else _plain_digests(messages)
    return pl.Series("digest", digests, dtype=pl.Binary)


def _messages(texts: pl.Series) -> list[bytes]:
    return texts.cast(pl.Binary).to_list()


def _plain_digests(messages: list[bytes]) -> list[bytes]:
    return [hashlib.sha256(message).digest() for message in messages]


def _evidence_table(
    evidence: Mapping[str, Values], reasons: Mapping[str, pl.Series], nodes: pl.DataFrame, hmac_key: bytes | None
) -> pl.DataFrame:
    is_live = ~nodes["is_deleted"]
    values, links, orders, first = [], [], [], 0
    for rule in sorted(evidence):
        digests = _digests(rule, evidence[rule].texts, hmac_key)
        # Digests are told apart by their first bytes; should two have the same, whoever writes the table sorts it.
        order = digests.bin.head(8).bin.reinterpret(dtype=pl.UInt64, endianness="big").arg_sort().to_numpy() + first
        places = np.empty(len(order), dtype=np.uint32)
        places[order - first] = np.arange(first, first + len(order), dtype=np.uint32)
        first += len(order)
        orders.append(order)
        values.append(
            digests.to_frame().select(
                pl.lit(rule).alias("rule"),
                reasons[rule].alias("block_reason"),
                value_hash=pl.col("digest").bin.head(_HASH_BYTES).bin.encode("hex"),
            )
        )
        held = evidence[rule].links.select("node", place=pl.Series(places)[evidence[rule].links["value"]])
        links.append(held.filter(is_live[held["node"]]).select(packed("node", "place")).to_series())
    # Records and values are in the order of their keys, and so are the rows.
    rows = unpacked(pl.concat(links).unique().sort(), "node", "place")
    value = pl.Series(np.concatenate(orders)[rows["place"].to_numpy()])
    table = pl.concat([nodes.select(NODE)[rows["node"]], pl.concat(values, rechunk=True)[value]], how="horizontal")
    table = table.with_columns(is_blocked=pl.col("block_reason").is_not_null())
    return table.select(DERIVED["identity_evidence"].schema.keys())


def _person_table(nodes: pl.DataFrame, component: np.ndarray) -> pl.DataFrame:
    keys = nodes.select(NODE)[_oldest(nodes, component)].select(pl.concat_str(*NODE, separator="\x1f")).to_series()
    hashes = pl.Series("hash", _plain_digests(_messages(keys)), dtype=pl.Binary).bin.head(_HASH_BYTES).bin.encode("hex")
    ids = hashes.to_frame().select(pl.lit("p_") + pl.col("hash")).to_series()
    persons = nodes.with_columns(person_id=ids[component])
    return persons.filter(~pl.col("is_deleted")).select(DERIVED["person_record"].schema.keys())


def _oldest(nodes: pl.DataFrame, component: np.ndarray) -> np.ndarray:
    """The oldest node of each component: by when it was first extracted, then by table and key."""
    count = int(component.max(initial=-1)) + 1
    latest = np.iinfo(np.int64).max
    seen = nodes["first_extracted_at"].to_physical().fill_null(latest).to_numpy()
    earliest = np.full(count, latest)
    np.minimum.at(earliest, component, seen)
    oldest = np.flatnonzero(seen == earliest[component])
    # Nodes of one table are numbered in the order of their keys.
    table = nodes["record_table"].cast(pl.Enum(_AGE_ORDER)).to_physical().to_numpy()[oldest]
    first = np.full(count, latest)
    np.minimum.at(first, component[oldest], table.astype(np.int64) << 32 | oldest)
    return first & 0xFFFFFFFF


def _sizes(nodes: pl.DataFrame, component: np.ndarray) -> pl.Series:
    is_live = ~nodes["is_deleted"].to_numpy()
    is_counted = is_live & (nodes["record_table"] != VISITOR).to_numpy()
    live = np.bincount(component[is_live])
    return pl.Series(np.bincount(component[is_counted], minlength=len(live))[live > 0])
