"""The streams ``surveys`` and ``questions``: what a source YAML declares, landed like data.

So a change of a declaration has a date, travels through the same gates, and a question taken out of the YAML is
marked as deleted and not forgotten. Does not belong here: the models of the declarations (``contracts.mapping``).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from orchestration.contracts.mapping import StrictModel, TableMapping
from orchestration.sources.config import QUESTIONS_STREAM, SURVEYS_STREAM, SourceConfig, StreamConfig
from orchestration.sources.kinds import Batch, Delivery, ReadRequest
from orchestration.sources.vanished import vanished_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "source_id"
_SURVEY_FIELDS = ("name", "survey_kind", "language")
_QUESTION_FIELDS = (
    "survey_id",
    "question_id",
    "survey_version",
    "question_text",
    "metric",
    "scale_min",
    "scale_max",
    "scale_direction",
    "missing_codes",
    "value_labels",
    "touchpoint_id",
    "stage_id",
    "dimension",
)


class DeclaredOrigin(StrictModel):
    """``from`` of a declared stream; never written in a YAML."""

    declared: Literal["surveys", "questions"]


def declared_streams(config: SourceConfig) -> dict[str, StreamConfig]:
    """The two streams that carry the source's ``surveys``."""
    return {
        SURVEYS_STREAM: _stream("surveys", "survey", _SURVEY_FIELDS),
        QUESTIONS_STREAM: _stream("questions", "question", _QUESTION_FIELDS),
    }


def survey_rows(config: SourceConfig) -> pl.DataFrame:
    """One row a survey, all text, with ``source_id`` the survey's id."""
    rows = [
        {KEY: survey, "name": entry.name, "survey_kind": entry.kind, "language": entry.language}
        for survey, entry in config.surveys.items()
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys((KEY, *_SURVEY_FIELDS), pl.String))


def question_rows(config: SourceConfig) -> pl.DataFrame:
    """One row a question, all text, with ``source_id`` ``<survey>:<version or ''>:<question>``."""
    rows: list[dict[str, Any]] = []
    for survey, entry in config.surveys.items():
        for question, item in entry.questions.items():
            rows.append(
                {
                    KEY: f"{survey}:{entry.version or ''}:{question}",
                    "survey_id": survey,
                    "question_id": question,
                    "survey_version": entry.version,
                    "question_text": item.text,
                    "metric": item.metric,
                    "scale_min": _number(item.scale.min) if item.scale else None,
                    "scale_max": _number(item.scale.max) if item.scale else None,
                    "scale_direction": item.scale.direction if item.scale else None,
                    "missing_codes": _json(item.missing),
                    "value_labels": _json(item.labels),
                    "touchpoint_id": item.touchpoint,
                    "stage_id": item.stage,
                    "dimension": item.dimension,
                }
            )
    return pl.DataFrame(rows, schema=dict.fromkeys((KEY, *_QUESTION_FIELDS), pl.String))


def read(request: ReadRequest) -> Delivery:
    """All declarations of the YAML, and the keys of those that were taken out of it."""
    rows = survey_rows(request.source) if request.stream == SURVEYS_STREAM else question_rows(request.source)
    delivery = Delivery(kind="declared", columns=tuple(rows.columns))

    def batches() -> Iterator[Batch]:
        yield Batch(rows)
        gone = vanished_rows(request, rows.select(KEY), max_share=1.0, may_be_empty=True)
        yield Batch(gone, is_final=True)

    delivery.batches = batches()
    return delivery


def _stream(name: Literal["surveys", "questions"], contract: str, fields: tuple[str, ...]) -> StreamConfig:
    return StreamConfig.model_validate(
        {
            "from": DeclaredOrigin(declared=name),
            "tables": {contract: TableMapping.model_validate({"fields": {field: field for field in fields}})},
            "primary_key": [KEY],
            "description": f"The {name} that the source's YAML declares.",
        }
    )


def _number(value: float) -> str:
    return f"{value:g}"


def _json(values: dict[str, Any]) -> str | None:
    return json.dumps(values, ensure_ascii=False, sort_keys=True) if values else None
