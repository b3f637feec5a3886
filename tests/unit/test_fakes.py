"""The fakes do what they say: each documented quirk of a vendor, and each fault, seen through httpx."""

import base64
import csv
import gzip
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from tests.fakes import Clock, FaultPlan, Store, serve
from tests.fakes.faults import KINDS

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def client(fake, **headers):
    return httpx.Client(base_url=fake.url, headers=headers, timeout=5)


def rest(fake):
    return client(fake, Authorization="Bearer static-token")


# The store


def test_a_store_knows_what_existed_throughout():
    store = Store(clock=Clock(NOW))
    store.put("items", "stays", {"v": 1})
    store.put("items", "goes", {"v": 1})
    store.put("items", "changes", {"v": 1})
    store.put("items", "gone before", {"v": 1})
    store.delete("items", "gone before")
    since = store.tick()
    store.put("items", "comes", {"v": 1})
    store.put("items", "changes", v=2)
    store.delete("items", "goes")
    until = store.tick()
    store.put("items", "changes", v=3)
    present = store.present("items", since, until)
    assert sorted(present) == ["changes", "stays"]
    assert [version["v"] for version in present["changes"]] == [1, 2]
    assert [version["v"] for version in store.versions("items", "changes")] == [1, 2, 3]
    assert store.get("items", "goes") is None
    assert [record.key for record in store.records("items", deleted=True)] == ["goes", "gone before"]


def test_a_record_that_comes_back_was_not_there_throughout():
    store = Store(clock=Clock(NOW))
    store.put("items", 1, {})
    since = store.tick()
    store.delete("items", 1)
    store.put("items", 1, {})
    assert store.present("items", since, store.tick()) == {}


def test_the_same_seed_gives_the_same_records_and_faults():
    with serve("rest", rows=5, seed=3) as one, serve("rest", rows=5, seed=3) as other, serve("rest", rows=5) as third:
        bodies = [rest(fake).get("/token/items").json() for fake in (one, other, third)]
    assert bodies[0] == bodies[1] != bodies[2]
    plans = [FaultPlan(rates={"500": 0.3, "reset": 0.3}, seed=seed) for seed in (1, 1, 2)]
    drawn = [[plan.choose(number, "/") for number in range(50)] for plan in plans]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(kinds) <= 1 for kinds in drawn[0]) and any(drawn[0])


def test_a_plan_counts_its_faults_and_keeps_to_its_paths():
    plan = FaultPlan(rates={"500": 1.0, "changed": 1.0}, only="/file$", most=2)
    assert plan.choose(1, "/poll") == []
    assert [plan.choose(number, "/file") for number in (2, 3, 4)] == [["changed", "500"]] * 2 + [["changed"]]
    with pytest.raises(ValueError, match="no fault is called 418"):
        FaultPlan(at={1: "418"})


# Faults


def test_status_faults_carry_both_forms_of_retry_after():
    faults = FaultPlan(at={1: "429_seconds", 2: "429_date", 3: "500", 4: "502", 5: "503"})
    with serve("rest", rows=3, faults=faults, clock=Clock(NOW)) as fake, rest(fake) as http:
        answers = [http.get("/token/items") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [429, 429, 500, 502, 503, 200]
    assert answers[0].headers["Retry-After"] == "7"
    assert parsedate_to_datetime(answers[1].headers["Retry-After"]) == NOW + timedelta(seconds=7)
    assert parsedate_to_datetime(answers[1].headers["Date"]) == NOW
    assert "Retry-After" not in answers[2].headers
    assert [one.faults for one in fake.seen][:2] == [("429_seconds",), ("429_date",)]


def test_a_reset_comes_before_any_byte():
    with serve("rest", rows=3, faults=FaultPlan(at={1: "reset"})) as fake, rest(fake) as http:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            http.get("/token/items")
        assert http.get("/token/items").status_code == 200


@pytest.mark.parametrize("kind", ["cut_body", "cut_chunked"])
def test_a_cut_body_is_seen(kind):
    with serve("rest", rows=50, faults=FaultPlan(at={1: kind})) as fake, rest(fake) as http:
        with http.stream("GET", "/token/items") as answer:
            assert answer.status_code == 200
            is_chunked = answer.headers.get("Transfer-Encoding") == "chunked"
            assert is_chunked == (kind == "cut_chunked")
            with pytest.raises(httpx.RemoteProtocolError):
                answer.read()
        assert len(http.get("/token/items").json()["items"]) == 50


def test_a_body_cut_without_a_length_looks_whole_but_is_not():
    with serve("rest", rows=50, faults=FaultPlan(at={1: "cut_unsaid"})) as fake, rest(fake) as http:
        answer = http.get("/token/items")
        assert answer.status_code == 200 and "Content-Length" not in answer.headers
        with pytest.raises(ValueError, match=r"JSON|Unterminated|Expecting"):
            answer.json()
        assert len(http.get("/token/items").json()["items"]) == 50


def test_a_slow_body_trips_only_a_short_timeout():
    plan = FaultPlan(at={1: "slow", 2: "slow"}, slow_seconds=0.04)
    with serve("rest", rows=20, faults=plan) as fake, rest(fake) as http:
        assert len(http.get("/token/items").json()["items"]) == 20
        with pytest.raises(httpx.ReadTimeout):
            http.get("/token/items", timeout=httpx.Timeout(5, read=0.01))


def test_gzip_is_sent_to_those_who_take_it():
    with serve("rest", rows=20, faults=FaultPlan(at={1: "gzip", 2: "gzip"})) as fake, rest(fake) as http:
        with http.stream("GET", "/token/items") as answer:
            raw = b"".join(answer.iter_raw())
        assert len(json.loads(gzip.decompress(raw))["items"]) == 20
        plain = http.get("/token/items", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers


def test_a_page_is_repeated():
    with serve("rest", rows=20, faults=FaultPlan(at={2: "repeated_page"})) as fake, rest(fake) as http:
        one = http.get("/token/items", params={"limit": 5}).json()
        two = http.get("/token/items", params={"limit": 5, "token": one["next_token"]}).json()
        three = http.get("/token/items", params={"limit": 5, "token": one["next_token"]}).json()
    assert one == two != three


@pytest.mark.parametrize("path", ["/token/items", "/next/items", "/link/items"])
def test_a_cursor_loop_gives_the_token_that_was_sent(path):
    with serve("rest", rows=20, faults=FaultPlan(at={2: "cursor_loop"})) as fake, rest(fake) as http:

        def following(answer):
            if path == "/link/items":
                return answer.links["next"]["url"]
            body = answer.json()
            return body["links"]["next"] if path == "/next/items" else f"{path}?limit=5&token={body['next_token']}"

        first = following(http.get(path, params={"limit": 5}))
        second = following(http.get(first))
        third = following(http.get(second))
    assert httpx.URL(first).params["token"] == httpx.URL(second).params["token"] == httpx.URL(third).params["token"]


@pytest.mark.parametrize("path", ["/token/items", "/next/items", "/link/items"])
def test_an_empty_page_leads_on_and_loses_nothing(path):
    plan = FaultPlan(at={2: "empty_page", 3: "empty_page"})
    with serve("rest", rows=20, faults=plan) as fake, rest(fake) as http:
        target, sizes, keys = f"{path}?limit=8", [], []
        while target:
            answer = http.get(target)
            body = answer.json()
            rows = body if path == "/link/items" else body.get("items", body.get("data"))
            sizes.append(len(rows))
            keys += [row["id"] for row in rows]
            token = body.get("next_token") if path == "/token/items" else None
            target = token and f"{path}?limit=8&token={token}"
            target = body["links"]["next"] if path == "/next/items" else target
            target = answer.links.get("next", {}).get("url") if path == "/link/items" else target
    assert sizes == [8, 0, 0, 8, 4]
    assert keys == list(range(1, 21))


def test_html_and_errors_come_with_status_200():
    with serve("rest", rows=1, faults=FaultPlan(at={1: "html", 2: "error_in_200"})) as fake, rest(fake) as http:
        page, error = http.get("/token/items"), http.get("/token/items")
    assert (page.status_code, error.status_code) == (200, 200)
    assert page.text.startswith("<!DOCTYPE html>") and "text/html" in page.headers["Content-Type"]
    assert error.json()["error"]["code"] == "internal"


def test_an_expired_token_needs_a_new_login():
    with serve("rest", rows=1, faults=FaultPlan(at={3: "expired_token"})) as fake, client(fake) as http:

        def login():
            session = http.post("/login", json={"user": "reader", "password": "reader-secret"}).json()["session"]
            return {"X-Session": session}

        session = login()
        assert http.get("/token/items", headers=session).status_code == 200
        assert http.get("/token/items", headers=session).status_code == 401
        assert http.get("/token/items", headers=login()).status_code == 200
        session = login()
        fake.clock.advance(3601)
        assert http.get("/token/items", headers=session).status_code == 401


def test_the_quota_of_a_day_ends_and_comes_back():
    with serve("rest", rows=1, clock=Clock(NOW)) as fake, rest(fake) as http:
        fake.dialect.daily_quota = 2
        assert [http.get("/token/items").status_code for _ in range(3)] == [200, 200, 429]
        fake.clock.advance(86400)
        assert http.get("/token/items").status_code == 200
    with serve("rest", rows=1, faults=FaultPlan(at={1: "quota"})) as fake, rest(fake) as http:
        answers = [http.get("/token/items") for _ in range(2)]
        fake.clock.advance(86400)
        assert http.get("/token/items").status_code == 200
    assert [answer.status_code for answer in answers] == [429, 429]
    assert "Retry-After" not in answers[0].headers


def test_records_change_between_requests():
    plan = FaultPlan(at={1: "inserted", 2: "deleted", 3: "changed", 4: "moved"})
    with serve("rest", rows=10, faults=plan, clock=Clock(NOW)) as fake, rest(fake) as http:
        earliest = min(fake.store.records("items"), key=lambda record: record.updated_at)
        totals = [http.get("/page/items").json()["total"] for _ in range(4)]
        assert totals == [11, 10, 10, 10]
        assert fake.store.get("items", earliest.key) is None or fake.store.get("items", earliest.key).updated_at == NOW
        assert sum(record.updated_at == NOW for record in fake.store.records("items")) >= 2


def test_hooks_run_before_the_request_they_name():
    with serve("rest", rows=4) as fake, rest(fake) as http:
        fake.at(2, lambda fake: fake.store.delete("items", 3))
        counted = []
        fake.before_each(lambda fake: counted.append(fake.requests))
        assert [len(http.get("/token/items").json()["items"]) for _ in range(3)] == [4, 3, 3]
    assert counted == [0, 1, 2]


def test_every_kind_of_fault_has_a_test():
    text = __import__("pathlib").Path(__file__).read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f'"{kind}"' not in text] == []


# rest


def test_offset_paging_misses_a_row_that_moved_and_keyset_does_not():
    for path, expected in (("/offset/items", 19), ("/keyset/items", 20)):
        with serve("rest", rows=20, clock=Clock(NOW)) as fake, rest(fake) as http:
            first = min(fake.store.records("items"), key=lambda record: (record.updated_at, record.key))
            fake.at(2, lambda fake, key=first.key: fake.store.put("items", key))
            keys, params = set(), {"limit": 10}
            while True:
                body = http.get(path, params=params).json()
                rows = body.get("results", body.get("items"))
                keys |= {row["id"] for row in rows}
                if len(rows) < 10:
                    break
                params["offset"] = params.get("offset", 0) + 10
                if path == "/keyset/items":
                    params |= {"since": rows[-1]["updated_at"], "after_id": rows[-1]["id"]}
        assert len(keys) == expected, path


def test_keyset_goes_through_equal_stamps():
    with serve("rest", rows=0, clock=Clock(NOW)) as fake, rest(fake) as http:
        for number in range(1, 10_051):
            fake.store.put("items", number, {"name": "x"}, updated_at=NOW)
        keys, params = [], {"limit": 1000}
        while rows := http.get("/keyset/items", params=params).json()["items"]:
            keys += [row["id"] for row in rows]
            params |= {"since": rows[-1]["updated_at"], "after_id": rows[-1]["id"]}
    assert keys == list(range(1, 10_051))


def test_windows_by_creation_have_a_count():
    with serve("rest", rows=40, clock=Clock(NOW)) as fake, rest(fake) as http:
        total = 0
        for day in range(30):
            begin = NOW - timedelta(days=30 - day)
            window = {"from": begin.isoformat(), "to": (begin + timedelta(days=1)).isoformat()}
            body = http.get("/window/items", params=window).json()
            assert body["total"] == len(body["rows"])
            total += body["total"]
        assert total == 40
        assert http.get("/window/items").status_code == 400


def test_rows_are_packed_in_many_ways():
    with serve("rest", rows=6) as fake, rest(fake) as http:
        rows = http.get("/token/items").json()["items"]
        assert [json.loads(line) for line in http.get("/ndjson/items").text.splitlines()] == rows
        lines = list(csv.DictReader(io.StringIO(http.get("/csv/items").text)))
        assert [line["id"] for line in lines] == [str(row["id"]) for row in rows]
        packed = http.get("/packed/items").json()
        assert base64.b64decode(packed["content"]) == http.get("/csv/items").content
        job = http.post("/exports").json()["job"]
        fake.store.delete("items", 1)
        states = [http.get(f"/exports/{job}").json() for _ in range(3)]
        assert [state["percent"] for state in states] == [40, 99, 100]
        with zipfile.ZipFile(io.BytesIO(http.get(states[-1]["file"]).content)) as archive:
            assert archive.read("items.csv").decode().count("\r\n") == 7


def test_an_export_fails_at_99_percent():
    with serve("rest", rows=6, faults=FaultPlan(at={1: "export_fails"})) as fake, rest(fake) as http:
        job = http.post("/exports").json()["job"]
        states = [http.get(f"/exports/{job}").json() for _ in range(3)]
    assert [(state["state"], state["percent"]) for state in states] == [
        ("running", 40),
        ("running", 99),
        ("failed", 99),
    ]


def test_ways_to_sign_in():
    with serve("rest", rows=1) as fake, client(fake) as http:
        form = {"grant_type": "client_credentials", "client_id": "client", "client_secret": "client-secret"}
        token = http.post("/oauth/token", data=form).json()["access_token"]
        refresh = {"grant_type": "refresh_token", "refresh_token": "refresh-token"}
        refreshed = http.post("/oauth/token", data=refresh, auth=("client", "client-secret")).json()["access_token"]
        known = [{"Authorization": f"Bearer {one}"} for one in (token, refreshed, "static-token")]
        known += [{"X-Api-Key": "static-token"}]
        assert [http.get("/token/items", headers=one).status_code for one in known] == [200] * 4
        assert http.get("/token/items", auth=("reader", "reader-secret")).status_code == 200
        assert http.get("/token/items", headers={"Authorization": "Bearer other"}).status_code == 401
        assert http.post("/oauth/token", data=form | {"client_secret": "no"}).status_code == 401
        fake.dialect.expire()
        assert http.get("/token/items", headers=known[0]).status_code == 401


# HubSpot


def hubspot(fake):
    return client(fake, Authorization="Bearer pat-eu1-static")


SEARCH = "/crm/v3/objects/contacts/search"


def test_hubspot_search_stops_at_ten_thousand():
    with serve("hubspot", rows=0, clock=Clock(NOW)) as fake, hubspot(fake) as http:
        for number in range(1, 10_202):
            fake.store.put("contacts", number, {"email": f"{number}@example.com"}, updated_at=NOW)
        last = http.post(SEARCH, json={"limit": 200, "after": "9800"})
        assert len(last.json()["results"]) == 200 and last.json()["paging"]["next"]["after"] == "10000"
        beyond = http.post(SEARCH, json={"limit": 200, "after": "10000"})
        assert beyond.status_code == 400 and beyond.json()["category"] == "VALIDATION_ERROR"
        assert http.post(SEARCH, json={"limit": 201}).status_code == 400
        rule = {"propertyName": "hs_object_id", "operator": "GT", "value": "10000"}
        sort = {"propertyName": "hs_object_id", "direction": "ASCENDING"}
        rest_of = http.post(SEARCH, json={"limit": 200, "filterGroups": [{"filters": [rule]}], "sorts": [sort]}).json()
        assert rest_of["total"] == 201 and rest_of["results"][0]["id"] == "10001"


def test_hubspot_properties_are_text_and_filters_or_groups():
    with serve("hubspot", rows=40, clock=Clock(NOW)) as fake, hubspot(fake) as http:
        row = http.post(SEARCH, json={"limit": 1}).json()["results"][0]
        assert all(value is None or isinstance(value, str) for value in row["properties"].values())
        assert {"createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"} == set(
            row["properties"]
        )
        chosen = http.post(SEARCH, json={"limit": 1, "properties": ["country", "no_such"]}).json()["results"][0]
        assert chosen["properties"]["no_such"] is None and "email" not in chosen["properties"]

        def found(*groups, sort="hs_object_id"):
            body = {"limit": 200, "filterGroups": [{"filters": group} for group in groups], "sorts": [sort]}
            return {row["id"] for row in http.post(SEARCH, json=body).json()["results"]}

        everyone = found([])
        norway = found([{"propertyName": "country", "operator": "EQ", "value": "norway"}])
        others = found([{"propertyName": "country", "operator": "NOT_IN", "values": ["Norway"]}])
        assert norway and others and norway | others == everyone and not norway & others
        nameless = [{"propertyName": "lastname", "operator": "NOT_HAS_PROPERTY"}]
        assert found([{"propertyName": "country", "operator": "EQ", "value": "Norway"}], nameless) == norway | found(
            nameless
        )
        middle = (NOW - timedelta(days=30)).timestamp() * 1000
        before = found([{"propertyName": "lastmodifieddate", "operator": "LT", "value": str(int(middle))}])
        after = found([{"propertyName": "lastmodifieddate", "operator": "GTE", "value": str(int(middle))}])
        assert before | after == everyone and before and after and not before & after
        two = [{"propertyName": "hs_object_id", "operator": "BETWEEN", "value": "101", "highValue": "102"}]
        assert found(two) == {"101", "102"}
        bad = {"limit": 1, "filterGroups": [{"filters": [{"propertyName": "email", "operator": "IS", "value": "x"}]}]}
        assert http.post(SEARCH, json=bad).status_code == 400


def test_hubspot_lists_by_id_with_archived_apart_and_associations():
    with serve("hubspot", rows=25, clock=Clock(NOW)) as fake, hubspot(fake) as http:
        fake.store.delete("contacts", 105)
        target, ids = "/crm/v3/objects/contacts?limit=10&associations=companies", []
        while target:
            body = http.get(target).json()
            ids += [row["id"] for row in body["results"]]
            target = body.get("paging", {}).get("next", {}).get("link")
        assert ids == [str(number) for number in range(101, 126) if number != 105]
        assert http.get("/crm/v3/objects/contacts", params={"limit": 101}).status_code == 400
        (gone,) = http.get("/crm/v3/objects/contacts", params={"archived": "true"}).json()["results"]
        assert (gone["id"], gone["archived"]) == ("105", True) and gone["archivedAt"]
        assert http.post(SEARCH, json={"limit": 200}).json()["total"] == 24
        first = http.get("/crm/v3/objects/contacts", params={"associations": "companies"}).json()["results"][0]
        assert first["associations"]["companies"]["results"][0]["type"] == "contact_to_company"


def test_hubspot_errors_have_the_vendors_words():
    plan = FaultPlan(at={1: "429_seconds", 3: "cursor_loop", 4: "quota"})
    with serve("hubspot", rows=30, faults=plan) as fake, hubspot(fake) as http:
        assert http.post(SEARCH, json={}).json()["policyName"] == "SECONDLY"
        assert client(fake).post(SEARCH, json={}).json()["category"] == "INVALID_AUTHENTICATION"
        assert http.post(SEARCH, json={"after": "10"}).json()["paging"]["next"]["after"] == "10"
        assert http.post(SEARCH, json={}).json()["policyName"] == "DAILY"


# Qualtrics


def qualtrics(fake):
    return client(fake, **{"X-API-TOKEN": "qualtrics-token"})


EXPORT = "/API/v3/surveys/SV_0001/export-responses"


def exported(http, **asked):
    """Run an export to its end: the states on the way and the lines of the file."""
    progress = http.post(EXPORT, json={"format": "csv"} | asked).json()["result"]["progressId"]
    states = []
    while not states or states[-1]["status"] == "inProgress":
        states.append(http.get(f"{EXPORT}/{progress}").json()["result"])
    if states[-1]["status"] == "failed":
        return states, None
    packed = http.get(f"{EXPORT}/{states[-1]['fileId']}/file")
    assert packed.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        (name,) = archive.namelist()
        return states, list(csv.reader(io.StringIO(archive.read(name).decode())))


def test_qualtrics_exports_a_zip_with_three_header_rows():
    with serve("qualtrics", rows=30, clock=Clock(NOW)) as fake, qualtrics(fake) as http:
        states, lines = exported(http)
    assert [state["percentComplete"] for state in states] == [0.0, 57.0, 99.0, 100.0]
    assert [state["status"] for state in states] == ["inProgress"] * 3 + ["complete"]
    assert (lines[0][0], lines[0][-1]) == ("StartDate", "Q2")
    assert "\n" in lines[1][-2]
    assert json.loads(lines[2][7]) == {"ImportId": "recordedDate", "timeZone": "Z"}
    assert len(lines) == 3 + 30
    status = {line[2] for line in lines[3:]}
    assert status == {"0", "1"} and "preview" in {line[10] for line in lines[3:]}


def test_qualtrics_window_takes_the_start_and_not_the_end():
    with serve("qualtrics", rows=0, clock=Clock(NOW)) as fake, qualtrics(fake) as http:
        content = {"status": "0", "finished": "1", "duration": "60"}
        fake.store.put("surveys", "SV_0001", {"name": "Relationship"})
        for number in range(4):
            fake.store.put("responses", f"R_{number}", content, updated_at=NOW + timedelta(seconds=number))
        _, lines = exported(http, startDate="2026-05-04T12:00:01Z", endDate="2026-05-04T12:00:03Z")
        assert [line[8] for line in lines[3:]] == ["R_1", "R_2"]
        assert http.post(EXPORT, json={"format": "csv", "startDate": "2026-05-04"}).status_code == 400


def test_qualtrics_job_fails_at_99_and_keeps_to_what_was_there():
    with serve("qualtrics", rows=10, faults=FaultPlan(at={1: "export_fails"})) as fake, qualtrics(fake) as http:
        states, lines = exported(http)
        assert lines is None and states[-1] == {"percentComplete": 99.0, "status": "failed"}
        fake.at(fake.requests + 2, lambda fake: fake.store.put("responses", "R_late", {"duration": "1"}))
        assert len(exported(http)[1]) == 13
        assert client(fake).get("/API/v3/surveys").json()["meta"]["error"]["errorCode"] == "AUTH_6.0"


# Odoo


CALL = "/web/dataset/call_kw"


def odoo(fake):
    params = {"db": "company", "login": "reader", "password": "reader-key"}
    with client(fake) as http:
        answer = http.post("/web/session/authenticate", json={"params": params})
    assert answer.json()["result"]["uid"] == 7
    return client(fake, Cookie=f"session_id={answer.cookies['session_id']}")


def read(http, domain=(), **named):
    named = {"domain": list(domain), "fields": ["id", "write_date", "email", "country_id"]} | named
    return http.post(
        CALL, json={"params": {"model": "res.partner", "method": "search_read", "args": [], "kwargs": named}}
    ).json()


def test_odoo_shows_whole_seconds_false_and_pairs():
    with serve("odoo", rows=100, clock=Clock(NOW)) as fake, odoo(fake) as http:
        rows = read(http)["result"]
        assert len(rows) == 91 and "." not in rows[0]["write_date"]
        assert {row["email"] for row in rows if row["id"] % 5 == 0} == {False}
        assert {type(row["country_id"]) for row in rows} == {bool, list}
        assert max(sum(row["write_date"] == one["write_date"] for row in rows) for one in rows) > 30
        everyone = read(http, context={"active_test": False})["result"]
        assert len(everyone) == 100 == len(read(http, [["active", "in", [True, False]]])["result"])
        ordered = read(http, order="write_date desc, id", limit=5, offset=2)["result"]
        assert len(ordered) == 5 and ordered[0]["write_date"] >= ordered[-1]["write_date"]


def test_odoo_domains_in_prefix_notation_go_through_shared_seconds():
    with serve("odoo", rows=100, clock=Clock(NOW)) as fake, odoo(fake) as http:
        keys, domain = [], [["active", "in", [True, False]]]
        while rows := read(http, domain, order="write_date, id", limit=7)["result"]:
            keys += [row["id"] for row in rows]
            last = rows[-1]
            equal = ["&", ["write_date", "=", last["write_date"]], ["id", ">", last["id"]]]
            domain = [["active", "in", [True, False]], "|", ["write_date", ">", last["write_date"]], *equal]
        assert keys == list(range(1, 101))
        assert len(read(http, ["!", ["id", ">", 10]])["result"]) == 10


def test_odoo_may_compare_by_fractions_that_it_does_not_show():
    with serve("odoo", clock=Clock(NOW)) as fake, odoo(fake) as http:
        fake.store.put("res.partner", 1, {"active": True}, updated_at=NOW + timedelta(microseconds=250_000))
        rule = [["write_date", ">", "2026-05-04 12:00:00"]]
        assert read(http, rule, fields=["id"])["result"] == []
        fake.dialect.keeps_fractions = True
        assert read(http, rule, fields=["id", "write_date"])["result"] == [
            {"id": 1, "write_date": "2026-05-04 12:00:00"}
        ]


def test_odoo_says_every_error_with_status_200():
    with serve("odoo", rows=5, faults=FaultPlan(at={4: "expired_token", 6: "error_in_200"})) as fake:
        http = odoo(fake)
        wrong = http.post("/web/session/authenticate", json={"params": {"db": "company", "login": "x"}})
        assert (wrong.status_code, wrong.json()["error"]["message"]) == (200, "Odoo Server Error")
        assert "no_such" in read(http, fields=["no_such"])["error"]["data"]["message"]
        assert read(http)["error"] | {"data": 0} == {"code": 100, "message": "Odoo Session Expired", "data": 0}
        http = odoo(fake)
        assert "error" in read(http) and "result" in read(http)


def test_odoo_answers_the_older_rpc_too():
    with serve("odoo", rows=5) as fake, client(fake) as http:

        def call(service, method, *args):
            params = {"service": service, "method": method, "args": args}
            return http.post("/jsonrpc", json={"jsonrpc": "2.0", "params": params}).json()

        assert call("common", "login", "company", "reader", "no")["result"] is False
        assert call("common", "login", "company", "reader", "reader-key")["result"] == 7
        named = {"fields": ["id"], "limit": 2}
        access = ("company", 7, "reader-key")
        found = call("object", "execute_kw", *access, "res.partner", "search_read", [[]], named)
        assert found["result"] == [{"id": 1}, {"id": 2}]
        assert call("object", "execute_kw", *access, "res.partner", "search_count", [[]])["result"] == 5
        assert "error" in call("object", "execute_kw", "company", 7, "no", "res.partner", "search", [[]])
