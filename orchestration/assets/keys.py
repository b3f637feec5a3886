"""Names in the asset graph: the key, group and owner of everything, in one place."""

from __future__ import annotations

import dagster as dg

DERIVED_IN_CLEAN = ("response_quality",)
IDENTITY_TABLES = ("identity_evidence", "person_record", "person_change")

BACKFILL_GROUP = "backfill"
"""Group of the partitioned assets; no night materialises them."""

OWNERS = {
    "landing": ["team:data-engineering"],
    "backfill": ["team:data-engineering"],
    "clean": ["team:data-engineering"],
    "identity": ["team:data-engineering"],
    "staging": ["team:analytics-engineering"],
    "intermediate": ["team:analytics-engineering"],
    "marts": ["team:analytics-engineering"],
    "seeds": ["team:analytics-engineering"],
    "semantic": ["team:analytics-engineering"],
    "gates": ["team:data-engineering"],
    "published": ["team:customer-experience"],
    "privacy": ["team:data-engineering"],
}
"""Asset group to its owners."""

PUBLISHED = dg.AssetKey(["published", "release"])
RETENTION = dg.AssetKey(["published", "retention"])
ERASURE = dg.AssetKey(["privacy", "erasure"])
COMPACTION = dg.AssetKey(["privacy", "compaction"])
ERASURE_DONE = dg.AssetKey(["privacy", "erasure_done"])


def landing_key(source: str, stream: str) -> dg.AssetKey:
    """Key of one stream in the landing."""
    return dg.AssetKey(["landing", source, stream])


def backfill_key(unit: str, source: str, stream: str) -> dg.AssetKey:
    """Key of one stream's rows by ``day`` or ``month``."""
    return dg.AssetKey([f"backfill_by_{unit}", source, stream])


def clean_key(table: str) -> dg.AssetKey:
    """Key of one table that dbt reads: a clean table, or one that identity resolution writes."""
    return dg.AssetKey(["identity" if table in IDENTITY_TABLES else "clean", table])


def gate_key(gate: str) -> dg.AssetKey:
    """Key of what stands at a gate."""
    return dg.AssetKey(["gates", gate])
