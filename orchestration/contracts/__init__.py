"""The canonical tables: columns, types, units, keys, grain, PII class; one module a domain.

Belongs here: what a table is. Does not belong here: how it is read, cleaned, stored or checked; those
layers read the contracts. ``CONTRACTS`` lists every table that a source can fill, ``DERIVED`` the tables
that the warehouse infers, ``CONTROL`` the tables about the warehouse's own work; ``TABLES`` is all of them.
"""

from __future__ import annotations

from orchestration.contracts.control import CONTROL_TABLES
from orchestration.contracts.crm import CRM_TABLES
from orchestration.contracts.derived import DERIVED_TABLES
from orchestration.contracts.feedback import FEEDBACK_TABLES
from orchestration.contracts.model import (
    COMMON_COLUMNS,
    Column,
    Contract,
    Kind,
    OnInvalid,
    Partition,
    Pii,
)
from orchestration.contracts.support import SUPPORT_TABLES
from orchestration.contracts.survey import SURVEY_TABLES
from orchestration.contracts.web import WEB_TABLES

CONTRACTS: dict[str, Contract] = {
    table.name: table for table in (*CRM_TABLES, *WEB_TABLES, *SURVEY_TABLES, *SUPPORT_TABLES, *FEEDBACK_TABLES)
}
DERIVED: dict[str, Contract] = {table.name: table for table in DERIVED_TABLES}
CONTROL: dict[str, Contract] = {table.name: table for table in CONTROL_TABLES}
TABLES: dict[str, Contract] = CONTRACTS | DERIVED | CONTROL

__all__ = [
    "COMMON_COLUMNS",
    "CONTRACTS",
    "CONTROL",
    "DERIVED",
    "TABLES",
    "Column",
    "Contract",
    "Kind",
    "OnInvalid",
    "Partition",
    "Pii",
]
