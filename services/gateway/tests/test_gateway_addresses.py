"""Who is told where a request comes from."""

from typing import Any

import pytest

ASK = "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n{}"


@pytest.mark.parametrize("careful_only", [False, True])
async def test_identity_alone_is_told_the_address_and_nobody_can_make_one_up(open_door: Any, echo: Any, careful_only: bool) -> None:
    async with open_door(echo.url, careful_only=careful_only) as door:
        for line in ("POST /login", "POST /works"):
            await door.ask((ASK % line).encode())
    told = [[value for name, value in seen["headers"] if name.lower() == "x-forwarded-for"] for seen in echo.seen]
    assert told == [["127.0.0.1"], []]
