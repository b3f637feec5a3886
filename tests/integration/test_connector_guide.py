"""docs/guides/connector.md: its server runs, its YAML is checked, discovered, planned and loaded as it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from orchestration.cli import main
from orchestration.sources.landing import Landing
from tests.connector_guide import GUIDE, source, teashop


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with teashop(tmp_path_factory.mktemp("teashop")) as port:
        yield port


@pytest.fixture
def home(tmp_path, shop, monkeypatch):
    monkeypatch.setenv("EXPERIENCE_HOME", str(tmp_path))
    monkeypatch.delenv("EXPERIENCE_SOURCES", raising=False)
    monkeypatch.setenv("TEASHOP_TOKEN", "green-tea")
    assert main(["init"]) == 0
    (tmp_path / "sources" / "teashop.yaml").write_text(source(shop), encoding="utf-8")
    (tmp_path / "draft.yaml").write_text(source(shop, "yaml draft"), encoding="utf-8")
    return tmp_path


def rows(home: Path, stream: str) -> pl.DataFrame:
    landing = Landing(home / "landing")
    return pl.concat([landing.scan(load).collect() for load in landing.manifests("teashop", stream)], how="diagonal")


def test_discover_proposes_what_the_guide_shows(home, capsys):
    assert main(["sources", "discover", str(home / "draft.yaml")]) == 0
    said = capsys.readouterr().out
    shown = GUIDE.partition("$ experience sources discover draft.yaml\n…\n")[2].partition("```")[0]
    assert shown in said
    assert "Customer 1" not in said


def test_the_source_is_checked_planned_and_loaded_as_the_guide_says(home, capsys):
    capsys.readouterr()
    assert main(["sources", "check", "teashop"]) == 0
    said = capsys.readouterr().out
    shown = GUIDE.partition("$ experience sources check teashop\n")[2].partition("```")[0]
    assert said == shown
    landed = Landing(home / "landing")
    assert not any(landed.manifests("teashop", name) for name in ("customers", "orders", "tickets", "responses"))

    assert main(["sources", "plan", "teashop"]) == 0
    said = capsys.readouterr().out
    assert "changed_at from the beginning to" in said
    assert "waits for the records of customers, which was never loaded" in said
    # 15 requests were spent by the check.
    assert "requests left today of 2000" in said

    assert main(["sources", "run", "teashop"]) == 0
    said = capsys.readouterr().out
    for line in ("customers: 120 rows", "orders: 24 rows", "tickets: 3 rows", "responses: 2 rows"):
        assert f"ok     teashop.{line} landed" in said
    assert rows(home, "customers")["_deleted"].sum() == 1
    assert sorted(rows(home, "orders")["order"]) == sorted(f"o{n}" for n in range(1, 25))
    assert sorted(rows(home, "tickets")["parent.customer"]) == ["3", "40", "80"]
    assert rows(home, "responses")["answers.score"].to_list() == ["9", "9"]

    assert main(["sources", "run", "teashop"]) == 0
    said = capsys.readouterr().out
    # In the hours behind the shop's midnight the lag reaches into the day before, whose orders are read once more.
    is_repeated = "teashop.orders: nothing new" not in said
    assert said.count("nothing new") == 6 - is_repeated
    assert rows(home, "orders")["order"].n_unique() == 24
    assert main(["sources", "loads", "teashop.orders", "--last", "1"]) == 0
    head, load = capsys.readouterr().out.splitlines()
    assert head.split()[-3:] == ["complete", "seconds", "requests"]
    assert f"incremental  {'committed' if is_repeated else 'unchanged'}" in load

    before = (datetime.now(UTC).date() - timedelta(days=3)).isoformat()
    assert main(["sources", "run", "teashop.orders", "--backfill", f"{before}..{before}"]) == 0
    assert "rows landed" in capsys.readouterr().out
    *_, last, backfill = Landing(home / "landing").manifests("teashop", "orders")
    assert backfill.kind == "backfill"
    assert backfill.cursor_to in {None, last.cursor_to}, "the cursor stays"
    # A day has four orders; slices that are aligned reach to the midnights around it.
    assert 4 <= backfill.rows_landed <= 8


def test_faults_tell_their_mend(home, capsys, monkeypatch):
    path = home / "sources" / "teashop.yaml"
    right = path.read_text()
    path.write_text(right.replace("records: {path: data}", "records: {path: dta}", 1))
    assert main(["sources", "check", "teashop.customers"]) == 1
    said = capsys.readouterr().out
    assert "the answer has nothing at records.path 'dta'; it holds 'ok', 'data', 'next'" in said
    path.write_text(right)
    monkeypatch.setenv("TEASHOP_TOKEN", "a-wrong-and-secret-token")
    assert main(["sources", "check", "teashop.customers"]) == 1
    said = "".join(capsys.readouterr())
    assert "answered 401" in said
    assert "a-wrong-and-secret-token" not in said
    monkeypatch.delenv("TEASHOP_TOKEN")
    assert main(["sources", "check", "teashop.customers"]) == 1
    assert "TEASHOP_TOKEN" in capsys.readouterr().out


def test_an_error_in_a_200_fails_the_load_with_its_message(home, capsys):
    path = home / "sources" / "teashop.yaml"
    path.write_text(path.read_text().replace('{from: "{{ window.start }}", to: "{{ window.end }}"}', "{to: x}"))
    assert main(["sources", "run", "teashop.orders"]) == 1
    assert "from and to are needed" in capsys.readouterr().out
    assert Landing(home / "landing").manifests("teashop", "orders") == []
