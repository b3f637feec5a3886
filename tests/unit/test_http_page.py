"""docs/sources/http.md names every key of the models, and is what they say today."""

import re

from orchestration.sources.config import Secret
from orchestration.sources.http.config import HttpConnection, HttpOrigin
from orchestration.sources.http.templates import _FILTERS, VARIABLES
from orchestration.sources.page import PAGE, page
from orchestration.sources.schema import models_in

ROOTS = [HttpConnection, HttpOrigin]


def test_the_page_is_what_the_models_say():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m orchestration.sources.page"


def test_every_key_of_every_model_is_named():
    text = PAGE.read_text(encoding="utf-8")
    for model in {*ROOTS, *models_in(ROOTS)} - {Secret}:
        [section] = re.findall(rf"^### {model.__name__}(?::[^\n]*)?\n(.*?)(?=^#|\Z)", text, re.S | re.M)
        for name, info in model.model_fields.items():
            assert f"| `{info.alias or name}` |" in section, f"{model.__name__}.{name}"


def test_every_variable_and_filter_of_templates_is_told():
    head = PAGE.read_text(encoding="utf-8").partition("<!--")[0]
    assert {name for name in VARIABLES if not re.search(rf"`{name}[.`]", head)} == set()
    assert {name for name in _FILTERS if not re.search(rf"`{name}[(`]", head)} == set()


def test_links_within_the_page_lead_to_headings():
    text = PAGE.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[:`]", "", line.lstrip("# ")).strip().lower().replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    links = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert links
    assert links <= headings
