"""Persons equal what a union-find over all pairs gives; order does not matter; ids outlive additions."""

from collections import Counter, defaultdict
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.contracts import CONTRACTS, DERIVED
from orchestration.identity.names import _edits
from orchestration.identity.quality import measure
from orchestration.identity.resolve import resolve_identities
from orchestration.identity.sharing import SharingRules, shared

TICKET = CONTRACTS["ticket"]
VALUE = st.one_of(st.none(), st.integers(0, 5))
RECORD = st.tuples(VALUE, VALUE, VALUE)
LENIENT = SharingRules(conflicts=False, cap=10**6)


def rows_of(records):
    return [
        {
            "source": "s",
            "source_id": f"t{number:02d}",
            "first_extracted_at": datetime(2026, 5, 1) + timedelta(hours=number // 3),
            "is_deleted": False,
            "email": None if email is None else f"{email}@x.com",
            "phone": None if phone is None else f"+{phone}",
            "customer_id": None if customer is None else f"c{customer}",
        }
        for number, (email, phone, customer) in enumerate(records)
    ]


def persons(rows, **options):
    found = resolve_identities({"ticket": pl.LazyFrame(rows, schema=TICKET.schema)}, **options)
    return dict(found.person_record.select("source_id", "person_id").rows())


def groups(person_of):
    found = defaultdict(set)
    for record, person in person_of.items():
        found[person].add(record)
    return set(map(frozenset, found.values()))


def by_union_find(rows):
    parent = {row["source_id"]: row["source_id"] for row in rows}

    def root(key):
        while parent[key] != key:
            key = parent[key]
        return key

    for a in rows:
        for b in rows:
            if any(a[name] is not None and a[name] == b[name] for name in ("email", "phone", "customer_id")):
                parent[root(a["source_id"])] = root(b["source_id"])
    return groups({key: root(key) for key in parent})


@settings(max_examples=40, deadline=None)
@given(records=st.lists(RECORD, min_size=1, max_size=14), data=st.data())
def test_persons_are_connected_components_in_any_order(records, data):
    rows = rows_of(records)
    found = persons(rows, rules=LENIENT)
    assert groups(found) == by_union_find(rows)
    assert persons(data.draw(st.permutations(rows)), rules=LENIENT) == found


@settings(max_examples=30, deadline=None)
@given(records=st.lists(RECORD, min_size=2, max_size=14), data=st.data())
def test_a_person_keeps_its_id_unless_an_older_one_takes_it_in(records, data):
    rows = rows_of(records)
    cut = data.draw(st.integers(1, len(rows)))
    # Records that share an hour are loaded together, as one load has one time.
    cut = -(-cut // 3) * 3
    before, after = persons(rows[:cut], rules=LENIENT), persons(rows, rules=LENIENT)
    for person in set(before.values()):
        members = [record for record, found in before.items() if found == person]
        now = {after[record] for record in members}
        assert len(now) == 1
        heir = now.pop()
        if heir != person:
            oldest_of_heir = min(record for record, found in after.items() if found == heir)
            assert before[oldest_of_heir] == heir
            assert oldest_of_heir < min(members)


PROFILED = st.tuples(VALUE, VALUE, st.sampled_from(["Li Wei", "Wei Li", "Li Wen", "Wu Bo", None]), st.booleans())


@settings(max_examples=40, deadline=None)
@given(records=st.lists(PROFILED, min_size=1, max_size=14), data=st.data())
def test_shared_values_and_their_reasons_are_the_same_in_any_order(records, data):
    rows = [
        row | {"full_name": name, "is_deleted": is_deleted}
        for row, (*_, name, is_deleted) in zip(
            rows_of([(email, phone, None) for email, phone, *_ in records]), records, strict=True
        )
    ]
    found = [
        resolve_identities({"customer": pl.LazyFrame(some, schema=CONTRACTS["customer"].schema)})
        for some in (rows, data.draw(st.permutations(rows)))
    ]
    for name, table in (("identity_evidence", "evidence"), ("person_record", "person_record")):
        one, other = (getattr(its, table).sort(DERIVED[name].key) for its in found)
        assert one.equals(other)
    assert sorted(found[0].sizes) == sorted(Counter(found[0].person_record["person_id"]).values())


@given(
    pairs=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=20),
    holder=st.lists(st.integers(0, 3), min_size=10, max_size=10),
)
def test_a_shared_value_is_one_that_two_holders_have(pairs, holder):
    links = pl.DataFrame(pairs, schema={"node": pl.UInt32, "value": pl.UInt32}, orient="row")
    holders = defaultdict(set)
    for node, value in pairs:
        holders[value].add(holder[node])
    expected = {(its, value) for value, some in holders.items() if len(some) > 1 for its in some}
    assert set(shared(links, np.array(holder)).rows()) == expected


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=25))
def test_measures_equal_those_counted_pair_by_pair(labels):
    rows = pl.DataFrame(labels, schema=["truth", "predicted"], orient="row")
    measured = measure(rows)
    assert measure(rows.group_by("truth", "predicted").len(), count="len") == pytest.approx(measured, abs=1e-12)
    pairs = [(a, b) for i, a in enumerate(labels) for b in labels[i + 1 :]]
    true = sum(a[0] == b[0] for a, b in pairs)
    predicted = sum(a[1] == b[1] for a, b in pairs)
    both = sum(a == b for a, b in pairs)
    assert (measured["true_pairs"], measured["pred_pairs"], measured["tp"]) == (true, predicted, both)
    precision = recall = 0.0
    for t, p in labels:
        overlap = sum(other == (t, p) for other in labels)
        precision += overlap / sum(other[1] == p for other in labels)
        recall += overlap / sum(other[0] == t for other in labels)
    assert abs(measured["b3_precision"] - precision / len(labels)) < 1e-12
    assert abs(measured["b3_recall"] - recall / len(labels)) < 1e-12
    expected = true * predicted / len(pairs) if pairs else 0
    if (true + predicted) / 2 != expected:
        rand = (both - expected) / ((true + predicted) / 2 - expected)
        assert abs(measured["adjusted_rand"] - rand) < 1e-9


@settings(max_examples=200, deadline=None)
@given(a=st.text("abc", max_size=7), b=st.text("abc", max_size=7))
def test_edits_equal_the_full_table(a, b):
    table = [[i + j if not i * j else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            costs = [table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a[i - 1] != b[j - 1])]
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                costs.append(table[i - 2][j - 2] + 1)
            table[i][j] = min(costs)
    assert _edits(a, b) == min(table[-1][-1], 3)
