"""Cached results: answers of rules that passed in an earlier run and hold still, since nothing they rest on changed.

What an answer rests on: the rule as it is declared, the code and the libraries that check it, and the state of every
input that the rule's SQL can name (name, size and time of change of each file; the run's own facts). An answer is
given again only where all of that is as it was. Whatever is in doubt is checked: a rule that did not pass, SQL that
calls a function whose answer may change by itself or that reads by a path, an input that cannot be looked at, an
answer older than ``HOLDS_FOR``, a file of answers that is damaged, and everything once more where there is none.

Belongs here: what a rule reads, what state that is in, keeping answers. Does not belong here: checking (``run``).
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb

import orchestration.contracts
from data_quality.rules import Answer, Rule
from data_quality.suites.personal_data import PERSONAL_VALUES
from data_quality.tables import PUBLISHED_PREFIX, RUN_TABLE, Tables, words_of

log = logging.getLogger(__name__)

HOLDS_FOR = timedelta(days=7)
"""After which an answer is sought anew although nothing seems to have changed: a disk may lie about a file."""
DATABASE = "database"
UNIQUE = frozenset({"ExpectColumnValuesToBeUnique", "ExpectCompoundColumnsToBeUnique"})
"""Expectations that hold for all rows where new rows' keys are found once in all."""
_LIBRARIES = ("duckdb", "duckdb-sqlalchemy", "great-expectations", "polars")
_BY_PATH = re.compile(r"(?<!distinct )\b(from|join)\s*\(?\s*'", re.IGNORECASE)

State = str | dict[str, Any] | None


def code_state(folders: Iterable[Path] | None = None) -> str:
    """Hash of all that decides how a rule is checked: this package, the contracts, the libraries.

    Args:
        folders: Folders of Python files; None takes those two packages.
    """
    packages = (Path(__file__).parent, Path(orchestration.contracts.__file__).parent)
    digest = hashlib.sha256(sys.version.encode())
    for name in _LIBRARIES:
        digest.update(f"{name} {version(name)}\n".encode())
    for folder in packages if folders is None else folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


class Inputs:
    """What rules read, and the state that it was in when this was made, which is before anything is checked.

    Args:
        rules: The gate's rules.
        tables: How the gate reaches its tables.
        facts: The row of ``gate_run`` as text.

    Raises:
        OSError: a file cannot be looked at.
    """

    def __init__(self, rules: Sequence[Rule], tables: Tables, facts: Mapping[str, str]) -> None:
        self._tables = tables
        self._facts = facts
        names = {rule: self._names(rule) for rule in rules}
        self._of = names
        self._states = {name: self._look(name) for found in names.values() for name in found or ()}

    def of(self, rule: Rule) -> frozenset[str] | None:
        """Names of the inputs whose states decide what comes of ``rule``; None where that cannot be told."""
        return self._of[rule]

    def _names(self, rule: Rule) -> frozenset[str] | None:
        # SQL can read a table only by naming it, so that the words of a query name all that it reads, or more.
        words = words_of([rule])
        if words & (self._changing | {name.lower() for name in self._tables.frames}):
            return None
        if _BY_PATH.search(rule.expectation.rows or ""):
            return None
        names = {name for name in (*self._tables.parquet, *self._tables.optional) if name.lower() in words}
        if self._tables.database is not None:
            names.add(DATABASE)
        if rule.reads not in names and DATABASE not in names:
            return None
        if PERSONAL_VALUES in words:
            names.add(PERSONAL_VALUES)
        if any(word.startswith(PUBLISHED_PREFIX) for word in words):
            names.add(PUBLISHED_PREFIX)
        if RUN_TABLE in words:
            named = {name for name in self._facts if name in words}
            names |= {f"{RUN_TABLE}.{name}" for name in named or self._facts}
        return frozenset(names)

    def state(self, name: str) -> State:
        """The state of an input, in which any change of its content shows."""
        return self._states[name]

    def files(self, table: str) -> dict[str, str] | None:
        """File to state of a table that lies in Parquet files; None for other inputs."""
        state = self.state(table) if table in self._tables.parquet else None
        return state if isinstance(state, dict) else None

    def _look(self, name: str) -> State:
        tables = self._tables
        if name.startswith(f"{RUN_TABLE}."):
            return self._facts[name.removeprefix(f"{RUN_TABLE}.")]
        if name == PERSONAL_VALUES:
            return {table: _files(pattern) for table, pattern in tables.personal.items()}
        if name == DATABASE:
            return _files(f"{glob.escape(str(tables.database))}*")
        if name == PUBLISHED_PREFIX:
            return None if tables.published is None else _files(f"{glob.escape(str(tables.published))}*")
        return _files({**tables.optional, **tables.parquet}[name])

    @cached_property
    def _changing(self) -> frozenset[str]:
        """Functions that may answer otherwise the next time, or read what is no table of the gate."""
        with duckdb.connect() as connection:
            rows = connection.execute(
                "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE stability IS DISTINCT FROM "
                "'CONSISTENT'"
            ).fetchall()
        return frozenset(row[0] for row in rows)


def _files(pattern: str) -> dict[str, str]:
    """Path to size and time of change."""
    paths = sorted(glob.glob(pattern))  # noqa: PTH207 - the pattern that DuckDB reads
    seen = {path: Path(path).stat() for path in paths}
    return {path: f"{stat.st_size} {stat.st_mtime_ns}" for path, stat in seen.items()}


@dataclass(frozen=True)
class Kept:
    """An answer of an earlier run, and what is needed to tell whether it holds.

    Attributes:
        rule: Hash of the rule.
        run_id: Run that checked it last.
        checked_at: When all of its rows were last looked at, ISO 8601.
        element_count: Rows looked at.
        unexpected_count: Rows that failed.
        observed_value: What was seen.
    """

    rule: str
    run_id: str
    checked_at: str
    element_count: int | None
    unexpected_count: int | None
    observed_value: str | None


@dataclass(frozen=True)
class Changed:
    """What of a table has to be looked at.

    Attributes:
        files: Paths of the files that changed or are new.
        of: How many files the table has.
        run_id: Run in which the others passed.
    """

    files: list[str]
    of: int
    run_id: str


class Cache:
    """The answers that passed in the run before, and the states of their inputs then.

    Args:
        path: The file that keeps them; where it is missing or damaged, there is no answer.
        inputs: What rules read now.
        run_id: This run.
        now: This instant, in UTC.
    """

    def __init__(self, path: Path, inputs: Inputs, run_id: str, now: datetime) -> None:
        self._path, self._inputs, self._run_id, self._now = path, inputs, run_id, now
        self._code = code_state()
        self._states: dict[str, Any] = {}
        self._answers: dict[str, Kept] = {}
        try:
            seal, body = path.read_text(encoding="utf-8").split("\n", 1)
            content = json.loads(body)
            if seal == _hash(body) and content["code"] == self._code:
                self._states = content["states"]
                self._answers = {name: Kept(**values) for name, values in content["answers"].items()}
        except FileNotFoundError:
            pass
        except Exception as error:
            log.warning("%s cannot be read, so that every rule is checked: %s", path, error)
            self._states, self._answers = {}, {}

    def answer(self, rule: Rule) -> Answer | None:
        """The answer that holds still, saying since which run; None where the rule has to be checked."""
        kept, changed = self._compare(rule)
        if kept is None or changed:
            return None
        return Answer(
            "passed",
            kept.element_count,
            kept.unexpected_count,
            kept.observed_value,
            f"As in run {kept.run_id}: nothing that the rule rests on has changed since.",
        )

    def changed(self, rule: Rule) -> Changed | None:
        """Files of the rule's table that have to be looked at, where those in which it found nothing need not be.

        None where that is not so: the rule looks at more than one row at a time and is none on unique keys, something
        else changed too, it had found something, or most of the table changed.
        """
        kept, inputs = self._compare(rule)
        if kept is None or inputs != {rule.reads} or kept.unexpected_count != 0:
            return None
        if not rule.expectation.by_row and rule.expectation.type not in UNIQUE:
            return None
        files, before = self._inputs.files(rule.reads), self._states.get(rule.reads)
        if not files or not isinstance(before, dict):
            return None
        different = [path for path, state in files.items() if before.get(path) != state]
        size = {path: int(state.split()[0]) for path, state in files.items()}
        if not different or 2 * sum(size[path] for path in different) > sum(size.values()):
            return None
        return Changed(different, len(files), kept.run_id)

    def keep(self, answers: Iterable[tuple[Rule, Answer]], partly: Iterable[tuple[str, str, str]] = ()) -> None:
        """Keep the answers that passed, for the next run; those of rules whose inputs are not known are left out.

        Args:
            answers: Each rule with the answer of this run.
            partly: Identities of rules of which only the rows of changed files were looked at.
        """
        partial = set(partly)
        kept: dict[str, Any] = {}
        states: dict[str, State] = {}
        for rule, answer in answers:
            names = self._inputs.of(rule)
            if answer.outcome != "passed" or names is None:
                continue
            before, changed = self._compare(rule)
            values = asdict(answer)
            counts = {name: values[name] for name in ("element_count", "unexpected_count", "observed_value")}
            run_id, at = self._run_id, self._now.isoformat()
            if before is not None and (not changed or rule.identity in partial):
                run_id, at = run_id if changed else before.run_id, before.checked_at
            kept[_name(rule)] = asdict(Kept(_hash(repr(rule)), run_id, at, **counts))
            states |= {name: self._inputs.state(name) for name in names}
        body = json.dumps({"code": self._code, "states": states, "answers": kept})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        temporary.write_text(f"{_hash(body)}\n{body}", encoding="utf-8")
        temporary.replace(self._path)

    def _compare(self, rule: Rule) -> tuple[Kept | None, set[str]]:
        """The kept answer of the same rule, not too old, and which of its inputs changed since."""
        kept, names = self._answers.get(_name(rule)), self._inputs.of(rule)
        if kept is None or names is None or kept.rule != _hash(repr(rule)):
            return None, set()
        age = self._now - datetime.fromisoformat(kept.checked_at)
        if not timedelta(0) <= age < HOLDS_FOR:
            return None, set()
        missing = object()
        return kept, {name for name in names if self._states.get(name, missing) != self._inputs.state(name)}


def _name(rule: Rule) -> str:
    return "/".join(rule.identity)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
