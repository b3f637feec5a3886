"""The nightly page in a real browser: it renders, needs nothing else, and fits phone and desk."""

from __future__ import annotations

import html
import json
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from orchestration.contracts import CONTROL
from orchestration.report.build import build_report

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
NOW = datetime(2026, 5, 1, 2, 10, tzinfo=UTC)
PROBE = """<!DOCTYPE html><html><body style="margin:0"><pre id="out"></pre>
<iframe id="page" src="{page}" style="border:0;width:{width}px;height:900px"></iframe><script>
const frame = document.getElementById('page');
window.addEventListener('load', () => {{
  const doc = frame.contentDocument, view = frame.contentWindow;
  const wide = [...doc.querySelectorAll('body *')].filter(e => {{
    const box = e.getBoundingClientRect();
    return box.width && box.right > view.innerWidth + 0.5 && !e.closest('.scroll, .unseen, svg');
  }}).map(e => e.tagName + '.' + e.className);
  document.getElementById('out').textContent = JSON.stringify({{
    inner: view.innerWidth, scroll: doc.documentElement.scrollWidth, wide: wide.slice(0, 5),
    resources: view.performance.getEntriesByType('resource').map(e => e.name),
    nps: doc.getElementById('figure-nps').textContent,
    size: parseFloat(view.getComputedStyle(doc.getElementById('figure-nps')).fontSize),
    chart: [...doc.querySelectorAll('svg.chart')].filter(e => e.getBoundingClientRect().width > 0).length,
  }});
}});
</script></body></html>"""


@dataclass(frozen=True)
class Decided:
    action: str = "publish+warn"
    reasons: tuple[str, ...] = ("clean response.email_share failed: 3 % of responses have no e-mail",)


def browse(tmp_path: Path, *arguments: str) -> str:
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def checks() -> pl.DataFrame:
    base = {"run_id": "run-7", "dimension": "completeness", "severity": "error", "outcome": "passed"}
    rows = [base | {"gate": "marts", "target_table": "mart_nps", "rule_id": f"rule_{i}"} for i in range(40)]
    rows.append(
        base
        | {
            "gate": "clean",
            "target_table": "response",
            "rule_id": "expect_email_share_between",
            "severity": "warn",
            "outcome": "failed",
            "element_count": 3012,
            "unexpected_count": 91,
            "detail": "3 % of responses have no e-mail; look at the export's contact columns",
        }
    )
    checked = pl.lit(datetime(2026, 5, 1, 2, 5)).alias("checked_at")
    return pl.DataFrame(rows, schema=CONTROL["check_result"].schema).with_columns(checked)


def loads() -> pl.DataFrame:
    rows = [
        ("crm", "contacts", "committed", 1, 412, None),
        ("web", "events", "committed", 1, 60211, None),
        ("survey", "responses", "unchanged", 1, 0, None),
        ("support", "tickets", "committed", 24 * 4, 93, None),
        ("support", "tickets", "failed", 1, None, "tickets.jsonl: record 7, field opened_at cannot be read"),
    ]
    return pl.DataFrame(
        [
            {
                "load_id": f"load-{i}",
                "run_id": "run-7",
                "source": source,
                "stream": stream,
                "status": status,
                "rows_landed": rows_landed,
                "error": error,
            }
            for i, (source, stream, status, _hours, rows_landed, error) in enumerate(rows)
        ],
        schema=CONTROL["load"].schema,
    ).with_columns(
        started_at=pl.lit(NOW.replace(tzinfo=None)) - pl.duration(hours=pl.Series([row[3] for row in rows])),
    )


def steps() -> pl.DataFrame:
    rows = [
        {
            "run_id": f"0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1{number:02d}",
            "step": "published__release",
            "layer": "published",
            "status": "success",
            "started_at": NOW.replace(tzinfo=None) - timedelta(days=30 - number),
            "seconds": 20.0 + number,
            "cpu_seconds": 31.0,
            "peak_memory_bytes": 800_000_000,
            "rows": 1000,
        }
        for number in range(30)
    ]
    return pl.DataFrame(rows, schema=CONTROL["step_metric"].schema)


@pytest.fixture
def page(tmp_path, make_marts) -> Path:
    text = build_report(
        make_marts(),
        decision=Decided(),
        checks=checks(),
        loads=loads(),
        now=NOW,
        run_id="run-7",
        timezone="Asia/Shanghai",
        docs_url="https://example.org/docs-of-the-project",
        steps=steps(),
    )
    path = tmp_path / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [360, 1280])
def test_page_fits_the_screen_and_loads_nothing_else(tmp_path, page, width):
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(page=page.as_uri(), width=width), encoding="utf-8")
    dom = browse(
        tmp_path, "--allow-file-access-from-files", f"--window-size={width + 100},1000", "--dump-dom", probe.as_uri()
    )
    found = re.search(r'<pre id="out">(\{.*?\})</pre>', dom, re.DOTALL)
    assert found, dom[:2000]
    seen = json.loads(html.unescape(found.group(1)))
    assert seen["inner"] == width and seen["scroll"] <= width, seen
    assert seen["wide"] == [] and seen["resources"] == []
    assert seen["nps"] == "39.2" and seen["size"] > 30 and seen["chart"] == 1


@pytest.mark.parametrize(("scheme", "colour"), [(0, "rgb(19, 23, 26)"), (1, "rgb(255, 255, 255)")])
def test_page_follows_the_colour_scheme(tmp_path, page, scheme, colour):
    script = "<script>document.title = getComputedStyle(document.body).backgroundColor</script></body>"
    shown = tmp_path / "shown.html"
    shown.write_text(page.read_text("utf-8").replace("</body>", script), encoding="utf-8")
    dom = browse(tmp_path, f"--blink-settings=preferredColorScheme={scheme}", "--dump-dom", shown.as_uri())
    assert f"<title>{colour}</title>" in dom


def test_page_prints(tmp_path, page):
    pdf = tmp_path / "page.pdf"
    browse(tmp_path, f"--print-to-pdf={pdf}", "--no-pdf-header-footer", page.as_uri())
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) <= 6
