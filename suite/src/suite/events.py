"""Writes docs/events.md from the facts: what other teams read instead of our code. `--check` fails when it is stale."""

import json
import sys
from pathlib import Path
from typing import Any

from common.bus.envelope import ce_type
from common.events import FACTS, Fact

PAGE = Path(__file__).resolve().parents[3] / "docs" / "events.md"

_HEAD = """# Events

Generated from `common.events` by `make events`. Do not edit.

Every fact is a Kafka record in CloudEvents 1.0 binary mode: the headers `ce_specversion`, `ce_id` (UUIDv7), `ce_source`
(`urn:darkroom:<owner>`), `ce_type`, `ce_subject`, `ce_time`, `ce_dataschema`, `ce_partitionkey`, `ce_sequence` (zero-padded), where known
`ce_correlationid` and `traceparent`, and `content-type: application/json`. The record's key is the partition key, its value is the data below.

- **Order.** Topics have no order among each other, and within a topic it is best effort. `sequence` is the version of the subject, +1 per
  fact: a projection ignores what is older than what it knows, a history takes every fact once (by `ce_id`).
- **At least once.** A record may come again with the same `ce_id`.
- **Changes.** Additions are optional fields; a breaking change is a new topic with `.v2`, and both are published until the old one's sunset.
- Topics of what happens often have 6 partitions, the others one; retention is 7 days unless said otherwise.

| topic | meaning | owner | groups that hear it | broadcast to | audience |
|---|---|---|---|---|---|
"""


def render() -> str:
    """The whole page."""
    rows = "".join(_row(fact) for fact in FACTS)
    return _HEAD + rows + "".join(_card(fact) for fact in FACTS)


def _row(fact: type[Fact]) -> str:
    return (
        f"| [`{fact.topic}`](#{fact.topic.replace('.', '')}) | {_meaning(fact)} | {fact.owner} | {', '.join(fact.groups) or '-'} "
        f"| {', '.join(fact.broadcast) or '-'} | {fact.audience} |\n"
    )


def _card(fact: type[Fact]) -> str:
    schema = fact.model_json_schema()
    required = set(schema.get("required", ()))
    fields = "".join(
        f"| `{name}` | {_type(spec, schema)} | {'yes' if name in required else 'no'} | {spec.get('description', '')} |\n"
        for name, spec in schema["properties"].items()
    )
    example = fact.model_validate(fact.example)
    notes = [
        f"type `{ce_type(fact).decode()}`",
        f"subject `{example.subject}`",
        f"key `{example.key}`",
        f"partitions {fact.partitions}",
        f"kept {fact.retention_hours} h",
    ]
    notes += ["may be lost (no outbox)"] if not fact.outboxed else []
    notes += ["personal data: a name"] if fact.personal_data else ["no personal data"]
    return (
        f"\n## {fact.topic}\n\n{_meaning(fact)} {'; '.join(notes)[:1].upper()}{'; '.join(notes)[1:]}.\n\n"
        f"| field | type | required | meaning |\n|---|---|---|---|\n{fields}\n"
        f"```json\n{json.dumps(example.model_dump(mode='json'), indent=2, ensure_ascii=False)}\n```\n"
    )


def _meaning(fact: type[Fact]) -> str:
    return " ".join((fact.__doc__ or "").split())


def _type(spec: dict[str, Any], schema: dict[str, Any]) -> str:
    if "anyOf" in spec:
        return " or ".join(_type(one, schema) for one in spec["anyOf"])
    if "enum" in spec:
        return " / ".join(f"`{value}`" for value in spec["enum"])
    if "const" in spec:
        return f"`{spec['const']}`"
    if "$ref" in spec:
        return str(spec["$ref"].rpartition("/")[2])
    if spec.get("type") == "array":
        return f"list of {_type(spec['items'], schema)}"
    return str(spec.get("format") or spec.get("type", "any"))


def main() -> int:
    """Write the page, or with `--check` say whether it is stale."""
    page = render()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text() != page:
            sys.stderr.write("docs/events.md is stale: run `make events`\n")
            return 1
        return 0
    PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
