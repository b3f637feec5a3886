"""Surveys: what was asked, who was asked, who answered, and each answer."""

from orchestration.contracts.model import Column, Contract, Kind, OnInvalid, Partition, Pii

METRICS = ("nps", "csat", "ces", "rating", "choice", "text", "none")
"""What a question can be measured as. 'none' says on purpose that it feeds no metric."""

MISSING_REASONS = ("blank", "not_asked", "not_applicable", "refused", "dont_know")
"""Why an answer holds no value."""

SURVEY = Contract(
    name="survey",
    domain="survey",
    grain="One survey",
    description="A questionnaire; relational ones ask about the whole relation, transactional ones about a touchpoint.",
    partition=Partition.WHOLE,
    columns=(
        Column("name", Kind.TEXT, "Title.", required=True),
        Column("survey_kind", Kind.CATEGORY, "What it asks about.", values=("relational", "transactional")),
        Column("language", Kind.LANGUAGE, "Main language."),
    ),
)

QUESTION = Contract(
    name="question",
    domain="survey",
    grain="One question of one survey version",
    description="What a question is measured as is declared here and never guessed from its scale.",
    partition=Partition.WHOLE,
    columns=(
        Column("survey_id", Kind.IDENTIFIER, "survey.source_id.", required=True),
        Column("question_id", Kind.IDENTIFIER, "Id of the question within the survey.", required=True),
        Column("survey_version", Kind.IDENTIFIER, "Version of the questionnaire; null where it has none."),
        Column("question_text", Kind.TEXT, "Wording."),
        Column(
            "metric",
            Kind.CATEGORY,
            "What it is measured as.",
            required=True,
            values=METRICS,
            on_invalid=OnInvalid.REJECT,
        ),
        Column("scale_min", Kind.NUMBER, "Lowest point of the scale."),
        Column("scale_max", Kind.NUMBER, "Highest point of the scale."),
        Column(
            "scale_direction",
            Kind.CATEGORY,
            "'ascending' where the highest point is the best.",
            values=("ascending", "descending"),
        ),
        Column("missing_codes", Kind.JSON, 'Codes that stand for no value, as {"11": "blank"}.'),
        Column("value_labels", Kind.JSON, 'Answers given as words, as {"Very satisfied": 5}.'),
        Column("touchpoint_id", Kind.IDENTIFIER, "Touchpoint asked about: a row of the touchpoint seed."),
        Column("stage_id", Kind.IDENTIFIER, "Journey stage asked about: a row of the stage seed."),
        Column("dimension", Kind.CATEGORY, "Dimension of a multi-item scale."),
    ),
)

INVITATION = Contract(
    name="invitation",
    domain="survey",
    grain="One person asked once",
    description="The expected respondents: the denominator of the response rate.",
    event_time="sent_at",
    person_columns=("customer_source", "customer_id", "email", "phone"),
    columns=(
        Column("survey_id", Kind.IDENTIFIER, "survey.source_id.", required=True),
        Column("customer_source", Kind.IDENTIFIER, "Source system that customer_id belongs to."),
        Column("customer_id", Kind.IDENTIFIER, "Customer's id in customer_source.", pii=Pii.PSEUDONYM),
        Column("email", Kind.EMAIL, "Address the invitation went to.", pii=Pii.DIRECT),
        Column("phone", Kind.PHONE, "Number the invitation went to, E.164.", pii=Pii.DIRECT),
        Column("channel", Kind.CATEGORY, "Channel of the invitation."),
        Column("touchpoint_id", Kind.IDENTIFIER, "Touchpoint that triggered it."),
        Column("sent_at", Kind.TIMESTAMP, "When it was sent.", required=True, on_invalid=OnInvalid.REJECT),
        Column("response_id", Kind.IDENTIFIER, "response.source_id that answers it, where the source says so."),
        Column(
            "status",
            Kind.CATEGORY,
            "What became of it.",
            values=("sent", "bounced", "opened", "started", "finished", "failed"),
        ),
    ),
)

RESPONSE = Contract(
    name="response",
    domain="survey",
    grain="One submission of one survey",
    description="Who answered what survey when; the answers are rows of their own.",
    event_time="answered_at",
    person_columns=("customer_source", "customer_id", "email", "phone"),
    columns=(
        Column("survey_id", Kind.IDENTIFIER, "survey.source_id.", required=True),
        Column("survey_version", Kind.IDENTIFIER, "Version of the questionnaire answered."),
        Column("invitation_id", Kind.IDENTIFIER, "invitation.source_id, where known."),
        Column("customer_source", Kind.IDENTIFIER, "Source system that customer_id belongs to."),
        Column("customer_id", Kind.IDENTIFIER, "Respondent's id in customer_source.", pii=Pii.PSEUDONYM),
        Column("email", Kind.EMAIL, "Respondent's e-mail.", pii=Pii.DIRECT),
        Column("phone", Kind.PHONE, "Respondent's phone, E.164.", pii=Pii.DIRECT),
        Column("channel", Kind.CATEGORY, "Channel the survey was answered on."),
        Column("segment", Kind.CATEGORY, "Segment of the respondent as the survey records it.", pii=Pii.QUASI),
        Column("language", Kind.LANGUAGE, "Language answered in."),
        Column("touchpoint_id", Kind.IDENTIFIER, "Touchpoint that triggered the survey."),
        Column("reference_id", Kind.IDENTIFIER, "Order, ticket or visit that triggered the survey."),
        Column("started_at", Kind.TIMESTAMP, "When answering began."),
        Column(
            "answered_at",
            Kind.TIMESTAMP,
            "When the answer was submitted or recorded.",
            required=True,
            on_invalid=OnInvalid.REJECT,
        ),
        Column("duration_seconds", Kind.NUMBER, "Time taken to answer.", minimum=0),
        Column(
            "status",
            Kind.CATEGORY,
            "How far it got; previews and tests are left out of metrics.",
            values=("complete", "partial", "screened_out", "preview"),
        ),
        Column("progress_pct", Kind.NUMBER, "Progress, 0 to 100.", minimum=0, maximum=100),
        Column("weight", Kind.NUMBER, "Survey weight given by the source.", minimum=0),
        Column("user_agent", Kind.TEXT, "User agent, where the source has it.", pii=Pii.QUASI),
        Column("ip_hash", Kind.IDENTIFIER, "Keyed hash of the IP address.", pii=Pii.PSEUDONYM),
    ),
)

ANSWER = Contract(
    name="answer",
    domain="survey",
    grain="One answer of one response; one option for a multi-select question",
    description="The value as number and as text; a missing value carries its reason.",
    partition=Partition.EVENT_MONTH,
    event_time="answered_at",
    entity_columns=("response_id",),
    entity_keeps_lineage=True,
    columns=(
        Column("response_id", Kind.IDENTIFIER, "response.source_id.", required=True),
        Column("survey_id", Kind.IDENTIFIER, "survey.source_id.", required=True),
        Column("question_id", Kind.IDENTIFIER, "question.question_id.", required=True),
        Column("option_id", Kind.IDENTIFIER, "Option of a multi-select question."),
        Column("answered_at", Kind.TIMESTAMP, "When the response was submitted."),
        Column("value_text", Kind.TEXT, "Value as given; null for free text, which is a comment.", pii=Pii.FREE_TEXT),
        Column("value_number", Kind.NUMBER, "Value on the question's scale.", on_invalid=OnInvalid.REJECT),
        Column("missing_reason", Kind.CATEGORY, "Why there is no value.", values=MISSING_REASONS),
    ),
)

SURVEY_TABLES = (SURVEY, QUESTION, INVITATION, RESPONSE, ANSWER)
