"""The same in pandas, as one would write it for this source alone: whole columns, and once a distinct value where
values repeat.

``python -m tests.benchmarks.events_pandas FOLDER OUT`` measures it.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd

from tests.benchmarks.measuring import measure, report
from tests.benchmarks.rules import COUNTRIES, HASHED, ROBOT, landed_parts

TEXTS = {
    "user_pseudo_id": "anonymous_id",
    "user_id": "user_id",
    "event_params.ga_session_id": "source_session_id",
    "event_name": "event_name",
    "event_params.page_title": "page_title",
    "event_params.source": "utm_source",
    "event_params.medium": "utm_medium",
    "event_params.campaign": "utm_campaign",
    "device.category": "device_category",
    "device.operating_system": "operating_system",
    "device.web_info.browser": "browser",
    "geo.region": "region",
    "event_params.user_agent": "user_agent",
    "event_params.item_id": "item_id",
}
ATTRIBUTES = ("platform", "event_params.engagement_time_msec", "event_params.transaction_id", "traffic_source.source")
KEY = ("user_pseudo_id", "event_timestamp", "event_name", "batch_page_id", "batch_event_index")
REST = (
    *("event_timestamp", "batch_page_id", "batch_event_index", "event_params.page_location"),
    *("event_params.page_referrer", "geo.country", "event_params.value", "event_params.currency", "_load_row"),
)
PAGE_VIEWS = ("page_view", "pageview", "screen_view")
PURCHASES = ("purchase", "order_completed")


def by_value(column: pd.Series, values: pd.Series) -> pd.Series:
    """``values``, which are indexed by the distinct values of ``column``, spread over it."""
    return column.map(values)


def distinct(column: pd.Series) -> pd.Series:
    """The distinct values of a column, indexed by themselves."""
    values = column.drop_duplicates().dropna()
    return pd.Series(values.array, index=values.array, dtype="str")


def clean(folder: Path, out: Path) -> None:
    """Landed rows to clean events, a file a day."""
    landed = pd.concat(
        [pd.read_parquet(part, columns=[*TEXTS, *REST, *ATTRIBUTES]) for part in landed_parts(folder)],
        ignore_index=True,
    )
    for name in [*TEXTS, *REST[:-1]]:
        text = landed[name].str.strip()
        landed[name] = text.mask(text == "")
    parts = [landed[name] for name in KEY]
    source_id = parts[0].str.cat(parts[1:], sep=":")
    keep = landed.assign(source_id=source_id).sort_values("_load_row").drop_duplicates("source_id", keep="last").index
    landed, source_id = landed.loc[keep], source_id.loc[keep]

    event = landed[list(TEXTS)].rename(columns=TEXTS)
    event["source_id"] = source_id
    event["load_row"] = landed["_load_row"]
    event["occurred_at"] = pd.to_datetime(landed["event_timestamp"].astype("int64"), unit="us")
    page = distinct(landed["event_params.page_location"])
    bare = page.str.replace(r"[?#].*", "", regex=True)
    found = bare.str.extract(r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^@/]*@)?([^/]*)(/.*)?$")
    event["page_host"] = by_value(landed["event_params.page_location"], found[0].str.lower())
    event["page_path"] = by_value(landed["event_params.page_location"], found[1].fillna("/"))
    referrer = distinct(landed["event_params.page_referrer"]).str.replace(r"[?#].*", "", regex=True)
    event["referrer"] = by_value(landed["event_params.page_referrer"], referrer)
    event["country"] = landed["geo.country"].map(COUNTRIES)
    robots = distinct(event["user_agent"]).str.contains(ROBOT, regex=True)
    event["is_bot"] = by_value(event["user_agent"], robots)
    event["value_amount"] = landed["event_params.value"].astype("float64")
    event["value_currency"] = landed["event_params.currency"].str.upper()
    attributes = [landed[name].astype("object").where(landed[name].notna(), None) for name in ATTRIBUTES]
    event["attributes"] = [
        json.dumps(dict(zip(ATTRIBUTES, values, strict=True)), ensure_ascii=False, separators=(",", ":"))
        for values in zip(*attributes, strict=True)
    ]
    # 64 bits of pandas' own hash: an MD5 a row, as the night and the script have it, would cost more.
    event["row_hash"] = pd.util.hash_pandas_object(event[list(HASHED)], index=False)
    event["event_date"] = event["occurred_at"].dt.tz_localize("UTC").dt.tz_convert("Asia/Shanghai").dt.date
    target = out / "events"
    target.mkdir()
    for day, rows in event.groupby("event_date"):
        rows.drop(columns="event_date").to_parquet(target / f"{day}.parquet", compression="zstd", index=False)


def sessionise(out: Path) -> None:
    """Clean events to sessions."""
    columns = ["source_id", "occurred_at", "anonymous_id", "user_id", "source_session_id", "event_name", "page_path"]
    columns += ["utm_source", "utm_medium", "utm_campaign", "device_category", "country", "is_bot"]
    event = pd.read_parquet(out / "events", columns=columns)
    event = event[~event["is_bot"].fillna(False).astype("bool")]
    event["visitor_id"] = (
        event["anonymous_id"].fillna(event["user_id"]).fillna(event["source_session_id"]).fillna(event["source_id"])
    )
    event = event.sort_values(["visitor_id", "occurred_at"])
    same = event["visitor_id"] == event["visitor_id"].shift()
    gap = event["occurred_at"].diff() > pd.Timedelta(minutes=30)
    event["session_number"] = (~same | gap).cumsum()
    event["is_page_view"] = event["event_name"].isin(PAGE_VIEWS)
    event["is_purchase"] = event["event_name"].isin(PURCHASES)
    sessions = event.groupby("session_number").agg(
        visitor_id=("visitor_id", "first"),
        started_at=("occurred_at", "first"),
        ended_at=("occurred_at", "last"),
        n_events=("occurred_at", "size"),
        n_page_views=("is_page_view", "sum"),
        has_purchase=("is_purchase", "any"),
        entry_page_path=("page_path", "first"),
        exit_page_path=("page_path", "last"),
        utm_source=("utm_source", "first"),
        utm_medium=("utm_medium", "first"),
        utm_campaign=("utm_campaign", "first"),
        device_category=("device_category", "first"),
        country=("country", "first"),
    )
    sessions.to_parquet(out / "sessions.parquet", compression="zstd", index=False)


def main(folder: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    costs = measure(lambda: clean(folder, out), lambda: sessionise(out))
    report(dict(zip(("clean", "sessions"), costs, strict=True)))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
