"""Whatever a log goes through between nights, each of its lines is one row in the end."""

import gzip
import shutil
import tempfile
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.settings import Settings
from orchestration.sources.config import parse_source
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing

STREAM = {
    "from": {"path": "{home}/app.log*", "format": "lines", "pattern": "(?<text>.*)", "on_missing": "skip"},
    "to": "customer",
    "primary_key": "position",
    "fields": {"email": "text"},
}
STEPS = st.lists(
    st.one_of(
        st.lists(st.sampled_from(["a", "b", "longer line"]), min_size=1, max_size=4),
        st.sampled_from(["rotate", "rotate", "copy and cut", "compress", "night", "night"]),
    ),
    max_size=14,
)


class Log:
    """``app.log`` in a folder, with what was written to it."""

    def __init__(self, home):
        self.path = home / "app.log"
        self.written = []
        self.files = 0

    def append(self, lines):
        if not self.path.exists() or not self.path.stat().st_size:
            # Logs begin with a time.
            self.files += 1
            lines = [f"log {self.files}", *lines]
        with self.path.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
        self.written += lines

    def shift(self):
        for number in range(20, 0, -1):
            for ending in ("", ".gz"):
                old = self.path.with_name(f"app.log.{number}{ending}")
                if old.exists():
                    old.rename(self.path.with_name(f"app.log.{number + 1}{ending}"))

    def rotate(self, *, is_copied):
        if self.path.exists() and self.path.stat().st_size:
            self.shift()
            if is_copied:
                shutil.copy(self.path, self.path.with_name("app.log.1"))
                self.path.write_text("")
            else:
                self.path.rename(self.path.with_name("app.log.1"))

    def compress(self):
        for path in self.path.parent.glob("app.log.*[0-9]"):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_each_line_is_one_row(steps):
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        log = Log(home)
        options = Settings(home=home, sources_dir=home)
        source = parse_source({"source": "app", "type": "files", "streams": {"lines": STREAM}}, home / "app.yaml")
        now = datetime(2026, 5, 1)
        for step in [*steps, "night"]:
            match step:
                case "rotate" | "copy and cut":
                    log.rotate(is_copied=step != "rotate")
                case "compress":
                    log.compress()
                case "night":
                    now += timedelta(days=1)
                    extract(source, "lines", settings=options, run_id="r", now=now)
                case _:
                    log.append(step)
        landing = Landing(options.landing_dir)
        loads = [landing.scan(load).collect() for load in landing.manifests("app", "lines")]
        rows = [row for load in loads for row in load.select("_file", "_row", "text").rows()]
    assert Counter(text for _, _, text in rows) == Counter(log.written)
    assert len({(name, row) for name, row, _ in rows}) == len(rows)
