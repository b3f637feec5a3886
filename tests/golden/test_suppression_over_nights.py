"""Golden g13 over several published nights: what a reader who kept the last release can work out.

The project's own macros hide; an attack written here, from releases alone, tries to get at what they hid.
"""

from __future__ import annotations

import random

import duckdb
import polars as pl
import pytest

MINIMUM = 10
G13 = {"north": 52, "east": 80, "south": 8, "west": 55}


@pytest.fixture(scope="module")
def nights(new_warehouse):
    """Publishes cells night by night: the function gives the names of the hidden ones."""
    warehouse = new_warehouse()
    file = warehouse.home / "serving" / "current" / "parquet" / "mart_nps.parquet"
    file.parent.mkdir(parents=True)
    released(file, {"nobody": 50}, set())
    result = warehouse.dbt(
        "compile",
        "--inline",
        "with period_cell as (select * from tonight), "
        "{{ compared_cells('mart_nps', ['grp', 'breakdown_value']) }} "
        "select breakdown_value from (select *, {{ suppression_reason('n', ['grp'], 'breakdown_value', 'was_hidden', "
        "'was_shown') }} as reason from compared_cell) where reason is not null and n > 0",
    )
    assert result.success, result.exception
    query = result.result.results[0].node.compiled_code
    file.unlink()

    def night(
        cells: dict[str, int],
        before: dict | None = None,
        hidden_before: set[str] | None = None,
        minimum: int = MINIMUM,
    ) -> set[str]:
        released(file, before or {}, hidden_before or set(), minimum)
        with duckdb.connect() as connection:
            tonight = pl.DataFrame({"grp": "g", "breakdown_value": list(cells), "n": list(cells.values())})
            connection.register("tonight", tonight.to_arrow())
            return {name for (name,) in connection.execute(query).fetchall()}

    return night


def released(file, cells, hidden, minimum=MINIMUM):
    pl.DataFrame(
        {
            "grp": ["g"] * len(cells),
            "breakdown_value": list(cells),
            "n": list(cells.values()),
            "is_suppressed": [name in hidden for name in cells],
            "minimum_n": [minimum] * len(cells),
        },
        schema={
            "grp": pl.String,
            "breakdown_value": pl.String,
            "n": pl.Int64,
            "is_suppressed": pl.Boolean,
            "minimum_n": pl.Int64,
        },
    ).write_parquet(file)


def comes_out(cells, hidden, other, hidden_in_other):
    """Whether the total less what is shown, here or unchanged in the other release, leaves too little unknown."""
    known = {name for name in other if name not in hidden_in_other and other[name] == cells.get(name)}
    unknown = [cells[name] for name in hidden if name not in known and cells[name] > 0]
    return bool(hidden) and bool(unknown) and (len(unknown) == 1 or sum(unknown) < MINIMUM)


def test_golden_g13_in_one_night(nights):
    assert nights(G13) == {"south", "north"}


def test_a_complement_stays_the_complement_though_it_grew(nights):
    # By size alone it would be west, which the last release shows.
    assert nights({**G13, "north": 56}, G13, {"south", "north"}) == {"south", "north"}


def test_a_cell_that_reached_the_minimum_waits_for_its_complement(nights):
    grown = {**G13, "south": 10}
    hidden = nights(grown, G13, {"south", "north"})
    assert hidden == {"south", "north"}, "north as it was would give away the eight votes of last night"
    # South alone shown would give north away, and north the night before.
    assert nights({**grown, "north": 53}, grown, hidden) == {"south", "north"}
    assert nights({**grown, "north": 53, "south": 11}, grown, hidden) == set()


def test_a_new_small_cell_takes_a_complement_that_changed(nights):
    before = {"north": 52, "east": 80, "west": 55}
    assert nights({**before, "east": 84, "south": 3}, before, set()) == {"south", "east"}


def test_a_minimum_that_was_changed_on_purpose_forgets_what_was_hidden(nights):
    assert nights({"a": 60, "b": 70}, {"a": 60, "b": 70}, {"a", "b"}, minimum=100) == set()


def test_without_any_vote_the_same_stays_hidden(nights):
    assert nights(G13, G13, {"south", "north"}) == {"south", "north"}


def test_hidden_cells_do_not_come_out_of_two_releases_in_random_nights(nights):
    chance = random.Random(13)
    attacks = 0
    for _ in range(60):
        cells = {name: chance.randrange(0, 40) for name in "abcd"}
        hidden = nights(cells)
        for _ in range(6):
            before, hidden_before = cells, hidden
            cells = {name: n + chance.choice((0, 0, 1, 3, 8)) for name, n in before.items()}
            hidden = nights(cells, before, hidden_before)
            assert {name for name, n in cells.items() if 0 < n < MINIMUM} <= hidden
            assert not comes_out(before, hidden_before, cells, hidden), (before, hidden_before, cells, hidden)
            changed = [name for name in cells if cells[name] != before[name] or name in hidden_before]
            attacks += len(hidden) == 2
            if comes_out(cells, hidden, before, hidden_before):
                # All others stand as they were: total less total gives the votes, whatever is hidden.
                assert len(set(changed) & {name for name, n in cells.items() if n > 0}) < 2, (before, cells, hidden)
    assert attacks > 50, "the nights hold what there is to attack"
