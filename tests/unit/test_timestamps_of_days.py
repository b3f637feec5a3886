"""Days without a time of day, in zones whose clocks skip midnight."""

from datetime import datetime

import polars as pl
import pytest

from orchestration.normalize.timestamps import NONEXISTENT, read_timestamps

SAO_PAULO = "America/Sao_Paulo"


@pytest.mark.parametrize("text", ["2017-10-15", "20171015", "15.10.2017", "2017年10月15日", "Oct 15, 2017"])
def test_a_day_without_midnight_begins_at_its_first_instant(text):
    read = read_timestamps(pl.Series([text, None, "2017-10-16"]), zone=SAO_PAULO).to_list()
    assert read[0] == {"value": datetime(2017, 10, 15, 3), "reason": None}
    assert read[1]["value"] is None
    assert read[2] == {"value": datetime(2017, 10, 16, 2), "reason": None}


@pytest.mark.parametrize("text", ["2017-10-15 00:00:00", "2017-10-15T00:30:00", "20171015000000", "2017年10月15日0时"])
def test_a_local_time_that_was_skipped_is_refused_all_the_same(text):
    assert read_timestamps(pl.Series([text]), zone=SAO_PAULO).to_list() == [{"value": None, "reason": NONEXISTENT}]


def test_a_day_by_format():
    read = read_timestamps(pl.Series(["15/10/17"]), zone=SAO_PAULO, template="%d/%m/%y").to_list()
    assert read == [{"value": datetime(2017, 10, 15, 3), "reason": None}]
