"""Presets: a known system as a ``type`` of its own. One preset, one YAML file in this folder.

A preset file holds ``preset`` (its name), ``title``, ``docs`` (the vendor's page on credentials), ``options`` and
``source``: a source YAML without its name. ``${option}`` in any text of it is replaced by what the user gives under
``connection``, where the keys of its kind (``budget``, ``timeout_seconds``) may stand too. A text that is nothing but
``${option}`` becomes that value whatever it is, a secret (``{env: NAME}``) too, and goes away where an optional one is
not given, with the object that held nothing else.

A user's YAML names ``type: <preset>`` and the options, and chooses streams: each one named (``contacts: {}``) is the
preset's with what is written there put over it key by key; null takes a key away; without ``streams`` every stream
of the preset is read that is not ``optional``. A stream of another name is one of the preset's again where it says
``like: <stream>``. Tables that wait for the user's questions (``answer``) or texts (``comment``) are left out until
there are some.

Does not belong here: reading (a preset is YAML for ``http``, ``files`` or ``sql``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from orchestration.contracts.mapping import StrictModel
from orchestration.sources.errors import WRITTEN_OUT, ConfigError, suggest

FOLDER = Path(__file__).parent
_PLACE = re.compile(r"\$\{([a-z][a-z0-9_]*)\}")
_MISSING = object()
_WAITING = {"answer": ("questions", "question_id"), "comment": ("texts", "comment_text")}
"""Contract to what a user says of a wide survey, and the column that is mapped where the survey is not wide."""


class Option(StrictModel):
    """What a preset is told under ``connection``.

    Attributes:
        description: What it is and where it is found.
        required: Whether it must be given.
        default: Taken where it is not given.
        secret: Whether it must be ``{env: NAME}`` or ``{file: path}``.
        example: How one looks.
    """

    description: str
    required: bool = False
    default: Any = None
    secret: bool = False
    example: str | None = None


class Preset(StrictModel):
    """One preset.

    Attributes:
        preset: Its name, the ``type`` in a source YAML.
        title: Name of the system.
        docs: Where the vendor explains credentials and limits.
        options: Keys of ``connection``.
        optional_streams: Streams that are read only where a source YAML names them.
        source: The source YAML, without ``source``.
    """

    preset: str
    title: str
    docs: str = ""
    options: dict[str, Option] = Field(default_factory=dict)
    optional_streams: list[str] = Field(default_factory=list)
    source: dict[str, Any]


def preset_names() -> list[str]:
    """Names of all presets."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@functools.lru_cache
def preset(name: str) -> Preset:
    """The preset called ``name``.

    Raises:
        ConfigError: its file cannot be used.
    """
    from orchestration.sources.config import read_yaml

    path = FOLDER / f"{name}.yaml"
    try:
        return Preset.model_validate(read_yaml(path))
    except ValueError as error:
        raise ConfigError(f"{path}: is no preset: {error}") from error


def expand(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A source YAML of a preset's type, as the plain source YAML it stands for.

    Args:
        raw: The user's YAML as plain data.
        path: Its file, for messages.

    Raises:
        ConfigError: an option is unknown, missing or written out though it is a secret; or a stream that the preset
            does not have lacks ``from`` and ``like``.
    """
    chosen = preset(str(raw["type"]))
    given = raw.get("connection") or {}
    kept = _connection_keys(chosen)
    settings = {key: value for key, value in given.items() if key in kept} if isinstance(given, dict) else {}
    options = _options(
        chosen, {key: value for key, value in given.items() if key not in settings} if settings else given, path
    )
    source = _replaced(chosen.source, options)
    if settings:
        source["connection"] = merge(source.get("connection", {}), settings)
    streams = source.pop("streams", {})
    wanted = raw.get("streams")
    if wanted is None:
        wanted = {name: {} for name in streams if name not in chosen.optional_streams}
    if not isinstance(wanted, dict):
        raise ConfigError(f"{path}: streams: name streams of {chosen.preset}, such as {', '.join(list(streams)[:3])}")
    result = {key: value for key, value in raw.items() if key not in {"type", "connection", "streams"}}
    merged = merge(source, result)
    merged["streams"] = {}
    for name, changes in wanted.items():
        if not isinstance(changes, dict | None):
            raise ConfigError(f"{path}: streams.{name}: holds {changes!r}; give the keys that differ, or {{}}")
        own = dict(changes or {})
        like = str(own.pop("like", name))
        if like not in streams and (like != name or "from" not in own):
            place = f"streams.{name}" if like == name else f"streams.{name}.like"
            raise ConfigError(
                f"{path}: {place}: {chosen.title} has no such stream; {suggest(like, streams, 'streams')} "
                "(a stream of your own needs 'from', or 'like' with the name of one of these)"
            )
        merged["streams"][name] = _without_waiting(merge(streams.get(like, {}), own))
    return merged


def merge(base: Any, changes: Any) -> Any:
    """``changes`` put over ``base`` key by key; None takes a key away, anything but an object replaces."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result[key], value) if key in result else value
    return result


def _without_waiting(stream: dict[str, Any]) -> dict[str, Any]:
    tables = stream.get("tables")
    if not isinstance(tables, dict):
        return stream
    kept = {
        name: table
        for name, table in tables.items()
        if name not in _WAITING
        or not isinstance(table, dict)
        or table.get(_WAITING[name][0])
        or _WAITING[name][1] in (table.get("fields") or {})
    }
    return {**stream, "tables": kept}


def _connection_keys(chosen: Preset) -> set[str]:
    """Keys of the kind's own ``connection`` (a budget, a time limit) that a user may set beside the options."""
    from orchestration.sources.kinds import source_kind

    model = source_kind(str(chosen.source.get("type"))).connection
    return (set(model.model_fields) if model else set()) - set(chosen.options)


def _options(chosen: Preset, given: Any, path: Path) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: connection: give {', '.join(chosen.options)}")
    faults = [
        f"{path}: connection.{name}: unknown option of {chosen.preset}; {suggest(name, chosen.options, 'options')}"
        for name in given
        if name not in chosen.options
    ]
    values: dict[str, Any] = {}
    for name, option in chosen.options.items():
        value = given.get(name, option.default)
        if value is None and option.required:
            example = f", such as {option.example}" if option.example else ""
            faults.append(f"{path}: connection.{name}: is missing ({option.description}{example}); add it")
        if value is not None and option.secret and not isinstance(value, dict):
            faults.append(f"{path}: connection.{name}: {WRITTEN_OUT}")
        values[name] = _MISSING if value is None else value
    if faults:
        raise ConfigError("\n".join(faults))
    return values


def _replaced(value: Any, options: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        if "${" not in value:
            # As it is: a bare number stays one.
            return value
        whole = _PLACE.fullmatch(value)
        if whole and whole[1] in options:
            return options[whole[1]]
        return _PLACE.sub(lambda match: _text(match, options), value)
    if isinstance(value, dict):
        replaced = {key: _replaced(inner, options) for key, inner in value.items()}
        kept = {key: inner for key, inner in replaced.items() if inner is not _MISSING}
        return kept if kept or not value else _MISSING
    if isinstance(value, list):
        return [inner for inner in (_replaced(entry, options) for entry in value) if inner is not _MISSING]
    return value


def _text(match: re.Match[str], options: Mapping[str, Any]) -> str:
    if match[1] not in options:
        raise ConfigError(f"a preset uses the option {match[1]!r}, which it does not declare")
    value = options[match[1]]
    if isinstance(value, dict | list):
        raise ConfigError(f"option {match[1]!r} stands inside a text and must be a plain value")
    return "" if value is _MISSING else str(value)
