"""Fixtures that tests of more than one folder share."""

from __future__ import annotations

import http.server
import json
import math
import threading
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

SCORED = "minimum_n BIGINT, is_suppressed BOOLEAN, suppression_reason VARCHAR, metric_version VARCHAR, run_id VARCHAR"
MARTS = {
    "mart_nps": "nps_kind VARCHAR, period_kind VARCHAR, period_start_date DATE, period_end_date DATE, "
    "breakdown VARCHAR, breakdown_value VARCHAR, n BIGINT, promoters BIGINT, passives BIGINT, detractors BIGINT, "
    "nps DOUBLE, "
    f"standard_error DOUBLE, ci_low DOUBLE, ci_high DOUBLE, {SCORED}",
    "mart_csat": "source VARCHAR, survey_id VARCHAR, question_id VARCHAR, metric VARCHAR, period_kind VARCHAR, "
    "period_start_date DATE, period_end_date DATE, breakdown VARCHAR, breakdown_value VARCHAR, n BIGINT, "
    "top_box_count BIGINT, top_box_pct DOUBLE, ci_low DOUBLE, ci_high DOUBLE, mean_score DOUBLE, mean_ci_low DOUBLE, "
    f"mean_ci_high DOUBLE, {SCORED}",
    "mart_response_rate": "period_kind VARCHAR, period_start_date DATE, period_end_date DATE, breakdown VARCHAR, "
    f"breakdown_value VARCHAR, n_sent BIGINT, n BIGINT, n_complete BIGINT, response_share DOUBLE, ci_low DOUBLE, "
    f"ci_high DOUBLE, {SCORED}",
    "mart_funnel": "cohort_kind VARCHAR, cohort_start_date DATE, breakdown VARCHAR, breakdown_value VARCHAR, "
    "stage_id VARCHAR, stage_order INTEGER, previous_stage_id VARCHAR, n BIGINT, n_previous BIGINT, n_reached BIGINT, "
    "conversion_share DOUBLE, dropoff_share DOUBLE, ci_low DOUBLE, ci_high DOUBLE, share_of_first DOUBLE, "
    f"median_hours_from_previous DOUBLE, window_days INTEGER, is_mature BOOLEAN, {SCORED}",
    "mart_journey_map": "touchpoint_id VARCHAR, touchpoint_name VARCHAR, stage_id VARCHAR, stage_name VARCHAR, "
    "stage_order INTEGER, n_persons BIGINT, n_sessions BIGINT, n_orders BIGINT, n_tickets BIGINT, nps_n BIGINT, "
    "nps DOUBLE, nps_ci_low DOUBLE, nps_ci_high DOUBLE, is_nps_suppressed BOOLEAN, nps_suppression_reason VARCHAR, "
    "csat_n BIGINT, csat_top_box_pct DOUBLE, csat_ci_low DOUBLE, csat_ci_high DOUBLE, is_csat_suppressed BOOLEAN, "
    "csat_suppression_reason VARCHAR, minimum_n BIGINT, metric_version VARCHAR, run_id VARCHAR",
}
AS_OF = date(2026, 4, 30)
SHOWN = (10, False, None, "1.0", "run-7")
HIDDEN = (10, True, "below_minimum", "1.0", "run-7")


def _wilson(count: int, n: int) -> tuple[float, float]:
    z, share = 1.959964, count / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def _nps(kind: str, start: date, end: date, promoters: int, detractors: int, n: int, ending=SHOWN) -> tuple:
    score = 100 * (promoters - detractors) / n
    half = 196 * math.sqrt((promoters + detractors) / n - (score / 100) ** 2) / math.sqrt(n)
    counts = (n, promoters, n - promoters - detractors, detractors)
    period = ("relational", kind, start, end, "total", "all")
    return (*period, *counts, score, half / 1.96, score - half, score + half, *ending)


def _nps_rows() -> list[tuple]:
    rows = [
        _nps("all", date(2025, 3, 1), AS_OF, 900, 300, 1500),
        _nps("rolling_28d", AS_OF - timedelta(days=27), AS_OF, 141, 48, 237),
        _nps("rolling_28d", AS_OF - timedelta(days=55), AS_OF - timedelta(days=28), 120, 57, 221),
    ]
    for index in range(14):
        year, month = divmod(2 + index, 12)
        start = date(2025 + year, month + 1, 1)
        end = (start + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        if index == 6:
            # Holds numbers that a correct mart would have nulled: they must not be shown all the same.
            rows.append((*_nps("month", start, end, 5, 1, 7)[:10], 57.142, 20.5, 11.917, 88.371, *HIDDEN))
        elif index != 9:
            n = 150 + 13 * index
            rows.append(_nps("month", start, end, int(n * (0.5 + 0.01 * index)), int(n * 0.24), n))
    return rows


def _csat_rows() -> list[tuple]:
    def row(survey, question, metric, count, n, mean, ending=SHOWN):
        low, high = _wilson(count, n)
        period = ("rolling_28d", AS_OF - timedelta(days=27), AS_OF, "total", "all")
        numbers = (n, count, 100 * count / n, 100 * low, 100 * high, mean, mean - 0.11, mean + 0.11)
        return ("survey", survey, question, metric, *period, *numbers, *ending)

    return [
        row("after_purchase", "Q_csat", "csat", 309, 411, 4.12),
        row("after_ticket", "Q_csat", "csat", 61, 118, 3.44),
        row("after_ticket", "Q_effort", "ces", 70, 116, 4.9),
        row("after_return", "Q_csat", "csat", 4, 6, 3.871, HIDDEN),
    ]


def _response_rows() -> list[tuple]:
    rows = []
    for month, complete, n in ((2, 351, 1180), (3, 365, 1204), (4, 122, 987)):
        low, high = _wilson(complete, n)
        start = date(2026, month, 1)
        end = (start + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        rows.append(("month", start, end, "total", "all", n + 20, n, complete, complete / n, low, high, *SHOWN))
    return rows


def _funnel_rows() -> list[tuple]:
    reached = [("awareness", 8214), ("consideration", 4630), ("purchase", 1207), ("use", 866), ("loyalty", 301)]
    rows = []
    for index, (stage, n) in enumerate(reached):
        before = reached[index - 1] if index else (None, None)
        low, high = _wilson(n, before[1]) if before[1] else (None, None)
        share = n / before[1] if before[1] else None
        rows.append(
            (
                "all",
                date(2025, 3, 1),
                "total",
                "all",
                stage,
                index + 1,
                before[0],
                8214,
                before[1],
                n,
                share,
                1 - share if share else None,
                low,
                high,
                n / 8214,
                [None, 26.5, 61.2, 88.0, 402.7][index],
                30,
                False,
                *SHOWN,
            )
        )
    return rows


def _journey_rows() -> list[tuple]:
    rows = []
    for order, (stage, touchpoint, persons, tickets, csat, csat_n, nps, nps_n) in enumerate(
        (
            ("Awareness", "Campaign", 3120, 0, None, 0, None, 0),
            ("Awareness", "Search", 5044, 0, None, 0, None, 0),
            ("Consideration", "Product page", 4402, 12, 0.78, 240, 31.0, 240),
            ("Purchase", "Checkout", 1310, 45, 0.69, 402, 22.5, 402),
            ("Use", "Delivery", 866, 96, 0.53, 311, -8.1, 310),
            ("After-sales", "Support", 402, 402, 0.52, 118, -12.7, 118),
            ("After-sales", "Returns", 88, 61, 0.67, 6, 16.667, 6),
            ("Loyalty", "Newsletter", 700, 0, 0.81, 95, 44.4, 95),
        )
    ):
        hidden = 0 < csat_n < 10
        low, high = _wilson(round(csat * csat_n), csat_n) if csat else (None, None)
        reason = "below_minimum" if hidden else None
        rows.append(
            (
                touchpoint.lower().replace(" ", "_"),
                touchpoint,
                stage.lower(),
                stage,
                order,
                persons,
                persons * 2,
                0,
                tickets,
                nps_n,
                nps,
                None if nps is None else nps - 9,
                None if nps is None else nps + 9,
                hidden,
                reason,
                csat_n,
                csat and 100 * csat,
                low and 100 * low,
                high and 100 * high,
                hidden,
                reason,
                10,
                "1.0",
                "run-7",
            )
        )
    return rows


@pytest.fixture
def make_marts(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small marts file with the schema of the published marts, full or with empty tables."""

    def make(*, with_rows: bool = True) -> Path:
        path = tmp_path / "fixture" / "marts.duckdb"
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        rows = {
            "mart_nps": _nps_rows(),
            "mart_csat": _csat_rows(),
            "mart_response_rate": _response_rows(),
            "mart_funnel": _funnel_rows(),
            "mart_journey_map": _journey_rows(),
        }
        with duckdb.connect(str(path)) as connection:
            for table, columns in MARTS.items():
                connection.execute(f"CREATE TABLE {table} ({columns})")
                if with_rows:
                    marks = ", ".join("?" for _ in rows[table][0])
                    connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows[table])
        return path

    return make


class Inbox:
    """A webhook on 127.0.0.1 that keeps what it takes; ``status`` is what it answers with."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 204
        inbox = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if inbox.status < 400:
                    inbox.messages.append(message)
                self.send_response(inbox.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?token=hush"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    yield inbox
    inbox.close()
