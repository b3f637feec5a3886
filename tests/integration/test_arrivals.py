"""The sensor asks for a night when files have come and rest, once; and not while they are written."""

import json

import dagster as dg
import pytest

from orchestration.automation.arrivals import ARRIVALS, SOURCES_TAG, arrivals_sensor
from orchestration.automation.jobs import nightly_job
from orchestration.definitions import build_definitions, read_sources
from orchestration.settings import Settings

YAML = """\
source: {name}
type: files
streams:
  rows:
    from: {{path: "{{home}}/in/{name}/{pattern}"{more}}}
    to: customer
    primary_key: [id]
    fields: {{email: email}}
"""


class Watch:
    def __init__(self, home):
        self.home = home
        self.cursor = None
        self.source("till", "*.csv")
        self.source("shop", "*.csv")
        self.put("till/1.csv", "id,email\n1,a\n")
        self.put("shop/1.csv", "id,email\n1,a\n")

    def source(self, name, pattern, more=""):
        (self.home / "sources").mkdir(exist_ok=True)
        (self.home / "sources" / f"{name}.yaml").write_text(YAML.format(name=name, pattern=pattern, more=more))

    def put(self, name, text):
        path = self.home / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def tick(self):
        """Sources whose files are said to have come; None where no night is asked for."""
        settings = Settings(home=self.home, sources_dir=self.home / "sources")
        sources, _ = read_sources(settings.sources_dir)
        sensor = arrivals_sensor(sources, settings, nightly_job(settings))
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(instance=instance, cursor=self.cursor)
            found = sensor.evaluate_tick(context)
        self.cursor = found.cursor
        assert len(found.run_requests) <= 1
        self.key = found.run_requests[0].run_key if found.run_requests else None
        assert bool(found.skip_message) == (not found.run_requests)
        return found.run_requests[0].tags[SOURCES_TAG] if found.run_requests else None


@pytest.fixture
def watch(tmp_path):
    return Watch(tmp_path)


def test_files_that_rest_are_asked_for_once(watch):
    assert [watch.tick() for _ in range(3)] == [None, None, None]
    watch.put("till/2.csv", "id,email\n2,b\n")
    assert [watch.tick() for _ in range(3)] == [None, "till.rows", None]
    watch.put("till/1.csv", "id,email\n1,changed\n")
    watch.put("shop/2.csv", "id,email\n2,b\n")
    assert watch.tick() is None
    first = watch.key
    assert watch.tick() == "shop.rows, till.rows"
    assert watch.key != first
    assert watch.tick() is None


def test_nothing_is_asked_for_while_a_file_is_written(watch):
    watch.tick()
    watch.put("till/2.csv", "id,email\n2,b\n")
    watch.tick()
    watch.put("till/3.csv", "id")
    assert watch.tick() is None
    watch.put("till/3.csv", "id,email\n3,c\n")
    assert watch.tick() is None
    assert watch.tick() == "till.rows"


def test_a_file_that_goes_is_no_news_and_one_that_comes_back_is(watch):
    watch.tick()
    (watch.home / "in/till/1.csv").unlink()
    assert [watch.tick(), watch.tick()] == [None, None]
    watch.put("till/1.csv", "id,email\n1,a\n")
    assert [watch.tick(), watch.tick()] == [None, "till.rows"]


def test_a_source_that_cannot_be_listed_keeps_what_was_known(watch):
    watch.tick()
    watch.put("till/2.csv", "id,email\n2,b\n")
    watch.tick()
    watch.source("shop", "nothing/*.csv", ", on_missing: skip, format: csv")
    before = json.loads(watch.cursor)["till.rows"]
    # A folder is no pattern; and a file that names no format is no source at all.
    for pattern, more in (("", ", format: csv"), ("x", "")):
        watch.source("till", pattern, more)
        assert watch.tick() is None
        assert json.loads(watch.cursor)["till.rows"] == before
    watch.source("till", "*.csv")
    assert watch.tick() == "till.rows"


def test_a_log_that_is_written_does_not_hold_up_a_rotated_one(watch):
    watch.source("till", "app.log*", ", format: lines, pattern: '(?<id>[0-9]+) (?<email>.*)'")
    watch.put("till/app.log", "1 a\n")
    watch.tick()
    watch.put("till/app.log.1", "1 a\n")
    for number, asked in ((2, None), (3, "till.rows"), (4, None)):
        watch.put("till/app.log", "2 b\n" * number)
        assert watch.tick() == asked


def test_it_is_off_until_it_is_switched_on(watch):
    definitions = build_definitions(Settings(home=watch.home, sources_dir=watch.home / "sources"))
    sensor = definitions.get_sensor_def(ARRIVALS)
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert [target.job_name for target in sensor.targets] == ["nightly"]
