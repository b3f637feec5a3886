"""Pseudonyms: a keyed hash stands for a value that must not be kept, the same everywhere and for ever.

Belongs here: the formula, in one place for every layer. Does not belong here: which values are replaced by it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

import polars as pl

_SEPARATOR = "\x1f"
_BLOCK = 64
"""Bytes that SHA-256 takes at a time."""


def pseudonym(namespace: str, value: str, key: bytes) -> str:
    """Hex of HMAC-SHA-256 (RFC 2104) of ``namespace``, the character 0x1F and ``value``.

    Args:
        namespace: What kind of value it is, so that equal values of different kinds have different pseudonyms.
        value: The value, normalised by whoever asks.
        key: Secret key. With another one the pseudonyms differ; without it nobody can try values out.
    """
    return hmac.digest(key, f"{namespace}{_SEPARATOR}{value}".encode(), "sha256").hex()


def keyed_digests(messages: Iterable[bytes], key: bytes) -> list[bytes]:
    """HMAC-SHA-256 (RFC 2104) of each message: the key is worked in once, which more than halves the cost."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in block)).copy for pad in (0x36, 0x5C))
    digests = []
    for message in messages:
        inside, outside = inner(), outer()
        inside.update(message)
        outside.update(inside.digest())
        digests.append(outside.digest())
    return digests


def pseudonyms(namespace: str, values: pl.Series, key: bytes) -> pl.Series:
    """``pseudonym`` of each text, null where it is null; equal texts are hashed once."""
    texts = values.drop_nulls().unique().to_list()
    digests = keyed_digests([f"{namespace}{_SEPARATOR}{text}".encode() for text in texts], key)
    hashes = [digest.hex() for digest in digests]
    return values.replace_strict(texts, hashes, default=None, return_dtype=pl.String)
