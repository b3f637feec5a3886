"""Presets over files that the vendors themselves wrote: a Qualtrics export with German labels, GA4's public sample."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from orchestration.contracts import CONTRACTS
from orchestration.normalize.table import NormaliseContext, normalise
from orchestration.settings import PROJECT_ROOT, Settings
from orchestration.sources.config import load_source
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing
from tests.fakes import Clock, Fake
from tests.fakes.qualtrics import SURVEY, Qualtrics
from tests.fakes.server import Answer, Request, route

pytestmark = pytest.mark.real_data
DATA = PROJECT_ROOT.parent / "shared" / "data"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class RealFile(Qualtrics):
    """Qualtrics whose exports are a file that the real one wrote."""

    @route("GET", "/API/v3/surveys/([^/]+)/export-responses/file-([^/]+)/file")
    def file(self, request: Request, survey: str, progress: str) -> Answer:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(DATA / "survey_platform_exports" / "qualtrics" / "sample_3row_header.csv", "Umfrage.csv")
        return Answer(packed.getvalue(), headers={"Content-Type": "application/zip"})


def rows_of(home: Path, raw: dict[str, Any], stream: str, table: str) -> pl.DataFrame:
    """Rows of a contract that one load of the source gives; none may be rejected."""
    path = home / "source.yaml"
    path.write_text(yaml.safe_dump(raw))
    config = load_source(path)
    settings = Settings(home=home, sources_dir=home, hmac_key=b"key")
    extract(config, stream, settings=settings, run_id="run", now=NOW)
    landing = Landing(settings.landing_dir)
    landed = landing.scan(landing.manifests(config.source, stream)[-1])
    chosen = config.streams[stream]
    context = NormaliseContext(config.source, stream, "load", NOW, config.timezone, chosen.primary_key)
    rows, rejects = normalise(CONTRACTS[table], landed, chosen.tables[table], context).collect()
    assert rejects.is_empty(), rejects.to_dicts()
    return rows


def test_a_file_that_qualtrics_wrote(tmp_path: Path) -> None:
    fake = Fake(RealFile, clock=Clock(NOW)).start()
    fake.dialect.fill(1, 7)
    (tmp_path / "key").write_text(fake.dialect.token)
    connection = {"datacenter": "fra1", "survey": SURVEY, "token": {"file": "key"}, "base_url": fake.url}
    streams = {"responses": {"from": {"export": {"every_seconds": 0}}}}
    raw = {"source": "voice", "type": "qualtrics", "connection": connection, "streams": streams}
    try:
        response = rows_of(tmp_path, raw, "responses", "response").row(0, named=True)
    finally:
        fake.close()
    assert response["source_id"] == "R_2YPOQ602ER1jkf1"
    assert (response["started_at"], response["answered_at"]) == (
        datetime(2017, 7, 18, 8, 28, 9),
        datetime(2017, 7, 18, 8, 28, 48),
    )
    kept = ("status", "progress_pct", "duration_seconds", "language", "channel", "customer_id")
    assert [response[name] for name in kept] == ["complete", 100.0, 38.0, "de", "web", None]
    assert len(response["ip_hash"]) == 64


def test_an_event_that_google_exported(tmp_path: Path) -> None:
    lines = (DATA / "api_payloads" / "estuary_snapshots" / "ga4_bigquery_public_sample_capture.txt").read_text()
    split = lines.splitlines()
    event = json.loads("\n".join(split[split.index("[") : split.index("]") + 1]))[1]
    del event["_meta"]
    (tmp_path / "events_20210131.jsonl").write_text(json.dumps(event) + "\n")
    raw = {"source": "web", "type": "ga4", "connection": {"path": "events_*.jsonl"}}
    row = rows_of(tmp_path, raw, "events", "web_event").row(0, named=True)
    assert row["occurred_at"] == datetime(2021, 1, 31, 0, 0, 0, 657906)
    kept = ("event_name", "page_path", "country", "browser", "device_category", "operating_system")
    assert [row[name] for name in kept] == [
        event["event_name"],
        "/Google+Redesign/Shop+by+Brand/YouTube",
        "US",
        "Chrome",
        "desktop",
        "Windows",
    ]
    assert row["source_session_id"].startswith(event["user_pseudo_id"])
