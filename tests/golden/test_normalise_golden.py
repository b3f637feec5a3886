"""Worked examples with exact answers: standardised values, repaired text, answer validity, quality flags, the index."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from orchestration.contracts import CONTRACTS, DERIVED
from orchestration.contracts.mapping import TableMapping
from orchestration.normalize.emails import emails
from orchestration.normalize.phones import read_phone
from orchestration.normalize.places import regions
from orchestration.normalize.response_quality import flag_responses
from orchestration.normalize.table import NormaliseContext, normalise
from orchestration.normalize.text import clean_text, is_mojibake, without_pinyin_hints
from orchestration.normalize.timestamps import read_timestamps
from orchestration.statistics.data_quality_index import QualityRules, data_quality_index, passes, quality_components

DATA = Path(__file__).parent / "data"


def golden(name):
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


STANDARD = golden("g30_standardise")


@pytest.mark.parametrize("case", STANDARD["timestamps"], ids=lambda case: case["raw"])
def test_g30_timestamps(case):
    zone, _, option = (case["hint"] or "UTC").partition("|")
    read = read_timestamps(pl.Series([case["raw"]]), zone=zone, day_first=option == "dayfirst")[0]
    if case["utc"].startswith("QUARANTINE:"):
        assert read == {"value": None, "reason": case["utc"].removeprefix("QUARANTINE:")}
    else:
        expected, _, note = case["utc"].partition(" ")
        assert read["value"] == datetime.strptime(expected, "%Y-%m-%dT%H:%M:%SZ")
        assert read["reason"] == ("ambiguous_local_time" if "ambiguous_local_time" in note else None)


@pytest.mark.parametrize("case", STANDARD["phones"], ids=lambda case: case["raw"])
def test_g30_phones(case):
    value, reason = read_phone(case["raw"], case["region"])
    assert (value or f"QUARANTINE:{reason}") == case["e164"]


@pytest.mark.parametrize("case", STANDARD["emails"], ids=lambda case: case["raw"])
def test_g30_emails(case):
    read = pl.DataFrame({"email": [case["raw"]]}).select(emails(pl.col("email"))).to_series()[0]
    assert (read["value"] or f"QUARANTINE:{read['reason']}") == case["norm"]


def test_g30_regions():
    cases = pl.DataFrame(STANDARD["regions"])
    read = cases.select(read=regions(pl.col("raw"))).unnest("read")
    assert read["value"].to_list() == cases["code"].to_list()
    assert read["reason"].null_count() == len(cases)


def test_g30_days_have_the_hours_that_the_zone_gives_them():
    for case in STANDARD["partitions"]:
        day = datetime.fromisoformat(case["partition"])
        bounds = pl.Series([f"{day:%Y-%m-%d}", f"{day + timedelta(days=1):%Y-%m-%d}"])
        start, end = (read["value"] for read in read_timestamps(bounds, zone=case["tz"]))
        assert f"{start:%Y-%m-%dT%H:%M:%SZ}" == case["start_utc"]
        assert f"{end:%Y-%m-%dT%H:%M:%SZ}" == case["end_utc"]
        assert (end - start) / timedelta(hours=1) == case["hours"]


TEXTS = golden("g23_text_clean")


def test_g23_repairs_each_line():
    lines = pl.DataFrame(TEXTS["lines"])
    done = lines.select(hintless=without_pinyin_hints(pl.col("raw")), clean=clean_text(pl.col("raw")))
    assert done["hintless"].to_list() == lines["no_pinyin"].to_list()
    assert done["clean"].to_list() == lines["simplified"].to_list()


def test_g23_keeps_acronyms_and_notes_in_parentheses():
    kept = pl.DataFrame({"raw": [f"體驗{text}管理" for text in TEXTS["must_keep"]]})
    assert kept.select(without_pinyin_hints(pl.col("raw"))).to_series().to_list() == kept["raw"].to_list()


def test_g23_folds_compatibility_forms():
    cases = pl.DataFrame(TEXTS["nfkc"])
    # The cases are about NFKC alone, so the expected text is simplified too before it is compared.
    cleaned = cases.select(clean_text(pl.col("raw"))).to_series()
    assert cleaned.to_list() == cases.select(clean_text(pl.col("out"))).to_series().to_list()
    assert cleaned[2] == "III级"


def test_g23_flags_lost_characters_and_never_guesses_them():
    said = pl.DataFrame({"raw": ["客戶滿??度很高", "真的??", "NPS?", "好評。"]})
    assert said.select(is_mojibake(pl.col("raw"))).to_series().to_list() == [True, False, False, False]
    assert "??" in said.select(clean_text(pl.col("raw"))).to_series()[0]


def landed(frame):
    return (
        frame.cast(pl.String)
        .with_row_index("_load_row")
        .with_columns(
            pl.col("_load_row").cast(pl.Int64),
            pl.lit("f.csv").alias("_file"),
            (pl.col("_load_row") + 1).cast(pl.Int64).alias("_row"),
            pl.lit(value=False).alias("_deleted"),
        )
        .lazy()
    )


@pytest.mark.parametrize("form", ["wide", "long"])
def test_g01_validity(form):
    case = golden("g01_nps_validity")
    rows = landed(pl.read_csv(DATA / "g01_nps_validity.csv", infer_schema=False))
    questions = pl.DataFrame(
        {"survey_id": ["s"], "question_id": ["ltr"], "metric": ["nps"], "scale_min": [0.0], "scale_max": [10.0]}
    )
    layout = (
        {"survey": "s", "questions": {"ltr": "ltr_raw"}}
        if form == "wide"
        else {
            "survey": "s",
            "fields": {"response_id": "response_id", "question_id": {"value": "ltr"}, "value_number": "ltr_raw"},
        }
    )
    context = NormaliseContext(
        "survey", "answers", "load", datetime(2026, 5, 1), primary_key=["response_id"], questions=questions
    )
    answers, rejects = normalise(CONTRACTS["answer"], rows, TableMapping.model_validate(layout), context).collect()

    valid = answers.filter(pl.col("value_number").is_not_null()).sort("response_id")
    assert valid["response_id"].to_list() == case["valid"]
    refused = {row["source_id"].partition(":")[0]: row["reason"] for row in rejects.to_dicts()}
    blank = answers.filter(pl.col("missing_reason") == "blank")["response_id"].to_list()
    assert refused | dict.fromkeys(blank, "missing") == case["rejected"]
    scores = valid["value_number"]
    expected = case["expected"]
    assert (scores >= 9).sum() == expected["promoters"]
    assert (scores <= 6).sum() == expected["detractors"]
    assert 100 * ((scores >= 9).sum() - (scores <= 6).sum()) / len(scores) == pytest.approx(expected["nps"])


def test_g26_response_quality():
    case = golden("g26_response_quality")
    given = pl.read_csv(DATA / "g26_response_quality.csv")
    items = ["i1", "i2", "i3", "i4", "i5"]
    known = given.select(
        source=pl.lit("survey"),
        source_id=pl.col("response_id"),
        survey_id=pl.lit("s"),
        duration_seconds=pl.col("duration_s").cast(pl.Float64),
        answered_at=pl.col("submitted_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us"),
        user_agent=pl.col("user_agent"),
    )
    assert known["duration_seconds"].median() == case["median_duration"]
    responses = known.lazy().match_to_schema(CONTRACTS["response"].schema, missing_columns="insert")
    answers = given.unpivot(items, index="response_id", variable_name="question_id").select(
        pl.lit("survey").alias("source"),
        "response_id",
        pl.lit("s").alias("survey_id"),
        "question_id",
        pl.col("value").cast(pl.String).alias("value_text"),
        pl.col("value").cast(pl.Float64).alias("value_number"),
    )
    questions = pl.DataFrame({"question_id": items}).with_columns(
        source=pl.lit("survey"), survey_id=pl.lit("s"), metric=pl.lit("rating"), scale_min=1.0, scale_max=5.0
    )
    flags = flag_responses(responses, answers.lazy(), questions).collect()
    assert flags.schema == DERIVED["response_quality"].schema
    by_id = {row["source_id"]: row for row in flags.to_dicts()}
    for response, expected in case["flags"].items():
        row = by_id[response]
        assert row["is_straight_liner"] == expected["straight_line"], response
        assert row["longest_string"] == expected["longstring"], response
        assert row["is_speeder"] == expected["speeder"], response
        assert row["is_bot"] == expected["bot"], response
        assert row["response_variability"] == pytest.approx(expected["irv"], abs=1e-9), response
        assert not row["is_duplicate"]
    assert sorted(name for name, row in by_id.items() if row["is_kept"]) == case["kept_default"]


def test_g12_data_quality_index():
    case = golden("g12_dqi")
    raw = pl.read_csv(DATA / "g12_dqi.csv", infer_schema=False)
    instant = {"time_unit": "us"}
    frame = raw.with_columns(
        pl.col("occurred_at", "loaded_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", **instant),
        pl.col("ltr").cast(pl.Float64),
    )
    rules = QualityRules(
        required=("email", "occurred_at", "ltr"),
        valid={
            "email": emails(pl.col("email")).struct.field("value").is_not_null(),
            "ltr": pl.col("ltr").is_between(0, 10),
        },
        event_time="occurred_at",
        available_at="loaded_at",
        key=("customer_id",),
    )
    components = quality_components(frame.lazy(), rules)
    by_dimension = {row["dimension"]: row for row in components.to_dicts()}
    counted = case["numerators"]
    for dimension, top, bottom in (
        ("completeness", "complete", "of"),
        ("accuracy", "accurate", "of_acc"),
        ("timeliness", "timely", "of_tim"),
    ):
        assert by_dimension[dimension]["numerator"] == counted[top]
        assert by_dimension[dimension]["denominator"] == counted[bottom]
    assert by_dimension["uniqueness"]["numerator"] == counted["unique"]
    for dimension, share in case["dimensions"].items():
        assert by_dimension[dimension]["share"] == pytest.approx(share, abs=1e-10)
        assert by_dimension[dimension]["weight"] == case["weights"][dimension]
    assert data_quality_index(components) == pytest.approx(case["dqi"], abs=1e-9)
    passed = frame.filter(passes(rules))["customer_id"].to_list()
    assert passed == case["rows_passed"]
    assert frame.height - len(passed) == case["rows_quarantined"]
