"""How a source's fields fill a contract: the part of a source YAML that extraction and normalising share.

Belongs here: the models of ``tables``, ``fields`` and ``surveys`` in a source YAML. Does not belong here:
where and how rows are read (``sources.config``).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from orchestration.contracts.survey import METRICS, MISSING_REASONS


class StrictModel(BaseModel):
    """A model that refuses unknown keys and cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class FieldMapping(StrictModel):
    """How one contract column is filled. ``email: email_addr`` is short for ``email: {from: email_addr}``.

    Exactly one of ``from`` and ``value`` is given. Steps run in this order: take ``from`` (several fields are
    joined by a blank), strip, null tokens to null, ``map``, ``default``, then the normalisation of the
    column's kind with ``format``, ``timezone``, ``day_first`` and ``region`` as hints.
    """

    source_field: str | list[str] | None = Field(default=None, alias="from")
    value: str | None = None
    map: dict[str, str | None] | None = None
    map_default: str | None = None
    default: str | None = None
    format: str | None = None
    timezone: str | None = None
    day_first: bool = False
    region: str | None = None
    unit: Literal["s", "ms", "us"] | None = None
    on_invalid: Literal["null", "reject"] | None = None
    pii: Literal["keep", "drop", "hmac"] = "keep"

    @model_validator(mode="after")
    def _one_origin(self) -> FieldMapping:
        if (self.source_field is None) == (self.value is None):
            raise ValueError("give exactly one of 'from' (a source field) and 'value' (a constant)")
        return self

    @property
    def source_fields(self) -> list[str]:
        """The source fields read, in order."""
        if self.source_field is None:
            return []
        return [self.source_field] if isinstance(self.source_field, str) else list(self.source_field)


class TableMapping(StrictModel):
    """How one stream fills one contract.

    Attributes:
        fields: Contract column to field mapping.
        primary_key: Source fields whose values, joined by ':', are ``source_id``; ``'content'`` makes rows of
            equal content one row; ``'position'`` keeps every line of every file. None takes the stream's.
        key_prefix: Constant put before ``source_id``, and before the ids that refer within the same stream.
        where: Source field to the values that are kept; a row with another value is left out, not rejected.
        attributes: Source fields kept as JSON in ``attributes``.
        survey: For ``answer``, ``response`` and ``comment``: the survey's id, when all rows belong to one.
        questions: For ``answer`` from a wide export: question id to the source field, one row each.
            A list of fields makes a multi-select question, one row an option that was chosen.
        texts: For ``comment`` from a wide export: question id (or any label) to the source field.
    """

    fields: dict[str, FieldMapping] = Field(default_factory=dict)
    primary_key: list[str] | Literal["content", "position"] | None = None
    key_prefix: str = ""
    where: dict[str, list[str]] = Field(default_factory=dict)
    attributes: list[str] = Field(default_factory=list)
    survey: str | None = None
    questions: dict[str, str | list[str]] = Field(default_factory=dict)
    texts: dict[str, str] = Field(default_factory=dict)

    @field_validator("fields", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: {"from": entry} if isinstance(entry, str | list) else entry for name, entry in value.items()}
        return value


class Scale(StrictModel):
    """The scale of a question; ``descending`` where the lowest point is the best."""

    min: float
    max: float
    direction: Literal["ascending", "descending"] = "ascending"


class QuestionDeclaration(StrictModel):
    """What a question is and what it is measured as. ``metric`` is never guessed."""

    metric: Literal["nps", "csat", "ces", "rating", "choice", "text", "none"]
    text: str | None = None
    scale: Scale | None = None
    missing: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, float] = Field(default_factory=dict)
    touchpoint: str | None = None
    stage: str | None = None
    dimension: str | None = None

    @model_validator(mode="after")
    def _scale_where_measured(self) -> QuestionDeclaration:
        assert self.metric in METRICS
        if self.metric in {"nps", "csat", "ces", "rating"} and self.scale is None:
            raise ValueError(f"metric {self.metric!r} needs a scale: {{min: …, max: …}}")
        if unknown := set(self.missing.values()) - set(MISSING_REASONS):
            raise ValueError(f"unknown missing reason {sorted(unknown)}; use one of {', '.join(MISSING_REASONS)}")
        return self


class SurveyDeclaration(StrictModel):
    """A survey with its questions, declared in the source's YAML; the key is the question id."""

    name: str
    kind: Literal["relational", "transactional"] = "relational"
    version: str | None = None
    language: str | None = None
    questions: dict[str, QuestionDeclaration]
