"""The CRM as a relational database: accounts, contacts, opportunities, orders as they stand at the end of a day.

Belongs here: the tables' columns and the dirt that clerks type into them. Does not belong here: who the people
are and what they do (``world``).
"""

from __future__ import annotations

import sqlite3
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from orchestration.sample import vocabulary as words
from orchestration.sample.world import (
    DUPLICATE_KINDS,
    HOUR,
    NEVER,
    ORDER_CHANNELS,
    UTC_OFFSET,
    World,
    choose,
    cut_us,
    pick,
)

SEGMENTS = ("consumer", "member", "vip")
CURRENCIES = ("CNY", "RMB", "cny", "USD", "EUR")

TABLES: dict[str, dict[str, str]] = {
    "accounts": {
        "id": "TEXT PRIMARY KEY",
        "name": "TEXT",
        "industry": "TEXT",
        "tier": "TEXT",
        "country": "TEXT",
        "region": "TEXT",
        "employees": "INTEGER",
        "annual_revenue": "NUMERIC(18, 2)",
        "currency": "TEXT",
        "created_at": "TEXT",
        "updated_at": "TEXT NOT NULL",
    },
    "contacts": {
        "id": "TEXT PRIMARY KEY",
        "account_id": "TEXT",
        "full_name": "TEXT",
        "email_addr": "TEXT",
        "mobile": "TEXT",
        "login": "TEXT",
        "segment": "TEXT",
        "lifecycle_stage": "TEXT",
        "gender": "TEXT",
        "birthday": "TEXT",
        "country_name": "TEXT",
        "province": "TEXT",
        "city": "TEXT",
        "language": "TEXT",
        "marketing_consent": "TEXT",
        "lead_source": "TEXT",
        "created_at": "TEXT",
        "updated_at": "TEXT NOT NULL",
        "is_deleted": "INTEGER NOT NULL",
    },
    "opportunities": {
        "id": "TEXT PRIMARY KEY",
        "account_id": "TEXT",
        "contact_id": "TEXT",
        "title": "TEXT",
        "product": "TEXT",
        "stage": "TEXT",
        "amount": "NUMERIC(18, 2)",
        "currency": "TEXT",
        "owner": "TEXT",
        "created_at": "TEXT",
        "closed_at": "TEXT",
        "updated_at": "TEXT NOT NULL",
    },
    "orders": {
        "id": "TEXT PRIMARY KEY",
        "contact_id": "TEXT",
        "email": "TEXT",
        "phone": "TEXT",
        "ordered_at": "TEXT",
        "delivered_at": "TEXT",
        "status": "TEXT",
        "channel": "TEXT",
        "amount": "NUMERIC(18, 2)",
        "currency": "TEXT",
        "items": "INTEGER",
        "updated_at": "TEXT NOT NULL",
    },
}
"""Table to column to SQL type; SQLite and PostgreSQL both take the statements of ``create_statements``."""


def create_statements() -> list[str]:
    """One ``CREATE TABLE`` a table, in standard SQL."""
    return [
        f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
        for table, columns in TABLES.items()
    ]


def local_text(column: str, pattern: str = "%Y-%m-%d %H:%M:%S") -> pl.Expr:
    """Wall-clock text of an instant; null where it never comes."""
    instant = pl.when(pl.col(column) < NEVER).then(pl.col(column) + UTC_OFFSET).cast(pl.Datetime("us"))
    return instant.dt.strftime(pattern)


def _known(column: str, cut: int) -> pl.Expr:
    """The instant where it has come by ``cut``, else the least instant there is."""
    return pl.when(pl.col(column) < cut).then(pl.col(column)).otherwise(-NEVER)


def phone_text(number: str, style: str) -> pl.Expr:
    """A phone in one of the ways people write it; ``style`` is a column of 0 to 4."""
    e164, how = pl.col(number), pl.col(style)
    national = e164.str.strip_prefix("+86")
    parts = [national.str.slice(0, 3), national.str.slice(3, 4), national.str.slice(7)]
    return (
        pl.when(~e164.str.starts_with("+861"))
        .then(e164)
        .when(how == 0)
        .then(national)
        .when(how == 1)
        .then(pl.concat_str(parts, separator=" "))
        .when(how == 2)
        .then("+86-" + pl.concat_str(parts, separator="-"))
        .when(how == 3)
        .then(pl.lit("0086 ") + national)
        .otherwise(national.str.replace_many(list("0123456789"), list("０１２３４５６７８９")))
    )


def email_text(email: str, style: str) -> pl.Expr:
    """An e-mail as typed: as it is, upper case, or padded; ``style`` is a column of 0 to 2."""
    how = pl.col(style)
    return (
        pl.when(how == 0)
        .then(email)
        .when(how == 1)
        .then(pl.col(email).str.to_uppercase())
        .otherwise(pl.lit("  ") + pl.col(email) + " ")
    )


def contact_records(world: World) -> pl.DataFrame:
    """Every contact the CRM will ever hold, with what the clerk typed and which dirt it carries."""
    rng = world.config.generator("typing")
    contacts = world.contacts.join(world.persons.drop("created_us"), on="person", how="left", maintain_order="left")
    n = contacts.height
    variant = contacts["variant"].to_numpy()
    own = variant < 0
    place = contacts["place"].to_numpy()
    spelling = rng.integers(0, 12, n)
    kinds = {name: number for number, name in enumerate(DUPLICATE_KINDS)}
    other_email = np.isin(variant, (kinds["same_phone"], kinds["other_email"], kinds["unlinked"]))
    other_phone = np.isin(variant, (kinds["same_email"], kinds["unlinked"]))
    frame = contacts.with_columns(
        name_style=np.where(own, choose(rng, [0.8, 0.12, 0.05, 0.03], n), rng.integers(0, 4, n)),
        email_style=choose(rng, [0.8, 0.12, 0.08], n),
        phone_style=choose(rng, [0.45, 0.2, 0.15, 0.12, 0.08], n),
        date_style=choose(rng, [0.7, 0.15, 0.15], n),
        bad_email=pl.Series(np.where(rng.random(n) < 0.012, rng.integers(0, len(words.INVALID_EMAILS), n), -1)),
        bad_phone=pl.Series(np.where(rng.random(n) < 0.012, rng.integers(0, len(words.INVALID_PHONES), n), -1)),
        no_email=pl.Series(rng.random(n) < 0.06),
        no_phone=pl.Series(rng.random(n) < 0.06),
        other_email=pl.Series(other_email),
        other_phone=pl.Series(other_phone),
        own=pl.Series(own),
        typo=pl.Series(variant == kinds["typo"]),
        second_phone=(
            "+86199" + pl.Series((np.arange(n) * 7_368_787 + 1234) % 100_000_000).cast(pl.String).str.zfill(8)
        ),
        country_name=_spelled(place, spelling, "country"),
        province=_spelled(place, spelling // 2, "region"),
        city_name=_spelled(place, spelling // 3, "city"),
        consent=pick(("Y", "N", "1", "0", "true", ""), choose(rng, [0.4, 0.2, 0.15, 0.1, 0.1, 0.05], n)),
        gender_text=pl.Series(pick(("M", "F", "男", "女"), contacts["gender"].to_numpy() + 2 * rng.integers(0, 2, n))),
    )
    frame = frame.with_columns(
        no_email=pl.col("no_email") & pl.col("own"),
        no_phone=pl.col("no_phone") & pl.col("own"),
        bad_email=pl.when(~pl.col("own") | pl.col("no_email")).then(-1).otherwise("bad_email"),
        bad_phone=pl.when(~pl.col("own") | pl.col("no_phone")).then(-1).otherwise("bad_phone"),
    )
    typed_name = pl.col("full_name").str.replace_many(list(words.NAME_TYPOS), list(words.NAME_TYPOS.values()))
    name = (
        pl.when("typo")
        .then(typed_name)
        .when(pl.col("name_style") == 0)
        .then("full_name")
        .when(pl.col("name_style") == 1)
        .then("latin_name")
        .when(pl.col("name_style") == 2)
        .then(pl.col("latin_name").str.to_uppercase() + "  ")
        .otherwise(pl.lit("　") + pl.col("full_name"))
    )
    birth = pl.col("birth_day").cast(pl.Int32).cast(pl.Date)
    return frame.with_columns(
        name_text=name,
        email_clean=pl.when("other_email")
        .then(pl.col("email").str.replace("@", "_2@").str.replace("^info_2@.*$", words.SHARED_MAILBOX))
        .otherwise("email"),
        phone_clean=pl.when("other_phone").then("second_phone").otherwise("phone"),
        birthday=pl.when(pl.col("date_style") == 0)
        .then(birth.dt.strftime("%Y-%m-%d"))
        .when(pl.col("date_style") == 1)
        .then(birth.dt.strftime("%Y/%-m/%-d"))
        .otherwise(birth.dt.strftime("%Y年%-m月%-d日")),
        created_text=pl.when(pl.col("date_style") == 0)
        .then(local_text("created_us"))
        .when(pl.col("date_style") == 1)
        .then(local_text("created_us", "%Y/%-m/%-d %H:%M"))
        .otherwise(local_text("created_us", "%Y年%-m月%-d日 %H:%M")),
    )


def _spelled(place: np.ndarray, spelling: np.ndarray, part: str) -> pl.Series:
    table = [getattr(spot, part) for spot in words.PLACES]
    flat = [table[row][column % len(table[row])] for row in range(len(table)) for column in range(12)]
    return pick(flat, place * 12 + spelling % 12)


def contacts_at(world: World, as_of: date, records: pl.DataFrame | None = None) -> pl.DataFrame:
    """``contact_records`` that exist at the end of ``as_of``, with the version known then."""
    cut = cut_us(as_of)
    records = contact_records(world) if records is None else records
    first_order = world.orders.group_by("person").agg(first_order_us=pl.col("ordered_us").min())
    frame = records.filter(pl.col("created_us") < cut).join(first_order, on="person", how="left", maintain_order="left")
    frame = frame.with_columns(
        moved=pl.col("own") & (pl.col("phone_changed_us") < cut) & (pl.col("bad_phone") < 0) & ~pl.col("no_phone"),
        is_deleted=pl.col("deleted_us") < cut,
        first_order_us=pl.col("first_order_us").fill_null(NEVER),
    )
    style_email = email_text("email_clean", "email_style")
    frame = frame.with_columns(
        phone_now=pl.when("moved").then("new_phone").otherwise("phone_clean"),
        updated_us=pl.max_horizontal(
            "created_us",
            _known("first_order_us", cut),
            _known("deleted_us", cut),
            pl.when("moved").then(_known("phone_changed_us", cut)).otherwise(-NEVER),
        ),
    )
    return frame.with_columns(
        email_text=pl.when("no_email")
        .then(pl.lit(""))
        .when(pl.col("bad_email") >= 0)
        .then(pick(words.INVALID_EMAILS, frame["bad_email"].to_numpy().clip(0)))
        .otherwise(style_email),
        phone_text=pl.when("no_phone")
        .then(pl.lit(""))
        .when(pl.col("bad_phone") >= 0)
        .then(pick(words.INVALID_PHONES, frame["bad_phone"].to_numpy().clip(0)))
        .when(pl.col("phone_now").str.starts_with("+86400"))
        .then(pl.lit(words.HOTLINE))
        .otherwise(phone_text("phone_now", "phone_style")),
    )


def crm_tables(world: World, as_of: date) -> dict[str, pl.DataFrame]:
    """The four tables as they stand at the end of ``as_of``; also for loading into another database.

    Times are wall-clock text of Asia/Shanghai; ``updated_at`` is uniform, ``contacts.created_at`` and
    ``birthday`` are in the formats that clerks type.

    Returns:
        Table name to frame, with the columns of ``TABLES`` in order.
    """
    cut = cut_us(as_of)
    contacts = contacts_at(world, as_of).select(
        id="contact",
        account_id=pl.when(pl.col("account") >= 0).then("A" + (pl.col("account") + 1).cast(pl.String).str.zfill(5)),
        full_name="name_text",
        email_addr="email_text",
        mobile="phone_text",
        login=pl.when(pl.col("own")).then("login"),
        segment=pl.col("segment").replace_strict({0: "consumer", 1: "member", 2: "vip"}, return_dtype=pl.String),
        lifecycle_stage=pl.when(pl.col("first_order_us") < cut).then(pl.lit("customer")).otherwise(pl.lit("lead")),
        gender="gender_text",
        birthday="birthday",
        country_name="country_name",
        province="province",
        city="city_name",
        language=pl.when("western").then(pl.lit("en")).otherwise(pl.lit("zh-CN")),
        marketing_consent="consent",
        lead_source=pl.col("traffic").replace_strict(
            {number: source.acquisition for number, source in enumerate(words.TRAFFIC)}, return_dtype=pl.String
        ),
        created_at="created_text",
        updated_at=local_text("updated_us"),
        is_deleted=pl.col("is_deleted").cast(pl.Int64),
    )
    return {
        "accounts": _accounts(world, cut),
        "contacts": contacts,
        "opportunities": _opportunities(world, cut),
        "orders": _orders(world, cut),
    }


def _accounts(world: World, cut: int) -> pl.DataFrame:
    place = world.accounts["place"].to_numpy()
    number = world.accounts["number"].to_numpy()
    return (
        world.accounts.with_columns(
            country=_spelled(place, number, "country"), region=_spelled(place, number // 2, "region")
        )
        .filter(pl.col("created_us") < cut)
        .select(
            id="account",
            name=pl.lit("Trading 贸易 ") + pl.col("account"),
            industry="industry",
            tier="tier",
            country="country",
            region="region",
            employees="employees",
            annual_revenue="revenue",
            currency=pl.lit("CNY"),
            created_at=local_text("created_us"),
            updated_at=local_text("created_us"),
        )
    )


def _opportunities(world: World, cut: int) -> pl.DataFrame:
    rows = world.opportunities.filter((pl.col("created_us") < cut) & (pl.col("gone_us") >= cut))
    own = world.contacts.filter(pl.col("variant") < 0).select("person", "contact")
    is_closed = pl.col("closed_us") < cut
    rows = rows.join(own, on="person", how="left", maintain_order="left").with_columns(
        updated_us=pl.max_horizontal("created_us", _known("closed_us", cut)),
        closed_known_us=pl.when(is_closed).then("closed_us").otherwise(NEVER),
        product_id=pick(words.PRODUCTS, rows["product"].to_numpy()),
    )
    return rows.select(
        id="opportunity",
        account_id="A" + (pl.col("account") + 1).cast(pl.String).str.zfill(5),
        contact_id="contact",
        title=pl.lit("采购 ") + pl.col("product_id"),
        product="product_id",
        stage=pl.when(~is_closed)
        .then(pl.lit("Negotiation"))
        .when("won")
        .then(pl.lit("Closed Won"))
        .otherwise(pl.lit("Closed Lost")),
        amount="value",
        currency=pl.lit("CNY"),
        owner=pl.lit("agent") + pl.col("owner").cast(pl.String),
        created_at=local_text("created_us"),
        closed_at=local_text("closed_known_us"),
        updated_at=local_text("updated_us"),
    )


def orders_at(world: World, as_of: date) -> pl.DataFrame:
    """Orders that the database shows at the end of ``as_of``.

    An order that a slow transaction commits after midnight carries the time of its evening and is seen a night
    later; an extraction without a lag would lose it.
    """
    return world.orders.filter(_is_committed(cut_us(as_of)))


def _is_committed(cut: int) -> pl.Expr:
    return (pl.col("ordered_us") + pl.when("committed_late").then(3 * HOUR).otherwise(0)) < cut


def _orders(world: World, cut: int) -> pl.DataFrame:
    rng = world.config.generator("order typing")
    styles = rng.integers(0, 5, world.orders.height)
    addresses = world.persons.select("person", "email", "phone", "new_phone", "phone_changed_us")
    rows = (
        world.orders.with_columns(
            style=pl.Series(styles),
            plain_style=pl.Series(np.where(styles < 3, 0, styles - 2)),
        )
        .join(addresses, on="person", how="left", maintain_order="left")
        .filter(_is_committed(cut))
    )
    delivered, returned, shipped = (pl.col(f"{name}_us") < cut for name in ("delivered", "returned", "shipped"))
    cancelled = pl.col("cancelled_us") < cut
    status = (
        pl.when(cancelled)
        .then(pl.lit("cancelled"))
        .when(returned)
        .then(pl.lit("returned"))
        .when(delivered)
        .then(pl.lit("delivered"))
        .when(shipped)
        .then(pl.lit("shipped"))
        .otherwise(pl.lit("paid"))
    )
    rows = rows.with_columns(
        status=status,
        delivered_known_us=pl.when(delivered).then("delivered_us").otherwise(NEVER),
        updated_us=pl.max_horizontal(
            "ordered_us",
            *[_known(f"{name}_us", cut) for name in ("shipped", "delivered", "returned", "cancelled")],
        ),
        phone_then=pl.when(pl.col("ordered_us") >= pl.col("phone_changed_us")).then("new_phone").otherwise("phone"),
    )
    return rows.select(
        id="order",
        contact_id="contact",
        email=pl.when("gives_email").then(email_text("email", "plain_style")).otherwise(pl.lit("")),
        phone=pl.when("gives_phone").then(phone_text("phone_then", "style")).otherwise(pl.lit("")),
        ordered_at=local_text("ordered_us"),
        delivered_at=local_text("delivered_known_us"),
        status="status",
        channel=pl.col("channel").replace_strict(dict(enumerate(ORDER_CHANNELS)), return_dtype=pl.String),
        amount="amount",
        currency=pl.col("currency").replace_strict(dict(enumerate(CURRENCIES)), return_dtype=pl.String),
        items="items",
        updated_at=local_text("updated_us"),
    )


def write_crm(path: Path, tables: dict[str, pl.DataFrame]) -> None:
    """Write the tables into a fresh SQLite file and put it in the place of the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)
    connection = sqlite3.connect(partial)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY")
        for statement in create_statements():
            connection.execute(statement)
        for table, frame in tables.items():
            marks = ", ".join("?" * frame.width)
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", frame.iter_rows())
            connection.execute(f"CREATE INDEX {table}_updated_at ON {table} (updated_at)")
        connection.commit()
    finally:
        connection.close()
    partial.replace(path)


def planted(world: World, as_of: date, contacts: pl.DataFrame) -> dict[str, int]:
    """How much dirt of each kind the tables hold; ``contacts`` is ``contacts_at`` of the same day."""
    cut = cut_us(as_of)
    plain = ~pl.col("no_phone") & (pl.col("bad_phone") < 0)
    mailed = ~pl.col("no_email") & (pl.col("bad_email") < 0)
    shared = (
        contacts.filter("own")
        .group_by("phone")
        .agg(people=pl.col("person").n_unique())
        .filter((pl.col("people") == 2) & ~pl.col("phone").str.starts_with("+86400"))
        .height
    )
    row = contacts.select(
        duplicate_contacts=(~pl.col("own")).sum(),
        unlinked_duplicate_contacts=(pl.col("variant") == DUPLICATE_KINDS.index("unlinked")).sum(),
        invalid_emails=(pl.col("bad_email") >= 0).sum(),
        invalid_phones=(pl.col("bad_phone") >= 0).sum(),
        missing_emails=pl.col("no_email").sum(),
        missing_phones=pl.col("no_phone").sum(),
        hotline_phones=(plain & (pl.col("phone_text") == words.HOTLINE)).sum(),
        shared_mailboxes=(mailed & (pl.col("email_clean") == words.SHARED_MAILBOX)).sum(),
        padded_emails=(mailed & (pl.col("email_style") == 2)).sum(),
        changed_phones=pl.col("moved").sum(),
        deleted_contacts=pl.col("is_deleted").sum(),
    ).row(0, named=True)
    gone = world.opportunities.filter((pl.col("created_us") < cut) & (pl.col("gone_us") < cut)).height
    late = orders_at(world, as_of).filter("committed_late").height
    return {
        **{name: int(value) for name, value in row.items()},
        "family_phones": shared,
        "vanished_opportunities": gone,
        "orders_committed_late": late,
    }
