"""An erasure that is killed between any two steps is finished by the next one, with the same result."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import polars as pl
import pytest

from orchestration.contracts import CONTRACTS, DERIVED
from orchestration.identity.run import refresh_identity
from orchestration.privacy import plan, search
from orchestration.privacy.bytes_search import Places
from orchestration.privacy.erase import begin, compact, finish
from orchestration.privacy.landed import Mode
from orchestration.privacy.requests import ErasureError, Request, pending, write
from orchestration.privacy.subject import Subject, find
from orchestration.privacy.suppression import read, screen_of
from orchestration.pseudonym import pseudonym
from orchestration.sources.config import load_sources
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.control import Control
from orchestration.warehouse.refresh import rebuild_table, refresh_table

KEY = b"a key of the tests"
NOW = datetime(2026, 5, 3, 18, tzinfo=UTC)
KILLED = """
import os, pathlib, signal, sys
from orchestration.privacy.erase import begin, finish
from orchestration.settings import Settings
from orchestration.sources.config import load_sources
home, limit = pathlib.Path(sys.argv[1]), int(sys.argv[2])
settings = Settings(home=home, sources_dir=home / "sources", hmac_key=b"a key of the tests")
steps, rename, unlink = 0, pathlib.Path.replace, pathlib.Path.unlink
def step(change):
    def counted(*arguments, **options):
        global steps
        steps += 1
        if steps == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(*arguments, **options)
    return counted
pathlib.Path.replace, pathlib.Path.unlink = step(rename), step(unlink)
begin(settings, load_sources(settings.sources_dir))
"""


def night(settings):
    """What a night does in front of dbt."""
    sources = load_sources(settings.sources_dir)
    for source in sources.values():
        for stream in source.streams:
            screen = screen_of(settings, source, stream)
            extract(source, stream, settings=settings, run_id="r", now=NOW, screen=screen)
    for contract in CONTRACTS.values():
        refresh_table(contract, sources, settings=settings, run_id="r")
    store = CleanStore(settings.clean_dir, settings.business_timezone)
    refresh_identity(store, settings=settings, run_id="r", now=NOW)


def content(settings):
    """Every landed row and every clean row."""
    landing = Landing(settings.landing_dir)
    found = {}
    for folder in sorted(settings.landing_dir.glob("*/*/")):
        for manifest in landing.manifests(folder.parent.name, folder.name):
            landing.verify(manifest, content=True)
            names = {path.name for path in manifest.folder.iterdir()}
            assert names == {"_manifest.json", *(part.name for part in (*manifest.parts, *manifest.rejects))}
            rows = landing.scan(manifest).collect()
            assert rows.height == manifest.rows_landed
            found[manifest.load_id] = rows.sort("_load_row")
    store = CleanStore(settings.clean_dir, settings.business_timezone)
    for contract in (*CONTRACTS.values(), *DERIVED.values()):
        found[contract.name] = (
            store.scan(contract, include_deleted=contract.is_source_table).collect().sort(contract.key)
        )
    return found


def assert_same(one, other):
    assert set(one) == set(other)
    for name, frame in one.items():
        assert frame.equals(other[name]), name


@pytest.fixture(scope="module")
def home(new_bench):
    bench = new_bench()
    settings = replace(bench.settings, hmac_key=KEY)
    night(settings)
    return settings


@pytest.fixture
def settings(home, tmp_path):
    shutil.copytree(home.home, tmp_path / "home", symlinks=True)
    return replace(home, home=tmp_path / "home", sources_dir=tmp_path / "home" / "sources")


def ask(settings, mode="delete", request_id="q1", **subject):
    by = {"person_id": "person", "key": "record", "email": "email", "phone": "phone"}[list(subject)[-1]]
    write(settings.home, Request(request_id, by, subject, Mode(mode)))


@pytest.mark.parametrize("mode", ["delete", "anonymise"])
def test_killed_at_every_step_it_ends_like_one_that_was_not(settings, tmp_path, mode):
    ask(settings, mode, email="c3@example.com")
    shutil.copytree(settings.home, tmp_path / "other", symlinks=True)
    other = replace(settings, home=tmp_path / "other", sources_dir=tmp_path / "other" / "sources")
    begin(other, load_sources(other.sources_dir))
    kills, limit = 0, 1
    while True:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(settings.home), str(limit)], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1
        limit += 4
    assert kills >= 3
    for landed in (settings, other):
        for folder in landed.landing_dir.glob("*/*/"):
            for manifest in Landing(landed.landing_dir).manifests(folder.parent.name, folder.name):
                Landing(landed.landing_dir).remove_unreferenced(manifest)
    assert_same(content(settings), content(other))
    assert pending(settings.home)[0][0].counts == pending(other.home)[0][0].counts


@pytest.mark.parametrize("mode", ["delete", "anonymise"])
def test_the_clean_layer_equals_a_rebuild_from_the_landing_and_again_changes_nothing(settings, mode):
    ask(settings, mode, source="crm", table="customer", key="c3")
    sources = load_sources(settings.sources_dir)
    begin(settings, sources)
    erased = content(settings)
    begin(settings, sources)
    assert_same(content(settings), erased)
    night(settings)
    again = content(settings)
    for contract in CONTRACTS.values():
        rebuild_table(contract, sources, settings=settings, run_id="r")
    assert_same(content(settings), again)
    for contract in CONTRACTS:
        assert again[contract].equals(erased[contract]), contract


@pytest.mark.parametrize("mode", ["delete", "anonymise"])
def test_evidence_leaves_whole_and_is_made_anew_of_the_clean_tables(settings, mode):
    store = CleanStore(settings.clean_dir, settings.business_timezone)
    ask(settings, mode, "q1", email="c3@example.com")
    ask(settings, mode, "q2", email="c4@example.com")
    begin(settings, load_sources(settings.sources_dir))
    assert store.scan(DERIVED["identity_evidence"]).collect().is_empty()
    waiting, _ = pending(settings.home)
    assert [request.counts["identity_rows"] > 3 for request in waiting] == [True, True]
    night(settings)
    made = store.scan(DERIVED["identity_evidence"]).collect()
    assert made.height
    if mode == "delete":
        nodes = pl.concat([Subject.from_json(request.found).nodes() for request in waiting])
        assert made.join(nodes, on=nodes.columns, how="semi").is_empty()
    shutil.rmtree(store.folder(DERIVED["identity_evidence"]))
    night(settings)
    assert store.scan(DERIVED["identity_evidence"]).collect().equals(made)


def test_anonymised_rows_keep_scores_and_lose_who_gave_them(settings):
    store = CleanStore(settings.clean_dir, settings.business_timezone)
    before = store.scan(CONTRACTS["answer"]).collect()
    ask(settings, "anonymise", phone="+86 138 0000 0003")
    begin(settings, load_sources(settings.sources_dir))
    after = store.scan(CONTRACTS["answer"]).collect()
    assert (
        after.sort("source_id")
        .select("source_id", "value_number")
        .equals(before.sort("source_id").select("source_id", "value_number"))
    )
    response = store.scan(CONTRACTS["response"]).filter(pl.col("source_id") == "r3").collect()
    assert response["customer_id"].to_list() == [None]
    assert store.scan(CONTRACTS["customer"]).filter(pl.col("source_id") == "c3").collect().is_empty()
    assert store.scan(CONTRACTS["sales_order"]).collect().height == 10


def test_the_list_holds_no_value(settings):
    ask(settings, email="c3@example.com")
    begin(settings, load_sources(settings.sources_dir))
    rows = read(settings.home)
    assert {"email", "phone", "customer/crm", "record/sales_order/crm", "login/web", "visitor/web"} <= set(
        rows["namespace"]
    )
    assert rows["hash"].str.contains("^[0-9a-f]{64}$").all()
    assert set(rows.columns) == {"namespace", "hash", "mode", "request_id", "requested_at"}


@pytest.mark.parametrize(
    ("subject", "says"),
    [
        ({"email": "nobody@example.com"}, "nobody is known by this email"),
        ({"email": "no address"}, "this is no e-mail address"),
        ({"phone": "13800000003"}, "with country code"),
        ({"person_id": "p_0"}, "no person 'p_0' is known"),
        ({"source": "crm", "table": "customer", "key": "c999"}, "no record of customer with this key"),
        ({"source": "crm", "table": "account", "key": "c3"}, "records of 'account' belong to no person; name one of"),
        ({"email": "office@example.com"}, "2 persons share this email"),
    ],
)
def test_who_cannot_be_told_is_refused_and_nothing_changes(settings, subject, says):
    store = CleanStore(settings.clean_dir, settings.business_timezone)
    if subject.get("email") == "office@example.com":
        shared = pl.when(pl.col("source_id").is_in(["c4", "c5"])).then(pl.lit("office@example.com")).otherwise("email")
        store.rewrite(CONTRACTS["customer"], lambda rows: rows.with_columns(email=shared))
    before = content(settings)
    ask(settings, **subject)
    (request,), _ = pending(settings.home)
    with pytest.raises(ErasureError, match=says):
        find(store, request)
    begun = begin(settings, load_sources(settings.sources_dir))
    assert begun.request_ids == () and says in begun.refused[0]
    assert says in str(pending(settings.home)[0][0].error)
    assert_same(content(settings), before)
    assert read(settings.home).is_empty()


def test_a_shared_value_is_no_identifier_of_one_who_has_it(settings):
    store = CleanStore(settings.clean_dir, settings.business_timezone)
    shared = pl.when(pl.col("source_id").is_in(["c3", "c5"])).then(pl.lit("+8613800009999")).otherwise("phone")
    store.rewrite(CONTRACTS["customer"], lambda rows: rows.with_columns(phone=shared))
    ask(settings, email="c3@example.com")
    subject = find(store, pending(settings.home)[0][0])
    namespaces = {namespace for namespace, _ in subject.identifiers}
    assert "email" in namespaces and "phone" not in namespaces
    assert subject.strings.digits == ()


def test_what_is_left_keeps_the_request_open_until_it_is_gone(settings):
    sources = load_sources(settings.sources_dir)
    ask(settings, email="c3@example.com")
    begin(settings, sources)
    (settings.home / "logs").mkdir(exist_ok=True)
    (settings.home / "logs" / "a.log").write_text("sent to c3@example.com, 138 0000 0003\n")
    with closing(sqlite3.connect(settings.home / "runs.db")) as runs:
        runs.execute("CREATE TABLE event (body TEXT, packed BLOB)")
        packed = zlib.compress(b'{"error": "bad c3@example.com"}')
        runs.execute("INSERT INTO event VALUES (?, ?)", ('{"error": "bad c3@example.com"}', packed))
        runs.commit()
    with duckdb.connect(str(settings.home / "extra.duckdb")) as extra:
        extra.execute("CREATE TABLE note AS SELECT 'of C3@example.com' AS text")
    with pytest.raises(ErasureError, match=r"request q1 is not done: .* found in extra\.duckdb\. The request stays"):
        finish(settings, sources, run_id="r", now=NOW)
    assert [request.request_id for request in pending(settings.home)[0]] == ["q1"]
    assert Control(settings.control_dir).scan("erasure").collect().is_empty()
    (settings.home / "extra.duckdb").unlink()
    (row,) = finish(settings, sources, run_id="r", now=NOW)
    assert row["subject_hash"] == pseudonym("email", "c3@example.com", KEY)
    assert pending(settings.home) == ([], [])
    assert (settings.home / "logs" / "a.log").read_text() == f"sent to {'*' * 14}, {'*' * 13}\n"
    with closing(sqlite3.connect(settings.home / "runs.db")) as runs:
        ((body, packed),) = runs.execute("SELECT body, packed FROM event").fetchall()
    assert json.loads(body) == {"error": f"bad {'*' * 14}"} == json.loads(zlib.decompress(packed))
    assert b"c3@example.com" not in (settings.home / "runs.db").read_bytes()
    assert finish(settings, sources, run_id="r", now=NOW) == []


def test_landed_parts_are_not_read_again_unless_their_bytes_changed_behind_the_plan(settings, monkeypatch):
    sources, known = load_sources(settings.sources_dir), {}
    ask(settings, email="c3@example.com")
    begin(settings, sources, known)
    landing = Landing(settings.landing_dir)
    (manifest,) = landing.manifests("web", "events")
    path = manifest.folder / manifest.parts[0].name
    looked_at = []
    search_part = plan.text_columns_holding
    monkeypatch.setattr(
        plan, "text_columns_holding", lambda path, strings: (looked_at.append(path), search_part(path, strings))[1]
    )
    rows = pl.read_parquet(path)
    # Name, time and what the manifest says of its content stay as they are.
    before = path.stat()
    rows.with_columns(url=pl.when(pl.col("_load_row") == 0).then(pl.lit("/c3@example.com")).otherwise("url")).pipe(
        lambda changed: changed.write_parquet(path, compression="zstd")
    )
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    entry = json.loads((manifest.folder / "_manifest.json").read_text())
    entry["parts"][0]["size"] = path.stat().st_size
    (manifest.folder / "_manifest.json").write_text(json.dumps(entry))
    with pytest.raises(ErasureError, match=r"still found in .*landing/web/events"):
        finish(settings, sources, run_id="r", now=NOW, searched=known)
    assert path in looked_at
    looked_at.clear()
    begin(settings, sources, known)
    assert finish(settings, sources, run_id="r", now=NOW, searched=known)
    assert len(looked_at) < len(list(settings.landing_dir.rglob("*.parquet"))) * 2


def test_files_that_were_searched_when_they_were_compacted_are_searched_again_once_written_to(settings, monkeypatch):
    sources, known = load_sources(settings.sources_dir), Places()
    settings.warehouse_path.parent.mkdir(exist_ok=True)
    for path in (settings.warehouse_path, settings.marts_path):
        with duckdb.connect(str(path)) as database:
            database.execute(
                "CREATE TABLE note AS SELECT 'c3@example.com' AS text UNION ALL SELECT 'c3@example.com.au'"
            )
            database.execute("DELETE FROM note WHERE text = 'c3@example.com'")
    with duckdb.connect(str(settings.marts_path)) as database:
        database.execute("INSERT INTO note VALUES ('to c3@example.com')")
    ask(settings, email="c3@example.com")
    begin(settings, sources)
    looked_at = []
    search_file = search.places_holding
    monkeypatch.setattr(
        search, "places_holding", lambda path, strings: (looked_at.append(path), search_file(path, strings))[1]
    )
    assert compact(settings, known)
    with pytest.raises(ErasureError, match=r"found in warehouse/marts\.duckdb\. The request stays"):
        finish(settings, sources, run_id="r", now=NOW, known=known)
    assert not {settings.warehouse_path, settings.marts_path} & set(looked_at), "where it was found says where to look"
    with duckdb.connect(str(settings.marts_path)) as database:
        database.execute("DELETE FROM note WHERE text LIKE 'to %'")
    with duckdb.connect(str(settings.warehouse_path)) as database:
        database.execute("CREATE TABLE more AS SELECT 'to c3@example.com' AS text")
    with pytest.raises(ErasureError, match=r"found in warehouse/warehouse\.duckdb\. The request stays"):
        finish(settings, sources, run_id="r", now=NOW, known=known)
    assert {settings.warehouse_path, settings.marts_path} <= set(looked_at), "they were written to"
    with duckdb.connect(str(settings.warehouse_path)) as database:
        database.execute("DROP TABLE more")
    looked_at.clear()
    assert compact(settings, known)
    assert finish(settings, sources, run_id="r", now=NOW, known=known)
    assert not {settings.warehouse_path, settings.marts_path} & set(looked_at)


def test_rows_of_a_load_that_was_never_committed_keep_the_request_open(settings):
    sources = load_sources(settings.sources_dir)
    ask(settings, email="c3@example.com")
    begin(settings, sources)
    orphan = settings.landing_dir / "crm" / "customers" / "load_date=2026-05-03" / "load_id=x" / "part-00000.parquet"
    orphan.parent.mkdir(parents=True)
    pl.DataFrame({"id": ["c3"], "mail": ["C3@example.com"]}).write_parquet(orphan)
    with pytest.raises(ErasureError, match=r"landing/crm/customers/load_date=2026-05-03/load_id=x/part-00000"):
        finish(settings, sources, run_id="r", now=NOW)
    shutil.rmtree(orphan.parent)
    assert finish(settings, sources, run_id="r", now=NOW)


@pytest.mark.parametrize("mode", ["delete", "anonymise"])
def test_rows_that_retention_took_from_the_landing_are_erased_in_the_clean_layer(settings, mode):
    landing = Landing(settings.landing_dir)
    for stream in ("customers", "orders"):
        (manifest,) = landing.manifests("crm", stream)
        landing.remove_rows(manifest, now=NOW, keep=["id"])
    (settings.sources_dir / "support.yaml").unlink()
    ask(settings, mode, email="c3@example.com")
    begin(settings, load_sources(settings.sources_dir))
    store = CleanStore(settings.clean_dir, settings.business_timezone)
    assert "c3" not in store.scan(CONTRACTS["customer"], include_deleted=True).collect()["source_id"]
    orders = store.scan(CONTRACTS["sales_order"], include_deleted=True).collect()
    tickets = store.scan(CONTRACTS["ticket"], include_deleted=True).collect()
    assert "c3" not in orders["customer_id"] and "c3" not in tickets["customer_id"]
    assert (orders.height, tickets.height) == ((8, 3) if mode == "delete" else (10, 4))
    assert "c3" not in landing.scan(landing.manifests("crm", "customers")[0]).collect()["id"]
