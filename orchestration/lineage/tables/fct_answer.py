"""``fct_answer``: one answer, as one clean row gave it."""

from orchestration.lineage.table import fact

TABLE = fact("fct_answer", "answer_key", "answer")
