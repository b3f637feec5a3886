"""MetricFlow and the marts give the same figures, at two grains and by channel."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from types import SimpleNamespace

import pytest

MONTHS, WEEKS = ("month", "metric_time__month"), ("week", "metric_time__week")


@pytest.fixture(scope="module")
def warehouse(new_warehouse):
    """Half a year of a small company: every dimension varies, persons vote more than once."""
    made = new_warehouse(minimum_n=1)
    draw = random.Random(11)

    def instant():
        return datetime(2025, 10, 1) + timedelta(seconds=draw.randrange(180 * 86400))

    responses, answers, invitations, persons = [], [], [], []
    for number in range(260):
        at, survey = instant(), draw.choice(("relation", "contact"))
        key = f"r{number}"
        common = {"survey_id": survey, "answered_at": at}
        responses.append(
            {
                **common,
                "source_id": key,
                "channel": draw.choice(("web", "store", None)),
                "touchpoint_id": draw.choice(("support", "delivery")) if survey == "contact" else None,
                "status": draw.choice(("complete", "complete", "partial", "preview")),
                "invitation_id": f"i{number}" if number % 2 else None,
            }
        )
        answers.append({**common, "response_id": key, "question_id": "ltr", "value_number": draw.randrange(11)})
        answers.append({**common, "response_id": key, "question_id": "sat", "value_number": draw.randrange(1, 6)})
        if number % 4:
            persons.append({"record_table": "response", "source_id": key, "person_id": f"p{draw.randrange(50)}"})
    for number in range(400):
        invitations.append(
            {
                "source_id": f"i{number}",
                "survey_id": draw.choice(("relation", "contact")),
                "channel": draw.choice(("email", "phone")),
                "sent_at": instant(),
                "status": draw.choice(("sent", "sent", "bounced")),
            }
        )
    events = []
    names = ("page_view", "page_view", "view_item", "add_to_cart", "purchase", "login")
    for visitor in range(60):
        persons.append({"record_table": "visitor", "source_id": f"c{visitor}", "person_id": f"p{visitor}"})
        for _ in range(draw.randrange(1, 4)):
            at = instant()
            for step in range(draw.randrange(1, 6)):
                events.append(
                    {
                        "anonymous_id": f"c{visitor}",
                        "event_name": draw.choice(names),
                        "occurred_at": at + timedelta(minutes=7 * step),
                        "utm_medium": draw.choice(("cpc", "email", None)),
                    }
                )
    made.write("survey", [{"source_id": name, "name": name, "survey_kind": kind} for name, kind in SURVEYS.items()])
    made.write(
        "question",
        [
            {
                "survey_id": survey,
                "question_id": name,
                "metric": metric,
                "scale_min": low,
                "scale_max": high,
            }
            for survey in SURVEYS
            for name, metric, low, high in (("ltr", "nps", 0, 10), ("sat", "csat", 1, 5))
        ],
    )
    made.write("response", responses)
    made.write("answer", answers)
    made.write("invitation", invitations)
    made.write("web_event", events)
    made.write(
        "person_record", [{"source": "test", "first_extracted_at": "2026-06-01T00:00:00", **row} for row in persons]
    )
    made.build("--exclude-resource-type", "unit_test", "test")
    return made


SURVEYS = {"relation": "relational", "contact": "transactional"}


@pytest.fixture(scope="module")
def metrics(warehouse):
    """Asks MetricFlow: metric names, group by and where in, rows out."""
    from metricflow.engine.metricflow_engine import MetricFlowEngine, MetricFlowQueryRequest
    from metricflow.protocols.sql_client import SqlEngine
    from metricflow.sql.render.duckdb_renderer import DuckDbSqlPlanRenderer
    from metricflow_semantics.model.dbt_manifest_parser import parse_manifest_from_dbt_generated_manifest
    from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup

    manifest = parse_manifest_from_dbt_generated_manifest((warehouse.target / "semantic_manifest.json").read_text())
    client = SimpleNamespace(sql_engine_type=SqlEngine.DUCKDB, sql_plan_renderer=DuckDbSqlPlanRenderer())
    engine = MetricFlowEngine(SemanticManifestLookup(manifest), client)

    def ask(names, group_by, where=None):
        request = MetricFlowQueryRequest.create(
            metric_names=names, group_by_names=group_by, where_constraints=[where] if where else None
        )
        rows = warehouse.rows(engine.explain(request).sql_statement.sql)
        return {tuple(day(row[name]) for name in group_by): tuple(row[name] for name in names) for row in rows}

    return ask


def day(value):
    return value.date() if isinstance(value, datetime) else value


def mart(warehouse, query, columns):
    found = {}
    for row in warehouse.rows(query):
        key = tuple(value for name, value in row.items() if name not in columns)
        found[key] = tuple(row[name] for name in columns)
    return found


def same(ours, theirs):
    assert ours and ours.keys() == theirs.keys()
    for key, figures in ours.items():
        assert theirs[key] == pytest.approx(figures, abs=1e-9), key


@pytest.mark.parametrize(("kind", "time"), [MONTHS, WEEKS])
@pytest.mark.parametrize("nps_kind", ["relational", "touchpoint"])
def test_nps(warehouse, metrics, kind, time, nps_kind):
    where = f"{{{{ Dimension('vote__nps_kind') }}}} = '{nps_kind}'"
    names = [f"nps_{kind}", f"votes_{kind}", f"promoters_{kind}"]
    for breakdown, group_by in (("total", [time]), ("channel", [time, "vote__channel"])):
        value = ", breakdown_value" if breakdown != "total" else ""
        ours = mart(
            warehouse,
            f"select period_start_date{value}, nps, n, promoters from marts.mart_nps"
            f" where nps_kind = '{nps_kind}' and period_kind = '{kind}' and breakdown = '{breakdown}'",
            ("nps", "n", "promoters"),
        )
        theirs = {key: row for key, row in metrics(names, group_by, where).items() if row[1]}
        same(ours, theirs)


@pytest.mark.parametrize(("kind", "time"), [MONTHS, WEEKS])
def test_csat(warehouse, metrics, kind, time):
    ours = mart(
        warehouse,
        "select period_start_date, breakdown_value, survey_id, top_box_pct, n from marts.mart_csat"
        f" where period_kind = '{kind}' and breakdown = 'channel' and metric = 'csat'",
        ("top_box_pct", "n"),
    )
    asked = metrics(["csat_pct", "csat_answers"], [time, "answer__channel", "answer__survey"])
    same(ours, {key: row for key, row in asked.items() if row[1]})


@pytest.mark.parametrize(("kind", "time"), [MONTHS, WEEKS])
def test_response_rate(warehouse, metrics, kind, time):
    ours = mart(
        warehouse,
        "select period_start_date, breakdown_value, response_share, n from marts.mart_response_rate"
        f" where period_kind = '{kind}' and breakdown = 'channel'",
        ("response_share", "n"),
    )
    same(ours, metrics(["response_share", "invitations_reached"], [time, "invitation__channel"]))


def test_conversion_by_stage(warehouse, metrics):
    ours = mart(
        warehouse,
        "select cohort_start_date, stage_id, conversion_share, n_previous from marts.mart_funnel"
        " where cohort_kind = 'month' and breakdown = 'total' and n_previous > 0",
        ("conversion_share", "n_previous"),
    )
    asked = metrics(["stage_conversion_share", "stage_candidates"], ["metric_time__month", "person_stage__stage"])
    same(ours, {key: row for key, row in asked.items() if row[1]})
    assert {stage for _, stage in ours} >= {"consideration", "purchase"}


@pytest.mark.parametrize(("kind", "time"), [("day", "metric_time__day"), MONTHS])
def test_sessions(warehouse, metrics, kind, time):
    ours = mart(
        warehouse,
        f"select cast(date_trunc('{kind}', started_date) as date) as started, channel, count(*) as n,"
        " avg(cast(is_bounce as integer)) as bounced from marts.fct_session group by all",
        ("n", "bounced"),
    )
    same(ours, metrics(["session_count", "bounce_share"], [time, "session__channel"]))
    assert min(ours)[0] >= date(2025, 10, 1)


def test_the_marts_hold_more_than_one_vote_of_a_person_apart(warehouse):
    """Without it the vote rule would not be at work in the comparison above."""
    row = warehouse.row(
        "select count(*) as votes, count(*) filter (where is_latest_of_month) as monthly"
        " from warehouse.intermediate.int_nps_vote_latest"
    )
    assert row["votes"] > row["monthly"] > 0
