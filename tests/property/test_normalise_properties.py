"""What must hold for any text: nothing raises, no row is lost, batches do not matter, a second pass changes nothing."""

import json
import random
from datetime import datetime

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestration.contracts import CONTRACTS, CONTROL
from orchestration.contracts.mapping import TableMapping
from orchestration.normalize.emails import emails
from orchestration.normalize.names import person_names
from orchestration.normalize.phones import phones
from orchestration.normalize.places import countries, regions
from orchestration.normalize.table import NormaliseContext, normalise
from orchestration.normalize.text import clean_text, is_mojibake, recognised_language

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WIDE = settings(QUICK, max_examples=5)
"""An example of a whole table is 30 rows of texts, so a few go a long way."""

TELLING = [
    "", " ", "\\N", "NULL", "Null", "0", "1", "-1", "9.5", "10", "11", "1,234.5", "12,34", "(5)", "1e400", "NaN",
    "inf", "-infinity", "9" * 30, "true", "是", "2026-03-01", "2026-03-29 02:30:00", "2026-10-25 02:30:00",
    "2026-02-30", "12/31/1899 02:00:00 PM", "1772326800", "1772326800000", "2026年3月1日 下午3时", "99999999999999",
    "2026-03-01T09:00:00+08:00", "0000-00-00", "9999-12-31 23:59:59.999999", "0001-01-01 00:00:00", "Mar 1, 2026",
    "a@b.cn", "A@B.CN", "a@@b", "+8613800138000", "13800138000", "12345", "+", "00", "北京市", "Suzhou", "CN-GD",
    "SC", "US-CA", "China", "中国", "zh-CN", "CNY", "¥", "https://u:p@a.cn/x?utm_source=%zz#f", "http://", "?", "#",
    "{}", "{", "[1", "Googlebot", "delivered", "張 三", "驗(yàn)", "滿??度", "\x00", "\x1f", "\ud7ff", "🙂" * 3,
    "İ", "ﬁ", "ß@ß.de", "é", "٣", "①", "５%", "45%", "-", ".", ",", "/", ":", "年月日", "T", "Z",
]  # fmt: skip
TEXT = st.one_of(st.none(), st.sampled_from(TELLING), st.text(max_size=24))
CONTEXT = NormaliseContext(
    "source",
    "stream",
    "load",
    datetime(2026, 5, 1),
    "Europe/Berlin",
    ["key"],
    pl.DataFrame(
        {
            "survey_id": ["s"] * 3,
            "question_id": ["q", "c", "t"],
            "metric": ["nps", "choice", "text"],
            "scale_min": [0.0, None, None],
            "scale_max": [10.0, None, None],
            "missing_codes": ['{"11": "blank"}', None, None],
            "value_labels": ['{"Best": 10}', None, None],
        }
    ),
)


def mapping_of(contract, **more):
    fields = {column.name: {"from": column.name} for column in contract.columns} | {"updated_at": "updated_at"}
    return TableMapping.model_validate({"fields": fields, "attributes": ["key", "updated_at"], **more})


def frame_of(rows, columns):
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row").select(
        pl.all(),
        pl.int_range(pl.len(), dtype=pl.Int64).alias("_load_row"),
        pl.lit("f.csv").alias("_file"),
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("_row"),
        # Every fifth row is a deletion.
        (pl.int_range(pl.len()) % 5 == 4).alias("_deleted"),
    )


@st.composite
def rows_of(draw, columns, height=30):
    """Rows whose cells are dealt from a pool of drawn texts and from the telling ones."""
    pool = [*draw(st.lists(TEXT, min_size=10, max_size=40)), *TELLING]
    deal = random.Random(draw(st.integers(0, 2**32)))
    return [tuple(deal.choice(pool) for _ in range(columns)) for _ in range(height)]


@pytest.mark.parametrize("name", sorted(CONTRACTS))
@WIDE
@given(data=st.data())
def test_every_row_is_in_rows_or_in_rejects(name, data):
    contract = CONTRACTS[name]
    columns = ["key", "updated_at", *(column.name for column in contract.columns)]
    frame = frame_of(data.draw(rows_of(len(columns))), columns)
    rows, rejects = normalise(contract, frame.lazy(), mapping_of(contract), CONTEXT).collect()

    assert rows.schema == contract.schema
    assert rejects.schema == CONTROL["quarantine"].schema
    kept, refused = set(rows["load_row"]), set(rejects["load_row"])
    assert kept | refused == set(frame["_load_row"])
    assert not kept & refused
    assert len(rows) == len(kept), "a landed row gives one row"
    assert rejects.select("load_row", "field").is_duplicated().sum() == 0
    assert rejects["reason"].null_count() == 0
    for reject in rejects.to_dicts():
        landed = frame.row(reject["load_row"], named=True)
        assert json.loads(reject["row_json"]) == {column: landed[column] for column in columns}
    for column in contract.columns:
        if column.required:
            assert rows.filter(~pl.col("is_deleted"))[column.name].null_count() == 0
        bounds = rows[column.name].drop_nulls()
        if column.minimum is not None and len(bounds):
            assert bounds.min() >= column.minimum
        if column.maximum is not None and len(bounds):
            assert bounds.max() <= column.maximum
        if column.values is not None:
            assert set(bounds) <= set(column.values)


@pytest.mark.parametrize("name", ["customer", "web_event", "comment", "answer"])
@WIDE
@given(data=st.data())
def test_batches_give_what_the_whole_gives(name, data):
    contract = CONTRACTS[name]
    columns = ["key", "updated_at", *(column.name for column in contract.columns)]
    frame = frame_of(data.draw(rows_of(len(columns))), columns)
    cut = data.draw(st.integers(0, frame.height))

    def run(part):
        return normalise(contract, part.lazy(), mapping_of(contract), CONTEXT).collect()

    whole, parts = run(frame), [run(part) for part in (frame.head(cut), frame.tail(frame.height - cut))]
    for index, order in ((0, ["load_row"]), (1, ["load_row", "field"])):
        together = pl.concat([part[index] for part in parts])
        assert together.sort(order).equals(whole[index].sort(order))


@WIDE
@given(rows_of(5))
def test_wide_answers_give_a_row_or_a_reject_a_question_and_option(rows):
    frame = frame_of(rows, ["key", "q1", "q2", "o1", "o2"])
    mapping = TableMapping.model_validate(
        {"survey": "s", "questions": {"q": "q1", "t": "q2", "c": ["o1", "o2"], "undeclared": "q1"}}
    )
    answers, rejects = normalise(CONTRACTS["answer"], frame.lazy(), mapping, CONTEXT).collect()
    assert rejects.select("load_row", "field").is_duplicated().sum() == 0
    slots = 6
    for row in frame.to_dicts():
        here = answers.filter(load_row=row["_load_row"]).height
        there = rejects.filter(load_row=row["_load_row"])
        if there["reason"].to_list() == ["missing_key"]:
            assert here == 0
        else:
            assert here + there.height == slots
    live = answers.filter(~pl.col("is_deleted"))
    is_missing = live["missing_reason"].is_not_null()
    assert live.filter(is_missing)["value_number"].null_count() == is_missing.sum()
    assert live.filter(question_id="t")["value_text"].null_count() == live.filter(question_id="t").height


def again(expression_of, values):
    frame = pl.DataFrame({"text": values}, schema={"text": pl.String})
    once = frame.select(read=expression_of(pl.col("text"))).to_series()
    first = once.struct.field("value") if once.dtype == pl.Struct else once
    twice = pl.DataFrame({"text": first}).select(read=expression_of(pl.col("text"))).to_series()
    if once.dtype == pl.Struct:
        assert twice.struct.field("reason").null_count() == len(twice), "what was read can be read again"
        return first, twice.struct.field("value")
    return first, twice


@QUICK
@given(st.lists(st.one_of(TEXT, st.emails()), min_size=1, max_size=20))
@example(["İ@x.cn", "Ａ@ｘ.cn", "ﬁ@ß.de", "K@x.cn"])
def test_emails_are_stable(values):
    first, second = again(emails, values)
    assert first.equals(second)


@QUICK
@given(st.lists(st.one_of(TEXT, st.from_regex(r"\+?[0-9 ()-]{5,16}", fullmatch=True)), min_size=1, max_size=20))
def test_phones_are_stable(values):
    first, second = again(lambda text: phones(text, "CN"), values)
    assert first.equals(second)


@QUICK
@given(st.lists(TEXT, min_size=1, max_size=20))
@example(["a\u200b \u200bb", "ﷺ", "張 三 豐 李 四", "ﾊﾞ ㌀", "e\x00\u0301", "\u1100\u200b\u1161"])
def test_names_are_stable(values):
    first, second = again(person_names, values)
    assert first.equals(second)


@QUICK
@given(st.lists(TEXT, min_size=1, max_size=20))
def test_places_are_stable(values):
    for place in (countries, regions):
        first, second = again(place, values)
        assert first.equals(second)


@QUICK
@given(st.lists(st.text(max_size=60), min_size=1, max_size=10))
def test_text_functions_take_any_text(values):
    frame = pl.DataFrame({"text": values})
    done = frame.select(
        clean=clean_text(pl.col("text")),
        lost=is_mojibake(pl.col("text")),
        language=recognised_language(pl.col("text")),
    )
    assert done.height == len(values)
    assert done["lost"].null_count() == 0
