"""The catalogue of facts says what the code does: who emits, who hears, what a record looks like, and what each service's page claims."""

import ast
import importlib
import importlib.util
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import orjson
import pytest

from common.bus.consumer import Subscriptions
from common.bus.envelope import Outgoing, Undecodable, bundle, open_envelope, seal, unbundle
from common.events import BY_TOPIC, FACTS, Fact
from common.settings import PORTS
from common.trace import Trace

ROOT = Path(__file__).resolve().parents[1]
SERVICES = sorted(PORTS)
NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
PRIVATE = {"email", "e_mail", "phone", "openid", "unionid", "password", "ip", "token"}

every_fact = pytest.mark.parametrize("fact_type", FACTS, ids=lambda fact: fact.topic)
every_service = pytest.mark.parametrize("service", SERVICES)


def source_of(service: str) -> Path:
    return ROOT / "services" / service / "src" / service


def subscriptions_of(service: str) -> Subscriptions | None:
    if not (source_of(service) / "consumers.py").exists():
        return None
    found = importlib.import_module(f"{service}.consumers").subscriptions
    assert isinstance(found, Subscriptions)
    return found


def heard(service: str) -> set[str]:
    """Topics heard in group mode."""
    table = subscriptions_of(service)
    return set(table.heard) if table else set()


def overheard(service: str) -> set[str]:
    """Topics heard by broadcast."""
    table = subscriptions_of(service)
    return set(table.overheard) if table else set()


@cache
def made(service: str) -> set[str]:
    """Topics of the facts this service makes, found where a fact's class is called or asked to read something."""
    names = {fact.__name__: fact.topic for fact in FACTS}
    found = set()
    for path in source_of(service).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func
                maker = called.value if isinstance(called, ast.Attribute) and called.attr.startswith("model_") else called
                name = maker.id if isinstance(maker, ast.Name) else maker.attr if isinstance(maker, ast.Attribute) else ""
                if name in names:
                    found.add(names[name])
    return found


def example_of(fact_type: type[Fact]) -> Fact:
    return fact_type.model_validate_json(orjson.dumps(fact_type.example), strict=True)


def section(service: str, name: str) -> str:
    """What a service's page says under a heading (`## Hears` or `**Hears**`)."""
    page = ROOT / "services" / service / "README.md"
    assert page.exists(), f"{service} has no page"
    found = re.search(rf"(?:^##\s+|\*\*){name}\b.*?(?=^##\s|\*\*[A-Z]|\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"the page of {service} has no list called {name}"
    return found[0]


def topics_in(text: str) -> set[str]:
    return {word for word in re.findall(r"`([a-z]+\.[a-z_.0-9]+)`", text) if word in BY_TOPIC}


# Who hears and who says


@every_fact
def test_exactly_the_groups_of_the_catalogue_subscribe(fact_type: type[Fact]) -> None:
    assert len(set(fact_type.groups)) == len(fact_type.groups)
    assert set(fact_type.groups) == {service for service in SERVICES if fact_type.topic in heard(service)}


@every_fact
def test_exactly_the_services_of_the_catalogue_overhear(fact_type: type[Fact]) -> None:
    assert set(fact_type.broadcast) == {service for service in SERVICES if fact_type.topic in overheard(service)}


@every_service
def test_a_service_subscribes_under_its_own_name_and_to_facts_there_are(service: str) -> None:
    table = subscriptions_of(service)
    if table is None:
        assert not (heard(service) | overheard(service))
        return
    assert table.group == service
    assert heard(service) | overheard(service) <= set(BY_TOPIC)


@every_fact
def test_only_the_owner_makes_a_fact(fact_type: type[Fact]) -> None:
    assert {service for service in SERVICES if fact_type.topic in made(service)} == {fact_type.owner}


@every_service
def test_only_what_may_be_lost_is_told_without_an_outbox(service: str) -> None:
    """`bus.tell` is for facts without an outbox, and those have no group: nobody may depend on them."""
    tells = [path for path in source_of(service).rglob("*.py") if re.search(r"\bbus\.tell\(", path.read_text())]
    for path in tells:
        said = {fact for fact in FACTS if re.search(rf"\b{fact.__name__}\b", path.read_text())}
        assert said, path
        assert not any(fact.outboxed for fact in said), path
    assert not any(fact.groups for fact in FACTS if not fact.outboxed)


# What a record looks like


@every_fact
def test_the_example_goes_through_an_envelope_and_comes_out_the_same(fact_type: type[Fact]) -> None:
    fact = example_of(fact_type)
    sealed = seal(fact, NOW, Trace("request-1", "00-" + "1" * 32 + "-" + "2" * 16 + "-01"))
    event = open_envelope(sealed.topic, sealed.value, sealed.headers())
    assert (event.fact, event.event_id, event.time) == (fact, sealed.event_id, NOW)
    assert (event.correlation_id, event.traceparent) == (sealed.correlation_id, sealed.traceparent)
    assert type(event.fact) is fact_type
    assert orjson.loads(sealed.value) == fact.model_dump(mode="json"), "the quick writer and the model agree"


@every_fact
def test_the_example_survives_its_row_in_the_outbox(fact_type: type[Fact]) -> None:
    sealed = seal(example_of(fact_type), NOW, Trace("request-1", None))
    [stored] = unbundle({"position": 7, "created_at": NOW, "facts": bundle([sealed])})
    assert isinstance(stored, Outgoing)
    assert (stored.headers(), stored.value, stored.key, stored.position) == (sealed.headers(), sealed.value, sealed.key, 7)


@every_fact
def test_the_headers_are_those_of_cloudevents_in_binary_mode(fact_type: type[Fact]) -> None:
    fact = example_of(fact_type)
    sealed = seal(fact, NOW, None)
    headers = dict(sealed.headers())
    assert len(headers) == len(sealed.headers()), "a header twice"
    noun, _, rest = fact.subject.partition("/")
    assert noun
    assert rest
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": str(sealed.event_id).encode(),
        "ce_source": f"urn:darkroom:{fact_type.owner}".encode(),
        "ce_type": f"darkroom.{fact_type.topic.removesuffix(f'.v{fact_type.version}')}.v{fact_type.version}".encode(),
        "ce_subject": fact.subject.encode(),
        "ce_time": NOW.isoformat().encode(),
        "ce_dataschema": f"urn:darkroom:schema:{fact_type.topic}:{fact_type.version}".encode(),
        "ce_partitionkey": fact.key.encode(),
        "ce_sequence": f"{fact.sequence:020d}".encode(),
        "content-type": b"application/json",
    }
    assert sealed.key == fact.key


@every_fact
def test_a_field_nobody_knows_yet_is_ignored_and_one_that_is_missing_or_mistyped_is_not(fact_type: type[Fact]) -> None:
    sealed = seal(example_of(fact_type), NOW, None)
    data = orjson.loads(sealed.value)
    assert open_envelope(sealed.topic, orjson.dumps({**data, "invented_later": [1]}), sealed.headers()).fact == example_of(fact_type)
    for name, field in fact_type.model_fields.items():
        if field.is_required():
            without = {key: value for key, value in data.items() if key != name}
            with pytest.raises(Undecodable):
                open_envelope(sealed.topic, orjson.dumps(without), sealed.headers())
        with pytest.raises(Undecodable):
            open_envelope(sealed.topic, orjson.dumps({**data, name: {"not": "this"}}), sealed.headers())


@every_fact
def test_a_record_of_another_kind_or_version_on_the_topic_is_not_taken_for_this_fact(fact_type: type[Fact]) -> None:
    sealed = seal(example_of(fact_type), NOW, None)
    other = next(fact for fact in FACTS if fact is not fact_type)
    for ce_type in (f"darkroom.{other.topic}.v1", f"darkroom.{fact_type.topic}.v9", ""):
        headers = [(name, ce_type.encode() if name == "ce_type" else value) for name, value in sealed.headers()]
        with pytest.raises(Undecodable):
            open_envelope(sealed.topic, sealed.value, headers)


@every_fact
def test_no_fact_carries_what_is_private(fact_type: type[Fact]) -> None:
    assert not PRIVATE & set(fact_type.model_fields)
    assert fact_type.personal_data == ("name" in fact_type.model_fields)


def test_topics_are_named_once_and_as_things_that_happened() -> None:
    assert len(BY_TOPIC) == len(FACTS)
    for fact in FACTS:
        assert re.fullmatch(r"[a-z]+\.(?:[a-z_]+ed|paid)(\.v[2-9]\d*)?", fact.topic), fact.topic
        assert fact.topic.endswith(f".v{fact.version}") == (fact.version > 1)


# What each service's page claims


@every_service
def test_the_page_of_a_service_lists_what_it_hears(service: str) -> None:
    assert topics_in(section(service, "Hears")) == heard(service) | overheard(service)


@every_service
def test_the_page_of_a_service_lists_what_it_publishes(service: str) -> None:
    assert topics_in(section(service, "Publishes")) == made(service)
