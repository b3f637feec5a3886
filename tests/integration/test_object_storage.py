"""Files of an S3-compatible server: what is new is read once, without downloading what is known; faults are named."""

import gzip
from datetime import datetime, timedelta

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from orchestration.settings import Settings
from orchestration.sources import files_storage
from orchestration.sources.config import parse_source
from orchestration.sources.errors import ConfigError, SourceError
from orchestration.sources.extract import extract
from orchestration.sources.landing import DOWNLOADS, Landing

NOW = datetime(2026, 5, 1, 2)


@pytest.fixture(scope="module")
def s3():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="k",
        aws_secret_access_key="s",
        region_name="us-east-1",
    )
    yield client
    client.close()
    server.stop()


class Bucket:
    """One bucket, and one stream over it, night after night."""

    def __init__(self, client, home, monkeypatch):
        self.client, self.home = client, home
        monkeypatch.setenv("S3_KEY", "k")
        monkeypatch.setenv("S3_SECRET", "s3cret")
        client.create_bucket(Bucket="exports")
        self.settings = Settings(home=home, sources_dir=home)
        self.landing = Landing(self.settings.landing_dir)
        self.nights = 0
        self.downloads = []

    def put(self, name, data):
        self.client.put_object(Bucket="exports", Key=name, Body=data if isinstance(data, bytes) else data.encode())

    def source(self, path="s3://exports/shop/*.csv*", connection=None, **stream):
        entry = {
            "from": {"path": path, **stream.pop("origin", {})},
            "to": "customer",
            "primary_key": ["id"],
            "fields": {"email": "email"},
            **stream,
        }
        reach = {
            "key": {"env": "S3_KEY"},
            "secret": {"env": "S3_SECRET"},
            "endpoint_url": self.client.meta.endpoint_url,
            "region": "us-east-1",
        }
        raw = {
            "source": "shop",
            "type": "files",
            "connection": reach if connection is None else connection,
            "streams": {"people": entry},
        }
        return parse_source(raw, self.home / "shop.yaml")

    def night(self, *arguments, **stream):
        self.nights += 1
        now = NOW + timedelta(days=self.nights)
        self.downloads.clear()
        return extract(self.source(*arguments, **stream), "people", settings=self.settings, run_id="r", now=now)

    def loads(self):
        return self.landing.manifests("shop", "people")

    def rows(self):
        return self.landing.scan(self.loads()[-1]).collect().select("id", "email", "_file", "_deleted").rows()


@pytest.fixture
def bucket(s3, tmp_path, monkeypatch):
    found = Bucket(s3, tmp_path, monkeypatch)
    fetch = files_storage._Objects.fetch

    def fetch_and_note(self, file):
        found.downloads.append(file.name)
        return fetch(self, file)

    monkeypatch.setattr(files_storage._Objects, "fetch", fetch_and_note)
    yield found
    objects = s3.list_objects_v2(Bucket="exports").get("Contents", [])
    for entry in objects:
        s3.delete_object(Bucket="exports", Key=entry["Key"])
    s3.delete_bucket(Bucket="exports")


def test_new_and_changed_objects_are_read_and_known_ones_not_downloaded(bucket):
    bucket.put("shop/1.csv", "id,email\n1,a\n")
    bucket.put("shop/2.csv.gz", gzip.compress(b"id,email\n2,b\n", mtime=1))
    bucket.put("shop/deep/9.csv", "id,email\n9,z\n")
    bucket.put("other/8.csv", "id,email\n8,y\n")
    record = bucket.night()
    assert (record.status, record.rows_landed) == ("committed", 2)
    assert bucket.rows() == [("1", "a", "1.csv", False), ("2", "b", "2.csv.gz", False)]
    assert bucket.downloads == ["1.csv", "2.csv.gz"]
    assert bucket.night().status == "unchanged"
    assert bucket.downloads == []
    bucket.put("shop/1.csv", "id,email\n1,A\n")
    bucket.put("shop/3.csv", gzip.compress(b"id,email\n2,b\n", mtime=2))
    assert bucket.night().rows_landed == 2
    assert bucket.downloads == ["1.csv", "3.csv"]
    assert not (bucket.settings.landing_dir / "shop" / "people" / DOWNLOADS).exists()


def test_the_same_content_under_another_name_is_passed_over(bucket):
    bucket.put("shop/1.csv", "id,email\n1,a\n")
    bucket.night()
    bucket.put("shop/copy.csv", "id,email\n1,a\n")
    record = bucket.night()
    assert (record.status, record.rows_read) == ("unchanged", None)


def test_formats_and_patterns(bucket):
    bucket.put("ga4/events_20260501.jsonl", '{"id": 1, "email": "a"}\n')
    bucket.put("ga4/events_20260502.jsonl", '{"id": 2, "email": "b"}\n')
    assert bucket.night("s3://exports/**/events_*.jsonl").rows_landed == 2
    assert {row[2] for row in bucket.rows()} == {"ga4/events_20260501.jsonl", "ga4/events_20260502.jsonl"}
    bucket.put("one.jsonl", '{"id": 3, "email": "c"}\n')
    assert bucket.night("s3://exports/one.jsonl").rows_landed == 1
    assert bucket.rows() == [("3", "c", "one.jsonl", False)]


def test_a_replaced_object_deletes_what_it_lost(bucket):
    replaced = {"deletes": {"strategy": "replaced_file", "max_vanish_share": "0.5"}}
    bucket.put("shop/1.csv", "id,email\n1,a\n2,b\n")
    bucket.night(**replaced)
    bucket.put("shop/1.csv", "id,email\n1,a\n")
    bucket.night(**replaced)
    assert bucket.rows() == [("1", "a", "1.csv", False), ("2", "b", "1.csv", True)]


def test_an_object_that_changes_while_it_is_read_is_noticed(bucket, monkeypatch):
    bucket.put("shop/1.csv", "id,email\n1,a\n")
    read = s3fs.S3FileSystem.get_file

    def read_and_change(*arguments, **options):
        read(*arguments, **options)
        bucket.put("shop/1.csv", "id,email\n1,b\n")

    monkeypatch.setattr(s3fs.S3FileSystem, "get_file", read_and_change)
    with pytest.raises(SourceError, match=r"s3://exports/shop/1.csv changed while it was read") as changed:
        bucket.night()
    assert changed.value.transient
    assert bucket.loads() == []


def test_what_a_killed_download_left_is_removed(bucket):
    left = bucket.settings.landing_dir / "shop" / "people" / DOWNLOADS
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    bucket.put("shop/1.csv", "id,email\n1,a\n")
    assert bucket.night().rows_landed == 1
    assert not left.exists()


def test_what_an_operator_can_mend_is_said(bucket, monkeypatch):
    with pytest.raises(SourceError, match=r"shop.people: no object matches s3://exports/shop/\*.csv\*. Deliver it, or"):
        bucket.night()
    assert bucket.night(origin={"on_missing": "skip"}).status == "unchanged"
    with pytest.raises(SourceError, match=r"s3://exports/none.csv does not exist"):
        bucket.night("s3://exports/none.csv")
    with pytest.raises(SourceError, match=r"s3://nowhere/\*.csv is not there .*correct bucket and path"):
        bucket.night("s3://nowhere/*.csv")
    with pytest.raises(SourceError, match=r"gs:// needs the package gcsfs; pip install gcsfs"):
        bucket.night("gs://exports/*.csv", connection={})
    with pytest.raises(SourceError, match=r"endpoint_url and connection.region are for s3://"):
        bucket.night("memory://exports/*.csv")
    with pytest.raises(SourceError, match=r"ftpx:// is no storage that is known"):
        bucket.night("ftpx://exports/*.csv", connection={})
    bucket.put("shop/1.csv", "id,name\n1,a\n")
    with pytest.raises(SourceError, match=r"file s3://exports/shop/1.csv: declared column 'email'"):
        bucket.night()
    with pytest.raises(ConfigError, match=r"connection.secret: is written out, .*; write \{env: NAME\}"):
        bucket.source(connection={"key": {"env": "S3_KEY"}, "secret": "s3cret"})
    monkeypatch.delenv("S3_SECRET")
    with pytest.raises(SourceError, match="needs the environment variable S3_SECRET, which is not set"):
        bucket.night()
    assert bucket.loads() == []


def test_a_storage_that_is_down_may_come_back(bucket):
    reach = {"key": {"env": "S3_KEY"}, "secret": {"env": "S3_SECRET"}, "endpoint_url": "http://127.0.0.1:9"}
    with pytest.raises(SourceError, match=r"cannot be read .* try again when the storage answers") as down:
        bucket.night(connection=reach)
    assert down.value.transient
    assert "s3cret" not in str(down.value)


def test_a_key_that_may_not_read(bucket, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError("Access Denied")

    monkeypatch.setattr("s3fs.S3FileSystem.glob", refuse)
    with pytest.raises(SourceError, match=r"may not be read .*correct connection.key and connection.secret") as refused:
        bucket.night()
    assert not refused.value.transient


def test_other_storages_of_fsspec(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/box/1.csv", b"id,email\n1,a\n")
    stream = {
        "from": {"path": "memory://box/*.csv"},
        "to": "customer",
        "primary_key": ["id"],
        "fields": {"email": "email"},
    }
    source = parse_source({"source": "shop", "type": "files", "streams": {"people": stream}}, tmp_path / "x.yaml")
    settings = Settings(home=tmp_path, sources_dir=tmp_path)
    try:
        assert extract(source, "people", settings=settings, run_id="r", now=NOW).rows_landed == 1
        assert extract(source, "people", settings=settings, run_id="r", now=NOW).status == "unchanged"
    finally:
        memory.rm("/box", recursive=True)


def test_a_file_url_is_a_local_path(tmp_path):
    (tmp_path / "1.csv").write_text("id,email\n1,a\n")
    stream = {
        "from": {"path": f"file://{tmp_path}/*.csv"},
        "to": "customer",
        "primary_key": ["id"],
        "fields": {"email": "email"},
    }
    source = parse_source({"source": "shop", "type": "files", "streams": {"people": stream}}, tmp_path / "x.yaml")
    assert (
        extract(
            source, "people", settings=Settings(home=tmp_path, sources_dir=tmp_path), run_id="r", now=NOW
        ).rows_landed
        == 1
    )
