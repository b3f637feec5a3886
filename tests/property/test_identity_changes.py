"""The log of merges and splits says of every record what a look at each person by itself says."""

from datetime import datetime

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from orchestration.contracts import DERIVED
from orchestration.identity.changes import changes

NOW = datetime(2026, 11, 1)
PERSONS = st.dictionaries(st.integers(0, 6), st.sampled_from("abcd"), max_size=7)
"""Number of a record to the person it belongs to."""


def table(persons):
    rows = [("customer", "crm", f"c{number}", person, NOW) for number, person in sorted(persons.items())]
    return pl.DataFrame(rows, schema=DERIVED["person_record"].schema, orient="row")


def expected(before, after):
    """Record to what became of it, where anything did."""
    found = {}
    for record, person in before.items():
        if record not in after:
            found[f"c{record}"] = (person, None, "removed")
        elif after[record] != person:
            goes_to = {after[other] for other, its in before.items() if its == person and other in after}
            comes_from = {its for other, its in before.items() if after.get(other) == after[record]}
            merged = len(goes_to) == 1 and len(comes_from) > 1
            found[f"c{record}"] = (person, after[record], "merge" if merged else "split")
    return found


@given(before=PERSONS, after=PERSONS)
def test_every_record_is_logged_as_it_moved(before, after):
    log = changes(table(before), table(after), "run", NOW)
    moved = log.select("source_id", "from_person_id", "to_person_id", "change_kind").rows()
    assert {record: tuple(rest) for record, *rest in moved} == expected(before, after)
