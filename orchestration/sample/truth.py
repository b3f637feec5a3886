"""What is true of the sample company: who is who, the true NPS, personal data; only for tests and checks.

Does not belong here: anything that a source system would know.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl

from orchestration.sample import crm, support, survey
from orchestration.sample.world import DUPLICATE_KINDS, MINUTE, NEVER, SECOND, World, cut_us

PERSON_SCHEMA = {
    "record_table": pl.String,
    "source": pl.String,
    "source_id": pl.String,
    "true_person_id": pl.String,
    "is_linkable": pl.Boolean,
}
SCALE_MAX = 10


def person_id(column: str = "person") -> pl.Expr:
    """The true person's id."""
    return pl.lit("P") + pl.col(column).cast(pl.String).str.zfill(6)


def _records(frame: pl.DataFrame, table: str, source: str, key: str, linkable: pl.Expr) -> pl.DataFrame:
    return frame.select(
        record_table=pl.lit(table),
        source=pl.lit(source),
        source_id=pl.col(key),
        true_person_id=person_id(),
        is_linkable=linkable,
    )


def persons(world: World, as_of: date, responses: pl.DataFrame) -> pl.DataFrame:
    """One row a record that names a person: which person it truly is.

    Returns:
        ``record_table``, ``source``, ``source_id``, ``true_person_id``, ``is_linkable`` (False where the record
        holds no value that any other record of the person holds: nobody could join it). Robots, previews and the
        scripted flood are nobody and have no row.
    """
    cut = cut_us(as_of)
    always = pl.lit(True)
    visits = (
        world.sessions.filter((pl.col("start_us") < cut - SECOND) & (pl.col("owner") >= 0))
        .with_columns(enters=(pl.col("logs_in") | pl.col("signs_up")) & (pl.col("start_us") < cut - 10 * MINUTE))
        .join(world.devices.select("device", "cookie"), on="device", how="left", maintain_order="left")
    )
    visitors = visits.group_by("cookie", "owner").agg(pl.col("enters").any()).sort("cookie")
    logins = (
        visits.filter("enters")
        .select(person="owner")
        .unique()
        .sort("person")
        .join(world.persons.select("person", "login"), on="person", how="left", maintain_order="left")
    )
    contacts = world.contacts.filter(pl.col("created_us") < cut)
    is_unlinked = pl.col("variant") == DUPLICATE_KINDS.index("unlinked")
    opportunities = world.opportunities.filter((pl.col("created_us") < cut) & (pl.col("gone_us") >= cut))
    people = responses.filter(pl.col("person") >= 0)
    parts = [
        _records(contacts, "customer", "crm", "contact", ~is_unlinked),
        _records(crm.orders_at(world, as_of), "sales_order", "crm", "order", always),
        _records(opportunities, "opportunity", "crm", "opportunity", always),
        _records(people, "response", "survey", "response_id", pl.col("link") < 3),
        _records(
            world.invitations.filter(pl.col("sent_us") < cut),
            "invitation",
            "survey",
            "invitation",
            always,
        ),
        _records(support.tickets_at(world, as_of), "ticket", "support", "ticket", always),
        _records(visitors.rename({"owner": "person"}), "visitor", "web", "cookie", pl.col("enters")),
        _records(logins, "login", "web", "login", always),
    ]
    return pl.concat(parts).select(list(PERSON_SCHEMA))


def responses_truth(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a response in the files: who truly gave it, the score truly held, and what is planted in it."""
    return rows.select(
        "response_id",
        true_person_id=pl.when(pl.col("person") >= 0).then(person_id()),
        survey_id=pl.col("survey").replace_strict(dict(enumerate(survey.SURVEYS)), return_dtype=pl.String),
        answered_at=pl.col("end_us").cast(pl.Datetime("us")),
        month=survey.months("end_us"),
        true_score="latent",
        written_score=pl.when(survey.shows_score()).then("score"),
        planted=pl.when(pl.col("status") == "Survey Preview")
        .then(pl.lit("preview"))
        .when(pl.col("person") < 0)
        .then(pl.lit("scripted_flood"))
        .when(pl.col("copy_of") >= 0)
        .then(pl.lit("double_submission"))
        .when(pl.col("is_resumed"))
        .then(pl.lit("resumed_partial"))
        .otherwise(pl.col("kind").replace_strict(dict(enumerate(survey.KINDS)), return_dtype=pl.String)),
        original_id="original_id",
        is_finished="is_finished",
        is_valid=survey.is_valid(),
    )


def nps_by_month(truth: pl.DataFrame) -> pl.DataFrame:
    """True NPS by business month of the answer.

    Args:
        truth: ``responses_truth``.

    Returns:
        ``nps_kind`` (relational, touchpoint), ``basis`` (``valid``: complete answers of persons without planted dirt;
        ``received``: every score from 0 to 10 in the files but previews', broken-off answers included), ``vote``
        (``response``: each counts; ``person``: each person's last of the month), ``month``, ``n``, ``promoters``,
        ``passives``, ``detractors``, ``nps`` (-100 to 100).
    """
    score = pl.col("written_score").cast(pl.Int64, strict=False)
    received = truth.with_columns(score=score).filter(
        (pl.col("planted") != "preview") & pl.col("score").is_between(0, SCALE_MAX)
    )
    valid = truth.filter("is_valid").with_columns(score="true_score")
    parts = []
    for basis, rows in (("valid", valid), ("received", received)):
        voters = rows.with_columns(
            nps_kind=pl.when(pl.col("survey_id") == survey.RELATIONAL)
            .then(pl.lit("relational"))
            .otherwise(pl.lit("touchpoint")),
            voter=pl.coalesce("true_person_id", "response_id"),
        ).sort("answered_at", "response_id")
        last = voters.unique(["nps_kind", "month", "voter"], keep="last", maintain_order=True)
        for vote, counted in (("response", voters), ("person", last)):
            parts.append(
                counted.group_by("nps_kind", "month")
                .agg(
                    n=pl.len().cast(pl.Int64),
                    promoters=(pl.col("score") >= 9).sum().cast(pl.Int64),
                    passives=pl.col("score").is_between(7, 8).sum().cast(pl.Int64),
                    detractors=(pl.col("score") <= 6).sum().cast(pl.Int64),
                )
                .with_columns(basis=pl.lit(basis), vote=pl.lit(vote))
            )
    return (
        pl.concat(parts)
        .with_columns(nps=100.0 * (pl.col("promoters") - pl.col("detractors")) / pl.col("n"))
        .select("nps_kind", "basis", "vote", "month", "n", "promoters", "passives", "detractors", "nps")
        .sort("nps_kind", "basis", "vote", "month")
    )


def personal_data(world: World) -> pl.DataFrame:
    """Names, addresses and numbers that must not be found in anything published: ``kind``, ``value``, person."""
    people = world.persons
    national = people.with_columns(national=pl.col("phone").str.strip_prefix("+86"))
    parts = [
        national.select(kind=pl.lit(kind), value=pl.col(column), true_person_id=person_id())
        for kind, column in (
            ("name", "full_name"),
            ("latin_name", "latin_name"),
            ("email", "email"),
            ("phone", "phone"),
            ("national_phone", "national"),
        )
    ]
    return pl.concat(parts)


def support_planted(world: World, as_of: date) -> dict[str, int]:
    """How much of each kind the help desk's files hold."""
    tickets = support.tickets_at(world, as_of)
    return {
        "tickets": tickets.height,
        "tickets_by_email_only": tickets.filter(pl.col("requester") == 1).height,
        "tickets_by_phone_only": tickets.filter(pl.col("requester") == 2).height,
        "reopened_tickets": tickets.filter(pl.col("reopened_us") < NEVER).height,
        "deleted_tickets": tickets.filter(pl.col("deleted_us") < NEVER).height,
    }


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write a truth table by rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    frame.write_parquet(partial)
    partial.replace(path)
