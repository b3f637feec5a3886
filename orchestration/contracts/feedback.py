"""Feedback: what people said in their own words. What it means (sentiment, topic) is inferred elsewhere."""

from orchestration.contracts.model import Column, Contract, Kind, Pii

COMMENT = Contract(
    name="comment",
    domain="feedback",
    grain="One utterance from a survey, ticket, review or social source",
    description="Text as received and as repaired, with its language and whether it was asked for.",
    event_time="commented_at",
    person_columns=("customer_source", "customer_id"),
    columns=(
        Column(
            "parent_table",
            Kind.CATEGORY,
            "Table the utterance belongs to.",
            values=("response", "ticket", "sales_order", "customer"),
        ),
        Column("parent_id", Kind.IDENTIFIER, "source_id in parent_table."),
        Column("question_id", Kind.IDENTIFIER, "question.question_id of a survey comment."),
        Column("customer_source", Kind.IDENTIFIER, "Source system that customer_id belongs to."),
        Column("customer_id", Kind.IDENTIFIER, "Author's id in customer_source.", pii=Pii.PSEUDONYM),
        Column("comment_text", Kind.TEXT, "Text as received.", required=True, pii=Pii.FREE_TEXT),
        Column("clean_text", Kind.TEXT, "Text repaired: hints out, simplified, NFKC.", pii=Pii.FREE_TEXT),
        Column("language", Kind.LANGUAGE, "Language, declared or recognised by script."),
        Column("channel", Kind.CATEGORY, "Channel it came in on."),
        Column("is_solicited", Kind.BOOLEAN, "Asked for (survey) or volunteered."),
        Column("is_mojibake", Kind.BOOLEAN, "Holds lost characters that cannot be repaired."),
        Column("commented_at", Kind.TIMESTAMP, "When."),
    ),
)

FEEDBACK_TABLES = (COMMENT,)
