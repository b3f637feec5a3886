"""The logs of a real nginx that is asked while it is read and rotated: each request is one row, none is lost."""

import http.client
import threading
import time
from datetime import UTC, datetime, timedelta

import polars as pl

from orchestration.settings import Settings
from orchestration.sources.config import parse_source
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing
from tests.servers import nginx_server

NOW = datetime(2026, 5, 1, 2)
REQUESTS = 600


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_rotation_by_rename_and_signal(tmp_path):
    settings = Settings(home=tmp_path, sources_dir=tmp_path)
    landing = Landing(settings.landing_dir)
    with nginx_server() as nginx:
        source = parse_source(
            {
                "source": "shop",
                "type": "files",
                "streams": {
                    "requests": {
                        "from": {"path": f"{nginx.logs}/access.log*", "profile": "access_log"},
                        "to": "web_event",
                        "primary_key": "position",
                        "fields": {
                            "occurred_at": "time",
                            "event_name": {"value": "request"},
                            "page_path": "request_uri",
                        },
                    }
                },
            },
            tmp_path / "shop.yaml",
        )
        asked = []

        def ask():
            connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=30)
            for number in range(REQUESTS):
                # Every tenth line is like the one before but for its time.
                uri = f"/page?n={number - number % 10 // 9}"
                connection.request(
                    "GET", uri, headers={"User-Agent": 'probe "你好"'.encode(), "Referer": "https://a.example/"}
                )
                assert connection.getresponse().read() == b"ok"
                asked.append(uri)
            connection.close()

        def night():
            night.number += 1
            now = NOW + timedelta(days=night.number)
            return extract(source, "requests", settings=settings, run_id="r", now=now)

        night.number = 0
        log = nginx.logs / "access.log"
        client = threading.Thread(target=ask)
        client.start()
        for _ in range(4):
            already = len(asked)
            until(lambda already=already: len(asked) >= min(already + 60, REQUESTS))
            night()
            for old in range(6, 0, -1):
                if (nginx.logs / f"access.log.{old}").exists():
                    (nginx.logs / f"access.log.{old}").rename(nginx.logs / f"access.log.{old + 1}")
            log.rename(nginx.logs / "access.log.1")
            # Between the rename and the signal it still writes into the renamed file.
            night()
            nginx.reopen()
            until(log.exists)
            night()
        client.join()
        nginx.finish()
        night()
        assert night().status == "unchanged"
    rows = pl.concat([landing.scan(load).collect() for load in landing.manifests("shop", "requests")], how="diagonal")
    assert rows["request_uri"].sort().to_list() == sorted(asked)
    assert rows.select("_file", "_row").is_unique().all()
    assert len(asked) == REQUESTS
    assert rows["status"].unique().to_list() == ["200"]
    assert rows["http_user_agent"].unique().to_list() == [r"probe \x22\xE4\xBD\xA0\xE5\xA5\xBD\x22"]
    moments = rows["time"].str.to_datetime(time_zone="UTC")
    assert (moments.dt.date() - datetime.now(UTC).date()).dt.total_days().abs().max() <= 1
    assert sum(load.rows_rejected for load in landing.manifests("shop", "requests")) == 0
