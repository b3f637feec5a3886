"""Landing assets over a real API: children wait for their parents, and metadata tells what a load cost."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest

from orchestration.assets.landing import landing_assets
from orchestration.settings import Settings
from orchestration.sources.config import read_sources
from orchestration.sources.http import client as http_client
from orchestration.sources.landing import Landing
from orchestration.warehouse.control import Control
from tests.fakes.faults import FaultPlan
from tests.fakes.server import serve

YAML = """\
source: shop
type: http
connection:
  base_url: {url}
  auth: {{kind: header, name: X-Api-Key, value: {{file: ../key}}}}
  budget: {{per_day: {budget}}}
streams:
  notes:
    from:
      parent: {{stream: items, fields: {{item: id}}}}
      request: {{path: "/items/{{{{ parent.item }}}}/notes"}}
      records: {{path: notes}}
    to: comment
    primary_key: [id]
    optional: [id, text]
    fields: {{comment_text: text}}
  items:
    from:
      request: {{path: /token/items, params: {{since: "{{{{ window.start }}}}", limit: 20}}}}
      records: {{path: items}}
      paging: {{kind: token, next: next_token, param: token}}
    to: customer
    primary_key: [id]
    cursor: {{field: updated_at, lag: 1m}}
    fields: {{email: email, updated_at: updated_at}}
"""
ITEMS = dg.AssetKey(["landing", "shop", "items"])
NOTES = dg.AssetKey(["landing", "shop", "notes"])


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Gives the assets over a fake with some rows and faults, and runs them."""
    monkeypatch.setattr(http_client, "sleep", lambda seconds: None)
    settings = Settings(home=tmp_path, sources_dir=tmp_path / "sources")
    settings.sources_dir.mkdir()

    def run(fake, budget=1000, only=None):
        (tmp_path / "key").write_text(fake.dialect.token)
        (settings.sources_dir / "shop.yaml").write_text(YAML.format(url=fake.url, budget=budget))
        sources, broken = read_sources(settings.sources_dir)
        assert not broken
        watched = []
        assets = landing_assets(
            sources, {}, settings, lambda: fake.clock.now, lambda name, figures: watched.append((name, figures))
        )
        erasure = dg.AssetSpec(dg.AssetKey(["privacy", "erasure"]))
        result = dg.materialize([*assets, erasure], selection=only, raise_on_error=False)
        assert result.success
        said = {
            event.asset_key: event.materialization.metadata
            for event in result.all_events
            if event.is_step_materialization
        }
        return assets, said, watched, settings

    return run


def test_children_wait_for_their_parents_and_tell_what_they_cost(shop):
    with serve("rest", rows=50, faults=FaultPlan(at={2: "500"})) as fake:
        assets, said, watched, settings = shop(fake)
    [notes] = [asset for asset in assets if asset.key == NOTES]
    assert ITEMS in notes.asset_deps[NOTES]
    assert [name for name, _ in watched] == ["shop.items", "shop.notes"], "the parent is landed first"
    told = {name: value.value for name, value in said[ITEMS].items()}
    assert told["dagster/row_count"] == 50
    assert (told["requests"], told["retries"]) == (4, 1), "three pages, one of them asked for again"
    assert told["bytes_received"] > 1000
    assert told["wait_seconds"] > 0
    assert said[NOTES]["requests"].value == 50
    [figures] = [figures for name, figures in watched if name == "shop.items"]
    assert (figures.rows, figures.requests) == (50, 4)
    loads = Control(settings.control_dir).scan("load").collect()
    assert dict(loads.select("stream", "requests").iter_rows()) == {"items": 4, "notes": 50}


def test_a_budget_that_ends_shows_the_share_that_is_missing(shop):
    with serve("rest", rows=50) as fake:
        _, said, _, settings = shop(fake, budget=11)
        share = said[NOTES]["missing_share"].value
        assert 0.5 < share < 1
        [load] = Landing(settings.landing_dir).manifests("shop", "notes")
        assert load.missing_share == share
        fake.clock.now += timedelta(days=1)
        _, said, _, _ = shop(fake, budget=1000)
        assert "missing_share" not in said[NOTES]
