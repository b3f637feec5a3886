"""How the sample's files are written: complete or not at all, and only where their content changes.

Does not belong here: what stands in them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_bytes(path: Path, content: bytes) -> bool:
    """Write by rename, so that a reader never sees half a file.

    Returns:
        False where the file already held the very same bytes; it is then left alone, time stamp included.
    """
    if path.exists() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(content)
    partial.replace(path)
    return True


def write_json(path: Path, value: Any) -> bool:
    """Write a small JSON document for people to read."""
    return write_bytes(path, (json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode())
