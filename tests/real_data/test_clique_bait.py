"""A shop whose visits are given, and whose users hide behind several cookies each; its figures are published."""

from __future__ import annotations

import csv

import duckdb
import pytest

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def night(run_night):
    return run_night("clique_bait", "UTC")


@pytest.fixture(scope="module")
def events(night):
    """Events of the clean layer with the published visit they belong to: no mart has the grain of an event."""
    connection = duckdb.connect()
    connection.register("event", night.clean("web_event").to_arrow())
    connection.execute(f"attach '{night.settings.serving_dir}/current/marts.duckdb' as marts (read_only)")
    connection.execute(
        "create view visit_event as select * from event"
        " join marts.fct_session as visit using (source, source_session_id)"
    )
    yield connection
    connection.close()


def test_visits_are_the_sources_own(night):
    assert night.one("select count(*), sum(n_events), count(distinct source_session_id) from fct_session") == (
        3564,
        32734,
        3564,
    )


def test_cookies_join_to_persons(night):
    persons, cookies = night.one("select count(distinct person_id), count(distinct visitor_key) from fct_session")
    assert (persons, cookies) == (500, 1782)
    assert round(cookies / persons, 2) == 3.56
    assert night.one("select count(*), sum(n_sessions), sum(n_customer_records) from dim_person") == (500, 3564, 1782)
    # No visit stays without a person, though no event names one.
    assert night.one("select count(*) from fct_session where person_id is null") == 0


def test_persons_are_the_users_of_the_sources_own_table(night, data, events):
    with (data / "clique_bait" / "users.csv").open(newline="") as file:
        user_of = {row["cookie_id"]: row["user_id"] for row in csv.DictReader(file)}
    pairs = events.execute("select distinct anonymous_id, person_id from visit_event").fetchall()
    persons: dict[str, set[str]] = {}
    users: dict[str, set[str]] = {}
    for cookie, person in pairs:
        persons.setdefault(user_of[cookie], set()).add(person)
        users.setdefault(person, set()).add(user_of[cookie])
    assert {len(found) for found in [*persons.values(), *users.values()]} == {1}


def test_share_of_visits_with_a_purchase(night):
    bought, visits = night.one("select count(*) filter (where has_purchase), count(*) from fct_session")
    assert (bought, round(100 * bought / visits, 2)) == (1777, 49.86)


def test_share_of_checkouts_that_do_not_buy(events):
    visits, unsold = events.execute(
        "select count(*), count(*) filter (where not has_purchase) from"
        " (select distinct session_key, has_purchase from visit_event"
        "  where event_name = 'page_view' and page_path = '/checkout')"
    ).fetchone()
    assert (visits, unsold, round(100 * unsold / visits, 2)) == (2103, 326, 15.50)


def test_funnel_by_product_equals_the_published_one(events, data):
    with (data / "clique_bait" / "third_party_results" / "funnel_by_product.csv").open(newline="") as file:
        published = {
            # Their page 3 is product 1.
            str(int(row["page_id"]) - 2): (
                int(row["n_page_views"]),
                int(row["n_added_to_cart"]),
                int(row["purchased_from_cart"]),
                int(row["abandoned_in_cart"]),
            )
            for row in csv.DictReader(file)
        }
    ours = {
        item: tuple(counts)
        for item, *counts in events.execute(
            "select item_id, count(*) filter (where event_name = 'page_view'),"
            " count(*) filter (where event_name = 'add_to_cart'),"
            " count(*) filter (where event_name = 'add_to_cart' and has_purchase),"
            " count(*) filter (where event_name = 'add_to_cart' and not has_purchase)"
            " from visit_event where item_id is not null group by item_id"
        ).fetchall()
    }
    assert len(published) == 9
    assert ours == published


def test_no_gate_complains(night):
    assert night.complaints() == set()
