"""The few verbs that Dagster's own command line lacks.

``init`` makes the home with its key, and the schema by which editors check source files. ``nightly`` runs one night in
this process and exits 0 when it was published (warnings are printed), 1 when a gate blocked or a step failed, 2 when
the command cannot run at all. ``headlines`` prints the numbers of the published version, ``releases`` and ``roll-back``
show and move it. Other verbs have a module each in ``orchestration.commands``.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Sequence

from orchestration.commands import verbs
from orchestration.errors import CannotRunError
from orchestration.night_lock import end_dead_runs, logged, only_night
from orchestration.settings import Settings, SettingsError, make_hmac_key

EXIT_PUBLISHED = 0
EXIT_BLOCKED = 1
EXIT_CANNOT_RUN = 2
PUBLISHED_OP = "published__release"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit status."""
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        try:
            print(flush=True)
        except BrokenPipeError:
            # Whoever reads the output (head, less) has seen enough; Python would complain once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_BLOCKED
        raise
    return status


def _run(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="experience", description="The experience warehouse.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init", help="make the warehouse's home: a key for pseudonyms, the schema of source files")
    night = commands.add_parser("nightly", help="run one night here and now; non-zero when a gate blocked")
    night.add_argument(
        "--accept-drop",
        action="append",
        default=[],
        metavar="TABLE",
        help="publish although TABLE vanished or lost more than half of its rows; may be given more than once",
    )
    commands.add_parser("headlines", help="print the headline numbers of the published version")
    commands.add_parser("releases", help="list the published versions")
    back = commands.add_parser("roll-back", help="make an older published version the current one")
    back.add_argument("run_id", help="release to go back to, as 'experience releases' lists it")
    for module in verbs():
        module.add(commands)
    options = parser.parse_args(arguments)
    try:
        settings = Settings.from_environment()
        if hasattr(options, "run"):
            return int(options.run(settings, options))
        match options.command:
            case "init":
                from orchestration.commands.sources.schema import write as write_schema

                made = "made" if make_hmac_key(settings.home) else "there already"
                print(f"{settings.home}: key for pseudonyms {made}")
                print(f"{write_schema(settings.sources_dir)}: schema of source files, for editors")
            case "nightly":
                drops = (*settings.accept_drops, *options.accept_drop)
                return nightly(dataclasses.replace(settings, accept_drops=drops))
            case "headlines":
                print(_headlines(settings))
            case "releases":
                print(_releases(settings))
            case "roll-back":
                from orchestration.warehouse.publish import roll_back

                print(f"current release: {roll_back(settings, options.run_id).run_id}")
    except (CannotRunError, SettingsError) as error:
        print(f"experience: {error}", file=sys.stderr)
        return EXIT_CANNOT_RUN
    except RuntimeError as error:
        if not _is_about_releases(error):
            raise
        print(f"experience: {error}", file=sys.stderr)
        return EXIT_CANNOT_RUN
    return EXIT_PUBLISHED


def _is_about_releases(error: RuntimeError) -> bool:
    from orchestration.report.build import MartError
    from orchestration.warehouse.publish import PublishError

    return isinstance(error, PublishError | MartError)


def nightly(settings: Settings) -> int:
    """Run the job ``nightly`` in this process on the Dagster instance of ``DAGSTER_HOME``.

    Raises:
        CannotRunError: another night is running, or no instance is configured.
    """
    os.environ.setdefault("EXPERIENCE_HOME", str(settings.home))
    with only_night(settings):
        started = time.perf_counter()
        import dagster as dg
        from dagster._core.utils import make_new_run_id

        from orchestration.automation.alerts import NIGHTLY, PID_TAG, report
        from orchestration.automation.outcome import RUN, Outcome, Problem, outcome_of
        from orchestration.definitions import build_definitions, utc_now
        from orchestration.progress import Watcher
        from orchestration.warehouse.control import Control

        if not os.environ.get("DAGSTER_HOME"):
            raise CannotRunError("DAGSTER_HOME is not set; set it to the folder of dagster.yaml, or use make nightly")
        run_id = make_new_run_id()
        watcher = Watcher(sys.__stdout__ or sys.stdout)
        with (
            logged(settings.home / "logs" / f"{run_id}.log") as log,
            dg.DagsterInstance.get() as instance,
            watcher.showing(),
        ):
            watcher.say(f"night {run_id} runs; its log is {log}")

            def tell(outcome: Outcome, of: str = run_id) -> None:
                report(settings, job=NIGHTLY, run_id=of, outcome=outcome, now=utc_now())

            for dead in end_dead_runs(instance, PID_TAG):
                tell(Outcome((Problem(RUN, "the night was killed; the next one mends what it left"),)), dead)
            try:
                job = build_definitions(settings, watch=watcher.watch).resolve_job_def(NIGHTLY)
                if watcher.is_terminal:
                    instance.add_event_listener(run_id, watcher.steps("night", len(job.graph.node_dict)))
                result = job.execute_in_process(
                    instance=instance,
                    run_id=run_id,
                    raise_on_error=False,
                    tags={PID_TAG: str(os.getpid())},
                    run_config={"loggers": {"console": {"config": {"log_level": "INFO"}}}},
                )
            except Exception as error:
                tell(Outcome((Problem(RUN, f"the night could not run: {type(error).__name__}: {error}"),)))
                raise
            Control(settings.control_dir).gather_steps()
            summary = Summary(result, settings)
            tell(outcome_of(result.all_events, publishes=True))
        print(summary.text(time.perf_counter() - started))
    return EXIT_PUBLISHED if summary.is_published else EXIT_BLOCKED


class Summary:
    """What a night did, read from its events and from what is published now.

    A night that published nothing is no success, whatever Dagster says: Dagster calls a run successful in which the
    publisher was skipped.
    """

    def __init__(self, result, settings: Settings) -> None:
        from orchestration.automation.outcome import cause
        from orchestration.warehouse.publish import PublishError, current_release

        self.result = result
        self.current_link = settings.serving_dir / "current"
        try:
            current = current_release(settings)
            self.is_current = current is not None and current.run_id == result.run_id
        except PublishError:
            self.is_current = False
        evaluations = result.get_asset_check_evaluations()
        self.failed_checks = [check for check in evaluations if not check.passed]
        self.check_count = len(evaluations)
        self.failures = {event.step_key: cause(event) for event in _failures(result)}
        self.not_run = _not_run(result)
        self.retention = _said_of_retention(result)

    @property
    def is_published(self) -> bool:
        """Whether the run ended well and its release is the one that readers see."""
        return self.result.success and self.is_current

    @property
    def problems(self) -> list[str]:
        """Failed steps and blocking checks, one line each; why nothing was published, where neither says so."""
        found = [f"{step}: {message}" for step, message in self.failures.items()]
        found += [f"check {_check_name(check)} failed" for check in self.failed_checks if _blocks(check)]
        if not found and not self.is_published:
            found.append(f"no release came of this run although no step failed: {PUBLISHED_OP} did not run")
        return found

    def text(self, seconds: float) -> str:
        """The summary as printed."""
        lines = [f"night {self.result.run_id}: {seconds:.1f} s, {self.check_count} checks"]
        for check in self.failed_checks:
            label = "FAILED" if _blocks(check) else "warned"
            lines.append(f"  {label:7} {_check_name(check)}" + (f": {detail}" if (detail := _detail(check)) else ""))
        lines += [f"  FAILED  {problem}" for problem in self.problems if not problem.startswith("check ")]
        lines += [f"  skipped behind {cause}: {', '.join(steps)}" for cause, steps in self.not_run.items()]
        if self.retention:
            lines.append(f"  retention: {self.retention}")
        if self.is_published:
            lines.append(f"published: {self.current_link}")
        elif self.is_current:
            lines.append(f"published: {self.current_link}, but the night did not end well")
        else:
            lines.append("NOT published: readers keep the version published before")
        return "\n".join(lines)


def _said_of_retention(result) -> str | None:
    """What retention removed; None where it did not run or nothing was due."""
    for event in result.get_asset_materialization_events():
        if event.asset_key.path == ["published", "retention"]:
            said = str(event.step_materialization_data.materialization.metadata["summary"].value)
            return None if said == "nothing was due" else said
    return None


def _failures(result) -> list:
    # A gate with several blocking checks reports its step's failure more than once.
    return list({event.step_key: event for event in result.get_step_failure_events()}.values())


def _not_run(result) -> dict[str, list[str]]:
    """Steps that did not run, by the step that failed, or gave nothing, in front of them."""
    # A gate gives the results of its checks before it fails.
    failed = {event.step_key for event in result.get_step_failure_events()}
    began = {event.step_key for event in result.all_events if event.event_type_value == "STEP_START"}
    given = {
        (event.step_key, event.event_specific_data.step_output_handle.output_name)
        for event in result.all_events
        if event.event_type_value == "STEP_OUTPUT" and event.step_key not in failed
    }
    graph = result.job_def.graph
    causes: dict[str, set[str]] = {}

    def causes_of(step: str) -> set[str]:
        if step not in causes:
            causes[step] = set()
            for outputs in graph.dependency_structure.input_to_upstream_outputs_for_node(step).values():
                for output in outputs:
                    before = output.node_name
                    if (before, output.output_def.name) not in given:
                        causes[step] |= {before} if before in began else causes_of(before)
        return causes[step]

    found: dict[str, list[str]] = {}
    for step in graph.node_dict:
        if step not in began:
            found.setdefault(", ".join(sorted(causes_of(step))) or "no step that failed", []).append(step)
    return dict(sorted(found.items()))


def _blocks(check) -> bool:
    return check.severity.value == "ERROR"


def _check_name(check) -> str:
    return f"{check.asset_key.to_user_string()}:{check.check_name}"


def _detail(check) -> str:
    """What a check said: its description, which holds a line for each rule that did not pass."""
    said = check.description or check.metadata.get("detail") or check.metadata.get("summary") or ""
    return "; ".join(line.strip() for line in str(getattr(said, "value", said)).splitlines() if line.strip())


def _headlines(settings: Settings) -> str:
    from orchestration.report.build import headlines, render_text
    from orchestration.warehouse.publish import current_release

    release = current_release(settings)
    if release is None:
        raise CannotRunError(f"nothing is published below {settings.serving_dir} yet; run a night first")
    current = settings.serving_dir / "current"
    paths = {
        "marts": current / "marts.duckdb",
        "Parquet": current / "parquet",
        "report": current / "report.html",
        "run": release.run_id,
    }
    return "\n".join(
        [render_text(headlines(release.marts_path)).rstrip(), *(f"{name:8} {place}" for name, place in paths.items())]
    )


def _releases(settings: Settings) -> str:
    from orchestration.warehouse.publish import current_release, releases

    current = current_release(settings)
    lines = [
        f"{'*' if current and release.run_id == current.run_id else ' '} {release.run_id}  {release.published_at}"
        for release in releases(settings)
    ]
    return "\n".join(lines) or "nothing is published yet"


if __name__ == "__main__":
    raise SystemExit(main())
