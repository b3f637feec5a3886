"""``experience sources discover``: what there is at a source, as a YAML that is ready to be looked over."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.errors import CannotRunError
from orchestration.settings import Settings

if TYPE_CHECKING:
    from orchestration.sources.errors import SourceError

EXIT_FAULT = 1


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "discover",
        help="list streams and fields of a source, as a YAML with a proposed contract and mapping",
        description="SOURCE is a configured source, or a YAML file whose streams need no mapping yet.",
    )
    parser.add_argument("name", nargs="?", metavar="SOURCE[.STREAM]|FILE.yaml")
    parser.add_argument("--type", metavar="TYPE", help="sql, files, or a preset such as hubspot")
    parser.add_argument("--dsn", metavar="env:NAME|DSN", help="of a database; with a password by env:NAME alone")
    parser.add_argument("--path", metavar="PATTERN", help="of files, such as 'exports/*.csv'")
    parser.add_argument("--source", metavar="NAME", help="name of the source in the YAML")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print the YAML; 1 where a stream could not be read."""
    from orchestration.sources.errors import ConfigError, SourceError

    if (options.name is None) == (options.type is None):
        raise CannotRunError("name a source (or a YAML file), or say --type with --dsn or --path")
    try:
        if options.name is not None:
            return _of_source(settings, options.name)
        print(_of_type(settings, options), end="")
    except (ConfigError, SourceError) as error:
        raise CannotRunError(str(error)) from error
    return 0


def _of_type(settings: Settings, options: argparse.Namespace) -> str:
    from orchestration.sources import discover
    from orchestration.sources.kinds import source_kind
    from orchestration.sources.presets import preset_names

    now = datetime.now(UTC)
    if options.type in preset_names():
        return discover.preset_yaml(options.type)
    source_kind(options.type)
    match options.type:
        case "sql":
            return _of_database(settings, options, now)
        case "files":
            if options.path is None:
                raise CannotRunError("--type files needs --path, such as --path 'exports/*.csv'")
            found = discover.file_found(options.path, settings=settings, now=now)
            return discover.source_yaml(options.source or "files", "files", None, [found])
        case _:
            raise CannotRunError(
                f"an API cannot be listed: write a YAML with connection and streams.<name>.from.request, then "
                f"experience sources discover FILE.yaml (type {options.type})"
            )


def _of_database(settings: Settings, options: argparse.Namespace, now: datetime) -> str:
    from pydantic import ValidationError

    from orchestration.sources import discover
    from orchestration.sources.sql import SqlConnection

    if options.dsn is None:
        raise CannotRunError("--type sql needs --dsn, such as --dsn env:CRM_DSN or --dsn sqlite:///crm.sqlite")
    is_secret = options.dsn.startswith("env:")
    written = {"dsn": {"env": options.dsn.removeprefix("env:")} if is_secret else options.dsn}
    try:
        connection = SqlConnection.model_validate(written)
    except ValidationError as error:
        # The text may hold a password: neither it nor the error that quotes it is shown.
        reason = str(error.errors(include_input=False)[0]["msg"]).removeprefix("Value error, ")
        hint = "; or put it into a variable and say --dsn env:NAME" if "password" in reason else ""
        raise CannotRunError(f"--dsn {reason}{hint}") from None
    found = discover.tables_of(connection, settings=settings, now=now)
    if not found:
        raise CannotRunError("the user of this DSN sees no table; GRANT SELECT on what is to be read")
    return discover.source_yaml(options.source or "crm", "sql", written, found)


def _of_source(settings: Settings, name: str) -> int:
    from orchestration.commands.sources import named, one
    from orchestration.sources import discover
    from orchestration.sources.presets import preset_names
    from orchestration.sources.sql import SqlConnection

    now = datetime.now(UTC)
    only: str | None = None
    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise CannotRunError(f"{path} does not exist")
    else:
        source_name, _, only = name.partition(".")
        only = only or None
        path = settings.sources_dir / f"{source_name}.yaml"
        if not path.is_file():
            path = one(settings, source_name)[0].path
    raw, source = discover.draft(path)
    if isinstance(source.connection, SqlConnection) and only is None:
        found = discover.tables_of(source.connection, settings=settings, now=now)
        print(discover.source_yaml(source.source, "sql", raw["connection"], found, source.timezone), end="")
        return 0
    if raw["type"] in preset_names() and only is None and raw.get("streams") is None:
        print(f"# streams of {raw['type']}: {', '.join(source.streams)}")
    faults: list[str] = []

    def failed(stream: str, error: SourceError) -> None:
        faults.append(f"FAULT  {named(f'{source.source}.{stream}', error)}")

    head = {key: value for key, value in raw.items() if key != "streams"}
    print(discover.head_yaml(head))
    for found_stream in discover.fields_of(source, settings=settings, now=now, only=only, failed=failed):
        written = (raw.get("streams") or {}).get(found_stream.name) or {}
        print(discover.stream_yaml(found_stream, written, source.streams[found_stream.name]), flush=True)
    print("\n".join(faults), end="\n" if faults else "", file=sys.stderr)
    return EXIT_FAULT if faults else 0
