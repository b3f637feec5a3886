"""A preset from the vendor's API to the published NPS: what an operator does first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fakes import Clock, serve
from tests.fakes.typeform import FORM

VOICE = """\
source: voice
type: typeform
connection:
  host: {url}
  token: {{file: typeform.key}}
  form: {form}
  customer_field: customer
  customer_source: crm
  budget: {{per_second: 1000}}
surveys:
  {form}:
    name: Relationship survey
    questions:
      nps: {{metric: nps, scale: {{min: 0, max: 10}}}}
      why: {{metric: text}}
streams:
  responses:
    required: true
    tables:
      answer: {{questions: {{nps: answers.score}}}}
      comment: {{texts: {{why: answers.reason}}}}
"""


def test_the_nps_of_a_survey_at_typeform_is_published_after_one_night(new_bench: Callable[..., Any]) -> None:
    bench = new_bench(sources={})
    with serve("typeform", rows=240, clock=Clock(bench.clock)) as fake:
        bench.source("voice", VOICE.format(url=fake.url, form=FORM))
        (bench.home / "sources" / "typeform.key").write_text(fake.dialect.token)
        night = bench.night()
        records = fake.store.records("responses")
    assert night.published, night.text
    scores = [record["score"] for record in records]
    promoters, detractors = sum(score >= 9 for score in scores), sum(score <= 6 for score in scores)
    found = bench.rows(
        "SELECT n, promoters, detractors, round(nps, 6) FROM mart_nps "
        "WHERE nps_kind = 'relational' AND period_kind = 'all' AND breakdown = 'total'"
    )
    assert found == [(240, promoters, detractors, round(100 * (promoters - detractors) / 240, 6))]
    assert bench.one("SELECT count(*) FROM fct_response WHERE status = 'complete'") == 240
    assert bench.clean("comment").height == sum(record["reason"] is not None for record in records)
    assert night.loads["voice.responses"]["requests"] == fake.requests
