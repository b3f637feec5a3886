"""A night blocked by rejected rows: read, mended, replayed with one command, published."""

import dagster as dg
import polars as pl
import pytest

from orchestration.assets.replay import Replayed, replay_rejects
from orchestration.cli import main
from orchestration.contracts import CONTRACTS
from orchestration.normalize import scales
from orchestration.sources.config import load_sources
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.quarantine import rejected, waiting
from orchestration.warehouse.refresh import rebuild_table

DAY = "2026-05-02T03:00:00Z"
FINNISH = "kolme"


def mended(bench, **filters):
    return replay_rejects(
        load_sources(bench.settings.sources_dir), settings=bench.settings, run_id="mend", now=bench.clock, **filters
    )


def landing_and_clean():
    return dg.AssetSelection.groups("landing", "clean")


def learn(monkeypatch):
    """The reader of numbers learns the word."""
    read = scales.numbers
    monkeypatch.setattr(scales, "numbers", lambda text: read(text.replace({FINNISH: "3"})))


def bad_responses(rows_of, value):
    """Ten responses of which six give ``value`` for the recommendation."""
    return rows_of["survey"]((f"x{index}", f"c{index}", DAY, DAY, value if index < 6 else 9, 5) for index in range(10))


def test_a_blocked_night_is_mended_by_a_mapping_and_one_command_publishes_it(published_bench, rows_of, capsys):
    bench, before = published_bench, published_bench.release()
    bench.deliver({"responses_0502.csv": bad_responses(rows_of, FINNISH)})
    blocked = bench.night()
    assert not blocked.published
    assert bench.release() == before

    shown = bench.command("quarantine", "--source=survey", "--table=answer", "--rows=2")
    assert "not_numeric ┆ 6" in shown.stdout
    assert "responses_0502.csv row 1" in shown.stdout and FINNISH in shown.stdout
    assert bench.command("quarantine", "--source=crm").stdout.count("┆ not_numeric") == 0

    survey = (bench.home / "sources" / "survey.yaml").read_text()
    word = f"labels: {{{FINNISH}: 3}}"
    bench.source("survey", survey.replace("Q1: {metric: nps,", f"Q1: {{metric: nps, {word},"))
    done = bench.command("replay-rejects", "--source=survey", "--nightly", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "answer of survey: 6 of 6 rows came back or were settled" in done.stdout
    assert "published: " in done.stdout
    assert bench.release() != before
    assert bench.one("SELECT count(*) FROM fct_answer WHERE metric = 'nps' AND value_number = 3") == 5 + 6
    assert waiting(bench.settings).is_empty()


def test_a_mended_file_brings_back_what_could_not_be_landed(published_bench, rows_of):
    bench = published_bench
    good = rows_of["tickets"]("u", number=6)
    lines = good.splitlines()
    bench.deliver({"tickets_0502.jsonl": "\n".join([*lines[:4], lines[4][:-7], lines[5]]) + "\n"})
    night = bench.night(selection=landing_and_clean())
    assert night.loads["support.tickets"]["rows_rejected"] == 1
    [row] = waiting(bench.settings, table="ticket").to_dicts()
    assert (row["source_file"], row["source_row"]) == ("tickets_0502.jsonl", 5)
    assert row["reason"].startswith("not_landed")

    [still] = mended(bench, source="support")
    assert (still.waited, still.remaining) == (1, 1), "nothing was mended yet"
    assert list(still.reasons.values()) == [1]
    assert "u4" not in bench.clean("ticket")["source_id"]

    bench.deliver({"tickets_0502.jsonl": good})
    assert mended(bench, source="support") == [Replayed("ticket", "support", 1, 0, {})]
    assert "u4" in bench.clean("ticket")["source_id"]
    [row] = rejected(bench.settings).filter(pl.col("target_table") == "ticket").to_dicts()
    assert row["settled_by"] > row["load_id"]
    assert mended(bench) == []


def test_rows_come_back_after_the_code_was_mended_and_equal_a_rebuild(published_bench, rows_of, monkeypatch):
    bench = published_bench
    bench.deliver({"responses_0502.csv": bad_responses(rows_of, FINNISH)})
    bench.night(selection=landing_and_clean())
    assert waiting(bench.settings, table="answer").height == 6
    before = bench.clean_files()
    [still] = mended(bench, table="answer")
    assert still == Replayed("answer", "survey", 6, 6, {"value_number:Q1: not_numeric": 6})
    assert bench.clean_files() == before, "a replay that brings nothing changes nothing"

    learn(monkeypatch)
    assert mended(bench, table="answer") == [Replayed("answer", "survey", 6, 0, {})]
    replayed = bench.clean("answer")
    assert replayed.filter(pl.col("response_id") == "x0", pl.col("question_id") == "Q1")["value_number"].item() == 3
    store = CleanStore(bench.settings.clean_dir, bench.settings.business_timezone)
    rebuild_table(
        CONTRACTS["answer"], load_sources(bench.settings.sources_dir), settings=bench.settings, run_id="rebuild"
    )
    assert store.scan(CONTRACTS["answer"]).collect().sort(CONTRACTS["answer"].key).equals(replayed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table=answers"], "there is no table 'answers'; did you mean 'answer'?"),
        (["--source=surveys"], "there is no source 'surveys'; did you mean 'survey'?"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(first_night, monkeypatch, capsys, arguments, message):
    monkeypatch.setenv("EXPERIENCE_HOME", str(first_night[0].home))
    assert main(["replay-rejects", *arguments]) == 2
    assert message in capsys.readouterr().err
