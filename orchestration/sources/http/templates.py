"""Templates of requests: Jinja in a sandbox, with times as ISO 8601 and the few filters that APIs ask for.

Variables: ``window.start`` and ``window.end`` (times, or the numbers of a numeric cursor; ``window.start`` is nothing
for everything), ``page.token``, ``page.number``, ``page.offset``, ``page.size``, ``last.<field>``, ``each.<name>``,
``parent.<name>``, ``session.<name>``, ``export.<name>``, ``secrets.<name>`` (a login alone), ``now``.

Does not belong here: what a request is made of (``config``) and how it is sent (``client``).
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import SandboxedEnvironment

from orchestration.sources.config import read_duration
from orchestration.sources.errors import suggest

VARIABLES = ("window", "page", "last", "each", "parent", "session", "export", "secrets", "now")


class TemplateError(ValueError):
    """A template that cannot be filled."""


def iso(value: Any) -> Any:
    """A time as ISO 8601 in UTC with ``Z``, in whole seconds where it has no fraction; anything else as it is."""
    if not isinstance(value, datetime):
        return value
    moment = value.astimezone(UTC)
    return moment.isoformat(timespec="microseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")


def _date(value: datetime, pattern: str = "%Y-%m-%d", timezone: str = "UTC") -> str:
    return _time(value).astimezone(ZoneInfo(timezone)).strftime(pattern)


def _epoch(value: datetime) -> int:
    return int(_time(value).timestamp() // 1)


def _epoch_ms(value: datetime) -> int:
    return (_time(value) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _millis(value: datetime) -> str:
    return _time(value).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shifted(sign: int) -> Any:
    return lambda value, duration: _time(value) + sign * read_duration(duration)


def _time(value: Any) -> datetime:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise TemplateError(f"{value!r} is no time; where the window has no lower bound, give cursor.start")
    return value if value.tzinfo else value.replace(tzinfo=UTC)


_FILTERS = {
    "iso": lambda value: iso(_time(value)),
    "iso_ms": _millis,
    "date": _date,
    "epoch": _epoch,
    "epoch_ms": _epoch_ms,
    "plus": _shifted(1),
    "minus": _shifted(-1),
    "b64": lambda text: base64.b64encode(str(text).encode()).decode(),
    "url": lambda text: quote(str(text), safe=""),
    "json": lambda value: json.dumps(value, ensure_ascii=False, default=iso),
    "from_json": json.loads,
}


def _environment(filters: Mapping[str, Any]) -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        undefined=jinja2.StrictUndefined, finalize=lambda value: "" if value is None else iso(value), autoescape=False
    )
    environment.filters.update(filters)
    return environment


def _of_nothing_nothing(given: Any) -> Any:
    """The filter, which leaves nothing as it is: a parameter made of no window or token is left out."""
    return lambda value, *args, **named: None if value is None else given(value, *args, **named)


_ENVIRONMENT = _environment(_FILTERS)
_ALONE = _environment(
    {
        name: _of_nothing_nothing(given)
        for name, given in (
            _FILTERS | {name: _ENVIRONMENT.filters[name] for name in ("string", "int", "float")}
        ).items()
    }
)
"""For texts that are one variable and its filters."""


def check_template(text: str) -> None:
    """Fail where a text is no template, or names a variable there is not.

    Raises:
        ValueError: names the fault and the nearest variable.
    """
    if "{{" not in text and "{%" not in text:
        return
    try:
        names = meta.find_undeclared_variables(_ENVIRONMENT.parse(text))
        _ENVIRONMENT.from_string(text)
    except jinja2.TemplateError as error:
        raise ValueError(f"{text!r} is no template ({error})") from error
    for name in sorted(names):
        if name not in VARIABLES:
            raise ValueError(f"{text!r}: unknown variable {name!r}; {suggest(name, VARIABLES, 'variables')}")


def fill(value: Any, variables: Mapping[str, Any]) -> Any:
    """Fill the templates of a nested value.

    A text that is one expression gives what the expression gives, a time as ISO text; entries of an object that give
    None are left out. An ``if`` without ``else`` gives None, and so do the filters of one variable that is None.

    Raises:
        TemplateError: names the template and what it lacks.
    """
    if isinstance(value, str):
        return _filled(value, variables)
    if isinstance(value, dict):
        filled = {name: (fill(inner, variables), inner) for name, inner in value.items()}
        return {name: result for name, (result, inner) in filled.items() if result is not None or inner is None}
    if isinstance(value, list):
        return [fill(inner, variables) for inner in value]
    return value


def fill_text(text: str, variables: Mapping[str, Any]) -> str:
    """Fill one template as text; nothing gives the empty text.

    Raises:
        TemplateError: as ``fill``.
    """
    result = _filled(text, variables)
    return "" if result is None else str(result)


def _filled(text: str, variables: Mapping[str, Any]) -> Any:
    if "{{" not in text and "{%" not in text:
        return text
    try:
        expression = _expression(text)
        if expression is not None:
            result = expression(**variables)
            if isinstance(result, jinja2.Undefined):
                if result._undefined_name is None:
                    return None  # an ``if`` without ``else``
                raise TemplateError(f"the template {text!r} names a value that is not known here")
            return iso(result)
        return _template(text).render(**variables)
    except TemplateError:
        raise
    except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
        raise TemplateError(f"the template {text!r} cannot be filled ({error})") from error


@functools.lru_cache(4096)
def _template(text: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(text)


@functools.lru_cache(4096)
def _expression(text: str) -> Any:
    """The one expression that a text is; None where it is more than that."""
    inner = text.strip()
    if not (inner.startswith("{{") and inner.endswith("}}")) or "{{" in inner[2:] or "{%" in inner:
        return None
    parsed = _ENVIRONMENT.parse(inner).find(nodes.Output)
    environment = _ALONE if parsed is not None and _is_one_variable(parsed.nodes[0]) else _ENVIRONMENT
    return environment.compile_expression(inner[2:-2], undefined_to_none=False)


def _is_one_variable(node: nodes.Node) -> bool:
    while isinstance(node, nodes.Filter) and node.node is not None:
        node = node.node
    return isinstance(node, nodes.Getattr | nodes.Name)
