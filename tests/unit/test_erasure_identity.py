"""What identity tables still say of a person who is erased."""

import polars as pl

from orchestration.contracts import DERIVED
from orchestration.privacy.erase import _without
from orchestration.privacy.strings import Strings
from orchestration.privacy.subject import Subject


def test_a_login_that_is_joined_to_the_customer_no_more_leaves_with_it():
    subject = Subject(records=(("customer", "crm", "c7"),), strings=Strings.of(contacts=["u0100045"]))
    rows = pl.DataFrame(
        [
            {"record_table": "customer", "source": "crm", "source_id": "c7", "from_person_id": "p1"},
            {"record_table": "login", "source": "web", "source_id": "u0100045", "from_person_id": "p2"},
            {"record_table": "login", "source": "web", "source_id": "u01000451", "from_person_id": "p2"},
        ],
        schema=DERIVED["person_change"].schema,
    )
    assert _without(rows.lazy(), subject).collect()["source_id"].to_list() == ["u01000451"]
