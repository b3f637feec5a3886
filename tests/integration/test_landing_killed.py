"""A writer killed between its parts and its manifest leaves nothing that is read, and the next load clears it."""

import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import polars as pl

from orchestration.sources.landing import Landing

WRITER = """
import sys, time
from datetime import datetime
from pathlib import Path
import polars as pl
from orchestration.sources.landing import Landing
landing = Landing(Path(sys.argv[1]))
with landing.begin(source="crm", stream="contacts", run_id="r", now=datetime(2026, 5, 1), reserve_rows=1) as writer:
    writer.write(pl.DataFrame({"id": ["killed"]}))
    (writer.folder / "_manifest.json.draft").write_text("{")
    print("written", flush=True)
    sys.stdin.read()
"""


def test_kill_between_part_and_manifest(tmp_path):
    landing = Landing(tmp_path)
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as process:
        assert process.stdout.readline() == "written\n"
        parts = list(tmp_path.rglob("part-*.parquet"))
        assert len(parts) == 1
        # Alive, it holds its lock: cleaning spares it.
        assert landing.clean_orphans() == []
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert landing.manifests("crm", "contacts") == []
    assert parts[0].exists()
    with landing.begin(source="crm", stream="contacts", run_id="s", now=datetime(2026, 5, 2)) as writer:
        assert not parts[0].exists()
        writer.write(pl.DataFrame({"id": ["1"]}))
        writer.commit(kind="full", extracted_at=datetime(2026, 5, 2), rows_read=1)
    (manifest,) = landing.manifests("crm", "contacts")
    assert landing.scan(manifest).collect()["id"].to_list() == ["1"]
