"""The YAML of an HTTP source: what is refused before a request is made, and how templates are filled."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from orchestration.sources.config import ConfigError, load_source
from orchestration.sources.http.config import HttpConnection, HttpOrigin
from orchestration.sources.http.templates import TemplateError, fill, fill_text

NOW = datetime(2026, 5, 4, 12, 0, 0, 250000, tzinfo=UTC)


def origin(**values) -> HttpOrigin:
    return HttpOrigin.model_validate({"request": {"path": "/x"}, **values})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"paging": {"kind": "page", "size": "10"}}, "would be lost unseen"),
        ({"paging": {"kind": "offset", "size": "10", "reconcile": "total"}}, "needs 'total'"),
        ({"paging": {"kind": "keyset", "fields": ["id"]}}, "uses last.<field>"),
        ({"paging": {"kind": "token", "next": "a", "header": "b"}}, "exactly one of 'next'"),
        ({"paging": {"kind": "token", "next": "a["}}, "no JMESPath"),
        ({"request": {"path": "/{{ windw.start }}"}}, "did you mean 'window'"),
        ({"request": {"path": "/{{ window.start"}}, "no template"),
        ({"request": {"json": {"a": "1"}, "form": {"b": "2"}}}, "one of 'json', 'form' and 'body'"),
        ({"slices": {"by": "1 fortnight"}}, "no duration"),
        ({"slices": {"by": "1d", "over": "5"}}, "the source's own count"),
        ({"records": {"base64": "true", "format": "csv"}}, "need 'path'"),
        ({"errors": [{"message": "x"}]}, "'path', 'status' or both"),
        ({"errors": [{"path": "x", "ok": "1", "bad": "2"}]}, "'ok' or 'bad'"),
        ({"export": {"start": {"path": "/e"}, "poll": {"path": "/p"}}}, "'status'"),
        (
            {"paging": {"kind": "token", "next": "a", "resume": "true"}, "each": {"x": ["1"]}},
            "one sequence of pages",
        ),
    ],
)
def test_what_would_lose_a_row_or_cannot_work_is_refused(values, said):
    with pytest.raises(ValidationError, match=said):
        origin(**values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"base_url": "ftp://x"}, "no address"),
        ({"base_url": "https://u:p@x"}, "holds a password"),
        ({"base_url": "https://x", "auth": {"kind": "bearer", "token": "plain"}}, "written out"),
        (
            {
                "base_url": "https://x",
                "auth": {"kind": "oauth2", "grant": "refresh_token", "token_url": "/t", "client_id": "c"},
            },
            "needs refresh_token",
        ),
    ],
)
def test_a_connection_that_gives_a_secret_away_is_refused(values, said):
    with pytest.raises(ValidationError, match=said):
        HttpConnection.model_validate(values)


def test_plain_yaml_scalars_are_json_values_and_quoted_ones_text(tmp_path: Path):
    path = tmp_path / "shop.yaml"
    path.write_text(
        """
source: shop
type: http
connection: {base_url: "https://shop.example"}
streams:
  items:
    from:
      request: {method: POST, json: {limit: 100, deep: [true, null, 1.5], text: "100", name: abc, code: 007}}
    to: customer
    primary_key: [id]
    fields: {email: email}
"""
    )
    body = load_source(path).streams["items"].origin.request.json_body
    assert body == {"limit": 100, "deep": [True, None, 1.5], "text": "100", "name": "abc", "code": "007"}


def test_the_error_of_a_wrong_key_names_the_nearest(tmp_path: Path):
    path = tmp_path / "shop.yaml"
    raw = {
        "source": "shop",
        "type": "http",
        "connection": {"base_url": "https://x", "auth": {"kind": "bearer", "tokn": {"env": "T"}}},
        "streams": {"items": {"from": {"request": {}, "pagination": {}}, "to": "customer", "primary_key": ["id"]}},
    }
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigError) as caught:
        load_source(path)
    assert "unknown key 'tokn'; did you mean 'token'?" in str(caught.value)
    assert "unknown key 'pagination'; did you mean 'paging'?" in str(caught.value)


def test_templates_give_texts_values_and_nothing():
    variables = {"window": {"start": NOW, "end": None}, "last": {"id": 5}, "page": {"token": None}}
    assert fill_text("since={{ window.start }}", variables) == "since=2026-05-04T12:00:00.250000Z"
    assert fill({"a": "{{ last.id }}", "b": "{{ page.token }}", "c": None}, variables) == {"a": 5, "c": None}
    assert fill("{{ [{'v': last.id}] }}", variables) == [{"v": 5}]
    assert fill("{{ window.start | epoch_ms }}", variables) == 1777896000250
    assert fill("{{ window.start | date('%d.%m.%Y', 'Asia/Shanghai') }}", variables) == "04.05.2026"
    assert fill("{{ window.start | minus('1h') | iso }}", variables) == "2026-05-04T11:00:00.250000Z"
    assert fill("{{ window.end | minus('1h') | epoch | string }}", variables) is None
    assert fill("{{ (last.id | epoch) if window.end }}", variables) is None


@pytest.mark.parametrize(
    "text",
    ["{{ last.nothing }}", "to {{ window.end | epoch }}", "{{ [window.end | epoch] }}", "{{ ''.__class__.__mro__ }}"],
)
def test_a_template_that_lacks_something_or_reaches_out_fails(text):
    with pytest.raises(TemplateError):
        fill_text(text, {"window": {"start": NOW, "end": None}, "last": {}})
