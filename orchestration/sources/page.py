"""Write the tables of keys in docs/sources/http.md from the models: ``python -m orchestration.sources.page``.

What stands above the first table is written by hand. A test compares what is committed with what this would write.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from orchestration.sources.config import Secret
from orchestration.sources.http.config import HttpConnection, HttpOrigin
from orchestration.sources.schema import described, models_in

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sources" / "http.md"
MARK = "<!-- written by python -m orchestration.sources.page -->"
_BEFORE = {"_expression": "path", "_templates": "template", "_many": "text or texts", "read_duration": "duration"}
_PLAIN: dict[Any, str] = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "anything"}


def page() -> str:
    """The page: its hand-written head as it is, the tables as the models are."""
    head = PAGE.read_text(encoding="utf-8").partition(MARK)[0] if PAGE.exists() else "# HTTP APIs\n\n"
    return head + MARK + "\n\n" + "\n".join(_tables())


def _tables() -> Iterator[str]:
    roots: list[type[BaseModel]] = [HttpConnection, HttpOrigin]
    seen: set[type[BaseModel]] = {Secret}
    for title, root in zip(("Keys of `connection`", "Keys of `from`"), roots, strict=True):
        yield f"## {title}\n"
        for model in [root, *models_in([root])]:
            if model not in seen:
                seen.add(model)
                yield from _table(model)


def _table(model: type[BaseModel]) -> Iterator[str]:
    says = described(model)
    head = (model.__doc__ or "").partition("\n\n")[0].replace("``", "`")
    yield f"### {_title(model)}\n"
    yield f"{' '.join(head.split())}\n"
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for name, info in model.model_fields.items():
        key = info.alias or name
        meaning = says.get(name) or says.get(key) or ("Chooses this one." if name == "kind" else "")
        meaning = meaning.replace("``", "`").replace("|", "\\|")
        yield f"| `{key}` | {_value(info)} | {_default(info)} | {meaning} |"
    yield ""


def _title(model: type[BaseModel]) -> str:
    kind = model.model_fields.get("kind")
    if kind is not None:
        kinds = " or ".join(f"`kind: {value}`" for value in typing.get_args(kind.annotation))
        return f"{model.__name__}: {kinds}"
    return model.__name__


def _value(info: FieldInfo) -> str:
    return _words(info.annotation, info.metadata)


def _words(annotation: Any, metadata: Any = ()) -> str:
    """What may be written, in words."""
    for entry in metadata:
        if isinstance(entry, BeforeValidator) and (name := getattr(entry.func, "__name__", "")) in _BEFORE:
            return _BEFORE[name]
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _words(inner[0], inner[1:])
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(dict.fromkeys(_words(part) for part in inner if part is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{value}`" if value != "" else "empty" for value in inner)
    if origin is list:
        return f"list of {_words(inner[0])}"
    if origin is dict:
        return f"name to {_words(inner[1])}"
    if annotation is Secret:
        return "`{env: …}` or `{file: …}`"
    if annotation is timedelta:
        return "duration"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{_title(annotation).lower().translate(_ANCHOR)})"
    return _PLAIN.get(annotation, str(annotation))


_ANCHOR = str.maketrans({" ": "-", ":": None, "`": None})
"""How the headings of a Markdown page are linked."""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "**needed**"
    value = info.get_default(call_default_factory=True)
    if value is None or value in ("", [], {}) or isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{value}`" if isinstance(value, str) else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
