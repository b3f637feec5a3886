"""A bench for nights: a home with tiny sources of its own, played through the real job at a clock of its own.

``bench`` is a home where nothing ran yet; ``published_bench`` one where the first night was published. Deliver files,
change the CRM, play a night, look at what readers see::

    night = bench.night()
    assert night.published, night.text
    assert bench.one("SELECT n FROM mart_nps WHERE …") == 12

A whole night costs what dbt's tests and the gates cost, most of all. Where neither is looked at, end it earlier:
``bench.night(until="clean")`` stops behind identity, ``bench.night(until=["mart_nps"])`` behind these models, built
with all they need and without data tests. Both are the job's own assets; what is read then is the private file. Nights
that need no Python are better written as a script: see ``test_scripts.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

from orchestration.assets import dbt as dbt_layer
from orchestration.assets.dbt import ensure_manifest
from orchestration.cli import Summary
from orchestration.contracts import CONTRACTS, DERIVED
from orchestration.definitions import build_definitions
from orchestration.settings import PROJECT_ROOT, Settings
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.control import Control
from orchestration.warehouse.publish import current_release, verify

FIRST_NIGHT = datetime(2026, 5, 3, 18, 0, tzinfo=UTC)
"""02:00 on 4 May in Shanghai."""

CRM = """\
source: crm
type: sql
timezone: Asia/Shanghai
connection: {dsn: "sqlite:///{home}/in/crm.sqlite"}
streams:
  customers:
    from: {table: customers}
    to: customer
    primary_key: [id]
    cursor: {field: updated_at, lag: 1h}
    required: true
    fields: {full_name: name, email: email, phone: {from: mobile, region: CN}, login: login, country: country,
             created_at: created_at, updated_at: updated_at}
  orders:
    from: {table: orders}
    to: sales_order
    primary_key: [id]
    fields: {customer_source: {value: crm}, customer_id: customer_id, ordered_at: ordered_at, status: status,
             channel: {value: web}, order_amount: amount, order_currency: {value: CNY}, item_count: items}
"""
WEB = """\
source: web
type: files
timezone: Asia/Shanghai
streams:
  events:
    from: {path: "{home}/in/events_*.jsonl"}
    to: web_event
    primary_key: [id]
    fields: {occurred_at: at, anonymous_id: visitor, user_id: login, event_name: event, page_host: url, page_path: url}
"""
SURVEY = """\
source: survey
type: files
timezone: UTC
streams:
  responses:
    from: {path: "{home}/in/responses_*.csv"}
    primary_key: [id]
    required: true
    tables:
      response:
        survey: S1
        fields: {customer_source: {value: crm}, customer_id: customer, answered_at: answered, status: {value: complete},
                 updated_at: updated}
      answer:
        survey: S1
        fields: {answered_at: answered, updated_at: updated}
        questions: {Q1: nps, Q2: csat}
surveys:
  S1:
    name: How are we doing
    questions:
      Q1: {metric: nps, scale: {min: 0, max: 10}}
      Q2: {metric: csat, scale: {min: 1, max: 5}}
"""
SUPPORT = """\
source: support
type: files
timezone: UTC
streams:
  tickets:
    from: {path: "{home}/in/tickets_*.jsonl"}
    to: ticket
    primary_key: [id]
    fields: {customer_source: {value: crm}, customer_id: customer, subject: subject, status: status, opened_at: opened,
             reopened_count: reopens, updated_at: updated}
"""
CUSTOMERS = 24


def responses(rows: Iterable[tuple[Any, ...]]) -> str:
    """A survey export; rows are id, customer, answered, updated, nps, csat."""
    return "\n".join(["id,customer,answered,updated,nps,csat", *(",".join(map(str, row)) for row in rows), ""])


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def some_tickets(name: str, number: int = 4, **values: Any) -> str:
    return json_lines(
        {
            "id": f"{name}{index}",
            "customer": f"c{index}",
            "subject": "Where is my parcel?",
            "status": "open",
            "opened": "2026-05-02T03:00:00Z",
            "reopens": 0,
            "updated": "2026-05-02T03:00:00Z",
            **values,
        }
        for index in range(number)
    )


def some_events(name: str, day: str = "2026-05-01", visitors: int = 8) -> str:
    pages = ["/", "/products/tea", "/cart", "/checkout"]
    return json_lines(
        {
            "id": f"{name}-{visitor}-{number}",
            "at": f"{day} 10:{number:02d}:{visitor:02d}",
            "visitor": f"v{visitor}",
            "login": f"user{visitor}" if number == 2 else None,
            "event": "page_view",
            "url": f"https://shop.example{page}",
        }
        for visitor in range(visitors)
        for number, page in enumerate(pages)
    )


def some_responses(name: str, day: str = "2026-05-01", number: int = 20) -> str:
    return responses(
        (
            f"{name}{index}",
            f"c{index}",
            f"{day}T{1 + index // 4:02d}:{10 * (index % 4):02d}:00Z",
            f"{day}T{1 + index // 4:02d}:{10 * (index % 4):02d}:00Z",
            (9, 10, 3, 8)[index % 4],
            (5, 4, 2, 3)[index % 4],
        )
        for index in range(number)
    )


@dataclass
class Night:
    """What one night did."""

    settings: Settings
    result: dg.ExecuteInProcessResult
    published: bool
    text: str

    @property
    def run_id(self) -> str:
        return self.result.run_id

    @property
    def not_passed(self) -> dict[str, str]:
        """Check to severity, of those that did not pass."""
        return {
            f"{check.asset_key.to_user_string()}:{check.check_name}": check.severity.value.lower()
            for check in self.result.get_asset_check_evaluations()
            if not check.passed
        }

    @property
    def executed(self) -> set[str]:
        """Steps that began."""
        return {event.step_key for event in self.result.all_events if event.event_type_value == "STEP_START"}

    @property
    def loads(self) -> dict[str, dict[str, Any]]:
        """``source.stream`` to its load of this night."""
        rows = Control(self.settings.control_dir).scan("load").filter(pl.col("run_id") == self.run_id).collect()
        return {f"{row['source']}.{row['stream']}": row for row in rows.to_dicts()}

    @property
    def days_touched(self) -> dict[str, list[str]]:
        """Clean table to the business days that changed, as its asset reports them; tables without any left out."""
        found = {}
        for event in self.result.all_events:
            if event.is_step_materialization and "days touched" in event.materialization.metadata:
                table = event.materialization.asset_key.path[-1]
                found[table] = list(event.materialization.metadata["days touched"].value)
        return {table: days for table, days in found.items() if days}

    def load_error(self, stream: str) -> str:
        """Message of a load that failed."""
        load = self.loads[stream]
        assert load["status"] == "failed", load
        return str(load["error"])

    def details(self) -> str:
        """Details of the rules that did not pass, one a line."""
        found = Control(self.settings.control_dir).scan("check_result")
        rows = found.filter((pl.col("run_id") == self.run_id) & (pl.col("outcome") != "passed")).collect()
        return "\n".join(f"{row['target_table']}.{row['rule_id']}: {row['detail']}" for row in rows.to_dicts())


@dataclass
class Bench:
    """One home."""

    home: Path
    instance: dg.DagsterInstance
    clock: datetime = FIRST_NIGHT
    options: dict[str, Any] = field(default_factory=dict)
    until: str | Sequence[str] | None = None

    @property
    def settings(self) -> Settings:
        return replace(
            Settings(home=self.home, sources_dir=self.home / "sources", retry_seconds=0, duckdb_memory_limit="1GB"),
            **self.options,
        )

    def source(self, name: str, yaml: str | None) -> None:
        """Write, or with None remove, a source file."""
        path = self.home / "sources" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        if yaml is not None:
            path.write_text(yaml, encoding="utf-8")

    def deliver(self, files: Mapping[str, str | bytes | None]) -> None:
        """Put files into ``in/``; None takes one away."""
        for name, content in files.items():
            path = self.home / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content.encode() if isinstance(content, str) else content)

    def crm(self, *statements: str) -> None:
        """Change the CRM's database."""
        (self.home / "in").mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.home / "in" / "crm.sqlite")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
        finally:
            connection.close()

    def night(
        self,
        *,
        days: float = 1,
        selection: dg.AssetSelection | None = None,
        until: str | Sequence[str] = "published",
    ) -> Night:
        """Play a night, or what is selected of it; the clock then moves on by ``days``.

        Args:
            days: Days until the next night.
            selection: What is run of the job; with ``until``, nothing is to be said here.
            until: ``published``, ``clean``, or the marts to build. Every night of a home goes equally far, because a
                build remembers what it has seen.
        """
        assert self.until in (None, until), f"the nights of this home go until {self.until}, not {until}"
        self.until = until
        settings, now = self.settings, self.clock
        self.clock += timedelta(days=days)
        if until != "published":
            groups = ["landing", "clean", "identity"]
            groups += [] if until == "clean" else ["seeds", "staging", "intermediate", "marts", "semantic"]
            landed = dg.AssetSelection.groups("landing")
            selection = dg.AssetSelection.groups(*groups).without_checks() | dg.AssetSelection.checks_for_assets(
                *landed.resolve(build_definitions(settings).resolve_asset_graph())
            )
        before = dict(os.environ)
        invoke, forget = dbt_layer._invoke, dbt_layer._forget_touched
        if isinstance(until, list | tuple):
            models = [f"+{name}" for name in until]
            narrow = ["build", "--select", *models, "--exclude-resource-type", "unit_test", "test"]
            full = {"--full-refresh"}
            dbt_layer._invoke = lambda settings, said: invoke(settings, [*narrow, *full.intersection(said)])
            dbt_layer._forget_touched = lambda settings: None
        try:
            graph, name = build_definitions(settings, clock=lambda: now), "nightly"
            if selection is not None:
                name = "partly"
                job = dg.define_asset_job(name, selection, executor_def=dg.in_process_executor)
                graph = dg.Definitions.merge(graph, dg.Definitions(jobs=[job]))
            result = graph.resolve_job_def(name).execute_in_process(
                instance=self.instance,
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        finally:
            dbt_layer._invoke, dbt_layer._forget_touched = invoke, forget
            os.environ.clear()
            os.environ.update(before)
        summary = Summary(result, settings)
        return Night(settings, result, summary.is_published, summary.text(0.0))

    @contextmanager
    def published(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The published file, as a BI tool opens it; of nights that end before, the private one."""
        whole = self.until in (None, "published")
        path = self.home / "serving" / "current" / "marts.duckdb" if whole else self.settings.marts_path
        with duckdb.connect(str(path), read_only=True) as connection:
            yield connection

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.published() as connection:
            return connection.execute(query).fetchall()

    def one(self, query: str) -> Any:
        """The only row of a query; the only value of a row of one."""
        found = self.rows(query)
        assert len(found) == 1, f"one row was expected of {query!r}, not {found[:5]}"
        return found[0][0] if len(found[0]) == 1 else found[0]

    def clean(self, table: str) -> pl.DataFrame:
        contract = (CONTRACTS | DERIVED)[table]
        store = CleanStore(self.settings.clean_dir, self.settings.business_timezone)
        return store.scan(contract).collect().sort(contract.key)

    def quarantine(self, table: str) -> list[dict[str, Any]]:
        """Rejected rows of a table, read by plain SQL over the files."""
        files = self.home / "control" / "quarantine" / table / "*.parquet"
        with duckdb.connect() as connection:
            cursor = connection.execute(f"SELECT * FROM '{files}' ORDER BY load_id, load_row")
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def clean_files(self) -> dict[str, bytes]:
        """Every file of the clean layer that holds rows."""
        root = self.home / "clean"
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.parquet"))}

    def release(self) -> str | None:
        """Run of the published version, its files compared with their hashes; None where nothing is published."""
        release = current_release(self.settings)
        if release is None:
            return None
        assert verify(release) == []
        return release.run_id

    def read_elsewhere(self) -> int:
        """Number of responses that a process of its own reads from the published file."""
        query = (
            "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).sql('FROM fct_response').shape[0])"
        )
        path = self.home / "serving" / "current" / "marts.duckdb"
        done = subprocess.run(
            [sys.executable, "-c", query, str(path)], capture_output=True, text=True, timeout=60, check=True
        )
        return int(done.stdout)

    def command(self, *arguments: str, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``experience`` as an operator does."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("experience")), *arguments],
            cwd=self.home,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def environment(self, **more: str) -> dict[str, str]:
        own = {
            "EXPERIENCE_HOME": str(self.home),
            "EXPERIENCE_RETRY_SECONDS": "0",
            "DAGSTER_HOME": str(PROJECT_ROOT),
            "PYTHONUTF8": "1",
        }
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("EXPERIENCE_", "DAGSTER_"))}
        return {**kept, **own, **more}


@pytest.fixture(scope="session", autouse=True)
def one_profile() -> Iterator[None]:
    """Let dbt parse only what a home changes: it takes the path of a database for a reason to parse everything."""
    from dbt.contracts.files import FileHash
    from dbt.parser.manifest import ManifestLoader

    with pytest.MonkeyPatch.context() as patch:
        check = ManifestLoader.build_manifest_state_check

        def same(self: ManifestLoader) -> Any:
            state = check(self)
            state.profile_hash = FileHash.from_contents("every home of the bench")
            return state

        patch.setattr(ManifestLoader, "build_manifest_state_check", same)
        yield


@pytest.fixture(scope="session")
def dbt_target(tmp_path_factory: pytest.TempPathFactory, one_profile: None) -> Path:
    """dbt's target folder with the project parsed once, for every home to copy."""
    home = tmp_path_factory.mktemp("parsed")
    return ensure_manifest(Settings(home=home, sources_dir=home)).parent


@pytest.fixture(scope="session")
def new_bench(tmp_path_factory: pytest.TempPathFactory, dbt_target: Path) -> Iterator[Callable[..., Bench]]:
    """Makes a bench: with the usual sources, bare (``sources={}``), or as a copy of another one's home."""
    instances: list[dg.DagsterInstance] = []

    def make(*, like: Bench | None = None, sources: Mapping[str, str] | None = None) -> Bench:
        home = tmp_path_factory.mktemp("night") / "home"
        instances.append(dg.DagsterInstance.ephemeral(tempdir=str(tmp_path_factory.mktemp("dagster"))))
        if like is not None:
            shutil.copytree(like.home, home, symlinks=True)
            return Bench(home, instances[-1], like.clock)
        shutil.copytree(dbt_target, home / "dbt")
        bench = Bench(home, instances[-1])
        if sources is None:
            sources = {"crm": CRM, "web": WEB, "survey": SURVEY, "support": SUPPORT}
            _first_deliveries(bench)
        for name, yaml in sources.items():
            bench.source(name, yaml)
        return bench

    yield make
    for instance in instances:
        instance.dispose()


def _first_deliveries(bench: Bench) -> None:
    bench.crm(
        "CREATE TABLE customers (id, name, email, mobile, login, country, created_at, updated_at)",
        "CREATE TABLE orders (id, customer_id, ordered_at, status, amount, items)",
        *(
            f"INSERT INTO customers VALUES ('c{n}', 'Customer {n}', 'c{n}@example.com', '1380000{n:04d}', 'user{n}', "
            f"'CN', '2026-01-01 09:00:00', '2026-01-01 09:00:00')"
            for n in range(CUSTOMERS)
        ),
        *(
            f"INSERT INTO orders VALUES ('o{n}', 'c{n % 6}', '2026-05-01 1{n % 9}:30:00', 'paid', '12.50', '1')"
            for n in range(10)
        ),
    )
    bench.deliver(
        {
            "events_0501.jsonl": some_events("e"),
            "responses_0501.csv": some_responses("r"),
            "tickets_0501.jsonl": some_tickets("t"),
        }
    )


@pytest.fixture(scope="session")
def first_night(new_bench: Callable[..., Bench]) -> tuple[Bench, Night]:
    """A bench after its first night. Do not change it: copy it."""
    bench = new_bench()
    night = bench.night()
    assert night.published, night.text
    return bench, night


@pytest.fixture
def bench(new_bench: Callable[..., Bench]) -> Bench:
    return new_bench()


@pytest.fixture
def published_bench(new_bench: Callable[..., Bench], first_night: tuple[Bench, Night]) -> Bench:
    return new_bench(like=first_night[0])


@pytest.fixture(scope="session")
def rows_of() -> dict[str, Callable[..., str]]:
    """Writers of deliveries: ``responses``, ``tickets``, ``events``, ``survey``, ``lines``."""
    return {
        "responses": some_responses,
        "survey": responses,
        "tickets": some_tickets,
        "events": some_events,
        "lines": json_lines,
    }
