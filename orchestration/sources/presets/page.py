"""Write docs/sources/presets/index.md from the presets: ``python -m orchestration.sources.presets.page``.

A test compares what is committed with what this would write. Does not belong here: anything that a preset's YAML does
not say itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestration.sources.presets import Preset, preset, preset_names

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sources" / "presets" / "index.md"
_HEAD = """# Presets

A preset is a known system as a `type` of its own: a YAML file in `orchestration/sources/presets` (this table is written
from there, `python -m orchestration.sources.presets.page`). A source names the preset and its options; every stream in
plain type is read then, those in *italics* where they are named.

```yaml
source: voice
type: typeform
connection: {token: {env: TYPEFORM_TOKEN}, form: u6nXL7}
```

| preset | system | kind | streams | cursor | deletes |
|---|---|---|---|---|---|
"""
_TAIL = """
*Cursor* is the field that bounds an increment: *all* reads everything each night, *files* what changed of them.
*Deletes* is the strategy: with `none` a record that the system deletes stays.

## Change what a preset does

Under `streams` stands what differs, put over the preset key by key; null takes a key away, a list replaces a list. As
soon as `streams` is there, only the streams it names are read.

```yaml
source: voice
type: typeform
connection:
  token: {env: TYPEFORM_TOKEN}
  form: u6nXL7
  budget: {per_second: 1}
streams:
  responses:
    required: true
    tables:
      response:
        fields: {segment: hidden.segment, user_agent: null}
```

- Under `connection` stand the preset's options, and keys of its kind such as `budget`, `retry` or `ca_file`.
- A stream with `like: <stream>` and a name of its own is the preset's stream once more: for a second survey with other
  questions.
- A stream with `from` is one of your own over the same connection.

## Surveys

A preset cannot know your questions. Declare them under `surveys`, with the survey's id at the vendor as the key, and
name the column of each: `tables.answer.questions` for scores and choices, `tables.comment.texts` for texts. Until then
`answer` and `comment` are not filled; `response` is from the first night on. `experience sources check <source>` names
columns that no response has, with the nearest that there are.

```yaml
source: voice
type: typeform
connection: {token: {env: TYPEFORM_TOKEN}, form: u6nXL7}
surveys:
  u6nXL7:
    name: Relationship survey
    questions:
      nps: {metric: nps, scale: {min: 0, max: 10}}
      why: {metric: text}
streams:
  responses:
    tables:
      answer: {questions: {nps: answers.nps}}
      comment: {texts: {why: answers.why}}
```
"""


def page() -> str:
    """The page in Markdown: a line a preset, and what holds for all of them."""
    return _HEAD + "".join(f"{_line(preset(name))}\n" for name in preset_names()) + _TAIL


def _line(chosen: Preset) -> str:
    streams = chosen.source["streams"]
    named = [f"*{name}*" if name in chosen.optional_streams else name for name in streams]
    cells = (
        f"[{chosen.preset}]({chosen.preset}.md)",
        chosen.title,
        str(chosen.source["type"]),
        ", ".join(named),
        ", ".join(dict.fromkeys(_cursors(chosen))),
        ", ".join(dict.fromkeys(_deletes(chosen))),
    )
    return f"| {' | '.join(cells)} |"


def _cursors(chosen: Preset) -> Iterator[str]:
    for stream in chosen.source["streams"].values():
        cursor = stream.get("cursor")
        yield f"`{cursor['field']}`" if cursor else "files" if chosen.source["type"] == "files" else "all"


def _deletes(chosen: Preset) -> Iterator[str]:
    for stream in chosen.source["streams"].values():
        unsaid = "replaced_file" if stream["from"].get("profile") == "ga4_bigquery" else "none"
        yield str(stream.get("deletes", {}).get("strategy", unsaid))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
