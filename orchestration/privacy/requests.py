"""Requests for erasure: the request table, one JSON file a request below ``$EXPERIENCE_HOME/privacy/request/``.

A request holds the person it asks for only while it waits. When every layer is done and searched, an audit row (the
control table ``erasure``) with a keyed hash takes its place and the file is removed. Whoever else takes requests (a
form, a ticket system) writes such a file, and the next night honours it::

    {"request_id": "r-17", "by": "email", "email": "li.wei@example.com", "mode": "delete", "reason": "ticket 4711"}

``by`` is ``person`` (``person_id``), ``record`` (``source``, ``table``, ``key``), ``email`` or ``phone``.

Does not belong here: finding the person, erasing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestration.privacy.landed import Mode
from orchestration.warehouse.files import sync, temporary_path

FIELDS: Mapping[str, tuple[str, ...]] = {
    "person": ("person_id",),
    "record": ("source", "table", "key"),
    "email": ("email",),
    "phone": ("phone",),
}
"""What a request may ask by, and the fields that say whom."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_KNOWN = {"request_id", "by", "mode", "reason", "requested_at", "state", "error", "found", "counts"}


class ErasureError(RuntimeError):
    """An erasure that cannot be done as asked; says why and what to do."""


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        request_id: Name of the request, also of its audit row.
        by: Key of ``FIELDS``.
        subject: Values of those fields.
        mode: What becomes of the rows.
        reason: Why, in words that do not name the person.
        requested_at: When, UTC without zone.
        state: ``waiting``; ``begun`` once the person was found, from when on it can only be finished.
        error: Why it could not be done so far.
        found: What was found of the person (``subject.Subject``), once begun.
        counts: What was done so far, by layer.
    """

    request_id: str
    by: str
    subject: Mapping[str, str]
    mode: Mode
    reason: str | None = None
    requested_at: datetime = datetime(1970, 1, 1)
    state: str = "waiting"
    error: str | None = None
    found: Mapping[str, Any] | None = field(default=None, repr=False)
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """Namespace of the subject in the audit row."""
        return f"record/{self.subject['table']}/{self.subject['source']}" if self.by == "record" else self.by


def folder_of(home: Path) -> Path:
    """Where requests wait."""
    return home / "privacy" / "request"


def write(home: Path, request: Request) -> Path:
    """Keep a request, readable by the warehouse's user alone.

    Raises:
        ErasureError: its id is no plain name.
    """
    if not _NAME.fullmatch(request.request_id):
        raise ErasureError(f"request id {request.request_id!r} is no plain name; use letters, digits, '.', '_' and '-'")
    path = folder_of(home) / f"{request.request_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    values = asdict(request)
    values |= dict(values.pop("subject")) | {"requested_at": request.requested_at.isoformat()}
    temporary = temporary_path(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as target:
        json.dump(values, target, ensure_ascii=False, indent=1)
        target.flush()
        os.fsync(target.fileno())
    temporary.replace(path)
    sync(path.parent)
    return path


def remove(home: Path, request_id: str) -> None:
    """Forget a request that is done."""
    folder = folder_of(home)
    for path in (folder / f"{request_id}.json", temporary_path(folder / f"{request_id}.json")):
        path.unlink(missing_ok=True)
    if folder.is_dir():
        sync(folder)


def pending(home: Path) -> tuple[list[Request], list[str]]:
    """Requests that wait, the oldest first, and what is wrong with files that are no request."""
    requests, faults = [], []
    for path in sorted(folder_of(home).glob("*.json")):
        try:
            requests.append(_read(path))
        except ErasureError as error:
            faults.append(str(error))
    return sorted(requests, key=lambda request: (request.requested_at, request.request_id)), faults


def _read(path: Path) -> Request:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        by = values["by"]
        fields = FIELDS[by]
        if unknown := set(values) - _KNOWN - set(fields):
            raise ValueError(f"unknown {', '.join(sorted(unknown))}")
        moment = values.get("requested_at")
        at = datetime.fromisoformat(moment) if moment else datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return Request(
            request_id=str(values.get("request_id") or path.stem),
            by=by,
            subject={name: str(values[name]) for name in fields},
            mode=Mode(values.get("mode", Mode.DELETE)),
            reason=values.get("reason"),
            requested_at=at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at,
            state=values.get("state", "waiting"),
            error=values.get("error"),
            found=values.get("found"),
            counts=values.get("counts") or {},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ErasureError(
            f"{path} is no request for erasure ({type(error).__name__}: {error}); it holds request_id, by "
            f"({', '.join(FIELDS)}), the fields of that, and mode ({', '.join(Mode)}). Mend or remove it"
        ) from error
