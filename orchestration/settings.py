"""Folders, environment and limits: the one place that reads the process environment.

Belongs here: every path below the warehouse's home, every environment variable, every limit that an
operator may turn. Does not belong here: secrets of sources (``sources.config`` resolves those where they
are declared) and anything that opens a file.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from zoneinfo import ZoneInfo

PROJECT_ROOT = Path(__file__).resolve().parent.parent
"""The checkout: it holds ``dbt_project/`` and ``dagster.yaml``."""

HOME_VARIABLE = "EXPERIENCE_HOME"
SOURCES_VARIABLE = "EXPERIENCE_SOURCES"
TIMEZONE_VARIABLE = "EXPERIENCE_TIMEZONE"
HMAC_KEY_VARIABLE = "EXPERIENCE_HMAC_KEY"
ALERT_WEBHOOK_VARIABLE = "EXPERIENCE_ALERT_WEBHOOK"
HMAC_KEY_FILE = "hmac.key"
"""Below the home: the key, where the variable is not set. Lose it, and new pseudonyms differ from the old."""
ACCEPT_DROPS_VARIABLE = "EXPERIENCE_ACCEPT_DROPS"
RETRY_SECONDS_VARIABLE = "EXPERIENCE_RETRY_SECONDS"
ALERT_REMIND_NIGHTS_VARIABLE = "EXPERIENCE_ALERT_REMIND_NIGHTS"
KEEP_RELEASES_VARIABLE = "EXPERIENCE_KEEP_RELEASES"
KEEP_RUNS_DAYS_VARIABLE = "EXPERIENCE_KEEP_RUNS_DAYS"


class SettingsError(ValueError):
    """An environment variable that cannot be used; the message names it and says how to mend it."""


@dataclass(frozen=True)
class Settings:
    """Where everything lies and which limits hold.

    Attributes:
        home: Folder below which the warehouse keeps all of its state.
        sources_dir: Folder of the source YAML files, one file a source.
        business_timezone: IANA zone that decides which day an instant belongs to.
        hmac_key: Key of the pseudonyms (HMAC-SHA-256), or None where none is configured.
        alert_webhook: URL that problems are posted to, when they begin and when they are over; or None.
        alert_remind_nights: Nights after which a problem that goes on is told again; 0 never does.
        keep_releases: How many published versions stay for readers and for roll-back.
        keep_runs_days: Days after which finished Dagster runs and their logs are removed.
        accept_drops: Published tables that may vanish or lose more than half of their rows this time.
        retry_seconds: First wait of an extraction that failed in passing; each further wait is twice as long.
        duckdb_memory_limit: DuckDB's ``memory_limit`` of the writer.
        duckdb_threads: DuckDB's ``threads`` of the writer.
    """

    home: Path
    sources_dir: Path
    business_timezone: str = "Asia/Shanghai"
    hmac_key: bytes | None = field(default=None, repr=False)
    alert_webhook: str | None = field(default=None, repr=False)
    alert_remind_nights: int = 0
    keep_releases: int = 7
    keep_runs_days: int = 90
    accept_drops: tuple[str, ...] = ()
    retry_seconds: float = 30.0
    duckdb_memory_limit: str = "8GB"
    duckdb_threads: int = 2

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from ``environment`` (default: the process environment).

        Raises:
            SettingsError: a value cannot be used.
        """
        env = os.environ if environment is None else environment
        home = Path(env.get(HOME_VARIABLE) or PROJECT_ROOT / "var").expanduser().resolve()
        zone = env.get(TIMEZONE_VARIABLE) or cls.business_timezone
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError) as error:
            raise SettingsError(
                f"{TIMEZONE_VARIABLE}={zone!r} is not an IANA time zone; use a name such as 'Asia/Shanghai'"
            ) from error
        key = env.get(HMAC_KEY_VARIABLE)
        key_file = home / HMAC_KEY_FILE
        if not key and key_file.is_file():
            key = key_file.read_text(encoding="ascii").strip()
        return cls(
            keep_releases=int(_number(env, KEEP_RELEASES_VARIABLE, cls.keep_releases, minimum=1)),
            alert_remind_nights=int(_number(env, ALERT_REMIND_NIGHTS_VARIABLE, cls.alert_remind_nights, minimum=0)),
            accept_drops=tuple(name.strip() for name in env.get(ACCEPT_DROPS_VARIABLE, "").split(",") if name.strip()),
            keep_runs_days=int(_number(env, KEEP_RUNS_DAYS_VARIABLE, cls.keep_runs_days, minimum=1)),
            retry_seconds=_number(env, RETRY_SECONDS_VARIABLE, cls.retry_seconds, minimum=0),
            home=home,
            sources_dir=Path(env.get(SOURCES_VARIABLE) or home / "sources").expanduser().resolve(),
            business_timezone=zone,
            hmac_key=key.encode() if key else None,
            alert_webhook=env.get(ALERT_WEBHOOK_VARIABLE) or None,
        )

    def beside(self, others: int) -> Settings:
        """These settings for one of several DuckDB instances that run at a time and share the memory.

        Raises:
            SettingsError: the memory limit is no number with a unit.
        """
        found = re.fullmatch(r"([\d.]+)\s*([A-Za-z%]+)", self.duckdb_memory_limit)
        if found is None:
            raise SettingsError(
                f"DuckDB's memory limit {self.duckdb_memory_limit!r} is no number with a unit, as in 8GB"
            )
        return replace(self, duckdb_memory_limit=f"{float(found[1]) / (1 + others):g}{found[2]}")

    @property
    def landing_dir(self) -> Path:
        """Root of the landing: ``<source>/<stream>/load_date=…/load_id=…``."""
        return self.home / "landing"

    @property
    def clean_dir(self) -> Path:
        """Root of the clean layer: ``<table>/<partition>.parquet``."""
        return self.home / "clean"

    @property
    def control_dir(self) -> Path:
        """Root of the control tables (``load``, ``quarantine``, ``check_result``)."""
        return self.home / "control"

    @property
    def warehouse_path(self) -> Path:
        """The private DuckDB file. Its name is the database's name: keep it."""
        return self.home / "warehouse" / "warehouse.duckdb"

    @property
    def marts_path(self) -> Path:
        """The DuckDB file that dbt writes the marts to, before they are published."""
        return self.home / "warehouse" / "marts.duckdb"

    @property
    def serving_dir(self) -> Path:
        """Root of what readers open: ``releases/<run_id>/`` and the link ``current``."""
        return self.home / "serving"

    @property
    def sample_dir(self) -> Path:
        """Where the sample company's systems lie."""
        return self.home / "sample"

    @property
    def dbt_project_dir(self) -> Path:
        """The dbt project of this checkout."""
        return PROJECT_ROOT / "dbt_project"

    @property
    def sample_truth_dir(self) -> Path:
        """What is true of the sample company, for measuring identity resolution."""
        return self.sample_dir / "truth"


def make_hmac_key(home: Path) -> bool:
    """Write a random key for pseudonyms into ``home``, readable by its owner alone.

    Returns:
        True where a key was written, False where there is one already.
    """
    path = home / HMAC_KEY_FILE
    home.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")
    return True


def _number(environment: Mapping[str, str], name: str, default: float, *, minimum: float) -> float:
    text = environment.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not value >= minimum:
        raise SettingsError(f"{name}={text!r} is not a number of at least {minimum:g}; leave it unset for {default:g}")
    return value
