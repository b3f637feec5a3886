"""Workbooks: every cell as exact text, headers of several rows, sheets by name, and what an operator can mend."""

import io
from datetime import date, datetime, time, timedelta

import openpyxl
import pytest

from orchestration.settings import Settings
from orchestration.sources.config import parse_source
from orchestration.sources.errors import ConfigError, SourceError
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing

NOW = datetime(2026, 5, 1, 2)


def workbook(*rows, sheet="Data", more=()):
    book = openpyxl.Workbook()
    page = book.active
    page.title = sheet
    for row in rows:
        page.append(row)
    for cells in page.iter_rows():
        for cell in cells:
            if cell.value in {"#N/A", "#DIV/0!"}:
                cell.data_type = "e"
    for name in more:
        book.create_sheet(name).append(["other"])
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


class Inbox:
    def __init__(self, home):
        self.home = home
        self.settings = Settings(home=home, sources_dir=home)
        self.landing = Landing(self.settings.landing_dir)
        self.nights = 0

    def put(self, name, data):
        (self.home / name).write_bytes(data)

    def night(self, path="*.xlsx", primary_key=("id",), **origin):
        self.nights += 1
        stream = {
            "from": {"path": f"{{home}}/{path}", **origin},
            "to": "customer",
            "primary_key": list(primary_key),
            "fields": {"email": "email"},
        }
        source = parse_source({"source": "shop", "type": "files", "streams": {"people": stream}}, self.home / "x.yaml")
        now = NOW + timedelta(days=self.nights)
        return extract(source, "people", settings=self.settings, run_id="r", now=now)

    def rows(self):
        return self.landing.scan(self.landing.manifests("shop", "people")[-1]).collect()


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (1, "1"),
        (3.0, "3"),
        (1.5, "1.5"),
        (-0.25, "-0.25"),
        (0.1234567890123, "0.1234567890123"),
        (2 / 3, "0.6666666666666666"),
        (1e-12, "1e-12"),
        (123456.123456789, "123456.123456789"),
        (9007199254740992, "9007199254740992"),
        ("007", "007"),
        ("1.10", "1.10"),
        ("0.1234567890", "0.1234567890"),
        ("9007199254740993", "9007199254740993"),
        ("12345678901234567890", "12345678901234567890"),
        (" x ", " x "),
        ('a,"b"\nc 你好😀', 'a,"b"\nc 你好😀'),
        ("", None),
        (None, None),
        (True, "true"),
        ("TRUE", "TRUE"),
        ("#N/A", None),
        ("#DIV/0!", None),
        ("NaN", "NaN"),
        ("1e5", "1e5"),
        (date(2026, 5, 1), "2026-05-01 00:00:00"),
        (datetime(2026, 5, 1, 2, 3, 4), "2026-05-01 02:03:04"),
        (datetime(2026, 5, 1, 2, 3, 4, 567000), "2026-05-01 02:03:04.567"),
        (time(1, 2, 3), "01:02:03"),
    ],
)
@pytest.mark.parametrize("others", [(), ("text", 2.5, date(2026, 1, 1))], ids=["alone", "mixed"])
def test_a_cell_as_text(inbox, cell, text, others):
    inbox.put(
        "a.xlsx", workbook(["id", "email"], [1, cell], *([number, other] for number, other in enumerate(others, 2)))
    )
    inbox.night()
    assert inbox.rows()["email"][0] == text
    assert inbox.rows()["id"][0] == "1"
    assert inbox.rows().height == 1 + len(others)


def test_rows_keep_their_numbers_and_blank_ones_are_left_out(inbox):
    inbox.put("a.xlsx", workbook(["id", "email"], [1, "a"], [], [3, "c"]))
    record = inbox.night()
    assert record.rows_landed == 2
    assert inbox.rows().select("id", "email", "_file", "_row").rows() == [
        ("1", "a", "a.xlsx", 1),
        ("3", "c", "a.xlsx", 3),
    ]
    assert inbox.night().status == "unchanged"


def test_headers_and_sheets(inbox):
    inbox.put(
        "a.xlsx",
        workbook(["made by hand"], [], ["id", "person", None], [None, "e-mail", "name"], [1, "a", "A"], more=["Notes"]),
    )
    with pytest.raises(SourceError, match=r"a.xlsx: declared column 'id' \(used by primary_key\) is missing"):
        inbox.night(sheet="Notes")
    with pytest.raises(SourceError, match=r"a.xlsx has no sheet 'data'; did you mean 'Data'\?"):
        inbox.night(sheet="data")
    stream = {"skip_rows": "2", "header_rows": "2", "sheet": "Data"}
    with pytest.raises(SourceError, match="'person - e-mail'"):
        inbox.night(**stream)
    inbox.put("a.xlsx", workbook([], ["id", "email"], [1, "a"]))
    inbox.night(skip_rows="1")
    assert inbox.rows().select("id", "email").rows() == [("1", "a")]
    inbox.put("b.xlsx", workbook([1, "a"], [2, "b"]))
    inbox.night("b.xlsx", header_rows="0", columns=["id", "email"])
    assert inbox.rows().select("id", "email", "_row").rows() == [("1", "a", 1), ("2", "b", 2)]


def test_a_workbook_without_its_ending(inbox):
    inbox.put("download", workbook(["id", "email"], [1, "a"]))
    inbox.night("download", format="xlsx")
    assert inbox.rows().select("id", "email", "_file").rows() == [("1", "a", "download")]


def test_a_sheet_without_rows(inbox):
    inbox.put("a.xlsx", workbook(["id", "email"]))
    assert inbox.night().rows_read == 0


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"id,email\n1,a\n", workbook(["id", "email"], [1, "a"])[:-200]])
def test_no_workbook(inbox, data):
    inbox.put("a.xlsx", data)
    with pytest.raises(SourceError, match=r"a.xlsx is truncated or no Excel workbook"):
        inbox.night()


def test_an_empty_workbook(inbox):
    inbox.put("a.xlsx", workbook())
    with pytest.raises(SourceError, match=r"a.xlsx: declared column 'id'"):
        inbox.night()


def test_a_sheet_of_another_format_is_refused(inbox):
    with pytest.raises(ConfigError, match="'sheet' is for format xlsx; format is 'csv'"):
        inbox.night("a.csv", sheet="Data")
