"""``experience explain``: from a published number to the rows, files, models and commit behind it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchestration.errors import CannotRunError
from orchestration.settings import Settings

if TYPE_CHECKING:
    from orchestration.lineage.explain import Explanation

EXIT_DIFFERENT = 1


def add(commands: Any) -> None:
    """Declare the verb."""
    parser = commands.add_parser("explain", help="show the rows, files and code behind one published number")
    parser.add_argument("table", help="a published table, such as mart_nps or fct_order")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="which row; given as often as it takes to name one",
    )
    parser.add_argument("--rows", type=int, default=10, metavar="N", help="records that the text shows (default 10)")
    parser.add_argument("--format", choices=("text", "json", "csv"), default="text", help="json and csv hold every row")
    parser.add_argument("--release", metavar="RUN_ID", help="a release other than the current one")
    parser.add_argument("--show-suppressed", action="store_true", help="explain a suppressed cell, for operators")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Explain; 1 where the recomputed numbers differ from the published ones."""
    from orchestration.assets.dbt import built_by
    from orchestration.lineage.explain import ExplainError, explain

    where = {}
    for condition in options.where:
        column, equals, value = condition.partition("=")
        if not equals:
            raise CannotRunError(f"--where {condition!r} is no condition; write COLUMN=VALUE")
        where[column.strip()] = value
    try:
        found = explain(
            settings,
            options.table,
            where,
            release_id=options.release,
            show_suppressed=options.show_suppressed,
            built_by=built_by(settings),
        )
    except ExplainError as error:
        raise CannotRunError(str(error)) from error
    match options.format:
        case "json":
            print(json.dumps(_document(found), ensure_ascii=False, indent=1, default=str))
        case "csv":
            print(found.records.write_csv(), end="")
        case _:
            print(_text(found, options.rows))
    for one in found.differences:
        print(
            f"experience: {found.table}.{one.column} is {one.published} in release {found.release.run_id}, but the "
            f"records give {one.recomputed}",
            file=sys.stderr,
        )
    return EXIT_DIFFERENT if found.differences else 0


def _document(found: Explanation) -> dict[str, Any]:
    return {
        "table": found.table,
        "cell": dict(found.cell),
        "release": found.release.run_id,
        "git_commit": found.code.git_commit,
        "has_local_changes": found.code.has_local_changes,
        "built_by": found.code.built_by,
        "models": {name: asdict(model) for name, model in found.models.items()},
        "is_equal": not found.differences,
        "compared": [asdict(one) | {"is_equal": one.is_equal} for one in found.compared],
        "recomputed": dict(found.recomputed),
        "digests": dict(found.digests),
        "loads": [asdict(load) for load in found.loads],
        "records": found.records.to_dicts(),
        "notes": list(found.notes),
    }


def _text(found: Explanation, rows: int) -> str:
    changes = {True: " with local changes", False: "", None: " (local changes not known)"}
    commit = found.code.git_commit
    lines = [
        f"{found.table}: " + ", ".join(f"{name} {value}" for name, value in found.cell.items() if value is not None),
        f"release  {found.release.run_id}, published {found.release.published_at:%Y-%m-%d %H:%M} UTC; built by run "
        f"{found.code.built_by or 'unknown'}",
        f"commit   {commit + changes[found.code.has_local_changes] if commit else 'unknown'}",
        "models   "
        + (" -> ".join(f"{name} {model.checksum[:8]}" for name, model in found.models.items()) or "unknown"),
        "",
    ]
    lines += [
        f"{'equal ' if one.is_equal else 'DIFFERS'} {one.column}: published {one.published}, from the records "
        f"{one.recomputed}"
        for one in found.compared
    ]
    lines += [
        f"hidden {name}: from the records {value}" for name, value in found.recomputed.items() if name in found.cell
    ]
    lines += [
        f"{measure}: {found.records.filter(measure=measure).height} records, sha256 of their ids {value}"
        for measure, value in found.digests.items()
    ]
    lines.append("")
    for load in found.loads:
        if load.stream is None:
            lines.append(f"load {load.load_id} of {load.source}: {load.rows} rows, not in the landing any more")
            continue
        lines.append(
            f"load {load.load_id} of {load.source}.{load.stream} ({load.kind}, run {load.run_id}, "
            f"{load.extracted_at:%Y-%m-%d %H:%M} UTC): {load.rows} rows"
        )
        lines.append(f"  {load.folder}")
        lines += [f"  {name} sha256 {sha256}" for name, sha256 in list(load.files.items())[:rows]]
        if len(load.files) > rows:
            lines.append(f"  … and {len(load.files) - rows} more files")
    lines.append("")
    for row in found.records.head(rows).to_dicts():
        place = (
            f"{row['source_file']} row {row['source_row']}"
            if row["source_file"]
            else f"{row['source']}.{row['stream']} key {row['source_id']}"
        )
        lines.append(
            f"{row['measure']} {row['id']}: {place}; load {row['load_id']} row {row['load_row']} {row['part']}"
        )
    if found.records.height > rows:
        lines.append(f"… and {found.records.height - rows} more; --rows N, or --format csv for all")
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join(lines)
