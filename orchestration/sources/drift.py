"""Whether a source still has the columns that were declared, and what else came or went.

A new column lands and is reported; a missing or retyped declared column fails the load.
Does not belong here: how a reader learns which columns there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orchestration.sources.errors import SourceError, nearest
from orchestration.sources.kinds import ReadRequest
from orchestration.sources.landing import Manifest

_SAME_TEXT = (
    {"tinyint", "smallint", "mediumint", "int", "integer", "bigint"},
    {"tinyint unsigned", "smallint unsigned", "mediumint unsigned", "int unsigned", "bigint unsigned"},
    {"text", "character varying", "character", "citext", "name", "varchar", "char"},
    {"real", "double precision"},
)
"""Types whose values have the same text, so that a change between them changes nothing that is landed."""


def require_columns(
    request: ReadRequest, columns: Collection[str], where: str = "", excused: Collection[str] = ()
) -> None:
    """Fail where a declared column is missing.

    Args:
        request: The load.
        columns: Columns found.
        where: File or table, for the message.
        excused: Declared columns that may be absent.

    Raises:
        SourceError: names the columns, where the YAML uses them and the nearest columns found.
    """
    faults = []
    for name, place in request.config.declared_columns().items():
        if name in columns or name in excused:
            continue
        twice = [other for other in columns if other.rpartition("#")[0] == name and other.rpartition("#")[2].isdigit()]
        if twice:
            faults.append(
                f"column {name!r} (used by {place}) stands {len(twice)} times; map the one that is meant: "
                f"{', '.join(map(repr, twice))}"
            )
            continue
        close = nearest(name, columns)
        seen = (
            f"nearest: {', '.join(map(repr, close))}" if close else f"found: {', '.join(map(repr, list(columns)[:20]))}"
        )
        faults.append(f"declared column {name!r} (used by {place}) is missing; {seen}")
    if faults:
        raise SourceError(
            f"{request.name}{f', {where}' if where else ''}: {'; '.join(faults)}. Nothing was loaded. Correct the "
            "source "
            f"or the mapping in {request.source.path}; a column that may be absent goes under 'optional'"
        )


def require_types(request: ReadRequest, types: Mapping[str, str]) -> None:
    """Fail where a declared column has another type than in the load before.

    Raises:
        SourceError: names the columns, both types and how to accept the new one.
    """
    previous = request.previous
    if previous is None:
        return
    faults = []
    for name, place in request.config.declared_columns().items():
        before, now = previous.source_types.get(name), types.get(name)
        if not before or not now or before == now or request.config.types.get(name) == now:
            continue
        if any(before in family and now in family for family in _SAME_TEXT):
            continue
        faults.append(f"declared column {name!r} (used by {place}) was {before} and is {now}")
    if faults:
        raise SourceError(
            f"{request.name}: {'; '.join(faults)}. Nothing was loaded. If the change is right, say so in "
            f"{request.source.path} with 'types: {{<column>: <new type>}}' in the stream"
        )


def schema_change(previous: Manifest | None, columns: Collection[str], types: Mapping[str, str]) -> str | None:
    """Columns that came, went or changed their type since ``previous``, in words; None where none did."""
    if previous is None:
        return None
    before = set(previous.columns)
    changes = []
    if added := [name for name in columns if name not in before]:
        changes.append(f"added: {', '.join(added)}")
    if gone := [name for name in previous.columns if name not in columns]:
        changes.append(f"gone: {', '.join(gone)}")
    changes += [
        f"{name}: {previous.source_types[name]} to {kind}"
        for name, kind in types.items()
        if previous.source_types.get(name, kind) != kind
    ]
    return "; ".join(changes) or None
