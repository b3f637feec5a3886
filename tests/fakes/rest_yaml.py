"""How the fake ``rest`` is asked, as parts of a source YAML that lies in ``<home>/sources``.

Does not belong here: the fake itself (``rest``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fakes.server import Fake

API_KEY = {"kind": "header", "name": "X-Api-Key", "value": {"file": "../key"}}
SESSION: dict[str, Any] = {
    "kind": "session",
    "login": {"method": "POST", "path": "/login", "json": {"user": "reader", "password": "{{ secrets.password }}"}},
    "secrets": {"password": {"file": "../password"}},
    "values": {"token": "session"},
    "headers": {"X-Session": "{{ session.token }}"},
}
OAUTH: dict[str, Any] = {
    "kind": "oauth2",
    "grant": "client_credentials",
    "token_url": "/oauth/token",
    "client_id": "client",
    "client_secret": {"file": "../client"},
}
PACKED: dict[str, Any] = {
    "request": {"path": "/packed/items"},
    "records": {"path": "content", "base64": True, "format": "csv"},
}
EXPORT: dict[str, Any] = {
    "request": {"path": "{{ export.file }}"},
    "records": {"format": "csv", "unzip": True},
    "export": {
        "start": {"method": "POST", "path": "/exports"},
        "values": {"job": "job"},
        "poll": {"path": "/exports/{{ export.job }}"},
        "status": "state",
        "done": ["done"],
        "failed": ["failed"],
        "poll_values": {"file": "file"},
    },
}


def write_secrets(home: Path, fake: Fake) -> None:
    """Write the files that the ways of signing in name."""
    secrets = {"password": "reader-secret", "client": "client-secret", "refresh": "refresh-token"}
    for name, text in {"key": fake.dialect.token, **secrets}.items():
        (home / name).write_text(text)


def by_token(**params: str) -> dict[str, Any]:
    """``from`` of the list by token, with these parameters."""
    return {
        "request": {"path": "/token/items", "params": params},
        "records": {"path": "items"},
        "paging": {"kind": "token", "next": "next_token", "param": "token"},
    }


def by_keyset(size: int) -> dict[str, Any]:
    """``from`` of the list by keyset, in pages of ``size`` records."""
    after = {"since": "{{ last.updated_at or window.start }}", "after_id": "{{ last.id }}"}
    return {
        "request": {"path": "/keyset/items", "params": {"limit": str(size), **after}},
        "records": {"path": "items"},
        "paging": {"kind": "keyset", "fields": ["updated_at", "id"], "size": size},
    }
