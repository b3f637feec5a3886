"""Tables that the warehouse infers: rebuildable at any time, never mixed with facts as received."""

from orchestration.contracts.model import Column, Contract, Kind, Partition, Pii

_NODE = (
    Column(
        "record_table",
        Kind.CATEGORY,
        "customer, sales_order, invitation, response, ticket, opportunity, comment; visitor for a cookie, login "
        "for a web user id.",
        required=True,
    ),
    Column("source", Kind.IDENTIFIER, "Source of the record.", required=True),
    Column("source_id", Kind.IDENTIFIER, "Key of the record; the cookie or the login for web.", required=True),
)

RESPONSE_QUALITY = Contract(
    name="response_quality",
    domain="survey",
    grain="One response",
    description="Flags on how a response was given; nothing is deleted, metrics say which flags they leave out.",
    partition=Partition.WHOLE,
    is_source_table=False,
    columns=(
        Column("source", Kind.IDENTIFIER, "Source of the response.", required=True),
        Column("source_id", Kind.IDENTIFIER, "response.source_id.", required=True),
        Column("is_speeder", Kind.BOOLEAN, "Faster than 40 % of the survey's median duration."),
        Column("is_straight_liner", Kind.BOOLEAN, "Same answer to every item of a rating battery."),
        Column("longest_string", Kind.INTEGER, "Longest run of equal answers."),
        Column("response_variability", Kind.NUMBER, "Intra-individual standard deviation of the ratings."),
        Column("is_bot", Kind.BOOLEAN, "Submitted by a robot, or one of a scripted flood."),
        Column("is_duplicate", Kind.BOOLEAN, "The same person, survey and answers within ten minutes of another."),
        Column("is_kept", Kind.BOOLEAN, "None of the flags that metrics leave out by default.", required=True),
    ),
)

IDENTITY_EVIDENCE = Contract(
    name="identity_evidence",
    domain="identity",
    grain="One value of one kind seen on one record",
    description="Why records are thought to be one person; values are hashed. A visitor's own cookie "
    "is in it only where a login or a customer holds it too.",
    partition=Partition.WHOLE,
    is_source_table=False,
    key=("record_table", "source", "source_id", "rule", "value_hash"),
    columns=(
        *_NODE,
        Column("rule", Kind.CATEGORY, "customer_id, external_id, parent, email, phone, login, cookie.", required=True),
        Column(
            "value_hash",
            Kind.IDENTIFIER,
            "First 128 bits, in hex, of HMAC-SHA-256 of rule and value.",
            required=True,
            pii=Pii.PSEUDONYM,
        ),
        Column("is_blocked", Kind.BOOLEAN, "Shared value that links nobody.", required=True),
        Column("block_reason", Kind.CATEGORY, "listed, degree_cap or conflict; null if not blocked."),
    ),
)

PERSON_RECORD = Contract(
    name="person_record",
    domain="identity",
    grain="One record with the person it belongs to",
    description="Which records are one person; person_id is the id of the person's oldest record.",
    partition=Partition.WHOLE,
    is_source_table=False,
    key=("record_table", "source", "source_id"),
    columns=(
        *_NODE,
        Column("person_id", Kind.IDENTIFIER, "Person; the id of the oldest member.", required=True, pii=Pii.PSEUDONYM),
        Column("first_extracted_at", Kind.TIMESTAMP, "When the record was first extracted.", required=True),
    ),
)

PERSON_CHANGE = Contract(
    name="person_change",
    domain="identity",
    grain="One record whose person changed in one run",
    description="Log of merges and splits.",
    partition=Partition.WHOLE,
    is_source_table=False,
    key=("run_id", "record_table", "source", "source_id"),
    columns=(
        Column("run_id", Kind.IDENTIFIER, "Run that changed it.", required=True),
        Column("changed_at", Kind.TIMESTAMP, "When.", required=True),
        *_NODE,
        Column("from_person_id", Kind.IDENTIFIER, "Person before.", pii=Pii.PSEUDONYM),
        Column("to_person_id", Kind.IDENTIFIER, "Person now; null where the record is gone.", pii=Pii.PSEUDONYM),
        Column("change_kind", Kind.CATEGORY, "What happened.", values=("merge", "split", "removed")),
    ),
)

DERIVED_TABLES = (RESPONSE_QUALITY, IDENTITY_EVIDENCE, PERSON_RECORD, PERSON_CHANGE)
