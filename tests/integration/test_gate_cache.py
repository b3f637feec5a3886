"""Answers of earlier runs: they stand in only where nothing that they rest on changed."""

import json
import shutil
from dataclasses import replace
from datetime import datetime, timedelta

import duckdb
import polars as pl
import pytest

import data_quality.cache
import data_quality.engine
from data_quality.cache import HOLDS_FOR, Inputs, code_state
from data_quality.gate import decide
from data_quality.rules import Rule, between, in_set, no_rows, not_null, row_count, unique
from data_quality.run import run_rules
from data_quality.session import Session
from data_quality.suites import clean_rules, marts_rules
from data_quality.suites.personal_data import PERSONAL_VALUES, personal_columns
from data_quality.tables import PUBLISHED_PREFIX, Tables
from orchestration.contracts import CONTRACTS, DERIVED

NOW = datetime(2026, 5, 2, 3)
DAYS = ("2026-05-01", "2026-05-02", "2026-05-03", "2026-05-04")


def rule(rule_id, expectation, table="visit", column=None, **options):
    return Rule(
        rule_id, "clean", table, expectation, "validity", "error", f"{rule_id} holds.", column=column, **options
    )


NOT_NEGATIVE = no_rows("SELECT id FROM visit WHERE n < 0", by_row=True)
RULES = [
    rule("n_present", not_null("n"), column="n"),
    rule("n_in_range", between("n", 0, 100), column="n"),
    rule("key_unique", unique(["id"])),
    rule("pair_unique", unique(["id", "n"])),
    rule("not_negative", NOT_NEGATIVE),
    rule("not_too_many", row_count(maximum=100)),
    rule("page_exists", no_rows("SELECT v.id FROM visit AS v ANTI JOIN page AS p ON v.page = p.page"), column="page"),
    rule("page_known", in_set("page", ["a", "b"]), table="page", column="page"),
]


def visits(first, n=3, page="a"):
    return pl.DataFrame({"id": [f"v{first + i}" for i in range(4)], "n": [n] * 4, "page": [page] * 4})


class Home:
    """Two tables: ``visit`` with a file a day, ``page`` with one."""

    def __init__(self, root):
        self.root = root
        for number, day in enumerate(DAYS):
            self.write(f"visit/{day}", visits(10 * number))
        self.write("page/all", pl.DataFrame({"page": ["a", "b"]}))

    def write(self, name, frame):
        path = self.root / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        frame.write_parquet(temporary)
        temporary.replace(path)
        return path

    @property
    def tables(self):
        return Tables(parquet={name: f"{self.root}/{name}/*.parquet" for name in ("visit", "page")})

    @property
    def cached(self):
        return self.root / "cached_result" / "clean.json"

    def check(self, run_id, rules=RULES, now=NOW, **options):
        return run_rules(rules, tables=self.tables, run_id=run_id, now=now, cached=self.cached, **options)

    def check_all(self, rules=RULES):
        return run_rules(rules, tables=self.tables, run_id="again", now=NOW)


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path)
    assert set(home.check("first")["outcome"]) == {"passed"}
    return home


def repeated(results):
    return set(results.filter(pl.col("detail").str.starts_with("As in run"))["rule_id"])


def partly(results):
    return set(results.filter(pl.col("detail").str.contains("files were looked at"))["rule_id"])


def failed(results):
    return set(results.filter(pl.col("outcome") != "passed")["rule_id"])


ALL = {rule.rule_id for rule in RULES}
BY_FILE = {"n_present", "n_in_range", "key_unique", "pair_unique", "not_negative"}


def test_where_nothing_changed_every_answer_is_repeated_and_says_so(home, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("nothing had to be asked")

    monkeypatch.setattr(Session, "__init__", fail)
    results = home.check("second")
    assert repeated(results) == ALL
    assert decide(RULES, results).action == "publish"
    assert set(results["run_id"]) == {"second"}
    assert set(results["detail"]) == {"As in run first: nothing that the rule rests on has changed since."}
    same = ["target_table", "rule_id", "outcome", "element_count", "unexpected_count", "observed_value"]
    assert results.select(same).equals(home.check_all().select(same)) if monkeypatch.undo() is None else False
    assert set(home.check("third")["detail"]) == set(results["detail"]), "the run that looked is named, not the last"


def test_without_the_file_of_answers_nothing_is_repeated(home):
    assert repeated(run_rules(RULES, tables=home.tables, run_id="second", now=NOW)) == set()
    home.cached.unlink()
    assert repeated(home.check("second")) == set()
    assert repeated(home.check("third")) == ALL


def forge(text):
    seal, body = text.split("\n", 1)
    return f"{seal}\n{body.replace('v0', 'v1').replace('0 of 16', '0 of 61')}"


@pytest.mark.parametrize(
    "damage",
    [lambda text: "", lambda text: text[:-20], lambda text: "{}", forge, lambda text: text.replace("\n", "\n ", 1)],
    ids=["empty", "cut off", "another content", "altered", "moved"],
)
def test_a_damaged_file_of_answers_is_not_believed(home, damage):
    home.cached.write_text(damage(home.cached.read_text()))
    results = home.check("second")
    assert repeated(results) | partly(results) == set()
    assert failed(results) == set()


def test_a_sealed_file_of_another_make_is_not_believed(home):
    body = json.dumps({"code": code_state(), "states": {}, "answers": {"clean/visit/n_present": {"rule": "?"}}})
    home.cached.write_text(f"{data_quality.cache._hash(body)}\n{body}")
    assert repeated(home.check("second")) == set()


def test_a_file_of_answers_that_cannot_be_written_spoils_no_result(home):
    shutil.rmtree(home.cached.parent)
    home.cached.parent.write_text("a file where the folder should be")
    assert failed(home.check("second")) == set()


def test_a_changed_file_with_equal_size_is_looked_at(home):
    path = home.root / "visit" / f"{DAYS[1]}.parquet"
    before = path.stat()
    home.write(f"visit/{DAYS[1]}", visits(10, n=-3))
    assert path.stat().st_size == before.st_size
    results = home.check("second")
    assert failed(results) == {"n_in_range", "not_negative"}
    assert repeated(results) == {"page_known"}
    assert partly(results) == {"n_present", "key_unique", "pair_unique"}


def test_an_older_file_put_back_is_looked_at(tmp_path):
    home = Home(tmp_path)
    bad = home.write(f"visit/{DAYS[1]}", visits(10, n=-3))
    shutil.copy2(bad, tmp_path / "kept")
    assert failed(home.check("bad")) == {"n_in_range", "not_negative"}
    home.write(f"visit/{DAYS[1]}", visits(10))
    assert failed(home.check("good")) == set()
    shutil.copy2(tmp_path / "kept", bad)
    assert failed(home.check("put back")) == {"n_in_range", "not_negative"}


def test_what_failed_or_errored_is_sought_again_although_nothing_changed(home, monkeypatch):
    home.write(f"visit/{DAYS[1]}", visits(10, n=-3))
    for run_id in ("second", "third", "fourth"):
        assert failed(home.check(run_id)) == {"n_in_range", "not_negative"}
    broken = rule("broken", no_rows("SELECT no_such_column FROM visit"))
    for run_id in ("fifth", "sixth"):
        assert failed(home.check(run_id, [broken])) == {"broken"}

    def raise_(*_, **__):
        raise RuntimeError("no engine")

    home.write(f"visit/{DAYS[1]}", visits(10))
    with monkeypatch.context() as patched:
        patched.setattr(data_quality.engine.Validator, "validate", raise_)
        assert "n_in_range" in failed(home.check("seventh"))
    assert "n_in_range" not in repeated(home.check("eighth"))


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({"expectation": between("n", 4, 100)}, "failed"),
        ({"expectation": between("n", 2, 100)}, "passed"),
        ({"severity": "warn"}, "passed"),
        ({"minimum_share": 0.5}, "passed"),
    ],
)
def test_a_changed_rule_is_checked(home, changed, outcome):
    (before,) = [rule for rule in RULES if rule.rule_id == "n_in_range"]
    results = home.check("second", [replace(before, **changed)])
    assert results["outcome"].to_list() == [outcome]
    assert repeated(results) | partly(results) == set()


def test_changed_code_and_libraries_have_everything_checked(home, tmp_path, monkeypatch):
    module = tmp_path / "code" / "suites" / "one.py"
    module.parent.mkdir(parents=True)
    module.write_text("LIMIT = 1\n")
    before = code_state([tmp_path / "code"])
    assert before == code_state([tmp_path / "code"])
    module.write_text("LIMIT = 2\n")
    assert code_state([tmp_path / "code"]) != before
    with monkeypatch.context() as patched:
        patched.setattr(data_quality.cache, "version", lambda name: "0")
        assert repeated(home.check("second")) == set()
    assert repeated(home.check("third")) == set(), "what another code found does not hold either"


def test_an_answer_is_sought_anew_after_some_days(home):
    assert repeated(home.check("second", now=NOW + HOLDS_FOR - timedelta(seconds=1))) == ALL
    assert repeated(home.check("third", now=NOW + HOLDS_FOR)) == set()
    assert repeated(home.check("fourth", now=NOW)) == set(), "an answer from the future is none"


def test_looking_at_changes_alone_does_not_make_an_answer_younger(home):
    home.write(f"visit/{DAYS[3]}", visits(50))
    assert partly(home.check("second", now=NOW + HOLDS_FOR / 2)) == BY_FILE
    assert repeated(home.check("third", now=NOW + HOLDS_FOR / 2)) == ALL
    results = home.check("fourth", now=NOW + HOLDS_FOR)
    assert BY_FILE.isdisjoint(repeated(results) | partly(results))


def test_of_many_files_only_those_that_changed_are_looked_at(home):
    home.write("visit/2026-05-05", visits(50))
    results = home.check("second")
    assert failed(results) == set()
    assert partly(results) == BY_FILE
    assert repeated(results) == {"page_known"}
    row = results.filter(pl.col("rule_id") == "n_in_range").row(0, named=True)
    assert (row["element_count"], row["unexpected_count"]) == (4, 0)
    assert row["detail"] == "1 of 5 files were looked at: the others are as in run first."
    assert repeated(home.check("third")) == ALL


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (visits(0), {"key_unique", "pair_unique"}),
        (visits(30).vstack(visits(50)), {"key_unique", "pair_unique"}),
        (visits(50).vstack(visits(50, n=4)), {"key_unique"}),
        (visits(30, n=4), {"key_unique"}),
        (visits(50, n=-1), {"n_in_range", "not_negative"}),
        (visits(50, n=None).cast({"n": pl.Int64}), {"n_present"}),
        (visits(50, page="c"), {"page_exists"}),
    ],
    ids=["key of an old file", "key of the last file", "key twice", "one of a pair", "bound", "null", "reference"],
)
def test_what_a_new_file_breaks_is_found_and_counted_over_all(home, frame, expected):
    home.write("visit/2026-05-05", frame)
    results, over_all = home.check("second"), home.check_all()
    assert failed(results) == expected
    own = pl.col("outcome") == "failed"
    columns = ["rule_id", "element_count", "unexpected_count", "observed_value", "detail"]
    assert results.filter(own).select(columns).equals(over_all.filter(own).select(columns))


def test_a_null_in_a_key_hides_no_repeated_key(home):
    frame = visits(0).with_columns(id=pl.Series(["v0", None, None, "v77"]))
    home.write("visit/2026-05-05", frame)
    assert failed(home.check("second")) == {"key_unique", "pair_unique"}


def test_a_file_that_is_gone_is_noticed(home):
    (home.root / "visit" / f"{DAYS[0]}.parquet").unlink()
    results = home.check("second")
    assert repeated(results) == {"page_known"}
    assert results.filter(pl.col("rule_id") == "n_in_range")["element_count"].to_list() == [12]


def test_a_file_that_cannot_be_read_errors_its_table_alone(home):
    (home.root / "visit" / "2026-05-05.parquet").write_bytes(b"no Parquet")
    assert failed(home.check("second")) == ALL - {"page_known"}


def test_a_rule_that_had_found_something_is_counted_over_all(home):
    lenient = rule("n_mostly_in_range", between("n", 0, 100), column="n", minimum_share=0.5)
    home.write(f"visit/{DAYS[0]}", visits(0, n=-3))
    assert failed(home.check("second", [lenient])) == set()
    home.write("visit/2026-05-05", visits(50, n=-3))
    home.write("visit/2026-05-06", visits(60, n=-3))
    results = home.check("third", [lenient])
    assert (partly(results), results["unexpected_count"].to_list()) == (set(), [12])


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM visit WHERE n > 3 AND random() > 2",
        "SELECT id FROM visit WHERE current_date < DATE '2000-01-01'",
        "SELECT id FROM visit WHERE now() < TIMESTAMP '2000-01-01'",
        "SELECT id FROM visit WHERE id IN (SELECT file FROM glob('/nowhere/*'))",
        "SELECT id FROM visit WHERE (SELECT now FROM gate_run) < TIMESTAMP '2000-01-01'",
        "SELECT id FROM visit WHERE id = (SELECT run_id FROM gate_run)",
        "SELECT id FROM visit WHERE (SELECT count(*) FROM gate_run) > 1",
    ],
)
def test_a_rule_that_may_answer_otherwise_by_itself_is_always_checked(home, query):
    changing = rule("changing", no_rows(query))
    later = NOW + timedelta(minutes=1)
    assert home.check("second", [changing])["outcome"].to_list() == ["passed"], query
    results = home.check("third", [changing], now=later)
    assert (results["outcome"].to_list(), repeated(results)) == (["passed"], set())


def test_sql_that_reads_by_path_is_always_checked(home):
    path = home.root / "page" / "all.parquet"
    by_path = rule("by_path", no_rows(f"SELECT id FROM visit WHERE page NOT IN (SELECT page FROM '{path}')"))
    for run_id in ("second", "third"):
        results = home.check(run_id, [by_path])
        assert (failed(results), repeated(results)) == (set(), set())


def test_the_run_that_built_the_marts_is_an_input(home):
    built = rule("built", no_rows("SELECT id FROM visit WHERE (SELECT built_by FROM gate_run) = 'other'"))
    home.check("second", [built], built_by="one")
    assert repeated(home.check("third", [built], built_by="one")) == {"built"}
    assert failed(home.check("fourth", [built], built_by="other")) == {"built"}


def test_a_frame_is_an_input_whose_state_is_not_known(home):
    tables = replace(home.tables, frames={"manifest": pl.DataFrame({"id": ["v99"]})})
    read = rule("in_manifest", no_rows("SELECT id FROM visit SEMI JOIN manifest USING (id)"))
    for _ in range(2):
        results = run_rules([read], tables=tables, run_id="run", now=NOW, cached=home.cached)
        assert (failed(results), repeated(results)) == (set(), set())


@pytest.fixture
def marts(tmp_path):
    """A marts file, a published one, and persons."""
    (tmp_path / "customer").mkdir()
    persons = {name: ["Ann Lee"] for name in personal_columns()["customer"]}
    pl.DataFrame(persons).write_parquet(tmp_path / "customer" / "all.parquet")
    for name in ("marts", "published"):
        with duckdb.connect(str(tmp_path / f"{name}.duckdb")) as connection:
            connection.execute("CREATE TABLE shop AS SELECT 's' || i AS shop_id, 'north' AS region FROM range(4) r(i)")
    return tmp_path


MARTS_RULES = [
    rule("key_unique", unique(["shop_id"]), "shop"),
    rule("rows_kept", no_rows("SELECT 1 FROM (SELECT count(*) AS n FROM published__shop) WHERE n > 4"), "shop"),
    rule("no_person", no_rows(f"SELECT shop_id FROM shop JOIN {PERSONAL_VALUES} p ON lower(region) = p.value"), "shop"),
]


def check_marts(root, run_id):
    tables = Tables(
        database=root / "marts.duckdb",
        published=root / "published.duckdb",
        personal={"customer": f"{root}/customer/*.parquet"},
    )
    return run_rules(MARTS_RULES, tables=tables, run_id=run_id, now=NOW, cached=root / "cached_result" / "marts.json")


def execute(path, *statements):
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_marts_are_checked_where_their_file_changed(marts):
    assert failed(check_marts(marts, "first")) == set()
    assert repeated(check_marts(marts, "second")) == {"key_unique", "rows_kept", "no_person"}
    execute(marts / "marts.duckdb", "UPDATE shop SET shop_id = 's0'")
    assert failed(check_marts(marts, "third")) == {"key_unique"}


def test_marts_are_checked_where_another_release_is_published(marts):
    check_marts(marts, "first")
    execute(marts / "published.duckdb", "INSERT INTO shop SELECT * FROM shop")
    results = check_marts(marts, "second")
    assert failed(results) == {"rows_kept"}
    assert repeated(results) == {"key_unique", "no_person"}
    (marts / "published.duckdb").unlink()
    assert "rows_kept" not in repeated(check_marts(marts, "third"))


def test_marts_are_checked_where_another_person_is_known(marts):
    check_marts(marts, "first")
    persons = pl.read_parquet(marts / "customer" / "all.parquet").with_columns(email=pl.lit("North"))
    persons.write_parquet(marts / "customer" / "all.parquet")
    results = check_marts(marts, "second")
    assert failed(results) == {"no_person"}
    assert repeated(results) == {"key_unique", "rows_kept"}


def test_marts_behind_a_view_are_always_checked(marts):
    execute(
        marts / "marts.duckdb",
        "ALTER TABLE shop RENAME TO shop_rows",
        f"COPY shop_rows TO '{marts}/rows.parquet'",
        f"CREATE VIEW shop AS FROM '{marts}/rows.parquet'",
    )
    for run_id in ("first", "second"):
        results = check_marts(marts, run_id)
        assert (failed(results), repeated(results)) == (set(), set())


def test_only_what_the_rules_to_be_checked_read_is_opened(marts, monkeypatch):
    check_marts(marts, "first")
    execute(marts / "published.duckdb", "INSERT INTO shop SELECT 's9', 'south'")
    asked = []
    execute_ = Session.execute
    monkeypatch.setattr(Session, "execute", lambda self, sql: asked.append(sql) or execute_(self, sql))
    assert failed(check_marts(marts, "second")) == {"rows_kept"}
    assert not [sql for sql in asked if PERSONAL_VALUES in sql]


def test_every_rule_of_the_suites_can_be_repeated_but_those_on_the_run(tmp_path):
    """What the words of a query name decides; a new function in a suite may turn every rule that calls it away."""
    facts = {"run_id": "run", "built_by": "run", "now": "2026-05-02 03:00:00"}
    rules = clean_rules()
    inputs = Inputs(rules, Tables.clean(tmp_path, tmp_path, CONTRACTS | DERIVED), facts)
    assert [rule.identity for rule in rules if inputs.of(rule) is None] == []
    rejected = {rule.rule_id for rule in rules if "quarantine" in (inputs.of(rule) or ())}
    assert rejected == {"rejected_warn", "rejected_error"}
    rules = marts_rules()
    inputs = Inputs(rules, Tables.marts(tmp_path / "marts.duckdb", tmp_path / "p.duckdb", tmp_path), facts)
    assert [rule.identity for rule in rules if inputs.of(rule) is None] == []
    on_release = {rule.rule_id for rule in rules if PUBLISHED_PREFIX in (inputs.of(rule) or ())}
    assert on_release == {"rows_kept", "hidden_stays_hidden_over_releases"}
    on_persons = {rule.rule_id for rule in rules if PERSONAL_VALUES in (inputs.of(rule) or ())}
    assert on_persons == {"no_known_person", "no_known_person_warn"}
    assert {rule.rule_id for rule in rules if "gate_run.built_by" in (inputs.of(rule) or ())} == {"built_by_last_build"}


def test_the_rules_that_go_by_rows_read_one_table_alone():
    tables = {rule.reads for rule in clean_rules()}
    for one in (*clean_rules(), *marts_rules()):
        if one.expectation.by_row and one.expectation.rows is not None:
            words = data_quality.cache.words_of([one])
            assert words & tables <= {one.reads}, one.identity
            assert not words & {"group", "over", "distinct", "union", "having", "limit", "exists"}, one.identity


def test_a_kept_answer_holds_no_value(home):
    assert "n_in_range" in home.cached.read_text()
    assert not any(f"v{number}" in home.cached.read_text() for number in range(40))
