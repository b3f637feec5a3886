"""Identity resolution on the clean layer: read, resolve, compare with last night, write.

Belongs here: which tables are read and written, the list of blocked values, labelled records. Does not belong here:
how persons are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from orchestration.contracts import CONTRACTS, DERIVED
from orchestration.identity.changes import changes
from orchestration.identity.evidence import INPUTS, NODE, RULES
from orchestration.identity.quality import measure, numbered, pairwise
from orchestration.identity.resolve import resolve_identities
from orchestration.identity.sharing import BLOCKED_SCHEMA, LOCAL_PART
from orchestration.settings import Settings
from orchestration.warehouse.clean import CleanStore

BLOCKED_FILE = "identity/blocked_values.csv"
"""Below the warehouse's home: the list that takes the place of the one in this package."""
LABELLED_FILE = "identity/labelled.parquet"
SAMPLE_TRUTH = "truth/persons.parquet"


class IdentityError(ValueError):
    """A list or labels that cannot be used; names the file, the row and the way to mend it."""


@dataclass(frozen=True)
class IdentityResult:
    """What a night of identity resolution gave.

    Attributes:
        records: Records with a person.
        persons: Persons.
        largest: Records of the largest person, web visitors left out.
        evidence: Rows of evidence.
        blocked: Distinct values that link nobody, by rule and reason.
        merges: Persons that went up in another.
        splits: Persons that lost records to another, or their id.
        removed: Records gone.
        changed: Tables whose content changed.
    """

    records: int
    persons: int
    largest: int
    evidence: int
    blocked: dict[str, int]
    merges: int
    splits: int
    removed: int
    changed: tuple[str, ...]

    def metadata(self, table: str) -> dict[str, Any]:
        """What to show beside one of the three tables."""
        shown: dict[str, dict[str, Any]] = {
            "identity_evidence": {"dagster/row_count": self.evidence, "blocked values": self.blocked},
            "person_record": {
                "dagster/row_count": self.records,
                "persons": self.persons,
                "records of the largest person": self.largest,
            },
            "person_change": {"merges": self.merges, "splits": self.splits, "records removed": self.removed},
        }
        return {**shown[table], "changed": table in self.changed}


def refresh_identity(store: CleanStore, *, settings: Settings, run_id: str, now: datetime) -> IdentityResult:
    """Write ``identity_evidence``, ``person_record`` and ``person_change`` from the clean layer as it is.

    Running it again changes nothing. The log is written before the persons, so that a run that is killed between the
    two logs a change again rather than never.

    Raises:
        IdentityError: the list of blocked values cannot be used.
    """
    tables = {name: store.scan(CONTRACTS[name], include_deleted=name == "customer") for name in INPUTS}
    found = resolve_identities(tables, load_blocked_values(settings.home), hmac_key=settings.hmac_key)
    before = store.scan(DERIVED["person_record"]).collect()
    log = store.scan(DERIVED["person_change"]).collect()
    new = changes(before, found.person_record, run_id, now)
    written = {
        "identity_evidence": found.evidence,
        "person_change": pl.concat([log.join(new, on=DERIVED["person_change"].key, how="anti"), new]),
        "person_record": found.person_record,
    }
    changed = tuple(name for name, frame in written.items() if store.replace(DERIVED[name], frame))
    shared = found.evidence.filter("is_blocked").group_by("rule", "block_reason").agg(pl.col("value_hash").n_unique())
    return IdentityResult(
        records=found.person_record.height,
        persons=len(found.sizes),
        largest=int(found.sizes.max() or 0),  # type: ignore[arg-type]
        evidence=found.evidence.height,
        blocked={f"{rule} {reason}": count for rule, reason, count in shared.sort("rule", "block_reason").rows()},
        merges=new.filter(pl.col("change_kind") == "merge")["from_person_id"].n_unique(),
        splits=new.filter(pl.col("change_kind") == "split")["from_person_id"].n_unique(),
        removed=new.filter(pl.col("change_kind") == "removed").height,
        changed=changed,
    )


def measure_identity(store: CleanStore, *, settings: Settings) -> dict[str, int | float] | None:
    """Measure ``person_record`` against labelled records, if there are any.

    Labels are ``$EXPERIENCE_HOME/identity/labelled.parquet`` or, without it, the sample company's truth: the columns
    ``record_table``, ``source``, ``source_id`` and ``true_person_id``. Labelled records that the warehouse does not
    hold are left out and counted as ``labels_without_record``. Where the labels say ``is_linkable`` (whether a record
    holds anything that another of the person holds), ``pair_recall_linkable`` leaves out those nobody could join.

    Returns:
        What ``quality.measure`` gives; None without labels.

    Raises:
        IdentityError: the labels lack a column.
    """
    path = next((p for p in (settings.home / LABELLED_FILE, settings.sample_dir / SAMPLE_TRUTH) if p.is_file()), None)
    if path is None:
        return None
    labels = pl.read_parquet(path)
    if missing := [name for name in (*NODE, "true_person_id") if name not in labels.columns]:
        raise IdentityError(f"{path} lacks the columns {', '.join(missing)}")
    linkable = labels["is_linkable"] if "is_linkable" in labels.columns else pl.repeat(True, labels.height, eager=True)
    labels = labels.select(*NODE, "true_person_id", linkable.alias("is_linkable")).drop_nulls()
    records = store.scan(DERIVED["person_record"]).select(*NODE, "person_id")
    # Counted once: the records of a person are many, and every measure follows from the counts.
    joined = labels.lazy().join(records, on=list(NODE))
    labelled = joined.group_by("true_person_id", "person_id", "is_linkable").len().collect()
    if labelled.is_empty():
        return None
    labelled = labelled.with_columns(numbered(pl.col(name)) for name in ("true_person_id", "person_id"))
    measured = measure(labelled, "true_person_id", "person_id", count="len")
    reachable = pairwise(labelled.filter("is_linkable"), "true_person_id", "person_id", count="len")
    return {
        **measured,
        "pair_recall_linkable": reachable["pair_recall"],
        "labels_without_record": labels.height - measured["records"],
    }


def load_blocked_values(home: Path) -> pl.DataFrame:
    """The list of values that link nobody: the warehouse's own if it has one, else the default.

    Raises:
        IdentityError: the file is no CSV with ``kind,value,reason``, or names a kind that does not exist.
    """
    own = home / BLOCKED_FILE
    path = own if own.is_file() else Path(__file__).with_name("blocked_values.csv")
    try:
        rows = pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise IdentityError(f"{path} cannot be read as CSV with the header kind,value,reason ({error})") from error
    if missing := [name for name in BLOCKED_SCHEMA if name not in rows.columns]:
        raise IdentityError(f"{path} lacks the columns {', '.join(missing)}; the header is kind,value,reason")
    rows = rows.select(BLOCKED_SCHEMA.keys()).with_row_index("line", offset=2)
    known = [*RULES, LOCAL_PART]
    for line, kind, value, _ in rows.filter(~pl.col("kind").is_in(known) | pl.col("value").is_null()).head(1).rows():
        fault = "has no value" if value is None else f"has the kind {kind!r}"
        raise IdentityError(f"{path}, line {line} {fault}; give a value and one of the kinds {', '.join(known)}")
    return rows.drop("line")
