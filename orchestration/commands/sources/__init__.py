"""``experience sources <verb>``: what an engineer does with a source. One module a verb.

A module has ``add(verbs)`` and ``run(settings, options)`` like those of ``orchestration.commands``. Belongs here too:
how streams are named on the command line. Does not belong here: the work itself.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestration.errors import CannotRunError
from orchestration.settings import Settings

if TYPE_CHECKING:
    from orchestration.sources.config import SourceConfig

NAMES = ("check", "discover", "plan", "run", "loads", "rejects", "schema")
"""The order in which help tells them; a verb that is not named here comes behind."""


def add(commands: Any) -> None:
    """Declare the verbs."""
    parser = commands.add_parser(
        "sources", help="check, discover, plan, run sources; show their loads, rejects and YAML schema"
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    found = [module.name for module in pkgutil.iter_modules(__path__)]
    for name in sorted(found, key=lambda name: (NAMES.index(name) if name in NAMES else len(NAMES), name)):
        importlib.import_module(f"{__name__}.{name}").add(verbs)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Never reached: each verb names its own ``run``."""
    raise CannotRunError(f"unknown verb {options.verb!r}")


def chosen(settings: Settings, name: str | None) -> list[tuple[SourceConfig, list[str]]]:
    """Sources with the streams meant by ``SOURCE``, ``SOURCE.STREAM`` or nothing (all), parents before children.

    Raises:
        CannotRunError: there is none of that name, or its file cannot be read; says which there are.
    """
    if name is None:
        found, broken = every(settings)
        if broken:
            raise CannotRunError("\n".join(broken))
        return found
    source, stream = one(settings, name)
    return [(source, in_order(source, source.streams if stream is None else [stream]))]


def every(settings: Settings) -> tuple[list[tuple[SourceConfig, list[str]]], list[str]]:
    """All sources with their streams, and why the other files cannot be read.

    Raises:
        CannotRunError: there is no file at all.
    """
    from orchestration.sources.config import read_sources

    found, broken = read_sources(settings.sources_dir)
    if not found and not broken:
        raise CannotRunError(f"there is no source in {settings.sources_dir}; write one, see docs/sources/index.md")
    return [(source, in_order(source, source.streams)) for source in found.values()], list(broken.values())


def one(settings: Settings, name: str) -> tuple[SourceConfig, str | None]:
    """The source, and the stream if one is named, meant by ``SOURCE`` or ``SOURCE.STREAM``.

    Raises:
        CannotRunError: as ``chosen``.
    """
    from orchestration.sources.config import read_sources
    from orchestration.sources.errors import suggest

    found, broken = read_sources(settings.sources_dir)
    source_name, _, stream = name.partition(".")
    if source_name not in found:
        if failed := [text for path, text in broken.items() if path.stem == source_name]:
            raise CannotRunError(failed[0])
        # A file that cannot be read may be the one that is meant.
        unread = "".join(f"\n{text}" for text in broken.values())
        close = suggest(source_name, found, "sources")
        raise CannotRunError(f"no source {source_name!r} in {settings.sources_dir}; {close}{unread}")
    source = found[source_name]
    if stream and stream not in source.streams:
        raise CannotRunError(
            f"source {source_name!r} has no stream {stream!r}; {suggest(stream, source.streams, 'streams')}"
        )
    return source, stream or None


def in_order(source: SourceConfig, streams: Sequence[str] | Any) -> list[str]:
    """Streams with parents before their children, otherwise in the order of the YAML."""
    from orchestration.sources.config import parents

    ordered: dict[str, None] = {}

    def put(stream: str) -> None:
        for parent in parents(source, stream):
            put(parent)
        ordered.setdefault(stream)

    for stream in source.streams:
        put(stream)
    return [stream for stream in ordered if stream in streams]


def named(name: str, error: object) -> str:
    """The message of an error, which tells the stream's name once."""
    return text if name in (text := str(error)) else f"{name}: {text}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table, one line a row, columns as wide as their widest cell; columns without any text are left out."""
    kept = [index for index, _ in enumerate(heads) if any(row[index] for row in rows)] or list(range(len(heads)))
    lines = [[heads[index] for index in kept], *([row[index] for index in kept] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(kept))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
