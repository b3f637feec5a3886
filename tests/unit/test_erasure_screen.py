"""A person on the suppression list is not landed again: rows, mentions and lines that could not be read."""

import sqlite3
from datetime import datetime

import pytest

from orchestration.privacy import suppression
from orchestration.privacy.landed import Mode
from orchestration.settings import Settings
from orchestration.sources.config import load_sources
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing

YAML = """\
source: desk
type: files
timezone: UTC
streams:
  tickets:
    from: {path: "{home}/in/*.csv"}
    to: ticket
    primary_key: [id]
    fields: {email: email, opened_at: at, subject: subject}
"""
DELIVERED = """\
id,email,at,subject
1,C3@example.com ,2026-05-01,x
2,c5@example.com,2026-05-01,tell C3@example.com
3,c3@example.com,2026-05-01,too,many,fields
4,c6@example.com,2026-05-01,too,many
"""


@pytest.fixture
def settings(tmp_path):
    for name in ("sources", "in"):
        (tmp_path / name).mkdir()
    (tmp_path / "sources" / "desk.yaml").write_text(YAML)
    (tmp_path / "in" / "a.csv").write_text(DELIVERED)
    return Settings(home=tmp_path, sources_dir=tmp_path / "sources", hmac_key=b"k")


def erase(settings, mode=Mode.DELETE):
    suppression.add(
        settings.home,
        [("email", "c3@example.com")],
        mode=mode,
        request_id="q",
        requested_at=datetime(2026, 1, 1),
        key=b"k",
    )


def land(settings):
    source = load_sources(settings.sources_dir)["desk"]
    screen = suppression.screen_of(settings, source, "tickets")
    record = extract(source, "tickets", settings=settings, run_id="r", now=datetime(2026, 5, 2), screen=screen)
    landing = Landing(settings.landing_dir)
    (manifest,) = landing.manifests("desk", "tickets")
    return record, manifest, landing.scan(manifest).collect(), landing.rejects(manifest).collect()


def test_rows_mentions_and_unreadable_lines_of_the_person_are_kept_out(settings):
    erase(settings)
    record, manifest, rows, rejects = land(settings)
    assert rows.select("id", "email", "subject").rows() == [("2", "c5@example.com", "tell [erased]")]
    assert rejects["text"].to_list() == [None, "4,c6@example.com,2026-05-01,too,many"]
    assert (record.rows_read, record.rows_landed, record.rows_rejected, record.rows_suppressed) == (4, 1, 2, 1)
    assert manifest.rows_suppressed == 1


def test_a_table_whose_keys_are_scanned_is_screened_too(settings):
    # Its rows carry whether they are deleted: a column that holds no text.
    with sqlite3.connect(settings.home / "desk.sqlite") as desk:
        desk.execute("CREATE TABLE tickets (id, email, at, subject)")
        desk.execute("INSERT INTO tickets VALUES ('1', 'c3@example.com', '2026-05-01', 'x')")
        desk.execute("INSERT INTO tickets VALUES ('2', 'c5@example.com', '2026-05-01', 'tell c3@example.com')")
    desk.close()
    text = YAML.replace("type: files", 'type: sql\nconnection: {dsn: "sqlite:///{home}/desk.sqlite"}')
    text = text.replace('{path: "{home}/in/*.csv"}', "{table: tickets}")
    text = text.replace("primary_key: [id]", "primary_key: [id]\n    deletes: {strategy: key_scan}")
    (settings.sources_dir / "desk.yaml").write_text(text)
    erase(settings)
    _, manifest, rows, _ = land(settings)
    assert rows.select("id", "subject").rows() == [("2", "tell [erased]")]
    assert manifest.rows_suppressed == 1


def test_an_anonymised_person_s_rows_come_back_without_them(settings):
    erase(settings, Mode.ANONYMISE)
    record, _, rows, _ = land(settings)
    assert rows.select("id", "email", "at", "subject").rows()[0] == ("1", None, "2026-05-01", None)
    assert record.rows_suppressed == 0


def test_without_a_list_nothing_is_compared(settings):
    source = load_sources(settings.sources_dir)["desk"]
    assert suppression.screen_of(settings, source, "tickets") is None
    record, _, rows, _ = land(settings)
    assert (rows.height, record.rows_suppressed) == (2, 0)


def test_a_list_without_its_key_stops_the_extraction(settings):
    erase(settings)
    keyless = Settings(home=settings.home, sources_dir=settings.sources_dir)
    source = load_sources(settings.sources_dir)["desk"]
    with pytest.raises(ValueError, match="restore the key with which they were erased"):
        suppression.screen_of(keyless, source, "tickets")
    other = Settings(home=settings.home, sources_dir=settings.sources_dir, hmac_key=b"another")
    assert land(other)[2].height == 2, "with another key the list knows nobody"
