"""The source of docs/guides/connector.md in a night: what its API says is what the clean tables hold."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.connector_guide import source, teashop


def test_the_guides_source_fills_its_tables(new_bench, tmp_path, monkeypatch):
    monkeypatch.setenv("TEASHOP_TOKEN", "green-tea")
    with teashop(tmp_path) as port:
        bench = new_bench(sources={"teashop": source(port)})
        bench.clock = datetime.now(UTC)
        night = bench.night(until="clean", days=0)
        assert {name: load["status"] for name, load in night.loads.items()} == dict.fromkeys(night.loads, "committed")
        assert night.loads["teashop.tickets"]["requests"] == 119
        again = bench.night(until="clean", days=0.001)
    customers = bench.clean("customer")
    assert set(customers["source_id"]) == {str(n) for n in range(1, 121) if n != 99}, "99 is gone at the source"
    assert bench.clean("sales_order")["order_amount"].sum() == sum(n + 0.5 for n in range(1, 25))
    assert sorted(bench.clean("ticket")["customer_id"]) == ["3", "40", "80"]
    assert bench.clean("answer").select("question_id", "value_number").rows() == [("score", 9.0)] * 2
    assert bench.clean("comment")["comment_text"].to_list() == ["Warm", "Warm"]
    # In the hours behind the shop's midnight the lag reaches into the day before, whose orders are read once more.
    others = {name: load["status"] for name, load in again.loads.items() if name != "teashop.orders"}
    assert others == dict.fromkeys(others, "unchanged") and len(others) == len(night.loads) - 1
    assert again.loads["teashop.orders"]["status"] in {"unchanged", "committed"}
