"""A real PostgreSQL for the tests of this folder: own data folder, own port, ended with the session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest


@dataclass(frozen=True)
class Postgres:
    """A running server: ``dsn`` of its database ``postgres``, and its binaries."""

    dsn: str
    port: int
    data: Path
    run: Callable[..., None]

    def empty(self) -> str:
        """The DSN of its database, everything in the schema ``public`` removed."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(
                "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public"
            )
        return self.dsn


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Fails, and does not skip, where PostgreSQL cannot be started: what it guards must be seen to hold."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or list(
        filter(None, [Path(found) if (found := shutil.which("initdb")) else None])
    )
    assert binaries, "PostgreSQL is not installed: apt-get install postgresql"
    folder = binaries[-1].parent
    base = Path(tempfile.mkdtemp(prefix="pg"))
    data = base / "data"
    # The server refuses to run as root.
    as_root = os.geteuid() == 0
    prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if as_root else []
    if as_root:
        shutil.chown(base, "postgres", "postgres")

    def run(*command: str) -> None:
        done = subprocess.run(
            [*prefix, str(folder / command[0]), *command[1:]],
            cwd=base,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run("initdb", "-D", str(data), "-U", "tester", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={base} -c fsync=off"
    run("pg_ctl", "-D", str(data), "-o", options, "-l", str(base / "log"), "-w", "start")
    try:
        yield Postgres(f"postgresql://tester@127.0.0.1:{port}/postgres", port, data, run)
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
        shutil.rmtree(base, ignore_errors=True)
