"""The survey platform's exports: Qualtrics-like CSV a month with three header rows, and who was invited.

Belongs here: what respondents' answers look like in the files, and the planted dirt. Does not belong here: who is
asked and how they feel (``world``).

The file of a month holds what was started in it and is written again each night while anything of it changes: an
answer that is finished days later, or uploaded late by a tablet, changes the file of its month.
"""

from __future__ import annotations

import csv
import io
import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from numpy.random import Generator

from orchestration.sample import vocabulary as words
from orchestration.sample.crm import SEGMENTS, email_text, local_text, phone_text
from orchestration.sample.files import write_bytes
from orchestration.sample.world import (
    DAY,
    HOUR,
    MINUTE,
    NEVER,
    SECOND,
    UTC_OFFSET,
    World,
    choose,
    cut_us,
    midnight_us,
    pick,
)

RELATIONAL, TRANSACTIONAL = "SV_relational", "SV_transactional"
SURVEYS = (RELATIONAL, TRANSACTIONAL)
FILE_STEMS = ("relational", "transactional")
INVITE_CHANNELS = ("email", "sms", "wechat")
NOT_APPLICABLE, REFUSED = "6", "99"
OUT_OF_RANGE = ("11", "-1", "55")
NON_NUMERIC = ("ten", "N/A", "很好")
MINIMUM_FLOOD = 8

_COMMON = (
    ("StartDate", "Start Date", "startDate"),
    ("EndDate", "End Date", "endDate"),
    ("Status", "Response Type", "status"),
    ("IPAddress", "IP Address", "ipAddress"),
    ("Progress", "Progress", "progress"),
    ("Duration (in seconds)", "Duration (in seconds)", "duration"),
    ("Finished", "Finished", "finished"),
    ("RecordedDate", "Recorded Date", "recordedDate"),
    ("ResponseId", "Response ID", "_recordId"),
    ("RecipientLastName", "Recipient Last Name", "recipientLastName"),
    ("RecipientFirstName", "Recipient First Name", "recipientFirstName"),
    ("RecipientEmail", "Recipient Email", "recipientEmail"),
    ("ExternalReference", "External Data Reference", "externalDataReference"),
    ("LocationLatitude", "Location Latitude", "locationLatitude"),
    ("LocationLongitude", "Location Longitude", "locationLongitude"),
    ("DistributionChannel", "Distribution Channel", "distributionChannel"),
    ("UserLanguage", "User Language", "userLanguage"),
    ("phone", "phone", "phone"),
    ("segment", "segment", "segment"),
    ("invitation_id", "invitation_id", "invitation_id"),
    ("userAgent", "userAgent", "userAgent"),
)
_NPS_TEXT = "您有多大可能向朋友推荐我们？ How likely are you to recommend us to a friend?"
COLUMNS = {
    RELATIONAL: (
        *_COMMON,
        ("Q1_NPS_GROUP", f"{_NPS_TEXT} - Group", "QID1_NPS_GROUP"),
        ("Q1", _NPS_TEXT, "QID1"),
        ("Q2", "总体满意度 Overall, how satisfied are you?", "QID2"),
        *(
            (f"Q3_{number}", f"请评价 How do you rate: {touchpoint}", f"QID3_{number}")
            for number, touchpoint in enumerate(words.RATED_TOUCHPOINTS, start=1)
        ),
        ("Q4", "请告诉我们原因 Please tell us why", "QID4_TEXT"),
    ),
    TRANSACTIONAL: (
        *_COMMON,
        ("touchpoint", "touchpoint", "touchpoint"),
        ("reference_id", "reference_id", "reference_id"),
        ("Q1", "您对这次体验的满意度 How satisfied were you this time?", "QID1"),
        ("Q2", "解决问题是否省力 It was easy to get done what I wanted", "QID2"),
        ("Q3_NPS_GROUP", f"{_NPS_TEXT} - Group", "QID3_NPS_GROUP"),
        ("Q3", _NPS_TEXT, "QID3"),
        ("Q4", "请告诉我们原因 Please tell us why", "QID4_TEXT"),
    ),
}
"""Survey to its columns: name, wording, ImportId (the three header rows)."""

ITEMS = [f"item_{number}" for number in range(1, 10)]
KINDS = ("plain", "partial", "speeder", "straight_liner", "out_of_range", "non_numeric", "late_upload")
PLAIN, PARTIAL, SPEEDER, STRAIGHT_LINER, OUT_OF_RANGE_KIND, NON_NUMERIC_KIND, LATE_UPLOAD = range(len(KINDS))
KIND_WEIGHTS = [0.858, 0.07, 0.02, 0.022, 0.008, 0.007, 0.015]
LINKS = ("external_reference", "email", "phone", "none")


def survey_records(world: World) -> pl.DataFrame:
    """Every row the platform will ever hold, one a response, with the values as written and the dirt it carries.

    ``kind`` says which dirt; ``copy_of`` is the response that a double submission repeats; ``person`` is -1 for
    previews and for the scripted flood.
    """
    rng = world.config.generator("answers")
    base = _answers(world, rng)
    extra = [_copies(rng, base), _previews(world, rng, base), _flood(world, rng, base)]
    rows = pl.concat([base, *extra], how="vertical").sort("start_us", "row", maintain_order=True)
    letters = np.array(list("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"))
    drawn = letters[rng.integers(0, 62, (rows.height, 15))]
    ids = "R_" + pl.Series(np.ascontiguousarray(drawn).view("U15").ravel())
    rows = rows.with_columns(response_id=ids)
    by_row = rows.filter(pl.col("copy_of") < 0).select(copy_of="row", original_id="response_id")
    return rows.join(by_row, on="copy_of", how="left", maintain_order="left")


def _answers(world: World, rng: Generator) -> pl.DataFrame:
    people = world.persons.select(
        "person", "full_name", "latin_name", "email", "phone", "new_phone", "phone_changed_us", "western", "segment"
    )
    invited = world.invitations.with_row_index("invitation_row").select(
        pl.col("invitation_row").cast(pl.Int64), "invitation", "contact", invite_channel="channel"
    )
    frame = (
        world.responses.with_row_index("row")
        .with_columns(pl.col("row").cast(pl.Int64))
        .join(people, on="person", how="left", maintain_order="left")
        .join(invited, on="invitation_row", how="left", maintain_order="left")
    )
    n = frame.height
    survey = frame["survey"].to_numpy()
    feeling = frame["feeling"].to_numpy()
    is_invited = frame["invitation"].is_not_null().to_numpy()
    kind = choose(rng, KIND_WEIGHTS, n)
    kind = np.where((survey == 1) & np.isin(kind, (STRAIGHT_LINER,)), PLAIN, kind)
    link = np.where(is_invited, choose(rng, [0.64, 0.24, 0.06, 0.06], n), choose(rng, [0, 0.45, 0, 0.55], n))
    usual = np.where(survey == 0, 180.0, 60.0)
    duration = np.clip(usual * np.exp(rng.normal(0, 0.4, n)), 0.55 * usual, 6 * usual)
    duration = np.where(kind == SPEEDER, usual * rng.uniform(0.1, 0.22, n), duration).astype(np.int64)
    start = frame["start_us"].to_numpy()
    end = start + duration * SECOND
    resumes = (kind == PARTIAL) & (rng.random(n) < 0.3)
    final = np.where(resumes, end + ((0.5 + 4 * rng.random(n)) * DAY).astype(np.int64), NEVER)
    recorded = end + np.where(kind == LATE_UPLOAD, ((1 + 3 * rng.random(n)) * DAY).astype(np.int64), SECOND)
    score = frame["latent"].cast(pl.String)
    score = pl.select(
        pl.when(pl.Series(kind == OUT_OF_RANGE_KIND))
        .then(pick(OUT_OF_RANGE, rng.integers(0, 3, n)))
        .when(pl.Series(kind == NON_NUMERIC_KIND))
        .then(pick(NON_NUMERIC, rng.integers(0, 3, n)))
        .otherwise(score)
    ).to_series()
    csat = np.clip(np.round(3.75 + 0.5 * (feeling - 7.4) + rng.normal(0, 0.5, n)), 1, 5).astype(np.int64)
    ces = np.clip(np.round(5.0 + 0.7 * (feeling - 7.4) + rng.normal(0, 0.9, n)), 1, 7).astype(np.int64)
    western = frame["western"].to_numpy()
    hinted = ~western & (rng.random(n) < 0.06)
    user = frame["person"].to_numpy() * 7_919 + 17
    address = pl.Series(user % 250).cast(pl.String) + "." + pl.Series(user // 250 % 250).cast(pl.String)
    return frame.select(
        "row",
        pl.lit(-1, dtype=pl.Int64).alias("copy_of"),
        "person",
        "survey",
        "touchpoint",
        "reference",
        "latent",
        "start_us",
        end_us=pl.Series(end),
        recorded_us=pl.Series(recorded),
        final_us=pl.Series(final),
        duration=pl.Series(duration),
        kind=pl.Series(kind),
        status=pl.lit("IP Address"),
        stage=pl.Series(rng.integers(0, 2, n)),
        link=pl.Series(link),
        contact=pl.when(pl.Series(link) == 0).then("contact"),
        email_known=pl.when((pl.Series(link) == 1) | ((pl.Series(link) == 0) & pl.Series(rng.random(n) < 0.6))).then(
            "email"
        ),
        phone_known=pl.when(pl.Series(link) == 2).then(
            pl.when(pl.col("start_us") >= pl.col("phone_changed_us")).then("new_phone").otherwise("phone")
        ),
        name_known=pl.when(pl.Series(link) <= 1).then("full_name"),
        style=pl.Series(rng.integers(0, 5, n)),
        email_style=pl.Series(choose(rng, [0.85, 0.1, 0.05], n)),
        segment_text=pick(SEGMENTS, frame["segment"].to_numpy()),
        invitation=pl.when(pl.Series(rng.random(n) < 0.9) & (pl.Series(link) < 3)).then("invitation"),
        channel=pl.when(pl.col("invite_channel").is_null())
        .then(pl.lit("anonymous"))
        .otherwise(pl.col("invite_channel").replace_strict(dict(enumerate(INVITE_CHANNELS)), return_dtype=pl.String)),
        language=pl.when("western")
        .then(pl.lit("EN"))
        .when(pl.Series(hinted))
        .then(pl.lit("ZH-T"))
        .otherwise(pl.lit("ZH-S")),
        agent=pick(words.USER_AGENTS, user % len(words.USER_AGENTS)),
        address=pl.lit("10.") + address + ".7",
        score=score,
        csat=pl.Series(csat).cast(pl.String),
        ces=pl.Series(ces).cast(pl.String),
        **_items(rng, feeling, csat, kind, survey),
        **_comments(rng, frame, score, hinted),
    )


def _items(
    rng: Generator, feeling: np.ndarray, csat: np.ndarray, kind: np.ndarray, survey: np.ndarray
) -> dict[str, pl.Series]:
    """Ratings of nine touchpoints, 1 to 5, with the codes for no value; only planted rows are straight lines."""
    n = len(feeling)
    level = np.array([0.0, 0.25, 0.2, 0.1, -0.35, 0.15, 0.1, -0.25, -0.4])
    ratings = np.round(3.75 + 0.45 * (feeling[:, None] - 7.4) + level + rng.normal(0, 0.7, (n, 9)))
    ratings = np.clip(ratings, 1, 5).astype(np.int64)
    # The first four are always answered with a number: unequal ones make sure that no line is straight by chance.
    equal = (ratings[:, :4] == ratings[:, :1]).all(axis=1)
    ratings[:, 1] = np.where(equal, np.where(ratings[:, 0] == 5, 4, ratings[:, 0] + 1), ratings[:, 1])
    straight = kind == STRAIGHT_LINER
    ratings = np.where(straight[:, None], csat[:, None], ratings)
    text = ratings.astype("U2")
    absent = rng.random((n, 9)) < np.array([0, 0, 0, 0, 0.05, 0.35, 0.05, 0.6, 0.75])
    refused = rng.random((n, 9)) < np.array([0, 0, 0, 0, 0.01, 0.01, 0.01, 0.01, 0.01])
    open_to_codes = ~straight[:, None]
    text = np.where(absent & open_to_codes, NOT_APPLICABLE, text)
    text = np.where(refused & open_to_codes, REFUSED, text)
    text = np.where((survey == 1)[:, None], "", text)
    return {name: pl.Series(text[:, number]) for number, name in enumerate(ITEMS)}


def _comments(rng: Generator, frame: pl.DataFrame, score: pl.Series, hinted: np.ndarray) -> dict[str, pl.Series]:
    """Free text of some, in the respondent's language, and which dirt it carries."""
    n = frame.height
    latent = frame["latent"].to_numpy()
    bucket = np.where(latent >= 9, 0, np.where(latent >= 7, 1, 2))
    western = frame["western"].to_numpy()
    has = rng.random(n) < np.where(bucket == 2, 0.6, 0.4)
    mojibake = ~western & ~hinted & (rng.random(n) < 0.02)
    book = np.where(western, 0, np.where(hinted, 1, np.where(mojibake, 2, 3)))
    shelf: list[str] = []
    first = np.zeros((4, 3), dtype=np.int64)
    count = np.ones((4, 3), dtype=np.int64)
    books = (words.COMMENTS_EN, words.COMMENTS_HINTED, words.COMMENTS_MOJIBAKE, words.COMMENTS_ZH)
    for number, pages in enumerate(books):
        for position, name in enumerate(words.BUCKETS):
            first[number, position], count[number, position] = len(shelf), len(pages[name])
            shelf += pages[name]
    chosen = first[book, bucket] + (rng.random(n) * count[book, bucket]).astype(np.int64)
    personal = has & (rng.random(n) < 0.02)
    lines = has & (rng.random(n) < 0.02)
    text = (
        pl.when(pl.Series(has))
        .then(
            pick(shelf, chosen)
            + pl.when(pl.Series(personal))
            .then(pl.lit(" 请回电 ") + frame["phone"] + ", " + frame["email"])
            .otherwise(pl.lit(""))
            + pl.when(pl.Series(lines)).then(pl.lit('\n"谢谢", thanks')).otherwise(pl.lit(""))
        )
        .otherwise(pl.lit(""))
    )
    return {
        "comment": pl.select(text).to_series(),
        "has_mojibake": pl.Series(has & mojibake),
        "has_hints": pl.Series(has & hinted),
        "has_personal_data": pl.Series(personal),
    }


def _copies(rng: Generator, base: pl.DataFrame) -> pl.DataFrame:
    """Submitted twice: the same person, survey and answers within ten minutes."""
    plain = base.filter((pl.col("kind") == PLAIN) & (pl.col("link") < 3))
    took = plain.filter(pl.Series(rng.random(plain.height) < 0.02))
    wait = (rng.integers(20, 240, took.height) * SECOND).astype(np.int64)
    return took.with_columns(
        copy_of="row",
        row=pl.col("row") + 10_000_000,
        start_us=pl.col("start_us") + wait,
        end_us=pl.col("end_us") + wait,
        recorded_us=pl.col("recorded_us") + wait,
    )


def _strangers(base: pl.DataFrame, n: int, at: np.ndarray, row: int) -> pl.DataFrame:
    """Rows of nobody: the shape of ``base`` with everything that names a person taken out."""
    took = base.filter((pl.col("survey") == 0) & (pl.col("kind") == PLAIN)).head(1)
    took = pl.concat([took] * n)
    shift = pl.Series(at) - pl.col("start_us")
    return took.with_columns(
        row=pl.int_range(row, row + n, dtype=pl.Int64),
        person=pl.lit(-1, dtype=pl.Int64),
        start_us=pl.Series(at),
        end_us=pl.col("end_us") + shift,
        recorded_us=pl.col("recorded_us") + shift,
        contact=pl.lit(None, dtype=pl.String),
        email_known=pl.lit(None, dtype=pl.String),
        phone_known=pl.lit(None, dtype=pl.String),
        name_known=pl.lit(None, dtype=pl.String),
        invitation=pl.lit(None, dtype=pl.String),
        link=pl.lit(3, dtype=pl.Int64),
        channel=pl.lit("anonymous"),
        comment=pl.lit(""),
        has_mojibake=pl.lit(False),
        has_hints=pl.lit(False),
        has_personal_data=pl.lit(False),
    )


def _previews(world: World, rng: Generator, base: pl.DataFrame) -> pl.DataFrame:
    config = world.config
    n = config.size(18, 2)
    window = cut_us(config.last_date) - midnight_us(config.start_date)
    at = midnight_us(config.start_date) + (rng.random(n) * (window - DAY)).astype(np.int64)
    return _strangers(base, n, at, 20_000_000).with_columns(
        status=pl.lit("Survey Preview"), channel=pl.lit("preview"), comment=pl.lit("test"), score=pl.lit("10")
    )


def _flood(world: World, rng: Generator, base: pl.DataFrame) -> pl.DataFrame:
    """A script that answers the same, many times within two minutes, from one address."""
    config = world.config
    n = config.size(12, MINIMUM_FLOOD)
    begin = midnight_us(config.start_date) + int(0.8 * config.days) * DAY + 3 * HOUR
    at = np.sort(begin + (rng.random(n) * 2 * MINUTE).astype(np.int64))
    return _strangers(base, n, at, 30_000_000).with_columns(
        agent=pl.lit(words.BOT_AGENTS[3]),
        address=pl.lit("10.255.255.7"),
        score=pl.lit("0"),
        csat=pl.lit("1"),
        duration=pl.lit(150, dtype=pl.Int64),
        end_us=pl.Series(at) + 150 * SECOND,
        recorded_us=pl.Series(at) + 151 * SECOND,
        **{name: pl.lit("2" if name == "item_2" else "1") for name in ITEMS},
    )


def survey_at(world: World, as_of: date, records: pl.DataFrame | None = None) -> pl.DataFrame:
    """``survey_records`` that the platform shows at the end of ``as_of``, in the version known then."""
    cut = cut_us(as_of)
    records = survey_records(world) if records is None else records
    completed = pl.col("final_us") < cut
    return records.filter(pl.col("recorded_us") < cut).with_columns(
        is_finished=(pl.col("kind") != PARTIAL) | completed,
        is_resumed=completed,
        end_us=pl.when(completed).then("final_us").otherwise("end_us"),
        recorded_us=pl.when(completed).then(pl.col("final_us") + SECOND).otherwise("recorded_us"),
        duration=pl.when(completed).then((pl.col("final_us") - pl.col("start_us")) // SECOND).otherwise("duration"),
    )


def shows_score() -> pl.Expr:
    """The recommendation question was answered: some who break off do so before it."""
    return pl.col("is_finished") | (pl.col("stage") == 1) | (pl.col("row") % 3 > 0)


def is_valid() -> pl.Expr:
    """A person's own complete answer with a score on the scale: none of the dirt that metrics leave out."""
    return (
        (pl.col("person") >= 0)
        & (pl.col("copy_of") < 0)
        & pl.col("is_finished")
        & pl.col("kind").is_in([PLAIN, LATE_UPLOAD, PARTIAL])
    )


def _table(world: World, rows: pl.DataFrame, survey: int) -> pl.DataFrame:
    """The CSV's columns, as text, in the order of ``COLUMNS``."""
    import_ids = [column[2] for column in COLUMNS[SURVEYS[survey]]]
    finished = pl.col("is_finished")
    shows_items = finished | (pl.col("stage") == 1)
    answered_score = shows_score()
    score = pl.when(answered_score).then("score").otherwise(pl.lit(""))
    number = pl.col("score").cast(pl.Int64, strict=False)
    group = (
        pl.when(~answered_score | ~number.is_between(0, 10).fill_null(False))
        .then(pl.lit(""))
        .when(number >= 9)
        .then(pl.lit("Promoter"))
        .when(number >= 7)
        .then(pl.lit("Passive"))
        .otherwise(pl.lit("Detractor"))
    )
    name = pl.col("name_known").fill_null("")
    common = {
        "startDate": local_text("start_us"),
        "endDate": local_text("end_us"),
        "status": pl.col("status"),
        "ipAddress": pl.col("address"),
        "progress": pl.when(finished)
        .then(pl.lit("100"))
        .when(pl.col("stage") == 1)
        .then(pl.lit("60"))
        .otherwise(pl.lit("20")),
        "duration": pl.col("duration").cast(pl.String),
        "finished": pl.when(finished).then(pl.lit("True")).otherwise(pl.lit("False")),
        "recordedDate": local_text("recorded_us"),
        "_recordId": pl.col("response_id"),
        "recipientLastName": name,
        "recipientFirstName": pl.lit(""),
        "recipientEmail": email_text("email_known", "email_style").fill_null(""),
        "externalDataReference": pl.col("contact").fill_null(""),
        "locationLatitude": pl.lit(""),
        "locationLongitude": pl.lit(""),
        "distributionChannel": pl.col("channel"),
        "userLanguage": pl.col("language"),
        "phone": phone_text("phone_known", "style").fill_null(""),
        "segment": pl.col("segment_text"),
        "invitation_id": pl.col("invitation").fill_null(""),
        "userAgent": pl.col("agent"),
    }
    comment = pl.when(finished).then("comment").otherwise(pl.lit(""))
    values: dict[str, pl.Expr | pl.Series] = {}
    if survey == 0:
        values |= {"QID1_NPS_GROUP": group, "QID1": score, "QID4_TEXT": comment}
        values["QID2"] = pl.when(shows_items).then("csat").otherwise(pl.lit(""))
        for position, item in enumerate(ITEMS, start=1):
            shown = shows_items if position <= 5 else finished
            values[f"QID3_{position}"] = pl.when(shown).then(item).otherwise(pl.lit(""))
    else:
        references = pl.concat([world.tickets["ticket"], world.orders["order"]])
        is_order = pl.col("touchpoint").is_in([4, 9])
        record = pl.col("reference") + pl.when(is_order).then(world.tickets.height).otherwise(0)
        values |= {
            "touchpoint": pl.col("touchpoint").replace_strict(
                dict(enumerate(words.TOUCHPOINTS)), default="", return_dtype=pl.String
            ),
            "reference_id": references.gather(rows.select(record).to_series().cast(pl.UInt32)),
            "QID1": pl.when(shows_items).then("csat").otherwise(pl.lit("")),
            "QID2": pl.when(shows_items).then("ces").otherwise(pl.lit("")),
            "QID3_NPS_GROUP": group,
            "QID3": score,
            "QID4_TEXT": comment,
        }
    return rows.select(**{**common, **values}).select(import_ids)


def _csv(header: list[list[str]], table: pl.DataFrame) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(header)
    filled = table.with_columns(pl.when(pl.all() != "").then(pl.all()).name.keep())
    return (buffer.getvalue() + filled.write_csv(include_header=False)).encode()


def months(column: str) -> pl.Expr:
    """Business month of an instant, as ``2026-03``."""
    return (pl.col(column) + UTC_OFFSET).cast(pl.Datetime("us")).dt.strftime("%Y-%m")


def write_survey(world: World, folder: Path, rows: pl.DataFrame) -> list[str]:
    """Write the month files of both surveys from ``survey_at``; returns the names of those that changed."""
    changed = []
    for number, survey in enumerate(SURVEYS):
        columns = COLUMNS[survey]
        header = [
            [column[0] for column in columns],
            [column[1] for column in columns],
            [json.dumps({"ImportId": column[2]}, separators=(",", ":")) for column in columns],
        ]
        own = rows.filter(pl.col("survey") == number).with_columns(month=months("start_us"))
        for (month,), part in sorted(own.partition_by("month", as_dict=True).items()):
            path = folder / f"{FILE_STEMS[number]}_{month}.csv"
            if write_bytes(path, _csv(header, _table(world, part, number))):
                changed.append(path.name)
    return changed


def write_invitations(world: World, folder: Path, as_of: date, rows: pl.DataFrame) -> list[str]:
    """Write who was asked, a CSV a month, with what became of it by ``as_of``; returns the names that changed."""
    cut = cut_us(as_of)
    people = world.persons.select("person", "email", "phone")
    finished = (
        rows.filter((pl.col("copy_of") < 0) & pl.col("invitation").is_not_null())
        .select("invitation", "response_id", "is_finished", answered_us="recorded_us")
        .unique("invitation", keep="first", maintain_order=True)
    )
    frame = (
        world.invitations.filter(pl.col("sent_us") < cut)
        .join(people, on="person", how="left", maintain_order="left")
        .join(finished, on="invitation", how="left", maintain_order="left")
        .with_columns(month=months("sent_us"))
    )
    opened = pl.when(pl.col("opens")).then(pl.col("sent_us") + 5 * HOUR).otherwise(NEVER)
    frame = frame.with_columns(opened_us=opened)
    is_open = pl.col("opened_us") < cut
    table = frame.select(
        "month",
        invitation_id="invitation",
        survey_id=pl.col("survey").replace_strict(dict(enumerate(SURVEYS)), return_dtype=pl.String),
        contact_id="contact",
        email=pl.when(pl.col("channel") == 0).then("email").otherwise(pl.lit("")),
        phone=pl.when(pl.col("channel") == 1).then("phone").otherwise(pl.lit("")),
        channel=pl.col("channel").replace_strict(dict(enumerate(INVITE_CHANNELS)), return_dtype=pl.String),
        touchpoint=pl.col("touchpoint").replace_strict(
            dict(enumerate(words.TOUCHPOINTS)), default="", return_dtype=pl.String
        ),
        sent_at=local_text("sent_us"),
        status=pl.when("bounces")
        .then(pl.lit("bounced"))
        .when("is_finished")
        .then(pl.lit("finished"))
        .when(pl.col("answered_us").is_not_null())
        .then(pl.lit("started"))
        .when(is_open)
        .then(pl.lit("opened"))
        .otherwise(pl.lit("sent")),
        response_id=pl.when("states_response").then("response_id").fill_null(""),
        updated_at=pl.max_horizontal(
            "sent_us",
            pl.when(is_open & ~pl.col("bounces")).then("opened_us").otherwise(-NEVER),
            pl.col("answered_us").fill_null(-NEVER),
        ),
    ).with_columns(updated_at=local_text("updated_at"))
    changed = []
    names = [name for name in table.columns if name != "month"]
    for (month,), part in sorted(table.partition_by("month", as_dict=True).items()):
        path = folder / f"invitations_{month}.csv"
        if write_bytes(path, _csv([names], part.select(names))):
            changed.append(path.name)
    return changed


def planted(rows: pl.DataFrame) -> dict[str, int]:
    """How much dirt of each kind the files hold, from ``survey_at``."""
    own = rows.filter((pl.col("person") >= 0) & (pl.col("copy_of") < 0))
    finished = rows.filter("is_finished")
    relational = finished.filter(pl.col("survey") == 0)
    counts = {
        "responses": rows.height,
        "partials": rows.height - finished.height,
        "resumed_partials": own.filter("is_resumed").height,
        "speeders": own.filter(pl.col("kind") == SPEEDER).height,
        "straight_liners": own.filter(pl.col("kind") == STRAIGHT_LINER).height,
        "out_of_range_answers": own.filter(pl.col("kind") == OUT_OF_RANGE_KIND).height,
        "non_numeric_answers": own.filter(pl.col("kind") == NON_NUMERIC_KIND).height,
        "late_uploads": own.filter(pl.col("kind") == LATE_UPLOAD).height,
        "double_submissions": rows.filter(pl.col("copy_of") >= 0).height,
        "previews": rows.filter(pl.col("status") == "Survey Preview").height,
        "scripted_flood": rows.filter((pl.col("person") < 0) & (pl.col("status") != "Survey Preview")).height,
        "anonymous_responses": own.filter(pl.col("link") == 3).height,
        "mojibake_comments": finished.filter("has_mojibake").height,
        "hinted_comments": finished.filter("has_hints").height,
        "comments_with_personal_data": finished.filter("has_personal_data").height,
        "refused_ratings": sum(int((relational[item] == REFUSED).sum()) for item in ITEMS),
        "not_applicable_ratings": sum(int((relational[item] == NOT_APPLICABLE).sum()) for item in ITEMS),
    }
    return counts
