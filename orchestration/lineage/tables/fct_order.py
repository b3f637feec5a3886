"""``fct_order``: one order, as one clean row gave it."""

from orchestration.lineage.table import fact

TABLE = fact("fct_order", "order_key", "sales_order")
