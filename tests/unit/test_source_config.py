"""A source YAML that is wrong says where, and what is right."""

import copy
from pathlib import Path

import pytest
import yaml

from orchestration.sources.config import ConfigError, Secret, load_source, load_sources, parse_source

CRM = {
    "source": "crm",
    "type": "sql",
    "timezone": "Asia/Shanghai",
    "connection": {"dsn": {"env": "CRM_DSN"}},
    "streams": {
        "contacts": {
            "from": {"table": "public.contacts"},
            "to": "customer",
            "primary_key": ["id"],
            "cursor": {"field": "updated_at", "lag": "15m"},
            "deletes": {"strategy": "key_scan", "max_vanish_share": "0.05"},
            "fields": {"email": {"from": "email_addr"}, "country": "country_name", "updated_at": "updated_at"},
        }
    },
}
SURVEY = {
    "source": "voice",
    "type": "files",
    "surveys": {
        "rel": {
            "name": "Relation",
            "version": "2",
            "questions": {
                "Q1": {"metric": "nps", "scale": {"min": "0", "max": "10"}, "missing": {"11": "blank"}},
                "Q2": {"metric": "text"},
            },
        }
    },
    "streams": {
        "responses": {
            "from": {"path": "responses.csv", "profile": "qualtrics"},
            "primary_key": ["_recordId"],
            "tables": {
                "response": {"survey": "rel", "fields": {"answered_at": "recordedDate"}},
                "answer": {"survey": "rel", "questions": {"Q1": "QID1"}},
                "comment": {"survey": "rel", "texts": {"Q2": "QID2_TEXT"}},
            },
        }
    },
}
PATH = Path("/etc/sources/x.yaml")


def changed(raw, place, value):
    raw = copy.deepcopy(raw)
    *parents, last = place
    node = raw
    for key in parents:
        node = node[key]
    if value is None:
        node.pop(last)
    else:
        node[last] = value
    return raw


def test_the_whole_of_a_source():
    source = parse_source(CRM, PATH)
    stream = source.streams["contacts"]
    assert stream.tables["customer"].fields["country"].source_fields == ["country_name"]
    assert stream.cursor.lag.total_seconds() == 900
    assert list(stream.declared_columns()) == ["id", "updated_at", "email_addr", "country_name"]
    assert (stream.required, stream.on_empty) == (False, "block")


def test_surveys_become_streams():
    source = parse_source(SURVEY, PATH)
    assert list(source.streams) == ["responses", "surveys", "questions"]
    assert list(source.streams["questions"].tables) == ["question"]


CONTACTS = ("streams", "contacts")
RESPONSES = ("streams", "responses")
WRONG = [
    (CRM, ("conection",), {}, r"conection: unknown key 'conection'; did you mean 'connection'\?"),
    (CRM, (*CONTACTS, "cursr"), {}, r"streams.contacts.cursr: unknown key 'cursr'; did you mean 'cursor'\?"),
    (CRM, (*CONTACTS, "feilds"), {}, r"streams.contacts.feilds: unknown key 'feilds'; did you mean 'fields'\?"),
    (
        CRM,
        (*CONTACTS, "cursor", "filed"),
        "x",
        r"streams.contacts.cursor.filed: unknown key 'filed'; did you mean 'field'\?",
    ),
    (
        CRM,
        (*CONTACTS, "from", "tabel"),
        "x",
        r"streams.contacts.from.tabel: unknown key 'tabel'; did you mean 'table'\?",
    ),
    (CRM, (*CONTACTS, "fields", "email", "frmo"), "x", r"email.frmo: unknown key 'frmo'; did you mean 'from'\?"),
    (CRM, ("connection", "dns"), "x", r"connection.dns: unknown key 'dns'; did you mean 'dsn'\?"),
    (CRM, ("type",), "sqll", r"type: unknown type 'sqll': did you mean 'sql'\?"),
    (CRM, ("timezone",), "Asia/Shangai", r"timezone: 'Asia/Shangai' is not an IANA time zone"),
    (CRM, ("source",), "C R M", r"source: 'C R M' is no plain name"),
    (CRM, (*CONTACTS, "to"), "custommer", r"unknown contract 'custommer'; did you mean 'customer'\?"),
    (CRM, (*CONTACTS, "to"), None, r"streams.contacts: 'fields' needs 'to'"),
    (CRM, (*CONTACTS, "from"), None, r"streams.contacts.from: is missing"),
    (CRM, (*CONTACTS, "primary_key"), None, r"streams.contacts.primary_key: deletes by key_scan need"),
    (CRM, (*CONTACTS, "deletes"), None, None),
    (CRM, (*CONTACTS, "deletes", "strategy"), "keyscan", r"deletes.strategy: Input should be"),
    (CRM, (*CONTACTS, "deletes"), {"strategy": "soft_flag"}, r"needs 'field' and 'values'"),
    (CRM, (*CONTACTS, "cursor", "lag"), "15 parsecs", r"cursor.lag: '15 parsecs' is no duration"),
    (CRM, (*CONTACTS, "fields", "emial"), "x", r"contract 'customer' has no column 'emial'; did you mean 'email'\?"),
    (CRM, (*CONTACTS, "fields", "load_id"), "x", r"fields.load_id: is filled by the warehouse"),
    (CRM, (*CONTACTS, "fields", "email"), {"value": "a", "from": "b"}, r"exactly one of 'from'"),
    (CRM, (*CONTACTS, "fields", "email", "pii"), "hmac", r"fields.email: a keyed hash cannot be read as email"),
    (CRM, (*CONTACTS, "pii"), {"updated_at": "drop"}, r"'updated_at' steers the load"),
    (CRM, (*CONTACTS, "pii"), {"id": "drop"}, r"'id' is part of the primary key and cannot be dropped"),
    (CRM, (*CONTACTS, "to"), "ticket", r"required column 'opened_at' is not mapped \(When it was opened.\)"),
    (CRM, (*CONTACTS, "from"), {"path": "x.csv"}, r"streams.contacts.from.path: unknown key"),
    (SURVEY, ("connection",), {"dsn": "x"}, r"connection.dsn: unknown key 'dsn'; keys here: endpoint_url, key,"),
    (SURVEY, (*RESPONSES, "cursor"), {"field": "x"}, r"cursor: type 'files' has no cursor"),
    (SURVEY, (*RESPONSES, "deletes"), {"strategy": "key_scan"}, r"type 'files' cannot follow 'key_scan'"),
    (SURVEY, (*RESPONSES, "from", "encoding"), "utf-9", r"from.encoding: 'utf-9' is no encoding"),
    (SURVEY, (*RESPONSES, "from", "delimiter"), ";;", r"';;' is no delimiter"),
    (SURVEY, (*RESPONSES, "from", "path"), "a.docx", r"names no format; add format"),
    (SURVEY, (*RESPONSES, "from", "profile"), "ga4_bigquery", r"'ga4_bigquery' is nested"),
    (
        SURVEY,
        (*RESPONSES, "tables", "response", "survey"),
        "real",
        r"'real' is not declared under 'surveys'; did you mean 'rel'",
    ),
    (
        SURVEY,
        (*RESPONSES, "tables", "response", "survey"),
        None,
        r"required column 'survey_id' is not mapped.*add 'survey: <id>'",
    ),
    (
        SURVEY,
        (*RESPONSES, "tables", "answer", "questions"),
        {"Q9": "QID9"},
        r"question 'Q9' of survey 'rel' in source 'voice' is not declared.*with a metric \(one of nps, csat",
    ),
    (SURVEY, (*RESPONSES, "tables", "response", "questions"), {"Q1": "QID1"}, r"only 'answer' takes 'questions'"),
    (
        SURVEY,
        ("surveys", "rel", "questions", "Q2", "metric"),
        None,
        r"source 'voice', survey 'rel', question 'Q2' needs a metric.*nps, csat, ces, rating, choice, text, none",
    ),
    (SURVEY, ("surveys", "rel", "questions", "Q1", "scale"), None, r"questions.Q1: metric 'nps' needs a scale"),
    (SURVEY, ("surveys", "rel", "questions", "Q1", "missing"), {"11": "gone"}, r"unknown missing reason \['gone'\]"),
    (SURVEY, ("streams", "questions"), SURVEY["streams"]["responses"], r"this name is taken by the declarations"),
]


@pytest.mark.parametrize(("raw", "place", "value", "message"), WRONG, ids=[".".join(case[1]) for case in WRONG])
def test_a_wrong_key_is_named_with_its_mend(raw, place, value, message):
    if message is None:
        parse_source(changed(raw, place, value), PATH)
        return
    with pytest.raises(ConfigError, match=message) as error:
        parse_source(changed(raw, place, value), PATH)
    assert all(line.startswith(f"{PATH}: ") for line in str(error.value).splitlines())


def test_all_faults_are_told_at_once():
    raw = changed(changed(CRM, ("timezone",), "X"), (*CONTACTS, "cursr"), {})
    with pytest.raises(ConfigError) as error:
        parse_source(raw, PATH)
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:s3cret@host/db",
        "postgresql://host/db?password=s3cret",
        "postgresql://host/db?user=me&password=s3cret",
    ],
)
def test_a_literal_password_is_refused_and_never_shown(dsn):
    with pytest.raises(ConfigError, match=r"connection.dsn.*write dsn: \{env: NAME\}") as error:
        parse_source(changed(CRM, ("connection", "dsn"), dsn), PATH)
    assert "s3cret" not in str(error.value)


def test_a_written_out_password_is_refused_and_never_shown():
    connection = {"dsn": "postgresql://me@host/db", "password": "s3cret"}
    with pytest.raises(ConfigError, match=r"connection.password: is written out, .*; write \{env: NAME\}") as error:
        parse_source(changed(CRM, ("connection",), connection), PATH)
    assert "s3cret" not in str(error.value)


def test_an_unknown_database_is_refused():
    with pytest.raises(ConfigError, match=r"connection.dsn: is no DSN of a known database: begin with postgresql://"):
        parse_source(changed(CRM, ("connection", "dsn"), "oracle://host/db"), PATH)


def test_secrets_are_read_when_used(tmp_path):
    source = parse_source(CRM, tmp_path / "crm.yaml")
    assert source.reveal(Secret(env="A"), tmp_path, {"A": "x"}) == "x"
    with pytest.raises(ConfigError, match=r"crm.yaml: source 'crm' needs the environment variable A, which is not set"):
        source.reveal(Secret(env="A"), tmp_path, {})
    (tmp_path / "key").write_text("y\n")
    assert source.reveal(Secret(file="{home}/key"), tmp_path) == "y"
    assert source.reveal(Secret(file="key"), tmp_path / "elsewhere") == "y"
    with pytest.raises(ConfigError, match=r"needs the secret file .*nokey, which cannot be read"):
        source.reveal(Secret(file="nokey"), tmp_path)


def test_paths_start_at_home_or_at_the_file(tmp_path):
    source = parse_source(CRM, tmp_path / "crm.yaml")
    assert source.expand("{home}/a.csv", Path("/home")) == Path("/home/a.csv")
    assert source.expand("a.csv", Path("/home")) == tmp_path / "a.csv"
    assert source.expand("/b/a.csv", Path("/home")) == Path("/b/a.csv")


def test_no_folder_and_no_file_are_no_source(tmp_path):
    assert load_sources(tmp_path / "none") == {}
    assert load_sources(tmp_path) == {}


def test_two_files_of_one_source_are_refused(tmp_path):
    for name in ("a.yaml", "b.yml"):
        (tmp_path / name).write_text(yaml.safe_dump(CRM))
    with pytest.raises(ConfigError, match=r"b.yml: the source 'crm' is declared in .*a.yaml already"):
        load_sources(tmp_path)


def test_yaml_traps(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "source: a\ntype: files\nstreams:\n  s:\n    from: {path: a.csv, null_tokens: [NO, 007]}\n    to: customer\n"
        "    primary_key: [id]\n    required: yes\n    fields: {country: {from: c, map: {NO: 'Norway', 01: null}}}\n"
    )
    stream = load_source(path).streams["s"]
    assert stream.tables["customer"].fields["country"].map == {"NO": "Norway", "01": None}
    assert stream.origin.null_tokens == ["NO", "007"]
    assert stream.required is True
    path.write_text("source: a\nsource: b\n")
    with pytest.raises(ConfigError, match=r"the key 'source' stands twice"):
        load_source(path)
    path.write_text("a: [")
    with pytest.raises(ConfigError, match=r"a.yaml: is no YAML"):
        load_source(path)
    path.write_text("")
    with pytest.raises(ConfigError, match=r"holds keys such as source"):
        load_source(path)
    path.write_bytes(b"source: \xff")
    with pytest.raises(ConfigError, match=r"cannot be read"):
        load_source(path)


def test_what_decides_the_reading_decides_the_hash():
    def hashed(place, value):
        return parse_source(changed(CRM, place, value), PATH).streams["contacts"].config_hash

    same = hashed(("description",), "x")
    assert same == hashed((*CONTACTS, "fields", "city"), "town")
    assert same == hashed((*CONTACTS, "cursor", "lag"), "1h")
    assert same != hashed((*CONTACTS, "from"), {"table": "public.people"})
    assert same != hashed((*CONTACTS, "pii"), {"name": "drop"})


def test_the_strictest_treatment_of_a_field_wins():
    raw = changed(CRM, (*CONTACTS, "fields"), {"login": {"from": "x", "pii": "hmac"}, "city": {"from": "x"}})
    assert parse_source(raw, PATH).streams["contacts"].pii_actions() == {"x": "hmac"}
