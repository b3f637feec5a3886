"""Loads of a source in a process of their own, which dies at one of its file operations or from outside.

Imports once and forks a process for each line it reads, ``{"home", "clock", "at"}``: the process loads every stream of
the home's sources and kills itself with SIGKILL when it is about to make its file operation number ``at`` below the
home. With ``at`` 0 it runs to its end, unless somebody kills it: it says its process id first.
"""

import json
import os
import signal
import sys
import threading
import traceback
from datetime import datetime
from pathlib import Path

import polars as pl

from orchestration.settings import Settings
from orchestration.sources.config import load_sources
from orchestration.sources.extract import extract
from orchestration.sources.http import client, engine

COUNTED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
LOADED = (engine, pl.DataFrame({"loaded": [1]}))


def say(value: dict) -> None:
    os.write(1, (json.dumps(value) + "\n").encode())


def die_at(home: str, at: int):
    """Count the file operations below ``home``, and die at one of them; gives the count."""
    counted, lock = 0, threading.Lock()

    def watch(event: str, arguments: tuple) -> None:
        nonlocal counted
        if event in COUNTED and str(arguments[0]).startswith(home):
            with lock:
                counted += 1
                if counted == at:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    return lambda: counted


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
    say({"ready": True})
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(load(json.loads(line)))
        say({"status": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])})
