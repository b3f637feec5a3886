"""Presets of surveys and of web analytics under fire: what the vendor has throughout is landed, or the load fails.

Each example loads twice under faults chosen by a seed, with changes of records before and while it reads, and once
more in calm.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.settings import Settings
from orchestration.sources.config import load_source
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import extract
from orchestration.sources.http import client as http_client
from orchestration.sources.landing import Landing
from tests.fakes import Clock, Fake, FaultPlan, serve
from tests.fakes.limesurvey import PASSWORD
from tests.fakes.rest import stamp
from tests.fakes.store import Record

TRANSPORT = ("429_seconds", "429_date", "500", "502", "503", "reset", "cut_body", "cut_chunked", "gzip", "html")


@dataclass(frozen=True)
class Vendor:
    """One preset over its fake.

    Attributes:
        options: ``connection``; True stands for the secret, ``{url}`` for the address.
        stream: Stream that is read.
        key: Column of the record's key.
        stamp: Column of its last change.
        shown: That change as the vendor writes it.
        kinds: Faults beside those of transport.
        churn: Changes while it is read.
        changes: Put over the stream.
    """

    options: dict[str, Any]
    stream: str
    key: str
    stamp: str
    shown: Callable[[Record], str]
    kinds: tuple[str, ...] = ("repeated_page", "error_in_200")
    churn: tuple[str, ...] = ("changed", "moved", "inserted", "deleted")
    changes: dict[str, Any] = field(default_factory=dict)


def _second(pattern: str) -> Callable[[Record], str]:
    return lambda record: f"{record.updated_at:{pattern}}"


VENDORS = {
    "qualtrics": Vendor(
        {"datacenter": "fra1", "base_url": "{url}", "token": True, "survey": "SV_0001"},
        "responses",
        "_recordId",
        "recordedDate",
        _second("%Y-%m-%d %H:%M:%S"),
        kinds=("error_in_200", "export_fails"),
        changes={"from": {"export": {"every_seconds": 0}}},
    ),
    # A submitted response is never changed.
    "typeform": Vendor(
        {"host": "{url}", "token": True, "form": "u6nXL7"},
        "responses",
        "response_id",
        "submitted_at",
        _second("%Y-%m-%dT%H:%M:%SZ"),
        churn=("inserted", "deleted"),
    ),
    "surveymonkey": Vendor(
        {"host": "{url}", "token": True, "survey": "405000001", "start": "2026-04-01"},
        "responses",
        "id",
        "date_modified",
        _second("%Y-%m-%dT%H:%M:%S+00:00"),
    ),
    "limesurvey": Vendor(
        {"url": "{url}/index.php/admin/remotecontrol", "user": "reader", "password": True, "survey": "123456"},
        "responses",
        "id",
        "datestamp",
        _second("%Y-%m-%d %H:%M:%S"),
        kinds=("error_in_200", "expired_token"),
        # Of few responses two are many.
        changes={"deletes": {"max_vanish_share": 0.9}},
    ),
    "formbricks": Vendor(
        {"host": "{url}", "key": True, "survey": "cm0survey0000000000000001"},
        "responses",
        "id",
        "updatedAt",
        lambda record: stamp(record.updated_at),
    ),
    "matomo": Vendor(
        {"url": "{url}", "token": True, "site": "1", "start": "2026-04-25"},
        "events",
        "idVisit",
        "lastActionTimestamp",
        lambda record: str(int(record.updated_at.timestamp())),
        churn=("changed", "moved", "inserted"),
    ),
}


class Night:
    """A preset's stream over its fake, and what must hold after each load."""

    def __init__(self, home: Path, fake: Fake, name: str) -> None:
        self.fake, self.vendor = fake, VENDORS[name]
        self.settings = Settings(home=home, sources_dir=home, hmac_key=b"key")
        self.landing = Landing(self.settings.landing_dir)
        (home / "secret").write_text(PASSWORD if name == "limesurvey" else fake.dialect.token)
        connection = {
            key: {"file": "secret"} if value is True else value.replace("{url}", fake.url)
            for key, value in self.vendor.options.items()
        }
        raw = {
            "source": "voice",
            "type": name,
            "connection": connection | {"retry": {"base_seconds": 0.1, "attempts": 4}},
            "streams": {self.vendor.stream: self.vendor.changes},
        }
        (home / "voice.yaml").write_text(yaml.safe_dump(raw))
        self.source = load_source(home / "voice.yaml")

    def load(self) -> bool:
        """Load once; whether it did not fail. What must hold is asserted."""
        fake, since = self.fake, self.fake.store.tick()
        stream = self.vendor.stream
        before = self.landing.manifests("voice", stream)
        try:
            extract(self.source, stream, settings=self.settings, run_id="run", now=fake.clock.now)
        except SourceError as error:
            self.said = str(error)
            assert self.said.strip()
            assert self.landing.manifests("voice", stream) == before
            return False
        present = fake.store.present(fake.dialect.collection, since, fake.store.event)
        # What is changed meanwhile may leave a window with an end; the next one has it.
        self.require([versions[0] for versions in present.values() if len(versions) == 1])
        return True

    def require(self, records: list[Record]) -> None:
        """Each record is landed with its last change."""
        found: dict[str, str] = {}
        for manifest in self.landing.manifests("voice", self.vendor.stream):
            if manifest.rows_landed:
                rows = self.landing.scan(manifest).filter(~pl.col("_deleted")).sort("_load_row")
                found |= dict(rows.select(self.vendor.key, self.vendor.stamp).collect().iter_rows())
        lost = [record.key for record in records if str(record.key) not in found]
        assert not lost, f"{len(lost)} of {len(records)} records are lost: {lost[:3]}"
        for record in records:
            assert found[str(record.key)] == self.vendor.shown(record), f"{record.key} is an old version"


def play(name: str, seed: int, kinds: list[str], rate: float) -> None:
    """Two loads under fire and a calm one."""
    vendor, chance = VENDORS[name], random.Random(seed)
    plan = FaultPlan(rates=dict.fromkeys(kinds, rate), seed=seed, slow_seconds=0)
    clock = Clock(step=timedelta(milliseconds=chance.choice((0, 1, 700))))
    patch = pytest.MonkeyPatch()
    with tempfile.TemporaryDirectory() as folder, serve(name, rows=40, seed=seed % 5, clock=clock, faults=plan) as fake:
        patch.setattr(http_client, "sleep", clock.advance)
        fake.dialect.page_limit = 9 if name != "matomo" else None
        try:
            night = Night(Path(folder), fake, name)
            for _ in range(2):
                night.load()
                fake.forget()
                clock.advance(7200)
                for _ in range(chance.randrange(4)):
                    getattr(fake.change, chance.choice(vendor.churn))(chance)
                    clock.advance(chance.choice((0, 0.001, 60)))
                clock.advance(7200)
            fake.calm()
            clock.advance(86400)
            assert night.load(), night.said
            night.require(fake.store.records(fake.dialect.collection))
        finally:
            patch.undo()


@pytest.mark.parametrize("name", VENDORS)
def test_nothing_is_lost_under_fire(name):
    vendor = VENDORS[name]

    @settings(max_examples=8, deadline=None)
    @given(
        st.integers(0, 10**6),
        st.lists(st.sampled_from((*TRANSPORT, *vendor.kinds, *vendor.churn)), min_size=1, max_size=5, unique=True),
        st.sampled_from((0.03, 0.1, 0.3)),
    )
    def run(seed, kinds, rate):
        play(name, seed, kinds, rate)

    run()
