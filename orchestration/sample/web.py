"""The web export: daily GA4-like JSON Lines with nested parameters, as BigQuery writes them.

Belongs here: the events of a visit, and the export's dirt (duplicates, late events, robots). Does not belong
here: who visits when and why (``world``).

BigQuery's JSON leaves out null fields and writes 64-bit integers as text; so does this. Events are drawn in
chunks of days, each with random numbers of its own, so that any day can be written again alone and memory stays
bounded however large the company is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from orchestration.sample import vocabulary as words
from orchestration.sample.files import write_bytes
from orchestration.sample.world import (
    AFTER_SALES,
    AWARENESS,
    BOT,
    CONSIDERATION,
    DAY,
    LOYALTY,
    PURCHASE,
    SECOND,
    USE,
    UTC_OFFSET,
    World,
    midnight_us,
)

CHUNK_EVENTS = 150_000
LATE_DAYS = 3
LATE_SHARE, DUPLICATE_SHARE, REDELIVERED_SHARE = 0.004, 0.01, 0.0008
HOSTS = ("shop.example.com", "app.example.com")

PAGES = (
    ("landing", "/", "首页 Home"),
    ("campaign", "/campaign/{campaign}", "活动 Campaign"),
    ("home", "/", "首页 Home"),
    ("search", "/search", "搜索 Search"),
    ("product", "/product/{product}", "商品 Product {product}"),
    ("cart", "/cart", "购物车 Cart"),
    ("checkout", "/checkout", "结算 Checkout"),
    ("confirmation", "/checkout/confirmation", "下单成功 Thank you"),
    ("login", "/login", "登录 Log in"),
    ("signup", "/signup", "注册 Sign up"),
    ("account", "/account", "我的账户 My account"),
    ("orders", "/account/orders", "我的订单 My orders"),
    ("help", "/help", "帮助 Help"),
    ("contact", "/help/contact", "联系客服 Contact us"),
    ("returns", "/account/returns", "退货 Returns"),
    ("refer", "/account/refer", "推荐好友 Refer a friend"),
)
PAGE = {page[0]: number for number, page in enumerate(PAGES)}
EVENTS = (
    *("session_start", "page_view", "view_item", "add_to_cart", "begin_checkout", "purchase", "login", "sign_up"),
    *("search", "contact_support", "share"),
)
EVENT = {name: number for number, name in enumerate(EVENTS)}
ITEM_EVENTS = ("view_item", "add_to_cart", "begin_checkout", "purchase")


@dataclass(frozen=True)
class Step:
    """One event of a visit; steps of one ``group`` happen together or not at all.

    ``share`` is the probability of the group, or the name of a session column that decides.
    """

    event: str
    page: str
    group: str
    share: float | str
    gap: float


def _view(page: str, share: float | str, gap: float = 35.0, group: str | None = None) -> Step:
    return Step("page_view", page, group or page, share, gap)


def _item(number: int, share: float) -> tuple[Step, ...]:
    group = f"item {number}"
    return (Step("page_view", "product", group, share, 40), Step("view_item", "product", group, share, 2))


_START = (Step("session_start", "landing", "start", 1.0, 0.0), _view("landing", 1.0, 0.3))
_LOGIN = (_view("login", "logs_in", 12, "login"), Step("login", "login", "login", "logs_in", 15))
_SIGN_UP = (_view("signup", "signs_up", 20, "signup"), Step("sign_up", "signup", "signup", "signs_up", 60))
_SEARCH = (Step("search", "search", "search", 0.35, 25), _view("search", 0.35, 2, "search"))

SCRIPTS: dict[int, tuple[Step, ...]] = {
    AWARENESS: (*_START, _view("home", 0.25), *_item(1, 0.4), *_SIGN_UP),
    CONSIDERATION: (
        *_START,
        *_LOGIN,
        *_SEARCH,
        *_item(1, 0.9),
        *_item(2, 0.35),
        *_SIGN_UP,
        Step("add_to_cart", "product", "cart", 0.3, 30),
        _view("cart", 0.3, 4, "cart"),
    ),
    PURCHASE: (
        *_START,
        *_LOGIN,
        *_item(1, 0.8),
        Step("add_to_cart", "product", "cart", 1.0, 25),
        _view("cart", 1.0, 4, "cart"),
        Step("begin_checkout", "checkout", "checkout", 1.0, 30),
        _view("checkout", 1.0, 1, "checkout"),
        Step("purchase", "confirmation", "purchase", 1.0, 90),
        _view("confirmation", 1.0, 1, "purchase"),
    ),
    USE: (*_START, *_LOGIN, _view("account", 0.8), _view("orders", 0.55)),
    AFTER_SALES: (
        *_START,
        *_LOGIN,
        _view("help", 1.0),
        _view("contact", 0.85, 50, "contact"),
        Step("contact_support", "contact", "contact", 0.85, 120),
        _view("returns", 0.2),
    ),
    LOYALTY: (
        *_START,
        *_LOGIN,
        _view("account", 0.6),
        _view("refer", 1.0, 20, "refer"),
        Step("share", "refer", "refer", 1.0, 30),
    ),
    BOT: (
        Step("session_start", "landing", "start", 1.0, 0.0),
        *(_view("product", 0.95, 0.4, f"page {number}") for number in range(30)),
    ),
}
"""What happens in a visit of each kind."""


def _text(key: str, value: str) -> str:
    return f'{{"key":"{key}","value":{{"string_value":"{value}"}}}}'


def _integer(key: str, value: str) -> str:
    return f'{{"key":"{key}","value":{{"int_value":"{value}"}}}}'


def _page_parameters() -> list[str]:
    """Parameters of every page: page x host x product x traffic, in that order of nesting."""
    table = []
    for name, path, title in PAGES:
        for host in HOSTS:
            for product in words.PRODUCTS:
                for traffic in words.TRAFFIC:
                    location = path.format(product=product, campaign=traffic.campaign.strip("()"))
                    utm = ""
                    if name == "landing" and not traffic.campaign.startswith("("):
                        location = f"/campaign/{traffic.campaign}"
                        utm = (
                            f"?utm_source={traffic.source}&utm_medium={traffic.medium}&utm_campaign={traffic.campaign}"
                        )
                    shown = title.format(product=product)
                    parts = [_text("page_location", f"https://{host}{location}{utm}"), _text("page_title", shown)]
                    if name == "landing" and traffic.referrer:
                        parts.append(_text("page_referrer", traffic.referrer))
                    table.append(",".join(parts))
    return table


_PAGE_TABLE = pl.Series(_page_parameters())
_TRAFFIC_TABLE = pl.Series(
    [
        ",".join([_text("source", source.source), _text("medium", source.medium), _text("campaign", source.campaign)])
        for source in words.TRAFFIC
    ]
)
_FIRST_TRAFFIC_TABLE = pl.Series(
    [
        f'"traffic_source":{{"name":"{source.campaign}","medium":"{source.medium}","source":"{source.source}"}}'
        for source in words.TRAFFIC
    ]
)


def chunk_days(world: World) -> int:
    """Days a chunk holds: fixed by the world, so that every night draws the same numbers."""
    per_day = max(world.sessions.height * 6 / (world.config.days + 60), 1)
    return int(np.clip(CHUNK_EVENTS / per_day, 1, 60))


def _sessions_text(world: World) -> pl.DataFrame:
    """What all events of one device share, as JSON, one row a device."""
    devices = world.devices
    number = np.arange(len(words.DEVICES))
    kinds = pl.DataFrame(
        {
            "kind": number,
            "device_json": [
                f'"device":{{"category":"{category}","operating_system":"{system}","language":"zh-cn",'
                f'"web_info":{{"browser":"{browser}"}}}}'
                for category, system, browser, _ in words.DEVICES
            ],
            "agent": list(words.USER_AGENTS),
        }
    )
    places = pl.DataFrame(
        {
            "place": np.arange(len(words.PLACES)),
            "geo_json": [
                f'"geo":{{"country":"{place.web_country}","region":"{place.web_region}","city":"{place.web_city}"}}'
                for place in words.PLACES
            ],
        }
    )
    logins = world.persons.select(owner="person", login="login")
    return (
        devices.join(kinds, on="kind", how="left", maintain_order="left")
        .join(places, on="place", how="left", maintain_order="left")
        .join(logins, on="owner", how="left", maintain_order="left")
        .with_columns(
            agent=pl.when(pl.col("robot") >= 0)
            .then(pl.Series(words.BOT_AGENTS).gather(devices["robot"].clip(0)))
            .otherwise("agent"),
            platform=pl.when(~pl.col("is_app"))
            .then(pl.lit("WEB"))
            .when(pl.col("device_json").str.contains("iOS"))
            .then(pl.lit("IOS"))
            .otherwise(pl.lit("ANDROID")),
        )
        .select(
            "device",
            "cookie",
            "login",
            host=pl.col("is_app").cast(pl.Int64),
            agent_json=pl.lit('{"key":"user_agent","value":{"string_value":"') + pl.col("agent") + '"}}',
            tail=pl.lit('"user_pseudo_id":"')
            + pl.col("cookie")
            + '","user_first_touch_timestamp":"'
            + pl.col("first_touch_us").cast(pl.String)
            + '",'
            + pl.col("device_json")
            + ","
            + pl.col("geo_json")
            + ","
            + _FIRST_TRAFFIC_TABLE.gather(devices["traffic"])
            + ',"stream_id":"'
            + pl.when("is_app").then(pl.lit("3002")).otherwise(pl.lit("3001"))
            + '","platform":"'
            + pl.col("platform")
            + '"}',
        )
    )


class _Draft:
    """Draws the events of chunks of days."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.devices = _sessions_text(world)
        self.start = midnight_us(world.config.start_date)
        self.days = chunk_days(world)
        self.session_starts = world.sessions["start_us"].to_numpy()
        self.order_ids = world.orders["order"]
        self.amounts = world.orders["amount"]

    def chunk_of(self, day: date) -> int:
        return (day - self.world.config.start_date).days // self.days

    def events(self, chunk: int) -> pl.DataFrame:
        """Events of the sessions that begin in a chunk: ``file_day``, ``at``, ``line`` and what is planted."""
        begin = self.start + chunk * self.days * DAY
        low, high = np.searchsorted(self.session_starts, [begin, begin + self.days * DAY])
        sessions = self.world.sessions.slice(int(low), int(high - low))
        rng = self.world.config.generator("web events", chunk)
        parts = []
        for kind, script in SCRIPTS.items():
            rows = (sessions["kind"] == kind).arg_true().to_numpy()
            parts.append(_play(rng, script, rows, sessions))
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if not len(whole["row"]):
            return pl.DataFrame(schema=_EVENT_SCHEMA)
        return self._lines(rng, sessions, whole)

    def _lines(self, rng: np.random.Generator, sessions: pl.DataFrame, event: dict[str, np.ndarray]) -> pl.DataFrame:
        n = len(event["row"])
        row = pl.Series(event["row"].astype(np.uint32))
        session = sessions.select(pl.all().gather(row))
        device = self.devices.select(pl.all().gather(session["device"]))
        page_key = (
            (event["page"] * len(HOSTS) + device["host"].to_numpy()) * len(words.PRODUCTS) + event["product"]
        ) * len(words.TRAFFIC) + session["traffic"].to_numpy()
        order = session["order"].to_numpy()
        day = (event["at"] + UTC_OFFSET) // DAY
        is_bot = session["kind"].to_numpy() == BOT
        late = (rng.random(n) < LATE_SHARE) & (event["position"] >= 2) & (event["event"] != EVENT["login"]) & ~is_bot
        delay = np.where(late, rng.integers(1, LATE_DAYS + 1, n), 0)
        frame = pl.DataFrame(
            {
                "day": day,
                "at": event["at"],
                "event": event["event"],
                "position": event["position"],
                "engagement": (event["gap"] // 1000).astype(np.int64),
                "has_engagement": event["gap"] > 0,
                "session_id": session["start_us"] // SECOND,
                "session_number": session["session"].cast(pl.Int64) % 9 + 1,
                "page_json": _PAGE_TABLE.gather(pl.Series(page_key.astype(np.uint32))),
                "traffic_json": _TRAFFIC_TABLE.gather(session["traffic"]),
                "agent_json": device["agent_json"],
                "tail": device["tail"],
                "cookie": device["cookie"],
                "user": pl.select(pl.when(pl.Series(event["known"])).then(device["login"]).otherwise(None)).to_series(),
                "product": pl.Series(words.PRODUCTS).gather(pl.Series(event["product"].astype(np.uint32))),
                "order": self.order_ids.gather(pl.Series(np.maximum(order, 0).astype(np.uint32))),
                "amount": self.amounts.gather(pl.Series(np.maximum(order, 0).astype(np.uint32))),
                "is_bot": is_bot,
                "is_late": late,
                "delay": delay,
                "copies": 1 + (rng.random(n) < DUPLICATE_SHARE) * ~late,
                "again": (rng.random(n) < REDELIVERED_SHARE) & ~late,
            }
        )
        name = pl.col("event").replace_strict(dict(enumerate(EVENTS)), return_dtype=pl.String)
        item = pl.col("event").is_in([EVENT[event_name] for event_name in ITEM_EVENTS])
        bought = pl.col("event") == EVENT["purchase"]
        value = pl.col("amount").cast(pl.String)
        line = pl.concat_str(
            pl.lit('{"event_date":"'),
            (pl.col("day") * DAY).cast(pl.Datetime("us")).dt.strftime("%Y%m%d"),
            pl.lit('","event_timestamp":"'),
            pl.col("at").cast(pl.String),
            pl.lit('","event_name":"'),
            name,
            pl.lit('","event_params":['),
            _fill(_integer_pattern("ga_session_id"), "session_id"),
            _fill(_integer_pattern("ga_session_number"), "session_number"),
            pl.col("page_json"),
            pl.lit(","),
            pl.col("traffic_json"),
            pl.lit(","),
            pl.col("agent_json"),
            pl.when("has_engagement").then(_fill(_LAST_INTEGER, "engagement")).otherwise(pl.lit("")),
            pl.when(item).then(_fill(_LAST_TEXT, "product")).otherwise(pl.lit("")),
            pl.when(bought).then(_fill(_LAST_VALUE, pl.col("order"), value)).otherwise(pl.lit("")),
            pl.lit("],"),
            pl.when(bought)
            .then(_fill('"ecommerce":{"transaction_id":"@","purchase_revenue":@},', pl.col("order"), value))
            .otherwise(pl.lit("")),
            pl.when(item).then(_fill('"items":[{"item_id":"@"}],', "product")).otherwise(pl.lit("")),
            pl.when(pl.col("user").is_not_null())
            .then(_fill('"user_id":"@",', pl.col("user").fill_null("")))
            .otherwise(pl.lit("")),
            _fill('"batch_page_id":"@","batch_ordering_id":"1","batch_event_index":"@",', "session_id", "position"),
            pl.col("tail"),
            pl.lit("\n"),
        )
        return _deliveries(frame.with_columns(line=line, first_of_two=pl.col("copies") > 1))


def _fill(pattern: str, *values: str | pl.Expr) -> pl.Expr:
    """``pattern`` with each ``@`` replaced by a value (``pl.format`` reads JSON's braces as its own)."""
    head, *rest = pattern.split("@")
    parts = [pl.lit(head)]
    for value, tail in zip(values, rest, strict=True):
        parts += [(pl.col(value) if isinstance(value, str) else value).cast(pl.String), pl.lit(tail)]
    return pl.concat_str(parts)


def _integer_pattern(key: str) -> str:
    return '{"key":"' + key + '","value":{"int_value":"@"}},'


_LAST_INTEGER = ',{"key":"engagement_time_msec","value":{"int_value":"@"}}'
_LAST_TEXT = ',{"key":"item_id","value":{"string_value":"@"}}'
_LAST_VALUE = (
    ',{"key":"transaction_id","value":{"string_value":"@"}},{"key":"value","value":{"double_value":@}}'
    ',{"key":"currency","value":{"string_value":"CNY"}}'
)

_EVENT_SCHEMA = {
    "file_day": pl.Int64,
    "at": pl.Int64,
    "cookie": pl.String,
    "position": pl.Int64,
    "line": pl.String,
    "is_bot": pl.Boolean,
    "is_late": pl.Boolean,
    "is_copy": pl.Boolean,
}


def _deliveries(frame: pl.DataFrame) -> pl.DataFrame:
    """Every line of every file: events, late ones in a later file, and their copies."""
    base = frame.select(
        (pl.col("day") + pl.col("delay")).alias("file_day"),
        *("at", "cookie", "position", "line", "is_bot", "is_late"),
        pl.lit(False).alias("is_copy"),
        *("first_of_two", "again"),
    )
    twice = base.filter("first_of_two").with_columns(is_copy=pl.lit(True))
    redelivered = base.filter("again").with_columns(is_copy=pl.lit(True), file_day=pl.col("file_day") + 1)
    return pl.concat([base, twice, redelivered]).select(list(_EVENT_SCHEMA))


def _play(
    rng: np.random.Generator, script: tuple[Step, ...], rows: np.ndarray, sessions: pl.DataFrame
) -> dict[str, np.ndarray]:
    """Play a script for each session: session x step, then only the steps that happen."""
    n, width = len(rows), len(script)
    groups = {step.group: step.share for step in script}
    happens = {}
    for group, share in groups.items():
        draw = rng.random(n)
        happens[group] = sessions[share].to_numpy()[rows] if isinstance(share, str) else draw < share
    mask = np.stack([happens[step.group] for step in script], axis=1) if n else np.zeros((0, width), dtype=bool)
    gaps = rng.exponential(1.0, (n, width)) * np.array([step.gap for step in script]) + 0.05
    gaps = np.minimum(gaps, 1100) * mask
    gap_us = (gaps * SECOND).astype(np.int64)
    at = sessions["start_us"].to_numpy()[rows][:, None] + np.cumsum(gap_us, axis=1)
    main = sessions["product"].to_numpy()[rows]
    other = rng.integers(0, len(words.PRODUCTS), (n, width))
    wanders = np.array([step.group.startswith(("item 2", "page")) for step in script])
    product = np.where(wanders, other, main[:, None])
    entered = [number for number, step in enumerate(script) if step.event in {"login", "sign_up"}]
    known = np.zeros((n, width), dtype=bool)
    for number in entered:
        known[:, number:] |= mask[:, number : number + 1]
    taken, step = mask.nonzero()
    return {
        "row": rows[taken],
        "at": at[mask],
        "gap": gap_us[mask] * (step > 0),
        "event": np.array([EVENT[item.event] for item in script])[step],
        "page": np.array([PAGE[item.page] for item in script])[step],
        "product": product[mask],
        "known": known[mask],
        "position": step.astype(np.int64),
    }


def file_path(folder: Path, day: date) -> Path:
    """The export of one day."""
    return folder / f"events_{day:%Y%m%d}.jsonl.gz"


def write_web(world: World, folder: Path, first: date, last: date) -> Iterator[dict[str, object]]:
    """Write the files of the days from ``first`` to ``last``, both included.

    Yields:
        What stands in each file: ``file``, ``events`` (lines), ``duplicate_events`` (lines that repeat another
        line of this or an earlier file), ``late_events``, ``bot_events``, ``bytes``.
    """
    draft = _Draft(world)
    epoch = date(1970, 1, 1)
    carried = pl.DataFrame(schema=_EVENT_SCHEMA)
    # A late event lies up to LATE_DAYS after its day, and a visit may run past midnight.
    begin = max(draft.chunk_of(max(first - timedelta(days=LATE_DAYS + 1), world.config.start_date)), 0)
    for chunk in range(begin, draft.chunk_of(last) + 1):
        chunk_end = (world.config.start_date - epoch).days + (chunk + 1) * draft.days
        pending = pl.concat([carried, draft.events(chunk)])
        carried = pending.filter(pl.col("file_day") >= chunk_end)
        ready = pending.filter(pl.col("file_day") < chunk_end).sort("at", "cookie", "position", "is_copy")
        for (number,), lines in sorted(ready.partition_by("file_day", as_dict=True).items()):
            day = epoch + timedelta(days=int(number))
            if first <= day <= last:
                yield _write_day(folder, day, lines)


def _write_day(folder: Path, day: date, lines: pl.DataFrame) -> dict[str, object]:
    path = file_path(folder, day)
    # The lines lie one behind the other in Arrow's buffer: no copy of the text is made in Python.
    text = lines["line"].to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()[2]
    content = zlib.compress(memoryview(text), level=1, wbits=31)
    write_bytes(path, content)
    return {
        "file": path.name,
        "events": lines.height,
        "duplicate_events": int(lines["is_copy"].sum()),
        "late_events": int((lines["is_late"] & ~lines["is_copy"]).sum()),
        "bot_events": int((lines["is_bot"] & ~lines["is_copy"]).sum()),
        "bytes": len(content),
    }
