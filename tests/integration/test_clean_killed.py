"""A merge killed with SIGKILL at any point heals with the next one, and no touched day is lost."""

import os
import signal
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from orchestration.contracts import CONTRACTS
from orchestration.warehouse.clean import CleanStore, LoadMark
from orchestration.warehouse.touched import TouchedLog

EVENT = CONTRACTS["web_event"]
CHILD = """
import os, signal, sys
from pathlib import Path
import polars as pl
from orchestration.contracts import CONTRACTS
from orchestration.warehouse import clean, touched

root, rows, name, at = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
calls = 0

def dying(original):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)
    return call

if name == "rename":
    Path.replace = dying(Path.replace)
elif name == "prepare":
    clean.prepare_parquet = touched.prepare_parquet = dying(clean.prepare_parquet)
else:
    Path.unlink = dying(Path.unlink)
store = clean.CleanStore(root, "Asia/Shanghai")
store.merge(CONTRACTS["web_event"], pl.read_parquet(rows), {"l2": clean.LoadMark("s", "x", "h")})
print("survived")
"""


def rows(load, days):
    at = datetime(2026, 6, int(load[1:]))
    values = [
        {
            "source": "s",
            "source_id": f"e{day}",
            "load_id": load,
            "load_row": day,
            "row_hash": f"{load} {day}",
            "extracted_at": at,
            "first_extracted_at": at,
            "is_deleted": False,
            "occurred_at": datetime(2026, 5, day),
        }
        for day in days
    ]
    return pl.DataFrame(values, schema=EVENT.schema)


def content(store):
    return {path.name: path.read_bytes() for path in store.folder(EVENT).glob("*.parquet")}


def touched(store):
    entities, changes = TouchedLog(store.folder(EVENT)).read()
    return sorted(entities.rows()), changes["sequence"].to_list()


# Renames: the pending list stands first of all (1), then three partitions' files, the log of touched entities (5 and 6)
# and _merged.json (7).
@pytest.mark.parametrize(
    ("point", "at", "committed"),
    [
        ("prepare", 1, False),
        ("prepare", 3, False),
        ("rename", 1, False),
        ("rename", 2, True),
        ("rename", 3, True),
        ("rename", 4, True),
        ("rename", 5, True),
        ("rename", 6, True),
        ("rename", 7, True),
        ("prepare", 4, False),
        ("prepare", 5, False),
        ("unlink", 1, True),
    ],
)
def test_killed_merge_heals(tmp_path, point, at, committed):
    store = CleanStore(tmp_path / "clean", "Asia/Shanghai")
    store.merge(EVENT, rows("l1", [1, 2, 3, 9]), {"l1": LoadMark("s", "x", "h")})
    seen = store.sequence(EVENT)
    second = tmp_path / "second.parquet"
    rows("l2", [1, 2, 3]).write_parquet(second)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(store.root), str(second), point, str(at)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert child.returncode == -signal.SIGKILL, child.stdout + child.stderr

    # Whoever comes next sees whether the load is in, and merges it (again) if not.
    store.ensure(EVENT)
    assert ("l2" in store.merged_loads(EVENT)) == committed
    store.merge(EVENT, rows("l2", [1, 2, 3]), {"l2": LoadMark("s", "x", "h")})

    expected = CleanStore(tmp_path / "expected", "Asia/Shanghai")
    expected.merge(EVENT, rows("l1", [1, 2, 3, 9]), {"l1": LoadMark("s", "x", "h")})
    expected.merge(EVENT, rows("l2", [1, 2, 3]), {"l2": LoadMark("s", "x", "h")})
    assert content(store) == content(expected)
    assert store.merged_loads(EVENT) == expected.merged_loads(EVENT)
    assert store.days_touched_since(EVENT, seen) == [date(2026, 5, day) for day in (1, 2, 3)]
    leftovers = [path.name for path in store.folder(EVENT).iterdir() if path.suffix != ".parquet"]
    assert sorted(leftovers) == [".lock", "_merged.json", "touched"]
    files = [path.name for path in (store.folder(EVENT) / "touched").iterdir()]
    assert sorted(files) == ["change.parquet", "entity.parquet"]
    assert touched(store) == touched(expected)


def test_the_merge_after_a_kill_names_the_days_of_the_killed_one(tmp_path):
    store = CleanStore(tmp_path / "clean", "Asia/Shanghai")
    store.merge(EVENT, rows("l1", [1, 2, 3]))
    second = tmp_path / "second.parquet"
    rows("l2", [1, 2]).write_parquet(second)
    arguments = [sys.executable, "-c", CHILD, str(store.root), str(second), "rename", "2"]
    child = subprocess.run(arguments, check=False, cwd=Path(__file__).parents[2])
    assert child.returncode == -signal.SIGKILL
    result = store.merge(EVENT, rows("l2", [1, 2]), {"l2": LoadMark("s", "x", "h")})
    assert result.updated == 0
    assert result.days_touched == (date(2026, 5, 1), date(2026, 5, 2))
