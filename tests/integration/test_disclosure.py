"""Golden g13 and beyond: what suppression hides, sought from one release and from two."""

from datetime import datetime

import duckdb
import polars as pl
import pytest

from data_quality.run import Tables, run_rules
from data_quality.suites.disclosure import ADDITIVE_MARTS, disclosure_rules
from data_quality.suites.marts import MART_KEYS

RULES = [rule for rule in disclosure_rules(MART_KEYS) if rule.target_table == "mart_nps"]
FIRST = {"north": (31, 12, 9), "east": (44, 20, 16), "south": (5, 2, 1), "west": (28, 15, 12)}
"""Promoters, passives, detractors of golden g13."""


def write(path, cells, hidden, total_hidden=False):
    """A mart of one month with one breakdown; ``hidden`` are suppressed."""
    votes = [tuple(map(sum, zip(*cells.values(), strict=True)))]
    rows = [("total", "all", *votes[0], total_hidden)]
    rows += [("segment", name, *counts, name in hidden) for name, counts in cells.items()]
    values = ", ".join(
        f"('{breakdown}', '{value}', {sum(counts)}, {is_hidden}, "
        + (", ".join(["NULL"] * 3) if is_hidden else ", ".join(map(str, counts)))
        + ")"
        for breakdown, value, *counts, is_hidden in rows
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE mart_nps AS SELECT 'relational' AS nps_kind, 'all' AS period_kind, DATE '2026-04-01' AS "
            f"period_start_date, 10 AS minimum_n, * FROM (VALUES {values}) AS v(breakdown, breakdown_value, n, "
            "is_suppressed, promoters, passives, detractors)"
        )
    return path


def failed(tonight, published=None):
    results = run_rules(RULES, tables=Tables.marts(tonight, published), run_id="run", now=datetime(2026, 5, 2))
    assert set(results["outcome"]) <= {"passed", "failed"}, results["detail"].to_list()
    return set(results.filter(pl.col("outcome") == "failed")["rule_id"])


def difference(path, names):
    """What a reader works out: the total less the cells of ``names``, each as its own query finds it."""
    with duckdb.connect(str(path), read_only=True) as connection:
        total = connection.execute(
            "SELECT promoters, passives, detractors FROM mart_nps WHERE breakdown = 'total'"
        ).fetchone()
        shown = [
            connection.execute(
                f"SELECT promoters, passives, detractors FROM mart_nps WHERE breakdown_value = '{name}'"
            ).fetchone()
            for name in names
        ]
    return tuple(whole - sum(parts) for whole, *parts in zip(total, *shown, strict=True))


def test_one_hidden_cell_is_the_total_less_the_others(tmp_path):
    path = write(tmp_path / "marts.duckdb", FIRST, {"south"})
    assert difference(path, ["north", "east", "west"]) == FIRST["south"], "the attack succeeds without a complement"
    assert failed(path) == {"hidden_stays_hidden"}


def test_a_complement_keeps_it(tmp_path):
    assert failed(write(tmp_path / "marts.duckdb", FIRST, {"south", "north"})) == set()


def test_two_hidden_cells_below_the_minimum_come_out_together(tmp_path):
    cells = {**FIRST, "island": (1, 0, 0)}
    assert failed(write(tmp_path / "marts.duckdb", cells, {"south", "island"})) == {"hidden_stays_hidden"}
    assert failed(write(tmp_path / "more" / "marts.duckdb", cells, {"south", "island", "north"})) == set()


def test_a_hidden_total_gives_nothing_away(tmp_path):
    assert failed(write(tmp_path / "marts.duckdb", {"south": (5, 2, 1)}, {"south"}, total_hidden=True)) == set()


def test_a_complement_that_moves_gives_the_cell_away_over_two_nights(tmp_path):
    before = write(tmp_path / "before" / "marts.duckdb", FIRST, {"south", "north"})
    # North takes four votes, so that west is now the smallest shown cell and is hidden in its place.
    grown = {**FIRST, "north": (33, 13, 10)}
    tonight = write(tmp_path / "tonight" / "marts.duckdb", grown, {"south", "west"})
    assert failed(before) == failed(tonight) == set(), "each night alone is safe"
    with duckdb.connect(str(before), read_only=True) as connection:
        west = connection.execute(
            "SELECT promoters, passives, detractors FROM mart_nps WHERE breakdown_value = 'west'"
        ).fetchone()
    rest = difference(tonight, ["north", "east"])
    assert tuple(a - b for a, b in zip(rest, west, strict=True)) == FIRST["south"], "the attack succeeds"
    assert failed(tonight, before) == {"hidden_stays_hidden_over_releases"}


def test_the_complement_of_last_night_shown_tonight_gives_last_night_away(tmp_path):
    before = write(tmp_path / "before" / "marts.duckdb", FIRST, {"south", "north"})
    # South reaches the minimum: all is shown, north as it was, and so the eight votes of last night come out.
    tonight = write(tmp_path / "tonight" / "marts.duckdb", {**FIRST, "south": (6, 3, 1)}, set())
    assert failed(tonight, before) == {"hidden_stays_hidden_over_releases"}


def test_nights_that_hide_the_same_are_safe(tmp_path):
    before = write(tmp_path / "before" / "marts.duckdb", FIRST, {"south", "north"})
    same = write(tmp_path / "same" / "marts.duckdb", FIRST, {"south", "north"})
    grown = write(tmp_path / "grown" / "marts.duckdb", {**FIRST, "east": (60, 20, 16)}, {"south", "north"})
    assert failed(same, before) == failed(grown, before) == set()


def test_a_cell_whose_votes_changed_is_not_taken_for_known(tmp_path):
    before = write(tmp_path / "before" / "marts.duckdb", FIRST, {"south", "north"})
    grown = {**FIRST, "north": (33, 13, 10), "west": (28, 15, 13)}
    tonight = write(tmp_path / "tonight" / "marts.duckdb", grown, {"south", "west"})
    assert failed(tonight, before) == set()


@pytest.mark.parametrize("mart", ADDITIVE_MARTS)
def test_every_additive_mart_is_attacked(mart):
    found = {rule.rule_id: rule.severity for rule in disclosure_rules(MART_KEYS) if rule.target_table == mart}
    assert found == {"hidden_stays_hidden": "error", "hidden_stays_hidden_over_releases": "warn"}
