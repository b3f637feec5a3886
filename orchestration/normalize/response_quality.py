"""How a response was given: too fast, in a straight line, by a robot, twice. Flags only; nothing is deleted.

Formulas: longest run of equal answers and intra-individual response variability (the sample standard deviation of a
respondent's ratings) after Meade & Craig 2012 and Dunn et al. 2018; the limits are ours and stand below.

Works on all responses of the surveys given: the median duration and a flood are facts of a survey, not of a row.
"""

from __future__ import annotations

import operator
from functools import reduce

import polars as pl

from orchestration.contracts import DERIVED
from orchestration.normalize.web import is_robot

SPEEDER_SHARE = 0.4
"""A response is a speeder below this share of its survey's median duration."""
MINIMUM_BATTERY = 4
"""Rating items of one scale that a response must have answered to be judged by them."""
FLOOD_SIZE = 5
FLOOD_SECONDS = 60
FLOOD_ANSWERS = 3
"""A flood: this many responses to one survey within so many seconds, from one IP address, or from one user agent with
the same answers, at least so many of them."""
DUPLICATE_MINUTES = 10

_ID = ("source", "source_id")
_ANSWER_OF = ("source", "response_id")
_HIGH = 2**32
"""Two numbers below this make one that sorts as they do: ``high * _HIGH + low``."""


def _batteries(answers: pl.LazyFrame, numbers: pl.LazyFrame, questions: pl.LazyFrame) -> pl.LazyFrame:
    """One row a response with ``is_straight_liner``, ``longest_string`` and ``response_variability``.

    A battery is the questions of one survey measured as ``rating`` on one scale, in the order they were declared. A
    response with several batteries is a straight-liner if it is one in any, and its variability is that of the
    battery with the most answers.
    """
    key = ["source", "survey_id", "question_id"]
    scale = ["scale_min", "scale_max"]
    order = [name for name in ("load_id", "load_row") if name in questions.collect_schema().names()]
    items = (
        (questions.sort(order, maintain_order=True) if order else questions)
        .with_row_index("position")
        .filter(pl.col("metric") == "rating")
        .unique(key, keep="last", maintain_order=True)
        .sort(*scale, "position", nulls_last=False)
        .with_columns(battery=pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1)) for name in scale))
        .select(*key, pl.col("battery").cum_sum().cast(pl.UInt64()), place=pl.int_range(pl.len(), dtype=pl.UInt64()))
    )
    response = pl.col("response").cast(pl.UInt64()) * _HIGH
    battery, value = pl.col("battery"), pl.col("value_number")
    # One number to sort by is several times cheaper than several keys, and so is one key after the other.
    ratings = (
        answers.filter(value.is_not_null())
        .join(items, on=key, how="inner")
        .join(numbers, left_on=_ANSWER_OF, right_on=_ID, how="inner")
        .select(battery=response + battery, place=response + pl.col("place"), value_number=value)
        .sort("value_number")
        .sort("place", maintain_order=True)
        .with_columns(run=(battery.ne_missing(battery.shift(1)) | value.ne_missing(value.shift(1))).cum_sum())
        .with_columns(run_length=pl.len().over("run"))
    )
    return (
        ratings.group_by("battery")
        .agg(
            items=pl.len(),
            longest_string=pl.col("run_length").max().cast(pl.Int64()),
            # The last digits depend on the order in which threads add up; a night without news must not change them.
            response_variability=value.std(ddof=1).round(9),
        )
        .filter(pl.col("items") >= MINIMUM_BATTERY)
        .sort("items", pl.col("battery") % _HIGH)
        .group_by(response=(pl.col("battery") // _HIGH).cast(pl.UInt32()))
        .agg(
            is_straight_liner=(pl.col("longest_string") == pl.col("items")).any(),
            longest_string=pl.col("longest_string").max(),
            response_variability=pl.col("response_variability").last(),
        )
    )


def _signatures(answers: pl.LazyFrame, numbers: pl.LazyFrame) -> pl.LazyFrame:
    """One row a response of ``numbers`` with a hash of its answers, whatever their order, and how many there are."""
    given = pl.coalesce(pl.col("value_number").cast(pl.String()), pl.col("value_text"))
    answer = pl.concat_str([pl.col("question_id"), pl.lit("="), given], ignore_nulls=True)
    return (
        answers.join(numbers, left_on=_ANSWER_OF, right_on=_ID, how="inner")
        .filter(given.is_not_null())
        .select("response", answer=answer.hash())
        .group_by("response")
        .agg(signature=pl.col("answer").sum(), answered=pl.len())
    )


def _close(responses: pl.LazyFrame, group: list[str], size: int, within: pl.Expr) -> pl.LazyFrame:
    """Rows that lie close together: any ``size`` of a group, one after another in time, within a duration.

    What lies close together in a group also does in a wider one, so that of the rows close in a wider group the same
    are found as of all.
    """
    # Groups whose hashes are equal are one wider group; numbers are several times cheaper to group and sort than texts.
    number = reduce(operator.xor, (pl.col(name).hash(seed) for seed, name in enumerate(group)))
    wide = (
        responses.select("response", "answered_at", group=number)
        .filter(pl.len().over("group") >= size)
        .sort("answered_at")
        .sort("group", maintain_order=True)
        .filter(_in_windows(pl.col("group"), size, within))
    )
    return (
        responses.join(wide, on="response", how="semi")
        .sort(*group, "answered_at")
        .filter(_in_windows(pl.struct(group).rle_id(), size, within))
    )


def _in_windows(group: pl.Expr, size: int, within: pl.Expr) -> pl.Expr:
    """Whether a row, sorted by ``group`` and time, is one of ``size`` of a group that lie within a duration."""
    time = pl.col("answered_at")
    begins = (group == group.shift(1 - size)) & (time.shift(1 - size) - time <= within)
    return pl.any_horizontal(begins.shift(offset) for offset in range(size))


def flag_responses(
    responses: pl.LazyFrame, answers: pl.LazyFrame, questions: pl.LazyFrame | pl.DataFrame
) -> pl.LazyFrame:
    """One row a response with its quality flags, in the columns of ``response_quality``.

    * ``is_speeder``: ``duration_seconds`` (or, where it is null, from ``started_at`` to ``answered_at``) below
      ``SPEEDER_SHARE`` of the median of the survey's finished responses; null where the duration is unknown or the
      response is not finished.
    * ``is_straight_liner``, ``longest_string``, ``response_variability``: over rating batteries of at least
      ``MINIMUM_BATTERY`` answered items; null without one.
    * ``is_bot``: a user agent that names a robot, or part of a scripted flood.
    * ``is_duplicate``: the same person (customer id, else e-mail, else phone, else invitation) gave the same answers to
      the same survey within ``DUPLICATE_MINUTES`` before; the first one is not flagged.
    * ``is_kept``: none of the flags.

    Args:
        responses: Rows of ``response``, without deleted ones.
        answers: Rows of ``answer``.
        questions: Rows of ``question``.
    """
    schema = DERIVED["response_quality"].schema
    is_finished = pl.col("status").is_null() | (pl.col("status") == "complete")
    clock = (pl.col("answered_at") - pl.col("started_at")).dt.total_microseconds() / 1e6
    duration = pl.when(is_finished).then(pl.coalesce(pl.col("duration_seconds"), pl.when(clock >= 0).then(clock)))
    person = pl.coalesce(
        pl.concat_str([pl.lit("id:"), pl.col("customer_source").fill_null(""), pl.lit(":"), pl.col("customer_id")]),
        pl.lit("email:") + pl.col("email"),
        pl.lit("phone:") + pl.col("phone"),
        pl.lit("invitation:") + pl.col("source") + pl.lit(":") + pl.col("invitation_id"),
    )
    survey = ["source", "survey_id"]
    repeated = ["person", *survey, "signature"]
    moment, minutes = pl.duration(seconds=FLOOD_SECONDS), pl.duration(minutes=DUPLICATE_MINUTES)
    # Numbers are several times cheaper to join, group and sort than the texts that name a response. What is used at
    # several places is read here, once: the planner would do the work again at each.
    measured = (
        responses.with_row_index("response")
        .select("response", *_ID, "survey_id", "answered_at", "user_agent", "ip_hash", duration=duration, person=person)
        .collect()
        .lazy()
    )
    numbers = measured.select("response", *_ID)
    # What was answered need be compared only where responses are close together.
    of_agent = _close(measured.filter(pl.col("user_agent").is_not_null()), [*survey, "user_agent"], FLOOD_SIZE, moment)
    of_person = _close(measured.filter(pl.col("person").is_not_null()), ["person", *survey], 2, minutes)
    compared = pl.concat([of_agent, of_person]).unique("response")
    compared = compared.collect().lazy()
    signed = _signatures(answers, compared.select("response", *_ID))
    compared = compared.join(signed, on="response", how="inner").collect().lazy()
    floods = [
        _close(measured.filter(pl.col("ip_hash").is_not_null()), [*survey, "ip_hash"], FLOOD_SIZE, moment),
        _close(
            compared.filter(pl.col("user_agent").is_not_null() & (pl.col("answered") >= FLOOD_ANSWERS)),
            [*survey, "user_agent", "signature"],
            FLOOD_SIZE,
            moment,
        ),
    ]
    flooding = (
        pl.concat(rows.select("response") for rows in floods).unique().with_columns(is_flooding=pl.lit(value=True))
    )
    duplicates = (
        compared.filter(pl.col("person").is_not_null())
        .sort("answered_at", *_ID, nulls_last=False)
        .filter(pl.col("answered_at") - pl.col("answered_at").shift(1).over(repeated) <= minutes)
        .select("response", is_duplicate=pl.lit(value=True))
    )
    joined = (
        measured.join(_batteries(answers, numbers, questions.lazy()), on="response", how="left")
        .join(flooding, on="response", how="left")
        .join(duplicates, on="response", how="left")
        .with_columns(
            is_speeder=pl.col("duration") < SPEEDER_SHARE * pl.col("duration").median().over(survey),
            is_bot=is_robot(pl.col("user_agent")).fill_null(value=False) | pl.col("is_flooding").is_not_null(),
            is_duplicate=pl.col("is_duplicate").is_not_null(),
        )
    )
    flags = [
        pl.col(name).fill_null(value=False) for name in ("is_speeder", "is_straight_liner", "is_bot", "is_duplicate")
    ]
    return joined.with_columns(is_kept=~pl.any_horizontal(flags)).select(
        pl.col(name).cast(dtype) for name, dtype in schema.items()
    )
