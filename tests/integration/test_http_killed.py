"""Loads over HTTP killed with SIGKILL at random points: the next load brings everything, once, without hand work."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from orchestration.sources.landing import Landing
from tests.fakes import Clock, Fake, serve
from tests.fakes.rest import stamp
from tests.fakes.rest_yaml import EXPORT, SESSION, by_keyset, by_token, write_secrets

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {"email": "email", "full_name": "name", "country": "country", "updated_at": "updated_at"}
STREAMS = {
    "changed": {"from": by_keyset(9), "cursor": {"field": "updated_at", "lag": "1m"}},
    "listed": {"from": by_token(limit="9"), "deletes": {"strategy": "key_scan", "max_vanish_share": 0.9}},
    "exported": {"from": EXPORT},
    "in_parts": {
        "from": by_token(limit="9", country="{{ each.country }}") | {"each": {"country": ["CN", "NO", "MT"]}},
    },
}


class Loader:
    """The process that loads, over one home."""

    def __init__(self, home: Path, fake: Fake) -> None:
        self.home, self.fake = home, fake
        self.landing = Landing(home / "landing")
        (home / "sources").mkdir(parents=True)
        write_secrets(home, fake)
        connection = {"base_url": fake.url, "auth": SESSION, "budget": {"per_day": 100_000}}
        common = {"to": "customer", "primary_key": ["id"], "fields": FIELDS}
        streams = {name: common | stream for name, stream in STREAMS.items()}
        raw = {"source": "shop", "type": "http", "connection": connection, "streams": streams}
        (home / "sources" / "shop.yaml").write_text(yaml.safe_dump(raw))
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("http_load_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.said() == {"ready": True}

    def said(self) -> dict:
        line = self.process.stdout.readline()
        assert line, "the process that loads is gone"
        return json.loads(line)

    def load(self, *, at: int = 0, request: int = 0) -> dict:
        """Load all streams; die at a file operation, or when a request of the load comes in."""
        self.process.stdin.write(
            json.dumps({"home": str(self.home), "clock": self.fake.clock.now.isoformat(), "at": at}) + "\n"
        )
        known: dict = {}

        def kill(fake: Fake) -> None:
            os.kill(known["pid"], signal.SIGKILL)

        if request:
            self.fake.at(self.fake.requests + request, kill)
        self.process.stdin.flush()
        known |= self.said()
        while "status" not in known:
            known |= self.said()
        assert "error" not in known, known["error"]
        return known

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=20)

    def require_sound(self) -> None:
        """What is committed is whole, and no load holds a record twice."""
        for stream in STREAMS:
            for manifest in self.landing.manifests("shop", stream):
                self.landing.verify(manifest, content=True)
                rows = self.landing.scan(manifest).collect() if manifest.rows_landed else None
                assert rows is None or rows["id"].is_unique().all(), f"{stream} holds a record twice in one load"

    def require_everything(self) -> None:
        """The newest landed version of each record is the one at the source, and nothing else lies about."""
        expected = {
            str(record.key): (record["email"], record["name"], record["country"], stamp(record.updated_at))
            for record in self.fake.store.records("items")
        }
        for stream in STREAMS:
            found, gone = {}, set()
            for manifest in self.landing.manifests("shop", stream):
                if manifest.rows_landed:
                    rows = self.landing.scan(manifest).sort("_load_row").collect()
                    for key, is_gone, *values in rows.select("id", "_deleted", *FIELDS.values()).iter_rows():
                        found[key] = tuple(None if value == "" else value for value in values)
                        (gone.add if is_gone else gone.discard)(key)
            live = {key: row for key, row in found.items() if key in expected}
            assert live == expected, stream
            if stream == "listed":
                assert set(found) - gone == set(expected)
            folder = self.home / "landing" / "shop" / stream
            parts = {part.name for manifest in self.landing.manifests("shop", stream) for part in manifest.parts}
            loads = {manifest.load_id for manifest in self.landing.manifests("shop", stream)}
            for path in folder.rglob("*.parquet"):
                assert path.parent.name == f"load_id={path.parent.name[8:]}" and path.parent.name[8:] in loads, path
                assert path.name in parts or path.name.startswith("rejects"), path
            assert not (folder / ".download").exists()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_load_loses_and_doubles_nothing(tmp_path, seed):
    chance = random.Random(seed)
    with serve("rest", rows=60, seed=seed, clock=Clock(step=timedelta(milliseconds=1))) as fake:
        loader = Loader(tmp_path / "home", fake)
        try:
            whole = loader.load()
            assert set(whole["loads"].values()) == {"committed"}
            requests = fake.requests
            killed = 0
            for round_ in range(10):
                for _ in range(chance.randrange(1, 4)):
                    getattr(fake.change, chance.choice(("changed", "moved", "inserted", "deleted")))(chance)
                fake.clock.advance(3600)
                if round_ % 2:
                    outcome = loader.load(request=chance.randrange(1, requests // 2))
                else:
                    outcome = loader.load(at=chance.randrange(1, whole["operations"]))
                killed += outcome["status"] == -signal.SIGKILL
                loader.require_sound()
            assert killed > 5
            fake._hooks.clear()
            fake.clock.advance(3600)
            assert loader.load()["status"] == 0
            loader.require_sound()
            loader.require_everything()
        finally:
            loader.close()
