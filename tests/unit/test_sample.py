"""The sample company: the same seed gives the same bytes, nights only add, the truth is what stands in the files."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import sqlite3
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from orchestration.sample import crm, survey
from orchestration.sample import vocabulary as words
from orchestration.sample.__main__ import main
from orchestration.sample.generate import SHIPPED_SOURCES, Sample, copy_sources, generate, next_night, write_world
from orchestration.sample.world import SampleError, WorldConfig, build_world
from orchestration.sources.config import load_sources

SMALL = {"scale": 0.3, "days": 120}
END = date(2026, 10, 31)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return generate(tmp_path_factory.mktemp("sample"), **SMALL)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def web_lines(folder: Path) -> list[tuple[str, str]]:
    return [
        (path.name, line)
        for path in sorted((folder / "web").glob("*.jsonl.gz"))
        for line in gzip.decompress(path.read_bytes()).decode().splitlines()
    ]


def qualtrics(folder: Path, stem: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for path in sorted((folder / "survey").glob(f"{stem}_*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            names, _, imports, *data = csv.reader(file)
        ids = [json.loads(cell)["ImportId"] for cell in imports]
        assert len(ids) == len(names)
        rows += [dict(zip(ids, row, strict=True)) for row in data]
    return rows


def table(folder: Path, name: str) -> pl.DataFrame:
    with sqlite3.connect(folder / "crm" / "crm.sqlite") as connection:
        return pl.read_database(f"SELECT * FROM {name}", connection, infer_schema_length=None)


def test_same_arguments_give_the_same_bytes(sample: Sample, tmp_path: Path) -> None:
    again = generate(tmp_path, **SMALL)
    assert digests(again.folder) == digests(sample.folder)


def test_another_seed_gives_another_company(sample: Sample, tmp_path: Path) -> None:
    other = digests(generate(tmp_path, seed=8, **SMALL).folder)
    mine = digests(sample.folder)
    assert other["crm/crm.sqlite"] != mine["crm/crm.sqlite"]
    assert other["truth/persons.parquet"] != mine["truth/persons.parquet"]


def test_writing_the_same_day_again_changes_nothing(sample: Sample) -> None:
    before = digests(sample.folder)
    write_world(sample.folder, sample.config, sample.as_of)
    assert digests(sample.folder) == before


def test_nights_one_by_one_equal_the_same_day_written_at_once(tmp_path: Path) -> None:
    by_nights = generate(tmp_path / "nights", **SMALL)
    for _ in range(5):
        next_night(by_nights.folder)
    at_once = generate(tmp_path / "once", **SMALL, as_of=END + timedelta(days=5))
    assert digests(by_nights.folder) == digests(at_once.folder)


def test_a_night_adds_a_file_of_events_and_leaves_the_others(sample: Sample, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    first = generate(folder, **SMALL)
    before = digests(folder)
    contacts, orders = table(folder, "contacts"), table(folder, "orders")
    night = next_night(folder, 3)
    after = digests(folder)
    assert night.as_of == first.as_of + timedelta(days=3)
    assert set(before) <= set(after)
    assert [name for name in after if name not in before and name.startswith("web/")] == [
        f"web/events_202611{day:02}.jsonl.gz" for day in (1, 2, 3)
    ]
    assert [name for name in before if name.startswith("web/") and after[name] != before[name]] == []
    grown = table(folder, "contacts").join(contacts.select("id"), on="id", how="semi")
    assert grown.height == contacts.height
    kept = grown.join(contacts, on=["id", "updated_at"], how="semi")
    assert kept.sort("id").equals(contacts.join(kept.select("id"), on="id", how="semi").sort("id"))
    changed = table(folder, "orders").join(orders, on="id").filter(pl.col("status") != pl.col("status_right"))
    assert changed.height > 0
    assert (changed["updated_at"] > changed["updated_at_right"]).all()


def test_an_order_committed_late_is_seen_a_night_after_its_own_time() -> None:
    world = build_world(WorldConfig(scale=1.0))
    slow = world.orders.filter(pl.col("committed_late")).row(-20, named=True)
    day = date(1970, 1, 1) + timedelta(microseconds=slow["ordered_us"] + 8 * 3600 * 1_000_000)
    ids = [set(crm.crm_tables(world, day + timedelta(days=after))["orders"]["id"]) for after in (0, 1)]
    assert slow["order"] not in ids[0]
    assert slow["order"] in ids[1]


def test_web_dirt_is_as_counted(sample: Sample) -> None:
    lines = web_lines(sample.folder)
    planted = sample.planted["web"]
    assert len(lines) == planted["events"]
    copies = Counter(line for _, line in lines)
    assert sum(copies.values()) - len(copies) == planted["duplicate_events"] > 0
    events = {line: json.loads(line) for line in copies}
    keys = [
        tuple(event[name] for name in ("user_pseudo_id", "event_timestamp", "event_name", "batch_event_index"))
        for event in events.values()
    ]
    assert len(set(keys)) == len(keys)
    first_file: dict[str, str] = {}
    for name, line in lines:
        first_file.setdefault(line, name)
    late = [line for line, name in first_file.items() if name != f"events_{events[line]['event_date']}.jsonl.gz"]
    assert len(late) == planted["late_events"] > 0
    agents = Counter(
        next(p["value"]["string_value"] for p in event["event_params"] if p["key"] == "user_agent")
        for event in events.values()
    )
    assert sum(agents[agent] for agent in words.BOT_AGENTS) == planted["bot_events"] > 0


def test_login_is_known_only_from_the_login_on(sample: Sample) -> None:
    events = [json.loads(line) for line in dict.fromkeys(line for _, line in web_lines(sample.folder))]
    by_session: dict[tuple[str, str], list[dict]] = {}
    for event in events:
        by_session.setdefault((event["user_pseudo_id"], event["batch_page_id"]), []).append(event)
    anonymous_before = 0
    for session in by_session.values():
        session.sort(key=lambda event: (int(event["event_timestamp"]), int(event["batch_event_index"])))
        known = ["user_id" in event for event in session]
        assert known == sorted(known)
        anonymous_before += any(known) and not known[0]
    assert anonymous_before > 0


def test_crm_dirt_is_as_counted(sample: Sample) -> None:
    contacts = table(sample.folder, "contacts")
    planted = sample.planted["crm"]
    email, phone = pl.col("email_addr"), pl.col("mobile")
    assert contacts.filter(email.is_in(words.INVALID_EMAILS)).height == planted["invalid_emails"]
    assert contacts.filter(phone.is_in(words.INVALID_PHONES)).height == planted["invalid_phones"]
    assert contacts.filter(email == "").height == planted["missing_emails"]
    assert contacts.filter(phone == "").height == planted["missing_phones"]
    assert contacts.filter(phone == words.HOTLINE).height == planted["hotline_phones"] > 0
    shared = contacts.filter(email.str.strip_chars().str.to_lowercase() == words.SHARED_MAILBOX)
    assert shared.height == planted["shared_mailboxes"] > 0
    assert contacts.filter(pl.col("is_deleted") == 1).height == planted["deleted_contacts"]
    persons = sample.persons.filter(pl.col("record_table") == "customer")
    assert persons.height - persons["true_person_id"].n_unique() == planted["duplicate_contacts"] > 0


def test_survey_dirt_is_as_counted(sample: Sample) -> None:
    planted = sample.planted["survey"]
    relational = qualtrics(sample.folder, "relational")
    both = relational + qualtrics(sample.folder, "transactional")
    assert len(both) == planted["responses"]
    assert sum(row["finished"] == "False" for row in both) == planted["partials"] > 0
    assert sum(row["status"] == "Survey Preview" for row in both) == planted["previews"] > 0
    assert sum(row["userAgent"] == words.BOT_AGENTS[3] for row in both) == planted["scripted_flood"] > 0
    scores = [row["QID1"] for row in relational] + [row["QID3"] for row in qualtrics(sample.folder, "transactional")]
    assert sum(score in survey.OUT_OF_RANGE for score in scores) == planted["out_of_range_answers"] > 0
    assert sum(score in survey.NON_NUMERIC for score in scores) == planted["non_numeric_answers"] > 0
    items = [[row[f"QID3_{item}"] for item in range(1, 10)] for row in relational if row["finished"] == "True"]
    assert sum(row.count("99") for row in items) == planted["refused_ratings"]
    assert sum(row.count("6") for row in items) == planted["not_applicable_ratings"] > 0
    straight = sum(len(set(row) - {"6", "99"}) == 1 for row in items)
    assert straight == planted["straight_liners"] > 0
    comments = [row["QID4_TEXT"] for row in both if row["finished"] == "True"]
    assert sum("??" in text for text in comments) == planted["mojibake_comments"]


@pytest.mark.parametrize(("stem", "number"), [("relational", 0), ("transactional", 1)])
def test_only_planted_rows_are_fast(sample: Sample, stem: str, number: int) -> None:
    rows = [row for row in qualtrics(sample.folder, stem) if row["finished"] == "True"]
    seconds = pl.Series([float(row["duration"]) for row in rows])
    fast = {row["_recordId"] for row in rows if float(row["duration"]) < 0.4 * seconds.median()}
    speeders = sample.responses.filter(
        (pl.col("planted") == "speeder") & (pl.col("survey_id") == survey.SURVEYS[number])
    )
    assert fast == set(speeders["response_id"])


def test_true_nps_is_that_of_the_valid_scores_in_the_files(sample: Sample) -> None:
    truth = {row["response_id"]: row for row in sample.responses.iter_rows(named=True)}
    votes: dict[str, Counter[str]] = {}
    for row in qualtrics(sample.folder, "relational"):
        if truth[row["_recordId"]]["is_valid"]:
            score = int(row["QID1"])
            group = "promoters" if score >= 9 else "passives" if score >= 7 else "detractors"
            votes.setdefault(row["endDate"][:7], Counter())[group] += 1
    stated = sample.nps_by_month.filter(
        (pl.col("nps_kind") == "relational") & (pl.col("basis") == "valid") & (pl.col("vote") == "response")
    )
    assert {row["month"] for row in stated.iter_rows(named=True)} == set(votes)
    for row in stated.iter_rows(named=True):
        counted = votes[row["month"]]
        assert {group: row[group] for group in ("promoters", "passives", "detractors")} == {
            group: counted[group] for group in ("promoters", "passives", "detractors")
        }
        assert row["n"] == counted.total()
        assert row["nps"] == pytest.approx(100 * (counted["promoters"] - counted["detractors"]) / counted.total())


def test_truth_names_every_record_of_the_files_once(sample: Sample) -> None:
    persons = sample.persons
    assert persons.select("record_table", "source", "source_id").is_duplicated().sum() == 0
    named = {
        str(key[0]): set(rows["source_id"]) for key, rows in persons.partition_by("record_table", as_dict=True).items()
    }
    assert named["customer"] == set(table(sample.folder, "contacts")["id"])
    assert named["sales_order"] == set(table(sample.folder, "orders")["id"])
    assert named["opportunity"] == set(table(sample.folder, "opportunities")["id"])
    tickets = [
        json.loads(line)
        for path in (sample.folder / "support").glob("tickets_*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert named["ticket"] == {ticket["id"] for ticket in tickets}
    both = qualtrics(sample.folder, "relational") + qualtrics(sample.folder, "transactional")
    nobody = set(sample.responses.filter(pl.col("true_person_id").is_null())["response_id"])
    assert named["response"] == {row["_recordId"] for row in both} - nobody
    events = [json.loads(line) for _, line in web_lines(sample.folder)]
    assert named["visitor"] <= {event["user_pseudo_id"] for event in events}
    assert named["login"] <= {event["user_id"] for event in events if "user_id" in event}
    assert len({event["user_id"] for event in events if "user_id" in event}) - len(named["login"]) <= 1


def test_a_linked_response_and_its_contact_are_one_person(sample: Sample) -> None:
    person = {
        (row["record_table"], row["source_id"]): row["true_person_id"] for row in sample.persons.iter_rows(named=True)
    }
    linked = [row for row in qualtrics(sample.folder, "relational") if row["externalDataReference"]]
    assert linked
    assert all(
        person["response", row["_recordId"]] == person["customer", row["externalDataReference"]] for row in linked
    )


def test_the_demo_has_the_size_that_is_promised() -> None:
    world = build_world(WorldConfig())
    rows = survey.survey_at(world, END)
    recent = rows.filter(survey.is_valid() & (pl.col("survey") == 0) & (survey.months("end_us") == "2026-10"))
    assert 1_900 <= crm.crm_tables(world, END)["contacts"].height <= 2_300
    assert 2_800 <= rows.height <= 3_300
    assert recent.height > 150


def test_bad_experience_lowers_the_score() -> None:
    world = build_world(WorldConfig(scale=3.0))
    cases = world.tickets.filter("bad").select("person", "solved_us")
    after = world.responses.join(cases, on="person").filter(
        (pl.col("start_us") - pl.col("solved_us")).is_between(0, 60 * 86_400_000_000)
    )
    assert after["latent"].mean() < world.responses["latent"].mean() - 1


def test_another_world_in_the_folder_is_refused(sample: Sample) -> None:
    with pytest.raises(SampleError, match="holds another world"):
        generate(sample.folder, **SMALL, seed=9)


def test_time_does_not_go_back(sample: Sample) -> None:
    with pytest.raises(SampleError, match="time cannot go back"):
        write_world(sample.folder, sample.config, sample.as_of - timedelta(days=1))


def test_the_world_ends(sample: Sample) -> None:
    with pytest.raises(SampleError, match="outside this world"):
        write_world(sample.folder, sample.config, END + timedelta(days=61))


def test_a_size_of_nothing_is_refused() -> None:
    with pytest.raises(SampleError, match="scale 0"):
        WorldConfig(scale=0)


def test_shipped_sources_are_valid() -> None:
    assert set(load_sources(SHIPPED_SOURCES)) == {"crm", "web", "survey", "support"}


def test_a_source_that_a_user_edited_is_kept(tmp_path: Path) -> None:
    said: list[str] = []
    assert len(copy_sources(tmp_path, said.append)) == 4
    assert copy_sources(tmp_path, said.append) == []
    (tmp_path / "web.yaml").write_text("source: mine\n", encoding="utf-8")
    (tmp_path / "crm.yaml").unlink()
    assert copy_sources(tmp_path, said.append) == ["crm.yaml"]
    assert (tmp_path / "web.yaml").read_text(encoding="utf-8") == "source: mine\n"
    assert len(said) == 1


def test_a_source_left_as_copied_is_brought_up_to_date(tmp_path: Path) -> None:
    copy_sources(tmp_path)
    old = b"source: web # of an earlier version\n"
    (tmp_path / "web.yaml").write_bytes(old)
    note = tmp_path / ".sample.json"
    copied = json.loads(note.read_text(encoding="utf-8"))
    note.write_text(json.dumps(copied | {"web.yaml": hashlib.sha256(old).hexdigest()}), encoding="utf-8")
    assert copy_sources(tmp_path) == ["web.yaml"]


def test_command_line_writes_and_plays_a_night(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path)]
    assert main([*home, "--scale", "0.1", "--days", "60"]) == 0
    assert "known up to 2026-10-31" in capsys.readouterr().out
    assert main([*home, "--nights", "1"]) == 0
    assert main([*home, "--until", "2026-11-03"]) == 0
    assert "known up to 2026-11-03" in capsys.readouterr().out
    assert (tmp_path / "sources" / "web.yaml").exists()
    assert main([*home, "--scale", "5"]) == 2
    assert "holds another world" in capsys.readouterr().err


def test_command_line_says_that_there_is_no_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--home", str(tmp_path), "--nights", "1"]) == 2
    assert "write one first" in capsys.readouterr().err
