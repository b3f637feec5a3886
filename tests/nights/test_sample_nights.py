"""Successive nights of the sample company, with golden g15 delivered beside it load by load."""

import importlib.util
import itertools
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from orchestration.sample.generate import copy_sources, generate, next_night
from orchestration.warehouse.publish import PUBLISHED_CONTROL, current_release

LAST_DAY = date(2026, 10, 31)
COPIES = 10
"""Of each response of g15, each from a customer of its own: below ten votes a cell is suppressed."""
PULSE = """\
source: pulse
type: files
timezone: UTC
streams:
  responses:
    from: {path: "{home}/in/pulse_*.csv"}
    primary_key: [id]
    tables:
      response:
        survey: P1
        fields: {customer_source: {value: pulse}, customer_id: customer, answered_at: answered,
                 status: {value: complete}, updated_at: updated}
      answer:
        survey: P1
        fields: {answered_at: answered, updated_at: updated}
        questions: {ltr: score}
surveys:
  P1:
    name: Pulse
    questions:
      ltr: {metric: nps, scale: {min: 0, max: 10}}
"""


def golden():
    path = Path(__file__).parents[1] / "golden" / "test_g15_late_arrivals.py"
    spec = importlib.util.spec_from_file_location("g15", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


G15 = golden()


def pulse(load: str) -> str:
    rows = [
        f"{response}-{copy},{answered}Z,{updated}Z,{customer}-{copy},{score}"
        for delivered, response, updated, answered, customer, score in G15.VERSIONS
        if delivered == load
        for copy in range(COPIES)
    ]
    return "\n".join(["id,answered,updated,customer,score", *rows, ""])


def daily_nps(bench):
    rows = bench.rows(
        "SELECT period_start_date, n, promoters, passives, detractors, nps FROM mart_nps WHERE nps_kind = 'relational' "
        "AND period_kind = 'day' AND breakdown = 'total' AND period_start_date BETWEEN '2026-05-01' AND '2026-05-31'"
    )
    return {str(day): (*(count / COPIES for count in counts), nps) for day, *counts, nps in rows}


def published_rows(release):
    """Rows of every published table of the models, in order, without the run that wrote them."""
    with duckdb.connect() as connection:
        found = {}
        for table in release.tables:
            if table.name not in PUBLISHED_CONTROL:
                files = [str(release.parquet_dir / file.path) for file in table.files]
                relation = connection.sql(f"FROM read_parquet({files})")
                kept = [f'"{name}"' for name in relation.columns if name != "run_id"]
                found[table.name] = connection.sql(f"SELECT {', '.join(kept)} FROM relation ORDER BY ALL").fetchall()
        return found


@pytest.fixture(scope="module")
def nights(new_bench):
    """Three nights with news, one without, and one without in which dbt has to build all the same."""
    bench = new_bench(sources={})
    bench.clock = datetime(2026, 10, 31, 18, 30, tzinfo=UTC)
    bench.options = {"hmac_key": b"test"}
    generate(bench.settings.sample_dir, scale=0.05, days=30, end_date=LAST_DAY)
    copy_sources(bench.settings.sources_dir)
    bench.source("pulse", PULSE)
    seen = []
    for number, load in enumerate(G15.DAILY_NPS):
        if number:
            next_night(bench.settings.sample_dir)
        bench.deliver({f"pulse_{load}.csv": pulse(load)})
        seen.append(_seen(bench, bench.night()))
    seen.append(_seen(bench, bench.night(days=0.1)))
    (bench.home / "dbt" / "last_build.json").unlink()
    seen.append(_seen(bench, bench.night(days=0.1)))
    return bench, seen


def _seen(bench, night):
    assert night.published, night.text
    return {
        "night": night,
        "nps": daily_nps(bench),
        "files": bench.clean_files(),
        "release": current_release(bench.settings),
        "counts": dict(bench.rows("SELECT source, count(*) FROM fct_response GROUP BY 1")),
        "sessions": bench.one("SELECT count(*) FROM fct_session"),
        "orders": bench.one("SELECT count(*) FROM fct_order"),
    }


@pytest.mark.parametrize("number", range(3))
def test_late_arrivals_give_the_golden_figures_night_by_night(nights, number):
    _, seen = nights
    assert seen[number]["nps"] == list(G15.DAILY_NPS.values())[number]


def test_each_night_brings_its_day(nights):
    _, seen = nights
    for before, after in itertools.pairwise(seen[:3]):
        assert after["sessions"] > before["sessions"]
        assert after["orders"] >= before["orders"]
        assert after["counts"]["survey"] >= before["counts"]["survey"]
        loads = after["night"].loads
        assert loads["web.events"]["status"] == "committed"
        assert not [name for name, load in loads.items() if load["status"] == "failed"]


def test_no_check_of_the_sample_blocks(nights):
    _, seen = nights
    for one in seen:
        assert set(one["night"].not_passed.values()) <= {"warn"}, one["night"].text


@pytest.mark.parametrize("number", [3, 4])
def test_a_night_without_news_changes_nothing(nights, number):
    _, seen = nights
    before, after = seen[2], seen[number]
    assert {load["status"] for load in after["night"].loads.values()} == {"unchanged"}
    assert after["files"] == before["files"]
    assert published_rows(after["release"]) == published_rows(before["release"])
    assert after["release"].run_id != before["release"].run_id


def test_marts_name_the_run_that_built_them(nights):
    _, seen = nights
    for number in (3, 4):
        built = seen[2 if number == 3 else 4]["night"].run_id
        path = seen[number]["release"].marts_path
        with duckdb.connect(str(path), read_only=True) as connection:
            assert connection.execute("SELECT DISTINCT run_id FROM mart_nps").fetchall() == [(built,)]
