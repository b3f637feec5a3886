"""docs/guides/connector.md as tests use it: its blocks, and its server running."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

GUIDE = (Path(__file__).resolve().parents[1] / "docs/guides/connector.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    """The first block of a kind."""
    found = re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.S)
    assert found, kind
    return found[0]


def source(port: int, kind: str = "yaml") -> str:
    """A source of the guide over the server at ``port``, its window around the server's days, the last ones."""
    text = block(kind)
    assert "http://127.0.0.1:8400" in text
    start = (datetime.now(UTC).date() - timedelta(days=21)).isoformat()
    text = text.replace("http://127.0.0.1:8400", f"http://127.0.0.1:{port}")
    return re.sub(r"start: \d{4}-\d\d-\d\d", f"start: {start}", text)


@contextmanager
def teashop(folder: Path) -> Iterator[int]:
    """The guide's server; gives its port."""
    code, start = block("python"), "ThreadingHTTPServer(("
    assert code.count(start) == 1
    # It says that it listens, so that nobody has to guess.
    ready = code.replace(start, f"server = {start}").replace(").serve_forever()", ")")
    script = folder / "teashop.py"
    script.write_text(f"{ready}print('ready', flush=True)\nserver.serve_forever()\n", encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, script, str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", "the guide's server did not start"
        yield port
    finally:
        # A test before may have left SIGTERM ignored, which processes inherit.
        process.kill()
        process.wait()
