"""Processes that die at one of their file operations: forked one by one from a process that imported everything.

Does not belong here: what they do (``integration.http_load_server``, ``integration.stage_server``).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

COUNTED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate"}


def serve(child: Callable[[dict[str, Any]], int], ready: Any) -> None:
    """Say ``ready``, then fork a process for each line read and say how it ended, until the input ends."""
    say({"ready": ready})
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(child(json.loads(line)))
        say({"status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})


def say(value: dict[str, Any]) -> None:
    """Write one line of JSON, whole."""
    os.write(1, (json.dumps(value) + "\n").encode())


def die_at(home: str, at: int) -> Callable[[], int]:
    """Count this process's file operations below ``home`` and die at number ``at`` (0: never); gives the count."""
    counted, lock = 0, threading.Lock()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal counted
        if event in COUNTED and str(arguments[0]).startswith(home):
            with lock:
                counted += 1
                if counted == at:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    return lambda: counted
