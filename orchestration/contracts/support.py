"""Support: tickets and each change of their status."""

from orchestration.contracts.model import Column, Contract, Kind, OnInvalid, Pii

TICKET = Contract(
    name="ticket",
    domain="support",
    grain="One ticket in its latest state",
    description="A request, complaint or case; the history of its status is ticket_event.",
    event_time="opened_at",
    person_columns=("customer_source", "customer_id", "email", "phone"),
    columns=(
        Column("customer_source", Kind.IDENTIFIER, "Source system that customer_id belongs to."),
        Column("customer_id", Kind.IDENTIFIER, "Requester's id in customer_source.", pii=Pii.PSEUDONYM),
        Column("email", Kind.EMAIL, "Requester's e-mail.", pii=Pii.DIRECT),
        Column("phone", Kind.PHONE, "Requester's phone, E.164.", pii=Pii.DIRECT),
        Column("subject", Kind.TEXT, "Subject line.", pii=Pii.FREE_TEXT),
        Column("channel", Kind.CATEGORY, "Channel it came in on."),
        Column("ticket_category", Kind.CATEGORY, "Topic as the source names it."),
        Column("priority", Kind.CATEGORY, "Priority as the source names it."),
        Column("status", Kind.CATEGORY, "State.", values=("new", "open", "pending", "solved", "closed")),
        Column("agent_id", Kind.IDENTIFIER, "Agent or team in charge."),
        Column("touchpoint_id", Kind.IDENTIFIER, "Touchpoint it is about: a row of the touchpoint seed."),
        Column("opened_at", Kind.TIMESTAMP, "When it was opened.", required=True, on_invalid=OnInvalid.REJECT),
        Column("first_response_at", Kind.TIMESTAMP, "First public reply."),
        Column("resolved_at", Kind.TIMESTAMP, "Last time it was solved."),
        Column("closed_at", Kind.TIMESTAMP, "When it was closed."),
        Column("reopened_count", Kind.INTEGER, "Times it was opened again.", minimum=0),
    ),
)

TICKET_EVENT = Contract(
    name="ticket_event",
    domain="support",
    grain="One change of a ticket's status",
    description="The history that first response, resolution and reopening are computed from.",
    event_time="occurred_at",
    bucket_key="ticket_id",
    columns=(
        Column("ticket_id", Kind.IDENTIFIER, "ticket.source_id.", required=True),
        Column("occurred_at", Kind.TIMESTAMP, "When.", required=True, on_invalid=OnInvalid.REJECT),
        Column(
            "event_name", Kind.CATEGORY, "What happened: opened, replied, solved, reopened, closed …", required=True
        ),
        Column("from_status", Kind.CATEGORY, "State before."),
        Column("to_status", Kind.CATEGORY, "State after."),
        Column("actor_kind", Kind.CATEGORY, "Who did it.", values=("customer", "agent", "system")),
    ),
)

SUPPORT_TABLES = (TICKET, TICKET_EVENT)
