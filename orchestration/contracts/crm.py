"""CRM: customers, accounts, opportunities and orders as the CRM or the shop keeps them."""

from orchestration.contracts.model import Column, Contract, Kind, OnInvalid, Pii

_PERSON = ("customer_source", "customer_id", "email", "phone")

CUSTOMER = Contract(
    name="customer",
    domain="crm",
    grain="One record of one source system",
    description="A customer or lead as one system knows it; which records are one person is inferred elsewhere.",
    event_time="created_at",
    person_columns=("external_id", "email", "phone", "login", "anonymous_id"),
    columns=(
        Column(
            "external_id",
            Kind.IDENTIFIER,
            "Id that other systems use for this customer, where it is not source_id; equal values within a "
            "source are the same customer.",
            pii=Pii.PSEUDONYM,
        ),
        Column("full_name", Kind.PERSON_NAME, "Name, spaces folded.", pii=Pii.DIRECT),
        Column("email", Kind.EMAIL, "E-mail, lower case.", pii=Pii.DIRECT),
        Column("phone", Kind.PHONE, "Phone in E.164.", pii=Pii.DIRECT),
        Column("login", Kind.IDENTIFIER, "User id on web and app.", pii=Pii.PSEUDONYM),
        Column("anonymous_id", Kind.IDENTIFIER, "Cookie or device id known to be this customer's.", pii=Pii.PSEUDONYM),
        Column("account_id", Kind.IDENTIFIER, "account.source_id of the company the customer belongs to."),
        Column("segment", Kind.CATEGORY, "Customer segment as the source names it."),
        Column("lifecycle_stage", Kind.CATEGORY, "Lead, customer, lapsed …, as the source names it."),
        Column("gender", Kind.CATEGORY, "Gender as the source records it.", pii=Pii.QUASI),
        Column("birth_date", Kind.DATE, "Date of birth.", pii=Pii.QUASI),
        Column("country", Kind.COUNTRY, "ISO 3166-1 alpha-2.", pii=Pii.QUASI),
        Column("region", Kind.REGION, "GB/T 2260 code in China, ISO 3166-2 elsewhere where known.", pii=Pii.QUASI),
        Column("city", Kind.TEXT, "City as the source writes it.", pii=Pii.QUASI),
        Column("language", Kind.LANGUAGE, "BCP 47 primary language, lower case."),
        Column("has_marketing_consent", Kind.BOOLEAN, "Agreed to marketing contact."),
        Column("acquisition_channel", Kind.CATEGORY, "Channel of the first contact, as the source names it."),
        Column("created_at", Kind.TIMESTAMP, "When the source first had the record."),
    ),
)

ACCOUNT = Contract(
    name="account",
    domain="crm",
    grain="One company record of one source system",
    description="A company that customers belong to and opportunities are sold to.",
    event_time="created_at",
    columns=(
        Column("name", Kind.TEXT, "Company name."),
        Column("industry", Kind.CATEGORY, "Industry as the source names it."),
        Column("segment", Kind.CATEGORY, "Tier or segment as the source names it."),
        Column("country", Kind.COUNTRY, "ISO 3166-1 alpha-2."),
        Column("region", Kind.REGION, "GB/T 2260 code in China, ISO 3166-2 elsewhere where known."),
        Column("employee_count", Kind.INTEGER, "Employees.", minimum=0),
        Column("annual_revenue_amount", Kind.MONEY, "Yearly revenue in annual_revenue_currency."),
        Column("annual_revenue_currency", Kind.CURRENCY, "ISO 4217."),
        Column("created_at", Kind.TIMESTAMP, "When the source first had the record."),
    ),
)

OPPORTUNITY = Contract(
    name="opportunity",
    domain="crm",
    grain="One sales opportunity",
    description="A deal with its stage, value and outcome.",
    event_time="created_at",
    person_columns=("customer_source", "customer_id"),
    columns=(
        Column("account_id", Kind.IDENTIFIER, "account.source_id."),
        Column("customer_source", Kind.IDENTIFIER, "Source system that customer_id belongs to."),
        Column("customer_id", Kind.IDENTIFIER, "Customer's id in customer_source.", pii=Pii.PSEUDONYM),
        Column("name", Kind.TEXT, "Title of the deal.", pii=Pii.FREE_TEXT),
        Column("product", Kind.CATEGORY, "Product sold."),
        Column("stage", Kind.CATEGORY, "Sales stage as the source names it."),
        Column("status", Kind.CATEGORY, "Outcome.", values=("open", "won", "lost")),
        Column("value_amount", Kind.MONEY, "Deal value in value_currency."),
        Column("value_currency", Kind.CURRENCY, "ISO 4217."),
        Column("owner_id", Kind.IDENTIFIER, "Sales agent."),
        Column("created_at", Kind.TIMESTAMP, "When the opportunity was opened."),
        Column("closed_at", Kind.TIMESTAMP, "When it was won or lost."),
    ),
)

SALES_ORDER = Contract(
    name="sales_order",
    domain="crm",
    grain="One order",
    description="A purchase with its value; returns carry status 'returned'.",
    event_time="ordered_at",
    person_columns=_PERSON,
    columns=(
        Column("customer_source", Kind.IDENTIFIER, "Source system that customer_id belongs to."),
        Column("customer_id", Kind.IDENTIFIER, "Customer's id in customer_source.", pii=Pii.PSEUDONYM),
        Column("email", Kind.EMAIL, "E-mail given with the order.", pii=Pii.DIRECT),
        Column("phone", Kind.PHONE, "Phone given with the order, E.164.", pii=Pii.DIRECT),
        Column(
            "ordered_at",
            Kind.TIMESTAMP,
            "When the order was placed.",
            required=True,
            on_invalid=OnInvalid.REJECT,
        ),
        Column("delivered_at", Kind.TIMESTAMP, "When the goods arrived."),
        Column(
            "status",
            Kind.CATEGORY,
            "State of the order.",
            values=("created", "paid", "shipped", "delivered", "cancelled", "returned"),
        ),
        Column("channel", Kind.CATEGORY, "Sales channel; a row of the channel seed where it can be mapped."),
        Column("order_amount", Kind.MONEY, "Total in order_currency.", on_invalid=OnInvalid.REJECT),
        Column("order_currency", Kind.CURRENCY, "ISO 4217."),
        Column("item_count", Kind.INTEGER, "Items in the order.", minimum=0),
    ),
)

CRM_TABLES = (CUSTOMER, ACCOUNT, OPPORTUNITY, SALES_ORDER)
