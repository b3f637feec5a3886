"""Who is joined with whom and why, rule by rule; and who is not."""

import hashlib
import hmac
from datetime import date, datetime, timedelta

import polars as pl
import pytest

from orchestration.contracts import CONTRACTS, DERIVED
from orchestration.identity.changes import changes
from orchestration.identity.evidence import NODE
from orchestration.identity.names import compare_names
from orchestration.identity.quality import measure
from orchestration.identity.resolve import resolve_identities
from orchestration.identity.run import IdentityError, load_blocked_values, measure_identity, refresh_identity
from orchestration.identity.sharing import BLOCKED_SCHEMA, SharingRules
from orchestration.settings import Settings
from orchestration.warehouse.clean import CleanStore

START = datetime(2026, 5, 1)


class World:
    """Records, told one by one; each is a day younger than the one before."""

    def __init__(self):
        self.rows = {}
        self.count = 0

    def add(self, table, source_id, source="crm", *, deleted=False, **values):
        at = START + timedelta(days=self.count)
        self.count += 1
        row = {"source": source, "source_id": source_id, "first_extracted_at": at, "extracted_at": at}
        row |= {"is_deleted": deleted, "load_id": "l", "load_row": self.count, "row_hash": f"{self.count}"}
        self.rows.setdefault(table, []).append(row | values)
        return self

    def event(self, cookie, login=None, source="web"):
        at = datetime(2026, 5, 1, 8)
        return self.add("web_event", f"e{self.count}", source, anonymous_id=cookie, user_id=login, occurred_at=at)

    def tables(self):
        return {name: pl.LazyFrame(rows, schema=CONTRACTS[name].schema) for name, rows in self.rows.items()}

    def resolve(self, blocked=(), **options):
        listed = pl.DataFrame(list(blocked), schema=BLOCKED_SCHEMA, orient="row")
        return resolve_identities(self.tables(), listed, **options)

    def persons(self, blocked=(), **options):
        """Persons as sorted lists of source ids."""
        record = self.resolve(blocked, **options).person_record
        return sorted(record.group_by("person_id").agg(pl.col("source_id").sort())["source_id"].to_list())


@pytest.fixture
def world():
    return World()


def test_a_reference_joins_by_record_id_in_the_source_it_names(world):
    world.add("customer", "c1").add("customer", "c1", "erp")
    world.add("sales_order", "o1", "shop", customer_source="crm", customer_id="c1")
    world.add("ticket", "t1", "erp", customer_id="c1")
    assert world.persons() == [["c1", "o1"], ["c1", "t1"]]


def test_a_reference_prefers_the_id_that_the_source_gives_to_others(world):
    world.add("customer", "7", external_id="U1").add("customer", "8", external_id="U1").add("customer", "U1")
    world.add("sales_order", "o1", customer_id="U1")
    assert world.persons() == [["7", "8", "o1"], ["U1"]]


def test_records_that_name_the_same_unknown_customer_are_one_person(world):
    world.add("sales_order", "o1", customer_id="gone").add("ticket", "t1", customer_id="gone")
    assert world.persons() == [["o1", "t1"]]


def test_a_row_belongs_to_the_person_of_its_parent(world):
    world.add("invitation", "i1", email="a@x.com").add("response", "r1", invitation_id="i1")
    world.add("response", "r2", invitation_id="nowhere")
    world.add("comment", "k1", parent_table="response", parent_id="r1")
    world.add("invitation", "i2", response_id="r3").add("response", "r3")
    assert world.persons() == [["i1", "k1", "r1"], ["i2", "r3"], ["r2"]]


def test_mail_and_phone_join_across_sources(world):
    world.add("customer", "c1", email="a@x.com", phone="+861").add("response", "r1", "survey", email="a@x.com")
    world.add("ticket", "t1", "desk", phone="+861").add("ticket", "t2", "desk", phone="+862")
    assert world.persons() == [["c1", "r1", "t1"], ["t2"]]


def test_a_login_joins_customer_and_visits_and_stitches_earlier_events_of_the_cookie(world):
    world.event("ck1").event("ck1", "u1").event("ck2", "u1").event("ck9")
    world.add("customer", "c1", login="u1")
    assert world.persons() == [["c1", "ck1", "ck2", "u1"], ["ck9"]]


def test_a_source_with_customers_and_visits_of_its_own_keeps_its_logins_to_itself(world):
    world.add("customer", "a", "one", login="1").event("ck1", "1", "one")
    world.add("customer", "b", "two", login="1").event("ck2", "1", "two")
    assert world.persons() == [["1", "a", "ck1"], ["1", "b", "ck2"]]


def test_a_customers_cookie_is_looked_for_in_its_own_source_then_where_it_is_known_only_once(world):
    world.event("5", source="web").event("5", source="app").event("6", source="app")
    world.add("customer", "a", "web", anonymous_id="5")
    world.add("customer", "b", "crm", anonymous_id="5")
    world.add("customer", "c", "crm", anonymous_id="6")
    assert world.persons() == [["5"], ["5", "a"], ["6", "c"], ["b"]]


@pytest.mark.parametrize(
    ("kind", "value", "column", "given"),
    [
        ("email", "Info@x.com", "email", "info@x.com"),
        ("email_local_part", "noreply", "email", "noreply@any.org"),
        ("phone", "+861", "phone", "+861"),
        ("customer_id", "0", "customer_id", "0"),
    ],
)
def test_a_listed_value_joins_nobody(world, kind, value, column, given):
    world.add("ticket", "t1", **{column: given}).add("ticket", "t2", **{column: given})
    assert world.persons() == [["t1", "t2"]]
    assert world.persons([(kind, value, "x")]) == [["t1"], ["t2"]]
    evidence = world.resolve([(kind, value, "x")]).evidence
    assert set(evidence["block_reason"]) == {"listed"}


def test_a_family_phone_is_in_conflict_and_joins_nobody_by_itself(world):
    world.add("customer", "c1", full_name="Li Wei", email="li@x.com", phone="+861")
    world.add("customer", "c2", full_name="Wang Fang", email="wang@x.com", phone="+861")
    world.add("ticket", "t1", phone="+861").add("ticket", "t2", phone="+861", email="li@x.com")
    assert world.persons() == [["c1", "t2"], ["c2"], ["t1"]]
    assert world.persons(rules=SharingRules(conflicts=False)) == [["c1", "c2", "t1", "t2"]]


def test_names_in_two_scripts_say_nothing_but_dates_of_birth_do(world):
    same, other = date(1980, 1, 1), date(1990, 1, 1)
    world.add("customer", "c1", full_name="王芳", email="a@x.com", phone="+861", birth_date=same)
    world.add("customer", "c2", full_name="Fang Wang", email="b@x.com", phone="+861", birth_date=same)
    world.add("customer", "c3", full_name="李伟", email="c@x.com", phone="+862", birth_date=same)
    world.add("customer", "c4", full_name="Wei Li", email="d@x.com", phone="+862", birth_date=other)
    assert world.persons() == [["c1", "c2"], ["c3"], ["c4"]]


def test_on_a_phone_in_conflict_those_who_agree_are_still_one_person(world):
    world.add("customer", "c1", full_name="Li Wei", email="a@x.com", phone="+861")
    world.add("customer", "c2", full_name="Wang Fang", email="b@x.com", phone="+861")
    world.add("customer", "c3", full_name="WEI LI", email="c@x.com", phone="+861")
    assert world.persons() == [["c1", "c3"], ["c2"]]
    evidence = world.resolve().evidence.filter((pl.col("rule") == "phone") & (pl.col("source_id") == "c3"))
    assert evidence["is_blocked"].sort().to_list() == [False, True]


def test_a_slip_of_the_pen_does_not_part_records_of_one_mailbox(world):
    world.add("customer", "c1", full_name="王芳", email="a@x.com", phone="+861")
    world.add("customer", "c2", full_name="王方", email="a@x.com", phone="+862")
    assert world.persons() == [["c1", "c2"]]


def test_a_mailbox_of_many_is_blocked_by_the_cap(world):
    names = ("Ada Abel", "Bea Bond", "Cid Cole", "Dan Dunn", "Eva Ernst", "Fay Frost", "Gil Grant")
    for number, name in enumerate(names):
        world.add("customer", f"c{number}", full_name=name, email="info@x.com")
    assert len(world.persons()) == len(names)
    assert set(world.resolve().evidence["block_reason"]) == {"degree_cap"}
    # Without names nothing tells the records apart, and one person may well write forty tickets.
    other = World()
    for number in range(40):
        other.add("ticket", f"t{number}", email="busy@x.com")
    assert len(other.persons()) == 1


def test_a_device_that_two_people_log_in_on_joins_nobody(world):
    world.event("ck", "u1").event("ck", "u2").event("ck")
    world.add("customer", "c1", login="u1", email="a@x.com", full_name="Li Wei")
    world.add("customer", "c2", login="u2", email="b@x.com", full_name="Wang Fang")
    assert world.persons() == [["c1", "u1"], ["c2", "u2"], ["ck"]]
    evidence = world.resolve().evidence.filter(pl.col("rule") == "cookie")
    assert set(evidence["block_reason"]) == {"conflict"}


def test_two_logins_of_one_person_on_one_device_are_no_conflict(world):
    world.event("ck", "u1").event("ck", "u2")
    world.add("customer", "c1", login="u1", email="a@x.com").add("customer", "c2", login="u2", email="a@x.com")
    assert world.persons() == [["c1", "c2", "ck", "u1", "u2"]]


def test_a_deleted_record_has_no_person_but_keeps_the_others_together_and_their_id(world):
    world.add("customer", "c1", email="a@x.com", phone="+861")
    world.add("ticket", "t1", email="a@x.com").add("ticket", "t2", phone="+861")
    before = world.resolve().person_record
    world.rows["customer"][0]["is_deleted"] = True
    after = world.resolve().person_record
    assert after["source_id"].to_list() == ["t1", "t2"]
    assert set(after["person_id"]) == set(before["person_id"])


def test_of_records_of_one_age_the_surer_table_and_the_lesser_key_name_the_person(world):
    world.add("ticket", "a", customer_id="c1").add("comment", "a", parent_table="ticket", parent_id="a")
    world.add("customer", "c2", email="a@b.de").add("customer", "c1", email="a@b.de")
    tables = {name: rows.with_columns(first_extracted_at=pl.lit(START)) for name, rows in world.tables().items()}
    named = hashlib.sha256(b"customer\x1fcrm\x1fc1").hexdigest()[:32]
    record = resolve_identities(tables).person_record
    assert record["person_id"].to_list() == [f"p_{named}"] * 4


def test_a_parent_and_what_belongs_to_it_hold_the_parents_key_once_each(world):
    world.add("invitation", "i1", "survey").add("invitation", "i2", "survey").add("customer", "i1", "survey")
    world.add("response", "r1", "survey", invitation_id="i1").add("response", "r2", "survey", invitation_id="i1")
    world.add("comment", "k1", "survey", parent_table="response", parent_id="r1")
    world.add("comment", "k2", "survey", parent_table="customer", parent_id="i1")
    found = (
        world.resolve().evidence.filter(pl.col("rule") == "parent").select("record_table", "source_id", "value_hash")
    )
    keys = {
        hashlib.sha256(f"parent:{table}\x1fsurvey\x1f{key}".encode()).hexdigest()[:32]: f"{table} {key}"
        for table, key in (("invitation", "i1"), ("response", "r1"), ("customer", "i1"))
    }
    assert [(f"{table} {key}", keys[value]) for table, key, value in found.rows()] == [
        ("comment k1", "response r1"),
        ("comment k2", "customer i1"),
        ("customer i1", "customer i1"),
        ("invitation i1", "invitation i1"),
        *sorted([("response r1", "invitation i1"), ("response r1", "response r1")], key=_by_hash(keys)),
        ("response r2", "invitation i1"),
    ]


def _by_hash(keys):
    hashes = {key: value for value, key in keys.items()}
    return lambda row: hashes[row[1]]


def test_the_oldest_record_names_the_person_whatever_joins_later(world):
    world.add("ticket", "t1", email="a@x.com").add("ticket", "t2", phone="+861")
    before = dict(world.resolve().person_record.select("source_id", "person_id").rows())
    world.add("customer", "c1", email="a@x.com", phone="+861").add("ticket", "t3", phone="+861")
    after = dict(world.resolve().person_record.select("source_id", "person_id").rows())
    assert before["t1"] != before["t2"]
    assert set(after.values()) == {before["t1"]}


def cookie_rows(world):
    """Rows of evidence about cookies, as table, source and source id."""
    return world.resolve().evidence.filter(pl.col("rule") == "cookie").select(NODE).rows()


def test_a_visitors_own_cookie_is_evidence_only_where_a_login_or_a_customer_holds_it(world):
    world.event("alone").event("seen", "u1").event("owned").event("seen", source="app")
    assert cookie_rows(world) == [("login", "web", "u1"), ("visitor", "web", "seen")]
    world.add("customer", "c1", anonymous_id="owned").add("customer", "c2", anonymous_id="never seen")
    holders = [("customer", "crm", "c1"), ("customer", "crm", "c2"), ("login", "web", "u1")]
    assert cookie_rows(world) == [*holders, ("visitor", "web", "owned"), ("visitor", "web", "seen")]
    visitors = world.resolve().person_record.filter(pl.col("record_table") == "visitor")
    assert visitors.select("source", "source_id").rows() == [
        ("app", "seen"),
        ("web", "alone"),
        ("web", "owned"),
        ("web", "seen"),
    ]


def test_each_visitor_of_a_cookie_that_customers_of_two_sources_own_is_evidence(world):
    world.event("5", source="web").event("5", source="app").event("6", source="app")
    world.add("customer", "a", "web", anonymous_id="5").add("customer", "b", "app", anonymous_id="5")
    holders = [("customer", "app", "b"), ("customer", "web", "a")]
    assert cookie_rows(world) == [*holders, ("visitor", "app", "5"), ("visitor", "web", "5")]
    assert world.persons() == [["5", "a"], ["5", "b"], ["6"]]


def test_a_visitor_whom_only_a_deleted_customer_knows_keeps_its_evidence(world):
    world.event("ck").add("customer", "c1", deleted=True, anonymous_id="ck")
    assert cookie_rows(world) == [("visitor", "web", "ck")]


def test_values_are_hashed_with_the_key(world):
    world.add("ticket", "t1", email="a@x.com")
    plain, keyed = world.resolve().evidence, world.resolve(hmac_key=b"secret").evidence
    assert len(plain["value_hash"][0]) == len(keyed["value_hash"][0]) == 32
    assert plain["value_hash"][0] == hashlib.sha256(b"email:a@x.com").hexdigest()[:32]
    assert keyed["value_hash"][0] == hmac.digest(b"secret", b"email:a@x.com", "sha256").hex()[:32]
    assert "a@x.com" not in str(plain.rows())
    assert plain.schema == DERIVED["identity_evidence"].schema


def test_nothing_gives_nothing(world):
    found = world.resolve()
    assert found.person_record.schema == DERIVED["person_record"].schema
    assert found.evidence.height == found.person_record.height == 0


@pytest.mark.parametrize(
    ("a", "b", "likeness"),
    [
        ("Li Wei", "WEI  LI", "equal"),
        ("O'Neil, Anna", "Anna ONeil", "equal"),
        ("Li Wei", "Li Wen", "near"),
        ("Jon Smithson", "John Smihtson", "near"),
        ("Jo Wu", "Jo Xu", "far"),
        ("Li Na", "Wu Bo", "far"),
        ("Anna Maria Schmidt", "Anna Schmidt", "near"),
        ("Anna Schmidt", "Peter Schmidt", "far"),
        ("王芳", "王方", "near"),
        ("王芳", "李伟", "far"),
        ("王芳", "王 芳", "equal"),
        ("王芳", "Wang Fang", None),
        ("-", "Wang Fang", None),
    ],
)
def test_likeness_of_names(a, b, likeness):
    assert compare_names(pl.DataFrame({"a": [a], "b": [b]}))["likeness"].to_list() == [likeness]


def records(*rows):
    return pl.DataFrame(
        [("ticket", "s", source_id, person, START) for source_id, person in rows],
        schema=DERIVED["person_record"].schema,
        orient="row",
    )


def test_changes_tell_merge_split_and_removal_apart():
    before = records(("a", "p1"), ("b", "p2"), ("c", "p2"), ("d", "p3"), ("e", "p3"), ("f", "p4"), ("g", "p5"))
    after = records(("a", "p1"), ("b", "p1"), ("c", "p1"), ("d", "p3"), ("e", "p6"), ("g", "p5"), ("h", "p7"))
    log = changes(before, after, "run", START)
    assert log.schema == DERIVED["person_change"].schema
    assert log.select("source_id", "from_person_id", "to_person_id", "change_kind").rows() == [
        ("b", "p2", "p1", "merge"),
        ("c", "p2", "p1", "merge"),
        ("e", "p3", "p6", "split"),
        ("f", "p4", None, "removed"),
    ]


def test_quality_refuses_records_without_label():
    with pytest.raises(ValueError, match="leave records without label out"):
        measure(pl.DataFrame({"truth": ["a", None], "predicted": ["x", "y"]}))


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path, sources_dir=tmp_path, hmac_key=b"k")


@pytest.fixture
def store(settings):
    return CleanStore(settings.clean_dir, settings.business_timezone)


def fill(store, world):
    for name, rows in world.rows.items():
        store.merge(CONTRACTS[name], pl.DataFrame(rows, schema=CONTRACTS[name].schema))


def test_a_night_writes_three_tables_and_another_without_news_changes_none(store, settings, world):
    world.add("customer", "c1", email="a@x.com").add("customer", "c2", phone="+861").event("ck")
    fill(store, world)
    first = refresh_identity(store, settings=settings, run_id="r1", now=START)
    assert (first.records, first.persons, first.merges) == (3, 3, 0)
    assert refresh_identity(store, settings=settings, run_id="r2", now=START).changed == ()
    world.add("ticket", "t1", email="a@x.com", phone="+861", opened_at=START)
    fill(store, world)
    third = refresh_identity(store, settings=settings, run_id="r3", now=START)
    assert (third.persons, third.merges, third.splits) == (2, 1, 0)
    assert third.metadata("person_change")["merges"] == 1
    log = store.scan(DERIVED["person_change"]).collect()
    assert log.select("run_id", "source_id", "change_kind").rows() == [("r3", "c2", "merge")]
    refresh_identity(store, settings=settings, run_id="r4", now=START)
    assert store.scan(DERIVED["person_change"]).collect().equals(log)


def test_quality_is_measured_on_labels_if_there_are_any(store, settings, world):
    world.add("customer", "c1", email="a@x.com").add("customer", "c2", email="a@x.com").add("customer", "c3")
    fill(store, world)
    refresh_identity(store, settings=settings, run_id="r1", now=START)
    assert measure_identity(store, settings=settings) is None
    path = settings.home / "identity" / "labelled.parquet"
    path.parent.mkdir()
    labels = [("customer", "crm", key, person) for key, person in (("c1", "A"), ("c2", "B"), ("c3", "C"), ("c4", "C"))]
    pl.DataFrame(labels, schema=[*NODE, "true_person_id"], orient="row").write_parquet(path)
    measured = measure_identity(store, settings=settings)
    assert (measured["records"], measured["fp"], measured["labels_without_record"]) == (3, 1, 1)
    assert measured["pair_precision"] == 0
    pl.DataFrame({"record_table": ["customer"]}).write_parquet(path)
    with pytest.raises(IdentityError, match="lacks the columns source, source_id, true_person_id"):
        measure_identity(store, settings=settings)


def test_the_warehouses_own_list_takes_the_place_of_the_default(settings):
    assert load_blocked_values(settings.home).filter(pl.col("value") == "noreply").height == 1
    own = settings.home / "identity" / "blocked_values.csv"
    own.parent.mkdir()
    own.write_text("kind,value,reason\nphone,+861,hotline\n")
    assert load_blocked_values(settings.home).rows() == [("phone", "+861", "hotline")]
    own.write_text("kind,value,reason\nphone,+861,hotline\nmail,a@x.com,shared\n")
    with pytest.raises(IdentityError, match=r"blocked_values.csv, line 3 has the kind 'mail'; give .* email"):
        load_blocked_values(settings.home)
    own.write_text("kind,reason\n")
    with pytest.raises(IdentityError, match="lacks the columns value"):
        load_blocked_values(settings.home)
