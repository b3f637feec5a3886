"""The formulas of the dbt project, rendered as plain SQL, so that a number is recomputed by the one formula there is.

Does not belong here: any formula.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jinja2


class Formulas:
    """Macros of ``dbt_project/macros/statistics`` by name: ``formulas.nps_score('promoters', 'detractors', 'n')``.

    Args:
        project: The dbt project's folder.
    """

    def __init__(self, project: Path) -> None:
        text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(project.glob("macros/statistics/*.sql")))
        # Macros are only rendered when called; those that need dbt itself are never called here.
        self._module = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False).from_string(text).module

    def __getattr__(self, name: str) -> Callable[..., str]:
        macro = getattr(self._module, name)
        return lambda *arguments: f"({str(macro(*arguments)).strip()})"
