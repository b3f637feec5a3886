"""dbt assets: every seed, model and data test of the dbt project, built in one ``dbt build``.

Unit tests of models run in the project's tests, not at night. A data test that fails at error severity fails
the step, so that nothing behind it is published. Where nothing that dbt reads has changed since the last build that
came to its end, that build stands: the same inputs would give the same marts.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliResource, DbtProject, dbt_assets
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

from orchestration.assets.keys import OWNERS, clean_key, gate_key
from orchestration.contracts import CONTRACTS
from orchestration.settings import HOME_VARIABLE, TIMEZONE_VARIABLE, Settings
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.files import write_json

WRITER_POOL = "duckdb_writer"
BUILT = {"web_event": "int_web_built", "answer": "int_answer_built"}
"""Clean tables whose changes dbt follows entity by entity, to the model that says which of them it has seen."""
RUN_ID_VARIABLE = "EXPERIENCE_RUN_ID"


class LayerTranslator(DagsterDbtTranslator):
    """Keys, groups and owners of dbt nodes from the folder they lie in."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """``<layer>/<name>``; sources are the clean and identity tables."""
        if dbt_resource_props["resource_type"] == "source":
            name = dbt_resource_props["name"]
            # A log of touched entities is part of the table whose changes it records.
            return clean_key(name.rsplit("_", 1)[0] if dbt_resource_props["source_name"] == "touched" else name)
        return dg.AssetKey([_layer(dbt_resource_props), dbt_resource_props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The layer."""
        return _layer(dbt_resource_props)

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        """The owners of the layer."""
        return OWNERS.get(_layer(dbt_resource_props), OWNERS["marts"])

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """The spec; what dbt reads first waits for the clean gate."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        if spec.key.path[0] in {"seeds", "staging"}:
            spec = spec.merge_attributes(deps=[gate_key("clean")])
        return spec


def _layer(props: Mapping[str, Any]) -> str:
    if props["resource_type"] == "seed":
        return "seeds"
    return props["fqn"][1] if len(props["fqn"]) > 2 else "marts"


def dbt_project(settings: Settings) -> DbtProject:
    """The dbt project with its own target folder below the warehouse's home."""
    return DbtProject(
        project_dir=settings.dbt_project_dir, profiles_dir=settings.dbt_project_dir, target_path=_target(settings)
    )


def _target(settings: Settings) -> Path:
    return settings.home / "dbt"


def dbt_environment(settings: Settings, run_id: str = "") -> dict[str, str]:
    """Environment that dbt reads: the home, the business time zone, the run."""
    return {
        HOME_VARIABLE: str(settings.home),
        TIMEZONE_VARIABLE: settings.business_timezone,
        RUN_ID_VARIABLE: run_id,
        "DBT_TARGET_PATH": str(_target(settings)),
        "DBT_LOG_PATH": str(_target(settings) / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def ensure_manifest(settings: Settings) -> Path:
    """Path of dbt's manifest, parsed anew where a file of the project is newer.

    Raises:
        RuntimeError: the project does not parse; the message is dbt's.
    """
    manifest = _target(settings) / "manifest.json"
    newest = max((path.stat().st_mtime for path in _project_files(settings)), default=0)
    if manifest.exists() and manifest.stat().st_mtime >= newest and _is_whole(manifest):
        return manifest
    from dbt.cli.main import dbtRunner

    (settings.home / "warehouse").mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    os.environ.update(dbt_environment(settings))
    try:
        folders = ["--project-dir", str(settings.dbt_project_dir), "--profiles-dir", str(settings.dbt_project_dir)]
        result = dbtRunner().invoke(["--quiet", "parse", *folders, "--target-path", str(_target(settings))])
    finally:
        os.environ.clear()
        os.environ.update(before)
    if not result.success:
        raise RuntimeError(f"dbt cannot parse {settings.dbt_project_dir}: {result.exception or result.result}")
    return manifest


def _is_whole(path: Path) -> bool:
    """Whether a JSON file was written to its end: dbt does not write by rename, and may be killed."""
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def warehouse_assets(settings: Settings) -> dg.AssetsDefinition:
    """All nodes of the dbt project as assets, its data tests as asset checks."""
    project = dbt_project(settings)
    manifest = ensure_manifest(settings)
    # A check in the graph for each data test would cost more than the test: a failing one fails the step and is named.
    translator = LayerTranslator(
        DagsterDbtTranslatorSettings(enable_asset_checks=False, enable_duplicate_source_asset_keys=True)
    )

    @dbt_assets(
        manifest=manifest,
        project=project,
        dagster_dbt_translator=translator,
        exclude="resource_type:unit_test",
        pool=WRITER_POOL,
        name="dbt",
    )
    def _build(context: dg.AssetExecutionContext) -> Iterator[Any]:
        settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
        os.environ.update(dbt_environment(settings, context.run_id))
        # The clean gate has held the keys of what staging shows already, table by table.
        staging_tests = "path:models/staging/_staging.yml,resource_type:test"
        arguments = ["build", "--exclude-resource-type", "unit_test", "--exclude", staging_tests]
        if context.is_subset:
            # Who picks by hand may leave out what a table is made from: the next build builds upon nothing.
            _project_note(settings).unlink(missing_ok=True)
            # What was picked is translated into a selection by the resource, which starts dbt anew.
            executable = str(Path(sys.executable).with_name("dbt"))
            dbt = DbtCliResource(project_dir=project, dbt_executable=executable)
            yield from dbt.cli(arguments, context=context, target_path=_target(settings)).stream()
            return
        project_hash = _project_hash(settings)
        inputs = _inputs(settings, project_hash)
        if (before := _last_build(settings)) and before["inputs"] == inputs and before["files"] == _files(settings):
            context.log.info("nothing that dbt reads changed since run %s built the marts", before["run_id"])
            for key in _in_order(context.assets_def):
                yield dg.MaterializeResult(asset_key=key, metadata={"unchanged since run": before["run_id"]})
            return
        _build_note(settings).unlink(missing_ok=True)
        if _built_project(settings) != project_hash:
            context.log.info("the dbt project is not the one that built the tables: incremental models are made anew")
            arguments.append("--full-refresh")
            # Should it fail, what it leaves is of two projects: the one before must not take it for its own.
            _project_note(settings).unlink(missing_ok=True)
        failure = None
        for event in _invoke(settings, arguments):
            if isinstance(event, dg.Failure):
                failure = event
                continue
            yield from event.to_default_asset_events(
                manifest, translator, context=context, target_path=_target(settings), project=project
            )
        if failure is not None:
            raise failure
        _forget_touched(settings)
        note = {"inputs": inputs, "run_id": context.run_id, "files": _files(settings)}
        write_json(note, _build_note(settings))
        _project_note(settings).write_text(project_hash, encoding="utf-8")

    return _build


def _in_order(assets: dg.AssetsDefinition) -> list[dg.AssetKey]:
    """The assets of one definition, each behind those it depends on."""
    inner = {spec.key: [dep.asset_key for dep in spec.deps if dep.asset_key in assets.keys] for spec in assets.specs}
    return list(TopologicalSorter(inner).static_order())


def built_by(settings: Settings) -> str | None:
    """The run that built the marts as they are now; None where the last build did not come to its end."""
    before = _last_build(settings)
    return before["run_id"] if before else None


@contextmanager
def rewriting_files(settings: Settings) -> Iterator[None]:
    """Around whatever writes dbt's two files anew with the same content: the build that left them stands on."""
    before = _last_build(settings)
    stands = before is not None and before["files"] == _files(settings)
    yield
    if before is not None and stands:
        write_json({**before, "files": _files(settings)}, _build_note(settings))


def _build_note(settings: Settings) -> Path:
    return _target(settings) / "last_build.json"


def _last_build(settings: Settings) -> dict[str, Any] | None:
    path = _build_note(settings)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _project_note(settings: Settings) -> Path:
    return _target(settings) / "built_project"


def _built_project(settings: Settings) -> str | None:
    """Hash of the project of the last build that came to its end; None where the tables are not all its own."""
    path = _project_note(settings)
    return path.read_text(encoding="utf-8") if path.exists() and settings.warehouse_path.exists() else None


def _forget_touched(settings: Settings) -> None:
    """Drop from the logs of touched entities what this build has seen."""
    store = CleanStore(settings.clean_dir, settings.business_timezone)
    with duckdb.connect(settings.warehouse_path, read_only=True) as connection:
        for table, model in BUILT.items():
            ((sequence,),) = connection.execute(f"SELECT sequence FROM working.{model}").fetchall()
            store.forget_touched(CONTRACTS[table], sequence)


def _files(settings: Settings) -> list[list[int] | None]:
    """What shows that dbt's two files are as the last build left them; what a killed writer left may lie in a log."""
    files = [settings.warehouse_path, settings.marts_path]
    logs = [path.with_name(path.name + ".wal") for path in files]
    states = [path.stat() if path.exists() else None for path in (*files, *logs)]
    return [[state.st_size, state.st_mtime_ns] if state else None for state in states]


def _inputs(settings: Settings, project_hash: str) -> str:
    """Hash of everything that a build depends on: clean files, the dbt project, the time zone, the versions."""
    digest = hashlib.sha256(project_hash.encode())
    for path in sorted(settings.clean_dir.glob("*/*.parquet")):
        state = path.stat()
        digest.update(f"{path.parent.name}/{path.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _project_hash(settings: Settings) -> str:
    """Hash of what decides how a build comes out but for its data: the dbt project, the time zone, the versions."""
    versions = [version(name) for name in ("dbt-core", "dbt-duckdb", "duckdb")]
    digest = hashlib.sha256(json.dumps([settings.business_timezone, *versions]).encode())
    for path in _project_files(settings):
        digest.update(f"{path.relative_to(settings.dbt_project_dir)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _project_files(settings: Settings) -> list[Path]:
    skip = {"target", "logs", "dbt_packages"}
    return sorted(
        path
        for path in settings.dbt_project_dir.rglob("*")
        if path.is_file() and path.relative_to(settings.dbt_project_dir).parts[0] not in skip
    )


@contextmanager
def closing_files() -> Iterator[None]:
    """Around dbt in a process that goes on: its two files are checkpointed and closed behind it, however it ends.

    The connection is dbt's for as long as the process lives (``keep_open`` of the profile).
    """
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    try:
        yield
    finally:
        if DuckDBConnectionManager._ENV is not None:
            DuckDBConnectionManager._ENV.close()
            DuckDBConnectionManager.close_all_connections()


def _invoke(settings: Settings, arguments: Sequence[str]) -> Iterator[DbtCoreCliEventMessage | dg.Failure]:
    """Run dbt in this process, which has imported it already: what each node gave, then why the build failed, if so.

    A process of its own starts dbt twice (once to ask for its version), which costs more than a quiet night's models.
    """
    from dbt.cli.main import dbtRunner
    from google.protobuf.json_format import MessageToDict

    events: list[DbtCoreCliEventMessage] = []

    def keep(event: Any) -> None:
        message = DbtCoreCliEventMessage(
            raw_event=MessageToDict(event, preserving_proto_field_name=True), event_history_metadata={}
        )
        if message.raw_event["info"]["name"] in ("LogModelResult", "LogSeedResult") and message.is_result_event:
            events.append(message)

    folder = str(settings.dbt_project_dir)
    with closing_files():
        result = dbtRunner(callbacks=[keep]).invoke([*arguments, "--project-dir", folder, "--profiles-dir", folder])
    yield from events
    if not result.success:
        said = [
            f"{node.node.name}: {str(node.message).strip().splitlines()[0]}"
            for node in getattr(result.result, "results", None) or ()
            if node.status in ("error", "fail")
        ]
        yield dg.Failure("dbt build failed; " + ("; ".join(said) or str(result.exception)))
