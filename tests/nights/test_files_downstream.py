"""What replaced files and rotated logs come to in the clean layer: rows that went are gone, no line counts twice."""

import json

RECEIPTS = """\
source: till
type: files
streams:
  receipts:
    from: {path: "{home}/in/day-*.csv"}
    to: sales_order
    primary_key: [receipt]
    deletes: {strategy: replaced_file, max_vanish_share: 0.5}
    fields: {ordered_at: time, order_amount: total, order_currency: {value: EUR}}
"""
LOGS = """\
source: logs
type: files
streams:
  requests:
    from: {path: "{home}/in/access.log*", profile: access_log}
    to: web_event
    primary_key: position
    fields: {occurred_at: time, event_name: {value: request}, anonymous_id: remote_addr, page_path: request_uri}
"""
GA4 = """\
source: ga4
type: files
streams:
  events:
    from: {path: "{home}/in/ga4/events_*.jsonl", profile: ga4_bigquery}
    to: web_event
    primary_key: [user_pseudo_id, event_timestamp, event_name]
    fields: {occurred_at: {from: event_timestamp, unit: us}, event_name: event_name, anonymous_id: user_pseudo_id}
"""


def receipts(*rows):
    return "receipt,time,total\n" + "".join(
        f"{number},2026-05-0{day}T10:00:00Z,{total}\n" for number, day, total in rows
    )


def requests(*minutes):
    return "".join(
        f'10.0.0.1 - - [01/May/2026:10:{minute:02d}:00 +0200] "GET /p HTTP/1.1" 200 1 "-" "-"\n' for minute in minutes
    )


def events(*names):
    return "".join(
        json.dumps(
            {
                "event_date": "20260501",
                "event_timestamp": str(1_777_600_000_000_000 + number),
                "event_name": name,
                "user_pseudo_id": "v",
            }
        )
        + "\n"
        for number, name in enumerate(names)
    )


def test_rows_that_went_are_gone_and_lines_count_once(bench):
    for name in ("crm", "web", "survey", "support"):
        bench.source(name, None)
    for name, text in (("till", RECEIPTS), ("logs", LOGS), ("ga4", GA4)):
        bench.source(name, text)
    twenty = [f"view_{number}" for number in range(20)]
    bench.deliver(
        {
            "day-1.csv": receipts((1, 1, 10), (2, 1, 20), (3, 1, 30)),
            "access.log": requests(1, 1, 2),
            "ga4/events_20260501.jsonl": events(*twenty),
            "ga4/events_intraday_20260502.jsonl": events("not yet"),
        }
    )
    bench.night(until="clean")
    assert bench.clean("sales_order")["source_id"].to_list() == ["1", "2", "3"]
    bench.deliver(
        {
            # Receipt 2 went, 3 moved into the next day, 1 changed.
            "day-1.csv": receipts((1, 1, 11), (4, 1, 40)),
            "day-2.csv": receipts((3, 2, 30)),
            "access.log.1": requests(1, 1, 2, 2),
            "access.log": requests(3),
            "ga4/events_20260501.jsonl": events("renamed", *twenty[1:]),
        }
    )
    bench.night(until="clean")
    orders = bench.clean("sales_order")
    assert dict(orders.select("source_id", "order_amount").rows()).keys() == {"1", "3", "4"}
    assert [float(amount) for amount in orders["order_amount"]] == [11, 30, 40]
    web = bench.clean("web_event")
    assert sorted(web.filter(source="logs")["occurred_at"].dt.minute()) == [1, 1, 2, 2, 3]
    assert sorted(web.filter(source="ga4")["event_name"]) == sorted(["renamed", *twenty[1:]])
