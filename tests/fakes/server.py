"""The server that every dialect shares: requests, faults on the wire, tokens, quota, hooks between requests.

Belongs here: HTTP. Does not belong here: what one vendor answers.
"""

from __future__ import annotations

import base64
import gzip
import http.server
import importlib
import json
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, ClassVar
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from tests.fakes.faults import CHANGES, STATUS, FaultPlan
from tests.fakes.store import Change, Clock, Store

DIALECTS = (
    "rest",
    "hubspot",
    "salesforce",
    "odoo",
    "qualtrics",
    "typeform",
    "surveymonkey",
    "limesurvey",
    "formbricks",
    "zendesk",
    "intercom",
    "matomo",
    "posthog",
)
PROXY_PAGE = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Company network: please sign in.</body></html>"
)


@dataclass
class Request:
    """One request as a dialect sees it."""

    number: int
    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    faults: tuple[str, ...] = ()
    query_lists: dict[str, list[str]] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        """The body as JSON; {} where it is none."""
        try:
            return json.loads(self.body or b"{}")
        except ValueError:
            return {}

    @property
    def form(self) -> dict[str, str]:
        """The body as a form."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    @property
    def bearer(self) -> str:
        """The bearer token; empty where there is none."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token if scheme.lower() == "bearer" else ""

    @property
    def basic(self) -> tuple[str, str]:
        """User and password; empty where there are none."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        try:
            user, _, password = (
                base64.b64decode(token).decode().partition(":") if scheme.lower() == "basic" else ("",) * 3
            )
        except ValueError:
            return "", ""
        return user, password


@dataclass
class Answer:
    """What is sent; a body that is no bytes is sent as JSON."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def sent(self) -> tuple[bytes, dict[str, str]]:
        """Bytes and headers."""
        if isinstance(self.body, bytes):
            return self.body, self.headers
        return json.dumps(self.body, ensure_ascii=False).encode(), {"Content-Type": "application/json"} | self.headers


@dataclass(frozen=True)
class Seen:
    """One request that came, for the test to look at."""

    number: int
    method: str
    path: str
    query: dict[str, str]
    body: bytes
    status: int
    faults: tuple[str, ...]


def route(method: str, pattern: str) -> Callable:
    """Mark a method of a dialect as the one that answers such requests; groups of the pattern are its arguments."""

    def mark(function: Callable) -> Callable:
        function.routes = [*getattr(function, "routes", ()), (method, re.compile(pattern + r"\Z"))]
        return function

    return mark


class Dialect:
    """One vendor's API over the records of a store. A subclass gives routes, and the vendor's words for faults.

    Attributes:
        collection: Collection that changes by chance are made to.
        token: Static token, where the vendor has such.
        daily_quota: Requests a day, or None.
        now: Time at the source.
    """

    collection: ClassVar[str] = "items"
    content_faults: ClassVar[tuple[str, ...]] = ("repeated_page", "html", "error_in_200")
    daily_quota: int | None = None
    page_limit: int | None = None
    """Records in a page at most, whatever is asked for: many pages of few records."""
    token = "static-token"

    def __init__(self, store: Store, url: str) -> None:
        self.store = store
        self.url = url
        self.issued: dict[str, datetime | None] = {}
        self.used: dict[str, int] = {}
        self.ended: set[str] = set()
        self.invented = 0
        self.routes = [
            (method, pattern, function)
            for name in dir(type(self))
            for function in (getattr(type(self), name),)
            for method, pattern in getattr(function, "routes", ())
        ]

    @property
    def now(self) -> datetime:
        return self.store.clock.now

    def fill(self, rows: int, seed: int) -> None:
        """Hand-made records, the same for the same seed."""
        raise NotImplementedError

    def invent(self, chance: random.Random) -> tuple[Any, dict]:
        """Key and content of a record that somebody adds while a client reads."""
        raise NotImplementedError

    def handle(self, request: Request) -> Answer:
        """The answer without any fault of the wire."""
        day = f"{self.now:%Y-%m-%d}"
        self.used[day] = self.used.get(day, 0) + 1
        if day in self.ended or (self.daily_quota is not None and self.used[day] > self.daily_quota):
            return self.over_quota()
        for method, pattern, function in self.routes:
            if method == request.method and (match := pattern.match(request.path)):
                return function(self, request, *(unquote(group) for group in match.groups()))
        return self.not_found(request)

    def size(self, asked: int) -> int:
        """Records of a page that was asked for with so many."""
        return asked if self.page_limit is None else min(asked, self.page_limit)

    def use_up_quota(self) -> None:
        """Nothing is left of the day's requests."""
        self.ended.add(f"{self.now:%Y-%m-%d}")

    def not_found(self, request: Request) -> Answer:
        return Answer({"error": f"no such resource: {request.method} {request.path}"}, 404)

    def over_quota(self) -> Answer:
        return Answer({"error": "daily limit reached"}, 429)

    def error_in_200(self, request: Request) -> Answer:
        """A failure that the vendor answers with status 200."""
        return Answer({"error": {"code": "internal", "message": "temporarily unavailable"}})

    def status_error(self, status: int) -> Answer:
        """A failure with its status, in the vendor's words."""
        return Answer({"error": {429: "too many requests"}.get(status, "server error")}, status)

    def family(self, request: Request) -> str:
        """What a list and its further pages have in common; a repeated page is one of the same family."""
        return request.path

    def loop(self, request: Request, answer: Answer) -> Answer:
        """The answer with the token that it was asked with, so that a client that goes on goes round for ever."""
        raise NotImplementedError

    def empty(self, request: Request) -> Answer:
        """A page without records that leads on to the one asked for."""
        raise NotImplementedError

    def issue(self, seconds: float | None = None) -> str:
        """A new token, void after some seconds of the clock."""
        token = f"issued-{len(self.issued) + 1}"
        self.issued[token] = None if seconds is None else self.now + timedelta(seconds=seconds)
        return token

    def holds(self, token: str) -> bool:
        """Whether an issued token still counts."""
        if token not in self.issued:
            return False
        end = self.issued[token]
        return end is None or self.now < end

    def expire(self) -> None:
        """Every issued token is void; a new login works."""
        self.issued.clear()


class Fake:
    """A running server of one dialect.

    Attributes:
        url: Where it listens, without a slash at the end.
        store: The records; ``store.event`` is the count to compare before and after a load.
        clock: The time at the source.
        dialect: The vendor's part.
        faults: The plan of faults.
        seen: Requests that came.
    """

    def __init__(
        self,
        dialect: type[Dialect],
        *,
        clock: Clock | None = None,
        faults: FaultPlan | None = None,
        port: int = 0,
    ) -> None:
        self.store = Store(clock=clock or Clock())
        self.faults = faults or FaultPlan()
        self.seen: list[Seen] = []
        self.broken: Exception | None = None
        self._hooks: dict[int, list[Callable[[Fake], None]]] = {}
        self._before_each: list[Callable[[Fake], None]] = []
        self._before: dict[str, Answer] = {}
        self._looping: set[str] = set()
        self._lock = threading.Lock()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.dialect = dialect(self.store, self.url)
        self.change = Change(self.store, dialect.collection, self.dialect.invent)

    @property
    def clock(self) -> Clock:
        return self.store.clock

    @property
    def requests(self) -> int:
        """How many requests came."""
        return len(self.seen)

    def calm(self) -> None:
        """No more faults from here on, and nothing is left of those that were."""
        self.faults.calm()
        self.forget()

    def forget(self) -> None:
        """End loops, and forget the pages that could be repeated: nobody has the page of another night."""
        self._looping.clear()
        self._before.clear()

    def at(self, number: int, action: Callable[[Fake], None]) -> None:
        """Do something just before request ``number`` (from 1) is answered."""
        self._hooks.setdefault(number, []).append(action)

    def before_each(self, action: Callable[[Fake], None]) -> None:
        """Do something before every request is answered."""
        self._before_each.append(action)

    def start(self) -> Fake:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[Answer, list[str]]:
        """The answer to one request, and the faults of the wire that it is sent with."""
        with self._lock:
            parts = urlsplit(target)
            number = len(self.seen) + 1
            self.store.tick()
            self.clock.now += self.clock.step
            for action in (*self._hooks.pop(number, ()), *self._before_each):
                action(self)
            faults = self.faults.choose(number, parts.path)
            request = Request(
                number=number,
                method=method,
                path=parts.path,
                query=dict(parse_qsl(parts.query, keep_blank_values=True)),
                headers=headers,
                body=body,
                faults=tuple(faults),
                query_lists=parse_qs(parts.query, keep_blank_values=True),
            )
            try:
                answer = self._answer(request)
            except Exception as error:
                self.broken = error
                raise
            self.seen.append(Seen(number, method, request.path, request.query, body, answer.status, request.faults))
            return answer, faults

    def _answer(self, request: Request) -> Answer:
        chance = random.Random(f"{self.faults.seed}:{request.number}:change")
        for kind in request.faults:
            if kind in CHANGES:
                getattr(self.change, kind)(chance)
            elif kind == "expired_token":
                self.dialect.expire()
            elif kind == "quota":
                self.dialect.use_up_quota()
            elif kind in STATUS:
                answer = self.dialect.status_error(int(kind[:3]))
                if kind.startswith("429"):
                    wait = self.faults.retry_after
                    is_date = kind == "429_date"
                    moment = format_datetime(self.clock.now + timedelta(seconds=wait), usegmt=True)
                    answer.headers["Retry-After"] = moment if is_date else str(wait)
                return answer
            elif kind == "html":
                return Answer(PROXY_PAGE, headers={"Content-Type": "text/html; charset=utf-8"})
            elif kind == "error_in_200":
                return self.dialect.error_in_200(request)
            elif kind == "cursor_loop" and kind in self.dialect.content_faults:
                self._looping.add(self.dialect.family(request))
        if "empty_page" in request.faults and "empty_page" in self.dialect.content_faults:
            return self.dialect.empty(request)
        answer = self.dialect.handle(request)
        if answer.status == 200:
            family = self.dialect.family(request)
            if family in self._looping:
                answer = self.dialect.loop(request, answer)
            before = self._before.get(family)
            self._before[family] = answer
            # A bare empty list has nothing by which anybody could tell whose it is.
            if "repeated_page" in request.faults and before is not None and before.body != []:
                return before
        return answer

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def version_string(self) -> str:
                return "fake"

            def date_time_string(self, timestamp: float | None = None) -> str:
                return format_datetime(fake.clock.now, usegmt=True)

            def log_message(self, *_: Any) -> None:
                pass

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer, faults = fake.answer(self.command, self.path, self.headers, body)
                if "reset" in faults:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    # Closing the files too, or the socket stays open as long as they do.
                    self.rfile.close()
                    self.connection.close()
                    self.close_connection = True
                    return
                content, headers = answer.sent()
                if "gzip" in faults and "gzip" in self.headers.get("Accept-Encoding", ""):
                    content = gzip.compress(content, mtime=0)
                    headers = headers | {"Content-Encoding": "gzip"}
                self.send_response(answer.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "cut_chunked" in faults:
                    self.send_header("Transfer-Encoding", "chunked")
                elif "cut_unsaid" in faults:
                    self.send_header("Connection", "close")
                else:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.send_content(content, faults)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do

            def send_content(self, content: bytes, faults: list[str]) -> None:
                half = content[: len(content) // 2]
                if "cut_chunked" in faults:
                    self.wfile.write(b"%x\r\n" % len(half) + half + b"\r\n")
                    self.close_connection = True
                elif "cut_body" in faults or "cut_unsaid" in faults:
                    self.wfile.write(half)
                    self.close_connection = True
                elif "slow" in faults:
                    size = max(1, len(content) // 4)
                    for begin in range(0, len(content), size):
                        time.sleep(fake.faults.slow_seconds)
                        self.wfile.write(content[begin : begin + size])
                else:
                    self.wfile.write(content)

            def finish(self) -> None:
                try:
                    super().finish()
                except (OSError, ValueError):
                    self.close_connection = True

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    self.close_connection = True

        return Handler


def dialect_of(name: str) -> type[Dialect]:
    """The dialect called ``name``."""
    if name not in DIALECTS:
        raise ValueError(f"no dialect is called {name}; there are {', '.join(DIALECTS)}")
    found: type[Dialect] = importlib.import_module(f"tests.fakes.{name}").DIALECT
    return found


@contextmanager
def serve(
    name: str,
    *,
    rows: int = 0,
    seed: int = 7,
    clock: Clock | None = None,
    faults: FaultPlan | None = None,
    port: int = 0,
) -> Iterator[Fake]:
    """A running fake of a dialect with some records."""
    fake = Fake(dialect_of(name), clock=clock, faults=faults, port=port)
    fake.dialect.fill(rows, seed)
    fake.start()
    try:
        yield fake
    finally:
        fake.close()
    if fake.broken:
        raise RuntimeError("the fake itself failed") from fake.broken
