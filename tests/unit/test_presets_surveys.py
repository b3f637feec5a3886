"""Presets of surveys and web analytics: their options, and answers shaped like the vendors' read into contract rows."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from orchestration.contracts import CONTRACTS
from orchestration.normalize.table import NormaliseContext, normalise
from orchestration.settings import PROJECT_ROOT
from orchestration.sources.config import ConfigError, load_source, parse_source, read_yaml
from orchestration.sources.declared import question_rows
from orchestration.sources.http.records import frame, locate, read_json, rows
from orchestration.sources.kinds import source_kind
from orchestration.sources.presets import preset, preset_names
from orchestration.sources.presets.page import page
from orchestration.sources.profiles import qualtrics_names

EXTRACTED = datetime(2026, 5, 2, tzinfo=UTC)
PRESETS = (
    "qualtrics", "surveymonkey", "typeform", "limesurvey", "google_forms", "google_forms_api", "formbricks",
    "ga4", "snowplow", "matomo", "posthog",
)  # fmt: skip
NPS = {"metric": "nps", "scale": {"min": 0, "max": 10}}


def options(name):
    """The required options of a preset, each as its example says."""
    chosen = preset(name).options.items()
    return {key: {"env": "SECRET"} if it.secret else it.example for key, it in chosen if it.required}


def source(name, *, survey=None, questions=None, texts=None, connection=None, streams=None, **more):
    """A source of a preset, with a survey's questions where there are some."""
    raw = {"source": "s", "type": name, "connection": options(name) | (connection or {}), **more}
    if questions is not None:
        declared = dict.fromkeys(questions, NPS) | {label: {"metric": "text"} for label in texts or {}}
        raw["surveys"] = {survey: {"name": "Relationship", "questions": declared}}
        tables = {"answer": {"questions": questions}, "comment": {"texts": texts or {}}}
        raw["streams"] = {"responses": {"tables": tables}}
    if streams is not None:
        raw["streams"] = streams
    return parse_source(raw, Path("s.yaml"))


def landed(config, stream, answer, **each):
    """Rows as the engine lands them."""
    origin = config.streams[stream].origin
    document = read_json(answer)
    found = list(rows(locate(document, origin.records), origin.records, {"_each": each}))
    return frame(found, {f"each.{name}": value for name, value in each.items()})


def declared(config):
    """Rows of the ``question`` contract that the declarations of a source land as."""
    return run(config, "questions", "question", question_rows(config))


def run(config, stream, table, found, questions=None):
    """The rows of a contract as dicts; nothing may be rejected."""
    meta = (
        pl.int_range(pl.len(), dtype=pl.Int64).alias("_load_row"),
        pl.lit("f.csv").alias("_file"),
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("_row"),
        pl.lit(False).alias("_deleted"),
    )
    declared_stream = config.streams[stream]
    context = NormaliseContext(
        config.source, stream, "load-1", EXTRACTED, config.timezone, declared_stream.primary_key, questions
    )
    mapping = declared_stream.tables[table]
    kept, rejects = normalise(CONTRACTS[table], found.select(pl.all(), *meta).lazy(), mapping, context).collect()
    assert rejects.is_empty(), rejects.to_dicts()
    return kept


def one(frame_):
    assert frame_.height == 1, frame_
    return frame_.row(0, named=True)


def read(config, found, survey):
    """Response, answers by question and comments of landed responses of one response."""
    questions = declared(config)
    response = one(run(config, "responses", "response", found))
    answers = run(config, "responses", "answer", found, questions)
    comments = run(config, "responses", "comment", found) if "comment" in config.streams["responses"].tables else None
    assert set(answers["survey_id"]) == {survey} == {response["survey_id"]}
    assert set(answers["response_id"]) == {response["source_id"]}
    return response, {row["question_id"]: row for row in answers.to_dicts()}, comments


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_source_with_its_required_options_alone(name):
    surveys = {"checkout": {"name": "Checkout", "questions": {"nps": NPS}}} if name == "google_forms" else {}
    config = source(name, **({"surveys": surveys} if surveys else {}))
    streams = set(preset(name).source["streams"]) - set(preset(name).optional_streams)
    assert streams == set(config.streams) - {"surveys", "questions"}


@pytest.mark.parametrize("name", PRESETS)
def test_every_optional_stream_is_one_too(name):
    surveys = {"checkout": {"name": "Checkout", "questions": {"nps": NPS}}} if name == "google_forms" else {}
    everything = {stream: {} for stream in preset(name).source["streams"]}
    config = source(name, streams=everything, **({"surveys": surveys} if surveys else {}))
    assert set(everything) <= set(config.streams)


@pytest.mark.parametrize(
    ("name", "option"), [(name, key) for name in PRESETS for key, it in preset(name).options.items() if it.required]
)
def test_a_missing_option_is_named_with_what_it_is(name, option):
    connection = {key: value for key, value in options(name).items() if key != option}
    with pytest.raises(ConfigError, match=rf"connection\.{option}: is missing") as caught:
        parse_source({"source": "s", "type": name, "connection": connection}, Path("s.yaml"))
    assert preset(name).options[option].description in str(caught.value)


@pytest.mark.parametrize(
    ("name", "option"), [(name, key) for name in PRESETS for key, it in preset(name).options.items() if it.secret]
)
def test_a_secret_is_not_written_out(name, option):
    with pytest.raises(ConfigError, match=rf"connection\.{option}: is written out"):
        source(name, connection={option: "hunter2"})


@pytest.mark.parametrize("name", preset_names())
def test_no_option_hides_a_key_of_the_connection(name):
    model = source_kind(str(preset(name).source["type"])).connection
    handed_on = {key for key, value in preset(name).source.get("connection", {}).items() if value == f"${{{key}}}"}
    assert not set(preset(name).options) & set(model.model_fields) - handed_on


def test_an_unknown_option_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"connection\.forms: unknown option of typeform.*form"):
        source("typeform", connection={"forms": "x"})


def test_a_budget_may_stand_beside_the_options():
    config = source("surveymonkey", connection={"budget": {"per_day": "1000"}})
    assert (config.connection.budget.per_day, config.connection.budget.per_second) == (1000, 2)


def test_an_option_not_given_leaves_its_field_out():
    fields = source("typeform").streams["responses"].tables["response"].fields
    assert "customer_source" not in fields
    config = source("typeform", connection={"customer_source": "crm"})
    assert config.streams["responses"].tables["response"].fields["customer_source"].value == "crm"


def test_answers_and_comments_wait_for_questions_and_texts():
    assert set(source("typeform").streams["responses"].tables) == {"response"}
    config = source("typeform", survey="u6nXL7", questions={"nps": "answers.nps"})
    assert set(config.streams["responses"].tables) == {"response", "answer"}


def test_a_stream_may_be_like_another():
    changes = {"like": "responses", "from": {"each": {"form": ["other"]}}}
    config = source("typeform", streams={"responses": {}, "exit": changes})
    assert config.streams["exit"].origin.each == {"form": ["other"]}
    assert config.streams["responses"].origin.each == {"form": ["u6nXL7"]}
    assert config.streams["exit"].tables == config.streams["responses"].tables


def test_a_stream_like_none_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"streams\.exit\.like: Typeform has no such stream.*responses"):
        source("typeform", streams={"exit": {"like": "response"}})
    with pytest.raises(ConfigError, match=r"streams\.exit: Typeform has no such stream.*like"):
        source("typeform", streams={"exit": {}})


def test_a_field_is_overridden_alone():
    config = source(
        "typeform", streams={"responses": {"tables": {"response": {"fields": {"segment": "hidden.segment"}}}}}
    )
    fields = config.streams["responses"].tables["response"].fields
    assert fields["segment"].source_field == "hidden.segment"
    assert fields["answered_at"].source_field == "submitted_at"


def test_several_surveys_are_asked_for_one_by_one():
    config = source("qualtrics", connection={"survey": ["SV_1", "SV_2"]})
    assert config.streams["responses"].origin.each == {"survey": ["SV_1", "SV_2"]}


QUALTRICS = (
    ("startDate", "2026-05-01 08:00:00"), ("endDate", "2026-05-01 08:02:10"), ("status", "0"), ("ipAddress", "ab12"),
    ("progress", "100"), ("duration", "130"), ("finished", "1"), ("recordedDate", "2026-05-01 08:02:11"),
    ("_recordId", "R_1"), ("recipientEmail", "A@x.cn"), ("externalDataReference", "C7"),
    ("distributionChannel", "email"), ("userLanguage", "ZH-S"), ("QID1", "9"), ("QID2_TEXT", "很好"),
)  # fmt: skip


def qualtrics(**changes):
    values = dict(QUALTRICS) | changes
    header = [list(values), list(values), [f'{{"ImportId":"{name}"}}' for name in values]]
    found = pl.DataFrame({name: [value] for name, value in zip(qualtrics_names(header), values.values(), strict=True)})
    return found.with_columns(pl.lit("SV_1").alias("each.survey"))


def test_a_qualtrics_response():
    config = source("qualtrics", survey="SV_1", questions={"nps": "QID1"}, texts={"why": "QID2_TEXT"})
    response, answers, comments = read(config, qualtrics(), "SV_1")
    assert response["answered_at"] == datetime(2026, 5, 1, 8, 2, 11)
    assert response["started_at"] == datetime(2026, 5, 1, 8)
    kept = ("source_id", "status", "email", "customer_id", "channel", "language", "progress_pct", "duration_seconds")
    assert [response[name] for name in kept] == ["R_1", "complete", "a@x.cn", "C7", "email", "zh", 100.0, 130.0]
    assert answers["nps"]["value_number"] == 9
    assert one(comments)["comment_text"] == "很好"


@pytest.mark.parametrize("status", ["1", "2", "9", "17"])
def test_qualtrics_previews_stay_out(status):
    config = source("qualtrics", survey="SV_1", questions={"nps": "QID1"}, texts={"why": "QID2_TEXT"})
    found = qualtrics(status=status)
    for table in ("response", "answer", "comment"):
        assert run(config, "responses", table, found, declared(config)).is_empty()


def test_a_partial_qualtrics_response():
    config = source("qualtrics")
    assert one(run(config, "responses", "response", qualtrics(finished="0")))["status"] == "partial"


def test_who_was_invited_by_qualtrics():
    config = source("qualtrics", streams={"distributions": {}, "invitations": {}})
    history = """{"meta": {"httpStatus": "200 - OK"}, "result": {"nextPage": null, "elements": [
      {"contactId": "CID_1", "contactLookupId": "CGC_1", "distributionId": "EMD_1", "status": "SurveyFinished",
       "surveyLink": "https://x", "responseId": "R_1", "responseCompletedAt": "2026-05-01T08:02:11Z",
       "sentAt": "2026-04-30T09:00:00Z", "openedAt": null, "responseStartedAt": null},
      {"contactId": "CID_2", "distributionId": "EMD_1", "status": "HardBounce", "sentAt": "2026-04-30T09:00:00Z"}]}}"""
    found = landed(config, "invitations", history).with_columns(
        pl.lit("EMD_1").alias("parent.id"), pl.lit("SV_1").alias("parent.survey")
    )
    rows_ = run(config, "invitations", "invitation", found).select("source_id", "survey_id", "response_id", "status")
    assert rows_.rows() == [
        ("EMD_1:CID_1", "SV_1", "R_1", "finished"), ("EMD_1:CID_2", "SV_1", None, "bounced"),
    ]  # fmt: skip


SURVEYMONKEY = """{"data": [{
  "id": "118000001", "survey_id": "307785415", "collector_id": "4001", "recipient_id": "55",
  "response_status": "completed", "collection_mode": "default", "total_time": 77, "ip_address": "203.0.113.7",
  "email_address": "a@x.cn", "custom_variables": {"customer_id": "C7"}, "custom_value": "",
  "date_created": "2026-05-01T08:00:00+00:00", "date_modified": "2026-05-01T08:01:17+00:00",
  "pages": [
    {"id": "1", "questions": [
      {"id": "11", "answers": [{"choice_id": "905", "row_id": "899", "choice_metadata": {"weight": "0"}}]},
      {"id": "12", "answers": [{"text": "送货很快"}]}]},
    {"id": "2", "questions": []},
    {"id": "3", "questions": [
      {"id": "13", "answers": [{"choice_id": "31"}, {"choice_id": "33"}, {"other_id": "34", "text": "else"}]},
      {"id": "14", "answers": [{"row_id": "41", "choice_id": "45", "choice_metadata": {"weight": "4"}},
                               {"row_id": "42", "choice_id": "46", "choice_metadata": {"weight": "5"}}]},
      {"id": "15", "answers": [{"choice_id": "51"}]}]}]}],
  "per_page": 100, "page": 1, "total": 1, "links": {}}"""


def test_a_surveymonkey_response():
    config = source(
        "surveymonkey",
        survey="307785415",
        questions={"nps": "questions.11", "price": "rows.41", "speed": "rows.42"},
        texts={"why": "questions.12"},
    )
    found = landed(config, "responses", SURVEYMONKEY, survey="307785415")
    response, answers, comments = read(config, found, "307785415")
    assert response["duration_seconds"] == 77
    kept = ("source_id", "status", "email", "customer_id", "invitation_id")
    assert [response[name] for name in kept] == ["118000001", "complete", "a@x.cn", "C7", "55"]
    assert response["answered_at"] == datetime(2026, 5, 1, 8, 1, 17)
    assert {name: row["value_number"] for name, row in answers.items()} == {"nps": 0.0, "price": 4.0, "speed": 5.0}
    assert one(comments)["comment_text"] == "送货很快"


def test_surveymonkey_choices_are_columns_by_their_ids():
    found = landed(source("surveymonkey"), "responses", SURVEYMONKEY, survey="307785415")
    row = one(found)
    assert row["questions.15"] == "51"
    assert {name: row[name] for name in row if name.startswith("choices.")} == {
        "choices.31": "31", "choices.33": "33", "choices.51": "51",
    }  # fmt: skip


TYPEFORM = """{"total_items": 1, "page_count": 1, "items": [{
  "landing_id": "l1", "token": "t1", "response_id": "t1", "response_type": "completed",
  "landed_at": "2026-05-01T08:00:00Z", "submitted_at": "2026-05-01T08:02:00Z",
  "metadata": {"user_agent": "Mozilla/5.0", "platform": "other", "referer": "https://x", "network_id": "n1"},
  "hidden": {"customer_id": "C7", "email": "a@x.cn"}, "calculated": {"score": 0},
  "variables": [{"key": "score", "type": "number", "number": 0}],
  "answers": [
    {"field": {"id": "1", "type": "nps", "ref": "nps"}, "type": "number", "number": 0},
    {"field": {"id": "2", "type": "long_text", "ref": "why"}, "type": "text", "text": "太慢了"},
    {"field": {"id": "3", "type": "yes_no", "ref": "again"}, "type": "boolean", "boolean": false},
    {"field": {"id": "4", "type": "multiple_choice", "ref": "one"}, "type": "choice",
     "choice": {"id": "c1", "label": "Often", "ref": "often"}},
    {"field": {"id": "5", "type": "multiple_choice", "ref": "several"}, "type": "choices",
     "choices": {"ids": ["a", "b"], "labels": ["Price", "Speed"], "refs": ["price", "speed"]}}]}]}"""


def test_a_typeform_response():
    config = source("typeform", survey="u6nXL7", questions={"nps": "answers.nps"}, texts={"why": "answers.why"})
    found = landed(config, "responses", TYPEFORM, form="u6nXL7")
    response, answers, comments = read(config, found, "u6nXL7")
    assert response["answered_at"] == datetime(2026, 5, 1, 8, 2)
    kept = ("source_id", "status", "email", "customer_id", "channel", "user_agent")
    assert [response[name] for name in kept] == ["t1", "complete", "a@x.cn", "C7", "web", "Mozilla/5.0"]
    assert answers["nps"]["value_number"] == 0
    assert one(comments)["comment_text"] == "太慢了"


def test_typeform_values_of_each_type():
    row = one(landed(source("typeform"), "responses", TYPEFORM, form="u6nXL7"))
    answers = {name: value for name, value in row.items() if name.startswith(("answers.", "chosen."))}
    assert answers == {
        "answers.nps": "0", "answers.why": "太慢了", "answers.again": "false", "answers.one": "Often",
        "answers.several.1": "Price", "answers.several.2": "Speed", "chosen.price": "price", "chosen.speed": "speed",
    }  # fmt: skip


def limesurvey(text):
    """Responses as they stand in the file that came as base64."""
    config = source(
        "limesurvey",
        survey="481516",
        questions={"nps": "NPS"},
        texts={"why": "WHY"},
        connection={"timezone": "Asia/Shanghai"},
    )
    return config, landed(config, "responses", text, survey="481516")


LIMESURVEY = """{"responses": [{"id": "7", "submitdate": "2026-05-01 16:02:00", "lastpage": "2",
  "startlanguage": "zh-Hans", "seed": "123", "token": "t7", "startdate": "2026-05-01 16:00:00",
  "datestamp": "2026-05-01 16:02:00", "ipaddr": "abc", "refurl": "https://x", "NPS": "9", "WHY": "很好"}]}"""


@pytest.mark.parametrize("text", [LIMESURVEY, re.sub(r"\[(\{.*\})\]", r'[{"7": \1}]', LIMESURVEY, flags=re.DOTALL)])
def test_a_limesurvey_response_of_new_and_old_versions(text):
    config, found = limesurvey(text)
    response, answers, comments = read(config, found, "481516")
    assert response["answered_at"] == datetime(2026, 5, 1, 8, 2)
    kept = ("source_id", "status", "language", "invitation_id")
    assert [response[name] for name in kept] == ["481516:7", "complete", "zh", "481516:t7"]
    assert answers["nps"]["value_number"] == 9
    assert one(comments)["comment_text"] == "很好"


def test_a_partial_limesurvey_response_is_as_old_as_its_last_change():
    config, found = limesurvey(LIMESURVEY.replace('"submitdate": "2026-05-01 16:02:00"', '"submitdate": ""'))
    response = one(run(config, "responses", "response", found))
    assert (response["status"], response["answered_at"]) == ("partial", datetime(2026, 5, 1, 8, 2))


def test_limesurvey_participants_who_were_asked():
    config = source("limesurvey", streams={"participants": {}})
    people = """{"id": 1, "error": null, "result": [
      {"tid": "1", "token": "t7", "participant_info": {"firstname": "A", "lastname": "B", "email": "a@x.cn"},
       "sent": "2026-04-30 09:00", "completed": "2026-05-01 16:02", "emailstatus": "OK", "customer_id": "C7"},
      {"tid": "2", "token": "t8", "participant_info": {"firstname": "C", "lastname": "D", "email": "c@x.cn"},
       "sent": "N", "completed": "N", "emailstatus": "OK", "customer_id": "C8"}]}"""
    row = one(run(config, "participants", "invitation", landed(config, "participants", people, survey="481516")))
    kept = ("source_id", "survey_id", "email", "customer_id", "status", "sent_at")
    assert [row[name] for name in kept] == [
        "481516:t7", "481516", "a@x.cn", "C7", "sent", datetime(2026, 4, 30, 9),
    ]  # fmt: skip


def test_a_google_forms_response_of_a_sheet():
    config = source(
        "google_forms", survey="checkout", questions={"nps": "How likely?"}, texts={"why": "Why?"},
        connection={"timezone": "Europe/Berlin", "time_format": "%d/%m/%Y %H:%M:%S"},
    )  # fmt: skip
    found = pl.DataFrame(
        {"Timestamp": ["02/05/2026 10:00:00"], "Email Address": ["a@x.cn"], "How likely?": ["10"], "Why?": ["Fast"]}
    )
    response, answers, comments = read(config, found, "checkout")
    assert (response["answered_at"], response["email"]) == (datetime(2026, 5, 2, 8), "a@x.cn")
    assert answers["nps"]["value_number"] == 10
    assert one(comments)["comment_text"] == "Fast"


GOOGLE_FORMS = """{"responses": [{"responseId": "ACYDBN1", "createTime": "2026-05-01T08:00:00.123456Z",
  "lastSubmittedTime": "2026-05-01T08:02:00.654321Z", "respondentEmail": "a@x.cn", "answers": {
    "1a": {"questionId": "1a", "textAnswers": {"answers": [{"value": "9"}]}},
    "2b": {"questionId": "2b", "textAnswers": {"answers": [{"value": "Price"}, {"value": "Speed"}]}}}},
  {"responseId": "ACYDBN2", "lastSubmittedTime": "2026-05-01T08:03:00Z"}]}"""


def test_google_forms_responses_of_the_api():
    config = source("google_forms_api", survey="1FAIpQLSd0x", questions={"nps": "answers.1a"})
    found = landed(config, "responses", GOOGLE_FORMS, form="1FAIpQLSd0x")
    responses = run(config, "responses", "response", found)
    assert responses["source_id"].to_list() == ["ACYDBN1", "ACYDBN2"]
    assert responses["email"].to_list() == ["a@x.cn", None]
    answers = run(config, "responses", "answer", found, declared(config))
    assert answers["value_number"].to_list() == [9, None]
    assert found["chosen.2b.2"].to_list() == ["Speed", None]


def test_a_google_form_without_new_responses():
    config = source("google_forms_api")
    assert landed(config, "responses", "{}", form="1FAIpQLSd0x").is_empty()


FORMBRICKS = """{"data": [{"id": "cm1", "createdAt": "2026-05-01T08:00:00.000Z",
  "updatedAt": "2026-05-01T08:02:00.000Z", "surveyId": "cm0", "displayId": null, "contactId": "k1",
  "finished": true, "endingId": null, "data": {"nps": 9, "why": "慢", "several": ["Price", "Speed"]},
  "variables": {}, "ttc": {"nps": 1200}, "meta": {"source": "link", "url": "https://x", "userAgent": {"os": "iOS"}},
  "contactAttributes": {"userId": "C7", "email": "a@x.cn"}, "singleUseId": null, "language": "default"}],
  "meta": {"total": 1, "limit": 250, "offset": 0}}"""


def test_a_formbricks_response():
    config = source("formbricks", survey="cm0", questions={"nps": "data.nps"}, texts={"why": "data.why"})
    response, answers, comments = read(config, landed(config, "responses", FORMBRICKS, survey="cm0"), "cm0")
    kept = ("source_id", "status", "email", "customer_id", "language", "answered_at", "updated_at")
    assert [response[name] for name in kept] == [
        "cm1", "complete", "a@x.cn", "C7", None, datetime(2026, 5, 1, 8), datetime(2026, 5, 1, 8, 2),
    ]  # fmt: skip
    assert response["quality_flags"] is None
    assert answers["nps"]["value_number"] == 9
    assert one(comments)["comment_text"] == "慢"


def test_formbricks_choices_become_columns_where_the_source_says_so():
    pivot = {"data.several": {"name": "@", "value": "@"}}
    config = source("formbricks", streams={"responses": {"from": {"records": {"pivot": pivot}}}})
    row = one(landed(config, "responses", FORMBRICKS, survey="cm0"))
    assert (row["data.several.Price"], row["data.several.Speed"], row["data.nps"]) == ("Price", "Speed", "9")


MATOMO = """[{"idSite": "1", "idVisit": "77", "visitIp": "203.0.0.0", "visitorId": "af12", "userId": "C7",
  "countryCode": "de", "region": "Berlin", "deviceType": "Desktop", "operatingSystemName": "Mac",
  "browserName": "Firefox",
  "referrerUrl": "https://news.example/a?b=1", "siteCurrency": "EUR", "lastActionTimestamp": 1777622530,
  "actionDetails": [
    {"type": "action", "url": "https://shop.example/cart?utm_source=mail", "pageTitle": "Cart", "pageIdAction": "4",
     "idpageview": "x1", "timeSpent": "9", "pageId": 501, "timestamp": 1777622400},
    {"type": "event", "url": "https://shop.example/cart", "eventCategory": "Video", "eventAction": "Play",
     "eventName": "Intro", "pageId": 502, "timestamp": 1777622410},
    {"type": "goal", "goalName": "Newsletter", "goalId": 3, "revenue": 0, "url": "https://shop.example/thanks",
     "timestamp": 1777622420, "goalPageId": "501"},
    {"type": "ecommerceOrder", "orderId": "o9", "revenue": 19.9, "timestamp": 1777622420,
     "itemDetails": [{"itemSKU": "a"}]}
  ]},
  {"idSite": "1", "idVisit": "78", "visitorId": "b", "lastActionTimestamp": 1777622530, "actionDetails": []}]"""


def test_matomo_visits_are_events():
    config = source("matomo", connection={"timezone": "Europe/Berlin"})
    found = landed(config, "events", MATOMO, site="1")
    events = run(config, "events", "web_event", found)
    assert events["source_id"].to_list() == [
        "1:77:action-1777622400-501", "1:77:event-1777622410-502", "1:77:goal-1777622420-3",
        "1:77:ecommerceOrder-1777622420-o9",
    ]  # fmt: skip
    assert events["event_name"].to_list() == ["page_view", "play", "goal", "ecommerce_order"]
    assert events["occurred_at"][0] == datetime(2026, 5, 1, 8)
    row = events.row(0, named=True)
    kept = ("anonymous_id", "user_id", "source_session_id", "page_host", "page_path", "referrer", "device_category")
    assert [row[name] for name in kept] == [
        "af12", "C7", "77", "shop.example", "/cart", "https://news.example/a", "desktop",
    ]  # fmt: skip
    assert events.row(3, named=True)["value_amount"] is not None
    assert set(events["is_source_session"]) == {True}


def posthog(columns, *values):
    return json.dumps({"columns": columns, "results": list(values), "types": [], "hasMore": False})


def test_a_posthog_event():
    config = source("posthog")
    columns = (
        "id", "timestamp", "event", "distinct_id", "device_id", "is_identified", "login", "session_id", "current_url",
        "page_title", "referrer", "utm_source", "utm_medium", "utm_campaign", "device_type", "os", "browser",
        "user_agent", "country", "region", "revenue", "currency",
    )  # fmt: skip
    values = [
        "0190-1", "2026-05-01T10:00:00.123456+02:00", "$pageview", "C7", "d1", True, "C7", "s1",
        "https://shop.example/cart?utm_source=mail", "Cart", "$direct", "mail", None, None, "Desktop", "Mac OS X",
        "Firefox", None, "DE", "Berlin", 19.9, "EUR",
    ]  # fmt: skip
    asked = config.streams["events"].origin.request.json_body["query"]["query"]
    assert all(re.search(rf"\b{name}\b", asked.partition(" from ")[0]) for name in columns)
    row = one(run(config, "events", "web_event", landed(config, "events", posthog(list(columns), values))))
    assert row["occurred_at"] == datetime(2026, 5, 1, 8, 0, 0, 123456)
    kept = (
        "source_id",
        "event_name",
        "anonymous_id",
        "user_id",
        "source_session_id",
        "page_path",
        "referrer",
        "country",
    )
    assert [row[name] for name in kept] == ["0190-1", "page_view", "d1", "C7", "s1", "/cart", None, "DE"]


def test_posthog_persons_and_their_ids_are_one_customer():
    config = source("posthog")
    columns = ["id", "created_at", "email", "name", "phone", "country"]
    values = ["p-1", "2026-05-01T08:00:00Z", "A@x.cn", "Li Wei", None, "CN"]
    person = one(run(config, "persons", "customer", landed(config, "persons", posthog(columns, values))))
    assert (person["source_id"], person["email"], person["external_id"]) == ("p-1", "a@x.cn", "p-1")
    ids = landed(config, "distinct_ids", posthog(["distinct_id", "person_id"], ["C7", "p-1"]))
    login = one(run(config, "distinct_ids", "customer", ids))
    assert (login["source_id"], login["login"], login["external_id"]) == ("distinct_id:C7", "C7", "p-1")


def test_snowplow_columns_are_the_131_of_the_enriched_event():
    config = source("snowplow")
    columns = config.streams["events"].origin.columns
    assert (len(columns), len(set(columns)), columns[0], columns[5], columns[-1]) == (
        131, 131, "app_id", "event", "true_tstamp",
    )  # fmt: skip


def test_a_snowplow_event():
    config = source("snowplow")
    said = {
        "event_id": "e1", "derived_tstamp": "2026-05-01 08:00:00.123", "event_name": "link_click", "user_id": "C7",
        "domain_userid": "d1", "domain_sessionid": "s1", "page_url": "https://shop.example/cart?a=1",
        "page_urlhost": "shop.example", "dvce_type": "Computer", "geo_country": "DE",
        "useragent": "Googlebot/2.1 (+http://www.google.com/bot.html)",
    }  # fmt: skip
    columns = config.streams["events"].origin.columns
    found = pl.DataFrame({name: [said.get(name)] for name in columns}, schema=dict.fromkeys(columns, pl.String))
    row = one(run(config, "events", "web_event", found))
    kept = ("source_id", "event_name", "user_id", "anonymous_id", "page_host", "page_path", "country", "is_bot")
    assert [row[name] for name in kept] == [
        "e1", "link_click", "C7", "d1", "shop.example", "/cart", "DE", True,
    ]  # fmt: skip


def test_a_ga4_event():
    config = source("ga4")
    found = pl.DataFrame(
        {
            "event_date": ["20260501"], "event_timestamp": ["1777622400123456"], "event_name": ["purchase"],
            "user_pseudo_id": ["1.2"], "user_id": ["C7"], "event_bundle_sequence_id": ["5"],
            "event_params.ga_session_id": ["99"], "event_params.page_location": ["https://shop.example/thanks?x=1"],
            "event_value_in_usd": ["19.90"], "geo.country": ["Germany"], "device.category": ["mobile"],
        }
    )  # fmt: skip
    row = one(run(config, "events", "web_event", found))
    assert row["occurred_at"] == datetime(2026, 5, 1, 8, 0, 0, 123456)
    kept = ("event_name", "anonymous_id", "source_session_id", "page_path", "country", "value_currency")
    assert [row[name] for name in kept] == ["purchase", "1.2", "1.2 99", "/thanks", "DE", "USD"]


PAGES = PROJECT_ROOT / "docs" / "sources" / "presets"


@pytest.mark.parametrize("name", PRESETS)
def test_a_page_names_every_option_and_its_sources_can_be_used(name, tmp_path):
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert [option for option in preset(name).options if f"`{option}`" not in text] == []
    sources = re.findall(r"```yaml\n(source:.*?)```", text, flags=re.DOTALL)
    assert sources, "no ready source"
    for number, block in enumerate(sources):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block, encoding="utf-8")
        raw = read_yaml(path)
        assert raw["type"] == name
        config = parse_source(raw, path)
        answers = [stream.tables["answer"] for stream in config.streams.values() if "answer" in stream.tables]
        assert "surveys" not in raw or answers, "the questions that are declared fill nothing"


def test_the_index_is_what_the_presets_say():
    assert (PAGES / "index.md").read_text(encoding="utf-8") == page(), (
        "run python -m orchestration.sources.presets.page"
    )


def test_examples_of_the_index_are_sources(tmp_path):
    blocks = re.findall(r"```yaml\n(source:.*?)```", page(), flags=re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        (tmp_path / "voice.yaml").write_text(block, encoding="utf-8")
        load_source(tmp_path / "voice.yaml")
