"""Flags on how responses were given, each with a case in which it is raised and one in which it is not."""

from datetime import datetime, timedelta
from itertools import groupby
from statistics import stdev

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.contracts import CONTRACTS
from orchestration.normalize.response_quality import (
    DUPLICATE_MINUTES,
    FLOOD_ANSWERS,
    FLOOD_SECONDS,
    FLOOD_SIZE,
    MINIMUM_BATTERY,
    flag_responses,
)

NOON = datetime(2026, 5, 1, 12)


def table(name, rows):
    schema = CONTRACTS[name].schema
    frame = pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame(schema=schema)
    return frame.select(
        pl.col(column).cast(dtype) if column in frame.columns else pl.lit(None, dtype=dtype).alias(column)
        for column, dtype in schema.items()
    ).lazy()


def response(number, **more):
    return {"source": "s", "source_id": f"r{number}", "survey_id": "v", "answered_at": NOON} | more


def answers_of(number, values, survey="v"):
    return [
        {
            "source": "s",
            "response_id": f"r{number}",
            "survey_id": survey,
            "question_id": f"q{at}",
            "value_number": value,
        }
        for at, value in enumerate(values)
    ]


def battery(count=5, **more):
    scale = {"source": "s", "survey_id": "v", "metric": "rating", "scale_min": 1.0, "scale_max": 5.0}
    return table("question", [scale | {"question_id": f"q{at}", "load_row": at} | more for at in range(count)])


def flags(responses, answers=(), questions=None):
    answers = list(answers) or answers_of("none", [1.0])
    declared = battery() if questions is None else questions
    result = flag_responses(table("response", responses), table("answer", answers), declared).collect()
    assert result.height == len(responses)
    return {row["source_id"]: row for row in result.to_dicts()}


def test_speeders_are_measured_within_their_survey_and_among_finished_responses():
    found = flags(
        [
            *(response(10 + number, duration_seconds=100.0) for number in range(5)),
            response(3, duration_seconds=39.0),
            response(4, duration_seconds=40.0),
            response(5, duration_seconds=3.0, status="partial"),
            response(6, duration_seconds=3.0, survey_id="other"),
            response(7, started_at=NOON - timedelta(seconds=20)),
            response(8, started_at=NOON + timedelta(seconds=20)),
        ]
    )
    assert {name: row["is_speeder"] for name, row in found.items() if len(name) == 2} == {
        "r3": True, "r4": False, "r5": None, "r6": False, "r7": True, "r8": None,
    }  # fmt: skip
    assert not found["r3"]["is_kept"]
    assert found["r5"]["is_kept"]


def test_a_short_battery_judges_nobody():
    found = flags([response(1), response(2)], [*answers_of(1, [3.0] * 3), *answers_of(2, [3.0] * 4)])
    assert (found["r1"]["is_straight_liner"], found["r1"]["longest_string"]) == (None, None)
    assert found["r1"]["response_variability"] is None
    assert (found["r2"]["is_straight_liner"], found["r2"]["longest_string"]) == (True, 4)
    assert found["r1"]["is_kept"]
    assert not found["r2"]["is_kept"]


def test_only_ratings_of_one_scale_form_a_battery():
    mixed = pl.concat([battery(3), battery(6, scale_max=10.0).tail(3)])
    found = flags([response(1)], answers_of(1, [5.0] * 6), mixed)
    assert found["r1"]["is_straight_liner"] is None
    other = flags([response(1)], answers_of(1, [5.0] * 5), battery(metric="csat"))
    assert other["r1"]["is_straight_liner"] is None


def test_the_longest_run_follows_the_order_of_the_questions_and_skips_missing_answers():
    answers = answers_of(1, [2.0, None, 2.0, 2.0, 5.0])
    assert flags([response(1)], answers[::-1])["r1"]["longest_string"] == 3
    assert flags([response(1)], answers_of(1, [2.0, 5.0, 2.0, 2.0, 5.0]))["r1"]["longest_string"] == 2


def test_variability_is_the_same_to_the_last_digit_in_whatever_order_answers_are_read():
    values = [1.0, 4.7, 2.1, 3.3, 4.9, 1.3]
    orders = [values[at:] + values[:at] for at in range(len(values))]
    found = flags(
        [response(number) for number in range(len(orders))],
        [answer for number, order in enumerate(orders) for answer in answers_of(number, order)],
        battery(len(values)),
    )
    assert len({row["response_variability"] for row in found.values()}) == 1


def test_robots_by_user_agent():
    found = flags([response(1, user_agent="HeadlessChrome/1"), response(2, user_agent="Chrome/1"), response(3)])
    assert [found[name]["is_bot"] for name in ("r1", "r2", "r3")] == [True, False, False]


def test_a_flood_from_one_address_is_scripted_and_a_slow_one_is_not():
    burst = [
        response(number, ip_hash="x", answered_at=NOON + timedelta(seconds=10 * number)) for number in range(FLOOD_SIZE)
    ]
    slow = [
        response(10 + number, ip_hash="y", answered_at=NOON + timedelta(minutes=number)) for number in range(FLOOD_SIZE)
    ]
    unknown = [response(20 + number) for number in range(FLOOD_SIZE)]
    found = flags([*burst, *slow, *unknown, response(30, ip_hash="x", answered_at=NOON + timedelta(hours=1))])
    assert {name for name, row in found.items() if row["is_bot"]} == {f"r{number}" for number in range(FLOOD_SIZE)}
    fewer = flags(burst[1:])
    assert not any(row["is_bot"] for row in fewer.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 400) | st.none()), min_size=1, max_size=40))
def test_floods_are_all_windows_of_one_address_that_are_short_enough(given_at):
    rows = [
        response(number, ip_hash=address, answered_at=None if second is None else NOON + timedelta(seconds=second))
        for number, (address, second) in enumerate(given_at)
    ]
    expected = set()
    for address in "xyz":
        times = sorted((at, number) for number, (ip, at) in enumerate(given_at) if ip == address and at is not None)
        for window in zip(*(times[offset:] for offset in range(FLOOD_SIZE)), strict=False):
            if window[-1][0] - window[0][0] <= FLOOD_SECONDS:
                # Of rows of one instant any may stand for another.
                expected |= {f"r{number}" for at, number in times if window[0][0] <= at <= window[-1][0]}
    assert {name for name, row in flags(rows).items() if row["is_bot"]} == expected


def test_a_flood_from_one_user_agent_needs_the_same_answers():
    seconds = FLOOD_SECONDS // (FLOOD_SIZE - 1)
    times = [NOON + timedelta(seconds=seconds * number) for number in range(FLOOD_SIZE)]
    crowd = [response(number, user_agent="ua", answered_at=at) for number, at in enumerate(times)]
    same = [answer for number in range(FLOOD_SIZE) for answer in answers_of(number, [1.0, 5.0, 2.0])]
    assert all(row["is_bot"] for row in flags(crowd, same).values())
    short = [answer for number in range(FLOOD_SIZE) for answer in answers_of(number, [1.0, 5.0])]
    assert not any(row["is_bot"] for row in flags(crowd, short).values())
    varied = [answer for number in range(FLOOD_SIZE) for answer in answers_of(number, [1.0, 5.0, float(number)])]
    assert not any(row["is_bot"] for row in flags(crowd, varied).values())


def test_duplicates_are_the_same_person_answers_and_survey_within_ten_minutes():
    later = {"answered_at": NOON + timedelta(minutes=9)}
    responses = [
        response(1, email="a@x.cn"),
        response(2, email="a@x.cn", **later),
        response(3, email="b@x.cn", **later),
        response(4, email="a@x.cn", answered_at=NOON + timedelta(minutes=30)),
        response(5, email="a@x.cn", survey_id="other", **later),
        response(6, email="a@x.cn", **later),
        response(7),
        response(8),
    ]
    answers = [answer for number in (1, 2, 3, 4, 7, 8) for answer in answers_of(number, [9.0])]
    answers += [*answers_of(5, [9.0], survey="other"), *answers_of(6, [3.0])]
    found = flags(responses, answers)
    assert {name for name, row in found.items() if row["is_duplicate"]} == {"r2"}
    assert not found["r2"]["is_kept"]


def test_two_answers_to_one_invitation_are_of_one_person():
    responses = [
        response(1, invitation_id="i1"),
        response(2, invitation_id="i1"),
        response(3, invitation_id="i2"),
        response(4, invitation_id="i1", source="other"),
    ]
    answers = [answer for number in (1, 2, 3) for answer in answers_of(number, [5.0])]
    answers += [answer | {"source": "other"} for answer in answers_of(4, [5.0])]
    assert {name for name, row in flags(responses, answers).items() if row["is_duplicate"]} == {"r2"}


def test_no_responses_give_no_flags():
    assert flags([]) == {}


AGENTS = st.sampled_from(["one", "two", None])
RESPONSES = st.lists(
    st.fixed_dictionaries(
        {
            "source": st.sampled_from("st"),
            "survey_id": st.sampled_from("vw"),
            "user_agent": AGENTS,
            "ip_hash": AGENTS,
            "email": st.sampled_from(["a@x.cn", "b@x.cn", None]),
            "second": st.integers(0, 90) | st.integers(0, 3000) | st.none(),
            "answers": st.lists(st.tuples(st.integers(0, 6), st.sampled_from([1.0, 2.0, None])), max_size=7),
        }
    ),
    max_size=30,
)
SCALES = st.lists(st.sampled_from([5.0, 7.0, None]), min_size=7, max_size=7)


def is_in_a_flood(row, rows):
    """Whether five rows, one of them ``row``, lie within the time of a flood."""
    times = sorted(other["second"] for other in rows if other["second"] is not None)
    windows = zip(times, times[FLOOD_SIZE - 1 :], strict=False)
    return row["second"] is not None and any(
        last - first <= FLOOD_SECONDS and first <= row["second"] <= last for first, last in windows
    )


def longest_run(row, scales):
    """Longest run and length over the batteries that are long enough."""
    found = []
    for scale in set(scales):
        values = [v for at, v in sorted((a, v) for a, v in row["answers"] if v is not None) if scales[at] == scale]
        runs = [len(list(group)) for _, group in groupby(values)]
        if len(values) >= MINIMUM_BATTERY:
            found.append((max(runs), len(values)))
    return found


@settings(max_examples=150, deadline=None)
@given(RESPONSES, SCALES)
def test_every_flag_is_what_looking_at_every_response_by_itself_gives(drawn, scales):
    rows = [row | {"source_id": f"r{number // 2}", "number": number} for number, row in enumerate(drawn)]
    rows = list({(row["source"], row["source_id"]): row for row in rows}.values())
    for row in rows:
        # A time of the same instant is told apart by the key.
        row["at"] = None if row["second"] is None else NOON + timedelta(seconds=row["second"])
        row["given"] = sorted((at, value) for at, value in row["answers"] if value is not None)
    answers = [
        {
            **{name: row[name] for name in ("source", "survey_id")},
            "response_id": row["source_id"],
            "question_id": f"q{at}",
            "value_number": value,
        }
        for row in rows
        for at, value in row["answers"]
    ]
    declared = [
        {"source": source, "survey_id": survey, "question_id": f"q{at}", "load_row": at, "scale_min": 1.0}
        | {"metric": "rating", "scale_max": scale}
        for source in "st"
        for survey in "vw"
        for at, scale in enumerate(scales)
    ]
    names = ("source", "source_id", "survey_id", "user_agent", "ip_hash", "email")
    responses = [{name: row[name] for name in names} | {"answered_at": row["at"]} for row in rows]
    tables = table("response", responses), table("answer", answers), table("question", declared)
    found = {(row["source"], row["source_id"]): row for row in flag_responses(*tables).collect().to_dicts()}
    assert len(found) == len(rows)
    for row in rows:
        seen = found[row["source"], row["source_id"]]
        near = [other for other in rows if all(other[name] == row[name] for name in ("source", "survey_id"))]
        same = [other for other in near if other["given"] == row["given"]]
        floods = row["ip_hash"] is not None and is_in_a_flood(
            row, [other for other in near if other["ip_hash"] == row["ip_hash"]]
        )
        floods |= (
            row["user_agent"] is not None
            and len(row["given"]) >= FLOOD_ANSWERS
            and is_in_a_flood(row, [other for other in same if other["user_agent"] == row["user_agent"]])
        )
        assert seen["is_bot"] == floods
        before = [
            other
            for other in same
            if row["given"] and row["email"] and row["at"] and other["email"] == row["email"] and other["at"]
            if timedelta(0) <= row["at"] - other["at"] <= timedelta(minutes=DUPLICATE_MINUTES)
            if (other["at"], other["source_id"]) < (row["at"], row["source_id"])
        ]
        assert seen["is_duplicate"] == bool(before)
        batteries = longest_run(row, scales)
        assert seen["longest_string"] == max((run for run, _ in batteries), default=None)
        expected = any(run == items for run, items in batteries) if batteries else None
        assert seen["is_straight_liner"] == expected
        # Two batteries take eight answers; no response has as many.
        of_scale = [[value for at, value in row["given"] if scales[at] == scale] for scale in set(scales)]
        variability = [stdev(values) for values in of_scale if len(values) >= MINIMUM_BATTERY]
        assert [seen["response_variability"]] == pytest.approx(variability or [None], abs=1e-9)
