"""Stateful stand-ins for the HTTP systems that are extracted, with faults by seed.

``serve("hubspot", rows=500)`` starts one on 127.0.0.1; ``python -m tests.fakes hubspot`` does it by hand. Each dialect
is one module: what the vendor's API answers, from records of ``store``. Does not belong here: anything of the code
under test, and any wall clock.
"""

from tests.fakes.faults import FaultPlan
from tests.fakes.server import DIALECTS, Fake, serve
from tests.fakes.store import Clock, Store

__all__ = ["DIALECTS", "Clock", "Fake", "FaultPlan", "Store", "serve"]
