"""Exports as survey platforms write them: header rows, encodings, archives, answers in words."""

from __future__ import annotations

import csv
import io
import zipfile

import polars as pl
import pytest

pytestmark = pytest.mark.real_data

RESPONSES = {
    # The table of the data's README counts StarWars' second header row as one of 1,187.
    ("starwars", "responses"): 1186,
    ("jupyter", "responses"): 1135,
    ("haskell", "responses_2019"): 1211,
    ("haskell", "responses_2020"): 1348,
    ("haskell", "responses_2021"): 1152,
    ("qualtrics", "current"): 1,
    ("qualtrics", "legacy"): 1,
}
AGREEMENT = {"Strongly agree": 5, "Agree": 4, "Neutral": 3, "Disagree": 2, "Strongly disagree": 1}


@pytest.fixture(scope="module")
def night(run_night):
    return run_night("survey_exports", "UTC")


@pytest.fixture(scope="module")
def exports(data):
    return data / "survey_platform_exports"


def test_rows_of_every_export(night):
    landed = night.landed()
    assert {stream: landed[stream] for stream in RESPONSES} == RESPONSES
    by_source = dict(night.rows("select source, count(*) from fct_response group by 1"))
    assert by_source == {"starwars": 1186, "jupyter": 1135, "haskell": 3711, "qualtrics": 2}
    assert night.quarantined().is_empty()


def test_columns_under_blank_header_cells_are_found(night, exports):
    with (exports / "surveymonkey" / "StarWars.csv").open(encoding="latin-1", newline="") as file:
        rows = list(csv.reader(file))[2:]
    chosen = night.one("select count(*) from fct_answer where question_id = 'films_seen' and missing_reason is null")
    assert chosen == sum(bool(cell) for row in rows for cell in row[3:9])
    ranks = [int(row[13]) for row in rows if row[13]]
    n, mean, best = night.one(
        "select count(*), avg(value_number), max(score) from fct_answer where question_id = 'rank_empire' and is_valid"
    )
    assert (n, mean) == (len(ranks), pytest.approx(sum(ranks) / len(ranks)))
    # First place is the best: a descending scale is turned round.
    assert best == 6


@pytest.mark.parametrize(("year", "column"), [(2019, 33), (2020, 35), (2021, 149)])
def test_one_question_under_changing_names(night, exports, year, column):
    with zipfile.ZipFile(exports / "haskell_state_of" / f"{year}.csv.zip") as archive:
        text = archive.read(archive.namelist()[0]).decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))[1:]
    # ' Strongly agree' is written with a blank in front.
    scores = [AGREEMENT[row[column].strip()] for row in rows if row[column].strip() in AGREEMENT]
    published = night.one(
        "select count(*), avg(score) from fct_answer where source = 'haskell' and question_id = 'welcome' and is_valid"
        f" and source_id like '{year}-%'"
    )
    assert published == (len(scores), pytest.approx(sum(scores) / len(scores)))


def test_answers_in_words_and_not_applicable(night, exports):
    with (exports / "surveymonkey" / "jupyter_2020_all_responses.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    column = "7b2. Cleaning and preparing data. - Has Jupyter met your expectations for this use case?"
    given = [row[column] for row in rows]
    published = dict(
        night.rows(
            "select coalesce(missing_reason, cast(cast(score as integer) as varchar)), count(*) from fct_answer"
            " where question_id = 'expectations' group by 1"
        )
    )
    assert published == {
        "3": given.count("Yes."),
        "2": given.count("Neutral."),
        "1": given.count("No."),
        "not_applicable": given.count("Does not apply."),
        "blank": given.count(""),
    }


def test_both_layouts_of_qualtrics_hold_the_same_response(night):
    rows = night.rows(
        "select source_id, epoch(answered_at) - epoch(started_at), status, language from fct_response"
        " where source = 'qualtrics' order by source_id"
    )
    assert [row[0].removeprefix("legacy-") for row in rows] == ["R_2YPOQ602ER1jkf1"] * 2
    assert [row[1:3] for row in rows] == [(39, "complete")] * 2
    comments = night.clean("comment").filter(source="qualtrics")
    assert comments["comment_text"].to_list() == ["Hello World!"]
    # What identifies the respondent was dropped before it was written.
    for part in (night.settings.landing_dir / "qualtrics").rglob("part-*.parquet"):
        assert "130.92.34.66" not in pl.read_parquet(part).write_csv()


def test_no_gate_complains(night):
    assert night.complaints() == set()
