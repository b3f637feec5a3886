"""The Formbricks preset against Formbricks' own API description: what it asks for, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse

from orchestration.contracts import CONTRACTS
from orchestration.normalize.table import NormaliseContext, normalise
from orchestration.settings import PROJECT_ROOT, Settings
from orchestration.sources.config import SourceConfig, load_source
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing
from tests.fakes import Clock, Fake
from tests.fakes.formbricks import SURVEY, Formbricks
from tests.fakes.server import Answer, Request

pytestmark = pytest.mark.real_data
DESCRIPTION = PROJECT_ROOT.parent / "shared" / "data" / "openapi" / "formbricks_v2.yml"
HOST = "https://app.formbricks.com"
PATH = "/management/responses"


class Recorded(Formbricks):
    """The stand-in, which keeps what it was asked and what it answered."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.exchanges: list[tuple[Request, Answer]] = []

    def handle(self, request: Request) -> Answer:
        answer = super().handle(request)
        self.exchanges.append((request, answer))
        return answer


class FromExamples(Recorded):
    """Answers made from the description alone."""

    answer: Any = None

    def handle(self, request: Request) -> Answer:
        self.exchanges.append((request, Answer(self.answer)))
        return Answer(self.answer)


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    """The description with the one path that is used: others hold expressions of JavaScript, which Python refuses."""
    whole = yaml.safe_load(DESCRIPTION.read_text(encoding="utf-8"))
    components = {"securitySchemes": whole["components"]["securitySchemes"]}
    return whole | {"paths": {PATH: {"get": whole["paths"][PATH]["get"]}}, "components": components}


@pytest.fixture(scope="module")
def described(description: dict[str, Any]) -> OpenAPI:
    return OpenAPI.from_dict(description)


@pytest.fixture(scope="module")
def operation(description: dict[str, Any]) -> dict[str, Any]:
    return description["paths"][PATH]["get"]


def running(dialect: type[Recorded], rows: int) -> Iterator[Fake]:
    fake = Fake(dialect, clock=Clock())
    fake.dialect.fill(rows, 7)
    fake.start()
    yield fake
    fake.close()


@pytest.fixture
def fake() -> Iterator[Fake]:
    yield from running(Recorded, 600)


@pytest.fixture
def examples() -> Iterator[Fake]:
    yield from running(FromExamples, 0)


def source_of(home: Path, fake: Fake, **stream: Any) -> SourceConfig:
    (home / "key").write_text(fake.dialect.token)
    connection = {"host": fake.url, "key": {"file": "key"}, "survey": SURVEY, "budget": {"per_second": 10_000}}
    raw = {"source": "voice", "type": "formbricks", "connection": connection, "streams": {"responses": stream}}
    path = home / "voice.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load_source(path)


def load(home: Path, fake: Fake, **stream: Any) -> tuple[SourceConfig, pl.DataFrame]:
    config = source_of(home, fake, **stream)
    settings = Settings(home=home, sources_dir=home, hmac_key=b"key")
    extract(config, "responses", settings=settings, run_id="run", now=fake.clock.now)
    landing = Landing(settings.landing_dir)
    return config, landing.scan(landing.manifests("voice", "responses")[-1]).collect()


def asked(request: Request) -> MockRequest:
    return MockRequest(HOST, request.method, request.path, args=request.query, headers=dict(request.headers))


def example_of(schema: dict[str, Any]) -> Any:
    """A value as the description shows it: its examples where it has some."""
    if "example" in schema:
        value = schema["example"]
        return str(value) if schema.get("type") == "string" else value
    kinds = schema.get("type", "object" if "properties" in schema else "string")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    if kind == "object":
        return {name: example_of(inner) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [example_of(schema["items"])]
    return {"string": "text", "number": 1, "integer": 1, "boolean": True}[kind]


def test_every_request_is_one_that_the_description_knows(
    tmp_path: Path, fake: Fake, described: OpenAPI, operation: dict[str, Any]
) -> None:
    deletes = {"strategy": "key_scan"}
    load(tmp_path, fake, deletes=deletes, cursor={"start": "2026-01-01"})
    exchanges = fake.dialect.exchanges  # type: ignore[attr-defined]
    assert len(exchanges) > 3
    known = {parameter["name"] for parameter in operation["parameters"]}
    for request, _ in exchanges:
        described.validate_request(asked(request))
        assert set(request.query) <= known


def test_a_request_that_the_description_forbids_is_noticed(described: OpenAPI) -> None:
    request = MockRequest(HOST, "GET", f"/api/v2{PATH}", args={"limit": "251"}, headers={"x-api-key": "k"})
    with pytest.raises(Exception, match="limit"):
        described.validate_request(request)
    with pytest.raises(Exception, match=r"[Ss]ecurity"):
        described.validate_request(MockRequest(HOST, "GET", f"/api/v2{PATH}"))


def test_the_stand_in_answers_as_the_description_says(tmp_path: Path, fake: Fake, described: OpenAPI) -> None:
    load(tmp_path, fake)
    for request, answer in fake.dialect.exchanges:  # type: ignore[attr-defined]
        content, headers = answer.sent()
        response = MockResponse(content, answer.status, headers, content_type=headers["Content-Type"])
        described.validate_response(asked(request), response)


def test_an_answer_made_of_the_descriptions_examples_fills_the_contract(
    tmp_path: Path, examples: Fake, described: OpenAPI, operation: dict[str, Any]
) -> None:
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    answer = example_of(schema)
    answer["meta"]["total"] = len(answer["data"])
    examples.dialect.answer = answer  # type: ignore[attr-defined]
    config, landed = load(tmp_path, examples)
    request, sent = examples.dialect.exchanges[0]  # type: ignore[attr-defined]
    content, headers = sent.sent()
    response = MockResponse(content, 200, headers, content_type="application/json")
    described.validate_response(asked(request), response)
    stream = config.streams["responses"]
    context = NormaliseContext("voice", "responses", "load", examples.clock.now, "UTC", stream.primary_key)
    rows, rejects = normalise(CONTRACTS["response"], landed.lazy(), stream.tables["response"], context).collect()
    assert (rows.height, rejects.height) == (1, 0)
    assert rows.select("status", "language", "survey_id").row(0) == ("complete", "en", "text")
    assert str(rows["answered_at"][0]) == "2021-01-01 00:00:00"
    assert landed["data.question1"].to_list() == ["answer1"]


def test_every_field_that_is_mapped_is_one_of_the_description(tmp_path: Path, fake: Fake, operation: dict) -> None:
    record = operation["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["data"]["items"]
    config = source_of(tmp_path, fake)
    stream = config.streams["responses"]
    mapped = {name for field in stream.tables["response"].fields.values() for name in field.source_fields}
    mapped |= {*stream.tables["response"].attributes, *(stream.primary_key or ()), stream.cursor.field}  # type: ignore[union-attr]
    for name in mapped:
        schema = record
        for part in name.split("."):
            schema = schema.get("properties", {}).get(part) or schema.get("additionalProperties")
            assert schema, name
