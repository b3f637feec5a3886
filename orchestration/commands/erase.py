"""``experience erase``: ask for the erasure of a person and carry it out, or list what was asked and done."""

from __future__ import annotations

import argparse
import secrets
from datetime import UTC, datetime
from typing import Any

from orchestration.errors import CannotRunError
from orchestration.settings import Settings

EXIT_DONE = 0
EXIT_PENDING = 1


def add(commands: Any) -> None:
    """Declare the verb."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "erase",
        help="take a person out of every layer, file and published version",
        description="Take a person out of every layer, file and published version, by one of --person, --source with "
        "--table and --key, --email, --phone. Runs a night; exit status 0 when nothing of the person is left.",
    )
    parser.add_argument("--person", metavar="ID", help="person id, as identity.person_record has it")
    parser.add_argument("--source", help="source of a record of the person")
    parser.add_argument("--table", help="table of the record, such as customer or ticket")
    parser.add_argument("--key", help="source_id of the record")
    parser.add_argument("--email", help="e-mail address, where one person alone has it")
    parser.add_argument("--phone", help="phone number with country code, where one person alone has it")
    parser.add_argument(
        "--mode",
        choices=("delete", "anonymise"),
        default="delete",
        help="delete: the rows leave; anonymise: they stay without what identifies, so that scores stay",
    )
    parser.add_argument("--request-id", metavar="R", help="name of the request; default a new one")
    parser.add_argument("--reason", help="why, in words that do not name the person; kept in the audit row")
    parser.add_argument("--dry-run", action="store_true", help="count what would change by layer, and change nothing")
    parser.add_argument("--list", action="store_true", help="list requests that wait and erasures that are done")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Carry out the verb.

    Raises:
        CannotRunError: nobody or more than one person is meant, or the request is incomplete.
    """
    from orchestration.privacy import erase, requests
    from orchestration.privacy.subject import find
    from orchestration.warehouse.clean import CleanStore

    if options.list:
        print(_listed(settings))
        return EXIT_DONE
    try:
        request = _request(options)
        erase.key_of(settings)
        if options.dry_run:
            from orchestration.sources.config import read_sources

            counts = erase.preview(settings, read_sources(settings.sources_dir)[0], request)
            print("\n".join(f"{name.replace('_', ' '):16} {number}" for name, number in counts.items()))
            return EXIT_DONE
        if any(other.request_id == request.request_id for other in requests.pending(settings.home)[0]):
            raise CannotRunError(f"request {request.request_id} waits already; see experience erase --list")
        find(CleanStore(settings.clean_dir, settings.business_timezone), request)
        requests.write(settings.home, request)
    except requests.ErasureError as error:
        raise CannotRunError(str(error)) from error
    return _carry_out(settings, request.request_id)


def _carry_out(settings: Settings, request_id: str) -> int:
    from orchestration.cli import nightly
    from orchestration.privacy import requests

    print(f"request {request_id} is kept until nothing of the person is left", flush=True)
    nightly(settings)
    if any(request.request_id == request_id for request in requests.pending(settings.home)[0]):
        print(
            f"request {request_id} is NOT done: the person left landing and clean layer or will do so in the next "
            "night, which goes on with it; what stood in its way is said above"
        )
        return EXIT_PENDING
    print(_done(settings, request_id))
    return EXIT_DONE


def _request(options: argparse.Namespace):
    from orchestration.privacy.landed import Mode
    from orchestration.privacy.requests import Request

    ways = {
        "person": {"person_id": options.person},
        "record": {"source": options.source, "table": options.table, "key": options.key},
        "email": {"email": options.email},
        "phone": {"phone": options.phone},
    }
    chosen = {by: fields for by, fields in ways.items() if any(fields.values())}
    if len(chosen) != 1:
        raise CannotRunError(
            "say who is meant in one way: --person, --source with --table and --key, --email or --phone"
        )
    ((by, fields),) = chosen.items()
    if missing := [name for name, value in fields.items() if not value]:
        raise CannotRunError(f"a record is named by --source, --table and --key; {', '.join(missing)} is missing")
    now = datetime.now(UTC).replace(tzinfo=None)
    return Request(
        request_id=options.request_id or f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
        by=by,
        subject={name: str(value) for name, value in fields.items()},
        mode=Mode(options.mode),
        reason=options.reason,
        requested_at=now,
    )


def _done(settings: Settings, request_id: str) -> str:
    import polars as pl

    from orchestration.warehouse.control import Control

    row = (
        Control(settings.control_dir).scan("erasure").filter(pl.col("request_id") == request_id).collect().to_dicts()[0]
    )
    lines = [
        f"request {request_id} is done ({row['mode']}): nothing of the person was found in "
        f"{row['files_searched']} files"
    ]
    lines += [
        f"  {name.replace('_', ' '):18} {row[name]}"
        for name in (
            "landing_rows",
            "clean_rows",
            "identity_rows",
            "quarantine_rows",
            "files_masked",
            "releases_removed",
        )
    ]
    return "\n".join(lines)


def _listed(settings: Settings) -> str:
    from orchestration.privacy import requests
    from orchestration.warehouse.control import Control

    waiting, faults = requests.pending(settings.home)
    lines = [
        f"{entry.state:8} {entry.request_id}  {entry.mode}  by {entry.by}, asked {entry.requested_at:%Y-%m-%d}"
        + (f": {entry.error}" if entry.error else "")
        for entry in waiting
    ]
    lines += [f"unread   {fault}" for fault in faults]
    done = Control(settings.control_dir).scan("erasure").sort("completed_at").collect()
    lines += [
        f"done     {row['request_id']}  {row['mode']}  by {row['subject_namespace']}, "
        f"{row['completed_at']:%Y-%m-%d}, run {row['run_id']}"
        for row in done.to_dicts()
    ]
    return "\n".join(lines) or "nothing was asked"
