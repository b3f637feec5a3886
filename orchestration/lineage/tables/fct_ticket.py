"""``fct_ticket``: one ticket, as one clean row gave it."""

from orchestration.lineage.table import fact

TABLE = fact("fct_ticket", "ticket_key", "ticket")
