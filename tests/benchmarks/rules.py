"""What the rivals need to know of the sample's web export, and where its landed parts lie."""

from __future__ import annotations

import json
from pathlib import Path

ROBOT = (
    "(?i)(?:[^u]|^)bot(?:\\b|_)|crawl|spider|slurp|headless|phantomjs|puppeteer|playwright|selenium|webdriver"
    "|lighthouse|pingdom|uptime|monitor|facebookexternalhit|mediapartners|scrapy|python-requests|python-urllib"
    "|aiohttp|httpx|curl/|wget/|go-http-client|libwww|node-fetch|axios/|apache-httpclient|feedfetcher|gptbot|ahrefs"
    "|semrush|bytespider|bingpreview|web preview"
)
COUNTRIES = {"China": "CN", "United Kingdom": "GB", "Germany": "DE"}

HASHED = (
    *("occurred_at", "anonymous_id", "user_id", "source_session_id", "event_name", "page_host", "page_path"),
    *("page_title", "referrer", "utm_source", "utm_medium", "utm_campaign", "device_category", "operating_system"),
    *("browser", "country", "region", "user_agent", "is_bot", "item_id", "value_amount", "value_currency"),
    "attributes",
)
"""Columns that make up a row's content."""


def landed_parts(folder: Path) -> list[str]:
    """Parts of the one load of web events, as its manifest names them."""
    (manifest,) = (folder / "landing" / "web" / "events").glob("*/*/_manifest.json")
    parts = json.loads(manifest.read_text(encoding="utf-8"))["parts"]
    return [str(manifest.parent / part["name"]) for part in parts]
