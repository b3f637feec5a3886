"""The help desk's incremental exports: JSON Lines a month, each night adding the tickets changed that day.

A ticket stands in them once for each day on which it changed, in the state at that day's end.

Belongs here: the export's shape. Does not belong here: who complains and how it ends (``world``).
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl

from orchestration.sample import vocabulary as words
from orchestration.sample.files import write_bytes
from orchestration.sample.world import DAY, NEVER, TICKET_CHANNELS, UTC_OFFSET, World, cut_us

PRIORITIES = ("low", "normal", "high")
_CHANGES = (
    ("opened_us", "opened", "", "new", "customer"),
    ("replied_us", "replied", "new", "open", "agent"),
    ("pending_us", "waiting", "open", "pending", "agent"),
    ("resumed_us", "customer_replied", "pending", "open", "customer"),
    ("solved_first_us", "solved", "open", "solved", "agent"),
    ("reopened_us", "reopened", "solved", "open", "customer"),
    ("solved_again_us", "solved", "open", "solved", "agent"),
    ("closed_us", "closed", "solved", "closed", "system"),
)
"""Instant, event, status before and after, who did it; in the order in which they happen to a ticket."""


def ticket_events(world: World) -> pl.DataFrame:
    """Every change of every ticket: ``ticket``, ``at_us``, ``event``, ``from_status``, ``to_status``, ``actor``."""
    parts = [
        world.tickets.filter(pl.col(column) < NEVER).select(
            "ticket",
            at_us=column,
            event=pl.lit(event),
            from_status=pl.lit(before),
            to_status=pl.lit(after),
            actor=pl.lit(actor),
            step=pl.lit(number),
        )
        for number, (column, event, before, after, actor) in enumerate(_CHANGES)
    ]
    return pl.concat(parts).sort("at_us", "ticket", "step")


def _utc(column: str) -> pl.Expr:
    """ISO 8601 in UTC, as a help desk's API writes it; null where it never comes."""
    instant = pl.when(pl.col(column) < NEVER).then(pl.col(column)).cast(pl.Datetime("us"))
    return instant.dt.strftime("%Y-%m-%dT%H:%M:%SZ")


def tickets_at(world: World, as_of: date) -> pl.DataFrame:
    """Tickets opened by the end of ``as_of``, in the state of that day."""
    return _in_state(world.tickets.filter(pl.col("opened_us") < cut_us(as_of)), pl.lit(cut_us(as_of)))


def _in_state(tickets: pl.DataFrame, cut: pl.Expr) -> pl.DataFrame:
    """Each ticket as it was known right before ``cut``: later instants never come."""
    names = ["opened_us", *[change[0] for change in _CHANGES[1:]], "deleted_us"]
    known = tickets.with_columns(
        [pl.when(pl.col(name) < cut).then(name).otherwise(NEVER).alias(name) for name in names]
    )
    status = pl.lit("new")
    for column, _, _, after, _ in _CHANGES[1:]:
        status = pl.when(pl.col(column) < NEVER).then(pl.lit(after)).otherwise(status)
    solved = pl.when(pl.col("solved_again_us") < NEVER).then("solved_again_us").otherwise("solved_first_us")
    past = [pl.when(pl.col(name) < NEVER).then(name).otherwise(-NEVER) for name in names]
    return known.with_columns(status=status, solved_known_us=solved, updated_us=pl.max_horizontal(past))


def _ticket_table(world: World, tickets: pl.DataFrame) -> pl.DataFrame:
    people = world.persons.select("person", "email", "phone")
    topics = dict(enumerate(words.TICKET_TOPICS))

    def topic(part: int) -> pl.Expr:
        labels = {number: entry[part] for number, entry in topics.items()}
        return pl.col("topic").replace_strict(labels, return_dtype=pl.String)

    return (
        tickets.join(people, on="person", how="left", maintain_order="left")
        .sort("day", "updated_us", "ticket")
        .select(
            "day",
            id="ticket",
            requester_contact_id=pl.when(pl.col("requester") == 0).then("contact"),
            requester_email=pl.when(pl.col("requester") <= 1).then("email"),
            requester_phone=pl.when(pl.col("requester") == 2).then("phone"),
            subject=topic(2),
            category=topic(0),
            touchpoint=topic(1),
            channel=pl.col("channel").replace_strict(dict(enumerate(TICKET_CHANNELS)), return_dtype=pl.String),
            priority=pl.col("priority").replace_strict(dict(enumerate(PRIORITIES)), return_dtype=pl.String),
            status=pl.when(pl.col("deleted_us") < NEVER).then(pl.lit("deleted")).otherwise("status"),
            agent_id=pl.lit("agent") + pl.col("agent").cast(pl.String),
            created_at=_utc("opened_us"),
            first_reply_at=_utc("replied_us"),
            solved_at=_utc("solved_known_us"),
            closed_at=_utc("closed_us"),
            reopens=(pl.col("reopened_us") < NEVER).cast(pl.Int64),
            updated_at=_utc("updated_us"),
        )
    )


def write_support(world: World, folder: Path, first: date, last: date) -> list[str]:
    """Write the exports of the days from ``first`` to ``last``, one file a month to which each night adds its rows.

    Returns:
        The names of the files that changed.
    """
    low, high = ((day - date(1970, 1, 1)).days for day in (first.replace(day=1), last))
    on_days = pl.col("day").is_between(low, high)
    events = ticket_events(world).with_columns(day=(pl.col("at_us") + UTC_OFFSET) // DAY).filter(on_days)
    gone = world.tickets.filter(pl.col("deleted_us") < NEVER).select(
        "ticket", day=(pl.col("deleted_us") + UTC_OFFSET) // DAY
    )
    touched = pl.concat([events.select("ticket", "day"), gone.filter(on_days)]).unique()
    touched = touched.sort("day", "ticket").join(world.tickets, on="ticket", how="left", maintain_order="left")
    tables = {
        "tickets": _ticket_table(world, _in_state(touched, (pl.col("day") + 1) * DAY - UTC_OFFSET)),
        "ticket_events": events.select(
            "day",
            ticket_id="ticket",
            event="event",
            from_status=pl.when(pl.col("from_status") != "").then("from_status"),
            to_status="to_status",
            actor="actor",
            occurred_at=_utc("at_us"),
        ),
    }
    written = []
    for name, table in tables.items():
        monthly = table.with_columns(month=pl.col("day").cast(pl.Int32).cast(pl.Date).dt.strftime("%Y%m")).drop("day")
        for (month,), rows in sorted(monthly.partition_by("month", as_dict=True, include_key=False).items()):
            path = folder / f"{name}_{month}.jsonl"
            if write_bytes(path, rows.write_ndjson().encode()):
                written.append(path.name)
    return written
