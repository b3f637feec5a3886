"""Servers for the tests of this folder, ended with the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import Mariadb, Postgres, mariadb_server, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Mariadb]:
    with mariadb_server() as server:
        yield server
