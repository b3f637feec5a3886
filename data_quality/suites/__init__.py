"""The rules of each gate, as code: derived from the contracts, with the business rules beside them."""

from data_quality.suites.clean import clean_rules
from data_quality.suites.landing import Stream, landing_rules
from data_quality.suites.marts import marts_rules

__all__ = ["Stream", "clean_rules", "landing_rules", "marts_rules"]
