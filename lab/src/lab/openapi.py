"""Answers held against the OpenAPI document that the gateway shows: their status, their headers, their kind and their shape."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
import schemathesis
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup

from lab.dialects.rows import Ask, Who
from lab.dialects.world import World

CHECKED = ("status_code_conformance", "content_type_conformance", "response_headers_conformance", "response_schema_conformance")
CASES = 3
"""How many random cases a route gets by itself, besides its examples and what its schema's edges ask for."""
FAULTS_SHOWN = 40


@dataclass
class Told:
    """Which statuses each route of the document answered, and what was wrong with them, with a command that repeats it."""

    statuses: dict[str, set[int]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    repeats: dict[str, str] = field(default_factory=dict)

    def note(self, label: str, status: int) -> None:
        self.statuses.setdefault(label, set()).add(status)

    def __str__(self) -> str:
        return "\n\n".join(f"{count}x {fault}\n{self.repeats.get(fault, '')}" for fault, count in self.faults.most_common(FAULTS_SHOWN))


class Listener(World):
    """A world that remembers what it was answered."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.heard: list[tuple[str, str, int, Mapping[str, str], Any]] = []

    async def send(self, method: str, ask: Ask, *, who: Who, quoted: bytes | None = None) -> tuple[int, Any, dict[str, str]]:
        status, body, headers = await super().send(method, ask, who=who, quoted=quoted)
        if method != "WS":
            self.heard.append((method, ask.path, status, headers, body))
        return status, body, headers

    async def document(self) -> dict[str, Any]:
        """What the gateway shows."""
        async with self.http.get(self.rig.url + "/openapi.json") as answer:
            found: dict[str, Any] = await answer.json()
        return found

    def told(self, document: dict[str, Any]) -> Told:
        """All that was heard, held against the document."""
        told, schema = Told(), schema_of(document, self.rig.url)
        # A path without parameters goes first, as a router takes it.
        paths = sorted(((_form_of(path), path) for path in document["paths"]), key=lambda one: one[1].count("{"))
        for method, target, status, headers, body in self.heard:
            path = next((path for form, path in paths if form.fullmatch(urlsplit(target).path)), None)
            if path is None or method.lower() not in document["paths"][path]:
                told.faults[f"{method} {target}: {status}, of a route that is not in the document"] += 1
                continue
            told.note(f"{method} {path}", status)
            for fault in faults_of(schema[path][method], status, headers, body):
                told.faults[fault] += 1
        return told


def _form_of(path: str) -> re.Pattern[str]:
    parameter = ".+" if path.startswith("/files/") else "[^/]+"
    return re.compile("".join(parameter if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", path)))


def schema_of(document: dict[str, Any], url: str, *, cases: int = CASES, thorough: bool = False) -> Any:
    """The document as schemathesis reads it. Short of a thorough run, all that could differ from run to run is off, and of what is only read not every edge."""
    briefly = [{"include-method": "GET", "phases": {"coverage": {"enabled": False}, "fuzzing": {"generation": {"max-examples": cases + 1}}}}]
    alike = {"extra-data-sources": {"responses": False}}
    config = schemathesis.Config.from_dict(
        {
            "seed": 1,
            "base-url": url,
            "request-timeout": 30,
            "continue-on-failure": True,
            "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKED}},
            "generation": {"deterministic": not thorough, "max-examples": cases, "no-shrink": True, "database": "none", "with-security-parameters": False},
            "operations": [] if thorough else briefly,
            "phases": {
                "examples": alike,
                "coverage": {"unexpected-methods": [], **alike},
                "fuzzing": {"error-feedback": {"enabled": False}, **alike},
                "stateful": {"enabled": False},
            },
        }
    )
    return schemathesis.openapi.from_dict(document, config=config)


def faults_of(operation: Any, status: int, headers: Mapping[str, str], body: Any) -> list[str]:
    """What the document does not know of this answer."""
    load_all_checks()
    is_text = isinstance(body, str) and "json" not in headers.get("content-type", "")
    content = b"" if body is None else body.encode() if is_text else json.dumps(body).encode()
    request = requests.Request(operation.method.upper(), "http://gateway" + operation.path).prepare()
    response = schemathesis.Response(
        status_code=status, headers={name: [value] for name, value in headers.items()}, content=content, request=request, elapsed=0.0, verify=False
    )
    case = operation.Case(path_parameters=dict.fromkeys(re.findall(r"\{(\w+)\}", operation.path), "x"))
    try:
        case.validate_response(response, checks=[CHECKS.get_one(name) for name in CHECKED])
    except FailureGroup as group:
        return [f"{operation.label}: {status}: {failure.title}: {failure.message}" for failure in group.exceptions]
    return []
