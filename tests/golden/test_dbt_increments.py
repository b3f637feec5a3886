"""Web models made anew visitor by visitor, and the journey person by person, equal those made at once.

No visitor and no person is made anew without need.
"""

import random
import shutil
from datetime import datetime, timedelta

import pytest

from orchestration.contracts import CONTRACTS
from tests.golden.increments import Area, Nights

EVENT = CONTRACTS["web_event"]
MIDNIGHT = datetime(2026, 5, 1, 16)
"""In Shanghai, the business time zone."""
WEB = Area(
    contract=EVENT,
    models=("+int_web_built", "+fct_session"),
    scope="int_web_scope",
    touched="int_visitor_touched",
    built="int_web_built",
    tables=(
        "warehouse.intermediate.int_session_bounded",
        "warehouse.intermediate.int_web_event_sessionized",
        "warehouse.intermediate.int_session_aggregated",
        "warehouse.intermediate.int_visitor_login",
        "marts.main.fct_session",
        "warehouse.intermediate.int_stage_entry_collected",
        "warehouse.intermediate.int_stage_reached",
        "marts.main.fct_journey_stage",
    ),
)


PERSONS = {"c0": "p0", "u0": "p0", "c1": "p1", "c2": "p2", "u2": "p2"}
KINDS = {"c": ("visitor", "w"), "u": ("login", "w"), "o": ("sales_order", "shop")}


def belong(nights, **persons):
    """Who a cookie (``c…``), a login (``u…``) or an order (``o…``) belongs to."""
    nights.warehouse.write(
        "person_record",
        [
            {
                "record_table": KINDS[name[0]][0],
                "source": KINDS[name[0]][1],
                "source_id": name,
                "person_id": person,
                "first_extracted_at": datetime(2026, 6, 1),
            }
            for name, person in persons.items()
        ],
    )


def event(number, visitor, minute, **values):
    return {
        "source_id": f"e{number}",
        "anonymous_id": visitor,
        "occurred_at": MIDNIGHT + timedelta(minutes=minute),
        "event_name": "page_view",
        "page_path": "/products/tea",
        **values,
    }


@pytest.fixture(scope="module")
def first_night(new_warehouse):
    """Three visitors with a session each, built."""
    nights = Nights(WEB, new_warehouse)
    nights.merge(
        *(event(number, f"c{number % 3}", 10 * number) for number in range(9)),
        event(20, "c0", 5, user_id="u0"),
        event(21, "c2", 300, user_id="u2"),
    )
    belong(nights, **PERSONS)
    assert nights.build() == ("all", 0)
    return nights


@pytest.fixture
def nights(first_night, new_warehouse):
    return Nights(WEB, new_warehouse, like=first_night)


def session_count(nights, visitor):
    query = f"SELECT count(*) AS n FROM warehouse.intermediate.int_session_bounded WHERE visitor_id = '{visitor}'"
    return nights.warehouse.row(query)["n"]


def test_only_touched_visitors_are_made_anew(nights):
    assert nights.build() == ("touched", 0)
    # An hour later: a session of its own, until an event in between joins the two.
    nights.merge(event(30, "c1", 130))
    assert nights.build() == ("touched", 1)
    assert session_count(nights, "c1") == 2
    nights.merge(event(31, "c1", 100))
    assert nights.build() == ("touched", 1)
    assert session_count(nights, "c1") == 1
    assert nights.tables() == nights.at_once()


def test_a_visitor_of_whom_nothing_is_left_goes(nights):
    gone = [{**event(number, None, 0), "is_deleted": True, "occurred_at": None} for number in (1, 4, 7)]
    assert nights.merge(*gone).deleted == 3
    assert nights.build() == ("touched", 1)
    assert session_count(nights, "c1") == 0
    assert nights.tables() == nights.at_once()


def test_a_person_who_changes_takes_the_sessions_along(nights):
    # c1 goes to another person; u0 does, who was seen on the cookie c0 that stays where it was.
    belong(nights, c0="p0", u0="p9", c1="p8", c2="p2", u2="p2")
    assert nights.build() == ("touched", 2)
    assert nights.tables() == nights.at_once()


def test_a_build_that_failed_on_the_way_is_not_built_upon(nights):
    nights.merge(event(30, "c1", 100))
    belong(nights, c0="p0", u0="p0", c1="p5", c2="p2", u2="p2")
    # The sessions are made, nothing behind them.
    nights.warehouse.build("--resource-type", "model", "seed", "--select", "+int_session_bounded")
    nights.merge(event(31, "c2", 320))
    assert nights.build() == ("touched", 2)
    assert nights.tables() == nights.at_once()


def test_a_person_who_changes_back_behind_a_build_that_failed_takes_the_sessions_along(nights):
    belong(nights, c0="p0", u0="p9", c1="p8", c2="p2", u2="p2")
    nights.warehouse.build("--resource-type", "model", "seed", "--select", "+int_session_aggregated")
    belong(nights, **PERSONS)
    assert nights.build() == ("touched", 2)
    assert nights.tables() == nights.at_once()
    assert nights.build() == ("touched", 0)


def test_what_was_built_is_forgotten_and_the_next_change_is_not(nights):
    nights.store.forget_touched(EVENT, nights.built())
    nights.merge(event(30, "c1", 100))
    assert nights.build() == ("touched", 1)
    assert "c1" in str(nights.warehouse.rows("FROM warehouse.working.int_web_event_touched"))


def touched_persons(nights):
    return {row["person_id"] for row in nights.warehouse.rows("FROM warehouse.working.int_person_touched")}


def order(nights, number, person, **values):
    """An order of a person, as the only one in the shop."""
    row = {"source": "shop", "source_id": f"o{number}", "ordered_at": MIDNIGHT + timedelta(hours=2), **values}
    nights.warehouse.write("sales_order", [row])
    belong(nights, **PERSONS, **{f"o{number}": person})


def test_only_persons_of_whom_something_changed_get_their_journey_anew(nights):
    assert nights.build() == ("touched", 0)
    assert touched_persons(nights) == set()
    order(nights, 1, "p1")
    assert nights.build() == ("touched", 0)
    assert touched_persons(nights) == {"p1"}
    # The order goes to another person: both journeys change.
    order(nights, 1, "p2")
    nights.merge(event(30, "c0", 95))
    assert nights.build() == ("touched", 1)
    assert touched_persons(nights) == {"p0", "p1", "p2"}
    assert nights.tables() == nights.at_once()


def test_a_person_whose_visitor_left_is_not_forgotten_by_a_build_that_failed(nights):
    # Who was p1 loses the only visitor; the entries are collected before something behind them fails.
    belong(nights, **PERSONS | {"c1": "p8"})
    nights.warehouse.build("--resource-type", "model", "seed", "--select", "+int_stage_entry_collected")
    assert touched_persons(nights) == {"p1", "p8"}
    assert nights.build() == ("touched", 1)
    assert touched_persons(nights) >= {"p1", "p8"}
    assert nights.tables() == nights.at_once()
    assert nights.build() == ("touched", 0)
    assert touched_persons(nights) == set()


@pytest.mark.parametrize("reason", ["restored", "forgotten", "vars", "funnel", "dropped", "asked"])
def test_everything_is_made_anew_where_the_last_build_cannot_be_built_upon(nights, reason):
    arguments, variables = [], {}
    backup = nights.warehouse.home / "backup"
    shutil.copytree(nights.store.folder(EVENT), backup)
    nights.merge(event(30, "c1", 100))
    match reason:
        case "restored":
            # Built on a change that the restored table never saw, although it has come as far meanwhile.
            nights.build()
            shutil.rmtree(nights.store.folder(EVENT))
            shutil.copytree(backup, nights.store.folder(EVENT))
            nights.merge(event(31, "c2", 100))
        case "forgotten":
            nights.store.forget_touched(EVENT, nights.store.sequence(EVENT))
        case "vars":
            variables = {"session_gap_minutes": 5}
        case "funnel":
            variables = {"funnel_window_days": 5}
        case "dropped":
            with nights.warehouse.connect(read_only=False) as connection:
                connection.execute("DROP TABLE warehouse.intermediate.int_visitor_login")
        case "asked":
            arguments = ["--full-refresh"]
    assert nights.build(*arguments, **variables) == ("all", 0)
    if reason == "restored":
        assert nights.tables() == nights.at_once()


@pytest.mark.parametrize("seed", range(2))
def test_drawn_nights_equal_one_build(new_warehouse, seed):
    draw = random.Random(seed)
    nights = Nights(WEB, new_warehouse)
    paths = ["/", "/products/tea", "/cart", "/checkout", None]
    for _ in range(4):
        rows = [
            event(
                draw.randrange(40),
                draw.choice(["c0", "c1", "c2", "c3", None]),
                draw.choice([-40, -31, -30, -1, 0, 1, 15, 29, 30, 31, 61, 1440, 1471]),
                user_id=draw.choice(["u0", "u1", None, None]),
                source_session_id=draw.choice(["s0", None, None]),
                is_source_session=draw.choice([True, False, None]),
                is_bot=draw.choice([True, False, False, None]),
                event_name=draw.choice(["page_view", "purchase", "login"]),
                page_path=draw.choice(paths),
                updated_at=datetime(2026, 6, draw.randrange(1, 20)),
                is_deleted=draw.random() < 0.15,
            )
            for _ in range(12)
        ]
        nights.merge(*rows)
        orders = draw.sample(range(4), draw.randrange(4))
        nights.warehouse.write(
            "sales_order",
            [
                {
                    "source": "shop",
                    "source_id": f"o{number}",
                    "ordered_at": MIDNIGHT + timedelta(hours=draw.randrange(-30, 60)),
                    "delivered_at": draw.choice([None, MIDNIGHT + timedelta(days=4)]),
                    "status": draw.choice(["paid", "cancelled"]),
                }
                for number in orders
            ],
        )
        names = ("c0", "c1", "c2", "c3", "u0", "u1", *(f"o{number}" for number in orders))
        belong(nights, **{name: f"p{draw.randrange(3)}" for name in names})
        nights.build()
    assert nights.tables() == nights.at_once()
