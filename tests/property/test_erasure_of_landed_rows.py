"""Erasing persons from landed rows, whatever the rows: exact, once is enough, the list of hashes says the same."""

from pathlib import Path
from unicodedata import normalize

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.privacy.landed import HashedMatcher, Mode, PlainMatcher, Screen
from orchestration.pseudonym import pseudonym
from orchestration.sources.config import parse_source

KEY = b"key"
SOURCE = parse_source(
    {
        "source": "shop",
        "type": "files",
        "surveys": {"S1": {"name": "s", "questions": {"Q1": {"metric": "nps", "scale": {"min": 0, "max": 10}}}}},
        "streams": {
            "answers": {
                "from": {"path": "x.csv"},
                "primary_key": ["id"],
                "tables": {
                    "response": {
                        "survey": "S1",
                        "fields": {
                            "customer_source": {"value": "crm"},
                            "customer_id": "who",
                            "email": "mail",
                            "phone": {"from": "phone", "region": "CN"},
                            "answered_at": "at",
                        },
                    },
                    "answer": {"survey": "S1", "fields": {"answered_at": "at"}, "questions": {"Q1": "score"}},
                    "comment": {"fields": {"commented_at": "at"}, "texts": {"Q2": "words"}},
                },
            }
        },
    },
    Path("shop.yaml"),
)
COLUMNS = ("id", "who", "mail", "phone", "at", "score", "words", "unmapped")
IDENTIFYING = ("who", "mail", "phone", "words", "unmapped")

ids = st.sampled_from(["r1", "r2", " r3 ", "r4", "r5"])
people = st.sampled_from([None, "c1", "c2", " c3", "c4"])
mails = st.sampled_from(
    [None, "c1@example.com", "C1@Example.com ", "ｃ1@Ｅxample.com", "<c1@example.com>", "c2@example.com", "nonsense"]
)
phones = st.sampled_from([None, "13800000001", "+86 138 0000 0001", "１３８００００００01", "13800000002", "", "no"])
rows = st.lists(
    st.tuples(
        ids, people, mails, phones, st.just("2026-05-01"), st.sampled_from(["0", "9", None]),
        st.sampled_from([None, "good"]), st.sampled_from([None, "x"]),
    ),
    max_size=8,
)  # fmt: skip
identifiers = st.sets(
    st.sampled_from(
        [
            ("record/response/shop", "r1"),
            ("record/response/shop", "r3"),
            ("record/ticket/shop", "r2"),
            ("customer/crm", "c2"),
            ("customer/crm", "c3"),
            ("customer/shop", "c4"),
            ("email", "c1@example.com"),
            ("phone", "+8613800000001"),
        ]
    )
)


def plain(known):
    return PlainMatcher({name: frozenset(value for other, value in known if other == name) for name, _ in known})


def hashed(known):
    hashes = {name: {pseudonym(name, value, KEY) for other, value in known if other == name} for name, _ in known}
    return HashedMatcher({name: frozenset(values) for name, values in hashes.items()}, KEY)


def is_theirs(row, known):
    key, who, mail, phone = (None if value is None else value.strip() for value in row[:4])
    national = None if phone is None else normalize("NFKC", phone).replace(" ", "").removeprefix("+86")
    return bool(
        known
        & {
            ("record/response/shop", key),
            ("customer/crm", who),
            ("email", None if mail is None else normalize("NFKC", mail).lower().strip("<>")),
            ("phone", f"+86{national}"),
        }
    )


def frame(given_rows):
    return pl.DataFrame(given_rows, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")


def screen(matcher, mode):
    return Screen(SOURCE, "answers", matcher, mode, KEY)


@settings(max_examples=40, deadline=None)
@given(rows, identifiers)
def test_deletion_takes_out_their_rows_and_no_other(given_rows, known):
    left = screen(plain(known), Mode.DELETE).apply(frame(given_rows))
    assert left.rows() == [row for row in given_rows if not is_theirs(row, known)]


@settings(max_examples=40, deadline=None)
@given(rows, identifiers)
def test_anonymised_rows_keep_their_scores_and_say_nothing_else(given_rows, known):
    before = frame(given_rows)
    after = screen(plain(known), Mode.ANONYMISE).apply(before)
    assert after.select("id", "at", "score").equals(before.select("id", "at", "score"))
    for row, blank in zip(given_rows, after.iter_rows(named=True), strict=True):
        if is_theirs(row, known):
            assert [blank[name] for name in IDENTIFYING] == [None] * len(IDENTIFYING)
        else:
            assert tuple(blank.values()) == row


@settings(max_examples=40, deadline=None)
@given(rows, identifiers, st.sampled_from(Mode))
def test_once_is_enough_and_the_list_of_hashes_says_the_same(given_rows, known, mode):
    first = screen(plain(known), mode)
    once = first.apply(frame(given_rows))
    assert first.apply(once).equals(once)
    assert screen(hashed(known), mode).apply(frame(given_rows)).equals(once)


@settings(max_examples=40, deadline=None)
@given(rows)
def test_nobody_asked_for_changes_nothing(given_rows):
    for mode in Mode:
        assert screen(plain(set()), mode).apply(frame(given_rows)).equals(frame(given_rows))


KEYED = parse_source(
    {
        "source": "web",
        "type": "files",
        "streams": {
            "events": {
                "from": {"path": "x.csv"},
                "primary_key": ["visitor", "at", "name"],
                "tables": {
                    "web_event": {
                        "key_prefix": "e:",
                        "fields": {"anonymous_id": "visitor", "occurred_at": "at", "event_name": "name"},
                    }
                },
            }
        },
    },
    Path("web.yaml"),
)
parts = st.sampled_from([None, "", " ", "v", "v ", "v:1", "v:1:2", "1", "1:2", "2", "e", "e:v", "\\N"])
keyed = st.lists(st.tuples(parts, parts, parts), max_size=8)


@settings(max_examples=200, deadline=None)
@given(keyed, keyed)
def test_no_version_of_a_record_is_missed_by_the_first_field_of_its_key(given_rows, others):
    schema = dict.fromkeys(("visitor", "at", "name"), pl.String)
    landed, touched = (pl.DataFrame(some, schema=schema, orient="row") for some in (given_rows, others))
    of_stream = Screen(KEYED, "events", plain(set()), Mode.DELETE, KEY)
    keys = of_stream.keys("web_event", touched).drop_nulls().unique().to_list()
    wanted = landed.filter(of_stream.keys("web_event", landed).is_in(keys).fill_null(value=False))
    some = landed.filter(of_stream.may_have_key("web_event", keys))
    assert some.filter(of_stream.keys("web_event", some).is_in(keys).fill_null(value=False)).equals(wanted)
