"""g14: pseudonyms are HMAC-SHA-256 over namespace, 0x1F and value."""

import hmac

import polars as pl
import pytest

from orchestration.pseudonym import keyed_digests, pseudonym, pseudonyms

# RFC 4231, test cases 1 to 3: key, data, MAC.
RFC_4231 = [
    ("0b" * 20, b"Hi There".hex(), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        b"Jefe".hex(),
        b"what do ya want for nothing?".hex(),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    ("aa" * 20, "dd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
]
EXAMPLES = [
    (b"test-key-1", "2e84325974c8cf2deed4e7a4dce07d63ca97b92c9501dd75b4e69f3c0b4723d1"),
    (b"test-key-2", "ebc87b0c3cb351a688aec5ba1dd1affae415fe7ac186085e5f1260099c4c14fd"),
]


@pytest.mark.parametrize(("key", "data", "mac"), RFC_4231)
def test_the_hash_beneath_is_that_of_the_rfc(key, data, mac):
    assert hmac.digest(bytes.fromhex(key), bytes.fromhex(data), "sha256").hex() == mac


@pytest.mark.parametrize("length", [0, 1, 32, 63, 64, 65, 200])
def test_a_key_worked_in_once_gives_the_same(length):
    key, messages = b"k" * length, [b"", b"li.wei@example.com", b"x" * 1000]
    assert keyed_digests(messages, key) == [hmac.digest(key, message, "sha256") for message in messages]


@pytest.mark.parametrize(("key", "data", "mac"), RFC_4231)
def test_a_key_worked_in_once_gives_that_of_the_rfc(key, data, mac):
    assert [digest.hex() for digest in keyed_digests([bytes.fromhex(data)], bytes.fromhex(key))] == [mac]


@pytest.mark.parametrize(("key", "token"), EXAMPLES)
def test_the_examples(key, token):
    assert pseudonym("email", "li.wei@example.com", key) == token


def test_of_many_values_each_is_that_of_the_value():
    values = pl.Series(["li.wei@example.com", None, "b", "li.wei@example.com"])
    hashed = pseudonyms("email", values, b"test-key-1").to_list()
    assert hashed == [EXAMPLES[0][1], None, pseudonym("email", "b", b"test-key-1"), EXAMPLES[0][1]]
    assert pseudonym("phone", "b", b"test-key-1") != hashed[2]
