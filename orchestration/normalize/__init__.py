"""Landing rows to canonical rows with Polars, and the rejects with their reasons.

Belongs here: pure functions, frame in and frame out. Does not belong here: Dagster, files, databases and the
clock; reading the landing (``sources``) and storing the result (``warehouse``).

One module a kind of value (``timestamps``, ``phones``, ``emails``, ``names``, ``places``, ``numbers``,
``categories``, ``text``, ``scales``, ``web``), ``table`` puts them together for a contract, ``deduplicate`` and
``response_quality`` work by key.
"""
