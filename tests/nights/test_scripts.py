"""Nights written as scripts: what is delivered, what happens, and what readers then find.

A script is a YAML file in ``scripts/``; adding one adds a test. Its keys::

    about: one sentence
    timezone: Europe/Berlin       business time zone, where it is not the default
    copies: 10                    of each delivered line that has {n} in it; {n} is then 0, 1, …
    until: clean | published | [mart_nps, …]   how far each night goes; default clean
    sources: {crm: {…}}           source files, as in docs/sources
    nights:
      - about: what this night is about
        deliver: {file: text}     files put into {home}/in; null takes one away
        sql: {crm.sqlite: […]}    statements for a database there
        sources: {crm: {…}}       source files that change; null takes one away
        away: [crm.sqlite]        files that cannot be found this night, and are back afterwards
        clock: -2h                moves the clock before the night begins (h, d)
        expect:
          published: true         whether this night's release is the one that readers see
          loads: {crm.customers: committed}       status of loads, those that are named
          errors: {crm.customers: [words]}        what the error of a failed load says
          schema_changes: {crm.customers: word}   what the load says of changed columns
          stale: [crm.customers]  what the release says is stale
          failed: {landing/crm/customers:timeliness: error}   checks that did not pass, all of them
          touched: {response: [2026-05-01]}       business days that changed, of all clean tables
          quarantine: {ticket: 1} rejected rows by table, those that are named
          rows: {SELECT …: CSV}   what a query gives: the header, then a line a row
        again: true               plays the night once more with nothing new and compares every byte

Queries read marts by their name, and the live rows of clean tables as ``clean.<table>``. Every row of ``rows`` must be
right; ``touched`` is compared whole wherever it is given.
"""

import csv
import io
import sqlite3
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
import yaml

from orchestration.contracts import CONTRACTS, DERIVED
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.control import Control
from orchestration.warehouse.publish import PUBLISHED_CONTROL, current_release

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.yaml"))
SCRIPT_KEYS = {"about", "timezone", "copies", "until", "sources", "nights"}
NIGHT_KEYS = {"about", "deliver", "sql", "sources", "away", "clock", "expect", "again"}
UNITS = {"h": "hours", "d": "days"}


class Player:
    """Plays one script on one bench."""

    def __init__(self, bench, script):
        assert not (unknown := script.keys() - SCRIPT_KEYS), f"unknown keys of a script: {unknown}"
        self.bench = bench
        self.until = script.get("until", "clean")
        self.copies = script.get("copies", 1)
        if zone := script.get("timezone"):
            bench.options = {"business_timezone": zone}
        self._sources(script["sources"])

    def play(self, one):
        """One night, its expectations, and where asked the same night again."""
        assert not (unknown := one.keys() - NIGHT_KEYS), f"unknown keys of a night: {unknown}"
        bench = self.bench
        bench.deliver({name: self._copied(text) for name, text in one.get("deliver", {}).items()})
        for name, statements in one.get("sql", {}).items():
            (bench.home / "in").mkdir(exist_ok=True)
            with sqlite3.connect(bench.home / "in" / name) as connection:
                for statement in statements:
                    connection.execute(statement)
            connection.close()
        self._sources(one.get("sources", {}))
        if clock := one.get("clock"):
            bench.clock += timedelta(**{UNITS[clock[-1]]: float(clock[:-1])})
        expected = dict(one.get("expect", {}))
        away = {bench.home / "in" / name: bench.home / f"away-{name}" for name in one.get("away", [])}
        for path, place in away.items():
            path.rename(place)
        night = bench.night(until=self.until)
        for path, place in away.items():
            place.rename(path)
        if "failed" not in expected:
            assert "error" not in night.not_passed.values() and not night.result.get_step_failure_events(), night.text
        for name, values in expected.items():
            getattr(self, f"expect_{name}")(night, values)
        if one.get("again"):
            self._again(expected.get("rows", {}))

    def _copied(self, text):
        if text is None:
            return None
        times = [(line, self.copies if "{n}" in line else 1) for line in text.splitlines(keepends=True)]
        return "".join(line.replace("{n}", str(copy)) for line, number in times for copy in range(number))

    def _sources(self, sources):
        for name, content in sources.items():
            text = None if content is None else yaml.safe_dump({"source": name, **content}, sort_keys=False)
            self.bench.source(name, text)

    def _again(self, rows):
        """A night without news lands nothing, touches nothing and leaves every byte of what readers see."""
        before = self._bytes()
        night = self.bench.night(until=self.until)
        assert {load["status"] for load in night.loads.values()} == {"unchanged"}
        assert night.days_touched == {}
        after = self._bytes()
        assert {name for name in before | after if before.get(name) != after.get(name)} == set()
        self.expect_rows(night, rows)

    def _bytes(self):
        found = self.bench.clean_files()
        if self.until == "published":
            tables = current_release(self.bench.settings).tables
            found |= {table.name: table.files for table in tables if table.name not in PUBLISHED_CONTROL}
        return found

    def expect_published(self, night, expected):
        assert night.published == expected, night.text

    def expect_loads(self, night, expected):
        assert {name: night.loads.get(name, {}).get("status") for name in expected} == expected, {
            name: load["error"] for name, load in night.loads.items()
        }

    def expect_errors(self, night, expected):
        for stream, words in expected.items():
            error = night.load_error(stream)
            assert [word for word in words if word not in error] == [], error

    def expect_schema_changes(self, night, expected):
        assert {name: night.loads[name]["schema_change"] for name in expected} == expected

    def expect_stale(self, night, expected):
        release = current_release(self.bench.settings)
        assert list(release.stale_sources) == expected
        page = (release.path / "report.html").read_text(encoding="utf-8")
        assert [name for name in expected if name not in page] == []

    def expect_failed(self, night, expected):
        assert night.not_passed == expected, night.text

    def expect_touched(self, night, expected):
        assert night.days_touched == {table: [str(day) for day in days] for table, days in expected.items()}

    def expect_quarantine(self, night, expected):
        counted = Control(self.bench.settings.control_dir).scan("quarantine").group_by("target_table").len().collect()
        found = dict(counted.rows())
        assert {table: found.get(table, 0) for table in expected} == expected

    def expect_rows(self, night, expected):
        for query, text in expected.items():
            header, *rows = csv.reader(io.StringIO(text))
            names, found = self._query(query)
            assert (query, names) == (query, header)
            assert found == rows, query

    def _query(self, query):
        """Names of the columns, and the rows as text; null is the empty text."""
        settings = self.bench.settings
        store = CleanStore(settings.clean_dir, settings.business_timezone)
        with duckdb.connect() as connection:
            if self.until != "clean":
                whole = self.until == "published"
                path = settings.serving_dir / "current" / "marts.duckdb" if whole else settings.marts_path
                connection.execute(f"ATTACH '{path}' AS marts (READ_ONLY); USE marts")
            connection.execute("ATTACH ':memory:' AS clean")
            for contract in (CONTRACTS | DERIVED).values():
                connection.register("rows", store.scan(contract).collect().to_arrow())
                connection.execute(f'CREATE TABLE clean.main."{contract.name}" AS FROM rows')
            found = connection.sql(query).pl()
        rows = found.select(pl.all().cast(pl.String).fill_null("")).rows()
        return found.columns, [list(row) for row in rows]


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_script(path, new_bench):
    script = load(path)
    player = Player(new_bench(sources={}), script)
    for number, one in enumerate(script["nights"], start=1):
        try:
            player.play(one)
        except AssertionError as error:
            error.add_note(f"night {number} of {path.name}: {one.get('about', '')}")
            raise


def test_a_script_that_expects_another_thing_fails(new_bench):
    script = load(next(path for path in SCRIPTS if path.stem == "late_arrivals_clean"))
    night = script["nights"][0]
    player = Player(new_bench(sources={}), script)
    query, text = next(iter(night["expect"]["rows"].items()))
    player.play(night)
    found = player.bench.clean("response")
    for wrong in (
        {"rows": {query: text.rstrip("\n").rpartition("\n")[0]}},
        {"rows": {query: text.replace("9", "8")}},
        {"touched": {"response": ["2026-05-01"]}},
        {"loads": {"pulse.responses": "committed"}},
        {"quarantine": {"response": 1}},
    ):
        with pytest.raises(AssertionError):
            player.play({"expect": wrong})
    with pytest.raises(AssertionError, match="unknown keys of a night"):
        player.play({"expct": {}})
    assert found.equals(player.bench.clean("response"))
