"""``dim_account``: one account, as one clean row gave it."""

from orchestration.lineage.table import fact

TABLE = fact("dim_account", "account_key", "account")
