"""Answers made anew response by response equal those made at once, and no response is made anew without need."""

import random
import shutil
from datetime import datetime, timedelta

import pytest

from orchestration.contracts import CONTRACTS
from tests.golden.increments import Area, Nights

ANSWER = CONTRACTS["answer"]
ANSWERS = Area(
    contract=ANSWER,
    models=("+int_answer_built",),
    scope="int_answer_scope",
    touched="int_response_touched",
    built="int_answer_built",
    tables=(
        "warehouse.intermediate.int_answer_scored",
        "warehouse.intermediate.int_nps_vote_latest",
        "marts.main.fct_answer",
        "marts.main.fct_response",
    ),
)
NOON = datetime(2026, 5, 1, 4)


def answer(response, question, value, **values):
    return {
        "source_id": f"{response}/{question}",
        "response_id": response,
        "survey_id": "v",
        "question_id": question,
        "answered_at": NOON,
        "value_number": value,
        **values,
    }


def respond(nights, *numbers, **values):
    """Responses ``r<number>`` as they are now, of persons ``p<number>``."""
    rows = [
        {"source": "w", "source_id": f"r{number}", "load_row": number, "survey_id": "v", "answered_at": NOON, **values}
        for number in numbers
    ]
    nights.warehouse.write("response", rows)
    belong(nights, **{f"r{number}": f"p{number}" for number in numbers})


def belong(nights, **persons):
    """Whose a response is."""
    rows = [
        {"record_table": "response", "source": "w", "source_id": name, "person_id": person, "first_extracted_at": NOON}
        for name, person in persons.items()
    ]
    nights.warehouse.write("person_record", rows)


def ask(nights, **scale):
    """The questions: one vote, one rating on ``scale``."""
    of_survey = {"source": "w", "survey_id": "v"}
    rating = {"question_id": "ease", "metric": "rating", "scale_min": 1, "scale_max": 5, **scale}
    vote = {"question_id": "ltr", "metric": "nps", "scale_min": 0, "scale_max": 10}
    nights.warehouse.write("question", [of_survey | vote, of_survey | rating])


@pytest.fixture(scope="module")
def first_night(new_warehouse):
    """Three responses with two answers each, built."""
    nights = Nights(ANSWERS, new_warehouse)
    ask(nights)
    respond(nights, 0, 1, 2)
    nights.merge(*(answer(f"r{number}", question, number + 3) for number in range(3) for question in ("ltr", "ease")))
    assert nights.build() == ("all", 0)
    return nights


@pytest.fixture
def nights(first_night, new_warehouse):
    return Nights(ANSWERS, new_warehouse, like=first_night)


def test_only_touched_responses_are_made_anew(nights):
    assert nights.build() == ("touched", 0)
    nights.merge(answer("r1", "ltr", 9))
    assert nights.build() == ("touched", 1)
    assert nights.tables() == nights.at_once()


def test_an_answer_delivered_again_takes_the_load_that_brought_it(nights):
    nights.merge(answer("r1", "ltr", 4))
    assert nights.build() == ("touched", 1)
    loads = nights.warehouse.rows("SELECT question_id, load_id FROM marts.fct_answer WHERE source_id LIKE 'r1/%'")
    assert {row["question_id"]: row["load_id"] for row in loads} == {"ltr": "l2", "ease": "l1"}
    assert nights.tables() == nights.at_once()


def test_answers_that_went_are_gone(nights):
    gone = nights.merge({**answer("r1", "ltr", None), "is_deleted": True})
    assert gone.deleted == 1
    assert nights.build() == ("touched", 1)
    assert nights.warehouse.row("SELECT count(*) AS n FROM marts.fct_answer")["n"] == 5
    assert nights.tables() == nights.at_once()


@pytest.mark.parametrize("change", ["response came", "response went", "other person", "other segment", "not counted"])
def test_what_an_answer_takes_from_its_response_touches_it(nights, change):
    nights.merge(answer("r3", "ltr", 9))
    # An answer whose response is not there yet is nobody's.
    assert nights.build() == ("touched", 0)
    match change:
        case "response came":
            respond(nights, 0, 1, 2, 3)
        case "response went":
            respond(nights, 0, 2)
        case "other person":
            belong(nights, r0="p0", r1="p7", r2="p2")
        case "other segment":
            respond(nights, 0, 1, 2, segment="b2b")
        case "not counted":
            nights.warehouse.write(
                "response_quality", [{"source": "w", "source_id": "r1", "is_bot": True, "is_kept": False}]
            )
    assert nights.build() == ("touched", 3 if change == "other segment" else 1)
    assert nights.tables() == nights.at_once()


def test_a_response_whose_language_alone_changed_is_published_so(nights):
    respond(nights, 0, 1, 2, language="fr")
    assert nights.build() == ("touched", 3)
    assert nights.tables() == nights.at_once()


def test_a_vote_that_counts_again_comes_back(nights):
    """Of two votes of a day the later counts; where it went, or is somebody else's now, the one before does."""
    belong(nights, r0="p0", r1="p0", r2="p2")
    assert nights.build() == ("touched", 1)
    assert nights.tables() == nights.at_once()
    gone = nights.merge({**answer("r1", "ltr", None), "is_deleted": True})
    assert gone.deleted == 1
    assert nights.build() == ("touched", 1)
    assert nights.warehouse.row("SELECT count(*) AS n FROM warehouse.intermediate.int_nps_vote_latest")["n"] == 2
    assert nights.tables() == nights.at_once()


@pytest.mark.parametrize("cause", ["question", "asked"])
def test_a_build_of_everything_that_failed_is_not_built_upon_when_its_cause_is_gone(nights, cause):
    """It listed nobody, so that nothing else says whom it made otherwise."""
    belong(nights, r0="p0", r1="p7", r2="p2")
    if cause == "question":
        ask(nights, scale_direction="descending")
    select = ("--resource-type", "model", "seed", "--select", "+int_answer_scored", "+fct_response")
    nights.warehouse.build(*select, *(["--full-refresh"] if cause == "asked" else []))
    respond(nights, 0, 1, 2)
    ask(nights)
    assert nights.build() == ("all", 0)
    assert nights.tables() == nights.at_once()
    assert nights.build() == ("touched", 0)


def test_one_table_made_anew_by_hand_is_whole(nights):
    nights.merge(answer("r1", "ltr", 9))
    assert nights.build() == ("touched", 1)
    nights.warehouse.build("--resource-type", "model", "--select", "fct_response", "--full-refresh")
    with nights.warehouse.connect(read_only=False) as connection:
        connection.execute("DROP TABLE warehouse.intermediate.int_nps_vote_latest")
    nights.warehouse.build("--resource-type", "model", "--select", "int_nps_vote_latest")
    assert nights.tables() == nights.at_once()


@pytest.mark.parametrize("last", ["int_answer_scored", "int_nps_vote_latest"])
def test_a_response_that_changes_back_behind_a_build_that_failed_takes_its_answers_along(nights, last):
    belong(nights, r0="p0", r1="p7", r2="p2")
    nights.warehouse.build("--resource-type", "model", "seed", "--select", f"+{last}")
    respond(nights, 0, 1, 2)
    assert nights.build() == ("touched", 1)
    assert nights.tables() == nights.at_once()
    assert nights.build() == ("touched", 0)


@pytest.mark.parametrize("reason", ["restored", "forgotten", "question", "dropped", "asked"])
def test_everything_is_made_anew_where_the_last_build_cannot_be_built_upon(nights, reason):
    arguments = []
    backup = nights.warehouse.home / "backup"
    shutil.copytree(nights.store.folder(ANSWER), backup)
    nights.merge(answer("r1", "ltr", 9))
    match reason:
        case "restored":
            # Built on a change that the restored table never saw, although it has come as far meanwhile.
            nights.build()
            shutil.rmtree(nights.store.folder(ANSWER))
            shutil.copytree(backup, nights.store.folder(ANSWER))
            nights.merge(answer("r2", "ltr", 9))
        case "forgotten":
            nights.store.forget_touched(ANSWER, nights.store.sequence(ANSWER))
        case "question":
            ask(nights, scale_direction="descending")
        case "dropped":
            with nights.warehouse.connect(read_only=False) as connection:
                connection.execute("DROP TABLE marts.fct_answer")
        case "asked":
            arguments = ["--full-refresh"]
    assert nights.build(*arguments) == ("all", 0)
    assert nights.tables() == nights.at_once()


def test_a_build_that_failed_on_the_way_is_not_built_upon(nights):
    nights.merge(answer("r1", "ltr", 9))
    # The answers are scored, nothing behind them.
    nights.warehouse.build("--resource-type", "model", "seed", "--select", "+int_answer_scored")
    nights.merge(answer("r2", "ltr", 9))
    assert nights.build() == ("touched", 2)
    assert nights.tables() == nights.at_once()


@pytest.mark.parametrize("seed", range(2))
def test_drawn_nights_equal_one_build(new_warehouse, seed):
    draw = random.Random(seed)
    nights = Nights(ANSWERS, new_warehouse)
    ask(nights)
    for _ in range(5):
        nights.merge(
            *(
                answer(
                    f"r{draw.randrange(6)}",
                    draw.choice(["ltr", "ease", "unknown"]),
                    draw.choice([None, 0, 3, 5, 10, 11]),
                    updated_at=datetime(2026, 6, draw.randrange(1, 20)),
                    is_deleted=draw.random() < 0.15,
                )
                for _ in range(8)
            )
        )
        there = draw.sample(range(6), draw.randrange(1, 6))
        respond(nights, *there, answered_at=NOON + timedelta(hours=draw.choice([0, 0, 13])))
        belong(nights, **{f"r{number}": f"p{draw.randrange(3)}" for number in there})
        if draw.random() < 0.2:
            ask(nights, scale_max=draw.choice([5, 11]))
        nights.build()
    assert nights.tables() == nights.at_once()
