"""An erasure from its request to its audit row, in steps that a night carries out.

``begin`` comes before anything is extracted: it finds the person, puts their identifiers on the suppression list and
takes them out of clean tables, identity tables, quarantine and landing, in this order, because what the clean layer
has to lose is worked out from the landing. The evidence of identity resolution leaves whole, for everybody: the night,
which then does its usual work, makes it anew of the clean tables. ``compact`` takes what dbt deleted
out of the bytes of its two files before they are published, and ``finish``, behind publishing, removes earlier
releases, masks the strings in logs and the like, searches every file, and only then puts an audit row in place of the
request.

Each step may be killed and repeated; a request stays until the last one is done. Does not belong here: how each layer
is changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from pathlib import Path

import polars as pl

from orchestration.contracts import CONTROL, DERIVED
from orchestration.identity.evidence import NODE
from orchestration.privacy import requests, search, suppression
from orchestration.privacy.bytes_search import Places, Searched
from orchestration.privacy.landed import Mode
from orchestration.privacy.plan import LoadChange, Plan, Planner, apply_to_clean, masked_rejects
from orchestration.privacy.requests import ErasureError, Request
from orchestration.privacy.strings import Strings
from orchestration.privacy.subject import Subject, find, normalised_contact
from orchestration.pseudonym import pseudonym
from orchestration.settings import HMAC_KEY_VARIABLE, Settings
from orchestration.sources.config import SourceConfig
from orchestration.sources.landing import Landing
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.compact import clear
from orchestration.warehouse.control import Control
from orchestration.warehouse.publish import prune, releases

_QUARANTINE = CONTROL["quarantine"].schema
_IDENTITY = ("identity_evidence", "person_record", "person_change")
_MADE_ANEW = "identity_evidence"
"""Identity table that resolution makes of the clean tables alone; the others go on from what they hold."""

SearchedFor = dict[Subject, Searched]
"""Landed parts that hold nothing of a person, by person."""


@dataclass(frozen=True)
class Begun:
    """What ``begin`` did.

    Attributes:
        request_ids: Requests that are under way.
        refused: What is wrong with requests that cannot be carried out, a sentence each.
        counts: Rows that left or changed, by layer.
    """

    request_ids: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    counts: Mapping[str, int] | None = None


def key_of(settings: Settings) -> bytes:
    """The key of pseudonyms.

    Raises:
        ErasureError: there is none.
    """
    if settings.hmac_key is None:
        raise ErasureError(
            "an erasure needs a key for pseudonyms, by which a person is known without being named; run "
            f"'experience init', or set {HMAC_KEY_VARIABLE}, and keep the key"
        )
    return settings.hmac_key


def preview(settings: Settings, sources: Mapping[str, SourceConfig], request: Request) -> dict[str, int]:
    """Rows that an erasure would take out or change, by layer; nothing is changed.

    Raises:
        ErasureError: nobody, or more than one person, is meant.
    """
    store = _store(settings)
    subject = find(store, request)
    plan = _planner(settings, store, sources).plan(subject, request.mode)
    return _counts(store, subject, plan, settings)


def begin(settings: Settings, sources: Mapping[str, SourceConfig], searched: SearchedFor | None = None) -> Begun:
    """Take the persons whom requests ask for out of everything that a night starts from.

    A request that cannot be carried out as it stands keeps the reason and does not stop the others.

    Args:
        settings: Where everything lies.
        sources: Configured sources.
        searched: Takes what the landing was found not to hold, for ``finish`` in the same process.
    """
    waiting, refused = requests.pending(settings.home)
    if not waiting:
        return Begun(refused=tuple(refused))
    key = key_of(settings)
    store = _store(settings)
    done: list[str] = []
    total: dict[str, int] = {}
    for waits in waiting:
        request = waits
        if request.found is None:
            try:
                subject = find(store, request)
            except ErasureError as error:
                requests.write(settings.home, replace(request, error=str(error)))
                refused.append(f"request {request.request_id}: {error}")
                continue
            request = replace(request, state="begun", error=None, found=subject.to_json())
            requests.write(settings.home, request)
        subject = Subject.from_json(request.found or {})
        suppression.add(
            settings.home,
            [*subject.identifiers, *subject.strings.as_identifiers()],
            mode=request.mode,
            request_id=request.request_id,
            requested_at=request.requested_at,
            key=key,
        )
        known = {} if searched is None else searched
        plan = _planner(settings, store, sources, known.setdefault(subject, Searched())).plan(subject, request.mode)
        counts = _counts(store, subject, plan, settings)
        counts = {name: max(number, request.counts.get(name, 0)) for name, number in counts.items()}
        requests.write(settings.home, replace(request, counts=counts))
        _apply(settings, store, sources, subject, plan)
        for name, number in counts.items():
            total[name] = total.get(name, 0) + number
        done.append(request.request_id)
    if done:
        # Behind the last request, for each counts its own rows in it.
        store.replace(DERIVED[_MADE_ANEW], pl.DataFrame(schema=DERIVED[_MADE_ANEW].schema))
    return Begun(tuple(done), tuple(refused), total)


def is_under_way(settings: Settings) -> bool:
    """Whether a request has begun and is not finished."""
    return bool(_begun(settings))


def compact(settings: Settings, known: Places | None = None) -> bool:
    """Take what was deleted out of the bytes of dbt's two files where a request is under way; whether one is.

    Args:
        settings: Where everything lies.
        known: Takes where a text is found in the two files still, for ``finish`` in the same process.
    """
    begun = _begun(settings)
    if not begun:
        return False
    strings = _strings(begun)
    known = Places() if known is None else known

    def look(path: Path, at: Collection[int] | None) -> list[int]:
        return known.look(path, strings, at)

    shared = settings.beside(1)
    with ThreadPoolExecutor(settings.duckdb_threads) as pool:
        marts = pool.submit(clear, settings.marts_path, shared, look, hits=strings.hits)

        def beside() -> dict[str, Path]:
            # DuckDB does not read a file that the same process writes.
            wait([marts])
            return {settings.marts_path.stem: settings.marts_path}

        warehouse = pool.submit(clear, settings.warehouse_path, shared, look, beside, strings.hits)
    for path, cleared in ((settings.marts_path, marts), (settings.warehouse_path, warehouse)):
        if cleared.result():
            known.keep(path)
    return True


def finish(
    settings: Settings,
    sources: Mapping[str, SourceConfig],
    *,
    run_id: str,
    now: datetime,
    searched: SearchedFor | None = None,
    known: Places | None = None,
) -> list[dict[str, int | str]]:
    """Remove what is left of the persons whose requests are under way, look whether anything is, and say so.

    Args:
        settings: Where everything lies.
        sources: Configured sources.
        run_id: Run that published what is current now.
        now: When.
        searched: What ``begin`` found in this process and with these sources; a landed part whose bytes it searched for
            the same person is not read again. Without it everything is.
        known: What ``compact`` found in this process: the two files are not searched again unless they were written to.

    Returns:
        The audit row of each request.

    Raises:
        ErasureError: something is left; names the places. The requests stay.
    """
    begun = _begun(settings)
    if not begun:
        return []
    key = key_of(settings)
    store = _store(settings)
    for manifest in _manifests(settings):
        Landing(settings.landing_dir).remove_unreferenced(manifest)
    before = len(releases(settings))
    prune(settings, 1)
    removed = before - len(releases(settings))
    subjects = {request.request_id: Subject.from_json(request.found or {}) for request in begun}
    strings = _strings(begun)
    masked, left = 0, []
    kept = (settings.landing_dir, settings.clean_dir, settings.serving_dir, settings.warehouse_path.parent)
    for path in search.files(settings, sources):
        if not any(path.is_relative_to(folder) for folder in kept):
            masked += search.mask(path, strings)
    # Landed rows are searched by the plan that finds nothing more to do.
    landed = {
        manifest.folder / part.name
        for manifest in _manifests(settings)
        for part in (*manifest.parts, *manifest.rejects)
    }
    paths = list(search.files(settings, sources))
    with ThreadPoolExecutor(settings.duckdb_threads) as pool:
        hold = pool.map(
            lambda path: path not in landed and search.holds(path, strings, made_in=settings.clean_dir, places=known),
            paths,
        )
        left += [str(path.relative_to(settings.home)) for path, holds in zip(paths, hold, strict=True) if holds]
    for request in begun:
        subject = subjects[request.request_id]
        parts = {} if searched is None else searched
        plan = _planner(settings, store, sources, parts.get(subject)).plan(subject, request.mode)
        left += [str(change.manifest.folder.relative_to(settings.home)) for change in plan.loads if change.numbers]
        left += [str(change.manifest.folder.relative_to(settings.home)) for change in plan.loads if change.rejects]
        left += [f"clean/{table}" for table, change in plan.tables.items() if change.rows]
        if request.mode is Mode.DELETE:
            left += [f"clean/{table}" for table, rows in _identity_rows(store, subject).items() if rows]
    if left:
        raise ErasureError(
            f"request {', '.join(request.request_id for request in begun)} is not done: the person is still found in "
            f"{', '.join(sorted(set(left))[:10])}. The request stays and the next night tries again; a file that is "
            "not the warehouse's own has to be removed by hand"
        )
    rows = []
    for request in begun:
        row: dict[str, int | str] = {
            "request_id": request.request_id,
            "run_id": run_id,
            "subject_namespace": request.namespace,
            "subject_hash": pseudonym(request.namespace, _asked_by(request), key),
            "mode": request.mode.value,
            "files_masked": masked,
            "releases_removed": removed,
            "files_searched": len(paths),
            **request.counts,
        }
        stamped = {
            **row,
            "reason": subjects[request.request_id].strings.pattern.sub("[erased]", request.reason or "") or None,
            "requested_at": request.requested_at,
            "completed_at": now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now,
        }
        Control(settings.control_dir).write_erasure(stamped)
        requests.remove(settings.home, request.request_id)
        rows.append(row)
    return rows


def _asked_by(request: Request) -> str:
    """What was asked by, in the form in which the warehouse holds it."""
    value = request.subject[requests.FIELDS[request.by][-1]]
    return normalised_contact(request.by, value) if request.by in {"email", "phone"} else value


def _begun(settings: Settings) -> list[Request]:
    return [request for request in requests.pending(settings.home)[0] if request.found is not None]


def _strings(begun: Iterable[Request]) -> Strings:
    return reduce(or_, (Subject.from_json(request.found or {}).strings for request in begun), Strings())


def _store(settings: Settings) -> CleanStore:
    return CleanStore(settings.clean_dir, settings.business_timezone)


def _planner(
    settings: Settings, store: CleanStore, sources: Mapping[str, SourceConfig], searched: Searched | None = None
) -> Planner:
    return Planner(Landing(settings.landing_dir), store, sources, key_of(settings), searched)


def _manifests(settings: Settings):
    landing = Landing(settings.landing_dir)
    for folder in sorted(landing.root.glob("*/*/")):
        yield from landing.manifests(folder.parent.name, folder.name)


def _apply(
    settings: Settings, store: CleanStore, sources: Mapping[str, SourceConfig], subject: Subject, plan: Plan
) -> None:
    """Change every layer; the landing last, for the rest is worked out from it."""
    apply_to_clean(store, plan.tables)
    for table in _IDENTITY:
        if table != _MADE_ANEW:
            store.replace(DERIVED[table], _without(store.scan(DERIVED[table]), subject).collect())
    planner = _planner(settings, store, sources)
    control = Control(settings.control_dir)
    landing = Landing(settings.landing_dir)
    for change in plan.loads:
        _quarantine(settings, control, planner, change, subject.strings)
    for change in plan.loads:
        if change.numbers or change.rejects:
            landing.replace_rows(
                change.manifest,
                change.numbers,
                change.after.filter(pl.col("_load_row").is_in(change.numbers)),
                deletions_are_content=change.deletions_are_content,
                reject=lambda rows: masked_rejects(rows, subject.strings),
            )


def _without(rows: pl.LazyFrame, subject: Subject) -> pl.LazyFrame:
    """Rows of an identity table that say nothing of the person.

    An own id, such as a login, may be a record of its own that resolution no longer joins to the person's: a customer
    that was deleted at its source joins nothing.
    """
    rows = rows.join(subject.nodes().lazy(), on=NODE, how="anti")
    rows = rows.filter(~pl.col("source_id").is_in(list(subject.strings.contacts)))
    names = [name for name in rows.collect_schema().names() if name.endswith("person_id")]
    persons = list(subject.person_ids)
    return (
        rows.filter(~pl.any_horizontal(pl.col(name).is_in(persons).fill_null(value=False) for name in names))
        if names
        else rows
    )


def _identity_rows(store: CleanStore, subject: Subject) -> dict[str, int]:
    """Rows of identity tables that say something of the person, by table."""
    found = {}
    for table in _IDENTITY:
        rows = store.scan(DERIVED[table])
        whole, without = (frame.select(pl.len()).collect().item() for frame in (rows, _without(rows, subject)))
        found[table] = whole - without
    return found


def _quarantine(settings: Settings, control: Control, planner: Planner, change: LoadChange, strings: Strings) -> int:
    """Rejected rows of a load as they are after the change; how many left or changed."""
    count = 0
    manifest = change.manifest
    for path in sorted(settings.control_dir.glob(f"quarantine/*/{manifest.load_id}.parquet")):
        table = path.parent.name
        before = pl.read_parquet(path, glob=False).match_to_schema(
            _QUARANTINE, missing_columns="insert", extra_columns="ignore"
        )
        touched = pl.col("load_row").is_in(change.numbers)
        stays = strings.mask_frame(before.filter(~touched), ["original_value", "row_json", "reason", "source_id"])[0]
        anew = before.clear()
        rows = change.after.filter(pl.col("_load_row").is_in(change.numbers))
        if change.source is not None and rows.height and manifest.stream in change.source.streams:
            if table in change.source.streams[manifest.stream].tables:
                anew = planner.normalised(table, change.source, manifest, rows)[1]
            # Rows that gave way to another of their key are known to the refresh alone.
            fields = [name for name in rows.columns if not name.startswith("_")]
            whole = rows.select(load_row="_load_row", whole=pl.struct(fields).struct.json_encode())
            others = before.filter(touched & (pl.col("reason") == "duplicate_key"))
            others = others.join(whole, on="load_row").with_columns(row_json="whole").select(before.columns)
            anew = pl.concat([anew, others])
        after = pl.concat([stays, anew])
        if not after.equals(before):
            count += before.join(after, on=before.columns, how="anti", nulls_equal=True).height
            control.write_quarantine(table, manifest.load_id, after)
    return count


def _counts(store: CleanStore, subject: Subject, plan: Plan, settings: Settings) -> dict[str, int]:
    quarantined = 0
    for change in plan.loads:
        for path in settings.control_dir.glob(f"quarantine/*/{change.manifest.load_id}.parquet"):
            rows = pl.scan_parquet(path, glob=False).filter(pl.col("load_row").is_in(change.numbers))
            quarantined += rows.select(pl.len()).collect().item()
    return {
        "landing_rows": plan.rows,
        "clean_rows": sum(change.rows for change in plan.tables.values()),
        "identity_rows": sum(_identity_rows(store, subject).values()),
        "quarantine_rows": quarantined,
    }
