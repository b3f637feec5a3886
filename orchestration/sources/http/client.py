"""Requests as they go over the wire: budget, pace, retries, redirects, login, errors in answers, secrets kept out.

Belongs here: everything between a filled request and an answer that can be believed. Does not belong here: which
requests are made (``reader``) and what an answer holds (``records``).
"""

from __future__ import annotations

import email.utils
import fcntl
import functools
import json
import logging
import os
import ssl
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NoReturn
from urllib.parse import quote, quote_plus, urljoin, urlsplit
from zoneinfo import ZoneInfo

import httpx
import tenacity

from orchestration.sources.errors import SourceError, one_line
from orchestration.sources.http.auth import Credentials
from orchestration.sources.http.config import (
    Budget,
    ErrorRule,
    HttpConnection,
    ParamAuth,
    Request,
    require_address,
)
from orchestration.sources.http.records import RecordsError, as_text, find, read_json, says_yes
from orchestration.sources.http.templates import TemplateError, fill, fill_text
from orchestration.sources.kinds import ReadRequest

logging.getLogger("httpx").setLevel(logging.WARNING)  # its lines hold addresses with their secrets
_MAX_REDIRECTS = 5
_SHOWN = 300
_COUNT_BYTES = 64
_SMALL = 1 << 20
_GRAPHQL = ErrorRule(path="data && errors && !(keys(@)[?!contains(['data', 'errors', 'extensions'], @)]) && errors")
"""A part of the data with errors beside it, as GraphQL gives it with status 200: what is missing would be lost."""


class PassingFaultError(Exception):
    """An answer that may be right when it is asked for again.

    Attributes:
        wait: Seconds the source asks to wait; None where it does not say.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class BudgetUsedUpError(Exception):
    """No request is left today."""


class SkippedError(Exception):
    """The source does not have what was asked for, and a rule says that this is no error."""


@dataclass
class Answer:
    """One answer that was not an error.

    Attributes:
        status: HTTP status.
        headers: Its headers.
        url: Address that answered, in the end.
        content: Its body; empty where it went to ``path``.
        path: File that holds the body, where it was asked for as a file.
        document: The body as JSON, numbers as text; None where it is something else.
        is_empty: Whether a rule says that there are no records.
    """

    status: int
    headers: httpx.Headers
    url: str
    content: bytes = b""
    path: Path | None = None
    document: Any = None
    is_empty: bool = False

    @property
    def media_type(self) -> str:
        """Type of the body, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def head(self, length: int) -> bytes:
        """The first bytes of the body, in memory or in its file."""
        if self.path is None:
            return self.content[:length]
        with self.path.open("rb") as file:
            return file.read(length)

    @property
    def is_page(self) -> bool:
        """Whether it is HTML, as a proxy or a login sends it; by its text, for some call any file so."""
        return self.head(_SHOWN).lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html"))


@dataclass
class _Pace:
    """The earliest moment of the next request, shared by all streams of a source in this process."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    next_at: float = 0.0

    def turn(self, per_second: float | None) -> float:
        """Seconds to wait for the next turn, which is taken."""
        if per_second is None:
            return 0.0
        with self.lock:
            now = monotonic()
            at = max(now, self.next_at)
            self.next_at = at + 1 / per_second
            return at - now


_PACES: dict[str, _Pace] = {}


class DayBudget:
    """Counts the requests of a day in a file, over all streams and runs.

    The file is ``<landing>/<source>/.requests.json``.
    """

    def __init__(self, request: ReadRequest) -> None:
        self._path = request.settings.landing_dir / request.source.source / ".requests.json"
        self._budget: Budget = request.source.connection.budget

    def left(self) -> int | None:
        """Requests that are left today; None where there is no limit."""
        if self._budget.per_day is None:
            return None
        return max(0, self._budget.per_day - self._change(0))

    def take(self) -> None:
        """Count one request.

        Raises:
            BudgetUsedUpError: none is left today.
        """
        if self._budget.per_day is not None and self._change(1) > self._budget.per_day:
            raise BudgetUsedUpError(f"the budget of {self._budget.per_day} requests a day is used up")

    def _change(self, count: int) -> int:
        today = datetime.now(ZoneInfo(self._budget.timezone)).date().isoformat()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                known = json.loads(os.pread(handle, _COUNT_BYTES, 0) or b"{}")
            except ValueError:
                known = {}
            used = int(known.get("used", 0)) if known.get("day") == today else 0
            # A request that is refused is not made, so it does not count.
            if count and used + count <= (self._budget.per_day or 0):
                # One write of one length: a process that is killed leaves the old count or the new one.
                entry = json.dumps({"day": today, "used": used + count}).ljust(_COUNT_BYTES)
                os.pwrite(handle, entry.encode(), 0)
        finally:
            os.close(handle)
        return used + count


class Client:
    """Sends the requests of one stream's load; safe for several threads."""

    def __init__(self, request: ReadRequest) -> None:
        connection: HttpConnection = request.source.connection
        self._request = request
        self._connection = connection
        self._lock = threading.Lock()
        self._hidden: set[str] = set()
        self.server_time: datetime | None = None
        try:
            self._base = require_address(self.reveal(connection.base_url, hide=False))
        except ValueError as error:
            raise SourceError(f"{request.name}: connection.base_url {error}") from error
        self._budget = DayBudget(request)
        self._pace = _PACES.setdefault(self._base, _Pace())
        ca_file = connection.ca_file and request.source.expand(connection.ca_file, request.settings.home)
        self._http = httpx.Client(
            timeout=httpx.Timeout(connection.timeout_seconds, connect=connection.connect_timeout_seconds),
            follow_redirects=False,
            verify=_trusted(ca_file or None),
            headers={"User-Agent": "experience-warehouse", "Accept-Encoding": "gzip, deflate"},
        )
        self.credentials = Credentials(connection.auth, self)

    def reveal(self, secret: Any, *, hide: bool = True) -> str:
        """The value of a secret, which from now on is kept out of messages.

        Args:
            secret: The secret, or a text that stands in the YAML.
            hide: Whether a text that stands in the YAML is kept out too.

        Raises:
            ConfigError: it cannot be had.
        """
        value = self._request.source.reveal(secret, self._request.settings.home)
        if hide or not isinstance(secret, str):
            self.hide(value)
        return value

    def hide(self, text: str) -> None:
        """Keep a text out of messages."""
        if len(text) > 3:
            self._hidden |= {text, quote(text, safe=""), quote_plus(text), json.dumps(text)[1:-1]}

    def without_credentials(self, position: dict[str, Any] | None) -> dict[str, Any] | None:
        """A position whose link repeats the credential, without it: positions are kept, and every request adds it."""
        auth = self._connection.auth
        if position is None or position.get("url") is None or not isinstance(auth, ParamAuth):
            return position
        url = httpx.URL(position["url"])
        if auth.name not in url.params:
            return position
        return {**position, "url": str(url.copy_remove_param(auth.name))}

    @property
    def request(self) -> ReadRequest:
        """The load that is read."""
        return self._request

    @property
    def http(self) -> httpx.Client:
        """The connection pool, for a login."""
        return self._http

    @property
    def base_url(self) -> str:
        """What every path is added to."""
        return self._base

    def close(self) -> None:
        """End the session and the connections."""
        try:
            self.credentials.logout()
        finally:
            self._http.close()

    def send(
        self,
        spec: Request,
        variables: Mapping[str, Any],
        *,
        rules: Iterable[ErrorRule] = (),
        url: str | None = None,
        params: Mapping[str, str] | None = None,
        to_file: Path | None = None,
        is_json: bool = True,
    ) -> Answer:
        """Send a request until its answer can be believed.

        Args:
            spec: The request.
            variables: For its templates; ``session`` is added.
            rules: Error rules, looked at before those of the connection.
            url: Address instead of the one ``spec`` gives (a link); its parameters stand in it.
            params: More parameters of the address.
            to_file: Where to write the body instead of memory.
            is_json: Whether the answer must be JSON.

        Raises:
            SourceError: the source refuses, or does not give a good answer in ``retry.attempts`` tries.
            BudgetUsedUpError: no request is left today.
            SkippedError: a rule says that this is not there.
        """
        every = [*rules, *self._connection.errors, _GRAPHQL]
        tries = self._connection.retry.attempts

        def wait(state: tenacity.RetryCallState) -> float:
            fault = state.outcome.exception() if state.outcome else None
            asked = fault.wait if isinstance(fault, PassingFaultError) else None
            return self.backoff(state.attempt_number) if asked is None else asked

        attempts = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(tries),
            wait=wait,
            retry=tenacity.retry_if_exception_type(PassingFaultError),
            sleep=self.wait,
            before_sleep=lambda state: self._count(retries=1),
            reraise=True,
        )
        try:
            return attempts(
                self._once,
                spec,
                variables,
                rules=every,
                url=url,
                params=params,
                to_file=to_file,
                is_json=is_json,
            )
        except PassingFaultError as error:
            raise SourceError(
                f"{self._request.name}: {error}; asked {tries} times. Nothing was loaded; try again later"
            ) from None

    def backoff(self, attempt: int) -> float:
        """Seconds to wait after a failed try, the first of which is number 1, where the source itself names none."""
        retry = self._connection.retry
        return min(retry.max_seconds, retry.base_seconds * 2 ** (attempt - 1))

    def wait(self, seconds: float) -> None:
        """Sleep, counted."""
        if seconds > 0:
            self._count(wait_seconds=seconds)
            sleep(seconds)

    def _once(
        self,
        spec: Request,
        variables: Mapping[str, Any],
        *,
        rules: Iterable[ErrorRule],
        url: str | None,
        params: Mapping[str, str] | None,
        to_file: Path | None,
        is_json: bool,
    ) -> Answer:
        generation = self.credentials.ready()
        known = {**variables, "session": self.credentials.session}
        try:
            built = self.built(spec, known, url=url, params=params)
        except TemplateError as error:
            raise SourceError(
                f"{self._request.name}: {error}; correct streams.{self._request.stream}.from in "
                f"{self._request.source.path}"
            ) from error
        except UnicodeEncodeError:
            raise SourceError(
                f"{self._request.name}: a header holds letters that no header may hold; look at connection.auth and "
                f"connection.headers in {self._request.source.path} and at the secrets they name"
            ) from None
        answer = self._exchange(built, to_file)
        return self._judged(answer, rules, generation, is_json)

    def built(
        self,
        spec: Request,
        variables: Mapping[str, Any],
        *,
        url: str | None = None,
        params: Mapping[str, str] | None = None,
        with_credentials: bool = True,
    ) -> httpx.Request:
        """A request as it is sent; ``with_credentials`` False for a login, which has none yet.

        Raises:
            TemplateError: a template cannot be filled.
            SourceError: it leads to another host.
        """
        path = fill_text(spec.path, variables)
        address = url or (path if path.startswith(("http://", "https://")) else _joined(self._base, path))
        address = urljoin(f"{self._base}/", address)
        is_ours = self._require_allowed(address)
        headers: dict[str, str] = {}
        query: list[tuple[str, str]] = []
        form: dict[str, Any] = {}
        if is_ours:
            headers |= {name: self.reveal(value, hide=False) for name, value in self._connection.headers.items()}
            if with_credentials:
                self.credentials.apply(headers, query, form, variables)
            if url is None:
                query += [(name, self.reveal(value)) for name, value in self._connection.params.items()]
        filled = {name: fill_text(text, variables) for name, text in spec.headers.items()}
        headers |= {name: text for name, text in filled.items() if text}
        if url is None:
            query += _pairs(fill(spec.params, variables))
        query += list((params or {}).items())
        if query:
            address = _with_query(address, query)
        body: dict[str, Any] = {}
        if spec.json_body is not None:
            body["json"] = fill(spec.json_body, variables)
        elif spec.form or form:
            body["data"] = {**form, **dict(_grouped(_pairs(fill(spec.form, variables))))}
        elif spec.body is not None:
            body["content"] = fill_text(spec.body, variables)
        return self._http.build_request(spec.method, address, headers=headers, **body)

    def _require_allowed(self, address: str) -> bool:
        """Whether an address is the source's own; fails where it is neither that nor allowed."""
        host = urlsplit(address).netloc
        if _origin(address) == _origin(self._base):
            return True
        if urlsplit(address).hostname in self._connection.allow_hosts or host in self._connection.allow_hosts:
            return False
        raise SourceError(
            f"{self._request.name}: the source leads to another host, {urlsplit(address).scheme}://{host}; if that is "
            f"right, name it in connection.allow_hosts in {self._request.source.path} (it gets no credentials); if it "
            "is the source itself under another name, write that in base_url, or same_host: true beside kind: link"
        )

    def _exchange(self, built: httpx.Request, to_file: Path | None) -> Answer:
        for _ in range(_MAX_REDIRECTS):
            self._budget.take()
            self.wait(self._pace.turn(self._connection.budget.per_second))
            self._count(requests=1)
            try:
                response = self._http.send(built, stream=True)
                try:
                    answer = self._received(response, to_file)
                finally:
                    response.close()
            except httpx.TimeoutException as error:
                raise PassingFaultError(
                    f"{self._shown(built)} did not answer in time ({type(error).__name__})"
                ) from None
            except httpx.TransportError as error:
                raise PassingFaultError(
                    f"{self._shown(built)}: the connection failed ({self.clean(str(error)) or type(error).__name__})"
                ) from None
            except httpx.DecodingError as error:
                raise PassingFaultError(f"{self._shown(built)}: the answer is damaged ({error})") from None
            if response.next_request is None:
                return answer
            followed = response.next_request
            if not self._require_allowed(str(followed.url)):
                plain = self._http.build_request(followed.method, followed.url)
                plain.headers.pop("cookie", None)
                followed = plain
            built = followed
        raise SourceError(
            f"{self._request.name}: {self._shown(built)} leads from redirect to redirect; correct base_url"
        )

    def _received(self, response: httpx.Response, to_file: Path | None) -> Answer:
        if self.server_time is None and (date := response.headers.get("date")):
            self.server_time = _http_date(date)
        answer = Answer(response.status_code, response.headers, str(response.request.url))
        if to_file is None or response.status_code >= 300:
            answer.content = response.read()
            self._count(bytes_received=len(answer.content))
            return answer
        with to_file.open("wb") as file:
            for chunk in response.iter_bytes(1 << 20):
                file.write(chunk)
                self._count(bytes_received=len(chunk))
        answer.path = to_file
        return answer

    def _judged(self, answer: Answer, rules: Iterable[ErrorRule], generation: int, is_json: bool) -> Answer:
        answer.document = self._document(answer, is_json)
        for rule in rules:
            if self._fits(rule, answer):
                self._act(rule, answer, generation)
                answer.is_empty = True
                return answer
        if answer.status == 401 and self.credentials.renew(generation):
            raise PassingFaultError(f"{self._where(answer)} answered 401", wait=0)
        if answer.status < 400 and answer.document is None and answer.is_page:
            # A session that ended shows its login page.
            wait = 0 if self.credentials.renew(generation) else None
            raise PassingFaultError(
                f"{self._where(answer)} answered {answer.status} with a page for people, where "
                f"{'JSON' if is_json else 'a file'} was asked for: {self._excerpt(answer)}",
                wait,
            )
        if answer.status in self._connection.retry.statuses:
            self._raise_passing(f"{self._where(answer)} answered {answer.status}: {self._excerpt(answer)}", answer)
        if answer.status >= 400:
            raise SourceError(self._refusal(answer))
        if is_json and answer.document is None and answer.status != 204 and answer.content.strip():
            raise PassingFaultError(
                f"{self._where(answer)} answered {answer.status} with {answer.media_type or 'something'} that is no "
                f"JSON: {self._excerpt(answer)}"
            )
        if is_json and not answer.content.strip():
            answer.is_empty = True
        self.credentials.accepted()
        return answer

    def _document(self, answer: Answer, is_json: bool) -> Any:
        body = answer.content
        if not is_json and answer.status < 400:
            # Where a file was asked for, a small JSON may say instead why there is none.
            if "json" not in answer.media_type or (answer.path and answer.path.stat().st_size > _SMALL):
                return None
            body = answer.path.read_bytes() if answer.path else body
        try:
            return read_json(body) if body.strip() else None
        except UnicodeDecodeError:
            return self._decoded(answer, body)
        except ValueError:
            return None

    @staticmethod
    def _decoded(answer: Answer, body: bytes) -> Any:
        """JSON that is not in UTF-8, in the character set that the answer names."""
        _, _, name = answer.headers.get("content-type", "").lower().partition("charset=")
        try:
            return read_json(body.decode(name.strip(' ";') or "utf-8"))
        except (ValueError, LookupError):
            return None

    def _fits(self, rule: ErrorRule, answer: Answer) -> bool:
        if rule.status is not None:
            if answer.status not in rule.status:
                return False
        elif answer.status >= 400:
            return False
        if rule.path is None:
            return True
        if answer.document is None:
            return False
        try:
            value = find(rule.path, answer.document)
        except RecordsError:
            return False
        text = as_text(value)
        if rule.ok is not None:
            return text not in rule.ok
        if rule.bad is not None:
            return text is not None and any(bad in text for bad in rule.bad)
        return says_yes(value)

    def _act(self, rule: ErrorRule, answer: Answer, generation: int) -> None:
        """Raise what the rule says; return where it says that the answer has no records."""
        message = self._message(rule, answer)
        match rule.action:
            case "empty":
                return
            case "skip":
                raise SkippedError(message)
            case "stop":
                raise BudgetUsedUpError(message)
            case "retry":
                self._raise_passing(message, answer)
            case "login" if self.credentials.renew(generation):
                raise PassingFaultError(message, wait=0)
        raise SourceError(
            f"{self._request.name}: {message}. Correct what it names, in the source or in {self._request.source.path}"
        )

    def _message(self, rule: ErrorRule, answer: Answer) -> str:
        try:
            said = as_text(find(rule.message or rule.path, answer.document)) if answer.document is not None else None
        except RecordsError:
            said = None
        return (
            f"{self._where(answer)} answered {answer.status} with an error: {self.clean(said or self._excerpt(answer))}"
        )

    def _raise_passing(self, message: str, answer: Answer) -> NoReturn:
        wait = self._asked_wait(answer)
        if wait is not None and wait > self._connection.retry.max_seconds:
            raise BudgetUsedUpError(f"{message}; it asks to wait {wait:.0f} s")
        raise PassingFaultError(message, wait)

    def _asked_wait(self, answer: Answer) -> float | None:
        """Seconds of ``Retry-After``, given as seconds or as a date."""
        text = answer.headers.get("retry-after", "").strip()
        if not text:
            return None
        try:
            return max(0.0, float(text))
        except ValueError:
            until = _http_date(text)
        if until is None:
            return None
        # Its own clock, if it tells it.
        now = _http_date(answer.headers.get("date", "")) or datetime.now(UTC)
        return max(0.0, (until - now).total_seconds())

    def _refusal(self, answer: Answer) -> str:
        hints = {
            401: "the credentials are not accepted: look at connection.auth and at the secret it names",
            403: "the credentials do not allow this: give their user or token the right to read it",
            404: (
                f"look at base_url and streams.{self._request.stream}.from.request.path; where a parent may be gone in "
                "between, add errors: [{status: 404, action: skip}]"
            ),
        }
        hint = hints.get(answer.status, f"correct streams.{self._request.stream}.from")
        return (
            f"{self._request.name}: {self._where(answer)} answered {answer.status}: {self._excerpt(answer)}. {hint} "
            f"({self._request.source.path})"
        )

    def _where(self, answer: Answer) -> str:
        parts = urlsplit(answer.url)
        return self.clean(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")

    def _shown(self, built: httpx.Request) -> str:
        return self.clean(f"{built.method} {built.url.scheme}://{built.url.netloc.decode()}{built.url.path}")

    def _excerpt(self, answer: Answer) -> str:
        return self.excerpt(answer.head(4 * _SHOWN).decode("utf-8", "replace"))

    def excerpt(self, text: str) -> str:
        """The beginning of what a source said, on one line, without any of the secrets."""
        return one_line(self.clean(text), _SHOWN) or "nothing"

    def clean(self, text: str) -> str:
        """A text without any of the secrets."""
        for hidden in sorted(self._hidden, key=len, reverse=True):
            text = text.replace(hidden, "***")
        return text

    def _count(self, **amounts: float) -> None:
        figures = self._request.figures
        with self._lock:
            for name, amount in amounts.items():
                setattr(figures, name, getattr(figures, name) + amount)


@functools.lru_cache(16)
def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    """What is trusted, read once for all loads of a process."""
    return httpx.create_ssl_context() if ca_file is None else ssl.create_default_context(cafile=str(ca_file))


def _origin(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _joined(base: str, path: str) -> str:
    if not path:
        return base
    return f"{base}{path}" if path.startswith(("/", "?")) else f"{base}/{path}"


def _with_query(address: str, query: list[tuple[str, str]]) -> str:
    """The address with more parameters; one that it holds already stands as it is (a link repeats the credential)."""
    url = httpx.URL(address)
    before = url.params.multi_items()
    known = {name for name, _ in before}
    return str(url.copy_with(params=[*before, *((name, value) for name, value in query if name not in known)]))


def _pairs(filled: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Parameters as pairs of text; those that are nothing are left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in filled.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            text = as_text(one)
            if text:
                pairs.append((str(name), text))
    return pairs


def _grouped(pairs: list[tuple[str, str]]) -> Iterable[tuple[str, Any]]:
    names = dict.fromkeys(name for name, _ in pairs)
    for name in names:
        values = [value for other, value in pairs if other == name]
        yield name, values if len(values) > 1 else values[0]


def _http_date(text: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
