"""A sensor that looks for new files of sources and asks for a night when they have come.

It lists and reads nothing. A file counts as come when it looked the same at two ticks, so that one that is being
written is left alone. The whole night is asked for: the gates pass only what they have seen of every stream, and the
streams without news are ``unchanged``. Does not belong here: where files lie (``sources.files_storage``).
"""

import hashlib
import json
from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestration.settings import Settings
from orchestration.sources.config import SourceConfig
from orchestration.sources.errors import ConfigError, SourceError
from orchestration.sources.files import FilesOrigin, listed

ARRIVALS = "arrivals"
SOURCES_TAG = "experience/arrived"
"""Tag of a run that was asked for: the streams whose files came."""
INTERVAL_SECONDS = 60
_FILE_HASH = 12


def arrivals_sensor(
    sources: Mapping[str, SourceConfig], settings: Settings, job: UnresolvedAssetJobDefinition
) -> dg.SensorDefinition:
    """The sensor; off until it is switched on.

    Args:
        sources: Sources by name; those with streams of files are looked at.
        settings: Folders and secrets.
        job: What is asked for.
    """
    streams = [
        (source, stream)
        for source in sources.values()
        for stream, config in source.streams.items()
        if isinstance(config.origin, FilesOrigin)
    ]

    @dg.sensor(
        name=ARRIVALS,
        job=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Asks for a night when files of a source have come and are no longer being written.",
    )
    def _look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        before = json.loads(context.cursor or "{}")
        # A stream that cannot be looked at now keeps what was known of it.
        after: dict[str, dict[str, list[str]]] = dict(before)
        come: dict[str, list[str]] = {}
        for source, stream in streams:
            name = f"{source.source}.{stream}"
            known = before.get(name)
            try:
                now = {_hash(file.name, file.seen) for file in listed(source, stream, settings)}
            except (SourceError, ConfigError, OSError) as error:
                context.log.warning("%s", error)
                continue
            # What lay there before the sensor was switched on is left to the schedule.
            done = now if known is None else set(known["done"])
            ready = _ready(now, done, set((known or {}).get("seen", ())), source.streams[stream].origin)
            if ready:
                come[name] = sorted(ready)
            # What is gone is forgotten: should it come again, it has come.
            after[name] = {"seen": sorted(now), "done": sorted((done | ready) & now)}
        cursor = json.dumps(after, sort_keys=True)
        if not come:
            return dg.SensorResult(skip_reason=f"nothing new in {len(streams)} streams of files", cursor=cursor)
        key = _hash(json.dumps(come, sort_keys=True))
        request = dg.RunRequest(run_key=key, tags={SOURCES_TAG: ", ".join(sorted(come))[:200]})
        return dg.SensorResult(run_requests=[request], cursor=cursor)

    return _look


def _ready(now: set[str], done: set[str], seen: set[str], origin: FilesOrigin) -> set[str]:
    """Files that have come and are whole; none while one of the stream is still being written."""
    new = now - done
    if origin.is_log:
        # The log of today never rests; what was rotated does.
        return new & seen
    return new if new <= seen else set()


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_FILE_HASH]
