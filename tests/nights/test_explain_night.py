"""Every published table of a whole night, explained: each number comes out of its records."""

import json
from collections import Counter

import pytest

from orchestration.assets.dbt import built_by
from orchestration.lineage.explain import explain
from orchestration.lineage.tables import tables

CELLS = 6


@pytest.mark.parametrize("name", sorted(tables()))
def test_numbers_come_out_of_their_records(first_night, name):
    bench, night = first_night
    key = tables()[name].key
    listed = ", ".join(f"CAST({column} AS VARCHAR)" for column in key)
    shown = "WHERE NOT is_suppressed" if name in {"mart_nps", "mart_csat", "mart_response_rate", "mart_funnel"} else ""
    # The widest cells: totals of all time among them.
    found = bench.rows(f"SELECT {listed} FROM {name} {shown} ORDER BY md5({listed.split(', ')[-1]}) LIMIT {CELLS}")
    if name == "dim_account":
        assert found == [], "the bench has no accounts"
    for row in found:
        said = explain(bench.settings, name, dict(zip(key, row, strict=True)), built_by=built_by(bench.settings))
        assert said.differences == [] and list(said.notes) == [], said
        assert said.code.built_by == night.run_id
        assert list(said.models)[-1] == name
        lost = said.records.filter(~said.records["record_table"].is_in(["visitor", "login"]))["part"].null_count()
        assert lost == 0, said.records


def test_the_command_tells_the_same(first_night):
    bench, night = first_night
    done = bench.command(
        "explain", "mart_csat", "--where=period_kind=all", "--where=breakdown=total", "--format=json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["release"] == document["built_by"] == night.run_id
    assert document["is_equal"] is True
    assert document["cell"]["n"] == len(document["records"]) == 20
    assert Counter(row["source_file"] for row in document["records"]) == {"responses_0501.csv": 20}
    assert [load["stream"] for load in document["loads"]] == ["responses"]
    text = bench.command(
        "explain", "mart_csat", "--where=period_kind=all", "--where=breakdown=total", "--rows=1"
    ).stdout
    assert "responses_0501.csv row " in text and "… and 19 more" in text
    wrong = bench.command("explain", "mart_csat", "--where=period_kind")
    assert wrong.returncode == 2 and "write COLUMN=VALUE" in wrong.stderr
