"""One load of one stream as nights, backfills and commands make it: screened for erased persons, and recorded.

Does not belong here: Dagster (``landing``, ``backfill``), and reading and landing themselves (``sources.extract``).
"""

from __future__ import annotations

from datetime import datetime

from orchestration.privacy.suppression import screen_of
from orchestration.settings import Settings
from orchestration.sources.config import SourceConfig
from orchestration.sources.errors import ConfigError, SourceError
from orchestration.sources.extract import LoadRecord, extract, failed_load, last_load
from orchestration.sources.kinds import Figures
from orchestration.sources.landing import Landing
from orchestration.warehouse.control import Control

MAX_RETRIES = 3


class TryAgainError(Exception):
    """A fault that may pass; nothing was committed or recorded.

    Attributes:
        seconds: Wait before the next attempt.
    """

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


def load_stream(
    source: SourceConfig,
    stream: str,
    *,
    settings: Settings,
    run_id: str,
    now: datetime,
    attempt: int = 0,
    window: tuple[str, str] | None = None,
    figures: Figures | None = None,
) -> LoadRecord:
    """Load what is new of one stream, or a window of it, and keep the record of the attempt.

    Args:
        source: The source.
        stream: Name of one of its streams.
        settings: Where everything lies.
        run_id: Run on whose behalf.
        now: Begin of the extraction.
        attempt: Attempts of this load that failed before.
        window: Bounds of a backfill.
        figures: Filled while the load goes on.

    Returns:
        What was committed, that nothing was new, or why the load failed; the control table has it too.

    Raises:
        TryAgainError: the fault may pass, and there are attempts left.
    """
    control = Control(settings.control_dir)
    figures = Figures() if figures is None else figures
    record_missed(source.source, stream, settings)
    try:
        screen = screen_of(settings, source, stream)
        record = extract(
            source, stream, settings=settings, run_id=run_id, now=now, window=window, screen=screen, figures=figures
        )
    except (SourceError, ConfigError) as error:
        if isinstance(error, SourceError) and error.transient and attempt < MAX_RETRIES:
            raise TryAgainError(str(error), settings.retry_seconds * 2**attempt) from error
        kind = None if window is None else "backfill"
        record = failed_load(
            source.source, stream, run_id=run_id, now=now, error=str(error), kind=kind, figures=figures
        )
    control.record_load(record)
    return record


def record_missed(source: str, stream: str, settings: Settings) -> None:
    """Record the last committed load of a stream, where a kill came between its commit and its record."""
    control = Control(settings.control_dir)
    last = last_load(Landing(settings.landing_dir), source, stream)
    if last is not None and not control.has_load(last.load_id):
        control.record_load(last)
