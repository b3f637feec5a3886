"""Which code made a release: git commit, the models with their checksums, and what each is made from.

Written into each release as ``lineage.json`` and read back from there, so that a release says of itself what made it.
Does not belong here: which rows (``explain``).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

FILE = "lineage.json"
_GIT_SECONDS = 10


@dataclass(frozen=True)
class Model:
    """One dbt model or seed: the checksum of its text as dbt states it, and the names of what it reads."""

    checksum: str
    path: str
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Code:
    """The code of one build.

    Attributes:
        git_commit: Commit of the checkout, or None where it is none.
        has_local_changes: Whether tracked files differed from the commit; None where that is not known.
        built_by: Run whose build this is; None where no build came to its end.
        models: Models and seeds of the dbt project, by name.
    """

    git_commit: str | None = None
    has_local_changes: bool | None = None
    built_by: str | None = None
    models: Mapping[str, Model] = field(default_factory=dict)

    def to_json(self) -> str:
        """As it is stored in a release."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Code:
        """What ``to_json`` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            models = {
                name: Model(model["checksum"], model["path"], tuple(model["depends_on"]))
                for name, model in values.pop("models").items()
            }
            return cls(models=models, **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it does not say which code made it ({error})") from error

    def behind(self, table: str) -> list[str]:
        """Models and seeds that ``table`` is made from, itself the last, each behind those it reads."""
        found: dict[str, tuple[str, ...]] = {}
        due = [table]
        while due:
            if (name := due.pop()) in self.models and name not in found:
                found[name] = tuple(one for one in self.models[name].depends_on if one in self.models)
                due += found[name]
        return list(TopologicalSorter({name: sorted(found[name]) for name in sorted(found)}).static_order())


def code_of(manifest: Path, checkout: Path, built_by: str | None) -> Code:
    """The code of the present checkout.

    Args:
        manifest: dbt's ``manifest.json``.
        checkout: The folder that git knows.
        built_by: Run whose build stands.
    """
    commit = _git(checkout, "rev-parse", "HEAD")
    changes = _git(checkout, "status", "--porcelain", "--untracked-files=no") if commit else None
    return Code(commit, None if changes is None else bool(changes), built_by, _models(manifest))


def _models(manifest: Path) -> dict[str, Model]:
    nodes = json.loads(manifest.read_text(encoding="utf-8"))["nodes"] if manifest.is_file() else {}
    return {
        node["name"]: Model(
            checksum=node["checksum"]["checksum"],
            path=node["original_file_path"],
            depends_on=tuple(sorted(nodes[one]["name"] for one in node["depends_on"].get("nodes", ()) if one in nodes)),
        )
        for node in nodes.values()
        if node["resource_type"] in ("model", "seed")
    }


def _git(checkout: Path, *arguments: str) -> str | None:
    """What git says, or None where there is no git, no repository or no answer in time."""
    try:
        done = subprocess.run(
            # A look must not wait for, or take, the lock of someone who commits.
            ["git", "--no-optional-locks", "-C", str(checkout), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
