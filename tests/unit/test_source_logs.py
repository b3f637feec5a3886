"""Logs that grow, are rotated, compressed or cut: each line once; and lines made columns."""

import gzip
import os
import shutil
from datetime import datetime, timedelta

import pytest

from orchestration.settings import Settings
from orchestration.sources.config import parse_source
from orchestration.sources.errors import ConfigError
from orchestration.sources.extract import extract
from orchestration.sources.files_lines import ACCESS_LOG, lines_as_rows
from orchestration.sources.landing import Landing

NOW = datetime(2026, 5, 1, 2)
HOUR_AGO = 1_700_000_000


class Logs:
    """A folder of logs, night after night."""

    def __init__(self, home):
        self.home = home
        self.folder = home / "logs"
        self.folder.mkdir()
        self.settings = Settings(home=home, sources_dir=home)
        self.landing = Landing(self.settings.landing_dir)
        self.nights = 0

    def append(self, name, *lines, end="\n"):
        with (self.folder / name).open("a", encoding="utf-8", newline="") as file:
            file.write("".join(line + end for line in lines))

    def rename(self, name, to):
        (self.folder / name).rename(self.folder / to)

    def compress(self, name):
        path = self.folder / name
        (self.folder / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()

    def night(self, path="app.log*", **origin):
        stream = {
            "from": {
                "path": f"{{home}}/logs/{path}",
                "format": "lines",
                "pattern": r"(?<level>[A-Z]+) (?<text>.*)",
                **origin,
            },
            "to": "customer",
            "primary_key": "position",
            "fields": {"email": "text"},
        }
        source = parse_source({"source": "app", "type": "files", "streams": {"lines": stream}}, self.home / "x.yaml")
        self.nights += 1
        return extract(source, "lines", settings=self.settings, run_id="r", now=NOW + timedelta(days=self.nights))

    def texts(self):
        """What the last load brought."""
        return self.landing.scan(self.landing.manifests("app", "lines")[-1]).collect()["text"].to_list()

    def everything(self):
        """Key and text of all rows ever landed."""
        loads = [self.landing.scan(load).collect() for load in self.landing.manifests("app", "lines")]
        return [row for load in loads for row in load.select("_file", "_row", "text").rows()]


@pytest.fixture
def logs(tmp_path):
    return Logs(tmp_path)


def test_a_log_that_grows_brings_its_new_lines(logs):
    logs.append("app.log", "INFO a", "INFO b")
    assert logs.night().rows_landed == 2
    assert logs.night().status == "unchanged"
    logs.append("app.log", "INFO b", "INFO c")
    record = logs.night()
    assert (record.rows_read, logs.texts()) == (2, ["b", "c"])
    keys = [(name, row) for name, row, _ in logs.everything()]
    assert len(set(keys)) == 4
    assert [row for _, row in keys] == [1, 2, 3, 4]


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_rotated_log_comes_once_with_its_tail(logs, is_compressed):
    logs.append("app.log", "INFO a", "INFO b")
    logs.night()
    logs.append("app.log", "INFO tail")
    logs.rename("app.log", "app.log.1")
    logs.append("app.log", "INFO new")
    if is_compressed:
        logs.compress("app.log.1")
    logs.night()
    assert sorted(logs.texts()) == ["new", "tail"]
    # Rotated again, with nothing written.
    for last in ("app.log.1.gz", "app.log.1"):
        if (logs.folder / last).exists():
            logs.rename(last, last.replace("1", "2"))
    logs.rename("app.log", "app.log.1")
    assert logs.night().status == "unchanged"
    logs.compress("app.log.1")
    assert logs.night().status == "unchanged"
    logs.append("app.log", "INFO last")
    logs.night()
    assert sorted(text for _, _, text in logs.everything()) == ["a", "b", "last", "new", "tail"]
    assert len({(name, row) for name, row, _ in logs.everything()}) == 5


def test_a_log_that_is_copied_and_cut_off(logs):
    logs.append("app.log", "INFO a", "INFO b")
    logs.night()
    logs.append("app.log", "INFO c")
    shutil.copy(logs.folder / "app.log", logs.folder / "app.log.1")
    (logs.folder / "app.log").write_text("")
    logs.append("app.log", "INFO d")
    logs.night()
    assert sorted(logs.texts()) == ["c", "d"]


def test_several_rotations_within_a_night_lose_nothing(logs):
    logs.append("app.log", "INFO 0")
    logs.night()
    for number in range(1, 6):
        logs.append("app.log", f"INFO {number}a", f"INFO {number}b")
        for old in range(5, 0, -1):
            if (logs.folder / f"app.log.{old}").exists():
                logs.rename(f"app.log.{old}", f"app.log.{old + 1}")
        logs.rename("app.log", "app.log.1")
    logs.night()
    assert sorted(logs.texts()) == sorted(f"{number}{part}" for number in range(1, 6) for part in "ab")


def test_two_logs_that_begin_alike_are_two(logs):
    logs.append("app.log", "INFO start", "INFO a")
    logs.append("app.log.other", "INFO start", "INFO b")
    logs.append("app.log.third", "INFO start", "INFO c")
    logs.night()
    assert len({(name, row) for name, row, _ in logs.everything()}) == 6
    logs.append("app.log.other", "INFO d")
    logs.night()
    assert logs.texts() == ["d"]


def test_logs_with_the_same_header_are_two(logs):
    logs.append("app.log", "INFO started")
    logs.night()
    logs.append("app.log", "INFO a")
    logs.night()
    logs.rename("app.log", "app.log.1")
    logs.append("app.log", "INFO started")
    logs.night()
    logs.append("app.log", "INFO b")
    logs.night()
    assert sorted(text for _, _, text in logs.everything()) == ["a", "b", "started", "started"]
    assert len({(name, row) for name, row, _ in logs.everything()}) == 4


def test_logs_of_two_machines_are_two(logs):
    for host, lines in (("a", ["INFO alike"]), ("b", ["INFO alike", "INFO own"])):
        (logs.folder / host).mkdir()
        logs.append(f"{host}/app.log", *lines)
    logs.night("*/app.log*")
    assert sorted(logs.texts()) == ["alike", "alike", "own"]
    logs.append("a/app.log", "INFO more")
    logs.rename("a/app.log", "a/app.log.1")
    logs.night("*/app.log*")
    assert logs.texts() == ["more"]
    assert len({(name, row) for name, row, _ in logs.everything()}) == 4


def test_a_line_without_its_end_waits(logs):
    logs.append("app.log", "INFO a")
    logs.append("app.log", "INFO half", end="")
    logs.night()
    assert logs.texts() == ["a"]
    logs.append("app.log", " and whole")
    logs.night()
    assert logs.texts() == ["half and whole"]
    logs.append("app.log", "INFO the end", end="")
    assert logs.night().status == "unchanged"
    os.utime(logs.folder / "app.log", (HOUR_AGO, HOUR_AGO))
    logs.night()
    assert logs.texts() == ["the end"]
    assert logs.night().status == "unchanged"


def test_what_is_compressed_is_whole(logs):
    logs.append("app.log.1", "INFO a", "INFO b")
    logs.append("app.log.1", "INFO c", end="")
    logs.compress("app.log.1")
    logs.night()
    assert logs.texts() == ["a", "b", "c"]


def test_an_empty_log_brings_nothing(logs):
    logs.append("app.log")
    assert logs.night().status == "unchanged"


def test_many_lines_come_in_pieces(logs, monkeypatch):
    monkeypatch.setattr("orchestration.sources.files._LINES", 64)
    monkeypatch.setattr("orchestration.sources.files_lines._CHUNK", 100)
    logs.append("app.log", *(f"INFO {number}" for number in range(300)))
    logs.night()
    logs.append("app.log", *(f"INFO {number}" for number in range(300, 500)))
    logs.night()
    assert [text for _, _, text in logs.everything()] == [str(number) for number in range(500)]
    assert [row for _, row, _ in logs.everything()] == list(range(1, 501))


def test_lines_that_do_not_match_are_kept_with_their_reason(logs):
    logs.append("app.log", "INFO a", "no level", "", "INFO b\r", "INFO é你")
    logs.night()
    assert logs.texts() == ["a", "b", "é你"]
    rejects = logs.landing.rejects(logs.landing.manifests("app", "lines")[-1]).collect()
    assert rejects.select("_row", "reason", "text").rows() == [(2, "pattern_mismatch", "no level")]
    assert [row for _, row, _ in logs.everything()] == [1, 4, 5]


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ({"pattern": r"(\w+)"}, "the pattern names no group"),
        ({"pattern": r"(?<a>x"}, "the pattern cannot be understood"),
        ({"pattern": r"(?<a>x)(?=y)"}, "without look-around"),
        ({"pattern": None}, "format 'lines' needs a pattern with named groups"),
        ({"profile": "access_log"}, r"or profile: access_log \(not both\)"),
        ({"format": "csv"}, "'pattern' is for format lines; format is 'csv'"),
    ],
)
def test_a_wrong_pattern_is_named(logs, origin, message):
    with pytest.raises(ConfigError, match=message):
        logs.night(**origin)


COMBINED = (
    '203.0.113.9 - ann [10/Oct/2026:23:55:36 -0330] "GET /a%20b?q=1 HTTP/1.1" 200 2326 '
    '"https://example.com/start" "Mozilla/5.0 (X11; \\"x\\") é"'
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            COMBINED,
            {
                "remote_addr": "203.0.113.9",
                "remote_ident": None,
                "remote_user": "ann",
                "time": "2026-10-10T23:55:36-03:30",
                "request_method": "GET",
                "request_uri": "/a%20b?q=1",
                "server_protocol": "HTTP/1.1",
                "status": "200",
                "body_bytes_sent": "2326",
                "http_referer": "https://example.com/start",
                "http_user_agent": 'Mozilla/5.0 (X11; \\"x\\") é',
                "more": "",
            },
        ),
        (
            '::1 - - [01/Jan/2026:00:00:00 +0800] "GET /" 304 -',
            {
                "time": "2026-01-01T00:00:00+08:00",
                "server_protocol": None,
                "body_bytes_sent": None,
                "http_referer": None,
            },
        ),
        (
            r'10.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "\x16\x03\x01" 400 157 "-" "-"',
            {"request": r"\x16\x03\x01", "request_method": None, "http_user_agent": None},
        ),
        ('10.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "-" 408 0 "-" "-" 0.001', {"request": None, "more": "0.001"}),
        (
            '10.0.0.1 - a b [01/Jan/2026:00:00:00 +0000] "GET /x y HTTP/1.0" 200 1 "-" "-"',
            {"remote_user": "a b", "request": "GET /x y HTTP/1.0"},
        ),
        ('10.0.0.1 - - [31/Feb/2026:00:00:00 +0000] "GET / HTTP/1.0" 200 1 "-" "-"', None),
        ("10.0.0.1 - - GET", None),
    ],
)
def test_access_log_lines(line, expected):
    batch = lines_as_rows([line], ACCESS_LOG, 0, is_access_log=True)
    if expected is None:
        assert batch.rows.is_empty()
        assert batch.rejects["reason"].to_list() == ["pattern_mismatch"]
        return
    row = batch.rows.row(0, named=True)
    assert {name: row[name] for name in expected} == expected
    assert batch.rejects is None
