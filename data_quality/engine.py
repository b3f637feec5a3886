"""Great Expectations on DuckDB: execution engine, datasource and the metrics that differ.

Belongs here: everything that touches the inside of Great Expectations, so that a move of its version is one
file's work. Does not belong here: which rules there are and what their outcome means.

Importing this module imports Great Expectations, which costs 3 to 4 CPU seconds: import it within the function
that needs it, never at the top of a module that Dagster loads.

Why the subclass: a plain SQL datasource hands out results of a connection that the pool has already reset, so
that nearly every expectation fails to evaluate on DuckDB. One connection, that of the gate's session, mends that;
closing it gives the file lock back. It rests on the private attribute ``_connection`` of GX's engine, which is
why GX is pinned exactly and ``tests/integration/test_gx_engine.py`` runs every expectation that is used.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import great_expectations as gx
import sqlalchemy as sa
from duckdb_sqlalchemy import ConnectionWrapper
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.core.metric_function_types import MetricFunctionTypes
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.datasource.fluent.interfaces import Batch
from great_expectations.datasource.fluent.sql_datasource import SQLDatasource
from great_expectations.execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.metrics.map_metric_provider import column_condition_partial
from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import (
    ColumnMapMetricProvider,
)
from great_expectations.expectations.metrics.metric_provider import MetricProvider, metric_value
from great_expectations.expectations.registry import _registered_metrics
from pydantic.v1 import PrivateAttr
from sqlalchemy.pool import StaticPool

from data_quality.session import Session


class DuckDBExecutionEngine(SqlAlchemyExecutionEngine):
    """GX's SQL engine with one connection for the whole run.

    ``_connection`` is the base class's own attribute for dialects that need this; its ``close`` leaves the
    connection open on others than those it lists, so both methods are replaced.
    """

    @contextmanager
    def get_connection(self) -> Generator[sa.Connection, None, None]:
        """The run's one connection; it stays open when the block ends."""
        if self._connection is None:
            self._connection = self.engine.connect()
        yield self._connection

    def get_inspector(self) -> sa.Inspector:
        """An inspector on the run's connection; one on the engine would reset it."""
        if self._inspector is None:
            with self.get_connection() as connection:
                self._inspector = sa.inspect(connection)
        return self._inspector

    def close(self) -> None:
        """Close the connection and give back every file lock."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._inspector = None
        self.engine.dispose()


_EngineType = type[SqlAlchemyExecutionEngine]


class DuckDBDatasource(SQLDatasource):
    """Datasource type ``duckdb`` over an engine that was opened beforehand."""

    type: Literal["duckdb"] = "duckdb"  # type: ignore[assignment]
    _opened: Any = PrivateAttr(None)

    @property
    def execution_engine_type(self) -> _EngineType:
        """The engine class, by which GX finds the metrics registered below."""
        return DuckDBExecutionEngine

    def use(self, engine: DuckDBExecutionEngine) -> None:
        """Read through ``engine`` from now on."""
        self._opened = engine

    def get_execution_engine(self) -> DuckDBExecutionEngine:
        """The opened engine."""
        return self._opened

    def get_engine(self) -> sa.Engine:
        """The SQLAlchemy engine below it."""
        return self._opened.engine

    def _save_context_project_config(self) -> None:
        """Nothing to save: the context lives as long as the run."""

    def test_connection(self, test_assets: bool = True) -> None:
        """Nothing to test: the engine is open."""


def _regular_expression(name: str, positive: bool) -> type[ColumnMapMetricProvider]:
    # DuckDB's '~', which GX would use for a PostgreSQL-like dialect, matches the whole value; GX's contract
    # is that of a search.
    def condition(cls: type, column: Any, regex: str, **_: Any) -> Any:
        found = sa.func.regexp_matches(column, sa.literal(regex))
        return found if positive else sa.not_(found)

    partial = column_condition_partial(engine=DuckDBExecutionEngine)(condition)
    body = {"condition_metric_name": name, "condition_value_keys": ("regex",), "_duckdb": partial}
    return type(f"DuckDB_{name.replace('.', '_')}", (ColumnMapMetricProvider,), body)


def _like(name: str, positive: bool) -> type[ColumnMapMetricProvider]:
    def condition(cls: type, column: Any, like_pattern: str, **_: Any) -> Any:
        return column.like(like_pattern) if positive else column.not_like(like_pattern)

    partial = column_condition_partial(engine=DuckDBExecutionEngine)(condition)
    body = {"condition_metric_name": name, "condition_value_keys": ("like_pattern", "escape"), "_duckdb": partial}
    return type(f"DuckDB_{name.replace('.', '_')}", (ColumnMapMetricProvider,), body)


_REGEX = _regular_expression("column_values.match_regex", True)
_NOT_REGEX = _regular_expression("column_values.not_match_regex", False)
_LIKE = _like("column_values.match_like_pattern", True)
_NOT_LIKE = _like("column_values.not_match_like_pattern", False)


class _DuplicatedRows(MetricProvider):
    """Rows that share their key with another: none where the keys' hashes are all different, else counted.

    Numbers are several times cheaper to tell apart than texts, and keys with different hashes are different. Polars
    tells numbers apart in a fifth of the time that ``count(DISTINCT)`` takes. Only where two hashes are equal are the
    keys themselves compared, in one hash aggregation; GX's own form joins the counts back to the whole table or sorts
    it by a window: four to ten times dearer.
    """

    hashes_at_once: ClassVar[int] = 20_000_000
    """Hashes, of 8 bytes each, that are compared at a time; of more rows each share is read by itself."""

    @classmethod
    def count(
        cls, execution_engine: DuckDBExecutionEngine, domain_kwargs: dict[str, Any], columns: Sequence[str]
    ) -> int:
        table, _, _ = execution_engine.get_compute_domain(domain_kwargs, domain_type=MetricDomainTypes.TABLE)
        source: Any = table.subquery() if isinstance(table, sa.Select) else table
        keys: list[sa.ColumnClause[Any]] = [sa.column(name) for name in columns]
        stated = [key.is_not(None) for key in keys]
        hashed = sa.func.hash(*keys)
        rows = execution_engine.execute_query(sa.select(sa.func.count()).select_from(source)).scalar()
        shares = 1 + (rows or 0) // cls.hashes_at_once
        for share in range(shares):
            own = [] if shares == 1 else [hashed % shares == share]
            query = sa.select(hashed.label("hash")).select_from(source).where(*stated, *own)
            hashes = execution_engine.execute_query(query).cursor.pl()["hash"]
            if hashes.n_unique() < hashes.len():
                break
        else:
            return 0
        groups = (
            sa.select(sa.func.count().label("n"))
            .select_from(source)
            .where(*stated)
            .group_by(*keys)
            .having(sa.func.count() > 1)
            .subquery()
        )
        found = execution_engine.execute_query(sa.select(sa.func.coalesce(sa.func.sum(groups.c.n), 0))).scalar()
        return int(found or 0)


class _CompoundUniqueCount(_DuplicatedRows):
    metric_name = "compound_columns.unique.unexpected_count"
    domain_keys = ("batch_id", "table", "column_list", "row_condition", "condition_parser", "ignore_row_if")

    @metric_value(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls,  # noqa: N805 - the decorator makes it a class method
        execution_engine: DuckDBExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any],
    ) -> int:
        domain = {
            key: value for key, value in metric_domain_kwargs.items() if key not in ("column_list", "ignore_row_if")
        }
        return cls.count(execution_engine, domain, metric_domain_kwargs["column_list"])


class _UniqueCount(_DuplicatedRows):
    metric_name = "column_values.unique.unexpected_count"
    domain_keys = ("batch_id", "table", "column", "row_condition", "condition_parser")

    @metric_value(engine=DuckDBExecutionEngine)
    def _duckdb(
        cls,  # noqa: N805 - the decorator makes it a class method
        execution_engine: DuckDBExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any],
    ) -> int:
        domain = {key: value for key, value in metric_domain_kwargs.items() if key != "column"}
        return cls.count(execution_engine, domain, [metric_domain_kwargs["column"]])


class _NoValues(MetricProvider):
    """No examples of unexpected values: they may be personal data, and each costs a scan of the table."""


def _no_values(*_: Any, **__: Any) -> list[Any]:
    return []


_no_values.metric_fn_type = MetricFunctionTypes.VALUE  # type: ignore[attr-defined]


def _without_dependencies(provider: type[MetricProvider]) -> None:
    # The conditions that GX's own providers of these counts depend on are not needed, and would be computed.
    def no_dependencies(cls: type, *_: Any, **__: Any) -> dict[str, Any]:
        return {}

    provider._get_evaluation_dependencies = classmethod(no_dependencies)  # type: ignore[method-assign, assignment]


def _register() -> None:
    for provider in (_CompoundUniqueCount, _UniqueCount, _NoValues):
        _without_dependencies(provider)
    for name, definition in list(_registered_metrics.items()):
        if name.endswith(".unexpected_values") or name == "unexpected_rows_query.table":
            definition["providers"][DuckDBExecutionEngine.__name__] = (_NoValues, _no_values)


_register()


class Validator:
    """What a gate needs of Great Expectations: one context over the connection of its session.

    Args:
        session: The gate's session. Closing either gives back every file lock.
    """

    result_format: ClassVar[dict[str, Any]] = {"result_format": "BASIC", "partial_unexpected_count": 0}

    def __init__(self, session: Session) -> None:
        engine = sa.create_engine(
            "duckdb:///:memory:",
            poolclass=StaticPool,
            isolation_level="AUTOCOMMIT",
            creator=lambda: ConnectionWrapper(session.connection),
        )
        self._engine = DuckDBExecutionEngine(engine=engine, create_temp_table=False)
        config = DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
        )
        self._context = gx.get_context(mode="ephemeral", project_config=config)
        self._datasource = DuckDBDatasource(name="gate", connection_string="duckdb:///:memory:")
        self._datasource._data_context = self._context
        self._datasource.use(self._engine)
        self._assets = 0

    def close(self) -> None:
        """Close the connection and give back every file lock."""
        self._engine.close()

    def batch(self, table: str) -> Batch:
        """The whole of ``table``, a table or view of the session as it is now, as a batch."""
        self._assets += 1
        asset = self._datasource.add_table_asset(name=f"{table}-{self._assets}", table_name=table)
        return asset.get_batch(asset.build_batch_request())

    def validate(self, batch: Batch, expectations: Sequence[Expectation]) -> list[Any]:
        """Validate all ``expectations`` at once, so that GX puts their aggregates in one query.

        Returns:
            One ``ExpectationValidationResult`` for each expectation, in their order. ``meta["position"]`` of an
            expectation is overwritten.
        """
        for position, expectation in enumerate(expectations):
            expectation.meta = {"position": position}
        suite = gx.ExpectationSuite(name="gate", expectations=list(expectations))
        found = batch.validate(suite, result_format=self.result_format)
        results: list[Any] = [None] * len(expectations)
        for result in found.results:
            configuration: Any = result.expectation_config
            results[configuration.meta["position"]] = result
        return results
