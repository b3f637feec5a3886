"""Web analytics: events; sessions are derived from them."""

from orchestration.contracts.model import Column, Contract, Kind, OnInvalid, Partition, Pii

WEB_EVENT = Contract(
    name="web_event",
    domain="web",
    grain="One event on web or app",
    description="A page view, click, login, purchase … of a visitor; duplicates share the event's business day.",
    partition=Partition.EVENT_DATE,
    event_time="occurred_at",
    person_columns=("anonymous_id", "user_id"),
    # The visitor: without a cookie the login stands for it; an event without any of these is a visit of its own.
    entity_columns=("anonymous_id", "user_id", "source_session_id", "source_id"),
    columns=(
        Column("occurred_at", Kind.TIMESTAMP, "When it happened.", required=True, on_invalid=OnInvalid.REJECT),
        Column("anonymous_id", Kind.IDENTIFIER, "Cookie or device id.", pii=Pii.PSEUDONYM),
        Column("user_id", Kind.IDENTIFIER, "Login, where the visitor was logged in.", pii=Pii.PSEUDONYM),
        Column("source_session_id", Kind.IDENTIFIER, "Session or visit id of the source itself."),
        Column(
            "is_source_session",
            Kind.BOOLEAN,
            "True where sessions follow source_session_id and not the 30-minute gap.",
        ),
        Column("event_name", Kind.CATEGORY, "Name of the event, snake_case.", required=True),
        Column("page_host", Kind.TEXT, "Host of the page."),
        Column("page_path", Kind.TEXT, "Path of the page, without query."),
        Column("page_title", Kind.TEXT, "Title of the page."),
        Column("referrer", Kind.TEXT, "Address the visitor came from, without query."),
        Column("utm_source", Kind.CATEGORY, "Campaign source."),
        Column("utm_medium", Kind.CATEGORY, "Campaign medium."),
        Column("utm_campaign", Kind.CATEGORY, "Campaign name."),
        Column("device_category", Kind.CATEGORY, "desktop, mobile, tablet …"),
        Column("operating_system", Kind.CATEGORY, "Operating system."),
        Column("browser", Kind.CATEGORY, "Browser."),
        Column("country", Kind.COUNTRY, "ISO 3166-1 alpha-2.", pii=Pii.QUASI),
        Column("region", Kind.TEXT, "Region as the source names it.", pii=Pii.QUASI),
        Column("user_agent", Kind.TEXT, "User agent, where the source has it.", pii=Pii.QUASI),
        Column("is_bot", Kind.BOOLEAN, "A declared or recognised robot."),
        Column("item_id", Kind.IDENTIFIER, "Product the event is about."),
        Column("value_amount", Kind.MONEY, "Value of the event in value_currency."),
        Column("value_currency", Kind.CURRENCY, "ISO 4217."),
    ),
)

WEB_TABLES = (WEB_EVENT,)
