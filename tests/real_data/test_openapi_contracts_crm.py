"""HubSpot's and Intercom's own API descriptions against the presets' requests and the answers of the stand-ins.

Both directions: what the presets ask for is what the description allows, and what the stand-ins answer is what the
vendor's API may answer, so that a preset that reads the stand-in reads the vendor.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse
from werkzeug.datastructures import ImmutableMultiDict

from orchestration.settings import PROJECT_ROOT, Settings
from orchestration.sources.config import parse_source
from orchestration.sources.extract import extract
from orchestration.sources.http import client as http_client
from tests.fakes.server import Answer, Fake, serve

pytestmark = pytest.mark.real_data
DESCRIPTIONS = PROJECT_ROOT.parent / "shared" / "data" / "openapi"


@dataclass(frozen=True)
class Exchange:
    """One request and its answer, as they went over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    answer: Answer

    def request(self, host: str) -> MockRequest:
        parts = urlsplit(self.target)
        args = [(name, value) for name, values in parse_qs(parts.query).items() for value in values]
        return MockRequest(
            host,
            self.method.lower(),
            parts.path,
            args=ImmutableMultiDict(args),  # type: ignore[arg-type]
            headers=self.headers,
            data=self.body or None,
            content_type=self.headers.get("content-type", "application/json"),
        )

    def response(self) -> MockResponse:
        content, headers = self.answer.sent()
        return MockResponse(content, self.answer.status, headers, content_type="application/json")


def _recording(fake: Fake) -> list[Exchange]:
    seen: list[Exchange] = []
    inner = fake.answer

    def answer(method: str, target: str, headers: Any, body: bytes) -> Any:
        found, faults = inner(method, target, headers, body)
        known = {name.lower(): value for name, value in headers.items()}
        seen.append(Exchange(method, target, known, body, found))
        return found, faults

    fake.answer = answer  # type: ignore[method-assign]
    return seen


def _load(home: Path, fake: Fake, kind: str, streams: list[str], **connection: Any) -> None:
    (home / "secret").write_text(fake.dialect.token)
    given = {"token": {"file": str(home / "secret")}, **connection}
    source = parse_source(
        {"source": "s", "type": kind, "connection": given, "streams": {name: {} for name in streams}}, home / "s.yaml"
    )
    settings = Settings(home=home, sources_dir=home)
    for stream in streams:
        for _ in range(2):
            extract(source, stream, settings=settings, run_id="r", now=fake.clock.now)
            fake.clock.advance(3600)


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for inner in node.values():
            yield from _walk(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _walk(inner)


def _hubspot(name: str) -> OpenAPI:
    """HubSpot's description of one object, without what HubSpot itself does not keep to."""
    spec = json.loads((DESCRIPTIONS / f"hubspot_crm_v3_{name}.json").read_text())
    for node in _walk(spec):
        if "example" in node and node["example"] is None:
            del node["example"]
    # Deals stand there under the number of their type.
    spec["paths"] = {path.replace("/objects/0-3", "/objects/deals"): entry for path, entry in spec["paths"].items()}
    schemas = spec["components"]["schemas"]
    # A property without a value is null in every answer.
    for schema in schemas.values():
        properties = schema.get("properties", {}).get("properties", {})
        if "additionalProperties" in properties:
            properties["additionalProperties"]["nullable"] = True
    # Sorts are objects in HubSpot's manual; as texts they are ignored without an error.
    if "PublicObjectSearchRequest" in schemas:
        schemas["PublicObjectSearchRequest"]["properties"]["sorts"]["items"] = {
            "type": "object",
            "required": ["propertyName", "direction"],
            "properties": {
                "propertyName": {"type": "string"},
                "direction": {"type": "string", "enum": ["ASCENDING", "DESCENDING"]},
            },
        }
    # Errors are declared as */*.
    for response in spec["components"].get("responses", {}).values():
        response["content"] = {"application/json": response["content"]["*/*"]}
    return OpenAPI.from_dict(spec)


def _intercom() -> OpenAPI:
    spec = yaml.safe_load((DESCRIPTIONS / "intercom_2.13.yaml").read_text())
    return OpenAPI.from_dict(spec)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "sleep", lambda seconds: None)


def _judge(api: OpenAPI, exchange: Exchange, host: str) -> None:
    request, response = exchange.request(host), exchange.response()
    api.validate_request(request)
    api.validate_response(request, response)


@pytest.mark.parametrize("name", ["contacts", "companies", "deals", "tickets"])
def test_hubspot_in_both_directions(tmp_path, name):
    api = _hubspot(name)
    with serve("hubspot", rows=230) as fake:
        for number in range(1, 121):
            fake.store.put("deals", number, {"dealname": f"D{number}", "amount": "1"})
            fake.store.put("tickets", number, {"subject": f"T{number}", "content": None})
        seen = _recording(fake)
        fake.at(4, lambda fake: fake.store.delete("contacts", 110))
        _load(tmp_path, fake, "hubspot", [name], base_url=fake.url)
        for exchange in seen:
            _judge(api, exchange, "https://api.hubapi.com")
    paths = Counter(urlsplit(exchange.target).path for exchange in seen)
    assert paths[f"/crm/v3/objects/{name}"] >= 2
    if name in {"contacts", "companies"}:
        assert paths[f"/crm/v3/objects/{name}/search"] >= 2


def test_hubspot_requests_for_feedback(tmp_path):
    source = parse_source(
        {"source": "s", "type": "hubspot", "connection": {"token": {"env": "X"}}, "streams": {"feedback": {}}},
        tmp_path / "s.yaml",
    )
    request = source.streams["feedback"].origin.request
    api = _hubspot("feedbackSubmissions")
    args = ImmutableMultiDict([("limit", "100"), ("after", "NTI1"), ("properties", "hs_value,hs_content")])
    api.validate_request(MockRequest("https://api.hubapi.com", "get", request.path, args=args))  # type: ignore[arg-type]


@pytest.mark.parametrize("stream", ["contacts", "conversations"])
def test_intercom_in_both_directions(tmp_path, stream):
    api = _intercom()
    with serve("intercom", rows=320) as fake:
        seen = _recording(fake)
        _load(tmp_path, fake, "intercom", [stream], url=fake.url)
        for exchange in seen:
            assert exchange.headers["intercom-version"] == "2.13"
            _judge(api, exchange, "https://api.intercom.io")
    assert Counter(urlsplit(exchange.target).path for exchange in seen)[f"/{stream}/search"] >= 4


def test_a_request_that_hubspot_does_not_allow_is_noticed(tmp_path):
    with serve("hubspot", rows=10) as fake:
        seen = _recording(fake)
        _load(tmp_path, fake, "hubspot", ["contacts"], base_url=fake.url)
    first = seen[0]
    body = json.loads(first.body)
    api = _hubspot("contacts")
    for wrong in (
        {key: value for key, value in body.items() if key != "properties"},
        body | {"limit": "200"},
        body | {"sorts": ["hs_object_id"]},
        body | {"filterGroups": [{"filters": [{"propertyName": "email", "operator": "LIKE", "value": "x"}]}]},
    ):
        exchange = Exchange(first.method, first.target, first.headers, json.dumps(wrong).encode(), first.answer)
        with pytest.raises(OpenAPIError):
            _judge(api, exchange, "https://api.hubapi.com")


def test_an_answer_that_hubspot_does_not_give_is_noticed(tmp_path):
    with serve("hubspot", rows=10) as fake:
        seen = _recording(fake)
        _load(tmp_path, fake, "hubspot", ["contacts"], base_url=fake.url)
    first = seen[0]
    api = _hubspot("contacts")
    for wrong in ({"results": first.answer.body["results"]}, first.answer.body | {"total": "10"}):
        with pytest.raises(OpenAPIError):
            _judge(
                api,
                Exchange(first.method, first.target, first.headers, first.body, Answer(wrong)),
                "https://api.hubapi.com",
            )
