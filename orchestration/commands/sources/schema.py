"""``experience sources schema``: the JSON Schema of source YAMLs, for editors."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from orchestration.errors import CannotRunError
from orchestration.settings import Settings


def add(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser("schema", help="print the JSON Schema of source YAMLs, by which editors complete them")
    parser.add_argument("--type", metavar="TYPE", help="of this type or preset alone, such as http or hubspot")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print it."""
    from orchestration.sources.errors import ConfigError
    from orchestration.sources.schema import schema

    try:
        print(json.dumps(schema(options.type), ensure_ascii=False, indent=1))
    except ConfigError as error:
        raise CannotRunError(str(error)) from error
    return 0


def write(folder: Path) -> Path:
    """Write the schema of all types where source YAMLs of ``folder`` look for it."""
    from orchestration.sources.schema import FILE, FOLDER, schema

    path = folder / FOLDER / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(schema(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
    return path
