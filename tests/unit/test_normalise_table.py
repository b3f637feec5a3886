"""Landed rows to contract rows: the steps of a mapping, keys, rejects, deletions, wide surveys, web addresses."""

import json
from datetime import UTC, datetime

import polars as pl
import pytest

from orchestration.contracts import CONTRACTS
from orchestration.contracts.mapping import TableMapping
from orchestration.normalize.table import MappingError, NormaliseContext, normalise

EXTRACTED = datetime(2026, 5, 1, 12, tzinfo=UTC)


def landed(rows, deleted=()):
    """Rows as the landing has them; the row numbers in ``deleted`` are deletions."""
    frame = pl.DataFrame(rows).cast(pl.String)
    return frame.select(
        pl.all(),
        pl.int_range(pl.len(), dtype=pl.Int64).alias("_load_row"),
        pl.lit("f.csv").alias("_file"),
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("_row"),
        pl.int_range(pl.len()).is_in(list(deleted)).alias("_deleted"),
    ).lazy()


def run(table, rows, mapping, *, deleted=(), key=("id",), zone="Asia/Shanghai", questions=None):
    context = NormaliseContext(
        "crm", "contacts", "load-1", EXTRACTED, zone, list(key) if isinstance(key, tuple) else key, questions
    )
    layout = TableMapping.model_validate(mapping)
    return normalise(CONTRACTS[table], landed(rows, deleted), layout, context).collect()


def reasons(rejects):
    return {(row["load_row"], row["field"]): row["reason"] for row in rejects.to_dicts()}


def test_common_columns_say_where_a_row_is_from():
    rows, rejects = run("customer", {"id": ["7"], "mail": [" A@X.cn "]}, {"fields": {"email": "mail"}})
    row = rows.row(0, named=True)
    assert rejects.is_empty()
    assert row["email"] == "a@x.cn"
    assert {name: row[name] for name in ("source", "source_id", "load_id", "load_row", "is_deleted")} == {
        "source": "crm", "source_id": "7", "load_id": "load-1", "load_row": 0, "is_deleted": False,
    }  # fmt: skip
    assert row["extracted_at"] == row["first_extracted_at"] == datetime(2026, 5, 1, 12)
    assert len(row["row_hash"]) == 32
    assert row["quality_flags"] is None
    assert row["updated_at"] is None


def test_steps_of_a_field_run_in_their_order():
    rows, _ = run(
        "customer",
        {
            "id": ["1", "2", "3", "4"],
            "seg": [" gold ", "silver", "", "\\N"],
            "a": ["Li", "", " ", "Wu"],
            "b": ["Wei"] * 4,
        },
        {
            "fields": {
                "segment": {"from": "seg", "map": {"gold": "A", "silver": None}, "default": "none"},
                "lifecycle_stage": {"from": "seg", "map": {"gold": "A"}, "map_default": "other"},
                "full_name": ["a", "b"],
                "gender": {"value": "unknown"},
            }
        },
    )
    rows = rows.sort("load_row")
    assert rows["segment"].to_list() == ["A", "none", "none", "none"]
    assert rows["lifecycle_stage"].to_list() == ["A", "other", None, None]
    assert rows["full_name"].to_list() == ["Li Wei", "Wei", "Wei", "Wu Wei"]
    assert rows["gender"].to_list() == ["unknown"] * 4


def test_what_cannot_be_read_is_noted_or_rejects_by_policy():
    data = {"id": ["1", "2"], "tel": ["12345", "13800138000"], "mail": ["a@@b", "x@y.cn"]}
    fields = {"phone": {"from": "tel", "region": "CN"}, "email": "mail"}
    rows, rejects = run("customer", data, {"fields": fields})
    assert rejects.is_empty()
    assert rows.filter(source_id="1")["quality_flags"].item() == "phone:invalid_phone|email:invalid_email"
    assert rows.filter(source_id="1")["phone"].item() is None

    strict = {name: {"from": entry, "on_invalid": "reject"} for name, entry in (("phone", "tel"), ("email", "mail"))}
    strict["phone"]["region"] = "CN"
    rows, rejects = run("customer", data, {"fields": strict})
    assert rows["source_id"].to_list() == ["2"]
    assert reasons(rejects) == {(0, "phone"): "invalid_phone", (0, "email"): "invalid_email"}
    reject = rejects.filter(field="phone").row(0, named=True)
    assert reject["original_value"] == "12345"
    assert json.loads(reject["row_json"]) == {"id": "1", "tel": "12345", "mail": "a@@b"}
    assert (reject["target_table"], reject["source"], reject["stream"], reject["load_id"]) == (
        "customer", "crm", "contacts", "load-1",
    )  # fmt: skip
    assert (reject["source_file"], reject["source_row"], reject["source_id"]) == ("f.csv", 1, "1")


def test_a_mapping_may_soften_a_contract_but_not_a_required_column():
    fields = {"ordered_at": "at", "order_amount": {"from": "sum", "on_invalid": "null"}}
    rows, rejects = run(
        "sales_order", {"id": ["1", "2"], "at": ["2026-01-01", "x"], "sum": ["1x", "1"]}, {"fields": fields}
    )
    assert rows["order_amount"].to_list() == [None]
    assert reasons(rejects) == {(1, "ordered_at"): "invalid_timestamp"}
    _, rejects = run(
        "sales_order",
        {"id": ["1"], "at": ["2026-01-01"], "sum": ["1x"]},
        {"fields": {"ordered_at": "at", "order_amount": "sum"}},
    )
    assert reasons(rejects) == {(0, "order_amount"): "invalid_money"}


def test_times_that_do_not_exist_reject_and_those_that_exist_twice_are_noted():
    data = {"id": ["1", "2", "3"], "at": ["2026-03-29 02:30:00", "2026-10-25 02:30:00", ""]}
    rows, rejects = run("sales_order", data, {"fields": {"ordered_at": "at"}}, zone="Europe/Berlin")
    assert reasons(rejects) == {(0, "ordered_at"): "nonexistent_local_time", (2, "ordered_at"): "missing"}
    assert rows["quality_flags"].to_list() == ["ordered_at:ambiguous_local_time"]
    hinted = {"fields": {"ordered_at": {"from": "at", "timezone": "Asia/Shanghai"}}}
    rows, _ = run("sales_order", data, hinted, zone="Europe/Berlin")
    assert rows["ordered_at"].to_list()[0] == datetime(2026, 3, 28, 18, 30)


def test_keys():
    data = {"id": [" a ", "b", ""], "n": ["1", "2", "3"]}
    rows, rejects = run("account", data, {"fields": {"name": "n"}, "key_prefix": "x:"}, key=("id", "n"))
    assert rows["source_id"].to_list() == ["x:a:1", "x:b:2"]
    assert reasons(rejects) == {(2, "source_id"): "missing_key"}
    assert rejects["original_value"].item() == ":3"
    rows, _ = run("account", data, {"fields": {"name": "n"}, "primary_key": "position"})
    assert rows["source_id"].to_list() == ["f.csv:1", "f.csv:2", "f.csv:3"]


def test_rows_of_equal_content_have_one_key_and_a_new_field_changes_it():
    data = {"a": ["1", "1", "2"], "b": ["x", "x", None]}
    rows, _ = run("account", data, {"fields": {"name": "a"}}, key="content")
    one, two, three = rows.sort("load_row")["source_id"]
    assert one == two != three
    assert len(one) == 32


def test_a_key_field_that_the_load_lacks_rejects_instead_of_merging_all_rows():
    rows, rejects = run("account", {"n": ["1", "2"]}, {"fields": {"name": "n"}}, key=("id",))
    assert rows.is_empty()
    assert set(rejects["reason"]) == {"missing_key"}


def test_the_hash_follows_content_and_not_the_load():
    data = {"id": ["1"], "n": ["Acme"]}
    layout = TableMapping.model_validate({"fields": {"name": "n"}})
    hashes = []
    for load, day, name in (("l1", 1, "Acme"), ("l2", 2, " Acme "), ("l3", 3, "Acme Ltd")):
        context = NormaliseContext("crm", "s", load, datetime(2026, 5, day), primary_key=["id"])
        rows, _ = normalise(CONTRACTS["account"], landed(data | {"n": [name]}), layout, context).collect()
        hashes.append(rows["row_hash"].item())
    assert hashes[0] == hashes[1] != hashes[2]


def test_where_leaves_rows_out_and_keeps_deletions():
    data = {"id": ["1", "2", "3", "4"], "kind": [" person", "company", None, None]}
    mapping = {"fields": {"full_name": "id"}, "where": {"kind": ["person"]}}
    rows, rejects = run("customer", data, mapping, deleted=[3])
    assert sorted(rows["source_id"]) == ["1", "4"]
    assert rejects.is_empty()


def test_a_deletion_needs_its_key_only_and_is_dated():
    data = {"id": ["1", "2", ""], "at": [None, None, None], "upd": [None, "2026-04-01", None]}
    mapping = {"fields": {"ordered_at": "at", "updated_at": "upd"}}
    rows, rejects = run("sales_order", data, mapping, deleted=[0, 1, 2])
    assert reasons(rejects) == {(2, "source_id"): "missing_key"}
    rows = rows.sort("source_id")
    assert rows["is_deleted"].to_list() == [True, True]
    # The undated deletion is as old as its extraction; the other keeps the source's own date.
    assert rows["updated_at"].to_list() == [datetime(2026, 5, 1, 12), datetime(2026, 3, 31, 16)]
    rows, _ = run("sales_order", data, {"fields": {"ordered_at": "at"}}, deleted=[0, 1, 2])
    assert rows["updated_at"].null_count() == 2


def test_attributes_are_json_of_the_fields_as_landed():
    data = {"id": ["1", "2"], "x": [' "q" ', None], "y": ["张", None]}
    rows, _ = run("customer", data, {"fields": {"full_name": "id"}, "attributes": ["x", "y", "absent"]})
    kept = rows.sort("source_id")["attributes"].to_list()
    assert json.loads(kept[0]) == {"x": ' "q" ', "y": "张"}
    assert kept[1] is None


def test_regions_are_read_in_the_rows_own_country():
    data = {"id": ["1", "2", "3"], "c": ["China", "BR", None], "r": ["SC", "SC", "深圳市"]}
    rows, _ = run("customer", data, {"fields": {"country": "c", "region": "r"}})
    assert rows.sort("source_id")["region"].to_list() == ["510000", "BR-SC", "440300"]
    rows, _ = run("customer", data, {"fields": {"region": {"from": "r", "region": "BR"}}})
    assert rows.sort("source_id")["region"].to_list()[:2] == ["BR-SC", "BR-SC"]


QUESTIONS = pl.DataFrame(
    {
        "source": ["crm"] * 5 + ["other"],
        "survey_id": ["S"] * 6,
        "question_id": ["nps", "sat", "why", "pick", "note", "nps"],
        "metric": ["nps", "csat", "text", "choice", "none", "rating"],
        "scale_min": [0.0, 1.0, None, None, None, 1.0],
        "scale_max": [10.0, 5.0, None, None, None, 2.0],
        "missing_codes": ['{"11": "blank", "99": "refused"}', None, None, None, None, None],
        "value_labels": [None, '{"Very satisfied": 5, "Bad": 1}', None, '{"Shop": 1}', None, None],
    }
)


def test_wide_answers():
    data = {
        "id": ["a", "b", "c", ""],
        "at": ["2026-05-01"] * 4,
        "q1": ["10", "11.0", "9.5", "1"],
        "q2": ["very  satisfied", "6", "x", "1"],
        "q3": ["Nice!", "", None, ""],
        "o1": ["1", "0", None, "1"],
        "o2": ["Shop", "no", None, "1"],
    }
    mapping = {
        "survey": "S",
        "fields": {"answered_at": "at"},
        "questions": {"nps": "q1", "sat": "q2", "why": "q3", "pick": ["o1", "o2"], "note": "absent"},
    }
    rows, rejects = run("answer", data, mapping, questions=QUESTIONS)
    live = rows.filter(~pl.col("is_deleted"))
    given = {
        row["source_id"]: (row["option_id"], row["value_text"], row["value_number"], row["missing_reason"])
        for row in live.to_dicts()
    }
    assert given == {
        "a:nps": (None, "10", 10.0, None),
        "b:nps": (None, "11.0", None, "blank"),
        "a:sat": (None, "very  satisfied", 5.0, None),
        "a:why": (None, None, None, None),
        "b:why": (None, None, None, "blank"),
        "c:why": (None, None, None, "blank"),
        "a:pick:o1": ("o1", "1", None, None),
        "a:pick:o2": ("o2", "Shop", 1.0, None),
        "b:pick": (None, None, None, "blank"),
        "c:pick": (None, None, None, "blank"),
        "a:note": (None, None, None, "not_asked"),
        "b:note": (None, None, None, "not_asked"),
        "c:note": (None, None, None, "not_asked"),
    }
    assert set(live["survey_id"]) == {"S"}
    assert live["answered_at"].null_count() == 0
    # An option not chosen comes as a deletion, so that a choice taken back later does not stay.
    gone = rows.filter(pl.col("is_deleted"))
    assert sorted(gone["source_id"]) == ["a:pick", "b:pick:o1", "b:pick:o2", "c:pick:o1", "c:pick:o2"]
    assert gone["response_id"].null_count() == 0
    assert reasons(rejects) == {
        (1, "value_number:sat"): "out_of_range",
        (2, "value_number:nps"): "not_integer",
        (2, "value_number:sat"): "not_numeric",
        (3, "source_id"): "missing_key",
    }
    assert json.loads(rejects.filter(load_row=2)["row_json"][0])["q1"] == "9.5"


def test_undeclared_questions_are_rejected_and_not_guessed():
    data = {"id": ["a"], "q": ["9"]}
    mapping = {"survey": "S", "questions": {"new": "q"}}
    for questions in (QUESTIONS, None):
        rows, rejects = run("answer", data, mapping, questions=questions)
        assert rows.is_empty()
        assert reasons(rejects) == {(0, "question_id:new"): "undeclared_question"}


def test_long_answers_and_references_take_the_prefix():
    data = {"id": ["1", "2", "3"], "r": ["a", "a", ""], "q": ["nps", "sat", "nps"], "v": ["9", "Bad", "1"]}
    mapping = {
        "survey": "S",
        "key_prefix": "2017:",
        "fields": {"response_id": "r", "question_id": "q", "value_text": "v"},
    }
    rows, rejects = run("answer", data, mapping, questions=QUESTIONS)
    assert rows["source_id"].to_list() == ["2017:1", "2017:2"]
    assert rows["response_id"].to_list() == ["2017:a", "2017:a"]
    assert rows["value_number"].to_list() == [9.0, 1.0]
    assert reasons(rejects) == {(2, "response_id"): "missing"}


def test_answers_of_a_deleted_response_are_deleted():
    mapping = {"survey": "S", "questions": {"nps": "q1", "pick": ["o1"]}}
    rows, rejects = run("answer", {"id": ["a"], "q1": [None], "o1": [None]}, mapping, deleted=[0], questions=QUESTIONS)
    assert rejects.is_empty()
    assert rows["is_deleted"].all()
    assert sorted(rows["source_id"]) == ["a:nps", "a:pick", "a:pick:o1"]
    assert rows["missing_reason"].null_count() == 3


def test_of_two_versions_of_a_question_the_later_counts():
    versions = pl.DataFrame(
        {
            "survey_id": ["S", "S"], "question_id": ["q", "q"], "survey_version": ["2", "1"],
            "metric": ["rating", "rating"], "scale_min": [1.0, 1.0], "scale_max": [10.0, 5.0],
        }
    )  # fmt: skip
    rows, _ = run("answer", {"id": ["a"], "q": ["9"]}, {"survey": "S", "questions": {"q": "q"}}, questions=versions)
    assert rows["value_number"].to_list() == [9.0]


def test_wide_comments():
    data = {
        "id": ["a", "b"],
        "at": ["2026-05-01"] * 2,
        "why": [" 客戶體驗(yàn)很好 ", ""],
        "other": ["Very good", None],
    }
    mapping = {"survey": "S", "fields": {"commented_at": "at"}, "texts": {"why": "why", "other": "other"}}
    rows, rejects = run("comment", data, mapping)
    assert rejects.is_empty()
    live = rows.filter(~pl.col("is_deleted")).sort("source_id")
    assert live["source_id"].to_list() == ["a:other", "a:why"]
    assert live["comment_text"].to_list() == ["Very good", "客戶體驗(yàn)很好"]
    assert live["clean_text"].to_list() == ["Very good", "客户体验很好"]
    assert live["language"].to_list() == ["en", "zh"]
    assert live["parent_id"].to_list() == ["a", "a"]
    assert set(live["parent_table"]) == {"response"}
    assert live["is_solicited"].all()
    assert not live["is_mojibake"].any()
    assert sorted(rows.filter(pl.col("is_deleted"))["source_id"]) == ["b:other", "b:why"]


def test_a_declared_language_wins_over_a_recognised_one():
    data = {"id": ["1", "2"], "t": ["很好", "很好"], "l": ["en", None]}
    rows, _ = run("comment", data, {"fields": {"comment_text": "t", "language": "l"}})
    assert rows.sort("source_id")["language"].to_list() == ["en", "zh"]


def test_web_events():
    data = {
        "id": ["1", "2"],
        "at": ["1772326800", "2026-03-01T09:00:00+08:00"],
        "e": ["Page View", "addToCart"],
        "u": ["https://A.cn/p?utm_source=x%20y&id=1", "/q?utm_medium=cpc"],
        "r": ["https://g.com/search?q=secret", None],
        "ua": ["Googlebot/2.1", "Chrome"],
        "d": ["Mobile", "DESKTOP"],
    }
    fields = {
        "occurred_at": "at", "event_name": "e", "page_path": "u", "referrer": "r", "user_agent": "ua",
        "device_category": "d",
    }  # fmt: skip
    rows, _ = run("web_event", data, {"fields": fields})
    rows = rows.sort("source_id")
    assert rows["occurred_at"].n_unique() == 1
    expected = {
        "event_name": ["page_view", "add_to_cart"], "page_host": ["a.cn", None], "page_path": ["/p", "/q"],
        "referrer": ["https://g.com/search", None], "utm_source": ["x y", None], "utm_medium": [None, "cpc"],
        "is_bot": [True, False], "device_category": ["mobile", "desktop"],
    }  # fmt: skip
    assert {name: rows[name].to_list() for name in expected} == expected
    mapped = fields | {"page_host": {"value": "Shop.CN"}, "utm_source": {"value": "mail"}, "is_bot": {"value": "no"}}
    rows, _ = run("web_event", data, {"fields": mapped})
    assert rows.sort("source_id")["page_host"].to_list() == ["shop.cn", "shop.cn"]
    assert set(rows["utm_source"]) == {"mail"}
    assert not rows["is_bot"].any()


def test_a_field_named_like_a_column_of_the_question_table_is_no_trouble():
    data = {"id": ["a"], "metric": ["9"], "survey_id": ["x"], "code": ["y"], "answer_text": ["z"]}
    mapping = {"survey": "S", "questions": {"nps": "metric"}}
    rows, rejects = run("answer", data, mapping, questions=QUESTIONS)
    assert rejects.is_empty()
    assert rows.select("survey_id", "value_number").row(0) == ("S", 9.0)


@pytest.mark.parametrize(
    ("table", "mapping", "key", "says"),
    [
        ("customer", {"fields": {"mail": "m"}}, ("id",), "no column 'mail'"),
        ("customer", {"fields": {"source_id": "m"}}, ("id",), "no column 'source_id'"),
        ("web_event", {"fields": {"occurred_at": "m"}}, ("id",), "required event_name"),
        ("account", {"fields": {"name": "m"}}, None, "no primary key"),
        ("account", {"fields": {"created_at": {"from": "m", "timezone": "Moon/Base"}}}, ("id",), "IANA"),
        ("account", {"fields": {"created_at": {"from": "m", "format": "%d %H"}}}, ("id",), "strftime"),
        ("customer", {"fields": {"phone": {"from": "m", "region": "China"}}}, ("id",), "ISO 3166-1"),
        ("account", {"fields": {"name": "m"}, "questions": {"q": "m"}}, ("id",), "'questions'"),
        ("account", {"fields": {"name": "m"}, "texts": {"q": "m"}}, ("id",), "'texts'"),
        ("answer", {"survey": "S", "fields": {"response_id": "m", "question_id": "m"}}, ("id",), "value_text"),
    ],
)
def test_a_mapping_that_no_row_could_pass_is_an_error_that_says_how_to_mend_it(table, mapping, key, says):
    with pytest.raises(MappingError, match=r"source 'crm', stream 'contacts', table") as caught:
        run(table, {"id": ["1"], "m": ["x"]}, mapping, key=key)
    assert says in str(caught.value)


def test_the_streaming_engine_gives_the_same():
    data = {"id": [str(number) for number in range(500)], "mail": ["a@x.cn", "bad"] * 250, "c": ["CN", "x"] * 250}
    layout = TableMapping.model_validate({"fields": {"email": "mail", "country": "c"}})
    context = NormaliseContext("crm", "s", "l", EXTRACTED, primary_key=["id"])
    result = normalise(CONTRACTS["customer"], landed(data), layout, context)
    plain, streamed = result.rows.collect(), result.rows.collect(engine="streaming")
    assert plain.sort("load_row").equals(streamed.sort("load_row"))
