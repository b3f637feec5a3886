"""What is searched as it is stored misses nothing that a look at each value finds; nor does a look at a phone's end."""

from pathlib import Path
from tempfile import TemporaryDirectory

import phonenumbers
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.normalize import emails
from orchestration.normalize.phones import known_regions, may_be_one_of, read_phone
from orchestration.privacy.bytes_search import text_columns_holding
from orchestration.privacy.strings import Strings

OWN_WORDS = "write to c3@example.com, or call 138 00000003 at home, please"
STRINGS = Strings.of(
    contacts=["c3@example.com", "ab1234", "ab1234:Q1"],
    digits=["13800000003", "4930123456"],
    texts=["名前は田中", OWN_WORDS, "Élodie Durand"],
)
CONTACTS = [
    OWN_WORDS,
    "ÉLODIE DURAND",
    "138\u00a00000\u3000\x1c0003",
    "c3@example.com",
    "C3@EXAMPLE.COM",
    "ab1234",
    "AB1234",
    "ab1234:Q1",
    "138 0000 0003",
    "+49 30 12-34-56",
    "名前は田中",
]
pieces = st.sampled_from([*CONTACTS, "x", " ", "-", ".", "1", "é", "\\u540d", "%E5", '"', "\n", "\x00"])
FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")
texts = st.one_of(st.none(), st.lists(pieces, max_size=4).map("".join))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(texts, texts), max_size=12), st.integers(1, 6))
def test_columns_in_which_values_would_be_masked_are_found(rows, group):
    frame = pl.DataFrame(rows, schema={"one": pl.String, "two.part": pl.String}, orient="row")
    masked = {name for name in frame.columns if any(STRINGS.found(text) for text in frame[name].drop_nulls().to_list())}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        frame.write_parquet(path, row_group_size=group)
        assert masked <= text_columns_holding(path, STRINGS)


@settings(max_examples=300, deadline=None)
@given(texts.filter(bool))
def test_a_text_that_would_be_masked_is_a_candidate(text):
    if STRINGS.found(text):
        assert pl.DataFrame({"text": [text]}).select(STRINGS.candidates(["text"])).item()


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(pieces, st.integers(0, 3)), max_size=30))
def test_hits_in_bytes_are_those_of_a_search_of_everything(parts):
    content = "".join(piece * times for piece, times in parts).encode()
    assert list(STRINGS.hits(content)) == [hit.span() for hit in STRINGS.bytes_pattern.finditer(content)]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(known_regions())),
    st.sampled_from([kind for kind in phonenumbers.PhoneNumberType.values() if kind >= 0]),
    st.sampled_from(["{}", "+{}", "00{}", "0{}", "1{}", "{} ext. 12", "{}x7", "tel:{}", "{}#12", " {} "]),
    st.integers(0, 9999),
    st.integers(0, 3),
)
def test_a_text_that_is_read_as_a_number_may_be_that_number(region, kind, shape, end, style):
    example = phonenumbers.example_number_for_type(region, kind) or phonenumbers.example_number(region)
    if example is None:
        return
    varied = phonenumbers.PhoneNumber()
    varied.merge_from(example)
    varied.national_number = example.national_number // 10_000 * 10_000 + end
    for number in (example, varied):
        written = [phonenumbers.format_number(number, style), str(number.national_number)]
        wide = [part.translate(FULL_WIDTH) for part in written]
        for text in [shape.format(part) for part in (*written, *wide)]:
            value, _ = read_phone(text, region)
            if value is not None:
                may_be = pl.select(may_be_one_of(pl.lit(text), [value])).item()
                assert may_be, (text, region, value)


local = st.text(st.sampled_from("aAzÉéＡ１İıſKß.+-_"), min_size=1, max_size=6)
domains = st.sampled_from(
    ["example.com", "EXAMPLE.com", "Ｅxample.com", "K.example.com", "bücher.example", "K.Example.COM"]
)
shapes = st.sampled_from(
    ["{}", " {} ", "mailto:{}", "MAILTO:{}", "Li Wei <{}>", "<{}>", "\u3000{}", "<mailto:{}>", "{}\n"]
)


@settings(max_examples=500, deadline=None)
@given(local, domains, shapes)
def test_a_text_that_is_read_as_an_address_may_be_that_address(name, domain, shape):
    text = shape.format(f"{name}@{domain}")
    value = pl.select(emails.emails(pl.lit(text))).to_series().struct.field("value").item()
    if value is not None:
        assert pl.select(emails.may_be_one_of(pl.lit(text), ["other@example.com", value])).item(), (text, value)
