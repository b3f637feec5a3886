"""What gives a person away in a text, what only looks like it, and masking it by string and by hash."""

import polars as pl
import pyarrow as pa
import pytest

from orchestration.privacy.bytes_search import matches
from orchestration.privacy.landed import HashedMatcher, mask_mentions
from orchestration.privacy.strings import ERASED, Strings, is_telling_id, is_telling_text
from orchestration.pseudonym import pseudonym

KEY = b"key"
STRINGS = Strings.of(
    contacts=["c3@example.com", "cust-0003"],
    digits=["8613800000003", "13800000003"],
    texts=["王小明先生", 'O\'Brien "Bob" Smith', "Élodie Durand-Ménil"],
)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mail C3@Example.com.", f"mail {ERASED}."),
        ("请联系c3@example.com谢谢", f"请联系{ERASED}谢谢"),
        ("u=c3%40example.com&x", f"u={ERASED}&x"),
        ("call +86 138-0000-0003 now", f"call {ERASED} now"),
        ("(138) 0000 0003?", f"({ERASED}?"),
        ("+86 13 80 00 00 00 3", None),
        ("Élodie Durand-Ménil, Paris", f"{ERASED}, Paris"),
        (r'{"name": "O\'Brien \"Bob\" Smith"}'.replace("\\'", "'"), f'{{"name": "{ERASED}"}}'),
        (r"\u738b\u5c0f\u660e\u5148\u751f!", f"{ERASED}!"),
        ("c3@example.com", None),
        (" 13800000003 ", None),
    ],
)
def test_a_string_is_found_however_it_is_written(text, masked):
    assert STRINGS.masked(text) == masked
    frame, cells = STRINGS.mask_frame(pl.DataFrame({"a": [text, "x", None]}))
    assert (frame["a"].to_list(), cells) == ([masked, "x", None], 1)
    assert STRINGS.bytes_pattern.search(text.encode())
    stars = STRINGS.masked_bytes(text.encode())
    assert len(stars) == len(text.encode()) and not STRINGS.bytes_pattern.search(stars)


@pytest.mark.parametrize(
    "text", ["xc3@example.com", "c3@example.com.cn", "213800000003", "138000000031", "cust-00031", "acust-0003", "c3"]
)
def test_what_only_looks_like_it_is_left_alone(text):
    assert STRINGS.masked(text) == text
    assert not STRINGS.found(text)


def test_ids_and_texts_that_say_nothing_alone_are_not_looked_for():
    assert [is_telling_id(text) for text in ("c3", "17", "000017", "visitor", "visitor1")] == [
        False, False, True, False, True,
    ]  # fmt: skip
    assert [is_telling_text(text) for text in ("great", "Li Wei", "王小明", "a whole sentence")] == [
        False, False, True, True,
    ]  # fmt: skip


def test_mentions_in_new_rows_are_told_by_their_hashes():
    known = [("email", "c3@example.com"), ("digits", "13800000003"), ("word", "cust-0003")]
    matcher = HashedMatcher({name: frozenset({pseudonym(name, value, KEY)}) for name, value in known}, KEY)
    texts = [
        "write to C3@example.com or c5@example.com",
        "ring 138 0000 0003, not 138 0000 0004",
        "order of cust-0003 is late",
        "c3@example.com",
        "nothing here, 2026-05-01",
        None,
    ]
    rows = pl.DataFrame({"text": texts, "id": texts})
    masked = mask_mentions(rows, ["text"], matcher)
    assert masked["text"].to_list() == [
        f"write to {ERASED} or c5@example.com",
        f"ring {ERASED}, not 138 0000 0004",
        f"order of {ERASED} is late",
        None,
        "nothing here, 2026-05-01",
        None,
    ]
    assert masked["id"].to_list() == texts


def test_hundreds_of_persons_may_be_looked_for_at_once():
    many = Strings.of(digits=[f"49301{number:07d}" for number in range(0, 9_000, 9)], contacts=["li@example.com"])
    rows = pl.DataFrame({"text": ["49301 0008 991", "493010000001", "LI@example.com"]})
    assert rows.select(many.candidates(["text"])).to_series().to_list() == [True, False, True]
    assert matches(pa.array([text.encode() for text in rows["text"]]), many) == [True, False, True]
    assert [len(list(many.hits(text.encode()))) for text in rows["text"]] == [1, 0, 1]
