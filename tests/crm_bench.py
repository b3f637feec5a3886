"""Contacts of one SQL database, loaded night after night. Does not belong here: what is tested on them, and servers."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from orchestration.settings import Settings
from orchestration.sources.config import SourceConfig, parse_source
from orchestration.sources.extract import LoadRecord, extract
from orchestration.sources.landing import Landing, Manifest

NOW = datetime(2026, 5, 1, 2)
CURSOR: dict[str, Any] = {"cursor": {"field": "updated_at", "lag": "15m"}}
SCAN: dict[str, Any] = {"deletes": {"strategy": "key_scan", "max_vanish_share": "0.2"}}


class Crm:
    """The stream ``contacts`` of the database whose DSN stands in ``CRM_DSN``, and where it lands.

    Keys given to ``source`` and ``night`` stand in the stream's YAML in place of the usual ones.
    """

    def __init__(self, home: Path, table: str = "contacts") -> None:
        self.settings = Settings(home=home, sources_dir=home / "sources", hmac_key=b"key")
        self.landing = Landing(self.settings.landing_dir)
        self.table = table
        self.nights = 0

    def source(self, connection: dict[str, Any] | None = None, **stream: Any) -> SourceConfig:
        entry = {"from": {"table": self.table}, "to": "customer", "primary_key": ["id"], "fields": {"email": "email"}}
        raw = {
            "source": "crm",
            "type": "sql",
            "timezone": "Asia/Shanghai",
            "connection": {"dsn": {"env": "CRM_DSN"}, **(connection or {})},
            "streams": {"contacts": {**entry, **stream}},
        }
        return parse_source(raw, self.settings.home / "crm.yaml")

    def night(self, window: tuple[str, str] | None = None, **stream: Any) -> LoadRecord:
        self.nights += 1
        source, now, run_id = self.source(**stream), NOW + timedelta(days=self.nights), f"r{self.nights}"
        return extract(source, "contacts", settings=self.settings, run_id=run_id, now=now, window=window)

    def loads(self) -> list[Manifest]:
        return self.landing.manifests("crm", "contacts")

    def last(self) -> pl.DataFrame:
        return self.landing.scan(self.loads()[-1]).collect()

    def landed(self) -> set[str]:
        """Ids of the contacts that ever landed."""
        return {row for load in self.loads() for row in self.landing.scan(load).collect()["id"]}
