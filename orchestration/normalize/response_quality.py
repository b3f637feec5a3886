"""How a response was given: too fast, in a straight line, by a robot, twice. Flags only; nothing is deleted.

Formulas: longest run of equal answers and intra-individual response variability (the sample standard deviation of a
respondent's ratings) after Meade & Craig 2012 and Dunn et al. 2018; the limits are ours and stand below.

Works on all responses of the surveys given: the median duration and a flood are facts of a survey, not of a row.
"""

from __future__ import annotations

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


def _batteries(answers: pl.LazyFrame, questions: pl.LazyFrame) -> pl.LazyFrame:
    """One row a response with ``is_straight_liner``, ``longest_string`` and ``response_variability``.

    A battery is the questions of one survey measured as ``rating`` on one scale, in the order they were declared. A
    response with several batteries is a straight-liner if it is one in any, and its variability is that of the
    battery with the most answers.
    """
    key = ["source", "survey_id", "question_id"]
    order = [name for name in ("load_id", "load_row") if name in questions.collect_schema().names()]
    items = (
        (questions.sort(order, maintain_order=True) if order else questions)
        .with_row_index("position")
        .filter(pl.col("metric") == "rating")
        .unique(key, keep="last", maintain_order=True)
        .select(*key, "position", "scale_min", "scale_max")
    )
    battery = ["response", "scale_min", "scale_max"]
    ratings = (
        answers.filter(pl.col("value_number").is_not_null())
        .join(items, on=key, how="inner")
        .select(*battery, "position", "value_number")
        .sort(*battery, "position", "value_number", nulls_last=False)
        .with_columns(
            is_new=(pl.struct(*battery, "value_number") != pl.struct(*battery, "value_number").shift(1)).fill_null(
                value=True
            )
        )
        .with_columns(run=pl.col("is_new").cum_sum())
        .with_columns(run_length=pl.len().over("run"))
    )
    return (
        ratings.group_by(battery)
        .agg(
            items=pl.len(),
            is_straight_liner=pl.col("value_number").n_unique() == 1,
            longest_string=pl.col("run_length").max().cast(pl.Int64()),
            # The last digits depend on the order in which threads add up; a night without news must not change them.
            response_variability=pl.col("value_number").std(ddof=1).round(9),
        )
        .filter(pl.col("items") >= MINIMUM_BATTERY)
        .sort("items", "scale_min", "scale_max", nulls_last=False)
        .group_by("response")
        .agg(
            pl.col("is_straight_liner").any(),
            pl.col("longest_string").max(),
            pl.col("response_variability").last(),
        )
    )


def _signatures(answers: pl.LazyFrame) -> pl.LazyFrame:
    """One row a response with a hash of its answers, whatever their order, and how many there are."""
    given = pl.coalesce(pl.col("value_number").cast(pl.String()), pl.col("value_text"))
    answer = pl.concat_str([pl.col("question_id"), pl.lit("="), given], ignore_nulls=True)
    return (
        answers.filter(given.is_not_null())
        .select("response", answer=answer.hash())
        .group_by("response")
        .agg(signature=pl.col("answer").sum(), answered=pl.len())
    )


def _floods(responses: pl.LazyFrame, group: list[str], *, counts: pl.Expr) -> pl.LazyFrame:
    """Numbers (``response``) of rows that count and lie in a flood.

    A flood is any ``FLOOD_SIZE`` rows of a group, one after another in time, within ``FLOOD_SECONDS``.
    """
    following = 1 - FLOOD_SIZE
    time, place = pl.col("answered_at"), pl.struct(group).rle_id()
    begins = (place == place.shift(following)) & (time.shift(following) - time <= pl.duration(seconds=FLOOD_SECONDS))
    return (
        responses.filter(counts)
        # Most stand alone: what is left is soon sorted.
        .filter(pl.len().over(group) >= FLOOD_SIZE)
        .sort(*group, "answered_at")
        .filter(pl.any_horizontal(begins.shift(offset) for offset in range(FLOOD_SIZE)))
        .select("response")
    )


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
    same_answers = [*survey, "user_agent", "signature"]
    same_address = [*survey, "ip_hash"]
    repeated = ["person", *survey, "signature"]
    # Numbers are several times cheaper to join, group and sort than the texts that name a response.
    numbered = responses.with_row_index("response")
    given = answers.join(numbered.select("response", *_ID), left_on=_ANSWER_OF, right_on=_ID, how="inner")
    measured = (
        numbered.join(_batteries(given, questions.lazy()), on="response", how="left")
        .join(_signatures(given), on="response", how="left")
        .with_columns(duration=duration, person=person)
        .sort("answered_at", *_ID, nulls_last=False)
    )
    floods = [
        _floods(measured, same_address, counts=pl.col("ip_hash").is_not_null()),
        _floods(
            measured, same_answers, counts=pl.col("user_agent").is_not_null() & (pl.col("answered") >= FLOOD_ANSWERS)
        ),
    ]
    flooding = pl.concat(floods).unique().with_columns(is_flooding=pl.lit(value=True))
    joined = (
        measured.join(flooding, on="response", how="left", maintain_order="left")
        .with_columns(median=pl.col("duration").median().over(survey))
        .with_columns(
            is_speeder=pl.col("duration") < SPEEDER_SHARE * pl.col("median"),
            is_bot=is_robot(pl.col("user_agent")).fill_null(value=False) | pl.col("is_flooding").is_not_null(),
            is_duplicate=(
                pl.col("person").is_not_null()
                & pl.col("signature").is_not_null()
                & (
                    pl.col("answered_at") - pl.col("answered_at").shift(1).over(repeated)
                    <= pl.duration(minutes=DUPLICATE_MINUTES)
                )
            ).fill_null(value=False),
        )
    )
    flags = [
        pl.col(name).fill_null(value=False) for name in ("is_speeder", "is_straight_liner", "is_bot", "is_duplicate")
    ]
    return joined.with_columns(is_kept=~pl.any_horizontal(flags)).select(
        pl.col(name).cast(dtype) for name, dtype in schema.items()
    )
