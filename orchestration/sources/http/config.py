"""What may stand in a source YAML of ``type: http``: ``connection`` and a stream's ``from``.

Belongs here: the models, and faults that show in the YAML alone. Does not belong here: what is done with them
(``client`` sends, ``records`` and ``reader`` read answers, ``paging`` goes from page to page, ``engine`` puts the load
together).

Texts that may hold ``{{ … }}`` are templates (``templates`` names their variables). Paths into an answer are JMESPath
expressions over the answer as text: numbers keep the characters they were sent with.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import jmespath
from pydantic import BeforeValidator, Field, field_validator, model_validator

from orchestration.contracts.mapping import StrictModel
from orchestration.sources.config import Hidden, PlainText, Secret, read_duration
from orchestration.sources.errors import one_line
from orchestration.sources.http.templates import check_template


def _expression(value: Any) -> Any:
    if isinstance(value, str):
        try:
            jmespath.compile(value)
        except jmespath.exceptions.JMESPathError as error:
            raise ValueError(f"{value!r} is no JMESPath expression ({one_line(error, 200)})") from error
    return value


def _templates(value: Any) -> Any:
    """Check every text in a nested value as a template."""
    if isinstance(value, str):
        check_template(value)
    elif isinstance(value, dict):
        for inner in value.values():
            _templates(inner)
    elif isinstance(value, list):
        for inner in value:
            _templates(inner)
    return value


def _json_values(value: Any) -> Any:
    """Scalars that stand without quotes in the YAML as the numbers and Booleans they are."""
    if isinstance(value, PlainText):
        return json.loads(value)
    if isinstance(value, dict):
        return {name: _json_values(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_json_values(inner) for inner in value]
    return value


def _many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Path = Annotated[str, BeforeValidator(_expression)]
"""A JMESPath expression."""
Template = Annotated[str, BeforeValidator(_templates)]
Templates = Annotated[Any, BeforeValidator(_templates)]
Texts = Annotated[list[str], BeforeValidator(_many)]
Duration = Annotated[timedelta, BeforeValidator(read_duration)]


class Request(StrictModel):
    """One request. Parameters and headers whose template gives nothing are left out.

    Attributes:
        method: HTTP method.
        path: Added to ``base_url``; an address that begins with ``http`` stands for itself.
        params: Parameters of the address; a list repeats the name.
        headers: Headers beside those of the connection.
        json: Body sent as JSON. Plain YAML numbers, ``true``, ``false`` and ``null`` are sent as such, quoted ones as
            text; a text that is one ``{{ … }}`` is sent as what the expression gives, and left out where that is
            nothing.
        form: Body sent as a form.
        body: Body sent as it is.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] = "GET"
    path: Template = ""
    params: dict[str, Templates] = Field(default_factory=dict)
    headers: dict[str, Template] = Field(default_factory=dict)
    json_body: Annotated[Any, BeforeValidator(_templates), BeforeValidator(_json_values)] = Field(
        default=None, alias="json"
    )
    form: dict[str, Templates] = Field(default_factory=dict)
    body: Template | None = None

    @model_validator(mode="after")
    def _one_body(self) -> Request:
        if sum(bool(body) for body in (self.json_body, self.form, self.body)) > 1:
            raise ValueError("give one of 'json', 'form' and 'body'")
        return self

    @property
    def texts(self) -> str:
        """Every template of the request in one text."""
        return repr([self.path, self.params, self.headers, self.json_body, self.form, self.body])


class BearerAuth(StrictModel):
    """``Authorization: Bearer <token>``."""

    kind: Literal["bearer"]
    token: Hidden


class BasicAuth(StrictModel):
    """``Authorization: Basic …``."""

    kind: Literal["basic"]
    user: str | Secret
    password: Hidden | Literal[""] = ""


class HeaderAuth(StrictModel):
    """A header of its own, such as ``X-API-TOKEN``; ``prefix`` stands in front of the value."""

    kind: Literal["header"]
    name: str
    value: Hidden
    prefix: str = ""


class ParamAuth(StrictModel):
    """A parameter of the address (``param``) or a field of the form (``form``), such as ``token_auth``."""

    kind: Literal["param", "form"]
    name: str
    value: Hidden


class OAuth2Auth(StrictModel):
    """An access token got with OAuth 2, renewed before it expires and when the source refuses it.

    Attributes:
        grant: ``client_credentials``, ``refresh_token`` (a new refresh token that comes with an answer is kept in the
            warehouse's home, readable by its user alone), or ``password`` (``form`` holds the user and the password).
        token_url: Where tokens are had; a path is added to ``base_url``.
        client: How the client is named to the token server: in the form or as basic authorization.
        form: More fields of the form, such as ``audience``.
        values: Name to path in the token's answer, for templates as ``session.<name>``.
    """

    kind: Literal["oauth2"]
    grant: Literal["client_credentials", "refresh_token", "password"]
    token_url: str
    client_id: str | Secret
    client_secret: Hidden | None = None
    refresh_token: Hidden | None = None
    scope: str | None = None
    client: Literal["form", "basic"] = "form"
    form: dict[str, str | Secret] = Field(default_factory=dict)
    values: dict[str, Path] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> OAuth2Auth:
        if self.grant == "refresh_token" and self.refresh_token is None:
            raise ValueError("grant 'refresh_token' needs refresh_token: {env: NAME}")
        if self.grant == "client_credentials" and self.client_secret is None:
            raise ValueError("grant 'client_credentials' needs client_secret: {env: NAME}")
        return self


class SessionAuth(StrictModel):
    """A login call; cookies are kept, and values of its answer are there for templates as ``session.<name>``.

    Attributes:
        login: The request; its templates know ``secrets.<name>``.
        secrets: Name to secret.
        values: Name to path in the answer, such as ``{token: result}``.
        headers: Headers of every later request, such as ``{X-Session: "{{ session.token }}"}``.
        logout: A request at the end of the load.
    """

    kind: Literal["session"]
    login: Request
    secrets: dict[str, Hidden] = Field(default_factory=dict)
    values: dict[str, Path] = Field(default_factory=dict)
    headers: dict[str, Template] = Field(default_factory=dict)
    logout: Request | None = None


Auth = Annotated[
    BearerAuth | BasicAuth | HeaderAuth | ParamAuth | OAuth2Auth | SessionAuth, Field(discriminator="kind")
]


class Budget(StrictModel):
    """How many requests the source allows.

    Attributes:
        per_second: Requests a second, over all streams of one process.
        per_day: Requests a day, over all streams and runs; what is left over waits for the next day.
        timezone: Zone in which the source's day begins.
        concurrency: Requests under way at the same time; only slices, parents and ``each`` are read side by side.
    """

    per_second: float | None = Field(default=None, gt=0)
    per_day: int | None = Field(default=None, gt=0)
    timezone: str = "UTC"
    concurrency: int = Field(default=1, ge=1, le=32)


class Retry(StrictModel):
    """What is tried again: answers with one of ``statuses``, lost connections, answers cut short or unreadable.

    Attributes:
        attempts: Tries of one request, the first included.
        base_seconds: Wait after the first failure, doubled each time.
        max_seconds: Longest wait; a ``Retry-After`` beyond it ends the load as incomplete.
        statuses: HTTP statuses that may pass.
    """

    attempts: int = Field(default=6, ge=1, le=20)
    base_seconds: float = Field(default=1, ge=0)
    max_seconds: float = Field(default=300, ge=0)
    statuses: list[int] = Field(default_factory=lambda: [408, 425, 429, 500, 502, 503, 504])


class ErrorRule(StrictModel):
    """An error that hides in an answer, or a status with a meaning of its own. The first rule that fits decides.

    Attributes:
        status: Statuses it is about; without, all below 400.
        path: Value looked at; without, the status alone decides.
        ok: Texts of the value that are right; every other is an error, a missing one too.
        bad: Texts of the value that are errors (part of the text is enough). With neither, any value but null, false,
            0 and empty is an error.
        message: Path of the text to show.
        action: ``fail``; ``retry`` as a passing fault; ``login`` once more and try again; ``stop`` because the day's
            budget is used up; ``skip`` what this slice or parent would have (it is not there any more); ``empty``: it
            is no error, there are no records.
    """

    status: list[int] | None = None
    path: Path | None = None
    ok: Texts | None = None
    bad: Texts | None = None
    message: Path | None = None
    action: Literal["fail", "retry", "login", "stop", "skip", "empty"] = "fail"

    @field_validator("status", mode="before")
    @classmethod
    def _one_status(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | int) else value

    @model_validator(mode="after")
    def _something_to_look_at(self) -> ErrorRule:
        if self.status is None and self.path is None:
            raise ValueError("give 'path', 'status' or both")
        if self.ok is not None and self.bad is not None:
            raise ValueError("give 'ok' or 'bad', not both")
        return self


class HttpConnection(StrictModel):
    """``connection`` of a source of type ``http``.

    Attributes:
        base_url: What every path is added to.
        auth: How the source knows us.
        headers: Sent with every request.
        params: Parameters sent with every request.
        budget: How many requests are allowed.
        retry: What is tried again.
        errors: Rules for the answers of every stream.
        allow_hosts: Other hosts that links and redirects may lead to; they get no credentials.
        timeout_seconds: Longest silence of the server.
        connect_timeout_seconds: A server that does not answer in time is down.
        ca_file: Certificates to trust instead of the public ones.
    """

    base_url: str | Secret
    auth: Auth | None = None
    headers: dict[str, str | Secret] = Field(default_factory=dict)
    params: dict[str, str | Secret] = Field(default_factory=dict)
    budget: Budget = Budget()
    retry: Retry = Retry()
    errors: list[ErrorRule] = Field(default_factory=list)
    allow_hosts: list[str] = Field(default_factory=list)
    timeout_seconds: float = Field(default=60, gt=0)
    connect_timeout_seconds: float = Field(default=10, gt=0)
    ca_file: str | None = None

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, value: str | Secret) -> str | Secret:
        if isinstance(value, str):
            require_address(value)
        return value


def require_address(value: str) -> str:
    """The address without a slash at its end.

    Raises:
        ValueError: it is no http address, or holds a password.
    """
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("is no address; write it as https://host/path")
    if parts.password:
        raise ValueError("holds a password; write auth: {kind: basic, user: …, password: {env: NAME}}")
    return value.rstrip("/")


class Pivot(StrictModel):
    """A list of name and value made columns ``<list>.<name>``; a value that is a list fills ``<list>.<name>.1`` on.

    Attributes:
        name: Path in an entry of the list.
        value: Path in an entry of the list.
    """

    name: Path
    value: Path


class Records(StrictModel):
    """Where the records lie in an answer, and how one becomes a row of text.

    Objects in a record become columns ``outer.inner``; lists stay JSON.

    Attributes:
        path: Path of the list of records; a single object is one record. Of ``base64`` and ``text``, of the text.
        format: Of the answer; without, JSON.
        base64: Whether the text at ``path`` is base64, holding ``format``.
        text: Whether the text at ``path`` holds ``format`` as it is: CSV in JSON, JSON written into a text.
        inner: Path of the records in what ``base64`` or ``text`` held.
        may_be_absent: Whether an answer without anything at ``path`` has no records, instead of being an error.
        unzip: Whether the answer is a zip; every file in it is read.
        columns: Path of the column names, where each record is a list of values.
        keyed_by: Column for the key, where the records stand in one object under their keys.
        explode: List in a record of which every entry becomes a row, with the record's other columns; one in the
            other with a dot (``pages.questions``). A record whose list is empty gives no row.
        pivot: List in a record to how its entries become columns.
        pick: More columns: name to a path in the record, where ``_parent.<name>`` and ``_each.<name>`` are known too.
            Picked values come before ``pivot``, so that a list found deep inside can be made columns.
        typed: Whether an object with ``__class__`` is a value (``datetime``, ``date``, ``time``, ``timedelta``,
            ``Decimal``, ``bytes``), as JSON-RPC of Python systems writes it (Tryton).
        keep_json: Fields that stay JSON, though they are objects.
        false_is_null: Whether ``false`` means that there is no value (Odoo).
        booleans: Fields that are truly true or false, where ``false_is_null``.
        delimiter: Of CSV.
        quote: Of CSV.
        encoding: Of CSV and NDJSON.
        profile: Platform whose CSV layout it is.
        header_rows: Of CSV.
    """

    path: Path | None = None
    format: Literal["json", "ndjson", "csv"] | None = None
    base64: bool = False
    text: bool = False
    inner: Path | None = None
    may_be_absent: bool = False
    unzip: bool = False
    columns: Path | None = None
    keyed_by: str | None = None
    explode: str | None = None
    pivot: dict[str, Pivot] = Field(default_factory=dict)
    pick: dict[str, Path] = Field(default_factory=dict)
    typed: bool = False
    keep_json: list[str] = Field(default_factory=list)
    false_is_null: bool = False
    booleans: list[str] = Field(default_factory=list)
    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    profile: Literal["qualtrics", "surveymonkey"] | None = None
    header_rows: int = Field(default=1, ge=1, le=5)

    @model_validator(mode="after")
    def _fitting(self) -> Records:
        if self.base64 and self.text:
            raise ValueError("give one of 'base64' and 'text'")
        if self.is_inside and (self.path is None or self.format is None):
            raise ValueError(
                "base64 and text need 'path', the place of the text in the answer, and 'format', what it holds: json, "
                "ndjson or csv"
            )
        if self.path is not None and self.format in {"csv", "ndjson"} and not self.is_inside:
            raise ValueError(
                f"an answer that is {self.format} has no 'path'; where it is a text inside of JSON, add text: true (or "
                "base64: true)"
            )
        if self.booleans and not self.false_is_null:
            raise ValueError("'booleans' goes with false_is_null: true")
        if self.unzip and self.is_inside:
            raise ValueError("give one of 'unzip', 'base64' and 'text'")
        return self

    @property
    def is_inside(self) -> bool:
        """Whether what holds the records is a text inside of a JSON answer."""
        return self.base64 or self.text

    @property
    def is_file(self) -> bool:
        """Whether an answer is put on disk and read from there in batches, so that its records are not in memory."""
        return self.unzip or self.is_inside or self.format in {"csv", "ndjson"}


class NoPaging(StrictModel):
    """One answer holds everything."""

    kind: Literal["none"] = "none"


class TokenPaging(StrictModel):
    """An answer holds the token of the next one, ``page.token`` in templates (nothing at first).

    Attributes:
        next: Path of the token; it may be taken from the last record (``items[-1].token``).
        header: Header that holds the token, instead of ``next``.
        param: Parameter of the address that takes the token, where no template does.
        more: Path of a value that says whether there is more.
        done: Path of a value that says that this was the last page.
        end: Texts of the token that mean the end.
        repeats: The source gives the same token for every page (a scroll); an empty page is the last.
        newest_first: Records come newest first: reading ends with the first page that is older than the window.
        resume: The last token is where the next load begins: the source remembers what was read. The stream has no
            other cursor.
    """

    kind: Literal["token"]
    next: Path | None = None
    header: str | None = None
    param: str | None = None
    more: Path | None = None
    done: Path | None = None
    end: Texts = Field(default_factory=list)
    repeats: bool = False
    newest_first: bool = False
    resume: bool = False

    @model_validator(mode="after")
    def _one_place(self) -> TokenPaging:
        if (self.next is None) == (self.header is None):
            raise ValueError("give exactly one of 'next' (a path) and 'header'")
        return self


class LinkPaging(StrictModel):
    """An answer holds the address of the next one: at ``next``, else in its ``Link`` header with ``rel="next"``.

    Attributes:
        next: Path of the address.
        more: Path of a value that says whether there is more.
        done: Path of a value that says that this was the last page.
        newest_first: As in ``TokenPaging``.
        resume: As in ``TokenPaging``: the last address is where the next load begins.
        same_host: Whether the address is asked for at the host that gave it, whatever host it names: a source behind a
            proxy may name its inner one.
    """

    kind: Literal["link"]
    next: Path | None = None
    more: Path | None = None
    done: Path | None = None
    newest_first: bool = False
    resume: bool = False
    same_host: bool = False


class KeysetPaging(StrictModel):
    """The next request asks for what comes behind the last record, by fields that order all records.

    Templates know the last record's values as ``last.<field>``, each nothing at first.

    Attributes:
        fields: Columns, the ordering ones first and a unique one last, such as ``[updated_at, id]``.
        size: Records in a full page, ``page.size`` in templates. Needed where the fields do not hold the whole key.
        short_is_last: Whether a page with fewer records than ``size`` is the last; else an empty one is, which costs
            a request more, and loses nothing where the source gives less than it was asked for.
        order: How each field is compared: ``text``, ``number`` or ``time``; ``none`` where the source's order cannot
            be told from the text. Without, what all values of a page look like.
        newest_first: Records come in falling order; reading ends with the first page that is older than the window.
    """

    kind: Literal["keyset"]
    fields: list[str] = Field(min_length=1)
    size: int | None = Field(default=None, ge=1)
    short_is_last: bool = False
    order: list[Literal["text", "number", "time", "none"]] | None = None
    newest_first: bool = False

    @model_validator(mode="after")
    def _order_of_each(self) -> KeysetPaging:
        if self.order is not None and len(self.order) != len(self.fields):
            raise ValueError("'order' names one way for each of 'fields'")
        if self.short_is_last and self.size is None:
            raise ValueError("short_is_last needs 'size', the records of a full page")
        return self


class NumberPaging(StrictModel):
    """Pages by number (``page.number``) or offset (``page.offset``), with ``page.size`` records each.

    A record that moves while the pages are read is lost without an error, so what was read is reconciled.

    Attributes:
        size: Records in a full page.
        first: Number of the first page, or the first offset.
        param: Parameter of the address that takes the number or offset, where no template does.
        size_param: Parameter that takes the size.
        total: Path of the count of all records.
        pages: Path of the count of all pages; reading ends with the last.
        more: Path of a value that says whether there is more.
        reconcile: ``total``: the distinct records are as many as the source counts, before and after; ``reread``: the
            pages are read until two readings in a row give the same records. ``total`` needs a window with an end
            (``slices``), or records that never change.
    """

    kind: Literal["page", "offset"]
    size: int = Field(ge=1)
    first: int | None = None
    param: str | None = None
    size_param: str | None = None
    total: Path | None = None
    pages: Path | None = None
    more: Path | None = None
    reconcile: Literal["total", "reread"] | None = None

    @model_validator(mode="after")
    def _reconciled(self) -> NumberPaging:
        if self.reconcile is None:
            raise ValueError(
                "a record that moves between pages would be lost unseen; add reconcile: total (with 'total', the path "
                "of the source's own count, and from.slices) or reconcile: reread"
            )
        if self.reconcile == "total" and self.total is None:
            raise ValueError("reconcile: total needs 'total', the path of the source's own count")
        return self


Paging = Annotated[NoPaging | TokenPaging | LinkPaging | KeysetPaging | NumberPaging, Field(discriminator="kind")]


class Slices(StrictModel):
    """The window is asked for in slices of time, each read to its end.

    Attributes:
        by: Length of a slice, such as ``1d``.
        over: A slice of which the source counts more records than this (``paging.total``) is halved.
        align: Whether slices begin at midnight of the source's time zone.
    """

    by: Duration
    over: int | None = Field(default=None, ge=1)
    align: bool = False

    @field_validator("by")
    @classmethod
    def _some_time(cls, value: timedelta) -> timedelta:
        if value < timedelta(seconds=1):
            raise ValueError("a slice is at least a second long")
        return value


class Parent(StrictModel):
    """Requests are made once for every record of another stream of the source.

    Attributes:
        stream: That stream; its records are taken from the landing, without the deleted ones.
        fields: Name to column of the parent's record, ``parent.<name>`` in templates and columns.
        changed_only: Only for parents that came or changed since this stream's last load. A parent that is new is
            always asked from ``cursor.start`` on.
        where: Column to the texts it may have.
        batch: Records of the other stream that one request names: ``parent.<name>`` is a list of that many values. The
            answer's records must say themselves whose they are.
    """

    stream: str
    fields: dict[str, str] = Field(min_length=1)
    changed_only: bool = False
    batch: int | None = Field(default=None, ge=1)
    where: dict[str, list[str]] = Field(default_factory=dict)


class Export(StrictModel):
    """Records are had by an export: it is started, asked after, and downloaded with ``request``.

    Attributes:
        start: Starts it.
        values: Name to path in the answer of ``start``, ``export.<name>`` in templates.
        poll: Asks after it.
        status: Path of its state in the answer of ``poll``.
        done: States that mean that it can be downloaded.
        failed: States that mean that it failed: it is started anew.
        done_status: HTTP statuses of ``poll`` that mean that it is ready, where its answer holds no state.
        poll_values: Name to path in the last answer of ``poll``, ``export.<name>`` in templates.
        every_seconds: Wait between questions, growing to ten times as much.
        timeout_seconds: An export that takes longer fails the load.
    """

    start: Request
    values: dict[str, Path] = Field(default_factory=dict)
    poll: Request | None = None
    status: Path | None = None
    done: Texts = Field(default_factory=list)
    failed: Texts = Field(default_factory=list)
    done_status: list[int] = Field(default_factory=list)
    poll_values: dict[str, Path] = Field(default_factory=dict)
    every_seconds: float = Field(default=2, ge=0)
    timeout_seconds: float = Field(default=3600, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> Export:
        if self.poll is not None and not (self.status and self.done) and not self.done_status:
            raise ValueError(
                "'poll' needs 'status' (a path) and 'done' (its values when it is ready), or 'done_status'"
            )
        return self


def _require_paging_of_files(records: Records, paging: Any) -> None:
    """Fail where the next file would have to be told from the records of the last one, which are not in memory."""
    if not records.is_file:
        return
    by_token = isinstance(paging, TokenPaging | LinkPaging) and not getattr(paging, "repeats", False)
    by_header = by_token and paging.next is paging.more is paging.done is None
    if not (isinstance(paging, NoPaging) or by_header or (by_token and records.is_inside)):
        raise ValueError(
            "the pages of files (csv, ndjson, unzip, base64, text) are followed by a header alone, so the first would "
            "be taken for all; write paging: {kind: token, header: …} or {kind: link} without 'next', 'more' and "
            "'done', or ask for all at once, by slices or by each"
        )


class Keys(StrictModel):
    """All keys the source has now, for ``deletes: {strategy: key_scan}`` of a stream with a cursor."""

    request: Request
    records: Records = Records()
    paging: Paging = NoPaging()

    @model_validator(mode="after")
    def _fitting(self) -> Keys:
        _require_paging_of_files(self.records, self.paging)
        if getattr(self.paging, "resume", False):
            raise ValueError("paging.resume begins behind the keys that were read before; take it out of 'keys'")
        return self


class HttpOrigin(StrictModel):
    """``from`` of a stream of type ``http``.

    Attributes:
        request: The request for a page, or for the file of an export.
        records: Where the records lie in the answer.
        paging: How the next page is asked for.
        slices: Slices of the window.
        each: Name to texts: everything is asked once for each, ``each.<name>`` in templates and columns.
        parent: Everything is asked once for each record of another stream.
        export: The export that is started first.
        keys: How all keys are had.
        errors: Rules for the answers, looked at before those of the connection.
    """

    NOT_READING: ClassVar[frozenset[str]] = frozenset({"errors"})
    """Keys that change nothing in what is landed."""

    request: Request
    records: Records = Records()
    paging: Paging = NoPaging()
    slices: Slices | None = None
    each: dict[str, Texts] = Field(default_factory=dict)
    parent: Parent | None = None
    export: Export | None = None
    keys: Keys | None = None
    errors: list[ErrorRule] = Field(default_factory=list)

    @model_validator(mode="after")
    def _fitting(self) -> HttpOrigin:
        paging = self.paging
        _require_paging_of_files(self.records, paging)
        if self.slices and self.slices.over and not (isinstance(paging, NumberPaging) and paging.total):
            raise ValueError("slices.over needs a paging by page or offset with 'total', the source's own count")
        resumes = isinstance(paging, TokenPaging | LinkPaging) and paging.resume
        if resumes and (self.slices or self.each or self.parent):
            raise ValueError("paging.resume goes with one sequence of pages: without slices, each and parent")
        if isinstance(paging, KeysetPaging) and "last" not in self.request.texts:
            raise ValueError("keyset paging needs a request that uses last.<field>, else every page is the first")
        return self

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"{self.request.method} {self.request.path or '/'}"

    @property
    def is_bounded(self) -> bool:
        """Whether requests name the end of the window."""
        return "window.end" in self.request.texts or (
            self.export is not None and "window.end" in self.export.start.texts
        )
