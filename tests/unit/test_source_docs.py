"""The examples in docs/sources are sources, and the tables of keys name every key."""

import re
from pathlib import Path

import pytest
import yaml

from orchestration.sources.config import SourceConfig, StreamConfig, parse_source
from orchestration.sources.files import FilesOrigin
from orchestration.sources.kinds import MODULES
from orchestration.sources.sql import SqlConnection

DOCS = Path(__file__).resolve().parents[2] / "docs" / "sources"
BLOCKS = [
    (page.name, block)
    for page in [DOCS.parents[1] / "README.md", *sorted(DOCS.glob("*.md"))]
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)
]


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[page for page, _ in BLOCKS])
def test_examples_parse(page, block, tmp_path):
    raw = yaml.load(block, Loader=yaml.BaseLoader)
    source = parse_source({"source": "example", "type": "files", **raw}, tmp_path / page)
    assert source.streams


def test_the_first_example_has_ten_lines():
    index = next(block for page, block in BLOCKS if page == "index.md")
    assert len(index.splitlines()) == 10


@pytest.mark.parametrize(
    ("page", "model", "unsaid"),
    [
        ("index.md", SourceConfig, {"path"}),
        ("index.md", StreamConfig, {"description"}),
        ("files.md", FilesOrigin, set()),
        ("sql.md", SqlConnection, set()),
    ],
)
def test_every_key_is_described(page, model, unsaid):
    text = (DOCS / page).read_text()
    keys = {info.alias or name for name, info in model.model_fields.items()} - unsaid
    assert {key for key in keys if f"`{key}`" not in text} == set()


def test_every_type_is_described():
    text = (DOCS / "index.md").read_text()
    assert all(f"`{name}`" in text for name in MODULES)
