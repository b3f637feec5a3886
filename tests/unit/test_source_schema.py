"""The JSON Schema of source YAMLs says yes to what is right, and no where an editor should underline."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from orchestration.cli import main
from orchestration.contracts import CONTRACTS
from orchestration.sources.config import parse_source, read_yaml
from orchestration.sources.errors import ConfigError
from orchestration.sources.kinds import MODULES
from orchestration.sources.presets import preset, preset_names
from orchestration.sources.schema import MODELINE, schema

ROOT = Path(__file__).resolve().parents[2]
FILES = [*sorted((ROOT / "orchestration/sample/sources").glob("*.yaml"))]
EXAMPLES = [
    (page.relative_to(ROOT).as_posix(), block)
    for page in sorted([*(ROOT / "docs/sources").rglob("*.md"), *(ROOT / "docs/guides").rglob("*.md")])
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)
    if re.search(r"^(source|streams|type):", block, re.M)
]


@pytest.fixture(scope="module")
def validator():
    found = schema()
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


class _EditorLoader(yaml.SafeLoader):
    """YAML 1.2 as editors read it: no dates, ``true`` and ``false`` alone are Booleans."""


_EditorLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith((":timestamp", ":bool"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_EditorLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))


def read_as_editor(text: str):
    """As an editor does: keys are texts."""
    return json.loads(json.dumps(yaml.load(text, Loader=_EditorLoader)))


def faults(validator, raw) -> list[str]:
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(raw)]


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_sample_sources_are_right(validator, path):
    assert faults(validator, read_as_editor(path.read_text())) == []
    assert faults(validator, read_yaml(path)) == []


@pytest.mark.parametrize(("page", "block"), EXAMPLES, ids=[page for page, _ in EXAMPLES])
def test_examples_of_the_pages_are_right_for_models_and_schema(validator, page, block, tmp_path):
    path = tmp_path / "example.yaml"
    path.write_text(block, encoding="utf-8")
    whole = {"source": "example", "type": "files"}
    parse_source({**whole, **read_yaml(path)}, path)
    assert faults(validator, {**whole, **read_as_editor(block)}) == []


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_right_themselves(validator, name):
    """What a preset says of its kind is right by the kind's schema, once its options are filled in."""
    chosen = preset(name)
    given = {
        key: {"env": "X"} if option.secret else str(option.example or "1") for key, option in chosen.options.items()
    }
    raw = {"source": "mine", "type": name, "connection": given}
    assert faults(validator, raw) == []
    streams = list(chosen.source["streams"])
    raw["streams"] = {
        streams[0]: {"fields": None, "from": {"paging": {"size": "5"}}, "required": True},
        "again": {"like": streams[0], "cursor": None},
    }
    assert faults(validator, raw) == []


CRM = read_as_editor("""
source: crm
type: sql
connection: {dsn: {env: CRM_DSN}}
streams:
  contacts:
    from: {table: public.contacts}
    to: customer
    primary_key: [id]
    cursor: {field: updated_at, lag: 15m}
    fields: {email: {from: email_addr}, updated_at: updated_at}
""")
API = read_as_editor("""
source: api
type: http
connection:
  base_url: https://api.example
  auth: {kind: bearer, token: {env: TOKEN}}
  budget: {per_day: 500}
streams:
  people:
    from:
      request: {path: /people, params: {since: "{{ window.start }}"}}
      paging: {kind: token, next: next_token, param: token}
      slices: {by: 1d}
      errors: [{status: 404, action: empty}, {path: ok, ok: yes}]
    primary_key: [id]
    cursor: {field: changed, start: "2026-01-01"}
    tables: {customer: {fields: {email: mail}}}
""")
HUBSPOT = {"source": "hs", "type": "hubspot", "connection": {"token": {"env": "T"}}}


@pytest.mark.parametrize("raw", [CRM, API, HUBSPOT])
def test_what_is_changed_below_is_right_before(validator, raw):
    assert faults(validator, raw) == []
    assert parse_source(raw, Path("x.yaml")).streams


@pytest.mark.parametrize(
    ("raw", "place", "value", "underlined"),
    [
        (CRM, "sourc", "crm", ""),
        (CRM, "source", None, "source"),
        (CRM, "source", "Bad Name", "source"),
        (CRM, "type", "sqll", "type"),
        (CRM, "connection.dns", "x", "connection"),
        (CRM, "connection.dsn", {"env": "A", "file": "b"}, "connection.dsn"),
        (CRM, "streams.contacts.form", {}, "streams.contacts"),
        (CRM, "streams.contacts.to", "custmer", "streams.contacts.to"),
        (CRM, "streams.contacts.fields.e_mail", "x", "streams.contacts.fields"),
        (CRM, "streams.contacts.fields.email", {"form": "x"}, "streams.contacts.fields.email"),
        (CRM, "streams.contacts.fields.email", {"from": "x", "pii": "hide"}, "streams.contacts.fields.email"),
        (CRM, "streams.contacts.cursor.lag", "15 minutes", "streams.contacts.cursor"),
        (CRM, "streams.contacts.cursor.feild", "x", "streams.contacts.cursor"),
        (CRM, "streams.contacts.primary_key", "id", "streams.contacts.primary_key"),
        (CRM, "streams.contacts.deletes", {"strategy": "guess"}, "streams.contacts.deletes.strategy"),
        (CRM, "streams.contacts.max_drop_share", 2, "streams.contacts.max_drop_share"),
        (CRM, "streams.contacts.required", "maybe", "streams.contacts.required"),
        (API, "connection.auth.token", "written out", "connection.auth"),
        (API, "connection.auth.kind", "bearr", "connection.auth"),
        (API, "connection.budget.per_day", "many", "connection.budget.per_day"),
        (API, "streams.people.from.paging.kind", "offset", "streams.people.from.paging"),
        (API, "streams.people.from.paging.nxt", "x", "streams.people.from.paging"),
        (API, "streams.people.from.slices.by", "daily", "streams.people.from.slices"),
        (API, "streams.people.from.request.parms", {}, "streams.people.from.request"),
        (API, "streams.people.from.request", None, "streams.people.from.request"),
        (API, "streams.people.tables.customer.fields.mail", "x", "streams.people.tables.customer.fields"),
        (API, "streams.people.tables.customers", {}, "streams.people.tables"),
        (HUBSPOT, "connection.tokn", {"env": "T"}, "connection"),
        (HUBSPOT, "connection.token", "written out", "connection.token"),
        (HUBSPOT, "connection", {}, "connection"),
        (HUBSPOT, "streams", {"contacts": {"feilds": {}}}, "streams.contacts"),
        (HUBSPOT, "streams", {"contacts": {"to": "customer", "fields": {"mail": "x"}}}, "streams.contacts.fields"),
        (HUBSPOT, "streams", {"contact": {}}, "streams.contact"),
    ],
)
def test_what_is_wrong_is_underlined_where_it_stands(validator, raw, place, value, underlined):
    broken = copy.deepcopy(raw)
    *parents, last = place.split(".")
    node = broken
    for key in parents:
        node = node[key]
    node[last] = value
    with pytest.raises(ConfigError):
        parse_source(broken, Path("x.yaml"))
    places = [".".join(map(str, error.absolute_path)) for error in validator.iter_errors(broken)]
    assert any(found == underlined or found.startswith(f"{underlined}.") for found in places), places


def test_contracts_and_presets_are_all_there():
    found = schema()
    assert found["properties"]["type"]["enum"] == [*MODULES, *preset_names()]
    for name, contract in CONTRACTS.items():
        columns = set(found["$defs"][f"fields_{name}"]["properties"])
        assert columns == {column.name for column in contract.columns} | {"updated_at"}


def test_editors_show_what_docstrings_say():
    found = schema("http")["$defs"]
    assert found["HttpConnection"]["properties"]["timeout_seconds"]["description"] == "Longest silence of the server."
    assert "halved" in found["Slices"]["properties"]["over"]["description"]
    assert found["fields_customer"]["properties"]["email"]["description"]


def test_every_reference_leads_somewhere():
    for name in (None, "sql", *preset_names()):
        found = schema(name)
        for reference in re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(found)):
            assert reference in found["$defs"], reference


def test_the_verb_prints_it_and_init_writes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EXPERIENCE_HOME", str(tmp_path))
    monkeypatch.delenv("EXPERIENCE_SOURCES", raising=False)
    assert main(["sources", "schema", "--type", "http"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["properties"]["type"]["enum"] == ["http"]
    assert main(["sources", "schema", "--type", "htp"]) == 2
    assert "did you mean 'http'?" in capsys.readouterr().err
    assert main(["init"]) == 0
    written = tmp_path / "sources" / MODELINE.rpartition("=")[2]
    assert json.loads(written.read_text()) == schema()


def test_a_reader_who_has_seen_enough_gets_no_traceback():
    command = "import sys; from orchestration.cli import main; sys.exit(main(['sources', 'schema']))"
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"{\n"
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 1
