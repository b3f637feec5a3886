"""``fct_response``: one response, as one clean row gave it."""

from orchestration.lineage.table import fact

TABLE = fact("fct_response", "response_key", "response")
