"""Records with every version they had, under a clock and a count of events that the test controls.

Belongs here: what exists at the source, and when it did. Does not belong here: how a vendor shows it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

NOON = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)


class Clock:
    """The time at the source: it stands still unless the test moves it, or ``step`` passes with each request."""

    def __init__(self, now: datetime = NOON, step: timedelta = timedelta(0)) -> None:
        self.now = now if now.tzinfo else now.replace(tzinfo=UTC)
        self.step = step

    def advance(self, seconds: float) -> None:
        """Let seconds pass; fits as the ``sleep`` of a client."""
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Record:
    """One version of one record.

    Attributes:
        key: Its key in its collection.
        content: What it says, the dialect's own fields.
        created_at: When it came to be.
        updated_at: The stamp it carries; not always when it was written.
        is_deleted: Whether this version says that it is gone.
        begins: Event at which the version came to be.
        ends: Event at which it was replaced; None while it stands.
    """

    key: Any
    content: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    is_deleted: bool
    begins: int
    ends: int | None = None

    def __getitem__(self, name: str) -> Any:
        return self.content[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.content.get(name, default)


@dataclass
class Store:
    """Collections of records. ``event`` counts requests and changes, so that what came first can be told."""

    clock: Clock = field(default_factory=Clock)
    event: int = 0
    current: dict[str, dict[Any, Record]] = field(default_factory=dict)
    past: dict[str, list[Record]] = field(default_factory=dict)
    _sorted: dict[tuple, tuple[int, list[Record]]] = field(default_factory=dict)
    _revision: dict[str, int] = field(default_factory=dict)

    def tick(self) -> int:
        """Count one event."""
        self.event += 1
        return self.event

    def put(
        self,
        collection: str,
        key: Any,
        content: Mapping[str, Any] | None = None,
        *,
        updated_at: datetime | None = None,
        created_at: datetime | None = None,
        is_deleted: bool = False,
        **changes: Any,
    ) -> Record:
        """Insert a record, or change one: ``content`` replaces what it says, ``changes`` add to it."""
        before = self.current.get(collection, {}).get(key)
        said = dict(content if content is not None else before.content if before else {}) | changes
        moment = updated_at or self.clock.now
        event = self.tick()
        record = Record(
            key=key,
            content=said,
            created_at=created_at or (before.created_at if before else moment),
            updated_at=moment,
            is_deleted=is_deleted,
            begins=event,
        )
        if before is not None:
            self.past.setdefault(collection, []).append(replace(before, ends=event))
        self.current.setdefault(collection, {})[key] = record
        self._revision[collection] = self._revision.get(collection, 0) + 1
        return record

    def delete(self, collection: str, key: Any, *, updated_at: datetime | None = None) -> Record:
        """The record is gone; what it said last stays known, for dialects that still show it."""
        return self.put(collection, key, updated_at=updated_at, is_deleted=True)

    def get(self, collection: str, key: Any) -> Record | None:
        """The record as it stands; None where there is none, or it was deleted."""
        record = self.current.get(collection, {}).get(key)
        return None if record is None or record.is_deleted else record

    def records(
        self,
        collection: str,
        order: Callable[[Record], Any] = lambda record: record.key,
        *,
        name: str = "key",
        deleted: bool | None = False,
    ) -> list[Record]:
        """Records in an order that ``name`` names; ``deleted`` None takes both kinds. Not to be changed."""
        revision = self._revision.get(collection, 0)
        slot = (collection, name, deleted)
        held = self._sorted.get(slot)
        if held is None or held[0] != revision:
            chosen = (
                record
                for record in self.current.get(collection, {}).values()
                if deleted is None or record.is_deleted is deleted
            )
            held = self._sorted[slot] = (revision, sorted(chosen, key=order))
        return held[1]

    def versions(self, collection: str, key: Any | None = None) -> list[Record]:
        """Every version that there was, the oldest first; of one record, or of all."""
        found: Iterable[Record] = [*self.past.get(collection, ()), *self.current.get(collection, {}).values()]
        return sorted((record for record in found if key in (None, record.key)), key=lambda record: record.begins)

    def present(self, collection: str, since: int, until: int) -> dict[Any, list[Record]]:
        """What existed throughout, from event ``since`` to ``until``: key to its versions of that time.

        A record that was deleted, or came to be, in between is not among them.
        """
        alive: dict[Any, list[Record]] = {}
        gone = set()
        for record in self.versions(collection):
            if record.begins <= until and (record.ends is None or record.ends > since):
                alive.setdefault(record.key, []).append(record)
                if record.is_deleted:
                    gone.add(record.key)
        return {key: found for key, found in alive.items() if found[0].begins <= since and key not in gone}


class Change:
    """What other people do to the records between two requests, chosen by ``chance``."""

    def __init__(self, store: Store, collection: str, invent: Callable[[random.Random], tuple[Any, dict]]) -> None:
        self.store = store
        self.collection = collection
        self.invent = invent

    def _choose(self, chance: random.Random) -> Record | None:
        found = self.store.records(self.collection)
        return chance.choice(found) if found else None

    def changed(self, chance: random.Random) -> None:
        """A record is changed and gets a new stamp."""
        if record := self._choose(chance):
            self.store.put(self.collection, record.key)

    def moved(self, chance: random.Random) -> None:
        """The record with the earliest stamp gets a new one: every page after it shifts by a row."""
        found = self.store.records(self.collection, lambda record: (record.updated_at, record.key), name="stamp")
        if found:
            self.store.put(self.collection, found[0].key)

    def deleted(self, chance: random.Random) -> None:
        """A record goes."""
        if record := self._choose(chance):
            self.store.delete(self.collection, record.key)

    def inserted(self, chance: random.Random) -> None:
        """A record comes."""
        key, content = self.invent(chance)
        self.store.put(self.collection, key, content)
