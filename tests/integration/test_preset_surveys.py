"""Presets of surveys and web analytics over stateful stand-ins of the vendors: all at first, then what changed."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pytest
import yaml

from orchestration.contracts import CONTRACTS
from orchestration.normalize.table import NormaliseContext, normalise
from orchestration.settings import Settings
from orchestration.sources.config import SourceConfig, load_source
from orchestration.sources.declared import question_rows
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import LoadRecord, extract
from orchestration.sources.landing import Landing
from orchestration.sources.presets import preset
from orchestration.sources.trial import Trials
from tests.fakes import Clock, Fake, FaultPlan, serve
from tests.fakes.formbricks import SURVEY as FORMBRICKS_SURVEY
from tests.fakes.limesurvey import PASSWORD, USER
from tests.fakes.limesurvey import SURVEY as LIMESURVEY_SURVEY
from tests.fakes.posthog import PROJECT, PostHog
from tests.fakes.qualtrics import SURVEY as QUALTRICS_SURVEY
from tests.fakes.qualtrics import Qualtrics
from tests.fakes.server import Answer, Dialect, Request, route
from tests.fakes.surveymonkey import SURVEY as SURVEYMONKEY_SURVEY
from tests.fakes.typeform import FORM

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
QUICK = {"budget": {"per_second": 10_000}, "retry": {"base_seconds": 0.001, "max_seconds": 0.01}}
SCORE = {"metric": "nps", "scale": {"min": 0, "max": 10}}
CHOICES = SCORE | {"labels": {str(900 + score): score for score in range(11)}}
SURVEYS: dict[str, tuple[dict[str, Any], str, str, dict[str, Any], str]] = {
    "qualtrics": ({"datacenter": "fra1", "survey": QUALTRICS_SURVEY}, "QID1", "QID2_TEXT", SCORE, "QID1"),
    "surveymonkey": (
        {"survey": SURVEYMONKEY_SURVEY, "customer_field": "customer", "start": "2026-01-01"},
        "questions.820001",
        "questions.820002",
        CHOICES,
        "score",
    ),
    "typeform": ({"form": FORM, "customer_field": "customer"}, "answers.score", "answers.reason", SCORE, "score"),
    "limesurvey": ({"user": USER, "survey": str(LIMESURVEY_SURVEY)}, "NPS", "WHY", SCORE, "NPS"),
    "formbricks": ({"survey": FORMBRICKS_SURVEY}, "data.nps", "data.why", SCORE, "nps"),
}
"""Preset to its options, the columns of the score and of the text, the question, and the score at the source."""
SECRETS = {"qualtrics": "token", "surveymonkey": "token", "typeform": "token", "limesurvey": "password"}
SECRETS |= {"formbricks": "key", "matomo": "token", "posthog": "key", "google_forms_api": "refresh_token"}
ADDRESSES = {"qualtrics": "base_url", "limesurvey": "url", "matomo": "url"}


class Bench:
    """One source of a preset over a stand-in, load after load."""

    def __init__(self, preset: str, home: Path, fake: Fake) -> None:
        self.preset = preset
        self.fake = fake
        self.settings = Settings(home=home, sources_dir=home, hmac_key=b"key")
        self.landing = Landing(self.settings.landing_dir)
        (home / "secret").write_text(PASSWORD if preset == "limesurvey" else fake.dialect.token)
        address = fake.url + ("/index.php/admin/remotecontrol" if preset == "limesurvey" else "")
        self.raw: dict[str, Any] = {
            "source": "voice",
            "type": preset,
            "connection": {SECRETS[preset]: {"file": "secret"}, ADDRESSES.get(preset, "host"): address, **QUICK},
        }
        if preset in SURVEYS:
            given, score, why, question, _ = SURVEYS[preset]
            self.raw["connection"] |= given
            questions = {"nps": question, "why": {"metric": "text"}}
            survey = given.get("survey") or given["form"]
            self.raw["surveys"] = {survey: {"name": "Relationship", "questions": questions}}
            tables = {"answer": {"questions": {"nps": score}}, "comment": {"texts": {"why": why}}}
            self.raw["streams"] = {"responses": {"tables": tables}}
            if preset == "qualtrics":
                self.raw["streams"]["responses"]["from"] = {"export": {"every_seconds": 0}}

    @property
    def source(self) -> SourceConfig:
        path = self.settings.home / "voice.yaml"
        path.write_text(yaml.safe_dump(self.raw, allow_unicode=True))
        return load_source(path)

    def load(self, stream: str = "responses") -> LoadRecord:
        return extract(self.source, stream, settings=self.settings, run_id="run", now=self.fake.clock.now)

    def last(self, stream: str = "responses") -> pl.DataFrame:
        return self.landing.scan(self.landing.manifests("voice", stream)[-1]).collect()

    def landed(self, stream: str = "responses") -> pl.DataFrame:
        """Everything ever landed."""
        loads = [self.landing.scan(load).collect() for load in self.landing.manifests("voice", stream)]
        return pl.concat(loads, how="diagonal")

    def rows(self, table: str, landed: pl.DataFrame, stream: str = "responses") -> pl.DataFrame:
        """Landed rows as rows of a contract, of which none may be rejected; the deleted ones left out."""
        config = self.source
        questions = None
        if table == "answer":
            meta = (pl.int_range(pl.len()).alias("_load_row"), pl.lit(False).alias("_deleted"))
            questions = self._normal(config, "questions", "question", question_rows(config).with_columns(meta), None)
        return self._normal(config, stream, table, landed, questions).filter(~pl.col("is_deleted"))

    def _normal(
        self, config: SourceConfig, stream: str, table: str, landed: pl.DataFrame, questions: pl.DataFrame | None
    ) -> pl.DataFrame:
        chosen = config.streams[stream]
        now = self.fake.clock.now
        context = NormaliseContext("voice", stream, "load", now, config.timezone, chosen.primary_key, questions)
        rows, rejects = normalise(CONTRACTS[table], landed.lazy(), chosen.tables[table], context).collect()
        assert rejects.is_empty(), rejects.to_dicts()[:3]
        return rows


class HogQL(PostHog):
    """PostHog's queries, of which DuckDB understands the most; an answer is kept until a fresh one is asked for."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.cached: dict[str, dict[str, Any]] = {}

    @route("POST", f"/api/projects/{PROJECT}/query/")
    def query(self, request: Request) -> Answer:
        said = request.json["query"]["query"]
        if request.json.get("refresh") != "force_blocking" and said in self.cached:
            return Answer(self.cached[said])
        tables = {"events": [], "persons": [], "person_distinct_ids": []}
        for event in self.store.records("events"):
            tables["events"].append({"uuid": event.key, "timestamp": event.updated_at, **event.content})
        for person in self.store.records("persons"):
            tables["persons"].append({"id": person.key, "created_at": person.created_at, **person.content})
            tables["person_distinct_ids"] += [
                {"distinct_id": known, "person_id": person.key} for known in person["distinct_ids"]
            ]
        with duckdb.connect(config={"threads": 1}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("CREATE MACRO toDateTime(text) AS text::TIMESTAMPTZ")
            connection.execute("CREATE MACRO toString(value) AS value::VARCHAR")
            for name, rows in tables.items():
                frame = pl.DataFrame([{**row, "properties": json.dumps(row.get("properties"))} for row in rows])
                connection.register(name, frame.to_arrow())
            found = connection.execute(re.sub(r"properties\.([$\w]+)", r"(properties ->> '$.\1')", said))
            columns = [column[0] for column in found.description]
            results = [[x.isoformat() if isinstance(x, datetime) else x for x in row] for row in found.fetchall()]
        self.cached[said] = {"columns": columns, "results": results, "types": [], "hasMore": False}
        return Answer(self.cached[said])


class GoogleForms(Dialect):
    """The Forms API with its token server: pages by token, a filter by time, the latest submission of a response."""

    collection = "responses"
    form = "1FAIpQLSd0x"
    asked_for: list[str]

    def fill(self, rows: int, seed: int) -> None:
        self.asked_for = []
        for number in range(rows):
            moment = self.now - timedelta(days=9) + timedelta(minutes=number)
            self.store.put("responses", f"ACY{number:04d}", {"score": number % 11}, updated_at=moment)

    @route("POST", "/token")
    def tokens(self, request: Request) -> Answer:
        given = (request.form.get("grant_type"), request.form.get("refresh_token"), request.form.get("client_secret"))
        if given != ("refresh_token", "static-token", "static-token"):
            return Answer({"error": "invalid_grant"}, 400)
        return Answer({"access_token": self.issue(3600), "expires_in": 3599, "token_type": "Bearer"})

    @route("GET", "/v1/forms/([^/]+)/responses")
    def responses(self, request: Request, form: str) -> Answer:
        if not self.holds(request.bearer):
            return Answer({"error": {"code": 401, "message": "Invalid credentials", "status": "UNAUTHENTICATED"}}, 401)
        self.asked_for.append(request.query.get("filter", ""))
        lower = datetime.fromisoformat(self.asked_for[-1].removeprefix("timestamp >= ") or "1970-01-01T00:00:00Z")
        found = [record for record in self.store.records("responses") if record.updated_at >= lower]
        begin = int(request.query.get("pageToken", 0))
        page = [
            {
                "responseId": record.key,
                "lastSubmittedTime": record.updated_at.isoformat().replace("+00:00", "Z"),
                "answers": {"1a": {"questionId": "1a", "textAnswers": {"answers": [{"value": str(record["score"])}]}}},
            }
            for record in found[begin : begin + 100]
        ]
        more = {"nextPageToken": str(begin + 100)} if begin + 100 < len(found) else {}
        return Answer(({"responses": page} if page else {}) | more)


Make = Callable[..., Bench]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as running:

        def make(preset: str, rows: int = 230, plan: FaultPlan | None = None) -> Bench:
            if preset == "posthog":
                fake = Fake(HogQL, clock=Clock(NOON), faults=plan or FaultPlan())
                fake.dialect.fill(rows, 7)
                running.callback(fake.start().close)
            else:
                fake = running.enter_context(serve(preset, rows=rows, clock=Clock(NOON), faults=plan or FaultPlan()))
            return Bench(preset, tmp_path, fake)

        yield make


def keys(frame: pl.DataFrame, column: str) -> set[str]:
    return set(frame[column].to_list())


@pytest.mark.parametrize("preset", [*SURVEYS, "matomo", "posthog"])
def test_a_trial_has_nothing_to_complain_of(bench: Make, preset: str) -> None:
    source = bench(preset)
    source.raw["connection"] |= {"matomo": {"start": "2026-04-30"}, "posthog": {"project": PROJECT}}.get(preset, {})
    with closing(Trials(source.source, source.settings, source.fake.clock.now)) as trials:
        stream = "responses" if preset in SURVEYS else "events"
        assert trials.read(stream).rows.height > 20


@pytest.mark.parametrize("preset", SURVEYS)
def test_a_misspelt_question_is_told_by_a_trial(bench: Make, preset: str) -> None:
    source = bench(preset)
    right = SURVEYS[preset][1]
    source.raw["streams"]["responses"]["tables"]["answer"]["questions"]["nps"] = f"{right}x"
    told = rf"'{re.escape(right)}x'.*is missing.*{re.escape(right)}"
    with closing(Trials(source.source, source.settings, NOON)) as trials, pytest.raises(SourceError, match=told):
        trials.read("responses")


@pytest.mark.parametrize("preset", ["surveymonkey", "typeform", "formbricks"])
def test_a_question_that_nobody_answered_is_no_missing_column(bench: Make, preset: str) -> None:
    source = bench(preset, rows=60)
    for record in source.fake.store.records("responses"):
        said = {"data": {"nps": record["data"]["nps"]}} if preset == "formbricks" else {"reason": None}
        source.fake.store.put("responses", record.key, updated_at=record.updated_at, **said)
    assert source.load().rows_landed == 60
    assert source.rows("comment", source.last()).is_empty()
    assert source.rows("answer", source.last()).height == 60


KEYS = {
    "qualtrics": "_recordId",
    "surveymonkey": "id",
    "typeform": "response_id",
    "limesurvey": "id",
    "formbricks": "id",
}


@pytest.mark.parametrize("preset", SURVEYS)
def test_all_responses_at_first_then_what_changed(bench: Make, preset: str) -> None:
    source = bench(preset)
    key = KEYS[preset]
    store = source.fake.store
    first = source.load()
    everything = {str(record.key) for record in store.records("responses")}
    assert (first.status, keys(source.last(), key)) == ("committed", everything)

    again = source.load()
    assert again.status == "unchanged" or again.rows_landed == 0

    source.fake.clock.advance(3600)
    changed = store.put("responses", store.records("responses")[40].key).key
    new, content = source.fake.dialect.invent(random.Random(1))
    store.put("responses", new, content)
    source.fake.clock.advance(3600)
    second = source.load()
    last = source.last()
    assert second.status == "committed"
    assert {str(changed), str(new)} <= keys(last, key)
    if preset not in {"limesurvey", "typeform"}:  # those read everything, and whole pages
        assert second.rows_landed < first.rows_landed / 2


@pytest.mark.parametrize("preset", SURVEYS)
def test_scores_and_texts_are_those_of_the_source(bench: Make, preset: str) -> None:
    source = bench(preset)
    source.load()
    landed = source.last()
    score = SURVEYS[preset][4]
    said = {"qualtrics": "QID2_TEXT", "limesurvey": "WHY"}.get(preset, "reason")
    prefix = f"{LIMESURVEY_SURVEY}:" if preset == "limesurvey" else ""
    scores, texts = {}, {}
    for record in source.fake.store.records("responses"):
        content = record["data"] if preset == "formbricks" else record.content
        if content.get("status") == "1":
            continue  # a preview of Qualtrics
        scores[f"{prefix}{record.key}"] = float(content[score])
        if text := content.get("why" if preset == "formbricks" else said):
            texts[f"{prefix}{record.key}"] = text
    answers = source.rows("answer", landed)
    assert dict(answers.select("response_id", "value_number").iter_rows()) == scores
    comments = source.rows("comment", landed)
    found = dict(comments.select("parent_id", "comment_text").iter_rows())
    assert {key: text.split() for key, text in found.items()} == {key: text.split() for key, text in texts.items()}
    responses = source.rows("response", landed)
    assert keys(responses, "source_id") == set(scores)
    assert keys(responses, "status") <= {"complete", "partial"}
    if preset in {"typeform", "surveymonkey", "qualtrics"}:
        assert responses["customer_id"].str.contains(r"^C\d{5}$").all()


@pytest.mark.parametrize("preset", ["surveymonkey", "typeform", "limesurvey", "formbricks", "qualtrics"])
def test_faults_on_the_way_lose_no_response(bench: Make, preset: str) -> None:
    rates = {"429_seconds": 0.1, "500": 0.1, "cut_body": 0.1, "reset": 0.05, "html": 0.05, "gzip": 0.2}
    source = bench(preset, rows=600, plan=FaultPlan(rates=rates, seed=5, retry_after=0))
    source.raw["connection"]["retry"]["attempts"] = 12
    source.load()
    assert keys(source.last(), KEYS[preset]) == {str(r.key) for r in source.fake.store.records("responses")}
    assert any(request.faults for request in source.fake.seen)


def test_qualtrics_previews_are_landed_and_stay_out_of_every_table(bench: Make) -> None:
    source = bench("qualtrics")
    source.load()
    landed = source.last()
    previews = keys(landed.filter(pl.col("status") == "1"), "_recordId")
    assert previews
    for table, column in (("response", "source_id"), ("answer", "response_id"), ("comment", "parent_id")):
        assert not previews & keys(source.rows(table, landed), column)


def test_a_qualtrics_response_at_the_end_of_a_window_comes_with_the_next(bench: Make) -> None:
    source = bench("qualtrics", rows=5)
    fake = source.fake
    fake.store.put("responses", "R_edge", fake.store.records("responses")[0].content, updated_at=fake.clock.now)
    source.load()
    assert "R_edge" not in keys(source.last(), "_recordId")
    fake.clock.advance(86400)
    source.load()
    assert "R_edge" in keys(source.last(), "_recordId")


def test_a_qualtrics_export_that_fails_is_started_anew(bench: Make) -> None:
    source = bench("qualtrics", rows=20, plan=FaultPlan(at={1: "export_fails"}))
    source.load()
    assert len(keys(source.last(), "_recordId")) == 20
    started = [request for request in source.fake.seen if request.method == "POST"]
    assert len(started) == 2


def test_typeform_is_read_back_to_the_window_and_no_further(bench: Make) -> None:
    source = bench("typeform", rows=2_600)
    source.load()
    pages = [request.query for request in source.fake.seen]
    assert len(pages) == 4
    assert not any({"since", "until", "after", "sort"} & set(query) for query in pages)
    assert len(keys(source.last(), "response_id")) == 2_600
    before = source.fake.requests
    source.load()
    assert source.fake.requests - before <= 2


def test_a_limesurvey_response_that_goes_on_is_read_again(bench: Make) -> None:
    source = bench("limesurvey", rows=12)
    source.load()
    partial = source.rows("response", source.last()).filter(pl.col("status") == "partial")
    assert keys(partial, "source_id") == {f"{LIMESURVEY_SURVEY}:{number}" for number in (6, 12)}
    source.fake.clock.advance(3600)
    source.fake.dialect.finish(6, "At last")  # type: ignore[attr-defined]
    source.load()
    row = source.rows("comment", source.last()).filter(pl.col("parent_id") == f"{LIMESURVEY_SURVEY}:6")
    assert row["comment_text"].to_list() == ["At last"]


def test_a_limesurvey_without_responses_is_empty_and_no_error(bench: Make) -> None:
    source = bench("limesurvey", rows=0)
    assert source.load().rows_landed == 0


def test_a_limesurvey_session_that_ended_is_opened_again(bench: Make) -> None:
    source = bench("limesurvey", rows=12, plan=FaultPlan(at={2: "expired_token"}))
    source.load()
    assert len(keys(source.last(), "id")) == 12
    logins = [request for request in source.fake.seen if json.loads(request.body)["method"] == "get_session_key"]
    assert len(logins) == 2


def test_a_wrong_limesurvey_password_is_told_and_not_shown(bench: Make) -> None:
    source = bench("limesurvey", rows=12)
    (source.settings.home / "secret").write_text("not-the-password")
    with pytest.raises(SourceError) as caught:
        source.load()
    assert "not-the-password" not in str(caught.value)
    assert source.landing.manifests("voice", "responses") == []


def test_a_limesurvey_response_that_was_deleted_is_gone(bench: Make) -> None:
    source = bench("limesurvey", rows=60)
    source.load()
    source.fake.store.delete("responses", 7)
    source.load()
    assert source.last().filter("_deleted")["id"].to_list() == ["7"]


def test_a_limesurvey_that_was_deactivated_deletes_nothing(bench: Make) -> None:
    source = bench("limesurvey", rows=60)
    source.load()
    source.fake.dialect.is_active = False  # type: ignore[attr-defined]
    with pytest.raises(SourceError, match="nothing was deleted"):
        source.load()
    assert len(source.landing.manifests("voice", "responses")) == 1


@pytest.mark.parametrize("preset", ["typeform", "formbricks"])
def test_deleted_responses_are_found_where_keys_are_scanned(bench: Make, preset: str) -> None:
    source = bench(preset, rows=60)
    source.raw["streams"]["responses"]["deletes"] = {"strategy": "key_scan"}
    source.load()
    gone = source.fake.store.records("responses")[3].key
    source.fake.store.delete("responses", gone)
    source.load()
    assert source.last().filter("_deleted")[KEYS[preset]].to_list() == [str(gone)]


def test_surveymonkey_goes_on_the_next_day_where_the_requests_end(bench: Make) -> None:
    source = bench("surveymonkey", rows=900)
    source.raw["streams"]["responses"]["from"] = {"slices": {"by": "5d"}}
    source.raw["connection"] |= {"start": "2026-04-05", "budget": QUICK["budget"] | {"per_day": 8}}
    assert source.load().status == "committed"
    some = keys(source.landed(), "id")
    assert 0 < len(some) < 900
    source.raw["connection"]["budget"] = QUICK["budget"] | {"per_day": 500}
    before = source.fake.requests
    source.load()
    assert len(keys(source.landed(), "id")) == 900
    assert source.fake.requests - before < 14


def test_surveymonkey_is_asked_for_a_window_with_both_ends(bench: Make) -> None:
    source = bench("surveymonkey", rows=30)
    source.load()
    for request in source.fake.seen:
        assert {"start_modified_at", "end_modified_at", "sort_by", "sort_order"} <= set(request.query)
    assert source.last()["ip_address"].str.contains("^[0-9a-f]{64}$").all()


def test_the_visits_of_matomo_are_read_day_by_day(bench: Make) -> None:
    source = bench("matomo", rows=300)
    source.raw["connection"]["start"] = "2026-04-29"
    first = source.load("events")
    landed = source.last("events")
    visits = source.fake.store.records("visits")
    assert keys(landed, "idVisit") == {str(visit.key) for visit in visits}
    assert landed.height == first.rows_landed == sum(len(visit["pages"]) for visit in visits)
    assert len([request for request in source.fake.seen if b"2026-05-01" in request.body]) == 1
    assert not any("token_auth" in request.query for request in source.fake.seen)
    events = source.rows("web_event", landed, "events")
    assert events.height == landed.height
    assert keys(events, "event_name") == {"page_view"}
    assert landed["visitIp"].is_null().all()


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "Europe/Berlin", "America/New_York"])
def test_days_of_matomo_are_those_of_the_website(bench: Make, zone: str) -> None:
    source = bench("matomo", rows=200)
    # The clock goes forward in Berlin on 29 March and in New York on 8 March.
    for visit in source.fake.store.records("visits"):
        earlier = visit.updated_at - timedelta(days=35 if zone == "Europe/Berlin" else 55)
        source.fake.store.put("visits", visit.key, updated_at=earlier, created_at=earlier)
    source.fake.dialect.zone = ZoneInfo(zone)  # type: ignore[attr-defined]
    source.raw["connection"] |= {"start": "2026-03-01", "timezone": zone}
    source.load("events")
    assert keys(source.last("events"), "idVisit") == {str(key) for key in range(1, 201)}
    days = [re.search(rb"date=([\d-]+)", request.body)[1] for request in source.fake.seen]  # type: ignore[index]
    assert len(days) == len(set(days)) == 65


def test_a_visit_that_goes_on_gets_its_further_events(bench: Make) -> None:
    source = bench("matomo", rows=300)
    source.raw["connection"]["start"] = "2026-04-29"
    fake = source.fake
    key, content = fake.dialect.invent(random.Random(1))
    fake.store.put("visits", key, content)
    source.load("events")
    before = source.landed("events").filter(pl.col("idVisit") == str(key)).height
    fake.clock.advance(600)
    assert fake.dialect.act(key, "/thanks")  # type: ignore[attr-defined]
    fake.clock.advance(600)
    source.load("events")
    assert source.last("events").filter(pl.col("idVisit") == str(key)).height == before + 1


def test_an_error_of_matomo_with_status_200_fails(bench: Make) -> None:
    source = bench("matomo", rows=5)
    source.raw["connection"]["start"] = "2026-05-01"
    (source.settings.home / "secret").write_text("wrong-token")
    with pytest.raises(SourceError, match="view"):
        source.load("events")


@pytest.fixture
def posthog(bench: Make) -> Bench:
    """A few hundred events, many of the same microsecond, read 50 a page."""
    source = bench("posthog", rows=330)
    source.raw["connection"]["project"] = PROJECT
    store = source.fake.store
    for event in store.records("events")[::2]:
        store.put("events", event.key, updated_at=NOON - timedelta(days=1, microseconds=7))
    streams = preset("posthog").source["streams"]
    source.raw["streams"] = {name: {"from": {"paging": {"size": 50}}} for name in streams}
    return source


def test_every_event_of_posthog_once_however_many_share_a_time(posthog: Bench) -> None:
    first = posthog.load("events")
    landed = posthog.last("events")
    known = {event.key for event in posthog.fake.store.records("events")}
    assert (first.rows_landed, keys(landed, "id")) == (330, known)
    assert posthog.fake.requests == 8
    events = posthog.rows("web_event", landed, "events")
    assert keys(events, "event_name") == {"page_view", "order_placed"}
    assert keys(events, "page_host") == {"shop.example"}


def test_new_events_of_posthog_come_with_the_next_load(posthog: Bench) -> None:
    posthog.load("events")
    posthog.fake.clock.advance(86400)
    key, content = posthog.fake.dialect.invent(random.Random(1))
    posthog.fake.store.put("events", key, content, updated_at=NOON + timedelta(hours=3))
    late, content = posthog.fake.dialect.invent(random.Random(2))
    posthog.fake.store.put("events", late, content, updated_at=NOON - timedelta(days=2))
    posthog.load("events")
    assert {key, late} <= keys(posthog.last("events"), "id")


def test_a_person_that_posthog_merged_away_is_gone(posthog: Bench) -> None:
    posthog.load("persons")
    posthog.load("distinct_ids")
    landed = posthog.last("persons")
    assert landed.height == posthog.last("distinct_ids").height == 66
    customers = posthog.rows("customer", landed, "persons")
    assert customers["email"].str.ends_with("@example.org").all()
    gone = posthog.fake.store.records("persons")[5].key
    posthog.fake.store.delete("persons", gone)
    posthog.load("persons")
    assert posthog.last("persons").filter("_deleted")["id"].to_list() == [gone]


def files(home: Path, preset: str, connection: dict[str, Any], **more: Any) -> Callable[..., LoadRecord]:
    """Loads a source of files as YAML says."""
    settings = Settings(home=home, sources_dir=home, hmac_key=b"key")
    path = home / "web.yaml"
    path.write_text(yaml.safe_dump({"source": "web", "type": preset, "connection": connection, **more}))

    def load(day: int = 0, stream: str = "events") -> LoadRecord:
        now = NOON + timedelta(days=day)
        return extract(load_source(path), stream, settings=settings, run_id="run", now=now)

    return load


def landed_files(home: Path, stream: str = "events") -> pl.DataFrame:
    landing = Landing(Settings(home=home, sources_dir=home).landing_dir)
    return landing.scan(landing.manifests("web", stream)[-1]).collect()


def ga4_day(home: Path, name: str, numbers: range, **more: Any) -> None:
    (home / "ga4").mkdir(exist_ok=True)
    lines = [
        {
            "event_date": "20260501",
            "event_timestamp": str(1_777_622_400_000_000 + number),
            "event_name": "page_view",
            "user_pseudo_id": f"{number}.1",
            "event_bundle_sequence_id": "1",
            "event_params": [{"key": "ga_session_id", "value": {"int_value": str(number)}}],
        }
        | more
        for number in numbers
    ]
    (home / "ga4" / name).write_text("\n".join(json.dumps(line) for line in lines))


def test_a_day_that_ga4_exports_again_replaces_the_one_before(tmp_path: Path) -> None:
    ga4_day(tmp_path, "events_20260501.jsonl", range(100))
    ga4_day(tmp_path, "events_intraday_20260502.jsonl", range(900, 950))
    load = files(tmp_path, "ga4", {"path": "{home}/ga4/events_*.jsonl"})
    assert load().rows_landed == 100
    assert load(1).status == "unchanged"
    ga4_day(tmp_path, "events_20260501.jsonl", range(2, 103), user_id="C7")
    load(2)
    rows = landed_files(tmp_path)
    gone = keys(rows.filter("_deleted"), "user_pseudo_id")
    assert gone == {"0.1", "1.1"}
    assert rows.filter(~pl.col("_deleted")).height == 101
    assert keys(rows.filter(~pl.col("_deleted")), "user_id") == {"C7"}


def test_snowplow_lines_are_never_quoted(tmp_path: Path) -> None:
    columns = preset("snowplow").source["streams"]["events"]["from"]["columns"]
    said = {
        "event_id": "e1",
        "contexts": '{"data":["a \\"b\\" c"]}',
        "page_title": '"Sale" now',
        "event_name": "page_view",
    }
    good = "\t".join(said.get(name, "") for name in columns)
    (tmp_path / "part.tsv.gz").write_bytes(gzip.compress(f"{good}\nshort\tline\n{good.replace('e1', 'e2')}\n".encode()))
    record = files(tmp_path, "snowplow", {"path": "{home}/*.tsv.gz"})()
    assert (record.rows_landed, record.rows_rejected) == (2, 1)
    assert landed_files(tmp_path).select("event_id", "page_title", "contexts").rows() == [
        ("e1", '"Sale" now', said["contexts"]),
        ("e2", '"Sale" now', said["contexts"]),
    ]


def test_snowplow_events_of_the_lake(tmp_path: Path) -> None:
    moment = datetime(2026, 5, 1, 8, tzinfo=UTC)
    columns = {name: [None] for name in preset("snowplow").source["streams"]["events"]["from"]["columns"]}
    frame = pl.DataFrame(columns | {"event_id": ["e1"], "derived_tstamp": [moment], "event_name": ["page_view"]})
    frame.write_parquet(tmp_path / "part.parquet")
    load = files(tmp_path, "snowplow", {"path": "{home}/*.parquet"}, streams={"events_parquet": {}})
    assert load(stream="events_parquet").rows_landed == 1
    assert landed_files(tmp_path, "events_parquet")["event_id"].to_list() == ["e1"]


def test_a_google_sheet_that_grew_and_was_edited(tmp_path: Path) -> None:
    questions = {"nps": SCORE}
    given = {
        "surveys": {"checkout": {"name": "Checkout", "questions": questions}},
        "streams": {"responses": {"tables": {"answer": {"questions": {"nps": "How likely?"}}}}},
    }
    sheet = tmp_path / "responses.csv"
    sheet.write_text("Timestamp,How likely?\n2026-05-01 10:00:00,9\n2026-05-01 10:00:00,9\n")
    load = files(tmp_path, "google_forms", {"path": "{home}/responses.csv", "survey": "checkout"}, **given)
    assert load(stream="responses").rows_landed == 2
    sheet.write_text(
        "Timestamp,How likely?,Why?\n2026-05-01 10:00:00,9,\n2026-05-02 11:00:00,3,Slow\n2026-05-03 10:00:00,8,\n"
    )
    assert load(1, stream="responses").rows_landed == 3
    rows = landed_files(tmp_path, "responses")
    assert rows.select("_row", "How likely?", "_deleted").rows() == [(1, "9", False), (2, "3", False), (3, "8", False)]


def test_the_newest_of_a_large_limesurvey_are_read_by_their_ids(bench: Make) -> None:
    source = bench("limesurvey", rows=300)
    stream = source.raw["streams"]["responses"]
    given = preset("limesurvey").source["streams"]["responses"]["from"]["request"]["json"]["params"]
    stream["from"] = {"request": {"json": {"params": [*given, "{{ window.start }}"]}}}
    stream["cursor"] = {"field": "id", "format": "number", "lag": 50}
    stream["deletes"] = {"strategy": "none"}
    assert source.load().rows_landed == 300
    source.fake.dialect.finish(270, "At last")  # type: ignore[attr-defined]
    key, content = source.fake.dialect.invent(random.Random(1))
    source.fake.store.put("responses", key, content)
    assert source.load().rows_landed == 52
    assert {"270", "301"} <= keys(source.last(), "id")


class Invitations(Qualtrics):
    """Qualtrics with a mailing, its reminder, and what became of them."""

    @route("GET", "/API/v3/distributions")
    def distributions(self, request: Request) -> Answer:
        kinds = {"EMD_1": "Invite", "EMD_2": "Reminder"}
        elements = [{"id": key, "requestType": kind, "sendDate": "2026-04-30T09:00:00Z"} for key, kind in kinds.items()]
        return self._result({"elements": elements, "nextPage": None})

    @route("GET", "/API/v3/distributions/([^/]+)/history")
    def history(self, request: Request, distribution: str) -> Answer:
        page = int(request.query.get("page", 1))
        elements = [
            {"contactId": f"CID_{number}", "distributionId": distribution, "sentAt": "2026-04-30T09:00:00Z"}
            | ({"status": "SurveyFinished", "responseId": f"R_{number}"} if number % 2 else {"status": "EmailSent"})
            for number in range(100 * page, 100 * page + 100)
        ]
        link = f"{self.url}{request.path}?page={page + 1}" if page < 3 else None
        return self._result({"elements": elements, "nextPage": link})


def test_who_was_invited_by_qualtrics_without_reminders(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fakes.qualtrics.DIALECT", Invitations)
    source = bench("qualtrics", rows=1)
    source.raw["streams"] = {"responses": {}, "distributions": {}, "invitations": {}}
    del source.raw["surveys"]
    source.load("distributions")
    assert source.load("invitations").rows_landed == 300
    rows = source.rows("invitation", source.last("invitations"), "invitations")
    assert keys(rows, "survey_id") == {QUALTRICS_SURVEY}
    assert rows["status"].value_counts().sort("status").rows() == [("finished", 150), ("sent", 150)]
    assert not any("EMD_2" in request.path for request in source.fake.seen)


def test_google_forms_by_its_api(tmp_path: Path) -> None:
    fake = Fake(GoogleForms, clock=Clock(NOON))
    fake.dialect.fill(250, 7)
    fake.start()
    source = Bench("google_forms_api", tmp_path, fake)
    source.raw["connection"] = {
        "base_url": fake.url,
        "auth": {"token_url": f"{fake.url}/token"},
        "client_id": "id",
        "client_secret": {"file": "secret"},
        "refresh_token": {"file": "secret"},
        "form": GoogleForms.form,
        **QUICK,
    }
    source.raw["surveys"] = {GoogleForms.form: {"name": "Checkout", "questions": {"nps": SCORE}}}
    source.raw["streams"] = {"responses": {"tables": {"answer": {"questions": {"nps": "answers.1a"}}}}}
    try:
        assert source.load().rows_landed == 250
        answers = source.rows("answer", source.last())
        assert answers["value_number"].sum() == sum(number % 11 for number in range(250))
        fake.clock.advance(86400)
        fake.dialect.expire()
        fake.store.put("responses", "ACY0003", {"score": 10})
        source.load()
        assert source.last().filter(pl.col("responseId") == "ACY0003")["answers.1a"].to_list() == ["10"]
        assert fake.dialect.asked_for[-1].startswith("timestamp >= 2026-04-25T")  # type: ignore[attr-defined]
    finally:
        fake.close()
    assert fake.broken is None
