"""Retention by policy: what is kept for how long, what is due for removal, and removing it.

Belongs here: the policy file, finding what is older than it says and is not needed, removing that. Does not belong
here: erasing a person, and Dagster's own run history (``assets.retention``).

What the next night needs is never due: loads that a clean table has not taken in yet, the newest load of a stream (its
cursor), the newest record of each stream and status, the release that readers see. Of a load only the rows go; its
manifest stays, so that its files are not read again and a rebuild knows what it cannot make anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import yaml
from pydantic import Field, ValidationError

from orchestration.contracts import CONTRACTS, CONTROL, Partition
from orchestration.contracts.mapping import StrictModel
from orchestration.settings import KEEP_RELEASES_VARIABLE, KEEP_RUNS_DAYS_VARIABLE, Settings
from orchestration.sources.config import SourceConfig, lasting_columns
from orchestration.sources.declared import DeclaredOrigin
from orchestration.sources.errors import suggest
from orchestration.sources.landing import Landing, Manifest, load_time
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.control import Control
from orchestration.warehouse.files import sync, write_json
from orchestration.warehouse.publish import current_release, prune, releases

POLICY_FILE = "retention.yaml"
"""Below the warehouse's home."""
KEPT_FROM = "kept_from.json"
"""In the folder of the control tables: table to the first business day that it keeps."""
JUMP_DAYS = 31
"""A night that comes so much later than the last one may be a clock that was set wrong: it removes nothing."""
MINIMUM_CONTROL_DAYS = 60
"""Rules of the landing gate compare with earlier loads of some weeks."""

_DATED = tuple(name for name, table in CONTRACTS.items() if table.partition is Partition.EVENT_DATE)
_ELSEWHERE = {
    "releases": KEEP_RELEASES_VARIABLE,
    "keep_releases": KEEP_RELEASES_VARIABLE,
    "run_history_days": KEEP_RUNS_DAYS_VARIABLE,
    "runs_days": KEEP_RUNS_DAYS_VARIABLE,
}
_CONTROL_TIMES = {
    "load": "started_at",
    "check_result": "checked_at",
    "step_metric": "started_at",
    "retention": "enforced_at",
}


class RetentionError(RuntimeError):
    """A policy that cannot be used, or that must not be enforced now; the message says how to mend it."""


class Policy(StrictModel):
    """How long what is kept; None keeps for ever. Days count back from the night.

    Attributes:
        landing_days: Rows of loads.
        landing_days_by_source: The same for one source; takes the place of ``landing_days``.
        clean_days: Table with partitions by event date to the days of events that it keeps.
        quarantine_days: Rejected rows, from the time of their load.
        control_days: Records of loads, results of checks, costs of steps, records of retention.
        log_days: Logs of nights and of dbt.
    """

    landing_days: int | None = Field(default=None, ge=1)
    landing_days_by_source: dict[str, int] = Field(default_factory=dict)
    clean_days: dict[str, int] = Field(default_factory=dict)
    quarantine_days: int | None = Field(default=None, ge=1)
    control_days: int | None = Field(default=None, ge=MINIMUM_CONTROL_DAYS)
    log_days: int | None = Field(default=90, ge=1)


@dataclass(frozen=True)
class Due:
    """What one line of the policy says about one thing, and what of it is due for removal.

    Attributes:
        kind: landing, clean, quarantine, control, releases, run_history or logs.
        subject: Source, table or ``all``.
        policy: The policy in words; None keeps for ever.
        before: What is older is due; UTC without zone. None where the policy is no age.
        names: What is due: loads, partitions, files, releases or runs.
        rows: Rows in them; None where not counted.
        bytes: Bytes of their files; None where not counted.
        remove: Removes them; may be repeated.
    """

    kind: str
    subject: str
    policy: str | None
    before: datetime | None
    names: tuple[str, ...] = ()
    rows: int | None = None
    bytes: int | None = None
    remove: Callable[[], object] = lambda: None


def load_policy(settings: Settings, sources: Iterable[str] = ()) -> Policy:
    """Read ``retention.yaml`` of the home; the defaults where there is none.

    Args:
        settings: The home.
        sources: Names that ``landing_days_by_source`` may have.

    Raises:
        RetentionError: the file cannot be used; each fault is named, with the nearest name that would be valid.
    """
    path = settings.home / POLICY_FILE
    if not path.exists():
        return Policy()
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RetentionError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise RetentionError(f"{path}: give a mapping of keys to days; keys: {', '.join(Policy.model_fields)}")
    try:
        policy = Policy.model_validate(values)
    except ValidationError as error:
        raise RetentionError("; ".join(f"{path}: {_explain(problem)}" for problem in error.errors())) from error
    faults = [
        f"clean_days.{name}: {suggest(name, _DATED, 'tables with partitions by event date')}"
        for name in policy.clean_days
        if name not in _DATED
    ]
    # A source file that cannot be read tonight has its name all the same.
    known = {*sources, *(file.stem for file in settings.sources_dir.glob("*.y*ml"))}
    faults += [
        f"landing_days_by_source.{name}: {suggest(name, known, 'sources')}"
        for name in policy.landing_days_by_source
        if name not in known
    ]
    for key in ("clean_days", "landing_days_by_source"):
        faults += [
            f"{key}.{name}: {days} is no number of days" for name, days in getattr(policy, key).items() if days < 1
        ]
    if faults:
        raise RetentionError("; ".join(f"{path}: {fault}" for fault in faults))
    return policy


def due(settings: Settings, sources: Mapping[str, SourceConfig], policy: Policy, now: datetime) -> list[Due]:
    """What the policy says, line by line, with what is due for removal.

    Args:
        settings: Where everything lies, and how many releases are kept.
        sources: Configured sources.
        policy: The policy.
        now: The night, UTC with or without zone.
    """
    moment = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now
    return [
        *_landing(settings, sources, policy, moment),
        *_clean(settings, policy, moment),
        _quarantine(settings, policy, moment),
        *_control(settings, policy, moment),
        _releases(settings),
        _logs(settings, policy, moment),
    ]


def require_no_jump(settings: Settings, now: datetime) -> None:
    """Refuse where the clock may be wrong: what is removed does not come back when it is set right.

    Raises:
        RetentionError: the last enforcement was more than ``JUMP_DAYS`` ago by this clock.
    """
    last = Control(settings.control_dir).scan("retention").select(pl.col("enforced_at").max()).collect().item()
    moment = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now
    if last is not None and moment - last > timedelta(days=JUMP_DAYS):
        raise RetentionError(
            f"nothing was removed: by this computer's clock ({moment:%Y-%m-%d %H:%M} UTC) the last enforcement was "
            f"{(moment - last).days} days ago, at {last:%Y-%m-%d %H:%M} UTC. Is the clock right, run: experience "
            "retention --enforce"
        )


def records(found: Iterable[Due], *, run_id: str, now: datetime) -> pl.DataFrame:
    """Rows of the control table ``retention``."""
    moment = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now
    rows = [
        {
            "run_id": run_id,
            "kept_kind": entry.kind,
            "subject": entry.subject,
            "policy": entry.policy,
            "before_at": entry.before,
            "removed_count": len(entry.names),
            "removed_rows": entry.rows,
            "freed_bytes": entry.bytes,
            "enforced_at": moment,
        }
        for entry in found
    ]
    return pl.DataFrame(rows, schema=CONTROL["retention"].schema)


def kept_from(settings: Settings, table: str) -> date | None:
    """First business day that a clean table keeps; None where it keeps all."""
    day = _kept(settings).get(table)
    return date.fromisoformat(day) if day else None


def _kept(settings: Settings) -> dict[str, str]:
    try:
        return json.loads((settings.control_dir / KEPT_FROM).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def _landing(settings: Settings, sources: Mapping[str, SourceConfig], policy: Policy, now: datetime) -> Iterator[Due]:
    landing = Landing(settings.landing_dir)
    store = CleanStore(settings.clean_dir, settings.business_timezone)
    merged = {name: store.merged_loads(name).keys() for name in CONTRACTS}
    for source in sources.values():
        days = policy.landing_days_by_source.get(source.source, policy.landing_days)
        if days is None:
            yield Due("landing", source.source, None, None)
            continue
        before = now - timedelta(days=days)
        found: list[tuple[Manifest, list[str]]] = []
        for name, stream in source.streams.items():
            if isinstance(stream.origin, DeclaredOrigin):
                continue
            loads = landing.manifests(source.source, name)
            # The cursor is in the last load that is no backfill; repetitions are told by the last of all.
            needed = {
                load.load_id
                for kept in (loads, [load for load in loads if load.kind != "backfill"])
                for load in kept[-1:]
            }
            found += [
                (load, lasting_columns(source, name))
                for load in loads
                if load.extracted_at < before
                and (load.removed_at is None or _has_leftovers(load))
                and load.load_id not in needed
                and all(load.load_id in merged[table] for table in stream.tables)
            ]

        def remove(found: list[tuple[Manifest, list[str]]] = found) -> None:
            for load, key in found:
                landing.remove_rows(load, now=now, keep=key)

        yield Due(
            "landing",
            source.source,
            f"{days} days",
            before,
            tuple(f"{load.stream}/{load.load_id}" for load, _ in found),
            sum(load.rows_landed for load, _ in found),
            sum(load.bytes_landed for load, _ in found),
            remove,
        )


def _has_leftovers(load: Manifest) -> bool:
    """Whether a removal that was killed left parts that the manifest names no more."""
    known = {part.name for part in load.parts}
    return any(path.name not in known for path in load.folder.glob("*.parquet"))


def _clean(settings: Settings, policy: Policy, now: datetime) -> Iterator[Due]:
    store = CleanStore(settings.clean_dir, settings.business_timezone)
    today = now.replace(tzinfo=UTC).astimezone(ZoneInfo(settings.business_timezone)).date()
    for table in _DATED:
        contract, days = CONTRACTS[table], policy.clean_days.get(table)
        if days is None:
            yield Due("clean", table, None, None, remove=partial(_keep_from, settings, table, None))
            continue
        first = today - timedelta(days=days)
        paths = [path for path in sorted(store.folder(contract).glob("*.parquet")) if _is_before(path.stem, first)]

        def remove(paths: list[Path] = paths, table: str = table, first: date = first) -> None:
            # First, so that no row comes back between the two.
            _keep_from(settings, table, first)
            if paths:
                store.rewrite(CONTRACTS[table], lambda rows: rows.clear(), {path.stem for path in paths})

        yield Due(
            "clean",
            table,
            f"{days} days",
            datetime.combine(first, datetime.min.time()),
            tuple(path.stem for path in paths),
            int(pl.scan_parquet(paths, glob=False).select(pl.len()).collect().item()) if paths else 0,
            sum(path.stat().st_size for path in paths),
            remove,
        )


def _keep_from(settings: Settings, table: str, first: date | None) -> None:
    before = _kept(settings)
    after = {name: day for name, day in before.items() if name != table}
    if first is not None:
        after[table] = first.isoformat()
    if after != before:
        write_json(after, settings.control_dir / KEPT_FROM)


def _is_before(partition: str, first: date) -> bool:
    try:
        return date.fromisoformat(partition) < first
    except ValueError:
        return False


def _quarantine(settings: Settings, policy: Policy, now: datetime) -> Due:
    if policy.quarantine_days is None:
        return Due("quarantine", "all", None, None)
    before = now - timedelta(days=policy.quarantine_days)
    found = []
    for path in sorted((settings.control_dir / "quarantine").glob("*/*.parquet")):
        with suppress(ValueError):
            if load_time(path.stem) < before:
                found.append(path)
    return _files("quarantine", "all", f"{policy.quarantine_days} days", before, found, with_rows=True)


def _control(settings: Settings, policy: Policy, now: datetime) -> Iterator[Due]:
    for table, time in _CONTROL_TIMES.items():
        if policy.control_days is None:
            yield Due("control", table, None, None)
            continue
        before = now - timedelta(days=policy.control_days)
        paths = sorted((settings.control_dir / table).glob("*.parquet"))
        found: list[Path] = []
        if paths:
            rows = pl.scan_parquet(
                paths, schema=CONTROL[table].schema, missing_columns="insert", extra_columns="ignore", glob=False,
                include_file_paths="path",
            )  # fmt: skip
            if table == "load":
                newest = pl.col("load_id") == pl.col("load_id").sort_by("started_at", "load_id").last().over(
                    "source", "stream", "status"
                )
                rows = rows.with_columns(pl.when(~newest).then(pl.col(time)).otherwise(pl.lit(now)).alias(time))
            aged = rows.group_by("path").agg(pl.col(time).max()).filter(pl.col(time) < before).collect()
            found = [Path(path) for path in sorted(aged["path"])]
        yield _files("control", table, f"{policy.control_days} days", before, found, with_rows=True)


def _releases(settings: Settings) -> Due:
    current = current_release(settings)
    found = [
        release
        for release in releases(settings)[settings.keep_releases :]
        if current is None or release.run_id != current.run_id
    ]

    def remove() -> None:
        if found:
            prune(settings, settings.keep_releases)

    return Due(
        "releases",
        "all",
        f"{settings.keep_releases} releases",
        None,
        tuple(release.run_id for release in found),
        sum(sum(release.row_counts.values()) for release in found),
        sum(_size(release.path) for release in found),
        remove,
    )


def _logs(settings: Settings, policy: Policy, now: datetime) -> Due:
    if policy.log_days is None:
        return Due("logs", "all", None, None)
    before = now - timedelta(days=policy.log_days)
    written = [*settings.home.glob("logs/*"), *settings.home.glob("dbt/logs/*"), *settings.home.glob("*/compute_logs")]
    found = [path for path in sorted(written) if _last_write(path) < before]
    return _files("logs", "all", f"{policy.log_days} days", before, found)


def _files(
    kind: str, subject: str, policy: str, before: datetime, paths: list[Path], *, with_rows: bool = False
) -> Due:
    def remove() -> None:
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
                with suppress(OSError):
                    path.parent.rmdir()
            else:
                path.unlink(missing_ok=True)
        for folder in {path.parent for path in paths if path.parent.is_dir()}:
            sync(folder)

    rows = (
        int(
            pl.scan_parquet(paths, glob=False, missing_columns="insert", extra_columns="ignore")
            .select(pl.len())
            .collect()
            .item()
        )
        if with_rows and paths
        else None
    )
    return Due(
        kind,
        subject,
        policy,
        before,
        tuple(path.name for path in paths),
        rows,
        sum(_size(path) for path in paths),
        remove,
    )


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _last_write(path: Path) -> datetime:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    newest = max(file.stat().st_mtime for file in files)
    return datetime.fromtimestamp(newest, UTC).replace(tzinfo=None)


def _explain(problem: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        if place in _ELSEWHERE:
            return f"{place} is not set here but by {_ELSEWHERE[place]}"
        return f"unknown key {place!r}; {suggest(place, Policy.model_fields, 'keys')}"
    return f"{place}: {problem['msg']}"
