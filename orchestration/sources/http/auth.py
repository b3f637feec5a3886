"""How a source knows us: tokens, basic authorization, OAuth 2, a session that a login opens.

Does not belong here: retries and pace (``client``).
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import httpx

from orchestration.sources.errors import SourceError
from orchestration.sources.http.config import (
    BasicAuth,
    BearerAuth,
    HeaderAuth,
    OAuth2Auth,
    ParamAuth,
    SessionAuth,
)
from orchestration.sources.http.records import RecordsError, as_text, find, read_json
from orchestration.sources.http.templates import TemplateError, fill_text

if TYPE_CHECKING:
    from orchestration.sources.http.client import Client

_EARLY_SECONDS = 60
_TRIES = 3
_RENEWALS = 2


class Credentials:
    """The credentials of one load; a login happens with the first request and when the source refuses the old one."""

    def __init__(self, auth: Any, client: Client) -> None:
        self._auth = auth
        self._client = client
        self._lock = threading.RLock()
        self._generation = 0
        self._in_vain = 0
        self._expires = float("inf")
        self._token = ""
        self.session: dict[str, Any] = {}

    @property
    def _can_renew(self) -> bool:
        return isinstance(self._auth, OAuth2Auth | SessionAuth)

    def ready(self) -> int:
        """Log in where that is due.

        Returns:
            The number of the login, for ``renew``.

        Raises:
            SourceError: the login fails.
        """
        with self._lock:
            if self._can_renew and (self._generation == 0 or monotonic() > self._expires):
                self._login()
            return self._generation

    def renew(self, generation: int) -> bool:
        """Log in again because the source refused the login numbered ``generation``.

        Returns:
            Whether there is a new one; False where these credentials cannot be renewed, or were renewed twice without
            avail.
        """
        with self._lock:
            if not self._can_renew:
                return False
            if generation == self._generation:
                if self._in_vain >= _RENEWALS:
                    return False
                self._in_vain += 1
                self._login()
            return True

    def accepted(self) -> None:
        """The source took the credentials."""
        self._in_vain = 0

    def apply(
        self, headers: dict[str, str], query: list[tuple[str, str]], form: dict[str, Any], variables: Mapping[str, Any]
    ) -> None:
        """Put the credentials into a request."""
        match self._auth:
            case BearerAuth(token=token):
                headers["Authorization"] = f"Bearer {self._client.reveal(token)}"
            case BasicAuth(user=user, password=password):
                secret = self._client.reveal(password) if password else ""
                headers["Authorization"] = self._basic(self._client.reveal(user, hide=False), secret)
            case HeaderAuth(name=name, value=value, prefix=prefix):
                headers[name] = f"{prefix}{self._client.reveal(value)}"
            case ParamAuth(kind="param", name=name, value=value):
                query.append((name, self._client.reveal(value)))
            case ParamAuth(name=name, value=value):
                form[name] = self._client.reveal(value)
            case OAuth2Auth():
                headers["Authorization"] = f"Bearer {self._token}"
            case SessionAuth(headers=given):
                headers.update({name: fill_text(text, variables) for name, text in given.items()})

    def logout(self) -> None:
        """Close the session, where the source is to be told; that it fails changes nothing."""
        auth = self._auth
        if not isinstance(auth, SessionAuth) or auth.logout is None or self._generation == 0:
            return
        try:
            built = self._client.built(auth.logout, {"session": self.session, "secrets": {}}, with_credentials=False)
            self.apply(built.headers, [], {}, {"session": self.session})  # type: ignore[arg-type]
            self._client.http.send(built)
        except (httpx.HTTPError, TemplateError, SourceError):
            return

    def _login(self) -> None:
        if isinstance(self._auth, SessionAuth):
            self._open_session(self._auth)
        elif isinstance(self._auth, OAuth2Auth):
            self._get_token(self._auth)
        self._generation += 1

    def _open_session(self, auth: SessionAuth) -> None:
        secrets = {name: self._client.reveal(secret) for name, secret in auth.secrets.items()}
        try:
            built = self._client.built(auth.login, {"secrets": secrets, "session": {}}, with_credentials=False)
        except TemplateError as error:
            raise SourceError(f"{self._name}: {error}; correct connection.auth.login in {self._file}") from error
        # A login that only sets a cookie may answer with a page for people, or lead on to one.
        response, document = self._ask(built, "the login", is_json=bool(auth.values))
        session: dict[str, Any] = {}
        for name, path in auth.values.items():
            value = self._looked_up(path, document)
            if value is None or value is False:
                raise SourceError(
                    f"{self._name}: the login's answer has nothing at {path!r} (auth.values.{name}): "
                    f"{self._client.excerpt(response.text)}. Look at the secrets that connection.auth names in "
                    f"{self._file}"
                )
            self._client.hide(str(as_text(value)))
            session[name] = value
        self.session = session

    def _get_token(self, auth: OAuth2Auth) -> None:
        if auth.refresh_token is None:
            self._ask_for_token(auth)
            return
        # A refresh token may be good for one use: the load of another stream waits for the one that comes of it.
        path = self._token_file().with_suffix(".lock")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._ask_for_token(auth)

    def _ask_for_token(self, auth: OAuth2Auth) -> None:
        client_id = self._client.reveal(auth.client_id, hide=False)
        secret = self._client.reveal(auth.client_secret) if auth.client_secret else ""
        form: dict[str, str] = {"grant_type": auth.grant}
        if auth.scope:
            form["scope"] = auth.scope
        if auth.refresh_token is not None:
            form["refresh_token"] = self._refresh_token(auth)
        form |= {name: self._client.reveal(value, hide=False) for name, value in auth.form.items()}
        headers = {"Accept": "application/json"}
        if auth.client == "basic":
            headers["Authorization"] = self._basic(client_id, secret)
        else:
            form |= {"client_id": client_id, **({"client_secret": secret} if secret else {})}
        url = auth.token_url
        if not url.startswith(("http://", "https://")):
            url = f"{self._client.base_url}/{url.lstrip('/')}"
        built = self._client.http.build_request("POST", url, headers=headers, data=form)
        response, document = self._ask(built, "the token server")
        token = self._looked_up("access_token", document)
        if not isinstance(token, str) or not token:
            raise SourceError(
                f"{self._name}: the token server gave no access_token: {self._client.excerpt(response.text)}. Look at "
                f"connection.auth in {self._file}"
            )
        self._client.hide(token)
        self._token = token
        try:
            self._expires = monotonic() + max(1.0, float(document.get("expires_in") or "inf") - _EARLY_SECONDS)
        except (TypeError, ValueError):
            self._expires = float("inf")
        self.session = {name: self._looked_up(path, document) for name, path in auth.values.items()}
        rotated = document.get("refresh_token")
        if auth.refresh_token is not None and isinstance(rotated, str) and rotated != form["refresh_token"]:
            self._keep(auth, rotated)

    def _ask(self, built: httpx.Request, who: str, *, is_json: bool = True) -> tuple[httpx.Response, Any]:
        """Send a login; lost connections and passing statuses are tried again."""
        statuses = self._client.request.source.connection.retry.statuses
        fault = ""
        for attempt in range(_TRIES):
            if attempt:
                self._client.wait(2.0**attempt)
            try:
                response = self._client.http.send(built)
            except httpx.HTTPError as error:
                fault = self._client.clean(str(error)) or type(error).__name__
                continue
            if response.status_code in statuses:
                fault = f"{response.status_code}: {self._client.excerpt(response.text)}"
                continue
            if response.status_code >= 400:
                raise SourceError(
                    f"{self._name}: {who} answered {response.status_code}: {self._client.excerpt(response.text)}. "
                    f"Look at connection.auth in {self._file} and at the secrets it names"
                )
            try:
                return response, read_json(response.content) if is_json and response.content.strip() else {}
            except ValueError:
                fault = f"an answer that is no JSON: {self._client.excerpt(response.text)}"
        raise SourceError(f"{self._name}: {who} does not answer as it should ({fault}); try again later")

    def _basic(self, user: str, password: str) -> str:
        """Basic authorization, which is kept out of messages as the password itself is."""
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._client.hide(encoded)
        return f"Basic {encoded}"

    def _looked_up(self, path: str, document: Any) -> Any:
        try:
            return find(path, document)
        except RecordsError:
            return None

    @property
    def _name(self) -> str:
        return self._client.request.name

    @property
    def _file(self) -> Path:
        return self._client.request.source.path

    def _token_file(self) -> Path:
        return self._client.request.settings.home / "tokens" / f"{self._client.request.source.source}.json"

    def _refresh_token(self, auth: OAuth2Auth) -> str:
        """The refresh token that came last, unless another one was configured since."""
        configured = self._client.reveal(auth.refresh_token)
        try:
            kept = json.loads(self._token_file().read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return configured
        if kept.get("configured") != _digest(configured):
            return configured
        self._client.hide(str(kept["refresh_token"]))
        return str(kept["refresh_token"])

    def _keep(self, auth: OAuth2Auth, token: str) -> None:
        self._client.hide(token)
        path = self._token_file()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        kept = {
            "configured": _digest(self._client.reveal(auth.refresh_token)),
            "refresh_token": token,
            "since": datetime.now(UTC).isoformat(),
        }
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(kept, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
