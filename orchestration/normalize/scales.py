"""Answers on a scale: labels and missing codes to numbers and reasons, validity, rescaling, reversing.

What a question is measured as and which scale it has comes from the question table and is never guessed.
Does not belong here: any metric over answers (dbt and ``statistics``).
"""

from __future__ import annotations

import json
import math
from typing import Any

import polars as pl

from orchestration.normalize.batches import VALUE
from orchestration.normalize.numbers import numbers

NOT_NUMERIC = "not_numeric"
NOT_INTEGER = "not_integer"
OUT_OF_RANGE = "out_of_range"
UNDECLARED_QUESTION = "undeclared_question"
BLANK = "blank"
NOT_ASKED = "not_asked"

WHOLE_METRICS = ("nps", "csat", "ces", "rating")
"""Metrics whose answers are points of a scale, hence whole numbers."""

QUESTION_SCHEMA: dict[str, pl.DataType] = {
    "survey_id": pl.String(),
    "question_id": pl.String(),
    "metric": pl.String(),
    "scale_min": pl.Float64(),
    "scale_max": pl.Float64(),
}
_CODE_SCHEMA: dict[str, pl.DataType] = {
    "survey_id": pl.String(),
    "question_id": pl.String(),
    "code": pl.String(),
    "code_reason": pl.String(),
    "code_number": pl.Float64(),
}


def rescaled(value: pl.Expr, minimum: float, maximum: float, new_minimum: float, new_maximum: float) -> pl.Expr:
    """``value`` of one scale on another by the straight line through both ends.

    Raises:
        ValueError: the old scale has no length.
    """
    if maximum <= minimum:
        raise ValueError(f"a scale needs max above min, not min {minimum} and max {maximum}")
    return new_minimum + (value - minimum) * (new_maximum - new_minimum) / (maximum - minimum)


def reversed_scale(value: pl.Expr, minimum: pl.Expr | float, maximum: pl.Expr | float) -> pl.Expr:
    """``value`` mirrored on its scale, ``min + max - value``: the lowest point becomes the highest."""
    return minimum + maximum - value


def _code(expression: pl.Expr) -> pl.Expr:
    """A code or label as it is compared: no case or outer blanks, ``11.0`` as ``11``."""
    return (
        expression.str.normalize("NFKC")
        .str.strip_chars()
        .str.to_lowercase()
        .str.replace_all(r"\s+", " ")
        .str.replace(r"^([+-]?\d+)\.0+$", "${1}")
    )


def _entries(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    loaded = json.loads(text)
    return loaded if isinstance(loaded, dict) else {}


def declared_questions(questions: pl.DataFrame | None, source: str | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The question table ready for joining.

    Args:
        questions: Rows of the ``question`` contract, or None; rows of other sources and deleted ones are left out.
            Of several survey versions that declare one question the last counts.
        source: Source whose answers are to be read.

    Returns:
        Questions, one row a ``(survey_id, question_id)``, and codes, one row a missing code or label of a question.
    """
    if questions is None:
        return pl.DataFrame(schema=QUESTION_SCHEMA), pl.DataFrame(schema=_CODE_SCHEMA)
    if "is_deleted" in questions.columns:
        questions = questions.filter(~pl.col("is_deleted").fill_null(value=False))
    if source is not None and "source" in questions.columns:
        questions = questions.filter(pl.col("source") == source)
    order = [name for name in ("survey_version", "load_id", "load_row") if name in questions.columns]
    if order:
        questions = questions.sort(order, nulls_last=False, maintain_order=True)
    questions = questions.unique(["survey_id", "question_id"], keep="last", maintain_order=True)
    optional = {"missing_codes": pl.String(), "value_labels": pl.String()}
    questions = questions.with_columns(
        pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in (QUESTION_SCHEMA | optional).items()
        if name not in questions.columns
    )
    rows: list[tuple[str, str, str, str | None, float | None]] = []
    for question in questions.iter_rows(named=True):
        ids = (question["survey_id"], question["question_id"])
        labels = {
            label: float(number)
            for label, number in _entries(question["value_labels"]).items()
            if isinstance(number, int | float | str) and _is_number(number)
        }
        rows.extend((*ids, label, None, number) for label, number in labels.items())
        # A code declared both ways is a missing code: rows that come later win below.
        rows.extend((*ids, code, str(reason), None) for code, reason in _entries(question["missing_codes"]).items())
    codes = (
        pl.DataFrame(rows, schema=_CODE_SCHEMA, orient="row")
        .with_columns(_code(pl.col("code")))
        .unique(["survey_id", "question_id", "code"], keep="last", maintain_order=True)
    )
    return questions.select(pl.col(name).cast(dtype) for name, dtype in QUESTION_SCHEMA.items()), codes


def _is_number(value: float | str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def read_answers(
    answers: pl.LazyFrame, questions: pl.DataFrame | None, source: str | None = None, prefix: str = ""
) -> pl.LazyFrame:
    """Add what each answer means on its question's scale.

    In this order: a blank answer is missing (``blank``); a missing code is missing for its reason; a label becomes
    its number; anything else must be a number (``not_numeric``), whole for the metrics in ``WHOLE_METRICS``
    (``not_integer``) and within the scale (``out_of_range``). Questions measured as ``text``, ``choice`` or ``none``
    need no number; the text of ``text`` is a comment and is not repeated here.

    Args:
        answers: ``survey_id``, ``question_id``, ``answer_text`` (null where blank) and any other columns.
        questions: Rows of the ``question`` contract; see ``declared_questions``.
        source: Source whose answers these are.
        prefix: Put before the name of each column read or added, to keep clear of the other columns.

    Returns:
        ``answers`` with ``value_text``, ``value_number``, ``missing_reason`` and ``reject_reason`` (null where the
        answer is valid or missing).
    """
    declared, codes = (
        frame.lazy().rename(lambda name: prefix + name) for frame in declared_questions(questions, source)
    )

    def column(name: str) -> pl.Expr:
        return pl.col(prefix + name)

    text, metric = column("answer_text"), column("metric")
    question = [prefix + "survey_id", prefix + "question_id"]
    joined = (
        answers.with_columns(_code(text).alias(prefix + "code"), numbers(text).alias(prefix + "read"))
        .join(declared, on=question, how="left", maintain_order="left")
        .join(codes, on=[*question, prefix + "code"], how="left", maintain_order="left")
    )
    is_scored = metric.is_in(list(WHOLE_METRICS))
    is_missing = text.is_null() | column("code_reason").is_not_null()
    point = pl.coalesce(column("code_number"), column("read").struct.field(VALUE))
    reason = (
        pl.when(metric.is_null())
        .then(pl.lit(UNDECLARED_QUESTION))
        .when(is_missing | ~is_scored)
        .then(None)
        .when(point.is_null())
        .then(pl.lit(NOT_NUMERIC))
        .when(point != point.round())
        .then(pl.lit(NOT_INTEGER))
        .when((point < column("scale_min")) | (point > column("scale_max")))
        .then(pl.lit(OUT_OF_RANGE))
    )
    value = (
        pl.when(is_missing | metric.is_null() | (metric == "text"))
        .then(None)
        .when(metric == "choice")
        .then(column("code_number"))
        .otherwise(point)
    )
    added = {
        "value_text": pl.when(metric.is_not_null() & (metric != "text")).then(text),
        "value_number": value,
        "missing_reason": pl.when(text.is_null()).then(pl.lit(BLANK)).otherwise(column("code_reason")),
        "reject_reason": reason,
    }
    helpers = ("code", "read", "metric", "scale_min", "scale_max", "code_reason", "code_number")
    return joined.with_columns(expression.alias(prefix + name) for name, expression in added.items()).drop(
        [prefix + name for name in helpers]
    )


__all__ = [
    "BLANK",
    "NOT_ASKED",
    "NOT_INTEGER",
    "NOT_NUMERIC",
    "OUT_OF_RANGE",
    "UNDECLARED_QUESTION",
    "WHOLE_METRICS",
    "declared_questions",
    "read_answers",
    "rescaled",
    "reversed_scale",
]
