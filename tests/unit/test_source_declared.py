"""What a YAML declares travels like data: once, again when it changes, deleted when it is taken out."""

import copy
from datetime import datetime, timedelta

import pytest

from orchestration.settings import Settings
from orchestration.sources.config import parse_source
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import extract, failed_load
from orchestration.sources.landing import Landing

NOW = datetime(2026, 5, 1, 2)
RAW = {
    "source": "voice",
    "type": "files",
    "surveys": {
        "rel": {
            "name": "Relation",
            "version": "2",
            "language": "zh",
            "questions": {
                "Q1": {
                    "metric": "nps",
                    "text": "推荐?",
                    "scale": {"min": "0", "max": "10"},
                    "missing": {"11": "blank"},
                    "touchpoint": "checkout",
                },
                "Q2": {
                    "metric": "csat",
                    "scale": {"min": "1", "max": "5", "direction": "descending"},
                    "labels": {"很好": "5"},
                },
            },
        },
        "after": {"name": "After", "kind": "transactional", "questions": {"Q1": {"metric": "text"}}},
    },
    "streams": {},
}


@pytest.fixture
def night(tmp_path):
    settings = Settings(home=tmp_path, sources_dir=tmp_path)
    nights = []

    def _night(raw, stream="questions"):
        nights.append(1)
        now = NOW + timedelta(days=len(nights))
        return extract(parse_source(raw, tmp_path / "voice.yaml"), stream, settings=settings, run_id="r", now=now)

    return _night


@pytest.fixture
def rows(tmp_path):
    landing = Landing(tmp_path / "landing")
    return lambda stream="questions": landing.scan(landing.manifests("voice", stream)[-1]).collect()


def test_rows_of_both_streams(night, rows):
    night(RAW, "surveys")
    assert rows("surveys").select("source_id", "name", "survey_kind", "language").rows() == [
        ("rel", "Relation", "relational", "zh"),
        ("after", "After", "transactional", None),
    ]
    night(RAW)
    first, second, third = rows().to_dicts()
    assert [row["source_id"] for row in (first, second, third)] == ["rel:2:Q1", "rel:2:Q2", "after::Q1"]
    assert (first["scale_min"], first["scale_max"], first["missing_codes"]) == ("0", "10", '{"11": "blank"}')
    assert (first["question_text"], first["touchpoint_id"], first["survey_version"]) == ("推荐?", "checkout", "2")
    assert (second["scale_direction"], second["value_labels"]) == ("descending", '{"很好": 5.0}')
    assert third["metric"] == "text" and third["scale_min"] is None


def test_only_a_change_lands(night, rows):
    assert night(RAW).status == "committed"
    assert night(RAW).status == "unchanged"
    raw = copy.deepcopy(RAW)
    raw["surveys"]["rel"]["questions"]["Q1"]["metric"] = "rating"
    assert night(raw).status == "committed"


def test_a_question_taken_out_is_deleted_once(night, rows):
    night(RAW)
    raw = copy.deepcopy(RAW)
    del raw["surveys"]["after"], raw["surveys"]["rel"]["questions"]["Q1"]
    night(raw)
    gone = rows().filter("_deleted")
    assert sorted(gone["source_id"]) == ["after::Q1", "rel:2:Q1"]
    assert gone["metric"].null_count() == 2
    assert night(raw).status == "unchanged"
    assert night(RAW).rows_landed == 3
    assert not rows()["_deleted"].any()


def test_an_unknown_stream_is_named(night):
    with pytest.raises(SourceError, match=r"source 'voice' has no stream 'question'; did you mean 'questions'\?"):
        night(RAW, "question")


def test_the_record_of_a_failure():
    record = failed_load("voice", "x", run_id="r", now=NOW, error="no")
    assert (record.status, record.error, record.rows_read) == ("failed", "no", None)
    assert record.load_id.startswith("20260501T020000")
