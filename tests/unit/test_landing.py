"""Landed loads: order, drift of bytes, leftovers, one writer."""

import json
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest

from orchestration.sources.errors import SourceError
from orchestration.sources.landing import REJECT_SCHEMA, Landing, LandingError

NOW = datetime(2026, 5, 1, 2)


@pytest.fixture
def landing(tmp_path):
    return Landing(tmp_path)


def land(landing, *frames, now=NOW, kind="full", **commit):
    with landing.begin(source="crm", stream="contacts", run_id="r", now=now, config_hash="c") as writer:
        for frame in frames:
            writer.write(frame)
        return writer.commit(kind=kind, extracted_at=now, rows_read=writer.rows_landed, **commit)


def frame(*ids):
    return pl.DataFrame({"id": list(ids)}, schema={"id": pl.String})


def test_what_is_committed_is_read_back(landing):
    written = land(
        landing,
        frame("1", "2"),
        pl.DataFrame({"id": ["3"], "note": ["x"], "_file": ["f"], "_row": [7], "_deleted": [True]}),
    )
    (manifest,) = landing.manifests("crm", "contacts")
    assert manifest == written
    assert landing.scan(manifest).collect().to_dicts() == [
        {"id": "1", "note": None, "_load_row": 0, "_file": None, "_row": None, "_deleted": False},
        {"id": "2", "note": None, "_load_row": 1, "_file": None, "_row": None, "_deleted": False},
        {"id": "3", "note": "x", "_load_row": 2, "_file": "f", "_row": 7, "_deleted": True},
    ]
    assert (manifest.rows_landed, manifest.rows_deleted, manifest.columns) == (3, 1, ("id", "note"))
    assert manifest.folder.parent.name == "load_date=2026-05-01"


def test_parts_with_different_columns_are_one_table(landing):
    with landing.begin(source="crm", stream="contacts", run_id="r", now=NOW, reserve_rows=1) as writer:
        writer.write(frame("1"))
        writer.write(pl.DataFrame({"note": ["x"], "id": ["2"]}))
        manifest = writer.commit(kind="full", extracted_at=NOW, rows_read=2)
    assert len(manifest.parts) == 2
    assert landing.scan(manifest).select("id", "note", "_load_row").collect().rows() == [("1", None, 0), ("2", "x", 1)]


def test_a_load_without_rows_has_its_columns(landing):
    manifest = land(landing, frame())
    assert landing.scan(manifest).collect().columns == ["id", "_load_row", "_file", "_row", "_deleted"]


def test_load_ids_sort_in_the_order_of_commits(landing):
    times = [NOW, NOW, NOW - timedelta(days=3), NOW + timedelta(hours=1)]
    ids = [land(landing, frame("1"), now=now).load_id for now in times]
    assert [load.load_id for load in landing.manifests("crm", "contacts")] == ids == sorted(set(ids))


def test_times_with_zone_are_stored_as_utc(landing):
    shanghai = timezone(timedelta(hours=8))
    manifest = land(landing, frame("1"), now=datetime(2026, 5, 1, 2, tzinfo=shanghai))
    assert manifest.started_at == datetime(2026, 4, 30, 18)
    assert manifest.folder.parent.name == "load_date=2026-04-30"
    assert landing.manifests("crm", "contacts")[0].started_at.replace(tzinfo=UTC) == datetime(
        2026, 4, 30, 18, tzinfo=UTC
    )


def test_the_hash_of_content_knows_rows_and_not_their_order(landing):
    def hashed(*frames):
        return land(landing, *frames).content_hash

    same = hashed(frame("1", "2"))
    assert same == hashed(frame("2"), frame("1"))
    assert same != hashed(frame("1", "3"))
    assert same != hashed(frame("1", "2", "2"))
    assert same != hashed(frame("1", "2").with_columns(_deleted=pl.lit(True)))


def test_columns_that_are_no_text_are_refused(landing):
    with (
        landing.begin(source="crm", stream="contacts", run_id="r", now=NOW) as writer,
        pytest.raises(TypeError, match="id"),
    ):
        writer.write(pl.DataFrame({"id": [1]}))


def test_an_error_in_the_middle_leaves_nothing(landing):
    with pytest.raises(RuntimeError), landing.begin(source="crm", stream="contacts", run_id="r", now=NOW) as writer:
        writer.write(frame("1"))
        raise RuntimeError
    assert landing.manifests("crm", "contacts") == []
    assert not list(landing.root.rglob("load_*"))


def test_leftovers_are_never_read_and_removed_by_the_next_load(landing):
    kept = land(landing, frame("1"))
    orphan = kept.folder.parent / "load_id=20260501T030000000000Z-dead"
    orphan.mkdir()
    frame("9").write_parquet(orphan / "part-00000.parquet")
    (orphan / "_manifest.json.draft").write_text("{}")
    assert [load.load_id for load in landing.manifests("crm", "contacts")] == [kept.load_id]
    land(landing, frame("2"))
    assert not orphan.exists()


def test_cleaning_spares_a_load_that_is_being_written(landing):
    dead = landing.root / "web" / "events" / "load_date=2026-05-01" / "load_id=1"
    dead.mkdir(parents=True)
    with landing.begin(source="crm", stream="contacts", run_id="r", now=NOW) as writer:
        assert landing.clean_orphans() == [dead]
        assert writer.folder.is_dir()


def test_one_writer_a_stream(landing):
    with landing.begin(source="crm", stream="contacts", run_id="r", now=NOW):
        with pytest.raises(SourceError, match=r"crm.contacts: another process is loading this stream") as busy:
            landing.begin(source="crm", stream="contacts", run_id="r", now=NOW)
        assert busy.value.transient
        landing.begin(source="crm", stream="other", run_id="r", now=NOW).abort()
    landing.begin(source="crm", stream="contacts", run_id="r", now=NOW).abort()


def test_changed_parts_are_noticed(landing):
    manifest = land(landing, frame("1"))
    part = manifest.folder / manifest.parts[0].name
    good = part.read_bytes()
    part.write_bytes(good[:-1])
    with pytest.raises(
        LandingError, match=rf"crm.contacts: landed file {part} has {len(good) - 1} bytes where {len(good)}"
    ):
        landing.scan(manifest)
    part.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    landing.verify(manifest)
    with pytest.raises(LandingError, match=r"sha256 differs"):
        landing.verify(manifest, content=True)
    part.unlink()
    with pytest.raises(LandingError, match=r"is missing; restore it from a backup"):
        landing.scan(manifest)


def test_a_manifest_that_cannot_be_read_is_named(landing):
    manifest = land(landing, frame("1"))
    path = manifest.folder / "_manifest.json"
    good = json.loads(path.read_text())
    for bad in ("{", json.dumps({**good, "format": 99}), json.dumps({**good, "more": 1})):
        path.write_text(bad)
        with pytest.raises(LandingError, match=str(path)):
            landing.manifests("crm", "contacts")


def test_rejects_lie_beside_the_parts(landing):
    bad = pl.DataFrame({"_file": ["a.csv"], "_row": [3], "reason": ["too_few_fields"], "text": ["1,2"]})
    with landing.begin(source="crm", stream="contacts", run_id="r", now=NOW) as writer:
        writer.write(frame("1"))
        writer.reject(bad)
        manifest = writer.commit(kind="files", extracted_at=NOW, rows_read=2)
    assert manifest.rows_rejected == 1
    assert landing.rejects(manifest).collect().equals(bad)
    assert landing.rejects(land(landing, frame("1"))).collect().schema == REJECT_SCHEMA
