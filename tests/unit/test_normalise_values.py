"""Single values of each kind: what is read, what is refused and why."""

from datetime import date, datetime

import polars as pl
import pytest

from orchestration.normalize import categories, numbers, places, scales, text, web
from orchestration.normalize.batches import cleaned
from orchestration.normalize.emails import emails
from orchestration.normalize.hashing import content_hash
from orchestration.normalize.names import person_names
from orchestration.normalize.phones import read_phone
from orchestration.normalize.timestamps import read_dates, read_timestamps


def read(expression_of, *values):
    frame = pl.DataFrame({"text": list(values)}, schema={"text": pl.String})
    return frame.select(read=expression_of(pl.col("text"))).to_series().to_list()


def pairs(expression_of, *values):
    return [(entry["value"], entry["reason"]) for entry in read(expression_of, *values)]


def instant(value, zone="Asia/Shanghai", **hints):
    result = read_timestamps(pl.Series([value]), zone=zone, **hints)[0]
    return result["value"] or result["reason"]


NINE = datetime(2026, 3, 1, 1)


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-01 09:00:00", "2026-03-01T09:00", "2026-03-01 09:00:00.000", "2026-3-1 9:00", "2026/3/1 09:00",
        "2026年3月1日 09:00", "2026年03月01日09时00分00秒", "2026年3月1日 上午9:00", "2026年3月1日 9时",
        "3/1/2026 9:00 AM",
        "03/01/2026 09:00:00 am", "01.03.2026 09:00", "1 Mar 2026 09:00", "01-Mar-2026 09:00:00", "Mar 1, 2026 09:00",
        "March 1, 2026 9:00 AM", "20260301090000", "20260301T090000", "2026-03-01T01:00:00Z", "2026-03-01T01:00Z",
        "2026-03-01 09:00:00+08", "2026-03-01 09:00:00+0800", "2026-02-28T20:00:00-05:00", "2026-03-01 01:00:00 UTC",
        "Sun, 01 Mar 2026 09:00:00 +0800", "Sunday, March 1, 2026 09:00", "1772326800", "1772326800.0",
        "1772326800000", "1772326800000000", "1772326800000000000",
    ],
)  # fmt: skip
def test_ways_to_write_one_instant(written):
    assert instant(written) == NINE


@pytest.mark.parametrize(
    "written",
    [
        "infinity", "-infinity", "13/13/2026 09:00", "1/3/26", "2026-02-30", "2026-03-01 24:00:00",
        "2026-03-01 09:00:60", "2026-03-01 25:00", "0044-03-15 00:00:00 BC", "13:00 PM 2026-03-01", "3/1/2026 13:00 PM",
        "yesterday", "46082", "12345678901234567890", "2026-03-01 09:00+25:00", "2026-13-01T00:00:00Z",
        "2026-03-01 09:00:00 Mars/Olympus", "二〇二六年",
    ],
)  # fmt: skip
def test_what_is_no_instant_is_refused_and_not_guessed(written):
    assert instant(written) == "invalid_timestamp"


def test_day_first_is_a_hint_and_dots_need_none():
    assert instant("04/03/2026", zone="UTC") == datetime(2026, 4, 3)
    assert instant("04/03/2026", zone="UTC", day_first=True) == datetime(2026, 3, 4)
    assert instant("04.03.2026", zone="UTC") == datetime(2026, 3, 4)
    assert instant("25/12/2026", zone="UTC") == "invalid_timestamp"


def test_noon_and_midnight_on_a_twelve_hour_clock():
    assert instant("12/31/1899 12:00:00 AM", zone="UTC") == datetime(1899, 12, 31)
    assert instant("12/31/1899 12:00:00 PM", zone="UTC") == datetime(1899, 12, 31, 12)
    assert instant("12/31/1899 02:00:00 PM", zone="UTC") == datetime(1899, 12, 31, 14)


def test_fractions_keep_microseconds():
    assert instant("2026-03-01 09:00:00.1234567+08").microsecond == 123456
    assert instant("2026-03-01T09:00:00,5Z").microsecond == 500000
    assert instant("1772326800.25") == datetime(2026, 3, 1, 1, 0, 0, 250000)


def test_unit_and_format_are_the_only_way_read_then():
    assert instant("-1", unit="s") == datetime(1969, 12, 31, 23, 59, 59)
    assert instant("1000", unit="ms") == datetime(1970, 1, 1, 0, 0, 1)
    assert instant("2026-03-01", unit="s") == "invalid_timestamp"
    assert instant("1/3/26", zone="UTC", template="%d/%m/%y") == datetime(2026, 3, 1)
    assert instant("2026-03-01 09:00:00", zone="UTC", template="%d/%m/%y") == "invalid_timestamp"
    assert instant("01Mar2026:09:00 +0800", zone="UTC", template="%d%b%Y:%H:%M %z") == NINE


def test_a_mixed_batch_reads_each_by_its_own_form():
    written = ["2026-03-01T01:00:00Z", "2026-03-01 09:00:00", "1772326800", None, "x", "2026年3月1日 9:00"]
    values = [entry["value"] for entry in read_timestamps(pl.Series(written), zone="Asia/Shanghai")]
    assert values == [NINE, NINE, NINE, None, None, NINE]


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("1990-05-17", date(1990, 5, 17)),
        ("19900517", date(1990, 5, 17)),
        ("1990-05-17T00:00:00Z", date(1990, 5, 17)),
        ("1990-05-17T23:30:00+08:00", date(1990, 5, 17)),
        ("1772323200", date(2026, 3, 1)),
        ("1990-02-30", None),
    ],
)
def test_a_date_is_the_day_as_written(written, day):
    assert read_dates(pl.Series([written]), zone="Asia/Shanghai")[0]["value"] == day


def test_outer_blanks_of_any_script_padding_and_null_tokens_go():
    given = [" a\u3000", "\ufeffa", "a\x00\x00", "\x00\x00", "\t", "", "\\N", "\\n", "客 户\u00a0", None]
    assert read(cleaned, *given) == ["a", "a", "a", None, None, None, None, "\\n", "客 户", None]
    assert read(cleaned, "a b", "NULL", None) == ["a b", "NULL", None]


def test_emails():
    assert pairs(emails, "Li Wei <Li@X.cn>", "MAILTO:a@b.cn", "Ａ@Ｂ．cn", "用户@例子.中国") == [
        ("li@x.cn", None), ("a@b.cn", None), ("a@b.cn", None), ("用户@例子.中国", None)
    ]  # fmt: skip
    bad = ["a@b", "a..b@x.cn", ".a@x.cn", "a@-x.cn", "a b@x.cn", "@x.cn", f"{'a' * 65}@x.cn", "a@x.cn, b@x.cn"]
    assert pairs(emails, *bad) == [(None, "invalid_email")] * len(bad)
    assert pairs(emails, None) == [(None, None)]


def test_a_phone_without_country_needs_the_region():
    assert read_phone("13800138000") == (None, "phone_without_region")
    assert read_phone("13800138000", "CN") == ("+8613800138000", None)
    assert read_phone("0086 138 0013 8000") == ("+8613800138000", None)
    assert read_phone("+1 212-555-0100 ext. 5") == ("+12125550100", None)
    assert read_phone("call me", "CN") == (None, "invalid_phone")


def test_names_are_folded_and_null_is_a_name():
    assert read(person_names, "Null", "  Ann \t Lee ", "張 三 丰", "Ａｎｎ", "\u200b", "a\u200bb") == [
        "Null", "Ann Lee", "張三丰", "Ann", None, "ab"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("China", "CN"), ("P.R. China", "CN"), ("CHN", "CN"), ("cn", "CN"), ("臺灣", "TW"), ("Hong Kong", "HK"),
        ("UK", "GB"), ("Türkiye", "TR"), ("Turkey", "TR"), ("Côte d’Ivoire", "CI"), ("德国", "DE"), ("Atlantis", None),
    ],
)  # fmt: skip
def test_countries(written, code):
    assert places.read_country(written) == (code, None if code else "invalid_country")


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("廣東省", "440000"), ("广东省深圳市", "440300"), ("广东省深圳市南山区", "440300"), ("北京市朝阳区", "110000"),
        ("北京 北京", "110000"), ("Shenzhen, Guangdong", "440300"), ("Suzhou, Anhui", "341300"), ("宿州", "341300"),
        ("苏州市", "320500"), ("吉林", "220000"), ("吉林市", "220200"), ("Jilin City", "220200"), ("Xi'an", "610100"),
        ("xian", "610100"), ("Shaanxi", "610000"), ("Shanxi Province", "140000"), ("Ürümqi", "650100"),
        ("内蒙古", "150000"), ("Inner Mongolia", "150000"), ("Guangxi Zhuang Autonomous Region", "450000"),
        ("大理", "532900"), ("440300", "440300"), ("CN-GD", "440000"), ("CN-44", "440000"), ("US-CA", "US-CA"),
    ],
)  # fmt: skip
def test_regions(written, code):
    assert places.read_region(written) == (code, None)


def test_regions_are_not_guessed():
    assert places.read_region("Suzhou") == (None, "ambiguous_region")
    assert places.read_region("Suzhou, Guangdong") == (None, "invalid_region")
    assert places.read_region("California") == (None, "invalid_region")
    # Santa Catarina and Sichuan share their letters: only the country tells.
    assert places.read_region("SC") == (None, "invalid_region")
    assert places.read_region("SC", "CN") == ("510000", None)
    assert places.read_region("SC", "BR") == ("BR-SC", None)
    assert places.read_region("Henan", "US") == (None, "invalid_region")


def test_looking_up_a_place_leaves_the_table_as_it_was():
    assert [places.read_region("Shenzhen")[0] for _ in range(3)] == ["440300"] * 3


def test_every_province_and_city_is_found_by_its_full_chinese_name():
    for line in places.REGIONS.splitlines():
        code, _, name, *_ = line.split("|")
        assert places.read_region(name) == (code, None)


def test_numbers_and_money():
    assert pairs(
        numbers.numbers, "1,234.5", "1 234", "¥1,234", "USD 5", "-5 元", "(1,234.50)", "１２", "1e3", "-.5"
    ) == [(value, None) for value in (1234.5, 1234.0, 1234.0, 5.0, -5.0, -1234.5, 12.0, 1000.0, -0.5)]
    bad = ["12,34", "1,2345", "NaN", "inf", "1e400", "0x1F", ".", "--1", "1.2.3", "45%", "five"]
    assert pairs(numbers.numbers, *bad) == [(None, "invalid_number")] * len(bad)
    values = [str(value) for value, _ in pairs(numbers.money, "0.1", "1.00005", "1.00015", "99999999999999.9999")]
    assert values == ["0.1000", "1.0000", "1.0002", "99999999999999.9999"]
    assert pairs(numbers.money, "100000000000000") == [(None, "invalid_money")]


def test_the_decimal_mark_is_a_hint():
    comma = "1.234,56"
    values = pairs(lambda value: numbers.numbers(value, comma), "1.234,56", "12,5", "1.234", "7", "3.5")
    assert values == [(1234.56, None), (12.5, None), (1234.0, None), (7.0, None), (None, "invalid_number")]


def test_percent_signs_follow_the_unit():
    assert pairs(lambda value: numbers.numbers(value, percent="share"), "45%", "0.45") == [(0.45, None)] * 2
    assert pairs(lambda value: numbers.numbers(value, percent="pct"), "45 %", "45") == [(45.0, None)] * 2


def test_integers():
    assert pairs(numbers.integers, "3", "3.0", "1,234", "-7", "9007199254740993") == [
        (value, None) for value in (3, 3, 1234, -7, 9007199254740993)
    ]
    assert pairs(numbers.integers, "3.5", "x", "9223372036854775808", "1e30") == [
        (None, "not_integer"), (None, "invalid_integer"), (None, "invalid_integer"), (None, "invalid_integer")
    ]  # fmt: skip


def test_booleans_currencies_languages():
    assert pairs(numbers.booleans, "TRUE", "否", "1", "maybe") == [
        (True, None), (False, None), (True, None), (None, "invalid_boolean")
    ]  # fmt: skip
    assert numbers.read_currency("rmb") == ("CNY", None)
    assert numbers.read_currency("¥") == (None, "invalid_currency")
    assert numbers.read_currency("￥", "CN") == ("CNY", None)
    assert numbers.read_currency("¥", "JP") == ("JPY", None)
    assert numbers.read_currency("XXX") == (None, "invalid_currency")
    names = {
        "zh-Hant-TW": "zh",
        "EN_us": "en",
        "English": "en",
        "中文": "zh",
        "法语": "fr",
        "Deutsch": "de",
        "xx": None,
    }
    assert {name: text.read_language(name)[0] for name in names} == names


def test_bounds_are_inclusive():
    bounded = read(lambda value: numbers.within_bounds(numbers.numbers(value), 0, 100), "0", "100", "-1", "100.5", "x")
    assert [(entry["value"], entry["reason"]) for entry in bounded] == [
        (0.0, None), (100.0, None), (None, "out_of_range"), (None, "out_of_range"), (None, "invalid_number")
    ]  # fmt: skip


def test_categories():
    listed = pairs(
        lambda value: categories.listed_categories(value, ("screened_out", "new")), "Screened Out", "NEW", "old"
    )
    assert listed == [("screened_out", None), ("new", None), (None, "invalid_category")]
    assert read(categories.snake_case, "pageView", "Page View", "$page-view", "GA4Event", "--", "add2Cart") == [
        "page_view", "page_view", "page_view", "ga4_event", None, "add2_cart"
    ]  # fmt: skip
    assert pairs(categories.json_texts, '{"a": 1}', "{a}") == [('{"a": 1}', None), (None, "invalid_json")]


def test_addresses():
    full, path, bare, odd = read(
        web.addresses,
        "https://u:p@Www.Ex.cn/a/b?utm_source=a%20b&utm_campaign=%E6%98%A5+1#f",
        "/a?utm_medium=x",
        "https://x.cn",
        "mailto",
    )
    assert full == {
        "host": "www.ex.cn", "path": "/a/b", "address": "https://Www.Ex.cn/a/b",
        "utm_source": "a b", "utm_medium": None, "utm_campaign": "春 1",
    }  # fmt: skip
    assert (path["host"], path["path"], path["utm_medium"]) == (None, "/a", "x")
    assert (bare["host"], bare["path"]) == ("x.cn", "/")
    assert (odd["host"], odd["path"]) == (None, "mailto")


def test_robots():
    agents = [
        "Mozilla/5.0 (compatible; Googlebot/2.1)",
        "HeadlessChrome/120",
        "curl/8.0",
        "CUBOT X30 Android",
        "Chrome",
    ]
    assert read(web.is_robot, *agents, None) == [True, True, True, False, False, None]


def test_languages_by_script_and_by_function_words():
    said = {
        "很好": "zh", "很好 good": "zh", "これはいい": "ja", "좋아요": "ko", "очень хорошо": "ru",
        "The staff was very friendly": "en", "Sehr gut, aber zu teuer": "de", "recebi antes do prazo": "pt",
        "Xylophon 9000": None, "123 !": None,
    }  # fmt: skip
    assert dict(zip(said, read(text.recognised_language, *said), strict=True)) == said


def test_wrongly_decoded_text_is_mojibake():
    lost = ["cafÃ© trÃ¨s bon", "a\ufffdb", "锟斤拷", "donâ€™t", "反饋?lái)憫應"]
    assert read(text.is_mojibake, *lost) == [True] * len(lost)
    assert read(text.is_mojibake, "ok?? ok", "Ärger", "真的？？是") == [False] * 3


def test_scales():
    frame = pl.DataFrame({"x": [1.0, 3.0, 5.0]})
    assert frame.select(scales.rescaled(pl.col("x"), 1, 5, 0, 100)).to_series().to_list() == [0.0, 50.0, 100.0]
    assert frame.select(scales.reversed_scale(pl.col("x"), 1, 5)).to_series().to_list() == [5.0, 3.0, 1.0]
    with pytest.raises(ValueError, match="max above min"):
        scales.rescaled(pl.col("x"), 5, 5, 0, 1)


def test_the_hash_is_the_same_for_ever():
    frame = pl.DataFrame({"a": ["x", None, ""], "n": [1.5, None, 2.0], "t": [datetime(2026, 5, 1)] * 3})
    hashed = frame.select(content_hash(frame.schema)).to_series().to_list()
    # A change here makes every stored row look changed: it needs a rebuild from the landing.
    assert hashed == EXPECTED_HASHES
    assert len(set(hashed)) == 3


EXPECTED_HASHES = [
    "449dfd8f908bf49642565a7e9c642083",
    "8609fa76531c7cf636bcc4d2532b0c27",
    "a03ead907bfce8fd8139d0f53af9c124",
]


def test_the_hash_knows_the_columns_names():
    frame = pl.DataFrame({"a": ["x"], "b": ["x"]})
    one, other = (frame.select(content_hash({name: pl.String()})).item() for name in ("a", "b"))
    assert one != other


def test_local_times_beside_a_change_of_clocks_are_read():
    assert instant("2026-03-29 03:30:00", zone="Europe/Berlin") == datetime(2026, 3, 29, 1, 30)
    assert instant("2026-10-25 03:00:00", zone="Europe/Berlin") == datetime(2026, 10, 25, 2)
