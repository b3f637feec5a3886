"""The suppression list: keyed hashes of the identifiers of persons who were erased.

``$EXPERIENCE_HOME/privacy/suppression.parquet`` is what keeps a person who was erased from coming back with the next
full extraction. It holds no value, only pseudonyms; whoever has the key can ask whether a value is on it, nobody can
read it. With another key it knows nobody: keep the key.

Does not belong here: which identifiers a person has (``subject``), comparing rows with them (``landed``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path

import polars as pl

from orchestration.contracts.model import TIMESTAMP_TYPE
from orchestration.privacy.landed import HashedMatcher, Matcher, Mode, screens
from orchestration.pseudonym import pseudonym
from orchestration.settings import Settings
from orchestration.sources.config import SourceConfig
from orchestration.warehouse.files import write_parquet

SCHEMA = {
    "namespace": pl.String(),
    "hash": pl.String(),
    "mode": pl.String(),
    "request_id": pl.String(),
    "requested_at": TIMESTAMP_TYPE,
}
_KEY = ("namespace", "hash", "mode")


def path_of(home: Path) -> Path:
    """Where the list lies."""
    return home / "privacy" / "suppression.parquet"


def read(home: Path) -> pl.DataFrame:
    """The list; no rows before the first erasure."""
    path = path_of(home)
    return pl.read_parquet(path, glob=False) if path.exists() else pl.DataFrame(schema=SCHEMA)


def add(
    home: Path,
    identifiers: Iterable[tuple[str, str]],
    *,
    mode: Mode,
    request_id: str,
    requested_at: datetime,
    key: bytes,
) -> int:
    """Put identifiers (namespace, value) on the list; those that are on it stay as they are.

    Returns:
        How many came to it.
    """
    rows = [
        (namespace, pseudonym(namespace, value, key), mode.value, request_id, requested_at)
        for namespace, value in identifiers
    ]
    before = read(home)
    new = pl.DataFrame(rows, schema=SCHEMA, orient="row").unique(_KEY).join(before, on=_KEY, how="anti")
    if new.height:
        write_parquet(pl.concat([before, new]).sort(_KEY), path_of(home))
    return new.height


def matchers(home: Path, key: bytes | None) -> dict[Mode, Matcher]:
    """A matcher for each mode that the list knows; none where it is empty."""
    rows = read(home)
    if rows.is_empty():
        return {}
    if key is None:
        raise ValueError(
            f"{path_of(home)} holds persons who were erased, but no key of pseudonyms is configured, so that they "
            "cannot be told from others; restore the key with which they were erased"
        )
    found: dict[Mode, Matcher] = {}
    for (mode,), part in rows.group_by("mode"):
        hashes = {str(name): frozenset(group["hash"]) for (name,), group in part.group_by("namespace")}
        found[Mode(str(mode))] = HashedMatcher(hashes, key)
    return found


def screen_of(settings: Settings, source: SourceConfig, stream: str) -> Callable[[pl.DataFrame], pl.DataFrame] | None:
    """What ``sources.extract.extract`` takes as ``screen``; None where nobody was erased.

    Raises:
        ValueError: there is a list and no key.
    """
    known: Mapping[Mode, Matcher] = matchers(settings.home, settings.hmac_key)
    if not known or settings.hmac_key is None:
        return None
    return screens(source, stream, known, settings.hmac_key)
