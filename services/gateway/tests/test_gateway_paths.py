"""Both paths of the gateway, side by side."""

import asyncio
import json
import re
from typing import Any

import pytest

TOKEN = b"Authorization: Bearer t\r\n"


def _split(raw: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Answers in the order they came."""
    answers = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while True:
                size, _, raw = raw.partition(b"\r\n")
                body += raw[: int(size, 16)]
                raw = raw[int(size, 16) + 2 :]
                if int(size, 16) == 0:
                    break
        elif "content-length" in headers and status not in (204, 304):
            length = int(headers["content-length"])
            body, raw = raw[:length], raw[length:]
        answers.append((status, headers, body))
    return answers


@pytest.mark.parametrize("careful_only", [False, True])
async def test_a_plain_request_reaches_its_service_and_its_answer_comes_back(open_door: Any, echo: Any, careful_only: bool) -> None:
    async with open_door(echo.url, careful_only=careful_only) as door:
        raw = await door.say(b"GET /api/works/1?a=b HTTP/1.1\r\nHost: x\r\nX-User-Id: 7\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: close\r\n\r\n")
    ((status, headers, body),) = _split(raw)
    told = json.loads(body)
    names = {name.lower() for name, _ in told["headers"]}
    assert status == 200
    assert told["target"] == "/api/works/1?a=b"
    assert not names & {"x-user-id", "x-forwarded-for"}
    assert {"x-request-id", "traceparent"} <= names
    assert headers["access-control-allow-origin"] == "*"
    assert "aiohttp" not in headers.get("server", "")
    assert asyncio
    assert re
