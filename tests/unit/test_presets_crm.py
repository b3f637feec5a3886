"""Presets of CRM and support: their options, their requests, and answers shaped like the vendors' as contract rows."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from orchestration.contracts import CONTRACTS
from orchestration.normalize.table import NormaliseContext, normalise
from orchestration.settings import PROJECT_ROOT
from orchestration.sources.config import ConfigError, load_source, parse_source
from orchestration.sources.declared import question_rows
from orchestration.sources.http.records import frame, locate, read_json, rows
from orchestration.sources.http.templates import fill
from orchestration.sources.presets import preset

EXTRACTED = datetime(2026, 5, 2, tzinfo=UTC)
START = datetime(2026, 5, 1, 2, 3, 4, 500_000, tzinfo=UTC)
PRESETS = (
    "salesforce", "salesforce_bulk", "hubspot", "odoo", "tryton", "zendesk", "intercom", "jira_service_management",
)  # fmt: skip


def source(name, streams=None, **connection):
    """A source of a preset with every stream it has."""
    chosen = preset(name)
    given = {
        key: {"env": "SECRET"} if it.secret else str(it.example) for key, it in chosen.options.items() if it.required
    }
    wanted = {stream: {} for stream in chosen.source["streams"]} | (streams or {})
    raw = {"source": "s", "type": name, "connection": given | connection, "streams": wanted}
    return parse_source(raw, Path("s.yaml"))


def asked(name, stream, *, start=START, last=None, token=None, keys=False, parent=None, **connection):
    """A request of a stream as it is sent."""
    origin = source(name, **connection).streams[stream].origin
    request = origin.keys.request if keys else origin.export.start if origin.export else origin.request
    first = dict.fromkeys(getattr(origin.paging, "fields", ()))
    known = {
        "window": {"start": start, "end": EXTRACTED}, "last": first | (last or {}), "page": {"token": token},
        "parent": parent or {},
        "each": {}, "export": {"id": "750"}, "session": {}, "now": EXTRACTED,
    }  # fmt: skip
    parts = {"path": request.path, "params": request.params, "json": request.json_body}
    return {part: fill(value, known) for part, value in parts.items()}


def soql(text):
    return re.sub(r"\s+", " ", text)


def contract(name, stream, table, answer, parent=None, config=None, deleted=False):
    """Rows of a contract from an answer, as dicts; nothing may be rejected."""
    config = config or source(name)
    declared = config.streams[stream]
    records = declared.origin.records
    known = {"_parent": parent or {}}
    found = list(rows(locate(read_json(json.dumps(answer)), records), records, known))
    landed = frame(found, {f"parent.{key}": value for key, value in (parent or {}).items()})
    questions = normal(config, "questions", "question", question_rows(config)) if config.surveys else None
    return normal(config, stream, table, landed, questions, deleted).to_dicts()


def normal(config, stream, table, landed, questions=None, deleted=False):
    declared = config.streams[stream]
    meta = (
        pl.int_range(pl.len(), dtype=pl.Int64).alias("_load_row"),
        pl.lit(None, pl.String).alias("_file"),
        pl.lit(None, pl.Int64).alias("_row"),
        pl.lit(deleted).alias("_deleted"),
    )
    context = NormaliseContext(
        config.source, stream, "load-1", EXTRACTED, config.timezone, declared.primary_key, questions
    )
    kept, rejects = normalise(
        CONTRACTS[table], landed.select(pl.all(), *meta).lazy(), declared.tables[table], context
    ).collect()
    assert rejects.is_empty(), rejects.to_dicts()
    return kept


def one(found):
    assert len(found) == 1, found
    return found[0]


def holds(row, **expected):
    assert {name: row[name] for name in expected} == expected


def at(*parts):
    return datetime(*parts)


# -- what a user is told ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_source_with_its_required_options_alone(name):
    chosen = preset(name)
    given = {key: {"env": "X"} if it.secret else str(it.example) for key, it in chosen.options.items() if it.required}
    config = parse_source({"source": "s", "type": name, "connection": given}, Path("s.yaml"))
    assert set(config.streams) - {"surveys", "questions"} == set(chosen.source["streams"]) - set(
        chosen.optional_streams
    )


@pytest.mark.parametrize("name", PRESETS)
def test_every_stream_is_one_of_a_source(name):
    assert set(preset(name).source["streams"]) <= set(source(name).streams)


@pytest.mark.parametrize(
    ("name", "option"), [(name, key) for name in PRESETS for key, it in preset(name).options.items() if it.required]
)
def test_a_missing_option_is_named_with_what_it_is(name, option):
    given = {key: {"env": "X"} if it.secret else "x" for key, it in preset(name).options.items() if key != option}
    with pytest.raises(ConfigError, match=rf"connection\.{option}: is missing") as caught:
        parse_source({"source": "s", "type": name, "connection": given}, Path("s.yaml"))
    assert preset(name).options[option].description in str(caught.value)


@pytest.mark.parametrize(
    ("name", "option"), [(name, key) for name in PRESETS for key, it in preset(name).options.items() if it.secret]
)
def test_a_secret_that_is_written_out_is_refused(name, option):
    with pytest.raises(ConfigError, match=rf"connection\.{option}: is written out"):
        source(name, **{option: "s3cret"})


@pytest.mark.parametrize("name", PRESETS)
def test_every_option_is_used_and_described(name):
    chosen = preset(name)
    text = json.dumps(chosen.source)
    for option, it in chosen.options.items():
        assert f"${{{option}}}" in text, option
        assert it.description
        assert not it.description.endswith(".")


@pytest.mark.parametrize("name", PRESETS)
def test_a_field_is_overridden_and_a_stream_is_added(name):
    stream, entry = next((key, it) for key, it in preset(name).source["streams"].items() if it.get("fields"))
    column = next(column for column in entry["fields"] if column != "updated_at")
    changed = {"fields": {column: {"from": "own_field"}}}
    own = {"from": {"request": {"path": "/own"}}, "to": "account", "primary_key": ["id"], "fields": {"name": "name"}}
    config = source(name, {stream: changed, "own": own})
    assert config.streams[stream].tables[entry["to"]].fields[column].source_fields == ["own_field"]
    assert config.streams["own"].origin.request.path == "/own"


def test_the_two_salesforce_presets_fill_the_same_columns():
    rest, bulk = source("salesforce"), source("salesforce_bulk")
    assert set(rest.streams) == set(bulk.streams)
    for name in set(preset("salesforce").source["streams"]):
        for table, mapping in rest.streams[name].tables.items():
            other = bulk.streams[name].tables[table]
            # Bulk cannot query what lies below an opportunity.
            missing = {"customer_id"} if name == "opportunities" else set()
            assert set(mapping.fields) - set(other.fields) == missing, name
            for column in other.fields:
                assert mapping.fields[column] == other.fields[column], (name, column)


# -- Salesforce ------------------------------------------------------------------------------------------------------


def test_salesforce_asks_behind_the_last_record_by_time_and_id():
    first = soql(asked("salesforce", "accounts", start=None)["params"]["q"])
    assert "WHERE" not in first
    assert first.endswith("FROM Account ORDER BY SystemModstamp, Id LIMIT 2000")
    begin = soql(asked("salesforce", "accounts")["params"]["q"])
    assert "FROM Account WHERE SystemModstamp >= 2026-05-01T02:03:04.500Z ORDER BY" in begin
    last = {"SystemModstamp": "2026-05-01T02:03:05.000+0000", "Id": "001bm00000NMK67AAH"}
    later = soql(asked("salesforce", "accounts", last=last)["params"]["q"])
    moment = "2026-05-01T02:03:05.000Z"
    assert f"(SystemModstamp > {moment} OR (SystemModstamp = {moment} AND Id > '001bm00000NMK67AAH'))" in later
    assert asked("salesforce", "accounts")["path"].endswith("/queryAll")


@pytest.mark.parametrize("name", ["salesforce", "salesforce_bulk"])
def test_salesforce_asks_for_a_users_own_fields_too(name):
    request = asked(name, "contacts", contact_fields="Tier__c, NPS__c")
    text = soql(request["params"].get("q") or request["json"]["query"])
    assert re.search(r"OwnerId , Tier__c, NPS__c FROM Contact", text)


def test_salesforce_keeps_its_condition_on_every_page():
    last = {"SystemModstamp": "2026-05-01T02:03:05.000+0000", "Id": "02s"}
    for start, position in ((None, {}), (START, {}), (START, last)):
        text = soql(asked("salesforce", "case_emails", start=start, last=position)["params"]["q"])
        assert text.count("WHERE") == 1
        assert "WHERE ParentId != null" in text


def sobject(kind, key, **fields):
    known = {"attributes": {"type": kind, "url": f"/services/data/v62.0/sobjects/{kind}/{key}"}, "Id": key}
    times = {"SystemModstamp": "2026-05-01T10:00:00.000+0000", "CreatedDate": "2025-01-01T08:00:00.000+0000"}
    return known | {"IsDeleted": False} | times | fields


def answered(*records):
    return {"totalSize": len(records), "done": True, "records": list(records)}


def test_salesforce_contact_and_the_lead_it_came_from_share_an_external_id():
    contact = sobject(
        "Contact", "0035e00000AbCdEAAV", AccountId="001bm00000NMK67AAH", Name="Ana O'Hara", Email="Ana@Example.org",
        Phone="+49 30 901820", Birthdate="1980-02-03", MailingCountry="Germany", MailingState="Berlin",
        MailingCity="Berlin", LeadSource="Web", HasOptedOutOfEmail=True, OwnerId="005bm000005TvBKAA0",
    )  # fmt: skip
    row = one(contract("salesforce", "contacts", "customer", answered(contact)))
    holds(
        row, source_id="0035e00000AbCdEAAV", external_id="0035e00000AbCdEAAV", full_name="Ana O'Hara",
        email="ana@example.org", phone="+4930901820", account_id="001bm00000NMK67AAH", country="DE",
        has_marketing_consent=False, acquisition_channel="Web", created_at=at(2025, 1, 1, 8),
        updated_at=at(2026, 5, 1, 10),
    )  # fmt: skip
    lead = sobject(
        "Lead", "00Q5e000001AbCdEAK", Name="Ana O'Hara", Company="Sample", Email=None, Phone=None, Status="Converted",
        Country=None, State=None, City=None, LeadSource="Web", IsConverted=True,
        ConvertedContactId="0035e00000AbCdEAAV", HasOptedOutOfEmail=False, OwnerId="005bm000005TvBKAA0",
    )  # fmt: skip
    row = one(contract("salesforce", "leads", "customer", answered(lead)))
    holds(
        row, external_id="0035e00000AbCdEAAV", lifecycle_stage="Converted", email=None, has_marketing_consent=True
    )  # fmt: skip


@pytest.mark.parametrize(
    ("closed", "won", "status", "closed_at"),
    [(False, False, "open", None), (True, True, "won", at(2026, 3, 31)), (True, False, "lost", at(2026, 3, 31))],
)
def test_salesforce_opportunity_is_closed_when_salesforce_says_so(closed, won, status, closed_at):
    roles = {"totalSize": 1, "done": True, "records": [{"attributes": {}, "ContactId": "0035e00000AbCdEAAV"}]}
    deal = sobject(
        "Opportunity", "0065e00000AbCdEAAV", AccountId="001", Name="Big deal", Type="New Business",
        StageName="Negotiation/Review", Amount=1250.5, CloseDate="2026-03-31", IsClosed=closed, IsWon=won,
        OwnerId="005", OpportunityContactRoles=roles,
    )  # fmt: skip
    row = one(contract("salesforce", "opportunities", "opportunity", answered(deal)))
    holds(
        row, stage="Negotiation/Review", status=status, closed_at=closed_at, customer_id="0035e00000AbCdEAAV",
        value_currency="EUR",
    )  # fmt: skip
    assert float(row["value_amount"]) == 1250.5
    alone = one(
        contract("salesforce", "opportunities", "opportunity", answered(deal | {"OpportunityContactRoles": None}))
    )
    assert alone["customer_id"] is None


def test_salesforce_case_is_a_ticket_and_what_was_said():
    case = sobject(
        "Case", "5005e00000AbCdEAAV", CaseNumber="00001042", ContactId="0035e00000AbCdEAAV", AccountId="001",
        SuppliedEmail="ana@example.org", SuppliedPhone=None, Subject="Late", Description="Where is my parcel?",
        Origin="Web", Type="Delivery", Priority="High", Status="Solved by us", IsClosed=True,
        ClosedDate="2026-04-30T12:00:00.000+0000", OwnerId="005",
    )  # fmt: skip
    holds(
        one(contract("salesforce", "cases", "ticket", answered(case))), status="closed", channel="Web", priority="High",
        email="ana@example.org", opened_at=at(2025, 1, 1, 8), resolved_at=at(2026, 4, 30, 12),
    )  # fmt: skip
    holds(
        one(contract("salesforce", "cases", "comment", answered(case))), comment_text="Where is my parcel?",
        parent_table="ticket", parent_id="5005e00000AbCdEAAV", is_solicited=False, is_deleted=False,
    )  # fmt: skip
    states = {"New": "new", "On Hold": "pending", "Something of our own": "open"}
    for state, status in states.items():
        row = one(contract("salesforce", "cases", "ticket", answered(case | {"Status": state, "IsClosed": False})))
        assert row["status"] == status
    silent = one(contract("salesforce", "cases", "comment", answered(case | {"Description": None})))
    assert silent["is_deleted"]


def test_salesforce_emails_of_a_case_are_replies_and_comments():
    incoming = {
        "ParentId": "500",
        "Subject": "Re",
        "FromAddress": "a@b.c",
        "MessageDate": "2026-05-01T09:00:00.000+0000",
    }
    received = sobject("EmailMessage", "02s1", Incoming=True, TextBody="Still waiting", **incoming)
    sent = sobject("EmailMessage", "02s2", Incoming=False, TextBody="On its way", **incoming)
    holds(
        one(contract("salesforce", "case_emails", "comment", answered(received, sent))), comment_text="Still waiting"
    )  # fmt: skip
    holds(
        one(contract("salesforce", "case_emails", "ticket_event", answered(received, sent))), source_id="02s2",
        event_name="replied", actor_kind="agent", ticket_id="500", occurred_at=at(2026, 5, 1, 9),
    )  # fmt: skip


def test_salesforce_order_task_and_history():
    order = sobject(
        "Order", "801", OrderNumber="00000100", AccountId="001", BillToContactId="003", EffectiveDate="2026-04-01",
        ActivatedDate=None, StatusCode="Activated", Status="Activated", TotalAmount=99.9, OwnerId="005",
    )  # fmt: skip
    holds(
        one(contract("salesforce", "orders", "sales_order", answered(order))), customer_id="003", status="created",
        ordered_at=at(2026, 4, 1), order_currency="EUR",
    )  # fmt: skip
    task = sobject(
        "Task", "00T", WhatId="500", TaskSubtype="Call", Status="Completed", IsClosed=True,
        CompletedDateTime="2026-05-01T09:00:00.000+0000", OwnerId="005",
    )  # fmt: skip
    holds(
        one(contract("salesforce", "case_tasks", "ticket_event", answered(task))), ticket_id="500", event_name="called"
    )
    history = {
        "attributes": {}, "Id": "017", "IsDeleted": False, "CreatedDate": "2026-05-01T09:00:00.000+0000",
        "CaseId": "500",
        "Field": "Status", "OldValue": "New", "NewValue": "Closed", "CreatedById": "005",
    }  # fmt: skip
    holds(
        one(contract("salesforce", "case_history", "ticket_event", answered(history))), event_name="solved",
        from_status="New", to_status="Closed",
    )  # fmt: skip
    other = history | {"Field": "Owner"}
    assert contract("salesforce", "case_history", "ticket_event", answered(other)) == []


def test_salesforce_bulk_starts_a_job_without_order_or_limit():
    request = asked("salesforce_bulk", "accounts")
    assert request["path"] == "/services/data/v62.0/jobs/query"
    assert request["json"]["operation"] == "queryAll"
    text = soql(request["json"]["query"])
    assert text.endswith("FROM Account WHERE SystemModstamp >= 2026-05-01T02:03:04.500Z")
    assert "(SELECT" not in soql(asked("salesforce_bulk", "opportunities")["json"]["query"])


# -- HubSpot ---------------------------------------------------------------------------------------------------------


def test_hubspot_searches_by_id_within_what_changed():
    body = asked("hubspot", "contacts", last={"id": "72810357568"}, contact_properties="nps_score, tier")["json"]
    changed, behind = body["filterGroups"][0]["filters"]
    assert changed == {"propertyName": "lastmodifieddate", "operator": "GTE", "value": "1777600984500"}
    assert behind == {"propertyName": "hs_object_id", "operator": "GT", "value": "72810357568"}
    assert body["sorts"] == [{"propertyName": "hs_object_id", "direction": "ASCENDING"}]
    assert body["limit"] == 200
    assert body["properties"][0] == "firstname"
    assert body["properties"][-2:] == ["nps_score", "tier"]
    first = asked("hubspot", "companies")["json"]["filterGroups"][0]["filters"]
    assert first[0]["propertyName"] == "hs_lastmodifieddate"
    assert first[1]["value"] == "0"


def hubspot(key, properties, **more):
    times = {"createdAt": "2024-10-28T16:39:00.846Z", "updatedAt": "2026-05-01T10:00:00.123Z", "archived": False}
    return {"results": [{"id": key, "properties": properties | {"hs_object_id": key}, **times, **more}]}


def test_hubspot_contact():
    answer = hubspot(
        "72810357568",
        {
            "firstname": "Maria", "lastname": None, "email": "EmailMaria@hubspot.com", "phone": "+1 617 555 0100",
            "country": "United States", "state": "MA", "city": "Brisbane", "hs_language": "en-us",
            "lifecyclestage": "customer", "associatedcompanyid": "25177527565", "hs_email_optout": "true",
            "createdate": "2024-10-28T16:39:00.846Z", "lastmodifieddate": "2026-05-01T10:00:00.123Z",
            "hs_analytics_source": "OFFLINE", "gender": None, "date_of_birth": None, "hs_persona": "persona_1",
        },
    )  # fmt: skip
    holds(
        one(contract("hubspot", "contacts", "customer", answer)), source_id="72810357568", full_name="Maria",
        email="emailmaria@hubspot.com", account_id="25177527565", country="US", language="en",
        has_marketing_consent=False, lifecycle_stage="customer", segment="persona_1",
        updated_at=at(2026, 5, 1, 10, 0, 0, 123000),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("closed", "won", "status"), [("true", "true", "won"), ("true", "false", "lost"), ("false", None, "open")]
)
def test_hubspot_deal_with_its_associations(closed, won, status):
    found = {"results": [{"id": "101", "type": "deal_to_contact"}, {"id": "102", "type": "deal_to_contact"}]}
    answer = hubspot(
        "35447325508",
        {
            "dealname": "Sample Deal", "amount": "43", "deal_currency_code": None, "dealstage": "appointmentscheduled",
            "dealtype": None, "hs_is_closed": closed, "hs_is_closed_won": won, "closedate": "2026-04-30T00:00:00Z",
            "createdate": "2025-04-03T12:59:10.726Z", "hs_lastmodifieddate": "2026-05-01T10:00:00Z",
        },
        associations={"contacts": found, "companies": {"results": [{"id": "9001", "type": "deal_to_company"}]}},
    )  # fmt: skip
    config = source("hubspot", currency="USD")
    row = one(contract("hubspot", "deals", "opportunity", answer, config=config))
    holds(
        row, customer_id="101", account_id="9001", status=status, value_currency="USD",
        closed_at=None if status == "open" else at(2026, 4, 30),
    )  # fmt: skip
    lonely = {"results": [{key: value for key, value in answer["results"][0].items() if key != "associations"}]}
    holds(one(contract("hubspot", "deals", "opportunity", lonely)), customer_id=None, value_currency=None)


@pytest.mark.parametrize(
    ("stage", "closed_date", "status"),
    [
        ("1", None, "new"),
        ("2", None, "pending"),
        ("928374", None, "open"),
        ("928375", "2026-04-01T00:00:00Z", "closed"),
    ],
)
def test_hubspot_ticket(stage, closed_date, status):
    answer = hubspot(
        "512",
        {
            "subject": "Late", "content": "Where is it?", "source_type": "EMAIL", "hs_ticket_category": "PRODUCT_ISSUE",
            "hs_ticket_priority": "HIGH", "hs_pipeline_stage": stage, "createdate": "2026-03-01T00:00:00Z",
            "closed_date": closed_date, "first_agent_reply_date": "2026-03-01T01:00:00Z",
            "hs_lastmodifieddate": "2026-05-01T10:00:00Z",
        },
        associations={"contacts": {"results": [{"id": "101", "type": "ticket_to_contact"}]}},
    )  # fmt: skip
    holds(
        one(contract("hubspot", "tickets", "ticket", answer)), status=status, customer_id="101", channel="EMAIL",
        first_response_at=at(2026, 3, 1, 1), closed_at=at(2026, 4, 1) if closed_date else None,
    )  # fmt: skip
    holds(one(contract("hubspot", "tickets", "comment", answer)), comment_text="Where is it?", parent_id="512")


@pytest.mark.parametrize(("kind", "value"), [("NPS", "9"), ("CSAT", "2"), ("CES", "7")])
def test_hubspot_feedback_is_a_response_with_its_answer(kind, value):
    answer = hubspot(
        "77",
        {
            "hs_survey_id": "5", "hs_survey_name": "After delivery", "hs_survey_type": kind,
            "hs_survey_channel": "EMAIL", "hs_value": value, "hs_response_group": "PROMOTER",
            "hs_content": "What a great product!", "hs_contact_id": "101",
            "hs_submission_timestamp": "2026-04-02T10:00:00Z",
        },
    )  # fmt: skip
    holds(
        one(contract("hubspot", "feedback", "response", answer)), survey_id=kind, customer_id="101", channel="EMAIL",
        status="complete", answered_at=at(2026, 4, 2, 10),
    )  # fmt: skip
    holds(
        one(contract("hubspot", "feedback", "answer", answer)), response_id="77", survey_id=kind, question_id="rating",
        value_number=float(value),
    )  # fmt: skip
    holds(one(contract("hubspot", "feedback", "comment", answer)), parent_id="77", comment_text="What a great product!")


def test_hubspot_feedback_of_an_own_survey_counts_as_no_metric():
    answer = hubspot("78", {"hs_survey_type": "CUSTOM", "hs_value": "4", "hs_submission_timestamp": None})
    holds(
        one(contract("hubspot", "feedback", "response", answer)), survey_id="OTHER",
        answered_at=at(2024, 10, 28, 16, 39, 0, 846000),
    )  # fmt: skip
    assert contract("hubspot", "feedback", "answer", answer) == []


# -- Odoo ------------------------------------------------------------------------------------------------------------


def test_odoo_asks_by_id_and_in_whole_seconds():
    kwargs = asked("odoo", "partners", last={"id": "41"}, partner_fields="x_tier")["json"]["params"]["kwargs"]
    assert kwargs["domain"] == [["write_date", ">=", "2026-05-01 02:03:04"], ["id", ">", 41]]
    assert kwargs["context"]["active_test"] is False
    assert kwargs["order"] == "id"
    assert kwargs["limit"] == 1000
    assert kwargs["fields"][-1] == "x_tier"
    keys = asked("odoo", "partners", keys=True)["json"]["params"]["kwargs"]
    assert keys["domain"] == [["id", ">", 0]]


def odoo(**fields):
    known = {"id": 7, "create_date": "2024-01-02 03:04:05", "write_date": "2026-05-01 10:00:00"}
    return {"jsonrpc": "2.0", "id": None, "result": [known | fields]}


def test_odoo_partner_is_a_customer_or_an_account():
    person = odoo(
        name="Ana Sample", email="ana@example.net", phone=False, parent_id=[3, "Sample Ltd"], is_company=False,
        active=False, industry_id=False, country_id=[48, "China"], state_id=[600, "Shanghai"], city="Shanghai",
        lang="zh_CN", ref=False,
    )  # fmt: skip
    holds(
        one(contract("odoo", "partners", "customer", person)), source_id="7", full_name="Ana Sample", phone=None,
        account_id="3", lifecycle_stage="archived", country="CN", language="zh", external_id=None, is_deleted=False,
        created_at=at(2024, 1, 2, 3, 4, 5),
    )  # fmt: skip
    assert contract("odoo", "partners", "account", person) == []
    company = odoo(
        name="Sample Ltd", email=False, phone=False, parent_id=False, is_company=True, active=True,
        industry_id=[4, "Retail"], country_id=False, state_id=False, city=False, lang=False, ref="C-1",
    )  # fmt: skip
    holds(one(contract("odoo", "partners", "account", company)), name="Sample Ltd", industry="Retail", country=None)
    assert contract("odoo", "partners", "customer", company) == []


@pytest.mark.parametrize(
    ("active", "probability", "status"),
    [(True, 100.0, "won"), (False, 0.0, "lost"), (True, 0.0, "open"), (True, 33.3, "open")],
)
def test_odoo_lead(active, probability, status):
    answer = odoo(
        name="Deal", type="opportunity", partner_id=[7, "Ana"], expected_revenue=100.0, company_currency=[1, "EUR"],
        stage_id=[2, "Qualified"], probability=probability, active=active, user_id=False, date_closed=False,
    )  # fmt: skip
    holds(
        one(contract("odoo", "leads", "opportunity", answer)), status=status, customer_id="7", stage="Qualified",
        value_currency="EUR", owner_id=None,
    )  # fmt: skip


def test_odoo_orders_without_quotations():
    order = odoo(
        name="S00042", partner_id=[7, "Ana"], date_order="2026-04-01 08:00:00", state="sale", amount_total=120.5,
        currency_id=[1, "EUR"],
    )  # fmt: skip
    holds(
        one(contract("odoo", "orders", "sales_order", order)), status="created", customer_id="7", order_currency="EUR",
        ordered_at=at(2026, 4, 1, 8),
    )  # fmt: skip
    draft = {"result": [order["result"][0] | {"state": "draft"}]}
    assert contract("odoo", "orders", "sales_order", draft) == []


def test_odoo_ticket_and_rating():
    ticket = odoo(
        name="Broken", partner_id=[7, "Ana"], partner_email="ana@example.net", partner_phone=False, team_id=[1, "Care"],
        user_id=False, stage_id=[3, "In Progress"], ticket_type_id=[2, "Issue"], priority="3", active=True,
        close_date=False,
    )  # fmt: skip
    holds(
        one(contract("odoo", "tickets", "ticket", ticket)), status="open", agent_id="1", priority="urgent",
        ticket_category="Issue",
    )  # fmt: skip
    rating = odoo(
        rating=5.0, feedback="Quick!", partner_id=[7, "Ana"], res_model="helpdesk.ticket", res_id=9, consumed=True
    )
    holds(
        one(contract("odoo", "ratings", "response", rating)),
        source_id="rating-7",
        reference_id="9",
        survey_id="ratings",
    )
    holds(
        one(contract("odoo", "ratings", "answer", rating)),
        response_id="rating-7",
        question_id="rating",
        value_number=5.0,
    )
    holds(one(contract("odoo", "ratings", "comment", rating)), parent_id="rating-7", comment_text="Quick!")
    asked_only = {"result": [rating["result"][0] | {"consumed": False, "rating": 0.0}]}
    assert contract("odoo", "ratings", "response", asked_only) == []


def test_odoo_survey_answers_by_a_declared_metric():
    tables = {"fields": {"metric": {"map": {"12": "nps"}}}}
    config = source("odoo", {"survey_questions": tables})
    question = odoo(id=12, title="Would you recommend us?", survey_id=[1, "Relation"], question_type="scale")
    found = contract("odoo", "survey_questions", "question", question, config=config)
    holds(one(found), survey_id="1", question_id="12", metric="nps", scale_min=0.0, scale_max=10.0)
    line = odoo(
        id=900, user_input_id=[50, "x"], survey_id=[1, "Relation"], question_id=[12, "Would"], skipped=False,
        answer_type="scale", value_char_box=False, value_text_box=False, value_numerical_box=0.0, value_scale=9,
        suggested_answer_id=False,
    )  # fmt: skip
    stream = config.streams["survey_lines"]
    landed = frame(list(rows(locate(read_json(json.dumps(line)), stream.origin.records), stream.origin.records)))
    answers = normal(config, "survey_lines", "answer", landed, pl.DataFrame(found)).to_dicts()
    holds(one(answers), response_id="50", survey_id="1", question_id="12", value_number=9.0)
    submitted = odoo(
        id=50, survey_id=[1, "Relation"], partner_id=[7, "Ana"], email=False, state="done", test_entry=False,
        start_datetime="2026-04-01 08:00:00", end_datetime="2026-04-01 08:02:00",
    )  # fmt: skip
    holds(
        one(contract("odoo", "survey_inputs", "response", submitted)), source_id="50", status="complete",
        customer_id="7", answered_at=at(2026, 4, 1, 8, 2),
    )  # fmt: skip
    words = {"result": [line["result"][0] | {"answer_type": "text_box", "value_text_box": "Because."}]}
    holds(one(contract("odoo", "survey_lines", "comment", words)), parent_id="50", comment_text="Because.")


# -- Tryton ----------------------------------------------------------------------------------------------------------


def moment(*parts):
    names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    return {"__class__": "datetime", **dict(zip(names, parts, strict=True))}


def test_tryton_party_with_its_first_address():
    party = {
        "id": 4, "name": "Ana Sample", "code": "00004", "active": True, "lang": 2, "lang.": {"id": 2, "code": "de"},
        "email": "ana@example.net", "phone": "", "mobile": "+4915112345678", "replaced_by": None,
        "create_date": moment(2026, 5, 4, 3, 2, 1, 900), "write_date": None, "addresses": [8],
        "addresses.": [{
            "id": 8, "city": "Berlin", "country": 1, "country.": {"id": 1, "code": "DE"}, "subdivision": None,
        }],
    }  # fmt: skip
    holds(
        one(contract("tryton", "parties", "customer", {"id": 1, "result": [party]})), source_id="4", external_id="4",
        full_name="Ana Sample", phone="+4915112345678", city="Berlin", country="DE", language="de",
        created_at=at(2026, 5, 4, 3, 2, 1, 900), updated_at=at(2026, 5, 4, 3, 2, 1, 900), lifecycle_stage="active",
    )  # fmt: skip
    replaced = party | {"id": 5, "active": False, "replaced_by": 4, "addresses.": [], "addresses": []}
    holds(
        one(contract("tryton", "parties", "customer", {"id": 1, "result": [replaced]})), external_id="4",
        lifecycle_stage="archived", city=None,
    )  # fmt: skip


def test_tryton_sale_and_opportunity():
    sale = {
        "id": 1, "number": "S-1", "party": 4, "sale_date": {"__class__": "date", "year": 2026, "month": 4, "day": 1},
        "state": "processing", "total_amount": {"__class__": "Decimal", "decimal": "10.50"},
        "currency.": {"id": 1, "code": "EUR"}, "create_date": moment(2026, 4, 1, 1, 1, 1, 0), "write_date": None,
    }  # fmt: skip
    row = one(contract("tryton", "sales", "sales_order", {"id": 1, "result": [sale]}))
    holds(row, customer_id="4", status="created", ordered_at=at(2026, 4, 1), order_currency="EUR")
    assert str(row["order_amount"]).startswith("10.5")
    assert contract("tryton", "sales", "sales_order", {"result": [sale | {"state": "quotation"}]}) == []
    deal = {
        "id": 2, "number": "O-2", "party": 4, "description": "Deal", "state": "lost", "currency.": {"code": "EUR"},
        "amount": {"__class__": "Decimal", "decimal": "5"}, "employee": 3, "write_date": None,
        "end_date": {"__class__": "date", "year": 2026, "month": 4, "day": 2},
        "create_date": moment(2026, 4, 1, 1, 1, 1, 0),
    }  # fmt: skip
    holds(
        one(contract("tryton", "opportunities", "opportunity", {"result": [deal]})), status="lost", customer_id="4",
        closed_at=at(2026, 4, 2),
    )  # fmt: skip


# -- Zendesk ---------------------------------------------------------------------------------------------------------


def test_zendesk_asks_by_time_first_and_by_cursor_then():
    assert asked("zendesk", "tickets")["params"]["start_time"] == 1777600984
    assert "cursor" not in asked("zendesk", "tickets")["params"]
    later = asked("zendesk", "tickets", token="MTU4MDc1Mzc5OC4wfHw0MzJ8")["params"]
    assert later["cursor"] == "MTU4MDc1Mzc5OC4wfHw0MzJ8"
    assert "start_time" not in later


TICKET = {
    "id": 29, "created_at": "2024-07-26T15:41:04Z", "updated_at": "2026-05-01T10:00:00Z", "status": "hold",
    "generated_timestamp": 1777629600, "subject": "Meet the ticket", "description": "Hi there, I have a problem",
    "requester_id": 28835741127700, "submitter_id": 28835741127700, "assignee_id": None, "group_id": 28835740822676,
    "priority": "normal", "type": "incident", "via": {"channel": "web", "source": {"from": {}, "to": {}}},
    "custom_fields": [], "fields": [], "satisfaction_rating": {"score": "unoffered"}, "tags": ["sample"],
    "metric_set": {"reopens": 2, "solved_at": None, "reply_time_in_minutes": {"calendar": 5, "business": 5}},
}  # fmt: skip


def test_zendesk_ticket_and_its_first_words():
    answer = {"tickets": [TICKET], "end_of_stream": True, "after_cursor": "x"}
    holds(
        one(contract("zendesk", "tickets", "ticket", answer)), source_id="29", customer_id="28835741127700",
        status="pending", channel="web", agent_id="28835740822676", reopened_count=2,
        opened_at=at(2024, 7, 26, 15, 41, 4),
    )  # fmt: skip
    holds(one(contract("zendesk", "tickets", "comment", answer)), comment_text="Hi there, I have a problem")
    by_agent = {"tickets": [TICKET | {"submitter_id": 1}]}
    assert one(contract("zendesk", "tickets", "comment", by_agent))["is_deleted"]


def test_zendesk_users_are_customers_where_they_are_no_agents():
    user = {
        "id": 5, "name": "Ana", "email": "ana@example.net", "role": "end-user", "phone": None, "external_id": "C-5",
        "organization_id": 8, "locale": "en-US", "active": True, "created_at": "2024-07-26T15:40:53Z",
        "updated_at": "2026-05-01T10:00:00Z", "user_fields": {}, "photo": None,
    }  # fmt: skip
    agent = user | {"id": 6, "role": "admin"}
    holds(
        one(contract("zendesk", "users", "customer", {"users": [user, agent]})), source_id="5", external_id="C-5",
        account_id="8", language="en",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "event"),
    [
        (None, "new", "opened"), ("new", "open", "status_changed"), ("open", "solved", "solved"),
        ("solved", "open", "reopened"), ("solved", "closed", "closed"), ("open", "hold", "status_changed"),
    ],
)  # fmt: skip
def test_zendesk_changes_of_status(before, after, event):
    change = {"id": 1, "event_type": "Change" if before else "Create", "status": after, "previous_value": before}
    other = {"id": 2, "event_type": "Change", "priority": "high", "previous_value": "low"}
    audit = {
        "id": 700, "ticket_id": 29, "timestamp": 1777629600, "created_at": "2026-05-01T10:00:00Z", "updater_id": 5,
        "via": "Web form", "event_type": "Audit", "system": {"client": "x"}, "child_events": [change, other],
    }  # fmt: skip
    holds(
        one(contract("zendesk", "ticket_events", "ticket_event", {"ticket_events": [audit]})), source_id="1",
        ticket_id="29", event_name=event, from_status=before, to_status=after, occurred_at=at(2026, 5, 1, 10),
    )  # fmt: skip


def test_zendesk_replies_are_what_ends_a_reply_time():
    known = {"ticket_id": 29, "instance_id": 1, "time": "2026-05-01T10:00:00Z", "deleted": False}
    events = [
        known | {"id": 1, "metric": "reply_time", "type": "fulfill"},
        known | {"id": 2, "metric": "reply_time", "type": "activate"},
        known | {"id": 3, "metric": "agent_work_time", "type": "fulfill"},
    ]
    found = contract("zendesk", "replies", "ticket_event", {"ticket_metric_events": events})
    holds(one(found), source_id="1", event_name="replied", actor_kind="agent")


@pytest.mark.parametrize(("score", "number"), [("good", 1.0), ("bad", 0.0)])
def test_zendesk_rating(score, number):
    rating = {
        "id": 9, "ticket_id": 29, "requester_id": 5, "score": score, "comment": "Thank you", "assignee_id": 1,
        "created_at": "2026-04-30T10:00:00Z", "updated_at": "2026-05-01T10:00:00Z",
    }  # fmt: skip
    answer = {"satisfaction_ratings": [rating], "meta": {"has_more": False}}
    holds(one(contract("zendesk", "ratings", "response", answer)), reference_id="29", survey_id="satisfaction")
    holds(one(contract("zendesk", "ratings", "answer", answer)), question_id="score", value_number=number)
    holds(one(contract("zendesk", "ratings", "comment", answer)), comment_text="Thank you", parent_id="9")


def test_zendesk_comments_of_the_requester_alone():
    comment = {
        "id": 1, "author_id": 5, "plain_body": "Can I still cancel?", "public": True, "via": {"channel": "web"},
        "created_at": "2026-05-01T10:00:00Z", "metadata": {"system": {}}, "type": "Comment",
    }  # fmt: skip
    agent = comment | {"id": 2, "author_id": 1}
    private = comment | {"id": 3, "public": False}
    found = contract(
        "zendesk",
        "ticket_comments",
        "comment",
        {"comments": [comment, agent, private]},
        {"id": "29", "requester_id": "5"},
    )
    holds(one(found), comment_text="Can I still cancel?", parent_id="29", customer_id="5")


def test_zendesk_organization_that_was_deleted_says_so():
    gone = {
        "id": 8, "name": "Estuary", "created_at": "2024-07-26T15:41:00Z", "updated_at": "2026-05-01T10:00:00Z",
        "deleted_at": "2026-05-01T10:00:00Z", "organization_fields": {},
    }  # fmt: skip
    records = source("zendesk").streams["organizations"].origin.records
    found = list(rows([gone, gone | {"deleted_at": None}], records))
    assert [row["is_gone"] for row in found] == ["yes", "no"]


# -- Intercom --------------------------------------------------------------------------------------------------------


def test_intercom_searches_a_day_early_where_it_knows_days_alone():
    contacts = asked("intercom", "contacts", token="WzE3MzQ")["json"]
    assert contacts["query"]["value"][0] == {"field": "updated_at", "operator": ">", "value": 1777600984 - 86400}
    assert contacts["pagination"] == {"per_page": 150, "starting_after": "WzE3MzQ"}
    conversations = asked("intercom", "conversations")["json"]
    assert conversations["query"]["value"][0]["value"] == 1777600983
    assert conversations["pagination"] == {"per_page": 150}


CONVERSATION = {
    "type": "conversation", "id": "1", "title": None, "created_at": 1777600000, "updated_at": 1777629600,
    "state": "snoozed", "priority": "not_priority", "admin_assignee_id": None, "team_assignee_id": 7,
    "open": True, "read": False,
    "contacts": {"type": "contact.list", "contacts": [{"type": "contact", "id": "67570a878b6e26fe4ce6a894"}]},
    "source": {
        "type": "email", "id": "3", "subject": "Help", "body": "<p>Hello</p>", "author": {"type": "user", "id": "675"},
    },
    "statistics": {"first_admin_reply_at": 1777600600, "last_close_at": None, "count_reopens": 1},
    "conversation_rating": {"rating": 4, "remark": "Fine", "created_at": 1777620000},
}  # fmt: skip


def test_intercom_conversation_and_its_rating():
    answer = {"type": "conversation.list", "conversations": [CONVERSATION], "pages": {"type": "pages"}}
    holds(
        one(contract("intercom", "conversations", "ticket", answer)), customer_id="67570a878b6e26fe4ce6a894",
        status="pending", subject="Help", channel="email", agent_id="7", opened_at=at(2026, 5, 1, 1, 46, 40),
        first_response_at=at(2026, 5, 1, 1, 56, 40), reopened_count=1,
    )  # fmt: skip
    holds(
        one(contract("intercom", "conversations", "response", answer)), source_id="rating-1", reference_id="1",
        survey_id="conversation_rating",
    )  # fmt: skip
    holds(
        one(contract("intercom", "conversations", "answer", answer)), response_id="rating-1", question_id="rating",
        value_number=4.0,
    )  # fmt: skip
    holds(one(contract("intercom", "conversations", "comment", answer)), comment_text="Fine", parent_id="rating-1")
    unrated = {"conversations": [CONVERSATION | {"conversation_rating": None, "statistics": None}]}
    for table in ("response", "answer", "comment"):
        assert contract("intercom", "conversations", table, unrated) == []
    holds(one(contract("intercom", "conversations", "ticket", unrated)), first_response_at=None)


def test_intercom_contact():
    contact = {
        "type": "contact", "id": "67570bc4f8bbaf49f9287fc9", "external_id": None, "email": "ana@example.com",
        "name": "Ana", "phone": None, "role": "user", "created_at": 1733757892, "updated_at": 1740758687,
        "unsubscribed_from_emails": False, "language_override": None, "browser_language": "fr-FR",
        "location": {"type": "location", "country": "France", "region": "Île-de-France", "city": "Paris"},
        "companies": {"type": "list", "data": [{"id": "675c", "type": "company"}]}, "custom_attributes": {},
    }  # fmt: skip
    holds(
        one(contract("intercom", "contacts", "customer", {"type": "list", "data": [contact]})), account_id="675c",
        country="FR", language="fr", has_marketing_consent=True, lifecycle_stage="user",
        created_at=at(2024, 12, 9, 15, 24, 52),
    )  # fmt: skip


def test_intercom_parts_are_comments_of_customers_and_events():
    known = {"created_at": 1777600600, "updated_at": 1777600600, "attachments": []}
    parts = [
        known | {"id": "11", "part_type": "comment", "body": "Any news?", "author": {"type": "user", "id": "675"}},
        known | {"id": "12", "part_type": "comment", "body": "Soon", "author": {"type": "admin", "id": "9"}},
        known | {"id": "13", "part_type": "close", "body": None, "author": {"type": "admin", "id": "9"}},
        known | {"id": "14", "part_type": "note", "body": "inner", "author": {"type": "admin", "id": "9"}},
    ]
    source_ = CONVERSATION["source"] | {"body": "Hello"}
    answer = CONVERSATION | {"source": source_, "conversation_parts": {"conversation_parts": parts, "total_count": 4}}
    said = contract("intercom", "conversation_parts", "comment", answer, {"id": "1"})
    assert [(row["source_id"], row["comment_text"], row["parent_id"]) for row in said] == [
        ("1:conversation-1", "Hello", "1"),
        ("1:11", "Any news?", "1"),
    ]
    events = contract("intercom", "conversation_parts", "ticket_event", answer, {"id": "1"})
    assert [(row["event_name"], row["actor_kind"], row["to_status"]) for row in events] == [
        ("opened", "customer", "open"),
        ("replied", "agent", None),
        ("closed", "agent", "closed"),
    ]
    bare = CONVERSATION | {"conversation_parts": None}
    assert len(contract("intercom", "conversation_parts", "ticket_event", bare, {"id": "1"})) == 1


# -- Jira Service Management -----------------------------------------------------------------------------------------


def test_jira_asks_in_milliseconds_that_no_zone_shifts():
    body = asked("jira_service_management", "requests", token="Ab1", request_fields="customfield_1")["json"]
    assert body["jql"] == "project in (SUP, HELP) AND updated >= 1777600984500 ORDER BY created ASC, key ASC"
    assert body["maxResults"] == 100
    assert body["nextPageToken"] == "Ab1"
    assert {"customfield_10010", "customfield_1", "resolutiondate"} <= set(body["fields"])
    assert "nextPageToken" not in asked("jira_service_management", "requests")["json"]


def issue(status, category, **fields):
    known = {
        "summary": "VPN", "description": "It does not connect", "created": "2026-04-01T10:00:00.000+0200",
        "updated": "2026-05-01T12:00:00.000+0200", "resolutiondate": None, "priority": {"id": "3", "name": "Medium"},
        "status": {"id": "1", "name": status, "statusCategory": {"id": 4, "key": category}},
        "issuetype": {"id": "7", "name": "Service request"}, "project": {"id": "1", "key": "SUP"}, "assignee": None,
        "reporter": {"accountId": "qm:1", "accountType": "customer", "displayName": "Ana", "emailAddress": "a@b.org"},
        "customfield_10010": {"requestType": {"id": "5", "name": "Get help", "groupIds": ["1"]}},
    }  # fmt: skip
    return {"issues": [{"id": "10001", "key": "SUP-1", "fields": known | fields}], "isLast": True}


@pytest.mark.parametrize(
    ("status", "category", "expected"),
    [
        ("Open", "new", "new"), ("Waiting for customer", "indeterminate", "pending"),
        ("Our own", "indeterminate", "open"),
        ("Resolved", "done", "solved"), ("Our end", "done", "solved"), ("Closed", "done", "closed"),
    ],
)  # fmt: skip
def test_jira_request(status, category, expected):
    done = "2026-04-30T10:00:00.000+0200" if category == "done" else None
    answer = issue(status, category, resolutiondate=done)
    holds(
        one(contract("jira_service_management", "requests", "ticket", answer)), status=expected, customer_id="qm:1",
        email="a@b.org", ticket_category="Get help", priority="Medium", opened_at=at(2026, 4, 1, 8),
        resolved_at=at(2026, 4, 30, 8) if done else None,
    )  # fmt: skip
    holds(
        one(contract("jira_service_management", "requests", "comment", answer)), comment_text="It does not connect",
        parent_id="10001",
    )  # fmt: skip


def test_jira_changes_of_status():
    items = [{"field": "status", "fromString": "Open", "toString": "Resolved"}, {"field": "assignee"}]
    history = {"id": "5", "author": {"accountId": "9"}, "created": "2026-04-02T10:00:00.000+0200", "items": items}
    answer = {"issueChangeLogs": [{"issueId": "10001", "changeHistories": [history]}]}
    holds(
        one(contract("jira_service_management", "status_changes", "ticket_event", answer)), ticket_id="10001",
        event_name="solved", from_status="Open", to_status="solved", occurred_at=at(2026, 4, 2, 8),
    )  # fmt: skip
    batch = asked("jira_service_management", "status_changes", parent={"id": ["10001", "10002"]})["json"]
    assert batch["issueIdsOrKeys"] == ["10001", "10002"]


def test_jira_comments_feedback_and_first_responses():
    comment = {
        "id": "70", "author": {"accountId": "qm:1", "accountType": "customer"}, "body": "Any news?", "jsdPublic": True,
        "created": "2026-04-02T10:00:00.000+0200", "updated": "2026-04-02T10:00:00.000+0200",
    }  # fmt: skip
    agent = comment | {"id": "71", "author": {"accountId": "9", "accountType": "atlassian"}}
    name = "jira_service_management"
    found = contract(name, "comments", "comment", {"comments": [comment, agent], "total": 2}, {"id": "10001"})
    holds(one(found), comment_text="Any news?", parent_id="10001", customer_id="qm:1")
    parent = {"id": "10001", "resolved": "2026-04-30T10:00:00.000+0200", "reporter": "qm:1"}
    given = {"type": "csat", "rating": 5, "comment": {"body": "Thanks"}}
    holds(one(contract(name, "feedback", "response", given, parent)), reference_id="10001", customer_id="qm:1")
    holds(one(contract(name, "feedback", "answer", given, parent)), question_id="rating", value_number=5.0)
    holds(one(contract(name, "feedback", "comment", given, parent)), comment_text="Thanks")
    times = {"startTime": {"epochMillis": 1775030400000}, "stopTime": {"epochMillis": 1775034000000}, "breached": False}
    sla = {"id": "1", "name": "Time to first response", "completedCycles": [times]}
    other = {"id": "2", "name": "Time to resolution", "completedCycles": [times]}
    found = contract(name, "first_responses", "ticket_event", {"values": [sla, other]}, {"id": "10001"})
    holds(one(found), event_name="replied", actor_kind="agent", occurred_at=at(2026, 4, 1, 9))


# -- the pages -------------------------------------------------------------------------------------------------------


def page(name):
    return (PROJECT_ROOT / "docs" / "sources" / "presets" / f"{name}.md").read_text()


@pytest.mark.parametrize("name", PRESETS)
def test_a_page_names_every_option_and_stream(name):
    text = page(name)
    chosen = preset(name)
    assert {f"`{option}`" for option in chosen.options if f"`{option}`" not in text} == set()
    assert {f"`{stream}`" for stream in chosen.source["streams"] if f"`{stream}`" not in text} == set()


@pytest.mark.parametrize("name", PRESETS)
def test_every_example_of_a_page_is_a_source(name, tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", page(name), re.DOTALL)
    assert len(blocks) >= 2
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)
        assert load_source(path).streams
