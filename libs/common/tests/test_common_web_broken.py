"""Broken bodies, broken requests, slow and rude clients: 400 or a closed connection, never 500, and nothing happens."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from common.errors import InvalidParameter
from common.testing.doors import Door, open_door
from common.web import Answer, Model, Request, Route
from common.web.body import check_json


class Anything(Model):
    a: Any = None
    n: int = 0
    x: float = 0.0
    s: str = ""
    many: list[Any] = Field(default_factory=list)
    pairs: list[dict[str, str]] = Field(default_factory=list)
    d: dict[str, Any] = Field(default_factory=dict)


async def count(request: Request[list[Any]]) -> Answer:
    request.deps.append(request.body)
    return Answer(b"{}")


async def count_parts(request: Request[list[Any]]) -> Answer:
    async for part in request.parts(bytes_max=4096, parts_max=5):
        await request.read_text(part, bytes_max=1000) if part.name == "text" else await request.read_part(part, bytes_max=2000)
        request.deps.append(part.name)
    return Answer(b"{}")


@pytest.fixture
def effects() -> list[Any]:
    return []


@pytest.fixture
async def door(effects: list[Any]) -> AsyncIterator[Door]:
    routes = [
        Route("POST", "/api/things", count, auth="none", body=Anything, body_bytes_max=300_000),
        Route("POST", "/music/things", count, auth="none", body=Anything),
        Route("POST", "/v1/things", count, auth="none", body=Anything),
        Route("POST", "/v1/parts", count_parts, auth="none", multipart=True),
        Route("GET", "/v1/nothing", count, auth="none"),
    ]
    async with open_door(routes, effects, header_seconds=0.4, body_seconds=0.4) as opened:
        yield opened


BROKEN: dict[str, bytes] = {
    "empty": b"",
    "a word": b"hello",
    "half an object": b'{"a":',
    "trailing garbage": b'{"a":1} x',
    "two documents": b"{}{}",
    "trailing comma": b'{"a":1,}',
    "comment": b'{"a":1 /* no */}',
    "single quotes": b"{'a':1}",
    "a list": b"[]",
    "a number": b"1",
    "a string": b'"a"',
    "null": b"null",
    "true": b"true",
    "NaN": b'{"x":NaN}',
    "NaN in anything": b'{"a":NaN}',
    "Infinity": b'{"x":Infinity}',
    "-Infinity": b'{"a":{"b":-Infinity}}',
    "1e999": b'{"x":1e999}',
    "-1e999 in anything": b'{"a":[-1e999]}',
    "duplicate keys": b'{"n":1,"n":2}',
    "duplicate keys spelled differently": b'{"n":1,"\\u006e":2}',
    "duplicate keys deep": b'{"d":{"k":{"b":1,"b":1}}}',
    "duplicate keys with space": b'{"n" : 1, "n"\n:2}',
    "duplicate keys hidden by a string": b'{"n":1,"n" :2,"s":"\\" :"}',
    "100 000 brackets": b"[" * 100_000,
    "100 000 objects": b'{"a":' * 40_000,
    "deep but closed": b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
    "5 000 digits": b'{"n":' + b"1" * 5000 + b"}",
    "5 000 digits in anything": b'{"a":[' + b"9" * 5000 + b"]}",
    "2^63": b'{"n":9223372036854775808}',
    "-2^63-1": b'{"n":-9223372036854775809}',
    "10^30 in anything": b'{"a":{"b":1' + b"0" * 30 + b"}}",
    "invalid UTF-8": b'{"s":"\xff\xfe"}',
    "overlong UTF-8": b'{"s":"\xc0\xaf"}',
    "UTF-8 of a surrogate": b'{"s":"\xed\xa0\x80"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "BOM": b'\xef\xbb\xbf{"a":1}',
    "NUL byte": b'{"s":"a\x00b"}',
    "NUL after": b'{"a":1}\x00',
    "escaped NUL": b'{"s":"a\\u0000b"}',
    "escaped NUL in a key": b'{"d":{"\\u0000":1}}',
    "escaped NUL deep": b'{"a":[[["\\u0000"]]]}',
    "lone surrogate": b'{"s":"\\ud800"}',
    "lone low surrogate": b'{"s":"\\udc00x"}',
    "control character": b'{"s":"a\nb"}',
    "leading zero": b'{"n":01}',
    "hexadecimal": b'{"n":0x10}',
    "wrong type": b'{"n":"x"}',
    "a fraction": b'{"n":1.5}',
    "list for object": b'{"d":[]}',
}


@pytest.mark.parametrize("path", ["/api/things", "/music/things", "/v1/things"])
@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_body_is_refused_in_the_envelope_and_changes_nothing(door: Door, effects: list[Any], path: str, name: str) -> None:
    async with door.http.post(door.url + path, data=BROKEN[name], headers={"Content-Type": "application/json"}) as answer:
        found = await answer.json(content_type=None)
        assert answer.status == 400
        assert answer.headers["X-Error-Code"] == "10001"
    assert {"/api/things": "success", "/music/things": "timestamp", "/v1/things": "request_id"}[path] in found
    assert effects == []


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b' {"n" : 1 }\n',
        b'{"n":9223372036854775807,"x":1e300}',
        b'{"s":"NaN, 1e999 and 99999999999999999999 are words here","d":{":k":1,": ":true,"a:b":null}}',
        b'{"n":-9223372036854775807}',
        b'{"s":"\\\\u0000 is how NUL is written"}',
        '{"s":"照片 📷 \\ud83d\\ude00"}'.encode(),
        b'{"s":"a colon \\": and \\" : another"}',
        b'{"many":[{"k":1},{"k":2}],"d":{"n":1}}',
        b'{\n  "n": 1,\n  "s": "x",\r\n\t"d": {}\n}',
        b'{"a":' + b"[" * 100 + b"]" * 100 + b"}",
    ],
)
async def test_a_whole_body_is_taken(door: Door, effects: list[Any], body: bytes) -> None:
    async with door.http.post(f"{door.url}/v1/things", data=body, headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 200, await answer.text()
    assert len(effects) == 1


async def test_a_body_that_does_not_say_what_it_is_is_taken_for_json(door: Door, effects: list[Any]) -> None:
    answer = await door.send_raw(b'POST /v1/things HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 7\r\n\r\n{"n":3}')
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert effects[0].n == 3


_texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
_leaves = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False) | _texts
_trees = st.recursive(_leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4))


@given(_trees, st.sampled_from([None, 2]), st.booleans())
def test_every_document_without_a_repeated_name_passes_the_check(tree: Any, indent: int | None, ascii_only: bool) -> None:
    check_json(json.dumps(tree, indent=indent, ensure_ascii=ascii_only).encode())


@given(st.dictionaries(st.text('ab\\" :', max_size=4), st.text('ab\\" :', max_size=4), min_size=1, max_size=4), st.sampled_from(["", " ", "\n\t"]), st.data())
def test_every_document_with_a_repeated_name_is_refused(tree: dict[str, str], gap: str, data: st.DataObject) -> None:
    again = data.draw(st.sampled_from(sorted(tree)))
    pairs = [*tree.items(), (again, "z")]
    text = "{" + ",".join(f"{json.dumps(key)}{gap}:{gap}{json.dumps(value)}" for key, value in pairs) + "}"
    with pytest.raises(InvalidParameter):
        check_json(text.encode())


@given(st.sampled_from(["NaN", "-Infinity", "Infinity", "1e999", "-1E400", "9223372036854775808", "-" + "9" * 30, "1" * 5000, '"\\u0000"']), _trees, _texts)
def test_every_document_with_a_value_that_cannot_be_kept_is_refused(value: str, tree: Any, name: str) -> None:
    others = json.dumps(tree, ensure_ascii=False)
    for text in (f"{{{json.dumps(name)}:{value}}}", f'{{"first":{others},"last":[{value}]}}', f'{{"a" : [ {others} , {value} ] }}'):
        with pytest.raises(InvalidParameter):
            check_json(text.encode())


async def test_a_body_with_thousands_of_faults_is_refused_quickly(door: Door, effects: list[Any]) -> None:
    body = b'{"pairs":[' + b"1," * 100_000 + b"1]}"
    began = time.process_time()
    async with door.http.post(f"{door.url}/api/things", data=body, headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 400
        assert len(await answer.read()) < 500
    assert time.process_time() - began < 3
    assert effects == []


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "image/png", "jsonx/json"]
)
async def test_a_body_of_another_kind_is_refused(door: Door, effects: list[Any], kind: str) -> None:
    async with door.http.post(f"{door.url}/api/things", data=b'{"n":1}', headers={"Content-Type": kind}) as answer:
        assert (answer.status, answer.headers["X-Error-Code"]) == (415, "10001")
    assert effects == []


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json"])
async def test_json_may_be_called_by_its_names(door: Door, kind: str) -> None:
    async with door.http.post(f"{door.url}/api/things", data=b'{"n":1}', headers={"Content-Type": kind}) as answer:
        assert answer.status == 200


async def test_a_body_over_the_limit_is_413_however_it_comes(door: Door, effects: list[Any]) -> None:
    big = b'{"s":"' + b"x" * 400_000 + b'"}'

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(big), 50_000):
            yield big[start : start + 50_000]

    for data, headers in ((big, {}), (in_pieces(), {}), (gzip.compress(big), {"Content-Encoding": "gzip"})):
        async with door.http.post(f"{door.url}/api/things", data=data, headers={"Content-Type": "application/json", **headers}) as answer:
            assert (answer.status, answer.headers["X-Error-Code"]) == (413, "10001"), await answer.text()
    assert effects == []


async def test_chunked_and_compressed_bodies_are_read(door: Door, effects: list[Any]) -> None:
    body = b'{"s":"' + b"x" * 200_000 + b'"}'

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    for data, headers in ((in_pieces(), {}), (gzip.compress(body), {"Content-Encoding": "gzip"})):
        async with door.http.post(f"{door.url}/api/things", data=data, headers={"Content-Type": "application/json", **headers}) as answer:
            assert answer.status == 200, await answer.text()
    assert [len(one.s) for one in effects] == [200_000, 200_000]


async def test_a_body_that_is_no_gzip_is_refused(door: Door, effects: list[Any]) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with door.http.post(f"{door.url}/api/things", data=b"no gzip at all", headers=headers) as answer:
        assert answer.status == 400
    assert effects == []


JSON_HEAD = b"POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"

RUDE: dict[str, bytes] = {
    "CL and TE": JSON_HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "two CL": JSON_HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a list of CL": JSON_HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
    "negative CL": JSON_HEAD + b"Content-Length: -2\r\n\r\n{}",
    "CL with plus": JSON_HEAD + b"Content-Length: +2\r\n\r\n{}",
    "CL beyond 64 bits": JSON_HEAD + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "unknown TE": JSON_HEAD + b"Transfer-Encoding: sorcery\r\n\r\n{}",
    "TE twice": JSON_HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "bad chunk": JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "negative chunk": JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "two hosts": b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "space before the colon": b"GET /v1/nothing HTTP/1.1\r\nHost : a\r\n\r\n",
    "folded header": b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
    "NUL in a header": b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\nX-A: b\x00c\r\n\r\n",
    "bare CR in a header": b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n",
    "10 000 headers": b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\n",
    "a long header": b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\nX-A: " + b"x" * 100_000 + b"\r\n\r\n",
    "a long path": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "no method": b"/v1/nothing HTTP/1.1\r\n\r\n",
    "unknown version": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "rubbish": b"\x00\xff\x00\xff\r\n\r\n",
}


@pytest.mark.parametrize("name", RUDE)
async def test_a_rude_request_gets_400_in_an_envelope_or_a_closed_connection(door: Door, effects: list[Any], name: str) -> None:
    answer = await door.send_raw(RUDE[name], seconds=3)
    assert effects == []
    if answer:
        assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
        assert b"X-Error-Code: 10001\r\n" in answer
        assert b'"code":10001' in answer
        assert b"aiohttp" not in answer
        assert b"Python" not in answer


@pytest.mark.parametrize(
    "request_line",
    [b"TRACE /v1/nothing HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET http://elsewhere/v1/none HTTP/1.1"],
)
async def test_an_odd_request_is_refused_in_an_envelope(door: Door, effects: list[Any], request_line: bytes) -> None:
    answer = await door.send_raw(request_line + b"\r\nHost: a\r\nConnection: close\r\n\r\n", seconds=3)
    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 405"), answer[:100]
    assert b"X-Error-Code" in answer
    assert effects == []


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET /v1/nothing HT",
        b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\nX-A: ",
        JSON_HEAD + b"Content-Length: 100\r\n\r\n{",
        JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"POST /v1/parts HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 900\r\n\r\n--x\r\n",
    ],
)
async def test_a_client_that_stops_in_the_middle_is_let_go(door: Door, effects: list[Any], start: bytes) -> None:
    began = time.monotonic()
    await door.send_raw(start, seconds=60)
    assert time.monotonic() - began < 30
    assert effects == []


async def test_a_head_that_comes_drop_by_drop_is_let_go(door: Door) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    ended = asyncio.ensure_future(reader.read())
    for letter in b"GET /v1/nothing HTTP/1.1\r\nHost: " + b"a" * 200:
        if ended.done():
            break
        writer.write(bytes([letter]))
        await asyncio.sleep(0.05)
    assert ended.done()
    await asyncio.gather(ended, return_exceptions=True)
    writer.close()


async def test_a_body_that_keeps_coming_slowly_is_read(door: Door, effects: list[Any]) -> None:
    body = b'{"s":"slow"}'
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(JSON_HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
    for letter in body:
        writer.write(bytes([letter]))
        await asyncio.sleep(0.1)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert effects[0].s == "slow"


async def test_an_idle_connection_between_requests_is_kept(door: Door) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    for _ in range(2):
        writer.write(b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200 ")
        await asyncio.sleep(0.9)
    writer.close()


def _form(*parts: bytes, boundary: bytes = b"x") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def _part(name: str, content: bytes, more: bytes = b"") -> bytes:
    return b'Content-Disposition: form-data; name="' + name.encode() + b'"' + more + b"\r\n\r\n" + content


FORMS: dict[str, tuple[str, bytes, int]] = {
    "whole": ("multipart/form-data; boundary=x", _form(_part("text", "照片".encode()), _part("file", b"\x00\xff", b'; filename="../../a"')), 200),
    "no boundary": ("multipart/form-data", _form(_part("text", b"a")), 400),
    "other boundary": ("multipart/form-data; boundary=y", _form(_part("text", b"a")), 400),
    "cut off": ("multipart/form-data; boundary=x", _form(_part("text", b"a"))[:-9], 400),
    "cut in the head": ("multipart/form-data; boundary=x", b"--x\r\nContent-Dispo", 400),
    "empty": ("multipart/form-data; boundary=x", b"", 400),
    "JSON": ("application/json", b"{}", 415),
    "part too large": ("multipart/form-data; boundary=x", _form(_part("text", b"a" * 1500)), 413),
    "body too large": ("multipart/form-data; boundary=x", _form(*[_part("file", b"a" * 1900)] * 3), 413),
    "too many parts": ("multipart/form-data; boundary=x", _form(*[_part("file", b"a")] * 6), 413),
    "invalid UTF-8": ("multipart/form-data; boundary=x", _form(_part("text", b"\xff")), 400),
    "NUL": ("multipart/form-data; boundary=x", _form(_part("text", b"a\x00b")), 400),
    "nested": ("multipart/form-data; boundary=x", _form(b"Content-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\na\r\n--y--"), 400),
    "long boundary": ("multipart/form-data; boundary=" + "x" * 200, _form(_part("text", b"a"), boundary=b"x" * 200), 400),
    "10 000 part headers": ("multipart/form-data; boundary=x", _form(b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\na"), 400),
    "unknown encoding": ("multipart/form-data; boundary=x", _form(b"Content-Transfer-Encoding: sorcery\r\n" + _part("text", b"a")), 200),
}


@pytest.mark.parametrize("name", FORMS)
async def test_a_form_is_read_or_refused(door: Door, name: str) -> None:
    kind, body, status = FORMS[name]
    async with door.http.post(f"{door.url}/v1/parts", data=body, headers={"Content-Type": kind}) as answer:
        assert answer.status == status, await answer.text()
        if status >= 400:
            assert "X-Error-Code" in answer.headers
