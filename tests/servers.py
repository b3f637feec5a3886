"""Real servers on 127.0.0.1, each with a temporary data folder and a port of its own, ended with their context.

They fail, and are never skipped, where one cannot be started: what they guard must be seen to hold. Does not belong
here: what is tested on them.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pymysql


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _run(command: Sequence[str], folder: Path, seconds: float = 120, **environment: str) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def _await(is_up: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Wait until a server is up; what it logged is shown where it ends before or takes too long."""
    deadline = time.monotonic() + seconds
    while not is_up():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """PostgreSQL of Debian's package."""
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
        _run([*prefix, str(folder / command[0]), *command[1:]], base)

    port = free_port()
    run("initdb", "-D", str(data), "-U", "tester", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={base} -c fsync=off"
    run("pg_ctl", "-D", str(data), "-o", options, "-l", str(base / "log"), "-w", "start")
    try:
        yield Postgres(f"postgresql://tester@127.0.0.1:{port}/postgres", port, data, run)
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
        shutil.rmtree(base, ignore_errors=True)


@dataclass(frozen=True)
class Mariadb:
    """A running server on 127.0.0.1, with a certificate of its own signing; ``tester`` may do all without password."""

    port: int
    socket: Path
    certificate: Path

    @property
    def dsn(self) -> str:
        """The DSN of the database ``crm``."""
        return f"mysql://tester@127.0.0.1:{self.port}/crm"

    def connect(self, database: str | None = "crm") -> pymysql.Connection:
        """A connection that commits each statement."""
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="tester", database=database, autocommit=True, ssl_disabled=True
        )

    def answers(self) -> bool:
        """Whether it lets ``tester`` in."""
        try:
            self.connect(None).close()
        except pymysql.OperationalError:
            return False
        return True

    def empty(self) -> str:
        """The DSN, everything in the database removed."""
        with self.connect(None) as connection, connection.cursor() as cursor:
            cursor.execute("DROP DATABASE IF EXISTS crm")
            cursor.execute("CREATE DATABASE crm CHARACTER SET utf8mb4")
        return self.dsn


@contextmanager
def mariadb_server() -> Iterator[Mariadb]:
    """MariaDB of Debian's package."""
    server = shutil.which("mariadbd", path="/usr/sbin:/usr/libexec:/usr/bin:/usr/local/bin")
    install = shutil.which("mariadb-install-db")
    assert server and install, "MariaDB is not installed: apt-get install mariadb-server"
    base = Path(tempfile.mkdtemp(prefix="mariadb"))
    # The server refuses to run as root.
    as_root = os.geteuid() == 0
    prefix = ["setpriv", "--reuid=mysql", "--regid=mysql", "--clear-groups"] if as_root else []
    if as_root:
        shutil.chown(base, "mysql", "mysql")
    port = free_port()
    common = [f"--datadir={base / 'data'}", f"--tmpdir={base}"]
    options = ["--no-defaults", *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
    _run([*prefix, install, *options], base)
    start = base / "start.sql"
    start.write_text(
        # One statement a line, as the server wants it.
        "CREATE USER tester@'127.0.0.1';\nGRANT ALL ON *.* TO tester@'127.0.0.1' WITH GRANT OPTION;\n"
    )
    start.chmod(0o644)
    certificate, key = base / "certificate.pem", base / "key.pem"
    request = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    _run([*request.split(), "-keyout", str(key), "-out", str(certificate)], base)
    key.chmod(0o644)
    with (base / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *prefix,
                server,
                "--no-defaults",
                *common,
                f"--socket={base / 'socket'}",
                f"--pid-file={base / 'pid'}",
                f"--init-file={start}",
                f"--port={port}",
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
                f"--ssl-cert={certificate}",
                f"--ssl-key={key}",
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-buffer-pool-size=64M",
            ],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=base,
        )
    found = Mariadb(port, base / "socket", certificate)
    try:
        _await(found.answers, process, base / "log", 60)
        yield found
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(base, ignore_errors=True)


@dataclass(frozen=True)
class Tryton:
    """A running trytond with the database ``company`` and the module ``party``; ``admin`` may do all."""

    url: str
    password: str


@contextmanager
def tryton_server() -> Iterator[Tryton]:
    """trytond of the locked packages, over SQLite."""
    folder = Path(sys.executable).parent
    base = Path(tempfile.mkdtemp(prefix="tryton"))
    port, password = free_port(), "a-long-password"
    (base / "trytond.conf").write_text(
        f"[database]\nuri = sqlite://\npath = {base}\n[web]\nlisten = 127.0.0.1:{port}\n"
    )
    (base / "password").write_text(password)
    # A new database of SQLite begins as an empty file.
    (base / "company.sqlite").touch()
    common = ["-c", str(base / "trytond.conf"), "-d", "company"]
    options = [*common, "-u", "party", "--activate-dependencies", "--email", "a@example.org"]
    _run([str(folder / "trytond-admin"), *options], base, 300, TRYTONPASSFILE=str(base / "password"))
    log = base / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [str(folder / "trytond"), *common], cwd=base, stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    try:
        _await(lambda: _listens(port), server, log, 120)
        yield Tryton(f"http://127.0.0.1:{port}", password)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(20)
        shutil.rmtree(base, ignore_errors=True)


@dataclass(frozen=True)
class Nginx:
    """A running nginx that answers every request and writes ``logs/access.log``."""

    port: int
    logs: Path
    process: subprocess.Popen[bytes]

    def reopen(self) -> None:
        """Tell it to open its log anew, as logrotate does."""
        self.process.send_signal(signal.SIGUSR1)

    def finish(self) -> None:
        """End it as soon as what it was asked is answered and logged."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)


@contextmanager
def nginx_server() -> Iterator[Nginx]:
    """nginx of Debian's package."""
    found = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    assert found, "nginx is not installed: apt-get install nginx-light"
    base = Path(tempfile.mkdtemp(prefix="nginx"))
    logs = base / "logs"
    logs.mkdir()
    port = free_port()
    # Workers give up root's rights and must be able to open the log anew.
    base.chmod(0o755)
    logs.chmod(0o777)
    user = "user nobody nogroup;" if os.geteuid() == 0 else ""
    folders = "".join(
        f"{kind}_temp_path {base}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (base / "nginx.conf").write_text(
        f"{user} worker_processes 2; daemon off; pid {base}/pid; error_log {base}/error.log;\n"
        "events { worker_connections 64; }\n"
        f"http {{ {folders} access_log {logs}/access.log combined;\n"
        f'server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok"; }} }} }}\n'
    )
    process = subprocess.Popen(
        [found, "-p", str(base), "-c", str(base / "nginx.conf"), "-e", str(base / "error.log")],
        stdin=subprocess.DEVNULL,
    )
    try:
        _await(lambda: _listens(port), process, base / "error.log", 30)
        yield Nginx(port, logs, process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
        shutil.rmtree(base, ignore_errors=True)
