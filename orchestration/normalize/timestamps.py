"""Text to UTC timestamps and to dates.

Read without a hint: ISO 8601 and PostgreSQL's form, with or without zone and fraction; year-first and
Chinese dates; ``01.03.2026`` (always day first), ``3/1/2026`` (month first unless ``day_first``); 12-hour times;
English month names; compact ``20260301`` and ``20260301090000``; Unix time in seconds, milliseconds,
microseconds or nanoseconds by its number of digits. Anything else needs a ``format``.

Nothing is guessed: a month of 13 is not taken for a day, a two-digit year needs a ``format``, infinity is
refused. A local time that the zone's clock never showed is refused (``nonexistent_local_time``); one that it
showed twice is read as the first (fold 0) and noted (``ambiguous_local_time``). A day without time begins at its
first instant, also where a clock change skips its midnight.
"""

from __future__ import annotations

from functools import partial

import polars as pl

from orchestration.normalize.batches import REASON, VALUE, by_batch, outcome, outcome_type

TIMESTAMP = pl.Datetime("us")
INVALID_TIMESTAMP = "invalid_timestamp"
INVALID_DATE = "invalid_date"
NONEXISTENT = "nonexistent_local_time"
AMBIGUOUS = "ambiguous_local_time"

_UNIT_IN_MICROSECONDS = {"s": 1_000_000.0, "ms": 1_000.0, "us": 1.0}

_OFFSET = r"Z|z|UTC|GMT|[+-](?:0\d|1[0-5])(?::?[0-5]\d(?::[0-5]\d)?)?"
_TAIL = rf"^(?:[.,](\d{{1,9}}))?\s*({_OFFSET})?$"
_GENERAL = (
    r"^(\d{1,4})([-/.])(\d{1,2})[-/.](\d{1,4})"
    r"(?:(?:[T ]|, ?)\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*([AaPp]\.?[Mm]\.?)?)?"
    rf"\s*({_OFFSET})?$"
)
_CLOCK = r"[:时時点點]|\d{10}"
"""What only a text with a time of day holds."""
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_NAME = r"(?i)\b(?:" + "|".join(_MONTHS) + r")[a-z]*\b"

_EMPTY = {"at": TIMESTAMP, "offset": pl.Int64(), "is_instant": pl.Boolean()}
"""What reading gives: ``at`` the time as written, ``offset`` seconds east of UTC or null where none was
written, ``is_instant`` true where a count since 1970 was written and no clock time."""


def _digits_to_micros(digits: pl.Expr) -> pl.Expr:
    """The digits after the decimal mark, as microseconds; digits beyond the sixth are cut off."""
    return digits.str.head(6).str.pad_end(6, "0").cast(pl.Int64(), strict=False).fill_null(0)


def _offset_seconds(text: pl.Expr) -> pl.Expr:
    """``Z``, ``UTC``, ``+08``, ``+0800`` or ``-03:30`` as seconds east of UTC, null for null.

    PostgreSQL writes ``+08:05:43`` for days before a zone kept standard time.
    """
    digits = text.str.slice(1).str.replace_all(":", "", literal=True)
    hours, minutes, seconds = (digits.str.slice(at, 2).cast(pl.Int64(), strict=False) for at in (0, 2, 4))
    seconds = hours * 3600 + minutes.fill_null(0) * 60 + seconds.fill_null(0)
    seconds = seconds * pl.when(text.str.starts_with("-")).then(-1).otherwise(1)
    return pl.when(text.is_null()).then(None).when(hours.is_null()).then(0).otherwise(seconds)


def _read_iso(text: pl.Series) -> pl.DataFrame:
    """The common case, fast: ``YYYY-MM-DD[T ]HH:MM:SS`` with an optional fraction and offset."""
    mark = "T" if (text.str.slice(10, 1) == "T").sum() * 2 > len(text) else " "
    frame = pl.DataFrame({"text": text}).select(
        at=pl.col("text").str.head(19).str.to_datetime(f"%Y-%m-%d{mark}%H:%M:%S", time_unit="us", strict=False),
        is_whole=~pl.col("text").str.slice(17, 2).str.starts_with("6"),
        tail=pl.col("text").str.slice(19),
    )
    frame = frame.with_columns(at=pl.when(pl.col("is_whole")).then(pl.col("at")))
    tails = frame.get_column("tail").unique()
    if len(tails) == 1 and tails.item() in ("", "Z"):
        offset = pl.lit(0 if tails.item() else None, dtype=pl.Int64())
        return frame.select("at", offset=offset, is_instant=pl.lit(value=False))
    spread = len(tails) * 2 <= len(text)
    parts = (tails if spread else frame.get_column("tail")).alias("tail").to_frame()
    parts = (
        parts.with_columns(groups=pl.col("tail").str.extract_groups(_TAIL))
        .unnest("groups")
        .select(
            "tail",
            is_tail=pl.col("tail").str.contains(_TAIL),
            micros=_digits_to_micros(pl.col("1")),
            offset=_offset_seconds(pl.col("2")),
        )
    )
    if spread:
        frame = frame.join(parts, on="tail", how="left", nulls_equal=True, maintain_order="left")
    else:
        frame = frame.hstack(parts.drop("tail"))
    return frame.select(
        at=pl.when(pl.col("is_tail")).then(pl.col("at") + pl.duration(microseconds=pl.col("micros"))),
        offset=pl.col("offset"),
        is_instant=pl.lit(value=False),
    )


def _read_count(text: pl.Series, unit: str | None) -> pl.DataFrame:
    """Unix time; without ``unit`` the number of digits before the decimal mark decides."""
    if unit is None:
        pattern = r"^\d{9,10}(\.\d+)?$|^\d{12,13}(\.\d+)?$|^\d{15,16}(\.\d+)?$|^\d{18,19}$"
        digits = pl.col("text").str.replace(r"\..*$", "").str.len_bytes()
        to_micros = (
            pl.when(digits <= 10).then(1e6).when(digits <= 13).then(1e3).when(digits <= 16).then(1.0).otherwise(1e-3)
        )
    else:
        pattern = r"^-?\d+(\.\d+)?$"
        to_micros = pl.lit(_UNIT_IN_MICROSECONDS[unit])
    whole = pl.col("text").cast(pl.Int64(), strict=False)
    # Whole numbers stay in integers: a double holds microseconds only to about the year 2255.
    exact = pl.when(to_micros >= 1).then(whole * to_micros.cast(pl.Int64())).otherwise(whole // 1000)
    fraction = (pl.col("text").cast(pl.Float64(), strict=False) * to_micros).round()
    within = pl.col("text").cast(pl.Float64(), strict=False).abs() * to_micros < 9.2e18
    counted = pl.when(whole.is_not_null()).then(exact).otherwise(fraction.cast(pl.Int64(), strict=False))
    return pl.DataFrame({"text": text}).select(
        at=pl.when(pl.col("text").str.contains(pattern) & within).then(counted).cast(TIMESTAMP),
        offset=pl.lit(0, dtype=pl.Int64()),
        is_instant=pl.lit(value=True),
    )


def _plain_dates(text: pl.Expr) -> pl.Expr:
    """Chinese, compact and month-name dates rewritten in digits, the rest as it is."""
    chinese = (
        text.str.replace_all(r"\s*年\s*|\s*月\s*", "-")
        .str.replace(r"\s*[日号號]\s*", " ")
        .str.replace_all(r"\s*[时時点點分]\s*", ":")
        .str.replace_all(r"\s*秒", "")
        .str.replace(r":\s*$", "")
        .str.replace(r"^(\S+) *(?:上午|早上|凌晨) *(.*)$", "${1} ${2} AM")
        .str.replace(r"^(\S+) *(?:下午|晚上|中午) *(.*)$", "${1} ${2} PM")
        # An hour alone, as in 9时, is a full hour.
        .str.replace(r"^(\S+ \d{1,2})( [AP]M)?$", "${1}:00${2}")
        .str.strip_chars()
    )
    compact = text.str.replace(r"^(\d{4})(\d{2})(\d{2})$", "${1}-${2}-${3}").str.replace(
        r"^(\d{4})(\d{2})(\d{2})[T ]?(\d{2})(\d{2})(\d{2})(Z|[+-]\d{2}:?\d{2})?$", "${1}-${2}-${3} ${4}:${5}:${6}${7}"
    )
    number = (
        text.str.extract(r"(" + _MONTH_NAME + ")", 1)
        .str.to_lowercase()
        .str.head(3)
        .replace_strict(list(_MONTHS), [f"{index:02d}" for index in range(1, 13)], default=None)
    )
    named = text.str.replace(r"^(?i:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? +", "").str.replace(_MONTH_NAME, "@")
    day_month_year = named.str.extract_groups(r"^(\d{1,2})[- ]@[-, ]+(\d{4})(.*)$")
    month_day_year = named.str.extract_groups(r"^@ +(\d{1,2}),? +(\d{4})(.*)$")

    def rebuilt(groups: pl.Expr) -> pl.Expr:
        day, year, rest = (groups.struct.field(name) for name in ("1", "2", "3"))
        return pl.concat_str([year, pl.lit("-"), number, pl.lit("-"), day, rest])

    return (
        pl.when(text.str.contains(r"年|月"))
        .then(chinese)
        .when(text.str.contains(r"^\d{8}"))
        .then(compact)
        .when(number.is_not_null())
        .then(pl.coalesce(rebuilt(day_month_year), rebuilt(month_day_year), text))
        .otherwise(text)
    )


def _read_general(text: pl.Series, *, day_first: bool) -> pl.DataFrame:
    """Any clock time that one regular expression can take apart."""
    groups = ("a", "mark", "b", "c", "hour", "minute", "second", "fraction", "half", "zone")
    frame = (
        pl.DataFrame({"text": text})
        .select(_plain_dates(pl.col("text")).str.extract_groups(_GENERAL).alias("groups"))
        .unnest("groups")
        .rename(dict(zip((str(number) for number in range(1, 11)), groups, strict=True)))
    )
    a, b, c = pl.col("a"), pl.col("b"), pl.col("c")
    year_first = a.str.len_bytes() == 4
    year_last = (c.str.len_bytes() == 4) & (a.str.len_bytes() <= 2)
    is_day_first = pl.lit(day_first) | (pl.col("mark") == ".")
    half = pl.col("half").str.head(1).str.to_lowercase()
    hour = pl.col("hour").cast(pl.Int64(), strict=False)
    clock = (
        pl.when(half.is_null())
        .then(hour)
        .when((hour < 1) | (hour > 12))
        .then(None)
        .otherwise(hour % 12 + pl.when(half == "p").then(12).otherwise(0))
    )
    is_date_only = pl.col("hour").is_null()
    written = pl.concat_str(
        [
            pl.when(year_first).then(a).when(year_last).then(c),
            pl.when(year_first | is_day_first).then(b).otherwise(a).str.zfill(2),
            pl.when(year_first).then(c.str.zfill(2)).when(is_day_first).then(a.str.zfill(2)).otherwise(b.str.zfill(2)),
            pl.when(is_date_only).then(pl.lit("00")).otherwise(clock.cast(pl.String()).str.zfill(2)),
            pl.when(is_date_only).then(pl.lit("00")).otherwise(pl.col("minute")),
            pl.col("second").fill_null("00"),
        ],
        separator="-",
    )
    at = written.str.to_datetime("%Y-%m-%d-%H-%M-%S", time_unit="us", strict=False)
    return frame.select(
        at=pl.when(pl.col("second").fill_null("00") < "60").then(
            at + pl.duration(microseconds=_digits_to_micros(pl.col("fraction")))
        ),
        offset=_offset_seconds(pl.col("zone")),
        is_instant=pl.lit(value=False),
    )


def _read_format(text: pl.Series, template: str) -> pl.DataFrame:
    """``template`` in strftime's letters; with ``%z`` the offset written counts."""
    if "%z" in template or "%:z" in template or "%#z" in template:
        at = text.str.to_datetime(template, time_unit="us", time_zone="UTC", strict=False).dt.replace_time_zone(None)
        return pl.DataFrame({"at": at}).with_columns(offset=pl.lit(0, dtype=pl.Int64()), is_instant=pl.lit(value=True))
    if any(letters in template for letters in ("%H", "%I", "%T", "%R", "%X", "%c", "%s", "%k", "%l")):
        at = text.str.to_datetime(template, time_unit="us", strict=False)
    else:
        at = text.str.to_date(template, strict=False).cast(TIMESTAMP)
    return pl.DataFrame({"at": at}).with_columns(offset=pl.lit(None, dtype=pl.Int64()), is_instant=pl.lit(value=False))


def _read(text: pl.Series, *, day_first: bool, unit: str | None, template: str | None) -> pl.DataFrame:
    """Read each text by the first way that fits; columns as in ``_EMPTY``."""
    if template is not None:
        return _read_format(text, template)
    if unit is not None:
        return _read_count(text, unit)
    result = _read_iso(text)
    for reader in (partial(_read_count, unit=None), partial(_read_general, day_first=day_first)):
        left = (result.get_column("at").is_null() & text.is_not_null()).arg_true()
        if len(left) == 0:
            break
        read = reader(text.gather(left))
        got = read.get_column("at").is_not_null()
        where = left.filter(got)
        if len(where):
            read = read.filter(got)
            result = pl.DataFrame(
                {name: result.get_column(name).scatter(where, read.get_column(name)) for name in _EMPTY}
            )
    return result


def _located(read: pl.DataFrame, zone: str) -> pl.DataFrame:
    """``at`` as written to UTC; adds ``note`` for local times that do not exist or exist twice."""
    local = pl.col("at").dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    later = pl.col("at").dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")

    def utc(expression: pl.Expr) -> pl.Expr:
        return expression.dt.convert_time_zone("UTC").dt.replace_time_zone(None)

    shifted = pl.col("at") - pl.duration(seconds=pl.col("offset"))
    if read.get_column("offset").null_count() == 0:
        return read.select(shifted.alias(VALUE), pl.lit(None, dtype=pl.String()).alias(REASON))
    is_local = pl.col("at").is_not_null() & pl.col("offset").is_null()
    return read.with_columns(first=utc(local), last=utc(later)).select(
        pl.when(is_local).then(pl.col("first")).otherwise(shifted).alias(VALUE),
        pl.when(is_local & pl.col("first").is_null())
        .then(pl.lit(NONEXISTENT))
        .when(is_local & (pl.col("first") != pl.col("last")))
        .then(pl.lit(AMBIGUOUS))
        .alias(REASON),
    )


def _with_day_starts(located: pl.DataFrame, read: pl.DataFrame, text: pl.Series, zone: str) -> pl.DataFrame:
    """``located`` with days that have no midnight begun at their first instant: a day alone is no local time."""
    starts = [pl.col("at") + pl.duration(minutes=minutes) for minutes in (30, 60)]
    existing = [start.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null") for start in starts]
    first = pl.coalesce(existing).dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    is_skipped_day = (pl.col(REASON) == NONEXISTENT) & ~pl.col("text").str.contains(_CLOCK) & first.is_not_null()
    return (
        located.hstack(read.select("at"))
        .with_columns(text.alias("text"))
        .select(
            pl.when(is_skipped_day).then(first).otherwise(pl.col(VALUE)).alias(VALUE),
            pl.when(is_skipped_day).then(None).otherwise(pl.col(REASON)).alias(REASON),
        )
    )


def read_timestamps(
    text: pl.Series, *, zone: str, day_first: bool = False, unit: str | None = None, template: str | None = None
) -> pl.Series:
    """A batch of texts to ``{value: UTC microseconds, reason}``.

    Args:
        text: Texts without outer blanks; null stays null.
        zone: IANA zone of a time written without offset.
        day_first: ``01/03/2026`` is 1 March.
        unit: ``s``, ``ms`` or ``us``: the text is a count since 1970 in this unit.
        template: strftime format; only this is read then.
    """
    read = _read(text, day_first=day_first, unit=unit, template=template)
    located = _located(read, zone)
    if (located.get_column(REASON) == NONEXISTENT).any():
        located = _with_day_starts(located, read, text, zone)
    unread = (
        pl.DataFrame({"text": text})
        .hstack(located)
        .select(
            pl.when(pl.col("text").is_not_null() & pl.col(VALUE).is_null() & pl.col(REASON).is_null())
            .then(pl.lit(INVALID_TIMESTAMP))
            .otherwise(pl.col(REASON))
        )
    )
    return outcome(located.get_column(VALUE), unread.to_series())


def read_dates(
    text: pl.Series, *, zone: str, day_first: bool = False, unit: str | None = None, template: str | None = None
) -> pl.Series:
    """A batch of texts to ``{value: Date, reason}``: the day as written, whatever the offset beside it.

    A count since 1970 names no day; its day in ``zone`` is taken. Arguments as ``read_timestamps``.
    """
    read = _read(text, day_first=day_first, unit=unit, template=template)
    counted = pl.col("at").dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.date()
    days = read.select(pl.when(pl.col("is_instant")).then(counted).otherwise(pl.col("at").dt.date())).to_series()
    frame = pl.DataFrame({"text": text, VALUE: days})
    unread = pl.col("text").is_not_null() & pl.col(VALUE).is_null()
    return outcome(days, frame.select(pl.when(unread).then(pl.lit(INVALID_DATE))).to_series())


def timestamps(
    expression: pl.Expr, *, zone: str, day_first: bool = False, unit: str | None = None, template: str | None = None
) -> pl.Expr:
    """``read_timestamps`` as an expression."""
    read = partial(read_timestamps, zone=zone, day_first=day_first, unit=unit, template=template)
    return by_batch(expression, read, outcome_type(TIMESTAMP))


def dates(
    expression: pl.Expr, *, zone: str, day_first: bool = False, unit: str | None = None, template: str | None = None
) -> pl.Expr:
    """``read_dates`` as an expression."""
    read = partial(read_dates, zone=zone, day_first=day_first, unit=unit, template=template)
    return by_batch(expression, read, outcome_type(pl.Date()))
