"""The fakes of vendors beyond those of ``test_fakes``: each documented quirk, seen through httpx."""

import base64
import csv
import io
import json
import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest

from tests.fakes import DIALECTS, Clock, FaultPlan, serve
from tests.fakes.salesforce import record_id
from tests.fakes.soql import QueryError, read_query

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def client(fake, **headers):
    return httpx.Client(base_url=fake.url, headers=headers, timeout=5)


# Salesforce


DATA = "/services/data/v62.0"
FORM = {"grant_type": "client_credentials", "client_id": "client", "client_secret": "client-secret"}


def salesforce(fake):
    with client(fake) as http:
        token = http.post("/services/oauth2/token", data=FORM).json()
    assert token["instance_url"] == fake.url
    return client(fake, Authorization=f"Bearer {token['access_token']}")


def soql(http, text, way="query", **headers):
    answer = http.get(f"{DATA}/{way}", params={"q": text}, headers=headers)
    return answer.json()


def everything(http, text, **named):
    body = soql(http, text, **named)
    rows = body["records"]
    while not body["done"]:
        body = http.get(body["nextRecordsUrl"]).json()
        rows += body["records"]
    return rows


def test_salesforce_ids_have_15_characters_and_3_that_say_the_case():
    assert record_id("001", 0) == "001bm0000000000AAA"
    key = record_id("003", 62 * 36 + 10)
    assert len(key) == 18 and key[:15] == "003bm00000000aA"
    assert record_id("003", 62 * 10 + 36)[:15].lower() == key[:15].lower()
    assert record_id("003", 62 * 10 + 36) != key and record_id("003", 62 * 10 + 36)[15:] != key[15:]
    numbers = [1, 9, 10, 35, 36, 61, 62, 5000]
    keys = [record_id("003", number) for number in numbers]
    assert sorted(keys) == keys


def test_salesforce_pages_by_locator():
    with serve("salesforce", rows=4300, clock=Clock(NOW)) as fake, salesforce(fake) as http:
        text = "SELECT Id, LastName, SystemModstamp FROM Contact ORDER BY SystemModstamp, Id"
        first = soql(http, text)
        assert (len(first["records"]), first["totalSize"], first["done"]) == (2000, 4300, False)
        assert first["records"][0]["attributes"]["type"] == "Contact"
        assert first["records"][0]["SystemModstamp"].endswith("+0000")
        assert any(not row["SystemModstamp"].endswith(".000+0000") for row in first["records"])
        assert len({row["Id"] for row in everything(http, text)}) == 4300
        small = soql(http, text, **{"Sforce-Query-Options": "batchSize=10"})
        assert len(small["records"]) == 200
        # Records that go while the pages are read are left out, what came is not seen.
        gone = first["records"][-1]["Id"]
        last = fake.store.records("Contact", lambda record: record.updated_at, name="test")[-1].key
        fake.store.delete("Contact", last)
        body, ids = soql(http, text), set()
        fake.store.put("Contact", record_id("003", 77_000_000), {"LastName": "New"})
        fake.store.delete("Contact", gone)
        while True:
            ids |= {row["Id"] for row in body["records"]}
            if body["done"]:
                break
            body = http.get(body["nextRecordsUrl"]).json()
        assert last not in ids and len(ids) == 4299
        fake.clock.advance(3 * 86400)
        fake.dialect.issued[http.headers["Authorization"].split()[1]] = None
        expired = http.get(first["nextRecordsUrl"])
        assert (expired.status_code, expired.json()[0]["errorCode"]) == (400, "INVALID_QUERY_LOCATOR")


def test_salesforce_conditions():
    with serve("salesforce", rows=60, clock=Clock(NOW)) as fake, salesforce(fake) as http:

        def ids(where):
            return {row["Id"] for row in everything(http, f"SELECT Id FROM Contact WHERE {where}")}

        everyone = ids("Id != null")
        key = record_id("003", 7)
        assert ids(f"Id = '{key[:15]}'") == ids(f"Id = '{key}'") == {key}
        assert ids(f"Id > '{key}' OR Id <= '{key[:15]}'") == everyone
        assert ids("LastName = 'O\\'Hara 7'") == {key}
        assert ids("Email = NULL") == {record_id("003", number) for number in range(6, 61, 6)}
        assert ids("HasOptedOutOfEmail = TRUE AND (Email != NULL)") == ids(
            "NOT (HasOptedOutOfEmail = false OR Email = null)"
        )
        assert ids("LeadSource IN ('web', 'Phone')") | ids("LeadSource = null") == everyone
        assert ids("LastName LIKE 'O_Hara 1%'") == {record_id("003", number) for number in (1, *range(10, 20))}
        middle = "2026-03-20T00:00:00.000Z"
        assert ids(f"SystemModstamp < {middle}") | ids(f"SystemModstamp >= {middle}") == everyone
        assert ids("CreatedDate > 2030-01-01T00:00:00+00:00") == set()
        assert soql(http, "SELECT count() FROM Contact")["totalSize"] == 60
        assert [
            row["Score__c"] for row in everything(http, "SELECT Score__c FROM Contact ORDER BY Score__c DESC LIMIT 5")
        ] == sorted((record["Score__c"] for record in fake.store.records("Contact")), reverse=True)[:5]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT FROM Contact",
        "SELECT Id FROM Contact WHERE",
        "SELECT Id FROM Contact WHERE Id = 'a",
        "SELECT Id FROM Contact LIMIT 1 2",
    ],
)
def test_salesforce_refuses_a_query_that_it_cannot_read(text):
    with pytest.raises(QueryError, match="unexpected token"):
        read_query(text)


def test_salesforce_shows_deleted_records_only_to_query_all():
    with serve("salesforce", rows=5, clock=Clock(NOW)) as fake, salesforce(fake) as http:
        key = record_id("003", 3)
        fake.store.delete("Contact", key)
        text = "SELECT Id, IsDeleted FROM Contact"
        assert len(everything(http, text)) == 4
        rows = everything(http, text, way="queryAll")
        assert [row["Id"] for row in rows if row["IsDeleted"]] == [key] and len(rows) == 5


def test_salesforce_bulk_job():
    with serve("salesforce", rows=25, clock=Clock(NOW)) as fake, salesforce(fake) as http:
        asked = {"operation": "query", "query": "SELECT Id, Email, HasOptedOutOfEmail, SystemModstamp FROM Contact"}
        job = http.post(f"{DATA}/jobs/query", json=asked).json()
        assert job["state"] == "UploadComplete"
        path = f"{DATA}/jobs/query/{job['id']}"
        assert http.get(f"{path}/results").status_code == 400
        fake.store.delete("Contact", record_id("003", 1))
        assert [http.get(path).json()["state"] for _ in range(3)] == ["UploadComplete", "InProgress", "JobComplete"]
        rows, locator, sizes = [], "", []
        while locator != "null":
            answer = http.get(f"{path}/results", params={"maxRecords": 10} | ({"locator": locator} if locator else {}))
            locator = answer.headers["Sforce-Locator"]
            sizes.append(answer.headers["Sforce-NumberOfRecords"])
            rows += list(csv.DictReader(io.StringIO(answer.text)))
        assert sizes == ["10", "10", "5"] and len(rows) == 25
        assert {row["HasOptedOutOfEmail"] for row in rows} == {"true", "false"} and "" in {row["Email"] for row in rows}
        assert rows[0]["SystemModstamp"].endswith("Z")
        bad = http.post(f"{DATA}/jobs/query", json=asked | {"query": "SELECT Nope FROM Contact"})
        assert bad.json()[0]["errorCode"] == "API_ERROR"


def test_salesforce_errors_are_lists():
    plan = FaultPlan(at={2: "expired_token", 4: "export_fails", 9: "quota"})
    with serve("salesforce", rows=5, faults=plan) as fake:
        http = salesforce(fake)
        expired = http.get(f"{DATA}/query", params={"q": "SELECT Id FROM Contact"})
        assert (expired.status_code, expired.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")
        http = salesforce(fake)
        job = http.post(f"{DATA}/jobs/query", json={"operation": "query", "query": "SELECT Id FROM Contact"}).json()
        states = [http.get(f"{DATA}/jobs/query/{job['id']}").json() for _ in range(3)]
        assert states[-1]["state"] == "Failed" and states[-1]["errorMessage"]
        assert soql(http, "SELECT Nope FROM Contact")[0]["errorCode"] == "INVALID_FIELD"
        used_up = http.get(f"{DATA}/query", params={"q": "SELECT Id FROM Contact"})
        assert (used_up.status_code, used_up.json()[0]["errorCode"]) == (403, "REQUEST_LIMIT_EXCEEDED")
        with client(fake) as stranger:
            assert stranger.post("/services/oauth2/token", data=FORM | {"client_secret": "x"}).status_code == 403


def test_salesforce_repeats_a_page_and_loops():
    plan = FaultPlan(at={3: "repeated_page", 5: "cursor_loop"})
    with serve("salesforce", rows=700, faults=plan) as fake, salesforce(fake) as http:
        small = {"Sforce-Query-Options": "batchSize=200"}
        first = soql(http, "SELECT Id FROM Contact", **small)
        assert http.get(first["nextRecordsUrl"]).json() == first
        second = http.get(first["nextRecordsUrl"]).json()
        assert second["records"] != first["records"]
        last = http.get(second["nextRecordsUrl"].replace("-400", "-600")).json()
        assert not last["done"] and last["nextRecordsUrl"].endswith("-600")


# Typeform


RESPONSES = "/forms/u6nXL7/responses"


def typeform(fake):
    return client(fake, Authorization="Bearer tfp_static")


def test_typeform_goes_backwards_by_token():
    with serve("typeform", rows=45, clock=Clock(NOW)) as fake, typeform(fake) as http:
        items, token = [], None
        while page := http.get(RESPONSES, params={"page_size": 20} | ({"before": token} if token else {})).json()[
            "items"
        ]:
            items += page
            token = page[-1]["token"]
        assert len({item["token"] for item in items}) == 45
        assert [item["submitted_at"] for item in items] == sorted((i["submitted_at"] for i in items), reverse=True)
        assert {tuple(sorted(answer)) for item in items for answer in item["answers"]} == {
            ("field", "number", "type"),
            ("choices", "field", "type"),
            ("field", "text", "type"),
        }
        third = http.get(RESPONSES, params={"after": items[10]["token"], "page_size": 3}).json()["items"]
        assert [item["token"] for item in third] == [item["token"] for item in items[7:10]]


def test_typeform_refuses_tokens_in_a_window():
    with serve("typeform", rows=45, clock=Clock(NOW)) as fake, typeform(fake) as http:
        item = http.get(RESPONSES).json()["items"][5]
        for other in ({"since": item["submitted_at"]}, {"until": item["submitted_at"]}, {"sort": "submitted_at,asc"}):
            answer = http.get(RESPONSES, params={"before": item["token"]} | other)
            assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
        assert http.get(RESPONSES, params={"page_size": 1001}).status_code == 400
        assert http.get(RESPONSES, params={"before": "unknown"}).status_code == 400
        same = http.get(RESPONSES, params={"since": item["submitted_at"], "until": item["submitted_at"]}).json()
        assert item["token"] in {one["token"] for one in same["items"]}
        begin = int(NOW.timestamp()) - 7 * 86400
        later, earlier = (
            http.get(RESPONSES, params={name: begin}).json()["total_items"] for name in ("since", "until")
        )
        assert later + earlier == 45 and later and earlier
        fake.dialect.delay = timedelta(days=7)
        assert http.get(RESPONSES).json()["total_items"] == earlier


# SurveyMonkey


BULK = "/v3/surveys/405000001/responses/bulk"


def surveymonkey(fake):
    return client(fake, Authorization="Bearer sm-static")


def test_surveymonkey_pages_by_number_and_tells_the_total():
    with serve("surveymonkey", rows=130, clock=Clock(NOW)) as fake, surveymonkey(fake) as http:
        target, ids = f"{BULK}?per_page=50", []
        while target:
            body = http.get(target).json()
            assert body["total"] == 130
            ids += [row["id"] for row in body["data"]]
            target = body["links"].get("next")
        assert len(set(ids)) == 130
        assert http.get(BULK, params={"per_page": 101}).status_code == 400
        rows = http.get(BULK, params={"per_page": 100, "sort_by": "date_modified"}).json()["data"]
        modified = [row["date_modified"] for row in rows]
        assert modified == sorted(modified)
        middle = modified[40]
        window = {"per_page": 100, "start_modified_at": middle.removesuffix("+00:00")}
        later = http.get(BULK, params=window).json()["total"]
        earlier = http.get(BULK, params={"end_modified_at": middle}).json()["total"]
        assert (earlier, later) == (40, 90)


def test_surveymonkey_has_500_requests_a_day():
    with serve("surveymonkey", rows=1, clock=Clock(NOW)) as fake, surveymonkey(fake) as http:
        answers = [http.get(BULK) for _ in range(501)]
        assert [answer.status_code for answer in answers] == [200] * 500 + [429]
        assert answers[0].headers["X-Ratelimit-App-Global-Day-Limit"] == "500"
        assert answers[0].headers["X-Ratelimit-App-Global-Day-Remaining"] == "499"
        assert answers[-1].headers["X-Ratelimit-App-Global-Day-Remaining"] == "0"
        assert answers[-1].headers["X-Ratelimit-App-Global-Day-Reset"] == str(12 * 3600)
        assert answers[-1].json()["error"]["id"] == "1040" and "Retry-After" not in answers[-1].headers
        fake.clock.advance(12 * 3600)
        assert http.get("/v3/surveys/405000001/details").json()["pages"][0]["questions"][0]["id"] == "820001"


# Zendesk


def zendesk(fake):
    http = client(fake)
    http.auth = ("admin@example.com/token", "zd-token")
    return http


def epoch(moment):
    return str(int(moment.timestamp()))


BEGIN = epoch(NOW - timedelta(days=40))


@pytest.mark.parametrize("kind", ["tickets", "users"])
def test_zendesk_cursor_goes_on_after_the_end(kind):
    with serve("zendesk", rows=40, clock=Clock(NOW)) as fake, zendesk(fake) as http:
        keys, params = [], {"start_time": BEGIN, "per_page": 7}
        while True:
            body = http.get(f"/api/v2/incremental/{kind}/cursor.json", params=params).json()
            keys += [row["id"] for row in body[kind]]
            params = {"cursor": body["after_cursor"], "per_page": 7}
            if body["end_of_stream"]:
                break
        assert sorted(keys) == sorted(fake.store.current[kind])
        key = keys[3]
        fake.store.put(kind, key)
        assert http.get(f"/api/v2/incremental/{kind}/cursor.json", params=params).json()[kind] == []
        fake.clock.advance(60)
        body = http.get(f"/api/v2/incremental/{kind}/cursor.json", params=params).json()
        assert [row["id"] for row in body[kind]] == [key] and body["end_of_stream"]
        again = http.get(body["after_url"]).json()
        assert again[kind] == [] and again["after_cursor"] == body["after_cursor"]
        fake.store.delete(kind, key)
        fake.clock.advance(60)
        (gone,) = http.get(body["after_url"]).json()[kind]
        assert gone["status" if kind == "tickets" else "active"] in ("deleted", False)


def test_zendesk_side_loads_users():
    with serve("zendesk", rows=12, clock=Clock(NOW)) as fake, zendesk(fake) as http:
        body = http.get(
            "/api/v2/incremental/tickets/cursor.json", params={"start_time": BEGIN, "include": "users"}
        ).json()
        assert {row["requester_id"] for row in body["tickets"]} == {user["id"] for user in body["users"]}
        plain = http.get("/api/v2/incremental/tickets/cursor.json", params={"start_time": BEGIN}).json()
        assert "users" not in plain


def test_zendesk_time_based_pages_hold_their_last_second_whole():
    with serve("zendesk", clock=Clock(NOW)) as fake, zendesk(fake) as http:
        fake.dialect.page_limit = 10
        for number in range(1, 41):
            moment = NOW - timedelta(hours=2) + timedelta(seconds=number // 15)
            fake.store.put("tickets", number, {"status": "open", "requester_id": 1}, updated_at=moment)
        sizes, keys, start = [], set(), BEGIN
        while True:
            body = http.get("/api/v2/incremental/tickets.json", params={"start_time": start}).json()
            keys |= {row["id"] for row in body["tickets"]}
            sizes.append(body["count"])
            start = body["end_time"]
            if body["end_of_stream"]:
                break
        # Each page begins with the second that ended the one before, and ends with a whole one.
        assert sizes == [14, 29, 26]
        assert keys == set(range(1, 41))


def test_zendesk_refuses_a_start_within_the_last_minute():
    with serve("zendesk", rows=5, clock=Clock(NOW)) as fake, zendesk(fake) as http:
        answer = http.get("/api/v2/incremental/tickets/cursor.json", params={"start_time": epoch(NOW)})
        assert (answer.status_code, answer.json()["error"]) == (400, "StartTimeTooRecent")
        assert client(fake).get("/api/v2/incremental/tickets.json").status_code == 401


def test_zendesk_ticket_events_and_ratings():
    with serve("zendesk", rows=360, clock=Clock(NOW)) as fake, zendesk(fake) as http:
        body = http.get("/api/v2/incremental/ticket_events.json", params={"start_time": BEGIN}).json()
        assert body["count"] == 360 and body["ticket_events"][0]["child_events"][0]["event_type"] == "Change"
        target, ids = "/api/v2/satisfaction_ratings.json?page[size]=50", []
        while target:
            page = http.get(target).json()
            ids += [row["id"] for row in page["satisfaction_ratings"]]
            assert page["meta"]["has_more"] == bool(page["links"]["next"])
            target = page["links"]["next"]
        assert len(set(ids)) == 120
        by_number = http.get("/api/v2/satisfaction_ratings.json").json()
        assert by_number["count"] == 120 and http.get(by_number["next_page"]).json()["next_page"] is None
        received = http.get("/api/v2/satisfaction_ratings.json", params={"score": "received"}).json()
        assert {row["score"] for row in received["satisfaction_ratings"]} == {"good", "bad"}


def test_zendesk_loops_on_a_cursor():
    with (
        serve("zendesk", rows=30, clock=Clock(NOW), faults=FaultPlan(at={2: "cursor_loop"})) as fake,
        zendesk(fake) as http,
    ):
        first = http.get("/api/v2/incremental/tickets/cursor.json", params={"start_time": BEGIN, "per_page": 9}).json()
        second = http.get(first["after_url"]).json()
        assert second["after_cursor"] == first["after_cursor"] and not second["end_of_stream"]


# Matomo


def visits(http, day="2026-05-03", **more):
    asked = {"module": "API", "method": "Live.getLastVisitsDetails", "idSite": "1", "period": "day", "format": "json"}
    return http.post("/index.php", params=asked | {"date": day} | more, data={"token_auth": "matomo-token"}).json()


def test_matomo_days_follow_the_last_action():
    with serve("matomo", clock=Clock(NOW)) as fake, client(fake) as http:
        late = datetime(2026, 5, 3, 23, 50, tzinfo=UTC)
        fake.store.put(
            "visits", 1, {"visitor": "a" * 16, "user": None, "country": "no", "pages": ["/"]}, updated_at=late
        )
        assert [visit["idVisit"] for visit in visits(http)] == ["1"]
        fake.clock.now = late + timedelta(minutes=20)
        assert fake.dialect.act(1, "/cart")
        assert visits(http) == []
        (visit,) = visits(http, "2026-05-04")
        assert (visit["actions"], visit["visitDuration"]) == ("2", "1200")
        fake.dialect.zone = ZoneInfo("America/New_York")
        assert len(visits(http)) == 1
        fake.clock.advance(1801)
        assert not fake.dialect.act(1, "/")


def test_matomo_offsets_lose_a_visit_that_went_on():
    with serve("matomo", clock=Clock(NOW)) as fake, client(fake) as http:
        for number in range(1, 31):
            moment = NOW - timedelta(minutes=31 - number)
            content = {"visitor": f"{number:016x}", "user": None, "country": "no", "pages": ["/"]}
            fake.store.put("visits", number, content, updated_at=moment)
        assert len(visits(http, "2026-05-04", filter_limit="-1")) == 30
        fake.at(3, lambda fake: fake.dialect.act(5, "/again"))
        pages = [visits(http, "2026-05-04", filter_limit="15", filter_offset=str(begin)) for begin in (0, 15)]
        seen = {visit["idVisit"] for page in pages for visit in page}
        assert len(seen) == 29 and "5" not in seen
        asked = {"module": "API", "method": "VisitsSummary.getVisits", "idSite": "1", "period": "day"}
        form = {"token_auth": "matomo-token"}
        assert http.post("/", params=asked | {"date": "2026-05-04"}, data=form).json() == {"value": 30}


def test_matomo_errors_come_with_status_200():
    with (
        serve("matomo", rows=150, clock=Clock(NOW), faults=FaultPlan(at={1: "error_in_200"})) as fake,
        client(fake) as http,
    ):
        assert visits(http)["result"] == "error"
        stranger = http.get("/index.php", params={"module": "API", "method": "Live.getLastVisitsDetails"})
        assert stranger.status_code == 200 and "view" in stranger.json()["message"]
        assert visits(http, "yesterdayish")["result"] == "error"
        assert len(visits(http, "2026-04-20,2026-05-04", period="range")) == 100
        assert len(visits(http, "2026-04-20,2026-05-04", period="range", filter_limit="-1")) == 150


# LimeSurvey


def lime(http, method, *params):
    answer = http.post("/index.php/admin/remotecontrol", json={"method": method, "params": params, "id": 1})
    assert answer.status_code == 200 and answer.json()["error"] is None
    return answer.json()["result"]


def test_limesurvey_exports_base64_under_codes():
    with serve("limesurvey", rows=12, clock=Clock(NOW)) as fake, client(fake) as http:
        key = lime(http, "get_session_key", "reader", "reader-secret")
        assert lime(http, "list_surveys", key)[0]["sid"] == "123456"
        text = base64.b64decode(lime(http, "export_responses", key, 123456, "csv", None, "all", "code")).decode()
        assert text.startswith("\ufeff")
        rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
        assert list(rows[0]) == list(fake.dialect.shown(fake.store.records("responses")[0])) and len(rows) == 12
        assert [row["id"] for row in rows if not row["submitdate"]] == ["6", "12"]
        whole = base64.b64decode(lime(http, "export_responses", key, 123456, "json", None, "complete")).decode()
        assert len(json.loads(whole)["responses"]) == 10
        fake.dialect.finish(6, "because")
        text = base64.b64decode(
            lime(http, "export_responses", key, 123456, "csv", None, "all", "code", "short", 6, 6)
        ).decode()
        (row,) = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
        assert (row["WHY"], row["submitdate"]) == ("because", "2026-05-04 12:00:00")


def test_limesurvey_says_errors_as_a_status_text():
    with (
        serve("limesurvey", rows=0, clock=Clock(NOW), faults=FaultPlan(at={6: "error_in_200"})) as fake,
        client(fake) as http,
    ):
        assert lime(http, "get_session_key", "reader", "no") == {"status": "Invalid user name or password"}
        assert lime(http, "list_surveys", "old") == {"status": "Invalid session key"}
        key = lime(http, "get_session_key", "reader", "reader-secret")
        assert lime(http, "export_responses", key, 123456, "csv") == {"status": "No Data, could not get max id."}
        fake.dialect.is_active = False
        assert lime(http, "export_responses", key, 123456) == {"status": "No Data, survey table does not exist."}
        assert lime(http, "list_surveys", key) == {"status": "No permission"}
        assert lime(http, "release_session_key", key) == "OK"
        assert lime(http, "list_questions", key) == {"status": "Invalid session key"}


# Intercom


def intercom(fake):
    return client(fake, Authorization="Bearer ic-static")


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_intercom_searches_behind_the_last_record(order):
    with serve("intercom", rows=50, clock=Clock(NOW)) as fake, intercom(fake) as http:
        begin = int((NOW - timedelta(days=6)).timestamp())
        rule = {"field": "updated_at", "operator": ">", "value": begin}
        query = {"operator": "AND", "value": [rule]}
        rows, pages = [], {"per_page": 9}
        while True:
            asked = {"query": query, "pagination": pages, "sort": {"field": "updated_at", "order": order}}
            body = http.post("/conversations/search", json=asked).json()
            rows += body["conversations"]
            if "next" not in body["pages"]:
                break
            pages = {"per_page": 9, "starting_after": body["pages"]["next"]["starting_after"]}
        expected = [row for row in fake.store.records("conversations") if int(row.updated_at.timestamp()) > begin]
        assert len(rows) == len(expected) == body["total_count"]
        moments = [row["updated_at"] for row in rows]
        assert moments == sorted(moments, reverse=order == "descending")


def test_intercom_limits():
    with (
        serve("intercom", rows=20, clock=Clock(NOW), faults=FaultPlan(at={5: "cursor_loop"})) as fake,
        intercom(fake) as http,
    ):
        rule = {"field": "updated_at", "operator": ">=", "value": 1}
        assert http.post("/contacts/search", json={"query": rule}).status_code == 400
        assert http.post("/conversations/search", json={"query": rule}).json()["total_count"] == 20
        assert http.get("/conversations", params={"per_page": 151}).json()["errors"][0]["code"] == "parameter_invalid"
        token = http.get("/contacts", params={"per_page": 5}).json()["pages"]["next"]["starting_after"]
        looped = http.get("/contacts", params={"per_page": 5, "starting_after": token}).json()
        assert looped["pages"]["next"]["starting_after"] == token
        assert client(fake).get("/contacts").json()["type"] == "error.list"


# PostHog


EVENTS = "/api/projects/42/events"


def posthog(fake):
    return client(fake, Authorization="Bearer phx_static")


def test_posthog_events_go_backwards_and_cut_equal_times():
    with serve("posthog", rows=60, clock=Clock(NOW)) as fake, posthog(fake) as http:

        def scan():
            target, ids = f"{EVENTS}?limit=25", []
            while target:
                body = http.get(target).json()
                ids += [row["id"] for row in body["results"]]
                target = body["next"]
            return ids

        assert len(set(scan())) == 60
        for number in range(30):
            fake.store.put("events", f"same-{number}", fake.dialect._event(1, random.Random(1))[1])
        assert len(set(scan())) == 85
        after = (NOW - timedelta(seconds=1)).isoformat()
        assert len(http.get(EVENTS, params={"after": after, "limit": 100}).json()["results"]) == 30
        persons = http.get("/api/projects/42/persons", params={"limit": 5}).json()
        assert persons["count"] == 12 and len(http.get(persons["next"]).json()["results"]) == 5


# Formbricks


def test_formbricks_skips_over_what_moves():
    with serve("formbricks", rows=300, clock=Clock(NOW)) as fake, client(fake, **{"x-api-key": "fb-static"}) as http:
        path = "/api/v2/management/responses"
        first = http.get(path, params={"limit": 250}).json()
        assert first["meta"] == {"total": 300, "limit": 250, "offset": 0}
        created = [row["createdAt"] for row in first["data"]]
        assert created == sorted(created, reverse=True)
        assert http.get(path, params={"limit": 251}).status_code == 400
        middle = created[100]
        later = http.get(path, params={"startDate": middle}).json()["meta"]["total"]
        earlier = http.get(path, params={"endDate": middle}).json()["meta"]["total"]
        assert (later, earlier) == (101, 200)
        changed = {"filterDateField": "updatedAt", "sortBy": "updatedAt", "order": "asc", "startDate": middle}
        rows = http.get(path, params=changed).json()["data"]
        assert rows[0]["updatedAt"] >= middle and rows == sorted(rows, key=lambda row: row["updatedAt"])
        fake.at(
            fake.requests + 2, lambda fake: fake.store.put("responses", "new", fake.dialect.invent(random.Random(1))[1])
        )
        pages = [http.get(path, params={"limit": 150, "skip": skip}).json()["data"] for skip in (0, 150)]
        assert len({row["id"] for page in pages for row in page}) == 299
        assert client(fake).get(path).json() == {"error": {"code": 401, "message": "Unauthorized"}}


# All


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_has_words_for_every_fault(name):
    plan = FaultPlan(
        at={1: "429_seconds", 2: "500", 3: "html", 4: "error_in_200", 5: "inserted", 6: "moved", 7: "quota"}
    )
    with serve(name, rows=20, faults=plan, clock=Clock(NOW)) as fake, client(fake) as http:
        before = len(fake.store.current[fake.dialect.collection])
        answers = [http.get("/") for _ in range(7)]
        assert [answer.status_code for answer in answers[:4]] == [429, 500, 200, 200]
        assert answers[2].text.startswith("<!DOCTYPE") and isinstance(answers[3].json(), dict | list)
        assert len(fake.store.current[fake.dialect.collection]) == before + 1
        assert fake.dialect.over_quota().sent()[0]
        assert fake.broken is None
