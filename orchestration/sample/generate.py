"""Write the sample company's systems as they stand at the end of a day, with the truth beside them.

Belongs here: which files there are, and playing further nights. Does not belong here: what happens in the world
(``world``), what a system writes (``crm``, ``web``, ``survey``, ``support``), what is true (``truth``).

The world is fixed by its configuration; ``as_of`` only decides what is known. Daily files of web
events appear once and stay; the CRM is rewritten whole; survey, invitation and support months are written again while
something in them changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from orchestration.sample import crm, support, survey, truth, web
from orchestration.sample.files import write_bytes, write_json
from orchestration.sample.world import HORIZON_DAYS, SampleError, World, WorldConfig, build_world

WORLD_FILE = "world.json"
SHIPPED_SOURCES = Path(__file__).with_name("sources")
BASE_EVENTS = 60_000
"""Web events at scale 1, about."""
COPIED_FILE = ".sample.json"


@dataclass(frozen=True)
class Sample:
    """A sample on disk.

    Attributes:
        folder: Its root, ``<home>/sample``.
        config: What fixed its world.
        as_of: Last day that is known.
        planted: Source to kind of dirt to how often it is in the files.
        written: Files that were written or changed, relative to ``folder``, without the truth.
    """

    folder: Path
    config: WorldConfig
    as_of: date
    planted: dict[str, dict[str, int]] = field(default_factory=dict)
    written: tuple[str, ...] = ()

    @property
    def persons(self) -> pl.DataFrame:
        """Who is who: see ``truth.persons``."""
        return pl.read_parquet(self.folder / "truth" / "persons.parquet")

    @property
    def responses(self) -> pl.DataFrame:
        """What each response truly is: see ``truth.responses_truth``."""
        return pl.read_parquet(self.folder / "truth" / "responses.parquet")

    @property
    def nps_by_month(self) -> pl.DataFrame:
        """True NPS: see ``truth.nps_by_month``."""
        return pl.read_parquet(self.folder / "truth" / "nps_by_month.parquet")

    @property
    def personal_data(self) -> pl.DataFrame:
        """Names, addresses and numbers of the persons: see ``truth.personal_data``."""
        return pl.read_parquet(self.folder / "truth" / "pii.parquet")


def generate(
    folder: Path,
    *,
    scale: float = 1.0,
    days: int = 400,
    seed: int = 7,
    end_date: date = date(2026, 10, 31),
    as_of: date | None = None,
) -> Sample:
    """Write a sample company into ``folder``; the same arguments give the same bytes.

    Args:
        folder: Where the systems' files go; ``truth/`` is made beside them.
        scale: Size; 1.0 is about 2,000 customers, 60,000 web events, 3,000 survey responses.
        days: Days of history up to ``end_date``.
        seed: Seed of every draw.
        end_date: Last day of the history; the world itself goes on for ``HORIZON_DAYS`` more.
        as_of: Last day that is known; ``end_date`` where it is not given.

    Raises:
        SampleError: the folder holds another world, or a day outside the world is asked for.
    """
    config = WorldConfig(seed=seed, scale=scale, days=days, end_date=end_date)
    return write_world(folder, config, as_of or end_date)


def next_night(folder: Path, nights: int = 1) -> Sample:
    """Let ``nights`` more days pass over the sample in ``folder``, each delivered on its own.

    Raises:
        SampleError: there is no sample, or its world ends.
    """
    state = read_state(folder)
    if state is None:
        raise SampleError(f"{folder} holds no sample: write one first (python -m orchestration.sample --home DIR)")
    config, as_of = state
    world = build_world(config)
    sample = Sample(folder, config, as_of)
    for night in range(1, nights + 1):
        sample = write_world(folder, config, as_of + timedelta(days=night), world=world)
    return sample


def read_state(folder: Path) -> tuple[WorldConfig, date] | None:
    """Configuration and last known day of the sample in ``folder``; None where there is none."""
    path = folder / WORLD_FILE
    if not path.exists():
        return None
    state = json.loads(path.read_text(encoding="utf-8"))
    config = WorldConfig(state["seed"], state["scale"], state["days"], date.fromisoformat(state["end_date"]))
    return config, date.fromisoformat(state["as_of"])


def write_world(folder: Path, config: WorldConfig, as_of: date, *, world: World | None = None) -> Sample:
    """Write what every system has written by the end of ``as_of``.

    Written again for the same day, nothing changes; for a later day, the days between are delivered as well. A run
    that was killed is made good by the next one.

    Raises:
        SampleError: the folder holds another world or a later day, or ``as_of`` lies outside the world.
    """
    if not config.start_date <= as_of <= config.last_date:
        raise SampleError(
            f"{as_of} is outside this world: it runs from {config.start_date} to {config.last_date} "
            f"({HORIZON_DAYS} days past its end date); choose a day between, or another end date"
        )
    first_web = first_support = config.start_date
    if state := read_state(folder):
        existing, known = state
        if existing != config:
            raise SampleError(
                f"{folder} holds another world ({existing}); use the same seed, scale, days and end date, or remove it"
            )
        if as_of < known:
            raise SampleError(f"{folder} already knows {known}; time cannot go back to {as_of}: remove the folder")
        if as_of > known:
            first_web = first_support = known + timedelta(days=1)
    world = build_world(config) if world is None else world
    written: list[str] = []
    tables = crm.crm_tables(world, as_of)
    crm.write_crm(folder / "crm" / "crm.sqlite", tables)
    written.append("crm/crm.sqlite")
    files = _web_files(folder, world, first_web, as_of)
    written += [f"web/{name}" for name in files.filter(pl.col("is_new"))["file"]]
    responses = survey.survey_at(world, as_of)
    written += [f"survey/{name}" for name in survey.write_survey(world, folder / "survey", responses)]
    written += [f"survey/{name}" for name in survey.write_invitations(world, folder / "survey", as_of, responses)]
    written += [f"support/{name}" for name in support.write_support(world, folder / "support", first_support, as_of)]
    planted = {
        "crm": crm.planted(world, as_of, crm.contacts_at(world, as_of)),
        "web": {name: int(files[name].sum()) for name in _WEB_COUNTS},
        "survey": survey.planted(responses),
        "support": truth.support_planted(world, as_of),
    }
    _write_truth(folder / "truth", world, as_of, responses=responses, files=files.drop("is_new"), planted=planted)
    write_json(
        folder / WORLD_FILE,
        {
            "seed": config.seed,
            "scale": config.scale,
            "days": config.days,
            "end_date": config.end_date.isoformat(),
            "as_of": as_of.isoformat(),
        },
    )
    return Sample(folder, config, as_of, planted, tuple(sorted(written)))


_WEB_COUNTS = ("events", "duplicate_events", "late_events", "bot_events")


def _web_files(folder: Path, world: World, first: date, last: date) -> pl.DataFrame:
    """Write the missing days of the web export; what stands in each file, old and new."""
    path = folder / "truth" / "web_files.parquet"
    rows = list(web.write_web(world, folder / "web", first, last))
    fresh = pl.DataFrame(
        rows, schema={"file": pl.String, **dict.fromkeys((*_WEB_COUNTS, "bytes"), pl.Int64)}
    ).with_columns(is_new=pl.lit(True))
    if first == world.config.start_date or not path.exists():
        return fresh
    before = pl.read_parquet(path).with_columns(is_new=pl.lit(False))
    return pl.concat([before.filter(~pl.col("file").is_in(fresh["file"].to_list())), fresh]).sort("file")


def _write_truth(
    folder: Path,
    world: World,
    as_of: date,
    *,
    responses: pl.DataFrame,
    files: pl.DataFrame,
    planted: dict[str, dict[str, int]],
) -> None:
    known = truth.responses_truth(responses)
    truth.write_parquet(truth.persons(world, as_of, responses), folder / "persons.parquet")
    truth.write_parquet(known, folder / "responses.parquet")
    truth.write_parquet(truth.nps_by_month(known), folder / "nps_by_month.parquet")
    truth.write_parquet(truth.personal_data(world), folder / "pii.parquet")
    truth.write_parquet(files, folder / "web_files.parquet")
    write_json(folder / "planted.json", planted)


def copy_sources(target: Path, say: Callable[[str], Any] = lambda _: None) -> list[str]:
    """Copy the sample's source YAML files into ``target``; a file that a user edited is left alone.

    What was copied is remembered by hash in ``.sample.json``: a file that is still as it was copied is brought up to
    date, any other stays.

    Returns:
        Names of the files written.
    """
    note = target / COPIED_FILE
    copied: dict[str, str] = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    written = []
    for shipped in sorted(SHIPPED_SOURCES.glob("*.yaml")):
        path, content = target / shipped.name, shipped.read_bytes()
        present = _digest(path.read_bytes()) if path.exists() else None
        if present is not None and present not in {copied.get(shipped.name), _digest(content)}:
            say(f"{path} was edited and is kept; remove it to have the sample's own again")
            continue
        if write_bytes(path, content):
            written.append(shipped.name)
        copied[shipped.name] = _digest(content)
    write_json(note, copied)
    return written


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
