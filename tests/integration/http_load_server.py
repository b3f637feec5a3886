"""Loads of a source in a process of their own, which dies at one of its file operations or from outside.

Imports once and forks a process for each line it reads, ``{"home", "clock", "at"}``: the process loads every stream of
the home's sources and kills itself with SIGKILL when it is about to make its file operation number ``at`` below the
home. With ``at`` 0 it runs to its end, unless somebody kills it: it says its process id first.
"""

import os
import traceback
from datetime import datetime
from pathlib import Path

import polars as pl

from orchestration.settings import Settings
from orchestration.sources.config import load_sources
from orchestration.sources.extract import extract
from orchestration.sources.http import client, engine
from tests.dying import die_at, say, serve

LOADED = (engine, pl.DataFrame({"loaded": [1]}))


def load(order: dict) -> int:
    home = Path(order["home"])
    settings = Settings(home=home, sources_dir=home / "sources")
    client.sleep = lambda seconds: None
    say({"pid": os.getpid()})
    count = die_at(str(home), order["at"])
    try:
        loads = {}
        for source in load_sources(settings.sources_dir).values():
            for stream in source.streams:
                now = datetime.fromisoformat(order["clock"])
                loads[stream] = extract(source, stream, settings=settings, run_id="run", now=now).status
    except BaseException:
        say({"error": traceback.format_exc()})
        return 1
    say({"operations": count(), "loads": loads})
    return 0


if __name__ == "__main__":
    serve(load, True)
