"""From an answer to rows of text: JSON read without losing a digit, objects made flat, lists made rows or columns.

Pure functions. Does not belong here: how the answer was had (``client``), CSV (``reader`` hands it to ``files``).
"""

from __future__ import annotations

import base64
import binascii
import functools
import itertools
import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import jmespath
import polars as pl
from jmespath import functions as _jmespath_functions
from jmespath.visitor import TreeInterpreter

from orchestration.sources.errors import one_line
from orchestration.sources.http.config import Records

MAX_COLUMNS = 3_000
"""More columns than this come of objects whose keys are data; they are to be kept as JSON."""


class RecordsError(ValueError):
    """An answer in which the records are not where they were declared; the message says what is there."""


class Number(str):
    """A JSON number, as the text it was sent as; the larger of two is the one of the larger value."""

    __slots__ = ()

    def __lt__(self, other: object) -> bool:
        return _compared(operator.lt, self, other)

    def __gt__(self, other: object) -> bool:
        return _compared(operator.gt, self, other)


class _Interpreter(TreeInterpreter):
    """JMESPath whose comparisons take the numbers of an answer, which are texts here, for the numbers they are."""

    def visit_comparator(self, node: Mapping[str, Any], value: Any) -> Any:
        one, two = (self.visit(child, value) for child in node["children"])
        compare = self.COMPARATOR_FUNC[node["value"]]
        if not {type(one), type(two)} & {Number, int, float}:
            is_ordered = isinstance(one, str) and isinstance(two, str)
            return compare(one, two) if is_ordered or node["value"] in {"eq", "ne"} else None
        numbers = _decimal(one), _decimal(two)
        if None not in numbers:
            return compare(*numbers)
        return {"eq": False, "ne": True}.get(node["value"])


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _compared(compare: Any, one: str, two: object) -> bool:
    numbers = _decimal(one), _decimal(two)
    return bool(compare(*numbers) if None not in numbers else compare(str(one), str(two)))


_FLAT = frozenset({str, Number, type(None)})


# JMESPath's own functions (join, length, to_number, …) know types by their names.
_jmespath_functions.TYPES_MAP["Number"] = "string"
_jmespath_functions.REVERSE_TYPES_MAP["string"] = (*_jmespath_functions.REVERSE_TYPES_MAP["string"], "Number")


def read_json(content: bytes | str) -> Any:
    """JSON as Python values; numbers are ``Number``.

    Raises:
        ValueError: it is no JSON.
    """
    return json.loads(content, parse_int=Number, parse_float=Number, parse_constant=Number)


def json_text(value: Any) -> str:
    """A value of ``read_json`` as JSON, its numbers as they were sent."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, list):
        return f"[{','.join(map(json_text, value))}]"
    if isinstance(value, dict):
        return (
            "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{json_text(v)}" for name, v in value.items()) + "}"
        )
    return json.dumps(value, ensure_ascii=False)


def as_text(value: Any) -> str | None:
    """A value of ``read_json`` as landed: null is None, Booleans ``true`` and ``false``, lists and objects JSON."""
    if value is None:
        return None
    if isinstance(value, str):
        return str(value)
    return json_text(value)


def find(expression: str | None, document: Any) -> Any:
    """What a JMESPath expression gives in ``document``; the document itself without one.

    Raises:
        RecordsError: a function of the expression cannot take what it is given.
    """
    if expression is None:
        return document
    try:
        return _INTERPRETER.visit(_compiled(expression), document)
    except jmespath.exceptions.JMESPathError as error:
        raise RecordsError(f"{expression!r} cannot be looked up ({one_line(error, 200)})") from error


def says_yes(value: Any) -> bool:
    """Whether a value means that something is so: not null, false, 0, ``no``, ``end`` or empty."""
    text = as_text(value)
    return text is not None and text.strip().lower() not in {"", "false", "0", "no", "null", "none", "[]", "{}"}


def locate(document: Any, records: Records) -> list[dict[str, Any]]:
    """The records of a JSON answer, each as an object.

    Raises:
        RecordsError: there is no list at ``records.path``, or its entries are no records.
    """
    found = find(records.inner if records.is_inside else records.path, document)
    place = (records.inner if records.is_inside else records.path) or "the answer"
    if found is None:
        if records.may_be_absent:
            return []
        there = f"; it holds {', '.join(map(repr, list(document)[:15]))}" if isinstance(document, dict) else ""
        raise RecordsError(f"the answer has nothing at records.path {place!r}{there}")
    if records.keyed_by is not None:
        if not isinstance(found, dict):
            raise RecordsError(f"{place!r} is no object, so its records have no keys for {records.keyed_by!r}")
        return [{records.keyed_by: key, **_object(entry, place)} for key, entry in found.items()]
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list):
        raise RecordsError(f"{place!r} holds {as_text(found)!r:.80}, where a list of records was expected")
    if records.columns is not None:
        names = find(records.columns, document)
        if not isinstance(names, list):
            raise RecordsError(f"records.columns: the answer has no list of names at {records.columns!r}")
        return [_named([str(as_text(name)) for name in names], values, place) for values in found]
    return [_object(entry, place) for entry in found]


def rows(
    found: Sequence[dict[str, Any]], records: Records, known: Mapping[str, Any] | None = None
) -> Iterator[dict[str, str | None]]:
    """Flat rows of records, in their order: exploded, picked, pivoted, then made flat.

    Args:
        found: What ``locate`` gives.
        records: How a record becomes rows.
        known: ``_parent`` and ``_each``, for ``pick``.
    """
    known = known or {}
    keep = frozenset(records.keep_json)
    booleans = frozenset(records.booleans)
    segments = records.explode.split(".") if records.explode else []
    for given in found:
        record = _untyped(given) if records.typed else given
        for exploded in _exploded(record, segments) if segments else (record,):
            if records.pick:
                picked = picks({**exploded, **known}, records)
                exploded = {**exploded, **picked}  # noqa: PLW2901 - the row with its picked columns
            for path, pivot in records.pivot.items():
                exploded = _replaced(exploded, path.split("."), pivot.name, pivot.value)  # noqa: PLW2901
            flat: dict[str, str | None] = {}
            _flatten(exploded, "", flat, keep)
            if records.false_is_null:
                _false_to_null(exploded, flat, booleans)
            yield flat


def flat_rows(
    found: Sequence[dict[str, Any]], records: Records, known: Mapping[str, Any] | None = None
) -> list[dict[str, str | None]]:
    """``rows`` as a list; records that are flat already are taken as they are."""
    is_as_it_comes = not (records.typed or records.explode or records.pick or records.pivot or records.false_is_null)
    if is_as_it_comes and _FLAT.issuperset(map(type, itertools.chain.from_iterable(map(dict.values, found)))):
        return list(found)
    return list(rows(found, records, known))


def picks(record: Mapping[str, Any], records: Records) -> dict[str, Any]:
    """The values of ``records.pick`` in one record."""
    return {name: find(path, record) for name, path in records.pick.items()}


def frame(flat: Sequence[Mapping[str, str | None]], constants: Mapping[str, str | None] | None = None) -> pl.DataFrame:
    """Rows as a frame of text columns in the order they are first met, with ``constants`` in every row.

    Raises:
        RecordsError: there are more than ``MAX_COLUMNS`` columns.
    """
    names = list(dict.fromkeys(itertools.chain.from_iterable(flat)))
    if len(names) > MAX_COLUMNS:
        raise RecordsError(
            f"the records have {len(names)} different fields, such as {names[-1]!r}: objects whose keys are data; name "
            "them in records.keep_json (or records.pivot)"
        )
    columns = {name: pl.Series(name, [row.get(name) for row in flat], dtype=pl.String) for name in names}
    for name, value in (constants or {}).items():
        columns[name] = pl.Series(name, [value] * len(flat), dtype=pl.String)
    return pl.DataFrame(columns)


def decoded(document: Any, records: Records) -> bytes:
    """What the text at ``records.path`` holds, in base64 or as it is.

    Raises:
        RecordsError: there is no such text.
    """
    text = find(records.path, document)
    if not isinstance(text, str):
        raise RecordsError(f"the answer has no text at records.path {records.path!r}, but {json_text(text):.120}")
    if records.text:
        return text.encode(records.encoding, "backslashreplace")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RecordsError(f"the text at records.path {records.path!r} is no base64 ({error})") from error


def _untyped(value: Any) -> Any:
    """Objects that say their Python class, as the text of the value that they are."""
    if isinstance(value, list):
        return [_untyped(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    at = {
        name: int(given) for name, given in value.items() if isinstance(given, Number) and given.lstrip("-").isdigit()
    }
    match value.get("__class__"):
        case "datetime" | "date" | "time" as kind:
            day = "{:04d}-{:02d}-{:02d}".format(*(at.get(name, 0) for name in ("year", "month", "day")))
            hour = "{:02d}:{:02d}:{:02d}".format(*(at.get(name, 0) for name in ("hour", "minute", "second")))
            fraction = f".{at['microsecond']:06d}" if at.get("microsecond") else ""
            return {"date": day, "time": f"{hour}{fraction}", "datetime": f"{day}T{hour}{fraction}"}[kind]
        case "timedelta":
            return as_text(value.get("seconds"))
        case "Decimal":
            return as_text(value.get("decimal"))
        case "bytes":
            return as_text(value.get("base64"))
    return {name: _untyped(entry) for name, entry in value.items()}


def _exploded(record: dict[str, Any], segments: Sequence[str]) -> Iterator[dict[str, Any]]:
    head, *rest = segments
    value = record.get(head)
    if isinstance(value, dict) and rest:
        for inner in _exploded(value, rest):
            yield {**record, head: inner}
    elif isinstance(value, list):
        for entry in value:
            if not rest:
                yield {**record, head: entry}
            elif isinstance(entry, dict):
                for inner in _exploded(entry, rest):
                    yield {**record, head: inner}


def _replaced(record: dict[str, Any], path: Sequence[str], name: str, value: str) -> dict[str, Any]:
    """The record with the list at ``path`` as an object of name to value."""
    head, *rest = path
    inner = record.get(head)
    if rest:
        return {**record, head: _replaced(inner, rest, name, value)} if isinstance(inner, dict) else record
    if not isinstance(inner, list):
        return record
    wide: dict[str, Any] = {}
    for entry in inner:
        key, given = as_text(find(name, entry)), find(value, entry)
        if key is None:
            continue
        if isinstance(given, list):
            given = {str(number): each for number, each in enumerate(given, 1)}
        if wide.get(key) is None:
            wide[key] = given
    return {**record, head: wide}


def _flatten(record: Mapping[str, Any], prefix: str, into: dict[str, str | None], keep: frozenset[str]) -> None:
    for key, value in record.items():
        name = prefix + key
        if value is None or isinstance(value, str):
            into[name] = value
        elif value is True or value is False:
            into[name] = "true" if value else "false"
        elif isinstance(value, dict) and name not in keep:
            if value:
                _flatten(value, f"{name}.", into, keep)
            else:
                into[name] = None
        else:
            into[name] = json_text(value)


def _false_to_null(record: Mapping[str, Any], flat: dict[str, str | None], booleans: frozenset[str]) -> None:
    for name, value in record.items():
        if value is False and name not in booleans:
            flat[name] = None


def _object(entry: Any, place: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        at = "" if place == "the answer" else place.removesuffix("[]")
        raise RecordsError(
            f"{place!r} holds {json_text(entry)!r:.80} where a record was expected; for records that are lists of "
            f"values give records.columns; for values alone make records of them: records.path '{at}[].{{id: @}}'"
        )
    return entry


def _named(names: Sequence[str], values: Any, place: str) -> dict[str, Any]:
    if not isinstance(values, list) or len(values) != len(names):
        raise RecordsError(f"{place!r} holds {json_text(values)!r:.80}, which are not {len(names)} values")
    return dict(zip(names, values, strict=True))


@functools.lru_cache(1024)
def _compiled(expression: str) -> Any:
    return jmespath.compile(expression).parsed


_INTERPRETER = _Interpreter()
