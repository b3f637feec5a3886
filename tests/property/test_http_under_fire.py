"""Whatever a source does while it is read: each record that it has throughout is landed, or the load fails loudly.

Each example loads twice under faults chosen by a seed, with changes of records before and while it reads, and once
more in calm. No waiting: a client's sleep moves the clock of the fake.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.settings import Settings
from orchestration.sources.config import load_source
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import LoadRecord, extract
from orchestration.sources.http import client as http_client
from orchestration.sources.landing import Landing
from tests.fakes import Clock, Fake, FaultPlan, serve
from tests.fakes.rest import stamp
from tests.fakes.rest_yaml import API_KEY, EXPORT, OAUTH, PACKED, SESSION, by_keyset, by_token, write_secrets
from tests.fakes.store import Record

FIELDS = ("name", "email", "country", "score")
TRANSPORT = ("429_seconds", "429_date", "500", "502", "503", "reset", "cut_body", "cut_chunked", "slow", "gzip", "html")
CONTENT = ("repeated_page", "error_in_200", "cut_unsaid")
"""A cut of which nothing tells shows where the answer is JSON or a zip; lines of a file would only be fewer."""
CHURN = ("changed", "moved", "deleted", "inserted")
RETRY = {"base_seconds": 0.1, "attempts": 4}


@dataclass(frozen=True)
class Way:
    """One way of declaring a stream over the generic fake.

    Attributes:
        origin: ``from``.
        kinds: Faults beside those of transport that it may meet.
        churn: Changes that may happen while it is read.
        cursor: Of the stream.
        auth: Of the connection.
        errors: Of the connection.
        concurrency: Requests side by side; which of them meets a fault is then up to chance.
    """

    origin: dict[str, Any]
    kinds: tuple[str, ...] = CONTENT
    churn: tuple[str, ...] = CHURN
    cursor: dict[str, Any] | None = None
    auth: dict[str, Any] = field(default_factory=lambda: API_KEY)
    errors: list[dict[str, Any]] = field(default_factory=list)
    concurrency: int = 1


LINES = ("repeated_page", "error_in_200")
SINCE = {"since": "{{ window.start }}", "limit": "7"}
CURSOR = {"field": "updated_at", "lag": "1m"}
ALL = (*CONTENT, "cursor_loop", "empty_page", "expired_token", "quota")
WAYS = {
    "token": Way(
        by_token(**SINCE),
        kinds=ALL,
        cursor=CURSOR,
        auth=SESSION,
    ),
    "next": Way(
        {
            "request": {"path": "/next/items", "params": SINCE},
            "records": {"path": "data"},
            "paging": {"kind": "link", "next": "links.next"},
        },
        kinds=ALL,
        cursor=CURSOR,
        auth=OAUTH,
        errors=[{"path": "error", "message": "error.message", "action": "retry"}],
    ),
    "link": Way(
        {"request": {"path": "/link/items", "params": SINCE}, "paging": {"kind": "link"}}, kinds=ALL, cursor=CURSOR
    ),
    "keyset": Way(
        by_keyset(7),
        kinds=(*CONTENT, "expired_token", "quota"),
        cursor=CURSOR,
        auth=SESSION,
    ),
    # Reconciled by count, records may come or go, not both: their number would be the same.
    "page": Way(
        {
            "request": {"path": "/page/items"},
            "records": {"path": "data"},
            "paging": {
                "kind": "page",
                "size": 7,
                "param": "page",
                "size_param": "per_page",
                "total": "total",
                "reconcile": "total",
            },
        },
        churn=("inserted",),
    ),
    "offset": Way(
        {
            "request": {"path": "/offset/items"},
            "records": {"path": "results"},
            "paging": {"kind": "offset", "size": 7, "param": "offset", "size_param": "limit", "reconcile": "reread"},
        },
    ),
    "ndjson": Way(
        {
            "request": {"path": "/ndjson/items", "params": {"country": "{{ each.country }}"}},
            "records": {"format": "ndjson"},
            "each": {"country": ["CN", "NO", "MT"]},
        },
        kinds=LINES,
    ),
    "side by side": Way(
        by_token(**SINCE, country="{{ each.country }}") | {"each": {"country": ["CN", "NO", "MT"]}},
        # The page of another country, in its place, would look right.
        kinds=tuple(kind for kind in ALL if kind != "repeated_page"),
        cursor=CURSOR,
        auth=SESSION,
        concurrency=3,
    ),
    "csv": Way({"request": {"path": "/csv/items"}, "records": {"format": "csv"}}, kinds=LINES),
    "packed": Way(PACKED),
    "export": Way(EXPORT, kinds=("export_fails", "error_in_200", "cut_unsaid")),
}


class Night:
    """A stream over the fake, its loads, and what must hold after each."""

    def __init__(self, home: Path, fake: Fake, way: Way) -> None:
        self.fake = fake
        self.settings = Settings(home=home, sources_dir=home / "sources")
        self.landing = Landing(self.settings.landing_dir)
        (home / "sources").mkdir()
        write_secrets(home, fake)
        stream = {
            "from": way.origin,
            "to": "customer",
            "primary_key": ["id"],
            "fields": {"email": "email", "country": "country", "full_name": "name", "updated_at": "updated_at"},
            "on_empty": "allow",
        } | ({"cursor": way.cursor} if way.cursor else {})
        connection = {
            "base_url": fake.url,
            "auth": way.auth,
            "retry": RETRY,
            "errors": way.errors,
            "timeout_seconds": 5,
            "budget": {"concurrency": way.concurrency},
        }
        path = home / "sources" / "shop.yaml"
        path.write_text(
            yaml.safe_dump({"source": "shop", "type": "http", "connection": connection, "streams": {"items": stream}})
        )
        self.source = load_source(path)

    def load(self) -> LoadRecord | None:
        """Load once; None where it failed loudly. What must hold is asserted."""
        fake, since = self.fake, self.fake.store.tick()
        before = self.landing.manifests("shop", "items")
        try:
            record = extract(self.source, "items", settings=self.settings, run_id="run", now=fake.clock.now)
        except SourceError as error:
            assert str(error).strip()
            # Nothing is committed, so the cursor, which lies in the manifests, stands where it stood.
            assert self.landing.manifests("shop", "items") == before
            assert not list(self.settings.landing_dir.rglob("part-*.parquet.draft"))
            return None
        if record.missing_share is None:
            self.require(fake.store.present("items", since, fake.store.event))
        return record

    def require(self, present: dict[Any, list[Record]]) -> None:
        """Each record is landed, and the last of it is a version that there was."""
        latest = self.latest()
        missing = sorted(set(present) - set(latest))
        assert not missing, f"{len(missing)} of {len(present)} records are lost: {missing[:5]}"
        for key, versions in present.items():
            known = [self.shown(version) for version in versions]
            assert latest[key] in known, f"record {key}: {latest[key]} is landed, it was {known}"

    @staticmethod
    def shown(record: Record) -> tuple:
        texts = (None if record[name] is None else str(record[name]) for name in FIELDS)
        return (*texts, stamp(record.updated_at))

    def latest(self) -> dict[int, tuple]:
        """The newest landed version of each record, by its stamp, then by the load."""
        found: dict[int, tuple] = {}
        for manifest in self.landing.manifests("shop", "items"):
            if not manifest.rows_landed:
                continue
            rows = self.landing.scan(manifest).sort("_load_row").collect()
            for key, *values in rows.select("id", *FIELDS, "updated_at").iter_rows():
                # Read in one load, the later page need not hold the newer version.
                if int(key) not in found or found[int(key)][-1] <= values[-1]:
                    found[int(key)] = tuple(values)
        return found


TALLY: Counter[str] = Counter()


def play(name: str, seed: int, kinds: list[str], rate: float) -> None:
    """Two loads under fire and a calm one."""
    way, chance = WAYS[name], random.Random(seed)
    allowed = {*TRANSPORT, *way.kinds, *way.churn}
    plan = FaultPlan(rates={kind: rate for kind in kinds if kind in allowed}, seed=seed, slow_seconds=0)
    clock = Clock(step=timedelta(milliseconds=chance.choice((0, 1, 700))))
    patch = pytest.MonkeyPatch()
    with (
        tempfile.TemporaryDirectory() as folder,
        serve("rest", rows=45, seed=seed % 5, clock=clock, faults=plan) as fake,
    ):
        patch.setattr(http_client, "sleep", clock.advance)
        try:
            night = Night(Path(folder), fake, way)
            for _ in range(2):
                outcome = night.load()
                TALLY[f"{name} {outcome.status if outcome else 'failed'}"] += 1
                fake.forget()
                clock.advance(3600)
                for _ in range(chance.randrange(4)):
                    getattr(fake.change, chance.choice(way.churn))(chance)
                    clock.advance(chance.choice((0, 0.001, 60)))
                clock.advance(3600)
            fake.calm()
            clock.advance(86400)
            for _ in range(3):
                record = night.load()
                assert record is not None
                if record.missing_share is None:
                    break
            else:
                raise AssertionError("calm loads do not come to an end")
        finally:
            patch.undo()


KINDS = tuple(sorted({*TRANSPORT, *CHURN, *(kind for way in WAYS.values() for kind in way.kinds)}))


@pytest.mark.parametrize("name", WAYS)
def test_nothing_is_lost_under_fire(name):
    way = WAYS[name]
    kinds = (*TRANSPORT, *way.kinds, *way.churn)

    @settings(max_examples=8, deadline=None)
    @given(
        st.integers(0, 10**6),
        st.lists(st.sampled_from(kinds), min_size=1, max_size=5, unique=True),
        st.sampled_from((0.03, 0.1, 0.3)),
    )
    def run(seed, chosen, rate):
        play(name, seed, chosen, rate)

    run()


def test_more_records_of_one_moment_than_a_page_holds(tmp_path):
    way = WAYS["keyset"]
    origin = way.origin | {
        "request": {"path": "/keyset/items", "params": way.origin["request"]["params"] | {"limit": "1000"}}
    }
    origin |= {"paging": way.origin["paging"] | {"size": 1000}}
    with serve("rest", clock=Clock()) as fake:
        moment = fake.clock.now - timedelta(days=1)
        for number in range(1, 10_501):
            fake.store.put(
                "items", number, {"name": "x", "email": None, "country": "NO", "score": 1}, updated_at=moment
            )
        night = Night(tmp_path, fake, replace(way, origin=origin))
        fake.at(5, lambda fake: fake.store.put("items", 3))
        record = night.load()
        assert record.rows_landed == 10_500 + 1
        fake.clock.advance(3600)
        assert night.load().status == "unchanged"
