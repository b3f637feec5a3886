"""Files as they really come: encodings, archives, odd headers, damaged bytes; and which of them are new."""

import gzip
import io
import json
import zipfile
from datetime import datetime, timedelta

import polars as pl
import pyarrow as pa
import pytest

from orchestration.settings import Settings
from orchestration.sources.config import parse_source
from orchestration.sources.errors import ConfigError, SourceError
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing

NOW = datetime(2026, 5, 1, 2)


class Inbox:
    """One stream over a folder, night after night."""

    def __init__(self, home, **settings):
        self.home = home
        self.settings = Settings(home=home, sources_dir=home, **settings)
        self.landing = Landing(self.settings.landing_dir)
        self.nights = 0

    def night(self, path="*.csv", *, origin=None, **stream):
        entry = {
            "from": {"path": f"{{home}}/in/{path}", **(origin or {})},
            "to": "customer",
            "primary_key": ["id"],
            "fields": {"email": "email"},
            **stream,
        }
        source = parse_source(
            {"source": "shop", "type": "files", "streams": {"people": entry}}, self.home / "shop.yaml"
        )
        self.nights += 1
        now = NOW + timedelta(days=self.nights)
        return extract(source, "people", settings=self.settings, run_id="r", now=now)

    def put(self, name, data):
        path = self.home / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def loads(self):
        return self.landing.manifests("shop", "people")

    def rows(self, *columns):
        return self.landing.scan(self.loads()[-1]).collect().select(columns or ("id", "email")).rows()

    def rejects(self):
        return self.landing.rejects(self.loads()[-1]).collect().rows()


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path, hmac_key=b"key")


def zipped(*names, text=b"id,email\n1,a\n"):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(name, text)
    return data.getvalue()


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PLAIN = "id,email\n1,é你\n2,\n"


@pytest.mark.parametrize(
    ("name", "data", "origin"),
    [
        ("a.csv", PLAIN, {}),
        ("a.csv", "\ufeff" + PLAIN, {}),
        ("a.csv", PLAIN.replace("\n", "\r\n"), {}),
        ("a.csv", PLAIN.rstrip("\n"), {}),
        ("a.csv", PLAIN.encode("utf-16"), {"encoding": "utf-16"}),
        ("a.csv", PLAIN.replace("é", "e").encode("gb18030"), {"encoding": "gbk"}),
        ("a.csv", PLAIN.replace(",", ";"), {"delimiter": ";"}),
        ("a.tsv", PLAIN.replace(",", "\t"), {"delimiter": "tab"}),
        ("a.csv.gz", gzip.compress(PLAIN.encode(), mtime=0), {}),
        ("a.csv", gzip.compress(PLAIN.encode(), mtime=0), {}),
        ("a.csv.zip", zipped("x.csv", "__MACOSX/x", text=PLAIN.encode()), {}),
        ("a.csv.zst", zstd(PLAIN.encode()), {}),
        ("a.csv", "# made by hand\n# twice\n" + PLAIN, {"skip_rows": 2}),
        ("a.csv", PLAIN.removeprefix("id,email\n"), {"header_rows": 0, "columns": ["id", "email"]}),
        ("a.csv", "id,email\n1,é你\n\n2,\\N\n", {"null_tokens": ["\\N"]}),
        ("a.csv", "'id',email\n'1','é你'\n2,\n", {"quote": "'"}),
        ("a.csv", "\n" + PLAIN, {}),
        ("a.jsonl", '{"id": 1, "email": "é你"}\n\n{"id": "2"}\n', {}),
        ("a.jsonl", '{"email": null, "id": 2}\r\n{"id": 1, "email": "\\u00e9\\u4f60"}', {}),
        (
            "a.ndjson.gz",
            gzip.compress(b'{"id": 1, "email": "\xc3\xa9\xe4\xbd\xa0"}\n{"id": 2, "email": null}', mtime=0),
            {},
        ),
    ],
)
def test_shapes_of_one_table(inbox, name, data, origin):
    inbox.put(name, data)
    record = inbox.night("a*", origin={"format": "csv" if name.startswith(("a.csv", "a.tsv")) else "jsonl", **origin})
    assert (record.status, record.rows_read, record.rows_landed, record.rows_rejected) == ("committed", 2, 2, 0)
    found = {row[0]: row[1].replace("e", "é") if row[1] else row[1] for row in inbox.rows()}
    assert found == {"1": "é你", "2": None}


def test_text_stays_text(inbox):
    inbox.put("a.csv", 'id,email,x,y\n007,"a\nb","",NULL\n1e5," c ""d""",1.10,"NULL"\n')
    inbox.night(origin={"null_tokens": ["NULL"]})
    assert inbox.rows("id", "email", "x", "y") == [("007", "a\nb", "", None), ("1e5", ' c "d"', "1.10", "NULL")]


def test_json_values_as_text(inbox):
    big = "12345678901234567890123"
    line = '{"id": BIG, "email": {"a": [1, "x", null]}, "ok": true, "A": [], "a": 1.5, "a.b \\"c\\"": "\\u0000"}\n'
    inbox.put("a.jsonl", line.replace("BIG", big))
    inbox.night("a.jsonl")
    columns = ("id", "email", "ok", "A", "a", 'a.b "c"')
    assert inbox.rows(*columns) == [(big, '{"a":[1,"x",null]}', "true", "[]", "1.5", "\0")]


def test_columns_differ_from_line_to_line(inbox, monkeypatch):
    monkeypatch.setattr("orchestration.sources.files._LINES", 20)
    inbox.put("a.jsonl", '{"id": 1, "email": "a"}\n{"id": 2, "note": "x"}\n{"other": 3}\n{}\n')
    inbox.night("a.jsonl")
    assert inbox.rows("id", "email", "note", "other", "_row") == [
        ("1", "a", None, None, 1),
        ("2", None, "x", None, 2),
        (None, None, None, "3", 3),
        (None, None, None, None, 4),
    ]


def test_parquet_of_any_type(inbox):
    inbox.put("a.parquet", b"")
    frame = pl.DataFrame(
        {
            "id": [1, 2],
            "email": ["a", None],
            "at": [datetime(2026, 1, 1, 12, 30), None],
            "zoned": pl.Series([datetime(2026, 1, 1, 12), None]).dt.replace_time_zone("Asia/Shanghai"),
            "amount": pl.Series(["1.10", None]).cast(pl.Decimal(10, 2)),
            "ratio": [0.1, float("nan")],
            "tags": [["a", None], []],
            "nested": [{"x": 1, "y": "z"}, None],
            "flag": [True, None],
        }
    )
    frame.write_parquet(inbox.home / "in" / "a.parquet")
    inbox.night("a.parquet")
    assert inbox.rows(*frame.columns) == [
        (
            "1",
            "a",
            "2026-01-01 12:30:00",
            "2026-01-01 04:00:00+00",
            "1.10",
            "0.1",
            '["a",null]',
            '{"x":1,"y":"z"}',
            "true",
        ),
        ("2", None, None, None, None, "nan", "[]", None, None),
    ]


def test_ragged_lines_are_kept_with_their_record_number(inbox, monkeypatch):
    monkeypatch.setattr("orchestration.sources.files._BLOCK", 64)
    good = "".join(f"{i},mail{i}\n" for i in range(4, 40))
    inbox.put("a.csv", f'id,email\n1,"a\nb"\n2\n3,x,y\n{good}40,a,b\n41,z\n42\n')
    record = inbox.night()
    assert (record.rows_read, record.rows_landed, record.rows_rejected) == (42, 38, 4)
    assert [row[0] for row in inbox.rows("_row")] == [1, *range(4, 40), 41]
    assert [row[0] for row in inbox.rows("id")] == [str(row[0]) for row in inbox.rows("_row")]
    assert inbox.rejects() == [
        ("a.csv", 2, "too_few_fields", "2"),
        ("a.csv", 3, "too_many_fields", "3,x,y"),
        ("a.csv", 40, "too_many_fields", "40,a,b"),
        ("a.csv", 42, "too_few_fields", "42"),
    ]


def test_broken_json_lines_are_kept(inbox):
    inbox.put("a.jsonl", '{"id": 1, "email": "a"}\n{"id": 2,\n\n[1]\n"x"\n')
    record = inbox.night("a.jsonl")
    assert (record.rows_landed, record.rows_rejected) == (1, 3)
    assert [row[1:3] for row in inbox.rejects()] == [(2, "invalid_json"), (4, "not_an_object"), (5, "not_an_object")]


def test_the_text_of_rejects_is_withheld_where_fields_are_hidden(inbox):
    inbox.put("a.csv", "id,email,ip\n1,a,10.0.0.1\n2,b\n")
    inbox.night(pii={"ip": "drop"})
    assert inbox.rejects() == [("a.csv", 2, "too_few_fields", None)]


def test_nothing_but_rejects_is_an_error(inbox):
    inbox.put("a.csv", "id,email\n1\n2\n")
    with pytest.raises(
        SourceError, match=r"shop.people, a.csv, record 1: too_few_fields; all 2 records were unreadable"
    ):
        inbox.night()
    assert inbox.loads() == []


def test_hidden_fields_never_reach_the_disk(inbox):
    inbox.put("a.csv", "id,email,ip,login\n1,a,10.0.0.1, bob \n2,b,10.0.0.2,\n3,c,10.0.0.3,bob\n")
    inbox.night(pii={"ip": "drop"}, fields={"email": "email", "login": {"from": "login", "pii": "hmac"}})
    rows = inbox.rows("ip", "login")
    assert [row[0] for row in rows] == [None, None, None]
    # printf 'field\x1fbob' | openssl dgst -sha256 -hmac key
    assert rows[0][1] == "a03ffda0846bd02bf1ea5a5d7cfba78ee70d94c8f1f01194db95121c597e9c7f"
    assert [row[1] for row in rows] == [rows[0][1], None, rows[0][1]]
    for part in inbox.landing.root.rglob("*.parquet"):
        assert b"10.0.0" not in part.read_bytes()


def test_hashing_needs_a_key(tmp_path):
    inbox = Inbox(tmp_path)
    inbox.put("a.csv", "id,email\n1,a\n")
    with pytest.raises(
        SourceError, match=r"field 'id' is to be hashed, but no key is configured; set EXPERIENCE_HMAC_KEY"
    ):
        inbox.night(pii={"id": "hmac"})
    assert inbox.loads() == []


def test_only_new_and_changed_files_land(inbox):
    inbox.put("a.csv", "id,email\n1,a\n")
    inbox.put("b.csv", "id,email\n2,b\n")
    assert inbox.night().rows_landed == 2
    record = inbox.night()
    assert (record.status, record.rows_read, record.rows_landed) == ("unchanged", None, 0)
    inbox.put("b.csv", "id,email\n2,B\n")
    inbox.put("deep/c.csv", "id,email\n3,c\n")
    assert inbox.night("**/*.csv").rows_landed == 2
    assert [stamp.path for stamp in inbox.loads()[-1].files] == ["b.csv", "deep/c.csv"]


def test_a_file_that_goes_back_to_an_older_content_lands_again(inbox):
    for text in ("1,a", "1,b", "1,a"):
        inbox.put("a.csv", f"id,email\n{text}\n")
        assert inbox.night().status == "committed"
    assert inbox.night().status == "unchanged"


def test_a_renamed_copy_is_no_news(inbox):
    path = inbox.put("a.csv", "id,email\n1,a\n")
    inbox.night()
    path.rename(path.with_name("b.csv"))
    assert inbox.night().status == "unchanged"
    inbox.put("c.csv", "id,email\n1,a\n")
    assert inbox.night().status == "unchanged"


def test_another_way_of_reading_reads_again(inbox):
    inbox.put("a.csv", "id,email\n1,-\n")
    inbox.night()
    assert inbox.night(origin={"null_tokens": ["-"]}).rows_landed == 1
    assert inbox.rows() == [("1", None)]


def test_an_empty_new_file_is_a_load_of_no_rows(inbox):
    inbox.put("a.csv", "id,email\n1,a\n")
    inbox.night()
    inbox.put("a.csv", "id,email\n")
    record = inbox.night()
    assert (record.status, record.rows_read) == ("committed", 0)
    for name, data in (("b.csv", b""), ("c.csv", b"\n\n"), ("d.csv", "\ufeff")):
        inbox.put("a.csv", data)
        record = inbox.night()
        assert (record.status, record.rows_read) == ("committed", 0), name


def test_a_new_column_lands_and_is_reported(inbox):
    inbox.put("a.csv", "id,email,old\n1,a,x\n")
    inbox.night()
    inbox.put("b.csv", "id,email,new\n2,b,y\n")
    assert inbox.night().schema_change == "added: new; gone: old"


def test_a_column_that_may_be_absent_lands_as_null(inbox):
    inbox.put("a.csv", "id,email\n1,a\n")
    inbox.night(fields={"email": "email", "phone": "phone"}, optional=["phone"])
    assert inbox.rows("id", "phone") == [("1", None)]


def test_names_the_landing_uses_and_repeated_and_blank_names(inbox):
    inbox.put("a.csv", "id,email,_row,x,x,,\n1,a,7,p,q,r,s\n")
    inbox.night()
    assert inbox.rows("_row", "_row#source", "x#1", "x#2", "column_6", "column_7") == [(1, "7", "p", "q", "r", "s")]


def test_several_header_rows_are_joined(inbox):
    inbox.put("a.csv", "id,Contact,\nid,email,phone\n1,a,2\n")
    inbox.night(origin={"header_rows": 2}, fields={"email": "Contact - email"})
    assert inbox.rows("id", "phone") == [("1", "2")]


WRONG = [
    ("a.csv", None, {}, r"shop.people: file .*in/a.csv does not exist; its folder holds other.txt. Deliver it"),
    ("*.csv", None, {}, r"shop.people: no file matches .*in/\*.csv. Deliver it, or correct streams.people.from.path"),
    (
        "a.csv",
        "id,mail\n1,a\n",
        {},
        r"file .*a.csv: declared column 'email' \(used by customer.fields.email\) is missing; nearest: 'mail'",
    ),
    ("a.csv", "id;email\n1;a\n", {}, r"declared column 'id'.*the header holds ';': is that the delimiter\?"),
    (
        "a.csv",
        "id,email,email\n1,a,b\n",
        {},
        r"column 'email' \(used by customer.fields.email\) stands 2 times; map the one that is meant: 'email#1'",
    ),
    (
        "a.csv",
        PLAIN.encode("gb18030"),
        {},
        r"byte 11 \(0x[0-9a-f]{2}\) is no utf-8; set streams.people.from.encoding in .*what fits here: gb18030",
    ),
    ("a.csv", b"id,email\n1,caf\xe9\n", {}, r"byte 14 \(0xe9\) is no utf-8; .*cp1252, latin-1"),
    ("a.csv", PLAIN.encode("utf-16"), {}, r"byte 0 \(0xff\) is no utf-8; .*what fits here: utf-16"),
    ("a.csv", "id,email\n1,a\n".encode("utf-16-le"), {}, r"it looks like encoding: utf-16"),
    ("a.csv", PLAIN.encode("utf-16-le"), {}, r"is no utf-8; .*what fits here: utf-16-le"),
    ("a.csv", 'id,email\n1,"a\n2,b\n3,c\n', {}, r"a quote opened in record 2 .*is never closed"),
    (
        "a.csv.gz",
        gzip.compress(PLAIN.encode() * 99, mtime=0)[:-20],
        {},
        r"a.csv.gz is truncated or damaged .*deliver it again, by rename",
    ),
    ("a.csv.gz", PLAIN, {}, r"a.csv.gz is named or declared gz but its content is not"),
    ("a.csv.gz", b"", {}, r"a.csv.gz is named or declared gz but its content is not"),
    ("a.csv.zip", zipped(), {}, r"a.csv.zip holds 0 files \(\) where one is expected"),
    ("a.csv.zip", zipped("a.csv")[:-30], {}, r"a.csv.zip is truncated or damaged"),
    ("a.parquet", b"PAR1 and nothing more", {}, r"file .*a.parquet is truncated or no Parquet"),
    ("a.parquet", b"", {}, r"file .*a.parquet is truncated or no Parquet"),
    ("a.jsonl", '{"id": 1, "mail": "a"}\n', {}, r"a.jsonl: declared column 'email' .* is missing; nearest: 'mail'"),
    ("a.jsonl", '[{"id": 1}]\n', {}, r"a.jsonl, record 1: not_an_object; all 1 records were unreadable"),
    ("a.csv", "id,email\n1,a\n", {"profile": "surveymonkey"}, r"declared column 'id'"),
    ("a.csv", "id,email\n", {"header_rows": 2}, r"2 header rows were expected, 1 are there"),
]


@pytest.mark.parametrize(
    ("name", "data", "origin", "message"), WRONG, ids=[f"{case[0]}-{i}" for i, case in enumerate(WRONG)]
)
def test_a_bad_file_is_named_with_its_mend(inbox, name, data, origin, message):
    inbox.put("other.txt", "")
    if data is not None:
        inbox.put(name, data)
    with pytest.raises(SourceError, match=message) as error:
        inbox.night(name, origin=origin)
    assert str(error.value).startswith("shop.people")
    assert not error.value.transient
    assert inbox.loads() == []
    assert not list(inbox.landing.root.rglob("part-*"))


def test_one_bad_file_commits_none(inbox):
    inbox.put("a.csv", "id,email\n1,a\n")
    inbox.put("b.csv", "id,mail\n2,b\n")
    with pytest.raises(SourceError, match=r"b\.csv"):
        inbox.night()
    assert inbox.loads() == []


def test_truncated_parquet_of_many_rows(inbox):
    frame = pl.DataFrame({"id": [str(i) for i in range(50_000)], "email": ["m"] * 50_000})
    path = inbox.put("a.parquet", b"")
    frame.write_parquet(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match="truncated or no Parquet"):
        inbox.night("a.parquet")
    # The footer is whole, a page is not.
    path.write_bytes(data[:100] + bytes(2000) + data[2100:])
    with pytest.raises(SourceError, match="truncated or no Parquet"):
        inbox.night("a.parquet")


def test_a_stray_quote_inside_a_field_is_no_fault(inbox):
    inbox.put("a.csv", 'id,email\n1,6" pipe\n2,b\n')
    inbox.night()
    assert inbox.rows() == [("1", '6" pipe'), ("2", "b")]


def test_a_missing_file_may_be_allowed(inbox):
    record = inbox.night(origin={"on_missing": "skip"})
    assert (record.status, record.rows_read) == ("unchanged", None)


def test_a_file_that_changes_while_it_is_read_is_tried_again(inbox, monkeypatch):
    path = inbox.put("a.csv", "id,email\n1,a\n")
    import orchestration.sources.files as module

    read = module._READERS["csv"]

    def read_and_touch(*arguments):
        yield from read(*arguments)
        path.write_text("id,email\n1,a\n2,b\n")

    monkeypatch.setitem(module._READERS, "csv", read_and_touch)
    with pytest.raises(SourceError, match="changed while it was read") as error:
        inbox.night()
    assert error.value.transient
    assert inbox.loads() == []


def test_soft_flag_and_tombstone(inbox):
    inbox.put("a.csv", "id,email,state\n1,a,gone\n2,b,here\n3,c,\n")
    for strategy in ("soft_flag", "tombstone"):
        inbox.night(deletes={"strategy": strategy, "field": "state", "values": ["gone", "left"]})
        assert inbox.rows("id", "_deleted") == [("1", True), ("2", False), ("3", False)]


def test_a_long_file_is_read_in_pieces(inbox, monkeypatch):
    monkeypatch.setattr("orchestration.sources.files._BLOCK", 1 << 12)
    lines = "".join(f'{i},"mail {i}\nsecond line"\n' for i in range(5_000))
    inbox.put("a.csv.gz", gzip.compress(f"id,email\n{lines}".encode(), mtime=0))
    assert inbox.night("*.csv.gz").rows_landed == 5_000
    assert [row[0] for row in inbox.rows("_load_row")] == list(range(5_000))


GA4 = {
    "event_date": "20260501",
    "event_timestamp": "1777600000000000",
    "event_name": "page_view",
    "event_params": [
        {"key": "page_location", "value": {"string_value": "https://a/b"}},
        {"key": "ga_session_id", "value": {"int_value": "17"}},
        {"key": "value", "value": {"double_value": 1.5}},
        {"key": "none", "value": {}},
    ],
    "user_pseudo_id": "c1",
    "device": {"category": "mobile", "web_info": {"browser": "Chrome"}},
    "geo": {"country": "China"},
    "items": [{"item_id": "x"}],
}
GA4_STREAM = {
    "to": "web_event",
    "primary_key": "content",
    "fields": {
        "occurred_at": {"from": "event_timestamp", "unit": "us"},
        "event_name": "event_name",
        "user_id": "user_id",
        "page_path": "event_params.page_location",
        "browser": "device.web_info.browser",
    },
}


def test_ga4_export_of_either_format(inbox):
    bare = {name: GA4[name] for name in ("event_date", "event_timestamp", "event_name", "user_pseudo_id")}
    bare["event_params"] = [{"key": "page_location", "value": {"string_value": "x"}}]
    inbox.put("a.jsonl", "".join(json.dumps(event) + "\n" for event in (GA4, bare, {**GA4, "event_params": "oops"})))
    inbox.night("a.jsonl", origin={"profile": "ga4_bigquery"}, **GA4_STREAM)
    columns = (
        "event_params.page_location",
        "event_params.ga_session_id",
        "event_params.value",
        "event_params.none",
        "device.category",
        "device.web_info.browser",
        "geo.country",
        "items",
        "user_id",
    )
    expected = ("https://a/b", "17", "1.5", None, "mobile", "Chrome", "China", '[{"item_id":"x"}]', None)
    assert inbox.rows(*columns) == [expected, ("x", *[None] * 8)]
    assert [row[1:3] for row in inbox.rejects()] == [(3, "invalid_nested_value")]

    values = {"string_value": None, "int_value": None, "float_value": None, "double_value": None}
    params = [{"key": entry["key"], "value": {**values, **entry["value"]}} for entry in GA4["event_params"]]
    pl.DataFrame([{**GA4, "event_params": params}]).write_parquet(inbox.home / "in" / "a.parquet")
    inbox.night("a.parquet", origin={"profile": "ga4_bigquery"}, **GA4_STREAM)
    assert inbox.rows(*columns) == [expected]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("event_parms.page", r"column 'event_parms.page' is missing; did you mean 'event_params"),
        ("event_params", r"column 'event_params' is made flat; name one key of it"),
    ],
)
def test_ga4_columns_that_can_never_be_are_refused(inbox, field, message):
    inbox.put("a.jsonl", json.dumps(GA4) + "\n")
    stream = {**GA4_STREAM, "fields": {**GA4_STREAM["fields"], "page_title": field}}
    with pytest.raises(SourceError, match=message):
        inbox.night("a.jsonl", origin={"profile": "ga4_bigquery"}, **stream)


def test_qualtrics_in_both_layouts(inbox):
    ids = ",".join(f'"{{""ImportId"":""{name}""}}"' for name in ("_recordId", "QID1", "QID2_TEXT"))
    inbox.put("a.csv", f'ResponseId,Q1,Q2\n"Antwort-ID","What,\nreally?",Why\n{ids}\nR_1,9,"so\nso"\n')
    inbox.night("a.csv", origin={"profile": "qualtrics"}, primary_key=["_recordId"], fields={"email": "QID1"})
    assert inbox.rows("_recordId", "QID1", "QID2_TEXT", "_row") == [("R_1", "9", "so\nso", 1)]
    inbox.put("b.csv", '\ufeffV1,Q1,Q2\nResponseID,"What,\nreally?",Why\nR_1,9,"so\nso"\nR_2,1,no\n')
    inbox.night("b.csv", origin={"profile": "qualtrics"}, primary_key=["V1"], fields={"email": "Q1"})
    assert inbox.rows("V1", "Q1", "Q2", "_row") == [("R_1", "9", "so\nso", 1), ("R_2", "1", "no", 2)]


def test_surveymonkey(inbox):
    inbox.put(
        "a.csv",
        "RespondentID,Seen any?,Which?,,,Why?\n,Response,I, II ,Response,Open-Ended Response\n7,Yes,x,,z,well\n",
    )
    inbox.night("a.csv", origin={"profile": "surveymonkey"}, primary_key=["RespondentID"], fields={"email": "Why?"})
    columns = ("RespondentID", "Seen any?", "Which? - I", "Which? - II", "Which? - Response", "Why?")
    assert inbox.rows(*columns) == [("7", "Yes", "x", None, "z", "well")]


def archive(**members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "."), text)
    return data.getvalue()


def test_each_file_of_an_archive_is_one(inbox):
    inbox.put(
        "week.zip", archive(a__csv="id,email\n1,a\n", b__csv="email,id\nb,2\nc,3\n", c__jsonl='{"id": 4, "email": "d"}')
    )
    record = inbox.night("*.zip", origin={"format": "csv", "exclude": ["*.jsonl"]})
    assert record.rows_landed == 3
    assert inbox.rows("id", "email", "_file", "_row") == [
        ("1", "a", "week.zip/a.csv", 1),
        ("2", "b", "week.zip/b.csv", 1),
        ("3", "c", "week.zip/b.csv", 2),
    ]
    assert inbox.night("*.zip", origin={"format": "csv", "exclude": ["*.jsonl"]}).status == "unchanged"


def test_an_archive_of_files_by_their_endings(inbox):
    inbox.put("week.zip", archive(a__csv="id,email\n1,a\n", c__jsonl='{"id": 4, "email": "d"}'))
    inbox.night("*.zip")
    assert sorted(inbox.rows()) == [("1", "a"), ("4", "d")]
    inbox.put("week.zip", archive(a__csv="id,email\n1,a\n", notes__pdf="x"))
    with pytest.raises(SourceError, match=r"week.zip holds notes.pdf, whose ending names no format; say format or"):
        inbox.night("*.zip")
    assert inbox.night("*.zip", origin={"exclude": ["*.pdf"]}).rows_landed == 1
    inbox.put("week.zip", archive(a__xlsx="x"))
    with pytest.raises(SourceError, match=r"week.zip holds a.xlsx, which cannot be read from within an archive"):
        inbox.night("*.zip")
    inbox.put("week.zip", archive(a__csv="id,email\n1,a\n"))
    inbox.put("none.zip", archive())
    with pytest.raises(SourceError, match=r"none.zip holds 0 files"):
        inbox.night("*.zip")


def test_excluded_files_are_passed_over(inbox):
    inbox.put("a.csv", "id,email\n1,a\n")
    inbox.put("a.tmp.csv", "not yet")
    inbox.put("old/a.csv", "id,email\n9,z\n")
    assert inbox.night("**/*.csv", origin={"exclude": ["*.tmp.csv", "old/*"]}).rows_landed == 1
    with pytest.raises(SourceError, match="no file matches"):
        inbox.night("**/*.csv", origin={"exclude": ["*"]})


REPLACED = {"deletes": {"strategy": "replaced_file", "max_vanish_share": "0.5"}}


def deleted(inbox):
    rows = inbox.landing.scan(inbox.loads()[-1]).collect()
    return rows.filter("_deleted").select("id", "email").rows()


@pytest.mark.parametrize("pii", [{}, {"pii": {"id": "hmac"}}])
def test_rows_that_a_file_lost_are_deleted(inbox, pii):
    inbox.put("1.csv", "id,email\n1,a\n2,b\n3,c\n")
    inbox.put("2.csv", "id,email\n4,d\n5,e\n")
    inbox.night(**REPLACED, **pii)
    first = dict(inbox.rows("email", "id"))
    # 2 is gone, 3 moved into the other file, 4 changed.
    inbox.put("1.csv", "id,email\n1,a\n6,f\n")
    inbox.put("2.csv", "id,email\n3,c\n4,D\n5,e\n")
    record = inbox.night(**REPLACED, **pii)
    assert deleted(inbox) == [(first["b"], "b")]
    assert (record.rows_read, record.rows_landed, inbox.loads()[-1].rows_deleted) == (5, 6, 1)
    # One that stays gone is deleted once, and comes back alive.
    inbox.put("1.csv", "id,email\n1,a\n6,F\n")
    inbox.night(**REPLACED, **pii)
    assert deleted(inbox) == []
    inbox.put("1.csv", "id,email\n1,a\n2,b\n")
    inbox.night(**REPLACED, **pii)
    assert [row[1] for row in deleted(inbox)] == ["F"]


def test_a_row_that_another_file_still_has_is_not_deleted(inbox):
    inbox.put("1.csv", "id,email\n1,a\n2,b\n")
    inbox.put("2.csv", "id,email\n2,b\n")
    inbox.night(**REPLACED)
    inbox.put("1.csv", "id,email\n1,a\n")
    inbox.night(**REPLACED)
    assert deleted(inbox) == []


def test_lines_that_a_shorter_file_lost_are_deleted_by_position(inbox):
    inbox.put("1.csv", "id,email\n1,a\n2,b\n")
    inbox.night(primary_key="position", **REPLACED)
    inbox.put("1.csv", "id,email\n7,x\n")
    inbox.night(primary_key="position", **REPLACED)
    rows = inbox.landing.scan(inbox.loads()[-1]).collect()
    assert rows.select("_file", "_row", "_deleted").rows() == [("1.csv", 1, False), ("1.csv", 2, True)]


def test_a_file_cut_short_deletes_nothing(inbox):
    inbox.put("1.csv", "id,email\n1,a\n2,b\n3,c\n")
    inbox.night(**REPLACED)
    inbox.put("1.csv", "id,email\n1,a\n")
    with pytest.raises(
        SourceError, match=r"1.csv came again with 1 rows where 3 were landed, 2 of them are gone: more"
    ):
        inbox.night(**REPLACED)
    assert len(inbox.loads()) == 1


def test_content_cannot_tell_what_a_file_lost(inbox):
    inbox.put("1.csv", "id,email\n1,a\n")
    with pytest.raises(ConfigError, match="'replaced_file' tells rows by the stream's primary_key; name the key's"):
        inbox.night(primary_key="content", **REPLACED)


def ga4_day(*events):
    return "".join(
        json.dumps({"event_date": "20260501", "event_timestamp": str(at), "event_name": name, "user_pseudo_id": "v"})
        + "\n"
        for at, name in events
    )


def test_a_ga4_day_exported_again_replaces_the_day(inbox):
    stream = {
        "origin": {"profile": "ga4_bigquery"},
        "to": "web_event",
        "primary_key": ["user_pseudo_id", "event_timestamp", "event_name"],
        "fields": {"occurred_at": {"from": "event_timestamp", "unit": "us"}, "event_name": "event_name"},
    }
    inbox.put("events_20260501.jsonl", ga4_day(*((at, "view") for at in range(100))))
    inbox.put("events_intraday_20260502.jsonl", ga4_day((900, "view")))
    assert inbox.night("events_*.jsonl", **stream).rows_landed == 100
    # What the intraday table called one thing the finished one calls another.
    inbox.put("events_20260501.jsonl", ga4_day((0, "first_visit"), *((at, "view") for at in range(1, 100))))
    inbox.night("events_*.jsonl", **stream)
    rows = inbox.landing.scan(inbox.loads()[-1]).collect()
    assert rows.filter("_deleted").select("event_timestamp", "event_name").rows() == [("0", "view")]
    asked = {**stream, "origin": {"profile": "ga4_bigquery", "exclude": []}}
    assert inbox.night("events_*.jsonl", **asked).rows_landed == 1
