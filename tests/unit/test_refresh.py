"""Committed loads to clean tables: once, in any order, again when a mapping changes, from nothing with equal result."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from orchestration.contracts import CONTRACTS
from orchestration.settings import Settings
from orchestration.sources.config import parse_source
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.control import Control
from orchestration.warehouse.refresh import RefreshError, rebuild_table, refresh_table

ORDER, ANSWER, QUESTION = CONTRACTS["sales_order"], CONTRACTS["answer"], CONTRACTS["question"]
NOW = datetime(2026, 5, 1, 2, tzinfo=UTC)


class Shop:
    """A source of order files, and the tables made of them."""

    def __init__(self, home):
        self.home = home
        self.settings = Settings(home=home, sources_dir=home)
        self.store = CleanStore(self.settings.clean_dir, self.settings.business_timezone)
        self.control = Control(self.settings.control_dir)
        self.landing = Landing(self.settings.landing_dir)
        self.fields = {"ordered_at": "at", "order_amount": "amount", "updated_at": "changed"}
        self.night = 0

    @property
    def sources(self):
        stream = {
            "from": {"path": "{home}/in/*.csv"},
            "to": "sales_order",
            "primary_key": ["id"],
            "optional": ["status"],
            "fields": self.fields,
        }
        raw = {"source": "shop", "type": "files", "timezone": "Asia/Shanghai", "streams": {"orders": stream}}
        return {"shop": parse_source(raw, self.home / "shop.yaml")}

    def deliver(self, *lines):
        self.night += 1
        path = self.home / "in" / f"{self.night}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(["id,at,amount,changed,status", *lines, ""]))
        now = NOW + timedelta(days=self.night)
        extract(self.sources["shop"], "orders", settings=self.settings, run_id="r", now=now)

    def refresh(self, **options):
        return refresh_table(ORDER, self.sources, settings=self.settings, run_id="r", **options)

    def rows(self, *columns):
        return self.store.scan(ORDER).select("source_id", *columns).sort("source_id").collect().rows()

    def content(self):
        return {path.name: path.read_bytes() for path in self.store.folder(ORDER).glob("*.parquet")}


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def order(key, at="2026-05-01 10:00:00", amount="10", changed="2026-05-01 10:00:00", status="paid"):
    return f"{key},{at},{amount},{changed},{status}"


def test_a_load_is_merged_once(shop):
    shop.deliver(order("a"), order("b"))
    first = shop.refresh()
    assert (first.rows_in, first.rows_out, first.inserted, first.rejected, first.rows) == (2, 2, 2, 0, 2)
    assert [str(day) for day in first.days_touched] == ["2026-05-01"]
    again = shop.refresh()
    assert (again.loads, again.rows_in, again.rows, again.partitions) == ((), 0, 2, ())
    shop.deliver(order("b", amount="11", changed="2026-05-02 10:00:00"), order("c", at="2026-05-03 01:00:00"))
    second = shop.refresh()
    assert (len(second.loads), second.inserted, second.updated, second.rows) == (1, 1, 1, 3)
    assert [str(day) for day in second.days_touched] == ["2026-05-01", "2026-05-03"]
    assert second.sequence == first.sequence + 1


def test_bad_rows_go_to_quarantine_and_the_rest_goes_on(shop):
    shop.deliver(order("a"), order("b", at="not a time"), order("c", amount="ten"))
    result = shop.refresh()
    assert (result.rows, result.rejected) == (1, 2)
    rows = shop.control.scan("quarantine").select("target_table", "source_id", "field", "original_value").collect()
    assert sorted(rows.rows()) == [
        ("sales_order", "b", "ordered_at", "not a time"),
        ("sales_order", "c", "order_amount", "ten"),
    ]


def test_a_mended_mapping_brings_rows_back_from_quarantine(shop):
    shop.deliver(order("a"), order("b", at="soon"))
    shop.deliver(order("c"))
    assert shop.refresh().rejected == 1
    shop.fields["ordered_at"] = {"from": "at", "map": {"soon": "2026-05-01 10:00:00"}}
    mended = shop.refresh()
    assert (mended.replayed, len(mended.loads), mended.rejected, mended.rows) == (("shop",), 2, 0, 3)
    # Only what came out differently counts as change.
    assert (mended.inserted, mended.updated, mended.deleted) == (1, 0, 0)
    assert shop.control.scan("quarantine").collect().is_empty()
    assert shop.refresh().replayed == ()


def test_a_mapping_that_now_rejects_a_row_takes_it_out(shop):
    shop.deliver(order("a"), order("b", status="lost"))
    assert shop.refresh().rows == 2
    shop.fields["status"] = {"from": "status", "on_invalid": "reject"}
    result = shop.refresh()
    assert (result.rows, result.rejected, result.deleted, result.updated) == (1, 1, 1, 1)


def test_rebuild_equals_the_nights(shop):
    shop.deliver(order("a"), order("b"), order("c", at="bad"))
    shop.refresh()
    shop.deliver(order("b", amount="12", changed="2026-05-03 00:00:00"), order("d"))
    shop.refresh()
    shop.deliver(order("b", amount="11", changed="2026-05-02 00:00:00"), order("a"))
    shop.refresh()
    nights = shop.content()
    assert shop.rows("order_amount")[1][1] == 12
    rebuilt = rebuild_table(ORDER, shop.sources, settings=shop.settings, run_id="r")
    assert (len(rebuilt.loads), rebuilt.partitions, rebuilt.days_touched) == (3, (), ())
    assert shop.content() == nights
    for path in shop.store.folder(ORDER).iterdir():
        path.unlink()
    assert shop.refresh().inserted == 3
    assert shop.content() == nights


def test_a_large_load_is_normalised_in_slices_with_the_same_result(shop, monkeypatch):
    lines = [*(order(f"k{number}") for number in range(30)), order("x", at="bad"), order("k2", amount="99")]
    shop.deliver(*lines)
    shop.refresh()
    small, quarantine = shop.content(), shop.control.scan("quarantine").sort("load_row").collect()
    assert quarantine["reason"].to_list() == ["duplicate_key", "invalid_timestamp"]
    monkeypatch.setattr("orchestration.warehouse.refresh._SLICE_ROWS", 5)
    large = shop.refresh(rebuild=True)
    assert (large.rows, large.rows_out, large.rejected) == (30, 31, 2)
    assert shop.content() == small
    assert shop.control.scan("quarantine").sort("load_row").collect().equals(quarantine)


def test_a_source_that_is_no_longer_configured_keeps_its_rows(shop):
    shop.deliver(order("a"))
    shop.refresh()
    result = refresh_table(ORDER, {}, settings=shop.settings, run_id="r")
    assert result.rows == 1
    assert rebuild_table(ORDER, {}, settings=shop.settings, run_id="r").rows == 0


def test_a_damaged_load_is_named_and_the_table_stays(shop):
    shop.deliver(order("a"))
    shop.refresh()
    shop.deliver(order("b"))
    part = shop.landing.manifests("shop", "orders")[-1].folder / "part-00000.parquet"
    data = part.read_bytes()
    part.write_bytes(data[:4] + b"\0" * (len(data) - 4))
    with pytest.raises(RefreshError, match=r"sales_order: load .* of shop.orders .* cannot be normalised"):
        shop.refresh()
    assert shop.rows() == [("a",)]
    part.write_bytes(data)
    assert shop.refresh().rows == 2


def test_a_changed_mapping_needs_every_load_it_once_had(shop):
    shop.deliver(order("a"))
    shop.deliver(order("b"))
    shop.refresh()
    folder = shop.landing.manifests("shop", "orders")[0].folder
    (folder / "_manifest.json").rename(folder / "kept.json")
    assert shop.refresh().loads == ()
    shop.fields["status"] = "status"
    with pytest.raises(RefreshError, match="no longer holds 1 of its loads"):
        shop.refresh()
    assert shop.rows() == [("a",), ("b",)]


def test_rows_that_could_not_be_landed_are_in_quarantine_too(shop):
    writer = shop.landing.begin(source="shop", stream="orders", run_id="r", now=NOW)
    writer.write(
        pl.DataFrame(
            [["a", "2026-05-01 10:00:00", "1", None, None]],
            schema=["id", "at", "amount", "changed", "status"],
            orient="row",
            schema_overrides=dict.fromkeys(["changed", "status"], pl.String),
        )
    )
    writer.reject(
        pl.DataFrame({"_file": ["x.csv"], "_row": [7], "reason": ["too many fields"], "text": ["b,1,2,3,4,5,6"]})
    )
    writer.commit(kind="files", extracted_at=NOW, rows_read=2)
    result = shop.refresh()
    assert (result.rows, result.rejected) == (1, 1)
    row = shop.control.scan("quarantine").collect().row(0, named=True)
    assert (row["source_file"], row["source_row"], row["original_value"]) == ("x.csv", 7, "b,1,2,3,4,5,6")
    assert row["reason"] == "not_landed: too many fields"


def test_a_changed_declaration_of_a_question_reads_the_answers_anew(tmp_path):
    settings = Settings(home=tmp_path, sources_dir=tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,at,q1\nr1,2026-05-01 10:00:00,9\nr2,2026-05-01 11:00:00,99\n")

    def night(missing):
        question = {"metric": "nps", "scale": {"min": 0, "max": 10}, "missing": missing}
        answers = {
            "from": {"path": "{home}/in/*.csv"},
            "to": "answer",
            "primary_key": ["id"],
            "survey": "s",
            "fields": {"answered_at": "at"},
            "questions": {"q1": "q1"},
        }
        raw = {
            "source": "voice",
            "type": "files",
            "surveys": {"s": {"name": "S", "questions": {"q1": question}}},
            "streams": {"answers": answers},
        }
        sources = {"voice": parse_source(raw, tmp_path / "voice.yaml")}
        for number, stream in enumerate(sources["voice"].streams):
            now = NOW + timedelta(days=len(missing), minutes=number)
            extract(sources["voice"], stream, settings=settings, run_id="r", now=now)
        refresh_table(QUESTION, sources, settings=settings, run_id="r")
        return refresh_table(ANSWER, sources, settings=settings, run_id="r")

    assert (night({}).rows, night({}).replayed) == (1, ())
    declared = night({"99": "refused"})
    assert (declared.replayed, declared.rows, declared.rejected) == (("voice",), 2, 0)


def test_a_key_that_comes_twice_with_other_content_is_reported_and_the_last_row_counts(shop):
    shop.deliver(order("a", amount="10"), order("b"), order("b"), order("a", amount="12"))
    result = shop.refresh()
    assert shop.rows("order_amount") == [("a", 12), ("b", 10)]
    assert result.rejected == 1
    row = shop.control.scan("quarantine").collect().row(0, named=True)
    assert (row["source"], row["stream"], row["source_file"], row["source_row"]) == ("shop", "orders", "1.csv", 1)
    assert (row["source_id"], row["field"], row["reason"]) == ("a", "source_id", "duplicate_key")
    assert '"amount":"10"' in row["row_json"]


def test_versions_told_apart_by_their_time_are_no_duplicates(shop):
    shop.deliver(order("a", amount="10", changed="2026-05-01 11:00:00"), order("a", amount="12"))
    assert (shop.refresh().rejected, shop.rows("order_amount")) == (0, [("a", 10)])
