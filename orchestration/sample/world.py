"""The sample company's world: who lives in it and what happens to them, fixed by the seed alone.

Belongs here: persons, devices, orders, tickets, visits, survey invitations and responses with their latent
scores, as frames that reach ``HORIZON_DAYS`` past the last day of the demo. Does not belong here: what of it a
system has written by a given night, and in which dirty form (``crm``, ``web``, ``survey``, ``support``).

Instants are Int64 microseconds since 1970 UTC (columns ``*_us``); a null or ``NEVER`` is an instant that never
comes. Every draw comes from a generator named by its part, so that parts do not disturb one another.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.random import Generator

from orchestration.sample import vocabulary as words

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
UTC_OFFSET = 8 * HOUR
"""Asia/Shanghai has had no summer time since 1991, so that the offset is a constant for the years in question."""
TIMEZONE = "Asia/Shanghai"
NEVER = np.iinfo(np.int64).max // 4
HORIZON_DAYS = 60
MAX_ORDERS = 8

BASE_CUSTOMERS = 2000
BASE_PROSPECTS = 1500
BASE_ROBOTS = 40
BASE_ACCOUNTS = 80
BASE_OPPORTUNITIES = 260

Ints = np.ndarray[Any, np.dtype[np.int64]]

KINDS = ("awareness", "consideration", "purchase", "use", "after_sales", "loyalty", "bot")
"""What a visit is for; all but the last are the stages of the journey."""
AWARENESS, CONSIDERATION, PURCHASE, USE, AFTER_SALES, LOYALTY, BOT = range(len(KINDS))


class SampleError(ValueError):
    """A request the generator cannot meet; the message says which value and what is possible."""


@dataclass(frozen=True)
class WorldConfig:
    """What fixes the world.

    Attributes:
        seed: Seed of every draw.
        scale: Size; 1.0 is the demo's (about 2,000 customers, 60,000 web events, 3,000 survey responses).
        days: Days of history up to ``end_date``.
        end_date: Last day of the demo; further nights reach ``HORIZON_DAYS`` past it.
    """

    seed: int = 7
    scale: float = 1.0
    days: int = 400
    end_date: date = date(2026, 10, 31)

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise SampleError(f"scale {self.scale} cannot be used: give a number above 0; 1.0 is the demo's size")
        if self.days < 30:
            raise SampleError(f"days {self.days} is too short for a journey: give at least 30")

    @property
    def start_date(self) -> date:
        """First day of the web events."""
        return self.end_date - timedelta(days=self.days - 1)

    @property
    def last_date(self) -> date:
        """Last day the world reaches."""
        return self.end_date + timedelta(days=HORIZON_DAYS)

    def generator(self, part: str, *extra: int) -> Generator:
        """Random numbers of one part of the world."""
        return np.random.default_rng([self.seed, zlib.crc32(part.encode()), *extra])

    def size(self, base: float, minimum: int = 1) -> int:
        """``base`` rows at scale 1, at this scale."""
        return max(minimum, round(base * self.scale))


def midnight_us(day: date) -> int:
    """The instant a business day begins, in microseconds."""
    return (day - date(1970, 1, 1)).days * DAY - UTC_OFFSET


def cut_us(as_of: date) -> int:
    """The first instant that is not known at the end of ``as_of``."""
    return midnight_us(as_of + timedelta(days=1))


@dataclass(frozen=True)
class World:
    """Everything that happens, from the first day to the horizon."""

    config: WorldConfig
    persons: pl.DataFrame
    contacts: pl.DataFrame
    accounts: pl.DataFrame
    opportunities: pl.DataFrame
    orders: pl.DataFrame
    tickets: pl.DataFrame
    devices: pl.DataFrame
    sessions: pl.DataFrame
    invitations: pl.DataFrame
    responses: pl.DataFrame


def build_world(config: WorldConfig) -> World:
    """Draw the world that ``config`` fixes."""
    people = _People(config)
    experience = _live(config, people)
    contacts = _contacts(config, people)
    accounts, opportunities = _business(config, people)
    orders = _orders_frame(config, people, experience, contacts)
    tickets = _tickets_frame(config, people, experience, contacts)
    devices, sessions = _visits(config, people, experience)
    invitations, responses = _surveys(config, people, experience, contacts=contacts, orders=orders, tickets=tickets)
    return World(
        config,
        people.frame(),
        contacts,
        accounts,
        opportunities,
        orders,
        tickets,
        devices,
        sessions,
        invitations,
        responses,
    )


def pick(values: tuple[str, ...] | list[str], index: np.ndarray) -> pl.Series:
    """``values`` at ``index``, as a Series."""
    return pl.Series(values, dtype=pl.String).gather(pl.Series(index.astype(np.uint32)))


def number_id(prefix: str, number: np.ndarray, digits: int = 6) -> pl.Series:
    """Ids such as ``C000123``."""
    name = pl.Series("id", number.astype(np.int64)).cast(pl.String).str.zfill(digits)
    return prefix + name


def choose(rng: Generator, weights: tuple[float, ...] | list[float], n: int) -> Ints:
    """``n`` positions drawn by ``weights``."""
    bounds = np.cumsum(np.asarray(weights) / np.sum(weights))
    return np.minimum(np.searchsorted(bounds, rng.random(n), side="right"), len(weights) - 1).astype(np.int64)


_HOUR_WEIGHTS = [1, 0.5, 0.3, 0.2, 0.2, 0.4, 1, 2, 4, 6, 7, 7, 6, 5, 5, 5, 5, 5, 5, 6, 8, 9, 7, 3]


def daytime(rng: Generator, instant: np.ndarray) -> Ints:
    """Move each instant to a plausible clock time of its business day."""
    midnight = (instant.astype(np.int64) + UTC_OFFSET) // DAY * DAY - UTC_OFFSET
    hours = choose(rng, _HOUR_WEIGHTS, len(instant))
    return midnight + hours * HOUR + (rng.random(len(instant)) * (HOUR - 1)).astype(np.int64)


def spread(rng: Generator, n: int, mean_days: float, minimum_days: float = 0.0) -> Ints:
    """Exponential waiting times in microseconds."""
    return ((minimum_days + rng.exponential(mean_days, n)) * DAY).astype(np.int64)


def _sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


def crisis(config: WorldConfig, instant: np.ndarray) -> np.ndarray:
    """How deep the delivery crisis is at an instant, 0 to 1: two bad months in the last half of the window."""
    share = (instant - midnight_us(config.start_date)) / (config.days * DAY)
    return np.exp(-(((share - 0.66) / 0.08) ** 2))


class _People:
    """Customers in order of arrival, as arrays; position is the person."""

    def __init__(self, config: WorldConfig) -> None:
        rng = config.generator("people")
        span = config.days + HORIZON_DAYS
        n = config.size(BASE_CUSTOMERS * (0.3 + 0.7 * span / config.days), 40)
        start = midnight_us(config.start_date)
        old = rng.random(n) < 0.3 * config.days / (0.3 * config.days + 0.7 * span)
        arrival = np.where(old, start - (30 + 870 * rng.random(n)) * DAY, start + span * DAY * rng.random(n))
        order = np.argsort(arrival, kind="stable")
        self.n = n
        self.old = old[order]
        self.arrival = daytime(rng, arrival[order])
        self.western = rng.random(n) < 0.08
        local = choose(rng, [place.weight for place in words.PLACES[: words.FIRST_FOREIGN_PLACE]], n)
        self.place = np.where(self.western, words.FIRST_FOREIGN_PLACE + rng.integers(0, 2, n), local)
        self.gender = rng.integers(0, 2, n)
        self.birth_day = rng.integers(-9000, 13500, n)
        self.segment = choose(rng, [0.7, 0.22, 0.08], n)
        self.offline = rng.random(n) < 0.08
        self.has_login = ~self.offline & (rng.random(n) < 0.9)
        self.traffic = choose(rng, [source.weight for source in words.TRAFFIC], n)
        self.mood = rng.normal(0, 1, n)
        self.is_business = rng.random(n) < 0.12
        self.account = rng.integers(0, config.size(BASE_ACCOUNTS, 4), n)
        self.consider = daytime(rng, self.arrival + spread(rng, n, 2.5, 1.0))
        self.signs_up_at_once = rng.random(n) < 0.35
        signup = np.where(self.signs_up_at_once, self.arrival, self.consider) + 4 * MINUTE
        self.created = np.where(self.old | self.offline, self.arrival + 10 * MINUTE, signup)
        self.changes_phone = np.where(rng.random(n) < 0.05, self.created + spread(rng, n, 150, 20), NEVER)
        self.family = rng.integers(0, len(words.FAMILY_NAMES if n else ()), n)
        self.given = rng.integers(0, len(words.GIVEN_NAMES), n)
        self.western_family = rng.integers(0, len(words.WESTERN_FAMILY_NAMES), n)
        self.western_given = rng.integers(0, len(words.WESTERN_GIVEN_NAMES), n)
        self.domain = rng.integers(0, len(words.MAIL_DOMAINS), n)
        shuffled = rng.permutation(n)
        pairs = max(2, round(0.012 * n))
        few = max(5, round(0.005 * n))
        self.family_member, self.family_head = shuffled[:pairs], shuffled[pairs : 2 * pairs]
        self.hotline = shuffled[2 * pairs : 2 * pairs + few]
        self.mailbox = shuffled[2 * pairs + few : 2 * pairs + 2 * few]
        self._strings()

    def _strings(self) -> None:
        family = pick([name[0] for name in words.FAMILY_NAMES], self.family)
        family_pinyin = pick([name[1] for name in words.FAMILY_NAMES], self.family)
        given = pick([name[0] for name in words.GIVEN_NAMES], self.given)
        given_pinyin = pick([name[1] for name in words.GIVEN_NAMES], self.given)
        western = pl.Series(self.western)
        western_family = pick(words.WESTERN_FAMILY_NAMES, self.western_family)
        western_given = pick(words.WESTERN_GIVEN_NAMES, self.western_given)
        frame = pl.DataFrame(
            {
                "han": family + given,
                "pinyin": given_pinyin + " " + family_pinyin,
                "western_name": western_given + " " + western_family,
                "local_part": given_pinyin + "." + family_pinyin,
                "western": western,
                "number": np.arange(self.n),
                "domain": pick(words.MAIL_DOMAINS, self.domain),
                "phone": _phones(self.n, self.western),
                "new_phone": _phones(self.n, self.western, second=True),
            }
        ).with_columns(
            full_name=pl.when("western").then("western_name").otherwise("han"),
            latin_name=pl.when("western").then("western_name").otherwise("pinyin"),
        )
        ascii_name = (
            frame["latin_name"].str.to_lowercase().str.replace_many(["ü", "ö", "ä", "é"], ["ue", "oe", "ae", "e"])
        )
        frame = frame.with_columns(
            email=ascii_name.str.replace_all(r"[^a-z]+", ".") + frame["number"].cast(pl.String) + "@" + frame["domain"]
        )
        phone = frame["phone"].to_list()
        for member, head in zip(self.family_member.tolist(), self.family_head.tolist(), strict=True):
            phone[member] = phone[head]
        for person in self.hotline.tolist():
            phone[person] = "+86" + words.HOTLINE.replace(" ", "")
        mailbox = np.zeros(self.n, dtype=bool)
        mailbox[self.mailbox] = True
        self.strings = frame.with_columns(
            phone=pl.Series(phone, dtype=pl.String),
            email=pl.when(pl.Series(mailbox)).then(pl.lit(words.SHARED_MAILBOX)).otherwise("email"),
        )

    def frame(self) -> pl.DataFrame:
        """One row a person; ``phone`` changes to ``new_phone`` at ``phone_changed_us``."""
        return pl.DataFrame(
            {
                "person": np.arange(self.n),
                "full_name": self.strings["full_name"],
                "latin_name": self.strings["latin_name"],
                "email": self.strings["email"],
                "phone": self.strings["phone"],
                "new_phone": self.strings["new_phone"],
                "phone_changed_us": self.changes_phone,
                "login": logins(self.has_login),
                "created_us": self.created,
                "western": self.western,
                "place": self.place,
                "gender": self.gender,
                "birth_day": self.birth_day,
                "segment": self.segment,
                "traffic": self.traffic,
                "account": np.where(self.is_business, self.account, -1),
                "offline": self.offline,
                "mood": self.mood,
            }
        )


def logins(has_login: np.ndarray) -> pl.Series:
    """Web user ids; null for those who have none."""
    ids = number_id("u", np.arange(len(has_login)) * 7 + 100_003, 7)
    return pl.select(pl.when(pl.Series(has_login)).then(ids).otherwise(None)).to_series()


def _phones(n: int, western: np.ndarray, second: bool = False) -> pl.Series:
    """E.164 numbers, no two alike: the last eight digits are a permutation of the position."""
    position = np.arange(n, dtype=np.int64) + (50_000_000 if second else 0)
    digits = (position * 48_271_397 + 13_577_911) % 100_000_000
    prefix = pick(words.MOBILE_PREFIXES, (position * 7) % len(words.MOBILE_PREFIXES))
    chinese = "+86" + prefix + pl.Series(digits).cast(pl.String).str.zfill(8)
    german = "+4930" + pl.Series(10_000_000 + digits % 80_000_000).cast(pl.String)
    return pl.select(pl.when(pl.Series(western)).then(german).otherwise(chinese)).to_series()


@dataclass
class _Experience:
    """Orders and tickets, and what each did to the person's mood."""

    orders: dict[str, np.ndarray]
    tickets: dict[str, np.ndarray]
    effect_at: np.ndarray = field(repr=False)
    effect: np.ndarray = field(repr=False)

    def mood_at(self, person: np.ndarray, instant: np.ndarray) -> np.ndarray:
        """What past experiences weigh at an instant; they fade with a time constant of 90 days."""
        at, effect = self.effect_at[person], self.effect[person]
        age = (instant[:, None] - at) / DAY
        return np.where(age > 0, effect * np.exp(-np.maximum(age, 0) / 90), 0).sum(axis=1)


def _live(config: WorldConfig, people: _People) -> _Experience:
    """Let every customer buy, wait, complain and come back, order by order."""
    rng = config.generator("orders")
    n, person = people.n, np.arange(people.n)
    end = cut_us(config.last_date)
    parts: list[dict[str, np.ndarray]] = []
    cases: list[dict[str, np.ndarray]] = []
    effect_at = np.full((n, 2 * MAX_ORDERS + 1), NEVER, dtype=np.int64)
    effect = np.zeros((n, 2 * MAX_ORDERS + 1))
    first_gap = (0.1 + 5 * rng.random(n)) * DAY
    ordered = daytime(rng, np.where(people.old | people.offline, people.arrival, people.consider) + DAY + first_gap)
    buys = people.offline | (rng.random(n) < _sigmoid(0.75 + 0.3 * people.mood))
    recent = np.zeros(n)
    for turn in range(MAX_ORDERS):
        buys = buys & (ordered < end)
        channel = choose(rng, [0.5, 0.2, 0.12, 0.13, 0.05], n)
        channel = np.where(people.offline, np.where(rng.random(n) < 0.7, 2, 4), channel)
        store = channel == 2
        cancelled = (rng.random(n) < 0.03) & ~store
        late = (rng.random(n) < 0.07 + 0.33 * crisis(config, ordered)) & ~store & ~cancelled
        delay = np.where(late, 3 + 7 * rng.random(n), 0)
        shipped = ordered + ((0.3 + 0.9 * rng.random(n)) * DAY).astype(np.int64)
        delivered = shipped + ((0.8 + rng.gamma(2.0, 0.6, n) + delay) * DAY).astype(np.int64)
        delivered = np.where(store, ordered + 2 * MINUTE, delivered)
        returns = (rng.random(n) < 0.04 + 0.05 * late) & ~cancelled
        returned = np.where(returns, delivered + spread(rng, n, 4, 1), NEVER)
        amount = np.round(np.exp(rng.normal(5.4 + 0.35 * people.segment, 0.7, n)) + 9, 2)
        took = buys.nonzero()[0]
        parts.append(
            {
                "person": took,
                "turn": np.full(len(took), turn),
                "ordered": ordered[took],
                "shipped": np.where(cancelled | store, NEVER, shipped)[took],
                "delivered": np.where(cancelled, NEVER, delivered)[took],
                "returned": returned[took],
                "cancelled": np.where(cancelled, ordered + 3 * HOUR, NEVER)[took],
                "late": late[took],
                "channel": channel[took],
                "amount": amount[took],
                "items": rng.integers(1, 5, n)[took],
                "product": rng.integers(0, len(words.PRODUCTS), n)[took],
            }
        )
        effect_at[:, 2 * turn] = np.where(buys & ~cancelled, delivered, NEVER)
        effect[:, 2 * turn] = np.where(late, -1.6, 0.25)
        complains = buys & ~cancelled & (rng.random(n) < 0.1 + 0.4 * late + 0.35 * returns)
        topic = np.where(late, 0, np.where(returns, 4, choose(rng, [0, 0.4, 0.3, 0.3], n)))
        opened = np.where(topic == 2, ordered + HOUR, delivered - np.where(late, 2 * DAY, -DAY))
        opened = opened + (rng.random(n) * 8 * HOUR).astype(np.int64)
        case = _cases(config, rng, person, opened, topic)
        cases.append({name: values[complains] for name, values in case.items()})
        effect_at[:, 2 * turn + 1] = np.where(complains, case["solved"], NEVER)
        effect[:, 2 * turn + 1] = np.where(case["bad"], -2.0, 0.5)
        recent = 0.5 * recent + np.where(late, -1.0, 0.1) + np.where(complains & case["bad"], -1.0, 0.0)
        buys = buys & (rng.random(n) < _sigmoid(0.15 + 0.7 * people.mood + recent)) & (turn + 1 < MAX_ORDERS)
        ordered = daytime(rng, np.minimum(delivered, end) + spread(rng, n, 70, 4))
    asks = rng.random(n) < 0.15
    opened = daytime(rng, people.created + (rng.random(n) * np.maximum(end - people.created, DAY)).astype(np.int64))
    case = _cases(config, rng, person, opened, np.where(rng.random(n) < 0.6, 3, 5))
    asks &= ~people.offline & (opened < end)
    cases.append({name: values[asks] for name, values in case.items()})
    effect_at[:, -1] = np.where(asks, case["solved"], NEVER)
    effect[:, -1] = np.where(case["bad"], -2.0, 0.5)
    return _Experience(_stack(parts, "ordered"), _stack(cases, "opened"), effect_at, effect)


def _cases(
    config: WorldConfig, rng: Generator, person: np.ndarray, opened: np.ndarray, topic: np.ndarray
) -> dict[str, np.ndarray]:
    """A ticket a person: when it is opened, answered, solved, reopened, solved again and closed."""
    n = len(person)
    slow = 1 + 1.5 * crisis(config, opened)
    replied = opened + (np.exp(rng.normal(np.log(2.5), 1.0, n)) * slow * HOUR).astype(np.int64) + MINUTE
    waits = rng.random(n) < 0.3
    pending = np.where(waits, replied + (rng.random(n) * 4 * HOUR).astype(np.int64) + MINUTE, NEVER)
    resumed = np.where(waits, pending + (rng.random(n) * 20 * HOUR).astype(np.int64) + MINUTE, NEVER)
    work = (np.exp(rng.normal(np.log(18), 1.0, n)) * slow * HOUR).astype(np.int64) + MINUTE
    solved_first = np.where(waits, resumed, replied) + work
    again = rng.random(n) < 0.12
    reopened = np.where(again, solved_first + ((0.1 + 2 * rng.random(n)) * DAY).astype(np.int64), NEVER)
    solved_again = np.where(again, reopened + (np.exp(rng.normal(np.log(24), 0.8, n)) * HOUR).astype(np.int64), NEVER)
    solved = np.where(again, solved_again, solved_first)
    return {
        "person": person,
        "topic": topic,
        "opened": opened,
        "replied": replied,
        "pending": pending,
        "resumed": resumed,
        "solved_first": solved_first,
        "reopened": reopened,
        "solved_again": solved_again,
        "solved": solved,
        "closed": solved + 4 * DAY,
        "bad": again | (solved_first - opened > 72 * HOUR),
    }


def _stack(parts: list[dict[str, np.ndarray]], by: str) -> dict[str, np.ndarray]:
    """Parts below one another, sorted by an instant."""
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((whole["person"], whole[by]))
    return {name: values[order] for name, values in whole.items()}


DUPLICATE_KINDS = ("same_email", "same_phone", "typo", "other_email", "unlinked")
"""How a second record of one person differs from the first; only ``unlinked`` shares nothing but the person."""


def _contacts(config: WorldConfig, people: _People) -> pl.DataFrame:
    """One row a CRM record: the person's own, and a second one for some; ``contact`` is its id."""
    rng = config.generator("contacts")
    n = people.n
    again = (rng.random(n) < 0.07).nonzero()[0]
    kind = choose(rng, [0.32, 0.32, 0.2, 0.1, 0.06], len(again))
    second_created = people.created[again] + spread(rng, len(again), 90, 2)
    person = np.concatenate([np.arange(n), again])
    created = np.concatenate([people.created, second_created])
    variant = np.concatenate([np.full(n, -1), kind])
    order = np.lexsort((variant, person, created))
    total = len(person)
    window = np.maximum(cut_us(config.last_date) - np.maximum(created, midnight_us(config.start_date)), DAY)
    deleted = np.maximum(created, midnight_us(config.start_date)) + (rng.random(total) * window).astype(np.int64)
    deleted = np.where((rng.random(total) < 0.012) | ((variant >= 0) & (rng.random(total) < 0.08)), deleted, NEVER)
    return pl.DataFrame(
        {
            "contact": number_id("C", np.arange(1, total + 1)),
            "person": person[order],
            "created_us": created[order],
            "deleted_us": np.where(deleted < cut_us(config.last_date), deleted, NEVER)[order],
            "variant": variant[order],
        }
    )


def contact_at(contacts: pl.DataFrame, person: np.ndarray, instant: np.ndarray, coin: np.ndarray) -> pl.Series:
    """The contact id that a system knows a person by at an instant; a second record is used where ``coin``."""
    own = contacts.filter(pl.col("variant") < 0).sort("person")["contact"]
    second = contacts.filter(pl.col("variant") >= 0).select("person", second="contact", second_us="created_us")
    return (
        pl.DataFrame({"person": person, "at": instant, "coin": coin})
        .with_columns(own=own.gather(pl.Series(person.astype(np.uint32))))
        .join(second, on="person", how="left", maintain_order="left")
        .select(pl.when(pl.col("coin") & (pl.col("second_us") < pl.col("at"))).then("second").otherwise("own"))
        .to_series()
    )


def _business(config: WorldConfig, people: _People) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Companies, and what is being sold to them."""
    rng = config.generator("business")
    n = config.size(BASE_ACCOUNTS, 4)
    start, end = midnight_us(config.start_date), cut_us(config.last_date)
    accounts = pl.DataFrame(
        {
            "account": number_id("A", np.arange(1, n + 1), 5),
            "number": np.arange(n),
            "industry": pick(words.INDUSTRIES, rng.integers(0, len(words.INDUSTRIES), n)),
            "tier": pick(("A", "B", "C"), choose(rng, [0.15, 0.35, 0.5], n)),
            "place": rng.integers(0, len(words.PLACES), n),
            "employees": rng.integers(5, 5000, n),
            "revenue": np.round(np.exp(rng.normal(16, 1, n)), 2),
            "created_us": daytime(rng, start - (900 * DAY * rng.random(n)).astype(np.int64)),
        }
    )
    members = people.is_business.nonzero()[0]
    m = config.size(BASE_OPPORTUNITIES * (config.days + HORIZON_DAYS) / config.days, 6)
    person = members[rng.integers(0, len(members), m)] if len(members) else np.zeros(m, dtype=np.int64)
    earliest = np.maximum(people.created[person], start)
    created = daytime(rng, earliest + (rng.random(m) * np.maximum(end - earliest, DAY)).astype(np.int64))
    order = np.argsort(created, kind="stable")
    created = np.maximum(created, earliest)[order]
    closes = rng.random(m) < 0.8
    closed = np.where(closes, created + spread(rng, m, 30, 3), NEVER)
    gone = np.where(rng.random(m) < 0.05, created + spread(rng, m, 60, 5), NEVER)
    opportunities = pl.DataFrame(
        {
            "opportunity": number_id("O", np.arange(1, m + 1), 5),
            "person": person[order],
            "account": people.account[person][order],
            "created_us": created,
            "closed_us": closed,
            "gone_us": gone,
            "won": rng.random(m) < _sigmoid(0.4 + 0.4 * people.mood[person][order]),
            "value": np.round(np.exp(rng.normal(10.5, 0.8, m)), 2),
            "product": rng.integers(0, len(words.PRODUCTS), m),
            "owner": rng.integers(1, 13, m),
        }
    )
    return accounts, opportunities


def _orders_frame(config: WorldConfig, people: _People, life: _Experience, contacts: pl.DataFrame) -> pl.DataFrame:
    """One row an order, in order of time."""
    rng = config.generator("order records")
    orders = life.orders
    n = len(orders["person"])
    slow = ((orders["ordered"] + UTC_OFFSET) % DAY >= 22 * HOUR) & (rng.random(n) < 0.15)
    return pl.DataFrame(
        {
            "order": number_id("SO", np.arange(1, n + 1), 7),
            "contact": contact_at(contacts, orders["person"], orders["ordered"], rng.random(n) < 0.6),
            **{name if name in _ORDER_PLAIN else f"{name}_us": values for name, values in orders.items()},
            "committed_late": slow,
            "gives_email": rng.random(n) < 0.75,
            "gives_phone": rng.random(n) < 0.6,
            "currency": choose(rng, [0.93, 0.025, 0.015, 0.02, 0.01], n),
        }
    )


_ORDER_PLAIN = ("person", "turn", "late", "channel", "amount", "items", "product")
_TICKET_PLAIN = ("person", "topic", "bad")


def _tickets_frame(config: WorldConfig, people: _People, life: _Experience, contacts: pl.DataFrame) -> pl.DataFrame:
    """One row a ticket, in order of time."""
    rng = config.generator("ticket records")
    start = midnight_us(config.start_date)
    kept = (life.tickets["opened"] >= start) & (life.tickets["opened"] < cut_us(config.last_date))
    tickets = {name: values[kept] for name, values in life.tickets.items()}
    n = len(tickets["person"])
    channel = choose(rng, [0.3, 0.12, 0.2, 0.22, 0.16], n)
    offline = people.offline[tickets["person"]]
    requester = choose(rng, [0.58, 0.3, 0.12], n)
    return pl.DataFrame(
        {
            "ticket": number_id("T", np.arange(1, n + 1)),
            "contact": contact_at(contacts, tickets["person"], tickets["opened"], rng.random(n) < 0.3),
            **{name if name in _TICKET_PLAIN else f"{name}_us": values for name, values in tickets.items()},
            "channel": np.where(offline, 3, channel),
            "requester": requester,
            "priority": choose(rng, [0.5, 0.35, 0.15], n),
            "agent": rng.integers(1, 16, n),
            "deleted_us": np.where(rng.random(n) < 0.008, tickets["closed"] + 2 * DAY, NEVER),
        }
    )


TICKET_CHANNELS = ("web", "app", "chat", "phone", "email")
ORDER_CHANNELS = ("web", "app", "store", "wechat", "phone")


class _Devices:
    """Who visits on what: the devices of customers, of prospects and of robots, in that order."""

    def __init__(self, config: WorldConfig, people: _People, rng: Generator) -> None:
        longer = (config.days + HORIZON_DAYS) / config.days
        self.start, self.end = midnight_us(config.start_date), cut_us(config.last_date)
        self.prospects = config.size(BASE_PROSPECTS * longer, 20)
        self.robots = config.size(BASE_ROBOTS * longer, 3)
        n, prospects = people.n, np.arange(self.prospects)
        count = np.where(people.offline, 0, 1 + choose(rng, [0.6, 0.3, 0.1], n))
        self.first_robot = int(count.sum()) + self.prospects
        self.count = np.concatenate([count, np.ones(self.prospects, np.int64)])
        self.first = np.concatenate([np.cumsum(count) - count, count.sum() + prospects])
        owner = np.concatenate([np.repeat(np.arange(n), count), n + prospects, np.full(self.robots, -1)])
        d = len(owner)
        ordinal = np.arange(d) - np.concatenate([self.first, np.zeros(1, np.int64)])[owner]
        self.is_app = (owner >= 0) & (owner < n) & (ordinal == 1) & (rng.random(d) < 0.6)
        kind = choose(rng, [device[3] for device in words.DEVICES], d)
        seen = daytime(rng, self.start + rng.random(self.prospects) * (self.end - self.start - DAY))
        self.arrival = np.concatenate([people.arrival, seen])
        touched = np.where(owner >= 0, self.arrival[np.maximum(owner, 0)], self.start)
        places = np.concatenate(
            [people.place, choose(rng, [spot.weight for spot in words.PLACES], self.prospects), [0]]
        )
        traffic = np.concatenate([people.traffic, choose(rng, _traffic_weights(), self.prospects), [0]])
        # Unlike for all devices: the step and the prime modulus have no common factor.
        cookie = 100_000_000 + (np.arange(d) * 2_654_435_761 + config.seed * 7_919) % 1_999_999_973
        self.frame = pl.DataFrame(
            {
                "device": np.arange(d),
                "owner": owner,
                "cookie": pl.Series(cookie).cast(pl.String) + "." + pl.Series(touched // SECOND).cast(pl.String),
                "is_app": self.is_app,
                "kind": np.where(self.is_app, np.minimum(kind, 1), kind),
                "place": places[owner],
                "first_touch_us": touched,
                "traffic": traffic[owner],
                "robot": np.where(owner < 0, rng.integers(0, len(words.BOT_AGENTS), d), -1),
            }
        )

    def choose(self, rng: Generator, who: np.ndarray, prefers_app: np.ndarray) -> Ints:
        """A device of each owner: mostly the first, the app's where one is preferred and there."""
        ordinal = np.minimum(choose(rng, [0.65, 0.25, 0.1], len(who)), self.count[who] - 1)
        second = np.minimum(self.first[who] + 1, len(self.is_app) - 1)
        has_app = self.is_app[second] & (self.count[who] > 1)
        return self.first[who] + np.where(prefers_app & has_app, 1, ordinal)


class _Diary:
    """Collects visits; those outside the window or of people without a device do not happen."""

    def __init__(self, devices: _Devices, rng: Generator) -> None:
        self.devices, self.rng = devices, rng
        self.visits: list[dict[str, np.ndarray]] = []

    def add(
        self, kind: int, who: np.ndarray, at: np.ndarray, *, app: np.ndarray | None = None, **more: np.ndarray
    ) -> None:
        """Visits of ``who`` (owners of devices) beginning ``at``; ``more`` are session columns that are not default."""
        happens = (at >= self.devices.start) & (at < self.devices.end) & (self.devices.count[who] > 0)
        prefers_app = np.zeros(int(happens.sum()), dtype=bool) if app is None else app[happens]
        device = self.devices.choose(self.rng, who[happens], prefers_app)
        self.write(kind, who[happens], device, at[happens], {name: values[happens] for name, values in more.items()})

    def write(
        self, kind: int, who: np.ndarray, device: np.ndarray, at: np.ndarray, more: dict[str, np.ndarray]
    ) -> None:
        n = len(who)
        visit = {
            "kind": np.full(n, kind),
            "owner": who,
            "device": device,
            "start_us": at,
            "logs_in": np.zeros(n, dtype=bool),
            "signs_up": np.zeros(n, dtype=bool),
            "order": np.full(n, -1),
            "traffic": choose(self.rng, _traffic_weights(), n),
            "product": self.rng.integers(0, len(words.PRODUCTS), n),
        }
        self.visits.append(visit | more)

    def frame(self) -> pl.DataFrame:
        """One row a session, in order of time."""
        whole = {name: np.concatenate([visit[name] for visit in self.visits]) for name in self.visits[0]}
        order = np.lexsort((whole["kind"], whole["device"], whole["start_us"]))
        return pl.DataFrame({name: values[order] for name, values in whole.items()}).with_row_index("session")


def _visits(config: WorldConfig, people: _People, life: _Experience) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Devices with their cookies, and sessions: one row a visit, in order of time."""
    rng = config.generator("visits")
    devices = _Devices(config, people, rng)
    diary = _Diary(devices, rng)
    _first_visits(people, devices, diary)
    _returning_visits(people, devices, diary)
    _order_visits(people, life.orders, diary)
    tickets = life.tickets
    asks = rng.random(len(tickets["person"])) < 0.65
    who = tickets["person"][asks]
    logs_in = people.has_login[who] & (rng.random(len(who)) < 0.8)
    direct = np.full(len(who), words.DIRECT_TRAFFIC)
    diary.add(AFTER_SALES, who, tickets["opened"][asks] - 6 * MINUTE, logs_in=logs_in, traffic=direct)
    n = devices.robots
    at = devices.start + (rng.random(n) * (devices.end - devices.start - DAY)).astype(np.int64)
    direct = np.full(n, words.DIRECT_TRAFFIC)
    diary.write(BOT, np.full(n, -1), devices.first_robot + np.arange(n), at, {"traffic": direct})
    return devices.frame, diary.frame()


def _first_visits(people: _People, devices: _Devices, diary: _Diary) -> None:
    """How new customers and mere prospects come in."""
    rng = diary.rng
    new = (~people.old).nonzero()[0]
    at_once = people.has_login & people.signs_up_at_once
    later = people.has_login & ~people.signs_up_at_once
    diary.add(AWARENESS, new, people.arrival[new], signs_up=at_once[new], traffic=people.traffic[new])
    diary.add(CONSIDERATION, new, people.consider[new], signs_up=later[new])
    prospects = people.n + np.arange(devices.prospects)
    diary.add(AWARENESS, prospects, devices.arrival[prospects])
    looks = prospects[rng.random(len(prospects)) < 0.4]
    diary.add(CONSIDERATION, looks, daytime(rng, devices.arrival[looks] + spread(rng, len(looks), 4, 1)))


def _returning_visits(people: _People, devices: _Devices, diary: _Diary) -> None:
    """Customers who look around again, some of them brought by the newsletter."""
    rng = diary.rng
    for mean, by_newsletter in ((0.8, False), (0.4, True)):
        who = np.repeat(np.arange(people.n), rng.poisson(mean, people.n))
        begin = np.maximum(people.consider, devices.start)[who] + DAY
        at = begin + (rng.random(len(who)) * np.maximum(devices.end - begin, 0)).astype(np.int64)
        logs_in = people.has_login[who] & (rng.random(len(who)) < 0.35)
        usual = choose(rng, _traffic_weights(), len(who))
        traffic = np.where(by_newsletter, words.NEWSLETTER_TRAFFIC, usual)
        diary.add(CONSIDERATION, who, daytime(rng, at), logs_in=logs_in, traffic=traffic)


def _order_visits(people: _People, orders: dict[str, np.ndarray], diary: _Diary) -> None:
    """Choosing, buying, using and recommending: the visits around orders."""
    rng = diary.rng
    n = len(orders["person"])
    online = ((orders["channel"] <= 1) | ((orders["channel"] == 3) & (rng.random(n) < 0.5))).nonzero()[0]
    who, at, product = (orders[name][online] for name in ("person", "ordered", "product"))
    before = daytime(rng, at - spread(rng, len(who), 1.5, 0.3))
    again = orders["turn"][online] > 0
    diary.add(CONSIDERATION, who[again], before[again], product=product[again])
    logs_in = people.has_login[who] & (rng.random(len(who)) < 0.88)
    by_app = orders["channel"][online] == 1
    diary.add(PURCHASE, who, at - 9 * MINUTE, app=by_app, logs_in=logs_in, order=online, product=product)
    arrived = orders["delivered"] < diary.devices.end
    used = np.repeat(np.arange(n), rng.poisson(0.9, n) * arrived)
    who, direct = orders["person"][used], np.full(len(used), words.DIRECT_TRAFFIC)
    at = daytime(rng, orders["delivered"][used] + spread(rng, len(used), 12, 1))
    diary.add(USE, who, at, app=rng.random(len(used)) < 0.7, logs_in=people.has_login[who], traffic=direct)
    loyal = (orders["turn"] >= 1) & arrived & (rng.random(n) < _sigmoid(people.mood[orders["person"]] - 1.0))
    who, direct = orders["person"][loyal], np.full(int(loyal.sum()), words.DIRECT_TRAFFIC)
    at = daytime(rng, orders["delivered"][loyal] + spread(rng, len(who), 6, 1))
    diary.add(LOYALTY, who, at, logs_in=people.has_login[who], traffic=direct)


def _traffic_weights() -> list[float]:
    return [source.weight for source in words.TRAFFIC]


def _surveys(
    config: WorldConfig,
    people: _People,
    life: _Experience,
    *,
    contacts: pl.DataFrame,
    orders: pl.DataFrame,
    tickets: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Who is asked what when, and what they feel when they answer.

    ``latent`` of a response is the recommendation score (0 to 10, integer) the person truly holds; what the file
    says of it, with planted dirt, is drawn in ``survey``.
    """
    rng = config.generator("surveys")
    start, end = midnight_us(config.start_date), cut_us(config.last_date)
    asked: list[dict[str, np.ndarray]] = []
    n = people.n
    due = daytime(rng, np.maximum(people.created + 14 * DAY, start) + (rng.random(n) * 90 * DAY).astype(np.int64))
    while (due < end).any():
        who = (due < end).nonzero()[0]
        asked.append(_asked(0, who, due[who], np.full(len(who), -1), np.full(len(who), -1)))
        due = daytime(rng, due + spread(rng, n, 25, 90))
    solved = tickets["solved_us"].to_numpy()
    chosen = ((rng.random(len(solved)) < 0.75) & (solved < end)).nonzero()[0]
    asked.append(
        _asked(1, tickets["person"].to_numpy()[chosen], solved[chosen] + HOUR, np.full(len(chosen), 7), chosen)
    )
    delivered = orders["delivered_us"].to_numpy()
    chosen = ((rng.random(len(delivered)) < 0.3) & (delivered > start) & (delivered < end - DAY)).nonzero()[0]
    touchpoint = np.where(orders["channel"].to_numpy()[chosen] == 2, 9, 4)
    asked.append(_asked(1, orders["person"].to_numpy()[chosen], delivered[chosen] + DAY, touchpoint, chosen))
    whole = {name: np.concatenate([part[name] for part in asked]) for name in asked[0]}
    order = np.lexsort((whole["reference"], whole["person"], whole["survey"], whole["sent"]))
    whole = {name: values[order] for name, values in whole.items()}
    m = len(whole["person"])
    person = whole["person"]
    mood = people.mood[person]
    answers = rng.random(m) < np.where(whole["survey"] == 0, 0.53, 0.55) + 0.04 * np.tanh(mood)
    contact = contact_at(contacts, person, whole["sent"], rng.random(m) < 0.3)
    channel = choose(rng, [0.72, 0.13, 0.15], m)
    invitations = pl.DataFrame(
        {
            "invitation": number_id("I", np.arange(1, m + 1), 7),
            "person": person,
            "contact": contact,
            "survey": whole["survey"],
            "touchpoint": whole["touchpoint"],
            "reference": whole["reference"],
            "channel": channel,
            "sent_us": whole["sent"],
            "opens": rng.random(m) < 0.5,
            "bounces": (rng.random(m) < 0.02) & ~answers,
            "states_response": rng.random(m) < 0.5,
        }
    )
    took = answers.nonzero()[0]
    walk_in = config.size(190 * (config.days + HORIZON_DAYS) / config.days, 6)
    visitor = rng.integers(0, n, walk_in)
    early = np.maximum(people.created[visitor], start)
    walk_at = daytime(rng, early + DAY + (rng.random(walk_in) * np.maximum(end - early - DAY, 0)).astype(np.int64))
    visitor, walk_at = visitor[walk_at < end], walk_at[walk_at < end]
    blank = np.full(len(visitor), -1)
    response_person = np.concatenate([person[took], visitor])
    sent = np.concatenate([whole["sent"][took] + spread(rng, len(took), 1.1, 0.004), walk_at])
    responses = pl.DataFrame(
        {
            "person": response_person,
            "survey": np.concatenate([whole["survey"][took], np.zeros(len(visitor), np.int64)]),
            "touchpoint": np.concatenate([whole["touchpoint"][took], blank]),
            "reference": np.concatenate([whole["reference"][took], blank]),
            "invitation_row": np.concatenate([took, blank]),
            "start_us": sent,
        }
    ).sort("start_us", "person", maintain_order=True)
    at = responses["start_us"].to_numpy()
    person = responses["person"].to_numpy()
    share = (at - start) / (config.days * DAY)
    latent = (
        7.75
        + 1.35 * people.mood[person]
        + 0.7 * (share - 0.5)
        - 0.8 * crisis(config, at)
        + life.mood_at(person, at)
        + rng.normal(0, 0.9, len(at))
    )
    latent = latent - np.where(responses["survey"].to_numpy() == 1, 0.2, 0.0)
    return invitations, responses.with_columns(
        feeling=pl.Series(latent), latent=pl.Series(np.clip(np.round(latent), 0, 10).astype(np.int64))
    )


def _asked(
    survey: int, person: np.ndarray, sent: np.ndarray, touchpoint: np.ndarray, reference: np.ndarray
) -> dict[str, np.ndarray]:
    return {
        "survey": np.full(len(person), survey),
        "person": person,
        "sent": sent,
        "touchpoint": touchpoint,
        "reference": reference,
    }
